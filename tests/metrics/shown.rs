//! What the dashboard, the rules and the documentation name is what `/metrics` shows.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::nats::Nats;
use crate::prometheus::{config, fleetcall, fleetcall_with};
use crate::scrape::{Samples, scrape_until, text};

/// The expressions of the dashboard's panels.
pub fn expressions() -> Vec<String> {
    let text = std::fs::read_to_string(config("grafana/fleetcall.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels
        .iter()
        .filter_map(|panel| panel["targets"].as_array())
        .flatten();
    let expressions: Vec<_> = targets
        .map(|target| target["expr"].as_str().unwrap().to_owned())
        .collect();
    assert!(expressions.len() > 20, "{expressions:?}");
    expressions
}

/// What in a text is the name of a metric of ours, or of the process.
fn names(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let is_ours = |word: &&str| word.starts_with("fleetcall_") || word.starts_with("process_");
    words.filter(is_ours).collect()
}

#[test]
fn every_metric_that_the_dashboard_and_the_rules_name_exists() {
    let app = fleetcall();
    let samples = Samples::parse(&text(&app));
    let rules = std::fs::read_to_string(config("prometheus/fleetcall.rules.yml")).unwrap();
    let tests = std::fs::read_to_string(config("prometheus/fleetcall.test.yml")).unwrap();
    let dashboard = std::fs::read_to_string(config("grafana/fleetcall.json")).unwrap();
    for (file, text) in [("rules", rules), ("tests", tests), ("dashboard", dashboard)] {
        let names = names(&text);
        assert!(names.len() > 10, "{file}: {names:?}");
        for name in names {
            assert!(samples.has(name), "{file}: there is no {name}");
        }
    }
}

#[test]
fn the_documentation_names_every_metric_with_its_type_and_labels_and_no_other() {
    // One that shares its fleet shows all that one alone does, and more.
    let nats = Nats::start();
    let arguments = ["--nats", &nats.url(), "worker", "--name", "a"];
    let app = fleetcall_with(&arguments);
    scrape_until(&app, "it has the cluster", |it| {
        it.has("fleetcall_lease_fence")
    });
    assert_eq!(app.get().status, 202);
    let text = text(&app);
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let mut exposed: BTreeMap<String, (String, BTreeSet<String>)> = types
        .map(|line| {
            let (name, kind) = line.split_once(' ').unwrap();
            (name.to_owned(), (kind.to_owned(), BTreeSet::new()))
        })
        .collect();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, rest) = line.split_at(line.find(['{', ' ']).unwrap());
        let is_bucket = name.strip_suffix("_bucket");
        let name = is_bucket.unwrap_or(name);
        let part = ["_sum", "_count"]
            .iter()
            .find_map(|end| name.strip_suffix(end));
        let name = part
            .filter(|name| exposed.contains_key(*name))
            .unwrap_or(name);
        let labels = rest.split(['{', ',']).skip(1);
        let labels =
            labels.filter_map(|label| label.split_once('=').map(|(name, _)| name.to_owned()));
        let labels = labels.filter(|label| label != "le");
        exposed.get_mut(name).expect(name).1.extend(labels);
    }
    let docs = std::fs::read_to_string(config("../docs/metrics.md")).unwrap();
    let rows = docs.lines().filter_map(|line| line.strip_prefix("| `"));
    let documented: BTreeMap<String, (String, BTreeSet<String>)> = rows
        .filter(|row| row.starts_with("fleetcall_") || row.starts_with("process_"))
        .map(|row| {
            let mut cells = row.split('|').map(str::trim);
            let name = cells.next().unwrap().trim_end_matches('`').to_owned();
            let kind = cells.next().unwrap().to_owned();
            let labels = cells.next().unwrap().split(['`', ',', ' ']);
            let labels = labels.filter(|label| !label.is_empty());
            (name, (kind, labels.map(str::to_owned).collect()))
        })
        .collect();
    assert_eq!(documented, exposed);
}
