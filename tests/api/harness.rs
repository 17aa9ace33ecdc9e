//! Starts the binary, reads its log, asks it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// How long a test waits for what must come: longer than any machine takes, and less than the time
/// after which nextest ends a test.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A running `fleetcall serve`, killed when dropped.
pub struct TestApp {
    child: Child,
    pub addr: SocketAddr,
    /// The configuration's file.
    pub config: PathBuf,
    log: Arc<Log>,
    _dir: TempDir,
}

#[derive(Default)]
struct Log {
    lines: Mutex<Vec<Value>>,
    grown: Condvar,
}

/// An answer as the client sees it; header names in lower case.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(found, _)| found == name)
            .map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("a JSON body")
    }

    /// The devices in order, as `cluster/node_id` with `:kind` behind a failed one.
    pub fn devices(&self) -> Vec<String> {
        devices(&self.json())
    }
}

pub fn devices(json: &Value) -> Vec<String> {
    let text = |id: &Value| id.as_str().map_or_else(|| id.to_string(), str::to_owned);
    let mut found = Vec::new();
    for cluster in json["data"].as_array().unwrap() {
        let keys: Vec<&String> = cluster.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["cluster_id", "nodes", "switches"]);
        for (list, id) in [("nodes", "node_id"), ("switches", "switch_id")] {
            for device in cluster[list].as_array().unwrap() {
                let kind = device["error"]["kind"].as_str();
                found.push(format!(
                    "{}/{}{}{}",
                    text(&cluster["cluster_id"]),
                    if id == "node_id" { "n" } else { "s" },
                    text(&device[id]),
                    kind.map(|kind| format!(":{kind}")).unwrap_or_default()
                ));
            }
        }
    }
    found
}

/// Tries until there is something.
#[track_caller]
pub fn eventually<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = attempt() {
            return found;
        }
        assert!(
            start.elapsed() < PATIENCE,
            "this does not become so: {what}"
        );
        // Leaves the processor to the processes that are at work on it.
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

/// Looks until it is so.
#[track_caller]
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    eventually(what, || is_so().then_some(()));
}

/// A file with this text, and the folder that goes with it.
pub fn config_file(text: &str) -> (TempDir, PathBuf) {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("clusters.toml");
    std::fs::write(&path, text).unwrap();
    (dir, path)
}

/// The binary, without what this environment would tell it.
pub fn fleetcall() -> Command {
    bare(env!("CARGO_BIN_EXE_fleetcall"))
}

/// A program, without what this environment would tell ours.
pub fn bare(program: &str) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("FLEETCALL_") || name.starts_with("RUST_") {
            command.env_remove(&*name);
        }
    }
    command
}

/// Runs a command to its end, which it must reach by itself.
pub fn run(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

impl TestApp {
    pub fn start(config: &str) -> Self {
        Self::start_with(config, &[])
    }

    pub fn start_with(config: &str, arguments: &[&str]) -> Self {
        let (dir, path) = config_file(config);
        Self::start_on(dir, path, arguments)
    }

    /// With a configuration that the test has laid out itself.
    pub fn start_on(dir: TempDir, path: PathBuf, arguments: &[&str]) -> Self {
        Self::start_as(fleetcall(), dir, path, arguments)
    }

    /// As [`Self::start_on`], with an environment of its own.
    pub fn start_as(mut command: Command, dir: TempDir, path: PathBuf, arguments: &[&str]) -> Self {
        command.args(["--port", "0", "--log-format", "json"]);
        // One that takes the configuration from elsewhere, or has to find it, is told of no file.
        if !arguments.contains(&"--published") && !path.as_os_str().is_empty() {
            command.arg("--config").arg(&path);
        }
        if command.get_envs().all(|(name, _)| name != "RUST_LOG") {
            command.env("RUST_LOG", "fleetcall=debug");
        }
        let mut child = command
            .args(arguments)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Log::default());
        let (reader, sink) = (
            BufReader::new(child.stderr.take().unwrap()),
            Arc::clone(&log),
        );
        std::thread::spawn(move || {
            for line in reader.lines().map_while(Result::ok) {
                let line =
                    serde_json::from_str(&line).unwrap_or_else(|_| panic!("no JSON: {line}"));
                sink.lines.lock().unwrap().push(line);
                sink.grown.notify_all();
            }
        });
        let addr = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut app = Self {
            child,
            addr,
            config: path,
            log,
            _dir: dir,
        };
        let listening = app.wait_for_log(|line| line["message"] == "listening");
        app.addr = listening["addr"].as_str().unwrap().parse().unwrap();
        app
    }

    /// The first log line, past or to come, that fits.
    pub fn wait_for_log(&self, fits: impl Fn(&Value) -> bool) -> Value {
        self.wait_for_logs(1, fits).remove(0)
    }

    /// The first `count` log lines, past or to come, that fit.
    pub fn wait_for_logs(&self, count: usize, fits: impl Fn(&Value) -> bool) -> Vec<Value> {
        let fitting = |lines: &Vec<Value>| {
            lines
                .iter()
                .filter(|line| fits(line))
                .cloned()
                .collect::<Vec<_>>()
        };
        let lines = self.log.lines.lock().unwrap();
        let (lines, timeout) = self
            .log
            .grown
            .wait_timeout_while(lines, PATIENCE, |lines| fitting(lines).len() < count)
            .unwrap();
        assert!(
            !timeout.timed_out(),
            "the log does not say it: {:#?}",
            *lines
        );
        let mut found = fitting(&lines);
        found.truncate(count);
        found
    }

    /// The log lines so far.
    pub fn log(&self) -> Vec<Value> {
        self.log.lines.lock().unwrap().clone()
    }

    pub fn get(&self) -> Answer {
        self.request("GET", "/test", &[])
    }

    pub fn request(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        send(self.addr, method, path, headers)
    }

    /// Sends a `GET /test` and hands over the connection.
    pub fn begin(&self) -> TcpStream {
        let mut stream = TcpStream::connect(self.addr).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
            .write_all(b"GET /test HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .unwrap();
        stream
    }

    pub fn pid(&self) -> i32 {
        self.child.id().try_into().unwrap()
    }

    pub fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        let status = Command::new("kill")
            .args(["-s", name, &pid])
            .status()
            .unwrap();
        assert!(status.success());
    }

    pub fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for TestApp {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// What a connection still has to say, as a text.
pub fn read_all(mut stream: TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

pub fn send(addr: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    let agent = agent();
    request(&agent, addr, method, path, headers)
}

pub fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(PATIENCE))
        .allow_non_standard_methods(true)
        .build()
        .into()
}

pub fn request(
    agent: &ureq::Agent,
    addr: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> Answer {
    let mut request = ureq::http::Request::builder()
        .method(method)
        .uri(format!("http://{addr}{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut response = agent.run(request.body(()).unwrap()).unwrap();
    let headers = response.headers().iter();
    let headers = headers
        .map(|(name, value)| (name.as_str().to_owned(), value.to_str().unwrap().to_owned()))
        .collect();
    let status = response.status().as_u16();
    let body = response
        .body_mut()
        .with_config()
        .limit(1 << 30)
        .read_to_string()
        .unwrap();
    Answer {
        status,
        headers,
        body,
    }
}
