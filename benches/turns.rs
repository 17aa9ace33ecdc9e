//! How long a small request waits while another one costs as much as it can, on a fleet of 100,000
//! devices: each row is a costly request, the time that it takes, and the longest that an answer of a
//! line took meanwhile on the same threads. Then the same for collects that hang up together, beside a
//! roll call of one device by another client, on the thread that asks all of them.
//!
//! `cargo bench --bench turns` prints Markdown. The tests count the same in devices
//! (`server::cost`, `server::crowd`); the time is of the machine, and of whatever else runs on it.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_types,
    reason = "a program for people: it prints, measures real time, and fails by panicking"
)]
#![allow(unreachable_pub, reason = "nobody uses a benchmark from outside")]

mod service;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle, available_parallelism};
use std::time::{Duration, Instant};

use service::Service;
use socket2::{Domain, Socket, Type};

const DEVICES: usize = 100_000;

/// How often each costly request is made.
const ROUNDS: usize = 3;

/// Between two small requests of a connection.
const PAUSE: Duration = Duration::from_millis(1);

/// A small answer that no thread of its own gives.
const SMALL: &str = "/assets/icon.svg";

/// A roll call of one device.
const PROBE: &str = "/v1/report?cluster=small";

/// Another client than who makes costly requests.
const OTHER_CLIENT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

fn main() {
    let one = format!("[[clusters]]\nid = 1\nnodes = \"n[1-{DEVICES}]\"\n");
    measure("one cluster", &one, "1", "n7");
    let cluster = |it: usize| format!("[[clusters]]\nid = \"n{it}\"\nnodes = \"n[1-100]\"\n");
    let many: String = (1..=DEVICES / 100).map(cluster).collect();
    measure("1,000 clusters", &many, "n7", "n7");
    let cluster = |it: usize| format!("[[clusters]]\nid = \"n{it}\"\nnodes = \"n1\"\n");
    let each: String = (1..=DEVICES).map(cluster).collect();
    measure("a cluster for each device", &each, "n7", "n1");
    measure_hang_ups();
}

/// How many collects hang up together.
const HANG_UPS: [usize; 2] = [20, 300];

/// Collects that hang up when all have asked all devices, on one thread with a cluster of one device.
fn measure_hang_ups() {
    println!("## Collects of {DEVICES} devices that hang up together\n");
    println!(
        "| collects | until none is left | another client's roll call of one device takes at most: \
         while they ask | from the hang-ups on | and a small answer |"
    );
    println!("| ---: | ---: | ---: | ---: | ---: |");
    let text = format!(
        "[http]\nproxies = []\nrate = {{ per_second = 100000, burst = 100000 }}\n[lookup]\n\
         latency = \"2m\"\ntimeout = \"3m\"\n[collect]\ndeadline = \"4m\"\nthreads = 1\n\
         [[clusters]]\nid = \"large\"\nnodes = \"n[1-{DEVICES}]\"\n[[clusters]]\nid = \"small\"\n\
         nodes = [{{ ids = \"n1\", lookup = {{ latency = \"1ms\" }} }}]\n"
    );
    for count in HANG_UPS {
        let service = Service::start(&text);
        let addr = service.addr;
        let collect = |_| {
            let mut stream = TcpStream::connect(addr).unwrap();
            let line = "GET /v1/report?cluster=large";
            write!(stream, "{line} HTTP/1.1\r\nHost: {addr}\r\n\r\n").unwrap();
            stream
        };
        let probes = Small::start(addr, PROBE, OTHER_CLIENT, 1);
        let collects: Vec<TcpStream> = (0..count).map(collect).collect();
        let joined = (count - 1) * DEVICES;
        while metric(addr, "fleetcall_lookups_joined_total") < joined {
            thread::park_timeout(Duration::from_millis(100));
        }
        let asking = probes.end();
        let probes = Small::start(addr, PROBE, OTHER_CLIENT, 1);
        let small = Small::start(addr, SMALL, OTHER_CLIENT, connections());
        let began = Instant::now();
        drop(collects);
        // One may be the probe's.
        while metric(addr, "fleetcall_lookups_in_flight") > 1 {
            thread::park_timeout(Duration::from_millis(10));
        }
        let took = began.elapsed();
        let (probe, small) = (probes.end(), small.end());
        let ms = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1e3);
        let (took, asking, probe, small) = (ms(took), ms(asking), ms(probe), ms(small));
        println!("| {count} | {took} | {asking} | {probe} | {small} |");
    }
    println!();
}

