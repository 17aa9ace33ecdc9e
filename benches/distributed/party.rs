//! The processes that take part.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use procfs::process::Process;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::NamedTempFile;

use crate::nats::Nats;

const PATIENCE: Duration = Duration::from_secs(120);

/// Clusters of as many nodes each, whose lookups take no time.
pub struct Fleet {
    pub clusters: usize,
    pub nodes: usize,
}

impl Fleet {
    pub fn devices(&self) -> usize {
        self.clusters * self.nodes
    }

    pub fn config(&self) -> String {
        let nodes = self.nodes;
        let mut text =
            "[lookup]\nlatency = \"0s\"\n[collect]\ndeadline = \"60s\"\nmax_waiting = 10000\n"
                .to_owned();
        for cluster in 1..=self.clusters {
            text += &format!("[[clusters]]\nid = {cluster}\nnodes = \"1-{nodes}\"\n");
        }
        text
    }
}

/// A fleetcall that runs, killed when dropped.
pub struct Party {
    child: Child,
    pub addr: SocketAddr,
    log: Mutex<Receiver<Value>>,
    _config: NamedTempFile,
}

impl Party {
    pub fn alone(config: &str) -> Self {
        Self::start(config, &["serve"])
    }

    pub fn front(nats: &Nats, config: &str, more: &[&str]) -> Self {
        Self::start(config, &[&["--nats", &nats.url(), "serve"], more].concat())
    }

    pub fn worker(nats: &Nats, config: &str, name: &str, more: &[&str]) -> Self {
        Self::start(
            config,
            &[&["--nats", &nats.url(), "worker", "--name", name], more].concat(),
        )
    }

    fn start(config: &str, arguments: &[&str]) -> Self {
        let file = NamedTempFile::new().unwrap();
        std::fs::write(file.path(), config).unwrap();
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/release/fleetcall");
        let mut child = Command::new(program)
            .env("RUST_LOG", "fleetcall=info,fleetcall::collector=warn")
            .args(["--port", "0", "--log-format", "json", "--config"])
            .arg(file.path())
            .args(arguments)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (sender, log) = channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                sender
                    .send(serde_json::from_str(&line).unwrap_or_default())
                    .ok();
            }
        });
        let mut party = Self {
            child,
            addr: SocketAddr::from(([127, 0, 0, 1], 0)),
            log: Mutex::new(log),
            _config: file,
        };
        let listening = party.logged(1, "listening");
        party.addr = listening["addr"].as_str().unwrap().parse().unwrap();
        party
    }

    /// Waits until something was logged so often, since this was asked last; the last line.
    pub fn logged(&self, count: usize, message: &str) -> Value {
        let until = Instant::now() + PATIENCE;
        let log = self.log.lock().unwrap();
        let mut seen = 0;
        loop {
            let rest = until.saturating_duration_since(Instant::now());
            let line = log
                .recv_timeout(rest)
                .unwrap_or_else(|_| panic!("no {message:?}"));
            seen += usize::from(line["message"] == message);
            if seen == count {
                return line;
            }
        }
    }

    /// The status and body of a page, unless there is no answer.
    pub fn get(&self, agent: &ureq::Agent, path: &str) -> Option<(u16, String)> {
        let answer = agent
            .get(format!("http://{}{path}", self.addr))
            .call()
            .ok()?;
        let status = answer.status().as_u16();
        let body = answer
            .into_body()
            .with_config()
            .limit(1 << 30)
            .read_to_string()
            .ok()?;
        Some((status, body))
    }

    /// Asks until everybody answers.
    pub fn until_well(&self, agent: &ureq::Agent) {
        let until = Instant::now() + PATIENCE;
        while self
            .get(agent, "/test")
            .is_none_or(|(status, _)| status != 200)
        {
            assert!(Instant::now() < until, "not all devices answer");
        }
    }

    /// A counter or gauge without labels.
    pub fn metric(&self, agent: &ureq::Agent, name: &str) -> f64 {
        let (_, page) = self.get(agent, "/metrics").unwrap();
        let line = page
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name}")).parse().unwrap()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(
            Pid::from_raw(self.child.id().cast_signed()).unwrap(),
            signal,
        )
        .unwrap();
    }

    /// Waits until it has ended.
    pub fn ended(mut self) {
        self.child.wait().unwrap();
    }

    pub fn cpu(&self) -> f64 {
        cpu(self.child.id())
    }
}

impl Drop for Party {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The processor time of a process, in seconds, in steps of 10 ms.
pub fn cpu(pid: u32) -> f64 {
    let stat = Process::new(pid.cast_signed()).unwrap().stat().unwrap();
    (stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64
}

/// A client that keeps its connections, and takes every status for an answer.
pub fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(70)))
        .build();
    config.into()
}
