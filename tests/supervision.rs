//! Every place where an actor's code can panic, and what its callers, siblings and successor see.
//!
//! The service runs in this process with a drill that puts panics where no configuration can.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fleetcall::actors::drill::{Drill, Point};
use fleetcall::app::{App, Options};
use fleetcall::config::Config;
use fleetcall::domain::{Collection, DeviceKind, FaultKind};
use fleetcall::telemetry::Census;
use tokio::time::Instant;

/// Nothing here takes that long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(20);

/// Two clusters of two nodes and two switches; lookups of 50 ms.
const FLEET: &str = r#"
[lookup]
latency = "50ms"
[supervision]
intensity = 1000
backoff = { min = "1ms", max = "2ms" }
[collect]
deadline = "10s"
[[clusters]]
id = 1
nodes = "1-2"
switches = "1-2"
[[clusters]]
id = 2
nodes = "1-2"
switches = "1-2"
"#;

/// Ten actors when all are well: two clusters, eight devices; and the supervisor.
const ALL_WELL: Census = Census {
    shells: 11,
    actors: 11,
    lookups: 0,
    collects: 0,
};

struct Fleet {
    app: App,
    drill: Arc<Drill>,
}

impl Fleet {
    fn start(config: &str) -> Self {
        let config = Config::parse(Path::new("test"), config).unwrap();
        let drill = Arc::new(Drill::default());
        let options = Options {
            port: 0,
            drill: Some(Arc::clone(&drill)),
            ..Options::default()
        };
        Self {
            app: App::start(config, options).unwrap(),
            drill,
        }
    }

    /// One roll call, as `cluster/n1:kind` for each device.
    async fn collect(&self) -> Vec<String> {
        let answer = tokio::time::timeout(PATIENCE, self.app.collector().collect()).await;
        devices(&answer.unwrap().unwrap())
    }

    /// Asks until every device answers.
    async fn heal(&self) {
        let start = Instant::now();
        loop {
            let devices = self.collect().await;
            if devices.iter().all(|device| !device.contains(':')) {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "not all come back: {devices:?}");
        }
    }

    /// Waits until there is as much of everything as here.
    async fn settle(&self, expected: Census) {
        let start = Instant::now();
        while self.app.metrics().census() != expected {
            let census = self.app.metrics().census();
            assert!(
                start.elapsed() < PATIENCE,
                "{census:?} does not become {expected:?}"
            );
            tokio::task::yield_now().await;
        }
    }
}

fn devices(collection: &Collection) -> Vec<String> {
    let mut devices = Vec::new();
    for (cluster, outcomes) in collection.clusters() {
        for (index, outcome) in outcomes.iter().enumerate() {
            let (kind, id) = cluster.device(index);
            let letter = if kind == DeviceKind::Node { "n" } else { "s" };
            let fault = outcome
                .as_ref()
                .err()
                .map(|fault| format!(":{}", fault.kind()));
            devices.push(format!(
                "{}/{letter}{id}{}",
                cluster.id(),
                fault.unwrap_or_default()
            ));
        }
    }
    devices
}

/// All devices of [`FLEET`], with faults as in `1/n2:crashed`.
fn expected(faults: &[&str]) -> Vec<String> {
    let all = [
        "1/n1", "1/n2", "1/s1", "1/s2", "2/n1", "2/n2", "2/s1", "2/s2",
    ];
    let with_fault = |device: &&str| {
        let fault = faults
            .iter()
            .find(|fault| fault.starts_with(&format!("{device}:")));
        fault.unwrap_or(device).to_string()
    };
    all.iter().map(with_fault).collect()
}

#[actix_web::test]
async fn a_panic_in_a_device_costs_it_one_answer_wherever_it_happens() {
    let fleet = Fleet::start(FLEET);
    fleet.heal().await;
    for (path, fault) in [("cluster=1 node=2", "1/n2"), ("cluster=1 switch=1", "1/s1")] {
        let crashed = format!("{fault}:crashed");
        fleet.drill.arm(Point::DeviceHandler, path, 1);
        assert_eq!(
            fleet.collect().await,
            expected(&[&crashed]),
            "in the handler"
        );
        fleet.heal().await;
        fleet.drill.arm(Point::DeviceHandler, path, 1);
        fleet.drill.arm(Point::DeviceDrop, path, 1);
        assert_eq!(
            fleet.collect().await,
            expected(&[&crashed]),
            "and in its Drop"
        );
        fleet.heal().await;
        // A restart that fails is a failure like the first, until one succeeds.
        for point in [Point::DeviceNew, Point::DeviceStarted] {
            let crashes = fleet.app.metrics().crashes();
            fleet.drill.arm(Point::DeviceHandler, path, 1);
            fleet.drill.arm(point, path, 3);
            assert_eq!(fleet.collect().await, expected(&[&crashed]), "{point:?}");
            fleet.heal().await;
            assert_eq!(fleet.app.metrics().crashes(), crashes + 4, "{point:?}");
        }
        fleet.settle(ALL_WELL).await;
    }
}

