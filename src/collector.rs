//! The asynchronous front of the actors: one call, one complete answer, in time.
//!
//! Whoever wants a roll call (HTTP, the command line) holds a [`CollectorHandle`]; addresses,
//! mailboxes and reply ports stay behind it. It holds the deadline: the answer is closed then,
//! whatever state the actors and their threads are in.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::actors::cluster::deliver;
use crate::actors::fleet::{Routes, Tree};
use crate::actors::gathering::Gathering;
use crate::actors::messages::{Collect, Withdraw};
use crate::domain::{Collection, Fault, FaultKind, SupervisionTree, TreeFilter};
use crate::telemetry::{Gauge, Guard, Metrics};

/// How much before its deadline a collect is closed: what it takes to wake up, and for each device
/// to put its outcome into the answer and the answer on its way. Never more than a tenth of the
/// deadline, so on a fleet too large for its deadline an answer can be late by what is missing.
const CLOSING_TIME: Duration = Duration::from_millis(2);
const CLOSING_TIME_PER_DEVICE: Duration = Duration::from_micros(1);

/// Asks the whole fleet; cheap to clone, and every clone asks the same fleet.
#[derive(Debug, Clone)]
pub struct CollectorHandle(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    tree: Tree,
    closing: AtomicBool,
    /// Whether collects under way are given up, and how they hear of it.
    cut_off: AtomicBool,
    heard: Notify,
    next_id: AtomicU64,
    metrics: Metrics,
}

/// A collect's place among those that may wait at once; whoever sends the answer keeps it until that
/// is done, so that answers which nobody reads are bounded too.
#[derive(Debug)]
pub struct Place(#[expect(dead_code, reason = "it counts until it is dropped")] Guard);

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
    /// A handle on the fleet that `tree` leads to.
    pub(crate) fn new(tree: Tree, metrics: Metrics) -> Self {
        Self(Arc::new(Shared {
            tree,
            closing: AtomicBool::new(false),
            cut_off: AtomicBool::new(false),
            heard: Notify::new(),
            next_id: AtomicU64::new(1),
            metrics,
        }))
    }

    /// Asks every device at once and gives the complete answer, at the deadline at the latest.
    ///
    /// Dropping the future cancels the request: lookups that nobody else waits for are dropped.
    ///
    /// # Errors
    /// [`CollectError::Overloaded`] and [`CollectError::ShuttingDown`], at once; the latter also
    /// later, if the collects under way are [given up](CollectorHandle::cut_off).
    pub async fn collect(&self) -> Result<Collection, CollectError> {
        self.collect_with_place()
            .await
            .map(|(collection, _)| collection)
    }

    /// As [`CollectorHandle::collect`], for a caller whose work is not done with the answer.
    ///
    /// # Errors
    /// As [`CollectorHandle::collect`].
    pub async fn collect_with_place(&self) -> Result<(Collection, Place), CollectError> {
        let shared = &*self.0;
        let start = Instant::now();
        if shared.closing.load(Ordering::Acquire) {
            shared.metrics.refused();
            return Err(CollectError::ShuttingDown);
        }
        let routes = shared.tree.routes();
        let waiting = routes.settings.max_waiting;
        let Some(place) = shared.metrics.enter_below(Gauge::Collects, waiting) else {
            shared.metrics.refused();
            log::warn!(waiting; "collect refused, too many are waiting");
            return Err(CollectError::Overloaded { waiting });
        };
        let id = shared.next_id.fetch_add(1, Ordering::Relaxed);
        let deadline = routes.settings.deadline;
        let devices = u32::try_from(routes.topology.devices()).unwrap_or(u32::MAX);
        let closing = CLOSING_TIME + CLOSING_TIME_PER_DEVICE * devices;
        let end = start + (deadline - closing.min(deadline / 10));
        let gathering = Gathering::new(id, Arc::clone(&routes.topology));
        let mut request = Request {
            id,
            gathering,
            routes,
            start,
            metrics: &shared.metrics,
            is_over: false,
        };
        request.send();
        // Only now it is true for whoever reads it.
        log::debug!(collect = id; "collecting");
        let heard = shared.heard.notified();
        tokio::select! {
            biased;
            () = request.gathering.settled() => {}
            // A deadline that passes is part of the answer.
            () = tokio::time::sleep_until(end) => {}
            () = given_up(heard, &shared.cut_off) => {
                request.abandon("the service is shutting down");
                return Err(CollectError::ShuttingDown);
            }
        }
        Ok((request.finish(deadline), Place(place)))
    }

    /// Refuses all further collects; those under way go on.
    pub fn close(&self) {
        self.0.closing.store(true, Ordering::Release);
    }

    /// Refuses all further collects and gives up those under way: their callers get
    /// [`CollectError::ShuttingDown`] at once.
    pub fn cut_off(&self) {
        self.close();
        self.0.cut_off.store(true, Ordering::Release);
        self.0.heard.notify_waiters();
    }

    /// The supervision tree at this moment; reads it beside the actors, so it waits for none.
    #[must_use]
    pub fn supervision(&self, filter: TreeFilter) -> SupervisionTree {
        self.0.tree.state(filter)
    }

    /// Everything that is counted.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// How many collects are under way, answers that are being sent included.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.0.metrics.census().collects
    }
}

/// Resolves when the collects under way are given up.
async fn given_up(heard: tokio::sync::futures::Notified<'_>, cut_off: &AtomicBool) {
    tokio::pin!(heard);
    // From here on it hears; before, the flag tells.
    heard.as_mut().enable();
    if !cut_off.load(Ordering::Acquire) {
        heard.await;
    }
}

/// A collect under way; dropped early, it is withdrawn.
struct Request<'a> {
    id: u64,
    gathering: Arc<Gathering>,
    routes: Arc<Routes>,
    start: Instant,
    metrics: &'a Metrics,
    /// Whether it was ended.
    is_over: bool,
}

impl Request<'_> {
    fn send(&self) {
        for (place, route) in self.routes.clusters.iter().enumerate() {
            let share = self.gathering.share(place);
            let plan = Arc::clone(&route.plan);
            deliver(&route.actor, Collect { share, plan });
        }
    }

    /// Closes the answer and lets go of the devices that are not in it.
    fn finish(mut self, deadline: Duration) -> Collection {
        self.is_over = true;
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
            deliver(&self.routes.clusters[place].actor, withdraw);
        }
        collection
    }

    fn duration_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Request<'_> {
    /// Ends it without an answer.
    fn abandon(&mut self, why: &'static str) {
        self.is_over = true;
        drop(self.end(&Arc::new(Fault::new(FaultKind::Cancelled, why))));
        self.metrics.cancelled();
        let (collect, duration_ms) = (self.id, self.duration_ms());
        log::info!(collect, duration_ms, why; "collect cancelled");
    }
}

impl Drop for Request<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.abandon("its caller went away");
        }
    }
}
