//! Running a command for a lookup: bounded in what it prints, and gone when the lookup is.
//!
//! The command runs in a scope (`exec_scope`), which kills all that is left of it when the lookup
//! ends, however that is: in time, by its timeout, dropped half-way, or with this process. What it
//! prints means is not known here.

use std::io;
use std::os::fd::OwnedFd;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::net::UnixStream;
use tokio::process::Command;

use super::exec_scope::{self, ScopeReport};
use crate::domain::{LocalReason, LookupError};
use crate::net::open_files;

/// What is kept of the errors that it prints, in bytes; they are for people.
const MAX_STDERR: usize = 4096;

/// Where commands are looked for, and what they get as theirs.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A command that ended.
#[derive(Debug)]
pub(crate) struct EndedProcess {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// How long a lookup whose command has answered waits until nothing is left of it.
const END_LIMIT: Duration = Duration::from_secs(1);

/// A command in a scope of its own, with an environment of nothing but `PATH`, and with the limit on
/// open files that this process was started with.
pub(crate) fn command(program: &str) -> Command {
    // Not by its path: another version may be there by now.
    let mut command = Command::new("/proc/self/exe");
    let limit = open_files::of_commands();
    let (small, is_small) = exec_scope::SMALL;
    let limit = limit.map_or_else(|| exec_scope::NO_LIMIT.to_owned(), |it| it.to_string());
    command
        .arg0("fleetcall")
        .args([exec_scope::NAME, &limit, program])
        .env_clear()
        .env("PATH", PATH)
        .env(small, is_small);
    command
}

/// Runs `command`, called `program` in messages, which may print up to `most` bytes.
pub(crate) async fn run(
    program: &str,
    mut command: Command,
    most: usize,
) -> Result<EndedProcess, LookupError> {
    let cannot = |error| not_run(program, &error);
    let (socket, theirs) = std::os::unix::net::UnixStream::pair().map_err(cannot)?;
    socket.set_nonblocking(true).map_err(cannot)?;
    // Dropped after the socket.
    let mut wakes = Wakes(None);
    // When this is dropped, the scope kills all that is left of the command.
    let mut socket = UnixStream::from_std(socket).map_err(cannot)?;
    command
        .stdin(OwnedFd::from(theirs))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    let mut scope = command.spawn().map_err(cannot)?;
    let pid = scope.id().and_then(|id| i32::try_from(id).ok());
    wakes.0 = pid.and_then(Pid::from_raw);
    // It holds the scope's end of the socket.
    drop(command);
    let (stdout, stderr) = (scope.stdout.take(), scope.stderr.take());
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
    let report = async {
        let mut group = None;
        loop {
            let mut report = [0; ScopeReport::LEN];
            if socket.read_exact(&mut report).await.is_err() {
                // At once: later the number may be another group's.
                if let Some(group) = group {
                    kill_process_group(group, Signal::KILL).ok();
                }
                return Err(scope_ended(program));
            }
            match ScopeReport::from_bytes(report) {
                ScopeReport::Started(command) => group = Pid::from_raw(command),
                ScopeReport::Ended(status) => return Ok(status),
                ScopeReport::NotRun(error) => {
                    return Err(cannot(io::Error::from_raw_os_error(error)));
                }
            }
        }
    };
    // Too much output ends it, however long it would go on to complain.
    let stderr = async { Ok(stderr.await) };
    let (stdout, stderr, status) = tokio::try_join!(stdout, stderr, report)?;
    drop(socket);
    // What it leaves behind does not count as running then; but the answer is there.
    if tokio::time::timeout(END_LIMIT, scope.wait()).await.is_ok() {
        wakes.0 = None;
    }
    let stdout = String::from_utf8(stdout)
        .map_err(|error| LookupError::Protocol(format!("its output is no text: {error}")))?;
    let stderr = String::from_utf8_lossy(&stderr).into_owned();
    Ok(EndedProcess {
        status,
        stdout,
        stderr,
    })
}

/// Has a scope go on, when dropped, that its command has stopped (`SIGSTOP`): it could not see otherwise
/// that its socket is closed. `None` once it has ended, as its number may be another process' then.
struct Wakes(Option<Pid>);

impl Drop for Wakes {
    fn drop(&mut self) {
        if let Some(scope) = self.0 {
            kill_process(scope, Signal::CONT).ok();
        }
    }
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

/// Why nothing is known of how a command ended: not by the device, so it opens no circuit breaker.
fn scope_ended(program: &str) -> LookupError {
    let text = format!(
        "the process that ran {program} (fleetcall {}) was killed; was there too little memory?",
        exec_scope::NAME
    );
    LookupError::Local(LocalReason::Processes, text)
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
