//! The real binary, started on a free port, asked by a real HTTP client.
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

mod ask;
mod cli;
mod collect;
mod config;
mod contract;
mod demonstration;
mod flags;
mod forced;
mod gate;
mod harness;
mod init;
mod large;
mod log;
mod manual;
mod openapi;
mod pipes;
mod pty;
mod reload;
mod service;
mod shutdown;
mod soak;
mod terminal;
mod topology;
mod tree;
mod v1;
