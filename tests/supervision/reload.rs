//! A topology that changes while it is asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use fleetcall::config::{Config, Source};
use fleetcall::reload::{Difference, ReloadError, Trigger};
use fleetcall::supervision::failpoints::Failpoint;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::harness::{FLEET, Fleet, actors, devices, parse, until};

const BEFORE: &str = r#"
[lookup]
latency = "100ms"
[[clusters]]
id = 1
nodes = ["1-3", { ids = "x", lookup = { script = ["fail"] } }]
switches = "1"
[[clusters]]
id = "goes"
nodes = "1-2"
"#;

const AFTER: &str = r#"
[lookup]
latency = "100ms"
[[clusters]]
id = "comes"
nodes = "1-2"
[[clusters]]
id = 1
nodes = [{ ids = "x", lookup = { script = ["fail"] } }, 2, { ids = "3", lookup = { latency = "20ms" } }, "4"]
switches = "1"
"#;

#[actix_web::test]
async fn a_reload_is_applied_by_difference() {
    let fleet = Fleet::start_paused(BEFORE);
    for _ in 0..3 {
        fleet.collect().await;
    }
    fleet.panics(Failpoint::Handler, "cluster=1 node=2");
    fleet.panics(Failpoint::Handler, "cluster=1 node=3");
    fleet.collect().await;
    sleep(Duration::from_secs(1)).await;
    let difference = fleet.engine.apply(parse(AFTER));
    let expected = Difference {
        clusters_added: 1,
        clusters_removed: 1,
        devices_added: 3,
        devices_removed: 3,
        devices_changed: 1,
        devices_kept: 3,
        settings_changed: false,
        changed_settings: Vec::new(),
    };
    assert_eq!(difference, expected);
    let tree = fleet.tree();
    let ids: Vec<String> = tree
        .clusters
        .iter()
        .map(|cluster| cluster.id.to_string())
        .collect();
    assert_eq!(ids, ["comes", "1"]);
    let nodes = &tree.clusters[1].nodes;
    assert_eq!(
        nodes[0].failures, 4,
        "x is untouched: its breaker still counts"
    );
    assert!(
        nodes[1].last_lookup().is_some(),
        "so is node 2: its last result"
    );
    assert_eq!(nodes[1].child.restarts, 1, "and its history");
    assert_eq!(
        (nodes[2].child.restarts, nodes[2].last_lookup()),
        (0, None),
        "node 3 is a new one"
    );
    assert_eq!(
        fleet.collect().await,
        [
            "comes/n1",
            "comes/n2",
            "1/nx:failed",
            "1/n2",
            "1/n3",
            "1/n4",
            "1/s1"
        ]
    );
    let failures = fleet.tree().clusters[1].nodes[0].failures;
    assert_eq!(failures, 5, "the fifth failure in a row, over the reload");
    fleet.settle(actors(1 + 2 + 7)).await;
    assert_eq!(
        fleet.engine.apply(parse(AFTER)),
        Difference {
            devices_kept: 7,
            ..Difference::default()
        }
    );
}

#[actix_web::test]
async fn a_collect_under_way_answers_for_the_topology_it_started_with() {
    let fleet = Fleet::start_paused(BEFORE);
    let collector = fleet.engine.collector();
    let start = Instant::now();
    let before = actix_web::rt::spawn(async move { collector.collect().await.unwrap() });
    sleep(Duration::from_millis(50)).await;
    fleet.engine.apply(parse(AFTER));
    let after = fleet.ask().await;
    assert!(start.elapsed() <= Duration::from_millis(152));
    let before = before.await.unwrap();
    let expected = [
        "1/n1",
        "1/n2",
        "1/n3",
        "1/nx:failed",
        "1/s1",
        "goes/n1",
        "goes/n2",
    ];
    assert_eq!(
        devices(&before),
        expected,
        "those that are gone have drained"
    );
    let expected = [
        "comes/n1",
        "comes/n2",
        "1/nx:failed",
        "1/n2",
        "1/n3",
        "1/n4",
        "1/s1",
    ];
    assert_eq!(devices(&after), expected);
    assert_eq!(
        fleet.metrics().lookups(),
        7 + 7 - 3,
        "those that stay were joined"
    );
    drop((before, after));
    fleet.settle(actors(1 + 2 + 7)).await;
}

