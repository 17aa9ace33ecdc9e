//! The whole tree: arbiters, the supervisor, and the clusters' actors spread over them.
//!
//! It knows where each cluster's actor lives. If an arbiter's thread ends, it starts another one
//! with the same clusters. A reload changes the tree by difference: what is configured as before
//! keeps its actor and all that is known of it. Where clusters are asked is in `routes`, and how they
//! come and go in `moving`.

pub(crate) mod arbiter_monitor;
mod difference;
pub(crate) mod holds;
mod moving;
mod routes;
mod settings;
pub(crate) mod snapshot;

use std::collections::{HashMap, HashSet};
use std::num::NonZeroU16;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actix::prelude::*;
use arc_swap::ArcSwap;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::cluster::ClusterActor;
use super::messages::{Drain, MAILBOX, Reload, deliver};
use crate::domain::{
    ChildState, Cluster, ClusterId, ClusterState, DeviceId, DeviceKind, DeviceState, DnsSettings,
    DriverKind, Fault, SupervisionTree, Target, Topology, TreeFilter,
};
use crate::engine::canary::Canary;
use crate::engine::cluster_spec::{ClusterSpec, identify_all, plan};
use crate::engine::event_log::EventLog;
use crate::engine::fleet::arbiter_monitor::{ArbiterMonitor, MonitoredArbiter};
use crate::engine::gather::FleetDevices;
use crate::engine::remote::{Elsewhere, Way};
use crate::engine::remote_state::{RemoteClusterState, RemoteSnapshot};
use crate::supervision::failpoints::Failpoints;
use crate::supervision::health::Health;
use crate::supervision::shell::{SupervisionEnv, start_on};
use crate::supervision::supervisor::{Rules, SupervisorSpec, start_supervisor};
pub use difference::Difference;
pub(crate) use routes::{NotPlanned, Route, Routes};
pub(crate) use settings::FleetSettings;

use crate::net::resolve;
use crate::telemetry::Metrics;

/// Consecutive devices of a cluster that are asked in the same way.
#[derive(Debug)]
pub(crate) struct TargetRun {
    /// The place of the first device that is not of this run.
    pub(crate) end: usize,
    pub(crate) target: Target,
    /// The ports that its devices were discovered with, each in its place; empty if they were not.
    pub(crate) ports: Vec<Option<NonZeroU16>>,
}

/// How many devices make one more thread worth its while. Waking up a thread for a collect costs as
/// much as asking some dozens of devices, so small fleets are faster on fewer
/// (`docs/performance.md`).
const WORTH_A_THREAD: usize = 64;

/// What a reload can change.
#[derive(Debug)]
pub(crate) struct FleetSpec {
    pub(crate) clusters: Vec<(Cluster, Vec<TargetRun>)>,
    pub(crate) settings: FleetSettings,
    /// Of this process, not only of this tree.
    pub(crate) dns: DnsSettings,
}

/// The running tree. Dropping it ends all of it.
#[derive(Debug)]
pub(crate) struct Fleet {
    handle: FleetHandle,
    /// None if everything runs on the thread that started it.
    monitors: Vec<JoinHandle<()>>,
    /// Each resolves, with an error, when an arbiter's tasks are gone.
    ended: Arc<Mutex<Vec<oneshot::Receiver<()>>>>,
}

/// A way to the tree that does not keep it running.
#[derive(Debug, Clone)]
pub(crate) struct FleetHandle(Arc<FleetState>);

#[derive(Debug)]
struct FleetState {
    placement: Mutex<Placement>,
    /// Changed by whoever has `placement`.
    routes: ArcSwap<Routes>,
    supervisor: Arc<SupervisorSpec>,
    env: Arc<SupervisionEnv>,
    metrics: Metrics,
    /// Who asks the clusters that are not here; `None` if all are.
    elsewhere: Option<Arc<dyn Elsewhere>>,
    /// What the last reload replaced, if there is somebody elsewhere: other processes reload a little
    /// later, and ask for what they know.
    before: Mutex<Option<(Instant, Arc<Routes>)>>,
    /// Told of each reload; for the one who waits for that.
    reloaded: Notify,
}

