//! What goes wrong between processes, under continuous load: every answer is whole, in order and in
//! time, and no device is asked twice at a time.

use std::time::{Duration, Instant, SystemTime};

use crate::devices::Devices;
use crate::fleet::{
    clusters, front, front_at, held, says, says_nothing_twice_since, until_well, worker, worker_at,
};
use crate::harness::{TestApp, until};
use crate::load::{Apart, CLUSTERS, Scene, ask, under_load};
use crate::nats::{Nats, Three};
use crate::scrape::scrape;

#[test]
fn a_worker_that_is_killed_is_replaced() {
    replaces_a_worker_that_is_killed(&Scene::new());
}

#[test]
fn the_oldest_server_that_will_do_has_a_worker_that_is_killed_replaced() {
    replaces_a_worker_that_is_killed(&Scene::on(Nats::start_oldest()));
}

fn replaces_a_worker_that_is_killed(scene: &Scene) {
    let [mut a, b] = scene.two_workers();
    let lost = held(&a);
    under_load(&scene.front, || {
        a.signal("KILL");
        a.wait();
        b.wait_for_logs(CLUSTERS, says("cluster taken"));
    });
    let mut taken = clusters(&b, "cluster taken");
    assert_eq!(taken.split_off(CLUSTERS - lost.len()).len(), lost.len());
    scene.asked_nobody_twice_at_a_time();
}

#[test]
fn a_worker_that_is_stopped_hands_over_and_nobody_notices() {
    let scene = Scene::new();
    let [mut a, b] = scene.two_workers();
    let seen = under_load(&scene.front, || {
        a.signal("TERM");
        assert!(a.wait().success());
        b.wait_for_logs(CLUSTERS, says("cluster taken"));
    });
    assert_eq!(seen.degraded, 0, "{seen:?}");
    scene.asked_nobody_twice_at_a_time();
}

#[test]
fn a_worker_that_joins_moves_its_share_and_nobody_notices() {
    let scene = Scene::new();
    let [a, b] = scene.two_workers();
    let before = clusters(&a, "cluster handed over").len();
    let mut c = None;
    let seen = under_load(&scene.front, || {
        let late = scene.worker("c");
        late.wait_for_log(says("cluster taken"));
        until_well(&scene.front);
        c = Some(late);
    });
    assert_eq!(seen.degraded, 0, "{seen:?}");
    let handed = [&a, &b].map(|it| clusters(it, "cluster handed over"));
    let mut handed: Vec<_> = handed.into_iter().flatten().skip(before).collect();
    let mut taken = clusters(&c.unwrap(), "cluster taken");
    handed.sort();
    taken.sort();
    assert_eq!(handed, taken, "nothing moved between those that were there");
    scene.asked_nobody_twice_at_a_time();
}

/// Longer than a front waits for an owner, and than a lease lasts.
#[test]
fn slow_lookups_are_waited_for_when_a_cluster_moves() {
    let mut config = "[lookup]\nlatency = \"2500ms\"\n[collect]\ndeadline = \"1m\"\n".to_owned();
    for cluster in 1..=CLUSTERS {
        config += &format!("[[clusters]]\nid = {cluster}\nnodes = \"1-4\"\n");
    }
    let nats = Nats::start();
    let front = front(&nats, &config);
    let [a, _b] = ["a", "b"].map(|name| worker(&nats, &config, name));
    until_well(&front);
    let collecting = |line: &serde_json::Value| line["message"] == "collecting";
    let before = a.log().into_iter().filter(collecting).count();
    std::thread::scope(|scope| {
        // Those that are under way when the clusters move, and one that comes while they do.
        let first = scope.spawn(|| front.get());
        let own = scope.spawn(|| a.get());
        a.wait_for_logs(before + 2, says("collecting"));
        let _late = worker(&nats, &config, "c");
        let moving = scope.spawn(|| front.get());
        let answers = [first, own, moving].map(|it| it.join().unwrap());
        assert_eq!(
            answers.each_ref().map(|it| it.status),
            [200, 200, 200],
            "{answers:?}"
        );
    });
}

