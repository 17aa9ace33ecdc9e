//! Who was refused, and who did what: in the log and in the counters.

use serde_json::Value;

use crate::guarded::{ADMIN, COLLECT, Guarded, READ};
use crate::harness::{TestApp, agent, config_file, fleetcall, request};
use crate::limits::raw;

/// The value of a counter with these labels, in this order.
fn count(service: &Guarded, series: &str) -> u64 {
    let text = service.ask("GET", "/metrics", READ).body;
    let lines = text.lines().filter_map(|line| line.strip_prefix(series));
    let value = lines.map(|rest| rest.trim().parse().unwrap()).next();
    value.unwrap_or_default()
}

fn denied(service: &Guarded, reason: &str) -> u64 {
    let series = format!("fleetcall_http_requests_denied_total{{reason=\"{reason}\"}}");
    count(service, &series)
}

fn answered(service: &Guarded, path: &str, code: u16) -> u64 {
    let series = format!("fleetcall_http_requests_total{{path=\"{path}\",code=\"{code}\"}}");
    count(service, &series)
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
fn what_is_no_request_writes_no_line() {
    let (dir, path) = config_file("[[clusters]]\nid = 1\nnodes = \"1\"\n");
    let mut command = fleetcall();
    // As it is without one.
    command.env("RUST_LOG", "");
    let app = TestApp::start_as(command, dir, path, &[]);
    for bytes in [
        "GET / HTTP/1.1\r\nHost: a\r\nfoo\r\n\r\n",
        "nonsense\r\n\r\n",
        "GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    ] {
        let answer = raw(app.addr, bytes.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 400"), "{bytes:?}: {answer}");
    }
    let long = format!("/nowhere?{}", "a".repeat(8192));
    assert_eq!(app.request("GET", &long, &[]).status, 414);
    app.wait_for_log(|line| line["reason"] == "long_address");
    let log = app.log();
    let others: Vec<_> = log
        .iter()
        .filter(|line| !line["target"].as_str().unwrap().starts_with("fleetcall"))
        .collect();
    assert!(others.is_empty(), "{others:?}");
}
