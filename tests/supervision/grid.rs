//! The grid, as OTP's own `supervisor_SUITE` does it: each way to fail × each kind of child → what
//! is restarted, what the waiting caller got and how soon, siblings untouched, no actor left behind,
//! state fresh.
//!
//! The clock stands still while anything can be done, so "at once" is exact here: an answer takes
//! the 50 ms of its slowest lookup, or no time at all.

use std::time::Duration;

use fleetcall::domain::Liveness;
use fleetcall::supervision::failpoints::{FailAction, Failpoint};
use tokio::time::Instant;

use crate::harness::{ALL_WELL, FLEET, Fleet, children, expected};

/// What goes wrong at one collect: each entry so many times.
type Faults = &'static [(Failpoint, FailAction, u32)];

/// The ways to fail, how many exits each makes, and the reason of the last one.
const WAYS: [(&str, Faults, u32, &str); 11] = [
    (
        "a panic in the handler",
        &[(Failpoint::Handler, FailAction::Panic, 1)],
        1,
        "panic",
    ),
    (
        "a panic in `started`, at every second restart",
        &[
            (Failpoint::Handler, FailAction::Panic, 1),
            (Failpoint::Started, FailAction::Panic, 2),
        ],
        3,
        "panic",
    ),
    (
        "a panic in `stopping`",
        &[
            (Failpoint::Handler, FailAction::Stop, 1),
            (Failpoint::Stopping, FailAction::Panic, 1),
        ],
        1,
        "panic",
    ),
    (
        "a panic in `Drop`, while another unwinds",
        &[
            (Failpoint::Handler, FailAction::Panic, 1),
            (Failpoint::Drop, FailAction::Panic, 1),
        ],
        1,
        "panic",
    ),
    (
        "a panic in `Drop`, after a stop",
        &[
            (Failpoint::Handler, FailAction::Stop, 1),
            (Failpoint::Drop, FailAction::Panic, 1),
        ],
        1,
        "stopped",
    ),
    (
        "a panic in `stopping`, and one in `Drop`",
        &[
            (Failpoint::Handler, FailAction::Stop, 1),
            (Failpoint::Stopping, FailAction::Panic, 1),
            (Failpoint::Drop, FailAction::Panic, 1),
        ],
        1,
        "panic",
    ),
    (
        "a panic while its state is built",
        &[
            (Failpoint::Handler, FailAction::Panic, 1),
            (Failpoint::New, FailAction::Panic, 3),
        ],
        4,
        "panic",
    ),
    (
        "an error returned by what builds its state",
        &[
            (Failpoint::Handler, FailAction::Panic, 1),
            (Failpoint::New, FailAction::Error, 3),
        ],
        4,
        "error",
    ),
    (
        "a normal stop",
        &[(Failpoint::Handler, FailAction::Stop, 1)],
        1,
        "stopped",
    ),
    (
        "a normal stop in `started`",
        &[
            (Failpoint::Handler, FailAction::Panic, 1),
            (Failpoint::Started, FailAction::Stop, 2),
        ],
        3,
        "stopped",
    ),
    (
        "a panic in everything that can",
        &[
            (Failpoint::Handler, FailAction::Panic, 1),
            (Failpoint::New, FailAction::Panic, 1),
            (Failpoint::Started, FailAction::Panic, 1),
            (Failpoint::Drop, FailAction::Panic, 2),
        ],
        3,
        "panic",
    ),
];

/// The kinds of child, and which devices cannot answer while one of them fails.
const CHILDREN: [(&str, &[&str]); 3] = [
    ("cluster=1 node=2", &["1/n2:crashed"]),
    ("cluster=1 switch=1", &["1/s1:crashed"]),
    (
        "cluster=2",
        &[
            "2/n1:crashed",
            "2/n2:crashed",
            "2/s1:crashed",
            "2/s2:crashed",
        ],
    ),
];

