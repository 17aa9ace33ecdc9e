//! Real NATS servers, on free ports of the loopback.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// The server that `.ci/test` installs.
const SERVER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/nats/bin/nats-server");

const PATIENCE: Duration = Duration::from_secs(20);

/// A server with JetStream, killed when dropped. Its files outlive a restart.
pub struct Nats {
    child: Child,
    pub addr: SocketAddr,
    config: String,
    dir: TempDir,
}

/// A port on which nobody listens.
pub fn nobody() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

impl Nats {
    pub fn start() -> Self {
        Self::start_with(|_| String::new())
    }

    /// On all addresses of this machine.
    pub fn start_everywhere() -> Self {
        let addr = SocketAddr::from(([0, 0, 0, 0], nobody().port()));
        Self::start_on(addr, |_| String::new())
    }

    /// With more lines of configuration, of files that may be put into a folder.
    pub fn start_with(more: impl FnOnce(&Path) -> String) -> Self {
        Self::start_on(nobody(), more)
    }

    fn start_on(addr: SocketAddr, more: impl FnOnce(&Path) -> String) -> Self {
        let dir = TempDir::new().unwrap();
        let config = more(dir.path());
        let child = spawn(&dir, addr, &config);
        let mut nats = Self {
            child,
            addr,
            config,
            dir,
        };
        nats.wait();
        nats
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn url(&self) -> String {
        format!("nats://{}", self.addr)
    }

    /// Puts something into a bucket.
    pub fn put(&self, bucket: &str, key: &str, value: &str) {
        let mut stream = TcpStream::connect(self.addr).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let len = value.len();
        let said = format!("CONNECT {{}}\r\nPUB $KV.{bucket}.{key} {len}\r\n{value}\r\nPING\r\n");
        stream.write_all(said.as_bytes()).unwrap();
        let mut lines = BufReader::new(stream).lines();
        assert!(lines.any(|line| line.unwrap() == "PONG"));
    }

    /// At once, as a power failure does it.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Loses what it had stored.
    pub fn wipe(&self) {
        std::fs::remove_dir_all(self.dir.path().join("jetstream")).unwrap();
    }

    /// On the same port, with the same files.
    pub fn restart(&mut self) {
        self.child = spawn(&self.dir, self.addr, &self.config);
        self.wait();
    }

    fn wait(&mut self) {
        let start = Instant::now();
        while TcpStream::connect(self.addr).is_err() {
            assert_eq!(self.child.try_wait().unwrap(), None, "it ended");
            assert!(start.elapsed() < PATIENCE, "it does not start");
            std::thread::yield_now();
        }
    }
}

fn spawn(dir: &TempDir, addr: SocketAddr, more: &str) -> Child {
    let store = dir.path().join("jetstream");
    let file = dir.path().join("nats.conf");
    let config = format!(
        "listen: \"{addr}\"\njetstream {{ store_dir: {store:?}, sync_interval: always }}\n{more}\n"
    );
    std::fs::write(&file, config).unwrap();
    Command::new(SERVER)
        .arg("-c")
        .arg(file)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("nats-server is not installed; .ci/test installs it")
}

impl Drop for Nats {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Three servers that are one.
pub struct Three(pub [Nats; 3]);

impl Three {
    pub fn start() -> Self {
        let routes = [(); 3].map(|()| nobody());
        let urls: Vec<String> = routes.iter().map(|it| format!("\"nats://{it}\"")).collect();
        let all = urls.join(", ");
        let mut number = 0;
        let servers = routes.map(|own| {
            number += 1;
            Nats::start_with(|_| {
                format!(
                    "server_name: n{number}\n\
                     cluster {{ name: three, listen: \"{own}\", routes: [{all}] }}"
                )
            })
        });
        Self(servers)
    }

    /// All of them, the first one first.
    pub fn url(&self) -> String {
        self.0.each_ref().map(Nats::url).join(",")
    }
}
