//! Whether one of the known cliffs is back, each beside what it would look like, measured in the
//! same run: gathering that is quadratic in the devices, an actor's context that is quadratic in
//! what waits in it, messages that cross arbiters, and a channel for each device.
//!
//! `cargo bench --bench cliffs` prints Markdown with a verdict on each, and ends with 1 if one is
//! back; `-- --quick` leaves out the largest sizes. Verdicts have wide margins, since others may
//! use the machine: a cliff costs ten times as much, not a tenth more. Small changes are what
//! `cargo bench --bench instructions` is for.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_types,
    reason = "a program for people: it prints, measures real time, and fails by panicking"
)]

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use actix::prelude::*;
use fleetcall::app::Engine;
use fleetcall::config::{Config, Source};
use fleetcall::domain::{NodeSet, Scope};
use fleetcall::engine::collector::{CollectRequest, CollectorHandle};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::oneshot;
use tokio::task::unconstrained;

/// A figure is the median of so many.
const ROUNDS: usize = 5;

/// How much more each may cost where there are ten times as many: caches become too small, but a
/// quadratic cost is ten times.
const MOST_PER_TENFOLD: f64 = 3.0;

/// Which part of a message across arbiters a device may cost; it would need two of them.
const MOST_OF_A_CROSSING: f64 = 1.0;

/// Allocations of a collect for each device; one more would be a channel.
const ALLOCATIONS: f64 = 3.0;

/// Beyond so many, a quadratic gathering takes minutes.
const MOST_SHOWN: usize = 100_000;

