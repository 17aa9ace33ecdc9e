//! A DNS server on the loopback that does as it is told, over UDP and TCP.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread;

pub const A: u16 = 1;
pub const AAAA: u16 = 28;
pub const SRV: u16 = 33;

/// Codes of answers (RFC 1035, section 4.1.1).
pub const SERVFAIL: u8 = 2;
pub const NXDOMAIN: u8 = 3;

/// What becomes of a question.
#[derive(Debug, Clone)]
pub enum Reply {
    Silent,
    Code(u8),
    /// Those of the family that was asked for.
    Addresses(Vec<IpAddr>),
    /// These, and nothing at all for the other family.
    SilentOnV6(Vec<IpAddr>),
    /// These too, from [`Dns::release`] on.
    Held(Vec<IpAddr>),
    /// Over UDP only that it does not fit there.
    Truncated(Vec<IpAddr>),
    /// SRV records: ports and hosts.
    Services(Vec<(u16, &'static str)>),
}

pub struct Dns {
    pub addr: SocketAddr,
    shared: Arc<Shared>,
}

/// What becomes of a name's question, by how often that was asked before.
type Replies = dyn Fn(&str, usize) -> Reply + Send + Sync;

/// Answers with where they are to go.
type Held = Vec<(SocketAddr, Vec<u8>)>;

struct Shared {
    udp: UdpSocket,
    reply: Box<Replies>,
    /// Names in lower case with the type, as they were asked for.
    asked: Mutex<Vec<(String, u16)>>,
    /// `None` once they have been released.
    held: Mutex<Option<Held>>,
}

impl Dns {
    /// `reply` gets the name, and how often that and its type were asked for before.
    pub fn start(reply: impl Fn(&str, usize) -> Reply + Send + Sync + 'static) -> Self {
        let (tcp, udp) = loop {
            let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
            // The same port may be taken there.
            if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()) {
                break (tcp, udp);
            }
        };
        let addr = udp.local_addr().unwrap();
        let shared = Arc::new(Shared {
            udp,
            reply: Box::new(reply),
            asked: Mutex::default(),
            held: Mutex::new(Some(Vec::new())),
        });
        let serving = Arc::clone(&shared);
        thread::spawn(move || serving.serve_udp());
        let serving = Arc::clone(&shared);
        thread::spawn(move || {
            for mut stream in tcp.incoming().map_while(Result::ok) {
                let serving = Arc::clone(&serving);
                thread::spawn(move || {
                    let mut len = [0; 2];
                    while stream.read_exact(&mut len).is_ok() {
                        let mut question = vec![0; u16::from_be_bytes(len).into()];
                        stream.read_exact(&mut question).unwrap();
                        let Some((answer, _)) = serving.answer(&question, false) else {
                            continue;
                        };
                        let len = u16::try_from(answer.len()).unwrap().to_be_bytes();
                        stream.write_all(&[&len[..], &answer].concat()).unwrap();
                    }
                });
            }
        });
        Self { addr, shared }
    }

    /// Lines for the top of a configuration.
    pub fn config(&self, more: &str) -> String {
        format!("[dns]\nservers = [\"{}\"]\n{more}\n", self.addr)
    }

    /// What was asked for so far.
    pub fn asked(&self) -> Vec<(String, u16)> {
        self.shared.asked.lock().unwrap().clone()
    }

    /// A way to send what is held, and to hold nothing any more.
    pub fn release(&self) -> impl Fn() + Send + Sync + 'static {
        let shared = Arc::clone(&self.shared);
        move || {
            let held = shared.held.lock().unwrap().take();
            for (to, answer) in held.into_iter().flatten() {
                shared.udp.send_to(&answer, to).ok();
            }
        }
    }
}

