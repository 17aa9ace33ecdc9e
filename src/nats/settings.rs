//! How a process takes part, as its command line says.

use std::time::Duration;

use super::connection::NatsSettings;

/// How a process takes part.
#[derive(Debug, Clone)]
pub struct Distributed {
    /// Where the servers are, and who this is to them.
    pub nats: NatsSettings,
    /// What its subjects and buckets begin with: letters, digits, `_` and `-`.
    pub prefix: String,
    /// The newest form of answers that it reads and writes, from 1 to [`NEWEST_SCHEMA`](crate::nats::NEWEST_SCHEMA).
    pub schema: u32,
    /// How it takes clusters, if it is a worker.
    pub worker: Option<Worker>,
}

/// How a worker takes clusters.
#[derive(Debug, Clone)]
pub struct Worker {
    /// Its name, that no other live worker has: letters, digits, `.`, `_` and `-`.
    pub name: String,
    /// How long a lease lasts that is not renewed; the same for all workers. From 1 s to 1 h.
    pub lease: Duration,
}
