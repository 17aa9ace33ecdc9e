//! What clusters are built from: who is in them, and how that changes by difference.
//!
//! It outlives the actors, and with it what has to survive a crash. It knows no actor and sends
//! nothing; `fleet` makes plans, `cluster` follows them. Entry point: [`plan`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;
use xxhash_rust::xxh3::Xxh3;

use super::device::{Device, TargetGroup};
use super::fleet::{Difference, TargetRun};
use crate::domain::{
    Cluster, ClusterId, DeviceId, DeviceKind, Event, Fault, ITEMS_PER_TURN, drop_in_turns,
};
use crate::engine::remote::Lease;
use crate::supervision::failpoints::{FailAction, Failpoint, Failpoints};
use crate::supervision::health::{Child, ChildPath, Health};
use crate::supervision::shell::SupervisionEnv;
use crate::telemetry::Metrics;

/// What a cluster's actor and its devices' actors share.
#[derive(Debug)]
pub(crate) struct ClusterBase {
    pub(super) id: ClusterId,
    pub(super) env: Arc<SupervisionEnv>,
    pub(super) metrics: Metrics,
    pub(super) failpoints: Option<Arc<Failpoints>>,
    room: Mutex<LookupLimit>,
    /// The last one with which it was taken here; `None` if all clusters are here.
    lease: Mutex<Option<Arc<dyn Lease>>>,
}

/// How many lookups a cluster may have in flight.
#[derive(Debug, Default)]
struct LookupLimit {
    max_concurrent: Option<usize>,
    /// As many permits, if that is limited; first come, first served.
    permits: Option<Arc<Semaphore>>,
}

impl ClusterBase {
    fn room(&self) -> MutexGuard<'_, LookupLimit> {
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what happened to a device.
    pub(super) fn note(&self, kind: DeviceKind, device: &DeviceId, event: Event) {
        let who = (self.id.clone(), kind, device.clone());
        self.env.event_log.note(who, event);
    }

    /// Notes that these devices are in the fleet no more.
    pub(super) fn note_gone<'a>(&self, devices: impl Iterator<Item = &'a Arc<Device>>) {
        for device in devices {
            let (kind, id) = device.identity();
            self.note(kind, id, Event::Gone);
        }
    }

    /// Actors that are started from now on ask devices while this holds.
    pub(super) fn set_lease(&self, lease: Arc<dyn Lease>) {
        *self.lease.lock().unwrap_or_else(PoisonError::into_inner) = Some(lease);
    }

    pub(super) fn lease(&self) -> Option<Arc<dyn Lease>> {
        let lease = self.lease.lock();
        lease.unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn permits(&self) -> Option<Arc<Semaphore>> {
        self.room().permits.clone()
    }

    /// If that is new, lookups begun from now on find this much room, however many are still
    /// under way that were begun before.
    pub(super) fn set_max_concurrent(&self, max: Option<usize>) {
        let mut room = self.room();
        if room.max_concurrent != max {
            let permits = |max: usize| Arc::new(Semaphore::new(max.min(Semaphore::MAX_PERMITS)));
            room.max_concurrent = max;
            room.permits = max.map(permits);
        }
    }
}

/// What a cluster's actor is built from. It outlives the actor, and with it what has to survive a
/// crash; a reload that keeps the cluster keeps this.
#[derive(Debug)]
pub(crate) struct ClusterSpec {
    pub(super) base: Arc<ClusterBase>,
    health: Health,
    current: Mutex<Current>,
    /// Why its actor asks nobody any more, if the cluster is asked elsewhere.
    left: OnceLock<Arc<Fault>>,
}

/// What a reload may change.
#[derive(Debug)]
struct Current {
    plan: Arc<DeviceList>,
    /// How often the schedule asks each device, if there is one.
    every: Option<Duration>,
    /// Up to when the schedule was followed, if the actor that did so is gone: what came due since
    /// was skipped. A reload leaves no gap, so it leaves nothing here.
    ticked: Option<Instant>,
}

