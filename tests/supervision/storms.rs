//! Many failures at once or one after the other, on real threads: nobody is lost, nothing is left.

use fleetcall::domain::{FaultKind, Liveness};
use fleetcall::supervision::failpoints::{FailAction, Failpoint};

use crate::harness::{ALL_WELL, FLEET, Fleet, actors, children, until};

#[actix_web::test]
async fn nothing_is_left_of_a_thousand_crashed_clusters() {
    let fleet = Fleet::start(&FLEET.replace("50ms", "0s"));
    fleet.heal().await;
    for crash in 0..1000 {
        let path = if crash % 2 == 0 {
            "cluster=1"
        } else {
            "cluster=1 node=1"
        };
        fleet.panics(Failpoint::Handler, path);
        while fleet.failpoints.left(Failpoint::Handler, path) > 0 {
            fleet.collect().await;
        }
    }
    fleet.heal().await;
    fleet.settle(ALL_WELL).await;
    let metrics = fleet.metrics();
    assert_eq!((metrics.crashes(), metrics.restarts()), (1000, 1000));
}

#[actix_web::test]
async fn a_thousand_devices_that_panic_at_the_same_moment_all_come_back() {
    let fleet = Fleet::start(
        r#"
        [lookup]
        latency = "20ms"
        [supervision]
        backoff = { min = "1ms", max = "50ms" }
        [[clusters]]
        id = "storm"
        nodes = "1-1000"
        lookup = { script = ["panic", "ok", "ok", "ok", "ok", "ok", "ok", "ok"] }
        [[clusters]]
        id = "calm"
        nodes = "1-10"
        "#,
    );
    let devices = fleet.collect().await;
    assert!(
        devices[..1000]
            .iter()
            .all(|device| device.ends_with(":crashed"))
    );
    let others = devices[1000..].iter();
    assert!(
        others.clone().all(|device| !device.contains(':')),
        "the others are untouched"
    );
    until("all are restarted", || fleet.metrics().restarts() == 1000).await;
    fleet.heal().await;
    fleet.settle(actors(1013)).await;
    assert_eq!(fleet.metrics().crashes(), 1000);
}

#[actix_web::test]
async fn a_panic_in_one_of_a_hundred_lookups_loses_none_of_the_others() {
    let fleet = Fleet::start(
        r#"
        [lookup]
        latency = "0s"
        seed = 4
        faults = { panic = 0.01 }
        [supervision]
        intensity = 1000
        backoff = { min = "1ms", max = "2ms" }
        [[clusters]]
        id = 1
        nodes = "1-5000"
        [[clusters]]
        id = 2
        switches = "1-5000"
        "#,
    );
    let metrics = fleet.metrics();
    let (mut ok, mut crashed) = (0, 0);
    while ok + crashed < 200_000 {
        let answer = fleet.ask().await;
        let summary = answer.summary();
        assert_eq!(summary.devices(), 10_000);
        ok += 10_000 - summary.failed();
        for (kind, count) in summary.by_kind() {
            match kind {
                FaultKind::Crashed => crashed += count,
                // It crashed in the collect before and was not asked.
                FaultKind::Restarting => {}
                other => panic!("{count} devices {other}"),
            }
        }
    }
    assert!(
        (9_000..11_000).contains(&(crashed * 1_000_000 / (ok + crashed))),
        "{crashed}"
    );
    let counted = (metrics.lookups(), metrics.crashes());
    assert_eq!(
        counted,
        (ok as u64, crashed as u64),
        "each lookup was answered for once"
    );
    until("all are restarted", || {
        metrics.restarts() == metrics.crashes()
    })
    .await;
    fleet.settle(actors(10_003)).await;
}

#[actix_web::test]
async fn a_thread_that_ends_is_replaced_with_its_clusters() {
    let fleet = Fleet::start(FLEET);
    fleet.heal().await;
    fleet
        .failpoints
        .arm(Failpoint::Handler, FailAction::EndThread, "cluster=1", 1);
    let devices = fleet.collect().await;
    let lost = devices[..4]
        .iter()
        .all(|device| device.ends_with(":crashed"));
    assert!(lost, "{devices:?}");
    assert!(
        devices[4..].iter().all(|device| !device.contains(':')),
        "{devices:?}"
    );
    fleet.heal().await;
    fleet.settle(ALL_WELL).await;
    for (path, state) in children(&fleet.tree()) {
        let reason = state.last_exit.map(|exit| exit.reason);
        let expected = path.starts_with("cluster=1").then_some("thread");
        assert_eq!(reason, expected, "{path}");
    }
    let metrics = fleet.metrics();
    assert_eq!(
        (metrics.crashes(), metrics.restarts()),
        (5, 5),
        "a cluster and four devices"
    );
}

/// The clusters of two that a thread takes along.
async fn lost_with_the_thread_of_cluster_1(config: &str) -> [bool; 2] {
    let fleet = Fleet::start(config);
    fleet.heal().await;
    fleet
        .failpoints
        .arm(Failpoint::Handler, FailAction::EndThread, "cluster=1", 1);
    let devices = fleet.collect().await;
    let lost = ["1/", "2/"].map(|cluster| {
        let mut own = devices.iter().filter(|it| it.starts_with(cluster));
        own.all(|device| device.ends_with(":crashed"))
    });
    fleet.heal().await;
    lost
}

