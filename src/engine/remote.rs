//! Clusters whose actors run in another process.
//!
//! A tree knows every cluster of the fleet. One that is here has an actor; for one that is not,
//! somebody else is given a [`RemoteCollect`] for each collect, and tells it what came of the
//! devices. It does not know how that one is reached. Entry points: [`Elsewhere`],
//! [`FleetHandle::take`], [`FleetHandle::stop_clusters`].

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use futures::future::BoxFuture;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::cluster::ClusterActor;
use super::fleet::{FleetHandle, Route};
use super::messages::{Collect, Drain, Stop, Withdraw, deliver};
use crate::domain::{Change, ClusterId, Event, Fault, FaultKind, Hold, Outcome};
use crate::engine::gather::ClusterTicket;
use crate::engine::remote_state::{RemoteClusterState, StateQuery};
use crate::supervision::catch_panic::with_drop_reason;
use crate::supervision::health::Child as _;

/// Asks clusters that are not here. Never blocks.
pub(crate) trait Elsewhere: fmt::Debug + Send + Sync + 'static {
    /// Has the devices of a remote collect asked. Dropping the remote collect answers for those
    /// that were not.
    fn collect(&self, collect: RemoteCollect);

    /// Nobody waits for this cluster's part of a collect any more, for this reason.
    fn withdraw(&self, collect: u64, cluster: &ClusterId, fault: &Fault);

    /// What is known of a cluster where it is; `None` if that is not to be known. The future may be
    /// dropped at any time.
    fn look(&self, query: StateQuery) -> BoxFuture<'static, Option<RemoteClusterState>>;

    /// Has a device reset where it is, the only place of the inquiry, for this caller; gives what was
    /// cleared, or why that was not done.
    fn reset(
        &self,
        query: StateQuery,
        caller: String,
    ) -> BoxFuture<'static, Result<Vec<Hold>, String>>;

    /// Has the right to ask a device by force reserved where it is, the only place of the inquiry;
    /// gives whether something keeps it from being asked, or how long that right is another's. `None`
    /// if that is not to be known. The future may be dropped at any time.
    fn reserve_force(
        &self,
        query: StateQuery,
    ) -> BoxFuture<'static, Option<Result<bool, Duration>>>;
}

/// That the devices of a cluster may be asked here: by others when it is over.
pub(crate) trait Lease: fmt::Debug + Send + Sync + 'static {
    /// Whether it is certain that it is not over. Never blocks.
    fn holds(&self) -> bool;
}

/// How a cluster is reached.
#[derive(Debug, Clone)]
pub(crate) enum Way {
    /// By its actor. It runs as long as somebody holds this.
    Here(Addr<ClusterActor>),
    /// By whoever knows where it is.
    Elsewhere(Arc<dyn Elsewhere>),
}

/// When a collect began, the longest that it may take, and what need not be asked again.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Time {
    pub(crate) start: Instant,
    pub(crate) deadline: Duration,
    /// How old what is known of a device may be for it not to be asked; `None` asks all.
    pub(crate) max_age: Option<Duration>,
}

/// What another process says of one device.
#[derive(Debug)]
pub(crate) struct RemoteOutcome {
    /// The device's place in its cluster's plan.
    pub(crate) place: usize,
    pub(crate) outcome: Outcome,
    /// How long ago a lookup gave that, and how long it took if no deadline cut it off; `None` if no
    /// lookup did.
    pub(crate) observed: Option<(Duration, Option<Duration>)>,
}

/// What became of one device that changed.
#[derive(Debug)]
pub(crate) struct RemoteChange {
    /// The device's place in its cluster's plan.
    pub(crate) place: u32,
    pub(crate) outcome: Outcome,
    /// How long ago.
    pub(crate) age: Duration,
    /// Which facts changed, if some did.
    pub(crate) facts: Vec<String>,
}

/// One cluster's part of a collect, to be done elsewhere. Dropped, it answers for every device of
/// which nothing was told.
#[derive(Debug)]
pub(crate) struct RemoteCollect {
    cluster: ClusterId,
    ticket: Option<ClusterTicket>,
    time: Time,
    /// What is said of the devices of which nothing was told.
    fault: Arc<Fault>,
}

impl RemoteCollect {
    fn new(cluster: ClusterId, mut ticket: ClusterTicket, time: Time) -> Self {
        ticket.take_up();
        let fault = Fault::new(FaultKind::Unreachable, "nobody took its cluster's part");
        Self {
            cluster,
            ticket: Some(ticket),
            time,
            fault: Arc::new(fault),
        }
    }

    #[expect(clippy::expect_used, reason = "only dropping takes it")]
    fn ticket(&self) -> &ClusterTicket {
        self.ticket
            .as_ref()
            .expect("an errand has its share until it is dropped")
    }

    /// Which collect it is for.
    pub(crate) fn collect(&self) -> u64 {
        self.ticket().collect()
    }

    pub(crate) fn cluster(&self) -> &ClusterId {
        &self.cluster
    }

    pub(crate) fn time(&self) -> Time {
        self.time
    }

    /// Tells apart plans with other devices, or in another order.
    pub(crate) fn plan_id(&self) -> u64 {
        self.ticket().plan().id()
    }

    /// When a reload brought its devices; `None` if they were there from the start.
    pub(crate) fn reloaded(&self) -> Option<Instant> {
        self.ticket().plan().reloaded
    }

    /// The devices to ask, by their rising places in the plan; `None` is all of them.
    pub(crate) fn places(&self) -> Option<Vec<u32>> {
        self.ticket().places()
    }

