//! Beyond one machine: who asks which cluster, and how a front hears what came of it.
//!
//! The only room that knows NATS. A *worker* runs the clusters that it holds a lease for; a *front*
//! answers requests for all clusters and has those that are not here asked by their owners. Every
//! process that is connected is a front, and a worker is one that takes leases, too.
//! `docs/distributed.md` is the protocol and what it guarantees. Entry point: `Link`.

mod buckets;
mod changes;
pub(crate) mod claim_obstacle;
pub(crate) mod connection;
mod counts;
mod failure;
mod front;
pub(crate) mod lease;
mod published;
mod publishing;
pub(crate) mod reply_subscription;
mod serving;
mod signature;
pub(crate) mod state_query;
mod taken;
mod tls_files;
mod trust;
mod wire;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::config::Publication;
use crate::engine::collector::{CollectorHandle, Workers};
use crate::engine::fleet::FleetHandle;
use crate::engine::remote::Elsewhere;
use crate::engine::watchdog::WatchdogHandle;
use crate::nats::connection::NatsConnection;
use crate::nats::lease::LeaseManager;
use crate::nats::reply_subscription::Inbox;
use crate::nats::state_query::StateQueryLimit;
use crate::reload::ReloadHandle;
use buckets::{Bucket, Buckets};
use counts::Counts;
use front::RemoteClusters;
use published::Published;
use serving::RequestServer;
use wire::{Names, NatsRole};

pub use crate::nats::connection::{Credentials, NatsError, NatsSettings};
pub use buckets::BucketFound;
pub use publishing::{init, publish};
pub use signature::{KeyError, PublicKey, SigningKey};
pub use trust::Trust;
pub use wire::NEWEST_SCHEMA;
pub(crate) use wire::is_worker;

/// How a process takes part.
#[derive(Debug, Clone)]
pub struct Distributed {
    /// Where the servers are, and who this is to them.
    pub nats: NatsSettings,
    /// What its subjects and buckets begin with: letters, digits, `_` and `-`.
    pub prefix: String,
    /// The newest form of answers that it reads and writes, from 1 to [`NEWEST_SCHEMA`].
    pub schema: u32,
    /// How it takes clusters, if it is a worker.
    pub worker: Option<Worker>,
}

/// How a worker takes clusters.
#[derive(Debug, Clone)]
pub struct Worker {
    /// Its name, that no other live worker has: letters, digits, `.`, `_` and `-`.
    pub name: String,
    /// How long a lease lasts that is not renewed; the same for all workers. From 1 s to 1 h.
    pub lease: Duration,
}

/// A connection to the other processes.
#[derive(Debug)]
pub(crate) struct Link {
    connection: NatsConnection,
    names: Names,
    schema: u32,
    front: Arc<RemoteClusters>,
    counts: Arc<Counts>,
    worker: Option<Worker>,
    published: Option<Published>,
}

/// A process that takes part. Dropped, it lets its leases run out.
#[derive(Debug)]
pub(crate) struct FleetMembership {
    owner: Option<Arc<LeaseManager>>,
    /// What takes clusters, and says that this worker is there.
    taking: Vec<TaskGuard>,
    _others: Vec<TaskGuard>,
}

/// Ends a task when dropped.
#[derive(Debug)]
struct TaskGuard(JoinHandle<()>);

