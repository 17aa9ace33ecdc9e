//! The command line: arguments and environment, exit codes, and all output to standard output.
//!
//! | exit code | meaning |
//! | --- | --- |
//! | 0 | ok |
//! | 1 | run-time failure: port taken, stopped with collects cut off |
//! | 2 | usage |
//! | 3 | collected, but some devices failed |
//! | 78 | bad configuration (`EX_CONFIG` of BSD's `sysexits.h`) |

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use actix_web::rt::System;
use clap::builder::BoolishValueParser;
use clap::{Args, Parser, Subcommand};
use log::LevelFilter;
use tokio::signal::unix::{SignalKind, signal};

use crate::app::{self, App, AppError, Ended, Options};
use crate::collector::CollectError;
use crate::config::{Config, ConfigError};
use crate::http::view::Report;
use crate::telemetry::{self, LogFormat};

/// Read if there is one and no other is named.
const DEFAULT_CONFIG: &str = "config/clusters.toml";

/// A roll call for clusters: asks every node and switch at once, gives one ordered answer in time
#[derive(Debug, Parser)]
#[command(name = "fleetcall", version)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    options: Flags,
}

#[derive(Debug, Clone, Copy, Subcommand)]
enum Command {
    /// Serve HTTP (the default)
    Serve,
    /// Say whether the configuration is valid, with all its faults
    Check,
    /// Make one roll call and print it as JSON; exit code 3 if some devices failed
    Collect,
}

#[derive(Debug, Args)]
struct Flags {
    /// The configuration [default: config/clusters.toml, or a built-in copy of it]
    #[arg(long, global = true, value_name = "PATH", env = "FLEETCALL_CONFIG")]
    config: Option<PathBuf>,
    /// Address to listen on
    #[arg(
        long, global = true, value_name = "ADDR", env = "FLEETCALL_BIND",
        default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST)
    )]
    bind: IpAddr,
    /// Port to listen on; 0 picks a free one and logs it
    #[arg(
        long,
        global = true,
        value_name = "N",
        env = "FLEETCALL_PORT",
        default_value_t = 11100
    )]
    port: u16,
    /// Indent JSON by two spaces and log at debug level
    #[arg(
        long, global = true, env = "FLEETCALL_DEBUG",
        value_parser = BoolishValueParser::new()
    )]
    debug: bool,
    /// How log lines are written; which ones is RUST_LOG's to say
    #[arg(
        long,
        global = true,
        value_name = "FORMAT",
        env = "FLEETCALL_LOG_FORMAT",
        value_enum,
        default_value_t
    )]
    log_format: LogFormat,
    /// How long collects under way may go on after SIGINT or SIGTERM
    #[arg(
        long, global = true, value_name = "DURATION", env = "FLEETCALL_GRACE",
        default_value = "30s", value_parser = grace
    )]
    grace: Duration,
}

/// Why a command failed, as far as it can.
#[derive(Debug, thiserror::Error)]
enum CliError {
    #[error("{0}")]
    Config(ConfigError),
    #[error("fleetcall: {0}")]
    App(AppError),
    #[error("fleetcall: no answer: {0}")]
    Collect(CollectError),
    #[error("fleetcall: cannot watch for signals: {0}")]
    Signals(std::io::Error),
    #[error("fleetcall: cannot write to standard output: {0}")]
    Output(std::io::Error),
}

impl CliError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Config(_) => ExitCode::from(78),
            Self::App(_) | Self::Collect(_) | Self::Signals(_) | Self::Output(_) => {
                ExitCode::FAILURE
            }
        }
    }
}

/// Runs what the command line says and gives its exit code.
#[must_use]
#[expect(
    clippy::print_stderr,
    reason = "the one place where a failed command says why"
)]
pub fn main() -> ExitCode {
    let Cli { command, options } = Cli::parse();
    let command = command.unwrap_or(Command::Serve);
    let level = match command {
        _ if options.debug => LevelFilter::Debug,
        Command::Serve => LevelFilter::Info,
        Command::Check | Command::Collect => LevelFilter::Warn,
    };
    telemetry::init(options.log_format, level);
    let result = match command {
        Command::Serve => serve(&options),
        Command::Check => check(&options),
        Command::Collect => collect(&options),
    };
    result.unwrap_or_else(|error| {
        eprintln!("{error}");
        error.exit_code()
    })
}

fn serve(flags: &Flags) -> Result<ExitCode, CliError> {
    let (config, source) = load(flags)?;
    let (clusters, devices) = (config.clusters.len(), config.devices());
    log::info!(config = source, clusters, devices; "configured");
    let Flags {
        bind,
        port,
        debug,
        grace,
        ..
    } = *flags;
    let options = Options {
        bind,
        port,
        debug,
        grace,
        drill: None,
    };
    System::new().block_on(async {
        let mut interrupt = signal(SignalKind::interrupt()).map_err(CliError::Signals)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(CliError::Signals)?;
        let app = App::start(config, options).map_err(CliError::App)?;
        let (second, force) = tokio::sync::oneshot::channel();
        let (first, stop) = tokio::sync::oneshot::channel();
        actix_web::rt::spawn(async move {
            for stage in [first, second] {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                // Nobody listens only if the service has ended.
                stage.send(()).ok();
            }
        });
        Ok(match app.run_until(stop, force).await {
            Ended::Drained => ExitCode::SUCCESS,
            Ended::CutOff | Ended::Failed => ExitCode::FAILURE,
        })
    })
}

fn check(flags: &Flags) -> Result<ExitCode, CliError> {
    let (config, source) = load(flags)?;
    let (clusters, devices) = (config.clusters.len(), config.devices());
    print(format!("{source}: valid, {clusters} clusters, {devices} devices").as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn collect(flags: &Flags) -> Result<ExitCode, CliError> {
    let (config, _) = load(flags)?;
    let answer = System::new().block_on(app::collect_once(config));
    let collection = answer.map_err(CliError::Collect)?;
    let summary = collection.summary();
    print(&Report::new(&collection, &summary).to_json(flags.debug))?;
    Ok(if summary.failed() == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(3)
    })
}

/// The configuration, and what to call it.
fn load(flags: &Flags) -> Result<(Config, String), CliError> {
    let path = match &flags.config {
        Some(path) => path,
        None if Path::new(DEFAULT_CONFIG).exists() => Path::new(DEFAULT_CONFIG),
        None => return Ok((Config::embedded(), "the built-in default".to_owned())),
    };
    let config = Config::load(path).map_err(CliError::Config)?;
    Ok((config, path.display().to_string()))
}

/// Prints a line to standard output.
fn print(line: &[u8]) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    let written = out
        .write_all(line)
        .and_then(|()| out.write_all(b"\n"))
        .and_then(|()| out.flush());
    written.map_err(CliError::Output)
}

fn grace(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text)
        .map_err(|_| "write a number and its unit, such as \"30s\"".to_owned())?;
    if duration > Duration::from_secs(24 * 60 * 60) {
        return Err("write at most \"24h\"".to_owned());
    }
    Ok(duration)
}