#[test]
fn a_workers_own_answers_are_whole_while_its_clusters_move() {
    let scene = Scene::new();
    let [a, _b] = scene.two_workers();
    let mut late = None;
    let seen = under_load(&a, || {
        let c = scene.worker("c");
        c.wait_for_log(says("cluster taken"));
        until_well(&scene.front);
        late = Some(c);
    });
    assert!(
        !clusters(&a, "cluster handed over").is_empty(),
        "it has moved"
    );
    assert_eq!(seen.degraded, 0, "{seen:?}");
    scene.asked_nobody_twice_at_a_time();
}

#[test]
fn a_cluster_that_a_reload_takes_away_and_brings_back_is_asked_again() {
    let scene = Scene::new();
    let worker = scene.worker("a");
    until_well(&scene.front);
    let fewer = scene.devices.config(1);
    under_load(&scene.front, || {
        for round in [1, 3, 5] {
            for (count, config) in [(round, &fewer), (round + 1, &scene.config)] {
                std::fs::write(&worker.config, config).unwrap();
                worker.signal("HUP");
                worker.wait_for_logs(count, says("reloaded"));
            }
            until_well(&scene.front);
        }
    });
    until_well(&scene.front);
    scene.asked_nobody_twice_at_a_time();
}

#[test]
fn a_worker_that_was_paused_finds_that_it_lost_its_clusters() {
    let scene = Scene::new();
    let [a, b] = scene.two_workers();
    let (lost, taken) = (held(&a).len(), clusters(&a, "cluster taken").len());
    under_load(&scene.front, || {
        a.signal("STOP");
        b.wait_for_logs(CLUSTERS, says("cluster taken"));
        until_well(&scene.front);
        a.signal("CONT");
        a.wait_for_logs(lost, says("cluster lost"));
        // It is a worker as any other then, and has its share again.
        b.wait_for_logs(lost, says("cluster handed over"));
        a.wait_for_logs(taken + lost, says("cluster taken"));
    });
    let is_wrong = |line: &serde_json::Value| line["message"] == "a worker is gone";
    assert!(
        !a.log().iter().any(is_wrong),
        "it was away, and not the others"
    );
    scene.asked_nobody_twice_at_a_time();
}

/// As a host that is frozen: its connections stay, and it says nothing.
#[test]
fn a_worker_that_hangs_is_replaced_while_requests_wait() {
    let scene = Scene::new();
    let [a, b] = scene.two_workers();
    let before = clusters(&b, "cluster taken").len();
    let lost = held(&a).len();
    a.signal("STOP");
    // So that each of those that wait is one that the hanging worker has.
    let asked = std::thread::scope(|scope| {
        let mut asking = Vec::new();
        while clusters(&b, "cluster taken").len() < before + lost {
            let front = &scene.front;
            asking.push(scope.spawn(move || (SystemTime::now(), front.get().status)));
            // That takes a part of a second.
            front.request("GET", "/v1/workers", &[]);
        }
        let asked = asking.into_iter().map(|it| it.join().unwrap());
        asked.collect::<Vec<_>>()
    });
    let taken = b.wait_for_logs(before + 1, says("cluster taken"));
    let first = taken.last().unwrap();
    let first = humantime::parse_rfc3339(first["time"].as_str().unwrap()).unwrap();
    // Of what was asked before another worker had any of its clusters some is whole: what waited for
    // the one that hangs was put to the other one. How much that is depends on when it was asked.
    let early = asked
        .iter()
        .filter(|(at, _)| *at + Duration::from_millis(200) < first);
    let statuses: Vec<_> = early.map(|(_, status)| *status).collect();
    assert!(statuses.contains(&200), "{statuses:?}");
    a.signal("CONT");
    a.wait_for_logs(lost, says("cluster lost"));
    until_well(&scene.front);
    scene.asked_nobody_twice_at_a_time();
}