/// Clusters that are asked elsewhere, or not at all, and still run here until they are given up.
type Departing = HashMap<ClusterId, (Arc<ClusterSpec>, Addr<ClusterActor>)>;

/// Who lives where.
#[derive(Debug)]
struct Placement {
    /// The clusters that are here, if not all are.
    taken: HashSet<ClusterId>,
    draining: Departing,
    threads: Vec<ArbiterHandle>,
    clusters: HashMap<ClusterId, (Arc<ClusterSpec>, usize)>,
}

impl Fleet {
    /// Starts everything; the supervisor on the current arbiter, the clusters on `threads` others,
    /// or on the current one too if that is 0. With somebody to ask them elsewhere, no cluster is here
    /// until it is [taken](FleetHandle::take).
    ///
    /// # Panics
    /// Outside of an actix `System`, or if a thread cannot be started.
    pub(crate) fn start(
        spec: FleetSpec,
        threads: usize,
        metrics: &Metrics,
        failpoints: Option<Arc<Failpoints>>,
        elsewhere: Option<Arc<dyn Elsewhere>>,
    ) -> Self {
        let supervisor = Arc::new(SupervisorSpec {
            rules: Arc::new(Rules::new(spec.settings.policy)),
            failpoints,
            health: Health::default(),
        });
        let env = start_supervisor(&supervisor, metrics);
        let ended = Arc::new(Mutex::new(Vec::new()));
        let started: Vec<MonitoredArbiter> = (0..threads)
            .map(|_| MonitoredArbiter::start(&ended))
            .collect();
        let handles = if started.is_empty() {
            vec![Arbiter::current()]
        } else {
            started
                .iter()
                .map(|thread| thread.arbiter.handle())
                .collect()
        };
        let routes = ArcSwap::from_pointee(Routes::nowhere(spec.settings));
        let handle = FleetHandle(Arc::new(FleetState {
            placement: Mutex::new(Placement {
                taken: HashSet::new(),
                draining: HashMap::new(),
                threads: handles,
                clusters: HashMap::new(),
            }),
            routes,
            supervisor,
            env,
            metrics: metrics.clone(),
            elsewhere,
            before: Mutex::new(None),
            reloaded: Notify::new(),
        }));
        handle.reload(spec);
        let keep = |(thread, running)| {
            let monitor = ArbiterMonitor {
                thread,
                fleet: handle.clone(),
                ended: Arc::clone(&ended),
            };
            actix::spawn(monitor.keep(running))
        };
        let monitors = started.into_iter().enumerate().map(keep).collect();
        Self {
            handle,
            monitors,
            ended,
        }
    }

    /// A way to the tree that does not keep it running.
    pub(crate) fn handle(&self) -> FleetHandle {
        self.handle.clone()
    }

    /// Ends the clusters and waits until nothing of them is left, up to `limit`. Returns whether
    /// that was so; what is left then is code that blocks its thread.
    pub(crate) async fn shut_down(&mut self, limit: Duration) -> bool {
        self.stop();
        let ended = std::mem::take(&mut *lock(&self.ended));
        let all = futures::future::join_all(ended);
        tokio::time::timeout(limit, all).await.is_ok()
    }

    fn stop(&mut self) {
        // A monitor that is dropped stops its arbiter.
        for monitor in self.monitors.drain(..) {
            monitor.abort();
        }
        // Without arbiters of its own, the tree ends when nobody holds a way to its clusters.
        let shared = &self.handle.0;
        let mut placement = lock(&shared.placement);
        placement.draining.clear();
        *lock(&shared.before) = None;
        let settings = shared.routes.load().settings;
        shared.routes.store(Arc::new(Routes::nowhere(settings)));
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.stop();
    }
}

impl FleetHandle {
    /// What changed in the fleet.
    pub(crate) fn event_log(&self) -> &EventLog {
        &self.0.env.event_log
    }

    /// Where to send what at this moment.
    pub(crate) fn routes(&self) -> Arc<Routes> {
        self.0.routes.load_full()
    }

    /// As [`FleetHandle::routes`], for whoever only looks: it writes nothing that other threads
    /// read.
    pub(crate) fn peek(&self) -> impl Deref<Target = Arc<Routes>> + use<> {
        self.0.routes.load()
    }

