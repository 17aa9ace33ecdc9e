//! What a device takes while nobody asks it.

use std::path::Path;
use std::time::Duration;

use crate::measure::memory;
use crate::servers::Server;
use crate::{snmp, write_config};

const AT_REST: usize = 10_000;

pub(crate) fn at_rest(dir: &Path) {
    println!("\nMemory of a device while nobody asks it, over {AT_REST} of them\n");
    println!("| driver | in RAM |");
    println!("| --- | ---: |");
    let prometheus = "driver = \"prometheus\"\nurl = \"http://{id}.example:9100/metrics\"\n";
    let user =
        "driver = \"snmp\"\naddress = \"{id}.example:161\"\nversion = \"3\"\nusername = \"a\"\n";
    let web = "driver = \"redfish\"\nurl = \"https://{id}-bmc.example\"\n";
    let command = "driver = \"exec\"\ncommand = [\"/bin/true\", \"{id}\"]\n";
    for (name, lookup) in [
        ("simulated", ""),
        ("tcp", "driver = \"tcp\"\naddress = \"{id}.example:22\"\n"),
        ("prometheus", prometheus),
        ("redfish", web),
        ("snmp, 2c", &snmp("{id}.example:161")),
        ("snmp, 3", user),
        ("exec", command),
    ] {
        let (few, many) = (idle(dir, lookup, 1), idle(dir, lookup, AT_REST));
        println!(
            "| {name} | {:.0} B |",
            (many - few) as f64 * 1024.0 / (AT_REST - 1) as f64
        );
    }
}

/// The memory of an idle service in RAM, in KiB.
fn idle(dir: &Path, lookup: &str, devices: usize) -> usize {
    let server = Server::fleetcall(&write_config(dir, lookup, devices));
    // Its devices' actors are started by their own threads: wait until that is over.
    let mut most = 0;
    for _ in 0..100 {
        std::thread::park_timeout(Duration::from_millis(20));
        most = most.max(memory(server.pid(), "VmRSS:"));
    }
    most
}
