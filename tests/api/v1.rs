//! `/v1`: roll calls of a part of the fleet, streams, what is known, what changed.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::gate::Gate;
use crate::harness::{Answer, PATIENCE, TestApp, until};

const FLEET: &str = r#"
[lookup]
latency = "5ms"
[[clusters]]
id = "edge"
nodes = "web[1-3]"
switches = "1-2"
[[clusters]]
id = 7
nodes = ["a", { ids = "b", lookup = { script = ["fail"] } }]
"#;

/// The devices of a report in order, as `cluster/n-id` with `:outcome` behind a failed one.
fn shown(report: &Value) -> Vec<String> {
    let text = |id: &Value| id.as_str().map_or_else(|| id.to_string(), str::to_owned);
    let mut found = Vec::new();
    for cluster in report["clusters"].as_array().unwrap() {
        for (list, key, letter) in [("nodes", "node_id", "n"), ("switches", "switch_id", "s")] {
            for device in cluster[list].as_array().unwrap() {
                let outcome = match device["outcome"].as_str().unwrap() {
                    "ok" => String::new(),
                    kind => {
                        assert_eq!(device["error"]["kind"], kind);
                        format!(":{kind}")
                    }
                };
                let cluster = text(&cluster["cluster_id"]);
                found.push(format!(
                    "{cluster}/{letter}-{}{outcome}",
                    text(&device[key])
                ));
            }
        }
    }
    found
}

fn get(app: &TestApp, path: &str) -> Answer {
    app.request("GET", path, &[])
}

#[track_caller]
fn report(app: &TestApp, query: &str) -> Value {
    let answer = get(app, &format!("/v1/report{query}"));
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()
}

#[test]
fn a_report_is_of_the_devices_that_are_meant() {
    let app = TestApp::start(FLEET);
    for (query, expected) in [
        (
            "",
            &[
                "edge/n-web1",
                "edge/n-web2",
                "edge/n-web3",
                "edge/s-1",
                "edge/s-2",
                "7/n-a",
                "7/n-b:failed",
            ][..],
        ),
        ("?cluster=edge&kind=switch", &["edge/s-1", "edge/s-2"]),
        (
            "?device=web[2-9],a",
            &["edge/n-web2", "edge/n-web3", "7/n-a"],
        ),
        ("?cluster=7&outcome=failed", &["7/n-b:failed"]),
        ("?cluster=7&outcome=ok", &["7/n-a"]),
        ("?cluster=7&outcome=timed_out", &[]),
    ] {
        assert_eq!(shown(&report(&app, query)), expected, "{query}");
    }
    let whole = report(&app, "");
    let summary = &whole["summary"];
    assert_eq!(
        (&summary["asked"], &summary["ok"], &summary["failed"]),
        (&json!(7), &json!(6), &json!(1))
    );
    assert_eq!(summary["faults"], json!({ "failed": 1 }));
    let slowest = summary["slowest"]["duration_ms"].as_f64().unwrap();
    assert!(slowest >= 5.0, "{summary}");
    let first = &whole["clusters"][0]["nodes"][0];
    assert!(
        first["observed_at"].is_string() && first["age_ms"].is_u64(),
        "{first}"
    );
    assert!(
        first["duration_ms"].as_f64().unwrap() >= 5.0
            && first["duration_ms"].as_f64().unwrap() <= slowest
    );
    // What is filtered is not asked: nobody but these seven was, and each as often as it was meant.
    let part = report(&app, "?cluster=7&outcome=ok");
    assert_eq!(part["summary"]["asked"], json!(2));
}

