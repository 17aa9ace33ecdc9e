//! What `docs/supervision.md` guarantees, each guarantee by the test that it names.
//!
//! The actors run in this process with a failpoint that puts panics where no configuration can.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]
#![allow(unreachable_pub, reason = "nobody uses a test from outside")]

mod forced;
mod grid;
mod harness;
mod joining;
mod log;
mod policy;
mod promise;
mod reload;
mod storms;
