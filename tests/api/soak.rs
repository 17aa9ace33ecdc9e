//! A thousand roll calls over devices that fail, hang and crash, and everybody is still there.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::harness::{TestApp, agent, request};

const COLLECTS: usize = 1_000;
const CLIENTS: usize = 16;

#[test]
fn after_a_thousand_collects_with_faults_every_device_still_answers() {
    let app = TestApp::start(
        r#"
        [lookup]
        latency = "0s"
        timeout = "20ms"
        seed = 2026
        faults = { fail = 0.01, hang = 0.002, panic = 0.005 }
        [supervision]
        intensity = 1000
        period = "1s"
        backoff = { min = "1ms", max = "5ms" }
        [[clusters]]
        id = 1
        nodes = "1-8"
        switches = "1-8"
        [[clusters]]
        id = 2
        nodes = "1-8"
        switches = "1-8"
        "#,
    );
    let (done, kinds) = (AtomicUsize::new(0), Mutex::new(BTreeSet::new()));
    let all: BTreeSet<String> = ["1/n", "1/s", "2/n", "2/s"]
        .iter()
        .flat_map(|prefix| (1..=8).map(move |id| format!("{prefix}{id}")))
        .collect();
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let agent = agent();
                while done.fetch_add(1, Ordering::Relaxed) < COLLECTS {
                    let answer = request(&agent, app.addr, "GET", "/test", &[]);
                    let devices = answer.devices();
                    assert_eq!(devices.len(), 32);
                    let failed: BTreeSet<String> = devices
                        .iter()
                        .filter_map(|device| device.split_once(':'))
                        .map(|(_, kind)| kind.to_owned())
                        .collect();
                    assert_eq!(answer.status, if failed.is_empty() { 200 } else { 202 });
                    kinds.lock().unwrap().extend(failed);
                }
            });
        }
    });
    let expected = ["crashed", "failed", "restarting", "timed_out"];
    assert!(
        kinds.into_inner().unwrap().iter().eq(expected.iter()),
        "all that can happen happened"
    );
    let mut answered = BTreeSet::new();
    for _ in 0..1000 {
        answered.extend(
            app.get()
                .devices()
                .into_iter()
                .filter(|device| !device.contains(':')),
        );
        if answered == all {
            return;
        }
    }
    panic!(
        "these do not answer any more: {:?}",
        all.difference(&answered)
    );
}
