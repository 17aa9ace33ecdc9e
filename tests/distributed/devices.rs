//! Devices that see who asks them: whether anybody is asked twice at a time.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A web server with a page for each device, which takes its time.
pub struct Devices {
    pub addr: SocketAddr,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    /// Lookups under way, by page.
    under_way: HashMap<String, usize>,
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
        self.seen.lock().unwrap().under_way.values().sum()
    }

    /// The pages that were asked for while they were being answered.
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

fn serve(mut stream: TcpStream, log: &Mutex<Seen>) {
    let mut head = Vec::new();
    let mut byte = [0];
    loop {
        head.clear();
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read(&mut byte) {
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
            *under_way += 1;
            if *under_way > 1 {
                seen.overlaps.push(page.clone());
            }
            seen.takes.unwrap_or(TAKES)
        };
        // A lookup that its client gives up is over then.
        stream.set_read_timeout(Some(takes)).unwrap();
        let gone = matches!(stream.peek(&mut byte), Ok(0));
        stream.set_read_timeout(None).unwrap();
        *log.lock().unwrap().under_way.get_mut(&page).unwrap() -= 1;
        if gone
            || stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                .is_err()
        {
            return;
        }
    }
}
