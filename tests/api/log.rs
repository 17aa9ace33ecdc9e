//! The log is not read, or not fast enough, or not any more.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::process::{Child, ChildStderr, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{config_file, fleetcall, send};

/// All devices fail, each time they are asked.
const FAILING: &str = "[lookup]\nlatency = \"0s\"\nscript = [\"fail\"]\nbreaker = { failures = 0 }\n\
    [metrics]\nper_device = false\n\
    [[clusters]]\nid = 1\nnodes = \"1-20\"\n";

/// A service whose log is read as far as the test reads it.
struct Unread {
    child: Child,
    addr: SocketAddr,
    /// `None` is closed.
    log: Option<BufReader<ChildStderr>>,
    _dir: TempDir,
}

impl Unread {
    fn start(config: &str) -> Self {
        let (dir, path) = config_file(config);
        let mut child = fleetcall()
            .args(["--port", "0", "--debug", "--log-format", "json", "--config"])
            .arg(path)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let mut service = Self {
            child,
            addr: SocketAddr::from(([0, 0, 0, 0], 0)),
            log: Some(log),
            _dir: dir,
        };
        let listening = service.read_until("listening");
        service.addr = listening["addr"].as_str().unwrap().parse().unwrap();
        service
    }

    /// Reads up to the line with this message.
    fn read_until(&mut self, message: &str) -> Value {
        let message = format!("\"message\":\"{message}");
        loop {
            let mut line = String::new();
            let log = self.log.as_mut().unwrap();
            assert_ne!(log.read_line(&mut line).unwrap(), 0, "the log ends");
            if line.contains(&message) {
                return serde_json::from_str(&line).unwrap();
            }
        }
    }

    fn ask(&self) {
        assert_eq!(send(self.addr, "GET", "/test", &[]).status, 202);
    }

    fn dropped(&self) -> u64 {
        let metrics = send(self.addr, "GET", "/metrics", &[]).body;
        let value = metrics
            .lines()
            .find_map(|line| line.strip_prefix("fleetcall_log_lines_dropped_total "));
        value.unwrap().parse().unwrap()
    }

    /// Asks it to end, and gives its exit code.
    fn end(&mut self) -> Option<i32> {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").arg(pid).status().unwrap().success());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[test]
fn a_log_that_is_not_read_holds_up_no_answer_and_no_end() {
    let mut service = Unread::start(FAILING);
    // A pipe holds 64 KiB.
    for _ in 0..100 {
        service.ask();
    }
    assert_eq!(service.end(), Some(0));
}

#[test]
fn lines_that_do_not_fit_are_counted_and_said_when_there_is_room() {
    // Some hundred bytes a device: the queue is full after some rounds.
    let config = FAILING.replace("1-20", "1-1000");
    let mut service = Unread::start(&config);
    while service.dropped() == 0 {
        service.ask();
    }
    let line = service.read_until("log lines were dropped");
    assert_eq!(line["level"], "warn");
    assert_eq!(line["lines"].as_u64().unwrap(), service.dropped());
    service.ask();
    service.read_until("collected");
}

#[test]
fn a_log_whose_reader_is_gone_ends_nothing() {
    let mut service = Unread::start(FAILING);
    service.log = None;
    while service.dropped() == 0 {
        service.ask();
    }
    assert_eq!(service.end(), Some(0));
}

#[test]
fn all_that_was_logged_is_there_when_the_process_has_ended() {
    let mut service = Unread::start(FAILING);
    for _ in 0..3 {
        service.ask();
    }
    assert_eq!(service.end(), Some(0));
    let rest = std::io::read_to_string(service.log.take().unwrap()).unwrap();
    let lines: Vec<Value> = rest
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let said = |message: &str| lines.iter().filter(|it| it["message"] == message).count();
    assert_eq!(said("lookup failed"), 60, "{rest}");
    assert_eq!(said("collected"), 3);
    assert_eq!(lines.last().unwrap()["message"], "stopped");
}

#[test]
fn an_error_that_ends_the_process_waits_for_no_reader() {
    let (_reader, writer) = std::io::pipe().unwrap();
    // Full, and nobody reads it.
    rustix::io::ioctl_fionbio(&writer, true).unwrap();
    let mut filler = &writer;
    while filler.write(&[b'.'; 4096]).is_ok() {}
    rustix::io::ioctl_fionbio(&writer, false).unwrap();
    for (config, code) in [("", 78), (FAILING, 1)] {
        let (_dir, path) = config_file(config);
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port().to_string();
        let status = fleetcall()
            .args(["--port", &port, "--config"])
            .arg(path)
            .stderr(writer.try_clone().unwrap())
            .status();
        assert_eq!(status.unwrap().code(), Some(code));
    }
}
