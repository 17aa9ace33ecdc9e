//! What an answer costs that comes through NATS, in time, processor time and bytes, beside the same
//! answer of one process.

use std::time::Instant;

use crate::nats::Nats;
use crate::party::{Fleet, Party, agent, cpu};
use crate::spread;

/// Clusters of each fleet.
const CLUSTERS: usize = 10;

pub fn measure(is_quick: bool) {
    println!("### Size\n");
    println!(
        "One `GET /test` after the other, {CLUSTERS} clusters, lookups of 0 ms; alone, and by a front and a worker."
    );
    println!("Times are medians; processor time and bytes are per device and collect.\n");
    println!(
        "| devices | form | alone ms | shared ms | shared/alone | pieces | bytes to front | bytes to worker | front µs | worker µs | NATS µs |"
    );
    println!("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    let sizes: &[usize] = if is_quick {
        &[100, 10_000]
    } else {
        &[100, 1_000, 10_000, 100_000, 1_000_000]
    };
    for &devices in sizes {
        let fleet = Fleet {
            clusters: CLUSTERS,
            nodes: devices / CLUSTERS,
        };
        let rounds = if is_quick {
            5
        } else {
            (200_000 / devices).clamp(7, 200)
        };
        for form in ["1", "2"] {
            row(&fleet, form, rounds);
        }
    }
    println!();
}

fn row(fleet: &Fleet, form: &str, rounds: usize) {
    let (config, agent) = (fleet.config(), agent());
    let nats = Nats::start();
    let schema = ["--nats-schema", form];
    let worker = Party::worker(&nats, &config, "a", &schema);
    let front = Party::front(&nats, &config, &schema);
    let alone = Party::alone(&config);
    for party in [&alone, &front] {
        party.until_well(&agent);
        party.until_well(&agent);
    }
    let timed = |party: &Party| {
        let start = Instant::now();
        let (status, _) = party.get(&agent, "/test").unwrap();
        assert_eq!(status, 200);
        start.elapsed().as_secs_f64() * 1e3
    };
    // In turn, so that a noisy moment is in both.
    let names = [
        "fleetcall_nats_sent_bytes_total",
        "fleetcall_nats_received_bytes_total",
        "fleetcall_order_pieces_sent_total",
    ];
    let counted = || names.map(|name| worker.metric(&agent, name));
    let before = counted();
    let mut times = [Vec::new(), Vec::new()];
    let used = || [front.cpu(), worker.cpu(), cpu(nats.pid())];
    let mut cpus = [0.0; 3];
    for _ in 0..rounds {
        times[0].push(timed(&alone));
        let start = used();
        times[1].push(timed(&front));
        for (cpu, (end, start)) in cpus.iter_mut().zip(used().into_iter().zip(start)) {
            *cpu += end - start;
        }
    }
    let after = counted();
    let devices = fleet.devices();
    let each = (devices * rounds) as f64;
    let [sent, received, pieces] = std::array::from_fn(|at| after[at] - before[at]);
    let [alone, shared] = times.map(|mut it| spread(&mut it).0);
    let [front, worker, nats] = cpus.map(|it| it * 1e6 / each);
    println!(
        "| {devices} | {form} | {alone:.2} | {shared:.2} | {:.2} | {:.0} | {:.1} | {:.1} | {front:.1} | {worker:.1} | {nats:.1} |",
        shared / alone,
        pieces / rounds as f64,
        sent / each,
        received / each,
    );
}
