//! Tells questions that wait for an owner that another worker took their cluster.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::sync::watch;

use super::lock::lock;
use crate::domain::ClusterId;

/// The lease with which a worker said last that it took a cluster, for each cluster with open questions.
type Leases = Mutex<HashMap<ClusterId, watch::Sender<u64>>>;

/// Which clusters were taken while they were asked.
#[derive(Debug, Default)]
pub(super) struct TakenClusters(Arc<Leases>);

/// Tells a question once that another worker took its cluster. Once, so that workers who say so again
/// and again have no question asked as often.
#[derive(Debug)]
pub(super) struct LaterOwner {
    cluster: ClusterId,
    all: Arc<Leases>,
    taken: Option<watch::Receiver<u64>>,
}

impl TakenClusters {
    /// For a question that is open until it is dropped.
    pub(super) fn question(&self, cluster: &ClusterId) -> LaterOwner {
        let taken = {
            let mut all = lock(&self.0);
            all.entry(cluster.clone()).or_default().subscribe()
        };
        LaterOwner {
            cluster: cluster.clone(),
            all: Arc::clone(&self.0),
            taken: Some(taken),
        }
    }

    /// A worker says that it took the cluster with this lease.
    pub(super) fn say(&self, cluster: &ClusterId, fence: u64) {
        if let Some(taken) = lock(&self.0).get(cluster) {
            taken.send_replace(fence);
        }
    }
}

impl LaterOwner {
    /// What was said until now is known.
    pub(super) fn begin(&mut self) {
        if let Some(taken) = &mut self.taken {
            taken.mark_unchanged();
        }
    }

    /// Resolves when a worker says that it took the cluster with a later lease than this one.
    pub(super) async fn later_than(&mut self, fence: u64) {
        if let Some(taken) = &mut self.taken {
            while taken.changed().await.is_ok() {
                if *taken.borrow_and_update() > fence {
                    self.taken = None;
                    return;
                }
            }
        }
        std::future::pending().await
    }
}

impl Drop for LaterOwner {
    fn drop(&mut self) {
        self.taken = None;
        let mut all = lock(&self.all);
        let is_last = |taken: &watch::Sender<u64>| taken.receiver_count() == 0;
        if all.get(&self.cluster).is_some_and(is_last) {
            all.remove(&self.cluster);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn clusters_are_remembered_while_they_are_asked() {
        let taken = TakenClusters::default();
        let cluster = ClusterId::parse("1").unwrap();
        let (mut one, mut two) = (taken.question(&cluster), taken.question(&cluster));
        taken.say(&cluster, 5);
        assert!(one.later_than(5).now_or_never().is_none());
        taken.say(&cluster, 6);
        assert!(one.later_than(5).now_or_never().is_some());
        drop(one);
        // The other one is open, and hears it, too.
        assert!(two.later_than(5).now_or_never().is_some());
        let three = taken.question(&cluster);
        // It is told once.
        taken.say(&cluster, 7);
        assert!(two.later_than(5).now_or_never().is_none());
        drop(two);
        assert_eq!(lock(&taken.0).len(), 1);
        drop(three);
        assert!(lock(&taken.0).is_empty());
    }
}
