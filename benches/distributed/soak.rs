//! Whether a machine that has far too much to do costs a lease.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use crate::nats::Nats;
use crate::party::{Fleet, Party, agent};

/// How many threads are to run or to wait for a core, for each core.
const LOAD: usize = 3;

/// How often it is looked how many there are.
const LOOK: Duration = Duration::from_millis(100);

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
    let most = LOAD * available_parallelism().unwrap().get();
    println!("### Soak\n");
    println!(
        "Three workers as installed, 24 clusters of 8 nodes, a front that is asked 20 times a second. As many threads compute as it takes"
    );
    println!(
        "for {most} on the machine to run or wait for a core: other programs count. The longest age is the oldest renewal that a scrape saw.\n"
    );
    println!(
        "| minutes | answers | degraded | renewals | failed | longest age s | leases lost | running or waiting, mean |"
    );
    println!("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    // How many of the threads are to compute; none once it is over.
    let wanted = AtomicUsize::new(most);
    let over = AtomicBool::new(false);
    let (sampled, samples) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let (wanted, over, sampled, samples) = (&wanted, &over, &sampled, &samples);
    let lost = std::thread::scope(|scope| {
        for number in 0..most {
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    if number < wanted.load(Ordering::Relaxed) {
                        std::hint::spin_loop();
                    } else {
                        std::thread::sleep(LOOK);
                    }
                }
            });
        }
        scope.spawn(move || {
            while !over.load(Ordering::Relaxed) {
                let running = runnable();
                sampled.fetch_add(running, Ordering::Relaxed);
                samples.fetch_add(1, Ordering::Relaxed);
                let computing = wanted.load(Ordering::Relaxed);
                // One at a time: what others do changes by the moment.
                let next = match running.cmp(&most) {
                    std::cmp::Ordering::Less => computing + 1,
                    std::cmp::Ordering::Equal => computing,
                    std::cmp::Ordering::Greater => computing.saturating_sub(1),
                };
                wanted.store(next.min(most), Ordering::Relaxed);
                std::thread::sleep(LOOK);
            }
        });
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
                let load = sampled.load(Ordering::Relaxed) as f64
                    / samples.load(Ordering::Relaxed).max(1) as f64;
                println!(
                    "| {minute} | {answers} | {degraded} | {ok} | {failed} | {longest:.2} | {lost} | {load:.1} |"
                );
            }
        }
        over.store(true, Ordering::Relaxed);
        sum("fleetcall_leases_lost_total")
    });
    println!();
    assert_eq!(lost, 0.0, "leases were lost");
}

/// Threads that run or wait for a core, but for the one that looks
/// ([proc_loadavg(5)](https://man7.org/linux/man-pages/man5/proc_loadavg.5.html)).
fn runnable() -> usize {
    let line = fs::read_to_string("/proc/loadavg").unwrap();
    let running = line.split(' ').nth(3).and_then(|it| it.split('/').next());
    running.unwrap().parse::<usize>().unwrap().saturating_sub(1)
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
