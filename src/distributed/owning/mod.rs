//! A worker's leases: which clusters it takes, keeps, hands over and loses.
//!
//! A lease is a key in a bucket whose entries last for so long. Taking one is creating the key;
//! renewing it is writing the key at the revision that one knows, so that whoever lost it learns
//! that. The number of the first revision is the fence: a later owner has a larger one. A worker
//! counts a lease from before it asked for it, by a clock that nobody sets, and stops asking before
//! that time is over: so two do not ask at once, however their connections do. What that takes of
//! clocks is in `docs/distributed.md`.

mod leaving;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use async_nats::Subscriber;
use async_nats::jetstream::kv::{Entry, Operation, Store};
use futures::StreamExt as _;
use futures::future::join_all;
use futures::stream;
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use crate::actors::fleet::Tree;
use crate::distributed::counts::Counts;
use crate::distributed::nats::{Bucket, Connection, NatsError, chain};
use crate::distributed::serving::Server;
use crate::distributed::tenure::{Tenure, Term, take_orders};
use crate::distributed::view::{SERVER_SLACK, View};
use crate::distributed::wire::{Lease, Names, Presence, Roster, VERSION, key, to_ms};
use crate::distributed::{Aborts, Worker, lock};
use crate::domain::{ClusterId, Holding, Work, WorkerState};

/// How many leases are asked for at once.
const AT_ONCE: usize = 64;

/// How long collects under way may take to end before their cluster is handed over.
const HAND_OVER: Duration = Duration::from_secs(10);

/// How long orders are taken for what a reload replaced: fronts reload a little later.
const BEFORE: Duration = Duration::from_secs(10);

/// A cluster that is held, and its tenure.
type Own = (ClusterId, Arc<Tenure>);

/// A lease that was got just now, and the orders that come by it.
struct Leased {
    cluster: ClusterId,
    tenure: Arc<Tenure>,
    orders: Subscriber,
}

/// Keeps the leases of one worker.
#[derive(Debug)]
pub(super) struct Owner {
    connection: Connection,
    names: Names,
    worker: Worker,
    tree: Tree,
    server: Arc<Server>,
    leases: Store,
    workers: Store,
    since: SystemTime,
    held: Mutex<HashMap<ClusterId, Arc<Tenure>>>,
    view: Mutex<View>,
    counts: Arc<Counts>,
    /// A cluster was handed over by somebody.
    freed: Notify,
    /// How many clusters are being handed over.
    handing: AtomicUsize,
}

impl Owner {
    /// # Errors
    /// If the buckets cannot be used.
    pub(super) async fn new(
        connection: Connection,
        names: Names,
        worker: Worker,
        tree: Tree,
        server: Server,
    ) -> Result<Self, NatsError> {
        let (leases, workers) = buckets(&connection, &names, &worker).await?;
        let counts = Arc::clone(&server.counts);
        Ok(Self {
            connection,
            names,
            worker,
            tree,
            server: Arc::new(server),
            leases,
            workers,
            since: SystemTime::now(),
            held: Mutex::default(),
            view: Mutex::default(),
            counts,
            freed: Notify::new(),
            handing: AtomicUsize::new(0),
        })
    }

    /// The number of the lease of a cluster that is held.
    pub(super) fn fence(&self, cluster: &ClusterId) -> Option<u64> {
        let held = lock(&self.held);
        held.get(cluster).map(|tenure| tenure.fence)
    }

    /// How long before the end of a lease its devices are not asked any more.
    fn margin(&self) -> Duration {
        self.worker.lease / 5
    }

    /// How long an answer of the server is waited for.
    fn patience(&self) -> Duration {
        self.worker.lease / 4
    }

    fn held(&self) -> Vec<Own> {
        let held = lock(&self.held);
        held.iter()
            .map(|(id, it)| (id.clone(), Arc::clone(it)))
            .collect()
    }

