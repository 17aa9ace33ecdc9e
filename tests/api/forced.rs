//! Asking devices that are left alone, and clearing why: `force`, `…/reset`, and what the command line
//! makes of both.

use serde_json::{Value, json};

use crate::harness::{Answer, TestApp, fleetcall, run, stderr, stdout};

/// Each device is left alone once it has failed, or crashed.
const FLEET: &str = r#"
[lookup]
latency = "1ms"
breaker = { failures = 1, open = { min = "1h", max = "10h" } }
[supervision]
intensity = 0
quarantine = "1h"
[[clusters]]
id = "edge"
nodes = [
    { ids = "heals", lookup = { script = ["refused", "ok", "ok", "ok", "ok"] } },
    { ids = "stays", lookup = { script = ["refused"] } },
    { ids = "broken", lookup = { script = ["panic", "ok"] } },
    "twin",
]
switches = ["twin", { ids = "locked", lookup = { script = ["auth"] } }]
[[clusters]]
id = 2
nodes = ["twin", "well"]
"#;

fn held() -> TestApp {
    let app = TestApp::start(FLEET);
    assert_eq!(app.get().status, 202);
    app.wait_for_log(|line| line["message"] == "actor failed too often, quarantining it");
    app
}

fn post(app: &TestApp, path: &str) -> Answer {
    app.request("POST", path, &[])
}

fn outcome(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{}", answer.body);
    let cluster = &answer.json()["clusters"][0];
    let device = cluster["nodes"][0].as_object();
    let device = device.or_else(|| cluster["switches"][0].as_object());
    device.unwrap()["outcome"].as_str().unwrap().to_owned()
}

fn known(app: &TestApp, device: &str) -> Value {
    let path = format!("/v1/clusters/edge/{device}");
    app.request("GET", &path, &[]).json()
}

#[test]
fn one_device_is_asked_although_it_is_left_alone_once_in_ten_seconds() {
    let app = held();
    let ask = |device: &str, query: &str| {
        let path = format!("/v1/clusters/edge/{device}/collect{query}");
        post(&app, &path)
    };
    assert_eq!(outcome(&ask("nodes/heals", "?force=false")), "breaker_open");
    assert_eq!(outcome(&ask("nodes/heals", "")), "ok");
    assert_eq!(known(&app, "nodes/heals")["breaker"]["state"], "closed");
    // It is not left alone any more, so nothing is forced.
    for _ in 0..3 {
        assert_eq!(outcome(&ask("nodes/heals", "")), "ok");
    }
    assert_eq!(outcome(&ask("nodes/broken", "")), "ok", "a trial");
    assert_eq!(known(&app, "nodes/broken")["state"], "running");
    assert_eq!(outcome(&ask("switches/locked", "?force=true")), "auth");
    assert_eq!(known(&app, "switches/locked")["breaker"]["state"], "open");
    for form in ["application/json", "application/x-ndjson"] {
        let path = "/v1/clusters/edge/switches/locked/collect";
        let again = app.request("POST", path, &[("Accept", form)]);
        assert_eq!(again.status, 429, "{}", again.body);
        let wait: u64 = again.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=10).contains(&wait), "{wait}");
        let detail = again.json()["detail"].to_string();
        assert!(detail.contains("once in 10 s"), "{detail}");
    }
    // Without force it is answered as always.
    let plain = ask("switches/locked", "?force=false");
    assert_eq!(outcome(&plain), "breaker_open");
    let who = |line: &Value| line["message"] == "device asked by force";
    let lines = app.wait_for_logs(3, who);
    assert_eq!(lines[0]["cluster"], "edge");
    assert_eq!(lines[0]["node"], "heals");
    assert_eq!(lines[2]["switch"], "locked");
    let by = lines[0]["by"].as_str().unwrap();
    assert!(by.starts_with("127.0.0.1:"), "{by}");
    assert_eq!(app.log().iter().filter(|line| who(line)).count(), 3);
}

#[test]
fn of_requests_at_once_one_forces_the_device_and_the_others_are_told_to_wait() {
    let app = held();
    for device in ["nodes/stays", "switches/locked", "nodes/broken"] {
        let path = format!("/v1/clusters/edge/{device}/collect");
        let statuses = std::thread::scope(|scope| {
            let all: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| post(&app, &path).status))
                .collect();
            let statuses = all.into_iter().map(|it| it.join().unwrap());
            statuses.collect::<Vec<_>>()
        });
        let count = |status| statuses.iter().filter(|it| **it == status).count();
        // One that is well again may be asked by the others too.
        if device != "nodes/broken" {
            assert_eq!((count(200), count(429)), (1, 7), "{device}: {statuses:?}");
        }
    }
    let who = |line: &Value| line["message"] == "device asked by force";
    app.wait_for_logs(3, who);
    assert_eq!(app.log().iter().filter(|line| who(line)).count(), 3);
}

