//! The topology travels by version: published once, taken by all, never mixed.

use std::collections::HashMap;
use std::process::Output;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

use serde_json::Value;

use crate::devices::Devices;
use crate::fleet::{LEASE, front, says, says_nothing_twice, until_well};
use crate::harness::{PATIENCE, TestApp, config_file, fleetcall, run, stderr, stdout, until};
use crate::nats::Nats;
use crate::scrape::scrape;
use crate::signed::entry;

const CLUSTERS: usize = 8;

fn publish(nats: &Nats, config: &str) -> Output {
    let (_dir, path) = config_file(config);
    let mut command = fleetcall();
    command.args(["publish", "--nats", &nats.url(), "--config"]);
    run(command.arg(path))
}

fn started(nats: &Nats, arguments: &[&str]) -> TestApp {
    let url = nats.url();
    let all: Vec<&str> = ["--published", "--nats", &url]
        .into_iter()
        .chain(arguments.iter().copied())
        .collect();
    TestApp::start_with("", &all)
}

fn worker(nats: &Nats, name: &str) -> TestApp {
    started(nats, &["worker", "--name", name, "--lease", LEASE])
}

/// How many nodes each cluster of a report has. With more of them there are more clusters, too.
fn nodes(report: &Value) -> usize {
    assert_eq!(report["summary"]["failed"], 0, "{report}");
    let clusters = report["clusters"].as_array().unwrap();
    let count = |it: &Value| it["nodes"].as_array().unwrap().len();
    let first = count(&clusters[0]);
    assert!(
        clusters.iter().all(|it| count(it) == first),
        "mixed: {report}"
    );
    let expected = if first == 4 { CLUSTERS } else { CLUSTERS + 3 };
    assert_eq!(clusters.len(), expected, "mixed: {report}");
    first
}

#[test]
fn a_configuration_that_is_published_is_taken_by_all_and_never_mixed() {
    let devices = Devices::start();
    let small = devices.config(CLUSTERS);
    let large = devices.config(CLUSTERS + 3).replace("\"1-4\"", "\"1-6\"");
    let nats = Nats::start();
    let published = publish(&nats, &small);
    assert_eq!(
        stdout(&published),
        "version 1: 8 clusters, 32 devices\n",
        "{published:?}"
    );
    let workers = ["a", "b"].map(|name| worker(&nats, name));
    let front = started(&nats, &["serve"]);
    until_well(&front);
    let over = AtomicBool::new(false);
    let (answered, answers) = mpsc::channel();
    let seen = std::thread::scope(|scope| {
        let over = &over;
        let front = &front;
        let asking = scope.spawn(move || {
            let mut seen: HashMap<(usize, String), usize> = HashMap::new();
            while !over.load(Ordering::Relaxed) {
                let report = front.request("GET", "/v1/report", &[]).json();
                let topology = report["topology"].as_str().unwrap().to_owned();
                *seen.entry((nodes(&report), topology)).or_default() += 1;
                answered.send(()).unwrap();
            }
            seen
        });
        for (version, config) in [(2, &large), (3, &small), (4, &large)] {
            let published = stdout(&publish(&nats, config));
            assert!(
                published.starts_with(&format!("version {version}:")),
                "{published}"
            );
            for app in workers.iter().chain([front]) {
                let is_it = |line: &Value| {
                    line["message"] == "reloaded"
                        && line["trigger"] == "publication"
                        && line["config"] == format!("fleetcall_config version {version}")
                };
                app.wait_for_log(is_it);
            }
            // Answers with it, and not only at its very edge.
            answers.try_iter().for_each(drop);
            for _ in 0..5 {
                answers.recv_timeout(PATIENCE).unwrap();
            }
        }
        over.store(true, Ordering::Relaxed);
        asking.join().unwrap()
    });
    let mut sizes: Vec<usize> = seen.keys().map(|(nodes, _)| *nodes).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [4, 6], "a version for each of them: {seen:?}");
    assert_eq!(devices.overlaps(), Vec::<String>::new());
    let known = front.request("GET", "/v1/workers", &[]).json();
    let large = seen.keys().find(|(nodes, _)| *nodes == 6).unwrap();
    assert_eq!(known["topology"], large.1);
    for worker in known["workers"].as_array().unwrap() {
        assert_eq!(worker["topology"], large.1, "{known}");
    }
}

