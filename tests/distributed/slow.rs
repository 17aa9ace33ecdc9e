//! A line that is slow: what goes in comes out later, in order, and only so much a second.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

/// How much may be on its way, each way of each connection.
const CHUNKS: usize = 64;
const CHUNK: usize = 4096;

/// Where to connect instead of where the line leads.
pub struct SlowLine {
    pub addr: SocketAddr,
}

/// What is on its way, and when it arrives.
type Late = (Instant, Vec<u8>);

impl SlowLine {
    pub fn to(there: SocketAddr, delay: Duration, bytes_a_second: u32) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let Ok(far) = TcpStream::connect(there) else {
                    continue;
                };
                for (from, to) in [(&near, &far), (&far, &near)] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    let (late, arriving) = sync_channel(CHUNKS);
                    std::thread::spawn(move || take(from, &late, delay, bytes_a_second));
                    std::thread::spawn(move || give(to, &arriving));
                }
            }
        });
        Self { addr }
    }
}

fn take(mut from: TcpStream, late: &SyncSender<Late>, delay: Duration, bytes_a_second: u32) {
    let mut is_free = Instant::now();
    let mut chunk = [0; CHUNK];
    while let Ok(size @ 1..) = from.read(&mut chunk) {
        let takes = Duration::from_secs(1) * u32::try_from(size).unwrap() / bytes_a_second;
        is_free = is_free.max(Instant::now()) + takes;
        if late
            .send((is_free + delay, chunk[..size].to_vec()))
            .is_err()
        {
            return;
        }
    }
}

fn give(mut to: TcpStream, arriving: &Receiver<Late>) {
    for (at, chunk) in arriving {
        #[expect(clippy::disallowed_methods, reason = "this is what makes it slow")]
        std::thread::sleep(at.saturating_duration_since(Instant::now()));
        if to.write_all(&chunk).is_err() {
            break;
        }
    }
    to.shutdown(Shutdown::Both).ok();
}
