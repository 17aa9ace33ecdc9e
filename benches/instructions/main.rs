//! How many instructions the hot paths take, beside a committed baseline; whatever else the machine
//! is doing.
//!
//! `cargo bench --profile counts --bench instructions` prints a table. `-- --check` fails if a path takes more
//! than the baseline (`baseline.json`) by more than the tolerance that stands there, or if an operation
//! takes more at a larger size than at a smaller one. What takes as much less is named, since the
//! baseline is to be renewed then: `-- --renew` writes it anew. With words, only paths are run that
//! have one of them in their names. It needs `valgrind`.
//!
//! Counted is the work itself: not the log, which is off, and not waiting. Two runs differ by
//! 0.1 % at most, by the seeds of hash maps. The tolerance is wider because of the compiler, which
//! inlines otherwise when other code changes.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for people: it prints, and fails by panicking"
)]

mod baseline;
mod callgrind;
mod change;
mod paths;

use std::process::ExitCode;
use std::sync::Mutex;
use std::thread::available_parallelism;

use baseline::Baseline;
use change::{Change, percent};
use mimalloc::MiMalloc;
use paths::{GUARDS, PATHS, Path};

/// The product's.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Instructions of one operation, by path.
type Counts = Vec<(&'static Path, f64)>;

fn main() -> ExitCode {
    // Cargo passes `--bench`.
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if let [callgrind::RUN, name, rounds] = arguments[..] {
        let path = PATHS.iter().find(|path| path.name == name).unwrap();
        (path.run)(rounds.parse().unwrap());
        return ExitCode::SUCCESS;
    }
    let (flags, words): (Vec<&str>, Vec<&str>) = arguments
        .iter()
        .partition(|argument| argument.starts_with('-'));
    let is_meant =
        |path: &&Path| words.is_empty() || words.iter().any(|word| path.name.contains(word));
    let meant: Vec<&Path> = PATHS.iter().filter(is_meant).collect();
    let baseline = Baseline::load();
    match flags[..] {
        [] => {
            let counts = count(&meant);
            compare(&baseline, &counts);
            compare_sizes(&baseline, &counts);
            ExitCode::SUCCESS
        }
        ["--check"] => {
            let counts = count(&meant);
            let mut faults = compare(&baseline, &counts);
            faults.extend(compare_sizes(&baseline, &counts));
            report(&faults)
        }
        ["--renew"] if words.is_empty() => {
            let counts = count(&meant);
            compare(&baseline, &counts);
            // No baseline makes a cliff right.
            let faults = compare_sizes(&baseline, &counts);
            if faults.is_empty() {
                let counts = counts.iter().map(|(path, count)| (path.name, *count));
                baseline.renew(counts);
            }
            report(&faults)
        }
        _ => {
            eprintln!(
                "usage: cargo bench --profile counts --bench instructions [-- [--check] [PART OF A NAME]… | --renew]"
            );
            ExitCode::from(2)
        }
    }
}

fn report(faults: &[String]) -> ExitCode {
    for fault in faults {
        eprintln!("error: {fault}");
    }
    if faults.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Counts paths, as many at a time as there are processors.
fn count(paths: &[&'static Path]) -> Counts {
    let next = Mutex::new(paths.iter().copied());
    let counts = Mutex::new(Counts::new());
    std::thread::scope(|scope| {
        for _ in 0..available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let Some(path) = next.lock().unwrap().next() else {
                        return;
                    };
                    let count = callgrind::count(path);
                    counts.lock().unwrap().push((path, count));
                }
            });
        }
    });
    let mut counts = counts.into_inner().unwrap();
    counts.sort_by_key(|(counted, _)| PATHS.iter().position(|path| path.name == counted.name));
    counts
}

/// Prints all counts beside the baseline, and which are so much lower that it is to be renewed; gives
/// what is more than it tolerates.
fn compare(baseline: &Baseline, counts: &Counts) -> Vec<String> {
    const RENEW: &str = "if it should be so, renew the baseline and commit it: \
                         cargo bench --profile counts --bench instructions -- --renew";
    let tolerance = baseline.tolerance();
    let (mut faults, mut fallen) = (Vec::new(), Vec::new());
    println!("| path | instructions | baseline | difference |");
    println!("| --- | ---: | ---: | ---: |");
    for &(&Path { name, per, .. }, count) in counts {
        let Some(known) = baseline.of(name) else {
            println!("| {name} | {count:.0} per {per} | – | – |");
            faults.push(format!("{name}: the baseline does not have it; {RENEW}"));
            continue;
        };
        let percent = percent(count, known);
        println!("| {name} | {count:.0} per {per} | {known:.0} | {percent:+.1} % |");
        let Some((most, why)) = &tolerance else {
            continue;
        };
        match Change::of(percent, *most) {
            Change::Tolerated => {}
            Change::Grown => faults.push(format!(
                "{name}: {count:.0} instructions per {per} are {percent:.1} % more than the \
                 baseline's {known:.0}, and {most} % are tolerated {why}; {RENEW}"
            )),
            Change::Fallen => fallen.push(name),
        }
    }
    match tolerance {
        Some((most, why)) => println!("\nTolerated are {most} % {why}."),
        None => println!("\nThe baseline is of another kind of processor: no measure here."),
    }
    if !fallen.is_empty() {
        let fallen = fallen.join(", ");
        println!(
            "So much lower that they could grow back unnoticed: {fallen}. Renew the baseline, and \
             commit it: cargo bench --profile counts --bench instructions -- --renew"
        );
    }
    let profile = callgrind::profile("PATH");
    println!(
        "What takes them: callgrind_annotate {}\n",
        profile.display()
    );
    // Whether all were meant to be run.
    if counts.len() == PATHS.len() {
        let is_gone = |name: &&str| PATHS.iter().all(|path| path.name != *name);
        let gone = baseline.names().filter(is_gone);
        faults.extend(gone.map(|name| format!("{name}: there is no such path any more; {RENEW}")));
    }
    faults
}

/// Prints what an operation takes at a larger size beside a smaller one; gives where that is too
/// much.
fn compare_sizes(baseline: &Baseline, counts: &Counts) -> Vec<String> {
    let of = |name: &str| {
        let counted = counts.iter().find(|(path, _)| path.name == name);
        counted.map(|&(_, count)| count)
    };
    let most = baseline.most_at_larger_size;
    let mut faults = Vec::new();
    for guard in &GUARDS {
        let (large, small) = (guard.large, guard.small);
        let Some((at_large, at_small)) = of(large).zip(of(small)) else {
            continue;
        };
        let times = at_large / at_small;
        println!("{large} takes {times:.2} times what {small} takes; {most} at most.");
        if times > most {
            let against = guard.against;
            faults.push(format!(
                "{large} takes {times:.2} times what {small} takes for the same, and {most} at \
                 most is right: {against}"
            ));
        }
    }
    faults
}