#[actix_web::test]
async fn a_panic_in_a_cluster_costs_its_devices_one_answer_and_the_others_nothing() {
    let fleet = Fleet::start(FLEET);
    fleet.heal().await;
    let crashed = expected(&[
        "1/n1:crashed",
        "1/n2:crashed",
        "1/s1:crashed",
        "1/s2:crashed",
    ]);
    for also in [
        None,
        Some(Point::ClusterDrop),
        Some(Point::ClusterNew),
        Some(Point::ClusterStarted),
    ] {
        fleet.drill.arm(Point::ClusterHandler, "cluster=1", 1);
        if let Some(point) = also {
            fleet.drill.arm(point, "cluster=1", 2);
        }
        assert_eq!(fleet.collect().await, crashed, "{also:?}");
        fleet.heal().await;
        fleet.settle(ALL_WELL).await;
    }
}

#[actix_web::test]
async fn a_crashed_cluster_answers_for_lookups_under_way_at_once() {
    let fleet = Fleet::start(&FLEET.replace("50ms", "2s"));
    fleet.settle(ALL_WELL).await;
    let (collector, drill) = (fleet.app.collector(), Arc::clone(&fleet.drill));
    let start = Instant::now();
    let first = actix_web::rt::spawn(async move { collector.collect().await.unwrap() });
    while fleet.app.metrics().census().lookups < 8 {
        assert!(start.elapsed() < PATIENCE);
        tokio::task::yield_now().await;
    }
    drill.arm(Point::ClusterHandler, "cluster=1", 1);
    let second = fleet.collect();
    let (first, second) = (async { devices(&first.await.unwrap()) }, second);
    let (first, second) = tokio::join!(first, second);
    let crashed = expected(&[
        "1/n1:crashed",
        "1/n2:crashed",
        "1/s1:crashed",
        "1/s2:crashed",
    ]);
    assert_eq!(first, crashed, "those that waited hear of it");
    assert_eq!(second, crashed, "and so does the one that met it");
    fleet.settle(ALL_WELL).await;
}

#[actix_web::test]
async fn a_crash_is_answered_at_once_and_not_at_the_timeout() {
    let fleet = Fleet::start(&FLEET.replace("50ms", "1h").replace("10s", "1h"));
    fleet.settle(ALL_WELL).await;
    for cluster in ["cluster=1", "cluster=2"] {
        fleet.drill.arm(Point::ClusterHandler, cluster, 1);
    }
    // Everything else would take an hour.
    assert!(
        fleet
            .collect()
            .await
            .iter()
            .all(|device| device.ends_with(":crashed"))
    );
}

#[actix_web::test]
async fn nothing_is_left_of_a_thousand_crashed_clusters() {
    let fleet = Fleet::start(&FLEET.replace("50ms", "0s"));
    fleet.heal().await;
    let mut crashes = 0;
    while crashes < 1000 {
        let (cluster, point) = if crashes % 2 == 0 {
            ("cluster=1", Point::ClusterHandler)
        } else {
            ("cluster=1 node=1", Point::DeviceHandler)
        };
        fleet.drill.arm(point, cluster, 1);
        while !fleet
            .collect()
            .await
            .iter()
            .any(|device| device.ends_with(":crashed"))
        {}
        crashes += 1;
    }
    fleet.heal().await;
    fleet.settle(ALL_WELL).await;
    assert_eq!(fleet.app.metrics().crashes(), 1000);
    // A device that waits out its backoff when its cluster crashes is not restarted: it goes, and
    // the cluster starts a new one.
    let restarts = fleet.app.metrics().restarts();
    assert!((500..=1000).contains(&restarts), "{restarts}");
}

#[actix_web::test]
async fn a_device_in_backoff_answers_restarting_at_once_with_when() {
    let fleet = Fleet::start(&FLEET.replace("1ms", "1h").replace("2ms", "1h"));
    fleet.heal().await;
    fleet.drill.arm(Point::DeviceHandler, "cluster=1 node=1", 1);
    assert_eq!(fleet.collect().await, expected(&["1/n1:crashed"]));
    assert_eq!(fleet.collect().await, expected(&["1/n1:restarting"]));
    fleet.drill.arm(Point::ClusterHandler, "cluster=2", 1);
    fleet.collect().await;
    let answer = fleet.app.collector().collect().await.unwrap();
    let waiting: Vec<&str> = answer
        .faults()
        .map(|(_, _, _, fault)| fault.message())
        .collect();
    assert_eq!(waiting.len(), 5);
    for message in waiting {
        let again = message.split_once(", again in ").expect("it says when").1;
        let again = humantime::parse_duration(again).unwrap();
        assert!(
            again > Duration::from_secs(3500) && again <= Duration::from_secs(3600),
            "{message}"
        );
    }
}