/// Only that it took the cluster: what changes in it is told by the owner that is asked, too, and a front
/// that has just started does not know its lease yet.
#[test]
fn what_changes_in_a_cluster_has_no_device_asked_again() {
    let scene = Scene::new();
    let _worker = scene.worker("a");
    until_well(&scene.front);
    let front = &scene.front;
    let orders = || scrape(front).of(r#"fleetcall_orders_sent_total{order="collect"}"#);
    let before = orders();
    scene.devices.take(Duration::from_secs(3));
    let answer = std::thread::scope(|scope| {
        let asked = scope.spawn(|| front.get());
        until("all are asked", || {
            scene.devices.under_way() == 4 * CLUSTERS
        });
        let change = r#"{"version":1,"cluster":1,"fence":18446744073709551615,"plan":7,"changes":[{"o":{"d":0}}]}"#;
        scene.nats.send("fleetcall.v1.changes", None, change);
        front.wait_for_log(says("a worker's changes are passed over"));
        asked.join().unwrap()
    });
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(orders() - before, CLUSTERS as f64);
    scene.asked_nobody_twice_at_a_time();
}

#[test]
fn workers_that_nats_leaves_alone_stop_asking_and_go_on_when_it_is_back() {
    let mut scene = Scene::new();
    let [a, b] = scene.two_workers();
    let held = [&a, &b].map(|it| held(it).len());
    scene.nats.kill();
    let answer = scene.front.get();
    let devices = answer.devices();
    assert_eq!(devices.len(), 4 * CLUSTERS);
    assert!(
        devices.iter().all(|it| it.ends_with(":unreachable")),
        "{devices:?}"
    );
    for (worker, held) in [&a, &b].into_iter().zip(held) {
        worker.wait_for_logs(held, says("cluster lost"));
    }
    scene.nats.restart();
    until_well(&scene.front);
    scene.asked_nobody_twice_at_a_time();
}

/// It asks devices by itself, as a schedule does, and can go on with that when it is cut off.
#[test]
fn a_worker_that_is_cut_off_from_nats_stops_asking_before_others_begin() {
    let schedule = "[collect]\nevery = \"100ms\"\n";
    let scene = Apart::with(|config| config.replace("[collect]\n", schedule));
    let Apart {
        place,
        devices,
        far,
        near,
        front,
        ..
    } = &scene;
    let (fars, taken) = (held(far).len(), clusters(far, "cluster taken").len());
    let there = place.there(Apart::DEVICES);
    let cut = Instant::now();
    let mut last = None;
    under_load(front, || {
        place.cut(Apart::NATS);
        near.wait_for_logs(CLUSTERS, says("cluster taken"));
        last = devices.last_asked_by(there);
        until_well(front);
    });
    assert!(
        last.unwrap() > cut,
        "it went on with its schedule for a while"
    );
    assert_eq!(
        devices.last_asked_by(there),
        last,
        "it asked after its clusters were taken"
    );
    assert_eq!(clusters(far, "cluster lost").len(), fars);
    assert_eq!(devices.overlaps(), Vec::<String>::new());
    under_load(front, || {
        place.mend(Apart::NATS);
        far.wait_for_logs(taken + fars, says("cluster taken"));
    });
    assert_eq!(devices.overlaps(), Vec::<String>::new());
}

/// How many lines each of them has logged.
fn lines<'a>(apps: impl Iterator<Item = &'a TestApp>) -> Vec<usize> {
    apps.map(|app| app.log().len()).collect()
}

/// However long it lasts, and however often devices are asked for meanwhile.
#[test]
fn what_nats_leaves_undone_is_said_once() {
    let mut scene = Scene::new();
    let workers = scene.two_workers();
    let before = lines(workers.iter().chain([&scene.front]));
    scene.nats.kill();
    while workers.iter().any(|it| !held(it).is_empty()) {
        ask(&scene.front, 1);
    }
    for (app, before) in workers.iter().chain([&scene.front]).zip(before) {
        ask(app, 20);
        says_nothing_twice_since(before, app);
    }
    scene
        .front
        .wait_for_logs(CLUSTERS, says("the cluster's worker cannot be asked"));
    assert!(says_nothing_twice_since(0, &scene.front) >= CLUSTERS);
    scene.nats.restart();
    until_well(&scene.front);
}

