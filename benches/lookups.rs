//! What real lookups cost: how many a second, and how much processor time each, beside the field's
//! own client doing the same against the same server in the same run.
//!
//! It starts Debian's `prometheus-node-exporter` on a free port. fleetcall asks it as so many nodes,
//! 32 at a time, and makes facts of each answer; `curl` fetches the same page as often, 32 at a
//! time, and throws it away. Run it with `cargo bench --bench lookups`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::disallowed_types,
    reason = "a program for people: it prints, measures real time, and fails by panicking"
)]

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

const LOOKUPS: usize = 2_000;
const AT_ONCE: usize = 32;
const ROUNDS: usize = 3;

fn main() {
    let exporter = Exporter::start();
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("clusters.toml");
    let text = format!(
        "[lookup]\ndriver = \"prometheus\"\nurl = \"http://{}/metrics\"\ntimeout = \"10m\"\n\
         [collect]\ndeadline = \"20m\"\nmax_concurrent = {AT_ONCE}\n\
         [[clusters]]\nid = 1\nnodes = \"1-{LOOKUPS}\"\n",
        exporter.addr
    );
    std::fs::write(&config, text).unwrap();
    let fleetcall = format!(
        "{} collect --config {} > /dev/null",
        env!("CARGO_BIN_EXE_fleetcall"),
        config.display()
    );
    let curl = format!(
        "curl -sf -Z --parallel-max {AT_ONCE} -o /dev/null 'http://{}/metrics?[1-{LOOKUPS}]'",
        exporter.addr
    );
    println!("{LOOKUPS} scrapes of one node_exporter, {AT_ONCE} at a time: median of {ROUNDS}\n");
    println!("| client | lookups a second | its processor time a lookup | ratio to curl |");
    println!("| --- | ---: | ---: | ---: |");
    let (curl, fleetcall) = (measure(&curl), measure(&fleetcall));
    for (name, measured) in [("curl", &curl), ("fleetcall", &fleetcall)] {
        println!(
            "| {name} | {:.0} | {:.2} ms | {:.2} |",
            LOOKUPS as f64 / measured.real,
            measured.cpu / LOOKUPS as f64 * 1e3,
            measured.cpu / curl.cpu
        );
    }
}

/// Seconds.
struct Measured {
    real: f64,
    cpu: f64,
}

/// The median of some runs of a shell's command, by its real time.
fn measure(command: &str) -> Measured {
    let mut runs: Vec<Measured> = (0..ROUNDS)
        .map(|_| {
            let timed = format!("TIMEFORMAT='%R %U %S'; time {{ {command}; }}");
            let output = Command::new("bash").args(["-c", &timed]).output().unwrap();
            let text = String::from_utf8(output.stderr).unwrap();
            assert!(output.status.success(), "{command}: {text}");
            let last = text.lines().last().unwrap();
            let times: Vec<f64> = last.split(' ').map(|it| it.parse().unwrap()).collect();
            Measured {
                real: times[0],
                cpu: times[1] + times[2],
            }
        })
        .collect();
    runs.sort_by(|a, b| a.real.total_cmp(&b.real));
    runs.remove(ROUNDS / 2)
}

/// A real node_exporter, killed when dropped.
struct Exporter {
    child: Child,
    addr: SocketAddr,
}

impl Exporter {
    fn start() -> Self {
        let addr = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let child = Command::new("prometheus-node-exporter")
            .arg(format!("--web.listen-address={addr}"))
            .arg("--web.max-requests=0")
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus-node-exporter is not installed; .ci/test installs it");
        while TcpStream::connect(addr).is_err() {
            std::thread::yield_now();
        }
        Self { child, addr }
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
