//! How leases fare on lines and threads that are not as they should be.

use std::sync::Arc;
use std::time::Duration;

use fleetcall::supervision::failpoints::{Failpoint, Failpoints};
use serde_json::Value;

use crate::fleet::{LEASE, clusters, front_at, held, says, until_well, worker, worker_at};
use crate::harness::TestApp;
use crate::inside::Inside;
use crate::load::{CLUSTERS, Scene, ask, under_load};
use crate::nats::{Nats, Three};
use crate::slow::SlowLine;
use crate::valve::Valve;

/// As long as [`LEASE`].
const TWO_SECONDS: Duration = Duration::from_secs(2);

/// Enough for what is to be slow here and not for anything else.
const BYTES_A_SECOND: u32 = 1024 * 1024;

fn warning(app: &TestApp, message: &'static str) -> Value {
    app.wait_for_log(says(message))
}

const SHORT: &str = "the lease is short for the line to NATS";

/// Waits until a worker says that it has so many clusters, as the others are told.
fn until_holds(front: &TestApp, worker: &str, count: impl Fn(usize) -> bool) {
    crate::fleet::until_answer(front, "/v1/workers", worker, |answer| {
        let json = answer.json();
        let clusters = json["clusters"].as_array().cloned().unwrap_or_default();
        count(clusters.iter().filter(|it| it["worker"] == worker).count())
    });
}

/// A worker comes and goes behind a line of so long each way, with the lease that it recommends.
fn comes_and_goes_behind(delay: Duration) {
    let scene = Scene::new();
    let line = SlowLine::to(scene.nats.addr, delay, BYTES_A_SECOND);
    let url = format!("nats://{}", line.addr);
    let lease = {
        let nats = Nats::start();
        let line = SlowLine::to(nats.addr, delay, BYTES_A_SECOND);
        let probe = worker_at(&format!("nats://{}", line.addr), &scene.config, "p", "1s");
        warning(&probe, SHORT)["fits"].as_str().unwrap().to_owned()
    };
    let near = worker_at(&scene.nats.url(), &scene.config, "b", &lease);
    near.wait_for_logs(CLUSTERS, says("cluster taken"));
    until_well(&scene.front);
    let mut slow = None;
    let joined = under_load(&scene.front, || {
        let late = worker_at(&url, &scene.config, "a", &lease);
        late.wait_for_logs(3, says("cluster taken"));
        slow = Some(late);
    });
    assert_eq!(joined.degraded, 0, "{joined:?}");
    let mut slow = slow.unwrap();
    let left = under_load(&scene.front, || {
        slow.signal("TERM");
        assert!(slow.wait().success());
        near.wait_for_logs(CLUSTERS + 3, says("cluster taken"));
    });
    assert_eq!(left.degraded, 0, "{left:?}");
    for worker in [&slow, &near] {
        assert_eq!(clusters(worker, "cluster lost"), Vec::<String>::new());
    }
    scene.asked_nobody_twice_at_a_time();
}

#[test]
fn a_worker_comes_and_goes_behind_a_slow_line_with_the_lease_that_it_recommends() {
    comes_and_goes_behind(Duration::from_millis(100));
}

/// A hand-over takes longer than a front waits for an owner.
#[test]
fn a_worker_comes_and_goes_behind_a_line_that_is_slower_than_fronts_wait() {
    comes_and_goes_behind(Duration::from_millis(200));
}

#[test]
fn a_lease_that_is_too_short_for_the_servers_is_warned_of() {
    let config = "[[clusters]]\nid = 1\nnodes = \"1-4\"\n";
    let three = Three::start();
    let a = worker_at(&three.url(), config, "a", LEASE);
    let warned = warning(&a, "the lease is short for servers that choose a leader");
    assert_eq!(
        (&warned["lease"], &warned["fits"], &warned["copies"]),
        (&"2s".into(), &"15s".into(), &3.into())
    );
    let nats = Nats::start();
    let line = SlowLine::to(nats.addr, Duration::from_millis(100), BYTES_A_SECOND);
    let b = worker_at(&format!("nats://{}", line.addr), config, "b", LEASE);
    let warned = warning(&b, SHORT);
    assert_eq!(warned["lease"], "2s");
    assert!(warned["round_trip_ms"].as_u64().unwrap() >= 200, "{warned}");
    let fits = humantime::parse_duration(warned["fits"].as_str().unwrap()).unwrap();
    assert!(fits >= Duration::from_secs(4), "{fits:?}");
}

