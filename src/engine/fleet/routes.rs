//! Where each cluster is asked, at one time.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use tokio::time::Instant;

use super::{Departing, FleetSettings};
use crate::domain::{Cluster, ClusterId, ClusterState, DeviceState, Topology, TreeFilter};
use crate::engine::cluster_spec::{ClusterSpec, DeviceList};
use crate::engine::gather::FleetDevices;
use crate::engine::remote::{Elsewhere, Way};
use crate::engine::remote_state::{RemoteClusterState, RemoteSnapshot};
use crate::supervision::health::Child as _;

/// Why there is no way to a cluster with some plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotPlanned {
    /// It runs elsewhere, or nowhere.
    NotHere,
    /// It has other devices here.
    OtherPlan,
}

/// Where to send what, at one time.
#[derive(Debug)]
pub(crate) struct Routes {
    pub(crate) topology: Arc<Topology>,
    /// Tells topologies apart: the same in every process that has the same clusters and devices in
    /// the same order.
    pub(crate) version: u64,
    /// The clusters' places.
    pub(super) index: Arc<HashMap<ClusterId, usize>>,
    /// The clusters' actors, in the topology's order. They run as long as somebody holds this.
    pub(crate) clusters: Vec<Route>,
    /// Their devices, in the same order.
    pub(crate) fleet_devices: Arc<FleetDevices>,
    pub(crate) settings: FleetSettings,
    /// How many devices are simulated.
    pub(crate) simulated: usize,
}

impl Routes {
    pub(super) fn nowhere(settings: FleetSettings) -> Self {
        Self {
            topology: Arc::new(Topology::new(Vec::new())),
            version: 0,
            index: Arc::default(),
            clusters: Vec::new(),
            fleet_devices: Arc::default(),
            settings,
            simulated: 0,
        }
    }

    /// Whether every device is simulated. A fleet without devices says nothing that could be taken
    /// for real.
    pub(crate) fn is_demonstration(&self) -> bool {
        self.simulated > 0 && self.simulated == self.topology.devices()
    }
}

/// The way to one cluster.
#[derive(Debug, Clone)]
pub(crate) struct Route {
    pub(in crate::engine) way: Way,
    pub(crate) plan: Arc<DeviceList>,
    pub(in crate::engine) spec: Arc<ClusterSpec>,
}

impl Routes {
    /// These clusters, with their places; those that are not of the fleet are passed over.
    pub(super) fn places(&self, clusters: &[ClusterId]) -> impl Iterator<Item = (usize, &Cluster)> {
        let places = clusters.iter().filter_map(|it| self.index.get(it));
        places.map(|&place| (place, &self.topology.clusters()[place]))
    }

    /// What was before, without keeping running what is not here any more. What was removed is here while
    /// it departs.
    pub(super) fn kept_of(
        &self,
        before: &Self,
        draining: &Departing,
        elsewhere: &Arc<dyn Elsewhere>,
    ) -> Self {
        let way = |cluster: &ClusterId| match (self.route(cluster), draining.get(cluster)) {
            (Some(now), _) => now.way.clone(),
            (None, Some((_, actor))) => Way::Here(actor.clone()),
            (None, None) => Way::Elsewhere(Arc::clone(elsewhere)),
        };
        let kept = |route: &Route| Route {
            way: way(route.cluster()),
            plan: Arc::clone(&route.plan),
            spec: Arc::clone(&route.spec),
        };
        Self {
            topology: Arc::clone(&before.topology),
            version: before.version,
            index: Arc::clone(&before.index),
            clusters: before.clusters.iter().map(kept).collect(),
            fleet_devices: Arc::clone(&before.fleet_devices),
            settings: before.settings,
            simulated: before.simulated,
        }
    }

    pub(in crate::engine) fn route(&self, cluster: &ClusterId) -> Option<&Route> {
        self.index.get(cluster).map(|&place| &self.clusters[place])
    }
}

impl Route {
    pub(in crate::engine) fn cluster(&self) -> &ClusterId {
        &self.spec.base.id
    }

    pub(super) fn state(
        &self,
        filter: TreeFilter,
        remote: &RemoteSnapshot,
        now: Instant,
        is_given_up: &dyn Fn() -> bool,
    ) -> ClusterState {
        let seen = remote.of(self);
        let shown = |places: Range<usize>| {
            let devices = &self.plan.devices;
            let places = places.take_while(|_| !is_given_up());
            let states =
                places.map(|place| RemoteClusterState::device(seen, place, &devices[place], now));
            let is_shown = |state: &DeviceState| filter == TreeFilter::All || !state.is_plain();
            states.filter(is_shown).collect()
        };
        let nodes = self.plan.nodes();
        ClusterState {
            id: self.spec.base.id.clone(),
            child: seen.map_or_else(|| self.spec.health().state(now), |seen| seen.child(now)),
            devices: self.plan.devices.len(),
            nodes: shown(0..nodes),
            switches: shown(nodes..self.plan.devices.len()),
        }
    }
}
