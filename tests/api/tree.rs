//! The supervision tree: `/v1/supervision`, and `fleetcall tree` on a terminal.

use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

use crate::harness::{PATIENCE, TestApp, config_file, fleetcall, run, stderr, stdout, until};
use crate::pty::{AtTerminal, Options, shown};

const TROUBLED: &str = r#"
    [lookup]
    latency = "1ms"
    [supervision]
    intensity = 1
    backoff = { min = "10m", max = "10m" }
    [[clusters]]
    id = 1
    nodes = ["1-5", { ids = "crashes", lookup = { script = ["panic"] } }]
    [[clusters]]
    id = "edge"
    switches = ["1", { ids = "locked", lookup = { script = ["auth"] } }]
    [[clusters]]
    id = 3
    nodes = "1"
    lookup = { script = ["fail"] }
"#;

fn troubled() -> TestApp {
    let app = TestApp::start(TROUBLED);
    assert_eq!(app.get().status, 202);
    app.wait_for_log(|line| line["message"] == "actor failed, restarting it");
    app
}

fn tree(app: &TestApp, query: &str) -> Value {
    let answer = app.request("GET", &format!("/v1/supervision{query}"), &[]);
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    answer.json()
}

#[test]
fn the_tree_shows_each_child_with_its_state_and_how_it_ended() {
    let app = troubled();
    let tree = tree(&app, "");
    assert_eq!(
        tree["supervisor"],
        json!({"state": "running", "restarts": 0})
    );
    let clusters = tree["clusters"].as_array().unwrap();
    let ids: Vec<_> = clusters
        .iter()
        .map(|cluster| &cluster["cluster_id"])
        .collect();
    assert_eq!(ids, [&json!(1), &json!("edge"), &json!(3)]);
    let nodes = clusters[0]["nodes"].as_array().unwrap();
    assert_eq!((nodes.len(), &clusters[0]["devices"]), (6, &json!(6)));
    assert_eq!(
        (&nodes[0]["node_id"], &nodes[0]["state"]),
        (&json!(1), &json!("running"))
    );
    assert!(nodes[0].get("last_exit").is_none());
    assert!(nodes[0]["last_lookup_age_ms"].is_u64());
    let crashed = &nodes[5];
    assert_eq!(
        (&crashed["node_id"], &crashed["state"]),
        (&json!("crashes"), &json!("restarting"))
    );
    let again = crashed["again_in_ms"].as_u64().unwrap();
    assert!((500_000..=600_000).contains(&again), "{again}");
    assert!(crashed["until"].as_str().unwrap() > tree["time"].as_str().unwrap());
    let exit = &crashed["last_exit"];
    assert_eq!(
        (&exit["reason"], &exit["message"]),
        (&json!("panic"), &json!("simulated panic in lookup 0"))
    );
    assert!(
        exit["at"]
            .as_str()
            .unwrap()
            .starts_with("src/drivers/simulated.rs:")
    );
    assert!(exit["time"].as_str().unwrap() <= tree["time"].as_str().unwrap());
    assert_eq!(nodes[0]["outcome"], "ok");
    assert!(nodes[0].get("error").is_none() && nodes[0].get("failing_since").is_none());
    assert_eq!(
        (&crashed["outcome"], &crashed["error"]),
        (
            &json!("crashed"),
            &json!({"kind": "crashed", "message": "the node actor panicked: simulated panic in lookup 0"})
        )
    );
    let time = tree["time"].as_str().unwrap();
    assert!(crashed["failing_since"].as_str().unwrap() <= time);
    let locked = &clusters[1]["switches"][1];
    assert_eq!(
        (&locked["outcome"], &locked["error"]),
        (
            &json!("auth"),
            &json!({"kind": "auth", "message": "the simulated lookup failed as told: auth"})
        )
    );
    assert!(locked["failing_since"].as_str().unwrap() <= time);
    assert_eq!(
        (&locked["switch_id"], &locked["breaker"]["state"]),
        (&json!("locked"), &json!("open"))
    );
    assert!(locked["breaker"]["again_in_ms"].as_u64().unwrap() > 500_000);
    assert_eq!(
        clusters[2]["nodes"][0]["breaker"],
        json!({"state": "closed", "failures": 1})
    );
    let counters = &tree["counters"];
    for (name, value) in [
        ("collects", 1),
        ("lookups", 8),
        ("lookups_failed", 2),
        ("crashes", 1),
        ("restarts", 0),
        ("breakers_opened", 1),
        ("ticks", 0),
    ] {
        assert_eq!(counters[name], value, "{name}");
    }
}

