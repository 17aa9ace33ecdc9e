//! What fleetcall says about itself: `/metrics`, `/healthz`, `/readyz`, the dashboard, the alerts.
//!
//! Expositions are judged by Debian's `promtool`, and scraped by its `prometheus`.
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

mod counters;
mod expose;
#[path = "../api/harness.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod harness;
mod health;
mod instructions;
#[path = "../distributed/nats.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod nats;
mod prometheus;
mod scrape;
mod shown;