#[test]
fn a_worker_answers_for_what_fronts_know_until_they_reload() {
    let fleet = "[lookup]\nlatency = \"1ms\"\n[[clusters]]\nid = 1\nnodes = \"1-3\"\n";
    let larger = format!("{fleet}[[clusters]]\nid = 2\nnodes = \"1-2\"\n");
    let nats = Nats::start();
    let front = front(&nats, &larger);
    let worker = crate::fleet::worker(&nats, &larger, "a");
    until_well(&front);
    let devices = |app: &TestApp| {
        let answer = app.get();
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.devices().len()
    };
    let reload = |app: &TestApp| {
        std::fs::write(&app.config, fleet.replace("1-3", "2-5")).unwrap();
        app.signal("HUP");
        app.wait_for_log(says("reloaded"));
    };
    reload(&worker);
    assert_eq!((devices(&worker), devices(&front)), (4, 5));
    reload(&front);
    assert_eq!((devices(&worker), devices(&front)), (4, 4));
}

#[test]
fn a_front_that_reloads_first_waits_for_its_workers() {
    let fleet = "[lookup]\nlatency = \"1ms\"\n[collect]\ndeadline = \"1m\"\n\
                 [[clusters]]\nid = 1\nnodes = \"1-3\"\n";
    let larger = format!("{fleet}[[clusters]]\nid = 2\nnodes = \"1-2\"\n").replace("1-3", "2-5");
    let nats = Nats::start();
    let front = front(&nats, fleet);
    let worker = crate::fleet::worker(&nats, fleet, "a");
    until_well(&front);
    let reload = |app: &TestApp| {
        std::fs::write(&app.config, &larger).unwrap();
        app.signal("HUP");
        app.wait_for_log(says("reloaded"));
    };
    let orders = || scrape(&front).of(r#"fleetcall_orders_sent_total{order="collect"}"#);
    reload(&front);
    let before = orders();
    let answer = std::thread::scope(|scope| {
        let asked = scope.spawn(|| front.get());
        // More often than it tries where no reload is to come: 20 times each.
        while orders() < before + 46.0 {
            assert!(!asked.is_finished(), "{:?}", asked.join());
        }
        reload(&worker);
        asked.join().unwrap()
    });
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.devices().len(), 6);
    // Whoever has no owner after that is unreachable, long before the deadline.
    std::fs::write(&front.config, larger.replace("id = 2", "id = 3")).unwrap();
    front.signal("HUP");
    front.wait_for_logs(2, says("reloaded"));
    let answer = front.get();
    assert_eq!(answer.status, 202);
    assert!(
        answer.body.contains("no worker has cluster 3"),
        "{answer:?}"
    );
}

#[test]
fn a_bad_configuration_is_not_published_and_not_taken() {
    let fleet = "[lookup]\nlatency = \"1ms\"\n[[clusters]]\nid = 1\nnodes = \"1-3\"\n";
    let nats = Nats::start();
    let url = nats.url();
    let without = run(fleetcall().args(["--published", "--nats", &url, "--port", "0"]));
    assert_eq!(without.status.code(), Some(78));
    let said = stderr(&without);
    assert!(said.contains("fleetcall publish"), "{said}");
    publish(&nats, fleet);
    let bad = publish(&nats, "[[clusters]]\nid = 1\nnodes = \"4-1\"\ncolour = 1\n");
    assert_eq!(bad.status.code(), Some(78));
    assert_eq!(stderr(&bad).lines().count(), 2, "all its faults: {bad:?}");
    let _worker = worker(&nats, "a");
    let front = started(&nats, &["serve"]);
    until_well(&front);
    // As a later release might, whose configuration has more keys.
    nats.put(
        "fleetcall_config",
        "clusters",
        "[[clusters]]\nid = 1\nlater = true\n",
    );
    front.wait_for_log(says("reload refused, the configuration stays as it was"));
    assert_eq!(until_well(&front).devices().len(), 3);
    let new = publish(&nats, &fleet.replace("1-3", "1-4"));
    assert!(new.status.success(), "{new:?}");
    front.wait_for_log(says("reloaded"));
    assert_eq!(until_well(&front).devices().len(), 4);
}

