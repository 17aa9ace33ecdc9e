//! What `GET /test` costs beyond one lookup's latency, and how much memory, by number of devices.
//!
//! For each size the real binary is started on a free port and asked by a client that reads the
//! whole answer and checks it. Beside it, in the same run, the least that the work can cost: as
//! many bare tokio timers of the same latency, each in a task of its own, without actors,
//! supervision, HTTP or JSON. Run it with `cargo bench --bench collect`; sizes may be given:
//! `cargo bench --bench collect -- 32 5000`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::disallowed_types,
    reason = "a program for people: it prints, measures real time, and fails by panicking"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const LATENCY: Duration = Duration::from_secs(1);
const ROUNDS: usize = 5;
const SIZES: [usize; 3] = [32, 1_000, 100_000];

fn main() {
    // Cargo passes `--bench`, and whoever runs this may pass sizes.
    let sizes: Vec<usize> = std::env::args()
        .filter_map(|argument| argument.parse().ok())
        .collect();
    let sizes = if sizes.is_empty() {
        SIZES.to_vec()
    } else {
        sizes
    };
    println!("GET /test beyond a lookup of 1 s: median of {ROUNDS} (least to most)\n");
    println!(
        "| devices | beyond 1 s | bare timers beyond 1 s | ratio | first byte to last | peak memory |"
    );
    println!("| ---: | ---: | ---: | ---: | ---: | ---: |");
    for devices in sizes {
        let server = Server::start(devices);
        // The first answer also pays for what is set up once.
        server.ask();
        let rounds: Vec<(Duration, Duration)> = (0..ROUNDS).map(|_| server.ask()).collect();
        let over = spread(rounds.iter().map(|&(took, _)| took.saturating_sub(LATENCY)));
        let transfer = spread(rounds.iter().map(|&(_, transfer)| transfer));
        let bare = spread((0..ROUNDS).map(|_| bare_timers(devices).saturating_sub(LATENCY)));
        println!(
            "| {devices} | {over} | {bare} | {:.1} | {transfer} | {} |",
            over.median.as_secs_f64() / bare.median.as_secs_f64(),
            server.peak_memory()
        );
    }
}

/// A running `fleetcall serve`, killed when dropped.
struct Server {
    child: Child,
    port: u16,
    devices: usize,
}

impl Server {
    fn start(devices: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("clusters.toml");
        std::fs::write(&path, config(devices)).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_fleetcall"))
            .env("RUST_LOG", "fleetcall=info")
            .args(["--port", "0", "--config"])
            .arg(path)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let port = loop {
            let mut line = String::new();
            assert!(log.read_line(&mut line).unwrap() > 0, "it ended");
            if let Some((_, port)) = line.trim().split_once("listening addr=127.0.0.1:") {
                break port.parse().unwrap();
            }
        };
        // Nobody may block on a full pipe.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Self {
            child,
            port,
            devices,
        }
    }

    /// Asks once: how long until the last byte, and how long from the first to the last.
    fn ask(&self) -> (Duration, Duration) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let start = Instant::now();
        stream
            .write_all(b"GET /test HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")
            .unwrap();
        let mut answer = vec![0; 1];
        stream.read_exact(&mut answer).unwrap();
        let first = Instant::now();
        stream.read_to_end(&mut answer).unwrap();
        let end = Instant::now();
        assert!(
            answer.starts_with(b"HTTP/1.1 200 OK\r\n"),
            "not all devices answered"
        );
        let text = String::from_utf8(answer).unwrap();
        assert_eq!(text.matches("node_id").count(), self.devices / 2);
        assert_eq!(text.matches("switch_id").count(), self.devices / 2);
        (end - start, end - first)
    }

    /// The most memory it ever had in RAM, and that a device.
    fn peak_memory(&self) -> String {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmHWM:"))
            .unwrap();
        let kib: usize = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        format!(
            "{:.1} MiB ({:.2} KiB a device)",
            kib as f64 / 1024.0,
            kib as f64 / self.devices as f64
        )
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Four clusters, half nodes and half switches.
fn config(devices: usize) -> String {
    assert!(
        devices > 0 && devices.is_multiple_of(8),
        "a multiple of 8 devices"
    );
    let each = devices / 8;
    let clusters: String = (1..=4)
        .map(|id| {
            format!("[[clusters]]\nid = {id}\nnodes = \"1-{each}\"\nswitches = \"1-{each}\"\n")
        })
        .collect();
    format!("[lookup]\nlatency = \"1s\"\n{clusters}")
}

/// As many timers, as many tasks, on a runtime of one thread, as each arbiter has one.
fn bare_timers(devices: usize) -> Duration {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async {
        let start = Instant::now();
        let tasks: Vec<_> = (0..devices)
            .map(|_| tokio::spawn(tokio::time::sleep(LATENCY)))
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        start.elapsed()
    })
}

struct Spread {
    least: Duration,
    median: Duration,
    most: Duration,
}

fn spread(values: impl Iterator<Item = Duration>) -> Spread {
    let mut values: Vec<Duration> = values.collect();
    values.sort();
    Spread {
        least: values[0],
        median: values[values.len() / 2],
        most: values[values.len() - 1],
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ms = |value: Duration| value.as_secs_f64() * 1e3;
        write!(
            f,
            "{:.1} ms ({:.1}–{:.1})",
            ms(self.median),
            ms(self.least),
            ms(self.most)
        )
    }
}
