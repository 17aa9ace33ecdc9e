//! Releases that write answers in other forms, side by side.

use std::sync::mpsc;

use serde_json::Value;

use crate::devices::Devices;
use crate::fleet::{LEASE, clusters, says, until_well};
use crate::harness::TestApp;
use crate::load::{CLUSTERS, under_load};
use crate::nats::Nats;

/// A release that knows forms up to this one.
fn release(nats: &Nats, config: &str, form: &str, arguments: &[&str]) -> TestApp {
    let url = nats.url();
    let all = [&["--nats", &url, "--nats-schema", form], arguments].concat();
    TestApp::start_with(config, &all)
}

fn worker(nats: &Nats, config: &str, form: &str, name: &str) -> TestApp {
    release(
        nats,
        config,
        form,
        &["worker", "--name", name, "--lease", LEASE],
    )
}

/// The forms of pieces with outcomes that went through a server since this was asked last.
fn forms(pieces: &mpsc::Receiver<String>) -> Vec<u64> {
    let read = |piece: String| serde_json::from_str::<Value>(&piece).ok();
    let pieces = pieces.try_iter().filter_map(read);
    let with_outcomes = pieces.filter(|it| it["outcomes"].is_array() || it["plain"].is_object());
    let mut forms: Vec<_> = with_outcomes
        .filter_map(|it| it["version"].as_u64())
        .collect();
    forms.sort_unstable();
    forms.dedup();
    forms
}

#[test]
fn releases_with_other_forms_of_answers_replace_each_other_and_nobody_notices() {
    let devices = Devices::start();
    let config = devices.config(CLUSTERS);
    let nats = Nats::start();
    let pieces = nats.listen("fleetcall.answers.>");
    let old_front = release(&nats, &config, "1", &["serve"]);
    let mut old = ["a", "b"].map(|name| worker(&nats, &config, "1", name));
    until_well(&old_front);
    assert_eq!(forms(&pieces), [1]);
    let mut new = Vec::new();
    // Workers first, one after the other, while an old front asks.
    let seen = under_load(&old_front, || {
        for (old, name) in old.iter_mut().zip(["c", "d"]) {
            let next = worker(&nats, &config, "2", name);
            next.wait_for_log(says("cluster taken"));
            until_well(&old_front);
            old.signal("TERM");
            assert!(old.wait().success());
            until_well(&old_front);
            new.push(next);
        }
    });
    assert_eq!(seen.degraded, 0, "{seen:?}");
    assert_eq!(
        forms(&pieces),
        [1],
        "new workers answer old fronts as they read it"
    );
    let taken: usize = new
        .iter()
        .map(|it| clusters(it, "cluster taken").len())
        .sum();
    assert!(taken >= CLUSTERS);
    // And a new front, that then sees an old worker come back.
    let front = release(&nats, &config, "2", &["serve"]);
    until_well(&front);
    assert_eq!(forms(&pieces), [2]);
    let mut back = None;
    let seen = under_load(&front, || {
        let old = worker(&nats, &config, "1", "e");
        old.wait_for_log(says("cluster taken"));
        until_well(&front);
        back = Some(old);
    });
    assert_eq!(seen.degraded, 0, "{seen:?}");
    assert_eq!(
        forms(&pieces),
        [1, 2],
        "each worker in the form that it knows"
    );
    assert_eq!(front.get().body, old_front.get().body);
    assert_eq!(devices.overlaps(), Vec::<String>::new());
}
