//! Real servers, and fleetcall as one.

use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// A running server, killed when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) addr: SocketAddr,
}

/// Where `.ci/test` installs it.
const EMULATOR: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/target/sushy-tools/bin/sushy-emulator"
);

impl Server {
    pub(crate) fn node_exporter() -> Self {
        let addr = free_port();
        let child = Command::new("prometheus-node-exporter")
            .arg(format!("--web.listen-address={addr}"))
            .arg("--web.max-requests=0")
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus-node-exporter is not installed; .ci/test installs it");
        Self { child, addr }.up()
    }

    pub(crate) fn snmpd(dir: &Path) -> Self {
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
        let server = Self { child, addr };
        assert!((0..20).any(|_| is_up()), "snmpd does not start");
        server
    }

    /// A Redfish service, which logs to `emulator.log`.
    pub(crate) fn emulator(dir: &Path) -> Self {
        let addr = free_port();
        let config = dir.join("emulator.conf");
        let folder = dir.display();
        let text = format!("SUSHY_EMULATOR_STATE_DIR = \"{folder}\"\n");
        std::fs::write(&config, text).unwrap();
        let log = std::fs::File::create(dir.join("emulator.log")).unwrap();
        let child = Command::new(EMULATOR)
            .args(["--fake", "-i", "127.0.0.1", "-p"])
            .arg(addr.port().to_string())
            .arg("--config")
            .arg(config)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("sushy-emulator is not installed; .ci/test installs it");
        Self { child, addr }.up()
    }

    /// Prometheus, with this configuration.
    pub(crate) fn prometheus(dir: &Path, config: &str) -> Self {
        let addr = free_port();
        let path = dir.join("prometheus.yml");
        std::fs::write(&path, config).unwrap();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", path.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                dir.join("tsdb").display()
            ))
            .arg(format!("--web.listen-address={addr}"))
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus is not installed; apt install prometheus");
        Self { child, addr }.up()
    }

    /// `fleetcall serve`.
    pub(crate) fn fleetcall(config: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_fleetcall"))
            .env("RUST_LOG", "fleetcall=info")
            .args(["--port", "0", "--config"])
            .arg(config)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let (sender, listening) = mpsc::channel();
        // Nobody may block on a full pipe, so it is read to its end.
        std::thread::spawn(move || {
            for line in log.lines().map_while(Result::ok) {
                if let Some((_, addr)) = line.split_once("listening addr=") {
                    sender.send(addr.parse().unwrap()).ok();
                }
            }
        });
        let Ok(addr) = listening.recv_timeout(Duration::from_secs(60)) else {
            child.kill().ok();
            panic!("it does not listen within a minute");
        };
        Self { child, addr }
    }

    fn up(self) -> Self {
        let is_up = || {
            std::thread::park_timeout(Duration::from_millis(50));
            TcpStream::connect(self.addr).is_ok()
        };
        assert!((0..400).any(|_| is_up()), "it does not start");
        self
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it answers, within minutes.
    pub(crate) fn get(&self, path: &str) -> String {
        let output = Command::new("curl")
            .args(["-sSf", "-m", "300"])
            .arg(format!("http://{}{path}", self.addr))
            .output()
            .unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{path}: {complaint}");
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn free_port() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

/// What the emulator has been asked for.
pub(crate) fn paths_asked(dir: &Path) -> Vec<String> {
    let log = std::fs::read_to_string(dir.join("emulator.log")).unwrap();
    let paths: Vec<String> = log
        .lines()
        .filter_map(|line| line.split_once("\"GET ")?.1.split(' ').next())
        .map(str::to_owned)
        .collect();
    assert!(!paths.is_empty(), "it logs no requests: {log}");
    paths
}
