//! `fleetcall exec-scope`: a process around one command, which leaves nothing of the command behind.
//!
//! A process group is not enough to end a command by: what it starts in a session of its own
//! (`setsid`) is in another one. The system gives such processes, when their parents have ended, to
//! the nearest ancestor that is a subreaper. This process is one, so all that is left of the command
//! becomes its children sooner or later, which it kills until it has none.
//!
//! It begins to do so when the other end of the socket on its standard input closes, which also
//! happens when the service is killed. `PR_SET_PDEATHSIG` is not used: it tells of the end of the
//! thread that started this process, not of the service, and a signal that ends this process leaves
//! nothing to kill the others.
//!
//! Each lookup pays for it, so it has one thread, no runtime and no arguments to parse, and copies
//! nothing: what the command prints goes to the pipes that it was given. It does not know what the
//! command is for. What runs as another user, by a set-user-ID program, it cannot kill; it waits for
//! that. Entry point: [`enter`].

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, getpid, kill_process, kill_process_group, pidfd_open,
    set_child_subreaper, wait,
};
use rustix::stdio::{dup2_stderr, dup2_stdout, stdin};

use crate::net::open_files;

/// The first argument of this program when it is to be a scope. Then come the limit on open files,
/// or [`NO_LIMIT`], the program and its arguments.
pub(crate) const NAME: &str = "exec-scope";

/// The limit on open files stays as it is.
pub(crate) const NO_LIMIT: &str = "-";

/// Tells the allocator to reserve nothing: it would take 2 MiB of memory, which the system has to clear.
/// Saves 0.3 to 1.7 ms of 3 to 5 ms of processor time. The command is not told.
pub(crate) const SMALL: (&str, &str) = ("MIMALLOC_ARENA_RESERVE", "0");

/// How often it looks for processes that were left to it and have ended.
const REAP_EVERY: Duration = Duration::from_secs(1);

/// How often it looks whether the command has ended, where the system cannot tell (Linux before 5.3).
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// How often in a row children are looked for that are there and are not found (without `/proc`),
/// before they are left. That takes some seconds.
const MAX_LOOKS: u32 = 16;

/// What a scope tells of its command: that it was started, and how it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ScopeReport {
    /// With its number, which is that of its group.
    Started(i32),
    Ended(ExitStatus),
    /// With the number of the error.
    NotRun(i32),
}

impl ScopeReport {
    pub(crate) const LEN: usize = 5;

    fn to_bytes(self) -> [u8; Self::LEN] {
        let (kind, number) = match self {
            Self::Ended(status) => (0, status.into_raw()),
            Self::NotRun(error) => (1, error),
            Self::Started(pid) => (2, pid),
        };
        let [a, b, c, d] = number.to_le_bytes();
        [kind, a, b, c, d]
    }

    pub(crate) fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        let [kind, a, b, c, d] = bytes;
        let number = i32::from_le_bytes([a, b, c, d]);
        match kind {
            0 => Self::Ended(ExitStatus::from_raw(number)),
            2 => Self::Started(number),
            _ => Self::NotRun(number),
        }
    }

    /// Tells it. If nothing listens any more, that is seen when the socket is looked at.
    fn tell(self) {
        rustix::io::write(stdin(), &self.to_bytes()).ok();
    }
}

/// Is a scope, if the arguments say so, and gives what to exit with when nothing is left of it.
pub(crate) fn enter(mut arguments: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    arguments.next().filter(|first| first == NAME)?;
    let limit = arguments.next();
    let (Some(limit), Some(program)) =
        (limit.as_ref().and_then(|it| it.to_str()), arguments.next())
    else {
        return Some(ExitCode::from(2));
    };
    let mut command = Command::new(program);
    command.args(arguments).env_remove(SMALL.0);
    match ProcessScope::start(limit, command) {
        Ok(scope) => scope.run(),
        Err(error) => ScopeReport::NotRun(error.raw_os_error().unwrap_or_default()).tell(),
    }
    Some(ExitCode::SUCCESS)
}

/// A command that was started, and what it starts.
struct ProcessScope {
    /// Until it has ended and that was told. So long no other process can have its number.
    command: Option<Pid>,
    /// Can be read when it has ended; `None` if the system has no such thing.
    ends: Option<OwnedFd>,
}

impl ProcessScope {
    fn start(limit: &str, mut command: Command) -> io::Result<Self> {
        set_child_subreaper(Some(getpid()))?;
        if let Ok(limit) = limit.parse() {
            open_files::lower(limit)?;
        }
        let null = File::open("/dev/null")?;
        // In a group of its own: one that kills its group does not end this process.
        let child = command
            .stdin(Stdio::from(null.try_clone()?))
            .process_group(0)
            .spawn()?;
        let command = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        if let Some(command) = command {
            ScopeReport::Started(command.as_raw_pid()).tell();
        }
        let ends = command.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        let mut scope = Self { command, ends };
        // From here on the pipes are the command's alone: they end when it closes them.
        if let Err(error) = dup2_stdout(&null).and_then(|()| dup2_stderr(&null)) {
            scope.kill();
            return Err(error.into());
        }
        Ok(scope)
    }

