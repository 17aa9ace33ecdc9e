//! Clocks that somebody sets.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, SystemTime};

use serde_json::Value;
use tempfile::TempDir;

use crate::fleet::{clusters, until_shared, worker_at};
use crate::harness::{PATIENCE, TestApp, config_file, fleetcall, run, stdout};
use crate::load::{CLUSTERS, SHARES, Scene, under_load};

/// Of leases that are lost to clocks, and not to a busy machine.
const STEADY: &str = "6s";

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// What time it is for some processes, besides what it is for others. How long something takes is the
/// same for all, as it is when somebody sets a machine's clock.
struct Clock {
    dir: TempDir,
    library: String,
}

impl Clock {
    fn new() -> Self {
        let said = run(Command::new("faketime").args(["-m", "-f", "+0", "printenv", "LD_PRELOAD"]));
        let clock = Self {
            dir: TempDir::new().unwrap(),
            library: stdout(&said).trim_end().to_owned(),
        };
        clock.set("+0");
        clock
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("offset")
    }

    /// So many seconds before or after the time of others, at once.
    fn set(&self, offset: &str) {
        let next = self.dir.path().join("next");
        std::fs::write(&next, offset).unwrap();
        std::fs::rename(&next, self.file()).unwrap();
    }

    fn start(&self, config: &str, arguments: &[&str]) -> TestApp {
        let (dir, path) = config_file(config);
        let mut command = fleetcall();
        command
            .env("LD_PRELOAD", &self.library)
            .env("FAKETIME_TIMESTAMP_FILE", self.file())
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        TestApp::start_as(command, dir, path, arguments)
    }
}

/// Whether a line was written about then, by the clock of who wrote it.
fn is_of(line: &Value, then: SystemTime) -> bool {
    let time = humantime::parse_rfc3339(line["time"].as_str().unwrap()).unwrap();
    (then - MINUTE..then + MINUTE).contains(&time)
}

#[test]
fn clocks_that_jump_cost_nothing() {
    let (clock, mut scene) = (Clock::new(), Scene::new());
    let url = scene.nats.url();
    scene.front = clock.start(&scene.config, &["--nats", &url, "serve"]);
    let arguments = ["--nats", &url, "worker", "--name", "a", "--lease", STEADY];
    let jumps = clock.start(&scene.config, &arguments);
    let stays = worker_at(&url, &scene.config, "b", STEADY);
    until_shared(&scene.front, [&jumps, &stays], SHARES);
    let leases = (1..=CLUSTERS).map(|it| scene.nats.listen(&format!("$KV.fleetcall_leases.{it}")));
    let leases: Vec<_> = leases.collect();
    let start = SystemTime::now();
    let seen = under_load(&scene.front, || {
        for (offset, then) in [("+3600", start + HOUR), ("-86400", start - DAY)] {
            clock.set(offset);
            for app in [&scene.front, &jumps] {
                app.wait_for_log(|line| is_of(line, then));
            }
            // All are renewed since, again and again: for longer than those last that are not.
            for lease in &leases {
                lease.try_iter().for_each(drop);
            }
            for lease in &leases {
                for _ in 0..4 {
                    lease.recv_timeout(PATIENCE).unwrap();
                }
            }
        }
    });
    assert_eq!(seen.degraded, 0, "{seen:?}");
    for worker in [&jumps, &stays] {
        assert_eq!(clusters(worker, "cluster lost"), Vec::<String>::new());
    }
    let known = scene.front.request("GET", "/v1/workers", &[]).json();
    for cluster in known["clusters"].as_array().unwrap() {
        // Not the hour or the day that the clocks have jumped by.
        assert!(
            cluster["renewed_ms"].as_u64().unwrap() < 1_800_000,
            "{cluster}"
        );
    }
    assert_eq!(known["workers"].as_array().unwrap().len(), 2, "{known}");
    scene.asked_nobody_twice_at_a_time();
}
