//! How much one client may.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use serde_json::Value;

use crate::guarded::{FLEET, Guarded, READ};
use crate::harness::{PATIENCE, TestApp, eventually, read_all};

fn service(http: &str) -> TestApp {
    TestApp::start(&format!("[http]\n{http}\n{FLEET}"))
}

pub fn connect(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// The answer to these bytes, until the connection is closed; writing may break off.
pub fn raw(addr: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = connect(addr);
    stream.write_all(bytes).ok();
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    // A server that closes with something unread resets the connection.
    while let Ok(len @ 1..) = stream.read(&mut piece) {
        answer.extend_from_slice(&piece[..len]);
    }
    String::from_utf8(answer).unwrap()
}

fn get(path: &str, headers: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n")
        .into_bytes()
}

/// Reads one answer of a connection that is kept.
pub fn answer(stream: &mut TcpStream) -> std::io::Result<String> {
    let mut text = String::new();
    let mut byte = [0];
    while !text.ends_with("\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        text.push(char::from(byte[0]));
    }
    let len = text.lines().find_map(|line| {
        line.to_ascii_lowercase()
            .strip_prefix("content-length: ")
            .map(str::to_owned)
    });
    let mut body = vec![0; len.map_or(0, |len| len.parse().unwrap())];
    stream.read_exact(&mut body)?;
    Ok(text)
}

#[test]
fn a_long_address_and_long_headers_are_refused() {
    let app = service("");
    let query = |len| format!("/test?{}", "a".repeat(len));
    assert!(raw(app.addr, &get(&query(8000), "")).starts_with("HTTP/1.1 200 "));
    let refused = raw(app.addr, &get(&query(8192), ""));
    assert!(refused.starts_with("HTTP/1.1 414 "), "{refused}");
    assert!(
        refused.contains("Access-Control-Allow-Origin: *"),
        "{refused}"
    );
    let header = |len| format!("X-Long: {}\r\n", "a".repeat(len));
    assert!(raw(app.addr, &get("/test", &header(32_000))).starts_with("HTTP/1.1 200 "));
    let refused = raw(app.addr, &get("/v1/supervision", &header(33_000)));
    assert!(refused.starts_with("HTTP/1.1 431 "), "{refused}");
    assert!(refused.contains("application/problem+json"), "{refused}");
    let many: String = (0..100).map(|n| format!("X-{n}: a\r\n")).collect();
    let refused = raw(app.addr, &get("/test", &many));
    assert!(refused.starts_with("HTTP/1.1 431 "), "{refused}");
    // Beyond that it is not even read.
    let refused = raw(app.addr, &get("/test", &header(1 << 20)));
    assert!(
        refused.is_empty() || refused.starts_with("HTTP/1.1 431 "),
        "{refused}"
    );
    assert_eq!(app.get().status, 200);
}

#[test]
fn a_long_body_is_refused_however_its_length_is_said() {
    let app = service("");
    let post = |path: &str, head: &str| {
        format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{head}\r\n")
    };
    let body = |len| "a".repeat(len);
    let said =
        |path: &str, len: usize| post(path, &format!("Content-Length: {len}\r\n")) + &body(len);
    let chunked = |path: &str, len: usize| {
        let head = post(path, "Transfer-Encoding: chunked\r\n");
        format!("{head}{len:x}\r\n{}\r\n0\r\n\r\n", body(len))
    };
    for of in [&said as &dyn Fn(&str, usize) -> String, &chunked] {
        // Read to its end, and then not meant.
        let taken = raw(app.addr, of("/v1/reload", 64 << 10).as_bytes());
        assert!(taken.starts_with("HTTP/1.1 415 "), "{taken}");
        let refused = raw(app.addr, of("/v1/reload", (64 << 10) + 1).as_bytes());
        assert!(refused.starts_with("HTTP/1.1 413 "), "{refused}");
        let refused = raw(app.addr, of("/test", (64 << 10) + 1).as_bytes());
        assert!(refused.starts_with("HTTP/1.1 413 "), "{refused}");
    }
    let broken = post("/v1/reload", "Transfer-Encoding: chunked\r\n") + "zz\r\n";
    let refused = raw(app.addr, broken.as_bytes());
    assert!(refused.starts_with("HTTP/1.1 400 "), "{refused}");
}

#[test]
fn who_may_not_ask_is_refused_before_the_body_is_read() {
    let service = Guarded::start();
    let mut stream = connect(service.app.addr);
    stream
        .write_all(b"POST /v1/reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60000\r\n\r\n")
        .unwrap();
    // Whoever waits for the body answers 408.
    assert!(answer(&mut stream).unwrap().starts_with("HTTP/1.1 401 "));
}

#[test]
fn a_request_that_does_not_arrive_in_time_is_given_up() {
    let app = service("request_timeout = \"1s\"");
    let mut stream = connect(app.addr);
    stream.write_all(b"GET /test HTTP/1.1\r\nHo").unwrap();
    let text = read_all(stream);
    assert!(text.starts_with("HTTP/1.1 408 "), "{text}");
    let mut stream = connect(app.addr);
    stream
        .write_all(b"POST /v1/reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nabc")
        .unwrap();
    let text = read_all(stream);
    assert!(text.starts_with("HTTP/1.1 408 "), "{text}");
    assert!(text.contains("did not arrive within 1s"), "{text}");
}

#[test]
fn a_second_request_that_does_not_arrive_is_given_up_too() {
    // Long enough for the first one on any machine.
    let app = service("request_timeout = \"5s\"");
    let mut stream = connect(app.addr);
    stream
        .write_all(b"GET /test HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    assert!(answer(&mut stream).unwrap().starts_with("HTTP/1.1 200 "));
    // One byte of it makes actix-http wait for ever.
    stream.write_all(b"G").unwrap();
    let mut rest = Vec::new();
    let end = stream.read_to_end(&mut rest);
    let timed_out = matches!(&end, Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut));
    assert!(!timed_out, "the connection stays open");
    assert_eq!(app.get().status, 200);
}

#[test]
fn a_long_answer_is_no_slow_request() {
    // Longer than an idle connection and a request may take together.
    let fleet = FLEET.replace("\"1ms\"", "\"12s\"\ntimeout = \"2m\"");
    let app = TestApp::start(&format!("[http]\nrequest_timeout = \"5s\"\n{fleet}"));
    let answer = read_all(app.begin());
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.ends_with("\"switches\":[]}]}"), "{answer}");
}

