//! The actors: a tree of supervised `ClusterActor`s over node and switch actors.
//!
//! Every actor runs in a supervision shell (`shell`) that catches its panics, asks
//! `SupervisorActor` for a verdict and restarts it in place, behind the same address.
//! A collect's answer travels in reply ports (`gathering`) that answer for themselves when an
//! actor dies with them. What outlives an actor (how it failed, what its device answered last) is
//! kept beside it (`health`, `device`). Entry point: `fleet::Fleet`. HTTP, the command line and the
//! configuration file are unknown here.

mod chronicle;
mod client_queue;
pub(crate) mod cluster;
mod context;
mod device;
pub mod drill;
pub(crate) mod elsewhere;
pub(crate) mod fleet;
pub(crate) mod gathering;
mod health;
mod holds;
mod keeper;
pub(crate) mod messages;
mod node;
mod panics;
mod plan;
mod probe;
pub(crate) mod queue;
mod roster;
mod schedule;
mod shell;
pub(crate) mod sight;
pub(crate) mod snapshot;
mod supervisor;
mod switch;
mod trial;
mod withdrawal;
