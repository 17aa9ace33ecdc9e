//! The asynchronous front of the actors: one call, one complete answer, in time.
//!
//! Whoever wants a roll call (HTTP, the command line) holds a [`CollectorHandle`]; addresses,
//! mailboxes and reply ports stay behind it. It holds the deadline: the answer is closed then,
//! whatever state the actors and their threads are in.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use crate::actors::fleet::{Fleet, Routes};
use crate::actors::gathering::Gathering;
use crate::actors::messages::{Collect, Withdraw};
use crate::domain::{Collection, Fault, FaultKind};
use crate::telemetry::{Gauge, Metrics};

/// Asks the whole fleet; cheap to clone, and every clone asks the same fleet.
#[derive(Debug, Clone)]
pub struct CollectorHandle(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    routes: watch::Receiver<Arc<Routes>>,
    deadline: Duration,
    /// Room for collects that wait at once.
    room: Semaphore,
    max_waiting: usize,
    closing: AtomicBool,
    next_id: AtomicU64,
    metrics: Metrics,
}

/// Why there is no answer at all. A device that failed is not an error: it is part of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CollectError {
    /// As many collects as may wait at once are waiting.
    #[error("{waiting} collects are waiting already; try again later")]
    Overloaded {
        /// The limit that is reached.
        waiting: usize,
    },
    /// The service is going away.
    #[error("the service is shutting down")]
    ShuttingDown,
}

impl CollectorHandle {
    /// A handle on `fleet` whose collects take at most `deadline`, `max_waiting` at a time.
    pub(crate) fn new(
        fleet: &Fleet,
        deadline: Duration,
        max_waiting: usize,
        metrics: Metrics,
    ) -> Self {
        Self(Arc::new(Shared {
            routes: fleet.routes(),
            deadline,
            room: Semaphore::new(max_waiting.min(Semaphore::MAX_PERMITS)),
            max_waiting,
            closing: AtomicBool::new(false),
            next_id: AtomicU64::new(1),
            metrics,
        }))
    }

    /// Asks every device at once and gives the complete answer, at the deadline at the latest.
    ///
    /// Dropping the future cancels the request: lookups that nobody else waits for are dropped.
    ///
    /// # Errors
    /// [`CollectError::Overloaded`] and [`CollectError::ShuttingDown`], at once.
    pub async fn collect(&self) -> Result<Collection, CollectError> {
        let shared = &*self.0;
        let start = Instant::now();
        if shared.closing.load(Ordering::Acquire) {
            shared.metrics.refused();
            return Err(CollectError::ShuttingDown);
        }
        let Ok(_place) = shared.room.try_acquire() else {
            let waiting = shared.max_waiting;
            shared.metrics.refused();
            log::warn!(waiting; "collect refused, too many are waiting");
            return Err(CollectError::Overloaded { waiting });
        };
        let _counted = shared.metrics.enter(Gauge::Collects);
        let id = shared.next_id.fetch_add(1, Ordering::Relaxed);
        let routes = Arc::clone(&shared.routes.borrow());
        let gathering = Gathering::new(id, Arc::clone(&routes.topology));
        let request = Request {
            id,
            gathering,
            routes,
            start,
            metrics: &shared.metrics,
        };
        log::debug!(collect = id; "collecting");
        request.send();
        let answer = tokio::time::timeout_at(start + shared.deadline, request.gathering.settled());
        // A deadline that passes is part of the answer.
        answer.await.ok();
        Ok(request.finish(shared.deadline))
    }

    /// Refuses all further collects; those under way go on.
    pub fn close(&self) {
        self.0.closing.store(true, Ordering::Release);
    }

    /// How many collects are under way.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.0.metrics.census().collects
    }
}

/// A collect under way; dropped early, it is withdrawn.
struct Request<'a> {
    id: u64,
    gathering: Arc<Gathering>,
    routes: Arc<Routes>,
    start: Instant,
    metrics: &'a Metrics,
}

impl Request<'_> {
    fn send(&self) {
        for (place, cluster) in self.routes.clusters.iter().enumerate() {
            // A mailbox that is full or closed drops the share, and that answers.
            cluster.try_send(Collect(self.gathering.share(place))).ok();
        }
    }

    /// Closes the answer and lets go of the devices that are not in it.
    fn finish(self, deadline: Duration) -> Collection {
        let text = humantime::format_duration(deadline);
        let fault = Fault::new(
            FaultKind::TimedOut,
            format!("no answer before the collect's deadline of {text}"),
        );
        let collection = self.end(&Arc::new(fault));
        let summary = collection.summary();
        self.metrics.collected(&summary);
        let clusters = collection.topology().clusters().len();
        let duration_ms = self.duration_ms();
        let (collect, devices, failed) = (self.id, summary.devices(), summary.failed());
        if failed == 0 {
            log::info!(collect, clusters, devices, failed, duration_ms; "collected");
        } else {
            let kinds: Vec<String> = summary
                .by_kind()
                .map(|(kind, count)| format!("{kind}={count}"))
                .collect();
            let faults = kinds.join(" ");
            log::info!(collect, clusters, devices, failed, duration_ms, faults; "collected");
        }
        collection
    }

    fn end(&self, fault: &Arc<Fault>) -> Collection {
        let open: Vec<usize> = (0..self.routes.clusters.len())
            .filter(|&place| !self.gathering.is_cluster_complete(place))
            .collect();
        let collection = self.gathering.close(fault);
        for place in open {
            let withdraw = Withdraw {
                collect: self.id,
                fault: Arc::clone(fault),
            };
            // A cluster that does not take it drops its lookups by their own timeouts.
            self.routes.clusters[place].try_send(withdraw).ok();
        }
        collection
    }

    fn duration_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Drop for Request<'_> {
    fn drop(&mut self) {
        // After `finish` there is nothing left to close, and this does nothing.
        if self.gathering.is_complete() {
            return;
        }
        let fault = Fault::new(FaultKind::Cancelled, "its caller went away");
        drop(self.end(&Arc::new(fault)));
        self.metrics.cancelled();
        let (collect, duration_ms) = (self.id, self.duration_ms());
        log::info!(collect, duration_ms; "collect cancelled, its caller went away");
    }
}
