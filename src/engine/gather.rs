//! How a collect's answers come together: a port for each device, all into one builder.
//!
//! A collect of n devices costs one allocation for the slots of each cluster and no channel per
//! device. What a port touches is its own cluster's, which lives on one thread: counting ports on
//! what all threads share would cost more than the lookups. Every port answers exactly once: when used, or with a fault when dropped, whether by a panic that unwinds,
//! with a dead actor's state, or in a mailbox nobody reads any more. So no collect waits for an
//! answer that cannot come.

use std::net::IpAddr;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::Poll;

use futures::task::AtomicWaker;
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, oneshot};

use crate::domain::{Collection, CollectionBuilder, Fault, FaultKind, Outcome, Topology};
use crate::engine::cluster_spec::DeviceList;
use crate::supervision::catch_panic::{drop_reason, with_drop_reason};
use crate::telemetry::Metrics;

/// One collect under way.
#[derive(Debug)]
pub(crate) struct Gather {
    id: u64,
    builder: Arc<CollectionBuilder>,
    /// Wakes those who wait for the whole answer.
    complete: Notify,
    /// Who reads the answer while it comes in; `None` if nobody will.
    reader: Option<AtomicWaker>,
    /// The fleet that the collect began with.
    fleet_devices: Arc<FleetDevices>,
    /// Whether devices are asked that would not be: whose breaker is open or whose actor is down.
    force: bool,
    /// Whether it waits as long as is configured.
    is_patient: bool,
    /// Whose turns its work takes, if that is known.
    client: Option<IpAddr>,
    /// Dropped with the gathering, when its caller has the answer and no port is left.
    end_watchers: Mutex<Vec<oneshot::Sender<()>>>,
}

/// How a collect is done.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CollectOptions {
    /// Whether the order in which outcomes come is remembered.
    pub(crate) read: bool,
    /// Whether devices are asked that would not be.
    pub(crate) force: bool,
    /// Whether it waits as long as is configured.
    pub(crate) is_patient: bool,
    /// Whose turns its work takes, if that is known.
    pub(crate) client: Option<IpAddr>,
}

impl Gather {
    /// A collect of all of `topology`, whose devices are in `fleet_devices`.
    pub(crate) fn new(
        id: u64,
        topology: Arc<Topology>,
        fleet_devices: Arc<FleetDevices>,
        options: CollectOptions,
    ) -> Arc<Self> {
        let CollectOptions {
            read,
            force,
            is_patient,
            client,
        } = options;
        let builder = Arc::new(if read {
            CollectionBuilder::with_journal(topology)
        } else {
            CollectionBuilder::new(topology)
        });
        Arc::new(Self {
            id,
            builder,
            complete: Notify::new(),
            reader: read.then(AtomicWaker::new),
            fleet_devices,
            force,
            is_patient,
            client,
            end_watchers: Mutex::default(),
        })
    }

    /// The cluster's share of the work: all of its devices, or the picked ones; `plan` is its place
    /// in `fleet_devices`. Ask once for each cluster, or devices are asked twice. It counts as
    /// waiting until it is [taken up](ClusterTicket::take_up).
    pub(crate) fn ticket(
        self: &Arc<Self>,
        cluster: usize,
        plan: usize,
        picks: Option<DeviceSelection>,
    ) -> ClusterTicket {
        let cluster_gather = ClusterGather {
            gather: Arc::clone(self),
            cluster,
        };
        self.fleet_devices.metrics.posted();
        ClusterTicket {
            cluster_gather: Arc::new(cluster_gather),
            plan,
            picks,
            next: 0,
            waits: true,
        }
    }

    /// What is known so far.
    pub(crate) fn builder(&self) -> &CollectionBuilder {
        &self.builder
    }

    /// Waits until the `nth` outcome, counted from 0, has come; for one reader. Dropping it loses
    /// nothing.
    pub(crate) async fn arrived(&self, nth: usize) {
        std::future::poll_fn(|cx| {
            if let Some(reader) = &self.reader {
                reader.register(cx.waker());
            }
            match self.builder.arrived(nth) {
                Some(_) => Poll::Ready(()),
                None => Poll::Pending,
            }
        })
        .await;
    }

