//! Fuzzed: configurations and node sets.

use std::collections::HashSet;
use std::path::Path;

use super::{ClusterConfig, Config, GroupConfig, Members};
use crate::domain::fuzz::check_line;
use crate::domain::{DeviceId, DeviceKind, MAX_DEVICES, NodeSet};

/// A configuration file, refused with all its faults, or with all that the other rooms rely on.
pub fn config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    match Config::parse(Path::new("fuzzed.toml"), text) {
        Ok(config) => check(&config),
        Err(error) => {
            assert!(!error.faults.is_empty(), "refused without a fault");
            let lines = text.matches('\n').count() + 1;
            let mut last = (1, 1);
            for place in error.faults.iter().filter_map(|fault| fault.place) {
                assert!(last <= place, "{place:?} stands behind {last:?}");
                assert!(place.0 <= lines, "line {} of {lines}", place.0);
                last = place;
            }
            // One line for each fault.
            let shown = error.to_string();
            assert_eq!(shown.split('\n').count(), error.faults.len(), "{shown:?}");
            shown.split('\n').for_each(check_line);
        }
    }
}

fn check(config: &Config) {
    assert!(!config.clusters.is_empty());
    assert!(config.devices() <= MAX_DEVICES);
    assert!(config.supervision.backoff.min <= config.supervision.backoff.max);
    let mut seen = HashSet::new();
    for ClusterConfig { id, groups } in &config.clusters {
        assert!(seen.insert(id.to_string()), "{id}");
        assert!(!groups.is_empty());
        let (mut printed, mut listed) = (HashSet::new(), 0);
        for GroupConfig {
            kind,
            members,
            target,
        } in groups
        {
            assert!(!target.timeout.is_zero());
            assert!(target.retry.backoff.min <= target.retry.backoff.max);
            match members {
                Members::Listed(ids) => {
                    assert!(!ids.is_empty() && !target.driver.names_port());
                    listed += ids.len();
                    printed.extend(ids.iter().map(|id| format!("{kind} {id}")));
                }
                Members::Discovered { discovery, .. } => {
                    assert!(*discovery < config.discoveries.len());
                }
            }
        }
        assert_eq!(printed.len(), listed, "ids that print alike");
        let is_node = |group: &GroupConfig| group.kind == DeviceKind::Node;
        assert!(groups.is_sorted_by_key(|group| !is_node(group)));
    }
}

/// A node set: counted as it is expanded, into ids.
pub fn node_set(bytes: &[u8]) {
    /// Larger ones are counted only.
    const MOST: u64 = 10_000;
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let set = match NodeSet::parse(text) {
        Ok(set) => set,
        Err(error) => return assert!(!error.is_empty()),
    };
    if set.len() > MOST {
        return;
    }
    let Ok(ids) = set.ids() else {
        return;
    };
    // Some may be taken away again.
    assert!(ids.len() as u64 <= set.len());
    for id in ids {
        assert!(set.contains(&id), "{id}");
        assert_eq!(DeviceId::parse(&id.to_string()), Ok(id));
    }
}
