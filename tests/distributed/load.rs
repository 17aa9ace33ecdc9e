//! Continuous load, and who is under it: every answer is whole, in order and in time, and devices see
//! whether anybody is asked twice at a time.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::devices::Devices;
use crate::fleet::{LEASE, front, front_at, until_shared, until_well, worker, worker_at};
use crate::harness::{TestApp, config_file};
use crate::nats::Nats;
use crate::network::Elsewhere;

pub const CLUSTERS: usize = 8;

/// How many of them workers that are called "a" and "b" are to have: every release says the same.
pub const SHARES: [usize; 2] = [3, 5];

/// What the answers were while something happened.
#[derive(Debug)]
pub struct Seen {
    pub answers: usize,
    pub degraded: usize,
    /// Why they were.
    pub why: BTreeSet<String>,
    pub shortest: Duration,
    pub longest: Duration,
}

impl Default for Seen {
    fn default() -> Self {
        Self {
            answers: 0,
            degraded: 0,
            why: BTreeSet::new(),
            shortest: Duration::MAX,
            longest: Duration::ZERO,
        }
    }
}

impl Seen {
    /// Asks once.
    fn ask(&mut self, front: &TestApp) {
        let start = Instant::now();
        let answer = front.get();
        let took = start.elapsed();
        assert!(matches!(answer.status, 200 | 202), "{answer:?}");
        let devices = answer.devices();
        let expected = (1..=CLUSTERS)
            .flat_map(|cluster| (1..=4).map(move |node| format!("{cluster}/n{node}")));
        let ids = devices.iter().map(|it| it.split(':').next().unwrap());
        assert!(ids.eq(expected), "{devices:?}");
        for device in &devices {
            let kind = device.split_once(':').map(|(_, kind)| kind);
            assert!(matches!(kind, None | Some("unreachable")), "{answer:?}");
        }
        for cluster in answer.json()["data"].as_array().unwrap() {
            let nodes = cluster["nodes"].as_array().unwrap().iter();
            let why = nodes.filter_map(|node| node["error"]["message"].as_str());
            self.why.extend(why.map(str::to_owned));
        }
        self.answers += 1;
        self.degraded += usize::from(answer.status == 202);
        self.shortest = self.shortest.min(took);
        self.longest = self.longest.max(took);
    }
}

/// Asks so many times.
pub fn ask(front: &TestApp, times: usize) -> Seen {
    let mut seen = Seen::default();
    (0..times).for_each(|_| seen.ask(front));
    seen
}

/// Asks without a pause while `happen` does something, and until all is well again.
pub fn under_load(front: &TestApp, happen: impl FnOnce()) -> Seen {
    /// Also for a test that fails.
    struct Over<'a>(&'a AtomicBool);
    impl Drop for Over<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let end = Over(&over);
        let asking = scope.spawn(|| {
            let mut seen = Seen::default();
            while !over.load(Ordering::Relaxed) {
                seen.ask(front);
            }
            seen
        });
        happen();
        until_well(front);
        drop(end);
        asking.join().unwrap()
    })
}

/// Everybody on this machine.
pub struct Scene {
    pub devices: Devices,
    pub config: String,
    pub nats: Nats,
    pub front: TestApp,
}

impl Scene {
    pub fn new() -> Self {
        Self::on(Nats::start())
    }

    pub fn on(nats: Nats) -> Self {
        let devices = Devices::start();
        let config = devices.config(CLUSTERS);
        let front = front(&nats, &config);
        Self {
            devices,
            config,
            nats,
            front,
        }
    }

    pub fn worker(&self, name: &str) -> TestApp {
        worker(&self.nats, &self.config, name)
    }

    /// Two workers that have clusters each, and all is well.
    pub fn two_workers(&self) -> [TestApp; 2] {
        self.two_workers_for(LEASE)
    }

    /// As [`Scene::two_workers`], with leases of another length.
    pub fn two_workers_for(&self, lease: &str) -> [TestApp; 2] {
        let url = self.nats.url();
        let workers = ["a", "b"].map(|name| worker_at(&url, &self.config, name, lease));
        until_shared(&self.front, workers.each_ref(), SHARES);
        workers
    }

    pub fn asked_nobody_twice_at_a_time(&self) {
        assert_eq!(self.devices.overlaps(), Vec::<String>::new());
        assert_eq!(self.devices.pages(), 4 * CLUSTERS);
    }
}

/// A worker that is elsewhere, and everybody else on this machine.
pub struct Apart {
    pub place: Elsewhere,
    pub devices: Devices,
    pub far: TestApp,
    pub near: TestApp,
    pub front: TestApp,
    _nats: Nats,
}

impl Apart {
    /// The line to NATS.
    pub const NATS: u32 = 0;
    /// The line to the devices.
    pub const DEVICES: u32 = 1;

    /// With another configuration.
    pub fn with(change: impl FnOnce(String) -> String) -> Self {
        let place = Elsewhere::new();
        let (nats, devices) = (Nats::start_everywhere(), Devices::start_everywhere());
        // The same devices for both, by the line that stays.
        let addr = SocketAddr::new(place.here(Self::DEVICES), devices.addr.port());
        let config = change(Devices::config_at(addr, CLUSTERS));
        let by_line = format!("nats://{}:{}", place.here(Self::NATS), nats.addr.port());
        let by_here = format!("nats://127.0.0.1:{}", nats.addr.port());
        let (dir, path) = config_file(&config);
        let command = place.command(env!("CARGO_BIN_EXE_fleetcall"));
        let arguments = [
            "--nats", &by_line, "worker", "--name", "a", "--lease", LEASE,
        ];
        let far = TestApp::start_as(command, dir, path, &arguments);
        let near = worker_at(&by_here, &config, "b", LEASE);
        let front = front_at(&by_here, &config);
        until_shared(&front, [&far, &near], SHARES);
        Self {
            place,
            devices,
            far,
            near,
            front,
            _nats: nats,
        }
    }
}