    /// Waits until every device has an outcome. Dropping it loses nothing.
    pub(crate) async fn settled(&self) {
        notified_or(self.complete.notified(), || self.builder.is_complete()).await;
    }

    /// Whether every device of the cluster has an outcome.
    pub(crate) fn is_cluster_complete(&self, cluster: usize) -> bool {
        self.builder.is_cluster_complete(cluster)
    }

    /// Ends the collect; devices without an outcome get `fault`.
    pub(crate) fn close(&self, fault: &Arc<Fault>) -> Collection {
        let collection = self.builder.close(fault);
        self.wake_reader();
        collection
    }

    /// The answer, if every device has an outcome.
    pub(crate) fn complete(&self) -> Option<Collection> {
        self.builder.complete()
    }

    fn wake_reader(&self) {
        if let Some(reader) = &self.reader {
            reader.wake();
        }
    }

    pub(crate) fn answer(&self, cluster: usize, device: usize, outcome: Outcome) {
        if self.builder.answer(cluster, device, outcome) {
            self.complete.notify_waiters();
        }
        self.wake_reader();
    }

    fn answer_rest(&self, cluster: usize) {
        if self.builder.is_cluster_complete(cluster) {
            return;
        }
        if self.builder.answer_rest(cluster, &drop_reason()) {
            self.complete.notify_waiters();
        }
        self.wake_reader();
    }
}

/// The devices of a fleet, in one piece for every collect to hold.
#[derive(Debug, Default)]
pub(crate) struct FleetDevices {
    /// Of each cluster.
    pub(super) plans: Box<[Arc<DeviceList>]>,
    /// Where it is counted what waits.
    pub(super) metrics: Metrics,
}

/// Which devices of a cluster are asked: for each its place in the answer and in the plan, both
/// rising.
pub(crate) type DeviceSelection = Arc<[(u32, u32)]>;

/// Waits for a notification, unless this is so once it would be heard. That takes the lock of those
/// who wait once, and enabling the notification and waiting for it twice.
pub(crate) async fn notified_or(notified: Notified<'_>, is_so: impl Fn() -> bool) {
    tokio::pin!(notified);
    std::future::poll_fn(|cx| match notified.as_mut().poll(cx) {
        Poll::Pending if !is_so() => Poll::Pending,
        Poll::Pending | Poll::Ready(()) => Poll::Ready(()),
    })
    .await;
}

/// What the ports of one cluster share.
#[derive(Debug)]
struct ClusterGather {
    gather: Arc<Gather>,
    cluster: usize,
}

impl ClusterGather {
    fn answer_rest(&self) {
        self.gather.answer_rest(self.cluster);
    }
}

/// A cluster's share of a collect: a port for each of its devices, handed out in topology order.
///
/// Dropped before all are handed out, it answers for the whole cluster: that happens only when the
/// cluster's actor dies with it or never gets it.
#[derive(Debug)]
pub(crate) struct ClusterTicket {
    cluster_gather: Arc<ClusterGather>,
    /// The place of its devices' plan.
    plan: usize,
    /// `None` is all: the places in answer and plan are the same.
    picks: Option<DeviceSelection>,
    next: usize,
    /// Whether it waits to be taken up.
    waits: bool,
}

impl ClusterTicket {
    /// The devices that it is for: those of the topology that the collect started with.
    pub(super) fn plan(&self) -> &Arc<DeviceList> {
        &self.cluster_gather.gather.fleet_devices.plans[self.plan]
    }

    /// It is out of the mailbox.
    pub(super) fn take_up(&mut self) {
        if std::mem::take(&mut self.waits) {
            self.cluster_gather.gather.fleet_devices.metrics.taken_up();
        }
    }

    /// The collect that it belongs to.
    pub(super) fn collect(&self) -> u64 {
        self.cluster_gather.gather.id
    }