#[test]
fn what_is_not_understood_is_a_problem_that_says_what_would_be_right() {
    let app = TestApp::start(FLEET);
    for (path, status, detail) in [
        (
            "/v1/report?kind=nodes",
            400,
            "`kind` is \"nodes\"; write `node` or `switch`; did you mean \"node\"?",
        ),
        (
            "/v1/report?cluster=a[1",
            404,
            "`cluster` is no node set: a '[' without its ']'; did you mean \"a[1]\"?",
        ),
        ("/v1/report?device=1..4", 404, "did you mean \"1-4\"?"),
        (
            "/v1/report?device=",
            400,
            "`device` is empty; give it a value, or leave it out",
        ),
        ("/v1/report?device", 400, "`device` is empty"),
        (
            "/v1/report?outcome=timedout",
            400,
            "`outcome` is \"timedout\"; write `ok`, `failed`, `timed_out`, `refused`, ",
        ),
        (
            "/v1/report?outcome=timedout",
            400,
            "; did you mean \"timed_out\"?",
        ),
        (
            "/v1/report?deadline=5",
            400,
            "`deadline`: cannot read \"5\" as a duration; write a number and its unit, such as \"3s\" \
             or \"250ms\"; did you mean \"5s\"?",
        ),
        (
            "/v1/report?deadline=0s",
            400,
            "`deadline` is \"0s\", which is too short; write at least 1ms",
        ),
        (
            "/v1/report?max_age=-1s",
            400,
            "`max_age`: cannot read \"-1s\" as a duration",
        ),
        (
            "/v1/report?max_age=99999999999999999999s",
            400,
            "`max_age`: cannot read",
        ),
        (
            "/v1/report?kind=node&kind=node",
            400,
            "`kind` is given more than once",
        ),
        (
            "/v1/report?strict=yes",
            400,
            "`strict` is \"yes\"; write `true` or `false`",
        ),
        (
            "/v1/report?devices=web1",
            400,
            "unknown parameter \"devices\"; known here are `cluster`, `kind`, `device`, `exclude`, `force`, \
             `outcome`, `deadline`, `max_age`, `strict`; did you mean \"device\"?",
        ),
        ("/v1/report?cluster=edge&=1", 400, "unknown parameter \"\""),
        (
            "/v1/clusters?cluster=7",
            400,
            "unknown parameter \"cluster\"; none is known here",
        ),
        (
            "/v1/supervision?devices=failure",
            400,
            "`devices` is \"failure\"; write `all` or `failures`; did you mean \"failures\"?",
        ),
        (
            "/v1/report?cluster=nope",
            404,
            "`cluster`: there is no cluster \"nope\"; there are edge, 7",
        ),
        (
            "/v1/report?device=web[1-3,4],b",
            404,
            "`device`: there is no device \"web4\"; there are web1, web2, web3, 1, 2, a, b; did you \
             mean \"web1\"?",
        ),
        (
            "/v1/report?exclude=wbe1",
            404,
            "`exclude`: there is no device \"wbe1\" to take away; there are web1, web2, web3, 1, 2, a, b; \
             did you mean \"web1\"?",
        ),
        (
            "/v1/report?cluster=7&exclude=a,b",
            404,
            "no device of the fleet is meant: all that would be are excluded",
        ),
        (
            "/v1/clusters/edgy",
            404,
            "there is no cluster \"edgy\"; there are edge, 7; did you mean \"edge\"?",
        ),
        (
            "/v1/clusters/edge/nodes/wbe1",
            404,
            "there is no node \"wbe1\" in cluster \"edge\"; there are web1, web2, web3; did you mean \
             \"web1\"?",
        ),
        (
            "/v1/clusters/7/switches/1",
            404,
            "there is no switch \"1\" in cluster \"7\"; it has none",
        ),
        (
            "/v1/clusters/edgy/nodes/web1",
            404,
            "there is no cluster \"edgy\"",
        ),
        ("/v1/clusters/%0a", 404, "is no id"),
        ("/v1/clusters/%ff", 404, "is no id"),
        ("/v1/clusters/edge/nodes/a%2Fb", 404, "is no id"),
        (
            "/v1/changes?since=x",
            400,
            "`since` is \"x\"; write a number from 0 to 9007199254740991",
        ),
        ("/v1/changes?since=-1", 400, "`since` is \"-1\""),
        ("/v1/changes?since=9007199254740992", 400, "`since` is "),
        ("/v1/changes?sinse=1", 400, "did you mean \"since\"?"),
        (
            "/v1/changes?since=7",
            410,
            "`since` is of the future: there is no change 7 yet, the newest is 0",
        ),
    ] {
        let answer = get(&app, path);
        assert_eq!(answer.status, status, "{path}: {}", answer.body);
        assert_eq!(
            answer.header("content-type"),
            Some("application/problem+json"),
            "{path}"
        );
        let problem = answer.json();
        assert_eq!(problem["status"], json!(status));
        let found = problem["detail"].as_str().unwrap();
        assert!(found.contains(detail), "{path}: {found}");
    }
    for path in [
        "/v1/collect",
        "/v1/reload",
        "/v1/clusters/7/nodes/a/collect",
    ] {
        for (header, body) in [
            ("Content-Length: 2", "{}"),
            ("Transfer-Encoding: chunked", "2\r\n{}\r\n0\r\n\r\n"),
        ] {
            let mut stream = TcpStream::connect(app.addr).unwrap();
            let head = format!(
                "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{header}\r\n\r\n"
            );
            stream.write_all((head + body).as_bytes()).unwrap();
            let answer = crate::harness::read_all(stream);
            assert!(
                answer.starts_with("HTTP/1.1 415"),
                "{path} {header}: {answer}"
            );
        }
    }
    for (method, path, allow) in [
        ("POST", "/v1/report", "GET, HEAD"),
        ("GET", "/v1/collect", "POST"),
        ("DELETE", "/v1/clusters/edge", "GET, HEAD"),
    ] {
        let answer = app.request(method, path, &[]);
        assert_eq!(
            (answer.status, answer.header("allow")),
            (405, Some(allow)),
            "{path}"
        );
    }
}