#[test]
fn the_tree_can_be_cut_down_to_what_failed() {
    let app = troubled();
    let tree = tree(&app, "?devices=failures");
    let nodes = |cluster: usize| tree["clusters"][cluster]["nodes"].as_array().unwrap().len();
    assert_eq!((nodes(0), nodes(2)), (1, 1));
    assert_eq!(tree["clusters"][0]["devices"], 6, "the others are counted");
    for (query, why) in [
        (
            "?devices=some",
            "`devices` is \"some\"; write `all` or `failures`",
        ),
        (
            "?device=1",
            "unknown parameter \"device\"; known here is `devices`; did you mean \"devices\"?",
        ),
        (
            "?devices=all&devices=all",
            "`devices` is given more than once",
        ),
    ] {
        let answer = app.request("GET", &format!("/v1/supervision{query}"), &[]);
        assert_eq!(answer.status, 400, "{query}");
        let detail = answer.json()["detail"].to_string();
        let why = serde_json::to_string(why).unwrap();
        assert!(detail.contains(why.trim_matches('"')), "{detail}");
    }
    let answer = app.request("DELETE", "/v1/supervision", &[]);
    assert_eq!(
        (answer.status, answer.header("allow")),
        (405, Some("GET, HEAD"))
    );
    let answer = app.request("HEAD", "/v1/supervision", &[]);
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
}

#[test]
fn the_tree_is_shown_also_while_every_device_hangs() {
    let app = TestApp::start(
        "[lookup]\nscript = [\"hang\"]\ntimeout = \"1h\"\n[collect]\ndeadline = \"1h\"\n\
         [[clusters]]\nid = 1\nnodes = \"1-3\"\n",
    );
    let _client = app.begin();
    app.wait_for_log(|line| line["message"] == "collecting");
    assert_eq!(
        tree(&app, "")["clusters"][0]["nodes"]
            .as_array()
            .unwrap()
            .len(),
        3
    );
}