    /// Whose turns it takes to ask them, if that is known.
    pub(super) fn client(&self) -> Option<IpAddr> {
        self.cluster_gather.gather.client
    }

    /// Whether devices are asked that would not be.
    pub(super) fn is_forced(&self) -> bool {
        self.cluster_gather.gather.force
    }

    /// The devices to ask, by their places in the plan; `None` is all of them.
    pub(super) fn places(&self) -> Option<Vec<u32>> {
        let picks = self.picks.as_ref()?;
        Some(picks.iter().map(|&(_, planned)| planned).collect())
    }

    /// The place in the answer of a device that is asked, by its place in the plan.
    pub(super) fn slot(&self, planned: usize) -> Option<usize> {
        match &self.picks {
            None => (planned < self.len()).then_some(planned),
            Some(picks) => {
                let found = picks.binary_search_by_key(&planned, |&(_, it)| it as usize);
                found.ok().map(|at| picks[at].0 as usize)
            }
        }
    }

    /// Answers for the device with this place in the answer, unless that is done.
    pub(super) fn answer(&self, slot: usize, outcome: Outcome) {
        self.cluster_gather
            .gather
            .answer(self.cluster_gather.cluster, slot, outcome);
    }

    /// Answers for every device of the cluster that has no outcome.
    pub(super) fn answer_rest(&self, fault: &Arc<Fault>) {
        with_drop_reason(Arc::clone(fault), || self.cluster_gather.answer_rest());
    }

    /// The next device, by its place in the plan, and its port.
    pub(super) fn next_port(&mut self) -> Option<(usize, ReplyPort)> {
        if !self.has_more() {
            return None;
        }
        let (device, planned) = match &self.picks {
            None => (self.next, self.next),
            Some(picks) => {
                let (slot, planned) = picks[self.next];
                (slot as usize, planned as usize)
            }
        };
        self.next += 1;
        // There are at most 1,000,000 devices.
        let device = u32::try_from(device).unwrap_or(u32::MAX);
        let cluster_gather = Arc::clone(&self.cluster_gather);
        let force = self.is_forced();
        let port = ReplyPort {
            cluster_gather,
            device,
            force,
        };
        Some((planned, port))
    }

    /// Whether there is a device left to ask.
    pub(super) fn has_more(&self) -> bool {
        self.next < self.len()
    }

    /// Whether nobody waits for the ports that are left.
    pub(super) fn is_settled(&self) -> bool {
        self.cluster_gather
            .gather
            .is_cluster_complete(self.cluster_gather.cluster)
    }

    /// What the cluster's actor remembers of this collect.
    pub(super) fn in_flight(&self) -> TicketInFlight {
        TicketInFlight {
            collect: self.cluster_gather.gather.id,
            gather: Arc::downgrade(&self.cluster_gather.gather),
            cluster_gather: Arc::downgrade(&self.cluster_gather),
            picks: self.picks.clone(),
        }
    }

    fn len(&self) -> usize {
        match &self.picks {
            None => {
                let topology = self.cluster_gather.gather.builder.topology();
                topology.clusters()[self.cluster_gather.cluster].len()
            }
            Some(picks) => picks.len(),
        }
    }
}

impl Drop for ClusterTicket {
    fn drop(&mut self) {
        self.take_up();
        if self.has_more() {
            self.cluster_gather.answer_rest();
        }
    }
}

/// A collect that a cluster's actor takes part in. When the actor dies, its callers hear at once
/// and not only when its devices are gone.
#[derive(Debug)]
pub(super) struct TicketInFlight {
    collect: u64,
    /// Weak, so that an answer is freed when its caller is done with it.
    gather: Weak<Gather>,
    /// Its ports' part of it.
    cluster_gather: Weak<ClusterGather>,
    picks: Option<DeviceSelection>,
}

impl TicketInFlight {
    pub(super) fn collect(&self) -> u64 {
        self.collect
    }