#[test]
fn what_is_taken_away_is_not_asked() {
    let app = TestApp::start(FLEET);
    for (query, expected) in [
        (
            "?device=web[1-3]!web2,a",
            &["edge/n-web1", "edge/n-web3", "7/n-a"][..],
        ),
        ("?cluster=edge,7!edge", &["7/n-a", "7/n-b:failed"]),
        (
            "?kind=node&exclude=web[1-2],1",
            &["edge/n-web3", "7/n-a", "7/n-b:failed"],
        ),
        // What is taken away may be elsewhere than what is asked.
        ("?cluster=7&exclude=web1,b", &["7/n-a"]),
    ] {
        let report = report(&app, query);
        assert_eq!(shown(&report), expected, "{query}");
        assert_eq!(report["summary"]["asked"], json!(expected.len()));
    }
}

#[test]
fn a_form_that_there_is_not_is_406_which_says_what_there_is() {
    let app = TestApp::start(FLEET);
    let answer = |method: &str, path: &str, accept: &str| {
        let answer = app.request(method, path, &[("Accept", accept)]);
        let kind = answer.header("content-type").unwrap_or_default().to_owned();
        (answer.status, kind, answer.body)
    };
    for (path, accept) in [
        ("/v1/report", "text/html, image/*"),
        ("/v1/report", "*/*;q=0"),
        ("/v1/report", "application/json;q=0"),
        ("/v1/clusters", "text/event-stream"),
        ("/v1/clusters", "application/x-ndjson"),
        ("/v1/clusters/edge", "text/event-stream"),
        ("/v1/clusters/edge/nodes/web1", "text/event-stream"),
        ("/v1/clusters/edge/switches/1", "text/event-stream"),
        ("/v1/changes", "text/event-stream"),
        ("/v1/workers", "text/event-stream"),
        ("/v1/supervision", "text/event-stream"),
        ("/v1/supervision", "application/json;q=0, text/*"),
        ("/openapi.json", "text/event-stream"),
    ] {
        let (status, kind, body) = answer("GET", path, accept);
        assert_eq!(status, 406, "{path} {accept}: {body}");
        assert_eq!(kind, "application/problem+json");
        assert!(
            body.contains("`Accept` leaves out what this is answered as: ")
                && body.contains("application/json"),
            "{body}"
        );
    }
    // It does nothing that it cannot say.
    assert_eq!(answer("POST", "/v1/reload", "text/event-stream").0, 406);
    for (accept, kind) in [
        ("*/*", "application/json"),
        ("application/*, text/event-stream;q=0.5", "application/json"),
        (
            "application/json;q=0.5, text/event-stream",
            "text/event-stream",
        ),
        ("text/*", "text/event-stream"),
        ("text/html, */*;q=0.1", "application/json"),
        ("application/json;q=0, */*;q=0.5", "application/x-ndjson"),
        (
            "Application/X-NDJSON; charset=utf-8",
            "application/x-ndjson",
        ),
    ] {
        let (status, found, body) = answer("GET", "/v1/report", accept);
        assert_eq!((status, found.as_str()), (200, kind), "{accept}: {body}");
    }
    assert_eq!(answer("GET", "/v1/clusters", "text/html, */*;q=0.1").0, 200);
}

