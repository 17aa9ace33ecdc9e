//! What `/metrics` shows of the devices: in numbers, and one by one.
//!
//! The numbers cost the same few series however large the fleet is. One by one there are three
//! series a device, so above [`MOST_DEVICES`] only if the configuration asks for them.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use super::writer::Families;
use crate::domain::{BreakerState, ChildState, DeviceKind, DriverKind, Liveness};
use crate::engine::collector::{Snapshot, SnapshotDevice};

/// With more devices they are shown one by one only on request; with more clusters too.
const MOST_DEVICES: usize = 10_000;

const LIVENESS: [&str; 3] = ["running", "restarting", "quarantined"];
const BREAKERS: [&str; 3] = ["closed", "open", "half_open"];
const STATES: [&str; 3] = ["up", "down", "unknown"];

/// All devices in numbers, each array in the order of the names above.
#[derive(Debug)]
pub(crate) struct DeviceSummary {
    /// Which drivers ask anybody, by their places in [`DriverKind::ALL`].
    pub(crate) drivers: [bool; DriverKind::ALL.len()],
    actors: [(&'static str, [u64; 3]); 4],
    breakers: [u64; 3],
    states: [u64; 3],
    /// By the clusters' places.
    clusters: Vec<[u64; 3]>,
}

impl DeviceSummary {
    /// Looks at every device once.
    pub(crate) fn of(snapshot: &Snapshot) -> Self {
        let mut summary = Self {
            drivers: [false; DriverKind::ALL.len()],
            actors: ["supervisor", "cluster", "node", "switch"].map(|actor| (actor, [0; 3])),
            breakers: [0; 3],
            states: [0; 3],
            clusters: vec![[0; 3]; snapshot.clusters().len()],
        };
        let mut count = |actor: usize, child: &ChildState| {
            summary.actors[actor].1[liveness(child.liveness)] += 1;
        };
        count(0, snapshot.supervisor());
        for (_, child) in snapshot.clusters() {
            count(1, &child);
        }
        for look in snapshot.looks() {
            let actor = match look.kind {
                DeviceKind::Node => 2,
                DeviceKind::Switch => 3,
            };
            count(actor, &look.state.child);
            summary.drivers[look.driver as usize] = true;
            summary.breakers[match look.state.breaker {
                BreakerState::Closed => 0,
                BreakerState::Open(_) => 1,
                BreakerState::HalfOpen => 2,
            }] += 1;
            let state = match look.state.is_up(SystemTime::now()) {
                Some(true) => 0,
                Some(false) => 1,
                None => 2,
            };
            summary.states[state] += 1;
            summary.clusters[look.place][state] += 1;
        }
        summary
    }
}

const fn liveness(liveness: Liveness) -> usize {
    match liveness {
        Liveness::Running => 0,
        Liveness::Restarting(_) => 1,
        Liveness::Quarantined(_) => 2,
    }
}

/// Whether there are series for each cluster.
pub(crate) fn shows_clusters(snapshot: &Snapshot) -> bool {
    snapshot.per_device() == Some(true) || snapshot.clusters().len() <= MOST_DEVICES
}

pub(crate) fn encode(
    families: &mut Families<'_>,
    snapshot: &Snapshot,
    summary: &DeviceSummary,
) -> fmt::Result {
    let actors = summary.actors.iter().flat_map(|(actor, counts)| {
        let counts = LIVENESS.into_iter().zip(counts);
        counts.map(move |(state, &count)| ([("actor", *actor), ("state", state)], count))
    });
    families.gauge(
        "fleetcall_actors",
        "Supervised actors by what they are and whether they run.",
        None,
        actors,
    )?;
    let one = |name: &'static str, names: [&'static str; 3], counts: [u64; 3]| {
        let counts = names.into_iter().zip(counts);
        counts.map(move |(value, count)| ([(name, value)], count))
    };
    families.gauge(
        "fleetcall_breakers",
        "Devices by the state of their circuit breaker.",
        None,
        one("state", BREAKERS, summary.breakers),
    )?;
    families.gauge(
        "fleetcall_devices",
        "Devices by whether they answered when they were last asked; unknown were not asked yet.",
        None,
        one("state", STATES, summary.states),
    )?;
    if shows_clusters(snapshot) {
        let mut clusters = families.family(
            "fleetcall_cluster_devices",
            "As fleetcall_devices, for each cluster.",
            None,
            MetricType::Gauge,
        )?;
        for ((id, _), counts) in snapshot.clusters().zip(&summary.clusters) {
            let cluster = id.to_string();
            for (state, count) in STATES.into_iter().zip(counts) {
                let labels = [("cluster", cluster.as_str()), ("state", state)];
                clusters.encode_family(&labels)?.encode_gauge(count)?;
            }
        }
    }
    if snapshot
        .per_device()
        .unwrap_or(snapshot.devices() <= MOST_DEVICES)
    {
        one_by_one(families, snapshot)?;
    }
    Ok(())
}

fn one_by_one(families: &mut Families<'_>, snapshot: &Snapshot) -> fmt::Result {
    let up = |look: &SnapshotDevice<'_>| {
        let is_up = look.state.is_up(SystemTime::now())?;
        Some(if is_up { 1.0 } else { 0.0 })
    };
    let took = |look: &SnapshotDevice<'_>| Some(look.state.last.as_ref()?.took?.as_secs_f64());
    let succeeded_at = |look: &SnapshotDevice<'_>| {
        let at = SystemTime::now().checked_sub(look.state.last_success?)?;
        let since = at.duration_since(UNIX_EPOCH).ok()?;
        // It is known by its age, so more digits would be another number at each scrape.
        Some((since.as_secs_f64() * 100.0).round() / 100.0)
    };
    let seconds = Some(&Unit::Seconds);
    device_gauge(
        families,
        "fleetcall_up",
        "Whether a device answered when it was last asked; absent until it is asked.",
        None,
        snapshot,
        up,
    )?;
    device_gauge(
        families,
        "fleetcall_last_lookup_duration",
        "How long a device's last lookup took; absent if it was cut off.",
        seconds,
        snapshot,
        took,
    )?;
    device_gauge(
        families,
        "fleetcall_last_success_timestamp",
        "When a device last answered; absent until it does.",
        seconds,
        snapshot,
        succeeded_at,
    )
}

fn device_gauge(
    families: &mut Families<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    snapshot: &Snapshot,
    value: impl Fn(&SnapshotDevice<'_>) -> Option<f64>,
) -> fmt::Result {
    let mut family = families.family(name, help, unit, MetricType::Gauge)?;
    // The cluster's id is written once for all of its devices.
    let (mut place, mut cluster) = (usize::MAX, String::new());
    for look in snapshot.looks() {
        let Some(value) = value(&look) else {
            continue;
        };
        if look.place != place {
            (place, cluster) = (look.place, look.cluster.to_string());
        }
        let device = look.state.id.to_string();
        let labels = [
            ("cluster", cluster.as_str()),
            ("kind", look.kind.as_str()),
            ("device", device.as_str()),
        ];
        family.encode_family(&labels)?.encode_gauge(&value)?;
    }
    Ok(())
}
