//! From the arguments to the exit code.

use std::io::ErrorKind;
use std::process::ExitCode;

use rustix::process::{DumpableBehavior, set_dumpable_behavior};

use super::command::{Cli, Command};
use super::error::CliError;
use super::flags::LogFlags;
use super::output::complain;
use super::terminal::{Screen, Terminal, plain_lines};
use super::{arguments, check, collect, init, manual, publish, reset, serve, tree, workers};
use crate::net::exec_scope;
use crate::telemetry;

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
        Command::Check(_) => "fleetcall=warn,fleetcall::reload::discovery_sources=error",
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
        Command::Serve(flags) => serve::serve(&flags, None),
        Command::Worker {
            serve: flags,
            worker,
        } => serve::serve(&flags, Some(&worker)),
        Command::Check(flags) => check::check(&flags),
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