#[test]
fn an_event_source_that_comes_back_is_told_to_stay_away() {
    let app = TestApp::start(FLEET);
    let events = [("Accept", "text/event-stream")];
    let first = app.request("GET", "/v1/report", &events);
    let (id, rest) = first.body.split_once("\n\n").unwrap();
    assert_eq!(id, "id: 1");
    assert!(rest.starts_with("event: device\ndata: "), "{rest}");
    let again = [("Accept", "text/event-stream"), ("Last-Event-ID", "1")];
    for path in ["/v1/report", "/v1/report?cluster=edge"] {
        let answer = app.request("GET", path, &again);
        assert_eq!((answer.status, answer.body.as_str()), (204, ""), "{path}");
    }
    // Whatever else is asked again is answered, and was not asked meanwhile.
    let lines = [("Accept", "application/x-ndjson"), ("Last-Event-ID", "1")];
    let lines = app.request("GET", "/v1/report", &lines);
    assert!(lines.body.contains("\"collect\":2,"), "{}", lines.body);
    let posted = app.request("POST", "/v1/collect", &again);
    assert!(posted.body.starts_with("id: 3\n\n"), "{}", posted.body);
    let wrong = app.request("GET", "/v1/report?devices=1", &again);
    assert_eq!(wrong.status, 400);
}

#[test]
fn what_the_path_says_is_no_parameter() {
    let app = TestApp::start(FLEET);
    for (path, status) in [
        ("/v1/collect?cluster=7&kind=node&exclude=b", 200),
        ("/v1/clusters/7/collect?device=a&kind=node", 200),
        ("/v1/clusters/7/collect?exclude=b", 200),
        ("/v1/clusters/7/collect?device=web1", 404),
        ("/v1/clusters/7/collect?cluster=edge", 400),
        ("/v1/clusters/7/nodes/a/collect?deadline=1s", 200),
        ("/v1/clusters/7/nodes/a/collect?device=b", 400),
        ("/v1/clusters/7/nodes/a/collect?kind=switch", 400),
        ("/v1/clusters/edge/switches/1/collect?exclude=1", 400),
        ("/v1/reload?watch=1", 400),
    ] {
        let answer = app.request("POST", path, &[]);
        assert_eq!(answer.status, status, "{path}: {}", answer.body);
    }
    let one = app.request("POST", "/v1/clusters/7/collect?exclude=b", &[]);
    assert_eq!(shown(&one.json()), ["7/n-a"]);
}

#[test]
fn durations_are_read_as_in_the_configuration() {
    let app = TestApp::start(FLEET);
    for duration in ["250ms", "2s", "1m%2030s", "1h", "1.5s", "2days", "24h+30m"] {
        assert_eq!(
            shown(&report(&app, &format!("?deadline={duration}"))).len(),
            7
        );
        report(&app, &format!("?max_age={duration}"));
    }
    // More than is configured changes nothing, however much it is.
    report(&app, "?deadline=999999h&max_age=999999h");
}

