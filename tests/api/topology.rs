//! Any topology, any mixture of outcomes: every device exactly once, in configured order.

use std::fmt::Write as _;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::harness::TestApp;

#[derive(Debug, Clone)]
struct Cluster {
    nodes: Vec<Group>,
    switches: Vec<Group>,
}

/// Some ids written one way, and what becomes of all of them.
#[derive(Debug, Clone)]
struct Group {
    count: usize,
    form: u8,
    step: &'static str,
}

fn group() -> impl Strategy<Value = Group> {
    let step = prop::sample::select(vec!["ok", "ok", "ok", "fail", "hang", "panic"]);
    (1_usize..12, 0_u8..4, step).prop_map(|(count, form, step)| Group { count, form, step })
}

fn topology() -> impl Strategy<Value = Vec<Cluster>> {
    let groups = || prop::collection::vec(group(), 0..4);
    let cluster = (
        prop::collection::vec(group(), 1..4),
        groups(),
        any::<bool>(),
    )
        .prop_map(|(some, others, swap)| {
            let (nodes, switches) = if swap { (others, some) } else { (some, others) };
            Cluster { nodes, switches }
        });
    prop::collection::vec(cluster, 1..6)
}

/// The file, and what the answer has to hold.
fn write(clusters: &[Cluster]) -> (String, Vec<String>) {
    let mut text = "[lookup]\nlatency = \"5ms\"\njitter = \"5ms\"\n".to_owned();
    let mut expected = Vec::new();
    for (place, cluster) in clusters.iter().enumerate() {
        let id = if place % 2 == 0 {
            format!("{place}")
        } else {
            format!("c-{place}")
        };
        let written = if place % 2 == 0 {
            id.clone()
        } else {
            format!("{id:?}")
        };
        writeln!(text, "[[clusters]]\nid = {written}").unwrap();
        for (key, letter, groups) in [
            ("nodes", "n", &cluster.nodes),
            ("switches", "s", &cluster.switches),
        ] {
            for (number, Group { count, form, step }) in groups.iter().enumerate() {
                // Descending starts, so that configured order is not sorted order.
                let first = (groups.len() - number) * 1000;
                let last = first + count - 1;
                let ids: Vec<String> = (first..=last)
                    .map(|id| {
                        if *form == 3 {
                            format!("x{id:05}")
                        } else {
                            id.to_string()
                        }
                    })
                    .collect();
                let set = match form {
                    0 => format!("\"{first}-{last}\""),
                    1 => format!("[{}]", ids.join(", ")),
                    2 => format!("\"{}\"", ids.join(",")),
                    _ => format!("\"x[{first:05}-{last:05}]\""),
                };
                // Only those that hang are to time out.
                let timeout = if *step == "hang" { "50ms" } else { "1h" };
                let lookup = format!("{{ script = [{step:?}], timeout = {timeout:?} }}");
                writeln!(text, "[[clusters.{key}]]\nids = {set}\nlookup = {lookup}").unwrap();
                let kind = match *step {
                    "ok" => "",
                    "fail" => ":failed",
                    "hang" => ":timed_out",
                    _ => ":crashed",
                };
                expected.extend(
                    ids.iter()
                        .map(|device| format!("{id}/{letter}{device}{kind}")),
                );
            }
        }
    }
    (text, expected)
}

#[test]
fn every_device_stands_in_its_place_exactly_once() {
    let mut runner = TestRunner::new(Config {
        cases: 24,
        ..Config::default()
    });
    runner
        .run(&topology(), |clusters| {
            let (text, expected) = write(&clusters);
            let app = TestApp::start(&text);
            let answer = app.get();
            prop_assert_eq!(answer.devices(), expected.clone(), "{}", text);
            let count = expected.len().to_string();
            prop_assert_eq!(answer.header("x-resource-count"), Some(count.as_str()));
            let failed = expected.iter().any(|device| device.contains(':'));
            prop_assert_eq!(answer.status, if failed { 202 } else { 200 });
            Ok(())
        })
        .unwrap();
}
