//! What a worker knows of the others: who is there, and which clusters are taken.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use async_nats::jetstream::kv::{Entry, Operation};
use tokio::time::Instant;

use super::rank;
use super::wire::{Lease, Presence};

/// A server removes what is too old a little later than it could.
pub(super) const SERVER_SLACK: Duration = Duration::from_millis(300);

/// A lease as it was last seen in the bucket.
#[derive(Debug)]
struct Seen {
    worker: String,
    at: Instant,
}

/// What a worker knows of the others.
#[derive(Debug, Default)]
pub(super) struct View {
    /// When each live worker was last heard of.
    workers: BTreeMap<String, Instant>,
    /// By key.
    leases: HashMap<String, Seen>,
}

impl View {
    /// Forgets what was not heard of for so long.
    pub(super) fn forget(&mut self, gone: Duration) {
        self.workers.retain(|worker, at| {
            let is_live = at.elapsed() < gone;
            if !is_live {
                log::warn!(worker; "a worker is gone");
            }
            is_live
        });
        self.leases.retain(|_, seen| seen.at.elapsed() < gone);
    }

    /// Who of those who are there is to have a cluster, by its key.
    pub(super) fn chosen(&self, key: &str) -> Option<&str> {
        rank::chosen(self.workers.keys().map(String::as_str), key)
    }

    /// Whether somebody has a cluster, by its key.
    pub(super) fn is_leased(&self, key: &str) -> bool {
        self.leases.contains_key(key)
    }

    /// A worker is there. Returns whether that is new.
    pub(super) fn saw_worker(&mut self, worker: &str) -> bool {
        let before = self.workers.insert(worker.to_owned(), Instant::now());
        before.is_none()
    }

    /// Takes note of an entry of the bucket of leases.
    pub(super) fn see_lease(&mut self, entry: &Entry) {
        let Some(lease) = read::<Lease>(entry) else {
            self.leases.remove(&entry.key);
            return;
        };
        let seen = Seen {
            worker: lease.worker,
            at: Instant::now(),
        };
        let worker = seen.worker.clone();
        let before = self.leases.insert(entry.key.clone(), seen);
        if before.is_none_or(|before| before.worker != worker) {
            log::debug!(key = entry.key, worker; "a cluster has an owner");
        }
    }

    /// Takes note of an entry of the bucket of workers.
    pub(super) fn see_worker(&mut self, entry: &Entry) {
        let worker = entry.key.as_str();
        if read::<Presence>(entry).is_none() {
            if self.workers.remove(worker).is_some() {
                log::info!(worker; "a worker left");
            }
        } else if self.saw_worker(worker) {
            log::info!(worker; "a worker is there");
        }
    }
}

/// What an entry says; `None` if it was removed, or is of another version.
fn read<T: serde::de::DeserializeOwned>(entry: &Entry) -> Option<T> {
    if entry.operation != Operation::Put {
        return None;
    }
    serde_json::from_slice(&entry.value).ok()
}