fn main() -> ExitCode {
    let is_quick = std::env::args().any(|argument| argument == "--quick");
    let cliffs = [
        gathering(is_quick),
        waiting(is_quick),
        messages(),
        allocations(),
    ];
    if cliffs.contains(&false) {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

/// Replies in a `FuturesUnordered` are quadratic: tokio lets a task take 128 messages a turn, and
/// then all futures that are left are polled in vain.
fn gathering(is_quick: bool) -> bool {
    println!("## Gathering, a device\n");
    println!(
        "| devices | a collect at zero latency | as many oneshots, unconstrained | as many oneshots |"
    );
    println!("| ---: | ---: | ---: | ---: |");
    let mut figures = Vec::new();
    for devices in [1_000, 10_000, 100_000, 1_000_000] {
        if is_quick && devices > MOST_SHOWN {
            continue;
        }
        let figure = collect(devices, 0) / devices as f64;
        let each = |is_unconstrained| {
            let took = median(|| System::new().block_on(oneshots(devices, is_unconstrained)));
            micros(took / devices as f64)
        };
        let free = each(true);
        let bound = if devices > MOST_SHOWN {
            "–".to_owned()
        } else {
            each(false)
        };
        println!("| {devices} | {} | {free} | {bound} |", micros(figure));
        figures.push((devices, figure));
    }
    verdict(
        is_flat(&figures),
        "the first column would rise tenfold from line to line, as the last one comes to do",
    )
}

/// How long `devices` answers take that all are there, each in a channel of its own.
async fn oneshots(devices: usize, is_unconstrained: bool) -> Duration {
    let (senders, receivers): (Vec<_>, Vec<_>) =
        (0..devices).map(|_| oneshot::channel::<usize>()).unzip();
    let mut replies: FuturesUnordered<_> = receivers.into_iter().collect();
    for (device, sender) in senders.into_iter().enumerate() {
        sender.send(device).unwrap();
    }
    let start = Instant::now();
    let gather = actix::spawn(async move {
        let all = async { while replies.next().await.is_some() {} };
        if is_unconstrained {
            unconstrained(all).await;
        } else {
            all.await;
        }
    });
    gather.await.unwrap();
    start.elapsed()
}

/// What waits in an actor's context is quadratic when it wakes separately: each time, all of it is
/// polled. The clock stands still while anything can be done, so only work is measured.
fn waiting(is_quick: bool) -> bool {
    println!("## Waiting, a collect\n");
    println!("| at once | collects of a cluster | futures in an actor's context |");
    println!("| ---: | ---: | ---: |");
    let mut figures = Vec::new();
    for count in [16, 256, 4_096, 16_384] {
        if is_quick && count > 4_096 {
            continue;
        }
        let figure = median(|| System::new().block_on(collects_at_once(count)));
        let figure = figure / count as f64;
        let in_a_context = median(|| System::new().block_on(pending_in_a_context(count)));
        let in_a_context = micros(in_a_context / count as f64);
        println!("| {count} | {} | {in_a_context} |", micros(figure));
        figures.push((count, figure));
    }
    verdict(
        is_flat(&figures),
        "the first column would rise with the number, as the last one does",
    )
}

/// How long so many collects of one cluster take from when all of them wait, each for a device of
/// its own that answers when no other does.
async fn collects_at_once(count: usize) -> Duration {
    tokio::time::pause();
    let config = format!(
        "lookup = {{ latency = \"31s\", jitter = \"30s\", timeout = \"2m\" }}\n\
         collect = {{ deadline = \"2m\", max_waiting = {count} }}\n\
         [[clusters]]\nid = 1\nnodes = \"1-{count}\"\n"
    );
    let engine = start(&config, 0);
    let ask = |device: usize| {
        let devices = Some(NodeSet::parse(&device.to_string()).unwrap());
        let scope = Scope {
            devices,
            ..Scope::default()
        };
        let request = CollectRequest {
            scope,
            ..CollectRequest::default()
        };
        let collector = engine.collector();
        actix::spawn(async move {
            let (answer, _) = collector.request(&request).await.unwrap();
            assert_eq!(answer.summary().failed(), 0);
        })
    };
    let asked: Vec<_> = (1..=count).map(ask).collect();
    // Until nothing else is left to do.
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(engine.metrics().census().lookups, count);
    let start = Instant::now();
    for answer in asked {
        answer.await.unwrap();
    }
    start.elapsed()
}

async fn pending_in_a_context(count: usize) -> Duration {
    tokio::time::pause();
    let (done, all_done) = oneshot::channel();
    let start = Instant::now();
    let actor = Waiting {
        left: count,
        done: Some(done),
    };
    // Held, since an actor ends when nobody does.
    let _actor = actor.start();
    all_done.await.unwrap();
    start.elapsed()
}

/// A message to another thread wakes it, and costs thirty times one that stays.
fn messages() -> bool {
    const MESSAGES: usize = 20_000;
    const DEVICES: usize = 10_000;
    println!("## Messages\n");
    let one_by_one = |crosses: bool| {
        let took = median(|| {
            System::new().block_on(async {
                let there = Arbiter::new();
                let actor = if crosses {
                    Echo::start_in_arbiter(&there.handle(), |_| Echo)
                } else {
                    Echo.start()
                };
                let start = Instant::now();
                for _ in 0..MESSAGES {
                    actor.send(Ping).await.unwrap();
                }
                let took = start.elapsed();
                there.stop();
                took
            })
        });
        took / MESSAGES as f64
    };
    let (near, far) = (one_by_one(false), one_by_one(true));
    let device = collect(DEVICES, 1) / DEVICES as f64;
    println!("| | each | of one across arbiters |");
    println!("| --- | ---: | ---: |");
    for (what, figure) in [
        ("an actix message within an arbiter, and its answer", near),
        ("one across arbiters", far),
        ("a device of a collect, its lookup included", device),
    ] {
        println!("| {what} | {} | {:.2} |", micros(figure), figure / far);
    }
    verdict(
        device < MOST_OF_A_CROSSING * far,
        "a device would cost at least as much as two messages across arbiters",
    )
}

/// A channel for each device is an allocation for each device.
fn allocations() -> bool {
    const DEVICES: u64 = 10_000;
    println!("## Allocations, a device\n");
    println!("| | allocations | bytes | most bytes at a time |");
    println!("| --- | ---: | ---: | ---: |");
    let each = |count: u64| count as f64 / DEVICES as f64;
    let show = |what: &str, info: &allocation_counter::AllocationInfo| {
        let (count, bytes) = (each(info.count_total), each(info.bytes_total));
        let most = each(info.bytes_max);
        println!("| {what} | {count:.2} | {bytes:.0} | {most:.0} |");
    };
    let system = System::new();
    let engine = system.block_on(async { start(&fleet(DEVICES as usize), 0) });
    let collector = engine.collector();
    // What is only allocated once is then there.
    system.block_on(well(&collector));
    let ours = allocation_counter::measure(|| system.block_on(well(&collector)));
    show("a collect", &ours);
    let channels = allocation_counter::measure(|| {
        let channels: Vec<_> = (0..DEVICES).map(|_| oneshot::channel::<usize>()).collect();
        std::hint::black_box(channels);
    });
    show("a oneshot each", &channels);
    verdict(
        each(ours.count_total) < ALLOCATIONS + 0.5,
        &format!("a collect would take more than {ALLOCATIONS} allocations a device"),
    )
}

/// How long a collect of so many devices takes at zero latency, on so many other threads, in
/// seconds.
fn collect(devices: usize, threads: usize) -> f64 {
    System::new().block_on(async {
        let engine = start(&fleet(devices), threads);
        let collector = engine.collector();
        well(&collector).await;
        let mut times = Vec::new();
        for _ in 0..ROUNDS {
            let start = Instant::now();
            well(&collector).await;
            times.push(start.elapsed());
        }
        times.sort();
        times[ROUNDS / 2].as_secs_f64()
    })
}

async fn well(collector: &CollectorHandle) {
    let answer = collector.collect().await.unwrap();
    assert!(answer.faults().next().is_none());
}

/// One cluster, so one arbiter.
fn fleet(devices: usize) -> String {
    format!("lookup = {{ latency = \"0s\" }}\n[[clusters]]\nid = 1\nnodes = \"1-{devices}\"\n")
}

fn start(config: &str, threads: usize) -> Engine {
    let config = Config::parse(Path::new("cliffs"), config).unwrap();
    Engine::start(config, Source::new(None), threads, None)
}

/// An actor as actix has them.
struct Echo;

impl Actor for Echo {
    type Context = Context<Self>;
}

#[derive(Message)]
#[rtype(result = "()")]
struct Ping;

impl Handler<Ping> for Echo {
    type Result = ();

    fn handle(&mut self, _: Ping, _: &mut Context<Self>) {}
}

/// An actor in whose context so many futures wait, each until another time.
struct Waiting {
    left: usize,
    done: Option<oneshot::Sender<()>>,
}

impl Actor for Waiting {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        for nth in 0..self.left {
            let wait = tokio::time::sleep(Duration::from_millis(1 + nth as u64));
            ctx.spawn(wait.into_actor(self).map(|(), this, _| {
                this.left -= 1;
                if this.left == 0 {
                    this.done.take().unwrap().send(()).unwrap();
                }
            }));
        }
    }
}

/// In seconds.
fn median(mut measure: impl FnMut() -> Duration) -> f64 {
    let mut times: Vec<Duration> = (0..ROUNDS).map(|_| measure()).collect();
    times.sort();
    times[ROUNDS / 2].as_secs_f64()
}

fn micros(seconds: f64) -> String {
    format!("{:.2} µs", seconds * 1e6)
}

/// Whether no step from one size to the next costs too much for what it is.
fn is_flat(figures: &[(usize, f64)]) -> bool {
    figures.windows(2).all(|pair| {
        let [(small, at_small), (large, at_large)] = pair else {
            return true;
        };
        let tenfolds = (*large as f64 / *small as f64).log10();
        at_large / at_small <= MOST_PER_TENFOLD.powf(tenfolds)
    })
}

fn verdict(is_good: bool, otherwise: &str) -> bool {
    let word = if is_good { "yes" } else { "NO" };
    println!("\nFlat: {word}. Otherwise {otherwise}.\n");
    is_good
}
