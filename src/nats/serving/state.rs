//! What a worker says of what it knows, and to how many at once.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Semaphore, SemaphorePermit};

use super::sending::{Sending, Unwanted};
use crate::engine::remote_state::LocalCluster;
use crate::nats::wire::state::{WireChildState, WireDeviceState};
use crate::nats::wire::{CHUNK_LEN, Chunk, WireStateQuery};

/// How many looks are answered at once.
const LOOKS_AT_ONCE: usize = 16;

/// How many more may wait: one for each cluster, of several fronts.
const LOOKS_WAITING: usize = 65_536;

/// How many devices are looked at before others get their turn.
const DEVICES: usize = 512;

/// Bounds what a worker says of what it knows, whoever asks.
#[derive(Debug)]
pub(in crate::nats) struct StateQueryLimit {
    at_once: Semaphore,
    waiting: AtomicUsize,
}

impl Default for StateQueryLimit {
    fn default() -> Self {
        Self {
            at_once: Semaphore::new(LOOKS_AT_ONCE),
            waiting: AtomicUsize::new(0),
        }
    }
}

impl StateQueryLimit {
    /// Waits for a place; `None` if too many do.
    pub(super) async fn enter(&self) -> Option<SemaphorePermit<'_>> {
        /// Also when whoever waits is dropped.
        struct Waits<'a>(&'a AtomicUsize);
        impl Drop for Waits<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::Relaxed);
            }
        }
        let waiting = self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waits = Waits(&self.waiting);
        if waiting >= LOOKS_WAITING {
            return None;
        }
        self.at_once.acquire().await.ok()
    }
}

impl Sending<'_> {
    /// Sends what is known of the devices at these places.
    pub(super) async fn states(
        &mut self,
        known: &LocalCluster,
        places: &[u32],
        look: WireStateQuery,
    ) -> Result<(), Unwanted> {
        let mut child = Some(WireChildState::new(&known.child()));
        for places in places.chunks(DEVICES) {
            let states: Vec<_> = places
                .iter()
                .filter_map(|&place| Some((place, known.state(place as usize)?)))
                .collect();
            let mut said = Vec::new();
            let mut len = 0;
            for (place, state) in &states {
                let Some(next) = WireDeviceState::new(*place, state, look.facts) else {
                    continue;
                };
                if len + next.len() > CHUNK_LEN && !said.is_empty() {
                    let states = std::mem::take(&mut said);
                    self.chunk(Chunk {
                        child: child.take(),
                        states,
                        ..Chunk::default()
                    })
                    .await?;
                    len = 0;
                }
                len += next.len();
                said.push(next);
            }
            if !said.is_empty() {
                self.chunk(Chunk {
                    child: child.take(),
                    states: said,
                    ..Chunk::default()
                })
                .await?;
            }
            tokio::task::yield_now().await;
        }
        if child.is_some() {
            self.chunk(Chunk {
                child,
                ..Chunk::default()
            })
            .await?;
        }
        Ok(())
    }
}