/// Their entries are kept in the bucket by the test, so that they are there however long that takes.
#[test]
fn a_worker_takes_its_own_leases_back_after_a_stall() {
    let scene = Scene::new();
    let valve = Valve::to(scene.nats.addr);
    let keys: Vec<_> = (1..=CLUSTERS).map(|it| it.to_string()).collect();
    let listen = |key: &String| scene.nats.listen(&format!("$KV.fleetcall_leases.{key}"));
    let leases: Vec<_> = keys.iter().map(listen).collect();
    let a = worker_at(&valve.url(), &scene.config, "a", LEASE);
    a.wait_for_logs(CLUSTERS, says("cluster taken"));
    until_well(&scene.front);
    valve.close();
    // What was written last, without the headers.
    let leases: Vec<_> = leases
        .iter()
        .map(|it| {
            let last = it.try_iter().last().unwrap();
            last[last.find('{').unwrap()..].to_owned()
        })
        .collect();
    let taken = || {
        let lines = a.log().into_iter().filter(says_taken);
        let mut taken: Vec<_> = lines
            .map(|it| format!("{} {}", it["cluster"], it["fence"]))
            .collect();
        taken.sort();
        taken
    };
    let before = taken();
    let put = || {
        for (key, lease) in keys.iter().zip(&leases) {
            scene.nats.put("fleetcall_leases", key, lease);
        }
    };
    while clusters(&a, "cluster lost").len() < CLUSTERS {
        put();
        // That takes a part of a second.
        scene.front.request("GET", "/v1/workers", &[]);
    }
    put();
    valve.open();
    a.wait_for_logs(2 * CLUSTERS, says("cluster taken"));
    let mut after = taken();
    assert_eq!(after.len(), 2 * CLUSTERS);
    after.dedup();
    assert_eq!(after, before, "with the same fences");
    until_well(&scene.front);
    scene.asked_nobody_twice_at_a_time();
}

fn says_taken(line: &Value) -> bool {
    line["message"] == "cluster taken"
}

const UNSTEADY: &str = "this worker takes no clusters while others can";
const FIT: &str = "this worker is fit to have clusters again";

/// Whether a line says how a worker stands to clusters from then on.
fn is_standing(line: &Value) -> bool {
    let said = [UNSTEADY, FIT, "this worker takes no clusters"];
    said.iter().any(|it| line["message"] == *it)
}

#[test]
fn a_worker_that_loses_leases_again_and_again_waits_before_it_takes_any() {
    let scene = Scene::new();
    let valve = Valve::to(scene.nats.addr);
    let a = worker_at(&valve.url(), &scene.config, "a", LEASE);
    let b = scene.worker("b");
    until_holds(&scene.front, "a", |count| count == 3);
    let mut rounds = 0;
    let waits = |line: &Value| line["message"] == UNSTEADY;
    while !a.log().iter().any(waits) {
        rounds += 1;
        assert!(rounds < 7, "it never waits");
        let (lost, taken) = (clusters(&a, "cluster lost"), clusters(&b, "cluster taken"));
        valve.close();
        a.wait_for_logs(lost.len() + 3, says("cluster lost"));
        b.wait_for_logs(taken.len() + 3, says("cluster taken"));
        let before = clusters(&a, "cluster taken").len();
        valve.open();
        // It has its share again, or it waits.
        while clusters(&a, "cluster taken").len() < before + 3 && !a.log().iter().any(waits) {
            ask(&scene.front, 1);
        }
    }
    assert!(rounds > 1, "once says nothing");
    until_well(&scene.front);
    let is_last = |line: &Value| waits(line) || line["message"] == FIT;
    a.wait_for_logs(a.log().iter().filter(|it| is_last(it)).count() + 1, is_last);
    let lines = a.log();
    let from = lines.iter().position(waits).unwrap();
    let wait = lines[from..].iter().take_while(|it| it["message"] != FIT);
    assert_eq!(wait.filter(|it| says_taken(it)).count(), 0, "{lines:?}");
    assert!(
        lines[from]["losses"].as_u64() > Some(1),
        "{:?}",
        lines[from]
    );
    // Once, however long it lasts: on a busy machine it may lose some again after it.
    let mut said: Vec<_> = lines.iter().filter(|it| is_standing(it)).collect();
    let all = said.len();
    said.dedup_by_key(|it| &it["message"]);
    assert_eq!(said.len(), all, "twice in a row: {said:?}");
    until_holds(&scene.front, "a", |count| count == 3);
    scene.asked_nobody_twice_at_a_time();
}

