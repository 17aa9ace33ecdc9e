//! The asynchronous front of the actors: one call, one complete answer, in time.
//!
//! Whoever wants a roll call (HTTP, the command line) holds a [`CollectorHandle`]; addresses,
//! mailboxes and reply ports stay behind it. It holds the deadline: the answer is closed then,
//! whatever state the actors and their threads are in.

mod answer;
pub(crate) mod cluster_part;
pub(crate) mod in_flight;
mod selection;
pub(crate) mod shared_collect;
mod workers;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::time::{Instant, timeout_at};

use crate::domain::{
    Change, ClusterId, ClusterState, Collection, DeviceId, DeviceKind, DeviceState, HistoryError,
    Hold, Scope, ScopeError, SupervisionTree, Topology, TreeFilter,
};
use crate::engine::collector::in_flight::CollectInFlight;
use crate::engine::collector::shared_collect::{Latest, SharedCollect};
use crate::engine::fleet::FleetHandle;
use crate::engine::gather::notified_or;
use crate::telemetry::{Guard, LogLimit, Metrics, thread_place};

pub(crate) use crate::engine::collector::cluster_part::{
    ClusterPartError, ClusterPartRequest, ClusterPartStream,
};
pub use crate::engine::collector::in_flight::AnswerStream;
pub use crate::engine::fleet::snapshot::{Snapshot, SnapshotDevice};
pub(crate) use crate::engine::remote_state::{RemoteSnapshot, StateScope};
pub use answer::{Answer, Observation};
pub(crate) use workers::Workers;

/// Asks the whole fleet; cheap to clone, and every clone asks the same fleet.
#[derive(Debug, Clone)]
pub struct CollectorHandle(Arc<CollectorState>);

/// As many threads listen apart, or they would get in each other's way; beyond that, some share.
const SIGNAL_SHARDS: usize = 16;

/// Where requests of some threads hear that they are given up; on a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
struct SignalShard(Notify);

#[derive(Debug)]
struct CollectorState {
    fleet: FleetHandle,
    closing: AtomicBool,
    /// Whether collects under way are given up, and how they hear of it.
    cut_off: AtomicBool,
    heard: [SignalShard; SIGNAL_SHARDS],
    next_id: AtomicU64,
    /// What the next request may join.
    latest: Latest,
    /// Of lines that say that collects are refused.
    refused: LogLimit,
    metrics: Metrics,
}

/// A collect's place among those that may wait at once; whoever sends the answer keeps it until that
/// is done, so that answers which nobody reads are bounded too.
#[derive(Debug)]
pub struct Admission(#[expect(dead_code, reason = "it counts until it is dropped")] Guard);

/// Why there is no answer at all. A device that failed is not an error: it is part of the answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CollectError {
    /// As many collects as may wait at once are waiting.
    #[error(
        "{} waiting already; try again later",
        if *waiting == 1 { "1 collect is".to_owned() } else { format!("{waiting} collects are") }
    )]
    Overloaded {
        /// The limit that is reached.
        waiting: usize,
    },
    /// The service is going away.
    #[error("the service is shutting down")]
    ShuttingDown,
    /// No device is meant, or not what is named.
    #[error("{0}")]
    Scope(#[from] ScopeError),
}

/// Whom to ask, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CollectRequest {
    /// Which devices.
    pub scope: Scope,
    /// The longest it may take, if that is less than what is configured.
    pub deadline: Option<Duration>,
    /// How old what is known of a device may be for it not to be asked; `None` asks all.
    pub max_age: Option<Duration>,
    /// Whether devices are asked although their breaker is open or their actor is down, each once in
    /// 10 s.
    pub force: bool,
    /// Whether it is an error to take devices away that are not in the fleet.
    pub check_removals: bool,
    /// Who asks, if that is known: where there is much to do, requests of different clients take turns.
    /// It changes nothing of the answer.
    pub client: Option<IpAddr>,
}

impl CollectRequest {
    /// Whether one answer is right for both.
    fn is_like(&self, other: &Self) -> bool {
        let Self {
            scope,
            deadline,
            max_age,
            force,
            check_removals,
            client: _,
        } = self;
        *scope == other.scope
            && *deadline == other.deadline
            && *max_age == other.max_age
            && *force == other.force
            && *check_removals == other.check_removals
    }
}

