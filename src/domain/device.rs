//! What a fleet consists of: clusters, and in each the nodes and switches, in configured order.
//!
//! It does not know how a device is asked; that is `drivers`'.

use std::fmt;

use super::{ClusterId, DeviceId, Turn};

/// The most devices a fleet may have, in one node set and in all clusters together; fewer for
/// fuzzers, which are to read a thousand configurations a second.
pub const MAX_DEVICES: usize = if cfg!(fuzzing) { 10_000 } else { 1_000_000 };

/// The two kinds of device; in an answer the nodes of a cluster stand before its switches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeviceKind {
    /// A server.
    Node,
    /// A network switch.
    Switch,
}

impl DeviceKind {
    /// The kind as it stands in logs and metrics: `node` or `switch`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Switch => "switch",
        }
    }

    /// What a cluster's devices of this kind are called together: `nodes` or `switches`.
    #[must_use]
    pub const fn plural(self) -> &'static str {
        match self {
            Self::Node => "nodes",
            Self::Switch => "switches",
        }
    }
}

impl fmt::Display for DeviceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One cluster: its id and the ids of its devices, in configured order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    id: ClusterId,
    /// Nodes first, then switches.
    devices: Box<[DeviceId]>,
    nodes: usize,
}

impl Cluster {
    /// A cluster of `nodes` and `switches`, in the order in which answers will show them.
    #[must_use]
    pub fn new(id: ClusterId, nodes: Vec<DeviceId>, switches: Vec<DeviceId>) -> Self {
        let count = nodes.len();
        let mut devices = nodes;
        devices.extend(switches);
        Self {
            id,
            devices: devices.into_boxed_slice(),
            nodes: count,
        }
    }

    /// The cluster's id.
    #[must_use]
    pub fn id(&self) -> &ClusterId {
        &self.id
    }

    /// How many devices there are, of both kinds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.devices.len()
    }

    /// Whether there is no device at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.devices.is_empty()
    }

    /// How many of the devices are nodes; they are the first ones.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.nodes
    }

    /// The part of it with the devices at these places, which rise; made in turns, counted by `turn`.
    ///
    /// # Panics
    /// If a place is not below [`Cluster::len`].
    pub async fn part(&self, places: &[usize], turn: &mut Turn) -> Self {
        let mut devices = Vec::with_capacity(places.len());
        for &place in places {
            turn.spend(1).await;
            devices.push(self.device(place).1.clone());
        }
        Self {
            id: self.id.clone(),
            devices: devices.into_boxed_slice(),
            nodes: places.partition_point(|&place| place < self.nodes),
        }
    }

    /// The kind and id of the device at `index`, counted over nodes, then switches.
    ///
    /// # Panics
    /// If `index` is not below [`Cluster::len`].
    #[must_use]
    pub fn device(&self, index: usize) -> (DeviceKind, &DeviceId) {
        #[cfg(test)]
        super::seen::note();
        let kind = if index < self.nodes {
            DeviceKind::Node
        } else {
            DeviceKind::Switch
        };
        (kind, &self.devices[index])
    }
}

/// All clusters of a fleet, in configured order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    clusters: Box<[Cluster]>,
    devices: usize,
}

impl Topology {
    /// A topology of `clusters`, in the order in which answers will show them.
    #[must_use]
    pub fn new(clusters: Vec<Cluster>) -> Self {
        let devices = clusters.iter().map(Cluster::len).sum();
        Self {
            clusters: clusters.into_boxed_slice(),
            devices,
        }
    }

    /// The clusters, in configured order.
    #[must_use]
    pub fn clusters(&self) -> &[Cluster] {
        &self.clusters
    }

    /// How many devices there are in all clusters together.
    #[must_use]
    pub fn devices(&self) -> usize {
        self.devices
    }
}
