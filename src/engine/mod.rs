//! The actors: a tree of supervised `ClusterActor`s over node and switch actors.
//!
//! Every actor runs in a supervision shell (`supervision`) that catches its panics, asks
//! `SupervisorActor` for a verdict and restarts it in place, behind the same address. A collect's
//! answer travels in reply ports (`gather`) that answer for themselves when an actor dies with
//! them. What outlives an actor (how it failed, what its device answered last) is kept beside it
//! (`supervision::health`, `device`). Entry point: `fleet::Fleet`. HTTP, the command line and the
//! configuration file are unknown here.

pub(crate) mod canary;
mod client_queue;
pub(crate) mod cluster;
pub(crate) mod cluster_devices;
pub(crate) mod cluster_spec;
pub mod collector;
mod device;
pub(crate) mod event_log;
pub(crate) mod fleet;
pub(crate) mod gather;
pub(crate) mod messages;
pub(crate) mod queue;
pub(crate) mod remote;
pub(crate) mod remote_state;
mod schedule;
pub mod watchdog;
mod withdrawal;
