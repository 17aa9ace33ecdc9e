//! Running a command for a lookup: bounded in what it prints, and gone when the lookup is.
//!
//! The command leads a process group of its own, which is killed as a whole when the lookup ends,
//! however that is: in time, by its timeout, or dropped half-way. What it prints means is not known
//! here.

use std::process::{ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;

use super::LookupError;

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

/// A command with an environment of nothing but `PATH`.
pub(super) fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", PATH);
    command
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
    let mut child = command
        .spawn()
        .map_err(|error| LookupError::Failed(format!("cannot run {program}: {error}")))?;
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
    let status = status
        .map_err(|error| LookupError::Failed(format!("cannot wait for {program}: {error}")))?;
    let stdout = String::from_utf8(stdout)
        .map_err(|error| LookupError::Protocol(format!("its output is no text: {error}")))?;
    let stderr = String::from_utf8_lossy(&stderr).into_owned();
    Ok(Ended {
        status,
        stdout,
        stderr,
    })
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
