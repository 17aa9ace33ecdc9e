//! Fronts and workers of one fleet.

use std::collections::HashSet;
use std::time::Instant;

use serde_json::Value;

use crate::harness::{Answer, PATIENCE, TestApp};
use crate::nats::Nats;

/// Short, so that tests are; long enough for a busy machine.
pub const LEASE: &str = "2s";

pub fn front(nats: &Nats, config: &str) -> TestApp {
    front_at(&nats.url(), config)
}

pub fn front_at(url: &str, config: &str) -> TestApp {
    TestApp::start_with(config, &["--nats", url, "serve"])
}

pub fn worker(nats: &Nats, config: &str, name: &str) -> TestApp {
    worker_at(&nats.url(), config, name, LEASE)
}

pub fn worker_at(url: &str, config: &str, name: &str, lease: &str) -> TestApp {
    let arguments = ["--nats", url, "worker", "--name", name, "--lease", lease];
    TestApp::start_with(config, &arguments)
}

/// Asks for a roll call until an answer fits.
pub fn until(app: &TestApp, what: &str, fits: impl Fn(&Answer) -> bool) -> Answer {
    until_answer(app, "/test", what, fits)
}

/// Asks until an answer fits.
pub fn until_answer(
    app: &TestApp,
    path: &str,
    what: &str,
    fits: impl Fn(&Answer) -> bool,
) -> Answer {
    let start = Instant::now();
    loop {
        let answer = app.request("GET", path, &[]);
        if fits(&answer) {
            return answer;
        }
        assert!(start.elapsed() < PATIENCE, "{what}: {answer:?}");
    }
}

/// Asks until every device answers.
pub fn until_well(app: &TestApp) -> Answer {
    until(app, "not all devices answer", |it| it.status == 200)
}

/// The ids of the clusters that an app's log says were taken or given up, by message.
pub fn clusters(app: &TestApp, message: &str) -> Vec<String> {
    let lines = app.log();
    let said = lines.iter().filter(|line| line["message"] == message);
    said.map(|line| line["cluster"].to_string().replace('"', ""))
        .collect()
}

/// The clusters that a worker has, by its log.
pub fn held(worker: &TestApp) -> Vec<Value> {
    let mut held = Vec::new();
    for line in worker.log() {
        match line["message"].as_str() {
            Some("cluster taken") => held.push(line["cluster"].clone()),
            Some("cluster handed over" | "cluster lost") => {
                held.retain(|it| *it != line["cluster"]);
            }
            _ => {}
        }
    }
    held
}

/// Asks until two workers have as many clusters as they are to have, and every device answers.
///
/// The first one may have had them all before the second one was there.
pub fn until_shared(front: &TestApp, workers: [&TestApp; 2], shares: [usize; 2]) {
    until(front, "clusters are not shared so", |it| {
        it.status == 200 && workers.map(|it| held(it).len()) == shares
    });
}

/// Whether a line says this.
pub fn says(message: &str) -> impl Fn(&Value) -> bool {
    move |line| line["message"] == message
}

/// What a process says of the others that is no good news is said once for each state; of what it
/// said since its log had so many lines, of which this is the number.
pub fn says_nothing_twice_since(lines: usize, app: &TestApp) -> usize {
    let mut said = HashSet::new();
    for mut line in app.log().into_iter().skip(lines) {
        let target = line["target"].as_str().unwrap_or_default();
        let is_bad = line["level"] == "warn" || line["level"] == "error";
        if is_bad && target.starts_with("fleetcall::nats") {
            line.as_object_mut().unwrap().remove("time");
            assert!(said.insert(line.to_string()), "it is said twice: {line}");
        }
    }
    said.len()
}

/// As [`says_nothing_twice_since`], from its start on.
pub fn says_nothing_twice(app: &TestApp) {
    says_nothing_twice_since(0, app);
}