#[test]
fn a_roll_call_by_force_asks_all_that_are_left_alone() {
    let app = held();
    let faults = |answer: &Answer| {
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()["summary"]["faults"].clone()
    };
    let left = json!({"breaker_open": 3, "quarantined": 1});
    assert_eq!(faults(&post(&app, "/v1/collect")), left);
    let forced = post(&app, "/v1/clusters/edge/collect?force=true&kind=switch");
    assert_eq!(faults(&forced), json!({"auth": 1}));
    // Those that were forced a moment ago are answered as if they were not.
    let forced = post(&app, "/v1/collect?force=true");
    assert_eq!(faults(&forced), json!({"breaker_open": 1, "refused": 1}));
    let line = app.wait_for_log(|line| line["message"] == "roll call by force");
    assert_eq!(line["path"], "/v1/clusters/edge/collect");
    assert!(line["by"].as_str().unwrap().starts_with("127.0.0.1:"));
    let answer = post(&app, "/v1/collect?force=maybe");
    assert_eq!(answer.status, 400, "{}", answer.body);
    let answer = app.request("GET", "/v1/report?force=true", &[]);
    assert_eq!(answer.status, 400, "{}", answer.body);
    let why = answer.json()["detail"].to_string();
    assert!(why.contains("`force` is for POST /v1/collect"), "{why}");
    let answer = app.request("GET", "/v1/report?force=false", &[]);
    assert_eq!(answer.status, 200, "{}", answer.body);
}

#[test]
fn a_reset_clears_what_keeps_a_device_from_being_asked() {
    let app = held();
    let reset = |device: &str| post(&app, &format!("/v1/clusters/edge/{device}/reset"));
    let cleared = |device: &str| {
        let answer = reset(device);
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()
    };
    let lookups = |app: &TestApp| {
        let tree = app.request("GET", "/v1/supervision", &[]).json();
        tree["counters"]["lookups"].clone()
    };
    let before = lookups(&app);
    assert_eq!(
        cleared("nodes/stays"),
        json!({"cluster_id": "edge", "node_id": "stays", "cleared": ["breaker"]})
    );
    assert_eq!(cleared("nodes/stays")["cleared"], json!([]));
    assert_eq!(cleared("nodes/broken")["cleared"], json!(["quarantine"]));
    assert_eq!(cleared("switches/locked")["switch_id"], "locked");
    assert_eq!(lookups(&app), before, "nobody is asked");
    let stays = known(&app, "nodes/stays");
    assert_eq!(stays["breaker"], json!({"state": "closed", "failures": 0}));
    assert_eq!(stays["outcome"], "refused", "what it last said stands");
    let line = app
        .wait_for_log(|line| line["message"] == "device reset" && line["cleared"] == "quarantine");
    assert_eq!(
        (&line["cluster"], &line["node"]),
        (&json!("edge"), &json!("broken"))
    );
    assert!(line["by"].as_str().unwrap().starts_with("127.0.0.1:"));
    let all = post(&app, "/v1/collect").json();
    let expected = json!({"auth": 1, "breaker_open": 1, "refused": 1});
    assert_eq!(all["summary"]["faults"], expected);
    for (path, status) in [
        ("/v1/clusters/edge/nodes/none/reset", 404),
        ("/v1/clusters/none/nodes/stays/reset", 404),
        ("/v1/clusters/edge/switches/stays/reset", 404),
    ] {
        let answer = post(&app, path);
        assert_eq!(answer.status, status, "{path}");
        assert!(
            answer.json()["detail"]
                .as_str()
                .unwrap()
                .contains("there is no")
        );
    }
    let answer = app.request("GET", "/v1/clusters/edge/nodes/stays/reset", &[]);
    assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")));
}

