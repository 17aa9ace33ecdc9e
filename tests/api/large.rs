//! Answers that are more than one piece: the same as small ones, and never whole in memory.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;

use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};
use tempfile::TempDir;
use xxhash_rust::xxh3::xxh3_128;

use crate::harness::{PATIENCE, TestApp, run, stdout, until};

/// Some hundred KB of JSON, and one device in it that fails.
const MANY: &str = r#"
[lookup]
latency = "1ms"
timeout = "2m"
[collect]
deadline = "2m"
[[clusters]]
id = 1
nodes = ["1-4999", { ids = "5000", lookup = { script = ["fail"] } }]
switches = "sw[1-2500]"
[[clusters]]
id = "one"
nodes = "1"
[[clusters]]
id = 3
switches = "1-2499"
"#;

/// Some hundred KB of a report, which says more of each device.
const SOME: &str = r#"
[lookup]
latency = "1ms"
timeout = "2m"
[collect]
deadline = "2m"
[[clusters]]
id = 1
nodes = ["1-1999", { ids = "2000", lookup = { script = ["fail"] } }]
switches = "1-1000"
"#;

/// What `GET /test` says of [`MANY`].
fn expected() -> String {
    let mut text = String::from(
        r#"{"error_code":1,"message":"1 of 10000 devices failed: cluster 1 node 5000 (failed)","data":[{"cluster_id":1,"nodes":["#,
    );
    for id in 1..5_000 {
        write!(text, r#"{{"node_id":{id}}},"#).unwrap();
    }
    text += r#"{"node_id":5000,"error":{"kind":"failed","message":"the simulated lookup failed"}}],"switches":["#;
    for id in 1..=2500 {
        let comma = if id > 1 { "," } else { "" };
        write!(text, r#"{comma}{{"switch_id":"sw{id}"}}"#).unwrap();
    }
    text += r#"]},{"cluster_id":"one","nodes":[{"node_id":1}],"switches":[]},{"cluster_id":3,"nodes":[],"switches":["#;
    for id in 1..=2499 {
        let comma = if id > 1 { "," } else { "" };
        write!(text, r#"{comma}{{"switch_id":{id}}}"#).unwrap();
    }
    text + "]}]}"
}

#[test]
fn a_large_answer_is_what_a_small_one_would_be() {
    let app = TestApp::start(MANY);
    let expected = expected();
    let answer = app.get();
    assert_eq!(answer.status, 202);
    assert!(answer.body == expected, "{:.300}", answer.body);
    assert_eq!(answer.header("x-resource-count"), Some("10000"));
    let len = expected.len().to_string();
    assert_eq!(answer.header("content-length"), Some(len.as_str()));
    let etag = format!("\"{:032x}\"", xxh3_128(expected.as_bytes()));
    assert_eq!(answer.header("etag"), Some(etag.as_str()));
    let known = app.request("GET", "/test", &[("If-None-Match", &etag)]);
    assert_eq!((known.status, known.body.as_str()), (304, ""));
    // A client of old has the length too, and no pieces.
    let mut old = TcpStream::connect(app.addr).unwrap();
    old.write_all(b"GET /test HTTP/1.0\r\n\r\n").unwrap();
    let old = crate::harness::read_all(old);
    let (head, body) = old.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(&format!("Content-Length: {len}")), "{head}");
    assert!(!head.contains("Transfer-Encoding"), "{head}");
    assert!(body == expected);
}

#[test]
fn the_hash_of_a_small_answer_is_made_in_the_same_way() {
    let app =
        TestApp::start("[lookup]\nlatency = \"1ms\"\n[[clusters]]\nid = 1\nnodes = \"1-9\"\n");
    let answer = app.get();
    let etag = format!("\"{:032x}\"", xxh3_128(answer.body.as_bytes()));
    assert_eq!(answer.header("etag"), Some(etag.as_str()));
}

#[test]
fn a_large_answer_is_indented_by_two_spaces_too() {
    let app = TestApp::start_with(MANY, &["--debug"]);
    let value: Value = serde_json::from_str(&expected()).unwrap();
    assert!(app.get().body == serde_json::to_string_pretty(&value).unwrap());
    let app = TestApp::start_with(SOME, &["--debug"]);
    let report = app.request("GET", "/v1/report", &[]);
    let pretty = serde_json::to_string_pretty(&report.json()).unwrap();
    assert!(report.body == pretty, "{:.300}", report.body);
}

#[test]
fn a_large_report_is_known_by_its_tag_and_compressed() {
    let app = TestApp::start(SOME);
    let ask = |path: &str, headers: &[(&str, &str)]| app.request("GET", path, headers);
    let first = ask("/v1/report", &[]);
    let summary = &first.json()["summary"];
    assert_eq!(summary["asked"], json!(3000));
    assert_eq!(summary["faults"], json!({"failed": 1}));
    assert!(summary["slowest"]["duration_ms"].as_f64().unwrap() >= 1.0);
    let len = first.body.len().to_string();
    assert_eq!(first.header("content-length"), Some(len.as_str()));
    let tag = first.header("etag").unwrap();
    let known = "/v1/report?max_age=1h";
    assert_eq!(ask(known, &[]).header("etag"), Some(tag));
    assert_eq!(ask(known, &[("If-None-Match", tag)]).status, 304);
    assert_eq!(app.request("HEAD", known, &[]).body, "");
    let strict = ask("/v1/report?max_age=1h&strict=true", &[]);
    assert_eq!(strict.status, 503);
    assert_eq!(without_age(&strict.json()), without_age(&first.json()));
    let url = format!("http://{}{known}", app.addr);
    let mut curl = Command::new("curl");
    let output = run(curl.args(["-sSi", "--compressed", "-H", "Accept-Encoding: gzip", &url]));
    let answer = stdout(&output);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let head = head.to_lowercase();
    assert!(head.contains("content-encoding: gzip"), "{head}");
    let report: Value = serde_json::from_str(body).unwrap();
    assert_eq!(without_age(&report), without_age(&first.json()));
}

/// The clusters of a report, without how long ago their devices answered.
fn without_age(report: &Value) -> Value {
    let mut clusters = report["clusters"].clone();
    for cluster in clusters.as_array_mut().unwrap() {
        for list in ["nodes", "switches"] {
            for device in cluster[list].as_array_mut().unwrap() {
                device.as_object_mut().unwrap().remove("age_ms").unwrap();
            }
        }
    }
    clusters
}

/// How many devices have how much to say, in bytes.
const TALKERS: usize = 100;
const TALK: usize = 60_000;

/// Each says 60 KB of itself.
fn talkers() -> TestApp {
    let dir = TempDir::new().unwrap();
    let facts = dir.path().join("facts.json");
    std::fs::write(&facts, json!({ "text": "x".repeat(TALK) }).to_string()).unwrap();
    let config = dir.path().join("clusters.toml");
    let text = format!(
        "[lookup]\ndriver = \"exec\"\ncommand = [\"cat\", {facts:?}]\ntimeout = \"2m\"\n\
         [collect]\ndeadline = \"2m\"\nmax_concurrent = 16\nmax_waiting = 8\n\
         [[clusters]]\nid = 1\nnodes = \"1-{TALKERS}\"\n"
    );
    std::fs::write(&config, text).unwrap();
    TestApp::start_on(dir, config, &[])
}

/// Asks, and takes no more of the answer than its first bytes.
fn ask_and_wait(app: &TestApp, path: &str) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&app.addr.into()).unwrap();
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut head = [0; 15];
    stream.read_exact(&mut head).unwrap();
    assert_eq!(&head, b"HTTP/1.1 200 OK");
    stream
}