#[test]
fn what_is_young_enough_is_not_asked_again() {
    let app = TestApp::start(
        "[lookup]\nlatency = \"1ms\"\nscript = [\"ok\", \"fail\", \"ok\", \"fail\"]\n\
         [[clusters]]\nid = 1\nnodes = \"1-2\"\n",
    );
    let first = report(&app, "");
    assert_eq!(shown(&first), ["1/n-1", "1/n-2"]);
    let known = report(&app, "?max_age=1h");
    assert_eq!(shown(&known), ["1/n-1", "1/n-2"]);
    let observed = |report: &Value| report["clusters"][0]["nodes"][1]["observed_at"].clone();
    assert_eq!(observed(&known), observed(&first));
    let control = [("Cache-Control", "max-age=3600")];
    let answer = app.request("GET", "/v1/report", &control);
    assert_eq!(observed(&answer.json()), observed(&first));
    // The same is said of the devices, so that it has the same tag.
    let tag = answer.header("etag").unwrap().to_owned();
    let again = app.request("GET", "/v1/report?max_age=1h", &[("If-None-Match", &tag)]);
    assert_eq!((again.status, again.body.as_str()), (304, ""));
    // One of them is asked by its own: the other one's result is still young.
    let one = app.request("POST", "/v1/clusters/1/nodes/1/collect?max_age=1h", &[]);
    assert_eq!(shown(&one.json()), ["1/n-1:failed"]);
    assert_eq!(
        shown(&report(&app, "?max_age=1h")),
        ["1/n-1:failed", "1/n-2"]
    );
    let changed = app.request("GET", "/v1/report?max_age=1h", &[("If-None-Match", &tag)]);
    assert_eq!(changed.status, 200);
    assert_eq!(
        shown(&report(&app, "?max_age=0s")),
        ["1/n-1", "1/n-2:failed"]
    );
}

#[test]
fn strict_turns_a_partial_answer_into_503() {
    let app = TestApp::start(FLEET);
    let answer = get(&app, "/v1/report?strict=true");
    assert_eq!(answer.status, 503);
    assert_eq!(answer.json()["summary"]["failed"], json!(1));
    assert_eq!(get(&app, "/v1/report?strict=true&cluster=edge").status, 200);
}

#[test]
fn a_shorter_deadline_is_kept_and_costs_nobody_else_anything() {
    let gate = Gate::start();
    let app = TestApp::start(&format!(
        "[collect]\ndeadline = \"1h\"\n[[clusters]]\nid = 1\nnodes = [\"slow\"]\nlookup = {}\n",
        gate.lookup()
    ));
    let joined = app.begin();
    gate.wait_for(1);
    // It is here before the device has answered.
    let report = report(&app, "?deadline=300ms");
    assert_eq!(shown(&report), ["1/n-slow:timed_out"]);
    let error = &report["clusters"][0]["nodes"][0]["error"]["message"];
    assert_eq!(error, "no answer before the collect's deadline of 300ms");
    gate.open();
    let other = crate::harness::read_all(joined);
    assert!(other.starts_with("HTTP/1.1 200"), "{other}");
    assert_eq!(gate.requests(), 1, "it was the same lookup");
}

/// Asks for a stream and reads its head.
fn stream(app: &TestApp, path: &str, accept: &str) -> BufReader<TcpStream> {
    let mut stream = TcpStream::connect(app.addr).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(stream.read_line(&mut head).unwrap() > 0, "{head}");
    }
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(head.contains(&format!("content-type: {accept}")), "{head}");
    stream
}

/// The next line with JSON, of a chunked body.
fn line(stream: &mut BufReader<TcpStream>) -> String {
    loop {
        let mut line = String::new();
        assert!(
            stream.read_line(&mut line).unwrap() > 0,
            "the stream has ended"
        );
        if line.contains('{') || line.starts_with("event: ") {
            return line.trim().to_owned();
        }
    }
}

/// Four devices that answer at once, and one that answers when it may.
fn mixed(gate: &Gate) -> TestApp {
    TestApp::start(&format!(
        "[[clusters]]\nid = 1\nnodes = [{{ ids = \"slow\", lookup = {} }}, {{ ids = \"1-3\", \
         lookup = {{ latency = \"1ms\" }} }}]\n\
         switches = [{{ ids = [\"x\"], lookup = {{ latency = \"1ms\" }} }}]\n",
        gate.lookup()
    ))
}

