//! How many files this process may have open, sockets included, and how they are shared out.
//!
//! Connections of clients and names that are asked for have shares of their own; lookups have what
//! these leave at the moment, and wait rather than fail. So the limit is not met by chance, where it
//! would look like a device's failure. It does not know what the files are for.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{LazyLock, OnceLock};
use std::thread::available_parallelism;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::Semaphore;

/// Of a thread that answers requests, which opens them when it starts.
const OF_A_THREAD: usize = 4;

/// For all that opens a few now and then: starting commands, reading files, a connection to NATS.
const RESERVE: usize = 12;

/// What helps if there are too few.
pub(crate) const ADVICE: &str = "raise the limit on open files (LimitNOFILE=, ulimit -n)";

/// What lookups have in any case.
const OF_LOOKUPS: usize = 4;

/// What one name can take: two questions, to two servers, sent three times each.
pub(crate) const OF_A_NAME: u32 = 12;

/// What there was before [`raise`].
static STARTED_WITH: OnceLock<Rlimit> = OnceLock::new();

static FILES: LazyLock<Files> = LazyLock::new(|| {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let threads = available_parallelism().map_or(1, NonZeroUsize::get);
    // One more thread takes connections.
    let used = open_now() + (threads + 1) * OF_A_THREAD + RESERVE;
    let files = Files::new(limit, used);
    let FileShares { connections, .. } = files.shares;
    log::debug!(limit, free = files.free.available_permits(), connections; "open files");
    files
});

/// How many may be open of what is not needed all the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileShares {
    /// Connections of clients.
    pub(crate) connections: usize,
    /// As many of these may be kept for another request, which takes one more.
    pub(crate) kept: usize,
    /// Names that are asked for at once.
    pub(crate) names: usize,
}

/// What is left of the files that may be open.
#[derive(Debug)]
struct Files {
    shares: FileShares,
    /// What lookups may have if nothing else is open.
    of_lookups: usize,
    free: Semaphore,
    /// Taken though there were none left: given back before any other is free again.
    owed: AtomicUsize,
}

/// Files that may be open until this is dropped.
#[derive(Debug)]
pub(crate) struct Taken {
    files: &'static Files,
    count: usize,
}

impl Files {
    /// What a `limit` leaves when `used` are taken: lookups may have all of it, but for what
    /// connections (a half at most), those that are kept (an eighth of all), and names have at the
    /// moment.
    fn new(limit: u64, used: usize) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let left = limit.saturating_sub(used + OF_LOOKUPS);
        let (connections, kept) = ((left / 2).max(1), (limit / 8).min(left / 6));
        let of_names = left.saturating_sub(connections + kept);
        let shares = FileShares {
            connections,
            kept,
            names: (of_names / OF_A_NAME as usize).max(1),
        };
        let of_lookups = (left + OF_LOOKUPS).min(Semaphore::MAX_PERMITS);
        Self {
            shares,
            of_lookups,
            free: Semaphore::new(of_lookups),
            owed: AtomicUsize::new(0),
        }
    }

    async fn wait_for(&'static self, count: u32) -> Taken {
        // Closed never, so there are always some in the end.
        if let Ok(permits) = self.free.acquire_many(count).await {
            permits.forget();
        }
        self.taken(count)
    }

    fn take(&'static self, count: u32) -> Taken {
        match self.free.try_acquire_many(count) {
            Ok(permits) => permits.forget(),
            Err(_) => {
                self.owed.fetch_add(count as usize, Ordering::Relaxed);
            }
        }
        self.taken(count)
    }

    fn taken(&'static self, count: u32) -> Taken {
        Taken {
            files: self,
            count: count as usize,
        }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let Files { free, owed, .. } = self.files;
        let relaxed = Ordering::Relaxed;
        let before = owed.fetch_update(relaxed, relaxed, |owed| {
            Some(owed.saturating_sub(self.count))
        });
        let returned = before.unwrap_or_default().min(self.count);
        free.add_permits(self.count - returned);
    }
}

/// The shares of this process, by its limit when it is first asked for.
pub(crate) fn shares() -> FileShares {
    FILES.shares
}

/// How many lookups that take so many files may be in flight, at most.
pub(crate) fn lookups(files: u32) -> usize {
    FILES.of_lookups / files.max(1) as usize
}

/// So many files for a lookup, which has no more than [`OF_LOOKUPS`], as soon as there are; first
/// come, first served.
pub(crate) async fn wait_for(count: u32) -> Taken {
    FILES.wait_for(count).await
}

/// So many files for what keeps within a share of its own: at once, and lookups wait for longer.
pub(crate) fn take(count: u32) -> Taken {
    FILES.take(count)
}

/// How many there are now; a guess if the system does not say.
fn open_now() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(32, Iterator::count)
}

/// As many open files as this process may have: systems allow 1,024 unless a process asks for more.
pub(crate) fn raise() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    let most = Rlimit {
        current: limit.maximum,
        ..limit
    };
    match setrlimit(Resource::Nofile, most) {
        Ok(()) => STARTED_WITH.set(limit).unwrap_or_default(),
        Err(error) => log::debug!(error:%; "cannot raise the limit on open files"),
    }
}

/// The limit that commands are to have: the one that this process was started with, if that was
/// raised and they would inherit it. Some close every file up to it, one by one.
pub(crate) fn of_commands() -> Option<u64> {
    STARTED_WITH.get().and_then(|limit| limit.current)
}

/// Sets this process' limit, which commands inherit, to that of commands.
///
/// # Errors
/// If the system refuses it.
pub(crate) fn lower(to: u64) -> std::io::Result<()> {
    let limit = Rlimit {
        current: Some(to),
        ..getrlimit(Resource::Nofile)
    };
    Ok(setrlimit(Resource::Nofile, limit)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_stay_within_what_is_left() {
        for (limit, used) in [(64, 40), (1024, 50), (20_000, 60), (1 << 20, 60)] {
            let files = Files::new(limit, used);
            let FileShares {
                connections,
                kept,
                names,
            } = files.shares;
            let left = usize::try_from(limit).unwrap() - used;
            assert_eq!(files.free.available_permits(), left);
            let others = connections + kept + names * OF_A_NAME as usize;
            assert!(others + OF_LOOKUPS <= left || names == 1, "{limit}");
        }
        // However few there are, something is possible.
        let least = Files::new(16, 40);
        let FileShares {
            connections, names, ..
        } = least.shares;
        assert_eq!((connections, names), (1, 1));
        assert_eq!(least.free.available_permits(), OF_LOOKUPS);
        assert!(Files::new(u64::MAX, 40).shares.names > 1024);
    }

    #[tokio::test(start_paused = true)]
    async fn lookups_wait_for_what_others_took_though_there_was_none() {
        let files: &Files = Box::leak(Box::new(Files::new(OF_LOOKUPS as u64, 0)));
        let lookup = files.wait_for(3).await;
        let (connection, other) = (files.take(2), files.take(1));
        assert_eq!(files.owed.load(Ordering::Relaxed), 2);
        drop(lookup);
        // One of the three, as two were owed.
        let short = std::time::Duration::from_secs(1);
        let early = tokio::time::timeout(short, files.wait_for(2)).await;
        assert!(early.is_err());
        drop((connection, other));
        drop(files.wait_for(4).await);
        assert_eq!(files.free.available_permits(), OF_LOOKUPS);
        assert_eq!(files.owed.load(Ordering::Relaxed), 0);
    }
}
