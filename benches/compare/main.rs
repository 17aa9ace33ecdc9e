//! fleetcall beside the servers that it replaced and beside the same job done in five other ways:
//! the same work for each, in one run, with every answer checked.
//!
//! `cargo bench --bench compare` sets the peers up, measures everything and writes
//! `target/compare/compare.md`, `compare.json` and plots. Parts and peers may be named:
//! `cargo bench --bench compare -- zero curves --peers axum,go`; `--quick` is a short run to try it.
//! What each part means, and how it is measured, is in `docs/performance.md`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a program for people: it prints, measures and waits in real time, and fails by panicking"
)]

mod answer;
mod bare;
mod client;
mod crowd;
mod curves;
mod faults;
mod large;
mod load;
mod machine;
mod one;
mod peer;
mod plan;
mod plot;
mod server;
mod spread;
mod start;
mod stream;
mod table;
mod zero;

use clap::Parser as _;

use crate::plan::{Arguments, Part, Plan};

fn main() {
    let arguments = Arguments::parse();
    if let Some(job) = arguments.child {
        return bare::run(job);
    }
    let plan = Plan::new(arguments);
    let about = machine::about(&plan);
    eprintln!("{about}");
    let mut tables = Vec::new();
    for &part in &plan.parts {
        let measured = match part {
            Part::One => one::measure(&plan),
            Part::Crowd => crowd::measure(&plan),
            Part::Zero => zero::measure(&plan),
            Part::Large => large::measure(&plan),
            Part::Faults => faults::measure(&plan),
            Part::Start => start::measure(&plan),
            Part::Curves => curves::measure(&plan),
        };
        tables.extend(measured);
        // After each part, so that a run that is cut off leaves what it has.
        table::write(&plan.dir, &about, &tables);
    }
    println!("{}", table::markdown(&about, &tables));
}
