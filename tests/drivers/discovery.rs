//! Lists of devices that others keep: read, applied by difference, and kept while they fail.

use std::io::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::harness::{TestApp, config_file, devices, fleetcall, run, stderr, stdout, until};
use crate::names::{Dns, Reply, SERVFAIL};
use crate::servers::{http, nobody, request, server, wait_for_end};

const SIMULATED: &str = "[lookup]\nlatency = \"1ms\"\n";

/// A list of one group of these targets.
fn list(targets: &[&str]) -> String {
    json!([{ "targets": targets }]).to_string()
}

/// Puts a file in place at once, as whoever keeps a list should.
fn put(path: &Path, text: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(&new, path).unwrap();
}

/// Whether a log line says that a list changed the fleet, to this many devices in all.
fn applied(devices: u64) -> impl Fn(&Value) -> bool {
    move |line| {
        let count = |key: &str| line[key].as_u64().unwrap_or_default();
        line["message"] == "reloaded"
            && line["trigger"] == "discovery"
            && count("devices_kept") + count("devices_added") + count("devices_changed") == devices
    }
}

fn says(message: &'static str) -> impl Fn(&Value) -> bool {
    move |line| line["message"] == message
}

const UNREAD: &str = "cannot read a list of devices, what was read before stays";
const NEVER_READ: &str = "cannot read a list of devices, there is none from before";
const READ_AGAIN: &str = "a list of devices can be read again";

#[test]
fn files_are_followed_by_difference() {
    let (dir, path) = config_file(&format!(
        "{SIMULATED}[[clusters]]\nid = \"edge\"\nnodes = {{ file = \"{{cluster}}/*.json\", every = \
         \"100ms\" }}\nswitches = [7]\n"
    ));
    let folder = dir.path().join("edge");
    std::fs::create_dir(&folder).unwrap();
    put(&folder.join("b.json"), &list(&["web2:9100", "3"]));
    put(&folder.join("a.json"), &list(&["web9.example:9100"]));
    let app = TestApp::start_on(dir, path, &[]);
    let all = ["edge/nweb9.example", "edge/nweb2", "edge/n3", "edge/s7"];
    assert_eq!(app.get().devices(), all);
    put(&folder.join("c.json"), &list(&["web1"]));
    let line = app.wait_for_log(applied(5));
    for (field, count) in [
        ("devices_added", 1),
        ("devices_kept", 4),
        ("devices_removed", 0),
    ] {
        assert_eq!(line[field], json!(count), "{line}");
    }
    std::fs::remove_file(folder.join("b.json")).unwrap();
    let line = app.wait_for_log(applied(3));
    assert_eq!(line["devices_removed"], json!(2), "{line}");
    assert_eq!(
        app.get().devices(),
        ["edge/nweb9.example", "edge/nweb1", "edge/s7"]
    );
}

#[test]
fn a_list_that_breaks_keeps_its_devices_and_says_so_once() {
    let (dir, path) = config_file(&format!(
        "{SIMULATED}[[clusters]]\nid = 1\nnodes = {{ file = \"a.json\", every = \"100ms\" }}\n"
    ));
    let file = dir.path().join("a.json");
    put(&file, &list(&["a", "b"]));
    let app = TestApp::start_on(dir, path, &[]);
    put(&file, "[{\"targets\": [\"a\"");
    let line = app.wait_for_log(says(UNREAD));
    assert!(
        line["error"]
            .as_str()
            .unwrap()
            .contains("a.json: this is no list of targets")
    );
    assert_eq!(line["key"], "clusters[0].nodes");
    // Read several times more, as its counters say, and nothing more is said.
    let failed = || {
        let tree = app.request("GET", "/v1/supervision", &[]).json();
        tree["counters"]["discoveries_failed"].as_u64().unwrap()
    };
    until("it was read several times more", || failed() >= 4);
    let is_warning = |line: &Value| says(UNREAD)(line) && line["level"] == "warn";
    assert_eq!(app.log().into_iter().filter(is_warning).count(), 1);
    assert_eq!(app.get().devices(), ["1/na", "1/nb"]);
    let tree = app.request("GET", "/v1/supervision", &[]).json();
    let shown = &tree["discoveries"][0];
    assert_eq!(shown["devices"], json!(2), "{tree}");
    assert!(
        shown["error"].is_string() && shown["read_at"].is_string(),
        "{tree}"
    );
    let server = format!("http://{}", app.addr);
    let drawn = stdout(&run(fleetcall().args(["tree", "--server", &server])));
    assert!(drawn.contains("cannot be read: "), "{drawn}");

    put(&file, &list(&["b", "c"]));
    app.wait_for_log(says(READ_AGAIN));
    app.wait_for_log(applied(2));
    assert_eq!(app.get().devices(), ["1/nb", "1/nc"]);
}

