//! Many requests at once: a front with workers, beside one process.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::nats::Nats;
use crate::party::{Fleet, Party, agent};
use crate::spread;

const CLIENTS: usize = 32;

pub fn measure(is_quick: bool) {
    let fleet = Fleet {
        clusters: 4,
        nodes: 8,
    };
    let (config, rounds) = (fleet.config(), if is_quick { 1 } else { 5 });
    let span = Duration::from_secs(if is_quick { 1 } else { 4 });
    let nats = Nats::start();
    let workers = ["a", "b"].map(|name| Party::worker(&nats, &config, name, &[]));
    let front = Party::front(&nats, &config, &[]);
    let alone = Party::alone(&config);
    for party in [&front, &alone] {
        party.until_well(&agent());
    }
    println!("### Load\n");
    println!(
        "`GET /test` of 32 devices in 4 clusters, lookups of 0 ms, by {CLIENTS} clients of the same machine, {rounds} rounds in turn.\n"
    );
    println!("| | requests/s, median | answers that were not whole |");
    println!("| --- | ---: | ---: |");
    let mut rates = [Vec::new(), Vec::new()];
    let degraded = AtomicUsize::new(0);
    for _ in 0..rounds {
        for (party, rates) in [&alone, &front].into_iter().zip(&mut rates) {
            rates.push(rate(party, span, &degraded));
        }
    }
    let [one, shared] = rates.map(|mut it| spread(&mut it).0);
    println!("| alone | {one:.0} | |");
    println!(
        "| a front and two workers | {shared:.0} ({:.2} of it) | {} |\n",
        shared / one,
        degraded.into_inner()
    );
    drop(workers);
}

fn rate(party: &Party, span: Duration, degraded: &AtomicUsize) -> f64 {
    let answers = AtomicUsize::new(0);
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let agent = agent();
                while start.elapsed() < span {
                    let answer = party.get(&agent, "/test");
                    answers.fetch_add(1, Ordering::Relaxed);
                    if answer.is_none_or(|(status, _)| status != 200) {
                        degraded.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    answers.into_inner() as f64 / start.elapsed().as_secs_f64()
}
