//! What is known of clusters whose actors run in another process, as that one says at one moment.
//!
//! Nothing of it is kept: whoever is asked for it has it asked for anew. Entry points:
//! [`FleetHandle::look`], [`FleetHandle::known`].

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream;
use tokio::time::{Instant, timeout_at};

use super::device::Device;
use super::fleet::{FleetHandle, Route};
use crate::domain::{ChildState, ClusterId, DeviceId, DeviceKind, DeviceState, Hold};
use crate::engine::cluster_spec::{ClusterSpec, DeviceList};
use crate::engine::fleet::holds;
use crate::engine::remote::{Elsewhere, Way};
use crate::supervision::health::Child as _;

/// How long other processes have to say what they know.
const PATIENCE: Duration = Duration::from_secs(2);

/// How many clusters are asked for at once.
const AT_ONCE: usize = 64;

/// Whose state is wanted.
#[derive(Debug, Clone, Copy)]
pub(crate) enum StateScope<'a> {
    /// Everybody's, without the facts.
    Fleet,
    /// A cluster's, and its devices'.
    Cluster(&'a ClusterId),
    /// One device's.
    Device(&'a ClusterId, DeviceKind, &'a DeviceId),
}

/// What is known elsewhere.
#[derive(Debug, Default)]
pub(crate) struct RemoteSnapshot(HashMap<ClusterId, RemoteClusterState>);

/// What is known elsewhere of a cluster.
#[derive(Debug)]
pub(crate) struct RemoteClusterState {
    plan: u64,
    at: Instant,
    child: ChildState,
    /// By their places in the plan; nothing is known of the others.
    devices: HashMap<u32, DeviceState>,
}

/// Asks what is known of a cluster that is not here.
#[derive(Debug, Clone)]
pub(crate) struct StateQuery {
    cluster: ClusterId,
    plan: Arc<DeviceList>,
    /// Rising places in the plan; `None` is everybody.
    pub(crate) places: Option<Vec<u32>>,
    /// Whether the facts of last lookups are wanted, too.
    pub(crate) facts: bool,
}

impl StateQuery {
    /// Of the device with this place only.
    pub(super) fn of_device(route: &Route, place: usize) -> Self {
        Self {
            cluster: route.cluster().clone(),
            plan: Arc::clone(&route.plan),
            places: Some(vec![u32::try_from(place).unwrap_or(u32::MAX)]),
            facts: false,
        }
    }

    pub(crate) fn cluster(&self) -> &ClusterId {
        &self.cluster
    }

    /// Tells apart plans with other devices, or in another order.
    pub(crate) fn plan_id(&self) -> u64 {
        self.plan.id()
    }

    /// Who has this place in the plan.
    pub(crate) fn device(&self, place: usize) -> Option<(DeviceKind, &DeviceId)> {
        let device = self.plan.devices.get(place)?;
        Some(device.identity())
    }

    /// An answer, as of now.
    pub(crate) fn seen(
        &self,
        child: ChildState,
        devices: HashMap<u32, DeviceState>,
    ) -> RemoteClusterState {
        RemoteClusterState {
            plan: self.plan_id(),
            at: Instant::now(),
            child,
            devices,
        }
    }
}

impl RemoteClusterState {
    /// The cluster's actor as it is at `now`.
    pub(super) fn child(&self, now: Instant) -> ChildState {
        self.child
            .clone()
            .later(now.saturating_duration_since(self.at))
    }

    /// A device as it is at `now`: as is known here if that is younger, or nothing else is known.
    pub(super) fn device(
        seen: Option<&Self>,
        place: usize,
        device: &Device,
        now: Instant,
    ) -> DeviceState {
        let local = device.state(now);
        let place = u32::try_from(place).unwrap_or(u32::MAX);
        let Some((seen, state)) = seen.and_then(|it| Some((it, it.devices.get(&place)?))) else {
            return local;
        };
        let state = state.clone().later(now.saturating_duration_since(seen.at));
        let age = |state: &DeviceState| state.last_lookup();
        match (age(&local), age(&state)) {
            // Something was told since.
            (Some(here), Some(there)) if here < there => DeviceState {
                child: state.child,
                breaker: state.breaker,
                failures: state.failures,
                failing_since: match (local.failing_since, state.failing_since) {
                    (Some(here), Some(there)) => Some(here.min(there)),
                    (here, _) => here,
                },
                ..local
            },
            _ => state,
        }
    }
}

