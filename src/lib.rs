//! fleetcall: a roll call for clusters.
//!
//! An operator has clusters, each of nodes and switches. One request asks every device of every
//! cluster at the same time and gives back one ordered answer, in the time of the slowest lookup or
//! of the deadline, even while devices hang, fail, or crash the code that asks them.
//!
//! This crate is a binary's inside; its public items serve `main`, the tests and the benchmarks.
//!
//! | room | what lives there |
//! | --- | --- |
//! | [`cli`] | arguments, exit codes, all output to standard output |
//! | [`app`] | the composition root: from a configuration to a running service |
//! | [`server`] | HTTP: routes, JSON, headers, metrics, the status page |
//! | [`nats`] | clusters that other processes ask; alone knows NATS |
//! | [`reload`] | a new configuration, or a new list of devices, for the running actors |
//! | [`access`] | who may do what: tokens, certificates and limits in force |
//! | [`config`] | the configuration file, valid or refused with all its faults |
//! | `discovery` | lists of devices that other programs keep, read once |
//! | [`engine`] | the actors of a fleet, and the [`engine::collector`] in front of them, which holds the deadline |
//! | `drivers` | how one device is asked |
//! | [`supervision`] | the shell around every actor, and who decides when one ends |
//! | `net` | what drivers, lists and the command line share: names, TLS, secrets, HTTP, processes, files |
//! | [`telemetry`] | log lines and counters |
//! | [`domain`] | what a fleet, an answer, a restart policy is; pure |
//!
//! A room uses those below it, none above or beside it, and no file imports, through others,
//! itself: `tests/architecture.rs` reads every path and fails otherwise. What is not in order yet
//! stands in `tests/architecture.allowed`. `access` is a room of its own, above `config`, because
//! `reload` puts tokens and certificates in force, and `server` only asks it.
//!
//! For fuzzers only, `fuzz` opens the parsers of these rooms (`docs/fuzzing.md`).
//!
//! A request comes in at [`server`] and becomes a [`engine::collector::CollectorHandle::collect`],
//! which sends `Collect` to every cluster's actor; that sends `Probe` to its devices' actors, whose
//! outcomes go straight into the slots of one [`domain::CollectionBuilder`].

pub mod access;
pub mod app;
pub mod cli;
pub mod config;
mod discovery;
pub mod domain;
pub(crate) mod drivers;
pub mod engine;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzz;
pub mod nats;
pub(crate) mod net;
pub mod reload;
pub mod server;
pub mod supervision;
pub mod telemetry;