    /// Until nothing is left of it.
    fn run(mut self) {
        while self.reap() {
            if self.is_given_up() {
                return self.kill();
            }
        }
    }

    /// Takes note of the children that have ended; gives whether there are others.
    fn reap(&mut self) -> bool {
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) if self.command == Some(pid) => {
                    self.command = None;
                    ScopeReport::Ended(ExitStatus::from_raw(status.as_raw())).tell();
                }
                Ok(Some(_)) | Err(Errno::INTR) => {}
                Ok(None) => return true,
                // There are none.
                Err(_) => return false,
            }
        }
    }

    /// Waits until the other end of the socket is closed, the command has ended, or a while has
    /// passed; gives whether it was the first.
    fn is_given_up(&self) -> bool {
        let socket = stdin();
        let mut awaited = vec![PollFd::new(&socket, PollFlags::IN)];
        let limit = match (self.command, &self.ends) {
            (Some(_), Some(ends)) => {
                awaited.push(PollFd::new(ends, PollFlags::IN));
                REAP_EVERY
            }
            (Some(_), None) => LOOK_EVERY,
            (None, _) => REAP_EVERY,
        };
        wait_for(&mut awaited, limit);
        // Nothing is ever sent, so that is its end.
        awaited
            .first()
            .is_some_and(|socket| !socket.revents().is_empty())
    }

    /// Kills all that is left.
    fn kill(&mut self) {
        if let Some(command) = self.command {
            // At once, before they can start others.
            kill_process_group(command, Signal::KILL).ok();
        }
        let kill_children = || {
            let children = children();
            for &child in &children {
                kill_process(child, Signal::KILL).ok();
            }
            !children.is_empty()
        };
        end_all(
            || self.reap(),
            kill_children,
            |pause| wait_for(&mut [], pause),
        );
    }
}

/// Kills children by `kill`, which says whether it found any, while there are some by `reap`.
fn end_all(
    mut reap: impl FnMut() -> bool,
    mut kill: impl FnMut() -> bool,
    mut rest: impl FnMut(Duration),
) {
    let mut pause = Duration::from_millis(1);
    let mut looks = 0;
    while reap() && looks < MAX_LOOKS {
        // What these leave behind is there the next time.
        looks = if kill() { 0 } else { looks + 1 };
        rest(pause);
        pause = (pause * 2).min(REAP_EVERY);
    }
}

fn wait_for(files: &mut [PollFd<'_>], limit: Duration) {
    let limit = Timespec::try_from(limit).ok();
    // Interrupted is early, which does no harm.
    poll(files, limit.as_ref()).ok();
}

/// The processes whose parent this one is. They can only be reaped by this thread, so none of the
/// numbers can be another process'.
fn children() -> Vec<Pid> {
    let listed = std::fs::read_to_string("/proc/thread-self/children");
    let numbers: Vec<i32> = match listed {
        Ok(list) => list.split(' ').flat_map(str::parse).collect(),
        // A kernel without CONFIG_PROC_CHILDREN.
        Err(_) => all_by_parent(getpid()),
    };
    numbers.into_iter().filter_map(Pid::from_raw).collect()
}

fn all_by_parent(parent: Pid) -> Vec<i32> {
    let all = procfs::process::all_processes().into_iter().flatten();
    let stats = all.flatten().flat_map(|process| process.stat());
    let children = stats.filter(|it| it.ppid == parent.as_raw_pid());
    children.map(|it| it.pid).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read_as_it_was_written() {
        for report in [
            ScopeReport::Ended(ExitStatus::from_raw(0)),
            ScopeReport::Ended(ExitStatus::from_raw(0x300)),
            ScopeReport::Ended(ExitStatus::from_raw(11)),
            ScopeReport::NotRun(2),
            ScopeReport::Started(4_194_304),
        ] {
            assert_eq!(ScopeReport::from_bytes(report.to_bytes()), report);
        }
    }

    #[test]
    fn children_that_are_not_found_are_left_after_a_while() {
        let mut rested = Duration::ZERO;
        let mut looks = 0;
        let kill = || {
            looks += 1;
            // Found until then, as those are that cannot be killed.
            looks <= 1000
        };
        end_all(|| true, kill, |pause| rested += pause);
        assert_eq!(looks, 1000 + MAX_LOOKS);
        assert!(rested < Duration::from_secs(2 * 1000));
        let mut left = 3;
        let reap = || {
            left -= 1;
            left > 0
        };
        end_all(reap, || false, |_| {});
        assert_eq!(left, 0, "those that end by themselves are reaped");
    }

    #[test]
    fn children_are_found_without_a_list_of_them_too() {
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        assert!(all_by_parent(getpid()).contains(&pid));
        let listed: Vec<i32> = children().into_iter().map(Pid::as_raw_pid).collect();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(listed.contains(&pid), "{listed:?}");
    }
}