impl RemoteSnapshot {
    /// What is known elsewhere of the cluster of this way, if that is so.
    pub(super) fn of(&self, route: &Route) -> Option<&RemoteClusterState> {
        if route.is_here() {
            return None;
        }
        self.of_plan(route.cluster(), &route.plan)
    }

    /// What is known elsewhere of a cluster, if it has this plan there.
    pub(super) fn of_plan(
        &self,
        cluster: &ClusterId,
        plan: &DeviceList,
    ) -> Option<&RemoteClusterState> {
        let seen = self.0.get(cluster)?;
        (seen.plan == plan.id()).then_some(seen)
    }
}

impl FleetHandle {
    /// Asks other processes what they know, if clusters of whom it is wanted are there; for 2 s at
    /// most. What they do not say in time is not in it.
    pub(crate) async fn look(&self, scope: StateScope<'_>) -> RemoteSnapshot {
        let queries = self.queries(scope);
        if queries.is_empty() {
            return RemoteSnapshot::default();
        }
        let until = Instant::now() + PATIENCE;
        let asked = stream::iter(queries).map(|(elsewhere, query)| async move {
            if Instant::now() >= until {
                return None;
            }
            let cluster = query.cluster.clone();
            let seen = timeout_at(until, elsewhere.look(query)).await;
            seen.ok().flatten().map(|seen| (cluster, seen))
        });
        let seen = asked.buffer_unordered(AT_ONCE);
        RemoteSnapshot(seen.filter_map(futures::future::ready).collect().await)
    }

    fn queries(&self, scope: StateScope<'_>) -> Vec<(Arc<dyn Elsewhere>, StateQuery)> {
        let routes = self.peek();
        let query = |route: &Route| {
            let Way::Elsewhere(elsewhere) = &route.way else {
                return None;
            };
            let mut query = StateQuery {
                cluster: route.cluster().clone(),
                plan: Arc::clone(&route.plan),
                places: None,
                facts: !matches!(scope, StateScope::Fleet),
            };
            if let StateScope::Device(_, kind, id) = scope {
                let place = route.plan.place(kind, id)?;
                query.places = Some(vec![u32::try_from(place).unwrap_or(u32::MAX)]);
            }
            Some((Arc::clone(elsewhere), query))
        };
        match scope {
            StateScope::Fleet => routes.clusters.iter().filter_map(query).collect(),
            StateScope::Cluster(id) | StateScope::Device(id, ..) => {
                routes.route(id).and_then(query).into_iter().collect()
            }
        }
    }

    /// What is known of a cluster that runs here, for another process: its actor, and its plan with
    /// the devices' states to be read off; `None` if it does not run here, or has another plan.
    pub(crate) fn known(&self, cluster: &ClusterId, plan_id: u64) -> Option<LocalCluster> {
        let routes = self.peek();
        let route = routes.route(cluster)?;
        (route.is_here() && route.plan.id() == plan_id).then(|| LocalCluster {
            spec: Arc::clone(&route.spec),
            plan: Arc::clone(&route.plan),
        })
    }
}

/// A cluster that runs here.
#[derive(Debug)]
pub(crate) struct LocalCluster {
    spec: Arc<ClusterSpec>,
    plan: Arc<DeviceList>,
}

impl LocalCluster {
    /// Its own actor, now.
    pub(crate) fn child(&self) -> ChildState {
        self.spec.health().state(Instant::now())
    }

    /// Resets the device with this place in the plan; gives its id, too.
    pub(crate) fn reset(&self, place: usize) -> Option<(&DeviceId, Vec<Hold>)> {
        let device = self.plan.devices.get(place)?;
        Some((device.identity().1, holds::reset(&self.spec, device)))
    }

    /// Gives the right to ask the device with this place in the plan by force, as
    /// [`FleetHandle::reserve_force`] says.
    pub(crate) fn reserve_force(&self, place: usize) -> Option<Result<bool, Duration>> {
        let device = self.plan.devices.get(place)?;
        Some(holds::reserve_force(&self.spec, device))
    }

    /// How many devices it has.
    pub(crate) fn devices(&self) -> usize {
        self.plan.devices.len()
    }

    /// The device with this place in the plan, now.
    pub(crate) fn state(&self, place: usize) -> Option<DeviceState> {
        let device = self.plan.devices.get(place)?;
        Some(device.state(Instant::now()))
    }
}
