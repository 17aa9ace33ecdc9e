//! `/healthz` and `/readyz`: what they say, and that they say it while everything hangs.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fleetcall::app::{App, Options};
use fleetcall::config::Config;
use fleetcall::engine::watchdog::WatchdogSettings;
use fleetcall::supervision::failpoints::{FailAction, Failpoint, Failpoints};
use serde_json::{Value, json};

use crate::harness::{TestApp, config_file, send};
use crate::scrape::{Samples, answer_until, eventually};

const FLEET: &str = r#"
    [lookup]
    latency = "1ms"
    [supervision]
    intensity = 1000
    backoff = { min = "1ms", max = "2ms" }
    [[clusters]]
    id = 1
    nodes = "1-2"
    [[clusters]]
    id = 2
    nodes = "1-2"
"#;

/// As `main` does it, in this process, so that a failpoint can reach its threads; looked after so
/// closely that a test need not wait.
async fn start(failpoints: &Arc<Failpoints>) -> App {
    let config = Config::parse(Path::new("test"), FLEET).unwrap();
    let options = Options {
        port: 0,
        failpoints: Some(Arc::clone(failpoints)),
        watchdog: WatchdogSettings {
            every: Duration::from_millis(50),
            deadline: Duration::from_millis(500),
        },
        ..Options::default()
    };
    App::start(config, options).await.unwrap()
}

/// Runs a test's requests beside the thread that the service's main part runs on.
async fn beside(work: impl FnOnce() + Send + 'static) {
    actix_web::rt::task::spawn_blocking(work).await.unwrap();
}

fn threads(addr: SocketAddr) -> Vec<(f64, f64)> {
    let samples = Samples::parse(&send(addr, "GET", "/metrics", &[]).body);
    let count = samples.count("fleetcall_thread_up");
    let of = |name: &str, thread| samples.of(&format!("{name}{{thread=\"{thread}\"}}"));
    (0..count)
        .map(|thread| {
            let took = of("fleetcall_thread_roll_call_seconds", thread);
            (of("fleetcall_thread_up", thread), took)
        })
        .collect()
}

#[actix_web::test]
async fn a_thread_that_is_stuck_fails_healthz_by_its_number_until_it_goes_on() {
    let failpoints = Arc::new(Failpoints::default());
    let app = start(&failpoints).await;
    let addr = app.addr();
    let metrics = app.engine().metrics();
    beside(move || {
        answer_until(addr, "/healthz", 200);
        let stuck = failpoints.block(Failpoint::Handler, "cluster=1");
        let ask = move || send(addr, "GET", "/v1/report?deadline=1s", &[]).json();
        let asked = std::thread::spawn(ask);
        // The largest cluster is placed first, and on the first thread.
        let answer = eventually("the first thread alone is stuck", || {
            let answer = send(addr, "GET", "/healthz", &[]);
            let json = answer.json();
            let threads = json["threads"].as_array().unwrap().iter().enumerate();
            let is_it = threads
                .clone()
                .all(|(thread, it)| it["ok"] == (thread != 0));
            is_it.then_some(answer)
        });
        assert_eq!(answer.status, 503);
        let json = answer.json();
        assert_eq!(json["status"], "failing");
        let reasons = json["reasons"].as_array().unwrap();
        let reason = &reasons[0];
        let found = (reasons.len(), &reason["reason"], &reason["thread"]);
        assert_eq!(found, (1, &json!("thread_stuck"), &json!(0)));
        let message = reason["message"].as_str().unwrap();
        let expected = "thread 0: a roll call on it has had no answer for ";
        assert!(message.starts_with(expected), "{message}");
        let ready = send(addr, "GET", "/readyz", &[]);
        assert_eq!(
            (ready.status, &ready.json()["status"]),
            (503, &json!("not_ready"))
        );
        let (up, took) = threads(addr)[0];
        assert!(up == 0.0 && took > 0.5, "{up} {took}");
        let waits = std::thread::spawn(ask);
        eventually("its cluster's part of another collect waits", || {
            (metrics.mailboxes() > 0).then_some(())
        });
        for late in [asked, waits] {
            let answer = late.join().unwrap();
            let nodes = answer["clusters"][0]["nodes"].as_array().unwrap();
            let is_late = |node: &Value| node["outcome"] == "timed_out";
            assert!(nodes.iter().all(is_late), "{answer}");
        }
        drop(stuck);
        answer_until(addr, "/healthz", 200);
        answer_until(addr, "/readyz", 200);
        eventually("nothing waits", || (metrics.mailboxes() == 0).then_some(()));
    })
    .await;
}

