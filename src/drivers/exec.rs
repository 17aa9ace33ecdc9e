//! The `exec` driver: runs a local command, never through a shell, and reads what it prints.
//!
//! What runs it, and ends it, is `process`.

use std::process::ExitStatus;
use std::sync::Arc;

use super::call::Call;
use super::facts::FactSheet;
use super::output::{json, key_value, words};
use crate::domain::{Allow, ExecOutput, ExecSettings, Facts, LookupError};
use crate::net::process;
use crate::net::process::EndedProcess;
use crate::net::resolve::check_unresolved;
use crate::net::secret;

/// A group of devices that a command knows about.
#[derive(Debug)]
pub(crate) struct Exec {
    settings: ExecSettings,
    allow: Option<Arc<Allow>>,
}

impl Exec {
    pub(super) fn new(settings: ExecSettings, allow: Option<Arc<Allow>>) -> Self {
        Self { settings, allow }
    }

    pub(super) async fn lookup(&self, call: Call<'_>) -> Result<Facts, LookupError> {
        // Which of its arguments a command connects to is not known here.
        check_unresolved(&call.device.to_string(), self.allow.as_deref())?;
        let expand = |part: &crate::domain::Template| call.expand(part);
        let mut parts = self.settings.command.iter().map(expand);
        let program = parts.next().unwrap_or_default();
        let mut command = process::command(&program);
        command.args(parts);
        for (name, source) in &self.settings.env {
            command.env(name, secret::read(source, call.deadline).await?.expose());
        }
        let most = self.settings.max_output_bytes;
        let EndedProcess {
            status,
            stdout,
            stderr,
        } = process::run(&program, command, most).await?;
        let facts = match self.settings.output {
            ExecOutput::Nagios => nagios(status, &stdout, &stderr),
            ExecOutput::Json => success(status, &stdout, &stderr).and_then(|()| json(&stdout)),
            ExecOutput::KeyValue => {
                success(status, &stdout, &stderr).and_then(|()| key_value(&stdout))
            }
        };
        facts.map(Facts::from)
    }
}

pub(super) fn success(status: ExitStatus, stdout: &str, stderr: &str) -> Result<(), LookupError> {
    if status.success() {
        return Ok(());
    }
    let words = words(stdout, stderr);
    Err(LookupError::Failed(format!(
        "the command ended with {status}{words}"
    )))
}

/// The [plugins' guidelines](https://nagios-plugins.org/doc/guidelines.html): a line of text, and
/// behind a bar `'label'=value[unit];…`.
pub(super) fn nagios(
    status: ExitStatus,
    stdout: &str,
    stderr: &str,
) -> Result<FactSheet, LookupError> {
    let check_status = match status.code() {
        Some(0) => "ok",
        Some(1) => "warning",
        Some(2) => {
            let words = words(stdout, "");
            return Err(LookupError::Failed(format!("critical{words}")));
        }
        Some(3) => {
            let words = words(stdout, stderr);
            return Err(LookupError::Failed(format!("unknown{words}")));
        }
        _ => {
            let words = words(stdout, stderr);
            return Err(LookupError::Protocol(format!(
                "the plugin ended with {status}{words}"
            )));
        }
    };
    let line = stdout.lines().next().unwrap_or_default();
    let (output, data) = line.split_once('|').unwrap_or((line, ""));
    let mut facts = FactSheet {
        check_status: Some(check_status),
        check_output: Some(output.trim().to_owned()),
        ..FactSheet::default()
    };
    for (label, value) in performance(data) {
        facts.values.insert(label, value.into());
    }
    Ok(facts)
}

/// Labels with their values as written, unit included.
fn performance(data: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = data.trim_start();
    while !rest.is_empty() {
        let (label, after) = match rest.strip_prefix('\'') {
            Some(quoted) => match quoted.split_once("'=") {
                Some((label, after)) => (label, after),
                None => break,
            },
            None => match rest.split_once('=') {
                Some((label, after)) => (label.trim(), after),
                None => break,
            },
        };
        let (value, after) = after.split_once(' ').unwrap_or((after, ""));
        let value = value.split(';').next().unwrap_or_default();
        found.push((label.replace("''", "'"), value.to_owned()));
        rest = after.trim_start();
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn performance_data_has_labels_and_values() {
        let data = " time=0.012s;;;0.000;10.000 'free space'=12%;20:;10: 'it''s'=3 size=5B";
        let expected = [
            ("time", "0.012s"),
            ("free space", "12%"),
            ("it's", "3"),
            ("size", "5B"),
        ];
        let expected = expected.map(|(label, value)| (label.to_owned(), value.to_owned()));
        assert_eq!(performance(data), expected);
    }

    proptest! {
        #[test]
        fn no_output_makes_it_panic(text in "\\PC{0,60}|[a-z='; |\n{}\":0-9]{0,60}") {
            performance(&text);
            json(&text).ok();
            key_value(&text).ok();
            nagios(ExitStatus::default(), &text, "").ok();
        }
    }
}
