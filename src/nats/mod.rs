//! Beyond one machine: who asks which cluster, and how a front hears what came of it.
//!
//! The only room that knows NATS. A *worker* runs the clusters that it holds a lease for; a *front*
//! answers requests for all clusters and has those that are not here asked by their owners. Every
//! process that is connected is a front, and a worker is one that takes leases, too.
//! `docs/distributed.md` is the protocol and what it guarantees. Entry point: `Link`.

mod buckets;
mod changes;
pub(crate) mod claim_obstacle;
pub(crate) mod connection;
mod counts;
mod failure;
mod front;
pub(crate) mod lease;
mod link;
mod lock;
mod published;
mod publishing;
mod rare_log;
pub(crate) mod reply_subscription;
mod serving;
mod settings;
mod signature;
pub(crate) mod state_query;
mod taken;
mod tls_files;
mod trust;
mod wire;

pub use buckets::BucketFound;
pub use connection::{Credentials, NatsError, NatsSettings};
pub(crate) use link::{FleetMembership, Link};
pub use publishing::{init, publish};
pub use settings::{Distributed, Worker};
pub use signature::{KeyError, PublicKey, SigningKey};
pub use trust::Trust;
pub use wire::NEWEST_SCHEMA;
pub(crate) use wire::is_worker;