fn written(clusters: &str) -> String {
    format!("[lookup]\nlatency = \"1ms\"\n[collect]\ndeadline = \"1m\"\n{clusters}")
}

/// What is counted of everything together.
fn metric(addr: SocketAddr, name: &str) -> usize {
    let mut stream = TcpStream::connect(addr).unwrap();
    let head = format!("Host: {addr}\r\nConnection: close\r\nAccept: text/plain");
    write!(stream, "GET /metrics HTTP/1.1\r\n{head}\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let mut lines = text.lines();
    let value = lines.find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    value.unwrap_or_else(|| panic!("there is no {name}"))
}

/// As many connections as reach each thread of the server.
fn connections() -> usize {
    2 * available_parallelism().map_or(1, usize::from)
}

/// A connection of the client with this address.
fn connect(from: Ipv4Addr, addr: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((from, 0)).into()).unwrap();
    socket.connect(&addr.into()).unwrap();
    socket.into()
}

/// Small requests, one after the other on each of some connections.
struct Small {
    stop: Arc<AtomicBool>,
    /// The longest that an answer took, in microseconds.
    longest: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Small {
    fn start(addr: SocketAddr, path: &'static str, from: Ipv4Addr, connections: usize) -> Self {
        let (stop, longest) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let ask = |_| {
            let (stop, longest) = (Arc::clone(&stop), Arc::clone(&longest));
            thread::spawn(move || {
                let mut stream = connect(from, addr);
                stream.set_nodelay(true).unwrap();
                while !stop.load(Ordering::Relaxed) {
                    let asked = Instant::now();
                    write!(stream, "GET {path} HTTP/1.1\r\nHost: {addr}\r\n\r\n").unwrap();
                    answer(&mut stream);
                    let took = u64::try_from(asked.elapsed().as_micros()).unwrap();
                    longest.fetch_max(took, Ordering::Relaxed);
                    thread::park_timeout(PAUSE);
                }
            })
        };
        let threads = (0..connections).map(ask).collect();
        Self {
            stop,
            longest,
            threads,
        }
    }

    fn end(self) -> Duration {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().unwrap();
        }
        Duration::from_micros(self.longest.load(Ordering::Relaxed))
    }
}

/// Reads an answer whose length its head says.
fn answer(stream: &mut TcpStream) {
    let (mut text, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        let len = stream.read(&mut piece).unwrap();
        assert!(len > 0, "the connection was closed");
        text.extend_from_slice(&piece[..len]);
        let Some(end) = text.windows(4).position(|it| it == b"\r\n\r\n") else {
            continue;
        };
        let head = String::from_utf8_lossy(&text[..end]).to_ascii_lowercase();
        let mut lines = head.lines();
        let body = lines.find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        let body: usize = body.unwrap();
        if text.len() >= end + 4 + body {
            return;
        }
    }
}

/// Makes a costly request and takes its answer, or hangs up after so long; gives its status.
fn ask(addr: SocketAddr, request: &Costly) -> String {
    let mut stream = TcpStream::connect(addr).unwrap();
    write!(
        stream,
        "{} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\nContent-Length: 0\r\nAccept: {}\r\n\r\n",
        request.line, request.accept
    )
    .unwrap();
    if let Some(wait) = request.hangs_up {
        thread::park_timeout(wait);
        return "–".to_owned();
    }
    let (mut piece, mut head) = (vec![0; 256 << 10], Vec::new());
    while let Ok(len @ 1..) = stream.read(&mut piece) {
        if head.len() < 12 {
            head.extend_from_slice(&piece[..len.min(12)]);
        }
    }
    String::from_utf8_lossy(head.get(9..12).unwrap_or_default()).into_owned()
}

struct Costly {
    what: String,
    line: String,
    accept: &'static str,
    hangs_up: Option<Duration>,
}