#[test]
fn a_list_that_breaks_again_and_again_says_so_once() {
    let (dir, path) = config_file(&format!(
        "{SIMULATED}[[clusters]]\nid = 1\nnodes = {{ file = \"a.json\", every = \"100ms\" }}\n"
    ));
    let file = dir.path().join("a.json");
    put(&file, &list(&["a"]));
    let app = TestApp::start_on(dir, path, &["--debug"]);
    let is_broken = || {
        let tree = app.request("GET", "/v1/supervision", &[]).json();
        tree["discoveries"][0]["error"].is_string()
    };
    for _ in 0..6 {
        put(&file, "[");
        until("it is found broken", is_broken);
        put(&file, &list(&["a"]));
        until("it is read again", || !is_broken());
    }
    let flaps = app.wait_for_log(says("a list of devices flaps"));
    assert_eq!(flaps["key"], "clusters[0].nodes");
    assert_eq!(
        (&flaps["level"], &flaps["changes"]),
        (&json!("warn"), &json!(6))
    );
    let is_said =
        |line: &&Value| (says(UNREAD)(line) || says(READ_AGAIN)(line)) && line["level"] != "debug";
    // It is steady for its first five changes only.
    assert_eq!(app.log().iter().filter(is_said).count(), 5);
    let flapped = app
        .log()
        .into_iter()
        .filter(says("a list of devices flaps"));
    assert_eq!(flapped.count(), 1);
}

#[test]
fn a_web_servers_list_is_followed_with_credentials_and_by_labels() {
    let answer = Arc::new(Mutex::new(Vec::new()));
    let give = |status: &str, body: &str| {
        *answer.lock().unwrap() = http(status, "", body.as_bytes());
    };
    give(
        "200 OK",
        r#"[{"targets": ["web1", "web2"], "labels": {"role": "node", "rack": "r1"}},
            {"targets": ["tor1"], "labels": {"role": "switch"}},
            {"targets": ["db1"], "labels": {"role": "node", "rack": "r2"}}]"#,
    );
    let asked = Arc::new(Mutex::new(Vec::new()));
    let addr = server({
        let (answer, asked) = (Arc::clone(&answer), Arc::clone(&asked));
        move |mut stream| {
            asked.lock().unwrap().push(request(&mut stream));
            stream.write_all(&answer.lock().unwrap()).ok();
        }
    });
    let (dir, path) = config_file("");
    let token = dir.path().join("token");
    std::fs::write(&token, "s3cret-token\n").unwrap();
    let from = |labels: &str| {
        format!(
            "{{ url = \"http://{addr}/{{cluster}}?key=hidden\", every = \"100ms\", bearer_token = {{ \
             file = {token:?} }}, labels = {{ {labels} }} }}"
        )
    };
    let text = format!(
        "{SIMULATED}[[clusters]]\nid = \"edge\"\nnodes = {}\nswitches = {}\n",
        from("role = \"node\", rack = \"r1\""),
        from("role = \"switch\"")
    );
    std::fs::write(&path, text).unwrap();
    let app = TestApp::start_on(dir, path, &[]);
    assert_eq!(
        app.get().devices(),
        ["edge/nweb1", "edge/nweb2", "edge/stor1"]
    );
    {
        let asked = asked.lock().unwrap();
        assert!(
            asked[0].starts_with("GET /edge?key=hidden HTTP/1.1\r\n"),
            "{asked:?}"
        );
        assert!(
            asked[0].contains("authorization: Bearer s3cret-token\r\n"),
            "{asked:?}"
        );
    }
    // Both groups take from one list, which is read once.
    let tree = app.request("GET", "/v1/supervision", &[]).json();
    assert_eq!(tree["discoveries"].as_array().unwrap().len(), 1, "{tree}");

    give("500 Internal Server Error", "[]");
    let line = app.wait_for_log(says(UNREAD));
    assert!(
        line["error"].as_str().unwrap().contains("answers 500"),
        "{line}"
    );
    assert_eq!(app.get().devices().len(), 3);
    give(
        "200 OK",
        r#"[{"targets": ["web2"], "labels": {"role": "node", "rack": "r1"}}]"#,
    );
    app.wait_for_log(applied(1));
    assert_eq!(app.get().devices(), ["edge/nweb2"]);
    give("200 OK", "[]");
    app.wait_for_log(applied(0));
    let answer = app.get();
    assert_eq!((answer.status, answer.devices().len()), (200, 0));
    let shown = format!("{:?}{tree}", app.log());
    assert!(
        !shown.contains("s3cret-token") && !shown.contains("hidden"),
        "{shown}"
    );
}

