//! Real NATS servers, on free ports of the loopback.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// The servers that `.ci/test` installs: the newest, and the oldest one that fleetcall takes.
const NEWEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/nats/bin/nats-server");
const OLDEST: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/target/nats-2.11/bin/nats-server"
);

const PATIENCE: Duration = Duration::from_secs(120);

/// A server with JetStream, killed when dropped. Its files outlive a restart.
pub struct Nats {
    child: Child,
    pub addr: SocketAddr,
    program: &'static str,
    config: String,
    dir: TempDir,
    sending: Mutex<Option<TcpStream>>,
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
        Self::start_on(NEWEST, addr, |_| String::new())
    }

    /// The oldest one that fleetcall takes.
    #[allow(dead_code, reason = "benchmarks take the newest")]
    pub fn start_oldest() -> Self {
        Self::start_on(OLDEST, nobody(), |_| String::new())
    }

    /// With more lines of configuration, of files that may be put into a folder.
    pub fn start_with(more: impl FnOnce(&Path) -> String) -> Self {
        Self::start_on(NEWEST, nobody(), more)
    }

    fn start_on(
        program: &'static str,
        addr: SocketAddr,
        more: impl FnOnce(&Path) -> String,
    ) -> Self {
        let dir = TempDir::new().unwrap();
        let config = more(dir.path());
        let child = spawn(program, &dir, addr, &config);
        let mut nats = Self {
            child,
            addr,
            program,
            config,
            dir,
            sending: Mutex::default(),
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

    #[allow(dead_code, reason = "benchmarks look at its processor time")]
    pub fn pid(&self) -> u32 {
        self.child.id()
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

    /// Removes a key of a bucket: `DEL` keeps what was there before it, `PURGE` does not.
    pub fn remove(&self, bucket: &str, key: &str, operation: &str) {
        let mut header = format!("NATS/1.0\r\nKV-Operation: {operation}\r\n");
        if operation == "PURGE" {
            header += "Nats-Rollup: sub\r\n";
        }
        header += "\r\n";
        let len = header.len();
        let mut stream = TcpStream::connect(self.addr).unwrap();
        let said = format!(
            "CONNECT {{\"headers\":true,\"verbose\":false}}\r\n\
             HPUB $KV.{bucket}.{key} {len} {len}\r\n{header}\r\nPING\r\n"
        );
        stream.write_all(said.as_bytes()).unwrap();
        let mut lines = BufReader::new(stream).lines();
        assert!(lines.any(|line| line.unwrap() == "PONG"));
    }

    /// Sends a message; all that are sent come in this order.
    pub fn send(&self, subject: &str, reply: Option<&str>, payload: &str) {
        let (reply, len) = (reply.unwrap_or_default(), payload.len());
        let said = format!("PUB {subject} {reply} {len}\r\n{payload}\r\n");
        let mut sending = self.sending.lock().unwrap();
        let stream = sending.get_or_insert_with(|| {
            let mut stream = TcpStream::connect(self.addr).unwrap();
            stream
                .write_all(b"CONNECT {\"verbose\":false}\r\n")
                .unwrap();
            stream
        });
        stream.write_all(said.as_bytes()).unwrap();
    }

    /// Asks JetStream's API as this user, if there are users; what it answers.
    pub fn api_as(&self, user: &str, request: &str, payload: &Value) -> Value {
        let mut stream = TcpStream::connect(self.addr).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let payload = match payload {
            Value::Null => String::new(),
            some => some.to_string(),
        };
        let len = payload.len();
        let said = format!(
            "CONNECT {{\"verbose\":false{user}}}\r\nSUB _INBOX.test 1\r\n\
             PUB $JS.API.{request} _INBOX.test {len}\r\n{payload}\r\n"
        );
        stream.write_all(said.as_bytes()).unwrap();
        let mut answers = BufReader::new(stream);
        let mut line = String::new();
        while !line.starts_with("MSG") {
            line.clear();
            assert_ne!(answers.read_line(&mut line).unwrap(), 0, "{request}");
            assert!(!line.starts_with("-ERR"), "{request}: {line}");
        }
        let len: usize = line.split_whitespace().last().unwrap().parse().unwrap();
        let mut payload = vec![0; len];
        answers.read_exact(&mut payload).unwrap();
        serde_json::from_slice(&payload).unwrap()
    }

    /// Asks JetStream's API; what it answers.
    pub fn api(&self, request: &str, payload: &Value) -> Value {
        self.api_as("", request, payload)
    }

    /// Does something by JetStream's API.
    pub fn does(&self, request: &str, payload: &Value) -> Value {
        let answer = self.api(request, payload);
        assert!(answer["error"].is_null(), "{request}: {answer}");
        answer
    }

    /// Deletes a bucket.
    pub fn delete(&self, bucket: &str) {
        self.does(&format!("STREAM.DELETE.KV_{bucket}"), &Value::Null);
    }

    /// What the server knows of a bucket, as soon as there is one: it may be made anew.
    pub fn info(&self, bucket: &str) -> Value {
        let start = Instant::now();
        loop {
            let info = self.api(&format!("STREAM.INFO.KV_{bucket}"), &Value::Null);
            if info["error"].is_null() {
                return info;
            }
            assert!(start.elapsed() < PATIENCE, "{bucket}: {info}");
        }
    }

    /// The payloads of all messages with such a subject, from now on.
    pub fn listen(&self, subject: &str) -> Receiver<String> {
        let mut stream = TcpStream::connect(self.addr).unwrap();
        let said = format!(
            "CONNECT {{\"verbose\":false,\"headers\":true}}\r\nSUB {subject} 1\r\nPING\r\n"
        );
        stream.write_all(said.as_bytes()).unwrap();
        let mut answers = BufReader::new(stream.try_clone().unwrap());
        let (sender, payloads) = channel();
        let (listening, listens) = channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            loop {
                line.clear();
                if answers.read_line(&mut line).unwrap_or_default() == 0 {
                    return;
                }
                if line.starts_with("PONG") {
                    listening.send(()).ok();
                } else if line.starts_with("PING") {
                    stream.write_all(b"PONG\r\n").ok();
                } else if line.starts_with("MSG") || line.starts_with("HMSG") {
                    let len: usize = line.split_whitespace().last().unwrap().parse().unwrap();
                    let mut payload = vec![0; len + 2];
                    if answers.read_exact(&mut payload).is_err() {
                        return;
                    }
                    payload.truncate(len);
                    sender
                        .send(String::from_utf8_lossy(&payload).into_owned())
                        .ok();
                }
            }
        });
        listens.recv_timeout(PATIENCE).unwrap();
        payloads
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

    /// The lines of configuration that it was started with.
    #[allow(dead_code, reason = "benchmarks change nothing")]
    pub fn config(&self) -> &str {
        &self.config
    }

    /// As [`Nats::restart`], with other lines of configuration.
    #[allow(dead_code, reason = "benchmarks change nothing")]
    pub fn restart_with(&mut self, config: String) {
        self.config = config;
        self.restart();
    }

    /// On the same port, with the same files.
    pub fn restart(&mut self) {
        self.child = spawn(self.program, &self.dir, self.addr, &self.config);
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

fn spawn(program: &str, dir: &TempDir, addr: SocketAddr, more: &str) -> Child {
    let store = dir.path().join("jetstream");
    let file = dir.path().join("nats.conf");
    let config = format!(
        "listen: \"{addr}\"\njetstream {{ store_dir: {store:?}, sync_interval: always }}\n{more}\n"
    );
    std::fs::write(&file, config).unwrap();
    Command::new(program)
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
