//! Beyond one machine: who asks which cluster, and how a front hears what came of it.
//!
//! The only room that knows NATS. A *worker* runs the clusters that it holds a lease for; a *front*
//! answers requests for all clusters and has those that are not here asked by their owners. Every
//! process that is connected is a front, and a worker is one that takes leases, too.
//! `docs/distributed.md` is the protocol and what it guarantees. Entry point: `Link`.

mod changes;
mod front;
mod inbox;
mod known;
mod looking;
mod nats;
mod owning;
mod rank;
mod serving;
mod tenure;
mod view;
mod wire;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::actors::elsewhere::Elsewhere;
use crate::actors::fleet::Tree;
use crate::collector::{CollectorHandle, Workers};
use front::Front;
use nats::Connection;
use owning::Owner;
use wire::Names;

pub use nats::{Credentials, NatsError, NatsSettings};

/// How a process takes part.
#[derive(Debug, Clone)]
pub struct Distributed {
    /// Where the servers are, and who this is to them.
    pub nats: NatsSettings,
    /// What its subjects and buckets begin with: letters, digits, `_` and `-`.
    pub prefix: String,
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
    connection: Connection,
    names: Names,
    front: Arc<Front>,
    worker: Option<Worker>,
}

/// A process that takes part. Dropped, it lets its leases run out.
#[derive(Debug)]
pub(crate) struct Membership {
    owner: Option<Arc<Owner>>,
    /// The first one takes clusters, the second one says that this worker is there.
    tasks: Vec<JoinHandle<()>>,
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
        let connection = Connection::open(&settings.nats).await?;
        let front = Front::new(&connection, names.clone()).await?;
        Ok(Self {
            connection,
            names,
            front: Arc::new(front),
            worker: settings.worker,
        })
    }

    /// Who asks the clusters that are not here.
    pub(crate) fn elsewhere(&self) -> Arc<dyn Elsewhere> {
        Arc::clone(&self.front) as Arc<dyn Elsewhere>
    }

    /// Whom to ask who has what.
    pub(crate) fn workers(&self) -> Arc<dyn Workers> {
        Arc::clone(&self.front) as Arc<dyn Workers>
    }

    /// Takes clusters from now on, if this is a worker.
    ///
    /// # Errors
    /// If the buckets cannot be used.
    ///
    /// # Panics
    /// Outside of an actix `System`.
    pub(crate) async fn join(
        self,
        tree: Tree,
        collector: CollectorHandle,
    ) -> Result<Membership, NatsError> {
        let hears = changes::hear(
            self.connection.clone(),
            self.names.clone(),
            Arc::clone(&self.front),
            tree.clone(),
        );
        let hears = actix::spawn(hears);
        let Some(worker) = self.worker else {
            return Ok(Membership {
                owner: None,
                tasks: vec![hears],
            });
        };
        let (client, names) = (self.connection.client.clone(), self.names.clone());
        let owner = Owner::new(self.connection, self.names, worker, tree.clone(), collector).await;
        let owner = Arc::new(owner.inspect_err(|_| hears.abort())?);
        let tasks = vec![
            actix::spawn(Arc::clone(&owner).keep()),
            actix::spawn(Arc::clone(&owner).keep_announcing()),
            actix::spawn(Arc::clone(&owner).keep_renewing()),
            actix::spawn(Arc::clone(&owner).guard()),
            actix::spawn(Arc::clone(&owner).tell()),
            actix::spawn(changes::tell(Arc::clone(&owner), client, names, tree)),
            hears,
        ];
        Ok(Membership {
            owner: Some(owner),
            tasks,
        })
    }
}

impl Membership {
    /// Hands its clusters over to others, as far as that goes in a few seconds.
    pub(crate) async fn leave(&mut self) {
        // The others go on: leases are renewed until they are handed over, or given up in time.
        for task in self.tasks.iter().take(2) {
            task.abort();
        }
        if let Some(owner) = self.owner.take() {
            owner.leave().await;
        }
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        for task in self.tasks.drain(..) {
            task.abort();
        }
    }
}