    /// Renews what is held, for ever; whatever else waits for the server.
    pub(super) async fn keep_renewing(self: Arc<Self>) {
        let mut rounds = interval(self.worker.lease / 20);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            rounds.tick().await;
            if self.connection.is_up() {
                self.renew().await;
            }
        }
    }

    /// Takes and hands over, for ever.
    pub(super) async fn keep(self: Arc<Self>) {
        let watching = [
            actix::spawn(Arc::clone(&self).watch(self.leases.clone(), View::see_lease)),
            actix::spawn(Arc::clone(&self).watch(self.workers.clone(), View::see_worker)),
        ];
        let _watching = watching.map(Aborts);
        let mut rounds = interval(self.worker.lease / 10);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // In the first round the others see this worker, and it sees them, whatever else happens.
        rounds.tick().await;
        rounds.tick().await;
        loop {
            tokio::select! {
                _ = rounds.tick() => {}
                () = self.freed.notified() => {}
                // New ones are to be taken before fronts ask for them.
                () = self.tree.changed() => {}
            }
            self.tree.forget_before(BEFORE);
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

    /// Says that this worker is there, again and again; for ever.
    pub(super) async fn keep_announcing(self: Arc<Self>) {
        let mut rounds = interval(self.worker.lease / 10);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut announced: Option<Instant> = None;
        loop {
            rounds.tick().await;
            let is_due = announced.is_none_or(|at| at.elapsed() >= self.worker.lease / 3);
            if is_due && self.connection.is_up() {
                let at = Instant::now();
                if self.announce().await {
                    announced = Some(at);
                }
            }
        }
    }

    /// Gives up what is not renewed in time; for ever. It waits for nobody.
    pub(super) async fn guard(self: Arc<Self>) {
        let mut looks = interval((self.worker.lease / 50).max(Duration::from_millis(10)));
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            let now = Instant::now();
            let mut over = self.held();
            over.retain(|(_, tenure)| !tenure.is_valid(now));
            self.lose(&over, "it was not renewed in time");
        }
    }

    /// Says that this worker is there; whether the server heard it.
    async fn announce(&self) -> bool {
        let presence = Presence {
            version: VERSION,
            release: env!("CARGO_PKG_VERSION").to_owned(),
            since_ms: to_ms(self.since),
        };
        let json = serde_json::to_vec(&presence).unwrap_or_default();
        let put = self.workers.put(&self.worker.name, json.into());
        match timeout(self.patience(), put).await {
            Ok(Ok(_)) => true,
            Ok(Err(error)) => {
                log::warn!(error = chain(&error); "cannot say that this worker is there");
                // A server that lost its files has no buckets.
                if let Err(error) = buckets(&self.connection, &self.names, &self.worker).await {
                    log::warn!(error:%; "the buckets are not there");
                }
                false
            }
            Err(_) => false,
        }
    }

    async fn renew(&self) {
        let due = |(_, tenure): &Own| tenure.term().asked.elapsed() >= self.worker.lease / 3;
        let due: Vec<_> = self.held().into_iter().filter(due).collect();
        let renewed = stream::iter(due).map(|(cluster, tenure)| async move {
            let is_renewed = self.renew_one(&cluster, &tenure).await;
            self.counts.renewed(is_renewed);
        });
        renewed.buffer_unordered(AT_ONCE).collect::<()>().await;
    }

    /// Whether it lasts for longer.
    async fn renew_one(&self, cluster: &ClusterId, tenure: &Arc<Tenure>) -> bool {
        let (key, lease) = (key(cluster), self.lease(tenure.number, tenure.since));
        let asked = Instant::now();
        let revision = tenure.term().revision;
        let update = self.leases.update(&key, lease.clone(), revision);
        let revision = match timeout(self.patience(), update).await {
            Ok(Ok(revision)) => revision,
            // It may have been written; the next try says so.
            Err(_) => return false,
            Ok(Err(error)) => match timeout(self.patience(), self.leases.entry(&key)).await {
                // The answer to an earlier try was lost. When the server wrote it is not known, so
                // that lengthens nothing; the next round does.
                Ok(Ok(Some(entry))) if entry.value == lease => {
                    tenure.wrote(entry.revision);
                    return false;
                }
                Ok(Ok(_)) => {
                    let lost = (cluster.clone(), Arc::clone(tenure));
                    self.lose(&[lost], "another worker has it");
                    return false;
                }
                Ok(Err(_)) | Err(_) => {
                    log::warn!(cluster:%, error = chain(&error); "cannot renew a lease");
                    return false;
                }
            },
        };
        tenure.renewed(self.term(revision, asked));
        true
    }

    fn term(&self, revision: u64, asked: Instant) -> Term {
        Term {
            revision,
            asked,
            end: asked + self.worker.lease - self.margin(),
        }
    }

    fn lease(&self, tenure: u64, since: SystemTime) -> bytes::Bytes {
        let lease = Lease {
            version: VERSION,
            worker: self.worker.name.clone(),
            tenure,
            since_ms: to_ms(since),
        };
        serde_json::to_vec(&lease).unwrap_or_default().into()
    }

    /// Takes what is to be this worker's and free; what is to be another's, and does not move yet.
    async fn settle(&self) -> Vec<Own> {
        let (clusters, departing) = (self.tree.clusters(), self.tree.departing());
        let (take, keep, hand) = {
            let (mut view, held) = (lock(&self.view), lock(&self.held));
            view.forget(self.worker.lease + SERVER_SLACK);
            // This one, whatever the bucket says.
            view.saw_worker(&self.worker.name);
            let is_mine = |key: &str| view.chosen(key) == Some(self.worker.name.as_str());
            let mut take = Vec::new();
            let mut keep = HashSet::new();
            for cluster in clusters {
                let key = key(&cluster);
                match (is_mine(&key), held.get(&cluster)) {
                    (true, None) if !view.is_leased(&key) => take.push(cluster),
                    // One that a reload brought back while it departs comes to rest first.
                    (true, Some(own)) if !own.is_moving() && !departing.contains(&cluster) => {
                        keep.insert(cluster);
                    }
                    (true | false, _) => {}
                }
            }
            let hand: Vec<_> = held
                .iter()
                .filter(|(cluster, own)| !keep.contains(*cluster) && !own.is_moving())
                .map(|(cluster, tenure)| (cluster.clone(), Arc::clone(tenure)))
                .collect();
            (take, keep, hand)
        };
        // A reload may have removed one and brought it back.
        self.tree.take(&keep.into_iter().collect::<Vec<_>>());
        if !take.is_empty() {
            self.take(take).await;
        }
        hand
    }

    async fn take(&self, clusters: Vec<ClusterId>) {
        // Some at a time, so that those that are leased are renewed while others are asked for.
        for some in clusters.chunks(AT_ONCE) {
            let leased = some.iter().map(|cluster| self.lease_one(cluster.clone()));
            let leased: Vec<_> = join_all(leased).await.into_iter().flatten().collect();
            self.begin(leased);
        }
    }

    /// Runs clusters from now on, as far as their leases last.
    fn begin(&self, mut leased: Vec<Leased>) {
        let now = Instant::now();
        leased.retain(|it| it.tenure.is_valid(now));
        {
            let own = |it: &Leased| (it.cluster.clone(), Arc::clone(&it.tenure));
            lock(&self.held).extend(leased.iter().map(own));
        }
        // One that a reload removed just now is handed over in the next round.
        let clusters: Vec<_> = leased.iter().map(|it| it.cluster.clone()).collect();
        self.tree.take(&clusters);
        for Leased {
            cluster,
            tenure,
            orders,
        } in leased
        {
            let (server, connection) = (Arc::clone(&self.server), self.connection.clone());
            let subject = self.names.orders(&cluster);
            actix::spawn(take_orders(
                orders,
                subject,
                server,
                Arc::clone(&tenure),
                connection,
            ));
            let fence = tenure.fence;
            self.counts.taken();
            log::info!(cluster:%, fence; "cluster taken");
        }
    }

    /// Gets the lease of a cluster, if nobody has it.
    async fn lease_one(&self, cluster: ClusterId) -> Option<Leased> {
        let asked = Instant::now();
        let (number, since) = (rand::random(), SystemTime::now());
        let create = self.leases.create(key(&cluster), self.lease(number, since));
        // Refused, somebody was faster; without an answer, it runs out.
        let Ok(Ok(fence)) = timeout(self.patience(), create).await else {
            return None;
        };
        let tenure = Arc::new(Tenure::new(fence, number, since, self.term(fence, asked)));
        let subject = self.names.orders(&cluster);
        let subscribed = timeout(self.patience(), self.connection.client.subscribe(subject));
        let orders = match subscribed.await {
            Ok(Ok(orders)) => orders,
            // The connection is stuck, and the lease runs out.
            Err(_) => return None,
            Ok(Err(error)) => {
                log::error!(cluster:%, error:%; "cannot take orders for a cluster");
                return None;
            }
        };
        Some(Leased {
            cluster,
            tenure,
            orders,
        })
    }

    /// What it has, in no order.
    fn state(&self) -> WorkerState {
        let now = Instant::now();
        let holdings = self.held().into_iter().map(|(cluster, tenure)| Holding {
            cluster,
            fence: tenure.fence,
            since: tenure.since,
            renewed: now.saturating_duration_since(tenure.term().asked),
        });
        WorkerState {
            name: self.worker.name.clone(),
            release: env!("CARGO_PKG_VERSION").to_owned(),
            started: self.since,
            lease: self.worker.lease,
            topology: self.tree.version(),
            moves: self.counts.moves(),
            holdings: holdings.collect(),
        }
    }

    /// What it has, and what it counted.
    pub(super) fn work(&self) -> Work {
        Work {
            state: self.state(),
            renewals: self.counts.renewals(),
            answered: self.counts.as_worker(),
        }
    }

    /// Says what it has to whoever asks; for ever.
    pub(super) async fn tell(self: Arc<Self>) {
        let client = &self.connection.client;
        loop {
            match client.subscribe(self.names.roster()).await {
                Ok(mut questions) => {
                    while let Some(question) = questions.next().await {
                        let Some(reply) = question.reply else {
                            continue;
                        };
                        for message in Roster::of(&self.state()) {
                            let json = serde_json::to_vec(&message).unwrap_or_default();
                            // Whoever asked asks again.
                            let said = client.publish(reply.clone(), json.into());
                            timeout(self.patience(), said).await.ok();
                        }
                    }
                }
                Err(error) => log::warn!(error:%; "cannot be asked what this worker has"),
            }
            sleep(self.worker.lease / 10).await;
        }
    }

    /// Sees what is written to a bucket; for ever.
    async fn watch(self: Arc<Self>, bucket: Store, see: fn(&mut View, &Entry)) {
        loop {
            match bucket.watch_with_history(">").await {
                Ok(mut entries) => {
                    while let Some(Ok(entry)) = entries.next().await {
                        see(&mut lock(&self.view), &entry);
                        if entry.operation != Operation::Put {
                            self.freed.notify_one();
                        }
                    }
                }
                Err(error) => {
                    let bucket = bucket.name.as_str();
                    log::warn!(bucket, error = chain(&error); "cannot watch a bucket");
                }
            }
            // The connection may be lost; what is not seen for long counts as gone.
            sleep(self.worker.lease / 10).await;
        }
    }
}

/// The buckets of leases and of workers; they are made if they are not there.
async fn buckets(
    connection: &Connection,
    names: &Names,
    worker: &Worker,
) -> Result<(Store, Store), NatsError> {
    let (leases, workers) = (names.leases(), names.workers());
    let leases = Bucket {
        name: &leases,
        description: "fleetcall: who asks which cluster",
        max_age: worker.lease,
        history: 1,
        max_value_size: Some(4096),
    };
    let workers = Bucket {
        name: &workers,
        description: "fleetcall: who is there to ask clusters",
        ..leases
    };
    Ok((
        connection.bucket(&leases).await?,
        connection.bucket(&workers).await?,
    ))
}