#[actix_web::test]
async fn devices_that_are_gone_end_with_the_last_collect_that_asks_them() {
    let config = BEFORE.replace(
        "latency = \"100ms\"",
        "latency = \"10s\"\ntimeout = \"20s\"",
    );
    let fleet = Fleet::start_paused(&config);
    let collector = fleet.engine.collector();
    let (first, second) = (collector.clone(), collector);
    let first = actix_web::rt::spawn(async move { first.collect().await.unwrap() });
    sleep(Duration::from_secs(4)).await;
    let second = actix_web::rt::spawn(async move { second.collect().await.unwrap() });
    sleep(Duration::from_secs(1)).await;
    let smaller =
        "[lookup]\nlatency = \"10s\"\ntimeout = \"20s\"\n[[clusters]]\nid = 1\nnodes = 2\n";
    fleet
        .engine
        .apply(parse(&smaller.replace("nodes = 2", "nodes = [2]")));
    sleep(Duration::from_secs(1)).await;
    assert_eq!(fleet.metrics().census().lookups, 7, "they go on");
    assert_eq!(first.await.unwrap().summary().devices(), 7);
    assert_eq!(
        second.await.unwrap().summary().failed(),
        1,
        "only x, as told"
    );
    fleet.settle(actors(3)).await;
}

#[actix_web::test]
async fn a_cluster_that_crashes_after_a_reload_comes_back_with_the_new_devices() {
    let fleet = Fleet::start_paused(BEFORE);
    fleet.collect().await;
    fleet.engine.apply(parse(AFTER));
    fleet.panics(Failpoint::Handler, "cluster=1");
    fleet.collect().await;
    sleep(Duration::from_secs(1)).await;
    let expected = [
        "comes/n1",
        "comes/n2",
        "1/nx:failed",
        "1/n2",
        "1/n3",
        "1/n4",
        "1/s1",
    ];
    assert_eq!(fleet.collect().await, expected);
    fleet.settle(actors(1 + 2 + 7)).await;
}

#[actix_web::test]
async fn settings_change_without_touching_a_device() {
    let fleet = Fleet::start_paused(FLEET);
    fleet.heal().await;
    let with = |settings: &str| {
        let config = FLEET.replace("[collect]\ndeadline = \"10s\"", settings);
        fleet.engine.apply(parse(&config))
    };
    let kept = |changed: &[&'static str]| Difference {
        devices_kept: 8,
        settings_changed: true,
        changed_settings: changed.to_vec(),
        ..Difference::default()
    };
    let deadline = "collect.deadline";
    assert_eq!(with("[collect]\ndeadline = \"20ms\""), kept(&[deadline]));
    let timed_out = fleet.collect().await;
    assert!(
        timed_out
            .iter()
            .all(|device| device.ends_with(":timed_out")),
        "{timed_out:?}"
    );
    let room = "collect.max_concurrent";
    assert_eq!(
        with("[collect]\nmax_concurrent = 1"),
        kept(&[deadline, room])
    );
    let start = Instant::now();
    fleet.collect().await;
    let in_turn = Duration::from_millis(200)..=Duration::from_millis(204);
    assert!(in_turn.contains(&start.elapsed()), "{:?}", start.elapsed());
    let every = "collect.every";
    assert_eq!(with("[collect]\nevery = \"1s\""), kept(&[every, room]));
    sleep(Duration::from_millis(990)).await;
    let ticks = fleet.metrics().ticks();
    assert!((7..=8).contains(&ticks), "{ticks}");
    assert_eq!(with("[collect]"), kept(&[every]));
    sleep(Duration::from_secs(10)).await;
    assert_eq!(fleet.metrics().ticks(), ticks, "no schedule any more");
    let waiting = "collect.max_waiting";
    assert_eq!(with("[collect]\nmax_waiting = 1"), kept(&[waiting]));
    let collector = fleet.engine.collector();
    let first = actix_web::rt::spawn(async move { collector.collect().await.unwrap() });
    tokio::task::yield_now().await;
    assert!(
        fleet.engine.collector().collect().await.is_err(),
        "one may wait"
    );
    first.await.unwrap();
    let strict = FLEET.replace("intensity = 1000", "intensity = 0");
    fleet.engine.apply(parse(&strict));
    fleet.panics(Failpoint::Handler, "cluster=1 node=1");
    fleet.collect().await;
    assert_eq!(fleet.metrics().quarantines(), 1, "the new policy decides");
}

