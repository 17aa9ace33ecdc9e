//! `fleetcall collect`: one roll call, made here or by a running service, for people and programs.
//!
//! While it runs, a terminal shows how far it is, on standard error. What it came to goes to
//! standard output, whole or, after Ctrl-C, as far as it has come.

mod csv;
#[cfg(fuzzing)]
pub(super) mod fuzz;
mod interrupt;
mod line;
mod local;
mod progress;
mod roll;
mod server;
mod table;

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::Duration;

use actix_web::rt::System;
use clap::{Args, ValueEnum};
use tokio::sync::oneshot;
use tokio::time::{Instant, MissedTickBehavior};

use super::server::TrustFlags;
use super::terminal::{Screen, Terminal, plain_json};
use super::{CliError, ConfigFlag, LogFlags, complain};
use crate::config::Config;
use crate::domain::{DeviceKind, MAX_DEVICES, NodeSet, Scope, counted};
use crate::net::open_files;
use crate::server::view::report;
use crate::telemetry;
use line::Line;
use local::Local;
use roll::{DeviceRoll, Roll};
use server::{Api, ServiceClient};

pub(super) use server::{ServiceError, whole_topology};

/// How often progress is drawn; sooner than that nobody waits for it.
const DRAW_EVERY: Duration = Duration::from_millis(100);

/// What shells give for a process that SIGPIPE ended.
const UNREAD_EXIT_CODE: u8 = 141;

#[derive(Debug, Args)]
pub(super) struct Flags {
    #[command(flatten)]
    config: ConfigFlag,
    /// How the answer is printed [default: table at a terminal, otherwise json]
    #[arg(long, value_name = "FORMAT", value_enum)]
    format: Option<Format>,
    /// Ask only clusters of this node set, such as "1-4" or "edge"; may be repeated
    #[arg(long, value_name = "SET", value_parser = named_set)]
    cluster: Vec<NamedSet>,
    /// Ask only devices of this kind
    #[arg(long, value_name = "KIND", value_enum)]
    kind: Option<Kind>,
    /// Ask only devices of this node set, such as "web[01-40]"; may be repeated
    #[arg(long, value_name = "SET", value_parser = named_set)]
    device: Vec<NamedSet>,
    /// Do not ask devices of this node set; may be repeated
    #[arg(long, value_name = "SET", value_parser = named_set)]
    exclude: Vec<NamedSet>,
    /// Show only the devices that failed
    #[arg(long)]
    failed: bool,
    /// How long it may take, if that is less than what is configured
    #[arg(long, value_name = "DURATION", value_parser = deadline)]
    deadline: Option<Duration>,
    /// Ask devices, too, that the service leaves alone because their breaker is open or their actor
    /// waits to be restarted, each at most once in 10 s; needs --server
    #[arg(long)]
    force: bool,
    /// Let a running service ask, such as http://127.0.0.1:11100, instead of asking from here
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    #[command(flatten)]
    trust: TrustFlags,
    #[command(flatten)]
    pub(super) log: LogFlags,
}