/// Alone it does not wait: there is nobody to have its clusters instead.
#[test]
fn a_worker_that_is_alone_takes_clusters_again_however_often_it_lost_them() {
    let scene = Scene::new();
    let valve = Valve::to(scene.nats.addr);
    let a = worker_at(&valve.url(), &scene.config, "a", LEASE);
    for round in 1..=3 {
        a.wait_for_logs(round * CLUSTERS, says("cluster taken"));
        until_well(&scene.front);
        valve.close();
        a.wait_for_logs(round * CLUSTERS, says("cluster lost"));
        valve.open();
        until_well(&scene.front);
    }
    scene.asked_nobody_twice_at_a_time();
}

#[test]
fn a_worker_that_speaks_and_does_not_hear_leaves_its_clusters_to_others() {
    let scene = Scene::new();
    let valve = Valve::to(scene.nats.addr);
    let a = worker_at(&valve.url(), &scene.config, "a", LEASE);
    let b = scene.worker("b");
    until_holds(&scene.front, "a", |count| count == 3);
    until_well(&scene.front);
    let taken = clusters(&b, "cluster taken").len();
    valve.deafen();
    b.wait_for_logs(taken + 3, says("cluster taken"));
    until_well(&scene.front);
    let unfit = warning(&a, "this worker takes no clusters");
    assert_eq!(unfit["why"], "it does not hear what it announces");
    assert_eq!(held(&a), Vec::<Value>::new());
    valve.open();
    until_holds(&scene.front, "a", |count| count == 3);
    until_well(&scene.front);
    scene.asked_nobody_twice_at_a_time();
}

#[test]
fn a_thread_that_is_stuck_gives_up_its_clusters_until_it_is_well() {
    let scene = Scene::new();
    let failpoints = Arc::new(Failpoints::default());
    let url = scene.nats.url();
    let _a = Inside::worker(&url, &scene.config, "a", TWO_SECONDS, &failpoints);
    let b = scene.worker("b");
    until_holds(&scene.front, "a", |count| count == 3);
    until_well(&scene.front);
    let of_b = held(&b);
    let stuck = (1..=CLUSTERS)
        .map(|it| it.to_string())
        .find(|it| !of_b.contains(&it.as_str().into()))
        .unwrap();
    let path = format!("cluster={stuck}");
    under_load(&scene.front, || {
        let blocked = failpoints.block(Failpoint::Handler, &path);
        let is_it = |line: &Value| says_taken(line) && line["cluster"] == stuck;
        let before = b.log().iter().filter(|it| is_it(it)).count();
        b.wait_for_logs(before + 1, is_it);
        until_well(&scene.front);
        drop(blocked);
        until_holds(&scene.front, "a", |count| count == 3);
    });
    scene.asked_nobody_twice_at_a_time();
}

/// It asks devices by itself, as a schedule does, and its other threads can go on with that.
#[test]
fn a_worker_whose_main_thread_is_stuck_stops_asking_before_others_begin() {
    let mut scene = Scene::new();
    let schedule = "[collect]\nevery = \"100ms\"\n";
    scene.config = scene.config.replace("[collect]\n", schedule);
    let failpoints = Arc::new(Failpoints::default());
    let url = scene.nats.url();
    let a = Inside::worker(&url, &scene.config, "a", TWO_SECONDS, &failpoints);
    let b = scene.worker("b");
    until_holds(&scene.front, "a", |count| count == 3);
    until_well(&scene.front);
    under_load(&scene.front, || {
        let taken = clusters(&b, "cluster taken").len();
        let blocked = a.block();
        b.wait_for_logs(taken + 3, says("cluster taken"));
        until_well(&scene.front);
        ask(&scene.front, 20);
        drop(blocked);
        until_holds(&scene.front, "a", |count| count == 3);
    });
    scene.asked_nobody_twice_at_a_time();
}

