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
mod collect;
#[cfg(fuzzing)]
pub(crate) mod fuzz;
mod init;
mod manual;
mod nats;
mod publish;
mod reset;
mod server;
mod terminal;
mod tree;
mod workers;

use std::io::{ErrorKind, Write as _};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use actix_web::rt::System;
use clap::builder::BoolishValueParser;
use clap::{Args, Parser, Subcommand};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use tokio::signal::unix::{SignalKind, signal};

use crate::access::Exposure;
use crate::app::{self, App, AppError, Ended, Options, Readiness};
use crate::config::{Config, ConfigError, SEARCHED, Source};
use crate::domain::{counted, parse_duration};
use crate::engine::collector::CollectError;
use crate::nats::{Distributed, KeyError, NatsError, Trust};
use crate::net::exec_scope;
use crate::net::open_files;
use crate::telemetry::{self, LogFormat};
use terminal::{Screen, Terminal, plain_lines, wrap};

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
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
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
    Completions(manual::CompletionFlags),
    /// Print a manual page, of all or of one command
    Man(manual::ManFlags),
}

/// Where the configuration is.
#[derive(Debug, Clone, Args)]
struct ConfigFlag {
    /// The configuration [default: config/clusters.toml, or else /etc/fleetcall/clusters.toml]
    #[arg(long, value_name = "PATH", env = "FLEETCALL_CONFIG")]
    config: Option<PathBuf>,
}

impl ConfigFlag {
    fn source(&self) -> Source {
        Source::new(self.config.clone())
    }
}

/// What is logged.
#[derive(Debug, Clone, Default, Args)]
struct LogFlags {
    /// Log at debug level, and indent JSON by two spaces
    #[arg(
        long, env = "FLEETCALL_DEBUG",
        value_parser = BoolishValueParser::new()
    )]
    debug: bool,
    /// How log lines are written; which ones is RUST_LOG's to say
    #[arg(
        long,
        value_name = "FORMAT",
        env = "FLEETCALL_LOG_FORMAT",
        value_enum,
        default_value_t
    )]
    log_format: LogFormat,
}

/// Who can reach the service.
#[derive(Debug, Clone, Args)]
struct ExposureFlags {
    /// Address to listen on
    #[arg(
        long, value_name = "ADDR", env = "FLEETCALL_BIND",
        default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST)
    )]
    bind: IpAddr,
    /// Let everybody ask who can reach the address, without a token
    #[arg(
        long, env = "FLEETCALL_INSECURE",
        value_parser = BoolishValueParser::new()
    )]
    insecure: bool,
}

#[derive(Debug, Args)]
struct ServeFlags {
    #[command(flatten)]
    config: ConfigFlag,
    /// Reload when the configuration file changes
    #[arg(
        long, env = "FLEETCALL_WATCH",
        value_parser = BoolishValueParser::new()
    )]
    watch: bool,
    #[command(flatten)]
    exposure: ExposureFlags,
    /// Port to listen on; 0 picks a free one and logs it
    #[arg(
        long,
        value_name = "N",
        env = "FLEETCALL_PORT",
        default_value_t = 11100
    )]
    port: u16,
    /// How long collects under way may go on after SIGINT or SIGTERM
    #[arg(
        long, value_name = "DURATION", env = "FLEETCALL_GRACE",
        default_value = "30s", value_parser = grace
    )]
    grace: Duration,
    #[command(flatten)]
    log: LogFlags,
    #[command(flatten)]
    nats: nats::NatsFlags,
    #[command(flatten)]
    schema: nats::SchemaFlag,
    #[command(flatten)]
    published: publish::PublishedFlags,
}

