//! What `/metrics` and `/readyz` say of a process that shares a fleet.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;

use crate::fleet::{front, says, until_well, worker};
use crate::harness::TestApp;
use crate::nats::Nats;
use crate::scrape::{answer_until, eventually, is_well_formed, scrape, scrape_until, text};

const FLEET: &str = r#"
[lookup]
latency = "1ms"
[[clusters]]
id = 1
nodes = "1-3"
[[clusters]]
id = "rack.7"
nodes = "web[01-03]"
[[clusters]]
id = 3
switches = "1-4"
"#;

#[test]
fn each_worker_shows_what_it_has_and_each_process_what_it_does() {
    let nats = Nats::start();
    let front = front(&nats, FLEET);
    let workers = ["a", "b"].map(|name| worker(&nats, FLEET, name));
    until_well(&front);
    let known = || {
        let json = front.request("GET", "/v1/workers", &[]).json();
        let mut clusters = json["clusters"].as_array().unwrap().clone();
        for cluster in &mut clusters {
            cluster.as_object_mut().unwrap().remove("renewed_ms");
        }
        (json["workers"].as_array().unwrap().len() == 2).then_some(clusters)
    };
    // While nothing moves.
    let (known, shown) = eventually("both know each other", || {
        let before = known()?;
        let shown = workers.each_ref().map(scrape);
        (known()? == before).then_some((before, shown))
    });
    let mut leases = 0.0;
    for (name, samples) in ["a", "b"].into_iter().zip(&shown) {
        assert_eq!(samples.of("fleetcall_nats_up"), 1.0);
        assert_eq!(samples.of("fleetcall_nats_reconnects_total"), 0.0);
        assert!(samples.of("fleetcall_nats_received_bytes_total") > 0.0);
        assert!(samples.of("fleetcall_nats_sent_bytes_total") > 0.0);
        let worker = format!("fleetcall_worker_info{{worker=\"{name}\"}}");
        assert_eq!(samples.of(&worker), 1.0);
        assert_eq!(samples.of("fleetcall_lease_duration_seconds"), 2.0);
        leases += samples.of("fleetcall_leases");
        let gone = samples.of("fleetcall_leases_handed_over_total")
            + samples.of("fleetcall_leases_lost_total");
        let left = samples.of("fleetcall_leases_taken_total") - gone;
        assert_eq!(left, samples.of("fleetcall_leases"));
    }
    assert_eq!(leases, 3.0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    for cluster in known {
        let id = cluster["cluster_id"].to_string().replace('"', "");
        let of = |name: &str| format!("{name}{{cluster=\"{id}\"}}");
        let has = shown
            .iter()
            .filter(|it| it.0.contains_key(&of("fleetcall_lease_fence")));
        let [owner] = has.collect::<Vec<_>>()[..] else {
            panic!("not one worker has {id}");
        };
        let fence = cluster["fence"].as_f64().unwrap();
        assert_eq!(owner.of(&of("fleetcall_lease_fence")), fence);
        let age = owner.of(&of("fleetcall_lease_age_seconds"));
        assert!((0.0..60.0).contains(&age), "{age}");
        let since = owner.of(&of("fleetcall_lease_acquired_timestamp_seconds"));
        let held = now.as_secs_f64() - since;
        assert!((0.0..600.0).contains(&held), "{held}");
    }
    scrape_until(&workers[0], "leases are renewed", |it| {
        it.of("fleetcall_leases") == 0.0
            || it.of("fleetcall_lease_renewals_total{outcome=\"ok\"}") > 0.0
    });

    // What a front sends and reads is what workers take and answer.
    let sum = |name: &str| {
        let of = |app: &TestApp| scrape(app).of(name);
        workers.iter().map(of).sum::<f64>()
    };
    let samples = scrape(&front);
    assert_eq!(samples.of("fleetcall_nats_up"), 1.0);
    let sent = samples.of("fleetcall_orders_sent_total{order=\"collect\"}");
    assert!(sent >= 3.0, "{sent}");
    let complete = sum("fleetcall_orders_answered_total{outcome=\"complete\"}");
    assert!((3.0..=sent).contains(&complete), "{complete} of {sent}");
    assert!(samples.of("fleetcall_order_pieces_received_total") > 0.0);
    assert!(sum("fleetcall_order_pieces_sent_total") > 0.0);
    // Scrapes of a front show what owners know.
    assert!(samples.of("fleetcall_orders_sent_total{order=\"look\"}") > 0.0);
    assert!(sum("fleetcall_orders_answered_total{outcome=\"looked\"}") > 0.0);
    for name in ["fleetcall_lease", "fleetcall_worker", "_answered_total"] {
        let has = samples.0.keys().any(|series| series.contains(name));
        assert!(!has, "a front shows {name}");
    }
    is_well_formed(&front);
    is_well_formed(&workers[0]);
}

#[test]
fn a_cluster_that_moves_and_one_that_nobody_has_are_counted() {
    let nats = Nats::start();
    let front = front(&nats, FLEET);
    assert_eq!(front.get().status, 202);
    let nobody = "fleetcall_orders_failed_total{reason=\"nobody\"}";
    assert_eq!(scrape(&front).of(nobody), 3.0);
    let first = worker(&nats, FLEET, "a");
    first.wait_for_logs(3, says("cluster taken"));
    until_well(&front);
    let others = ["b", "c", "d", "e"].map(|name| worker(&nats, FLEET, name));
    // With a roll call after the other while clusters move.
    let moved = loop {
        assert_eq!(front.get().status, 200);
        let moved = scrape(&first);
        if moved.of("fleetcall_leases_handed_over_total") > 0.0 {
            break moved;
        }
    };
    assert_eq!(moved.of("fleetcall_leases_lost_total"), 0.0);
    until_well(&front);
    assert_eq!(scrape(&front).of(nobody), 3.0, "nobody noticed");
    drop(others);
}

#[test]
fn a_process_alone_shows_nothing_of_it() {
    let alone = TestApp::start(FLEET);
    let shown = text(&alone);
    for name in ["nats", "lease", "orders", "pieces", "fleetcall_worker"] {
        assert!(!shown.contains(name), "{name} in {shown}");
    }
}

#[test]
fn a_connection_that_is_lost_is_shown_and_nobody_is_ready_until_it_is_back() {
    let mut nats = Nats::start();
    let front = front(&nats, FLEET);
    let worker = worker(&nats, FLEET, "a");
    until_well(&front);
    for app in [&front, &worker] {
        let ready = app.request("GET", "/readyz", &[]);
        assert_eq!(ready.body, r#"{"status":"ready","reasons":[]}"#);
    }
    nats.kill();
    for app in [&front, &worker] {
        let answer = answer_until(app.addr, "/readyz", 503);
        let reasons = answer.json()["reasons"].clone();
        let disconnected = json!([{
            "reason": "disconnected",
            "message": "there is no connection to NATS",
        }]);
        assert_eq!(reasons, disconnected);
        assert_eq!(app.request("GET", "/healthz", &[]).status, 200);
        scrape_until(app, "it is not up", |it| it.of("fleetcall_nats_up") == 0.0);
    }
    assert_eq!(front.get().status, 202);
    let samples = scrape(&front);
    let reason = "fleetcall_orders_failed_total{reason=\"disconnected\"}";
    assert_eq!(samples.of(reason), 3.0);
    worker.wait_for_logs(3, says("cluster lost"));
    let samples = scrape(&worker);
    assert_eq!(samples.of("fleetcall_leases_lost_total"), 3.0);
    assert_eq!(samples.of("fleetcall_leases"), 0.0);
    nats.restart();
    for app in [&front, &worker] {
        answer_until(app.addr, "/readyz", 200);
        scrape_until(app, "it is up", |it| {
            it.of("fleetcall_nats_up") == 1.0 && it.of("fleetcall_nats_reconnects_total") >= 1.0
        });
    }
    until_well(&front);
}