impl Shared {
    fn serve_udp(&self) {
        let mut buffer = [0; 4096];
        while let Ok((len, from)) = self.udp.recv_from(&mut buffer) {
            let Some((answer, is_held)) = self.answer(&buffer[..len], true) else {
                continue;
            };
            if is_held && let Some(held) = &mut *self.held.lock().unwrap() {
                held.push((from, answer));
                continue;
            }
            self.udp.send_to(&answer, from).ok();
        }
    }

    /// The answer, and whether it is to be held.
    fn answer(&self, question: &[u8], is_udp: bool) -> Option<(Vec<u8>, bool)> {
        let (name, kind, end) = read_question(question);
        let before = {
            let mut asked = self.asked.lock().unwrap();
            let key = (name.clone(), kind);
            let before = asked.iter().filter(|it| **it == key).count();
            asked.push(key);
            before
        };
        let (mut code, mut flags, mut is_held) = (0, 0x84, false);
        let addresses = match (self.reply)(&name, before) {
            Reply::Silent => return None,
            Reply::Code(it) => {
                code = it;
                Vec::new()
            }
            Reply::SilentOnV6(_) if kind == AAAA => return None,
            Reply::Addresses(it) | Reply::SilentOnV6(it) => it,
            Reply::Held(it) => {
                is_held = true;
                it
            }
            Reply::Truncated(_) if is_udp => {
                flags |= 0x02;
                Vec::new()
            }
            Reply::Truncated(it) => it,
            Reply::Services(records) => {
                assert_eq!(kind, SRV);
                return Some((services(question, end, &records), false));
            }
        };
        let is_asked = |it: &IpAddr| it.is_ipv4() == (kind == A) && (kind == A || kind == AAAA);
        let addresses: Vec<IpAddr> = addresses.into_iter().filter(is_asked).collect();
        let count = u8::try_from(addresses.len()).unwrap();
        let mut answer = question[..2].to_vec();
        answer.extend([flags, 0x80 | code, 0, 1, 0, count, 0, 0, 0, 0]);
        answer.extend(&question[12..end]);
        for address in addresses {
            // The name of the question; its type; the Internet; to be asked for anew each time.
            answer.extend([0xc0, 12, 0]);
            answer.extend([u8::try_from(kind).unwrap(), 0, 1, 0, 0, 0, 0, 0]);
            match address {
                IpAddr::V4(it) => answer.extend([&[4][..], &it.octets()].concat()),
                IpAddr::V6(it) => answer.extend([&[16][..], &it.octets()].concat()),
            }
        }
        Some((answer, is_held))
    }
}

/// An answer with these SRV records (RFC 2782), all of the same priority and weight.
fn services(question: &[u8], end: usize, records: &[(u16, &str)]) -> Vec<u8> {
    let count = u8::try_from(records.len()).unwrap();
    let mut answer = question[..2].to_vec();
    answer.extend([0x84, 0x80, 0, 1, 0, count, 0, 0, 0, 0]);
    answer.extend(&question[12..end]);
    for (port, host) in records {
        let mut target = Vec::new();
        for label in host.split('.') {
            target.push(u8::try_from(label.len()).unwrap());
            target.extend(label.as_bytes());
        }
        target.push(0);
        answer.extend([0xc0, 12, 0, 33, 0, 1, 0, 0, 0, 0, 0]);
        answer.push(u8::try_from(target.len() + 6).unwrap());
        answer.extend([0, 1, 0, 1]);
        answer.extend(port.to_be_bytes());
        answer.extend(target);
    }
    answer
}

/// The name that is asked for, its type, and where the question ends.
fn read_question(bytes: &[u8]) -> (String, u16, usize) {
    let (mut at, mut labels) = (12, Vec::new());
    while bytes[at] != 0 {
        let len = usize::from(bytes[at]);
        labels.push(String::from_utf8(bytes[at + 1..=at + len].to_vec()).unwrap());
        at += 1 + len;
    }
    let kind = u16::from_be_bytes([bytes[at + 1], bytes[at + 2]]);
    (labels.join(".").to_lowercase(), kind, at + 5)
}
