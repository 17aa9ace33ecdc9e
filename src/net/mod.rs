//! What drivers, lists and the command line share of the machine: names, TLS, secrets, HTTP,
//! processes, files.
//!
//! It knows no device and no configuration. The arrows to `drivers` that are left stand in
//! `tests/architecture.allowed`.

pub(crate) mod authorities;
pub(crate) mod exec_scope;
pub(crate) mod files;
pub(crate) mod open_files;
pub(crate) mod process;
pub(crate) mod resolve;
pub(crate) mod secret;
pub(crate) mod tls;
pub(crate) mod web;
