//! `GET /test` as its callers know it: the contract in the README, line by line.

use crate::harness::{TestApp, read_all};

const GOLDEN: &str = include_str!("../golden/test.json");

const SMALL: &str = r#"
[lookup]
latency = "1ms"
[[clusters]]
id = 1
nodes = "1-2"
switches = [1]
"#;

const CORS: [&str; 5] = [
    "Access-Control-Allow-Origin: *",
    "Access-Control-Allow-Methods: POST, GET, PUT, DELETE, OPTIONS",
    "Access-Control-Max-Age: 1000",
    "Access-Control-Allow-Headers: CONTENT-TYPE, Access-Control-Allow-Origin, cache-control, \
     Cache-Control, x-access-token",
    "Access-Control-Expose-Headers: X-Resource-Count",
];

/// The raw bytes of an answer: its status line, its sorted header lines without `Date`, its body.
fn raw(app: &TestApp, request: &str) -> (String, Vec<String>, String) {
    use std::io::Write as _;
    let mut stream = std::net::TcpStream::connect(app.addr).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let text = read_all(stream);
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let mut lines = head.split("\r\n").map(str::to_owned);
    let status = lines.next().unwrap();
    let mut headers: Vec<String> = lines.filter(|line| !line.starts_with("Date: ")).collect();
    headers.sort();
    (status, headers, body.to_owned())
}

fn raw_request(app: &TestApp, method: &str, path: &str) -> (String, Vec<String>, String) {
    raw(
        app,
        &format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"),
    )
}

fn with_cors(headers: &[&str]) -> Vec<String> {
    let mut all: Vec<String> = CORS
        .iter()
        .chain(headers)
        .map(|&line| line.to_owned())
        .collect();
    all.sort();
    all
}

#[test]
fn the_default_configuration_gives_the_golden_body() {
    let app = TestApp::start(include_str!("../../config/clusters.toml"));
    let (status, headers, body) = raw_request(&app, "GET", "/test");
    assert_eq!(status, "HTTP/1.1 200 OK");
    assert_eq!(body, GOLDEN);
    let etag = headers
        .iter()
        .find(|line| line.starts_with("Etag: \""))
        .expect("an ETag")
        .clone();
    let length = format!("Content-Length: {}", GOLDEN.len());
    let others = [
        "Connection: close",
        "Content-Type: application/json",
        "X-Resource-Count: 32",
        &length,
        &etag,
    ];
    assert_eq!(headers, with_cors(&others));
}

#[test]
fn debug_indents_the_same_value_by_two_spaces() {
    let answer = TestApp::start_with(SMALL, &["--debug"]).get();
    let value: serde_json::Value = serde_json::from_str(
        r#"{"error_code":0,"message":"","data":[{"cluster_id":1,"nodes":[{"node_id":1},{"node_id":2}],
            "switches":[{"switch_id":1}]}]}"#,
    )
    .unwrap();
    assert_eq!(answer.body, serde_json::to_string_pretty(&value).unwrap());
}

#[test]
fn options_answers_200_with_an_empty_body() {
    let app = TestApp::start(SMALL);
    let (status, headers, body) = raw_request(&app, "OPTIONS", "/test");
    assert_eq!((status.as_str(), body.as_str()), ("HTTP/1.1 200 OK", ""));
    assert_eq!(
        headers,
        with_cors(&["Connection: close", "Content-Length: 0"])
    );
}

#[test]
fn other_methods_get_405_with_the_headers() {
    let app = TestApp::start(SMALL);
    for method in ["POST", "PUT", "DELETE", "HEAD", "PATCH", "TRACE", "FROB"] {
        let (status, headers, _) = raw_request(&app, method, "/test");
        assert_eq!(status, "HTTP/1.1 405 Method Not Allowed", "{method}");
        for line in with_cors(&["Allow: GET, OPTIONS"]) {
            assert!(headers.contains(&line), "{method}: {line} in {headers:#?}");
        }
    }
}

#[test]
fn an_unknown_path_gets_404_without_the_headers() {
    let app = TestApp::start(SMALL);
    for path in ["/x", "/test/", "/tests", "/Test", "/test/1", "/..%2ftest"] {
        for method in ["GET", "OPTIONS", "POST"] {
            let answer = app.request(method, path, &[]);
            assert_eq!(answer.status, 404, "{method} {path}");
            let named = |(name, _): &(String, String)| name.starts_with("access-control");
            assert!(
                !answer.headers.iter().any(named),
                "{method} {path}: {answer:?}"
            );
        }
    }
    assert_eq!(app.request("GET", "/test?whatever=1", &[]).status, 200);
}

#[test]
fn an_etag_that_is_known_gives_304_without_a_body() {
    let app = TestApp::start(SMALL);
    let first = app.get();
    let etag = first.header("etag").unwrap();
    assert_eq!(
        app.get().header("etag"),
        Some(etag),
        "the same body has the same tag"
    );
    let weak = format!("W/{etag}");
    let list = format!("\"other\", {etag}");
    for known in [etag, &weak, &list, "*"] {
        let answer = app.request("GET", "/test", &[("If-None-Match", known)]);
        assert_eq!((answer.status, answer.body.as_str()), (304, ""), "{known}");
        assert_eq!(answer.header("etag"), Some(etag));
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    }
    for unknown in ["\"other\"", "other", ""] {
        let answer = app.request("GET", "/test", &[("If-None-Match", unknown)]);
        assert_eq!(
            (answer.status, &answer.body),
            (200, &first.body),
            "{unknown:?}"
        );
    }
}