/// The devices of a cluster at one time, nodes before switches, in configured order.
#[derive(Debug, Default)]
pub(crate) struct DeviceList {
    pub(super) devices: Box<[Arc<Device>]>,
    /// When a reload brought it; `None` if it was there from the start.
    pub(super) reloaded: Option<Instant>,
    /// Counted when somebody asks.
    id: OnceLock<u64>,
}

impl DeviceList {
    /// The same for the same devices in the same order, in every process.
    pub(crate) fn id(&self) -> u64 {
        *self.id.get_or_init(|| identify(&self.devices))
    }

    /// Where a device is.
    pub(super) fn place(&self, kind: DeviceKind, id: &DeviceId) -> Option<usize> {
        let mut devices = self.devices.iter();
        devices.position(|it| it.identity() == (kind, id))
    }

    /// The device at a place.
    pub(crate) fn device(&self, place: usize) -> &Device {
        #[cfg(test)]
        crate::domain::seen::note();
        &self.devices[place]
    }

    /// How many of the devices are nodes.
    pub(super) fn nodes(&self) -> usize {
        let is_node = |device: &Arc<Device>| device.identity().0 == DeviceKind::Node;
        self.devices.partition_point(is_node)
    }
}

impl Drop for DeviceList {
    fn drop(&mut self) {
        drop_in_turns(std::mem::take(&mut self.devices).into_vec(), ITEMS_PER_TURN);
    }
}

impl Child for ClusterSpec {
    fn path(&self) -> ChildPath {
        ChildPath::Cluster(self.base.id.clone())
    }

    fn role(&self) -> &'static str {
        "cluster"
    }

    fn health(&self) -> &Health {
        &self.health
    }
}

impl ClusterSpec {
    /// A cluster without devices; [`ClusterSpec::set_plan`] gives it some.
    pub(super) fn new(
        id: ClusterId,
        env: Arc<SupervisionEnv>,
        metrics: Metrics,
        failpoints: Option<Arc<Failpoints>>,
    ) -> Self {
        let base = ClusterBase {
            id,
            env,
            metrics,
            failpoints,
            room: Mutex::default(),
            lease: Mutex::default(),
        };
        Self {
            base: Arc::new(base),
            health: Health::default(),
            current: Mutex::new(Current {
                plan: Arc::default(),
                every: None,
                ticked: None,
            }),
            left: OnceLock::new(),
        }
    }

    /// Its actor asks nobody any more, as `fault` says.
    pub(super) fn leave(&self, fault: Arc<Fault>) {
        // The first reason stands.
        self.left.set(fault).ok();
    }

    /// What another actor is built from, with the same devices.
    pub(super) fn successor(&self) -> Self {
        let current = self.current();
        Self {
            base: Arc::clone(&self.base),
            health: Health::default(),
            current: Mutex::new(Current {
                plan: Arc::clone(&current.plan),
                every: current.every,
                ticked: None,
            }),
            left: OnceLock::new(),
        }
    }

