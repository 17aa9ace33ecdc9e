//! Which devices of a fleet are meant.

use super::{Cluster, ClusterId, DeviceId, DeviceKind, NodeSet};

/// Devices by their cluster, kind and id; what is left out means all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope {
    /// Only clusters that one of these holds; none of them means all.
    pub clusters: Vec<NodeSet>,
    /// Only this kind.
    pub kind: Option<DeviceKind>,
    /// Only devices that one of these holds; none of them means all.
    pub devices: Vec<NodeSet>,
}

impl Scope {
    /// Whether it leaves nothing out.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.clusters.is_empty() && self.kind.is_none() && self.devices.is_empty()
    }

    /// Whether devices of this cluster may be meant.
    #[must_use]
    pub fn has_cluster(&self, cluster: &ClusterId) -> bool {
        self.clusters.is_empty() || self.clusters.iter().any(|set| set.contains(cluster))
    }

    /// Whether this device is meant, if its cluster is.
    #[must_use]
    pub fn has_device(&self, kind: DeviceKind, device: &DeviceId) -> bool {
        self.kind.is_none_or(|only| only == kind)
            && (self.devices.is_empty() || self.devices.iter().any(|set| set.contains(device)))
    }

    /// The places of a cluster's devices that are meant, in order, if the cluster is.
    #[must_use]
    pub fn places(&self, cluster: &Cluster) -> Vec<usize> {
        let is_meant = |&place: &usize| {
            let (kind, device) = cluster.device(place);
            self.has_device(kind, device)
        };
        (0..cluster.len()).filter(is_meant).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Id;

    #[test]
    fn what_is_left_out_means_all() {
        let ids = |count| (1..=count).map(Id::number).collect();
        let cluster = Cluster::new(Id::name("edge").unwrap(), ids(3), ids(2));
        let set = |text| vec![NodeSet::parse(text).unwrap()];
        let all = Scope::default();
        assert!(all.is_whole() && all.has_cluster(cluster.id()));
        assert_eq!(all.places(&cluster), [0, 1, 2, 3, 4]);
        let switches = Scope {
            kind: Some(DeviceKind::Switch),
            ..Scope::default()
        };
        assert_eq!(switches.places(&cluster), [3, 4]);
        let some = Scope {
            clusters: set("e,edge"),
            devices: set("2-9"),
            ..Scope::default()
        };
        assert!(some.has_cluster(cluster.id()) && !some.is_whole());
        assert_eq!(some.places(&cluster), [1, 2, 4]);
        let elsewhere = Scope {
            clusters: set("core"),
            ..Scope::default()
        };
        assert!(!elsewhere.has_cluster(cluster.id()));
    }
}