#[actix_web::test]
async fn a_reload_of_devices_skips_no_tick_however_often_it_is_done() {
    let config = |size: usize| {
        parse(&format!(
            "[lookup]\nlatency = \"10ms\"\n[collect]\nevery = \"1s\"\n\
             [[clusters]]\nid = 1\nnodes = \"1-8\"\nswitches = \"1-{size}\"\n"
        ))
    };
    let fleet = Fleet::start_paused(
        "[lookup]\nlatency = \"10ms\"\n[collect]\nevery = \"1s\"\n\
         [[clusters]]\nid = 1\nnodes = \"1-8\"\nswitches = \"1\"\n",
    );
    for round in 0..6 {
        sleep(Duration::from_secs(10)).await;
        fleet.engine.apply(config(1 + round % 2));
    }
    sleep(Duration::from_millis(20)).await;
    let metrics = fleet.metrics();
    assert!(
        metrics.ticks() >= 530,
        "nine devices, sixty seconds: {}",
        metrics.ticks()
    );
    assert!(
        metrics.ticks_skipped() <= 6,
        "each was given: {}",
        metrics.ticks_skipped()
    );
}

#[actix_web::test]
async fn a_bad_configuration_changes_nothing_and_names_all_its_faults() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("clusters.toml");
    std::fs::write(&path, BEFORE).unwrap();
    let source = Source::new(Some(path.clone()));
    let (config, _) = source.load().unwrap();
    let engine = fleetcall::app::Engine::start(config, source, 1, None);
    let before = devices(&engine.collector().collect().await.unwrap());
    std::fs::write(&path, "colour = 1\n[[clusters]]\nid = 1\nnodes = \"4-1\"\n").unwrap();
    let error = engine.reload().reload(Trigger::Signal).await.unwrap_err();
    let ReloadError::Config(error) = error else {
        panic!("{error}")
    };
    assert_eq!(error.faults.len(), 2);
    assert_eq!(
        devices(&engine.collector().collect().await.unwrap()),
        before
    );
    std::fs::remove_file(&path).unwrap();
    assert!(engine.reload().reload(Trigger::Signal).await.is_err());
    std::fs::write(&path, AFTER).unwrap();
    let difference = engine.reload().reload(Trigger::Signal).await.unwrap();
    assert_eq!(difference.devices_kept, 3);
}

#[actix_web::test]
async fn collects_and_reloads_on_many_threads_never_lose_or_mix_anything() {
    let config = |size: usize, latency: &str| -> Config {
        parse(&format!(
            "[lookup]\nlatency = \"1ms\"\n[[clusters]]\nid = \"steady\"\nnodes = \"1-20\"\n\
             [[clusters]]\nid = \"grows\"\nnodes = \"1-{size}\"\n\
             [[clusters.switches]]\nids = \"1-5\"\nlookup = {{ latency = \"{latency}\" }}\n"
        ))
    };
    let fleet = Fleet::start("[[clusters]]\nid = \"steady\"\nnodes = \"1-20\"\n");
    fleet.engine.apply(config(1, "1ms"));
    let over = Arc::new(AtomicBool::new(false));
    let content = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let (collector, over) = (fleet.engine.collector(), Arc::clone(&over));
            let content = Arc::clone(&content);
            actix_web::rt::spawn(async move {
                let mut sizes = std::collections::BTreeSet::new();
                while !over.load(Ordering::Relaxed) {
                    let answer = collector.collect().await.unwrap();
                    let faults: Vec<_> = answer.faults().map(|(.., fault)| fault.clone()).collect();
                    assert!(faults.is_empty(), "{faults:?}");
                    let answered = devices(&answer);
                    let size = answered.len() - 25;
                    if sizes.insert(size) && sizes.len() == 6 {
                        content.fetch_add(1, Ordering::Relaxed);
                    }
                    let steady = (1..=20).map(|id| format!("steady/n{id}"));
                    let grown = (1..=size).map(|id| format!("grows/n{id}"));
                    let switches = (1..=5).map(|id| format!("grows/s{id}"));
                    let expected: Vec<_> = steady.chain(grown).chain(switches).collect();
                    assert_eq!(answered, expected, "one topology, whole and in order");
                }
            })
        })
        .collect();
    let mut round = 0;
    // Each client is to see many topologies.
    until("all have seen six", || {
        let latency = if round % 3 == 0 { "2ms" } else { "1ms" };
        fleet.engine.apply(config(1 + round % 40, latency));
        round += 1;
        let failed = clients.iter().any(JoinHandle::is_finished);
        failed || round >= 100 && content.load(Ordering::Relaxed) == clients.len()
    })
    .await;
    over.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    fleet.engine.apply(config(40, "1ms"));
    fleet.settle(actors(1 + 2 + 20 + 40 + 5)).await;
}

/// Lets everything else of this thread have one turn.
async fn turn() {
    let mut is_over = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut is_over, true) {
            return std::task::Poll::Ready(());
        }
        context.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}

