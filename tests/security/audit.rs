//! Who was refused, and who did what: in the log and in the counters.

use std::io::Write as _;

use serde_json::Value;

use crate::guarded::{ADMIN, COLLECT, FLEET, Guarded, READ};
use crate::harness::{TestApp, agent, config_file, fleetcall, request, until};
use crate::limits::{answer, connect, raw};
use crate::shares::hanging;

/// The value of a counter with these labels, in this order.
pub fn value(text: &str, series: &str) -> u64 {
    let lines = text.lines().filter_map(|line| line.strip_prefix(series));
    let value = lines.map(|rest| rest.trim().parse().unwrap()).next();
    value.unwrap_or_default()
}

pub fn denials(reason: &str) -> String {
    format!("fleetcall_http_requests_denied_total{{reason=\"{reason}\"}}")
}

fn answers(path: &str, code: u16) -> String {
    format!("fleetcall_http_requests_total{{path=\"{path}\",code=\"{code}\"}}")
}

fn denied(service: &Guarded, reason: &str) -> u64 {
    value(&service.ask("GET", "/metrics", READ).body, &denials(reason))
}

fn answered(service: &Guarded, path: &str, code: u16) -> u64 {
    value(
        &service.ask("GET", "/metrics", READ).body,
        &answers(path, code),
    )
}

/// Waits until requests were refused for this reason, and so many were answered with this status without
/// a path; what is not read is counted when its connection has ended.
fn wait_until_counted(app: &TestApp, reason: &str, count: u64, code: u16, with_code: u64) {
    let counted = || {
        let text = app.request("GET", "/metrics", &[]).body;
        (
            value(&text, &denials(reason)),
            value(&text, &answers("other", code)),
        )
    };
    until(reason, || {
        let (denied, answered) = counted();
        denied >= count && answered >= with_code
    });
    assert_eq!(counted(), (count, with_code), "{reason}");
}

fn refusals(app: &TestApp) -> Vec<Value> {
    let log = app.log().into_iter();
    log.filter(|line| line["message"] == "request refused")
        .collect()
}

#[test]
fn each_refusal_is_counted_and_the_first_of_each_reason_is_a_line() {
    let service = Guarded::start();
    let wrong = "gu3ssed-0123456789abcdef";
    let path = "/v1/clusters/1/nodes/2/reset";
    let pattern = "/v1/clusters/{cluster}/nodes/{device}/reset";
    assert_eq!(service.app.request("POST", path, &[]).status, 401);
    assert_eq!(service.status("POST", path, wrong), 401);
    assert_eq!(service.status("POST", path, READ), 403);
    let long = format!("/nowhere?{}", "a".repeat(8192));
    assert_eq!(service.status("GET", &long, READ), 414);
    let of_other = [
        ("Authorization", &*format!("Bearer {ADMIN}")),
        ("Origin", "https://evil.example"),
    ];
    let refused = service.app.request("POST", "/v1/reload", &of_other);
    assert_eq!(refused.status, 403);
    for (reason, path) in [
        ("no_token", path),
        ("wrong_token", path),
        ("role", path),
        ("long_address", "/nowhere"),
        ("origin", "/v1/reload"),
    ] {
        assert_eq!(denied(&service, reason), 1, "{reason}");
        let line = service.app.wait_for_log(|line| line["reason"] == reason);
        assert_eq!(line["message"], "request refused");
        assert_eq!(
            (&line["level"], &line["network"]),
            (&"warn".into(), &"loopback".into())
        );
        assert_eq!(
            (&line["path"], &line["client"]),
            (&path.into(), &"127.0.0.1".into())
        );
    }
    assert_eq!(denied(&service, "rate"), 0);
    assert_eq!(answered(&service, pattern, 401), 2);
    assert_eq!(answered(&service, pattern, 403), 1);
    assert_eq!(answered(&service, "/v1/reload", 403), 1);
    assert_eq!(answered(&service, "other", 414), 1);
}

#[test]
fn an_attacker_fills_neither_the_log_nor_the_metrics() {
    let service = Guarded::start();
    let agent = agent();
    let tries = 3_000;
    for number in 0..tries {
        let path = format!("/secret-{number}");
        let token = format!("Bearer gu3ssed-0123456789-{number}");
        let headers = [("Authorization", token.as_str())];
        let answer = request(&agent, service.app.addr, "GET", &path, &headers);
        assert_eq!(answer.status, 401);
    }
    assert_eq!(denied(&service, "wrong_token"), tries);
    assert_eq!(answered(&service, "other", 401), tries);
    let text = service.ask("GET", "/metrics", READ).body;
    assert!(!text.contains("secret-"), "a path of a client is a label");
    // As many as there are times of 10 s, whatever this machine needs for so many requests.
    let lines = refusals(&service.app);
    let unlogged: u64 = lines
        .iter()
        .map(|it| it["unlogged"].as_u64().unwrap())
        .sum();
    assert!(lines.len() < 60, "{} lines", lines.len());
    assert!(unlogged + u64::try_from(lines.len()).unwrap() <= tries);
}

