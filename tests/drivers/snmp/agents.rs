//! Agents to ask: Debian's `snmpd`, one of our own that does as it is told, and a bad line.

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rasn::ber;
use rasn::types::{Integer, ObjectIdentifier};
use rasn_smi::v2::{ObjectSyntax, SimpleSyntax};
use rasn_snmp::v2::{Pdu, Pdus, Response, VarBind, VarBindValue};
use rasn_snmp::v2c::Message;

/// How long an agent may take to start.
const PATIENCE: Duration = Duration::from_secs(120);

pub const PASSWORD: &str = "correct horse";
pub const OTHER_PASSWORD: &str = "battery staple";

/// The settings of a real `snmpd`: a community, users, and tables that it has no hardware for.
const CONFIG: &str = r#"
rocommunity public 127.0.0.1
sysName switch-7
sysLocation room 4, rack 2
createUser plain
rouser plain noauth
createUser sha1 SHA "correct horse"
rouser sha1 auth
createUser sha224 SHA-224 "correct horse"
rouser sha224 auth
createUser sha384 SHA-384 "correct horse"
rouser sha384 auth
createUser sha512 SHA-512 "correct horse"
rouser sha512 auth
createUser private SHA-256 "correct horse" AES "battery staple"
rouser private priv
createUser fleetcall SHA-256 "correct horse" AES "battery staple"
rouser fleetcall priv
createUser private192 SHA-1 "correct horse" AES-192 "battery staple"
rouser private192 priv
createUser private256 SHA-1 "correct horse" AES-256 "battery staple"
rouser private256 priv
override .1.3.6.1.2.1.47.1.1.1.1.5.1 integer 11
override .1.3.6.1.2.1.47.1.1.1.1.5.2 integer 3
override .1.3.6.1.2.1.47.1.1.1.1.9.2 octet_str "1.2.3"
override .1.3.6.1.2.1.47.1.1.1.1.10.2 octet_str "not this"
override .1.3.6.1.2.1.47.1.1.1.1.11.2 octet_str "SN-0042"
override .1.3.6.1.2.1.47.1.1.1.1.12.2 octet_str "Example Networks"
override .1.3.6.1.2.1.47.1.1.1.1.13.2 octet_str "XS-48"
override .1.0.8802.1.1.2.1.3.7.1.2.3 integer 5
override .1.0.8802.1.1.2.1.3.7.1.3.3 octet_str "ge-0/0/3"
override .1.0.8802.1.1.2.1.3.7.1.4.3 octet_str "uplink"
override .1.0.8802.1.1.2.1.4.1.1.6.100.3.1 integer 5
override .1.0.8802.1.1.2.1.4.1.1.7.100.3.1 octet_str "Ethernet1/9"
override .1.0.8802.1.1.2.1.4.1.1.9.100.3.1 octet_str "spine-1"
"#;

/// A real `snmpd`, killed when dropped.
pub struct Snmpd {
    child: Child,
    pub addr: SocketAddr,
    dir: tempfile::TempDir,
}

impl Snmpd {
    pub fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let addr = nobody();
        let child = Self::spawn(dir.path(), addr, "engine-1");
        let this = Self { child, addr, dir };
        this.wait();
        this
    }

    /// Restarts it, so that its engine's clock begins anew; with `forget` it also is another
    /// engine then.
    pub fn restart(&mut self, forget: bool) {
        // By a signal that it can obey: it writes down how often it was started.
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args(["-s", "TERM", &pid]).status();
        assert!(status.unwrap().success());
        self.child.wait().unwrap();
        let state = self.dir.path().join("state");
        let engine = if forget {
            std::fs::remove_dir_all(state).unwrap();
            "engine-2"
        } else {
            assert!(state.join("snmpd.conf").exists(), "it wrote nothing down");
            "engine-1"
        };
        self.child = Self::spawn(self.dir.path(), self.addr, engine);
        self.wait();
    }

    fn spawn(dir: &std::path::Path, addr: SocketAddr, engine: &str) -> Child {
        let text = format!("engineID {engine}\n{CONFIG}");
        std::fs::write(dir.join("snmpd.conf"), text).unwrap();
        let mut files = dir.join("snmpd.conf").into_os_string();
        // With `-C` it reads what it wrote down only if it is told to.
        let state = dir.join("state/snmpd.conf");
        if state.exists() {
            files.push(",");
            files.push(state);
        }
        Command::new("/usr/sbin/snmpd")
            .args(["-f", "-Lo", "-C", "-c"])
            .arg(files)
            .arg(format!("udp:{addr}"))
            .env("SNMP_PERSISTENT_DIR", dir.join("state"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("snmpd is not installed; .ci/test installs it")
    }

    fn wait(&self) {
        let start = Instant::now();
        while self.walk("1.3.6.1.2.1.1.5", "0.3").is_empty() {
            assert!(start.elapsed() < PATIENCE, "it does not start");
        }
    }

    /// The values below a name, as `snmpwalk` prints them.
    pub fn values(&self, name: &str) -> Vec<String> {
        self.walk(name, "60")
    }

    /// The same, with so many seconds for each answer.
    fn walk(&self, name: &str, seconds: &str) -> Vec<String> {
        let output = Command::new("snmpwalk")
            .args(["-v2c", "-c", "public", "-t", seconds, "-r", "0", "-Oqvt"])
            .arg(self.addr.to_string())
            .arg(name)
            .output()
            .expect("snmpwalk is not installed; .ci/test installs it");
        let text = String::from_utf8(output.stdout).unwrap();
        let line = |line: &str| line.trim_matches('"').to_owned();
        text.lines().map(line).collect()
    }
}

impl Drop for Snmpd {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A UDP port on which nobody listens.
pub fn nobody() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap()
}

/// Calls `answer` for each datagram, with the socket and whom to answer, as long as the test runs.
pub fn responder(
    mut answer: impl FnMut(&UdpSocket, SocketAddr, &[u8]) + Send + 'static,
) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        while let Ok((len, from)) = socket.recv_from(&mut buffer) {
            answer(&socket, from, &buffer[..len]);
        }
    });
    addr
}

