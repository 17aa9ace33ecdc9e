//! A service as its users start it, for benchmarks.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;

use tempfile::TempDir;

/// A running service, until it is dropped.
pub struct Service {
    child: Child,
    pub addr: SocketAddr,
    pub config: PathBuf,
    _dir: TempDir,
}

impl Service {
    /// With this configuration.
    pub fn start(config: &str) -> Self {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("clusters.toml");
        fs::write(&path, config).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_fleetcall"))
            .args(["--port", "0", "--log-format", "json", "--config"])
            .arg(&path)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let addr = loop {
            let line: serde_json::Value =
                serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
            if line["message"] == "listening" {
                break line["addr"].as_str().unwrap().parse().unwrap();
            }
        };
        // It is read to its end, or the log would drop lines.
        thread::spawn(move || lines.for_each(drop));
        Self {
            child,
            addr,
            config: path,
            _dir: dir,
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
