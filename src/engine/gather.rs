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
use crate::engine::cluster_spec::Plan;
use crate::supervision::catch_panic::{blame, blaming};
use crate::telemetry::Metrics;

/// One collect under way.
#[derive(Debug)]
pub(crate) struct Gathering {
    id: u64,
    builder: Arc<CollectionBuilder>,
    /// Wakes those who wait for the whole answer.
    complete: Notify,
    /// Who reads the answer while it comes in; `None` if nobody will.
    reader: Option<AtomicWaker>,
    /// The fleet that the collect began with.
    manifest: Arc<Manifest>,
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

impl Gathering {
    /// A collect of all of `topology`, whose devices are in the manifest.
    pub(crate) fn new(
        id: u64,
        topology: Arc<Topology>,
        manifest: Arc<Manifest>,
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
            manifest,
            force,
            is_patient,
            client,
            end_watchers: Mutex::default(),
        })
    }

    /// The cluster's share of the work: all of its devices, or the picked ones; `plan` is its place
    /// in the manifest. Ask once for each cluster, or devices are asked twice. It counts as waiting
    /// until it is [taken up](Share::take_up).
    pub(crate) fn share(
        self: &Arc<Self>,
        cluster: usize,
        plan: usize,
        picks: Option<Picks>,
    ) -> Share {
        let part = Part {
            gathering: Arc::clone(self),
            cluster,
        };
        self.manifest.metrics.posted();
        Share {
            part: Arc::new(part),
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
    pub(crate) async fn came(&self, nth: usize) {
        std::future::poll_fn(|cx| {
            if let Some(reader) = &self.reader {
                reader.register(cx.waker());
            }
            match self.builder.came(nth) {
                Some(_) => Poll::Ready(()),
                None => Poll::Pending,
            }
        })
        .await;
    }

    /// Waits until every device has an outcome. Dropping it loses nothing.
    pub(crate) async fn settled(&self) {
        heard_or(self.complete.notified(), || self.builder.is_complete()).await;
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
        if self.builder.answer_rest(cluster, &blame()) {
            self.complete.notify_waiters();
        }
        self.wake_reader();
    }
}

/// The devices of a fleet, in one piece for every collect to hold.
#[derive(Debug, Default)]
pub(crate) struct Manifest {
    /// Of each cluster.
    pub(super) plans: Box<[Arc<Plan>]>,
    /// Where it is counted what waits.
    pub(super) metrics: Metrics,
}

/// Which devices of a cluster are asked: for each its place in the answer and in the plan, both
/// rising.
pub(crate) type Picks = Arc<[(u32, u32)]>;

/// Waits for a notification, unless this is so once it would be heard. That takes the lock of those
/// who wait once, and enabling the notification and waiting for it twice.
pub(crate) async fn heard_or(notified: Notified<'_>, is_so: impl Fn() -> bool) {
    tokio::pin!(notified);
    std::future::poll_fn(|cx| match notified.as_mut().poll(cx) {
        Poll::Pending if !is_so() => Poll::Pending,
        Poll::Pending | Poll::Ready(()) => Poll::Ready(()),
    })
    .await;
}

/// What the ports of one cluster share.
#[derive(Debug)]
struct Part {
    gathering: Arc<Gathering>,
    cluster: usize,
}

impl Part {
    fn answer_rest(&self) {
        self.gathering.answer_rest(self.cluster);
    }
}

/// A cluster's share of a collect: a port for each of its devices, handed out in topology order.
///
/// Dropped before all are handed out, it answers for the whole cluster: that happens only when the
/// cluster's actor dies with it or never gets it.
#[derive(Debug)]
pub(crate) struct Share {
    part: Arc<Part>,
    /// The place of its devices' plan.
    plan: usize,
    /// `None` is all: the places in answer and plan are the same.
    picks: Option<Picks>,
    next: usize,
    /// Whether it waits to be taken up.
    waits: bool,
}

impl Share {
    /// The devices that it is for: those of the topology that the collect started with.
    pub(super) fn plan(&self) -> &Arc<Plan> {
        &self.part.gathering.manifest.plans[self.plan]
    }

    /// It is out of the mailbox.
    pub(super) fn take_up(&mut self) {
        if std::mem::take(&mut self.waits) {
            self.part.gathering.manifest.metrics.taken_up();
        }
    }

    /// The collect that it belongs to.
    pub(super) fn collect(&self) -> u64 {
        self.part.gathering.id
    }

    /// Whose turns it takes to ask them, if that is known.
    pub(super) fn client(&self) -> Option<IpAddr> {
        self.part.gathering.client
    }

    /// Whether devices are asked that would not be.
    pub(super) fn is_forced(&self) -> bool {
        self.part.gathering.force
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
        self.part.gathering.answer(self.part.cluster, slot, outcome);
    }

    /// Answers for every device of the cluster that has no outcome.
    pub(super) fn answer_rest(&self, fault: &Arc<Fault>) {
        blaming(Arc::clone(fault), || self.part.answer_rest());
    }

    /// The next device, by its place in the plan, and its port.
    pub(super) fn next_port(&mut self) -> Option<(usize, Reply)> {
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
        let part = Arc::clone(&self.part);
        let force = self.is_forced();
        let reply = Reply {
            part,
            device,
            force,
        };
        Some((planned, reply))
    }

    /// Whether there is a device left to ask.
    pub(super) fn has_more(&self) -> bool {
        self.next < self.len()
    }

    /// Whether nobody waits for the ports that are left.
    pub(super) fn is_settled(&self) -> bool {
        self.part.gathering.is_cluster_complete(self.part.cluster)
    }

    /// What the cluster's actor remembers of this collect.
    pub(super) fn in_flight(&self) -> InFlight {
        InFlight {
            collect: self.part.gathering.id,
            gathering: Arc::downgrade(&self.part.gathering),
            part: Arc::downgrade(&self.part),
            picks: self.picks.clone(),
        }
    }

    fn len(&self) -> usize {
        match &self.picks {
            None => {
                let topology = self.part.gathering.builder.topology();
                topology.clusters()[self.part.cluster].len()
            }
            Some(picks) => picks.len(),
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.take_up();
        if self.has_more() {
            self.part.answer_rest();
        }
    }
}

/// A collect that a cluster's actor takes part in. When the actor dies, its callers hear at once
/// and not only when its devices are gone.
#[derive(Debug)]
pub(super) struct InFlight {
    collect: u64,
    /// Weak, so that an answer is freed when its caller is done with it.
    gathering: Weak<Gathering>,
    /// Its ports' part of it.
    part: Weak<Part>,
    picks: Option<Picks>,
}

impl InFlight {
    pub(super) fn collect(&self) -> u64 {
        self.collect
    }

    /// Whether every device of the cluster has an outcome, or nobody waits for one.
    pub(super) fn is_settled(&self) -> bool {
        let part = self.part.upgrade();
        part.is_none_or(|it| it.gathering.is_cluster_complete(it.cluster))
    }

    /// Whether the caller has its answer and no device holds a port of it any more.
    pub(super) fn is_over(&self) -> bool {
        self.gathering.strong_count() == 0
    }

    /// Resolves, with an error, when the collect [is over](InFlight::is_over); `None` if it is.
    pub(super) fn over(&self) -> Option<oneshot::Receiver<()>> {
        let gathering = self.gathering.upgrade()?;
        let (sender, over) = oneshot::channel();
        let mut watchers = gathering
            .end_watchers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        watchers.push(sender);
        Some(over)
    }

    /// Whether its answer takes outcomes.
    pub(super) fn is_open(&self) -> bool {
        let part = self.part.upgrade();
        part.is_some_and(|it| !it.gathering.is_cluster_complete(it.cluster))
    }

    /// Shows the devices of which no outcome has come, or none before the answer was closed, by those
    /// of their places in the plan that are in `places`.
    pub(super) fn each_lacking(&self, places: Range<usize>, mut show: impl FnMut(usize)) {
        let Some(part) = self.part.upgrade() else {
            return;
        };
        let builder = &part.gathering.builder;
        let mut look = |slot: usize, place: usize| {
            if builder.lacks(part.cluster, slot) {
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

impl Drop for InFlight {
    fn drop(&mut self) {
        if let Some(part) = self.part.upgrade() {
            part.answer_rest();
        }
    }
}

/// A device's port: takes one outcome, or records a fault when dropped without one.
#[derive(Debug)]
pub(crate) struct Reply {
    part: Arc<Part>,
    /// Its place in the cluster's part of the answer.
    device: u32,
    /// Whether the device is asked although its breaker is open.
    force: bool,
}

impl Reply {
    /// Whether its outcome would be taken.
    pub(super) fn is_open(&self) -> bool {
        let Part {
            gathering, cluster, ..
        } = &*self.part;
        gathering.builder.is_open(*cluster, self.device as usize)
    }

    /// Whether the device is asked although its breaker is open.
    pub(super) fn is_forced(&self) -> bool {
        self.force
    }

    /// The device is asked as if its caller did not force it.
    pub(super) fn unforced(self) -> Self {
        let mut reply = self;
        reply.force = false;
        reply
    }

    /// The fault with which the collect closed this port, if it did, and whether that says that the
    /// device was silent for as long as it may be, or what it waited for is missing here: not if the caller
    /// had less patience than is configured, or the device was to be asked later.
    pub(super) fn closed_with(&self) -> Option<(Arc<Fault>, bool)> {
        let Part {
            gathering, cluster, ..
        } = &*self.part;
        let device = self.device as usize;
        let fault = gathering.builder.closed_with(*cluster, device)?;
        let was_silent = fault.kind() == FaultKind::TimedOut && !fault.is_unasked();
        let tells = gathering.is_patient && (was_silent || fault.local_reason().is_some());
        Some((Arc::clone(fault), tells))
    }

    /// Records the outcome, unless the collect was closed before.
    pub(super) fn send(self, outcome: Outcome) {
        self.answer(outcome);
    }

    fn answer(&self, outcome: Outcome) {
        let Part {
            gathering, cluster, ..
        } = &*self.part;
        gathering.answer(*cluster, self.device as usize, outcome);
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if self.is_open() {
            self.answer(Err(blame()));
        }
    }
}
