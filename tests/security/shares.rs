//! What one client may have of what there is not enough of for all.
//!
//! All clients here are on loopback, where each address is one. `proxies = []` makes them clients like
//! any other.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};

use socket2::{Domain, Socket, Type};

use crate::audit::{denials, value};
use crate::harness::{PATIENCE, TestApp, read_all, until};

/// Two addresses of clients.
pub const ONE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
pub const OTHER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);

/// A service on which no roll call ends, and eight may wait.
pub fn hanging(http: &str) -> TestApp {
    TestApp::start(&format!(
        "[http]\n{http}\n[lookup]\nscript = [\"hang\"]\ntimeout = \"1h\"\n\
         [collect]\ndeadline = \"1h\"\nmax_waiting = 8\n[[clusters]]\nid = 1\nnodes = \"1\"\n"
    ))
}

/// A connection from this address.
pub fn connect(app: &TestApp, from: Ipv4Addr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((from, 0)).into()).unwrap();
    socket.connect(&app.addr.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

pub fn begin(app: &TestApp, from: Ipv4Addr, request: &str) -> TcpStream {
    let mut stream = connect(app, from);
    let text = format!("{request}\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(text.as_bytes()).unwrap();
    stream
}

pub fn answer(app: &TestApp, from: Ipv4Addr, request: &str) -> String {
    read_all(begin(app, from, request))
}

/// How many roll calls have begun.
pub fn wait_for_collects(app: &TestApp, count: usize) {
    app.wait_for_logs(count, |line| line["message"] == "collecting");
}

pub const ROLL_CALLS: [&str; 4] = [
    "GET /test HTTP/1.1",
    "GET /v1/report HTTP/1.1",
    "GET /v1/report HTTP/1.1\r\nAccept: application/x-ndjson",
    "POST /v1/collect HTTP/1.1\r\nAccept: text/event-stream",
];

#[test]
fn one_client_has_half_of_the_collects_that_may_wait() {
    let app = hanging("proxies = []");
    let mut held: Vec<_> = ROLL_CALLS.map(|it| begin(&app, ONE, it)).into();
    wait_for_collects(&app, 4);
    // However it asks, also by a path that is the same only when it is decoded.
    for request in [&ROLL_CALLS[..], &["GET /v1/%72eport HTTP/1.1"]].concat() {
        let refused = answer(&app, ONE, request);
        assert!(refused.starts_with("HTTP/1.1 429 "), "{request}\n{refused}");
        let refused = refused.to_ascii_lowercase();
        assert!(refused.contains("\r\nretry-after: 1\r\n"), "{refused}");
        assert!(
            refused.contains("half of all collects that may wait at once"),
            "{refused}"
        );
    }
    let refused = answer(&app, ONE, ROLL_CALLS[0]);
    assert!(refused.contains("{\"error_code\":2,"), "{refused}");
    assert!(
        refused.contains("Access-Control-Allow-Origin: *"),
        "{refused}"
    );
    // What costs nothing it may ask.
    let known = answer(&app, ONE, "GET /v1/clusters/1/nodes/1 HTTP/1.1");
    assert!(known.starts_with("HTTP/1.1 200 "), "{known}");
    // The other half is that of others.
    held.extend(ROLL_CALLS.map(|it| begin(&app, OTHER, it)));
    wait_for_collects(&app, 8);
    let said = app.wait_for_log(|line| line["reason"] == "share");
    assert_eq!(
        (&said["client"], &said["level"]),
        (&"127.0.0.2".into(), &"warn".into())
    );
    let denied = app.request("GET", "/metrics", &[]).body;
    assert!(
        denied.contains("fleetcall_http_requests_denied_total{reason=\"share\"} 6"),
        "{denied}"
    );
    // A client that goes away gives back what it had.
    drop(held.remove(0));
    until("there is room again", || {
        let brief = "GET /v1/report?deadline=1ms HTTP/1.1";
        answer(&app, ONE, brief).starts_with("HTTP/1.1 200 ")
    });
}

#[test]
fn this_machine_and_proxies_have_what_there_is() {
    for http in ["", "proxies = [\"192.0.2.0/24\", \"2001:db8::1\"]"] {
        let app = hanging(http);
        let held = [ROLL_CALLS, ROLL_CALLS].concat();
        let _held: Vec<_> = held.iter().map(|it| begin(&app, ONE, it)).collect();
        wait_for_collects(&app, 8);
        let refused = answer(&app, ONE, ROLL_CALLS[1]);
        assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    }
}

#[test]
fn one_client_has_half_of_the_trees_that_may_be_sent() {
    let name = "n".repeat(240);
    let app = TestApp::start(&format!(
        "[http]\nproxies = []\n[lookup]\nlatency = \"1ms\"\n\
         [[clusters]]\nid = 1\nnodes = \"{name}[1-30000]\"\n"
    ));
    let status = |from, path: &str| {
        let mut stream = begin(&app, from, &format!("GET {path} HTTP/1.1"));
        let mut status = [0; 12];
        stream.read_exact(&mut status).unwrap();
        (stream, String::from_utf8(status.to_vec()).unwrap())
    };
    // More than fits between the two, so a client that does not read keeps its place.
    let paths = ["/v1/supervision", "/v1/clusters/1"];
    let held = paths.map(|path| status(ONE, path));
    for (_, status) in &held {
        assert_eq!(status, "HTTP/1.1 200");
    }
    for path in paths {
        assert_eq!(status(ONE, path).1, "HTTP/1.1 429", "{path}");
    }
    let others = paths.map(|path| status(OTHER, path));
    for (_, status) in &others {
        assert_eq!(status, "HTTP/1.1 200");
    }
    // All are taken by now, and that is counted and said, too.
    let third = Ipv4Addr::new(127, 0, 0, 4);
    assert_eq!(status(third, paths[0]).1, "HTTP/1.1 503");
    let said = app.wait_for_log(|line| line["reason"] == "unavailable");
    assert_eq!(
        (&said["message"], &said["client"]),
        (&"request refused".into(), &"127.0.0.4".into())
    );
    let metrics = app.request("GET", "/metrics", &[]).body;
    assert_eq!(value(&metrics, &denials("unavailable")), 1);
}
