//! The leases of one worker, and what goes on around them for as long as it is there.

use std::collections::HashMap;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use async_nats::jetstream::Context;
use async_nats::jetstream::kv::{Entry, Operation, Store};
use bytes::Bytes;
use futures::StreamExt as _;
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout};

use super::former::FormerLease;
use super::membership::{Fitness, Membership, SERVER_SLACK};
use super::session::LeaseSession;
use super::worker_fitness::WorkerFitness;
use crate::domain::{ClusterId, Holding, Work, WorkerState};
use crate::engine::fleet::FleetHandle;
use crate::nats::buckets::Buckets;
use crate::nats::connection::{NatsConnection, NatsError, chain};
use crate::nats::counts::Counts;
use crate::nats::lock::lock;
use crate::nats::rare_log::RareLog;
use crate::nats::serving::RequestServer;
use crate::nats::settings::Worker;
use crate::nats::wire::{Names, Presence, Roster, VERSION, to_ms};

/// How many leases are asked for at once.
pub(super) const AT_ONCE: usize = 64;

/// How long orders are taken for what a reload replaced: fronts reload a little later.
const BEFORE: Duration = Duration::from_secs(10);

/// A cluster that is held, and its lease session.
pub(super) type Own = (ClusterId, Arc<LeaseSession>);

/// Keeps the leases of one worker.
#[derive(Debug)]
pub(in crate::nats) struct LeaseManager {
    pub(super) connection: NatsConnection,
    pub(super) names: Names,
    pub(super) worker: Worker,
    pub(super) fleet: FleetHandle,
    pub(super) server: Arc<RequestServer>,
    pub(super) buckets: Arc<Buckets>,
    pub(super) jetstream: Context,
    pub(super) leases: Store,
    pub(super) workers: Store,
    pub(super) since: SystemTime,
    pub(super) held: Mutex<HashMap<ClusterId, Arc<LeaseSession>>>,
    /// What it lost, and may take back.
    pub(super) former: Mutex<HashMap<ClusterId, FormerLease>>,
    pub(super) membership: Mutex<Membership>,
    pub(super) worker_fitness: Mutex<WorkerFitness>,
    pub(super) counts: Arc<Counts>,
    /// A cluster was handed over by somebody.
    pub(super) freed: Notify,
    /// This worker does not hear what it says.
    pub(super) deaf: Notify,
    /// How many clusters are being handed over.
    pub(super) handing: AtomicUsize,
    pub(super) not_asked: RareLog,
    pub(super) no_orders: RareLog,
}

impl LeaseManager {
    /// # Errors
    /// If the buckets cannot be used.
    pub(in crate::nats) async fn new(
        connection: NatsConnection,
        names: Names,
        worker: Worker,
        fleet: FleetHandle,
        server: RequestServer,
        buckets: Arc<Buckets>,
    ) -> Result<Self, NatsError> {
        let leases = buckets.store(&names.leases()).await?;
        let workers = buckets.store(&names.workers()).await?;
        let counts = Arc::clone(&server.counts);
        let jetstream = async_nats::jetstream::new(connection.client.clone());
        let membership = Mutex::new(Membership::new(worker.name.clone()));
        Ok(Self {
            connection,
            jetstream,
            names,
            worker,
            fleet,
            server: Arc::new(server),
            buckets,
            leases,
            workers,
            since: SystemTime::now(),
            held: Mutex::default(),
            former: Mutex::default(),
            membership,
            worker_fitness: Mutex::default(),
            counts,
            freed: Notify::new(),
            deaf: Notify::new(),
            handing: AtomicUsize::new(0),
            not_asked: RareLog::default(),
            no_orders: RareLog::default(),
        })
    }

    /// The number of the lease of a cluster that is held.
    pub(in crate::nats) fn fence(&self, cluster: &ClusterId) -> Option<u64> {
        let held = lock(&self.held);
        held.get(cluster).map(|session| session.fence)
    }