impl Flags {
    fn format(&self) -> Format {
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
enum Format {
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
pub(super) enum Kind {
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
pub(super) struct NamedSet {
    text: String,
    set: NodeSet,
}

/// The set that comes of several.
pub(super) fn joined(sets: &[NamedSet]) -> Option<NodeSet> {
    NodeSet::join(sets.iter().map(|it| &it.set))
}

/// Whom to ask, and how long.
#[derive(Debug)]
struct RollRequest {
    scope: Scope,
    deadline: Option<Duration>,
    /// Whether devices are asked that the service leaves alone.
    force: bool,
    /// The sets of the scope as one text each; empty is none.
    clusters: String,
    devices: String,
    exclude: String,
}

impl RollRequest {
    fn new(flags: &Flags) -> Self {
        let texts = |sets: &[NamedSet]| {
            let texts: Vec<&str> = sets.iter().map(|it| it.text.as_str()).collect();
            texts.join(",")
        };
        let kind = flags.kind.map(DeviceKind::from);
        Self {
            scope: Scope {
                clusters: joined(&flags.cluster),
                kind,
                devices: joined(&flags.device),
                exclude: joined(&flags.exclude),
            },
            deadline: flags.deadline,
            force: flags.force,
            clusters: texts(&flags.cluster),
            devices: texts(&flags.device),
            exclude: texts(&flags.exclude),
        }
    }

    /// As `/v1/report` takes it.
    fn query(&self) -> impl Iterator<Item = (&'static str, String)> {
        let set = |key, text: &str| (!text.is_empty()).then(|| (key, text.to_owned()));
        let clusters = set("cluster", &self.clusters);
        let devices = set("device", &self.devices);
        let exclude = set("exclude", &self.exclude);
        let kind = self.scope.kind.map(|kind| ("kind", kind.to_string()));
        let deadline = self
            .deadline
            .map(|deadline| ("deadline", humantime::format_duration(deadline).to_string()));
        let force = self.force.then(|| ("force", "true".to_owned()));
        [clusters, devices, exclude, kind, deadline, force]
            .into_iter()
            .flatten()
    }
}

/// Who is to make the roll call.
#[expect(clippy::large_enum_variant, reason = "there is one")]
enum AskThrough {
    Here(Config),
    There(Api),
}

/// A roll call that somebody makes.
enum AnswerSource {
    Here(Local),
    There(ServiceClient),
}

/// How it ended.
enum RollEnd {
    /// Everybody who was asked is in it.
    Complete,
    Interrupted,
    /// Nothing reads the lines that it prints.
    Unread,
    /// The service went away, or what it prints cannot be written.
    Broken(CliError),
}

/// What is to be seen of it.
struct RollView {
    format: Format,
    only_failed: bool,
    out: Terminal,
    /// Where progress is drawn, if it is.
    progress: Option<(Screen, Terminal)>,
}

impl RollView {
    fn new(flags: &Flags, screen: Screen) -> Self {
        let (out, err) = (
            Terminal::of(&std::io::stdout()),
            Terminal::of(&std::io::stderr()),
        );
        let format = flags.format();
        // Lines that come one by one on the same terminal say enough.
        let is_drawn = err.obeys && !(format == Format::Ndjson && out.is_terminal);
        Self {
            format,
            only_failed: flags.failed,
            out,
            progress: is_drawn.then_some((screen, err)),
        }
    }

    fn draw(&self, roll: &Roll, elapsed: Duration) {
        if let Some((screen, terminal)) = &self.progress {
            screen.draw(&progress::line(&roll.tally, elapsed, *terminal));
        }
    }

    fn clear(&self) {
        if let Some((screen, _)) = &self.progress {
            screen.clear();
            // Or it may be erased behind the answer.
            telemetry::flush();
        }
    }

    /// Prints lines as they come; gives whether there is still a reader. Beside the arbiter, as the
    /// reader may take its time.
    async fn print_lines(&self, lines: Vec<String>) -> Result<bool, CliError> {
        if self.format != Format::Ndjson || lines.is_empty() {
            return Ok(true);
        }
        let text = self.safe(lines.join("\n"));
        let printed = tokio::task::spawn_blocking(move || super::print(text.as_bytes())).await;
        printed.unwrap_or_else(|error| Err(CliError::Output(std::io::Error::other(error))))
    }

    /// Prints all that has come.
    fn print(
        &self,
        roll: &Roll,
        elapsed: Duration,
        complete: bool,
        indent: bool,
    ) -> Result<bool, CliError> {
        match self.format {
            Format::Ndjson => Ok(true),
            Format::Table => {
                let text = table::text(roll, elapsed, self.only_failed, complete, self.out);
                super::print(text.as_bytes())
            }
            Format::Json => {
                let summary = roll.collection(|_| true).summary();
                let shown = roll.collection(|device| {
                    // Who has not answered has failed, here.
                    !self.only_failed || device.heard.is_none() || device.fault().is_some()
                });
                let json = report(shown, &summary).into_json(indent);
                let json = String::from_utf8_lossy(&json).into_owned();
                super::print(self.safe(json).as_bytes())
            }
            Format::Csv => {
                let shows = |device: &DeviceRoll| !self.only_failed || device.fault().is_some();
                let text = csv::text(roll, shows, self.out.is_terminal);
                super::print(text.trim_end_matches('\n').as_bytes())
            }
        }
    }

    /// At a terminal nothing of it is obeyed.
    fn safe(&self, json: String) -> String {
        if self.out.is_terminal {
            plain_json(&json)
        } else {
            json
        }
    }
}

pub(super) fn collect(flags: &Flags, screen: Screen) -> Result<ExitCode, CliError> {
    let view = RollView::new(flags, screen);
    let request = RollRequest::new(flags);
    let way = match &flags.server {
        None if flags.force => return Err(CliError::ForceHere),
        None => {
            open_files::raise();
            let (config, _) = flags.config.source().load().map_err(CliError::Config)?;
            AskThrough::Here(config)
        }
        Some(server) => {
            AskThrough::There(Api::new(server, &flags.trust).map_err(CliError::Server)?)
        }
    };
    let stop = interrupt::watch().map_err(CliError::Signals)?;
    let start = Instant::now();
    let system = System::new();
    let made = system.block_on(make(way, &request, &view, stop));
    view.clear();
    let Some(MadeAnswer {
        source,
        mut roll,
        end,
        is_whole,
    }) = made?
    else {
        complain("fleetcall: interrupted before anybody was asked");
        return Ok(ExitCode::from(interrupt::EXIT_CODE));
    };
    let elapsed = start.elapsed();
    let is_complete = matches!(end, RollEnd::Complete);
    roll.settle(is_complete);
    let printed = view.print(&roll, elapsed, is_complete, flags.log.debug);
    system.block_on(source.close());
    printed?;
    let (asked, unheard) = (counted(roll.tally.asked, "device"), roll.tally.unheard());
    Ok(match end {
        RollEnd::Complete if roll.tally.failed() == 0 && is_whole => ExitCode::SUCCESS,
        RollEnd::Complete => ExitCode::from(3),
        RollEnd::Interrupted => {
            complain(&format!(
                "fleetcall: interrupted, so this is not complete: {unheard} of {asked} had not \
                 answered"
            ));
            ExitCode::from(interrupt::EXIT_CODE)
        }
        RollEnd::Unread => ExitCode::from(UNREAD_EXIT_CODE),
        RollEnd::Broken(error) => {
            complain(&format!(
                "{error}; this is not complete: {unheard} of {asked} had not answered"
            ));
            ExitCode::FAILURE
        }
    })
}

/// A roll call as far as it came.
struct MadeAnswer {
    source: AnswerSource,
    roll: Roll,
    end: RollEnd,
    /// Whether all lists that devices are taken from could be read.
    is_whole: bool,
}

/// `None` if it was interrupted before it began.
async fn make(
    way: AskThrough,
    request: &RollRequest,
    view: &RollView,
    mut stop: oneshot::Receiver<()>,
) -> Result<Option<MadeAnswer>, CliError> {
    let start = Instant::now();
    let begun = tokio::select! {
        biased;
        _ = &mut stop => return Ok(None),
        begun = begin(way, request) => begun?,
    };
    let (mut source, mut roll, is_whole) = begun;
    let mut ticks = tokio::time::interval_at(start + DRAW_EVERY, DRAW_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let end = loop {
        tokio::select! {
            biased;
            _ = &mut stop => break RollEnd::Interrupted,
            _ = ticks.tick() => view.draw(&roll, start.elapsed()),
            came = source.next(&mut roll, view) => match came {
                Ok(Some(lines)) => match view.print_lines(lines).await {
                    Ok(true) => {}
                    Ok(false) => break RollEnd::Unread,
                    Err(error) => break RollEnd::Broken(error),
                },
                Ok(None) => break RollEnd::Complete,
                Err(error) => break RollEnd::Broken(error),
            }
        }
    };
    Ok(Some(MadeAnswer {
        source,
        roll,
        end,
        is_whole,
    }))
}

async fn begin(
    way: AskThrough,
    request: &RollRequest,
) -> Result<(AnswerSource, Roll, bool), CliError> {
    Ok(match way {
        AskThrough::Here(config) => {
            let (local, roll, is_whole) = Local::begin(config, request).await?;
            (AnswerSource::Here(local), roll, is_whole)
        }
        AskThrough::There(api) => {
            let begun = ServiceClient::begin(&api, request).await;
            let (server, topology) = begun.map_err(CliError::Server)?;
            (AnswerSource::There(server), Roll::by_name(&topology), true)
        }
    })
}

impl AnswerSource {
    /// Leaves nothing behind on the devices that were asked.
    async fn close(self) {
        match self {
            Self::Here(local) => local.close().await,
            Self::There(_) => {}
        }
    }

    /// Puts what has come since into the roll; also as lines of NDJSON, if that is wanted. `None`
    /// when all have come. Cancel-safe.
    async fn next(
        &mut self,
        roll: &mut Roll,
        view: &RollView,
    ) -> Result<Option<Vec<String>>, CliError> {
        let wants_lines = view.format == Format::Ndjson;
        match self {
            Self::Here(local) => local.next(roll, wants_lines, view.only_failed).await,
            Self::There(server) => {
                let lines = server.next().await.map_err(CliError::Server)?;
                if lines.is_empty() {
                    return Ok(None);
                }
                let mut texts = Vec::new();
                for (line, text) in lines {
                    let is_shown = match &line {
                        Line::Came { heard, .. } => !view.only_failed || heard.outcome.is_err(),
                        Line::End | Line::Problem(_) => true,
                    };
                    if wants_lines && is_shown {
                        texts.push(text);
                    }
                    if let Line::Came {
                        cluster,
                        kind,
                        id,
                        heard,
                    } = line
                    {
                        roll.hear_of(cluster, kind, id, heard);
                    }
                }
                if roll.tally.asked > MAX_DEVICES {
                    return Err(CliError::Server(server.too_many()));
                }
                Ok(Some(texts))
            }
        }
    }
}

pub(super) fn named_set(text: &str) -> Result<NamedSet, String> {
    let set = NodeSet::parse(text)?;
    let text = text.to_owned();
    Ok(NamedSet { text, set })
}

fn deadline(text: &str) -> Result<Duration, String> {
    let duration = super::grace(text)?;
    if duration < Duration::from_millis(1) {
        return Err("write at least \"1ms\"".to_owned());
    }
    Ok(duration)
}
