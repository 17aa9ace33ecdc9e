//! What a front knows without asking any device is what a service alone knows.

use serde_json::Value;

use crate::fleet::{front, held, says, until_answer, until_well, worker};
use crate::harness::TestApp;
use crate::nats::Nats;
use crate::scrape::scrape;

/// Asked by the schedule alone; each device comes to rest in a state of its own.
const FLEET: &str = r#"
[lookup]
latency = "1ms"
breaker = { failures = 2, open = { min = "1h", max = "1h" } }
[collect]
every = "500ms"
[supervision]
intensity = 1
period = "1h"
quarantine = "1h"
backoff = { min = "1ms", max = "1ms" }
[[clusters]]
id = 1
switches = "1-2"
[[clusters.nodes]]
ids = "1-3"
[[clusters.nodes]]
ids = "bad"
lookup = { script = ["ok", "refused", "refused"] }
[[clusters.nodes]]
ids = "broken"
lookup = { script = ["ok", "panic"] }
[[clusters]]
id = "rack.7"
nodes = "web[01-40]"
"#;

/// Without what depends on when it is asked.
fn timeless(mut value: Value) -> Value {
    const TIMES: [&str; 16] = [
        "failing_since",
        "time",
        "observed_at",
        "age_ms",
        "took_ms",
        "duration_ms",
        "until",
        "last_lookup_ms",
        "last_lookup_age_ms",
        "last_success_ms",
        "last_success_at",
        "uptime_ms",
        "again_in_ms",
        "counters",
        "next",
        "number",
    ];
    match &mut value {
        Value::Object(fields) => {
            fields.retain(|name, _| !TIMES.contains(&name.as_str()));
            for field in fields.values_mut() {
                *field = timeless(field.take());
            }
        }
        Value::Array(values) => {
            for value in values {
                *value = timeless(value.take());
            }
        }
        _ => {}
    }
    value
}

fn known(app: &TestApp, path: &str) -> Value {
    let answer = app.request("GET", path, &[]);
    assert_eq!(answer.status, 200, "{path}: {}", answer.body);
    timeless(answer.json())
}

/// Until all devices have come to rest.
fn rests(app: &TestApp) {
    until_answer(app, "/v1/clusters/1", "bad and broken are at rest", |it| {
        let known = it.json();
        let nodes = known["nodes"].as_array().unwrap();
        let node = |id: &str| {
            nodes
                .iter()
                .find(|it| it["node_id"] == id)
                .cloned()
                .unwrap()
        };
        node("bad").to_string().contains("\"open\"")
            && node("broken").to_string().contains("quarantined")
    });
    until_answer(app, "/v1/clusters", "everybody was asked", |it| {
        it.json().to_string().matches("\"unknown\":0").count() == 2
    });
}

#[test]
fn a_front_knows_what_a_service_alone_knows() {
    let nats = Nats::start();
    let alone = TestApp::start(FLEET);
    let front = front(&nats, FLEET);
    let _workers = ["a", "b"].map(|name| worker(&nats, FLEET, name));
    rests(&alone);
    rests(&front);
    assert_eq!(known(&front, "/v1/clusters")["demonstration"], true);
    for path in [
        "/v1/clusters",
        "/v1/clusters/1",
        "/v1/clusters/rack.7",
        "/v1/clusters/1/nodes/2",
        "/v1/clusters/1/nodes/bad",
        "/v1/clusters/1/nodes/broken",
        "/v1/clusters/rack.7/nodes/web07",
        "/v1/supervision",
        "/v1/supervision?devices=failures",
    ] {
        assert_eq!(known(&front, path), known(&alone, path), "{path}");
    }
    let up = |app: &TestApp| {
        let metrics = app.request("GET", "/metrics", &[]).body;
        let of_devices = |line: &&str| {
            [
                "fleetcall_up{",
                "fleetcall_devices{",
                "fleetcall_breakers{",
                "fleetcall_cluster_devices{",
                "fleetcall_actors{",
            ]
            .iter()
            .any(|name| line.starts_with(name))
        };
        let mut lines: Vec<String> = metrics
            .lines()
            .filter(of_devices)
            .map(str::to_owned)
            .collect();
        lines.sort();
        lines
    };
    assert_eq!(up(&front), up(&alone));
    assert!(up(&front).len() > 45);
}