#[test]
fn lines_come_while_devices_answer_each_once_and_the_summary_last() {
    let gate = Gate::start();
    let app = mixed(&gate);
    let mut lines = stream(&app, "/v1/report", "application/x-ndjson");
    let mut next = || serde_json::from_str::<Value>(&line(&mut lines)).unwrap();
    let (mut seen, mut longest) = (Vec::new(), 0.0_f64);
    for nth in 0..5 {
        if nth == 4 {
            // All quick ones are here before the slow one can be.
            gate.open();
        }
        let device = next();
        assert_eq!(device["cluster_id"], json!(1));
        assert_eq!(device["outcome"], "ok", "{device}");
        longest = longest.max(device["duration_ms"].as_f64().unwrap());
        let id = [&device["node_id"], &device["switch_id"]]
            .into_iter()
            .find(|it| !it.is_null());
        seen.push(id.unwrap().to_string());
    }
    assert_eq!(seen[4], "\"slow\"");
    seen.sort_unstable();
    assert_eq!(seen, ["\"slow\"", "\"x\"", "1", "2", "3"]);
    let end = next();
    assert_eq!(
        (&end["summary"]["asked"], &end["summary"]["ok"]),
        (&json!(5), &json!(5))
    );
    assert_eq!(end["summary"]["slowest"]["duration_ms"], json!(longest));
    let mut rest = String::new();
    lines.read_to_string(&mut rest).unwrap();
    assert!(!rest.contains('{'), "{rest}");
}

#[test]
fn events_are_the_same() {
    let gate = Gate::start();
    gate.open();
    let app = mixed(&gate);
    let mut events = stream(&app, "/v1/report?kind=node", "text/event-stream");
    for expected in ["event: device"; 4].into_iter().chain(["event: summary"]) {
        assert_eq!(line(&mut events), expected);
        let data = line(&mut events);
        let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert!(data.is_object());
    }
}

#[test]
fn a_reader_who_does_not_read_holds_up_neither_the_collect_nor_anybody() {
    // More than sockets hold; all of them hang, so the deadline alone says when they are answered for.
    let name = "n".repeat(240);
    let app = TestApp::start(&format!(
        "[lookup]\nscript = [\"hang\"]\n[collect]\ndeadline = \"1s\"\n\
         [[clusters]]\nid = \"{name}\"\nnodes = \"{name}[1-12000]\"\n"
    ));
    let mut lines = stream(&app, "/v1/report", "application/x-ndjson");
    // The collect ends at its deadline, with nothing read.
    app.wait_for_log(|line| line["message"] == "collected" && line["devices"] == json!(12_000));
    let path = format!("/v1/report?device={name}1");
    assert_eq!(get(&app, &path).status, 200);
    let mut all = Vec::new();
    lines.read_to_end(&mut all).unwrap();
    let text = String::from_utf8(all).unwrap();
    assert!(text.len() > 7 << 20, "{} bytes", text.len());
    assert_eq!(text.matches("\"outcome\":\"timed_out\"").count(), 12_000);
    assert!(text.contains("\"summary\":{\"asked\":12000,"));
}

#[test]
fn a_reader_who_goes_away_cancels_its_collect() {
    let app =
        TestApp::start("[lookup]\nscript = [\"hang\"]\n[[clusters]]\nid = 1\nnodes = \"1\"\n");
    drop(stream(&app, "/v1/report", "text/event-stream"));
    let line = app.wait_for_log(|line| line["message"] == "collect cancelled");
    assert_eq!(line["why"], "its caller went away");
}

#[test]
fn what_is_known_is_shown_without_asking() {
    let app = TestApp::start(FLEET);
    let count = |index: usize| {
        let cluster = &get(&app, "/v1/clusters").json()["clusters"][index];
        ["devices", "ok", "failed", "unknown"].map(|key| cluster[key].as_u64().unwrap())
    };
    assert_eq!((count(0), count(1)), ([5, 0, 0, 5], [2, 0, 0, 2]));
    let node = get(&app, "/v1/clusters/7/nodes/b").json();
    assert_eq!(
        (&node["outcome"], &node["state"]),
        (&json!("unknown"), &json!("running"))
    );
    assert_eq!(
        app.request("POST", "/v1/clusters/7/collect", &[]).status,
        200
    );
    assert_eq!((count(0), count(1)), ([5, 0, 0, 5], [2, 1, 1, 0]));
    let answer = get(&app, "/v1/clusters/7/nodes/b");
    let node = answer.json();
    assert_eq!(
        (&node["outcome"], &node["breaker"]["failures"]),
        (&json!("failed"), &json!(1))
    );
    assert!(
        node["observed_at"].is_string() && node["last_success_at"].is_null(),
        "{node}"
    );
    let tag = answer.header("etag").unwrap().to_owned();
    let same = app.request("GET", "/v1/clusters/7/nodes/b", &[("If-None-Match", &tag)]);
    assert_eq!(same.status, 304);
    let cluster = get(&app, "/v1/clusters/edge").json();
    assert_eq!(cluster["switches"].as_array().unwrap().len(), 2);
    assert_eq!(app.request("HEAD", "/v1/clusters/edge", &[]).body, "");
    assert_eq!(
        app.request("POST", "/v1/clusters/edge/switches/1/collect", &[])
            .status,
        200
    );
    assert_eq!(
        get(&app, "/v1/clusters/edge/switches/1").json()["outcome"],
        "ok"
    );
    assert_eq!(
        app.request("POST", "/v1/clusters/edge/switches/9/collect", &[])
            .status,
        404
    );
    assert_eq!(
        app.request("POST", "/v1/collect", &[]).json()["summary"]["asked"],
        json!(7)
    );
}