const SMALL: &str = "[lookup]\nlatency = \"1ms\"\n[[clusters]]\nid = 1\nnodes = \"1-3\"\n";
const BUCKET: &str = "fleetcall_config";

/// The versions that a process says it cannot use, or were deleted, and the one that it takes.
fn passed_over(app: &TestApp) -> Vec<(u64, u64)> {
    let said = app.log().into_iter().filter(|line| line["taken"].is_u64());
    said.map(|line| {
        (
            line["version"].as_u64().unwrap(),
            line["taken"].as_u64().unwrap(),
        )
    })
    .collect()
}

#[test]
fn a_process_starts_with_the_newest_configuration_that_it_can_use() {
    let nats = Nats::start();
    let put = |text: &str| nats.put(BUCKET, "clusters", text);
    assert!(publish(&nats, SMALL).status.success());
    put("[[clusters]]\nid = 1\nlater = true\n");
    put("rubbish");
    put("");
    // The file of a token that is not there.
    put(&format!(
        "{SMALL}[[http.tokens]]\nname = \"a\"\nrole = \"read\"\ntoken = {{ file = \"/nowhere\" }}\n"
    ));
    let worker = worker(&nats, "a");
    let front = started(&nats, &["serve"]);
    assert_eq!(until_well(&front).devices().len(), 3);
    for app in [&worker, &front] {
        assert_eq!(passed_over(app), [(5, 1), (4, 1), (3, 1), (2, 1)]);
        let of = |version: u64| {
            let line = app.wait_for_log(|it| it["version"] == version && it["taken"] == 1);
            line["faults"].as_str().unwrap().to_owned()
        };
        assert!(of(2).contains("later"), "{}", of(2));
        assert!(of(5).contains("/nowhere"), "{}", of(5));
        app.wait_for_log(|it| {
            it["message"] == "configured" && it["config"] == "fleetcall_config version 1"
        });
    }
    // What is published then is taken as ever.
    assert!(
        publish(&nats, &SMALL.replace("1-3", "1-4"))
            .status
            .success()
    );
    for app in [&worker, &front] {
        app.wait_for_log(says("reloaded"));
        says_nothing_twice(app);
    }
    assert_eq!(until_well(&front).devices().len(), 4);
    // One that is deleted leaves those before it.
    nats.remove(BUCKET, "clusters", "DEL");
    let late = started(&nats, &["serve"]);
    assert_eq!(until_well(&late).devices().len(), 4);
    assert_eq!(passed_over(&late), [(7, 6)]);
}

#[test]
fn a_process_does_not_start_without_a_configuration_that_it_can_use() {
    let nats = Nats::start();
    let url = nats.url();
    assert!(publish(&nats, SMALL).status.success());
    for version in 0..16 {
        nats.put(BUCKET, "clusters", &format!("later_{version} = 1\n"));
    }
    let none = run(fleetcall().args(["--published", "--nats", &url, "--port", "0"]));
    assert_eq!(none.status.code(), Some(78), "{none:?}");
    let said = stderr(&none);
    assert!(
        said.contains("later_15") && !said.contains("later_14"),
        "of the newest: {said}"
    );
}