#[actix_web::test]
async fn a_main_thread_that_is_stuck_fails_healthz_too() {
    let failpoints = Arc::new(Failpoints::default());
    let app = start(&failpoints).await;
    let addr = app.addr();
    beside(move || {
        answer_until(addr, "/healthz", 200);
        // The supervisor runs there, and hears of this crash.
        let stuck = failpoints.block(Failpoint::Handler, "supervisor");
        failpoints.arm(Failpoint::Handler, FailAction::Panic, "cluster=1 node=1", 1);
        assert_eq!(send(addr, "GET", "/test", &[]).status, 202);
        // A roll call that was under way then is one that has no answer.
        let why = ["the main thread is stuck", "has had no answer for"];
        let answer = eventually("it says so of each thread", || {
            let answer = send(addr, "GET", "/healthz", &[]);
            let json = answer.json();
            let reasons = json["reasons"].as_array().cloned().unwrap_or_default();
            let says = |reason: &Value| {
                let message = reason["message"].as_str().unwrap();
                why.iter().any(|why| message.contains(why))
            };
            let is_each = reasons.len() == json["threads"].as_array().unwrap().len();
            (is_each && reasons.iter().all(says)).then_some(answer)
        });
        assert_eq!(answer.status, 503);
        drop(stuck);
        answer_until(addr, "/healthz", 200);
    })
    .await;
}

#[actix_web::test]
async fn the_successor_of_a_thread_that_ended_is_looked_after() {
    let failpoints = Arc::new(Failpoints::default());
    let app = start(&failpoints).await;
    let addr = app.addr();
    let metrics = app.engine().metrics();
    beside(move || {
        failpoints.arm(Failpoint::Handler, FailAction::EndThread, "cluster=1", 1);
        send(addr, "GET", "/test", &[]);
        eventually("the cluster runs elsewhere", || {
            (metrics.restarts() > 0).then_some(())
        });
        // New answers keep coming, and all of them are good.
        let mut before = threads(addr);
        for _ in 0..3 {
            before = eventually("each thread has answered again", || {
                let now = threads(addr);
                let is_new = now
                    .iter()
                    .zip(&before)
                    .all(|(now, before)| now.0 == 1.0 && now.1.to_bits() != before.1.to_bits());
                is_new.then_some(now)
            });
        }
        answer_until(addr, "/healthz", 200);
    })
    .await;
}

#[actix_web::test]
async fn the_watchdog_is_in_no_answer_and_counts_for_nothing() {
    let failpoints = Arc::new(Failpoints::default());
    let app = start(&failpoints).await;
    let addr = app.addr();
    let metrics = app.engine().metrics();
    beside(move || {
        let before = threads(addr);
        eventually("it has gone round", || {
            let now = threads(addr);
            let is_new =
                |(now, before): (&(f64, f64), &(f64, f64))| now.1.to_bits() != before.1.to_bits();
            now.iter().zip(&before).all(is_new).then_some(())
        });
        assert_eq!(metrics.lookups(), 0);
        assert_eq!(metrics.collects(), 0);
        assert_eq!(
            metrics.census().shells,
            7,
            "a supervisor, two clusters, four nodes"
        );
        let answer = send(addr, "GET", "/test", &[]);
        assert_eq!(
            crate::harness::devices(&answer.json()),
            ["1/n1", "1/n2", "2/n1", "2/n2"]
        );
        let tree = send(addr, "GET", "/v1/supervision", &[]).json();
        assert_eq!(tree["clusters"].as_array().unwrap().len(), 2);
    })
    .await;
}

