//! Signals: what is under way is answered, nothing new is begun.

use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::mpsc;
use std::thread;

use crate::harness::{PATIENCE, TestApp, read_all};

fn slow(latency: &str) -> String {
    format!("[lookup]\nlatency = {latency:?}\n[[clusters]]\nid = 1\nnodes = \"1-2\"\n")
}

fn hung() -> &'static str {
    "[lookup]\nscript = [\"hang\"]\ntimeout = \"1h\"\n[collect]\ndeadline = \"1h\"\n\
     [[clusters]]\nid = 1\nnodes = \"1\"\n"
}

fn is_collecting(line: &serde_json::Value) -> bool {
    line["message"] == "collecting"
}

fn is_stopping(line: &serde_json::Value) -> bool {
    line["message"] == "stopping"
}

/// A client whose collect is cut off hears why.
fn is_told(client: TcpStream) {
    let answer = read_all(client);
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("Retry-After: 5\r\n"), "{answer}");
}

#[test]
fn a_collect_under_way_is_answered_before_the_end() {
    for signal in ["TERM", "INT"] {
        let mut app = TestApp::start(&slow("1s"));
        let client = app.begin();
        app.wait_for_log(is_collecting);
        app.signal(signal);
        let answer = read_all(client);
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{signal}: {answer}");
        assert!(
            answer.contains(r#"{"node_id":1},{"node_id":2}"#),
            "{signal}: {answer}"
        );
        assert_eq!(app.wait().code(), Some(0), "{signal}");
        let stopped = app.wait_for_log(|line| line["message"] == "stopped");
        assert_eq!(stopped["drained"], true);
    }
}

#[test]
fn an_idle_server_ends_at_once_even_with_a_connection_kept_alive() {
    let mut app = TestApp::start(&slow("1ms"));
    let mut kept = TcpStream::connect(app.addr).unwrap();
    kept.write_all(b"GET /test HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    let mut some = [0; 64];
    assert!(kept.read(&mut some).unwrap() > 0);
    app.wait_for_log(|line| line["message"] == "collected");
    app.signal("TERM");
    assert_eq!(app.wait().code(), Some(0));
}

/// A client that asks again as soon as it is answered never has a connection without a request.
#[test]
fn a_client_that_never_stops_asking_does_not_hold_up_the_end() {
    let mut app = TestApp::start_with(&slow("1ms"), &["--grace", "1h"]);
    let mut stream = TcpStream::connect(app.addr).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let (first, is_answered) = mpsc::channel();
    let client = thread::spawn(move || {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut answers = Vec::new();
        let ask = b"GET /test HTTP/1.1\r\nHost: localhost\r\n\r\n";
        while stream.write_all(ask).is_ok() {
            let Some(head) = read_answer(&mut reader) else {
                break;
            };
            answers.push(head);
            first.send(()).ok();
        }
        answers
    });
    is_answered.recv_timeout(PATIENCE).unwrap();
    app.signal("TERM");
    assert_eq!(app.wait().code(), Some(0));
    let answers = client.join().unwrap();
    let last = answers
        .iter()
        .map(|head| head.contains("connection: close"));
    // Perhaps none, if the signal came between an answer and the next request.
    let first_last = last.clone().position(|is_last| is_last);
    assert!(
        first_last.is_none_or(|at| at + 1 == answers.len()),
        "{answers:?}"
    );
}

/// The head of an answer in lower case, its body read; `None` if the connection has ended.
fn read_answer(reader: &mut impl BufRead) -> Option<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let head = head.to_lowercase();
    let (_, len) = head.split_once("content-length: ")?;
    let len: usize = len.split("\r\n").next()?.parse().ok()?;
    let mut body = vec![0; len];
    reader.read_exact(&mut body).ok()?;
    Some(head)
}

#[test]
fn nothing_new_is_begun_while_it_stops() {
    let mut app = TestApp::start(&slow("2s"));
    let client = app.begin();
    app.wait_for_log(is_collecting);
    // A second request is on its way when the signal comes.
    let mut late = TcpStream::connect(app.addr).unwrap();
    late.write_all(b"GET /test HTTP/1.1\r\nHost: te").unwrap();
    app.signal("TERM");
    app.wait_for_log(is_stopping);
    late.write_all(b"st\r\n\r\n").ok();
    let mut answer = String::new();
    late.read_to_string(&mut answer).ok();
    if !answer.is_empty() {
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(answer.contains("Retry-After: 5\r\n"), "{answer}");
        assert!(
            answer.contains(
                r#"{"error_code":2,"message":"the service is shutting down","data":null}"#
            )
        );
    }
    assert!(read_all(client).starts_with("HTTP/1.1 200 OK"));
    assert_eq!(app.wait().code(), Some(0));
    assert_eq!(
        app.log().iter().filter(|line| is_collecting(line)).count(),
        1
    );
    assert!(
        TcpStream::connect(app.addr).is_err(),
        "it does not listen any more"
    );
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let mut app = TestApp::start_with(hung(), &["--grace", "1h"]);
    let client = app.begin();
    app.wait_for_log(is_collecting);
    app.signal("INT");
    app.wait_for_log(is_stopping);
    assert!(app.is_running());
    app.signal("TERM");
    assert_eq!(app.wait().code(), Some(1));
    is_told(client);
}

#[test]
fn the_grace_period_ends_a_drain_that_does_not() {
    let mut app = TestApp::start_with(hung(), &["--grace", "200ms"]);
    let client = app.begin();
    app.wait_for_log(is_collecting);
    app.signal("TERM");
    assert_eq!(app.wait().code(), Some(1));
    is_told(client);
    let stopped = app.wait_for_log(|line| line["message"] == "stopped");
    assert_eq!(
        (&stopped["drained"], &stopped["waiting"]),
        (&false.into(), &1.into())
    );
}
