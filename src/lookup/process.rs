//! Running a command for a lookup: bounded in what it prints, and gone when the lookup is.
//!
//! The command leads a process group of its own, which is killed as a whole when the lookup ends,
//! however that is: in time, by its timeout, or dropped half-way. What it prints means is not known
//! here.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{ExitCode, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;

use super::LookupError;
use crate::domain::LocalReason;
use crate::open_files;

/// What is kept of the errors that it prints, in bytes; they are for people.
const MAX_STDERR: usize = 4096;

/// Where commands are looked for, and what they get as theirs.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A command that ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) status: ExitStatus,
    pub(super) stdout: String,
    pub(super) stderr: String,
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

/// The first argument of this program when it is to become a command.
const BECOME: &str = "__become";

/// What it says, with the number of the error, if it cannot.
const NOT_BECOME: &str = "fleetcall: cannot become the command: ";

/// What it ends with then, as shells do.
const NOT_FOUND: u8 = 127;

/// A command with an environment of nothing but `PATH`, and with the limit on open files that this
/// process was started with.
pub(super) fn command(program: &str) -> Command {
    let mut command = match open_files::of_commands() {
        None => Command::new(program),
        // Between fork and exec nothing safe can be done, so this program does it after the exec.
        Some(limit) => {
            let mut command = Command::new("/proc/self/exe");
            command.args([BECOME, &limit.to_string(), program]);
            command
        }
    };
    command.env_clear().env("PATH", PATH);
    command
}

/// Becomes the command that [`command`] asks for, if it does: then this returns only what to exit
/// with when that is not possible.
pub(crate) fn become_command(mut arguments: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    arguments.next().filter(|first| first == BECOME)?;
    let limit = arguments.next().and_then(|it| it.to_str()?.parse().ok());
    let error = match (limit.map(open_files::lower), arguments.next()) {
        (Some(Ok(())), Some(program)) => std::process::Command::new(program).args(arguments).exec(),
        (Some(Err(error)), _) => error,
        (None, _) | (_, None) => return Some(ExitCode::from(2)),
    };
    let error = error.raw_os_error().unwrap_or_default();
    // Whoever started it reads that.
    writeln!(io::stderr(), "{NOT_BECOME}{error}").ok();
    Some(ExitCode::from(NOT_FOUND))
}

/// Why this program did not become the command, if so.
fn not_become(status: ExitStatus, stderr: &[u8]) -> Option<io::Error> {
    if status.code() != Some(NOT_FOUND.into()) || open_files::of_commands().is_none() {
        return None;
    }
    let text = std::str::from_utf8(stderr).ok()?;
    let error = text.strip_prefix(NOT_BECOME)?.trim_end().parse().ok()?;
    Some(io::Error::from_raw_os_error(error))
}

/// Runs `command`, called `program` in messages, which may print up to `most` bytes.
pub(super) async fn run(
    program: &str,
    mut command: Command,
    most: usize,
) -> Result<Ended, LookupError> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| not_run(program, &error))?;
    let leader = child.id().and_then(|id| i32::try_from(id).ok());
    let _group = Group(leader.and_then(Pid::from_raw));
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    // Errors are cut rather than refused, and read to their end: a pipe that nobody reads would
    // stop, or kill, a command that says a lot.
    let stderr = async {
        let Some(mut pipe) = stderr else {
            return Vec::new();
        };
        let (kept, _) = read(Some(&mut pipe), MAX_STDERR).await;
        tokio::io::copy(&mut pipe, &mut tokio::io::sink())
            .await
            .ok();
        kept
    };
    let stdout = async {
        let (kept, is_all) = read(stdout, most).await;
        is_all.then_some(kept).ok_or(LookupError::TooLarge(most))
    };
    // Too much output ends it, however long it would go on to complain.
    let (stdout, stderr) = tokio::try_join!(stdout, async { Ok(stderr.await) })?;
    let status = child.wait().await;
    let status = status.map_err(|error| not_run(program, &error))?;
    if let Some(error) = not_become(status, &stderr) {
        return Err(not_run(program, &error));
    }
    let stdout = String::from_utf8(stdout)
        .map_err(|error| LookupError::Protocol(format!("its output is no text: {error}")))?;
    let stderr = String::from_utf8_lossy(&stderr).into_owned();
    Ok(Ended {
        status,
        stdout,
        stderr,
    })
}

/// Why a command does not run.
fn not_run(program: &str, error: &io::Error) -> LookupError {
    let doing = format!("cannot run {program}");
    if let Some(error) = LookupError::local_io(&doing, error) {
        return error;
    }
    if error.kind() == io::ErrorKind::WouldBlock {
        let text =
            format!("{doing}: {error}; raise the limit on processes (TasksMax=, LimitNPROC=)");
        return LookupError::Local(LocalReason::Processes, text);
    }
    LookupError::Local(LocalReason::File, format!("{doing}: {error}"))
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
