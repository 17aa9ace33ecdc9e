//! Lines to NATS that are there and not good: what is lost is sent again, and what is late is waited for.

use crate::fleet::says;
use crate::load::{Apart, ask, under_load};

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
