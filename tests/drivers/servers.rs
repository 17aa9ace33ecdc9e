//! Servers on a free port of the loopback that do one thing, mostly a wrong one.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::Child;
use std::sync::Arc;
use std::thread;

use serde_json::Value;

use crate::harness::{config_file, fleetcall, run, stderr, stdout, until};

/// Serves each connection by `serve`, on a thread of its own, as long as the test runs.
pub fn server(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let serve = Arc::new(serve);
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let serve = Arc::clone(&serve);
            thread::spawn(move || serve(stream));
        }
    });
    addr
}

/// Reads a request's head.
pub fn request(stream: &mut impl Read) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => break,
        }
    }
    String::from_utf8(head).unwrap()
}

/// Answers every request with the same bytes, and closes.
pub fn answers(answer: impl Into<Vec<u8>>) -> SocketAddr {
    let answer = answer.into();
    server(move |mut stream| {
        request(&mut stream);
        stream.write_all(&answer).ok();
        stream.shutdown(Shutdown::Write).ok();
    })
}

/// An HTTP answer with this status, these header lines and this body.
pub fn http(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

/// A port on which nobody listens.
pub fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}

/// Waits until a program that was started takes connections.
pub fn wait_for(child: &mut Child, addr: SocketAddr) {
    until("it starts", || {
        assert_eq!(child.try_wait().unwrap(), None, "it ended");
        TcpStream::connect(addr).is_ok()
    });
}

/// Keeps a connection open and says nothing, until the other side goes.
pub fn wait_for_end(mut stream: TcpStream) {
    let mut some = [0; 1024];
    while matches!(stream.read(&mut some), Ok(1..)) {}
}

/// What one roll call of `node_id` 1 of cluster `c`, asked by `lookup`, gives.
pub fn ask(lookup: &str) -> Node {
    ask_with("", lookup, |_| {})
}

/// As [`ask`], with lines for the top of the file, and a command to change.
pub fn ask_with(top: &str, lookup: &str, change: impl FnOnce(&mut std::process::Command)) -> Node {
    // The lookup alone says how long it may take.
    let text = format!(
        "{top}\n[lookup]\n{lookup}\n[collect]\ndeadline = \"5m\"\n\
         [[clusters]]\nid = \"c\"\nnodes = [\"n1\"]\n"
    );
    let (_dir, path) = config_file(&text);
    let mut command = fleetcall();
    command
        .args(["collect", "--config"])
        .arg(path)
        .env("RUST_LOG", "fleetcall=debug");
    change(&mut command);
    let output = run(&mut command);
    let (out, log) = (stdout(&output), stderr(&output));
    let code = output.status.code();
    assert!(
        code == Some(0) || code == Some(3),
        "{code:?}: {log}\n{text}"
    );
    let answer: Value = serde_json::from_str(&out).unwrap();
    let node = answer["data"][0]["nodes"][0].clone();
    assert_eq!(node["error"].is_null(), code == Some(0), "{answer}");
    let output = out + &log;
    Node { node, output }
}

/// One device's part of an answer.
#[derive(Debug)]
pub struct Node {
    pub node: Value,
    /// All that was printed and logged.
    pub output: String,
}

impl Node {
    #[track_caller]
    pub fn fact(&self, name: &str) -> &Value {
        let fact = &self.node["facts"][name];
        assert!(!fact.is_null(), "no {name} in {}", self.node);
        fact
    }

    #[track_caller]
    pub fn fails(&self, kind: &str, message: &str) {
        let error = &self.node["error"];
        assert_eq!(error["kind"], kind, "{}", self.node);
        let found = error["message"].as_str().unwrap();
        assert!(found.contains(message), "{found}\nnot: {message}");
        assert!(!found.contains(['\n', '\r', '\x1b']), "{found:?}");
    }
}