/// Checks what is left after `path` failed `exits` times and came back.
async fn check(fleet: &Fleet, what: &str, path: &str, exits: u32, reason: &str) {
    fleet.heal().await;
    fleet.settle(ALL_WELL).await;
    let lookups = fleet.metrics().lookups();
    fleet.heal().await;
    assert_eq!(
        fleet.metrics().lookups() - lookups,
        8,
        "{what}: each is asked anew"
    );
    for (child, state) in children(&fleet.tree()) {
        assert_eq!(state.liveness, Liveness::Running, "{what}: {child}");
        if child == path {
            assert_eq!(state.restarts, exits, "{what}: {child}");
            assert_eq!(state.last_exit.unwrap().reason, reason, "{what}: {child}");
        } else {
            assert!(
                state.is_plain(),
                "{what}: its sibling {child} is touched: {state:?}"
            );
        }
    }
}

#[actix_web::test]
async fn every_way_to_fail_of_every_device_and_cluster() {
    tokio::time::pause();
    for (path, faults) in CHILDREN {
        for (way, armed, exits, reason) in WAYS {
            let what = format!("{path}: {way}");
            let fleet = Fleet::start_here(FLEET);
            fleet.heal().await;
            for &(point, act, times) in armed {
                fleet.failpoints.arm(point, act, path, times);
            }
            let start = Instant::now();
            assert_eq!(fleet.collect().await, expected(faults), "{what}");
            assert!(
                start.elapsed() <= Duration::from_millis(52),
                "{what}: {:?}",
                start.elapsed()
            );
            check(&fleet, &what, path, exits, reason).await;
            assert_eq!(fleet.metrics().crashes(), u64::from(exits), "{what}");
            for &(point, ..) in armed {
                assert_eq!(
                    fleet.failpoints.left(point, path),
                    0,
                    "{what}: {point:?} was not reached"
                );
            }
        }
    }
}

#[actix_web::test]
async fn every_way_to_fail_of_the_supervisor_while_a_child_needs_it() {
    tokio::time::pause();
    for (way, armed, exits, reason) in WAYS {
        let fleet = Fleet::start_here(FLEET);
        fleet.heal().await;
        for &(point, act, times) in armed {
            fleet.failpoints.arm(point, act, "supervisor", times);
        }
        let child = "cluster=1 node=1";
        fleet.panics(Failpoint::Handler, child);
        let start = Instant::now();
        assert_eq!(fleet.collect().await, expected(&["1/n1:crashed"]), "{way}");
        assert!(
            start.elapsed() <= Duration::from_millis(52),
            "{way}: {:?}",
            start.elapsed()
        );
        fleet.heal().await;
        for &(point, ..) in armed {
            let left = || fleet.failpoints.left(point, "supervisor") == 0;
            crate::harness::until(&format!("{way}: {point:?} is reached"), left).await;
        }
        fleet.settle(ALL_WELL).await;
        for (path, state) in children(&fleet.tree()) {
            assert_eq!(state.liveness, Liveness::Running, "{way}: {path}");
            match path.as_str() {
                "supervisor" => {
                    assert_eq!(state.restarts, exits, "{way}");
                    assert_eq!(state.last_exit.unwrap().reason, reason, "{way}");
                }
                path if path == child => {
                    assert_eq!(state.restarts, 1, "{way}: restarted without it");
                    let exit = state.last_exit.unwrap();
                    assert_eq!(
                        (exit.reason, exit.message.as_str()),
                        ("panic", "failpoint: Handler")
                    );
                }
                path => assert!(state.is_plain(), "{way}: {path}: {state:?}"),
            }
        }
        // The next exit finds it at work.
        fleet.panics(Failpoint::Handler, child);
        assert_eq!(fleet.collect().await, expected(&["1/n1:crashed"]), "{way}");
        fleet.heal().await;
        assert_eq!(fleet.tree().supervisor.restarts, exits, "{way}");
    }
}