/// A service with these flags would start if the configuration is valid.
#[derive(Debug, Args)]
struct CheckFlags {
    #[command(flatten)]
    config: ConfigFlag,
    #[command(flatten)]
    exposure: ExposureFlags,
    #[command(flatten)]
    log: LogFlags,
    #[command(flatten)]
    nats: nats::NatsFlags,
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
    #[error("fleetcall: cannot open the log: {0}")]
    Log(std::io::Error),
    #[error("fleetcall: cannot watch for signals: {0}")]
    Signals(std::io::Error),
    #[error("fleetcall: {0}")]
    Tree(tree::TreeError),
    #[error("fleetcall: {0}")]
    Server(collect::ServiceError),
    #[error("fleetcall: {0}")]
    Name(reset::NameError),
    #[error(
        "fleetcall: --force needs --server: only a running service leaves devices alone that it can be \
         forced to ask"
    )]
    ForceHere,
    #[error("fleetcall: {0}")]
    Init(init::InitError),
    #[error("fleetcall: {0}")]
    Nats(nats::NatsFlagsError),
    #[error("fleetcall: {0}")]
    Key(KeyError),
    #[error("fleetcall: {0}")]
    Idle(arguments::IdleFlag),
    #[error("fleetcall: there is no command {name:?}; there are {known}")]
    NoCommand { name: String, known: String },
    #[error("fleetcall: cannot write to standard output: {0}")]
    Output(std::io::Error),
}

impl CliError {
    fn of_start(error: AppError) -> Self {
        match error {
            AppError::Config(error) => Self::Config(error),
            AppError::Bind { .. } | AppError::Nats(_) => Self::App(error),
        }
    }

    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Tree(tree::TreeError::Server(error))
            | Self::Server(collect::ServiceError::Trust(error))
                if error.is_usage() =>
            {
                ExitCode::from(2)
            }
            Self::Config(_) | Self::App(AppError::Nats(NatsError::Unpublished { .. })) => {
                ExitCode::from(78)
            }
            Self::NoCommand { .. }
            | Self::Nats(_)
            | Self::Name(_)
            | Self::ForceHere
            | Self::Idle(_) => ExitCode::from(2),
            Self::App(_)
            | Self::Collect(_)
            | Self::Log(_)
            | Self::Signals(_)
            | Self::Tree(_)
            | Self::Server(_)
            | Self::Init(_)
            | Self::Key(_)
            | Self::Output(_) => ExitCode::FAILURE,
        }
    }
}

/// Runs what the command line says and gives its exit code.
#[must_use]
pub fn main() -> ExitCode {
    keep_private();
    if let Some(code) = exec_scope::enter(std::env::args_os().skip(1)) {
        return code;
    }
    let (Cli { command }, idle) = match arguments::parse(std::env::args_os()) {
        Ok(parsed) => parsed,
        Err(error) => return usage(&error),
    };
    let _flush = FlushAtEnd;
    let result = match idle {
        Some(flag) => Err(CliError::Idle(flag)),
        None => run(command),
    };
    result.unwrap_or_else(|error| {
        // Whatever somebody else has a part in.
        complain(&plain_lines(&arguments::naming_variables(
            &error.to_string(),
        )));
        error.exit_code()
    })
}

/// Keeps other processes of the same user, such as the commands that this one runs, from reading its
/// environment and memory, where secrets are. It leaves no core behind either.
fn keep_private() {
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        complain(&format!(
            "fleetcall: warning: other processes of this user can read its secrets: {error}"
        ));
    }
}

/// Gives the log time to be written at the end of the process, however that comes.
struct FlushAtEnd;

impl Drop for FlushAtEnd {
    fn drop(&mut self) {
        telemetry::flush();
    }
}

