//! What real lookups cost: how many a second, and how much processor time each, beside the field's
//! own client doing the same against the same server in the same run; and what a device takes of
//! memory, asked and unasked.
//!
//! It starts Debian's `prometheus-node-exporter`, `snmpd` and `prometheus`, PyPI's
//! `sushy-emulator` and an agent of its own on free ports. Run it with
//! `cargo bench --bench lookups`; parts may be named: `cargo bench --bench lookups -- switches`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::disallowed_types,
    reason = "a program for people: it prints, measures real time, and fails by panicking"
)]

#[path = "../../tests/drivers/snmp/agents.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    reason = "the tests use the rest, from outside"
)]
mod agents;
mod measure;
mod rest;
mod schedule;
mod servers;
mod switches;

use std::path::{Path, PathBuf};

use crate::measure::{ROUNDS, compare};
use crate::servers::Server;

const SCRAPES: usize = 2_000;
const WALKS: usize = 500;
const CONTROLLERS: usize = 200;
const COMMANDS: usize = 2_000;
const AT_ONCE: usize = 32;

/// Measures something, with a folder for its files, and prints it.
type Part = fn(&Path);

fn main() {
    // Cargo passes `--bench`, and whoever runs this may pass names.
    let named: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let dir = tempfile::tempdir().unwrap();
    let parts: [(&str, Part); 7] = [
        ("scrapes", scrapes),
        ("walks", walks),
        ("redfish", redfish),
        ("commands", commands),
        ("prometheus", schedule::beside_prometheus),
        ("switches", switches::ten_thousand),
        ("rest", rest::at_rest),
    ];
    for (name, part) in parts {
        if named.is_empty() || named.iter().any(|it| it == name) {
            part(dir.path());
        }
    }
}

fn scrapes(dir: &Path) {
    let exporter = Server::node_exporter();
    let url = format!("http://{}/metrics", exporter.addr);
    let prometheus = format!("driver = \"prometheus\"\nurl = {url:?}\n");
    println!("{SCRAPES} scrapes of one node_exporter, {AT_ONCE} at a time: median of {ROUNDS}\n");
    compare(
        "curl",
        &format!("curl -sf -Z --parallel-max {AT_ONCE} -o /dev/null '{url}?[1-{SCRAPES}]'"),
        &collect(dir, &prometheus, SCRAPES),
        SCRAPES,
    );
}

fn walks(dir: &Path) {
    let agent = Server::snmpd(dir);
    let snmp = snmp(&agent.addr.to_string());
    println!("\n{WALKS} lookups of one snmpd, {AT_ONCE} at a time: median of {ROUNDS}\n");
    compare(
        "snmpbulkwalk",
        &bulk_walks(&agent.addr.to_string(), WALKS),
        &collect(dir, &snmp, WALKS),
        WALKS,
    );
}

/// The table of ports, `count` times, a process each.
fn bulk_walks(addr: &str, count: usize) -> String {
    format!(
        "seq {count} | xargs -P {AT_ONCE} -I @ snmpbulkwalk -v2c -c public -On {addr} 1.3.6.1.2.1.2.2 > /dev/null"
    )
}

fn snmp(addr: &str) -> String {
    format!(
        "driver = \"snmp\"\naddress = \"{addr}\"\ncommunity = \"public\"\nretransmit = \"30s\"\n"
    )
}

fn redfish(dir: &Path) {
    let emulator = Server::emulator(dir);
    let addr = emulator.addr;
    let redfish = format!("driver = \"redfish\"\nurl = \"http://{addr}\"\n");
    // What one lookup asks for, by the emulator's own log, is what curl asks for.
    measure::once(&collect(dir, &redfish, 1));
    let paths = servers::paths_asked(dir);
    println!(
        "\n{CONTROLLERS} lookups of one sushy-emulator, {} GETs each, {AT_ONCE} at a time: median of {ROUNDS}\n",
        paths.len()
    );
    let urls: String = paths
        .iter()
        .map(|path| format!(" -o /dev/null 'http://{addr}{path}?[1-{CONTROLLERS}]'"))
        .collect();
    compare(
        "curl",
        &format!("curl -sf -Z --parallel-max {AT_ONCE}{urls}"),
        &collect(dir, &redfish, CONTROLLERS),
        CONTROLLERS,
    );
}

fn commands(dir: &Path) {
    println!("\n{COMMANDS} times /bin/true by exec, {AT_ONCE} at a time: median of {ROUNDS}\n");
    compare(
        "xargs",
        &format!("seq {COMMANDS} | xargs -P {AT_ONCE} -n 1 /bin/true"),
        &collect(
            dir,
            "driver = \"exec\"\ncommand = [\"/bin/true\", \"{id}\"]\n",
            COMMANDS,
        ),
        COMMANDS,
    );
}

fn write_config(dir: &Path, lookup: &str, devices: usize) -> PathBuf {
    write_config_with(
        dir,
        lookup,
        devices,
        &format!("max_concurrent = {AT_ONCE}\n"),
    )
}

/// With these settings of `[collect]`.
fn write_config_with(dir: &Path, lookup: &str, devices: usize, collect: &str) -> PathBuf {
    let path = dir.join("clusters.toml");
    let text = format!(
        "allow_inline_secrets = true\n[lookup]\ntimeout = \"2m\"\n{lookup}\n\
         [collect]\ndeadline = \"4m\"\n{collect}\n\
         [[clusters]]\nid = 1\nswitches = \"1-{devices}\"\n"
    );
    std::fs::write(&path, text).unwrap();
    path
}

/// The shell's command for one roll call.
fn collect(dir: &Path, lookup: &str, devices: usize) -> String {
    let config = write_config(dir, lookup, devices);
    let program = env!("CARGO_BIN_EXE_fleetcall");
    format!(
        "{program} collect --config {} > /dev/null",
        config.display()
    )
}