pub type Mib = BTreeMap<Vec<u32>, VarBindValue>;

/// What a small switch has: a name, and ports.
pub fn mib(ports: u32) -> Mib {
    let text = |text: &str| {
        let text = text.as_bytes().into();
        VarBindValue::Value(ObjectSyntax::Simple(SimpleSyntax::String(text)))
    };
    let mut mib = Mib::new();
    mib.insert(vec![1, 3, 6, 1, 2, 1, 1, 5, 0], text("fake"));
    for port in 1..=ports {
        let name = vec![1, 3, 6, 1, 2, 1, 2, 2, 1, 2, port];
        mib.insert(name, text(&format!("port{port}")));
        let name = vec![1, 3, 6, 1, 2, 1, 2, 2, 1, 8, port];
        mib.insert(name, number(1));
    }
    mib
}

pub fn number(number: u32) -> VarBindValue {
    let number = Integer::from(number);
    VarBindValue::Value(ObjectSyntax::Simple(SimpleSyntax::Integer(number)))
}

pub fn variable(name: Vec<u32>, value: VarBindValue) -> VarBind {
    let name = ObjectIdentifier::new_unchecked(name.into());
    VarBind { name, value }
}

/// What somebody asks in version 2c.
pub struct Request {
    pub id: i32,
    pub names: Vec<Vec<u32>>,
    /// How often, if it is a GETBULK.
    pub repetitions: Option<u32>,
}

impl Request {
    pub fn read(bytes: &[u8]) -> Self {
        let message: Message<Pdus> = ber::decode(bytes).unwrap();
        let (id, variables, repetitions) = match message.data {
            Pdus::GetRequest(it) => (it.0.request_id, it.0.variable_bindings, None),
            Pdus::GetBulkRequest(it) => {
                let repetitions = Some(it.0.max_repetitions);
                (it.0.request_id, it.0.variable_bindings, repetitions)
            }
            other => panic!("{other:?}"),
        };
        let names = variables.iter().map(|it| it.name.as_ref().to_vec());
        Self {
            id,
            names: names.collect(),
            repetitions,
        }
    }

    /// The right variables from `mib`.
    pub fn variables(&self, mib: &Mib) -> Vec<VarBind> {
        let Some(repetitions) = self.repetitions else {
            let value = |name: &Vec<u32>| mib.get(name).cloned();
            let found = |name: &Vec<u32>| {
                variable(
                    name.clone(),
                    value(name).unwrap_or(VarBindValue::NoSuchObject),
                )
            };
            return self.names.iter().map(found).collect();
        };
        let (mut names, mut found) = (self.names.clone(), Vec::new());
        for _ in 0..repetitions {
            for name in &mut names {
                let after = (
                    std::ops::Bound::Excluded(name.clone()),
                    std::ops::Bound::Unbounded,
                );
                let (next, value) = match mib.range(after).next() {
                    Some((next, value)) => (next.clone(), value.clone()),
                    None => (name.clone(), VarBindValue::EndOfMibView),
                };
                *name = next;
                found.push(variable(name.clone(), value));
            }
        }
        found
    }

    /// The bytes of an answer to this.
    pub fn answer(&self, error_status: u32, variable_bindings: Vec<VarBind>) -> Vec<u8> {
        answer(self.id, error_status, variable_bindings)
    }
}

pub fn answer(request_id: i32, error_status: u32, variable_bindings: Vec<VarBind>) -> Vec<u8> {
    let data = Pdus::Response(Response(Pdu {
        request_id,
        error_status,
        error_index: 0,
        variable_bindings,
    }));
    let message = Message {
        version: 1.into(),
        community: b"public"[..].into(),
        data,
    };
    ber::encode(&message).unwrap()
}

/// A line to `agent` on which `fate` says what becomes of each datagram, in both directions.
pub fn line(
    agent: SocketAddr,
    fate: impl FnMut(&[u8], bool) -> Vec<Vec<u8>> + Send + 'static,
) -> SocketAddr {
    let front = UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = front.local_addr().unwrap();
    let back = UdpSocket::bind("127.0.0.1:0").unwrap();
    back.connect(agent).unwrap();
    let client = std::sync::Arc::new(std::sync::Mutex::new((None, fate)));
    let answers = std::sync::Arc::clone(&client);
    let (to_client, from_agent) = (front.try_clone().unwrap(), back.try_clone().unwrap());
    thread::spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        while let Ok((len, from)) = front.recv_from(&mut buffer) {
            let mut client = client.lock().unwrap();
            client.0 = Some(from);
            for bytes in client.1(&buffer[..len], true) {
                back.send(&bytes).ok();
            }
        }
    });
    thread::spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(len) = from_agent.recv(&mut buffer) {
            let mut client = answers.lock().unwrap();
            let to = client.0.unwrap();
            for bytes in client.1(&buffer[..len], false) {
                to_client.send_to(&bytes, to).ok();
            }
        }
    });
    addr
}

/// Numbers that look random and are the same each time.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `end` (xorshift64*).
    pub fn roll(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(number).unwrap() % end
    }

    /// The bytes with a few of them changed.
    pub fn mutate(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        for _ in 0..=self.roll(3) {
            let at = self.roll(bytes.len());
            bytes[at] ^= u8::try_from(1 + self.roll(255)).unwrap();
        }
        bytes
    }
}
