//! Deadlines, joining, cancelling, limits: what a roll call promises.

use crate::gate::Gate;
use crate::harness::{TestApp, devices, read_all, until};

fn json(response: &str) -> serde_json::Value {
    serde_json::from_str(response.split_once("\r\n\r\n").unwrap().1).unwrap()
}

fn in_flight(app: &TestApp, lookups: usize) -> bool {
    let metrics = app.request("GET", "/metrics", &[]).body;
    metrics.contains(&format!("fleetcall_lookups_in_flight {lookups}\n"))
}

#[test]
fn all_devices_are_asked_at_once() {
    let app = TestApp::start(
        r#"
        [lookup]
        script = ["hang"]
        timeout = "1h"
        [collect]
        deadline = "1h"
        [[clusters]]
        id = 1
        nodes = "1-100"
        [[clusters]]
        id = 2
        switches = "1-100"
        "#,
    );
    let _client = app.begin();
    until("all lookups are under way", || in_flight(&app, 200));
}

#[test]
fn a_hundred_clients_at_once_join_one_round_of_lookups() {
    let gate = Gate::start();
    let app = TestApp::start(&format!(
        "[[clusters]]\nid = 1\nnodes = \"1-4\"\nlookup = {}\n",
        gate.lookup()
    ));
    let streams: Vec<_> = (0..100).map(|_| app.begin()).collect();
    app.wait_for_logs(100, |line| line["message"] == "collecting");
    gate.wait_for(4);
    gate.open();
    for stream in streams {
        assert!(read_all(stream).starts_with("HTTP/1.1 200 OK"));
    }
    assert_eq!(gate.requests(), 4, "all joined the first lookups");
    assert_eq!(app.get().status, 200);
    assert_eq!(gate.requests(), 8, "this one came after them");
}

#[test]
fn the_deadline_closes_the_answer_and_drops_the_lookups() {
    let app = TestApp::start(
        r#"
        [lookup]
        script = ["hang", "ok"]
        latency = "1ms"
        timeout = "1h"
        [collect]
        deadline = "300ms"
        [[clusters]]
        id = 1
        nodes = "2"
        "#,
    );
    let answer = app.get();
    assert_eq!(answer.devices(), ["1/n2:timed_out"]);
    let message = &answer.json()["data"][0]["nodes"][0]["error"]["message"];
    assert_eq!(message, "no answer before the collect's deadline of 300ms");
    let cut_off = app.wait_for_log(|line| line["message"] == "lookup cut off");
    assert_eq!(
        (&cut_off["node"], &cut_off["kind"]),
        (&"2".into(), &"timed_out".into())
    );
    // Within a deadline that any machine keeps.
    let text = std::fs::read_to_string(&app.config).unwrap();
    std::fs::write(&app.config, text.replace("300ms", "1h")).unwrap();
    assert_eq!(app.request("POST", "/v1/reload", &[]).status, 200);
    assert_eq!(
        app.get().devices(),
        ["1/n2"],
        "the lookup that hung is gone"
    );
}

#[test]
fn a_client_that_goes_away_cancels_its_lookups() {
    let app = TestApp::start(
        r#"
        [lookup]
        latency = "1ms"
        timeout = "1h"
        script = ["hang", "ok"]
        [collect]
        deadline = "1h"
        [[clusters]]
        id = 1
        nodes = "1-2"
        "#,
    );
    let client = app.begin();
    // Their actors have begun, and not only been told to.
    until("both are asked", || in_flight(&app, 2));
    drop(client);
    let line = app.wait_for_log(|line| line["message"] == "collect cancelled");
    assert_eq!(
        (&line["level"], &line["collect"]),
        (&"info".into(), &1.into())
    );
    app.wait_for_logs(2, |line| {
        line["message"] == "lookup cut off" && line["kind"] == "cancelled"
    });
    assert_eq!(app.get().devices(), ["1/n1", "1/n2"]);
}

