//! Lines to NATS that are there and not good: what is lost is sent again, and what is late is waited for.

use std::net::SocketAddr;
use std::time::Duration;

use crate::fleet::{clusters, says, until_well, worker_at};
use crate::load::{Apart, CLUSTERS, Scene, Seen, ask, under_load};
use crate::slow::SlowLine;

/// Of a hundred.
const LOST: u32 = 8;

#[test]
fn a_line_that_loses_packets_loses_no_answer() {
    let scene = Apart::with(|config| config);
    scene.far.wait_for_log(says("cluster taken"));
    let mut lost = [0; 2];
    under_load(&scene.front, || {
        scene.place.lose(Apart::NATS, LOST);
        ask(&scene.front, 50);
        lost = scene.place.lost(Apart::NATS);
        scene.place.lose_no_more(Apart::NATS);
    });
    assert!(lost.iter().all(|&it| it > 10), "{lost:?}");
    assert_eq!(scene.devices.overlaps(), Vec::<String>::new());
    assert_eq!(ask(&scene.front, 10).degraded, 0);
}

/// Each way.
const DELAY: Duration = Duration::from_millis(100);
const BYTES_A_SECOND: u32 = 128 * 1024;

/// A worker may ask several times in a quarter of it, what it asks for when it moves a cluster.
const SLOW_LEASE: &str = "4s";

/// Clusters move over it, too, while orders for them are on their way.
#[test]
fn a_slow_line_delays_answers_and_nothing_else() {
    let scene = Scene::new();
    let line = SlowLine::to(scene.nats.addr, DELAY, BYTES_A_SECOND);
    let worker = |addr: SocketAddr, name| {
        worker_at(&format!("nats://{addr}"), &scene.config, name, SLOW_LEASE)
    };
    let slow = worker(line.addr, "a");
    slow.wait_for_logs(CLUSTERS, says("cluster taken"));
    until_well(&scene.front);
    let mut near = None;
    let mut during = Seen::default();
    let seen = under_load(&scene.front, || {
        let late = worker(scene.nats.addr, "b");
        late.wait_for_log(says("cluster taken"));
        // For longer than leases last that are not renewed.
        during = ask(&scene.front, 20);
        near = Some(late);
    });
    assert_eq!((seen.degraded, during.degraded), (0, 0), "{seen:?}");
    // There, and back.
    assert!(
        seen.shortest > 2 * DELAY && during.shortest > 2 * DELAY,
        "{seen:?}"
    );
    let near = near.unwrap();
    let moved = clusters(&near, "cluster taken");
    assert!(moved.len() < CLUSTERS, "the slow one has its share");
    assert_eq!(clusters(&slow, "cluster handed over").len(), moved.len());
    for worker in [&slow, &near] {
        assert_eq!(clusters(worker, "cluster lost"), Vec::<String>::new());
    }
    scene.asked_nobody_twice_at_a_time();
}