    /// Changes the tree to `spec`, by difference. Collects under way end with what they began with.
    pub(crate) fn reload(&self, spec: FleetSpec) -> Difference {
        let shared = &*self.0;
        let mut placement = lock(&shared.placement);
        let before = self.routes();
        let settings = spec.settings;
        shared.supervisor.rules.set_policy(settings.policy);
        // What is asked from now on is; an answer under way is one by the settings of before.
        let other_dns = resolve::configure(spec.dns);
        let mut difference = Difference::default();
        difference.note_settings(settings.changed(&before.settings));
        difference.note_settings(other_dns.then_some("dns"));
        let is_start = before.clusters.is_empty();
        let simulated = spec.clusters.iter().map(|(_, runs)| count_simulated(runs));
        let simulated = simulated.sum();
        let mut load = placement.load_of(spec.clusters.iter().map(|(cluster, _)| cluster));
        let all: usize = spec
            .clusters
            .iter()
            .filter(|(it, _)| shared.elsewhere(&placement, it.id()).is_none())
            .map(|(it, _)| weight(it))
            .sum();
        let threads = settings.threads.unwrap_or(all.div_ceil(WORTH_A_THREAD));
        let threads = threads.clamp(1, load.len());
        let mut old: HashMap<ClusterId, Route> = before
            .topology
            .clusters()
            .iter()
            .map(|cluster| cluster.id().clone())
            .zip(before.clusters.iter().cloned())
            .collect();
        // The largest new clusters are placed first, so that threads end up with alike loads.
        let mut by_size: Vec<usize> = (0..spec.clusters.len()).collect();
        by_size.sort_by_key(|&place| std::cmp::Reverse(spec.clusters[place].0.len()));
        let mut routes: Vec<Option<Route>> = vec![None; spec.clusters.len()];
        let mut to_tell = Vec::new();
        for place in by_size {
            let (cluster, runs) = &spec.clusters[place];
            let id = cluster.id();
            let known = old.remove(id);
            let cluster_spec = known.as_ref().map_or_else(
                || Arc::new(shared.cluster_spec(id.clone())),
                |route| Arc::clone(&route.spec),
            );
            let (plan, changed) = plan(&cluster_spec, cluster, runs, &mut difference, is_start);
            cluster_spec.set_plan(Arc::clone(&plan));
            cluster_spec
                .base
                .set_max_concurrent(settings.max_concurrent);
            let rescheduled = cluster_spec.set_every(settings.every);
            difference.clusters_added += usize::from(known.is_none());
            let elsewhere = shared.elsewhere(&placement, id);
            let way = match (known.map(|route| route.way), elsewhere) {
                (_, Some(elsewhere)) => Way::Elsewhere(Arc::clone(elsewhere)),
                (Some(Way::Here(actor)), None) => {
                    if changed || rescheduled {
                        to_tell.push(actor.clone());
                    }
                    Way::Here(actor)
                }
                (Some(Way::Elsewhere(_)) | None, None) => {
                    let lightest = (0..threads).min_by_key(|&thread| load[thread]);
                    let thread = lightest.unwrap_or_default();
                    load[thread] += weight(cluster);
                    let entry = (Arc::clone(&cluster_spec), thread);
                    placement.clusters.insert(id.clone(), entry);
                    Way::Here(shared.start_cluster(&placement.threads[thread], &cluster_spec))
                }
            };
            routes[place] = Some(Route {
                way,
                plan,
                spec: cluster_spec,
            });
        }
        for (id, route) in old {
            difference.clusters_removed += 1;
            difference.devices_removed += route.plan.devices.len();
            route.spec.base.note_gone(route.plan.devices.iter());
            placement.clusters.remove(&id);
            placement.taken.remove(&id);
            if let (Way::Here(actor), true) = (route.way, shared.elsewhere.is_some()) {
                // It is here until its lease is given up, and asked for collects only.
                deliver(&actor, Drain(oneshot::channel().0));
                placement.draining.insert(id, (route.spec, actor));
            }
        }
        let clusters = spec.clusters.into_iter().map(|(cluster, _)| cluster);
        let topology = Topology::new(clusters.collect());
        let clusters: Vec<Route> = routes.into_iter().flatten().collect();
        let (topology, index) = if topology == *before.topology {
            (Arc::clone(&before.topology), Arc::clone(&before.index))
        } else {
            let places = topology.clusters().iter().zip(0..);
            let places = places.map(|(it, place)| (it.id().clone(), place));
            let index = Arc::new(places.collect());
            (Arc::new(topology), index)
        };
        shared.routes.store(Arc::new(Routes {
            topology,
            index,
            version: identify_all(clusters.iter().map(|it| (it.cluster(), &it.plan))),
            fleet_devices: Arc::new(FleetDevices {
                plans: clusters.iter().map(|it| Arc::clone(&it.plan)).collect(),
                metrics: shared.metrics.clone(),
            }),
            clusters,
            settings,
            simulated,
        }));
        if let Some(elsewhere) = &shared.elsewhere
            && !(placement.taken.is_empty() && placement.draining.is_empty())
            && self.version() != before.version
        {
            let kept = self.peek().kept_of(&before, &placement.draining, elsewhere);
            *lock(&shared.before) = Some((Instant::now(), Arc::new(kept)));
        }
        // Only now, so that what they let go of is asked by collects that have begun, and no others.
        for actor in &to_tell {
            deliver(actor, Reload);
        }
        shared.reloaded.notify_one();
        difference
    }

