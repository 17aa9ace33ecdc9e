//! fleetcall: a roll call for clusters.
//!
//! An operator has clusters, each of nodes and switches. One request asks every device of every
//! cluster at the same time and gives back one ordered answer, in the time of the slowest lookup or
//! of the deadline, even while devices hang, fail, or crash the code that asks them.
//!
//! This crate is a binary's inside; its public items serve `main`, the tests and the benchmarks.
//!
//! | room | what lives there | what it may use |
//! | --- | --- | --- |
//! | [`cli`] | arguments, exit codes, all output to standard output | [`app`], [`http`]'s JSON, `lookup`'s TLS |
//! | [`app`] | the composition root: from a configuration to a running service | everything |
//! | [`http`] | routes, JSON, headers, metrics | [`collector`], [`reload`], [`access`], [`watchdog`], [`telemetry`], [`domain`] |
//! | [`access`] | who may do what: tokens, certificates, limits in force | [`config`], `lookup`, [`domain`] |
//! | [`reload`] | a new configuration for the running actors | [`config`], [`actors`], `discovery` |
//! | [`collector`] | the asynchronous front of the actors; holds the deadline | [`actors`], [`domain`] |
//! | [`watchdog`] | whether roll calls can finish, tried on every thread | [`actors`] |
//! | [`distributed`] | clusters that other processes ask, through NATS | [`collector`], [`actors`], [`domain`] |
//! | [`actors`] | the supervised tree of actors | `lookup`, [`domain`] |
//! | `lookup` | the drivers: how one device is asked | [`domain`] |
//! | `discovery` | lists of devices that others keep, read once | `lookup`, [`domain`] |
//! | [`config`] | the configuration file, valid or refused with all its faults | `files`, [`domain`] |
//! | `open_files` | how many files may be open, and who may have how many | nothing |
//! | `files` | reading files, whatever they are and whether or not they hang | [`telemetry`] |
//! | [`domain`] | what a fleet, an answer, a restart policy is; pure | nothing |
//! | [`telemetry`] | log lines and counters; may be called from anywhere but `domain` | [`domain`] |
//!
//! For fuzzers only, `fuzz` opens the parsers of these rooms (`docs/fuzzing.md`).
//!
//! A request comes in at [`http`], becomes a [`collector::CollectorHandle::collect`], which sends
//! `Collect` to every cluster's actor; that sends `Probe` to its devices' actors, whose outcomes go
//! straight into the slots of one [`domain::CollectionBuilder`].

pub mod access;
pub mod actors;
pub mod app;
pub mod cli;
pub mod collector;
pub mod config;
mod discovery;
pub mod distributed;
pub mod domain;
mod files;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzz;
pub mod http;
mod lookup;
mod open_files;
pub mod reload;
pub mod telemetry;
pub mod watchdog;
