//! Whom a collect asks: the whole fleet, or the devices that are meant.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::{Fault, Scope, ScopeError, Topology, Turn};
use crate::engine::fleet::{Route, Routes};
use crate::engine::gather::{DeviceSelection, Gather};
use crate::engine::remote::Time;

use super::answer::Observation;

/// Sending a cluster its share takes about as long as so many items of work.
const ITEMS_OF_A_CLUSTER: usize = 4;

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
    /// In turns, if not all are meant.
    pub(super) async fn new(routes: Arc<Routes>, scope: &Scope) -> Result<Self, ScopeError> {
        if scope.is_whole() {
            return Ok(Self {
                routes,
                chosen: None,
            });
        }
        let places = scope.places(&routes.topology).await?;
        Ok(Self::of(routes, &places).await)
    }

    /// Some devices of one cluster, by their rising places in its plan.
    pub(super) async fn part(routes: Arc<Routes>, cluster: usize, places: &[u32]) -> Self {
        let places = places.iter().map(|&place| place as usize).collect();
        Self::of(routes, &[(cluster, places)]).await
    }

    async fn of(routes: Arc<Routes>, places: &[(usize, Vec<usize>)]) -> Self {
        let (mut clusters, mut turn) = (Vec::with_capacity(places.len()), Turn::default());
        let mut chosen = Vec::with_capacity(places.len());
        for (place, devices) in places {
            let cluster = &routes.topology.clusters()[*place];
            clusters.push(cluster.part(devices, &mut turn).await);
            chosen.push(Chosen::new(*place, devices));
        }
        let topology = Arc::new(Topology::new(clusters));
        let chosen = Some((topology, chosen.into_boxed_slice()));
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

    /// Asks the devices of the clusters from `next` on, in turns, but for those of whom enough is known.
    ///
    /// Several may do so at once, each for other clusters; what one does not come to is left to the
    /// others. With a `max_age` there is one only, as it may be dropped in the middle of a cluster. It
    /// stops when the answer is closed, or is to be closed by now.
    pub(super) async fn send(
        &self,
        gather: &Arc<Gather>,
        time: Time,
        (next, end): (&AtomicUsize, Instant),
    ) {
        let (mut turn, clusters) = (Turn::default(), self.topology().clusters().len());
        loop {
            let cluster = next.fetch_add(1, Ordering::Relaxed);
            if cluster >= clusters || gather.builder().is_complete() {
                return;
            }
            let picks = match time.max_age {
                Some(age) => {
                    let older = self.older(gather, cluster, (age, end), &mut turn);
                    Some(older.await)
                }
                None => self.picks(cluster),
            };
            if picks.as_ref().is_none_or(|picks| !picks.is_empty()) {
                let ticket = gather.ticket(cluster, self.place(cluster), picks);
                self.route(cluster).collect(ticket, time);
            }
            if turn.spend(ITEMS_OF_A_CLUSTER).await && Instant::now() >= end {
                return;
            }
        }
    }

    /// The devices of a cluster to ask; `None` is all of them.
    fn picks(&self, cluster: usize) -> Option<DeviceSelection> {
        let (_, chosen) = self.chosen.as_ref()?;
        Some((0..).zip(chosen[cluster].devices.iter().copied()).collect())
    }

    /// The devices of a cluster of which nothing is known that is young enough. The others have their
    /// outcome then.
    async fn older(
        &self,
        gather: &Gather,
        cluster: usize,
        (age, end): (Duration, Instant),
        turn: &mut Turn,
    ) -> DeviceSelection {
        let route = self.route(cluster);
        let mut picks = Vec::new();
        for slot in 0..self.topology().clusters()[cluster].len() {
            if turn.spend(1).await && Instant::now() >= end {
                break;
            }
            let planned = self.planned(cluster, slot);
            match route.plan.device(planned).known(age) {
                Some(outcome) => gather.answer(cluster, slot, outcome),
                // There are at most 1,000,000 devices.
                None => picks.push((
                    u32::try_from(slot).unwrap_or(u32::MAX),
                    u32::try_from(planned).unwrap_or(u32::MAX),
                )),
            }
        }
        picks.into()
    }

    /// Tells a cluster that nobody waits for this collect any more. One that does not take it drops
    /// its lookups by their own timeouts.
    pub(super) fn withdraw(&self, cluster: usize, collect: u64, fault: &Arc<Fault>) {
        self.route(cluster).withdraw(collect, fault);
    }

    /// What the lookup of a device of the answer waits for before it begins; 0 if for nothing.
    pub(super) fn queued(&self, cluster: usize, device: usize) -> u32 {
        let planned = self.planned(cluster, device);
        self.route(cluster).plan.device(planned).queued()
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
