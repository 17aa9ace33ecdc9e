//! The exposition as such: formats, size, how many at once.

use std::io::{Read, Write};
use std::net::TcpStream;

use socket2::{Domain, Socket, Type};

use crate::harness::{PATIENCE, TestApp};
use crate::scrape::{eventually, is_well_formed, scrape};

const SMALL: &str = r#"
    [lookup]
    latency = "1ms"
    [[clusters]]
    id = 1
    nodes = "1-2"
"#;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

#[test]
fn promtool_finds_nothing_to_say() {
    let app = TestApp::start(SMALL);
    app.get();
    is_well_formed(&app);
}

#[test]
fn the_format_is_the_one_that_the_client_prefers() {
    let app = TestApp::start(SMALL);
    for (accept, content_type) in [
        (None, PROMETHEUS),
        (Some("*/*"), PROMETHEUS),
        (Some("text/html"), PROMETHEUS),
        (Some("text/plain"), PROMETHEUS),
        (Some("not a mime type"), PROMETHEUS),
        (Some("application/openmetrics-text"), OPEN_METRICS),
        (
            Some(
                "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            ),
            OPEN_METRICS,
        ),
        (
            Some("text/plain;version=0.0.4,application/openmetrics-text;version=1.0.0;q=0.5"),
            PROMETHEUS,
        ),
        (
            Some("application/openmetrics-text;version=7.0.0,text/plain;q=0.1"),
            PROMETHEUS,
        ),
    ] {
        let accept: Vec<_> = accept.iter().map(|accept| ("Accept", *accept)).collect();
        for method in ["GET", "HEAD"] {
            let answer = app.request(method, "/metrics", &accept);
            let found = (answer.status, answer.header("content-type"));
            assert_eq!(found, (200, Some(content_type)), "{method} {accept:?}");
            let is_open = content_type == OPEN_METRICS;
            let ends = answer.body.ends_with("\n# EOF\n");
            assert_eq!(ends, is_open && method == "GET", "{method} {accept:?}");
            assert_eq!(
                answer.body.is_empty(),
                method == "HEAD",
                "{method} {accept:?}"
            );
        }
    }
    let answer = app.request("POST", "/metrics", &[]);
    assert_eq!(
        (answer.status, answer.header("allow")),
        (405, Some("GET, HEAD"))
    );
}

/// So many devices with names so long that their metrics fit into no socket's buffer.
fn large(devices: usize, metrics: &str) -> String {
    let name = "n".repeat(240);
    format!(
        r#"
        {metrics}
        [lookup]
        latency = "0s"
        timeout = "2m"
        [collect]
        deadline = "2m"
        [[clusters]]
        id = 1
        nodes = "{name}[1-{devices}]"
        "#
    )
}

#[test]
fn a_large_fleet_is_shown_one_by_one_only_on_request() {
    let shown = |devices: usize, metrics: &str| {
        let app = TestApp::start(&large(devices, metrics));
        assert_eq!(app.get().status, 200);
        let samples = scrape(&app);
        #[expect(clippy::cast_precision_loss, reason = "it is small")]
        let expected = devices as f64;
        assert_eq!(samples.of("fleetcall_devices{state=\"up\"}"), expected);
        samples.count("fleetcall_up")
    };
    assert_eq!(shown(10_000, ""), 10_000);
    assert_eq!(shown(10_001, ""), 0);
    assert_eq!(shown(10_001, "[metrics]\nper_device = true"), 10_001);
    assert_eq!(shown(2, "[metrics]\nper_device = false"), 0);
}

#[test]
fn a_reload_changes_whether_devices_are_shown() {
    let app = TestApp::start(SMALL);
    assert_eq!(app.get().status, 200);
    assert_eq!(scrape(&app).count("fleetcall_up"), 2);
    std::fs::write(
        &app.config,
        format!("[metrics]\nper_device = false\n{SMALL}"),
    )
    .unwrap();
    let answer = app.request("POST", "/v1/reload", &[]);
    assert_eq!(answer.json()["settings_changed"], true, "{}", answer.body);
    let samples = scrape(&app);
    assert_eq!(samples.count("fleetcall_up"), 0);
    assert_eq!(
        samples.of("fleetcall_devices{state=\"up\"}"),
        2.0,
        "they are counted"
    );
}

#[test]
fn clients_that_do_not_read_keep_nobody_else_waiting_for_long() {
    let app = TestApp::start(&large(10_000, "[metrics]\nper_device = true"));
    assert_eq!(app.get().status, 200);
    let begin = || {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        socket.connect(&app.addr.into()).unwrap();
        let mut stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(request).unwrap();
        let mut status = [0; 15];
        stream.read_exact(&mut status).unwrap();
        assert_eq!(&status, b"HTTP/1.1 200 OK");
        stream
    };
    let mut readers: Vec<_> = (0..4).map(|_| begin()).collect();
    let answer = app.request("GET", "/metrics", &[]);
    assert_eq!(
        (answer.status, answer.header("retry-after")),
        (503, Some("1"))
    );
    assert_eq!(app.request("GET", "/healthz", &[]).status, 200);
    let mut all = String::new();
    readers.pop().unwrap().read_to_string(&mut all).unwrap();
    assert!(all.ends_with("\r\n0\r\n\r\n"), "it is complete");
    // More than sockets hold: the others still wait.
    assert!(all.len() > 8 << 20, "{} bytes", all.len());
    assert_eq!(app.get().status, 200);
    drop(readers);
    let answer = eventually("there is room again", || {
        Some(app.request("GET", "/metrics", &[])).filter(|answer| answer.status == 200)
    });
    assert!(answer.body.contains("\nfleetcall_up{"));
}
