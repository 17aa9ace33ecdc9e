//! The `exec` driver: runs a local command, never through a shell, and reads what it prints.
//!
//! The command leads a process group of its own, which is killed as a whole when the lookup ends,
//! however that is: in time, by its timeout, or dropped half-way.

use std::process::{ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;

use super::facts::FactSheet;
use super::{Call, LookupError, said, secret};
use crate::domain::{ExecOutput, ExecSettings, Facts};

/// Where commands are looked for, and what they get as theirs.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A group of devices that a command knows about.
#[derive(Debug)]
pub(crate) struct Exec {
    settings: ExecSettings,
}

/// Kills a process group when dropped.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // Fails only if nobody is left in it.
            kill_process_group(group, Signal::KILL).ok();
        }
    }
}

impl Exec {
    pub(super) fn new(settings: ExecSettings) -> Self {
        Self { settings }
    }

    pub(super) async fn lookup(&self, call: Call<'_>) -> Result<Facts, LookupError> {
        let expand = |part: &crate::domain::Template| part.expand(call.cluster, call.device);
        let mut parts = self.settings.command.iter().map(expand);
        let program = parts.next().unwrap_or_default();
        let mut command = Command::new(&program);
        command
            .args(parts)
            .env_clear()
            .env("PATH", PATH)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        for (name, source) in &self.settings.env {
            command.env(name, secret::read(source).await?.expose());
        }
        let mut child = command
            .spawn()
            .map_err(|error| LookupError::Failed(format!("cannot run {program}: {error}")))?;
        let leader = child.id().and_then(|id| i32::try_from(id).ok());
        let _group = Group(leader.and_then(Pid::from_raw));
        let most = self.settings.max_output_bytes;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        // What it says of itself is for people, and cut rather than refused.
        let (stdout, stderr) = tokio::join!(read(stdout, most), read(stderr, 4096));
        let (stdout, is_all) = stdout;
        if !is_all {
            return Err(LookupError::TooLarge(most));
        }
        let status = child.wait().await;
        let status = status
            .map_err(|error| LookupError::Failed(format!("cannot wait for {program}: {error}")))?;
        let stdout = String::from_utf8(stdout)
            .map_err(|error| LookupError::Protocol(format!("its output is no text: {error}")))?;
        let stderr = String::from_utf8_lossy(&stderr.0).into_owned();
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

/// Reads up to `most` bytes; says whether that was all.
async fn read(from: Option<impl AsyncRead + Unpin>, most: usize) -> (Vec<u8>, bool) {
    let mut bytes = Vec::new();
    let Some(from) = from else {
        return (bytes, true);
    };
    let mut from = from.take(most as u64 + 1);
    // A pipe that breaks has no more to say.
    from.read_to_end(&mut bytes).await.ok();
    let is_all = bytes.len() <= most;
    bytes.truncate(most);
    (bytes, is_all)
}

/// What it says of its failure: its first line, of the errors if there is one.
fn words(stdout: &str, stderr: &str) -> String {
    let line = |text: &str| {
        text.lines()
            .map(str::trim)
            .find(|it| !it.is_empty())
            .map(said)
    };
    let words = line(stderr).or_else(|| line(stdout));
    words.map(|words| format!(": {words}")).unwrap_or_default()
}

fn success(status: ExitStatus, stdout: &str, stderr: &str) -> Result<(), LookupError> {
    if status.success() {
        return Ok(());
    }
    let words = words(stdout, stderr);
    Err(LookupError::Failed(format!(
        "the command ended with {status}{words}"
    )))
}

fn json(stdout: &str) -> Result<FactSheet, LookupError> {
    let mut facts = FactSheet::default();
    for (index, line) in stdout.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let object: serde_json::Map<_, _> = serde_json::from_str(line).map_err(|error| {
            LookupError::Protocol(format!("line {} is no JSON object: {error}", index + 1))
        })?;
        facts.values.extend(object);
    }
    Ok(facts)
}

fn key_value(stdout: &str) -> Result<FactSheet, LookupError> {
    let mut facts = FactSheet::default();
    for (index, line) in stdout.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let (key, value) = line.split_once('=').ok_or_else(|| {
            LookupError::Protocol(format!(
                "line {} is no KEY=VALUE: {}",
                index + 1,
                said(line)
            ))
        })?;
        facts
            .values
            .insert(key.trim().to_owned(), value.trim().into());
    }
    Ok(facts)
}

/// The [plugins' guidelines](https://nagios-plugins.org/doc/guidelines.html): a line of text, and
/// behind a bar `'label'=value[unit];…`.
fn nagios(status: ExitStatus, stdout: &str, stderr: &str) -> Result<FactSheet, LookupError> {
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