    /// Whether devices are asked that would not be.
    pub(crate) fn is_forced(&self) -> bool {
        self.ticket().is_forced()
    }

    /// Whether nobody waits for it any more.
    pub(crate) fn is_settled(&self) -> bool {
        self.ticket().is_settled()
    }

    /// Takes note of what was told of a device, and answers for it. What is told of a device that
    /// was not asked, or told again, changes no answer; false if there is no such device.
    pub(crate) fn tell(&self, told: RemoteOutcome) -> bool {
        let ticket = self.ticket();
        let Some(slot) = ticket.slot(told.place) else {
            return false;
        };
        let device = &ticket.plan().devices[told.place];
        if let Some((age, took)) = told.observed {
            device.told(&told.outcome, age, took);
        }
        ticket.answer(slot, told.outcome);
        true
    }

    /// What is said of the devices of which nothing was told until now and until the end.
    pub(crate) fn blame(&mut self, fault: Fault) {
        self.fault = Arc::new(fault);
    }
}

impl Drop for RemoteCollect {
    fn drop(&mut self) {
        let ticket = self.ticket.take();
        with_drop_reason(Arc::clone(&self.fault), || drop(ticket));
    }
}

impl Route {
    /// Whether the cluster's actor is in this process.
    pub(crate) fn is_here(&self) -> bool {
        matches!(self.way, Way::Here(_))
    }

    /// Starts the cluster's actor if it waits out a backoff or a quarantine.
    fn force(&self) {
        let health = self.spec.health();
        if health.down().is_some() && health.force(Instant::now()).is_ok() {
            health.start_now();
        }
    }

    /// Has the cluster asked.
    pub(crate) fn collect(&self, ticket: ClusterTicket, time: Time) {
        match &self.way {
            Way::Here(actor) => {
                if ticket.is_forced() {
                    self.force();
                }
                deliver(actor, Collect(ticket));
            }
            Way::Elsewhere(elsewhere) => {
                elsewhere.collect(RemoteCollect::new(self.cluster().clone(), ticket, time));
            }
        }
    }

    /// Nobody waits for this collect any more; its devices without an outcome were given `fault`.
    pub(crate) fn withdraw(&self, collect: u64, fault: &Arc<Fault>) {
        match &self.way {
            Way::Here(actor) => deliver(actor, Withdraw { collect }),
            Way::Elsewhere(elsewhere) => elsewhere.withdraw(collect, self.cluster(), fault),
        }
    }
}

impl FleetHandle {
    /// What became of devices of a cluster that runs here, and which plan their places are of; `None` if
    /// it does not.
    pub(crate) fn remote_changes(
        &self,
        cluster: &ClusterId,
        changes: &[Arc<Change>],
    ) -> Option<(u64, Vec<RemoteChange>)> {
        let routes = self.routes();
        let route = routes.route(cluster).filter(|route| route.is_here())?;
        let devices = (0..).zip(&route.plan.devices);
        let places: HashMap<_, u32> = devices.map(|(at, it)| (it.identity(), at)).collect();
        let happened = changes.iter().filter_map(|change| {
            let place = *places.get(&(change.kind, &change.device))?;
            let outcome = route.plan.device(place as usize).after(&change.event)?;
            let facts = match &change.event {
                Event::FactsChanged(facts) => facts.clone(),
                _ => Vec::new(),
            };
            Some(RemoteChange {
                place,
                outcome,
                age: change.time.elapsed().unwrap_or_default(),
                facts,
            })
        });
        Some((route.plan.id(), happened.collect()))
    }

    /// Takes note of what became of devices of a cluster that is not here; whether that has this plan.
    pub(crate) fn apply_remote_changes(
        &self,
        cluster: &ClusterId,
        plan_id: u64,
        happened: impl Iterator<Item = RemoteChange>,
    ) -> bool {
        let routes = self.peek();
        let Some(route) = routes.route(cluster) else {
            return false;
        };
        if route.plan.id() != plan_id {
            return false;
        }
        for happened in happened {
            if let Some(device) = route.plan.devices.get(happened.place as usize)
                && !route.is_here()
            {
                device.apply_remote_change(happened);
            }
        }
        true
    }

    /// Has clusters asked elsewhere from now on. What they were given before is still done here;
    /// each channel says when that is, or ends if the cluster's actor did.
    /// [`FleetHandle::stop_clusters`] ends them.
    pub(crate) fn drain_clusters(
        &self,
        clusters: &[ClusterId],
    ) -> HashMap<ClusterId, oneshot::Receiver<()>> {
        let draining = self.send_away(clusters).into_iter();
        let at_rest = draining.map(|(cluster, actor)| {
            let (rests, at_rest) = oneshot::channel();
            deliver(&actor, Drain(rests));
            (cluster, at_rest)
        });
        at_rest.collect()
    }

    /// Does not run clusters here any more: their lookups under way are dropped, and collects that
    /// wait for them hear of `fault`. Each of those returned resolves when nothing of one runs,
    /// with an error if its actor ended by itself, as it does when nobody holds its address.
    pub(crate) fn stop_clusters(
        &self,
        clusters: &[ClusterId],
        fault: Fault,
    ) -> Vec<(ClusterId, oneshot::Receiver<()>)> {
        let moved = self.move_elsewhere(clusters, &Arc::new(fault));
        let left = moved.into_iter().map(|(cluster, actor)| {
            let (gone, left) = oneshot::channel();
            deliver(&actor, Stop(gone));
            (cluster, left)
        });
        left.collect()
    }
}