#[test]
fn each_way_in_which_a_list_cannot_be_read_is_said_once_until_it_can_be() {
    let (dir, path) = config_file(&format!(
        "{SIMULATED}[[clusters]]\nid = 1\nnodes = {{ file = \"a.json\", every = \"100ms\" }}\n"
    ));
    let file = dir.path().join("a.json");
    put(&file, &list(&["a"]));
    let app = TestApp::start_on(dir, path, &[]);
    let failed = || {
        let tree = app.request("GET", "/v1/supervision", &[]).json();
        tree["counters"]["discoveries_failed"].as_u64().unwrap()
    };
    for _ in 0..3 {
        for broken in ["[", "{}"] {
            put(&file, broken);
            // One of them was begun after that.
            let before = failed();
            until("it was read twice", || failed() >= before + 2);
        }
    }
    put(&file, &list(&["a", "b"]));
    let line = app.wait_for_log(says(READ_AGAIN));
    assert!(line["failures"].as_u64().unwrap() >= 12, "{line}");
    assert!(line["failing_ms"].as_u64().unwrap() >= 500, "{line}");
    let log = app.log();
    let (warned, rest): (Vec<_>, Vec<_>) = log
        .iter()
        .filter(|line| says(UNREAD)(line))
        .partition(|line| line["level"] == "warn");
    assert_eq!(warned.len(), 2, "{warned:?}");
    assert!(rest.iter().all(|line| line["level"] == "debug"));
}

#[test]
fn the_service_starts_without_a_list_that_cannot_be_read() {
    let list = nobody();
    let app = TestApp::start(&format!(
        "{SIMULATED}[[clusters]]\nid = 1\nnodes = [\"own\"]\nswitches = {{ url = \"http://{list}/\" }}\n"
    ));
    assert_eq!(app.get().devices(), ["1/nown"]);
    let line = app.wait_for_log(says(NEVER_READ));
    assert_eq!(
        (&line["level"], &line["key"]),
        (&json!("warn"), &json!("clusters[0].switches"))
    );
    // It was tried, so a reload does not have to be refused for it.
    assert_eq!(app.request("POST", "/v1/reload", &[]).status, 200);
}

#[test]
fn a_reload_with_a_new_list_that_cannot_be_read_changes_nothing() {
    let text = format!("{SIMULATED}[[clusters]]\nid = 1\nnodes = [\"a\"]\n");
    let app = TestApp::start(&text);
    let list = nobody();
    let new = format!("{SIMULATED}[[clusters]]\nid = 1\nnodes = {{ url = \"http://{list}/\" }}\n");
    std::fs::write(&app.config, new).unwrap();
    let answer = app.request("POST", "/v1/reload", &[]);
    assert_eq!(answer.status, 422, "{}", answer.body);
    let fault = &answer.json()["faults"][0];
    assert_eq!(fault["key"], "clusters[0].nodes", "{fault}");
    assert_eq!(fault["line"], json!(5), "{fault}");
    assert!(
        answer.body.contains("the list of devices cannot be read"),
        "{}",
        answer.body
    );
    assert_eq!(app.get().devices(), ["1/na"]);
}

#[test]
fn a_list_that_hangs_holds_up_the_start_for_its_timeout_and_nothing_later() {
    let hangs = server(wait_for_end);
    let app = TestApp::start(&format!(
        "{SIMULATED}[[clusters]]\nid = 1\nnodes = [\"a\"]\nswitches = {{ url = \"http://{hangs}/\", \
         every = \"100ms\", timeout = \"300ms\" }}\n"
    ));
    let line = app.wait_for_log(says(NEVER_READ));
    assert_eq!(line["error"], "no answer within 300ms");
    let answer = app.get();
    assert_eq!(
        (answer.status, answer.devices()),
        (200, vec!["1/na".to_owned()])
    );
    let mut app = app;
    app.signal("TERM");
    assert_eq!(app.wait().code(), Some(0));
}

#[test]
fn a_device_that_is_listed_twice_is_asked_once() {
    let (dir, path) = config_file(&format!(
        "{SIMULATED}[[clusters]]\nid = 1\nnodes = [{{ ids = {{ file = \"a.json\" }} }}, \"b\"]\n"
    ));
    put(
        &dir.path().join("a.json"),
        &list(&["a:1", "b:2", "a:3", "c"]),
    );
    let app = TestApp::start_on(dir, path, &[]);
    assert_eq!(app.get().devices(), ["1/na", "1/nc", "1/nb"]);
    let line = app.wait_for_log(says(
        "devices of a list are in their cluster already, each is asked once",
    ));
    assert_eq!(
        (&line["first"], &line["count"]),
        (&json!("b"), &json!(2)),
        "{line}"
    );
}