fn run(command: Command) -> Result<ExitCode, CliError> {
    let LogFlags { debug, log_format } = command.log();
    let filter = match &command {
        _ if debug => "fleetcall=debug",
        Command::Serve(_) | Command::Worker { .. } => "fleetcall=info",
        // What it prints names every device that failed.
        Command::Collect(_) => {
            "fleetcall=warn,fleetcall::engine=error,fleetcall::supervision=error"
        }
        // It says itself which lists cannot be read.
        Command::Check(_) => "fleetcall=warn,fleetcall::reload::feeds=error",
        Command::Publish(_)
        | Command::Tree(_)
        | Command::Reset(_)
        | Command::Workers(_)
        | Command::Init(_)
        | Command::Completions(_)
        | Command::Man(_) => "fleetcall=warn",
    };
    let screen = Screen::new(telemetry::open(log_format).map_err(CliError::Log)?);
    let has_colors = Terminal::of(&std::io::stderr()).has_colors;
    telemetry::init(Box::new(screen.clone()), has_colors, log_format, filter);
    match command {
        Command::Serve(flags) => serve(&flags, None),
        Command::Worker {
            serve: flags,
            worker,
        } => serve(&flags, Some(&worker)),
        Command::Check(flags) => check(&flags),
        Command::Publish(flags) => publish::publish(&flags),
        Command::Collect(flags) => collect::collect(&flags, screen),
        Command::Tree(flags) => tree::show(&flags),
        Command::Reset(flags) => reset::reset(&flags),
        Command::Workers(flags) => workers::show(&flags),
        Command::Init(flags) => init::write(&flags),
        Command::Completions(flags) => manual::completions(&flags),
        Command::Man(flags) => manual::page(&flags),
    }
}

