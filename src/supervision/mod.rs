//! Supervision of actors: the shell around each, what is known of it, and who decides when it ends.
//!
//! It is to know no cluster, device or lookup; what it still does stands in
//! `tests/architecture.allowed`. Entry points: `shell::start`, `supervisor::start_supervisor`.

pub(crate) mod catch_panic;
pub(crate) mod context;
pub mod failpoints;
pub(crate) mod health;
pub(crate) mod shell;
pub(crate) mod supervisor;
