//! Whether memory stays flat: what a fleet goes through in an hour, as fast as it goes.
//!
//! An hour of a fleet of 1,000 devices that is asked every five seconds and reloaded every minute:
//! 720 roll calls, 60 reloads, 720,000 lookups, of which 1 % crash the code that asks, 1 % hang and
//! 2 % fail, and a cluster's actor is lost every minute. It goes through the hour once to warm up,
//! then again `hours` times (3 unless an argument says otherwise), and says what is there after each.
//! It fails if the number of actors is not what it was, or memory has grown by more than a
//! tenth. Run it with `cargo bench --bench soak`, or `cargo bench --bench soak -- 24` for a day.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::disallowed_types,
    reason = "a program for people: it prints, measures real time, and fails by panicking"
)]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fleetcall::app::Engine;
use fleetcall::config::{Config, Source};
use fleetcall::supervision::failpoints::{FailAction, Failpoint, Failpoints};
use fleetcall::telemetry::Census;

const COLLECTS_PER_HOUR: usize = 720;
const COLLECTS_PER_RELOAD: usize = 12;
const THREADS: usize = 2;

fn main() {
    let hours = std::env::args().find_map(|argument| argument.parse().ok());
    let hours: usize = hours.unwrap_or(3);
    let system = actix_web::rt::System::new();
    system.block_on(soak(hours));
}

async fn soak(hours: usize) {
    let failpoints = Arc::new(Failpoints::default());
    let source = Source::new(None);
    let engine = Engine::start(config(0), source, THREADS, Some(Arc::clone(&failpoints)));
    println!(
        "| hours | lookups | crashes | restarts | reloads | actors | shells | memory | took |"
    );
    println!("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    let mut reloads = 0;
    let mut first: Option<(Census, usize)> = None;
    for hour in 0..=hours {
        let start = Instant::now();
        for collect in 0..COLLECTS_PER_HOUR {
            if collect % COLLECTS_PER_RELOAD == 0 {
                reloads += 1;
                engine.apply(config(reloads));
                failpoints.arm(
                    Failpoint::Handler,
                    FailAction::Panic,
                    &format!("cluster={}", reloads % 10),
                    1,
                );
            }
            let answer = engine.collector().collect().await.unwrap();
            assert_eq!(answer.summary().devices(), 1_000);
        }
        let took = start.elapsed();
        let census = at_rest(&engine).await;
        let memory = resident();
        let counters = engine.metrics().counters();
        let counter = |name| counters.iter().find(|(found, _)| *found == name).unwrap().1;
        println!(
            "| {hour} | {} | {} | {} | {reloads} | {} | {} | {:.1} MiB | {:.1} s |",
            counter("lookups"),
            counter("crashes"),
            counter("restarts"),
            census.actors,
            census.shells,
            memory as f64 / (1 << 20) as f64,
            took.as_secs_f64()
        );
        let (first_census, first_memory) = *first.get_or_insert((census, memory));
        assert_eq!(census, first_census, "actors are left, or lost");
        assert!(
            memory <= first_memory + first_memory / 10,
            "memory has grown"
        );
    }
}

/// How much of everything there is once all backoffs are over.
async fn at_rest(engine: &Engine) -> Census {
    let start = Instant::now();
    loop {
        let census = engine.metrics().census();
        if census.lookups == 0 && census.actors == census.shells {
            return census;
        }
        assert!(start.elapsed() < Duration::from_secs(60), "{census:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Ten clusters of 100 devices; each version asks one in ten devices of one cluster another way.
fn config(version: usize) -> Config {
    let mut text = "[lookup]\nlatency = \"1ms\"\njitter = \"1ms\"\ntimeout = \"20ms\"\n\
                    faults = { fail = 0.02, hang = 0.01, panic = 0.01 }\n\
                    breaker = { failures = 3, open = { min = \"50ms\", max = \"200ms\" } }\n\
                    [supervision]\nintensity = 5\nperiod = \"1s\"\nquarantine = \"1s\"\n\
                    backoff = { min = \"1ms\", max = \"50ms\" }\n"
        .to_owned();
    for id in 0..10 {
        let first = if version % 10 == id { version % 7 } else { 0 };
        let last = first + 79;
        text += &format!(
            "[[clusters]]\nid = {id}\nnodes = \"{first}-{last}\"\n\
             [[clusters.switches]]\nids = \"1-20\"\nlookup = {{ seed = {} }}\n",
            if version % 10 == id { version } else { 0 }
        );
    }
    Config::parse(Path::new("soak"), &text).unwrap()
}

/// The memory of this process that is in RAM, in bytes.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split_whitespace().nth(1).unwrap().parse().unwrap();
    pages * 4096
}