#[actix_web::test]
async fn a_panic_in_a_lookup_says_where_it_was() {
    tokio::time::pause();
    for path in ["cluster=1 node=2", "cluster=1 switch=1"] {
        let fleet = Fleet::start_here(FLEET);
        fleet.heal().await;
        fleet.panics(Failpoint::Item, path);
        let fault = if path.contains("node") {
            "1/n2:crashed"
        } else {
            "1/s1:crashed"
        };
        let start = Instant::now();
        assert_eq!(fleet.collect().await, expected(&[fault]));
        assert!(start.elapsed() <= Duration::from_millis(52));
        let tree = children(&fleet.tree());
        let (_, state) = tree.iter().find(|(child, _)| child == path).unwrap();
        let exit = state.last_exit.as_ref().unwrap();
        assert_eq!(exit.message, "failpoint: Item");
        assert!(
            exit.at.starts_with("src/supervision/failpoints.rs:"),
            "{}",
            exit.at
        );
        check(&fleet, path, path, 1, "panic").await;
    }
}

#[actix_web::test]
async fn a_lookup_that_returns_an_error_restarts_nothing() {
    let config = FLEET.replace(
        "[supervision]",
        "script = [\"fail\", \"ok\"]\n[supervision]",
    );
    let fleet = Fleet::start_paused(&config);
    let all = fleet.collect().await;
    assert!(
        all.iter().all(|device| device.ends_with(":failed")),
        "{all:?}"
    );
    assert_eq!(fleet.collect().await, expected(&[]));
    assert_eq!(fleet.metrics().crashes(), 0);
    assert!(
        children(&fleet.tree())
            .iter()
            .all(|(_, state)| state.is_plain())
    );
    fleet.settle(ALL_WELL).await;
}

#[actix_web::test]
async fn a_panic_in_what_a_cluster_left_over_for_later() {
    let fleet = Fleet::start_paused(&format!(
        "{FLEET}[[clusters]]\nid = \"large\"\nnodes = \"1-3000\"\n"
    ));
    fleet.heal().await;
    fleet.panics(Failpoint::Item, "cluster=large");
    let start = Instant::now();
    let devices = fleet.collect().await;
    assert!(
        start.elapsed() <= Duration::from_millis(52),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(devices[..8], expected(&[]));
    assert_eq!(devices.len(), 3008);
    assert!(
        devices[8..]
            .iter()
            .all(|device| device.ends_with(":crashed"))
    );
    fleet.heal().await;
    let actors = 11 + 3001;
    let all_well = fleetcall::telemetry::Census {
        shells: actors,
        actors,
        ..ALL_WELL
    };
    fleet.settle(all_well).await;
}

/// OTP's `shutdown` and `brutal_kill`: a device that is configured away ends, whatever its code
/// does about it.
#[actix_web::test]
async fn a_panic_while_a_child_is_being_ended_ends_it_all_the_same() {
    tokio::time::pause();
    for armed in [
        &[(Failpoint::Stopping, FailAction::Panic)][..],
        &[(Failpoint::Drop, FailAction::Panic)],
        &[
            (Failpoint::Stopping, FailAction::Panic),
            (Failpoint::Drop, FailAction::Panic),
        ],
    ] {
        let fleet = Fleet::start_here(FLEET);
        fleet.heal().await;
        for path in ["cluster=2", "cluster=2 node=1", "cluster=1 node=2"] {
            for &(point, act) in armed {
                fleet.failpoints.arm(point, act, path, 1);
            }
        }
        let smaller = FLEET.replacen("nodes = \"1-2\"", "nodes = \"1\"", 1);
        let end = smaller.rfind("[[clusters]]").unwrap();
        fleet.engine.apply(crate::harness::parse(&smaller[..end]));
        let left = fleetcall::telemetry::Census {
            shells: 5,
            actors: 5,
            ..ALL_WELL
        };
        fleet.settle(left).await;
        assert_eq!(fleet.collect().await, ["1/n1", "1/s1", "1/s2"]);
        assert_eq!(fleet.metrics().crashes(), 0, "ending is no failure");
    }
}
