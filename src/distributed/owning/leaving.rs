//! How a worker's clusters leave it: lost, or handed over.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::join_all;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::{HAND_OVER, Own, Owner};
use crate::distributed::lock;
use crate::distributed::tenure::Tenure;
use crate::distributed::wire::key;
use crate::domain::{ClusterId, Fault, FaultKind};

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

impl Owner {
    /// Ends tenures that are over already.
    pub(super) fn lose(&self, over: &[Own], why: &str) {
        for ((cluster, tenure), _) in self.give_up(over) {
            let fence = tenure.fence;
            self.counts.lost();
            log::warn!(cluster:%, fence, why; "cluster lost");
        }
    }

    /// Asks no more devices of these clusters; those of them that were held until now, and when
    /// nothing of each runs any more.
    fn give_up<'a>(&self, tenures: &'a [Own]) -> Vec<(&'a Own, Option<oneshot::Receiver<()>>)> {
        let mut held = lock(&self.held);
        let mut ended = Vec::new();
        for tenure in tenures {
            let (cluster, own) = tenure;
            own.end();
            own.take_no_more();
            if held.get(cluster).is_some_and(|it| Arc::ptr_eq(it, own)) {
                held.remove(cluster);
                ended.push(tenure);
            }
        }
        drop(held);
        if ended.is_empty() {
            return Vec::new();
        }
        let why = "its worker gave the cluster up";
        let clusters: Vec<_> = ended.iter().map(|(cluster, _)| cluster.clone()).collect();
        let left = self
            .tree
            .give_up(&clusters, Fault::new(FaultKind::Unreachable, why));
        let mut left: HashMap<_, _> = left.into_iter().collect();
        let ended = ended.into_iter();
        ended.map(|it| (it, left.remove(&it.0))).collect()
    }

    /// Ends tenures so that other workers can begin at once.
    pub(super) async fn hand_over(&self, tenures: Vec<Own>) {
        // Orders that come are told to ask the next owner, and those under way are answered.
        for (_, tenure) in &tenures {
            tenure.move_on();
        }
        // This worker's own collects go to the next owner from now on, too, and those under way end.
        let clusters: Vec<_> = tenures.iter().map(|(cluster, _)| cluster.clone()).collect();
        let mut at_rest = self.tree.depart(&clusters);
        let until = Instant::now() + HAND_OVER;
        join_all(tenures.iter().map(|tenure| {
            let at_rest = at_rest.remove(&tenure.0);
            self.hand_over_one(tenure, at_rest, until)
        }))
        .await;
    }

    async fn hand_over_one(
        &self,
        own: &Own,
        at_rest: Option<oneshot::Receiver<()>>,
        until: Instant,
    ) {
        let (cluster, tenure) = own;
        let _counted = Handing::new(&self.handing);
        while tenure.under_way() > 0 && Instant::now() < until {
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
            let free = timeout(self.patience(), self.free(cluster, tenure));
            let (fence, freed) = (tenure.fence, is_left && free.await == Ok(true));
            self.counts.handed_over();
            log::info!(cluster:%, fence, freed; "cluster handed over");
        }
    }

    /// Removes a lease, so that another worker can have it; whether it was there and this tenure's.
    async fn free(&self, cluster: &ClusterId, tenure: &Tenure) -> bool {
        let key = key(cluster);
        let mut revision = tenure.term().revision;
        loop {
            let deleted = self.leases.delete_expect_revision(&key, Some(revision));
            if deleted.await.is_ok() {
                return true;
            }
            // It may have been renewed at the same moment.
            let lease = self.lease(tenure.number, tenure.since);
            match self.leases.entry(&key).await {
                Ok(Some(entry)) if entry.value == lease && entry.revision != revision => {
                    revision = entry.revision;
                }
                Ok(_) | Err(_) => return false,
            }
        }
    }

    /// Hands everything over, and is not there any more.
    pub(in crate::distributed) async fn leave(&self) {
        // First, so that nobody leaves anything to this one.
        let gone = self.workers.delete(&self.worker.name);
        timeout(self.patience(), gone).await.ok();
        self.hand_over(self.held()).await;
        // Some may have been under way.
        let until = Instant::now() + HAND_OVER + 2 * self.patience();
        while self.handing.load(Ordering::Acquire) > 0 && Instant::now() < until {
            sleep(Duration::from_millis(5)).await;
        }
        let flush = self.connection.client.flush();
        timeout(self.patience(), flush).await.ok();
    }
}
