//! The drivers, through the real binary: against real server software, and against servers that
//! are broken or hostile.
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

mod allow;
mod discovery;
mod dns;
mod examples;
mod exec;
mod exec_scope;
#[path = "../api/harness.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod harness;
mod http;
mod local;
mod names;
mod once;
mod prometheus;
mod redfish;
mod redfish_sessions;
mod secrets;
mod servers;
mod snmp;
mod ssh;
mod tcp;