#[actix_web::test]
async fn past_the_intensity_a_child_is_quarantined_and_tried_again_after_the_cool_down() {
    let supervision = "intensity = 3\nperiod = \"1h\"\nquarantine = \"1s\"";
    let fleet = Fleet::start(
        &FLEET
            .replace("50ms", "0s")
            .replace("intensity = 1000", supervision),
    );
    fleet.heal().await;
    let metrics = fleet.app.metrics();
    for crash in 1..=4 {
        assert_eq!(
            metrics.quarantines(),
            0,
            "{crash} crashes are within the intensity"
        );
        fleet.drill.arm(Point::DeviceHandler, "cluster=1 node=1", 1);
        while !fleet.collect().await.contains(&"1/n1:crashed".to_owned()) {}
    }
    let start = Instant::now();
    while metrics.quarantines() == 0 {
        assert!(start.elapsed() < PATIENCE);
        tokio::task::yield_now().await;
    }
    let answer = fleet.app.collector().collect().await.unwrap();
    assert_eq!(
        devices(&answer),
        expected(&["1/n1:quarantined"]),
        "the rest goes on"
    );
    let (_, _, _, fault) = answer.faults().next().unwrap();
    assert_eq!(fault.kind(), FaultKind::Quarantined);
    assert!(
        fault.message().contains("is quarantined, again in "),
        "{}",
        fault.message()
    );
    fleet.heal().await;
    assert!(
        start.elapsed() >= Duration::from_millis(900),
        "it was left alone until then"
    );
    // It is on trial: one more crash and it is back in quarantine.
    fleet.drill.arm(Point::DeviceHandler, "cluster=1 node=1", 1);
    assert_eq!(fleet.collect().await, expected(&["1/n1:crashed"]));
    while metrics.quarantines() == 1 {
        assert!(start.elapsed() < PATIENCE);
        tokio::task::yield_now().await;
    }
    assert_eq!(fleet.collect().await, expected(&["1/n1:quarantined"]));
}

#[actix_web::test]
async fn children_are_restarted_while_the_supervisor_is_down_and_it_comes_back() {
    let fleet = Fleet::start(FLEET);
    fleet.heal().await;
    fleet.drill.arm(Point::SupervisorHandler, "supervisor", 2);
    for _ in 0..4 {
        fleet.drill.arm(Point::DeviceHandler, "cluster=1 node=1", 1);
        assert_eq!(fleet.collect().await, expected(&["1/n1:crashed"]));
        fleet.heal().await;
    }
    fleet.settle(ALL_WELL).await;
    assert!(
        fleet.app.metrics().crashes() >= 5,
        "four of the device, some of the supervisor"
    );
}

#[actix_web::test]
async fn a_thread_that_ends_is_replaced_with_its_clusters() {
    let fleet = Fleet::start(FLEET);
    fleet.heal().await;
    fleet.drill.arm(Point::ClusterThread, "cluster=1", 1);
    let devices = fleet.collect().await;
    assert!(
        devices[..4]
            .iter()
            .all(|device| device.ends_with(":crashed")),
        "{devices:?}"
    );
    fleet.heal().await;
    fleet.settle(ALL_WELL).await;
}

#[actix_web::test]
async fn a_thousand_devices_that_panic_at_once_all_come_back() {
    let fleet = Fleet::start(
        r#"
        [lookup]
        latency = "20ms"
        [supervision]
        backoff = { min = "1ms", max = "50ms" }
        [[clusters]]
        id = "storm"
        nodes = "1-1000"
        lookup = { script = ["panic", "ok"] }
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
    assert!(
        devices[1000..].iter().all(|device| !device.contains(':')),
        "the others are untouched"
    );
    let start = Instant::now();
    while fleet.app.metrics().restarts() < 1000 {
        assert!(start.elapsed() < PATIENCE);
        tokio::task::yield_now().await;
    }
    fleet.heal().await;
    fleet
        .settle(Census {
            shells: 1013,
            actors: 1013,
            lookups: 0,
            collects: 0,
        })
        .await;
}

#[actix_web::test]
async fn when_the_service_is_dropped_nothing_of_it_is_left() {
    let fleet = Fleet::start(FLEET);
    fleet.heal().await;
    let metrics = fleet.app.metrics();
    drop(fleet);
    let start = Instant::now();
    // The supervisor lives on this thread and ends with it.
    while metrics.census().actors > 1 {
        assert!(start.elapsed() < PATIENCE, "{:?}", metrics.census());
        tokio::task::yield_now().await;
    }
}
