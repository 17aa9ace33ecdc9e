//! The actors of a cluster's devices: how they are gathered for a plan, and let go of, in turns.
//!
//! It does not know who asks them. Entry points: [`DeviceStart`], [`ClusterDevices::let_go`].

use std::collections::HashMap;
use std::sync::Arc;

use actix::prelude::*;

use super::device::Device;
use super::messages::{MAILBOX, deliver};
use crate::domain::{ITEMS_PER_TURN, drop_some};
use crate::engine::cluster_spec::{ClusterSpec, DeviceList};
use crate::engine::device::actor::DeviceActor;
use crate::supervision::failpoints::{FailAction, Failpoint};
use crate::supervision::shell::start;

/// The actors of a plan's devices. Whoever holds it keeps them running: the cluster's actor, and
/// what runs in it.
#[derive(Debug, Default)]
pub(super) struct ClusterDevices {
    pub(super) plan: Arc<DeviceList>,
    actors: Box<[Addr<DeviceActor>]>,
}

impl ClusterDevices {
    /// Gives the device at `index` a message.
    pub(super) fn send<M>(&self, index: usize, message: M)
    where
        M: Message<Result = ()> + Send + 'static,
        DeviceActor: Handler<M>,
    {
        #[cfg(test)]
        crate::domain::seen::note();
        deliver(&self.actors[index], message);
    }

    /// Lets go of it, on the arbiter of its actors: those that it alone keeps running end, in turns if
    /// they are many.
    pub(super) fn let_go(self: Arc<Self>) {
        if let Some(roster) = Arc::into_inner(self)
            && roster.plan.devices.len() > ITEMS_PER_TURN
        {
            actix::spawn(roster.end());
        }
    }

    /// Ends its actors, in turns: they are woken by it.
    pub(super) async fn end(self) {
        // Their specs are freed by the actors.
        drop(self.plan);
        drop_some(self.actors.into_vec(), ITEMS_PER_TURN).await;
    }
}

/// A plan's actors as they are gathered: those that run already, and new ones for the other devices.
pub(super) struct DeviceStart {
    pub(super) plan: Arc<DeviceList>,
    /// Those that run already.
    rosters: Vec<Arc<ClusterDevices>>,
    /// Where the actor of a device is that runs already: its roster, and its place in that one's plan.
    known: HashMap<*const Device, (usize, usize)>,
    /// Which of them is to be known next.
    unknown: (usize, usize),
    actors: Vec<Addr<DeviceActor>>,
    /// Where a failpoint makes the start of the cluster's actor go wrong; `None` if that has
    /// started.
    pub(super) fails_at: Option<usize>,
}

impl DeviceStart {
    pub(super) fn new(plan: Arc<DeviceList>, rosters: Vec<Arc<ClusterDevices>>) -> Self {
        let running = rosters.iter().map(|roster| roster.plan.devices.len()).sum();
        Self {
            plan,
            rosters,
            known: HashMap::with_capacity(running),
            unknown: (0, 0),
            actors: Vec::new(),
            fails_at: None,
        }
    }

    /// Looks where some more actors are that run already; returns whether these are all.
    fn look_some_up(&mut self) -> bool {
        let mut left = ITEMS_PER_TURN;
        let (mut at, mut place) = self.unknown;
        while left > 0
            && let Some(roster) = self.rosters.get(at)
        {
            let devices = &roster.plan.devices;
            let to = devices.len().min(place + left);
            let places = devices[place..to].iter().map(Arc::as_ptr).zip(place..);
            self.known
                .extend(places.map(|(device, place)| (device, (at, place))));
            left -= to - place;
            (at, place) = if to == devices.len() {
                (at + 1, 0)
            } else {
                (at, to)
            };
        }
        self.unknown = (at, place);
        at == self.rosters.len()
    }

    /// Gathers some more; returns whether these are all. It may `stop` the cluster's actor.
    pub(super) fn go_on(&mut self, spec: &ClusterSpec, mut stop: impl FnMut()) -> bool {
        if !self.look_some_up() {
            return false;
        }
        let env = &spec.base.env;
        let devices = &self.plan.devices;
        let from = self.actors.len();
        let to = (from + ITEMS_PER_TURN).min(devices.len());
        for (place, device) in (from..to).zip(&devices[from..to]) {
            if self.fails_at == Some(place)
                && spec.pass(Failpoint::Started) == Some(FailAction::Stop)
            {
                stop();
            }
            let known = self.known.get(&Arc::as_ptr(device));
            let running = known.map(|&(roster, place)| self.rosters[roster].actors[place].clone());
            let new = || start(Arc::clone(device), env, MAILBOX);
            self.actors.push(running.unwrap_or_else(new));
        }
        to == devices.len()
    }

    /// The actors that are gathered.
    pub(super) fn roster(self) -> Arc<ClusterDevices> {
        Arc::new(ClusterDevices {
            plan: self.plan,
            actors: self.actors.into(),
        })
    }
}
