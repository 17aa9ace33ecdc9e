//! Whom a collect asks: the whole fleet, or the devices that are meant.

use std::sync::Arc;
use std::time::Duration;

use crate::actors::elsewhere::Time;
use crate::actors::fleet::{Route, Routes};
use crate::actors::gathering::{Gathering, Picks};
use crate::actors::messages::Withdraw;
use crate::domain::{Scope, ScopeError, Topology};

use super::answer::Observation;

/// The clusters of an answer, and the way to each.
#[derive(Debug)]
pub(super) struct Selection {
    routes: Arc<Routes>,
    /// `None`: the answer is for the whole fleet, and everybody's place is the same in both.
    chosen: Option<(Arc<Topology>, Box<[Chosen]>)>,
}

/// A cluster of an answer that is not for the whole fleet.
#[derive(Debug)]
struct Chosen {
    /// Its place in the fleet.
    cluster: usize,
    /// Its devices, by their places in the cluster's plan.
    devices: Box<[u32]>,
}

impl Chosen {
    fn new(cluster: usize, places: &[usize]) -> Self {
        // There are at most 1,000,000 devices.
        let place_of = |&place: &usize| u32::try_from(place).unwrap_or(u32::MAX);
        Self {
            cluster,
            devices: places.iter().map(place_of).collect(),
        }
    }
}

impl Selection {
    pub(super) fn new(routes: Arc<Routes>, scope: &Scope) -> Result<Self, ScopeError> {
        if scope.is_whole() {
            return Ok(Self {
                routes,
                chosen: None,
            });
        }
        let places = scope.places(&routes.topology)?;
        Ok(Self::of(routes, &places))
    }

    /// Some devices of one cluster, by their rising places in its plan.
    pub(super) fn part(routes: Arc<Routes>, cluster: usize, places: &[u32]) -> Self {
        let places = places.iter().map(|&place| place as usize).collect();
        Self::of(routes, &[(cluster, places)])
    }

    fn of(routes: Arc<Routes>, places: &[(usize, Vec<usize>)]) -> Self {
        let all = routes.topology.clusters();
        let clusters = places
            .iter()
            .map(|(place, devices)| all[*place].part(devices));
        let topology = Arc::new(Topology::new(clusters.collect()));
        let chosen = places
            .iter()
            .map(|(place, devices)| Chosen::new(*place, devices));
        let chosen = Some((topology, chosen.collect()));
        Self { routes, chosen }
    }

    /// The devices that the answer is for.
    pub(super) fn topology(&self) -> &Arc<Topology> {
        match &self.chosen {
            None => &self.routes.topology,
            Some((topology, _)) => topology,
        }
    }

    pub(super) fn routes(&self) -> &Routes {
        &self.routes
    }

    /// The place in the fleet of a cluster of the answer.
    fn place(&self, cluster: usize) -> usize {
        match &self.chosen {
            None => cluster,
            Some((_, chosen)) => chosen[cluster].cluster,
        }
    }

    fn route(&self, cluster: usize) -> &Route {
        &self.routes.clusters[self.place(cluster)]
    }

    /// The place in its cluster's plan of a device of the answer.
    fn planned(&self, cluster: usize, device: usize) -> usize {
        match &self.chosen {
            None => device,
            Some((_, chosen)) => chosen[cluster].devices[device] as usize,
        }
    }

    /// Asks every device, but for those of whom enough is known.
    pub(super) fn send(&self, gathering: &Arc<Gathering>, time: Time) {
        for cluster in 0..self.topology().clusters().len() {
            let picks = self.picks(gathering, cluster, time.max_age);
            if picks.as_ref().is_some_and(|picks| picks.is_empty()) {
                continue;
            }
            let share = gathering.share(cluster, self.place(cluster), picks);
            self.route(cluster).collect(share, time);
        }
    }

    /// The devices of a cluster to ask; `None` is all of them. The others have their outcome then.
    fn picks(
        &self,
        gathering: &Gathering,
        cluster: usize,
        max_age: Option<Duration>,
    ) -> Option<Picks> {
        if self.chosen.is_none() && max_age.is_none() {
            return None;
        }
        let route = self.route(cluster);
        let mut picks = Vec::new();
        for slot in 0..self.topology().clusters()[cluster].len() {
            let planned = self.planned(cluster, slot);
            let device = &route.plan.device(planned);
            match max_age.and_then(|age| device.known(age)) {
                Some(outcome) => gathering.answer(cluster, slot, outcome),
                // There are at most 1,000,000 devices.
                None => picks.push((
                    u32::try_from(slot).unwrap_or(u32::MAX),
                    u32::try_from(planned).unwrap_or(u32::MAX),
                )),
            }
        }
        Some(picks.into())
    }

    /// Tells a cluster that nobody waits for this collect any more. One that does not take it drops
    /// its lookups by their own timeouts.
    pub(super) fn withdraw(&self, cluster: usize, withdraw: Withdraw) {
        self.route(cluster).withdraw(withdraw);
    }

    /// How a device of the answer came by this outcome; `None` if no lookup gave it.
    pub(super) fn observation(
        &self,
        cluster: usize,
        device: usize,
        outcome: &crate::domain::Outcome,
    ) -> Option<Observation> {
        let planned = self.planned(cluster, device);
        let (at, took) = self.route(cluster).plan.device(planned).observed(outcome)?;
        Some(Observation { at, took })
    }
}
