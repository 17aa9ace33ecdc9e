//! `fleetcall init`: a configuration to start from, in which every setting is explained.

use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::error::{CliError, InitError};
use super::flags::ConfigFlag;
use super::output::{print, print_line};
use crate::config::DEFAULT_PATH;

/// What is written: a small simulated fleet, and beside it every setting with its default.
const COMMENTED: &str = include_str!("../../config/commented.toml");

#[derive(Debug, Args)]
pub(super) struct Flags {
    #[command(flatten)]
    config: ConfigFlag,
    /// Where to write; `-` is standard output [default: what --config names, or config/clusters.toml]
    #[arg(value_name = "PATH")]
    path: Option<PathBuf>,
    /// Overwrite a file that is there already
    #[arg(long)]
    force: bool,
}

pub(super) fn write(flags: &Flags) -> Result<ExitCode, CliError> {
    let named = flags.path.as_ref().or(flags.config.config.as_ref());
    let path = named.map_or(Path::new(DEFAULT_PATH), PathBuf::as_path);
    if path == Path::new("-") {
        print(COMMENTED.trim_end().as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    write_file(path, flags.force).map_err(CliError::Init)?;
    let line = format!("{}: written", path.display());
    print_line(&line)?;
    Ok(ExitCode::SUCCESS)
}

fn write_file(path: &Path, force: bool) -> Result<(), InitError> {
    let cannot = |error: std::io::Error| match error.kind() {
        ErrorKind::AlreadyExists => InitError::Exists(path.to_owned()),
        _ => InitError::Write {
            path: path.to_owned(),
            error,
        },
    };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|error| InitError::Write {
            path: path.to_owned(),
            error,
        })?;
    }
    let mut options = File::options();
    options.write(true);
    if force {
        options.create(true).truncate(true);
    } else {
        options.create_new(true);
    }
    let mut file = options.open(path).map_err(cannot)?;
    file.write_all(COMMENTED.as_bytes()).map_err(cannot)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    /// Where the clusters begin that are examples.
    const EXAMPLES: &str = "# Trouble to look at";

    fn parse(text: &str) -> Config {
        Config::parse(Path::new("init.toml"), text).unwrap_or_else(|error| panic!("{error}"))
    }

    fn is_setting(line: &str) -> bool {
        line.strip_prefix('#')
            .is_some_and(|rest| rest.starts_with(|c: char| !c.is_whitespace()))
    }

    /// With every setting in force whose line `takes` accepts.
    fn uncommented(takes: impl Fn(&str) -> bool) -> String {
        let line = |line: &'static str| match line.strip_prefix('#') {
            Some(rest) if is_setting(line) && takes(rest) => rest,
            _ => line,
        };
        let lines: Vec<&str> = COMMENTED.lines().map(line).collect();
        lines.join("\n")
    }

    /// The keys that a table may have, as the fault of one that it may not have lists them.
    fn known_keys(text: &str) -> Vec<String> {
        let error = Config::parse(Path::new("x"), text).unwrap_err();
        let fault = error
            .faults
            .iter()
            .find_map(|it| it.message.strip_prefix("unknown key; known here are "));
        let keys = fault.unwrap_or_else(|| panic!("{error}")).split('`');
        keys.skip(1).step_by(2).map(str::to_owned).collect()
    }

    #[test]
    fn every_setting_that_is_commented_out_is_accepted_at_once() {
        let config = parse(&uncommented(|_| true));
        assert_eq!(config.clusters.len(), 6);
        assert_eq!(config.collect.every.unwrap().as_secs(), 60);
        assert_eq!(config.dns.servers.len(), 2);
    }

    #[test]
    fn what_is_said_to_be_the_default_is() {
        let example = |line: &str| {
            [
                "every ",
                "max_concurrent ",
                "threads ",
                "servers ",
                "timeout = \"5s\"",
                "attempts ",
                "tokens ",
                "tls ",
                "origins ",
                "names ",
                "rate ",
                "proxies ",
                "per_device ",
            ]
            .iter()
            .any(|key| line.starts_with(key))
        };
        // The clusters after the first are examples.
        let (settings, _) = COMMENTED.split_once(EXAMPLES).unwrap();
        let lines = settings.lines().filter(|&line| is_setting(line));
        assert!(lines.count() > 15);
        let text = uncommented(|line| !example(line));
        let ours = parse(&text[..text.find(EXAMPLES).unwrap()]);
        assert_eq!(ours, parse(COMMENTED));
    }

    #[test]
    fn no_setting_is_missing() {
        let folder = std::fs::read_dir("docs/drivers").unwrap();
        let page = |entry: std::io::Result<std::fs::DirEntry>| {
            std::fs::read_to_string(entry.unwrap().path()).unwrap()
        };
        let pages: String = folder.map(page).collect();
        let fleet = "[[clusters]]\nid = 1\nnodes = \"1\"\n";
        for (table, place) in [
            ("", format!("nothing = 1\n{fleet}")),
            ("lookup", format!("[lookup]\nnothing = 1\n{fleet}")),
            ("collect", format!("[collect]\nnothing = 1\n{fleet}")),
            (
                "supervision",
                format!("[supervision]\nnothing = 1\n{fleet}"),
            ),
            ("http", format!("[http]\nnothing = 1\n{fleet}")),
            ("dns", format!("[dns]\nnothing = 1\n{fleet}")),
            ("metrics", format!("[metrics]\nnothing = 1\n{fleet}")),
            ("clusters", format!("{fleet}nothing = 1\n")),
        ] {
            for key in known_keys(&place) {
                let is_there = COMMENTED.lines().any(|line| {
                    let line = line.strip_prefix('#').unwrap_or(line);
                    let is_key = line.starts_with(&format!("{key} ")) && line.contains('=');
                    let trimmed = line.trim_matches(['[', ']']);
                    is_key || trimmed == key || trimmed.ends_with(&format!(".{key}"))
                });
                // The drivers' own are on the pages that it points to.
                let is_on_page = table == "lookup" && pages.contains(&format!("`{key}`"));
                assert!(
                    is_there || is_on_page,
                    "[{table}] {key} is not in config/commented.toml"
                );
            }
        }
    }
}