#[test]
fn a_front_hears_at_once_what_changes_where_it_asks_nobody() {
    let nats = Nats::start();
    let front = front(&nats, FLEET);
    let worker = worker(&nats, FLEET, "a");
    worker.wait_for_log(says("cluster taken"));
    let changes = |app: &TestApp| known(app, "/v1/changes")["changes"].clone();
    rests(&front);
    let told = until_answer(&front, "/v1/changes", "all changes", |it| {
        it.json()["changes"].as_array().unwrap().len() == 4
    });
    let told = timeless(told.json())["changes"].clone();
    assert_eq!(told, changes(&worker));
    let of = |node: &str| {
        let all = told.as_array().unwrap().iter();
        let own = all.filter(|it| it["node_id"] == node);
        own.map(|it| it["change"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(of("bad"), ["failing"]);
    assert_eq!(of("broken"), ["failing", "recovered", "failing"]);
}

#[test]
fn a_device_that_fails_is_logged_by_its_owner_alone() {
    let nats = Nats::start();
    let front = front(&nats, FLEET);
    let workers = ["a", "b"].map(|name| worker(&nats, FLEET, name));
    rests(&front);
    for app in workers.iter().chain([&front]) {
        until_answer(app, "/v1/changes", "all changes", |it| {
            it.json()["changes"].as_array().unwrap().len() >= 4
        });
    }
    let said = |app: &TestApp| -> Vec<String> {
        let lines = app.log().into_iter().filter(|line| line["node"] == "bad");
        let lines = lines.filter(|line| line["level"] != "debug");
        lines
            .map(|line| line["message"].as_str().unwrap().to_owned())
            .collect()
    };
    let (owners, others): (Vec<_>, Vec<_>) = workers
        .into_iter()
        .partition(|worker| held(worker).iter().any(|it| it == "1"));
    assert_eq!(said(&owners[0]), ["failing"]);
    assert_eq!(said(&front), [""; 0]);
    // Where it is asked next, it is well at first: there the log has the end of what began elsewhere.
    drop(owners);
    let is_well = |line: &Value| line["node"] == "bad" && line["message"] == "recovered";
    let line = others[0].wait_for_log(is_well);
    assert!(line["failing_ms"].as_u64().unwrap() > 0, "{line}");
    assert_eq!(said(&others[0])[0], "recovered");
    assert_eq!(said(&front), [""; 0]);
}

#[test]
fn what_its_owner_knows_is_young_enough_for_a_front() {
    let config = "[lookup]\nlatency = \"20ms\"\n[[clusters]]\nid = 1\nnodes = \"1-4\"\n";
    let nats = Nats::start();
    let [other, front] = [(); 2].map(|()| front(&nats, config));
    let worker = worker(&nats, config, "a");
    until_well(&other);
    let report = "/v1/report?max_age=1h";
    let lookups =
        || scrape(&worker).of("fleetcall_lookups_total{driver=\"simulated\",outcome=\"ok\"}");
    let before = lookups();
    let known = front.request("GET", report, &[]).json();
    assert_eq!(lookups(), before, "nobody is asked");
    assert_eq!(known["summary"]["ok"], 4, "{known}");
    for node in known["clusters"][0]["nodes"].as_array().unwrap() {
        assert!(node["duration_ms"].as_f64().unwrap() >= 20.0, "{node}");
    }
    // Once told, it knows by itself.
    drop(worker);
    let again = front.request("GET", report, &[]).json();
    assert_eq!(again["summary"]["ok"], 4, "{again}");
}