fn measure(fleet: &str, clusters: &str, cluster: &str, device: &str) {
    println!("## {DEVICES} devices in {fleet}\n");
    println!("| request | status | it takes | another one takes at most |");
    println!("| --- | ---: | ---: | ---: |");
    let service = Service::start(&written(clusters));
    let row = |what: &str, work: &dyn Fn() -> String| {
        let small = Small::start(service.addr, SMALL, Ipv4Addr::LOCALHOST, connections());
        let (began, mut status) = (Instant::now(), String::new());
        for _ in 0..ROUNDS {
            status = work();
        }
        let took = began.elapsed() / u32::try_from(ROUNDS).unwrap();
        let longest = small.end();
        let ms = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1e3);
        println!("| {what} | {status} | {} | {} |", ms(took), ms(longest));
    };
    row("none", &|| {
        thread::park_timeout(Duration::from_secs(1));
        "–".to_owned()
    });
    for costly in requests(cluster, device) {
        row(&costly.what, &|| ask(service.addr, &costly));
    }
    let other = clusters.replace("nodes = \"n[1-", "nodes = \"m[1-");
    let other = other.replace("nodes = \"n1\"", "nodes = \"m1\"");
    let reload = costly("POST /v1/reload", "*/*");
    row("a reload that replaces all devices", &|| {
        let now = fs::read_to_string(&service.config).unwrap();
        let next = written(&other);
        let next = if now == next { written(clusters) } else { next };
        fs::write(&service.config, next).unwrap();
        ask(service.addr, &reload)
    });
    row("all changes", &|| {
        ask(service.addr, &costly("GET /v1/changes", "*/*"))
    });
    println!();
}

fn costly(line: &str, accept: &'static str) -> Costly {
    Costly {
        what: format!("`{line}`"),
        line: line.replace('[', "%5B").replace(']', "%5D"),
        accept,
        hangs_up: None,
    }
}

fn requests(cluster: &str, device: &str) -> Vec<Costly> {
    let mut all = vec![
        costly("GET /test", "*/*"),
        costly("GET /v1/report", "*/*"),
        costly("GET /v1/report?outcome=failed", "*/*"),
        costly("GET /v1/report?max_age=1h", "*/*"),
        costly("GET /v1/clusters", "*/*"),
        costly(&format!("GET /v1/clusters/{cluster}"), "*/*"),
        costly(&format!("GET /v1/clusters/{cluster}/nodes/x"), "*/*"),
        costly("GET /v1/clusters/x", "*/*"),
        costly(
            &format!("POST /v1/clusters/{cluster}/nodes/{device}/collect"),
            "*/*",
        ),
        costly("GET /v1/supervision", "*/*"),
        costly("GET /metrics", "*/*"),
        costly("GET /v1/report?device=x7", "*/*"),
        costly("GET /v1/report?exclude=n7", "*/*"),
    ];
    for (what, accept) in [
        ("lines", "application/x-ndjson"),
        ("events", "text/event-stream"),
    ] {
        all.push(Costly {
            what: format!("`GET /v1/report` as {what}"),
            ..costly("GET /v1/report", accept)
        });
    }
    let list = |parts: Vec<String>| parts.join(",");
    for (what, filter) in [
        ("`device` of one id 1,900 times", "n7,".repeat(1900) + "n7"),
        (
            "`device` of 400 ranges",
            list(
                (1..=400)
                    .map(|it| format!("n[{it}-{}]", it + 999))
                    .collect(),
            ),
        ),
        (
            "`device` of 60 parts with two brackets",
            list((10..70).map(|it| format!("n[1-9][0-{it}]")).collect()),
        ),
    ] {
        for name in ["device", "exclude"] {
            let line = format!("GET /v1/report?{name}={filter}&outcome=failed");
            all.push(Costly {
                what: what.replace("device", name),
                ..costly(&line, "*/*")
            });
        }
    }
    all.push(Costly {
        what: "`GET /v1/report`, hung up after 20 ms".to_owned(),
        hangs_up: Some(Duration::from_millis(20)),
        ..costly("GET /v1/report", "*/*")
    });
    all
}
