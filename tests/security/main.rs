//! Who may do what, over the wire: the real binary, with clients that may, that may not, and that
//! would like to.
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

mod audit;
mod bodies;
mod connections;
mod filters;
mod guarded;
#[path = "../api/harness.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod harness;
mod hosts;
mod limits;
mod origins;
mod processes;
mod roles;
mod secrets;
mod shares;
mod start;
mod tls;
