//! Several processes that share a fleet through real NATS servers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]
#![allow(unreachable_pub, reason = "nobody uses a test from outside")]
#![allow(
    clippy::disallowed_types,
    reason = "a test of another process has real time only"
)]

mod access;
mod answers;
mod buckets;
mod certificates;
mod clocks;
mod credentials;
mod devices;
mod faults;
mod fleet;
mod forced;
mod foreign;
#[path = "../api/harness.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod harness;
mod inside;
mod known;
mod leases;
mod lines;
mod load;
mod metrics;
mod nats;
mod network;
mod operator;
mod privilege;
mod rubbish;
#[path = "../metrics/scrape.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod scrape;
mod signed;
mod slow;
mod together;
mod topology;
mod upgrade;
mod valve;
