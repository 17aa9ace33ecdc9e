//! Devices that their owner leaves alone, asked by force and reset through a front.

use std::time::Instant;

use serde_json::json;

use crate::fleet::{front, says, until_answer, worker, worker_at};
use crate::harness::TestApp;
use crate::nats::Nats;

/// Each device of cluster 1 is left alone once it has failed, or crashed.
const FLEET: &str = r#"
[lookup]
latency = "1ms"
breaker = { failures = 1, open = { min = "1h", max = "1h" } }
[supervision]
intensity = 0
quarantine = "1h"
[[clusters]]
id = 1
nodes = [
    "well",
    { ids = "heals", lookup = { script = ["refused", "ok", "ok", "ok"] } },
    { ids = "stays", lookup = { script = ["refused"] } },
    { ids = "broken", lookup = { script = ["panic", "ok", "ok", "ok"] } },
]
"#;

fn held(nats: &Nats) -> (TestApp, TestApp) {
    let front = front(nats, FLEET);
    let worker = worker(nats, FLEET, "a");
    worker.wait_for_log(says("cluster taken"));
    until_answer(&front, "/v1/report", "all are left alone", |it| {
        it.json()["summary"]["faults"] == json!({"breaker_open": 2, "quarantined": 1})
    });
    (front, worker)
}

fn post(app: &TestApp, path: &str) -> crate::harness::Answer {
    app.request("POST", &format!("/v1/{path}"), &[])
}

#[test]
fn what_a_front_forces_its_owner_asks() {
    let nats = Nats::start();
    let (front, _worker) = held(&nats);
    let node = |id: &str| post(&front, &format!("clusters/1/nodes/{id}/collect"));
    let outcome = |id: &str| {
        let answer = node(id);
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()["clusters"][0]["nodes"][0]["outcome"].clone()
    };
    assert_eq!(outcome("heals"), "ok");
    assert_eq!(outcome("broken"), "ok");
    assert_eq!(outcome("stays"), "refused");
    // The owner remembers that, whichever front asks.
    let again = node("stays");
    assert_eq!(again.status, 429, "{}", again.body);
    assert!(again.header("retry-after").is_some());
    front.wait_for_logs(3, says("device asked by force"));
    let all = post(&front, "collect?force=true").json();
    assert_eq!(all["summary"]["faults"], json!({"breaker_open": 1}));
    let known = front.request("GET", "/v1/clusters/1/nodes/heals", &[]);
    assert_eq!(known.json()["breaker"]["state"], "closed");
}

/// However many fronts are asked to at once, one caller's request is, and one is said to be.
#[test]
fn a_device_is_asked_by_force_once_whichever_fronts_are_asked() {
    const EACH: usize = 8;
    let nats = Nats::start();
    let (one, _worker) = held(&nats);
    let two = crate::fleet::front(&nats, FLEET);
    until_answer(&two, "/v1/report?device=well", "it answers", |it| {
        it.json()["summary"]["failed"] == 0
    });
    let path = "clusters/1/nodes/stays/collect";
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let fronts = [&one, &two].into_iter().cycle().take(2 * EACH);
        let asked: Vec<_> = fronts
            .map(|front| scope.spawn(|| post(front, path).status))
            .collect();
        asked.into_iter().map(|it| it.join().unwrap()).collect()
    });
    let granted = statuses.iter().filter(|it| **it == 200).count();
    assert_eq!(granted, 1, "{statuses:?}");
    assert!(statuses.iter().all(|it| [200, 429].contains(it)));
    let said = [&one, &two].map(|front| {
        let lines = front.log().into_iter();
        lines.filter(says("device asked by force")).count()
    });
    assert_eq!(said[0] + said[1], 1);
}

/// The right to ask the device by force is asked for first, for 2 s where nothing answers.
#[test]
fn an_owner_that_is_silent_does_not_delay_the_answer() {
    let nats = Nats::start();
    let front = front(&nats, FLEET);
    let worker = worker_at(&nats.url(), FLEET, "a", "60s");
    worker.wait_for_log(says("cluster taken"));
    until_answer(&front, "/v1/report?device=well", "it answers", |it| {
        it.json()["summary"]["failed"] == 0
    });
    worker.signal("STOP");
    let path = "/v1/clusters/1/nodes/well";
    let began = Instant::now();
    assert_eq!(front.request("GET", path, &[]).status, 200);
    let patience = began.elapsed();
    for form in ["application/json", "application/x-ndjson"] {
        let path = format!("{path}/collect?deadline=10ms");
        let began = Instant::now();
        let answer = front.request("POST", &path, &[("Accept", form)]);
        let took = began.elapsed();
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert!(answer.body.contains("timed_out"), "{}", answer.body);
        assert!(took < patience, "{took:?}, {patience:?}");
    }
    worker.signal("CONT");
}

#[test]
fn what_a_front_resets_its_owner_resets() {
    let nats = Nats::start();
    let (front, worker) = held(&nats);
    let reset = |id: &str| post(&front, &format!("clusters/1/nodes/{id}/reset"));
    let cleared = |id: &str| {
        let answer = reset(id);
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()["cleared"].clone()
    };
    assert_eq!(cleared("stays"), json!(["breaker"]));
    assert_eq!(cleared("broken"), json!(["quarantine"]));
    assert_eq!(cleared("well"), json!([]));
    assert_eq!(reset("none").status, 404);
    let line = worker.wait_for_log(says("device reset for a front"));
    assert_eq!(line["device"], "stays");
    assert!(line["by"].as_str().unwrap().starts_with("127.0.0.1:"));
    let line = front.wait_for_log(says("device reset"));
    assert_eq!(
        (&line["node"], &line["cleared"]),
        (&json!("stays"), &json!("breaker"))
    );
    let all = post(&front, "collect").json();
    let expected = json!({"breaker_open": 1, "refused": 1});
    assert_eq!(all["summary"]["faults"], expected);
    // Without an owner there is nobody to do it, and that is said.
    drop(worker);
    let answer = reset("heals");
    assert_eq!(answer.status, 503, "{}", answer.body);
    let why = answer.json()["detail"].to_string();
    assert!(why.contains("it was not reset: "), "{why}");
}
