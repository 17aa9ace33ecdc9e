//! How a worker's leases are kept: renewed again and again, and given up when that does not work.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::StreamExt as _;
use futures::stream;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::leaving::Loss;
use super::manager::{AT_ONCE, LeaseManager, Own};
use crate::domain::ClusterId;
use crate::engine::watchdog::WatchdogHandle;
use crate::nats::connection::chain;
use crate::nats::lease::membership::{Content, read};
use crate::nats::lease::session::{LeaseSession, LeaseTerm};
use crate::nats::wire::{Lease, VERSION, key, to_ms};

impl LeaseManager {
    /// Renews what is held, for ever; whatever else waits for the server.
    pub(in crate::nats) async fn keep_renewing(self: Arc<Self>) {
        let mut remade = self.buckets.remade(&self.leases.name);
        let mut rounds = interval(self.worker.lease / 20);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // A bucket that was made anew knows of no lease: they are told at once.
            let age = tokio::select! {
                _ = rounds.tick() => self.worker.lease / 3,
                Ok(()) = remade.changed() => Duration::ZERO,
            };
            if self.connection.is_up() {
                self.renew(age).await;
            }
        }
    }

    /// Gives up what is not renewed in time, and what runs on threads that are stuck, for as long as
    /// the worker is there. It has a thread of its own, since all others may be stuck.
    ///
    /// # Errors
    /// If there is none to have.
    pub(in crate::nats) fn guard(
        self: &Arc<Self>,
        watchdog: WatchdogHandle,
    ) -> std::io::Result<()> {
        let owner = Arc::downgrade(self);
        let wait = (self.worker.lease / 50).max(Duration::from_millis(10));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()?;
        let guard = async move {
            let mut stuck = HashSet::new();
            while let Some(owner) = owner.upgrade() {
                stuck = owner.look(&watchdog, &stuck);
                drop(owner);
                sleep(wait).await;
            }
        };
        let thread = std::thread::Builder::new().name("leases".to_owned());
        thread.spawn(move || runtime.block_on(guard))?;
        Ok(())
    }

    /// One look of the guard; the threads that are stuck. Those that were not at the look before may
    /// only seem so, since what watches them was stuck itself.
    fn look(&self, watchdog: &WatchdogHandle, before: &HashSet<usize>) -> HashSet<usize> {
        let now = Instant::now();
        let mut over = self.held();
        over.retain(|(_, session)| !session.is_valid(now));
        self.lose(&over, Loss::NotRenewed);
        let stuck: HashSet<usize> = watchdog.stuck().into_iter().collect();
        let sure: Vec<usize> = stuck.intersection(before).copied().collect();
        self.note_stuck(!sure.is_empty());
        for thread in sure {
            let on_it = self.fleet.clusters_on(thread);
            let mut over = self.held();
            over.retain(|(cluster, _)| on_it.contains(cluster));
            self.lose(&over, Loss::Stuck);
        }
        stuck
    }

    /// Renews what was asked for so long ago.
    async fn renew(&self, age: Duration) {
        let due = |(_, session): &Own| session.term().asked.elapsed() >= age;
        let due: Vec<_> = self.held().into_iter().filter(due).collect();
        let renewed = stream::iter(due).map(|(cluster, session)| async move {
            let is_renewed = self.renew_one(&cluster, &session).await;
            self.counts.renewed(is_renewed);
        });
        renewed.buffer_unordered(AT_ONCE).collect::<()>().await;
    }

    /// Whether it lasts for longer.
    pub(super) async fn renew_one(&self, cluster: &ClusterId, session: &Arc<LeaseSession>) -> bool {
        let (key, lease) = (
            key(cluster),
            self.lease(session.number, session.since, true),
        );
        let asked = Instant::now();
        let revision = session.term().revision;
        let update = self.write(&self.leases, &key, lease.clone(), Some(revision));
        let error = match timeout(self.patience(), update).await {
            Ok(Ok(revision)) => {
                self.buckets.wrote(&self.leases.name);
                session.renewed(self.term(revision, asked));
                return true;
            }
            // It may have been written; the next try says so.
            Err(_) => return false,
            Ok(Err(error)) => error,
        };
        let found = timeout(self.patience(), self.leases.entry(&key)).await;
        let Ok(Ok(found)) = found else {
            self.buckets.failed(&self.leases.name, chain(&error));
            return false;
        };
        // The answer to an earlier try was lost. When the server wrote it is not known, so that
        // lengthens nothing; the next round does.
        if let Some(entry) = found.as_ref().filter(|it| it.value == lease) {
            if entry.revision == revision {
                self.buckets.failed(&self.leases.name, chain(&error));
            }
            session.wrote(entry.revision);
            return false;
        }
        let own = (cluster.clone(), Arc::clone(session));
        match found.as_ref().map(read::<Lease>) {
            // Its bucket is another one, or what is there is no lease: no other worker has it, and
            // the server decides who is first.
            None | Some(Content::Removed | Content::Rubbish) if session.is_valid(asked) => {
                let revision = found.map_or(0, |it| it.revision);
                self.write_again(&key, lease, revision, session).await
            }
            None | Some(Content::Removed | Content::Rubbish) => {
                self.lose(&[own], Loss::NotRenewed);
                false
            }
            Some(Content::Known(_) | Content::Newer) => {
                self.lose(&[own], Loss::Taken);
                false
            }
        }
    }

    /// Writes a lease where there is none at this revision; whether it lasts for longer.
    async fn write_again(
        &self,
        key: &str,
        lease: bytes::Bytes,
        revision: u64,
        session: &LeaseSession,
    ) -> bool {
        let asked = Instant::now();
        let again = self.write(&self.leases, key, lease, Some(revision));
        match timeout(self.patience(), again).await {
            Ok(Ok(revision)) => {
                self.buckets.wrote(&self.leases.name);
                session.renewed(self.term(revision, asked));
                true
            }
            Ok(Err(error)) => {
                self.buckets.failed(&self.leases.name, chain(&error));
                false
            }
            Err(_) => false,
        }
    }

    pub(super) fn term(&self, revision: u64, asked: Instant) -> LeaseTerm {
        LeaseTerm {
            revision,
            asked,
            end: asked + self.worker.lease - self.margin(),
        }
    }

    /// What a lease says in the bucket; `serves` once its orders come here.
    pub(super) fn lease(&self, tenure: u64, since: SystemTime, serves: bool) -> bytes::Bytes {
        let lease = Lease {
            version: VERSION,
            worker: self.worker.name.clone(),
            tenure,
            since_ms: to_ms(since),
            serves,
        };
        serde_json::to_vec(&lease).unwrap_or_default().into()
    }
}
