//! The schema of facts: one name for one thing, whichever driver learned it, with its unit.
//!
//! What a driver cannot know is absent, never zero. `docs/facts.md` says where each comes from.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;
use xxhash_rust::xxh3::xxh3_64;

use crate::domain::Facts;

/// What can be known of a device.
#[derive(Debug, Default, Serialize)]
pub(super) struct FactSheet {
    /// Its own name for itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) hostname: Option<String>,
    /// What it says of its own hardware and software, in a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) description: Option<String>,
    /// Where somebody has written that it stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) location: Option<String>,
    /// The release of its kernel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) kernel_release: Option<String>,
    /// How long it has been running.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) uptime_seconds: Option<f64>,
    /// Processes that run or want to, on average over a minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) load_1m: Option<f64>,
    /// As `load_1m`, over five minutes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) load_5m: Option<f64>,
    /// As `load_1m`, over a quarter of an hour.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) load_15m: Option<f64>,
    /// Its memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) memory_total_bytes: Option<u64>,
    /// What of it new programs could have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) memory_available_bytes: Option<u64>,
    /// The size of the file system at `/`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) root_filesystem_size_bytes: Option<u64>,
    /// What of it users could have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) root_filesystem_available_bytes: Option<u64>,
    /// Network interfaces that are up, but for the loopback, sorted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) network_up: Option<Vec<String>>,
    /// Network interfaces that are down, sorted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) network_down: Option<Vec<String>>,
    /// Its network interfaces, in its own order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ports: Option<Vec<Port>>,
    /// What is at the other ends of its cables, in its own order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) neighbours: Option<Vec<Neighbour>>,
    /// How long connecting took, without TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) connect_seconds: Option<f64>,
    /// The subject of its certificate, in the certificate's order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tls_subject: Option<String>,
    /// Days until its certificate expires, negative if it has; whole ones, rounded down.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tls_days_left: Option<i64>,
    /// The status code of its answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) http_status: Option<u16>,
    /// What a Nagios plugin says of it: `ok` or `warning`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) check_status: Option<&'static str>,
    /// The first line of a Nagios plugin, without performance data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) check_output: Option<String>,
    /// Metrics that the configuration names: `name{label="value"}` as Prometheus writes it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) metrics: BTreeMap<String, serde_json::Value>,
    /// What the configuration or a command names.
    #[serde(skip_serializing_if = "serde_json::Map::is_empty")]
    pub(super) values: serde_json::Map<String, serde_json::Value>,
    /// `on`, `off`, `powering_on`, `powering_off` or `paused`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) power_state: Option<&'static str>,
    /// The worst of what it says of itself and its parts together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) health: Option<HealthFact>,
    /// Its model, as its maker names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) model: Option<String>,
    /// Its serial number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) serial: Option<String>,
    /// Its maker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) manufacturer: Option<String>,
    /// The version of what runs on its management controller, or on itself if it is a switch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) firmware_version: Option<String>,
    /// The version of its BIOS or UEFI.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) bios_version: Option<String>,
    /// Its processors: sockets, not cores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) processors: Option<u64>,
    /// Its thermometers that have a reading, in their own order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) temperatures: Option<Vec<Temperature>>,
    /// Its parts that say that they are not well; empty if all are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) not_ok: Option<Vec<NotOk>>,
}

/// How well something is; the greater the worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum HealthFact {
    Ok,
    Warning,
    Critical,
}

/// A thermometer.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Temperature {
    pub(super) name: String,
    pub(super) celsius: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) health: Option<HealthFact>,
}

/// A part that is not well.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct NotOk {
    pub(super) name: String,
    pub(super) what: &'static str,
    pub(super) health: HealthFact,
}

/// A number of bytes, as far as it is one.
pub(super) fn whole(value: f64) -> Option<u64> {
    // Up to where an f64 still holds every whole number.
    let is_whole = (0.0..=9_007_199_254_740_992.0).contains(&value) && value.fract() == 0.0;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "whole, not negative and below 2^53"
    )]
    is_whole.then_some(value as u64)
}

/// A network interface of a device.
#[derive(Debug, Default, PartialEq, Serialize)]
pub(super) struct Port {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    /// Whether it passes packets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) up: Option<bool>,
    /// Whether it is meant to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) admin_up: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) speed_bits_per_second: Option<u64>,
    /// Packets that came damaged, since the device counts; so are the other three.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) in_errors: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) out_errors: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) in_discards: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) out_discards: Option<u64>,
}

