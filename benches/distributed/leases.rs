//! What it costs to have clusters while nobody asks anything.

use std::time::{Duration, Instant};

use crate::nats::Nats;
use crate::party::{Fleet, Party, agent, cpu};

/// As installed, and what large fleets are told to say.
const LEASES: [&str; 2] = ["2s", "5s"];

pub fn measure(is_quick: bool) {
    println!("### Leases\n");
    println!(
        "One worker has all clusters, of 4 nodes each, and nothing is asked. A second one that joins takes its half.\n"
    );
    println!(
        "| lease | clusters | taken within s | worker, % of a core | NATS, % of a core | KiB/s to NATS | half moved within s |"
    );
    println!("| ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    let counts: &[usize] = if is_quick {
        &[100]
    } else {
        &[100, 1_000, 5_000, 10_000]
    };
    for lease in LEASES {
        for &clusters in counts {
            let fleet = Fleet { clusters, nodes: 4 };
            row(lease, &fleet, if is_quick { 2 } else { 15 });
        }
    }
    println!();
}

fn row(lease: &str, fleet: &Fleet, seconds: u64) {
    let lease_flags = ["--lease", lease];
    let (config, agent) = (fleet.config(), agent());
    let nats = Nats::start();
    let start = Instant::now();
    let worker = Party::worker(&nats, &config, "a", &lease_flags);
    worker.logged(fleet.clusters, "cluster taken");
    let taken = start.elapsed().as_secs_f64();
    let used = || {
        [
            worker.cpu(),
            cpu(nats.pid()),
            worker.metric(&agent, "fleetcall_nats_sent_bytes_total"),
        ]
    };
    let before = used();
    std::thread::sleep(Duration::from_secs(seconds));
    let after = used();
    let [own, server, bytes] = std::array::from_fn(|at| (after[at] - before[at]) / seconds as f64);
    let start = Instant::now();
    let late = Party::worker(&nats, &config, "b", &lease_flags);
    // About half of them, as names have it.
    late.logged(fleet.clusters * 4 / 10, "cluster taken");
    let moved = start.elapsed().as_secs_f64();
    println!(
        "| {lease} | {} | {taken:.1} | {:.1} | {:.1} | {:.0} | {moved:.1} |",
        fleet.clusters,
        own * 100.0,
        server * 100.0,
        bytes / 1024.0
    );
}