    /// Starts the clusters of an arbiter that ended on its successor.
    pub(super) fn replace(&self, thread: usize, successor: ArbiterHandle) {
        self.0.replace(thread, successor);
    }

    /// The clusters in configured order.
    pub(crate) fn clusters(&self) -> Vec<ClusterId> {
        let routes = self.routes();
        let clusters = routes.topology.clusters().iter();
        clusters.map(|cluster| cluster.id().clone()).collect()
    }

    /// What is known of the supervisor.
    pub(super) fn supervisor(&self) -> ChildState {
        self.0.supervisor.health.state(Instant::now())
    }

    /// Tells topologies apart: the same in every process that has the same.
    pub(crate) fn version(&self) -> u64 {
        self.peek().version
    }

    /// How many threads the clusters are spread over.
    pub(crate) fn threads(&self) -> usize {
        lock(&self.0.placement).threads.len()
    }

    /// Makes a roll call of a hidden cluster on one of the threads, and waits for its answer for as
    /// long as that takes; an error says what came of it instead.
    pub(crate) async fn run_canary(&self, thread: usize) -> Result<(), Arc<Fault>> {
        let canary = {
            let placement = lock(&self.0.placement);
            Canary::begin(&placement.threads[thread], &self.0.env)
        };
        canary.finish().await
    }

    /// The supervision tree at this moment. Read beside the actors, so it needs none of them. Not whole
    /// once `is_given_up` says so.
    pub(crate) fn state(
        &self,
        filter: TreeFilter,
        remote: &RemoteSnapshot,
        is_given_up: &dyn Fn() -> bool,
    ) -> SupervisionTree {
        let now = Instant::now();
        let routes = self.routes();
        let clusters = routes.clusters.iter();
        SupervisionTree {
            supervisor: self.0.supervisor.health.state(now),
            clusters: clusters
                .take_while(|_| !is_given_up())
                .map(|route| route.state(filter, remote, now, is_given_up))
                .collect(),
        }
    }

    /// What is known of one cluster. Not whole once `is_given_up` says so.
    pub(crate) fn cluster(
        &self,
        id: &ClusterId,
        remote: &RemoteSnapshot,
        is_given_up: &dyn Fn() -> bool,
    ) -> Option<ClusterState> {
        let routes = self.routes();
        let route = routes.route(id)?;
        Some(route.state(TreeFilter::All, remote, Instant::now(), is_given_up))
    }

    /// Whether there is such a cluster.
    pub(crate) fn has_cluster(&self, id: &ClusterId) -> bool {
        self.routes().route(id).is_some()
    }