impl Command {
    /// What is logged; those that ask nobody but a service have nothing to log.
    fn log(&self) -> LogFlags {
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

/// Help and version, or what is wrong with the arguments: a bad value, or a variable, in one line.
fn usage(error: &clap::Error) -> ExitCode {
    let given = error.to_string();
    let text = arguments::naming_variables(&given);
    let is_of_variable = error.use_stderr() && text != given;
    if is_of_variable || error.kind() == clap::error::ErrorKind::ValueValidation {
        // What comes behind an empty line is about flags in general.
        let lines = text.lines().take_while(|line| !line.is_empty());
        let line = lines.map(str::trim).collect::<Vec<_>>().join(" ");
        complain(&line.replacen("error:", "fleetcall:", 1));
    } else if let Err(error) = error.print()
        && error.kind() != ErrorKind::BrokenPipe
    {
        complain(&CliError::Output(error).to_string());
        return ExitCode::FAILURE;
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

fn serve(flags: &ServeFlags, worker: Option<&nats::WorkerFlags>) -> Result<ExitCode, CliError> {
    let distributed = flags.nats.settings(&flags.schema, worker);
    let distributed = distributed.map_err(CliError::Nats)?;
    open_files::raise();
    // A fleet that is shared, or asked by a worker, is never a made-up one by default.
    let source = match &distributed {
        None => flags.config.source().or_demonstration(),
        Some(_) => flags.config.source(),
    };
    // Before it is read, so that no change is missed in between.
    let stamp = source.stamp();
    let start = match (distributed, flags.published.published) {
        (None, true) => return Err(CliError::Nats(nats::NatsFlagsError::PublishedNowhere)),
        (Some(distributed), true) => {
            let trust = flags.published.trust.trust().map_err(CliError::Nats)?;
            Start::Published(distributed, trust)
        }
        (distributed, false) => {
            let (config, name) = source.load().map_err(CliError::Config)?;
            app::log_configured(&config, &name);
            if source.is_demonstration() {
                let looked_for = SEARCHED.join(", ");
                log::warn!(looked_for; "there is no configuration, so a simulated demonstration is served");
            }
            Start::Configured(Box::new(config), distributed)
        }
    };
    let ServeFlags {
        exposure: ExposureFlags { bind, insecure },
        port,
        log: LogFlags { debug, .. },
        grace,
        ..
    } = *flags;
    let options = Options {
        bind,
        port,
        insecure,
        debug,
        grace,
        source,
        watch: stamp.filter(|_| flags.watch),
        ..Options::default()
    };
    System::new().block_on(async {
        let mut interrupt = signal(SignalKind::interrupt()).map_err(CliError::Signals)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(CliError::Signals)?;
        let hangup = signal(SignalKind::hangup()).map_err(CliError::Signals)?;
        let app = tokio::select! {
            app = start.start(options) => app.map_err(CliError::of_start)?,
            // Lists of devices may take their time to be read.
            _ = interrupt.recv() => return Ok(ExitCode::SUCCESS),
            _ = terminate.recv() => return Ok(ExitCode::SUCCESS),
        };
        actix_web::rt::spawn(app.engine().reload().follow(hangup));
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

/// What a service starts with.
enum Start {
    Configured(Box<Config>, Option<Distributed>),
    Published(Distributed, Trust),
}

impl Start {
    async fn start(self, options: Options) -> Result<App, AppError> {
        match self {
            Self::Published(distributed, trust) => {
                App::start_published(distributed, trust, options).await
            }
            Self::Configured(config, distributed) => {
                let options = Options {
                    distributed,
                    ..options
                };
                App::start(*config, options).await
            }
        }
    }
}

/// Goes behind a number of devices.
fn of_them_simulated(simulated: usize) -> String {
    match simulated {
        0 => String::new(),
        simulated => format!(", {simulated} of them simulated"),
    }
}

fn check(flags: &CheckFlags) -> Result<ExitCode, CliError> {
    let source = flags.config.source();
    let (config, name) = source.load().map_err(CliError::Config)?;
    let ExposureFlags { bind, insecure } = flags.exposure;
    let exposure = Exposure { bind, insecure };
    app::check_access(&config, &source, exposure).map_err(CliError::Config)?;
    let (clusters, devices) = (config.clusters.len(), config.devices());
    let Readiness {
        lists,
        secrets,
        simulated,
    } = System::new().block_on(app::check_readiness(config));
    let (clusters, devices) = (counted(clusters, "cluster"), counted(devices, "device"));
    let mut line = format!("{name}: valid, {clusters}, {devices}");
    if !lists.is_empty() {
        let discovered: usize = lists.iter().map(|list| list.devices).sum();
        let lists = counted(lists.len(), "list");
        line.push_str(&format!(", and {discovered} in {lists}"));
    }
    line.push_str(&of_them_simulated(simulated));
    print_line(&line)?;
    let distributed = flags.nats.settings(&nats::SchemaFlag::default(), None);
    let distributed = distributed.map_err(CliError::Nats)?;
    for server in distributed.iter().flat_map(|it| it.nats.exposed_to()) {
        complain(&format!(
            "warning: {server}: the NATS password crosses the network in the clear; use tls:// or --nats-ca"
        ));
    }
    if let Some(it) = &distributed {
        for path in System::new().block_on(it.nats.exposed_files()) {
            complain(&format!(
                "warning: {}: everybody on this machine can read this secret, take the others' right to \
                 (chmod o-r)",
                path.display()
            ));
        }
    }
    // The service starts all the same, so this is no fault of the configuration.
    for why in secrets {
        complain(&format!("warning: {why}; lookups that need it fail"));
    }
    for list in &lists {
        if let Some(error) = &list.error {
            complain(&plain_lines(&format!(
                "warning: {}: the list {} cannot be read: {error}; the service starts without its devices, \
                 and a reload is refused",
                list.key, list.origin
            )));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Says lines on standard error; none is wider than a terminal there.
fn complain(lines: &str) {
    let width = Terminal::of(&std::io::stderr()).width;
    let lines: Vec<String> = lines.split('\n').map(|line| wrap(line, width)).collect();
    telemetry::complain(&lines.join("\n"));
}

/// As [`print()`], a text for people: on more lines if a terminal is narrower.
fn print_line(line: &str) -> Result<bool, CliError> {
    let width = Terminal::of(&std::io::stdout()).width;
    print(wrap(line, width).as_bytes())
}

/// Prints a line to standard output. A reader that is gone has read enough, which is no error;
/// gives whether it is still there.
fn print(line: &[u8]) -> Result<bool, CliError> {
    let mut out = std::io::stdout().lock();
    let written = out
        .write_all(line)
        .and_then(|()| out.write_all(b"\n"))
        .and_then(|()| out.flush());
    match written {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(CliError::Output(error)),
    }
}

fn grace(text: &str) -> Result<Duration, String> {
    let duration = parse_duration(text)?;
    if duration > Duration::from_secs(24 * 60 * 60) {
        return Err("write at most \"24h\"".to_owned());
    }
    Ok(duration)
}