#[test]
fn changes_are_told_from_a_number_on() {
    let app = TestApp::start(
        "[lookup]\nlatency = \"1ms\"\nscript = [\"ok\", \"fail\", \"fail\", \"ok\", \"panic\", \"ok\"]\n\
         [supervision]\nbackoff = { min = \"1ms\", max = \"1ms\" }\n\
         [[clusters]]\nid = 1\nnodes = \"1\"\n",
    );
    let since = |number: u64| {
        let answer = get(&app, &format!("/v1/changes?since={number}")).json();
        let changes: Vec<String> = answer["changes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| format!("{} {}", it["node_id"], it["change"].as_str().unwrap()))
            .collect();
        (changes, answer["next"].as_u64().unwrap())
    };
    let mark = report(&app, "")["changes"].as_u64().unwrap();
    assert_eq!(since(mark), (Vec::new(), 0));
    report(&app, "");
    report(&app, "");
    let (changes, next) = since(mark);
    assert_eq!(changes, ["1 failing"]);
    report(&app, "");
    assert_eq!(since(next).0, ["1 recovered"]);
    let crashed = report(&app, "");
    assert_eq!(shown(&crashed), ["1/n-1:crashed"]);
    // What is known says so too, and that nobody has asked it since.
    let known = get(&app, "/v1/clusters/1/nodes/1").json();
    assert_eq!(
        (&known["outcome"], &known["error"]["kind"]),
        (&json!("crashed"), &json!("crashed"))
    );
    let message = known["error"]["message"].as_str().unwrap();
    assert!(message.contains("simulated panic"), "{known}");
    assert_eq!(
        get(&app, "/v1/clusters").json()["clusters"][0]["failed"],
        json!(1)
    );
    assert_eq!(since(next).0, ["1 recovered", "1 failing"]);
    let text = std::fs::read_to_string(&app.config).unwrap();
    std::fs::write(&app.config, text.replace("nodes = \"1\"", "nodes = \"2\"")).unwrap();
    assert_eq!(app.request("POST", "/v1/reload", &[]).status, 200);
    let (changes, next) = since(0);
    assert_eq!(changes[3..], ["2 appeared", "1 gone"]);
    assert_eq!(next, 5);
}

#[test]
fn answers_are_compressed_if_the_client_wants_that() {
    let app = TestApp::start(FLEET);
    let plain = get(&app, "/openapi.json");
    assert_eq!(plain.json()["openapi"], "3.1.0");
    let report = get(&app, "/v1/report");
    assert_eq!(report.header("content-encoding"), None);
    for (accepted, coding) in [
        ("gzip", Some("gzip")),
        ("br, zstd, gzip;q=0.5", Some("gzip")),
        // Nothing else is made; what is plain is always accepted.
        ("br, zstd", None),
    ] {
        let mut stream = TcpStream::connect(app.addr).unwrap();
        write!(
            stream,
            "GET /v1/report HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: {accepted}\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let head = String::from_utf8_lossy(&answer).to_lowercase();
        assert!(head.starts_with("http/1.1 200 "), "{head}");
        let found = head.split("content-encoding: ").nth(1);
        let found = found.and_then(|rest| rest.split("\r\n").next());
        assert_eq!(found, coding, "{accepted}");
    }
    // The contract of the old servers does not change.
    let old = app.request("GET", "/test", &[("Accept-Encoding", "gzip")]);
    assert_eq!(old.header("content-encoding"), None);
}

#[test]
fn a_caller_without_patience_says_nothing_of_the_devices() {
    let app = TestApp::start(
        "[lookup]\nlatency = \"1ms\"\nscript = [\"hang\", \"hang\", \"hang\", \"ok\"]\n\
         breaker = { failures = 1 }\n[[clusters]]\nid = 1\nnodes = \"1-3\"\n",
    );
    let hasty = || report(&app, "?deadline=100ms");
    assert_eq!(hasty()["summary"]["faults"], json!({ "timed_out": 3 }));
    // As often as it takes: a request of a busy machine may be over before a device is asked.
    until("each has hung three times", || {
        shown(&hasty()) == ["1/n-1", "1/n-2", "1/n-3"]
    });
    let changes = get(&app, "/v1/changes").json();
    assert_eq!(changes["changes"], json!([]), "{changes}");
    // Nor is a number that is still to come an empty answer.
    assert_eq!(get(&app, "/v1/changes?since=7").status, 410);
}

#[test]
fn what_was_known_before_a_crash_is_not_young_enough() {
    let app = TestApp::start(
        "[lookup]\nlatency = \"1ms\"\nscript = [\"ok\", \"panic\", \"fail\"]\n[supervision]\n\
         backoff = { min = \"1ms\", max = \"1ms\" }\n[[clusters]]\nid = 1\nnodes = \"1\"\n",
    );
    assert_eq!(shown(&report(&app, "")), ["1/n-1"]);
    assert_eq!(shown(&report(&app, "")), ["1/n-1:crashed"]);
    until("its actor is back", || {
        get(&app, "/v1/clusters/1/nodes/1").json()["state"] == "running"
    });
    assert_eq!(shown(&report(&app, "?max_age=1h")), ["1/n-1:failed"]);
}

#[test]
fn what_a_request_forbids_is_not_done() {
    let app = TestApp::start(
        "[lookup]\nlatency = \"1ms\"\nscript = [\"ok\", \"fail\"]\n[[clusters]]\nid = 1\nnodes = \"1\"\n",
    );
    assert_eq!(shown(&report(&app, "")), ["1/n-1"]);
    let fresh = [("Cache-Control", "no-cache, max-age=3600")];
    let asked = app.request("GET", "/v1/report", &fresh).json();
    assert_eq!(shown(&asked), ["1/n-1:failed"]);
    let known = [("Cache-Control", "MAX-AGE=3600")];
    let asked = app.request("GET", "/v1/report", &known).json();
    assert_eq!(shown(&asked), ["1/n-1:failed"]);
    let lines = [("Accept", "application/json;q=0, */*;q=0.5")];
    let answer = app.request("GET", "/v1/report", &lines);
    assert_eq!(answer.header("content-type"), Some("application/x-ndjson"));
    let any = [("If-None-Match", "*")];
    assert_eq!(app.request("POST", "/v1/collect", &any).status, 200);
    // What is counted and not shown makes another answer, too.
    let tag = |path: &str| get(&app, path).header("etag").unwrap().to_owned();
    let before = tag("/v1/report?outcome=auth");
    assert_ne!(before, tag("/v1/report?outcome=auth"));
}

#[test]
fn what_is_not_there_is_answered_by_what_is_also_if_that_is_one() {
    let app = TestApp::start("[[clusters]]\nid = \"a\"\nnodes = \"n\"\n");
    for (path, expected) in [
        ("/v1/clusters/zz", "there is no cluster \"zz\"; there is a"),
        (
            "/v1/clusters/a/nodes/zz",
            "there is no node \"zz\" in cluster \"a\"; there is n",
        ),
        (
            "/v1/report?cluster=zz",
            "`cluster`: there is no cluster \"zz\"; there is a",
        ),
    ] {
        let answer = app.request("GET", path, &[]);
        assert_eq!(answer.status, 404, "{}", answer.body);
        assert_eq!(answer.json()["detail"], *expected, "{path}");
    }
}