/// Another device, at the other end of a cable.
#[derive(Debug, Default, PartialEq, Serialize)]
pub(super) struct Neighbour {
    /// The port of the device that was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) local_port: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) system_name: Option<String>,
    /// The port of the other one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) port: Option<String>,
}

impl From<FactSheet> for Facts {
    fn from(mut sheet: FactSheet) -> Self {
        let known = serde_json::value::to_raw_value(&sheet).ok();
        sheet.forget_what_moves();
        let steady = serde_json::to_vec(&sheet).unwrap_or_default();
        Self::new(&known, xxh3_64(&steady))
    }
}

/// The names of the facts that are others than before, but for what changes by itself.
pub(crate) fn changed_facts(before: &Facts, after: &Facts) -> Vec<String> {
    let (mut before, mut after) = (before.to_map(), after.to_map());
    for facts in [&mut before, &mut after] {
        facts.retain(|name, _| !MOVING.contains(&name.as_str()));
        for (list, moving) in MOVING_IN {
            let entries = facts.get_mut(list).and_then(Value::as_array_mut);
            for entry in entries
                .into_iter()
                .flatten()
                .filter_map(Value::as_object_mut)
            {
                entry.retain(|name, _| !moving.contains(&name.as_str()));
            }
        }
    }
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let differs = |name: &&String| before.get(*name) != after.get(*name);
    names.into_iter().filter(differs).cloned().collect()
}

/// Facts that change by themselves from one lookup to the next.
const MOVING: [&str; 9] = [
    "uptime_seconds",
    "load_1m",
    "load_5m",
    "load_15m",
    "memory_available_bytes",
    "root_filesystem_available_bytes",
    "connect_seconds",
    "tls_days_left",
    "metrics",
];

/// The same in the entries of lists.
const MOVING_IN: [(&str, &[&str]); 2] = [
    (
        "ports",
        &["in_errors", "out_errors", "in_discards", "out_discards"],
    ),
    ("temperatures", &["celsius"]),
];

impl FactSheet {
    /// Forgets what changes by itself from one lookup to the next.
    fn forget_what_moves(&mut self) {
        self.uptime_seconds = None;
        (self.load_1m, self.load_5m, self.load_15m) = (None, None, None);
        self.memory_available_bytes = None;
        self.root_filesystem_available_bytes = None;
        self.connect_seconds = None;
        self.tls_days_left = None;
        self.metrics = BTreeMap::new();
        for port in self.ports.iter_mut().flatten() {
            (port.in_errors, port.out_errors) = (None, None);
            (port.in_discards, port.out_discards) = (None, None);
        }
        for temperature in self.temperatures.iter_mut().flatten() {
            temperature.celsius = 0.0;
        }
    }
}

#[cfg(test)]
mod tests {
    /// The names of the fields of a struct of this file, as JSON has them.
    fn fields(of: &str) -> Vec<String> {
        let source = include_str!("facts.rs");
        let (_, rest) = source.split_once(&format!("struct {of} {{")).unwrap();
        let (body, _) = rest.split_once("\n}").unwrap();
        let fields = body
            .lines()
            .filter_map(|line| line.trim().strip_prefix("pub(super) "));
        let names = fields.filter_map(|field| Some(field.split_once(':')?.0.to_owned()));
        names.collect()
    }

    #[test]
    fn every_fact_is_documented_and_no_other() {
        let page = include_str!("../../docs/facts.md");
        let (_, nodes) = page.split_once("## Of a node").unwrap();
        let (nodes, switches) = nodes.split_once("## Of a switch").unwrap();
        let facts = fields("FactSheet");
        assert!(facts.len() > 30, "{facts:?}");
        for fact in &facts {
            assert!(
                nodes.contains(&format!("`{fact}`")),
                "{fact} is not of nodes"
            );
        }
        for port in fields("Port") {
            assert!(
                switches.contains(&format!(".{port}`")),
                "{port} is not of ports"
            );
        }
        for table in [nodes, switches] {
            for row in table.lines().filter(|line| line.starts_with("| `")) {
                let names = row.split('|').nth(1).unwrap();
                for name in names.split(',') {
                    let name = name.trim().trim_matches('`');
                    let is_port = name.starts_with('.') || name.starts_with("ports[]");
                    assert!(
                        is_port || facts.iter().any(|it| it == name),
                        "{name} is no fact"
                    );
                }
            }
        }
    }
}