/// The service remembers what it wrote for answers that are alike.
#[test]
fn an_answer_is_of_its_own_collect_whatever_those_before_were() {
    let config = |ids: &str| {
        format!(
            "[lookup]\nlatency = \"1ms\"\nscript = [\"ok\", \"ok\", \"fail\", \"ok\"]\n\
             [[clusters]]\nid = 1\nnodes = {ids}\n"
        )
    };
    let app = TestApp::start(&config("[1]"));
    let answers: Vec<_> = (0..4).map(|_| app.get()).collect();
    let statuses: Vec<_> = answers.iter().map(|it| it.status).collect();
    assert_eq!(statuses, [200, 200, 202, 200]);
    let said = |nth: usize| (&answers[nth].body, answers[nth].header("etag"));
    assert_eq!((said(1), said(3)), (said(0), said(0)));
    assert_ne!(said(2), said(0));
    std::fs::write(&app.config, config("[1, 2]")).unwrap();
    assert_eq!(app.request("POST", "/v1/reload", &[]).status, 200);
    for (nth, status) in [(0, 200), (1, 200), (2, 202)] {
        let answer = app.get();
        assert_eq!((nth, answer.status), (nth, status));
        let how = if status == 200 { "" } else { ":failed" };
        let devices = ["1/n1", "1/n2"].map(|it| format!("{it}{how}"));
        assert_eq!(answer.devices(), devices);
        assert_eq!(answer.header("x-resource-count"), Some("2"));
    }
}

#[test]
fn failed_devices_make_a_202_that_names_them_and_holds_everyone() {
    let app = TestApp::start(
        r#"
        [lookup]
        latency = "1ms"
        [[clusters]]
        id = "edge"
        nodes = ["web01", { ids = "web02", lookup = { script = ["fail", "ok"] } }]
        switches = [{ ids = "7", lookup = { script = ["hang"], timeout = "50ms" } }, 8]
        "#,
    );
    let answer = app.get();
    assert_eq!(answer.status, 202);
    assert_eq!(
        answer.body,
        r#"{"error_code":1,"message":"2 of 4 devices failed: cluster edge node web02 (failed), "#
            .to_owned()
            + r#"cluster edge switch 7 (timed_out)","data":[{"cluster_id":"edge","nodes":["#
            + r#"{"node_id":"web01"},{"node_id":"web02","error":{"kind":"failed","#
            + r#""message":"the simulated lookup failed"}}],"switches":[{"switch_id":7,"#
            + r#""error":{"kind":"timed_out","message":"no answer within 50ms"}},{"switch_id":8}]}]}"#
    );
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("x-resource-count"), Some("4"));
    let failed = app.wait_for_logs(2, |line| line["message"] == "lookup failed");
    let mut named: Vec<String> = failed
        .iter()
        .map(|line| {
            format!(
                "{} {} {} {}",
                line["cluster"], line["node"], line["switch"], line["kind"]
            )
        })
        .collect();
    named.sort();
    assert_eq!(
        named,
        [
            r#""edge" "web02" null "failed""#,
            r#""edge" null "7" "timed_out""#
        ],
        "each failure is logged once, with its kind and device"
    );
    let collected = app.wait_for_log(|line| line["message"] == "collected");
    assert_eq!(collected["level"], "info");
    for (field, value) in [
        ("collect", 1),
        ("clusters", 1),
        ("devices", 4),
        ("failed", 2),
    ] {
        assert_eq!(collected[field], value, "{field}");
    }
    assert!(collected["duration_ms"].as_u64().unwrap() >= 50);
    assert_eq!(collected["faults"], "timed_out=1 failed=1");
}

#[test]
fn one_collect_more_than_may_wait_gets_503_with_retry_after() {
    let app = TestApp::start(
        r#"
        [lookup]
        script = ["hang"]
        timeout = "60s"
        [collect]
        max_waiting = 2
        [[clusters]]
        id = 1
        nodes = "1"
        "#,
    );
    let waiting = [app.begin(), app.begin()];
    app.wait_for_logs(2, |line| line["message"] == "collecting");
    let answer = app.get();
    assert_eq!(answer.status, 503);
    assert_eq!(
        answer.body,
        r#"{"error_code":2,"message":"2 collects are waiting already; try again later","data":null}"#
    );
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    let is_refused =
        |line: &serde_json::Value| line["message"] == "collect refused, too many are waiting";
    app.wait_for_log(is_refused);
    // More of them in the same minute are not said one by one.
    for _ in 0..3 {
        assert_eq!(app.get().status, 503);
    }
    drop(waiting);
    app.wait_for_logs(2, |line| line["message"] == "collect cancelled");
    let _next = app.begin();
    app.wait_for_logs(3, |line| line["message"] == "collecting");
    assert_eq!(app.log().into_iter().filter(is_refused).count(), 1);
}