#[test]
fn all_answer_while_every_device_hangs() {
    let app = TestApp::start(
        r#"
        [lookup]
        script = ["hang"]
        timeout = "1h"
        [collect]
        deadline = "1h"
        [[clusters]]
        id = 1
        nodes = "1-100"
        "#,
    );
    let _asked = app.begin();
    let in_flight = || {
        let samples = crate::scrape::scrape(&app);
        (samples.of("fleetcall_lookups_in_flight") == 100.0).then_some(())
    };
    eventually("all hang", in_flight);
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(app.request("GET", path, &[]).status, 200, "{path}");
    }
}

#[test]
fn readyz_says_that_no_more_collects_are_taken() {
    let app = TestApp::start(
        r#"
        [lookup]
        script = ["hang"]
        timeout = "1h"
        [collect]
        deadline = "1h"
        max_waiting = 1
        [[clusters]]
        id = 1
        nodes = "1"
        "#,
    );
    let ready = app.request("GET", "/readyz", &[]);
    assert_eq!(ready.body, r#"{"status":"ready","reasons":[]}"#);
    assert_eq!(ready.header("cache-control"), Some("no-store"));
    let asked = app.begin();
    let answer = answer_until(app.addr, "/readyz", 503);
    let reasons = answer.json()["reasons"].clone();
    assert_eq!(
        reasons,
        json!([{
            "reason": "overloaded",
            "message": "1 collect is waiting already; try again later",
        }])
    );
    assert_eq!(
        app.request("GET", "/healthz", &[]).status,
        200,
        "it is healthy"
    );
    drop(asked);
    answer_until(app.addr, "/readyz", 200);
}

#[test]
fn readyz_says_which_list_was_never_read_until_it_is() {
    let (dir, path) = config_file(
        r#"
        [[clusters]]
        id = 1
        nodes = { file = "nodes.json", every = "100ms" }
        "#,
    );
    let list = dir.path().join("nodes.json");
    std::fs::write(&list, "no list").unwrap();
    let app = TestApp::start_on(dir, path, &[]);
    let answer = app.request("GET", "/readyz", &[]);
    let json = answer.json();
    assert_eq!(
        (answer.status, &json["reasons"][0]["reason"]),
        (503, &json!("list_not_read"))
    );
    let message = json["reasons"][0]["message"].as_str().unwrap();
    assert!(
        message.starts_with("clusters[0].nodes: the list of devices "),
        "{message}"
    );
    assert_eq!(
        app.request("GET", "/healthz", &[]).status,
        200,
        "a restart would not help"
    );
    std::fs::write(&list, r#"[{"targets": ["a"]}]"#).unwrap();
    answer_until(app.addr, "/readyz", 200);
    // One that was read once is good enough.
    std::fs::write(&list, "no list").unwrap();
    app.wait_for_logs(2, |line| {
        line["message"]
            .as_str()
            .is_some_and(|it| it.starts_with("cannot read a list"))
    });
    assert_eq!(app.request("GET", "/readyz", &[]).status, 200);
}

#[actix_web::test]
async fn readyz_says_that_the_service_is_going_away() {
    let app = start(&Arc::default()).await;
    let addr = app.addr();
    let collector = app.engine().collector();
    beside(move || {
        answer_until(addr, "/readyz", 200);
        collector.close();
        let answer = send(addr, "GET", "/readyz", &[]);
        let reason = answer.json()["reasons"][0]["reason"].clone();
        assert_eq!((answer.status, reason), (503, json!("shutting_down")));
        answer_until(addr, "/healthz", 200);
    })
    .await;
}

#[test]
fn head_is_answered_without_a_body_and_other_methods_are_refused() {
    let app = TestApp::start(FLEET);
    for path in ["/healthz", "/readyz"] {
        let head = app.request("HEAD", path, &[]);
        let found = (head.status, head.header("content-type"), head.body.as_str());
        assert_eq!(found, (200, Some("application/json"), ""), "{path}");
        let post = app.request("POST", path, &[]);
        let found = (post.status, post.header("allow"));
        assert_eq!(found, (405, Some("GET, HEAD")), "{path}");
    }
}
