//! From a configuration, and the lists that it takes devices from, to what the actors make of it.

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::sync::Arc;

use crate::config::{ClusterConfig, CollectConfig, Config, GroupConfig, Members};
use crate::domain::{
    Cluster, ClusterId, DeviceId, DeviceKind, DiscoveredDevice, DiscoveredDevices, MAX_DEVICES,
};
use crate::drivers;
use crate::engine::fleet::{FleetSettings, FleetSpec, TargetRun};

/// What the actors make of a configuration, and what of its lists could not be used.
#[derive(Debug)]
pub(super) struct Specified {
    pub(super) fleet: FleetSpec,
    pub(super) repeated: Vec<Repeated>,
    pub(super) refused: Vec<Refused>,
}

/// Devices of a cluster that lists hold although they are in it already: each is asked once, as the
/// first one says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Repeated {
    pub(super) cluster: ClusterId,
    pub(super) kind: DeviceKind,
    /// The first of them.
    pub(super) device: DeviceId,
    pub(super) count: usize,
}

/// Entries of a list that its `allow` does not let a group ask: they are none of its devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused {
    /// The list's place in [`Config::discoveries`].
    pub(super) discovery: usize,
    pub(super) cluster: ClusterId,
    pub(super) kind: DeviceKind,
    /// The first of them, and why it is refused.
    pub(super) device: DeviceId,
    pub(super) why: String,
    pub(super) count: usize,
}

/// With more devices than a fleet may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "with it there are {0} devices in all clusters together; at most {MAX_DEVICES} are possible"
)]
pub(super) struct TooManyDevices(usize);

/// `lists` are those of [`Config::discoveries`]; what was never read is empty.
pub(super) fn specify(
    config: Config,
    lists: &[Option<Arc<DiscoveredDevices>>],
) -> Result<Specified, TooManyDevices> {
    let Config {
        clusters,
        discoveries: _,
        collect,
        supervision,
        dns,
        http: _,
        metrics,
    } = config;
    let CollectConfig {
        deadline,
        every,
        join,
        max_concurrent,
        max_waiting,
        threads,
    } = collect;
    let mut left_out = (Vec::new(), Vec::new());
    let clusters: Vec<_> = clusters
        .into_iter()
        .map(|cluster| specify_cluster(cluster, lists, &mut left_out))
        .collect();
    let devices = clusters.iter().map(|(cluster, _)| cluster.len()).sum();
    if devices > MAX_DEVICES {
        return Err(TooManyDevices(devices));
    }
    let settings = FleetSettings {
        max_concurrent: max_concurrent.map(NonZeroUsize::get),
        every,
        policy: supervision,
        deadline,
        max_waiting: max_waiting.get(),
        join,
        threads: threads.map(NonZeroUsize::get),
        per_device: metrics.per_device,
    };
    let fleet = FleetSpec {
        clusters,
        settings,
        dns,
    };
    let (repeated, refused) = left_out;
    Ok(Specified {
        fleet,
        repeated,
        refused,
    })
}

fn specify_cluster(
    cluster: ClusterConfig,
    lists: &[Option<Arc<DiscoveredDevices>>],
    (repeated, refused): &mut (Vec<Repeated>, Vec<Refused>),
) -> (Cluster, Vec<TargetRun>) {
    let ClusterConfig { id, groups } = cluster;
    let (mut nodes, mut switches) = (Vec::new(), Vec::new());
    let mut runs: Vec<TargetRun> = Vec::with_capacity(groups.len());
    // What is listed was found to be unique when it was read.
    let is_discovered = |group: &GroupConfig| matches!(group.members, Members::Discovered { .. });
    let mut seen = groups.iter().any(is_discovered).then(|| listed(&groups));
    for GroupConfig {
        kind,
        members,
        target,
    } in groups
    {
        let ids = match kind {
            DeviceKind::Node => &mut nodes,
            DeviceKind::Switch => &mut switches,
        };
        let mut ports = Vec::new();
        match members {
            Members::Listed(mut listed) => ids.append(&mut listed),
            Members::Discovered { discovery, labels } => {
                let list = lists.get(discovery).and_then(Option::as_ref);
                let groups = list.into_iter().flat_map(|list| list.iter());
                let devices = groups
                    .filter(|group| group.has(&labels))
                    .flat_map(|group| &group.devices);
                let mut first: Option<Refused> = None;
                for DiscoveredDevice { id: device, port } in devices {
                    if let Some(why) = drivers::refusal(&target, &id, device, *port) {
                        let first = first.get_or_insert_with(|| Refused {
                            discovery,
                            cluster: id.clone(),
                            kind,
                            device: device.clone(),
                            why,
                            count: 0,
                        });
                        first.count += 1;
                        continue;
                    }
                    let is_new = seen
                        .as_mut()
                        .is_none_or(|seen| seen.insert((kind, device.clone())));
                    if is_new {
                        ids.push(device.clone());
                        ports.push(*port);
                    } else {
                        note(repeated, &id, kind, device);
                    }
                }
                refused.extend(first);
            }
        }
        let end = nodes.len() + switches.len();
        let start = runs.last().map_or(0, |run| run.end);
        if end > start {
            runs.push(TargetRun { end, target, ports });
        }
    }
    (Cluster::new(id, nodes, switches), runs)
}

/// What a cluster lists itself; it comes first, wherever it stands.
fn listed(groups: &[GroupConfig]) -> HashSet<(DeviceKind, DeviceId)> {
    let ids = |group: &GroupConfig| match &group.members {
        Members::Listed(ids) => {
            let kind = group.kind;
            ids.iter().map(|id| (kind, id.clone())).collect()
        }
        Members::Discovered { .. } => Vec::new(),
    };
    groups.iter().flat_map(ids).collect()
}

fn note(repeated: &mut Vec<Repeated>, cluster: &ClusterId, kind: DeviceKind, device: &DeviceId) {
    match repeated.last_mut() {
        Some(last) if last.cluster == *cluster && last.kind == kind => last.count += 1,
        _ => repeated.push(Repeated {
            cluster: cluster.clone(),
            kind,
            device: device.clone(),
            count: 1,
        }),
    }
}
