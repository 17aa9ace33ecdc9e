//! Who has which cluster, where a fleet is shared by several processes.

use std::collections::HashMap;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::{ClusterId, Holding, Turn, WorkerState, millis};
use crate::server::id_schema::IdSchema;
use crate::server::routes::v1::view::hex;
use crate::server::tree::rfc3339;

/// The workers that share a fleet.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct WorkersView {
    /// When they said so, RFC 3339.
    #[schema(format = DateTime)]
    pub(crate) time: String,
    /// Which topology this process has; see a worker's.
    #[serde(default)]
    pub(crate) topology: String,
    /// Those that answered within 0.3 s, by name.
    pub(crate) workers: Vec<WorkerView>,
    /// Who has each cluster, in configured order.
    pub(crate) clusters: Vec<OwnedView>,
}

/// One worker.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct WorkerView {
    /// Its name.
    pub(crate) name: String,
    /// The release that it runs.
    pub(crate) release: String,
    /// When it started, by its clock, RFC 3339.
    #[schema(format = DateTime)]
    pub(crate) started_at: String,
    /// How long its leases last if they are not renewed, in milliseconds.
    pub(crate) lease_ms: u64,
    /// Which topology it has, in 16 hexadecimal digits: who has the same has the same clusters and
    /// devices in the same order.
    #[serde(default)]
    pub(crate) topology: String,
    /// How many clusters it has.
    pub(crate) clusters: usize,
    /// Clusters that it took since its start.
    pub(crate) taken: u64,
    /// Clusters that it handed over since its start.
    pub(crate) handed_over: u64,
    /// Clusters that it lost since its start.
    pub(crate) lost: u64,
}

/// A cluster, and who has it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct OwnedView {
    /// Which cluster.
    #[schema(value_type = IdSchema)]
    pub(crate) cluster_id: ClusterId,
    /// The name of the worker; absent if no worker says that it has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) worker: Option<String>,
    /// The number of its lease: later owners have larger ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) fence: Option<u64>,
    /// Since when, by the worker's clock, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub(crate) since: Option<String>,
    /// How long ago the lease was renewed, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) renewed_ms: Option<u64>,
}

impl WorkersView {
    /// With no cluster; [`Owners`] has those.
    pub(super) fn new(workers: &[WorkerState], topology: u64) -> Self {
        let worker = |worker: &WorkerState| WorkerView {
            name: worker.name.clone(),
            release: worker.release.clone(),
            started_at: rfc3339(worker.started),
            lease_ms: millis(worker.lease),
            topology: hex(worker.topology),
            clusters: worker.holdings.len(),
            taken: worker.moves.taken,
            handed_over: worker.moves.handed_over,
            lost: worker.moves.lost,
        };
        Self {
            time: rfc3339(SystemTime::now()),
            topology: hex(topology),
            workers: workers.iter().map(worker).collect(),
            clusters: Vec::new(),
        }
    }
}

/// Who has which cluster.
pub(in crate::server) struct Owners<'a>(HashMap<&'a ClusterId, (&'a WorkerState, &'a Holding)>);

impl<'a> Owners<'a> {
    /// As workers say, in turns.
    pub(in crate::server) async fn of(workers: &'a [WorkerState]) -> Self {
        let (mut owners, mut turn) = (HashMap::new(), Turn::default());
        for worker in workers {
            for holding in &worker.holdings {
                turn.spend(1).await;
                // While it moves two may say so for a moment: the later one has it.
                let owner = owners.entry(&holding.cluster).or_insert((worker, holding));
                if owner.1.fence < holding.fence {
                    *owner = (worker, holding);
                }
            }
        }
        Self(owners)
    }

    /// A cluster of the fleet.
    pub(in crate::server) fn view(&self, cluster: &ClusterId) -> OwnedView {
        let owner = self.0.get(cluster);
        OwnedView {
            worker: owner.map(|(worker, _)| worker.name.clone()),
            fence: owner.map(|(_, holding)| holding.fence),
            since: owner.map(|(_, holding)| rfc3339(holding.since)),
            renewed_ms: owner.map(|(_, holding)| millis(holding.renewed)),
            cluster_id: cluster.clone(),
        }
    }
}
