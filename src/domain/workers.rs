//! Workers that share a fleet, and what each of them has.

use std::time::{Duration, SystemTime};

use super::ClusterId;

/// A live worker, as it describes itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerState {
    /// Its name; no other one has it.
    pub name: String,
    /// The release that it runs.
    pub release: String,
    /// When it started, by its clock.
    pub started: SystemTime,
    /// How long its leases last if they are not renewed.
    pub lease: Duration,
    /// Which topology it has: the same number is the same clusters and devices in the same order.
    pub topology: u64,
    /// How often clusters came and went, since its start.
    pub moves: Moves,
    /// What it has, by cluster.
    pub holdings: Vec<Holding>,
}

/// How often clusters came to a worker, and went from it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Moves {
    /// Clusters that it took.
    pub taken: u64,
    /// Clusters that it handed over to others.
    pub handed_over: u64,
    /// Clusters that it lost: their leases were not renewed in time, or others had them.
    pub lost: u64,
}

/// A cluster that a worker has a lease for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holding {
    /// Which cluster.
    pub cluster: ClusterId,
    /// The number of the lease: later owners have larger ones.
    pub fence: u64,
    /// Since when, by the worker's clock.
    pub since: SystemTime,
    /// How long ago the lease was renewed.
    pub renewed: Duration,
}
