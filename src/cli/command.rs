//! The commands and their flags.

use clap::{Parser, Subcommand};

use super::check::CheckFlags;
use super::flags::{CompletionFlags, LogFlags, ManFlags};
use super::serve::ServeFlags;
use super::{collect, init, nats, publish, reset, tree, workers};

/// What the exit codes mean, for the help and the manual.
const EXIT_CODES: &str = "\
Exit codes:
  0    ok
  1    run-time failure: port taken, stopped with collects cut off, server not reached
  2    usage
  3    collected, but some devices failed, or a list of devices could not be read
  78   bad configuration, or none
  130  interrupted by Ctrl-C
  141  collect --format ndjson was cut short, as nothing read its lines any more";

/// A roll call for clusters: asks every node and switch at once, gives one ordered answer in time
///
/// Without a command it serves; `fleetcall serve --help` lists the flags of that.
#[derive(Debug, Parser)]
#[command(name = "fleetcall", version, after_long_help = EXIT_CODES)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Serve HTTP (the default)
    Serve(ServeFlags),
    /// Serve HTTP, and ask the clusters that it takes from those of a fleet shared through NATS
    Worker {
        #[command(flatten)]
        serve: ServeFlags,
        #[command(flatten)]
        worker: nats::WorkerFlags,
    },
    /// Say whether the configuration is valid, with all its faults
    Check(CheckFlags),
    /// Make one roll call and print it; exit code 3 if some devices failed
    Collect(collect::Flags),
    /// Show the supervision tree of a running service, failures first
    Tree(tree::Flags),
    /// Have a running service ask devices again: clear their breakers, backoffs and quarantines
    Reset(reset::Flags),
    /// Put the configuration into NATS, for all processes that run with --published
    Publish(publish::Flags),
    /// Show who has which cluster of a fleet that several processes share
    Workers(workers::Flags),
    /// Write a configuration with every setting and a comment on it
    Init(init::Flags),
    /// Print a script that completes commands and flags in a shell
    Completions(CompletionFlags),
    /// Print a manual page, of all or of one command
    Man(ManFlags),
}

impl Command {
    /// What is logged; those that ask nobody but a service have nothing to log.
    pub(super) fn log(&self) -> LogFlags {
        match self {
            Self::Serve(flags) | Self::Worker { serve: flags, .. } => flags.log.clone(),
            Self::Check(flags) => flags.log.clone(),
            Self::Collect(flags) => flags.log.clone(),
            Self::Publish(flags) => flags.log.clone(),
            Self::Tree(_)
            | Self::Reset(_)
            | Self::Workers(_)
            | Self::Init(_)
            | Self::Completions(_)
            | Self::Man(_) => LogFlags::default(),
        }
    }
}
