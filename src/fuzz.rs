//! The parsers of what comes from outside, as the fuzzers of `tests/fuzz` call them; nothing else
//! is compiled with this.
//!
//! Each entry point takes any bytes, and panics only if the code behind it has a bug: a promise
//! that it breaks counts as one. The entry points stand beside what they try, in the `fuzz` modules
//! of the rooms, as they see what is private there.

pub use crate::cli::fuzz::{report_stream, tree};
pub use crate::config::fuzz::{config, node_set};
pub use crate::discovery::fuzz::target_list;
pub use crate::domain::fuzz::template;
pub use crate::drivers::fuzz::{
    certificate, command_output, exposition, http_answer, redfish, snmp_message, snmp_user,
    snmp_walk,
};
