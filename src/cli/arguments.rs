//! From arguments to a command: which one is meant, and whether all its flags do something.
//!
//! Each command has its own flags. They may also stand before it, and without one it is `serve`. What
//! the environment says is meant for whichever command it fits: only what somebody wrote on this
//! command line is refused when it would do nothing.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};

use clap::builder::Resettable;
use clap::parser::ValueSource;
use clap::{ArgAction, ArgMatches, CommandFactory as _, FromArgMatches as _};

use super::command::Cli;
use super::error::IdleFlag;

/// The command if none is named.
const DEFAULT: &str = "serve";

/// Where a flag does nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Where {
    /// Without this flag, or without any that begins like this for a whole family.
    Without(&'static str),
    /// Beside this one.
    With(&'static str),
}

/// Flags of commands that do nothing there: the command, the flag or how flags of a family begin, and
/// where.
const IDLE: [(&str, &str, Where); 9] = [
    ("collect", "config", Where::With("server")),
    ("collect", "token_file", Where::Without("server")),
    ("collect", "ca", Where::Without("server")),
    ("publish", "lease", Where::Without("init")),
    ("publish", "nats_", Where::Without("nats")),
    ("serve", "nats_", Where::Without("nats")),
    ("serve", "published_", Where::Without("published")),
    ("worker", "nats_", Where::Without("nats")),
    ("worker", "published_", Where::Without("published")),
];

/// The command, and a flag of it that would do nothing, if there is one.
///
/// # Errors
/// If there is no such command or flag; also when help is asked for.
pub(super) fn parse(
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<(Cli, Option<IdleFlag>), clap::Error> {
    let arguments = command_first(arguments.into_iter().collect());
    let program = without_empty_variables(Cli::command());
    let matches = program.try_get_matches_from(arguments)?;
    let idle = matches
        .subcommand()
        .and_then(|(name, matches)| idle(name, matches));
    Ok((Cli::from_arg_matches(&matches)?, idle))
}

/// A variable that is set to nothing says nothing, as for other programs.
fn without_empty_variables(command: clap::Command) -> clap::Command {
    let value = |arg: &clap::Arg| arg.get_env().and_then(std::env::var_os);
    let command = command.mut_args(|arg| match value(&arg) {
        Some(value) if value.is_empty() => arg.env(Resettable::Reset),
        Some(_) | None => arg,
    });
    command.mut_subcommands(without_empty_variables)
}

/// The same arguments, with the command in front of its flags.
fn command_first(mut arguments: Vec<OsString>) -> Vec<OsString> {
    let takes_value = flags();
    let (mut at, mut found) = (1, None);
    while let Some(argument) = arguments.get(at).and_then(|it| it.to_str()) {
        let Some(flag) = argument.strip_prefix("--") else {
            if argument.starts_with('-') {
                at += 1;
                continue;
            }
            found = Some(at);
            break;
        };
        let name = flag.split('=').next().unwrap_or(flag);
        at += match takes_value.get(name) {
            Some(true) if name == flag => 2,
            Some(_) => 1,
            None if ["help", "version"].contains(&name) => 1,
            // What follows may be its value.
            None => break,
        };
    }
    let of_program = ["-h", "--help", "-V", "--version"].map(OsStr::new);
    let is_of_program = |argument: &OsString| of_program.contains(&argument.as_os_str());
    match found {
        Some(at) => {
            let command = arguments.remove(at);
            arguments.insert(1, command);
        }
        None if arguments.iter().skip(1).any(is_of_program) => {}
        None => arguments.insert(arguments.len().min(1), DEFAULT.into()),
    }
    arguments
}

/// The message, with the variable in the place of each flag whose value is that of a variable: nobody
/// wrote the flag on this command line.
pub(super) fn naming_variables(message: &str) -> String {
    let written: Vec<OsString> = std::env::args_os().skip(1).collect();
    named_as_given(message, &written, |variable| {
        std::env::var_os(variable).is_some_and(|it| !it.is_empty())
    })
}

fn named_as_given(message: &str, written: &[OsString], is_set: impl Fn(&OsStr) -> bool) -> String {
    let mut program = Cli::command();
    // Before that, flags do not know how they are shown.
    program.build();
    let all = program
        .get_subcommands()
        .flat_map(clap::Command::get_arguments);
    let mut message = message.to_owned();
    for flag in all {
        let (Some(long), Some(variable)) = (flag.get_long(), flag.get_env()) else {
            continue;
        };
        let long = format!("--{long}");
        let is_it = |given: &OsString| {
            let given = given.to_string_lossy();
            given.split('=').next() == Some(&long)
        };
        if !is_set(variable) || written.iter().any(is_it) {
            continue;
        }
        let variable = variable.to_string_lossy();
        // As the parser quotes it, with what it takes.
        message = message.replace(&format!("'{flag}'"), &variable);
        let parts: Vec<&str> = message.split(&long).collect();
        let mut named = parts[0].to_owned();
        for part in &parts[1..] {
            // `--nats-user` is not `--nats`.
            let is_longer = part.starts_with(|c: char| c == '-' || c.is_ascii_alphanumeric());
            named.push_str(if is_longer { &long } else { &variable });
            named.push_str(part);
        }
        message = named;
    }
    message
}

/// All flags, of whichever command, and whether the next argument is their value.
fn flags() -> HashMap<String, bool> {
    let program = Cli::command();
    let flags = program
        .get_subcommands()
        .flat_map(clap::Command::get_arguments);
    let flags = flags.filter_map(|it| {
        let takes_value = matches!(it.get_action(), ArgAction::Set | ArgAction::Append);
        Some((it.get_long()?.to_owned(), takes_value))
    });
    flags.collect()
}

/// The first flag on the command line that does nothing.
fn idle(command: &str, matches: &ArgMatches) -> Option<IdleFlag> {
    let is_there = |id: &str| {
        let source = matches
            .try_contains_id(id)
            .ok()
            .and_then(|_| matches.value_source(id));
        source.is_some_and(|it| it != ValueSource::DefaultValue)
    };
    let rules = IDLE.iter().filter(|(of, ..)| *of == command);
    rules.into_iter().find_map(|&(_, flag, place)| {
        let (place, other) = match place {
            Where::Without(other) if !is_there(other) => ("without", other),
            Where::With(other) if is_there(other) => ("with", other),
            Where::Without(_) | Where::With(_) => return None,
        };
        let is_meant = |id: &str| id == flag || (flag.ends_with('_') && id.starts_with(flag));
        let written = matches.ids().map(clap::Id::as_str).find(|id| {
            is_meant(id) && matches.value_source(id) == Some(ValueSource::CommandLine)
        })?;
        Some(IdleFlag {
            flag: written.replace('_', "-"),
            place,
            other,
        })
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn in_order(arguments: &str) -> String {
        let arguments = arguments.split_whitespace().map(OsString::from).collect();
        let ordered = command_first(arguments).into_iter();
        let ordered: Vec<_> = ordered.map(|it| it.into_string().unwrap()).collect();
        ordered.join(" ")
    }

    #[test]
    fn the_command_may_stand_behind_flags_or_be_left_out() {
        for (given, expected) in [
            ("fleetcall", "fleetcall serve"),
            ("fleetcall --port 0", "fleetcall serve --port 0"),
            ("fleetcall --config check", "fleetcall serve --config check"),
            ("fleetcall --config=x check", "fleetcall check --config=x"),
            (
                "fleetcall --config x check --debug",
                "fleetcall check --config x --debug",
            ),
            ("fleetcall --debug colect", "fleetcall colect --debug"),
            (
                "fleetcall --watch tree --all",
                "fleetcall tree --watch --all",
            ),
            ("fleetcall --help", "fleetcall --help"),
            ("fleetcall -V", "fleetcall -V"),
            ("fleetcall --prot 1", "fleetcall serve --prot 1"),
            ("fleetcall help tree", "fleetcall help tree"),
            (
                "fleetcall reset --cluster 1 tree",
                "fleetcall reset --cluster 1 tree",
            ),
        ] {
            assert_eq!(in_order(given), expected);
        }
    }

    #[test]
    fn a_flag_of_another_command_is_refused() {
        let program = Cli::command();
        let all: BTreeSet<String> = flags().into_keys().collect();
        let mut tried = 0;
        for command in program.get_subcommands() {
            let name = command.get_name();
            let own: Vec<_> = command
                .get_arguments()
                .filter_map(clap::Arg::get_long)
                .collect();
            for flag in all.iter().filter(|flag| !own.contains(&flag.as_str())) {
                tried += 1;
                let arguments = ["fleetcall", name, &format!("--{flag}")].map(OsString::from);
                let error = parse(arguments).unwrap_err();
                assert_eq!(error.exit_code(), 2, "{name} --{flag}");
                let why = error.to_string();
                let expected = format!("unexpected argument '--{flag}' found");
                assert!(why.contains(&expected), "{name} --{flag}: {why}");
            }
        }
        assert!(tried > 200, "{tried}");
    }

    #[test]
    fn a_fault_of_a_variable_names_the_variable() {
        let named = |message: &str, written: &[&str]| {
            let written: Vec<OsString> = written.iter().map(OsString::from).collect();
            let set = ["FLEETCALL_PORT", "FLEETCALL_NATS", "FLEETCALL_PUBLISHED"];
            named_as_given(message, &written, |it| set.iter().any(|set| it == *set))
        };
        let fault = "invalid value 'x' for '--port <N>': no number";
        let right = "invalid value 'x' for FLEETCALL_PORT: no number";
        assert_eq!(named(fault, &[]), right);
        assert_eq!(named(fault, &["--bind", "::1"]), right);
        assert_eq!(named(fault, &["--port", "x"]), fault);
        assert_eq!(named(fault, &["--port=x"]), fault);
        let fault = "'--published' cannot be used with '--config <PATH>'";
        let right = "FLEETCALL_PUBLISHED cannot be used with '--config <PATH>'";
        assert_eq!(named(fault, &["--config", "c"]), right);
        let fault = "--nats and --nats-user: a user needs --nats";
        let right = "FLEETCALL_NATS and --nats-user: a user needs FLEETCALL_NATS";
        assert_eq!(named(fault, &[]), right);
    }

    #[test]
    fn the_definitions_of_the_commands_are_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_does_nothing_names_flags_that_there_are() {
        let program = Cli::command();
        for (command, flag, place) in IDLE {
            let command = program.find_subcommand(command).unwrap();
            let has = |wanted: &str| {
                let mut ids = command.get_arguments().map(|it| it.get_id().as_str());
                ids.any(|id| id == wanted || (wanted.ends_with('_') && id.starts_with(wanted)))
            };
            let (Where::Without(other) | Where::With(other)) = place;
            assert!(has(flag) && has(other), "{flag} {other}");
        }
    }
}