    /// How long before the end of a lease its devices are not asked any more.
    pub(super) fn margin(&self) -> Duration {
        self.worker.lease / 5
    }

    /// How long an answer of the server is waited for.
    pub(super) fn patience(&self) -> Duration {
        self.worker.lease / 4
    }

    pub(super) fn held(&self) -> Vec<Own> {
        let held = lock(&self.held);
        held.iter()
            .map(|(id, it)| (id.clone(), Arc::clone(it)))
            .collect()
    }

    /// Whether the bucket of leases was made so short a time ago that it may not know yet what others
    /// have, as they had it in one before.
    pub(in crate::nats) fn is_beginning(&self) -> bool {
        let lease = self.worker.lease + SERVER_SLACK;
        self.buckets.is_younger(&self.leases.name, lease)
    }

    /// Takes note of what other workers say that they have.
    pub(in crate::nats) fn heard(&self, workers: &[WorkerState]) {
        lock(&self.membership).heard(workers);
    }

    /// Takes and hands over, for ever.
    pub(in crate::nats) async fn keep(self: Arc<Self>) {
        let mut rounds = interval(self.worker.lease / 10);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // In the first round the others see this worker, and it sees them, whatever else happens.
        rounds.tick().await;
        rounds.tick().await;
        loop {
            let next = lock(&self.membership).next_forgotten(self.worker.lease + SERVER_SLACK);
            // While it hears nothing, nothing is forgotten.
            let next = next.filter(|at| *at > Instant::now());
            let forgotten = next.unwrap_or_else(|| Instant::now() + self.worker.lease);
            tokio::select! {
                _ = rounds.tick() => {}
                () = sleep_until(forgotten) => {}
                () = self.freed.notified() => {}
                // New ones are to be taken before fronts ask for them.
                () = self.fleet.changed() => {}
            }
            self.fleet.forget_before(BEFORE);
            if self.connection.is_up() {
                let hand = self.settle().await;
                if !hand.is_empty() {
                    // Others are taken meanwhile.
                    let owner = Arc::clone(&self);
                    actix::spawn(async move { owner.hand_over(hand).await });
                }
            }
        }
    }

    /// Says whether this worker is there for clusters, again and again; for ever.
    pub(in crate::nats) async fn keep_announcing(self: Arc<Self>) {
        let mut remade = self.buckets.remade(&self.workers.name);
        let mut rounds = interval(self.worker.lease / 10);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut announced: Option<(Instant, Fitness)> = None;
        loop {
            tokio::select! {
                _ = rounds.tick() => {}
                Ok(()) = remade.changed() => announced = None,
            }
            let fitness = self.fitness();
            // Another process may have made the bucket anew, so that what is watched is gone.
            if lock(&self.membership).is_unheard(self.worker.lease / 6) {
                self.buckets.look();
            }
            let is_due = announced
                .is_none_or(|(at, said)| said != fitness || at.elapsed() >= self.worker.lease / 3);
            if is_due && self.connection.is_up() {
                let at = Instant::now();
                if self.is_deaf() {
                    self.deaf.notify_waiters();
                }
                if self.announce(fitness).await {
                    announced = Some((at, fitness));
                }
            }
        }
    }

    /// Says whether this worker is there; whether the server heard it.
    async fn announce(&self, fitness: Fitness) -> bool {
        lock(&self.membership).spoke();
        let (workers, name) = (&self.workers, &self.worker.name);
        let put = async {
            // That is heard again, too.
            if fitness == Fitness::Unfit {
                let gone = self.remove(workers, name, Bytes::new(), None).await;
                return gone.map(drop).map_err(|error| chain(&error));
            }
            let presence = Presence {
                version: VERSION,
                release: env!("CARGO_PKG_VERSION").to_owned(),
                since_ms: to_ms(self.since),
                unsteady: fitness == Fitness::Unsteady,
            };
            let json = serde_json::to_vec(&presence).unwrap_or_default();
            let put = self.write(workers, name, json.into(), None).await;
            put.map(drop).map_err(|error| chain(&error))
        };
        let why = match timeout(self.patience(), put).await {
            Ok(Ok(())) => {
                self.buckets.wrote(&self.workers.name);
                return true;
            }
            Ok(Err(error)) => {
                lock(&self.membership).was_refused();
                error
            }
            Err(_) => "no answer".to_owned(),
        };
        if self.connection.is_up() {
            self.buckets.failed(&self.workers.name, why);
        }
        false
    }