    /// Whether every device of the cluster has an outcome, or nobody waits for one.
    pub(super) fn is_settled(&self) -> bool {
        let cluster_gather = self.cluster_gather.upgrade();
        cluster_gather.is_none_or(|it| it.gather.is_cluster_complete(it.cluster))
    }

    /// Whether the caller has its answer and no device holds a port of it any more.
    pub(super) fn is_over(&self) -> bool {
        self.gather.strong_count() == 0
    }

    /// Resolves, with an error, when the collect [is over](TicketInFlight::is_over); `None` if it is.
    pub(super) fn over(&self) -> Option<oneshot::Receiver<()>> {
        let gather = self.gather.upgrade()?;
        let (sender, over) = oneshot::channel();
        let mut watchers = gather
            .end_watchers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        watchers.push(sender);
        Some(over)
    }

    /// Shows the devices of which no outcome has come, or none before the answer was closed, by those
    /// of their places in the plan that are in `places`.
    pub(super) fn each_lacking(&self, places: Range<usize>, mut show: impl FnMut(usize)) {
        let Some(cluster_gather) = self.cluster_gather.upgrade() else {
            return;
        };
        let builder = &cluster_gather.gather.builder;
        let mut look = |slot: usize, place: usize| {
            if builder.lacks(cluster_gather.cluster, slot) {
                show(place);
            }
        };
        match &self.picks {
            None => places.for_each(|place| look(place, place)),
            Some(picks) => {
                let first = picks.partition_point(|&(_, place)| (place as usize) < places.start);
                let picked = picks[first..].iter();
                picked
                    .map(|&(slot, place)| (slot as usize, place as usize))
                    .take_while(|(_, place)| *place < places.end)
                    .for_each(|(slot, place)| look(slot, place));
            }
        }
    }
}

impl Drop for TicketInFlight {
    fn drop(&mut self) {
        if let Some(cluster_gather) = self.cluster_gather.upgrade() {
            cluster_gather.answer_rest();
        }
    }
}

/// A device's port: takes one outcome, or records a fault when dropped without one.
#[derive(Debug)]
pub(crate) struct ReplyPort {
    cluster_gather: Arc<ClusterGather>,
    /// Its place in the cluster's part of the answer.
    device: u32,
    /// Whether the device is asked although its breaker is open.
    force: bool,
}

impl ReplyPort {
    /// Whether its outcome would be taken.
    pub(super) fn is_open(&self) -> bool {
        let ClusterGather {
            gather, cluster, ..
        } = &*self.cluster_gather;
        gather.builder.is_open(*cluster, self.device as usize)
    }

    /// Whether the device is asked although its breaker is open.
    pub(super) fn is_forced(&self) -> bool {
        self.force
    }

    /// The device is asked as if its caller did not force it.
    pub(super) fn unforced(self) -> Self {
        let mut port = self;
        port.force = false;
        port
    }

    /// The fault with which the collect closed this port, if it did, and whether that says that the
    /// device was silent for as long as it may be, or what it waited for is missing here: not if the caller
    /// had less patience than is configured, or the device was to be asked later.
    pub(super) fn closed_with(&self) -> Option<(Arc<Fault>, bool)> {
        let ClusterGather {
            gather, cluster, ..
        } = &*self.cluster_gather;
        let device = self.device as usize;
        let fault = gather.builder.closed_with(*cluster, device)?;
        let was_silent = fault.kind() == FaultKind::TimedOut && !fault.is_unasked();
        let tells = gather.is_patient && (was_silent || fault.local_reason().is_some());
        Some((Arc::clone(fault), tells))
    }

    /// Records the outcome, unless the collect was closed before.
    pub(super) fn send(self, outcome: Outcome) {
        self.answer(outcome);
    }

    fn answer(&self, outcome: Outcome) {
        let ClusterGather {
            gather, cluster, ..
        } = &*self.cluster_gather;
        gather.answer(*cluster, self.device as usize, outcome);
    }
}

impl Drop for ReplyPort {
    fn drop(&mut self) {
        if self.is_open() {
            self.answer(Err(drop_reason()));
        }
    }
}
