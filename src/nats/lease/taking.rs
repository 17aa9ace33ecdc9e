//! How a worker comes by clusters.

use std::collections::HashMap;

use std::sync::Arc;

use std::time::SystemTime;

use async_nats::Subscriber;

use async_nats::jetstream::context::PublishErrorKind;

use async_nats::jetstream::kv::Operation;

use futures::future::join_all;

use tokio::time::{Instant, timeout};

use super::announcement::tell_taken;
use super::former::FormerLease;
use super::manager::{AT_ONCE, LeaseManager, Own};

use crate::domain::ClusterId;

use crate::engine::remote::Lease;

use crate::nats::lease::membership::{Content, Fitness, SERVER_SLACK, read};

use crate::nats::lease::session::LeaseSession;

use crate::nats::lock::lock;

use crate::nats::wire;

use crate::nats::wire::key;

/// A lease that was got just now, and the orders that come by it.
struct Leased {
    cluster: ClusterId,
    session: Arc<LeaseSession>,
    orders: Subscriber,
}

impl LeaseManager {
    /// Takes what is to be this worker's and free; what is to be another's, and does not move yet.
    pub(super) async fn settle(&self) -> Vec<Own> {
        let fitness = self.fitness();
        let is_fit = fitness == Fitness::Fit;
        let (clusters, draining) = (self.fleet.clusters(), self.fleet.draining());
        // Others that have not reloaded ask for them.
        let removed = self.fleet.removed();
        let (take, keep, hand) = {
            let (mut membership, held) = (lock(&self.membership), lock(&self.held));
            let mut former = lock(&self.former);
            membership.forget(self.worker.lease + SERVER_SLACK, self.worker.lease / 2);
            let mut take = Vec::new();
            let mut keep: HashMap<ClusterId, Arc<dyn Lease>> = HashMap::new();
            for cluster in clusters {
                let key = key(&cluster);
                let is_own = membership.is_own(&key);
                match held.get(&cluster) {
                    None => {
                        let is_to_take = match membership.owner(&key) {
                            None => is_own,
                            // Nobody else can have it sooner.
                            Some(owner) => {
                                owner == self.worker.name
                                    && fitness != Fitness::Unfit
                                    && former.contains_key(&cluster)
                            }
                        };
                        if is_to_take {
                            take.push(cluster);
                        }
                    }
                    // One that a reload brought back while it departs comes to rest first.
                    Some(own) if own.is_moving() || draining.contains(&cluster) => {}
                    // What it has, it need not give up because it is not to have more.
                    Some(own) if is_own || !is_fit => {
                        keep.insert(cluster, Arc::clone(own) as Arc<dyn Lease>);
                    }
                    Some(_) => {}
                }
            }
            former.retain(|cluster, _| {
                let owner = membership.owner(&key(cluster));
                let is_lost = owner.is_some_and(|owner| owner != self.worker.name);
                !is_lost && self.fleet.has_cluster(cluster)
            });
            let hand: Vec<_> = held
                .iter()
                .filter(|(cluster, own)| {
                    let is_kept = keep.contains_key(*cluster) || removed.contains(*cluster);
                    !is_kept && !own.is_moving()
                })
                .map(|(cluster, session)| (cluster.clone(), Arc::clone(session)))
                .collect();
            (take, keep, hand)
        };
        // A reload may have removed one and brought it back.
        self.fleet.take(&keep.into_iter().collect::<Vec<_>>());
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
            let taken = self.begin(leased);
            let client = &self.connection.client;
            tell_taken(&taken, client, &self.names).await;
        }
    }

    /// Runs clusters from now on, as far as their leases last; those, with their leases.
    fn begin(&self, mut leased: Vec<Leased>) -> Vec<(ClusterId, u64)> {
        let now = Instant::now();
        leased.retain(|it| it.session.is_valid(now));
        {
            let own = |it: &Leased| (it.cluster.clone(), Arc::clone(&it.session));
            lock(&self.held).extend(leased.iter().map(own));
        }
        // One that a reload removed just now is handed over in the next round.
        let lease = |it: &Leased| Arc::clone(&it.session) as Arc<dyn Lease>;
        let clusters: Vec<_> = leased
            .iter()
            .map(|it| (it.cluster.clone(), lease(it)))
            .collect();
        self.fleet.take(&clusters);
        let mut taken = Vec::new();
        for Leased {
            cluster,
            session,
            orders,
        } in leased
        {
            let (server, connection) = (Arc::clone(&self.server), self.connection.clone());
            session.serve(orders, self.names.orders(&cluster), server, connection);
            let fence = session.fence;
            self.counts.taken();
            log::info!(cluster:%, fence; "cluster taken");
            taken.push((cluster, fence));
        }
        taken
    }

    /// Gets the lease of a cluster, if nobody has it, and its orders.
    async fn lease_one(&self, cluster: ClusterId) -> Option<Leased> {
        let former = lock(&self.former).remove(&cluster);
        let session = match former {
            Some(former) => self.take_back(&cluster, former).await?,
            None => self.create(&cluster).await?,
        };
        let subject = self.names.orders(&cluster);
        let subscribed = timeout(self.patience(), self.connection.client.subscribe(subject));
        let orders = match subscribed.await {
            Ok(Ok(orders)) => orders,
            Err(_) => {
                // The connection is stuck.
                self.keep_former(&cluster, FormerLease::of(session));
                return None;
            }
            Ok(Err(error)) => {
                if self.no_orders.is_due() {
                    log::error!(cluster:%, error:%; "cannot take orders for a cluster");
                }
                self.keep_former(&cluster, FormerLease::of(session));
                return None;
            }
        };
        // The server knows of the subscription when it takes this, so the owner before may leave off.
        self.renew_one(&cluster, &session).await;
        Some(Leased {
            cluster,
            session,
            orders,
        })
    }

    async fn create(&self, cluster: &ClusterId) -> Option<Arc<LeaseSession>> {
        let asked = Instant::now();
        let (number, since) = (rand::random(), SystemTime::now());
        let lease = self.lease(number, since, false);
        let create = self.write_first(cluster, lease);
        let Ok(created) = timeout(self.patience(), create).await else {
            // It may have been written.
            let session = None;
            let former = FormerLease {
                number,
                since,
                session,
            };
            self.keep_former(cluster, former);
            return None;
        };
        // Refused, another worker was faster.
        let fence = created?;
        let session = LeaseSession::new(fence, number, since, self.term(fence, asked));
        Some(Arc::new(session))
    }

    /// Writes the lease of a cluster that no worker has; its revision.
    async fn write_first(&self, cluster: &ClusterId, lease: bytes::Bytes) -> Option<u64> {
        let key = key(cluster);
        let create = self.write(&self.leases, &key, lease.clone(), Some(0));
        let error = match create.await {
            Ok(revision) => {
                self.buckets.wrote(&self.leases.name);
                return Some(revision);
            }
            Err(error) => error,
        };
        if error.kind() != PublishErrorKind::WrongLastSequence {
            self.buckets.not_wrote(&self.leases.name);
            return None;
        }
        // What was removed, or is no lease, keeps no worker from taking one.
        let entry = self.leases.entry(&key).await.ok().flatten()?;
        if !matches!(
            read::<wire::Lease>(&entry),
            Content::Removed | Content::Rubbish
        ) {
            return None;
        }
        let over = self.write(&self.leases, &key, lease, Some(entry.revision));
        over.await.ok()
    }

    /// Goes on with a lease if nobody else had it since.
    async fn take_back(
        &self,
        cluster: &ClusterId,
        former: FormerLease,
    ) -> Option<Arc<LeaseSession>> {
        let key = key(cluster);
        let entry = match timeout(self.patience(), self.leases.entry(&key)).await {
            Ok(Ok(entry)) => entry.filter(|entry| entry.operation == Operation::Put),
            Ok(Err(_)) | Err(_) => {
                self.keep_former(cluster, former);
                return None;
            }
        };
        let Some(entry) = entry else {
            return self.create(cluster).await;
        };
        match read::<wire::Lease>(&entry) {
            Content::Known(lease) if self.is_of(&lease, &former) => {}
            Content::Rubbish => return self.create(cluster).await,
            Content::Known(_) | Content::Newer | Content::Removed => return None,
        }
        let (number, since) = (former.number, former.since);
        let fence = match &former.session {
            Some(session) => {
                // Its last orders are answered, which have the same fence.
                session.leave_off().await;
                session.fence
            }
            // Without the server's answer it was never renewed.
            None => entry.revision,
        };
        let asked = Instant::now();
        let lease = self.lease(number, since, false);
        let update = self.write(&self.leases, &key, lease, Some(entry.revision));
        let Ok(Ok(revision)) = timeout(self.patience(), update).await else {
            self.buckets.not_wrote(&self.leases.name);
            self.keep_former(cluster, former);
            return None;
        };
        self.buckets.wrote(&self.leases.name);
        let session = LeaseSession::new(fence, number, since, self.term(revision, asked));
        Some(Arc::new(session))
    }

    fn is_of(&self, lease: &wire::Lease, former: &FormerLease) -> bool {
        lease.worker == self.worker.name && lease.tenure == former.number
    }

    /// A lease may be in the bucket that this worker can take back.
    pub(super) fn keep_former(&self, cluster: &ClusterId, former: FormerLease) {
        lock(&self.former).insert(cluster.clone(), former);
    }
}
