//! The five lines of the README that ask a real machine, and those before them, run as they stand.

use std::path::Path;

use super::V2C;
use super::clients::{Agent, node_exporter, printed};
use super::example::{Example, lie_between};
use crate::prometheus::NodeExporter;
use crate::snmp::agents::Snmpd;

/// The block of this language that follows these words.
fn block(after: &str, language: &str) -> String {
    let text = std::fs::read_to_string("README.md").unwrap();
    let (_, rest) = text.split_once(after).expect("the README says so");
    let (_, rest) = rest.split_once(&format!("```{language}\n")).unwrap();
    rest.split_once("```").unwrap().0.to_owned()
}

fn five_lines(after: &str) -> Example {
    let text = block(after, "toml");
    let settings = text.lines().filter(|line| !line.is_empty());
    assert!(settings.count() <= 5, "{text}");
    Example::of(text)
}

#[test]
fn five_lines_of_the_readme_ask_a_real_node_exporter() {
    let exporter = NodeExporter::start();
    let example = five_lines("five lines ask it:");
    let example = example.put(":9100/", &format!(":{}/", exporter.addr.port()));
    let before = node_exporter(exporter.addr, &[]);
    let mut answer = example.collect(1);
    let after = node_exporter(exporter.addr, &[]);
    lie_between(&answer.take("here/n", 1), &before, &after);
}

#[test]
fn five_lines_of_the_readme_ask_a_real_snmpd() {
    let snmpd = Snmpd::start();
    let prepare = block("five ask that", "sh");
    let example = five_lines("five ask that");
    let run = |folder: &Path| {
        let script = format!("cd '{}'\n{prepare}", folder.display());
        printed("sh", &["-euc", &script]);
    };
    let example = example.put(":161\"", &format!(":{}\"", snmpd.addr.port()));
    run(example.folder());
    let agent = Agent {
        addr: snmpd.addr,
        security: &V2C,
    };
    let before = agent.facts();
    let mut answer = example.collect(1);
    lie_between(&answer.take("here/s", 1), &before, &agent.facts());
}