fn in_flight(app: &TestApp) -> String {
    let metrics = app.request("GET", "/metrics", &[]).body;
    let gauge = |line: &str| {
        Some(
            line.strip_prefix("fleetcall_collects_in_flight ")?
                .to_owned(),
        )
    };
    metrics.lines().find_map(gauge).unwrap()
}

/// A number of bytes that the system says of the process.
fn memory(app: &TestApp, name: &str) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", app.pid())).unwrap();
    let value = |line: &str| {
        let (found, value) = line.split_once(':')?;
        let kib = value.trim().strip_suffix(" kB")?;
        (found == name).then(|| kib.parse::<usize>().unwrap() << 10)
    };
    status.lines().find_map(value).unwrap()
}

#[test]
fn answers_that_nobody_takes_are_not_in_memory() {
    let app = talkers();
    let whole = app.request("GET", "/v1/report", &[]).body;
    assert!(whole.len() > TALKERS * TALK);
    // The peak is what is taken now; but only root may set it back.
    let is_reset = std::fs::write(format!("/proc/{}/clear_refs", app.pid()), "5").is_ok();
    let before = memory(&app, if is_reset { "VmRSS" } else { "VmHWM" });
    let mut clients: Vec<_> = (0..8)
        .map(|_| ask_and_wait(&app, "/v1/report?max_age=1h"))
        .collect();
    assert_eq!(in_flight(&app), "8");
    let more = memory(&app, "VmHWM").saturating_sub(before);
    assert!(
        // Whole, they would be eight times as much.
        more < whole.len() * 2,
        "{more} B for {} B each",
        whole.len()
    );
    // Each has a place as long as it has not taken its answer.
    assert_eq!(app.get().status, 503);
    let mut rest = Vec::new();
    clients.pop().unwrap().read_to_end(&mut rest).unwrap();
    assert!(rest.len() > TALKERS * TALK && rest.ends_with(b"\"switches\":[]}]}"));
    drop(clients);
    until("the places are free", || in_flight(&app) == "0");
}

#[test]
fn a_report_that_is_being_sent_stays_as_it_was() {
    let app = talkers();
    let mut client = ask_and_wait(&app, "/v1/report");
    // When and how fast its devices answered is not known of them any more then.
    assert_eq!(app.request("POST", "/v1/collect", &[]).status, 200);
    let mut rest = String::new();
    client.read_to_string(&mut rest).unwrap();
    let (head, body) = rest.split_once("\r\n\r\n").unwrap();
    let len = format!("content-length: {}", body.len());
    assert!(head.to_lowercase().contains(&len), "{head}");
    let report: Value = serde_json::from_str(body).unwrap();
    let nodes = report["clusters"][0]["nodes"].as_array().unwrap();
    assert_eq!(nodes.len(), TALKERS);
    assert!(nodes.iter().all(|node| node["duration_ms"].is_number()));
}

#[test]
fn a_client_who_goes_away_in_the_middle_frees_its_place() {
    let app = talkers();
    let client = ask_and_wait(&app, "/test");
    assert_eq!(in_flight(&app), "1");
    drop(client);
    until("its place is free", || in_flight(&app) == "0");
}