#[actix_web::test]
async fn a_large_cluster_changes_its_devices_in_turns() {
    const DEVICES: usize = 20_000;
    let text = |name: &str| {
        format!(
            "[lookup]\nlatency = \"1ms\"\n[collect]\ndeadline = \"2m\"\n[[clusters]]\nid = 1\n\
             nodes = \"{name}[1-{DEVICES}]\"\n[[clusters]]\nid = 2\nnodes = \"1\"\n"
        )
    };
    let fleet = Fleet::start_paused(&text("a"));
    fleet.settle(actors(1 + 2 + DEVICES + 1)).await;
    let difference = fleet.engine.apply(parse(&text("b")));
    assert_eq!(difference.devices_added, DEVICES);
    // A collect that comes meanwhile is of the new devices, too.
    let collector = fleet.engine.collector();
    let asked = actix_web::rt::spawn(async move { collector.collect().await });
    let shells = || fleet.metrics().census().shells;
    let (mut before, mut most) = (shells(), 0);
    // Those that were there end when all others are.
    while before < 2 * DEVICES - 1000 {
        turn().await;
        let now = shells();
        most = most.max(now.saturating_sub(before));
        before = now;
    }
    assert!(most <= 4096, "{most} of {DEVICES} actors begin at once");
    let answer = asked.await.unwrap().unwrap();
    assert_eq!(answer.faults().count(), 0);
    assert_eq!(answer.topology().devices(), DEVICES + 1);
    fleet.settle(actors(1 + 2 + DEVICES + 1)).await;
}

/// Waits until this many actors are there or on their way, and gives the most that began in one turn.
async fn most_in_a_turn(fleet: &Fleet, shells: usize) -> usize {
    let (mut before, mut most) = (0, 0);
    while before < shells {
        turn().await;
        let now = fleet.metrics().census().shells;
        most = most.max(now.saturating_sub(before));
        before = now;
    }
    most
}

#[actix_web::test]
async fn a_large_cluster_starts_its_devices_in_turns() {
    const DEVICES: usize = 20_000;
    let all = 1 + 1 + DEVICES;
    let fleet = Fleet::start_paused(&format!(
        "[lookup]\nlatency = \"1ms\"\n[collect]\ndeadline = \"2m\"\n\
         [supervision]\nintensity = 1000\nbackoff = {{ min = \"1ms\", max = \"2ms\" }}\n\
         [[clusters]]\nid = 1\nnodes = \"1-{DEVICES}\"\n"
    ));
    let most = most_in_a_turn(&fleet, all).await;
    assert!(most <= 4096, "{most} of {DEVICES} actors begin at once");
    fleet.settle(actors(all)).await;
    // The same after a crash, and after one with half of them started.
    for is_half_started in [false, true] {
        fleet.panics(Failpoint::Handler, "cluster=1");
        let crashed = fleet.collect().await;
        assert!(crashed.iter().all(|device| device.ends_with(":crashed")));
        // Time stands still as long as there is something to do, so the backoff goes on.
        while fleet.metrics().census().shells > 2 {
            turn().await;
        }
        if is_half_started {
            fleet.panics(Failpoint::Started, "cluster=1");
            fleet.heal().await;
            assert_eq!(fleet.failpoints.left(Failpoint::Started, "cluster=1"), 0);
        } else {
            tokio::time::advance(Duration::from_millis(10)).await;
            let most = most_in_a_turn(&fleet, all).await;
            assert!(most <= 4096, "{most} of {DEVICES} actors begin at once");
        }
        fleet.settle(actors(all)).await;
    }
}

#[actix_web::test]
async fn a_large_cluster_starts_no_more_devices_of_a_plan_that_was_replaced() {
    const DEVICES: usize = 20_000;
    let text = |name: &str, devices: usize| {
        format!(
            "[lookup]\nlatency = \"1ms\"\n[[clusters]]\nid = 1\nnodes = \"{name}[1-{devices}]\"\n"
        )
    };
    let fleet = Fleet::start_paused(&text("a", DEVICES));
    let shells = || fleet.metrics().census().shells;
    while shells() <= 2 {
        turn().await;
    }
    fleet.engine.apply(parse(&text("b", 3)));
    let mut most = 0;
    while most < 6 || shells() != 2 + 3 {
        most = most.max(shells());
        turn().await;
    }
    assert!(
        most < DEVICES / 2,
        "{most} actors of {DEVICES} were started"
    );
    assert_eq!(fleet.collect().await, ["1/nb1", "1/nb2", "1/nb3"]);
    fleet.settle(actors(1 + 1 + 3)).await;
}
