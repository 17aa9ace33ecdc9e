//! `fleetcall completions` and `fleetcall man`: both come from the definitions of the commands, so
//! that they say what the binary does.

use std::process::ExitCode;

use clap::CommandFactory as _;
use clap_mangen::Man;

use super::command::Cli;
use super::error::CliError;
use super::flags::{CompletionFlags, ManFlags};
use super::output::print;
use crate::domain::did_you_mean;

pub(super) fn completions(flags: &CompletionFlags) -> Result<ExitCode, CliError> {
    let mut script = Vec::new();
    let mut command = Cli::command();
    clap_complete::generate(flags.shell, &mut command, "fleetcall", &mut script);
    print(script.trim_ascii_end())?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn page(flags: &ManFlags) -> Result<ExitCode, CliError> {
    let mut command = Cli::command();
    command.build();
    let about = match &flags.command {
        None => command,
        Some(name) => match command.find_subcommand(name) {
            Some(found) => found.clone(),
            None => {
                let names: Vec<&str> = command
                    .get_subcommands()
                    .map(clap::Command::get_name)
                    .collect();
                return Err(CliError::NoCommand {
                    name: name.clone(),
                    known: names.join(", ") + &did_you_mean(name, names),
                });
            }
        },
    };
    let mut page = Vec::new();
    Man::new(about)
        .render(&mut page)
        .map_err(CliError::Output)?;
    print(page.trim_ascii_end())?;
    Ok(ExitCode::SUCCESS)
}
