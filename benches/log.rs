//! What the log costs a roll call: 10,000 devices that fail at once, each failure logged at debug
//! level to standard error, which is to be a file or is read by something.
//!
//! Beside each other in one run: without a log, with lines written by the thread that has them (as
//! it was before there was a queue), and by the queue. Run it with `cargo bench --bench log
//! 2>/dev/null`, or into a pipe that is read: `cargo bench --bench log 2> >(cat >/dev/null)`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::disallowed_types,
    reason = "a program for people: it prints, measures real time, and fails by panicking"
)]

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use env_logger::{Builder, Target, WriteStyle};
use fleetcall::app::Engine;
use fleetcall::config::{Config, Source};
use fleetcall::telemetry::{LogFormat, lines_dropped, open};
use log::{LevelFilter, Log, Metadata, Record};

const ROUNDS: usize = 60;
const DEVICES: usize = 10_000;
const THREADS: usize = 2;

/// Where lines go to.
const WAYS: [&str; 3] = ["no log", "written at once", "queued"];

/// The loggers of [`WAYS`], one of which is in force.
struct Loggers {
    in_force: AtomicUsize,
    loggers: [env_logger::Logger; 3],
}

impl Log for Loggers {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.loggers[self.in_force.load(Ordering::Relaxed)].enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        self.loggers[self.in_force.load(Ordering::Relaxed)].log(record);
    }

    fn flush(&self) {}
}

fn logger(target: Target, level: LevelFilter) -> env_logger::Logger {
    let mut builder = Builder::new();
    builder.filter_level(level).target(target);
    builder.write_style(WriteStyle::Never).build()
}

fn main() {
    let queue = open(LogFormat::Text).unwrap();
    let loggers: &'static Loggers = Box::leak(Box::new(Loggers {
        in_force: AtomicUsize::new(0),
        loggers: [
            logger(Target::Stderr, LevelFilter::Off),
            logger(Target::Stderr, LevelFilter::Debug),
            logger(Target::Pipe(Box::new(queue)), LevelFilter::Debug),
        ],
    }));
    log::set_logger(loggers).unwrap();
    let text = format!(
        "[lookup]\nlatency = \"0s\"\nscript = [\"fail\"]\nbreaker = {{ failures = 0 }}\n\
         [[clusters]]\nid = 1\nnodes = \"1-{half}\"\n[[clusters]]\nid = 2\nnodes = \"1-{half}\"\n",
        half = DEVICES / 2
    );
    let config = Config::parse(Path::new("log"), &text).unwrap();
    let times = actix_web::rt::System::new().block_on(async {
        let engine = Engine::start(config, Source::new(None), THREADS, None);
        let collector = engine.collector();
        let mut times: [Vec<Duration>; 3] = Default::default();
        for _ in 0..ROUNDS {
            for (way, times) in times.iter_mut().enumerate() {
                loggers.in_force.store(way, Ordering::Relaxed);
                // Or lines that are below the level would cost as much as those that are written.
                let is_off = way == 0;
                log::set_max_level(if is_off {
                    LevelFilter::Off
                } else {
                    LevelFilter::Debug
                });
                let start = Instant::now();
                let answer = collector.collect().await.unwrap();
                times.push(start.elapsed());
                assert_eq!(answer.summary().failed(), DEVICES);
            }
        }
        times
    });
    println!("{ROUNDS} roll calls of {DEVICES} devices that fail, each way by turns\n");
    println!("| lines | median | 90th percentile | to written at once |");
    println!("| --- | ---: | ---: | ---: |");
    let percentile = |times: &[Duration], percent: usize| {
        let mut times = times.to_vec();
        times.sort();
        times[times.len() * percent / 100]
    };
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let at_once = ms(percentile(&times[1], 50));
    for (way, times) in WAYS.iter().zip(&times) {
        let (median, late) = (ms(percentile(times, 50)), ms(percentile(times, 90)));
        let ratio = median / at_once;
        println!("| {way} | {median:.1} ms | {late:.1} ms | {ratio:.2} |");
    }
    println!("\nlines dropped: {}", lines_dropped());
}