#[test]
fn a_client_that_goes_away_does_not_harm_one_that_joined_it() {
    let gate = Gate::start();
    let app = TestApp::start(&format!(
        "[[clusters]]\nid = 1\nnodes = \"1\"\nswitches = \"1\"\nlookup = {}\n",
        gate.lookup()
    ));
    let first = app.begin();
    app.wait_for_log(|line| line["message"] == "collecting");
    let second = app.begin();
    app.wait_for_logs(2, |line| line["message"] == "collecting");
    gate.wait_for(2);
    drop(first);
    app.wait_for_log(|line| line["message"] == "collect cancelled");
    gate.open();
    assert_eq!(devices(&json(&read_all(second))), ["1/n1", "1/s1"]);
    assert_eq!(gate.requests(), 2, "it was the first lookups' outcome");
}

#[test]
fn a_panic_costs_its_device_one_answer_and_nobody_else_anything() {
    let text = r#"
        [lookup]
        latency = "50ms"
        [supervision]
        backoff = { min = "1ms", max = "1ms" }
        [[clusters]]
        id = 1
        nodes = ["1", { ids = "2", lookup = { script = [SCRIPT] } }, "3"]
        switches = [{ ids = "1", lookup = { latency = "5ms", script = [SCRIPT] } }, "2"]
        "#;
    let app = TestApp::start(&text.replace(
        "SCRIPT",
        "\"panic\", \"ok\", \"ok\", \"ok\", \"ok\", \"ok\"",
    ));
    let answer = app.get();
    assert_eq!(answer.status, 202);
    assert_eq!(
        answer.devices(),
        ["1/n1", "1/n2:crashed", "1/n3", "1/s1:crashed", "1/s2"]
    );
    let error = &answer.json()["data"][0]["nodes"][1]["error"];
    assert_eq!(
        error["message"],
        "the node actor panicked: simulated panic in lookup 0"
    );
    // The same words wherever the crash is shown.
    let get = |path| app.request("GET", path, &[]).json();
    let device = get("/v1/clusters/1/nodes/2");
    assert_eq!(device["error"], *error, "{device}");
    let tree = get("/v1/supervision");
    assert_eq!(tree["clusters"][0]["nodes"][1]["error"], *error, "{tree}");
    let changes = get("/v1/changes");
    let changes = changes["changes"].as_array().unwrap();
    let change = changes.iter().find(|it| it["node_id"] == 2).unwrap();
    assert_eq!(change["error"], *error, "{change}");
    let failing = app.wait_for_log(|line| line["message"] == "failing" && line["node"] == "2");
    assert_eq!(failing["error"], error["message"], "{failing}");
    let lines = app.wait_for_logs(2, |line| line["message"] == "actor failed, restarting it");
    let line = lines.iter().find(|line| line["node"] == "2").unwrap();
    for (field, value) in [
        ("level", "warn"),
        ("cluster", "1"),
        ("reason", "panic"),
        ("panic", "simulated panic in lookup 0"),
    ] {
        assert_eq!(line[field], value, "{field}");
    }
    assert!(
        line["at"]
            .as_str()
            .unwrap()
            .starts_with("src/drivers/simulated.rs:")
    );
    assert_eq!(
        (&line["restarts"], &line["backoff_ms"]),
        (&1.into(), &1.into())
    );
    // Both are back after a moment: a script goes on where it was.
    until("the actors come back", || app.get().status == 200);
    app.wait_for_logs(2, |line| line["message"] == "recovered");
    let log = app.log();
    let warned: Vec<&str> = log
        .iter()
        .filter(|line| line["level"] == "warn")
        .map(|line| line["message"].as_str().unwrap())
        .collect();
    let count = |message: &str| warned.iter().filter(|it| **it == message).count();
    assert_eq!(count("actor failed, restarting it"), 2, "{warned:?}");
    // One more says that the fleet is simulated.
    assert_eq!((count("failing"), warned.len()), (2, 5), "{warned:?}");
}
