//! The actors in this process, without HTTP, with a failpoint that makes them go wrong.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fleetcall::app::Engine;
use fleetcall::config::{Config, Source};
use fleetcall::domain::{
    ChildState, Collection, DeviceKind, DeviceState, SupervisionTree, TreeFilter,
};
use fleetcall::engine::collector::CollectRequest;
use fleetcall::supervision::failpoints::{FailAction, Failpoint, Failpoints};
use fleetcall::telemetry::{Census, Metrics};
use tokio::time::Instant;

/// How long a test waits for what must come: longer than any machine takes, and less than the time
/// after which nextest ends a test.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Two clusters of two nodes and two switches; lookups of 50 ms.
pub const FLEET: &str = r#"
[lookup]
latency = "50ms"
[supervision]
intensity = 1000
backoff = { min = "1ms", max = "2ms" }
[collect]
deadline = "10s"
threads = 2
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
pub const ALL_WELL: Census = Census {
    shells: 11,
    actors: 11,
    lookups: 0,
    collects: 0,
};

/// So many actors, all of them well.
pub fn actors(actors: usize) -> Census {
    Census {
        shells: actors,
        actors,
        ..ALL_WELL
    }
}

pub struct Fleet {
    pub engine: Engine,
    pub failpoints: Arc<Failpoints>,
}

impl Fleet {
    /// The clusters on two threads of their own, in real time.
    pub fn start(config: &str) -> Self {
        Self::start_on(config, 2)
    }

    /// Everything on this thread, whose clock stands still while anything can be done and jumps
    /// to the next timer when nothing can.
    pub fn start_paused(config: &str) -> Self {
        tokio::time::pause();
        Self::start_here(config)
    }

    /// Everything on this thread, by whatever clock it has.
    pub fn start_here(config: &str) -> Self {
        Self::start_on(config, 0)
    }

    fn start_on(config: &str, threads: usize) -> Self {
        let failpoints = Arc::new(Failpoints::default());
        let config = parse(config);
        let source = Source::new(None);
        let engine = Engine::start(config, source, threads, Some(Arc::clone(&failpoints)));
        Self { engine, failpoints }
    }

    pub fn metrics(&self) -> Metrics {
        self.engine.metrics()
    }

    pub fn tree(&self) -> SupervisionTree {
        self.engine.collector().supervision(TreeFilter::All)
    }

    pub fn panics(&self, point: Failpoint, path: &str) {
        self.failpoints.arm(point, FailAction::Panic, path, 1);
    }

    /// One roll call.
    pub async fn ask(&self) -> Collection {
        let answer = tokio::time::timeout(PATIENCE, self.engine.collector().collect()).await;
        answer.expect("an answer in time").unwrap()
    }

    /// One roll call by force, as [`Fleet::collect`].
    pub async fn force(&self) -> Vec<String> {
        let request = CollectRequest {
            force: true,
            ..CollectRequest::default()
        };
        let collector = self.engine.collector();
        let answer = tokio::time::timeout(PATIENCE, collector.request(&request)).await;
        let (answer, _place) = answer.expect("an answer in time").unwrap();
        devices(answer.collection())
    }

    /// One roll call, as `cluster/n1:kind` for each device.
    pub async fn collect(&self) -> Vec<String> {
        devices(&self.ask().await)
    }

    /// Asks until every device answers.
    pub async fn heal(&self) {
        let start = Instant::now();
        loop {
            let devices = self.collect().await;
            if devices.iter().all(|device| !device.contains(':')) {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "not all come back: {devices:?}");
            // Time that stands still would never end a backoff.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Waits until there is as much of everything as here.
    pub async fn settle(&self, expected: Census) {
        until(&format!("{expected:?}"), || {
            self.metrics().census() == expected
        })
        .await;
    }
}

/// Waits until this is so: looks again every millisecond, of the clock that tests stop or of the
/// real one where other threads are at work.
pub async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(
            start.elapsed() < PATIENCE,
            "this does not become so: {what}"
        );
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

pub fn parse(config: &str) -> Config {
    Config::parse(Path::new("test"), config).unwrap_or_else(|error| panic!("{error}\n{config}"))
}

pub fn devices(collection: &Collection) -> Vec<String> {
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
pub fn expected(faults: &[&str]) -> Vec<String> {
    let all = [
        "1/n1", "1/n2", "1/s1", "1/s2", "2/n1", "2/n2", "2/s1", "2/s2",
    ];
    let with_fault = |device: &&str| {
        let fault = faults
            .iter()
            .find(|fault| fault.starts_with(&format!("{device}:")));
        (*fault.unwrap_or(device)).to_owned()
    };
    all.iter().map(with_fault).collect()
}

/// Every child of a tree by its path, as in the log.
pub fn children(tree: &SupervisionTree) -> Vec<(String, ChildState)> {
    let mut children = vec![("supervisor".to_owned(), tree.supervisor.clone())];
    for cluster in &tree.clusters {
        let path = format!("cluster={}", cluster.id);
        children.push((path.clone(), cluster.child.clone()));
        for (kind, devices) in [("node", &cluster.nodes), ("switch", &cluster.switches)] {
            let device = |device: &DeviceState| {
                (format!("{path} {kind}={}", device.id), device.child.clone())
            };
            children.extend(devices.iter().map(device));
        }
    }
    children
}