    /// Why its actor asks nobody any more, if so.
    pub(super) fn left(&self) -> Option<&Arc<Fault>> {
        self.left.get()
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn plan(&self) -> Arc<DeviceList> {
        Arc::clone(&self.current().plan)
    }

    pub(super) fn set_plan(&self, plan: Arc<DeviceList>) {
        self.current().plan = plan;
    }

    /// Returns whether that is new, so that the cluster's actor has to be told.
    pub(super) fn set_every(&self, every: Option<Duration>) -> bool {
        std::mem::replace(&mut self.current().every, every) != every
    }

    /// How often the schedule asks each device, and up to when it was followed if the actor that
    /// did so is gone; for the next one, once.
    pub(super) fn take_schedule(&self) -> (Option<Duration>, Option<Instant>) {
        let mut current = self.current();
        (current.every, current.ticked.take())
    }

    /// The actor that followed the schedule goes.
    pub(super) fn schedule_left(&self) {
        self.current().ticked = Some(Instant::now());
    }

    /// Goes wrong here if a failpoint says so.
    pub(super) fn pass(&self, point: Failpoint) -> Option<FailAction> {
        self.base.failpoints.as_ref()?.pass(point, &self.path())
    }
}

/// The devices of a cluster as configured now; those that are asked as before are kept. Also
/// whether that changes anything: if not, it is the very plan of before.
pub(super) fn plan(
    spec: &Arc<ClusterSpec>,
    cluster: &Cluster,
    runs: &[TargetRun],
    difference: &mut Difference,
    is_start: bool,
) -> (Arc<DeviceList>, bool) {
    let before = spec.plan();
    let mut known: HashMap<(DeviceKind, &DeviceId), &Arc<Device>> = before
        .devices
        .iter()
        .map(|device| (device.identity(), device))
        .collect();
    let mut devices = Vec::with_capacity(cluster.len());
    let mut start = 0;
    for TargetRun { end, target, ports } in runs {
        // Shared by the run, and made only if somebody needs it.
        let mut group: Option<Arc<TargetGroup>> = None;
        for index in start..*end {
            let (kind, id) = cluster.device(index);
            let port = ports.get(index - start).copied().flatten();
            let old = known.remove(&(kind, id));
            if let Some(old) = old
                && old.is_asked(target, port)
            {
                difference.devices_kept += 1;
                group.get_or_insert_with(|| Arc::clone(&old.group));
                devices.push(Arc::clone(old));
                continue;
            }
            match old {
                Some(_) => difference.devices_changed += 1,
                None => {
                    difference.devices_added += 1;
                    if !is_start {
                        spec.base.note(kind, id, Event::Appeared);
                    }
                }
            }
            let group = group.get_or_insert_with(|| Arc::new(TargetGroup::new(target.clone())));
            let (base, group) = (Arc::clone(&spec.base), Arc::clone(group));
            let device = Device::new(base, kind, id.clone(), port, group);
            devices.push(Arc::new(match old {
                Some(old) => device.replaces(old),
                None => device,
            }));
        }
        start = *end;
    }
    difference.devices_removed += known.len();
    if !known.is_empty() {
        spec.base.note_gone(
            before
                .devices
                .iter()
                .filter(|it| known.contains_key(&it.identity())),
        );
    }
    let same = devices.len() == before.devices.len()
        && devices
            .iter()
            .zip(&before.devices)
            .all(|(new, old)| Arc::ptr_eq(new, old));
    if same {
        return (before, false);
    }
    let plan = DeviceList {
        devices: devices.into_boxed_slice(),
        reloaded: (!is_start).then(Instant::now),
        id: OnceLock::new(),
    };
    (Arc::new(plan), true)
}

/// The devices of a cluster as a number.
fn identify(devices: &[Arc<Device>]) -> u64 {
    let mut hasher = Xxh3::new();
    // A reload does this for every device, so they are not written out, and hashed some at a time.
    let mut bytes = Vec::with_capacity(CHUNK + LONGEST);
    for device in devices {
        let (kind, id) = device.identity();
        bytes.push(match kind {
            DeviceKind::Node => b'n',
            DeviceKind::Switch => b's',
        });
        id.put(&mut bytes);
        if bytes.len() >= CHUNK {
            hasher.update(&bytes);
            bytes.clear();
        }
    }
    hasher.update(&bytes);
    hasher.digest()
}

/// How many bytes of devices are hashed at a time, and how many more a device may have.
const CHUNK: usize = 4096;
const LONGEST: usize = 256;

/// Clusters with their devices, in their order, as a number: the same in every process that has the
/// same.
pub(super) fn identify_all<'a>(
    clusters: impl Iterator<Item = (&'a ClusterId, &'a Arc<DeviceList>)>,
) -> u64 {
    let mut hasher = Xxh3::new();
    for (cluster, plan) in clusters {
        hasher.update(format!("{cluster} {:016x}\n", plan.id()).as_bytes());
    }
    hasher.digest()
}
