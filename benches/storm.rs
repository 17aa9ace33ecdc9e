//! Whether a restart storm starves those who are well: how long a roll call takes while most of the
//! fleet crashes at every lookup and is restarted at once, beside the same fleet without crashes.
//!
//! The devices that are well share their threads with those that crash, and answer after 20 ms; a
//! roll call is over when the last one has. Run it with `cargo bench --bench storm`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::disallowed_types,
    reason = "a program for people: it prints, measures real time, and fails by panicking"
)]

use std::path::Path;
use std::time::{Duration, Instant};

use fleetcall::app::Engine;
use fleetcall::config::{Config, Source};
use fleetcall::domain::FaultKind;

const COLLECTS: usize = 200;
const THREADS: usize = 2;

fn main() {
    println!(
        "{COLLECTS} roll calls over 100 devices that are well (20 ms) and as many that crash as said\n"
    );
    println!(
        "| devices that crash | exits a second | median | 99th percentile | worst | p99 to calm |"
    );
    println!("| ---: | ---: | ---: | ---: | ---: | ---: |");
    for devices in [100, 1_000, 10_000] {
        let calm = measure(devices, "ok");
        print("none of", devices, &calm, &calm);
        let storm = measure(devices, "panic");
        print("all of", devices, &storm, &calm);
    }
}

struct Measured {
    times: Vec<Duration>,
    exits_per_second: f64,
}

impl Measured {
    fn percentile(&self, percent: usize) -> Duration {
        self.times[(self.times.len() * percent / 100).min(self.times.len() - 1)]
    }
}

fn measure(devices: usize, step: &str) -> Measured {
    let half = devices / 2;
    // The schedule keeps the storm going between the roll calls.
    let text = format!(
        "[lookup]\nlatency = \"20ms\"\n[collect]\nevery = \"100ms\"\n\
         [supervision]\nintensity = 1000\nperiod = \"1s\"\nbackoff = {{ min = \"1ms\", max = \"20ms\" }}\n\
         [[clusters]]\nid = \"storm-1\"\nnodes = \"1-{half}\"\nlookup = {{ latency = \"1ms\", script = [\"{step}\"] }}\n\
         [[clusters]]\nid = \"storm-2\"\nnodes = \"1-{half}\"\nlookup = {{ latency = \"1ms\", script = [\"{step}\"] }}\n\
         [[clusters]]\nid = \"well-1\"\nnodes = \"1-50\"\n\
         [[clusters]]\nid = \"well-2\"\nnodes = \"1-50\"\n"
    );
    let config = Config::parse(Path::new("storm"), &text).unwrap();
    let system = actix_web::rt::System::new();
    system.block_on(async {
        let engine = Engine::start(config, Source::new(None), THREADS, None);
        let (collector, metrics) = (engine.collector(), engine.metrics());
        collector.collect().await.unwrap();
        let (start, exits) = (Instant::now(), metrics.crashes());
        let mut times = Vec::with_capacity(COLLECTS);
        for _ in 0..COLLECTS {
            let asked = Instant::now();
            let answer = collector.collect().await.unwrap();
            times.push(asked.elapsed());
            for (cluster, _, _, fault) in answer.faults() {
                let id = cluster.id().to_string();
                assert!(id.starts_with("storm"), "{id} is not well: {fault:?}");
                let kinds = [
                    FaultKind::Crashed,
                    FaultKind::Restarting,
                    FaultKind::Quarantined,
                ];
                assert!(kinds.contains(&fault.kind()), "{fault:?}");
            }
        }
        times.sort();
        let exits = (metrics.crashes() - exits) as f64;
        let exits_per_second = exits / start.elapsed().as_secs_f64();
        Measured {
            times,
            exits_per_second,
        }
    })
}

fn print(which: &str, devices: usize, measured: &Measured, calm: &Measured) {
    let ms = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1e3);
    let p99 = measured.percentile(99);
    println!(
        "| {which} {devices} | {:.0} | {} | {} | {} | {:.2} |",
        measured.exits_per_second,
        ms(measured.percentile(50)),
        ms(p99),
        ms(measured.percentile(100)),
        p99.as_secs_f64() / calm.percentile(99).as_secs_f64()
    );
}
