//! How long `/healthz` takes while clients of one address hold what they can: reports that are not
//! read, reports that are asked for again and again, and connections that say nothing or little.
//!
//! Run it with `cargo bench --bench health`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::disallowed_types,
    reason = "a program for people: it prints, measures real time, and fails by panicking"
)]
#![allow(unreachable_pub, reason = "nobody uses a benchmark from outside")]

#[allow(dead_code, reason = "another one changes the configuration")]
mod service;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use service::Service;

const DEVICES: usize = 5_000;
const UNREAD: usize = 1_024;
const BUSY: usize = 8;
const SILENT: usize = 1_500;
const PROBES: usize = 200;

fn begin(service: &Service, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(service.addr).unwrap();
    stream.write_all(text.as_bytes()).ok();
    stream
}

fn measure(service: &Service, what: &str) {
    let mut times: Vec<_> = (0..PROBES)
        .map(|_| {
            let start = Instant::now();
            let mut answer = String::new();
            let mut stream = begin(service, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
            stream.read_to_string(&mut answer).unwrap();
            assert!(answer.starts_with("HTTP/1.1 "), "{answer}");
            start.elapsed()
        })
        .collect();
    times.sort();
    let ms = |place: usize| times[place.min(PROBES - 1)].as_secs_f64() * 1e3;
    let (median, p99, worst) = (ms(PROBES / 2), ms(PROBES * 99 / 100), ms(PROBES));
    println!("| {what} | {median:.2} ms | {p99:.2} ms | {worst:.2} ms |");
}

fn main() {
    let limit = getrlimit(Resource::Nofile);
    let most = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, most).unwrap();
    // One more than is held, so that it is the work that is waited for.
    let service = Service::start(&format!(
        "[lookup]\nlatency = \"5ms\"\n[collect]\nmax_waiting = {}\n\
         [[clusters]]\nid = 1\nnodes = \"a-device-with-a-longer-name[1-{DEVICES}]\"\n",
        UNREAD + BUSY + 1
    ));
    println!("| {PROBES} × /healthz beside | median | 99th percentile | worst |");
    println!("| --- | ---: | ---: | ---: |");
    measure(&service, "nothing");
    let drips = ["", "GET /heal", "GET /healthz HTTP/1.1\r\nX-Drip: "];
    let silent: Vec<_> = (0..SILENT)
        .map(|n| begin(&service, drips[n % drips.len()]))
        .collect();
    measure(
        &service,
        &format!("{SILENT} connections that say nothing or little"),
    );
    drop(silent);
    let report =
        "GET /v1/report?max_age=1h HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let unread: Vec<_> = (0..UNREAD).map(|_| begin(&service, report)).collect();
    measure(
        &service,
        &format!("{UNREAD} reports that are asked for and not read"),
    );
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..BUSY {
            scope.spawn(|| {
                let mut sink = Vec::new();
                while !is_over.load(Ordering::Relaxed) {
                    sink.clear();
                    begin(&service, report).read_to_end(&mut sink).ok();
                }
            });
        }
        std::thread::park_timeout(Duration::from_millis(500));
        measure(
            &service,
            &format!("these, and {BUSY} clients that read them again and again"),
        );
        is_over.store(true, Ordering::Relaxed);
    });
    drop(unread);
}