    /// What is known of one device.
    pub(crate) fn device(
        &self,
        cluster: &ClusterId,
        kind: DeviceKind,
        id: &DeviceId,
        remote: &RemoteSnapshot,
    ) -> Option<DeviceState> {
        let routes = self.routes();
        let route = routes.route(cluster)?;
        let place = route.plan.place(kind, id)?;
        let (device, now) = (&route.plan.devices[place], Instant::now());
        Some(RemoteClusterState::device(
            remote.of(route),
            place,
            device,
            now,
        ))
    }

    /// Whether there is such a device.
    pub(crate) fn has_device(&self, cluster: &ClusterId, kind: DeviceKind, id: &DeviceId) -> bool {
        let routes = self.peek();
        let route = routes.route(cluster);
        route.is_some_and(|route| route.plan.place(kind, id).is_some())
    }
}

impl FleetState {
    fn cluster_spec(&self, id: ClusterId) -> ClusterSpec {
        let (env, metrics) = (Arc::clone(&self.env), self.metrics.clone());
        ClusterSpec::new(id, env, metrics, self.supervisor.failpoints.clone())
    }

    fn start_cluster(&self, thread: &ArbiterHandle, spec: &Arc<ClusterSpec>) -> Addr<ClusterActor> {
        start_on(thread, Arc::clone(spec), &self.env, MAILBOX)
    }

    /// Who asks a cluster, if it is not here.
    fn elsewhere(&self, placement: &Placement, cluster: &ClusterId) -> Option<&Arc<dyn Elsewhere>> {
        let elsewhere = self.elsewhere.as_ref()?;
        (!placement.taken.contains(cluster)).then_some(elsewhere)
    }

    /// Changes the ways to clusters; only whoever has `placement` may.
    fn reroute(&self, placement: &Placement, routes: &Routes, clusters: Vec<Route>) {
        self.routes.store(Arc::new(Routes {
            topology: Arc::clone(&routes.topology),
            version: routes.version,
            index: Arc::clone(&routes.index),
            clusters,
            fleet_devices: Arc::clone(&routes.fleet_devices),
            settings: routes.settings,
            simulated: routes.simulated,
        }));
        self.keep_before(placement);
    }

    /// Nothing that went is kept running by what was before, and what came is found by it.
    fn keep_before(&self, placement: &Placement) {
        if let (Some(elsewhere), Some((_, before))) = (&self.elsewhere, &mut *lock(&self.before)) {
            let routes = self.routes.load();
            let kept = routes.kept_of(before, &placement.draining, elsewhere);
            *before = Arc::new(kept);
        }
    }

    /// Starts the clusters of an arbiter that ended on its successor.
    fn replace(&self, thread: usize, successor: ArbiterHandle) {
        let mut placement = lock(&self.placement);
        placement.threads[thread] = successor;
        let routes = self.routes.load();
        let restart = |route: &Route| {
            let mut route = route.clone();
            let place = placement.clusters.get(&route.spec.base.id);
            if place.is_some_and(|&(_, at)| at == thread) {
                let actor = self.start_cluster(&placement.threads[thread], &route.spec);
                route.way = Way::Here(actor);
            }
            route
        };
        let clusters = routes.clusters.iter().map(restart).collect();
        self.reroute(&placement, &routes, clusters);
    }
}

impl Placement {
    /// Devices on each thread, of the clusters that stay, as they will be.
    fn load_of<'a>(&self, clusters: impl Iterator<Item = &'a Cluster>) -> Vec<usize> {
        let mut load = vec![0; self.threads.len()];
        for cluster in clusters {
            if let Some(&(_, thread)) = self.clusters.get(cluster.id()) {
                load[thread] += weight(cluster);
            }
        }
        load
    }
}

/// How many devices of a cluster are simulated.
fn count_simulated(runs: &[TargetRun]) -> usize {
    let starts = std::iter::once(0).chain(runs.iter().map(|run| run.end));
    let is_simulated = |run: &TargetRun| run.target.driver.kind() == DriverKind::Simulated;
    let simulated = runs.iter().zip(starts).filter(|(run, _)| is_simulated(run));
    simulated.map(|(run, start)| run.end - start).sum()
}

/// How many devices a cluster counts for where threads are given out.
fn weight(cluster: &Cluster) -> usize {
    match cluster.len() {
        // Its list was not read yet, and may be as long as any.
        0 => WORTH_A_THREAD,
        devices => devices,
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