impl CollectorState {
    /// Where this thread listens.
    fn signal(&self) -> &Notify {
        let SignalShard(signal) = &self.heard[thread_place(SIGNAL_SHARDS)];
        signal
    }
}

impl CollectorHandle {
    /// A handle on the fleet that `tree` leads to.
    pub(crate) fn new(fleet: FleetHandle, metrics: Metrics) -> Self {
        Self(Arc::new(CollectorState {
            fleet,
            closing: AtomicBool::new(false),
            cut_off: AtomicBool::new(false),
            heard: Default::default(),
            next_id: AtomicU64::new(1),
            latest: Latest::default(),
            refused: LogLimit::default(),
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
        let (answer, _) = self.request(&CollectRequest::default()).await?;
        Ok(answer.collection().clone())
    }

    /// Asks the devices that are meant, unless what is known of them is young enough.
    ///
    /// If the fleet's settings say so, requests that are equal share the collect under way, and
    /// then its answer. Dropping the future cancels the request, as with
    /// [`CollectorHandle::collect`].
    ///
    /// # Errors
    /// As [`CollectorHandle::collect`], and [`CollectError::Scope`] at once.
    pub async fn request(
        &self,
        request: &CollectRequest,
    ) -> Result<(Arc<Answer>, Admission), CollectError> {
        self.request_since(request, Instant::now()).await
    }

    /// As [`CollectorHandle::request`]; the deadline counts from `start`.
    pub(crate) async fn request_since(
        &self,
        request: &CollectRequest,
        start: Instant,
    ) -> Result<(Arc<Answer>, Admission), CollectError> {
        // The place goes last: a request that is dropped is withdrawn first.
        let (place, shared_collect) = SharedCollect::enter(&self.0, request, start).await?;
        let answer = shared_collect.answer().await?;
        Ok((answer, place))
    }

    /// As [`CollectorHandle::request`], for a caller who wants to see each outcome when it comes.
    /// The collect ends at its deadline however slow that caller is.
    ///
    /// # Errors
    /// As [`CollectorHandle::request`], what comes at once.
    ///
    /// # Panics
    /// Outside of a `LocalSet`, such as an arbiter.
    pub async fn stream(&self, request: &CollectRequest) -> Result<AnswerStream, CollectError> {
        self.stream_since(request, Instant::now()).await
    }

    /// As [`CollectorHandle::stream`]; the deadline counts from `start`.
    pub(crate) async fn stream_since(
        &self,
        request: &CollectRequest,
        start: Instant,
    ) -> Result<AnswerStream, CollectError> {
        let waiting = self.0.fleet.peek().settings.max_waiting;
        let place = CollectInFlight::place(&self.0, waiting)?;
        let selection = CollectInFlight::select(&self.0, request).await?;
        let in_flight = CollectInFlight::begin(&self.0, selection, request, true, start);
        in_flight.ask(request.max_age).await;
        Ok(AnswerStream::new(in_flight, Some(place)))
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
        for SignalShard(signal) in &self.0.heard {
            signal.notify_waiters();
        }
    }

    /// The supervision tree of this process at this moment; reads it beside the actors, so it waits
    /// for none.
    #[must_use]
    pub fn supervision(&self, filter: TreeFilter) -> SupervisionTree {
        self.0
            .fleet
            .state(filter, &RemoteSnapshot::default(), &|| false)
    }

    /// Asks other processes what they know of clusters that are not here, for 2 s at most; what they
    /// do not say in time is not in it. In a process alone it does nothing.
    pub(crate) async fn look(&self, scope: StateScope<'_>) -> RemoteSnapshot {
        self.0.fleet.look(scope).await
    }

    /// As [`CollectorHandle::supervision`], with what is known elsewhere. Not whole once `is_given_up`
    /// says so.
    pub(crate) fn tree(
        &self,
        filter: TreeFilter,
        remote: &RemoteSnapshot,
        is_given_up: &dyn Fn() -> bool,
    ) -> SupervisionTree {
        self.0.fleet.state(filter, remote, is_given_up)
    }

    /// Tells topologies apart: the same in every process that has the same clusters and devices in
    /// the same order.
    #[must_use]
    pub fn topology(&self) -> u64 {
        self.0.fleet.version()
    }

    /// The clusters in configured order.
    #[must_use]
    pub fn clusters(&self) -> Vec<ClusterId> {
        self.0.fleet.clusters()
    }

    /// How many devices are simulated, and whether all are.
    #[must_use]
    pub fn simulated(&self) -> (usize, bool) {
        let routes = self.0.fleet.peek();
        (routes.simulated, routes.is_demonstration())
    }

    /// The clusters and devices in configured order.
    pub(crate) fn devices(&self) -> Arc<Topology> {
        Arc::clone(&self.0.fleet.peek().topology)
    }

    /// Whether there is such a cluster.
    #[must_use]
    pub fn has_cluster(&self, cluster: &ClusterId) -> bool {
        self.0.fleet.has_cluster(cluster)
    }

    /// What is known of a cluster's devices; asks none of them. Not whole once `is_given_up` says so.
    pub(crate) fn cluster(
        &self,
        cluster: &ClusterId,
        remote: &RemoteSnapshot,
        is_given_up: &dyn Fn() -> bool,
    ) -> Option<ClusterState> {
        self.0.fleet.cluster(cluster, remote, is_given_up)
    }

    /// What is known of a device; does not ask it.
    pub(crate) fn device(
        &self,
        cluster: &ClusterId,
        kind: DeviceKind,
        device: &DeviceId,
        remote: &RemoteSnapshot,
    ) -> Option<DeviceState> {
        self.0.fleet.device(cluster, kind, device, remote)
    }

    /// Gives a caller the right to ask a device by force, if something keeps it from being asked; gives
    /// whether something does, or how long the caller has to wait for that right. An owner elsewhere
    /// that does not say takes at most half of the time of a request that began at `start` and has this
    /// deadline.
    pub(crate) async fn reserve_force(
        &self,
        cluster: &ClusterId,
        kind: DeviceKind,
        device: &DeviceId,
        start: Instant,
        deadline: Option<Duration>,
    ) -> Result<bool, Duration> {
        let longest = self.0.fleet.peek().settings.deadline;
        let deadline = deadline.unwrap_or(longest).min(longest);
        let reserved = self.0.fleet.reserve_force(cluster, kind, device);
        let reserved = timeout_at(start + deadline / 2, reserved).await;
        reserved.ok().flatten().unwrap_or(Ok(false))
    }

    /// Closes a device's breaker and ends its backoff or quarantine, for this caller; gives what was
    /// cleared, or why that was not done. `None` if there is no such device.
    pub async fn reset(
        &self,
        cluster: &ClusterId,
        kind: DeviceKind,
        device: &DeviceId,
        caller: &str,
    ) -> Option<Result<Vec<Hold>, String>> {
        self.0.fleet.reset(cluster, kind, device, caller).await
    }

    /// Whether there is such a device.
    pub(crate) fn has_device(
        &self,
        cluster: &ClusterId,
        kind: DeviceKind,
        device: &DeviceId,
    ) -> bool {
        self.0.fleet.has_device(cluster, kind, device)
    }

    /// What changed after the change with this number, or all that is known; and the number of the
    /// last change.
    pub fn changes(&self, since: Option<u64>) -> (Result<Vec<Arc<Change>>, HistoryError>, u64) {
        let history = self.0.fleet.event_log().history();
        let changes = match since {
            Some(since) => history.since(since),
            None => Ok(history.all()),
        };
        (changes, history.last())
    }

    /// Every device, to be looked at more than once; without what is known elsewhere, only those that
    /// are asked here. It waits for no actor.
    pub(crate) fn snapshot(&self, remote: Option<Arc<RemoteSnapshot>>) -> Snapshot {
        self.0.fleet.snapshot(remote)
    }

    /// Why the next collect would have no answer, if so.
    #[must_use]
    pub fn obstacle(&self) -> Option<CollectError> {
        if self.0.closing.load(Ordering::Acquire) {
            return Some(CollectError::ShuttingDown);
        }
        let waiting = self.max_waiting();
        (self.waiting() >= waiting).then_some(CollectError::Overloaded { waiting })
    }

    /// How many collects may wait at once.
    pub(crate) fn max_waiting(&self) -> usize {
        self.0.fleet.peek().settings.max_waiting
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
async fn given_up(heard: Notified<'_>, cut_off: &AtomicBool) {
    notified_or(heard, || cut_off.load(Ordering::Acquire)).await;
}
