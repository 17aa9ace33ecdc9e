//! A web server that answers nobody before the test lets it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};

use crate::harness::PATIENCE;

/// What devices wait for that answer when the test says so, and not after some time.
pub struct Gate {
    addr: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    requests: usize,
    is_open: bool,
}

impl Gate {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let shared: Arc<Shared> = Arc::default();
        let serving = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let serving = Arc::clone(&serving);
                std::thread::spawn(move || serving.serve(stream));
            }
        });
        Self { addr, shared }
    }

    /// The lookup of a device that is asked here, as a table on one line.
    pub fn lookup(&self) -> String {
        format!(
            "{{ driver = \"http\", url = \"http://{}/\", timeout = \"1h\" }}",
            self.addr
        )
    }

    /// Answers all requests, those to come too.
    pub fn open(&self) {
        self.shared.state.lock().unwrap().is_open = true;
        self.shared.changed.notify_all();
    }

    /// How many requests there were.
    pub fn requests(&self) -> usize {
        self.shared.state.lock().unwrap().requests
    }

    /// Waits until there were so many.
    pub fn wait_for(&self, requests: usize) {
        let state = self.shared.state.lock().unwrap();
        let is_missing = |state: &mut State| state.requests < requests;
        let waited = self
            .shared
            .changed
            .wait_timeout_while(state, PATIENCE, is_missing);
        let (state, timeout) = waited.unwrap();
        assert!(
            !timeout.timed_out(),
            "there were {} requests",
            state.requests
        );
    }
}

impl Shared {
    fn serve(&self, mut stream: TcpStream) {
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        while lines
            .next()
            .is_some_and(|line| line.is_ok_and(|line| !line.is_empty()))
        {}
        let mut state = self.state.lock().unwrap();
        state.requests += 1;
        self.changed.notify_all();
        drop(
            self.changed
                .wait_while(state, |state| !state.is_open)
                .unwrap(),
        );
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}";
        // Whoever asked may be gone.
        stream.write_all(answer).ok();
    }
}
