//! What drivers, lists and the command line share of the machine: names, TLS, secrets, HTTP,
//! processes, files.
//!
//! It knows no device, no driver and no configuration.

pub(crate) mod authorities;
pub(crate) mod error;
pub(crate) mod exec_scope;
pub(crate) mod files;
pub(crate) mod open_files;
pub(crate) mod process;
pub(crate) mod resolve;
pub(crate) mod secret;
pub(crate) mod tls;
pub(crate) mod web;
