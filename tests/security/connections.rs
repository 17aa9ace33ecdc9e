//! Clients that open connections, and say nothing, or little, or read nothing.

use std::cell::RefCell;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::audit::{denials, value};
use crate::harness::{TestApp, read_all, until};
use crate::shares::{ONE, OTHER, ROLL_CALLS, answer, begin, connect, hanging, wait_for_collects};

/// So many connections, or as many as this process may have.
fn many(wanted: usize) -> usize {
    let limit = getrlimit(Resource::Nofile);
    let most = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, most).unwrap();
    let most = limit
        .maximum
        .map_or(wanted, |it| usize::try_from(it).unwrap());
    wanted.min(most.saturating_sub(200))
}

fn is_healthy(app: &TestApp) {
    for path in ["/healthz", "/readyz"] {
        let answer = answer(app, ONE, &format!("GET {path} HTTP/1.1"));
        assert!(answer.starts_with("HTTP/1.1 200 "), "{path}: {answer}");
    }
}

/// Whether nothing has come on a connection, not even its end.
fn is_waiting(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let peeked = stream.peek(&mut [0]);
    matches!(peeked, Err(error) if error.kind() == ErrorKind::WouldBlock)
}

#[test]
fn health_is_answered_whatever_connections_there_are() {
    let many = many(1500);
    // All of them are of one address, and that is not limited.
    let app = hanging("max_connections = 4\nrequest_timeout = \"5m\"");
    let served: Vec<_> = (0..4).map(|_| begin(&app, ONE, ROLL_CALLS[0])).collect();
    wait_for_collects(&app, 4);
    let mut held: Vec<_> = (0..50).map(|_| begin(&app, ONE, ROLL_CALLS[1])).collect();
    is_healthy(&app);
    for number in 0..many {
        let begun = ["", "G", "GET /heal", "GET /healthz HTTP/1.1\r\nX-Drip: "];
        let mut stream = connect(&app, ONE);
        // It may be closed already, for one that came later.
        stream
            .write_all(begun[number % begun.len()].as_bytes())
            .ok();
        held.push(stream);
        if number % 250 == 0 {
            is_healthy(&app);
        }
    }
    is_healthy(&app);
    // All that time those were served that had room, and no other.
    assert!(served.iter().all(is_waiting));
    assert!(held[..50].iter().all(is_waiting));
    let log = app.log();
    let begun = log.iter().filter(|line| line["message"] == "collecting");
    assert_eq!(begun.count(), 4);
    // Those that made room for others are counted, and said in one line.
    drop((served, held));
    let metrics = app.request("GET", "/metrics", &[]).body;
    assert!(value(&metrics, &denials("evicted")) > 100, "{metrics}");
    let log = app.log();
    let said: Vec<_> = log
        .iter()
        .filter(|line| line["reason"] == "evicted")
        .collect();
    assert_eq!(said.len(), 1, "{said:?}");
    assert_eq!(
        (&said[0]["client"], &said[0]["level"]),
        (&"127.0.0.2".into(), &"warn".into())
    );
}

#[test]
fn one_client_has_half_of_the_connections() {
    let app = hanging("proxies = []\nmax_connections = 8");
    let mut held: Vec<_> = ROLL_CALLS.map(|it| begin(&app, ONE, it)).into();
    wait_for_collects(&app, 4);
    let mut refused = begin(&app, ONE, "GET /nowhere HTTP/1.1");
    let mut text = Vec::new();
    refused.read_to_end(&mut text).ok();
    assert_eq!(String::from_utf8_lossy(&text), "");
    let said = app.wait_for_log(|line| line["message"] == "connection refused");
    let (client, reason) = (&said["client"], &said["reason"]);
    assert_eq!(
        (client, reason),
        (&"127.0.0.2".into(), &"connection".into())
    );
    // It still hears how the service does, and others have the other half.
    is_healthy(&app);
    let others = ROLL_CALLS.map(|it| begin(&app, OTHER, it));
    wait_for_collects(&app, 8);
    drop(others);
    until("there is room for another client", || {
        let denied = answer(&app, OTHER, "GET /metrics HTTP/1.1");
        let metric = "fleetcall_http_requests_denied_total{reason=\"connection\"} ";
        denied.contains(metric) && !denied.contains(&format!("{metric}0\n"))
    });
    drop(held.pop());
    until("there is room for the first client", || {
        let mut stream = begin(&app, ONE, "GET /nowhere HTTP/1.1");
        let mut status = [0; 12];
        stream
            .read_exact(&mut status)
            .is_ok_and(|()| &status == b"HTTP/1.1 404")
    });
}

#[test]
fn one_client_has_half_of_the_connections_that_are_kept() {
    // An eighth of the files.
    let mut command = std::process::Command::new("sh");
    let script = "ulimit -n 256; exec \"$0\" \"$@\"";
    command.args(["-c", script, env!("CARGO_BIN_EXE_fleetcall")]);
    let (dir, path) = crate::harness::config_file(
        "[http]\nproxies = []\n[lookup]\nscript = [\"hang\"]\ntimeout = \"1h\"\n\
         [collect]\ndeadline = \"1h\"\n[[clusters]]\nid = 1\nnodes = \"1\"\n",
    );
    let app = TestApp::start_as(command, dir, path, &[]);
    let ask = |from, path: &str| {
        let mut stream = connect(&app, from);
        let text = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        stream.write_all(text.as_bytes()).unwrap();
        stream
    };
    let is_kept = |from| {
        let mut stream = ask(from, "/nowhere");
        let mut text = String::new();
        while !text.ends_with("\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            text.push(char::from(byte[0]));
        }
        !text.to_ascii_lowercase().contains("connection: close")
    };
    assert!(is_kept(OTHER));
    // As long as these wait for their answers they are kept.
    let held = RefCell::new((0..16).map(|_| ask(ONE, "/test")).collect::<Vec<_>>());
    until("one client has its half", || {
        let has_half = (0..3).all(|_| !is_kept(ONE));
        // One that asked whether it is kept may have had the place of one that waits.
        if !has_half && held.borrow().len() < 24 {
            held.borrow_mut().push(ask(ONE, "/test"));
        }
        has_half
    });
    assert!((0..3).all(|_| is_kept(OTHER)));
    drop(held);
    until("it has room again", || is_kept(ONE));
}

#[test]
fn a_connection_that_says_too_little_is_given_up() {
    let app = hanging("request_timeout = \"1s\"");
    let mut slow = connect(&app, ONE);
    slow.write_all(b"GET /heal").unwrap();
    let silent = connect(&app, ONE);
    let drip = begin(&app, ONE, "GET /healthz HTTP/1.1\r\nContent-Length: 10");
    assert!(read_all(slow).starts_with("HTTP/1.1 408 "));
    assert_eq!(read_all(silent), "");
    assert!(read_all(drip).starts_with("HTTP/1.1 408 "));
}

#[test]
fn a_connection_that_asks_for_health_has_no_other_request() {
    let app = hanging("");
    let mut stream = connect(&app, ONE);
    let both = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n\
                GET /test HTTP/1.1\r\nHost: localhost\r\n\r\n";
    stream.write_all(both.as_bytes()).unwrap();
    let mut text = String::new();
    // It ends, though no roll call does.
    stream.read_to_string(&mut text).ok();
    let lower = text.to_ascii_lowercase();
    assert!(
        lower.starts_with("http/1.1 200 ") && lower.contains("connection: close"),
        "{text}"
    );
    let log = app.log();
    assert!(
        log.iter().all(|line| line["message"] != "collecting"),
        "{log:?}"
    );
}
