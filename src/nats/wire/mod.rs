//! What travels between processes: subjects, keys and messages, each with its version.
//!
//! Pure: it knows no connection. `docs/distributed.md` is the protocol; what is changed here is
//! changed there.

mod change;
mod chunk;
mod entries;
mod names;
mod outcome;
mod places;
pub(crate) mod plain;
mod protocol;
mod request;
mod roster;
pub(crate) mod state;
#[cfg(test)]
mod tests;
mod time;

pub(in crate::nats) use change::{Changed, WireChange, some_names};
pub(in crate::nats) use chunk::{AnswerEnd, Chunk, Reserved};
pub(in crate::nats) use entries::{Lease, Presence};
pub(crate) use names::is_worker;
pub(in crate::nats) use names::{Names, NatsRole, cluster_of, key};
pub(in crate::nats) use outcome::WireOutcome;
pub(in crate::nats) use places::{MOST_PLACES, WirePlaces};
pub use protocol::NEWEST_SCHEMA;
pub(in crate::nats) use protocol::{
    ACK, CANCEL, CHUNK_LEN, HEARTBEAT, LONGEST, OLDEST_SCHEMA, VERSION, WINDOW,
};
pub(in crate::nats) use request::{ClusterRequest, WireStateQuery};
pub(in crate::nats) use roster::Roster;
pub(in crate::nats) use time::{micros, to_ms};