impl Drop for TaskGuard {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Before the same is logged again that others can bring about at any time.
const SELDOM: Duration = Duration::from_secs(600);

/// Bounds how often something is logged that others can bring about at any time.
#[derive(Debug, Default)]
struct RareLog(Mutex<Option<Instant>>);

impl RareLog {
    /// Whether it was not logged for long, and is now.
    fn is_due(&self) -> bool {
        let mut last = lock(&self.0);
        let is_due = last.is_none_or(|at| at.elapsed() >= SELDOM);
        if is_due {
            *last = Some(Instant::now());
        }
        is_due
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Link {
    /// Connects.
    ///
    /// # Errors
    /// If no server can be reached, it is too old, or it does not let this process in.
    pub(crate) async fn connect(settings: Distributed) -> Result<Self, NatsError> {
        let names = Names::new(&settings.prefix);
        let role = match settings.worker {
            Some(_) => NatsRole::Worker,
            None => NatsRole::Front,
        };
        let connection = NatsConnection::open(&settings.nats, &names, role).await?;
        let counts = Arc::new(Counts::default());
        let front = RemoteClusters::new(
            &connection,
            names.clone(),
            settings.schema,
            Arc::clone(&counts),
        )
        .await?;
        Ok(Self {
            connection,
            names,
            schema: settings.schema,
            front: Arc::new(front),
            counts,
            worker: settings.worker,
            published: None,
        })
    }

    /// Connects, and takes the configuration that was published, if it is one of those.
    ///
    /// # Errors
    /// As [`Link::connect`], and if there is none.
    pub(crate) async fn connect_published(
        settings: Distributed,
        trust: Trust,
    ) -> Result<(Self, Publication), NatsError> {
        let mut link = Self::connect(settings).await?;
        let published = Published::open(&link.connection, &link.names, trust).await?;
        let publication = published.publication();
        link.published = Some(published);
        Ok((link, publication))
    }

    /// Who asks the clusters that are not here.
    pub(crate) fn elsewhere(&self) -> Arc<dyn Elsewhere> {
        Arc::clone(&self.front) as Arc<dyn Elsewhere>
    }

    /// Whom to ask who has what.
    pub(crate) fn workers(&self) -> Arc<dyn Workers> {
        Arc::clone(&self.front) as Arc<dyn Workers>
    }

    /// Takes clusters from now on, if this is a worker, and reloads when another configuration is
    /// published, if it takes that.
    ///
    /// # Errors
    /// If the buckets cannot be used.
    ///
    /// # Panics
    /// Outside of an actix `System`.
    pub(crate) async fn join(
        self,
        fleet: FleetHandle,
        collector: CollectorHandle,
        reload: ReloadHandle,
        watchdog: WatchdogHandle,
    ) -> Result<FleetMembership, NatsError> {
        let hears = changes::follow_changes(
            self.connection.clone(),
            self.names.clone(),
            Arc::clone(&self.front),
            fleet.clone(),
        );
        let mut others = vec![TaskGuard(actix::spawn(hears))];
        let lease = self.worker.as_ref().map(|it| it.lease);
        let mut all = Vec::new();
        if let Some(lease) = lease {
            all.push(Bucket::leases(&self.names, lease));
            all.push(Bucket::workers(&self.names, lease));
        }
        if self.published.is_some() {
            all.push(Bucket::configurations(&self.names));
        }
        let buckets = Arc::new(Buckets::new(&self.connection, &self.names, lease, all));
        buckets.open().await?;
        others.push(TaskGuard(actix::spawn(Arc::clone(&buckets).keep())));
        self.front.use_buckets(&buckets);
        others.push(TaskGuard(actix::spawn(
            Arc::clone(&self.front).keep_asking(),
        )));
        if let Some(published) = self.published {
            let follows = published.follow(reload, Arc::clone(&buckets));
            others.push(TaskGuard(actix::spawn(follows)));
        }
        let Some(worker) = self.worker else {
            return Ok(FleetMembership {
                owner: None,
                taking: Vec::new(),
                _others: others,
            });
        };
        let (client, names) = (self.connection.client.clone(), self.names.clone());
        let server = RequestServer {
            client: client.clone(),
            inbox: Inbox::open(&self.connection, &names).await?,
            names: names.clone(),
            collector,
            schema: self.schema,
            state_queries: StateQueryLimit::default(),
            counts: self.counts,
            unreadable: RareLog::default(),
            unsent: RareLog::default(),
            unanswerable: RareLog::default(),
        };
        let (connection, fleet_of) = (self.connection, fleet.clone());
        let owner =
            LeaseManager::new(connection, self.names, worker, fleet_of, server, buckets).await?;
        let owner = Arc::new(owner);
        self.front.work_as(&owner);
        // Before this one can be asked, so that there is no waiting where there are no others.
        if owner.is_beginning()
            && let Ok(others) = self.front.workers().await
        {
            owner.heard(&others);
        }
        owner.guard(watchdog).map_err(NatsError::Thread)?;
        let advised = Arc::clone(&owner);
        actix::spawn(async move { advised.advise().await });
        let taking = vec![
            TaskGuard(actix::spawn(Arc::clone(&owner).keep())),
            TaskGuard(actix::spawn(Arc::clone(&owner).keep_announcing())),
        ];
        let tells = changes::publish_changes(Arc::clone(&owner), client, names, fleet);
        others.extend([
            TaskGuard(actix::spawn(Arc::clone(&owner).keep_watching())),
            TaskGuard(actix::spawn(Arc::clone(&owner).keep_renewing())),
            TaskGuard(actix::spawn(Arc::clone(&owner).tell())),
            TaskGuard(actix::spawn(tells)),
        ]);
        Ok(FleetMembership {
            owner: Some(owner),
            taking,
            _others: others,
        })
    }
}

impl FleetMembership {
    /// Hands its clusters over to others, as far as that goes in a few seconds.
    pub(crate) async fn leave(&mut self) {
        // The others go on: leases are renewed until they are handed over, or given up in time.
        self.taking.clear();
        if let Some(owner) = self.owner.take() {
            owner.leave().await;
        }
    }
}