    /// What it has, in no order.
    fn state(&self) -> WorkerState {
        let now = Instant::now();
        let holdings = self.held().into_iter().map(|(cluster, session)| Holding {
            cluster,
            fence: session.fence,
            since: session.since,
            renewed: now.saturating_duration_since(session.term().asked),
        });
        WorkerState {
            name: self.worker.name.clone(),
            release: env!("CARGO_PKG_VERSION").to_owned(),
            started: self.since,
            lease: self.worker.lease,
            topology: self.fleet.version(),
            moves: self.counts.moves(),
            holdings: holdings.collect(),
        }
    }

    /// What it has, and what it counted.
    pub(in crate::nats) fn work(&self) -> Work {
        Work {
            state: self.state(),
            renewals: self.counts.renewals(),
            answered: self.counts.as_worker(),
        }
    }

    /// Says what it has to whoever asks; for ever.
    pub(in crate::nats) async fn tell(self: Arc<Self>) {
        let client = &self.connection.client;
        loop {
            match client.subscribe(self.names.roster()).await {
                Ok(mut questions) => {
                    while let Some(question) = questions.next().await {
                        let Some(reply) = question.reply else {
                            continue;
                        };
                        if !self.server.is_answerable(&question.subject, &reply) {
                            continue;
                        }
                        let obstacle = self.buckets.obstacle();
                        for message in Roster::of(&self.state(), obstacle.as_deref()) {
                            let json = serde_json::to_vec(&message).unwrap_or_default();
                            // Whoever asked asks again.
                            let said = client.publish(reply.clone(), json.into());
                            timeout(self.patience(), said).await.ok();
                        }
                    }
                }
                Err(error) => {
                    if self.not_asked.is_due() {
                        log::warn!(error:%; "cannot be asked what this worker has");
                    }
                }
            }
            sleep(self.worker.lease / 10).await;
        }
    }

    /// Sees what becomes of leases and workers; for ever.
    pub(in crate::nats) async fn keep_watching(self: Arc<Self>) {
        let leases = Arc::clone(&self).watch(self.leases.clone(), Membership::see_lease);
        let workers = Arc::clone(&self).watch(self.workers.clone(), Membership::see_worker);
        tokio::join!(leases, workers);
    }

    /// Sees what is written to a bucket; for ever.
    async fn watch(self: Arc<Self>, bucket: Store, see: fn(&mut Membership, &Entry)) {
        let mut remade = self.buckets.remade(&bucket.name);
        loop {
            // What comes from now on is of this bucket.
            remade.mark_unchanged();
            if let Ok(mut entries) = bucket.watch_with_history(">").await {
                loop {
                    let entry = tokio::select! {
                        entry = entries.next() => entry,
                        // Perhaps it hears by another subscription.
                        () = self.deaf.notified() => None,
                        // Another one's revisions may be lower than those that are waited for.
                        Ok(()) = remade.changed() => None,
                    };
                    let Some(Ok(entry)) = entry else {
                        break;
                    };
                    see(&mut lock(&self.membership), &entry);
                    if entry.operation != Operation::Put {
                        self.freed.notify_one();
                    }
                }
            }
            // The connection may be lost; what is not seen for long counts as gone.
            self.buckets.look();
            tokio::select! {
                () = sleep(self.worker.lease / 10) => {}
                Ok(()) = remade.changed() => {}
            }
        }
    }
}
