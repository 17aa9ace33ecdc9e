//! Requests whose body does not come to its end.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};

use crate::guarded::{ADMIN, Guarded};
use crate::harness::{PATIENCE, TestApp, read_all};

/// The answer to a request of which the last chunk never comes, until the connection is closed.
fn unfinished(addr: SocketAddr, head: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let len = body.len();
    let request = format!(
        "{head}\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n{len:x}\r\n{body}\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    read_all(stream)
}

#[test]
fn a_connection_ends_with_the_answer_to_a_body_that_is_not_read() {
    // A connection without a request is closed long after what a test waits for.
    let service = Guarded::start_with("request_timeout = \"5m\"", &[]);
    let reload = "POST /v1/reload HTTP/1.1";
    let admin = format!("{reload}\r\nAuthorization: Bearer {ADMIN}");
    let long = "a".repeat((64 << 10) + 1);
    for (head, body, status) in [(reload, "abc", 401), (&admin, &long, 413)] {
        let text = unfinished(service.app.addr, head, body);
        let start = format!("HTTP/1.1 {status} ");
        assert!(text.starts_with(&start), "{text}");
        assert!(
            text.to_ascii_lowercase().contains("connection: close"),
            "{text}"
        );
    }
}

#[test]
fn a_connection_ends_with_the_answer_to_a_body_that_comes_too_slowly() {
    let app = TestApp::start(&format!(
        "[http]\nrequest_timeout = \"1s\"\n{}",
        crate::guarded::FLEET
    ));
    // Those of the first path are closed by nothing else.
    for head in ["GET /healthz HTTP/1.1", "POST /v1/reload HTTP/1.1"] {
        let text = unfinished(app.addr, head, "abc");
        assert!(text.starts_with("HTTP/1.1 408 "), "{text}");
    }
}
