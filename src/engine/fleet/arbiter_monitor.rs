//! The threads that run clusters: each is replaced when it ends.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::domain::Backoff;
use crate::engine::fleet::{FleetHandle, lock};
use crate::supervision::catch_panic::catch_panic;

/// Between an arbiter's end and the start of the next one.
const THREAD_BACKOFF: Backoff = Backoff {
    min: Duration::from_millis(10),
    max: Duration::from_secs(5),
};

/// Keeps one arbiter's clusters running, on another arbiter if need be.
pub(crate) struct ArbiterMonitor {
    pub(crate) thread: usize,
    pub(crate) fleet: FleetHandle,
    pub(crate) ended: Arc<Mutex<Vec<oneshot::Receiver<()>>>>,
}

/// An arbiter that runs, and how one learns that it does not any more.
pub(crate) struct MonitoredArbiter {
    pub(crate) arbiter: Arbiter,
    since: Instant,
    /// Resolves when the arbiter's thread drops its tasks.
    ended: oneshot::Receiver<()>,
}

impl Drop for MonitoredArbiter {
    fn drop(&mut self) {
        // Fails only if it has ended already.
        self.arbiter.stop();
    }
}

impl MonitoredArbiter {
    /// Starts one; `all_ended` hears of its end, too.
    pub(crate) fn start(all_ended: &Mutex<Vec<oneshot::Receiver<()>>>) -> Self {
        let arbiter = Arbiter::new();
        let (sender, ended) = oneshot::channel::<()>();
        let (for_all, one_of_all) = oneshot::channel::<()>();
        let mut all_ended = lock(all_ended);
        // Those of arbiters that were replaced are of no use any more.
        all_ended.retain_mut(|ended| ended.try_recv() == Err(oneshot::error::TryRecvError::Empty));
        all_ended.push(one_of_all);
        arbiter.spawn(async move {
            // Held by a task that never ends, and so dropped with the thread's tasks.
            let _held = (sender, for_all);
            std::future::pending::<()>().await;
        });
        Self {
            arbiter,
            since: Instant::now(),
            ended,
        }
    }
}

impl ArbiterMonitor {
    /// Waits for the arbiter to end, and starts its clusters on another one; for ever.
    pub(crate) async fn keep(self, mut running: MonitoredArbiter) {
        let mut failures = 0;
        loop {
            if !running.ended.is_terminated() {
                // An error is the news: the sender was dropped.
                (&mut running.ended).await.ok();
            }
            failures = if running.since.elapsed() > THREAD_BACKOFF.max {
                1
            } else {
                failures + 1
            };
            let wait = THREAD_BACKOFF.delay(failures, rand::random());
            let backoff_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
            let thread = self.thread;
            log::warn!(thread, reason = "thread ended", backoff_ms; "arbiter failed, replacing it");
            tokio::time::sleep(wait).await;
            // The system may have no thread left to give; then there is another try later.
            let Ok(next) = catch_panic("fleet", || MonitoredArbiter::start(&self.ended)) else {
                continue;
            };
            self.fleet.replace(thread, next.arbiter.handle());
            running = next;
        }
    }
}
