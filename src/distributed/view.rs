//! What a worker knows of the others: who is there, and which clusters are taken.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use async_nats::jetstream::kv::{Entry, Operation};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::rank;
use super::wire::{Lease, Presence};

/// A server removes what is too old a little later than it could.
pub(super) const SERVER_SLACK: Duration = Duration::from_millis(300);

/// How many announcements in a row a worker that hears itself may not have heard yet.
const UNHEARD: u32 = 2;

/// Whether a worker is to have clusters, as far as that depends on itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Fitness {
    #[default]
    Fit,
    /// Only if there is no other worker that is fit: it loses leases again and again.
    Unsteady,
    /// Not at all.
    Unfit,
}

/// A lease as it was last seen in the bucket.
#[derive(Debug)]
struct Seen {
    worker: String,
    tenure: u64,
    serves: bool,
    at: Instant,
}

/// Another worker.
#[derive(Debug)]
struct Peer {
    is_unsteady: bool,
    /// When it was last heard of.
    at: Instant,
}

/// Who waits for the next owner of a cluster.
#[derive(Debug)]
struct Waiting {
    /// The tenure of the one who waits.
    tenure: u64,
    served: oneshot::Sender<()>,
}

/// What a worker knows of the others, and what they are to know of it.
#[derive(Debug)]
pub(super) struct View {
    /// This worker's name.
    own: String,
    fitness: Fitness,
    /// The first of this worker's announcements that it did not hear, and how many there are.
    unheard: Option<(Instant, u32)>,
    /// The others that are there.
    workers: BTreeMap<String, Peer>,
    /// By key.
    leases: HashMap<String, Seen>,
    /// By key.
    waiting: HashMap<String, Waiting>,
}

impl View {
    pub(super) fn new(own: String) -> Self {
        Self {
            own,
            fitness: Fitness::Fit,
            unheard: None,
            workers: BTreeMap::new(),
            leases: HashMap::new(),
            waiting: HashMap::new(),
        }
    }

    /// Forgets what was not heard of for so long.
    pub(super) fn forget(&mut self, gone: Duration) {
        self.workers.retain(|worker, peer| {
            let is_live = peer.at.elapsed() < gone;
            if !is_live {
                log::warn!(worker; "a worker is gone");
            }
            is_live
        });
        self.leases.retain(|_, seen| seen.at.elapsed() < gone);
    }

    /// Whether this worker is to have clusters from now on.
    pub(super) fn set_fitness(&mut self, fitness: Fitness) {
        self.fitness = fitness;
    }

    /// Who of those who are there is to have a cluster, by its key.
    pub(super) fn chosen(&self, key: &str) -> Option<&str> {
        let others = |is_unsteady: bool| {
            let others = self.workers.iter();
            others.filter_map(move |(worker, peer)| {
                (peer.is_unsteady == is_unsteady).then_some(worker.as_str())
            })
        };
        let own = |fitness: Fitness| (self.fitness == fitness).then_some(self.own.as_str());
        rank::chosen(others(false).chain(own(Fitness::Fit)), key)
            .or_else(|| rank::chosen(others(true).chain(own(Fitness::Unsteady)), key))
    }

    /// Whether this worker is to have a cluster, by its key.
    pub(super) fn is_own(&self, key: &str) -> bool {
        self.chosen(key) == Some(self.own.as_str())
    }

    /// Who has a cluster, by its key.
    pub(super) fn owner(&self, key: &str) -> Option<&str> {
        self.leases.get(key).map(|seen| seen.worker.as_str())
    }

    /// Resolves when the one that is to have a cluster after this tenure takes its orders; `None` if
    /// nobody is to have it.
    pub(super) fn next_owner(&mut self, key: &str, tenure: u64) -> Option<oneshot::Receiver<()>> {
        let (served, serves) = oneshot::channel();
        let seen = self.leases.get(key);
        if seen.is_some_and(|seen| seen.serves && seen.tenure != tenure) {
            return None;
        }
        if self.chosen(key).is_none_or(|chosen| chosen == self.own) {
            return None;
        }
        self.waiting
            .insert(key.to_owned(), Waiting { tenure, served });
        Some(serves)
    }

    /// Nobody waits for the next owner of a cluster any more.
    pub(super) fn wait_no_more(&mut self, key: &str) {
        self.waiting.remove(key);
    }

    /// This worker announces itself now.
    pub(super) fn spoke(&mut self) {
        let (since, count) = self.unheard.unwrap_or((Instant::now(), 0));
        self.unheard = Some((since, count.saturating_add(1)));
    }

    /// Whether this worker announced itself for so long, and did not hear it.
    pub(super) fn is_deaf(&self, limit: Duration) -> bool {
        self.unheard
            .is_some_and(|(since, count)| count >= UNHEARD && since.elapsed() >= limit)
    }

    /// Takes note of an entry of the bucket of leases.
    pub(super) fn see_lease(&mut self, entry: &Entry) {
        let Some(lease) = read::<Lease>(entry) else {
            self.leases.remove(&entry.key);
            return;
        };
        let waiting = self.waiting.get(&entry.key);
        if lease.serves
            && waiting.is_some_and(|it| it.tenure != lease.tenure)
            && let Some(waiting) = self.waiting.remove(&entry.key)
        {
            // It may have waited long enough.
            waiting.served.send(()).ok();
        }
        let seen = Seen {
            worker: lease.worker,
            tenure: lease.tenure,
            serves: lease.serves,
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
        if worker == self.own {
            self.unheard = None;
            return;
        }
        let Some(presence) = read::<Presence>(entry) else {
            if self.workers.remove(worker).is_some() {
                log::info!(worker; "a worker left");
            }
            return;
        };
        let peer = Peer {
            is_unsteady: presence.unsteady,
            at: Instant::now(),
        };
        if self.workers.insert(worker.to_owned(), peer).is_none() {
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
