//! The command line: arguments and environment, exit codes, and all output to standard output.
//!
//! | exit code | meaning |
//! | --- | --- |
//! | 0 | ok |
//! | 1 | run-time failure: port taken, stopped with collects cut off, server not reached |
//! | 2 | usage |
//! | 3 | collected, but some devices failed, or a list of devices could not be read |
//! | 78 | bad configuration, or none (`EX_CONFIG` of BSD's `sysexits.h`) |
//! | 130 | `collect` was interrupted by Ctrl-C, as shells number it |
//! | 141 | `collect` was cut short, as nothing read its lines any more; as shells number SIGPIPE |
//!
//! A pipe on standard output that is closed early (`| head`) is no error and changes no other code.

mod arguments;
mod check;
mod collect;
mod command;
mod error;
mod flags;
#[cfg(fuzzing)]
pub(crate) mod fuzz;
mod init;
mod manual;
mod nats;
mod output;
mod publish;
mod reset;
mod run;
mod serve;
mod server;
mod service;
mod terminal;
mod tree;
mod workers;

pub use run::main;
