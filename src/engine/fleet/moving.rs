//! Clusters that come here and go elsewhere while the tree runs.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::oneshot;

use super::routes::{NotPlanned, Route, Routes};
use super::{FleetHandle, FleetState, Placement, lock, weight};
use crate::domain::{ClusterId, Fault, FaultKind};
use crate::engine::cluster::ClusterActor;
use crate::engine::messages::{Stop, deliver};
use crate::engine::remote::{Lease, Way};

impl FleetHandle {
    /// Runs clusters here from now on, as long as their leases hold; those that are not of the fleet are
    /// passed over.
    pub(crate) fn take(&self, clusters: &[(ClusterId, Arc<dyn Lease>)]) {
        let shared = &*self.0;
        let mut placement = lock(&shared.placement);
        if clusters
            .iter()
            .all(|(cluster, _)| placement.taken.contains(cluster))
        {
            return;
        }
        let routes = self.routes();
        let mut load = placement.load_of(routes.topology.clusters().iter());
        let mut new = routes.clusters.clone();
        for (id, lease) in clusters {
            let Some(&place) = routes.index.get(id) else {
                continue;
            };
            let cluster = &routes.topology.clusters()[place];
            if !placement.taken.insert(id.clone()) {
                continue;
            }
            if let Some((spec, actor)) = placement.draining.remove(id) {
                let why = "its cluster came back";
                spec.leave(Arc::new(Fault::new(FaultKind::Unreachable, why)));
                deliver(&actor, Stop(oneshot::channel().0));
            }
            // More may come, one after the other, so all threads are used.
            let lightest = (0..load.len()).min_by_key(|&thread| load[thread]);
            let thread = lightest.unwrap_or_default();
            load[thread] += weight(cluster);
            let Route { way, spec, .. } = &mut new[place];
            let entry = (Arc::clone(spec), thread);
            placement.clusters.insert(id.clone(), entry);
            spec.base.set_lease(Arc::clone(lease));
            *way = Way::Here(shared.start_cluster(&placement.threads[thread], spec));
        }
        shared.reroute(&placement, &routes, new);
    }

    /// Has clusters asked elsewhere, and returns the actors of those that are here. They still do what
    /// they were given before.
    pub(in crate::engine) fn send_away(
        &self,
        clusters: &[ClusterId],
    ) -> Vec<(ClusterId, Addr<ClusterActor>)> {
        let mut placement = lock(&self.0.placement);
        self.0.send_away(&mut placement, clusters);
        let draining = clusters.iter().filter_map(|cluster| {
            let (_, actor) = placement.draining.get(cluster)?;
            Some((cluster.clone(), actor.clone()))
        });
        draining.collect()
    }

    /// Has clusters asked elsewhere, and returns the actors of those that were here. They ask nobody
    /// from now on, as `fault` says.
    pub(in crate::engine) fn move_elsewhere(
        &self,
        clusters: &[ClusterId],
        fault: &Arc<Fault>,
    ) -> Vec<(ClusterId, Addr<ClusterActor>)> {
        let mut placement = lock(&self.0.placement);
        self.0.send_away(&mut placement, clusters);
        let ended = clusters.iter().filter_map(|cluster| {
            let (spec, actor) = placement.draining.remove(cluster)?;
            spec.leave(Arc::clone(fault));
            Some((cluster.clone(), actor))
        });
        let ended = ended.collect();
        self.0.keep_before(&placement);
        ended
    }

    /// The ways of when a cluster that runs here had this plan, which is now or just before the last
    /// reload, and its place in them. One that the reload removed had it before.
    ///
    /// # Errors
    /// [`NotPlanned`].
    pub(crate) fn planned(
        &self,
        cluster: &ClusterId,
        plan_id: u64,
    ) -> Result<(Arc<Routes>, usize), NotPlanned> {
        let place = |routes: &Routes| routes.index.get(cluster).copied();
        let routes = self.routes();
        let now = place(&routes).filter(|&it| routes.clusters[it].is_here());
        if let Some(now) = now
            && routes.clusters[now].plan.id() == plan_id
        {
            return Ok((routes, now));
        }
        let other = now.map_or(NotPlanned::NotHere, |_| NotPlanned::OtherPlan);
        let before = lock(&self.0.before).as_ref().map(|(_, it)| Arc::clone(it));
        let before = before.ok_or(other)?;
        let then = place(&before).filter(|&it| {
            let route = &before.clusters[it];
            route.is_here() && route.plan.id() == plan_id
        });
        let then = then.ok_or(other)?;
        Ok((before, then))
    }

    /// Clusters that the last reload removed, and that are here for those who have not heard of that.
    pub(crate) fn removed(&self) -> HashSet<ClusterId> {
        let before = lock(&self.0.before).as_ref().map(|(_, it)| Arc::clone(it));
        let routes = self.peek();
        let clusters = before.iter().flat_map(|before| &before.clusters);
        let removed = clusters.filter(|it| it.is_here() && routes.route(it.cluster()).is_none());
        removed.map(|it| it.cluster().clone()).collect()
    }

    /// Clusters that are asked elsewhere, or not at all, and still run here until they are given up.
    pub(crate) fn draining(&self) -> HashSet<ClusterId> {
        lock(&self.0.placement).draining.keys().cloned().collect()
    }

    /// The clusters that one of the threads runs.
    pub(crate) fn clusters_on(&self, thread: usize) -> HashSet<ClusterId> {
        let placement = lock(&self.0.placement);
        let clusters = placement
            .clusters
            .iter()
            .filter(|(_, (_, at))| *at == thread);
        clusters.map(|(cluster, _)| cluster.clone()).collect()
    }

    /// Waits for a reload since this was called last; for one who waits at a time.
    pub(crate) async fn changed(&self) {
        self.0.reloaded.notified().await;
    }

    /// Forgets what the last reload replaced, if that was so long ago.
    pub(crate) fn forget_before(&self, age: Duration) {
        let mut before = lock(&self.0.before);
        if before.as_ref().is_some_and(|(at, _)| at.elapsed() >= age) {
            *before = None;
        }
    }
}

impl FleetState {
    /// Has clusters asked elsewhere from now on, if there is somebody to do that.
    fn send_away(&self, placement: &mut Placement, clusters: &[ClusterId]) {
        let routes = self.routes.load_full();
        let is_here = |cluster: &ClusterId| routes.route(cluster).is_some_and(Route::is_here);
        let Some(elsewhere) = &self.elsewhere else {
            return;
        };
        if !clusters.iter().any(is_here) {
            return;
        }
        let mut new = routes.clusters.clone();
        for (place, cluster) in routes.places(clusters) {
            let id = cluster.id();
            placement.taken.remove(id);
            placement.clusters.remove(id);
            let Route { way, spec, .. } = &mut new[place];
            if let Way::Here(actor) = way {
                let draining = (Arc::clone(spec), actor.clone());
                placement.draining.insert(id.clone(), draining);
                *spec = Arc::new(spec.successor());
                *way = Way::Elsewhere(Arc::clone(elsewhere));
            }
        }
        self.reroute(placement, &routes, new);
    }
}