#[test]
fn trees_that_nobody_reads_are_bounded() {
    use std::io::{Read as _, Write as _};
    let name = "n".repeat(240);
    let app = TestApp::start(&format!(
        "[lookup]\nlatency = \"1ms\"\n[[clusters]]\nid = 1\nnodes = \"{name}[1-12000]\"\n"
    ));
    let begin = || {
        // All that sockets hold is then what the service's own does, which the tree is larger than.
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        socket.connect(&app.addr.into()).unwrap();
        let mut stream = std::net::TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
            .write_all(b"GET /v1/supervision HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .unwrap();
        let mut status = [0; 12];
        stream.read_exact(&mut status).unwrap();
        (stream, status)
    };
    // Drawn they are when their first bytes come, but not sent: who does not read keeps its place.
    let mut silent = Vec::new();
    loop {
        let (stream, status) = begin();
        if &status == b"HTTP/1.1 503" {
            break;
        }
        assert_eq!(&status, b"HTTP/1.1 200");
        silent.push(stream);
        assert!(silent.len() <= 8, "they are not counted");
    }
    let ask = || app.request("GET", "/v1/supervision?devices=failures", &[]);
    for _ in 0..20 {
        let refused = ask();
        assert_eq!(
            (refused.status, refused.header("retry-after")),
            (503, Some("1"))
        );
    }
    drop(silent);
    until("they are let go", || ask().status == 200);
}

#[test]
fn on_a_terminal_failures_come_first() {
    let app = troubled();
    let server = format!("http://{}", app.addr);
    let output = run(fleetcall().args(["tree", "--server", &server]));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    let lines: Vec<&str> = text.lines().collect();
    assert!(
        lines[0].starts_with(&format!("fleetcall at {server}, 20")),
        "{text}"
    );
    assert_eq!(
        lines[1],
        "clusters: 3, devices: 9, of them 8 running, 1 restarting, 0 quarantined; breakers open: 1; \
         failing: 3"
    );
    assert!(
        lines[2].contains("collects=1 lookups=8 lookups_failed=2 crashes=1"),
        "{text}"
    );
    let starts =
        |line: usize, expected: &str| assert!(lines[line].starts_with(expected), "{line}: {text}");
    starts(4, "cluster 1 node crashes      restarting, again in 9m ");
    starts(
        5,
        "    crashed: the node actor panicked: simulated panic in lookup 0, failing since 20",
    );
    starts(
        6,
        "    last exit: panic \"simulated panic in lookup 0\" at src/drivers/simulated.rs:",
    );
    starts(
        7,
        "cluster edge switch locked  running, breaker open for 9m ",
    );
    starts(
        8,
        "    auth: the simulated lookup failed as told: auth, failing since 20",
    );
    starts(
        9,
        "cluster 3 node 1            running, failures in a row: 1",
    );
    starts(
        10,
        "    failed: the simulated lookup failed, failing since 20",
    );
    starts(
        12,
        "cluster      state         devices  running restarting quarantined breakers",
    );
    starts(
        13,
        "1            running             6        5          1           0        0",
    );
    let hint = "\nto ask one now: fleetcall collect --server ";
    assert!(text.contains(hint), "{text}");
    // As much of it at a terminal as a pipe, on lines that fit.
    let options = || Options {
        columns: 80,
        ..Options::default()
    };
    let (raw, code) = AtTerminal::start(&["tree", "--server", &server], options()).end();
    assert_eq!(code, Some(0));
    let lines = shown(&raw);
    assert!(lines.iter().all(|line| line.len() <= 80), "{lines:#?}");
    let words: Vec<&str> = lines.iter().flat_map(|it| it.split_whitespace()).collect();
    let whole = "crashed: the node actor panicked: simulated panic in lookup 0, failing since 20";
    assert!(words.join(" ").contains(whole), "{lines:#?}");
    let all = stdout(&run(
        fleetcall().args(["tree", "--all", "--server", &server])
    ));
    assert!(
        all.contains("\nsupervisor                  running\n"),
        "{all}"
    );
    assert!(
        all.contains("\ncluster 1 node 5            running\n"),
        "{all}"
    );
    let json = run(fleetcall().args(["tree", "--format", "json", "--server", &server]));
    let json: Value = serde_json::from_str(&stdout(&json)).unwrap();
    assert_eq!(json["clusters"][0]["nodes"][0]["node_id"], "crashes");
}

#[test]
fn a_device_that_fails_without_its_breaker_is_shown_too() {
    let (dir, path) = config_file("");
    let secret = dir.path().join("none");
    let config = format!(
        "[[clusters]]\nid = 1\nnodes = [\"1\", {{ ids = \"2\", lookup = {{ driver = \"http\", \
         url = \"http://127.0.0.1:9/\", bearer_token = {{ file = {secret:?} }} }} }}]\n"
    );
    std::fs::write(&path, config).unwrap();
    let app = TestApp::start_on(dir, path, &[]);
    assert_eq!(app.get().devices(), ["1/n1", "1/n2:failed"]);
    let server = format!("http://{}", app.addr);
    let text = stdout(&run(fleetcall().args(["tree", "--server", &server])));
    assert!(text.contains("; breakers open: 0; failing: 1\n"), "{text}");
    assert!(
        text.contains("\ncluster 1 node 2  running\n    failed: "),
        "{text}"
    );
    assert!(!text.contains("cluster 1 node 1"), "{text}");
}

#[test]
fn watching_draws_again_and_again_and_outlives_the_service() {
    use std::io::{BufRead as _, BufReader};
    let app = troubled();
    let server = format!("http://{}", app.addr);
    let mut watch = fleetcall()
        .args(["tree", "--watch", "--server", &server])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let mut next = |expected: &str| {
        let found = lines
            .by_ref()
            .map_while(Result::ok)
            .find(|line| line.contains(expected));
        assert!(found.is_some(), "{expected}");
    };
    next("fleetcall at ");
    next("fleetcall at ");
    drop(app);
    next("cannot ask ");
    let pid = watch.id().to_string();
    std::process::Command::new("kill")
        .args(["-s", "INT", &pid])
        .status()
        .unwrap();
    assert_eq!(watch.wait().unwrap().code(), Some(0));
}

#[test]
fn a_server_that_is_silent_does_not_hold_up_ctrl_c() {
    use std::io::Read as _;
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let server = format!("http://{}", silent.local_addr().unwrap());
    let watch = fleetcall()
        .args(["tree", "--watch", "--server", &server])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let (mut asked, _) = silent.accept().unwrap();
    let mut some = [0; 16];
    assert!(asked.read(&mut some).unwrap() > 0);
    let pid = watch.id().to_string();
    std::process::Command::new("kill")
        .args(["-s", "INT", &pid])
        .status()
        .unwrap();
    let output = watch.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    // It says so when a request has taken too long: it has not waited for that.
    assert!(!stdout(&output).contains("cannot ask"), "{output:?}");
}

#[test]
fn a_service_that_is_not_there_is_one_clear_line() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let output = run(fleetcall().args(["tree", "--server", &format!("http://{gone}")]));
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    assert!(
        text.starts_with(&format!(
            "fleetcall: cannot ask http://{gone}/v1/supervision"
        )),
        "{text}"
    );
    assert_eq!(text.lines().count(), 1, "{text}");
    let app = TestApp::start("[[clusters]]\nid = 1\nnodes = \"1\"\n");
    let wrong = format!("http://{}/nothing", app.addr);
    let output = run(fleetcall().args(["tree", "--server", &wrong]));
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("404"), "{}", stderr(&output));
}
