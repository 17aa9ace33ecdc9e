//! Devices that see who asks them: whether anybody is asked twice at a time.

use std::collections::HashMap;
use std::io::{ErrorKind, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use socket2::SockRef;

use crate::harness::until;

/// A web server with a page for each device, which takes its time.
pub struct Devices {
    pub addr: SocketAddr,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    /// The connections of lookups under way, by page.
    under_way: HashMap<String, Vec<Arc<TcpStream>>>,
    asked: HashMap<String, usize>,
    overlaps: Vec<String>,
    /// When somebody asked last.
    last: HashMap<IpAddr, Instant>,
    /// How long lookups take, if not [`TAKES`].
    takes: Option<Duration>,
}

/// How long each lookup takes, unless it is said otherwise.
const TAKES: Duration = Duration::from_millis(40);

impl Devices {
    pub fn start() -> Self {
        Self::start_on("127.0.0.1:0")
    }

    /// On all addresses of this machine.
    pub fn start_everywhere() -> Self {
        Self::start_on("0.0.0.0:0")
    }

    fn start_on(addr: &str) -> Self {
        let listener = TcpListener::bind(addr).unwrap();
        let addr = listener.local_addr().unwrap();
        let seen: Arc<Mutex<Seen>> = Arc::default();
        let log = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let log = Arc::clone(&log);
                std::thread::spawn(move || serve(stream, &log));
            }
        });
        Self { addr, seen }
    }

    /// The configuration of `clusters` of four nodes each.
    pub fn config(&self, clusters: usize) -> String {
        Self::config_at(self.addr, clusters)
    }

    /// The same for somebody to whom they are somewhere else.
    pub fn config_at(addr: SocketAddr, clusters: usize) -> String {
        let mut text = format!(
            "[lookup]\ndriver = \"http\"\nurl = \"http://{addr}/{{cluster}}/{{id}}\"\n\
             timeout = \"30s\"\n[collect]\ndeadline = \"1m\"\n"
        );
        for cluster in 1..=clusters {
            text += &format!("[[clusters]]\nid = {cluster}\nnodes = \"1-4\"\n");
        }
        text
    }

    /// Lookups take so long from now on.
    pub fn take(&self, takes: Duration) {
        self.seen.lock().unwrap().takes = Some(takes);
    }

    /// How many lookups are under way.
    pub fn under_way(&self) -> usize {
        let seen = self.seen.lock().unwrap();
        seen.under_way.values().map(Vec::len).sum()
    }

    /// The pages that were asked for while they were being answered, and by whom.
    pub fn overlaps(&self) -> Vec<String> {
        self.seen.lock().unwrap().overlaps.clone()
    }

    /// When somebody asked last.
    pub fn last_asked_by(&self, who: IpAddr) -> Option<Instant> {
        self.seen.lock().unwrap().last.get(&who).copied()
    }

    /// How many pages were asked for.
    pub fn pages(&self) -> usize {
        self.seen.lock().unwrap().asked.len()
    }
}

/// Whether the client of a lookup gave it up; it is over then, even if the thread that answers it has
/// not come to see that.
fn is_given_up(stream: &TcpStream) -> bool {
    let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
    let next = SockRef::from(stream).recv_with_flags(&mut [MaybeUninit::uninit()], flags);
    match next {
        Ok(len) => len == 0,
        Err(error) => error.kind() != ErrorKind::WouldBlock,
    }
}

fn serve(stream: TcpStream, log: &Mutex<Seen>) {
    let stream = Arc::new(stream);
    let mut head = Vec::new();
    let mut byte = [0];
    loop {
        head.clear();
        while !head.ends_with(b"\r\n\r\n") {
            match (&*stream).read(&mut byte) {
                Ok(1) => head.push(byte[0]),
                _ => return,
            }
        }
        let head = String::from_utf8(head.clone()).unwrap();
        let page = head.split(' ').nth(1).unwrap().to_owned();
        let takes = {
            let mut seen = log.lock().unwrap();
            let who = stream.peer_addr().unwrap().ip();
            seen.last.insert(who, Instant::now());
            *seen.asked.entry(page.clone()).or_default() += 1;
            let under_way = seen.under_way.entry(page.clone()).or_default();
            let other = under_way.iter().find(|it| !is_given_up(it));
            let other = other.map(|it| it.peer_addr());
            under_way.push(Arc::clone(&stream));
            if let Some(other) = other {
                let overlap = format!("{page}: {other:?} and {:?}", stream.peer_addr());
                seen.overlaps.push(overlap);
            }
            seen.takes.unwrap_or(TAKES)
        };
        // A lookup that its client gives up is over then.
        stream.set_read_timeout(Some(takes)).unwrap();
        let gone = matches!(stream.peek(&mut byte), Ok(0));
        stream.set_read_timeout(None).unwrap();
        let mut seen = log.lock().unwrap();
        let under_way = seen.under_way.get_mut(&page).unwrap();
        under_way.retain(|it| !Arc::ptr_eq(it, &stream));
        drop(seen);
        if gone
            || (&*stream)
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                .is_err()
        {
            return;
        }
    }
}

#[test]
fn a_device_tells_who_asks_it_beside_another_from_who_asks_it_after_another() {
    let devices = Devices::start();
    devices.take(Duration::from_secs(3600));
    // Once it has heard that, it has looked who else asks.
    let ask = |page: &str, times: usize| {
        let mut stream = TcpStream::connect(devices.addr).unwrap();
        write!(stream, "GET {page} HTTP/1.1\r\n\r\n").unwrap();
        let is_heard = || devices.seen.lock().unwrap().asked.get(page) == Some(&times);
        until("it is asked", is_heard);
        stream
    };
    drop(ask("/1/1", 1));
    // Whether or not what answers the first one has seen that it is over.
    let second = ask("/1/1", 2);
    let _other = ask("/1/2", 1);
    assert_eq!(devices.overlaps(), Vec::<String>::new());
    let third = ask("/1/1", 3);
    let [second, third] = [second, third].map(|it| it.local_addr().unwrap());
    let overlap = format!("/1/1: Ok({second}) and Ok({third})");
    assert_eq!(devices.overlaps(), [overlap]);
}
