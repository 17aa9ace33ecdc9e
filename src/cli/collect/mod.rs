//! `fleetcall collect`: one roll call, made here or by a running service, for people and programs.
//!
//! While it runs, a terminal shows how far it is, on standard error. What it came to goes to
//! standard output, whole or, after Ctrl-C, as far as it has come.

mod csv;
mod flags;
#[cfg(fuzzing)]
pub(super) mod fuzz;
mod interrupt;
mod line;
mod local;
mod progress;
mod request;
mod roll;
mod server;
mod table;

use std::process::ExitCode;
use std::time::Duration;

use actix_web::rt::System;
use tokio::sync::oneshot;
use tokio::time::{Instant, MissedTickBehavior};

use super::error::CliError;
use super::output::{self, complain};
use super::terminal::{Screen, Terminal, plain_json};
use crate::config::Config;
use crate::domain::{MAX_DEVICES, counted};
use crate::net::open_files;
use crate::server::view::report;
use crate::telemetry;
use flags::Format;
use line::Line;
use local::Local;
use request::RollRequest;
use roll::{DeviceRoll, Roll};
use server::{Api, ServiceClient};

pub(super) use flags::{Flags, Kind, NamedSet, joined, named_set};
pub(super) use server::{ServiceError, whole_topology};

/// How often progress is drawn; sooner than that nobody waits for it.
const DRAW_EVERY: Duration = Duration::from_millis(100);

/// What shells give for a process that SIGPIPE ended.
const UNREAD_EXIT_CODE: u8 = 141;

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
        let printed = tokio::task::spawn_blocking(move || output::print(text.as_bytes())).await;
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
                output::print(text.as_bytes())
            }
            Format::Json => {
                let summary = roll.collection(|_| true).summary();
                let shown = roll.collection(|device| {
                    // Who has not answered has failed, here.
                    !self.only_failed || device.heard.is_none() || device.fault().is_some()
                });
                let json = report(shown, &summary).into_json(indent);
                let json = String::from_utf8_lossy(&json).into_owned();
                output::print(self.safe(json).as_bytes())
            }
            Format::Csv => {
                let shows = |device: &DeviceRoll| !self.only_failed || device.fault().is_some();
                let text = csv::text(roll, shows, self.out.is_terminal);
                output::print(text.trim_end_matches('\n').as_bytes())
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
