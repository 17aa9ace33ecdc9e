//! What a device's lookup waits for before it begins: room here, and not the device. A collect that is
//! closed meanwhile says so of the device.

use std::future::Future;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use crate::domain::{Fault, FaultKind, LocalReason};
use crate::net::open_files;

/// How many lookups of this process wait.
static ALL: AtomicUsize = AtomicUsize::new(0);

/// Whether some do.
pub(crate) fn is_used() -> bool {
    ALL.load(Ordering::Relaxed) > 0
}

/// What a device's lookup waits for: so many files, or more than any has. A sum, as the next lookup may
/// be begun before one that was given up is dropped.
#[derive(Debug, Default)]
pub(super) struct Queued(AtomicU32);

/// That fewer lookups of its cluster are in flight.
pub(super) const MAX_CONCURRENT: u32 = 1 << 16;

impl Queued {
    /// What it waits for; 0 if for nothing.
    pub(super) fn what(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) async fn wait<T>(&self, what: u32, room: impl Future<Output = T>) -> T {
        self.0.fetch_add(what, Ordering::Relaxed);
        ALL.fetch_add(1, Ordering::Relaxed);
        let _waiting = WaitingLookup(&self.0, what);
        room.await
    }
}

/// A lookup that waits.
struct WaitingLookup<'a>(&'a AtomicU32, u32);

impl Drop for WaitingLookup<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(self.1, Ordering::Relaxed);
        ALL.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a device has instead of an outcome if its lookup waited for this until a collect's `deadline`.
pub(crate) fn fault(what: u32, deadline: impl std::fmt::Display) -> Fault {
    let text = format!("not asked before the collect's deadline of {deadline}: it waited for");
    let fault = if what < MAX_CONCURRENT {
        let (most, advice) = (open_files::lookups(what), open_files::ADVICE);
        let text = format!("{text} open files, enough for {most} at once; {advice}");
        Fault::local(LocalReason::OpenFiles, text)
    } else {
        Fault::new(FaultKind::TimedOut, format!("{text} `max_concurrent`"))
    };
    fault.unasked()
}