/// Those that are left cannot choose a leader, and nothing can be written.
#[test]
fn two_of_three_servers_that_go_and_come_back_are_waited_for() {
    let devices = Devices::start();
    let config = devices.config(CLUSTERS);
    let mut three = Three::start();
    let url = three.url();
    let front = front_at(&url, &config);
    let workers = ["a", "b"].map(|name| worker_at(&url, &config, name, "15s"));
    until_well(&front);
    let before = lines(workers.iter().chain([&front]));
    three.0[1].kill();
    three.0[2].kill();
    while !workers.iter().all(|it| held(it).is_empty()) {
        front.get();
    }
    under_load(&front, || {
        three.0[1].restart();
        three.0[2].restart();
    });
    for (app, before) in workers.iter().chain([&front]).zip(before) {
        says_nothing_twice_since(before, app);
    }
    assert_eq!(devices.overlaps(), Vec::<String>::new());
}

#[test]
fn nats_that_lost_all_it_knew_is_told_again() {
    let mut scene = Scene::new();
    let _workers = scene.two_workers();
    scene.nats.kill();
    scene.nats.wipe();
    scene.nats.restart();
    let info = "STREAM.INFO.KV_fleetcall_leases";
    while scene.nats.api(info, &serde_json::Value::Null)["state"]["messages"] != CLUSTERS {
        scene.front.get();
    }
    until_well(&scene.front);
    scene.asked_nobody_twice_at_a_time();
}

#[test]
fn a_front_that_is_killed_loses_its_own_answers_only() {
    let scene = Scene::new();
    let workers = scene.two_workers();
    let mut other = front(&scene.nats, &scene.config);
    until_well(&other);
    let seen = under_load(&scene.front, || {
        let client = other.begin();
        other.signal("KILL");
        other.wait();
        drop(client);
    });
    assert_eq!(seen.degraded, 0, "{seen:?}");
    assert!(
        workers
            .iter()
            .all(|it| clusters(it, "cluster lost").is_empty())
    );
    scene.asked_nobody_twice_at_a_time();
}

#[test]
fn one_of_three_servers_that_is_killed_is_done_without() {
    let devices = Devices::start();
    let config = devices.config(CLUSTERS);
    let mut three = Three::start();
    let url = three.url();
    let front = front_at(&url, &config);
    // Those that are left choose a leader first, which takes them up to 9 s.
    let workers = ["a", "b"].map(|name| worker_at(&url, &config, name, "30s"));
    until_well(&front);
    under_load(&front, || {
        let start = Instant::now();
        three.0[0].kill();
        let is_renewed = || {
            let since = u64::try_from(start.elapsed().as_millis()).unwrap();
            let known = front.request("GET", "/v1/workers", &[]).json();
            let clusters = known["clusters"].as_array().cloned().unwrap_or_default();
            let is_renewed =
                |it: &serde_json::Value| it["renewed_ms"].as_u64().is_some_and(|ms| ms < since);
            clusters.len() == CLUSTERS && clusters.iter().all(is_renewed)
        };
        until("leases are renewed", is_renewed);
    });
    for worker in &workers {
        assert_eq!(clusters(worker, "cluster lost"), Vec::<String>::new());
    }
    assert_eq!(devices.overlaps(), Vec::<String>::new());
}

#[test]
fn a_connection_that_is_lost_is_said_once_and_once_when_it_is_back() {
    let mut nats = Nats::start();
    let config = "[[clusters]]\nid = 1\nnodes = \"1\"\n";
    let front = front(&nats, config);
    nats.kill();
    // Tries to connect, one after the other.
    let listener = std::net::TcpListener::bind(nats.addr).unwrap();
    for _ in 0..6 {
        listener.accept().unwrap();
    }
    drop(listener);
    nats.restart();
    let again = front.wait_for_log(says("connected to NATS again"));
    assert!(again["lost_ms"].as_u64().unwrap() > 0, "{again}");
    let log = front.log();
    let said = |message: &'static str| log.iter().filter(move |it| it["message"] == message);
    assert_eq!(said("the connection to NATS is lost").count(), 1);
    let errors: Vec<_> = said("the NATS connection has an error")
        .map(|line| line["error"].as_str().unwrap())
        .collect();
    let mut each = errors.clone();
    each.sort_unstable();
    each.dedup();
    assert_eq!(each.len(), errors.len(), "{errors:?}");
}
