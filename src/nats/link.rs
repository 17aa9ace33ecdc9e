//! A process' connection to the others, and its part in what they do together.

use std::sync::Arc;

use tokio::task::JoinHandle;

use super::buckets::{Bucket, Buckets};
use super::changes;
use super::connection::{NatsConnection, NatsError};
use super::counts::Counts;
use super::front::RemoteClusters;
use super::lease::LeaseManager;
use super::published::Published;
use super::rare_log::RareLog;
use super::reply_subscription::Inbox;
use super::serving::{RequestServer, StateQueryLimit};
use super::settings::{Distributed, Worker};
use super::trust::Trust;
use super::wire::{Names, NatsRole};
use crate::config::Publication;
use crate::engine::collector::{CollectorHandle, Workers};
use crate::engine::fleet::FleetHandle;
use crate::engine::remote::Elsewhere;
use crate::engine::watchdog::WatchdogHandle;
use crate::reload::ReloadHandle;

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
