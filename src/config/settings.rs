//! What a valid configuration says.

use std::num::NonZeroUsize;
use std::time::Duration;

use super::http::HttpConfig;
use crate::domain::{
    ClusterId, DeviceId, DeviceKind, Discovery, DnsSettings, DriverKind, SecretSource,
    SupervisionPolicy, Target,
};

/// A valid configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The clusters in configured order; at least one, ids unique.
    pub clusters: Vec<ClusterConfig>,
    /// The lists that clusters take devices from, each once.
    pub discoveries: Vec<DiscoveryConfig>,
    /// `[collect]`.
    pub collect: CollectConfig,
    /// `[supervision]`.
    pub supervision: SupervisionPolicy,
    /// `[dns]`.
    pub dns: DnsSettings,
    /// `[http]`.
    pub http: HttpConfig,
    /// `[metrics]`.
    pub metrics: MetricsConfig,
}

/// One cluster and how its devices are asked.
#[derive(Debug, Clone, PartialEq)]
pub struct ClusterConfig {
    /// Unique among the clusters.
    pub id: ClusterId,
    /// The nodes' groups, then the switches', each in configured order; at least one.
    pub groups: Vec<GroupConfig>,
}

/// A run of devices of one cluster that are asked the same way.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupConfig {
    /// What they are.
    pub kind: DeviceKind,
    /// Which they are.
    pub members: Members,
    /// How they are asked.
    pub target: Target,
}

/// Which devices a group has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Members {
    /// These; at least one, unique within the cluster and kind.
    Listed(Vec<DeviceId>),
    /// Those of a list that others keep.
    Discovered {
        /// Its place in [`Config::discoveries`].
        discovery: usize,
        /// Only those of the list that have all of these labels.
        labels: Vec<(String, String)>,
    },
}

/// A list of devices that others keep, and where the configuration names it first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiscoveryConfig {
    /// Where it is, and how it is read.
    pub discovery: Discovery,
    /// Line and column, from 1.
    pub place: (usize, usize),
    /// The key, such as `clusters[2].nodes`.
    pub key: String,
}

/// The settings of a whole collect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CollectConfig {
    /// The longest a collect may take; devices that have not answered by then are `timed_out`.
    pub deadline: Duration,
    /// How often each device is asked by the schedule; `None` is no schedule.
    pub every: Option<Duration>,
    /// Whether requests that are alike share the collect under way.
    pub join: bool,
    /// Lookups in flight per cluster at most; `None` is no limit.
    pub max_concurrent: Option<NonZeroUsize>,
    /// Collects waiting at once at most; one more is refused.
    pub max_waiting: NonZeroUsize,
    /// How many threads clusters are spread over, if there are as many; `None` leaves it to how
    /// many devices there are.
    pub threads: Option<NonZeroUsize>,
}

/// What `/metrics` shows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MetricsConfig {
    /// Whether it shows devices one by one; `None` leaves it to how many there are.
    pub per_device: Option<bool>,
}

impl Default for CollectConfig {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(30),
            every: None,
            join: false,
            max_concurrent: None,
            max_waiting: const { NonZeroUsize::new(1024).unwrap() },
            threads: None,
        }
    }
}

impl Config {
    /// Every secret that asking its devices, and for its lists, needs.
    #[must_use]
    pub fn secrets(&self) -> Vec<&SecretSource> {
        let groups = self.clusters.iter().flat_map(|cluster| &cluster.groups);
        let of_groups = groups.flat_map(|group| group.target.driver.secrets());
        let of_lists = self
            .discoveries
            .iter()
            .flat_map(|list| list.discovery.secrets());
        of_groups.chain(of_lists).collect()
    }

    /// How many devices it lists itself, in all clusters together.
    #[must_use]
    pub fn devices(&self) -> usize {
        self.listed(|_| true)
    }

    /// How many of these are simulated.
    #[must_use]
    pub fn simulated(&self) -> usize {
        self.listed(|target| target.driver.kind() == DriverKind::Simulated)
    }

    fn listed(&self, counts: impl Fn(&Target) -> bool) -> usize {
        let groups = self.clusters.iter().flat_map(|cluster| &cluster.groups);
        let listed = |group: &GroupConfig| match &group.members {
            Members::Listed(ids) => ids.len(),
            Members::Discovered { .. } => 0,
        };
        groups.filter(|it| counts(&it.target)).map(listed).sum()
    }
}
