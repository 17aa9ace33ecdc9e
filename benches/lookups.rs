//! What real lookups cost: how many a second, and how much processor time each, beside the field's
//! own client doing the same against the same server in the same run; and what a device takes while
//! nobody asks it.
//!
//! It starts Debian's `prometheus-node-exporter` and `snmpd` on free ports. fleetcall asks each as so
//! many devices, 32 at a time, and makes facts of the answers. `curl` fetches the same page as often
//! and throws it away; `snmpbulkwalk` reads the same table of ports, a process each. Run it with
//! `cargo bench --bench lookups`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::disallowed_types,
    reason = "a program for people: it prints, measures real time, and fails by panicking"
)]

use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const SCRAPES: usize = 2_000;
const WALKS: usize = 500;
const AT_REST: usize = 10_000;
const AT_ONCE: usize = 32;
const ROUNDS: usize = 3;

fn main() {
    let dir = tempfile::tempdir().unwrap();
    let exporter = Server::node_exporter();
    let url = format!("http://{}/metrics", exporter.addr);
    let prometheus = format!("driver = \"prometheus\"\nurl = {url:?}\n");
    println!("{SCRAPES} scrapes of one node_exporter, {AT_ONCE} at a time: median of {ROUNDS}\n");
    compare(
        "curl",
        &format!("curl -sf -Z --parallel-max {AT_ONCE} -o /dev/null '{url}?[1-{SCRAPES}]'"),
        &fleetcall(dir.path(), &prometheus, SCRAPES),
        SCRAPES,
    );
    let agent = Server::snmpd(dir.path());
    let snmp = format!(
        "driver = \"snmp\"\naddress = \"{}\"\ncommunity = \"public\"\nretransmit = \"30s\"\n",
        agent.addr
    );
    println!("\n{WALKS} lookups of one snmpd, {AT_ONCE} at a time: median of {ROUNDS}\n");
    compare(
        "snmpbulkwalk",
        &format!(
            "seq {WALKS} | xargs -P {AT_ONCE} -I @ snmpbulkwalk -v2c -c public -On {} 1.3.6.1.2.1.2.2 > /dev/null",
            agent.addr
        ),
        &fleetcall(dir.path(), &snmp, WALKS),
        WALKS,
    );
    println!("\nMemory of a device while nobody asks it, over {AT_REST} of them\n");
    println!("| driver | in RAM |");
    println!("| --- | ---: |");
    let user =
        "driver = \"snmp\"\naddress = \"{id}.example:161\"\nversion = \"3\"\nusername = \"a\"\n";
    let web = "driver = \"redfish\"\nurl = \"https://{id}-bmc.example\"\n";
    let command = "driver = \"exec\"\ncommand = [\"/bin/true\", \"{id}\"]\n";
    for (name, lookup) in [
        ("simulated", ""),
        ("tcp", "driver = \"tcp\"\naddress = \"{id}.example:22\"\n"),
        ("prometheus", &prometheus),
        ("redfish", web),
        ("snmp, 2c", &snmp),
        ("snmp, 3", user),
        ("exec", command),
    ] {
        let (few, many) = (
            at_rest(dir.path(), lookup, 1),
            at_rest(dir.path(), lookup, AT_REST),
        );
        println!(
            "| {name} | {:.0} B |",
            (many - few) as f64 * 1024.0 / (AT_REST - 1) as f64
        );
    }
}

fn write_config(dir: &Path, lookup: &str, devices: usize) -> PathBuf {
    let path = dir.join("clusters.toml");
    let text = format!(
        "allow_inline_secrets = true\n[lookup]\ntimeout = \"10m\"\n{lookup}\n\
         [collect]\ndeadline = \"20m\"\nmax_concurrent = {AT_ONCE}\n\
         [[clusters]]\nid = 1\nnodes = \"1-{devices}\"\n"
    );
    std::fs::write(&path, text).unwrap();
    path
}

/// The shell's command for one roll call.
fn fleetcall(dir: &Path, lookup: &str, devices: usize) -> String {
    let config = write_config(dir, lookup, devices);
    let program = env!("CARGO_BIN_EXE_fleetcall");
    format!(
        "{program} collect --config {} > /dev/null",
        config.display()
    )
}

/// The memory of an idle service in RAM, in KiB.
fn at_rest(dir: &Path, lookup: &str, devices: usize) -> usize {
    let config = write_config(dir, lookup, devices);
    let mut child = Command::new(env!("CARGO_BIN_EXE_fleetcall"))
        .args(["--port", "0", "--config"])
        .arg(config)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let log = BufReader::new(child.stderr.take().unwrap());
    let is_up = log
        .lines()
        .map_while(Result::ok)
        .any(|line| line.contains("listening"));
    assert!(is_up, "it ended");
    // Its devices' actors are started by their own threads: wait until that is over.
    let mut memory = resident(child.id());
    for _ in 0..100 {
        std::thread::park_timeout(Duration::from_millis(20));
        memory = memory.max(resident(child.id()));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    memory
}

fn resident(pid: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn compare(name: &str, peer: &str, fleetcall: &str, lookups: usize) {
    println!("| client | lookups a second | its processor time a lookup | ratio to {name} |");
    println!("| --- | ---: | ---: | ---: |");
    let (peer, fleetcall) = (measure(peer), measure(fleetcall));
    for (name, measured) in [(name, &peer), ("fleetcall", &fleetcall)] {
        println!(
            "| {name} | {:.0} | {:.2} ms | {:.2} |",
            lookups as f64 / measured.real,
            measured.cpu / lookups as f64 * 1e3,
            measured.cpu / peer.cpu
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

/// A real server, killed when dropped.
struct Server {
    child: Child,
    addr: SocketAddr,
}

impl Server {
    fn node_exporter() -> Self {
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
        let is_up = || {
            std::thread::park_timeout(Duration::from_millis(50));
            TcpStream::connect(addr).is_ok()
        };
        assert!((0..200).any(|_| is_up()), "node_exporter does not start");
        Self { child, addr }
    }

    fn snmpd(dir: &Path) -> Self {
        let addr = UdpSocket::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let config = dir.join("snmpd.conf");
        std::fs::write(&config, "rocommunity public 127.0.0.1\n").unwrap();
        let child = Command::new("snmpd")
            .args(["-f", "-Ln", "-C", "-c"])
            .arg(config)
            .arg(format!("udp:{addr}"))
            .env("SNMP_PERSISTENT_DIR", dir)
            .stderr(Stdio::null())
            .spawn()
            .expect("snmpd is not installed; .ci/test installs it");
        let is_up = || {
            let get = Command::new("snmpget")
                .args(["-v2c", "-c", "public", "-t", "1", "-r", "0"])
                .args([&addr.to_string(), "1.3.6.1.2.1.1.5.0"])
                .output();
            get.unwrap().status.success()
        };
        assert!((0..20).any(|_| is_up()), "snmpd does not start");
        Self { child, addr }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
