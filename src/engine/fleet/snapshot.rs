//! The fleet's devices at one moment, for whoever looks at all of them and more than once.
//!
//! It keeps no actor running, and asks none.

use std::sync::Arc;

use tokio::time::Instant;

use crate::domain::{ChildState, ClusterId, DeviceKind, DeviceState, DriverKind};
use crate::engine::cluster_spec::{ClusterSpec, DeviceList};
use crate::engine::fleet::FleetHandle;
use crate::engine::remote_state::{RemoteClusterState, RemoteSnapshot};
use crate::supervision::health::Child;

/// Who was in the fleet when it was taken; what is known of each is as of when it is looked at.
#[derive(Debug)]
pub struct Snapshot {
    supervisor: ChildState,
    clusters: Vec<(Arc<ClusterSpec>, Arc<DeviceList>)>,
    per_device: Option<bool>,
    remote: Arc<RemoteSnapshot>,
}

/// A device of a snapshot.
#[derive(Debug)]
pub struct SnapshotDevice<'a> {
    /// The place of its cluster in the snapshot.
    pub place: usize,
    /// Its cluster.
    pub cluster: &'a ClusterId,
    /// What it is.
    pub kind: DeviceKind,
    /// Who asks it.
    pub driver: DriverKind,
    /// What is known of it now.
    pub state: DeviceState,
}

impl FleetHandle {
    /// Everybody, to be looked at, with what is known elsewhere of those that are not here; without
    /// that, only those that are here.
    pub(crate) fn snapshot(&self, remote: Option<Arc<RemoteSnapshot>>) -> Snapshot {
        let routes = self.routes();
        let is_shown = |route: &&crate::engine::fleet::Route| remote.is_some() || route.is_here();
        let cluster = |route: &crate::engine::fleet::Route| {
            (Arc::clone(&route.spec), Arc::clone(&route.plan))
        };
        Snapshot {
            supervisor: self.supervisor(),
            clusters: routes
                .clusters
                .iter()
                .filter(is_shown)
                .map(cluster)
                .collect(),
            per_device: routes.settings.per_device,
            remote: remote.unwrap_or_default(),
        }
    }
}

impl Snapshot {
    /// The supervisor.
    #[must_use]
    pub fn supervisor(&self) -> &ChildState {
        &self.supervisor
    }

    /// Whether devices are to be shown one by one, if the configuration says so or not.
    #[must_use]
    pub fn per_device(&self) -> Option<bool> {
        self.per_device
    }

    /// How many devices there are.
    #[must_use]
    pub fn devices(&self) -> usize {
        self.clusters
            .iter()
            .map(|(_, plan)| plan.devices.len())
            .sum()
    }

    /// The clusters in configured order, each with what is known of its actor.
    pub fn clusters(&self) -> impl ExactSizeIterator<Item = (&ClusterId, ChildState)> {
        let now = Instant::now();
        let clusters = self.clusters.iter();
        clusters.map(move |(spec, plan)| {
            let seen = self.remote.of_plan(&spec.base.id, plan);
            let here = || spec.health().state(now);
            (&spec.base.id, seen.map_or_else(here, |it| it.child(now)))
        })
    }

    /// Every device in topology order. None of them is held for longer than it is looked at.
    pub fn looks(&self) -> impl Iterator<Item = SnapshotDevice<'_>> {
        let now = Instant::now();
        let clusters = self.clusters.iter().enumerate();
        clusters.flat_map(move |(place, (spec, plan))| {
            let seen = self.remote.of_plan(&spec.base.id, plan);
            let devices = plan.devices.iter().enumerate();
            devices.map(move |(at, device)| SnapshotDevice {
                place,
                cluster: &spec.base.id,
                kind: device.identity().0,
                driver: device.driver(),
                state: RemoteClusterState::device(seen, at, device, now),
            })
        })
    }
}
