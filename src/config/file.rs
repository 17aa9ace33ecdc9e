//! Reading the file of a configuration, and those that it names, bounded in time and size.

use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use super::fault::{ConfigError, ConfigFault};
use crate::net::files::{self, FileError};

/// The largest configuration file, in bytes; a million ids written one by one fit.
const MAX_FILE_LEN: u64 = 64 << 20;

/// The text of the regular file at `path`. Blocks for some seconds at most.
pub(super) fn read(path: &Path) -> Result<String, ConfigError> {
    let bytes = read_file(path, MAX_FILE_LEN).map_err(|why| of_file(path, why))?;
    text(path, bytes)
}

/// As [`read`]; it may be a pipe too, such as a shell's `<(…)`.
pub(super) fn read_at_start(path: &Path) -> Result<String, ConfigError> {
    let cannot = |error: FileError| of_file(path, format!("cannot read the file: {error}"));
    if !files::is_pipe(path).map_err(cannot)? {
        return read(path);
    }
    let bytes = read_pipe(path, PIPE_LIMIT);
    text(
        path,
        bytes.map_err(|why| of_file(path, format!("cannot read the file: {why}")))?,
    )
}

/// How long a command may take to write a configuration into a pipe to its end.
const PIPE_LIMIT: Duration = Duration::from_secs(60);

/// Reads a pipe to its end, which is to come within `limit`; a thread of its own waits for that.
fn read_pipe(path: &Path, limit: Duration) -> Result<Vec<u8>, String> {
    let (sender, receiver) = sync_channel(1);
    let owned = path.to_owned();
    let read = move || {
        let pipe = std::fs::File::open(owned).map_err(FileError::from);
        let bytes = pipe.and_then(|pipe| files::read_up_to(pipe, MAX_FILE_LEN));
        // It may have been given up.
        sender.send(bytes).ok();
    };
    let thread = std::thread::Builder::new().name("pipe".to_owned());
    thread.spawn(read).map_err(|error| error.to_string())?;
    match receiver.recv_timeout(limit) {
        Ok(bytes) => bytes.map_err(|error| error.to_string()),
        Err(RecvTimeoutError::Timeout) => {
            let limit = humantime::format_duration(limit);
            Err(format!(
                "it is a pipe, and was not written to its end within {limit}"
            ))
        }
        Err(RecvTimeoutError::Disconnected) => Err(FileError::Failed.to_string()),
    }
}

/// A fault of a file as a whole.
pub(super) fn of_file(path: &Path, message: String) -> ConfigError {
    ConfigError {
        path: path.to_owned(),
        faults: vec![ConfigFault {
            place: None,
            key: String::new(),
            message,
        }],
    }
}

fn text(path: &Path, bytes: Vec<u8>) -> Result<String, ConfigError> {
    String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = valid.iter().filter(|&&b| b == b'\n').count() + 1;
        of_file(
            path,
            format!("line {line} is not UTF-8 text; a configuration is a TOML file"),
        )
    })
}

/// Reads a file that may be anything, up to `limit` bytes.
pub(super) fn read_file(path: &Path, limit: u64) -> Result<Vec<u8>, String> {
    let read = files::begin_read(path, limit).wait();
    read.map_err(|error| format!("cannot read the file: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_is_read_to_its_end_which_is_not_waited_for_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.unwrap().success());
        let error = read_pipe(&path, Duration::ZERO).unwrap_err();
        let expected = "it is a pipe, and was not written to its end within 0s";
        assert_eq!(error, expected);
        let other = dir.path().join("other");
        let made = std::process::Command::new("mkfifo").arg(&other).status();
        assert!(made.unwrap().success());
        let to = other.clone();
        let writing = std::thread::spawn(move || std::fs::write(to, "text"));
        assert_eq!(read_pipe(&other, PIPE_LIMIT).unwrap(), b"text");
        writing.join().unwrap().unwrap();
        // Ends the thread that waits.
        std::fs::write(&path, "").unwrap();
    }
}
