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

/// What a process has to do with others that share its fleet: what it counted since its start, and
/// what is so now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sharing {
    /// Its connection to them.
    pub connection: Connectedness,
    /// What it has others ask.
    pub sent: OrdersSent,
    /// What others have it ask, if it is a worker.
    pub worker: Option<Work>,
}

/// How a process is connected to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connectedness {
    /// Whether messages reach them now.
    pub is_up: bool,
    /// How often it connected after it had been connected.
    pub reconnects: u64,
    /// Bytes that came from the server, all of them.
    pub received: u64,
    /// Bytes that went to the server, all of them.
    pub sent: u64,
}

/// What a front counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrdersSent {
    /// Orders to owners of clusters to ask devices.
    pub collects: u64,
    /// Orders to say what is known of devices.
    pub looks: u64,
    /// Pieces of answers that came.
    pub pieces: u64,
    /// Clusters' parts of roll calls whose workers did not answer for all devices, by the reason, of
    /// which there is a closed set.
    pub failed: Vec<(&'static str, u64)>,
}

/// What a worker has, and what it counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Work {
    /// What it has, by cluster, and how that came.
    pub state: WorkerState,
    /// Leases that were to be renewed.
    pub renewals: Renewals,
    /// Orders of fronts.
    pub answered: OrdersAnswered,
}

/// What came of renewing leases.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Renewals {
    /// They last for longer.
    pub ok: u64,
    /// They do not, as far as the worker knows; most are tried again.
    pub failed: u64,
}

/// What a worker counts of orders.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OrdersAnswered {
    /// Orders whose every device was answered for.
    pub complete: u64,
    /// Orders to say what is known, which was said.
    pub looked: u64,
    /// Orders that were not taken: the cluster moves, has other devices here, or too much is waiting.
    pub refused: u64,
    /// Orders that the front gave up before their end.
    pub unwanted: u64,
    /// Orders to be answered where no process may be, which nothing was done for.
    pub misdirected: u64,
    /// Pieces of answers.
    pub pieces: u64,
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
