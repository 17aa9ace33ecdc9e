//! What a worker has, as it says when it is asked.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::protocol::VERSION;
use super::time::{from_ms, to_ms};
use crate::domain::{ClusterId, Holding, Moves, WorkerState, millis};

/// How many clusters stand in one message at most: with the longest ids less than servers take.
const HELD: usize = 2000;

/// From a worker to whoever asks for the roster: what it has. With very many clusters several come.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::nats) struct Roster {
    pub(in crate::nats) version: u32,
    name: String,
    release: String,
    since_ms: u64,
    lease_ms: u64,
    #[serde(default)]
    topology: u64,
    taken: u64,
    handed_over: u64,
    lost: u64,
    /// What keeps it from taking clusters, if something does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::nats) obstacle: Option<String>,
    held: Vec<HeldLease>,
}

/// A cluster of a worker's.
#[derive(Debug, Serialize, Deserialize)]
struct HeldLease {
    #[serde(rename = "c")]
    cluster: ClusterId,
    #[serde(rename = "f")]
    fence: u64,
    #[serde(rename = "s")]
    since_ms: u64,
    #[serde(rename = "r")]
    renewed_ms: u64,
}

impl Roster {
    /// What a worker has, in messages.
    pub(in crate::nats) fn of(worker: &WorkerState, obstacle: Option<&str>) -> Vec<Self> {
        let held: Vec<_> = worker.holdings.iter().collect();
        let none: &[&Holding] = &[];
        let chunks = held.chunks(HELD);
        let chunks = chunks.chain((held.is_empty()).then_some(none));
        let message = |chunk: &[&Holding]| Self {
            version: VERSION,
            name: worker.name.clone(),
            release: worker.release.clone(),
            since_ms: to_ms(worker.started),
            lease_ms: millis(worker.lease),
            topology: worker.topology,
            taken: worker.moves.taken,
            handed_over: worker.moves.handed_over,
            obstacle: obstacle.map(str::to_owned),
            lost: worker.moves.lost,
            held: chunk
                .iter()
                .map(|it| HeldLease {
                    cluster: it.cluster.clone(),
                    fence: it.fence,
                    since_ms: to_ms(it.since),
                    renewed_ms: millis(it.renewed),
                })
                .collect(),
        };
        chunks.map(message).collect()
    }

    /// What the worker says.
    pub(in crate::nats) fn state(self) -> WorkerState {
        let holding = |held: HeldLease| Holding {
            cluster: held.cluster,
            fence: held.fence,
            since: from_ms(held.since_ms),
            renewed: Duration::from_millis(held.renewed_ms),
        };
        WorkerState {
            name: self.name,
            release: self.release,
            started: from_ms(self.since_ms),
            lease: Duration::from_millis(self.lease_ms),
            topology: self.topology,
            moves: Moves {
                taken: self.taken,
                handed_over: self.handed_over,
                lost: self.lost,
            },
            holdings: self.held.into_iter().map(holding).collect(),
        }
    }
}
