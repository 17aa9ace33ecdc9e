//! Whether a machine that has far too much to do costs a lease.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use crate::nats::Nats;
use crate::party::{Fleet, Party, agent};

/// Threads that do nothing but compute, for each core.
const HOGS: usize = 3;

/// From one request to the next one.
const PACE: Duration = Duration::from_millis(50);

/// Runs for an hour; fails if a lease was lost.
pub fn measure(is_quick: bool) {
    let minutes = if is_quick { 1 } else { 60 };
    let fleet = Fleet {
        clusters: 24,
        nodes: 8,
    };
    let (config, nats, agent) = (fleet.config(), Nats::start(), agent());
    let workers = ["a", "b", "c"].map(|name| Party::worker(&nats, &config, name, &[]));
    let front = Party::front(&nats, &config, &[]);
    front.until_well(&agent);
    let hogs = HOGS * available_parallelism().unwrap().get();
    println!("### Soak\n");
    println!(
        "Three workers as installed, 24 clusters of 8 nodes, a front that is asked 20 times a second, and {hogs} threads that compute."
    );
    println!("The longest age is the oldest renewal that a scrape saw.\n");
    println!("| minutes | answers | degraded | renewals | failed | longest age s | leases lost |");
    println!("| ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    let over = AtomicBool::new(false);
    let lost = std::thread::scope(|scope| {
        for _ in 0..hogs {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let sum = |name: &str| -> f64 { workers.iter().map(|it| it.metric(&agent, name)).sum() };
        let (mut answers, mut degraded, mut longest) = (0, 0, 0.0_f64);
        let start = Instant::now();
        for minute in 1..=minutes {
            let end = start + Duration::from_secs(60) * minute;
            while Instant::now() < end {
                let next = Instant::now() + PACE;
                let answer = front.get(&agent, "/test");
                answers += 1;
                degraded += usize::from(answer.is_none_or(|(status, _)| status != 200));
                if answers % 20 == 0 {
                    let ages = workers.iter().map(|it| oldest(it, &agent));
                    longest = ages.fold(longest, f64::max);
                }
                std::thread::sleep(next.saturating_duration_since(Instant::now()));
            }
            if minute == minutes || minute % 10 == 0 {
                let ok = sum("fleetcall_lease_renewals_total{outcome=\"ok\"}");
                let failed = sum("fleetcall_lease_renewals_total{outcome=\"failed\"}");
                let lost = sum("fleetcall_leases_lost_total");
                println!(
                    "| {minute} | {answers} | {degraded} | {ok} | {failed} | {longest:.2} | {lost} |"
                );
            }
        }
        over.store(true, Ordering::Relaxed);
        sum("fleetcall_leases_lost_total")
    });
    println!();
    assert_eq!(lost, 0.0, "leases were lost");
}

/// The age of the lease that was renewed longest ago.
fn oldest(worker: &Party, agent: &ureq::Agent) -> f64 {
    let (_, page) = worker.get(agent, "/metrics").unwrap();
    let ages = page
        .lines()
        .filter(|line| line.starts_with("fleetcall_lease_age_seconds{"))
        .filter_map(|line| line.rsplit(' ').next()?.parse().ok());
    ages.fold(0.0, f64::max)
}