#[test]
fn what_is_known_is_answered_while_a_cluster_has_no_owner() {
    let nats = Nats::start();
    let config = "[lookup]\nlatency = \"1ms\"\nfaults = { fail = 0.5 }\nseed = 7\n\
                  [[clusters]]\nid = 1\nnodes = \"1-20\"\n";
    let front = front_at(&nats.url(), config);
    let mut a = worker(&nats, config, "a");
    a.wait_for_log(says("cluster taken"));
    let devices = |app: &TestApp, path: &str| {
        let answer = app.request("GET", path, &[]);
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    };
    let outcomes = |report: &Value| -> Vec<(Value, Value, Value)> {
        let nodes = report["clusters"][0]["nodes"].as_array().unwrap();
        let outcome = |it: &Value| {
            (
                it["outcome"].clone(),
                it["observed_at"].clone(),
                it["error"].clone(),
            )
        };
        nodes.iter().map(outcome).collect()
    };
    let asked = devices(&front, "/v1/report");
    let counts = &asked["summary"];
    assert!(
        counts["ok"].as_u64() > Some(0) && counts["failed"].as_u64() > Some(0),
        "{counts}"
    );
    a.signal("KILL");
    a.wait();
    let all = "/v1/report?max_age=1ms";
    let of_all = |report: &Value| report["summary"]["faults"]["unreachable"] == 20;
    let none = devices(&front, all);
    assert!(of_all(&none), "nothing is as young: {none}");
    let known = devices(&front, "/v1/report?max_age=1h");
    assert_eq!(
        outcomes(&known),
        outcomes(&asked),
        "each with the time of its lookup"
    );
    let ages = known["clusters"][0]["nodes"].as_array().unwrap().iter();
    let ages: Vec<_> = ages.map(|it| it["age_ms"].as_u64().unwrap()).collect();
    // The report between took as long as a front waits for an owner.
    assert!(ages.iter().all(|age| *age >= 500), "{ages:?}");
    // The same without a connection, and at a worker that has its clusters no more.
    let b = worker(&nats, config, "b");
    b.wait_for_log(says("cluster taken"));
    for app in [&front, &b] {
        devices(app, "/v1/report");
    }
    drop(nats);
    b.wait_for_log(says("cluster lost"));
    for app in [&front, &b] {
        let disconnected = |report: &Value| {
            let message = &report["clusters"][0]["nodes"][0]["error"]["message"];
            message == "there is no connection to NATS"
        };
        while !disconnected(&devices(app, all)) {}
        let known = devices(app, "/v1/report?max_age=1h");
        assert_eq!(
            known["summary"]["faults"]["unreachable"],
            Value::Null,
            "{known}"
        );
    }
}

/// Also by workers that are about to have the cluster, of whom one comes when the key is gone already.
#[test]
fn a_lease_that_is_deleted_by_hand_is_its_owners_until_it_hands_over() {
    const LONG: &str = "20s";
    let scene = Scene::new();
    let url = scene.nats.url();
    let first = worker_at(&url, &scene.config, "a", LONG);
    first.wait_for_logs(CLUSTERS, says("cluster taken"));
    until_well(&scene.front);
    // Longer than a worker needs to be there and to take clusters, and much shorter than a lease.
    scene.devices.take(Duration::from_secs(3));
    let mut late = None;
    under_load(&scene.front, || {
        let next = worker_at(&url, &scene.config, "b", LONG);
        let is_there =
            |line: &Value| line["message"] == "a worker is there" && line["worker"] == "b";
        first.wait_for_log(is_there);
        while scene.devices.under_way() < 4 * CLUSTERS {
            std::thread::yield_now();
        }
        for cluster in 1..=CLUSTERS {
            let key = cluster.to_string();
            scene.nats.remove("fleetcall_leases", &key, "DEL");
        }
        let last = worker_at(&url, &scene.config, "c", LONG);
        for worker in [&next, &last] {
            worker.wait_for_log(says("cluster taken"));
        }
        late = Some([next, last]);
    });
    assert_eq!(clusters(&first, "cluster lost"), Vec::<String>::new());
    scene.asked_nobody_twice_at_a_time();
}