#[test]
fn the_command_resets_those_that_are_named_and_no_others() {
    let app = held();
    let server = format!("http://{}", app.addr);
    let reset = |arguments: &[&str]| {
        let mut command = fleetcall();
        command.args(["reset", "--server", &server]).args(arguments);
        run(&mut command)
    };
    let tree = stdout(&run(fleetcall().args(["tree", "--server", &server])));
    let all = "there are heals, stays, broken, twin, locked, well";
    let hint = format!("fleetcall reset --server {server} ID");
    assert!(tree.contains(&hint), "{tree}");
    for (arguments, why) in [
        (
            &["heals", "none"][..],
            format!("fleetcall: nothing was reset: `device`: there is no device \"none\"; {all}\n"),
        ),
        (
            &["--kind", "switch", "heals"],
            "fleetcall: nothing was reset: `device`: there is no switch \"heals\"; there are twin, locked\n"
                .to_owned(),
        ),
        (
            &["heal"],
            format!(
                "fleetcall: nothing was reset: `device`: there is no device \"heal\"; {all}; did you mean \
                 \"heals\"?\n"
            ),
        ),
        (
            &["--cluster", "2", "heals"],
            "fleetcall: nothing was reset: `device`: there is no device \"heals\" in cluster 2; there are twin, well\n"
                .to_owned(),
        ),
        (
            &["--cluster", "egde", "heals"],
            "fleetcall: nothing was reset: `cluster`: there is no cluster \"egde\"; there are edge, 2; did \
             you mean \"edge\"?\n"
                .to_owned(),
        ),
        (
            &["heals", "twin"],
            "fleetcall: twin may be cluster edge node twin, or cluster edge switch twin, or cluster 2 node \
             twin; say which one by --cluster and --kind; nothing was reset\n"
                .to_owned(),
        ),
        (
            &["--cluster", "edge", "twin"],
            "fleetcall: twin may be cluster edge node twin, or cluster edge switch twin; say which one by \
             --cluster and --kind; nothing was reset\n"
                .to_owned(),
        ),
    ] {
        let output = reset(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert_eq!(stderr(&output), why);
        assert_eq!(stdout(&output), "");
    }
    assert_eq!(known(&app, "nodes/heals")["breaker"]["state"], "open");
    let output = reset(&["heals", "broken", "--cluster", "edge"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(
        stdout(&output),
        "cluster edge node heals: cleared breaker\ncluster edge node broken: cleared quarantine\n"
    );
    let output = reset(&["--cluster", "edge", "--kind", "switch", "twin"]);
    assert_eq!(
        stdout(&output),
        "cluster edge switch twin: nothing to clear\n"
    );
    // Node sets: in each cluster that is named a device may have the name.
    let output = reset(&[
        "--cluster",
        "edge,2",
        "--kind",
        "node",
        "twin,stays",
        "well",
    ]);
    assert_eq!(
        stdout(&output),
        "cluster edge node stays: cleared breaker\ncluster edge node twin: nothing to clear\n\
         cluster 2 node twin: nothing to clear\ncluster 2 node well: nothing to clear\n"
    );
    let output = reset(&["heals,stays,broken!stays"]);
    assert_eq!(
        stdout(&output),
        "cluster edge node heals: nothing to clear\ncluster edge node broken: nothing to clear\n"
    );
    let output = reset(&["well[1-"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("a '[' without its ']'"));
    assert_eq!(reset(&[]).status.code(), Some(2));
}

#[test]
fn the_command_resets_more_devices_than_a_client_may_ask_at_once() {
    let config = FLEET
        .replace("[collect]", "")
        .replace("\"well\"", "\"well[1-8]\"");
    let app = TestApp::start(&format!(
        "[http]\nrate = {{ per_second = 4, burst = 4 }}\n{config}"
    ));
    let server = format!("http://{}", app.addr);
    let output = run(fleetcall().args(["reset", "--server", &server, "well[1-8]"]));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(stdout(&output).lines().count(), 8);
    app.wait_for_log(|line| line["message"] == "request refused" && line["reason"] == "rate");
}

#[test]
fn collect_forces_a_service_and_not_itself() {
    let app = held();
    let server = format!("http://{}", app.addr);
    let output = run(fleetcall().args(["collect", "--force"]));
    assert_eq!(output.status.code(), Some(2));
    let why = stderr(&output);
    assert!(
        why.starts_with("fleetcall: --force needs --server"),
        "{why}"
    );
    assert_eq!(why.lines().count(), 1, "{why}");
    let collect = |more: &[&str]| {
        let mut command = fleetcall();
        let arguments = [
            "collect", "--format", "csv", "--device", "heals", "--server",
        ];
        run(command.args(arguments).arg(&server).args(more))
    };
    let output = collect(&[]);
    assert_eq!(output.status.code(), Some(3));
    assert!(
        stdout(&output).contains("breaker_open"),
        "{}",
        stdout(&output)
    );
    let output = collect(&["--force"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}
