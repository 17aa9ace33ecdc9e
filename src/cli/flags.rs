//! Flags that several commands have.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap::builder::BoolishValueParser;
use clap_complete::Shell;

use crate::config::Source;
use crate::domain::parse_duration;
use crate::telemetry::LogFormat;

/// Where the configuration is.
#[derive(Debug, Clone, Args)]
pub(super) struct ConfigFlag {
    /// The configuration [default: config/clusters.toml, or else /etc/fleetcall/clusters.toml]
    #[arg(long, value_name = "PATH", env = "FLEETCALL_CONFIG")]
    pub(super) config: Option<PathBuf>,
}

impl ConfigFlag {
    pub(super) fn source(&self) -> Source {
        Source::new(self.config.clone())
    }
}

/// What is logged.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct LogFlags {
    /// Log at debug level, and indent JSON by two spaces
    #[arg(
        long, env = "FLEETCALL_DEBUG",
        value_parser = BoolishValueParser::new()
    )]
    pub(super) debug: bool,
    /// How log lines are written; which ones is RUST_LOG's to say
    #[arg(
        long,
        value_name = "FORMAT",
        env = "FLEETCALL_LOG_FORMAT",
        value_enum,
        default_value_t
    )]
    pub(super) log_format: LogFormat,
}

/// Who can reach the service.
#[derive(Debug, Clone, Args)]
pub(super) struct ExposureFlags {
    /// Address to listen on
    #[arg(
        long, value_name = "ADDR", env = "FLEETCALL_BIND",
        default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST)
    )]
    pub(super) bind: IpAddr,
    /// Let everybody ask who can reach the address, without a token
    #[arg(
        long, env = "FLEETCALL_INSECURE",
        value_parser = BoolishValueParser::new()
    )]
    pub(super) insecure: bool,
}

#[derive(Debug, Args)]
pub(super) struct CompletionFlags {
    /// The shell to complete in
    #[arg(value_enum)]
    pub(super) shell: Shell,
}

#[derive(Debug, Args)]
pub(super) struct ManFlags {
    /// The command that the page is about, instead of all of them
    #[arg(value_name = "COMMAND")]
    pub(super) command: Option<String>,
}

pub(super) fn grace(text: &str) -> Result<Duration, String> {
    let duration = parse_duration(text)?;
    if duration > Duration::from_secs(24 * 60 * 60) {
        return Err("write at most \"24h\"".to_owned());
    }
    Ok(duration)
}
