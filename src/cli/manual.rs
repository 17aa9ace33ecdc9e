//! `fleetcall completions` and `fleetcall man`: both come from the definitions of the commands, so
//! that they say what the binary does.

use std::process::ExitCode;

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;
use clap_mangen::Man;

use super::{Cli, CliError};
use crate::domain::did_you_mean;

#[derive(Debug, Args)]
pub(super) struct CompletionFlags {
    /// The shell to complete in
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Debug, Args)]
pub(super) struct ManFlags {
    /// The command that the page is about, instead of all of them
    #[arg(value_name = "COMMAND")]
    command: Option<String>,
}

pub(super) fn completions(flags: &CompletionFlags) -> Result<ExitCode, CliError> {
    let mut script = Vec::new();
    let mut command = Cli::command();
    clap_complete::generate(flags.shell, &mut command, "fleetcall", &mut script);
    super::print(script.trim_ascii_end())?;
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
    super::print(page.trim_ascii_end())?;
    Ok(ExitCode::SUCCESS)
}
