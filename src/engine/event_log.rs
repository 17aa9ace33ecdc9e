//! The fleet's history, which the threads of all devices write and every collect looks at.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use tokio::sync::Notify;

use crate::domain::{ClusterId, DeviceId, DeviceKind, Event, History};

/// A history, and the number of its last change beside it: whoever only wants that waits for nobody.
#[derive(Debug, Default)]
pub(crate) struct EventLog {
    history: Mutex<History>,
    last: AtomicU64,
    /// For the one who follows it.
    noted: Notify,
}

impl EventLog {
    /// Notes what happened to a device, now.
    pub(super) fn note(&self, device: (ClusterId, DeviceKind, DeviceId), event: Event) {
        let mut history = self.history();
        history.note(SystemTime::now(), device, event);
        self.last.store(history.last(), Ordering::Release);
        drop(history);
        self.noted.notify_one();
    }

    /// Waits until there is a change after that with this number; for one who waits at a time.
    pub(crate) async fn noted(&self, last: u64) {
        while self.last() == last {
            self.noted.notified().await;
        }
    }

    /// What is known.
    pub(crate) fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of the last change; 0 if there was none.
    pub(crate) fn last(&self) -> u64 {
        self.last.load(Ordering::Acquire)
    }
}
