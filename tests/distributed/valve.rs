//! A line to NATS that can be closed: for everything, or for messages to whoever is behind it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};

/// What goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Passes {
    All,
    /// What those behind it say, and all that servers say but messages.
    Said,
    /// Nothing: it waits.
    Nothing,
}

struct Shared {
    passes: Mutex<Passes>,
    changed: Condvar,
}

/// Where to connect instead of where the line leads.
pub struct Valve {
    pub addr: SocketAddr,
    shared: Arc<Shared>,
}

impl Valve {
    pub fn to(there: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            passes: Mutex::new(Passes::All),
            changed: Condvar::new(),
        });
        let valve = Self {
            addr,
            shared: Arc::clone(&shared),
        };
        std::thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let Ok(far) = TcpStream::connect(there) else {
                    continue;
                };
                let (own, other) = (near.try_clone().unwrap(), far.try_clone().unwrap());
                let line = Arc::clone(&shared);
                std::thread::spawn(move || pass_said(own, other, &line));
                let line = Arc::clone(&shared);
                std::thread::spawn(move || pass_heard(far, near, &line));
            }
        });
        valve
    }

    pub fn url(&self) -> String {
        format!("nats://{}", self.addr)
    }

    /// Nothing goes through any more, and waits.
    pub fn close(&self) {
        self.set(Passes::Nothing);
    }

    /// Messages to whoever is behind it are lost.
    pub fn deafen(&self) {
        self.set(Passes::Said);
    }

    pub fn open(&self) {
        self.set(Passes::All);
    }

    fn set(&self, passes: Passes) {
        *self.shared.passes.lock().unwrap() = passes;
        self.shared.changed.notify_all();
    }
}

impl Shared {
    /// Waits until something goes through, and says what.
    fn wait(&self) -> Passes {
        let passes = self.passes.lock().unwrap();
        let is_closed = |passes: &mut Passes| *passes == Passes::Nothing;
        *self.changed.wait_while(passes, is_closed).unwrap()
    }
}

fn pass_said(mut from: TcpStream, mut to: TcpStream, line: &Shared) {
    let mut chunk = [0; 4096];
    while let Ok(size @ 1..) = from.read(&mut chunk) {
        line.wait();
        if to.write_all(&chunk[..size]).is_err() {
            break;
        }
    }
    to.shutdown(Shutdown::Both).ok();
}

fn pass_heard(from: TcpStream, mut to: TcpStream, line: &Shared) {
    let mut from = BufReader::new(from);
    let mut said = Vec::new();
    while let Ok(1..) = from.read_until(b'\n', &mut said) {
        let is_message = said.starts_with(b"MSG ") || said.starts_with(b"HMSG ");
        if is_message {
            let head = String::from_utf8_lossy(&said);
            let len: usize = head.split_whitespace().last().unwrap().parse().unwrap();
            let before = said.len();
            said.resize(before + len + 2, 0);
            if from.read_exact(&mut said[before..]).is_err() {
                break;
            }
        }
        let passes = line.wait();
        if !(is_message && passes == Passes::Said) && to.write_all(&said).is_err() {
            break;
        }
        said.clear();
    }
    to.shutdown(Shutdown::Both).ok();
}