#[test]
fn the_log_names_the_token_of_who_changes_something() {
    let service = Guarded::start();
    for (method, path, token) in [
        ("POST", "/v1/reload", ADMIN),
        ("POST", "/v1/clusters/1/nodes/2/reset", COLLECT),
        ("POST", "/v1/collect?force=true", COLLECT),
    ] {
        assert_eq!(service.status(method, path, token), 200, "{path}");
    }
    for (message, by) in [
        ("reloaded", "the-admin-one"),
        ("device reset", "the-collect-one"),
        ("roll call by force", "the-collect-one"),
    ] {
        let line = service.app.wait_for_log(|line| line["message"] == message);
        assert_eq!(line["by"], by, "{message}");
    }
    std::fs::write(&service.app.config, "nothing = 1").unwrap();
    assert_eq!(service.status("POST", "/v1/reload", ADMIN), 422);
    let is_refused = |line: &Value| {
        let message = line["message"].as_str().unwrap();
        message.starts_with("reload refused")
    };
    assert_eq!(service.app.wait_for_log(is_refused)["by"], "the-admin-one");
    // By a signal it is nobody's: whoever may send one is the system's to know.
    service.app.signal("HUP");
    let by_signal = |line: &Value| is_refused(line) && line["trigger"] == "signal";
    assert_eq!(service.app.wait_for_log(by_signal)["by"], Value::Null);
}

/// What is no request is answered by the server's parts, which know no limit for their lines.
#[test]
fn what_is_no_request_is_counted_and_is_one_line_of_ours() {
    let (dir, path) = config_file("[[clusters]]\nid = 1\nnodes = \"1\"\n");
    let mut command = fleetcall();
    // As it is without one.
    command.env("RUST_LOG", "");
    let app = TestApp::start_as(command, dir, path, &[]);
    let malformed = [
        "GET / HTTP/1.1\r\nHost: a\r\nfoo\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nname : value\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n folded\r\n\r\n",
        "nonsense\r\n\r\n",
        "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/3.0\r\nHost: a\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "\u{16}\u{3}\u{1}\u{2}",
        // Names of hosts, and lengths, that others may take for something else.
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n",
        "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        // Behind one that is well, on the same connection.
        "GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\nnonsense\r\n\r\n",
    ];
    for bytes in malformed {
        let answer = raw(app.addr, bytes.as_bytes());
        assert!(answer.contains("HTTP/1.1 400 "), "{bytes:?}: {answer}");
    }
    let count = u64::try_from(malformed.len()).unwrap();
    wait_until_counted(&app, "malformed", count, 400, count);
    let many: String = (0..100).map(|n| format!("X-{n}: a\r\n")).collect();
    let many = format!("GET / HTTP/1.1\r\nHost: localhost\r\n{many}\r\n");
    assert!(raw(app.addr, many.as_bytes()).starts_with("HTTP/1.1 431 "));
    wait_until_counted(&app, "long_headers", 1, 431, 1);
    for reason in ["malformed", "long_headers"] {
        let line = app.wait_for_log(|line| line["reason"] == reason);
        assert_eq!(line["message"], "request refused");
        assert_eq!(
            (&line["level"], &line["client"]),
            (&"warn".into(), &"127.0.0.1".into())
        );
    }
    let log = app.log();
    let of_malformed = log.iter().filter(|line| line["reason"] == "malformed");
    let said: u64 = of_malformed
        .map(|line| 1 + line["unlogged"].as_u64().unwrap())
        .sum();
    assert!(said <= count, "{log:?}");
    let others: Vec<_> = log
        .iter()
        .filter(|line| !line["target"].as_str().unwrap().starts_with("fleetcall"))
        .collect();
    assert!(others.is_empty(), "{others:?}");
}

#[test]
fn what_is_no_request_is_counted_also_behind_one_that_is_not_answered_yet() {
    let app = hanging("");
    let text = raw(
        app.addr,
        b"GET /test HTTP/1.1\r\nHost: localhost\r\n\r\nnonsense\r\n\r\n",
    );
    assert_eq!(text, "", "nothing is answered");
    wait_until_counted(&app, "malformed", 1, 400, 0);
}

#[test]
fn a_body_that_is_broken_is_counted_once() {
    let app = TestApp::start(FLEET);
    let broken =
        "POST /v1/reload HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n";
    assert!(raw(app.addr, broken.as_bytes()).starts_with("HTTP/1.1 400 "));
    assert!(raw(app.addr, b"nonsense\r\n\r\n").starts_with("HTTP/1.1 400 "));
    wait_until_counted(&app, "malformed", 1, 400, 1);
    let text = app.request("GET", "/metrics", &[]).body;
    assert_eq!(value(&text, &denials("broken_body")), 1);
    assert_eq!(value(&text, &answers("/v1/reload", 400)), 1);
}

#[test]
fn requests_that_do_not_arrive_in_time_are_counted() {
    let app = TestApp::start(&format!("[http]\nrequest_timeout = \"5s\"\n{FLEET}"));
    // Before it is known what is asked for, and afterwards.
    std::thread::scope(|scope| {
        for begun in ["GET /heal", "GET /test HTTP/1.1\r\nHo", "GET /healthz HT"] {
            let addr = app.addr;
            scope.spawn(move || {
                let text = raw(addr, begun.as_bytes());
                assert!(text.starts_with("HTTP/1.1 408 "), "{begun}: {text}");
            });
        }
    });
    wait_until_counted(&app, "slow_request", 3, 408, 3);
    // A second one of its connection gets no answer.
    let mut stream = connect(app.addr);
    let first = "GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n";
    stream.write_all(first.as_bytes()).unwrap();
    assert!(answer(&mut stream).unwrap().starts_with("HTTP/1.1 404 "));
    stream.write_all(b"G").unwrap();
    wait_until_counted(&app, "slow_request", 4, 408, 3);
    let line = app.wait_for_log(|line| line["reason"] == "slow_request");
    assert_eq!(line["message"], "request refused");
}
