//! Whatever others send: nobody falls over it, and nobody fills up with it.

use crate::fleet::{front, until_well, worker};
use crate::harness::TestApp;
use crate::nats::Nats;

const FLEET: &str = "[lookup]\nlatency = \"1ms\"\n[[clusters]]\nid = 1\nnodes = \"1-3\"\n";

/// The memory that a process has in RAM, in MiB.
pub fn memory(app: &TestApp) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", app.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.unwrap().trim().trim_end_matches(" kB");
    kib.parse::<u64>().unwrap() / 1024
}

#[test]
fn what_others_send_harms_nobody() {
    let nats = Nats::start();
    let front = front(&nats, FLEET);
    let worker = worker(&nats, FLEET, "a");
    until_well(&front);
    let changes = nats.listen("fleetcall.v1.changes");
    let before = [&front, &worker].map(memory);
    // A plan that is right, as everybody may know it.
    let orders = nats.listen("fleetcall.v1.collect.1");
    front.get();
    let order = orders.recv().unwrap();
    let plan = serde_json::from_str::<serde_json::Value>(&order).unwrap()["plan"].clone();
    let header = format!(r#""version":1,"cluster":1,"plan":{plan},"deadline_us":1,"elapsed_us":1"#);
    let to_owner = [
        "x".to_owned(),
        format!("{{{header}}}"),
        format!("{{{header},\"look\":{{\"facts\":true}},\"places\":{{\"runs\":[[0,1000000]]}}}}"),
        format!("{{{header},\"look\":{{\"facts\":true}}}}"),
        format!("{{{header},\"places\":{{\"runs\":[[0,1000000]]}}}}"),
        format!(
            "{{{header},\"places\":{{\"bits\":\"{}\"}}}}",
            "f".repeat(1000)
        ),
        format!("{{{header},\"speaks\":4294967295,\"max_age_us\":18446744073709551615}}"),
    ];
    let said = |cluster: &str, change: &str| {
        format!(
            r#"{{"version":1,"cluster":{cluster},"fence":18446744073709551615,"plan":{plan},"changes":[{change}]}}"#
        )
    };
    let many = (0..10_000)
        .map(|it| format!("\"{it}\""))
        .collect::<Vec<_>>()
        .join(",");
    let to_all = [
        "{}".to_owned(),
        said("1", r#"{"o":{"d":4294967295}}"#),
        said(
            "1",
            &format!(r#"{{"o":{{"d":1,"f":{{"a":1}},"a":18446744073709551615}},"n":[{many}]}}"#),
        ),
        said("1", r#"{"o":{"d":2,"k":"melted","m":"\u0000"}}"#),
    ];
    for round in 0..2_000 {
        let order = &to_owner[round % to_owner.len()];
        nats.send(
            "fleetcall.v1.collect.1",
            Some("fleetcall.answers.front.nobody"),
            order,
        );
        nats.send("fleetcall.v1.changes", None, &to_all[round % to_all.len()]);
        nats.send(
            "fleetcall.v1.changes",
            None,
            &said(&format!("\"c{round}\""), ""),
        );
        nats.send("fleetcall.v1.workers", None, "?");
    }
    assert_eq!(changes.iter().take(4_000).count(), 4_000, "all were sent");
    // Both go on as before, also with what was said of them.
    until_well(&front);
    for path in [
        "/v1/clusters/1",
        "/v1/supervision",
        "/v1/changes",
        "/metrics",
        "/v1/workers",
    ] {
        for app in [&front, &worker] {
            let answer = app.request("GET", path, &[]);
            assert_eq!(answer.status, 200, "{path}: {answer:?}");
        }
    }
    let known = front.request("GET", "/v1/changes", &[]).body.len();
    assert!(known < 64 * 1024, "{known}");
    for (app, before) in [&front, &worker].into_iter().zip(before) {
        let after = memory(app);
        assert!(after < before + 64, "{before} to {after} MiB");
        let warned = app
            .log()
            .into_iter()
            .filter(|it| it["message"] == "a worker's changes are passed over");
        assert!(warned.count() < 10);
    }
}
