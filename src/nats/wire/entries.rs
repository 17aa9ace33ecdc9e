//! The entries of the buckets of leases and of workers.

use serde::{Deserialize, Serialize};

/// Who has a cluster, as the bucket of leases says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::nats) struct Lease {
    pub(in crate::nats) version: u32,
    /// The name of the worker.
    pub(in crate::nats) worker: String,
    /// Tells this tenure of the cluster from others of the same worker.
    pub(in crate::nats) tenure: u64,
    /// When it began, in milliseconds since the Unix epoch, by the worker's clock; for people.
    pub(in crate::nats) since_ms: u64,
    /// Whether orders for the cluster reach the worker, so that the one before may leave off.
    #[serde(default)]
    pub(in crate::nats) serves: bool,
}

/// A live worker, as the bucket of workers says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::nats) struct Presence {
    pub(in crate::nats) version: u32,
    /// The release that it runs; for people.
    pub(in crate::nats) release: String,
    /// When it started, in milliseconds since the Unix epoch, by its clock; for people.
    pub(in crate::nats) since_ms: u64,
    /// Whether it is to have clusters only if all others are like that, too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(in crate::nats) unsteady: bool,
}
