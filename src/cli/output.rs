//! What a command says on standard output and standard error.

use std::io::{ErrorKind, Write as _};

use super::error::CliError;
use super::terminal::{Terminal, wrap};
use crate::telemetry;

/// Says lines on standard error; none is wider than a terminal there.
pub(super) fn complain(lines: &str) {
    let width = Terminal::of(&std::io::stderr()).width;
    let lines: Vec<String> = lines.split('\n').map(|line| wrap(line, width)).collect();
    telemetry::complain(&lines.join("\n"));
}

/// As [`print()`], a text for people: on more lines if a terminal is narrower.
pub(super) fn print_line(line: &str) -> Result<bool, CliError> {
    let width = Terminal::of(&std::io::stdout()).width;
    print(wrap(line, width).as_bytes())
}

/// Prints a line to standard output. A reader that is gone has read enough, which is no error;
/// gives whether it is still there.
pub(super) fn print(line: &[u8]) -> Result<bool, CliError> {
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

/// Goes behind a number of devices.
pub(super) fn of_them_simulated(simulated: usize) -> String {
    match simulated {
        0 => String::new(),
        simulated => format!(", {simulated} of them simulated"),
    }
}