#[test]
fn a_device_is_asked_at_the_port_that_it_was_discovered_with() {
    let there = server(wait_for_end);
    let gone = nobody();
    let (dir, path) = config_file(
        "[[clusters]]\nid = 1\n[[clusters.nodes]]\nids = { file = \"a.json\" }\nlookup = { driver = \
         \"tcp\", address = \"{id}:{port}\" }\n",
    );
    let targets = [
        format!("127.0.0.1:{}", there.port()),
        format!("127.0.0.2:{}", gone.port()),
        "127.0.0.3".to_owned(),
    ];
    let targets: Vec<&str> = targets.iter().map(String::as_str).collect();
    put(&dir.path().join("a.json"), &list(&targets));
    let output = run(fleetcall().args(["collect", "--config"]).arg(&path));
    let answer: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(
        devices(&answer),
        [
            "1/n127.0.0.1",
            "1/n127.0.0.2:refused",
            "1/n127.0.0.3:failed"
        ],
        "{answer}"
    );
    assert_eq!(output.status.code(), Some(3));
}

#[test]
fn a_port_that_changes_is_another_way_to_ask() {
    let (dir, path) = config_file(
        "[[clusters]]\nid = 1\n[[clusters.nodes]]\nids = { file = \"a.json\", every = \"100ms\" }\n\
         lookup = { driver = \"tcp\", address = \"{id}:{port}\" }\n",
    );
    let there = server(wait_for_end);
    let file = dir.path().join("a.json");
    put(&file, &list(&[&format!("127.0.0.1:{}", nobody().port())]));
    let app = TestApp::start_on(dir, path, &[]);
    assert_eq!(app.get().devices(), ["1/n127.0.0.1:refused"]);
    put(&file, &list(&[&format!("127.0.0.1:{}", there.port())]));
    let line = app
        .wait_for_log(|line| line["trigger"] == "discovery" && line["devices_changed"] == json!(1));
    assert_eq!(line["devices_added"], json!(0), "{line}");
    assert_eq!(app.get().devices(), ["1/n127.0.0.1"]);
}

#[test]
fn a_roll_call_without_a_list_says_so_in_its_exit_code() {
    let list = nobody();
    let (_dir, path) = config_file(&format!(
        "{SIMULATED}[[clusters]]\nid = 1\nnodes = [\"a\"]\nswitches = {{ url = \"http://{list}/\" }}\n"
    ));
    let output = run(fleetcall().args(["collect", "--config"]).arg(&path));
    assert_eq!(output.status.code(), Some(3));
    assert!(stderr(&output).contains(NEVER_READ), "{}", stderr(&output));
    let output = run(fleetcall().args(["check", "--config"]).arg(&path));
    assert_eq!(output.status.code(), Some(0));
    let warning = "warning: clusters[0].switches: the list";
    let said = stderr(&output);
    assert!(
        said.starts_with(warning) && said.contains(" cannot be read: "),
        "{said}"
    );
    assert_eq!(said.lines().count(), 1, "once: {said}");
    assert!(stdout(&output).contains("valid, 1 cluster, 1 device, and 0 in 1 list"));
}

#[test]
fn srv_records_are_followed_with_their_ports() {
    let there = server(wait_for_end);
    let port = there.port();
    let records = Arc::new(Mutex::new(Reply::Services(vec![
        (port, "localhost"),
        (9, "127.0.0.2"),
    ])));
    let dns = Dns::start({
        let records = Arc::clone(&records);
        move |name, _| {
            assert_eq!(name, "_x._tcp.edge.example");
            records.lock().unwrap().clone()
        }
    });
    let app = TestApp::start(&format!(
        "{}[[clusters]]\nid = \"edge\"\nlookup = {{ driver = \"tcp\", address = \"{{id}}:{{port}}\" }}\n\
         nodes = {{ dns_srv = \"_x._tcp.{{cluster}}.example.\", every = \"100ms\" }}\n",
        dns.config("")
    ));
    // In the order of their names, not of the answer.
    assert_eq!(
        app.get().devices(),
        ["edge/n127.0.0.2:refused", "edge/nlocalhost"]
    );
    *records.lock().unwrap() = Reply::Code(SERVFAIL);
    let line = app.wait_for_log(says(UNREAD));
    assert!(
        line["error"]
            .as_str()
            .unwrap()
            .contains("_x._tcp.edge.example"),
        "{line}"
    );
    assert_eq!(app.get().devices().len(), 2);
    *records.lock().unwrap() = Reply::Services(vec![(port, "localhost")]);
    app.wait_for_log(applied(1));
    assert_eq!(app.get().devices(), ["edge/nlocalhost"]);
}
