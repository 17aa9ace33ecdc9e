//! A fleet that several processes share, beside one process alone: what an answer costs, how large it
//! is on the wire, how long it takes until a lost worker is replaced, what leases cost, and when it is
//! known that one ran out.
//!
//! `cargo bench --bench distributed` measures everything against a real NATS server
//! (`target/nats/bin/nats-server`, as `.ci/test` installs it) and prints Markdown; parts may be named:
//! `cargo bench --bench distributed -- failover size load leases expiry`, and `--quick` is a short run
//! to try it. `soak` is an hour on a machine that has three busy threads for each core, and runs only
//! if it is named: `cargo bench --bench distributed -- soak`. What the figures mean is in
//! `docs/distributed.md`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a program for people: it prints, measures and waits in real time, and fails by panicking"
)]
#![allow(unreachable_pub, reason = "nobody uses a benchmark from outside")]

mod expiry;
mod failover;
mod leases;
mod load;
#[path = "../../tests/distributed/nats.rs"]
#[allow(dead_code, reason = "tests use the rest")]
mod nats;
mod party;
mod size;
mod soak;

use std::process::Command;

fn main() {
    // `cargo bench` says `--bench`.
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|it| it != "--bench")
        .collect();
    let is_quick = arguments.iter().any(|it| it == "--quick");
    let named: Vec<&str> = arguments
        .iter()
        .map(String::as_str)
        .filter(|it| !it.starts_with('-'))
        .collect();
    // The one that users run: this one's own is built with what tests need. What `cargo bench` says of
    // this package would have dependencies built again, whose build scripts look at it.
    let mut build = Command::new(env!("CARGO"));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            build.env_remove(name);
        }
    }
    let built = build
        .args(["build", "--profile=bench", "--locked"])
        .status();
    assert!(built.unwrap().success(), "fleetcall is not built");
    type Measure = fn(bool);
    let parts: [(&str, Measure); 6] = [
        ("size", size::measure),
        ("load", load::measure),
        ("leases", leases::measure),
        ("expiry", expiry::measure),
        ("failover", failover::measure),
        ("soak", soak::measure),
    ];
    let unknown = named
        .iter()
        .find(|it| parts.iter().all(|(name, _)| name != *it));
    assert!(
        unknown.is_none(),
        "there is no part {unknown:?}; there are size, load, leases, expiry, failover, soak"
    );
    for (name, measure) in parts {
        // An hour is to be asked for.
        if named.contains(&name) || named.is_empty() && name != "soak" {
            measure(is_quick);
        }
    }
}

/// The middle one, and the largest.
fn spread(values: &mut [f64]) -> (f64, f64) {
    values.sort_unstable_by(f64::total_cmp);
    (values[values.len() / 2], values[values.len() - 1])
}
