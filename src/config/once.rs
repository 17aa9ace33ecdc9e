//! What a single roll call needs of a configuration. It does not know what a command or its scope
//! is for.

use std::collections::HashSet;

use super::{ClusterConfig, Config, Members};
use crate::domain::{DeviceId, DeviceKind, MAX_DEVICES, Scope};

impl Config {
    /// What asking the devices of `scope` once needs: no schedule, and no list that cannot hold any
    /// of them. Clusters, and the devices that they list themselves, stay.
    #[must_use]
    pub fn for_one_roll_call(mut self, scope: &Scope) -> Self {
        self.collect.every = None;
        let named = named(scope);
        let mut is_needed = vec![false; self.discoveries.len()];
        for cluster in &mut self.clusters {
            let needs = [DeviceKind::Node, DeviceKind::Switch]
                .map(|kind| (kind, needs_list(cluster, kind, scope, named.as_deref())));
            cluster.groups.retain(|group| match group.members {
                Members::Listed(_) => true,
                Members::Discovered { discovery, .. } => {
                    let is_kept = needs.contains(&(group.kind, true));
                    is_needed[discovery] |= is_kept;
                    is_kept
                }
            });
        }
        let place = |discovery: usize| is_needed[..discovery].iter().filter(|&&it| it).count();
        for group in self.clusters.iter_mut().flat_map(|it| &mut it.groups) {
            if let Members::Discovered { discovery, .. } = &mut group.members {
                *discovery = place(*discovery);
            }
        }
        let mut needed = is_needed.iter();
        self.discoveries.retain(|_| needed.next() == Some(&true));
        self
    }
}

/// The devices that a scope names one by one; `None` if it names none, or too many to look at.
fn named(scope: &Scope) -> Option<Vec<DeviceId>> {
    let devices = scope.devices.as_ref();
    let devices = devices.filter(|set| set.len() <= MAX_DEVICES as u64);
    devices.and_then(|set| set.ids().ok())
}

/// Whether a list can hold devices of the scope that the cluster does not list itself.
fn needs_list(
    cluster: &ClusterConfig,
    kind: DeviceKind,
    scope: &Scope,
    named: Option<&[DeviceId]>,
) -> bool {
    if !scope.has_cluster(&cluster.id) || scope.kind.is_some_and(|only| only != kind) {
        return false;
    }
    let Some(named) = named else { return true };
    let groups = cluster.groups.iter().filter(|group| group.kind == kind);
    let listed: HashSet<&DeviceId> = groups
        .flat_map(|group| match &group.members {
            Members::Listed(ids) => ids.as_slice(),
            Members::Discovered { .. } => &[],
        })
        .collect();
    let is_excluded = |id: &DeviceId| scope.exclude.as_ref().is_some_and(|set| set.contains(id));
    let mut unlisted = named.iter().filter(|id| !listed.contains(id));
    unlisted.any(|id| !is_excluded(id))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::domain::NodeSet;

    const FLEET: &str = r#"
        [collect]
        every = "1s"
        [[clusters]]
        id = "a"
        nodes = ["web[1-2]", { ids = { file = "a.json" } }]
        switches = { file = "common.json" }
        [[clusters]]
        id = "b"
        nodes = { file = "b.json" }
        switches = [{ ids = { file = "common.json" } }, "tor1"]
    "#;

    /// The files of the lists that are left for this scope, in order.
    fn lists(scope: &Scope) -> Vec<String> {
        let config = Config::parse(Path::new("x.toml"), FLEET).unwrap();
        let devices = config.devices();
        let config = config.for_one_roll_call(scope);
        assert_eq!(config.collect.every, None);
        assert_eq!((config.clusters.len(), config.devices()), (2, devices));
        // Every group that is left has its own list.
        for group in config.clusters.iter().flat_map(|it| &it.groups) {
            if let Members::Discovered { discovery, .. } = group.members {
                let list = config.discoveries[discovery].discovery.to_string();
                let is_common = list.ends_with("common.json");
                assert_eq!(is_common, group.kind == DeviceKind::Switch, "{list}");
            }
        }
        let lists = config.discoveries.iter();
        lists.map(|list| list.discovery.to_string()).collect()
    }

    fn scope(cluster: &str, kind: Option<DeviceKind>, device: &str) -> Scope {
        let set = |text: &str| (!text.is_empty()).then(|| NodeSet::parse(text).unwrap());
        Scope {
            clusters: set(cluster),
            kind,
            devices: set(device),
            exclude: set("web9"),
        }
    }

    #[test]
    fn only_lists_that_can_hold_devices_of_the_scope_are_left() {
        let (node, switch) = (Some(DeviceKind::Node), Some(DeviceKind::Switch));
        for (cluster, kind, device, expected) in [
            ("", None, "", &["a.json", "common.json", "b.json"][..]),
            ("a", None, "", &["a.json", "common.json"]),
            ("b", None, "", &["common.json", "b.json"]),
            ("b", node, "", &["b.json"]),
            ("", switch, "", &["common.json"]),
            ("c", None, "", &[]),
            // What a cluster lists itself is asked as it says there.
            ("a", node, "web[1-2]", &[]),
            ("a", node, "web[1-3]", &["a.json"]),
            ("a", node, "web[1-3]!web3", &[]),
            ("a", node, "web[1-2],web9", &[]),
            ("", node, "web1", &["b.json"]),
            ("b", switch, "tor1", &[]),
            ("b", None, "tor1", &["b.json"]),
            ("a", node, "n[1-9999999999]", &["a.json"]),
        ] {
            let lists = lists(&scope(cluster, kind, device));
            assert_eq!(lists, expected, "{cluster:?} {kind:?} {device:?}");
        }
    }
}
