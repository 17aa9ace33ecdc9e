//! The flags of `fleetcall collect`.

use std::io::IsTerminal as _;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::cli::flags::{ConfigFlag, LogFlags, grace};
use crate::cli::server::TrustFlags;
use crate::domain::{DeviceKind, NodeSet};

#[derive(Debug, Args)]
pub(in crate::cli) struct Flags {
    #[command(flatten)]
    pub(super) config: ConfigFlag,
    /// How the answer is printed [default: table at a terminal, otherwise json]
    #[arg(long, value_name = "FORMAT", value_enum)]
    pub(super) format: Option<Format>,
    /// Ask only clusters of this node set, such as "1-4" or "edge"; may be repeated
    #[arg(long, value_name = "SET", value_parser = named_set)]
    pub(super) cluster: Vec<NamedSet>,
    /// Ask only devices of this kind
    #[arg(long, value_name = "KIND", value_enum)]
    pub(super) kind: Option<Kind>,
    /// Ask only devices of this node set, such as "web[01-40]"; may be repeated
    #[arg(long, value_name = "SET", value_parser = named_set)]
    pub(super) device: Vec<NamedSet>,
    /// Do not ask devices of this node set; may be repeated
    #[arg(long, value_name = "SET", value_parser = named_set)]
    pub(super) exclude: Vec<NamedSet>,
    /// Show only the devices that failed
    #[arg(long)]
    pub(super) failed: bool,
    /// How long it may take, if that is less than what is configured
    #[arg(long, value_name = "DURATION", value_parser = deadline)]
    pub(super) deadline: Option<Duration>,
    /// Ask devices, too, that the service leaves alone because their breaker is open or their actor
    /// waits to be restarted, each at most once in 10 s; needs --server
    #[arg(long)]
    pub(super) force: bool,
    /// Let a running service ask, such as http://127.0.0.1:11100, instead of asking from here
    #[arg(long, value_name = "URL")]
    pub(super) server: Option<String>,
    #[command(flatten)]
    pub(super) trust: TrustFlags,
    #[command(flatten)]
    pub(in crate::cli) log: LogFlags,
}

impl Flags {
    pub(super) fn format(&self) -> Format {
        self.format.unwrap_or_else(|| {
            if std::io::stdout().is_terminal() {
                Format::Table
            } else {
                Format::Json
            }
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people
    Table,
    /// As `GET /test` has it, in configured order
    Json,
    /// A line for each device when it answers, as `/v1/report` has them, then a summary
    Ndjson,
    /// For spreadsheets, a row for each device, in configured order
    Csv,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(in crate::cli) enum Kind {
    Node,
    Switch,
}

impl From<Kind> for DeviceKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Node => Self::Node,
            Kind::Switch => Self::Switch,
        }
    }
}

/// A node set as it was written, and what that means.
#[derive(Debug, Clone)]
pub(in crate::cli) struct NamedSet {
    pub(super) text: String,
    set: NodeSet,
}

/// The set that comes of several.
pub(in crate::cli) fn joined(sets: &[NamedSet]) -> Option<NodeSet> {
    NodeSet::join(sets.iter().map(|it| &it.set))
}

pub(in crate::cli) fn named_set(text: &str) -> Result<NamedSet, String> {
    let set = NodeSet::parse(text)?;
    let text = text.to_owned();
    Ok(NamedSet { text, set })
}

fn deadline(text: &str) -> Result<Duration, String> {
    let duration = grace(text)?;
    if duration < Duration::from_millis(1) {
        return Err("write at least \"1ms\"".to_owned());
    }
    Ok(duration)
}