#[actix_web::test]
async fn clusters_share_a_thread_until_there_are_devices_enough_for_two() {
    let by_itself = FLEET.replace("threads = 2\n", "");
    let of = |nodes: &str| by_itself.replace("nodes = \"1-2\"", &format!("nodes = \"1-{nodes}\""));
    let small = lost_with_the_thread_of_cluster_1(&of("30")).await;
    assert_eq!(small, [true, true], "64 devices, one thread");
    let larger = lost_with_the_thread_of_cluster_1(&of("31")).await;
    assert_eq!(larger, [true, false], "66 devices, two threads");
    let told = FLEET.replace("threads = 2", "threads = 200");
    let told = lost_with_the_thread_of_cluster_1(&told).await;
    assert_eq!(told, [true, false], "as many as there are");
}

#[actix_web::test]
async fn a_thread_that_is_stuck_delays_no_answer_and_nobody_on_another_thread() {
    let fleet = Fleet::start(&FLEET.replace("10s", "1s"));
    fleet.heal().await;
    let stuck = fleet.failpoints.block(Failpoint::Handler, "cluster=1");
    // Its answer is here while the thread is stuck.
    let devices = fleet.collect().await;
    drop(stuck);
    let late = [
        "1/n1:timed_out",
        "1/n2:timed_out",
        "1/s1:timed_out",
        "1/s2:timed_out",
    ];
    assert_eq!(devices, crate::harness::expected(&late));
    fleet.heal().await;
    fleet.settle(ALL_WELL).await;
    assert_eq!(fleet.metrics().crashes(), 0);
}

#[actix_web::test]
async fn a_verdict_that_is_late_is_carried_out_by_the_next_shell() {
    let strict = "intensity = 1\nperiod = \"1h\"\nquarantine = \"1h\"";
    let fleet = Fleet::start(&FLEET.replace("intensity = 1000", strict));
    fleet.heal().await;
    fleet.panics(Failpoint::Handler, "cluster=1 node=1");
    fleet.collect().await;
    fleet.heal().await;
    // The supervisor shares this thread, so while it is blocked another one has to go on.
    let stuck = fleet.failpoints.block(Failpoint::Handler, "supervisor");
    fleet.panics(Failpoint::Handler, "cluster=1 node=1");
    let (collector, failpoints) = (
        fleet.engine.collector(),
        std::sync::Arc::clone(&fleet.failpoints),
    );
    let other = std::thread::spawn(move || {
        actix_web::rt::System::new().block_on(async {
            collector.collect().await.unwrap();
            while failpoints.left(Failpoint::Handler, "supervisor") > 0 {
                tokio::task::yield_now().await;
            }
            // Its verdict is out; the cluster goes before the node hears it.
            failpoints.arm(Failpoint::Handler, FailAction::Panic, "cluster=1", 1);
            collector.collect().await.unwrap();
            drop(stuck);
        });
    });
    until("the other one is done", || other.is_finished()).await;
    other.join().unwrap();
    until("the cluster is back", || {
        let tree = children(&fleet.tree());
        tree.iter()
            .any(|(path, state)| path == "cluster=1" && state.restarts == 1)
    })
    .await;
    until("the node is quarantined", || {
        let tree = children(&fleet.tree());
        tree.iter().any(|(path, state)| {
            path == "cluster=1 node=1" && matches!(state.liveness, Liveness::Quarantined(_))
        })
    })
    .await;
    assert_eq!(fleet.metrics().quarantines(), 1);
    let devices = fleet.collect().await;
    assert_eq!(devices, crate::harness::expected(&["1/n1:quarantined"]));
}

#[actix_web::test]
async fn a_thread_that_ends_again_and_again_is_replaced_again_and_again() {
    let fleet = Fleet::start(FLEET);
    for _ in 0..6 {
        fleet.heal().await;
        fleet
            .failpoints
            .arm(Failpoint::Handler, FailAction::EndThread, "cluster=2", 1);
        fleet.collect().await;
    }
    fleet.heal().await;
    fleet.settle(ALL_WELL).await;
}

#[actix_web::test]
async fn when_the_service_is_dropped_nothing_of_it_is_left() {
    let fleet = Fleet::start(FLEET);
    fleet.heal().await;
    let metrics = fleet.metrics();
    drop(fleet);
    until("no actor is left", || metrics.census().shells == 0).await;
    let fleet = Fleet::start_paused(FLEET);
    fleet.heal().await;
    let metrics = fleet.metrics();
    drop(fleet);
    until("no actor is left", || metrics.census().shells == 0).await;
}

#[actix_web::test]
async fn children_answer_while_the_supervisor_stays_down() {
    let fleet = Fleet::start(FLEET);
    fleet.heal().await;
    fleet
        .failpoints
        .arm(Failpoint::New, FailAction::Error, "supervisor", 1_000_000);
    fleet.panics(Failpoint::Handler, "supervisor");
    for _ in 0..20 {
        fleet.panics(Failpoint::Handler, "cluster=1 node=1");
        while fleet
            .failpoints
            .left(Failpoint::Handler, "cluster=1 node=1")
            > 0
        {
            fleet.collect().await;
        }
        fleet.heal().await;
    }
    let tree = children(&fleet.tree());
    let exits = |path| {
        let (_, state) = tree.iter().find(|(child, _)| child == path).unwrap();
        (state.restarts, state.last_exit.as_ref().unwrap().reason)
    };
    assert_eq!(exits("cluster=1 node=1"), (20, "panic"));
    assert_eq!(exits("supervisor").1, "error", "it never came back");
    fleet
        .failpoints
        .arm(Failpoint::New, FailAction::Error, "supervisor", 0);
    until("the supervisor is back", || {
        fleet.tree().supervisor.liveness == Liveness::Running
    })
    .await;
    fleet.settle(ALL_WELL).await;
}
