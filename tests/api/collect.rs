//! Deadlines, joining, cancelling, limits: what a roll call promises.

use std::time::{Duration, Instant};

use crate::harness::{TestApp, devices, read_all};

fn json(response: &str) -> serde_json::Value {
    serde_json::from_str(response.split_once("\r\n\r\n").unwrap().1).unwrap()
}

#[test]
fn all_devices_are_asked_at_once() {
    let app = TestApp::start(
        r#"
        [lookup]
        latency = "500ms"
        [[clusters]]
        id = 1
        nodes = "1-100"
        [[clusters]]
        id = 2
        switches = "1-100"
        "#,
    );
    let start = Instant::now();
    let answer = app.get();
    assert_eq!(answer.status, 200);
    assert!(start.elapsed() >= Duration::from_millis(500));
    // One after the other they would take 100 s.
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn a_hundred_clients_at_once_join_one_round_of_lookups() {
    let app = TestApp::start(
        r#"
        [lookup]
        latency = "1s"
        script = ["ok", "fail"]
        [[clusters]]
        id = 1
        nodes = "1-4"
        "#,
    );
    let streams: Vec<_> = (0..100).map(|_| app.begin()).collect();
    for stream in streams {
        assert!(
            read_all(stream).starts_with("HTTP/1.1 200 OK"),
            "all joined the first lookup"
        );
    }
    assert_eq!(
        app.get().status,
        202,
        "the second lookup is the script's second"
    );
}

#[test]
fn the_deadline_closes_the_answer_and_drops_the_lookups() {
    let app = TestApp::start(
        r#"
        [lookup]
        latency = "1ms"
        timeout = "1h"
        [collect]
        deadline = "300ms"
        [[clusters]]
        id = 1
        nodes = ["1", { ids = "2", lookup = { script = ["hang", "ok"] } }]
        "#,
    );
    let start = Instant::now();
    let answer = app.get();
    // Closed a little before, so that the answer is out by then.
    assert!(start.elapsed() >= Duration::from_millis(290));
    assert_eq!(answer.devices(), ["1/n1", "1/n2:timed_out"]);
    let message = &answer.json()["data"][0]["nodes"][1]["error"]["message"];
    assert_eq!(message, "no answer before the collect's deadline of 300ms");
    let cut_off = app.wait_for_log(|line| line["message"] == "lookup cut off");
    assert_eq!(
        (&cut_off["node"], &cut_off["kind"]),
        (&"2".into(), &"timed_out".into())
    );
    assert_eq!(
        app.get().devices(),
        ["1/n1", "1/n2"],
        "the lookup that hung is gone"
    );
}

#[test]
fn no_more_lookups_run_than_may_and_queueing_counts_against_the_deadline() {
    let app = TestApp::start(
        r#"
        [lookup]
        latency = "400ms"
        timeout = "410ms"
        [collect]
        deadline = "1s"
        max_concurrent = 2
        [[clusters]]
        id = 1
        nodes = "1-6"
        switches = "1-4"
        "#,
    );
    let devices = app.get().devices();
    let (ok, late): (Vec<_>, Vec<_>) = devices.iter().partition(|device| !device.contains(':'));
    // Two rounds fit into the deadline; a slow machine may not manage the second.
    assert!(ok.len() <= 4, "{devices:?}");
    assert!(
        ok.iter()
            .eq(["1/n1", "1/n2", "1/n3", "1/n4"].iter().take(ok.len())),
        "{devices:?}"
    );
    assert!(!ok.is_empty() && late.iter().all(|device| device.ends_with(":timed_out")));
    assert!(late.len() >= 6);
}

#[test]
fn one_cluster_at_its_limit_does_not_hold_up_another() {
    let app = TestApp::start(
        r#"
        [collect]
        deadline = "2s"
        max_concurrent = 1
        [[clusters]]
        id = 1
        nodes = "1-3"
        lookup = { script = ["hang"], timeout = "1h" }
        [[clusters]]
        id = 2
        nodes = "1-3"
        lookup = { latency = "1ms" }
        "#,
    );
    let expected = [
        "1/n1:timed_out",
        "1/n2:timed_out",
        "1/n3:timed_out",
        "2/n1",
        "2/n2",
        "2/n3",
    ];
    assert_eq!(app.get().devices(), expected);
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
    let start = Instant::now();
    while !app
        .request("GET", "/metrics", &[])
        .body
        .contains("fleetcall_lookups_in_flight 2\n")
    {
        assert!(start.elapsed() < Duration::from_secs(10));
    }
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
    let app = TestApp::start(
        r#"
        [lookup]
        latency = "1s"
        script = ["ok", "fail"]
        [[clusters]]
        id = 1
        nodes = "1"
        switches = "1"
        "#,
    );
    let first = app.begin();
    app.wait_for_log(|line| line["message"] == "collecting");
    let second = app.begin();
    app.wait_for_logs(2, |line| line["message"] == "collecting");
    drop(first);
    app.wait_for_log(|line| line["message"] == "collect cancelled");
    let answer = read_all(second);
    assert_eq!(
        devices(&json(&answer)),
        ["1/n1", "1/s1"],
        "it was the first lookup's outcome"
    );
}

#[test]
fn a_joined_request_has_its_own_deadline() {
    let app = TestApp::start(
        r#"
        [lookup]
        script = ["hang"]
        timeout = "1500ms"
        [collect]
        deadline = "1s"
        [[clusters]]
        id = 1
        nodes = "1"
        "#,
    );
    let first = app.begin();
    app.wait_for_log(|line| line["message"] == "collecting");
    // The second joins half-way; the first one's deadline must not end its lookup.
    let half_way = Instant::now() + Duration::from_millis(600);
    while Instant::now() < half_way {
        std::thread::yield_now();
    }
    let second = app.begin();
    let message = |stream| {
        let answer = json(&read_all(stream));
        answer["data"][0]["nodes"][0]["error"]["message"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(
        message(first),
        "no answer before the collect's deadline of 1s"
    );
    assert_eq!(
        message(second),
        "no answer within 1s 500ms",
        "the lookup went on to its own timeout"
    );
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
    let message = &answer.json()["data"][0]["nodes"][1]["error"]["message"];
    assert_eq!(
        message,
        "the node actor panicked: simulated panic in lookup 0"
    );
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
            .starts_with("src/lookup/simulated.rs:")
    );
    assert_eq!(
        (&line["restarts"], &line["backoff_ms"]),
        (&1.into(), &1.into())
    );
    // Both are back after a moment: a script goes on where it was.
    let mut asked = 0;
    while app.get().status != 200 {
        asked += 1;
        assert!(asked < 100, "the actors do not come back");
    }
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