#[test]
fn a_published_configuration_that_is_lost_is_published_again() {
    let nats = Nats::start();
    assert!(
        publish(&nats, &SMALL.replace("1-3", "1-2"))
            .status
            .success()
    );
    assert!(publish(&nats, SMALL).status.success());
    let worker = worker(&nats, "a");
    let front = started(&nats, &["serve"]);
    until_well(&front);
    let lose: [&dyn Fn(); 3] = [
        &|| nats.delete(BUCKET),
        &|| drop(nats.does("STREAM.PURGE.KV_fleetcall_config", &Value::Null)),
        &|| nats.remove(BUCKET, "clusters", "PURGE"),
    ];
    let mut version = 2;
    for lose in lose {
        lose();
        let is_newer = |it: &Value| {
            let message = "the configuration in force is published again";
            it["message"] == message && it["version"].as_u64().unwrap() > version
        };
        let all = || worker.log().into_iter().chain(front.log());
        let again = loop {
            assert_eq!(front.get().status, 200, "nobody notices");
            if let Some(line) = all().find(is_newer) {
                break line;
            }
        };
        version = again["version"].as_u64().unwrap();
        let late = started(&nats, &["serve"]);
        assert_eq!(until_well(&late).devices().len(), 3);
    }
    // And the next one is taken.
    assert!(
        publish(&nats, &SMALL.replace("1-3", "1-4"))
            .status
            .success()
    );
    for app in [&worker, &front] {
        let newest = format!("fleetcall_config version {}", version + 1);
        app.wait_for_log(|it| it["message"] == "reloaded" && it["config"] == *newest);
    }
    assert_eq!(until_well(&front).devices().len(), 4);
}

/// It may be in force at others, or be usable later.
#[test]
fn a_newer_configuration_that_cannot_be_used_is_published_again_too() {
    let nats = Nats::start();
    assert!(publish(&nats, SMALL).status.success());
    let front = started(&nats, &["serve"]);
    let later = "[[clusters]]\nid = 1\nlater = true\n";
    nats.put(BUCKET, "clusters", later);
    front.wait_for_log(says("reload refused, the configuration stays as it was"));
    nats.does("STREAM.PURGE.KV_fleetcall_config", &Value::Null);
    until("both are there", || {
        nats.info(BUCKET)["state"]["messages"] == 2
    });
    assert_eq!(entry(&nats, BUCKET), later);
    let late = started(&nats, &["serve"]);
    assert_eq!(passed_over(&late), [(4, 3)]);
}

#[test]
fn what_is_published_is_where_it_is_said_to_be() {
    let none = run(fleetcall().arg("publish"));
    assert_eq!(none.status.code(), Some(2));
    assert!(stderr(&none).contains("--nats URL"), "{none:?}");
    let none = run(fleetcall().args(["--published", "serve"]));
    assert_eq!(none.status.code(), Some(2));
    assert!(stderr(&none).contains("--nats URL"), "{none:?}");
}

/// Of a front, which has the topology and no actor of all those devices.
#[test]
fn lists_that_are_too_much_together_are_used_when_they_fit() {
    let nats = Nats::start();
    let (dir, path) = config_file(
        "[[clusters]]\nid = 1\nnodes = \"1-999999\"\n\
         switches = { file = \"a.json\", every = \"100ms\" }\n",
    );
    let list = dir.path().join("a.json");
    let put = |targets: &str| {
        let new = list.with_extension("new");
        std::fs::write(&new, format!("[{{\"targets\": [{targets}]}}]")).unwrap();
        std::fs::rename(&new, &list).unwrap();
    };
    put("\"a\", \"b\"");
    let front = TestApp::start_on(dir, path, &["--nats", &nats.url(), "serve"]);
    let unused = front.wait_for_log(says(
        "cannot read a list of devices, there is none from before",
    ));
    let error = unused["error"].as_str().unwrap();
    assert!(error.contains("1000001 devices"), "{error}");
    put("\"a\"");
    front.wait_for_log(says("a list of devices can be read"));
    let applied = front.wait_for_log(says("reloaded"));
    assert_eq!(
        (&applied["devices_kept"], &applied["devices_added"]),
        (&999_999.into(), &1.into()),
        "{applied}"
    );
}