#[test]
fn a_client_that_asks_too_often_is_told_when_it_may() {
    let app = service("rate = { per_second = 1, burst = 3 }");
    let statuses = [(); 3].map(|()| app.request("GET", "/nowhere", &[]).status);
    assert_eq!(statuses, [404; 3]);
    // More come back only with time: a second for each.
    let start = Instant::now();
    let refused = |path: &str| {
        eventually("it is asked too often", || {
            Some(app.request("GET", path, &[])).filter(|answer| answer.status == 429)
        })
    };
    for _ in 0..10 {
        let refused = refused("/v1/supervision");
        assert_eq!(refused.header("retry-after"), Some("1"));
        assert_eq!(
            refused.header("content-type"),
            Some("application/problem+json")
        );
    }
    let test = refused("/test");
    assert_eq!(test.header("access-control-allow-origin"), Some("*"));
    assert_eq!(test.json()["error_code"], 2);
    let is_said = |line: &Value| line["message"] == "request refused" && line["level"] == "warn";
    app.wait_for_log(is_said);
    let said = app.log().into_iter().filter(is_said).count();
    let seconds = usize::try_from(start.elapsed().as_secs()).unwrap();
    assert!(
        said <= seconds + 2,
        "{said} lines in {seconds} s, not one a second"
    );
}

#[test]
fn this_machine_is_not_limited_unless_that_is_written() {
    let app = service("");
    let agent = crate::harness::agent();
    for _ in 0..500 {
        let answer = crate::harness::request(&agent, app.addr, "GET", "/nowhere", &[]);
        assert_eq!(answer.status, 404);
    }
}

#[test]
fn the_rate_is_another_one_after_a_reload() {
    let app = service("rate = { per_second = 1, burst = 1000 }");
    assert_eq!(app.get().status, 200);
    let slower = format!("[http]\nrate = {{ per_second = 1, burst = 1 }}\n{FLEET}");
    std::fs::write(&app.config, slower).unwrap();
    app.signal("HUP");
    app.wait_for_log(|line| line["message"] == "reloaded");
    crate::guarded::until("the new rate holds", || app.get().status == 429);
}

#[test]
fn connections_beyond_the_limit_wait_for_one_to_end() {
    let app = service("max_connections = 1");
    let ask = |stream: &mut TcpStream| {
        stream
            .write_all(b"GET /test HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .unwrap();
    };
    let well = |stream: &mut TcpStream| {
        ask(stream);
        assert!(answer(stream).unwrap().starts_with("HTTP/1.1 200 "));
    };
    let mut held = connect(app.addr);
    well(&mut held);
    let mut late = connect(app.addr);
    ask(&mut late);
    // This is answered again and again, and that one is not.
    for _ in 0..20 {
        well(&mut held);
    }
    late.set_nonblocking(true).unwrap();
    let error = late.peek(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    late.set_nonblocking(false).unwrap();
    drop(held);
    assert!(answer(&mut late).unwrap().starts_with("HTTP/1.1 200 "));
}

#[test]
fn limits_hold_for_those_with_a_token_too() {
    let service = Guarded::start_with("rate = { per_second = 1, burst = 1 }", &[]);
    crate::guarded::until("the rate is used up", || {
        service.status("GET", "/test", READ) == 429
    });
}

#[test]
fn connections_that_there_is_no_room_to_keep_are_closed_after_their_answer() {
    // An eighth of the files may be kept connections.
    let mut command = std::process::Command::new("sh");
    let script = format!(
        "ulimit -n 256; exec {:?} \"$@\"",
        env!("CARGO_BIN_EXE_fleetcall")
    );
    command.args(["-c", &script, "sh"]);
    let hangs = "[lookup]\nscript = [\"hang\"]\ntimeout = \"1h\"\n[collect]\ndeadline = \"1h\"\n\
                 [[clusters]]\nid = 1\nnodes = \"1\"\n";
    let (dir, path) = crate::harness::config_file(hangs);
    let app = TestApp::start_as(command, dir, path, &[]);
    // Whether a new connection is closed after its first answer.
    let is_closed = || {
        let mut stream = connect(app.addr);
        stream
            .write_all(b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .unwrap();
        let head = answer(&mut stream).unwrap().to_ascii_lowercase();
        let is_closed = head.contains("connection: close");
        if is_closed {
            assert_eq!(
                stream.read(&mut [0]).unwrap(),
                0,
                "it says so and stays open"
            );
        }
        is_closed
    };
    assert!(!is_closed());
    // As long as these wait for their answers nobody closes them.
    let mut kept: Vec<_> = (0..31).map(|_| app.begin()).collect();
    crate::guarded::until("there is no room", || {
        kept.push(app.begin());
        (0..3).all(|_| is_closed())
    });
    // Room comes back with those that end.
    drop(kept);
    crate::guarded::until("a connection is kept again", || !is_closed());
}
