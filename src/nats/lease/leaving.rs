//! How a worker's clusters leave it: lost, or handed over.

use std::collections::HashMap;

use std::sync::Arc;

use std::sync::atomic::{AtomicUsize, Ordering};

use std::time::Duration;

use async_nats::jetstream::kv::Entry;

use bytes::Bytes;

use futures::future::join_all;

use tokio::sync::oneshot;

use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::former::FormerLease;

use super::manager::{LeaseManager, Own};

use crate::domain::{ClusterId, Fault, FaultKind};

use crate::nats::lease::membership::{Content, Fitness, read};

use crate::nats::lease::session::LeaseSession;

use crate::nats::lock::lock;

use crate::nats::wire::{Lease, key};

/// How long collects under way may take to end before their cluster is handed over.
const HAND_OVER: Duration = Duration::from_secs(10);

/// Counts a cluster while it is handed over.
struct Handing<'a>(&'a AtomicUsize);

impl<'a> Handing<'a> {
    fn new(handing: &'a AtomicUsize) -> Self {
        handing.fetch_add(1, Ordering::Acquire);
        Self(handing)
    }
}

impl Drop for Handing<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Release);
    }
}

/// Why a worker loses a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loss {
    /// The server did not say in time that the lease lasts for longer.
    NotRenewed,
    /// Another worker has the lease.
    Taken,
    /// The thread that runs the cluster is stuck.
    Stuck,
}

impl Loss {
    fn text(self) -> &'static str {
        match self {
            Self::NotRenewed => "it was not renewed in time",
            Self::Taken => "another worker has it",
            Self::Stuck => "its thread is stuck",
        }
    }
}

impl LeaseManager {
    /// Ends lease sessions that are over already, or that must not last.
    pub(super) fn lose(&self, over: &[Own], loss: Loss) {
        let lost = self.give_up(over);
        if !lost.is_empty() {
            self.note_loss();
        }
        for ((cluster, session), _) in lost {
            session.take_no_more();
            if loss != Loss::Taken {
                self.keep_former(cluster, FormerLease::of(Arc::clone(session)));
            }
            let (fence, why) = (session.fence, loss.text());
            self.counts.lost();
            log::warn!(cluster:%, fence, why; "cluster lost");
        }
    }

    /// Asks no more devices of these clusters; those of them that were held until now, and when
    /// nothing of each runs any more.
    fn give_up<'a>(&self, sessions: &'a [Own]) -> Vec<(&'a Own, Option<oneshot::Receiver<()>>)> {
        let mut held = lock(&self.held);
        let mut ended = Vec::new();
        for session in sessions {
            let (cluster, own) = session;
            own.end();
            if held.get(cluster).is_some_and(|it| Arc::ptr_eq(it, own)) {
                held.remove(cluster);
                ended.push(session);
            }
        }
        drop(held);
        if ended.is_empty() {
            return Vec::new();
        }
        let why = "its worker gave the cluster up";
        let clusters: Vec<_> = ended.iter().map(|(cluster, _)| cluster.clone()).collect();
        let left = self
            .fleet
            .stop_clusters(&clusters, Fault::new(FaultKind::Unreachable, why));
        let mut left: HashMap<_, _> = left.into_iter().collect();
        let ended = ended.into_iter();
        ended.map(|it| (it, left.remove(&it.0))).collect()
    }

    /// Ends lease sessions so that other workers can begin at once.
    pub(super) async fn hand_over(&self, sessions: Vec<Own>) {
        // Orders that come are told to ask the next owner, and those under way are answered.
        for (_, session) in &sessions {
            session.move_on();
        }
        // This worker's own collects go to the next owner from now on, too, and those under way end.
        let clusters: Vec<_> = sessions
            .iter()
            .map(|(cluster, _)| cluster.clone())
            .collect();
        let mut at_rest = self.fleet.drain_clusters(&clusters);
        let until = Instant::now() + HAND_OVER;
        join_all(sessions.iter().map(|session| {
            let at_rest = at_rest.remove(&session.0);
            self.hand_over_one(session, at_rest, until)
        }))
        .await;
    }

    async fn hand_over_one(
        &self,
        own: &Own,
        at_rest: Option<oneshot::Receiver<()>>,
        until: Instant,
    ) {
        let (cluster, session) = own;
        let _counted = Handing::new(&self.handing);
        while session.under_way() > 0 && Instant::now() < until {
            sleep(Duration::from_millis(5)).await;
        }
        if let Some(at_rest) = at_rest {
            // One whose actor ended is at rest, too.
            timeout_at(until, at_rest).await.ok();
        }
        for (_, left) in self.give_up(std::slice::from_ref(own)) {
            // If nothing is heard of it, the lease runs out, as long after the last lookup as it may.
            let is_left = match left {
                // An actor that ended before it read that is gone as well.
                Some(left) => timeout(self.patience(), left).await.is_ok(),
                None => true,
            };
            let free = timeout(self.patience(), self.free(cluster, session));
            let (fence, freed) = (session.fence, is_left && free.await == Ok(true));
            self.counts.handed_over();
            log::info!(cluster:%, fence, freed; "cluster handed over");
            if freed || self.connection.is_up() {
                self.until_served(cluster, session).await;
            }
        }
        session.leave_off().await;
    }

    /// Waits until orders reach the next owner of a cluster, if there is to be one. Those that come
    /// here meanwhile are told that it moves.
    async fn until_served(&self, cluster: &ClusterId, session: &LeaseSession) {
        let key = key(cluster);
        let next = lock(&self.membership).next_owner(&key, session.number);
        if let Some(next) = next {
            timeout(HAND_OVER, next).await.ok();
            lock(&self.membership).wait_no_more(&key);
        }
    }

    /// Removes a lease, so that another worker can have it; whether no other lease was there. One that
    /// is gone already is removed, too, as others may not have noticed that.
    async fn free(&self, cluster: &ClusterId, session: &LeaseSession) -> bool {
        let key = key(cluster);
        let mut revision = session.term().revision;
        loop {
            let lease = self.lease(session.number, session.since, true);
            // What it was is said with that, so that other workers know that its owner did so.
            let removed = self.remove(&self.leases, &key, lease.clone(), Some(revision));
            if removed.await.is_ok() {
                return true;
            }
            // It may have been renewed at the same moment.
            let Ok(found) = self.leases.entry(&key).await else {
                return false;
            };
            let is_free = |entry: &Entry| {
                entry.value == lease
                    || matches!(read::<Lease>(entry), Content::Removed | Content::Rubbish)
            };
            let now = found.as_ref().map_or(0, |it| it.revision);
            if now == revision || !found.as_ref().is_none_or(is_free) {
                return false;
            }
            revision = now;
        }
    }

    /// Hands everything over, and is not there any more.
    pub(in crate::nats) async fn leave(&self) {
        // First, so that nobody leaves anything to this one.
        let gone = self.remove(&self.workers, &self.worker.name, Bytes::new(), None);
        timeout(self.patience(), gone).await.ok();
        lock(&self.membership).set_fitness(Fitness::Unfit);
        self.hand_over(self.held()).await;
        // Some may have been under way.
        let until = Instant::now() + 2 * HAND_OVER + 2 * self.patience();
        while self.handing.load(Ordering::Acquire) > 0 && Instant::now() < until {
            sleep(Duration::from_millis(5)).await;
        }
        // What was said is read before the connection ends: this is answered after it.
        timeout(self.patience(), self.round_trip()).await.ok();
    }
}
