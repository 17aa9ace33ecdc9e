//! Asking one device: a [`Driver`] is called with a [`Call`] and gives facts or a [`LookupError`].
//!
//! It does not know actors, HTTP servers, the configuration file or retries: a lookup is a future
//! that whoever started it may drop at any point, and that leaves nothing behind then. A new driver
//! is a file (or folder) here, an entry in [`Driver`], and its settings in `domain` and `config`.
//!
//! [`LookupError`]: crate::domain::LookupError

mod bounds;
mod call;
mod exec;
mod facts;
#[cfg(fuzzing)]
pub(crate) mod fuzz;
mod http;
mod open_files;
mod output;
mod prometheus;
mod redfish;
mod registry;
mod simulated;
mod snmp;
mod ssh;
mod tcp;
mod web;

pub(crate) use bounds::refusal;
pub(crate) use call::Call;
pub(crate) use facts::changed_facts;
pub(crate) use open_files::open_files;
pub(crate) use redfish::{end_all as end_sessions, sessions_left};
pub(crate) use registry::Driver;
