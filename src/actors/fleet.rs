//! The whole tree: arbiters, the supervisor, and the clusters' actors spread over them.
//!
//! It knows where each cluster's actor lives. If an arbiter's thread ends, it starts another one
//! with the same clusters.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use actix::prelude::*;
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::cluster::{ClusterActor, ClusterSpec};
use super::drill::Drill;
use super::panics::guard;
use super::shell::{Link, start_on};
use super::supervisor::{SupervisorSpec, start_supervisor};
use crate::domain::{Backoff, Cluster, SupervisionPolicy, Topology};
use crate::lookup::Driver;
use crate::telemetry::Metrics;

/// How the devices of a run are asked: where the run ends, the driver, the timeout.
pub(crate) type Targets = Vec<(usize, Driver, std::time::Duration)>;

/// Everything the tree is built from.
#[derive(Debug)]
pub(crate) struct FleetSpec {
    pub(crate) clusters: Vec<(Cluster, Targets)>,
    pub(crate) max_concurrent: Option<usize>,
    pub(crate) max_waiting: usize,
    pub(crate) policy: SupervisionPolicy,
    /// How many arbiters, at most one for each cluster.
    pub(crate) arbiters: usize,
    pub(crate) metrics: Metrics,
    pub(crate) drill: Option<Arc<Drill>>,
}

/// Where to send what: the topology, and its clusters' actors in the same order.
#[derive(Debug, Clone)]
pub(crate) struct Routes {
    pub(crate) topology: Arc<Topology>,
    pub(crate) clusters: Vec<Addr<ClusterActor>>,
}

/// The running tree. Dropping it ends all of it.
#[derive(Debug)]
pub(crate) struct Fleet {
    routes: watch::Receiver<Arc<Routes>>,
    keepers: Vec<JoinHandle<()>>,
}

impl Fleet {
    /// Starts everything; the supervisor on the current arbiter.
    ///
    /// # Panics
    /// Outside of an actix `System`, or if a thread cannot be started.
    pub(crate) fn start(spec: FleetSpec) -> Self {
        let FleetSpec {
            clusters,
            policy,
            metrics,
            drill,
            ..
        } = spec;
        let supervisor = SupervisorSpec {
            policy,
            drill: drill.clone(),
        };
        let link = start_supervisor(supervisor, &metrics);
        let (clusters, targets): (Vec<_>, Vec<_>) = clusters.into_iter().unzip();
        let topology = Arc::new(Topology::new(clusters));
        let cluster_spec = |(place, targets): (usize, Targets)| {
            let devices = topology.clusters()[place].len();
            Arc::new(ClusterSpec {
                topology: Arc::clone(&topology),
                place,
                targets: targets.into_boxed_slice(),
                asked: (0..devices).map(|_| AtomicU32::new(0)).collect(),
                permits: spec.max_concurrent.map(Semaphore::new),
                mailbox: spec.max_waiting.saturating_mul(2).min(MAX_MAILBOX),
                link: Arc::clone(&link),
                metrics: metrics.clone(),
                drill: drill.clone(),
            })
        };
        let specs: Vec<_> = targets.into_iter().enumerate().map(cluster_spec).collect();
        let arbiters = spec.arbiters.clamp(1, specs.len().max(1));
        let mut keepers: Vec<Keeper> = spread(&specs, arbiters)
            .into_iter()
            .map(|specs| Keeper {
                specs,
                link: Arc::clone(&link),
                backoff: policy.backoff,
            })
            .collect();
        let mut addresses: Vec<Option<Addr<ClusterActor>>> = vec![None; specs.len()];
        let mut ends = Vec::with_capacity(arbiters);
        for keeper in &mut keepers {
            let (clusters, end) = keeper.start();
            ends.push(end);
            for (place, address) in clusters {
                addresses[place] = Some(address);
            }
        }
        let clusters = addresses.into_iter().flatten().collect();
        let (sender, routes) = watch::channel(Arc::new(Routes { topology, clusters }));
        let sender = Arc::new(sender);
        let keep =
            |(keeper, end): (Keeper, Running)| actix::spawn(keeper.keep(end, Arc::clone(&sender)));
        let keepers = keepers.into_iter().zip(ends).map(keep).collect();
        Self { routes, keepers }
    }

    /// Where to send what, also after an arbiter was replaced.
    pub(crate) fn routes(&self) -> watch::Receiver<Arc<Routes>> {
        self.routes.clone()
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        // A keeper that is dropped stops its arbiter.
        for keeper in &self.keepers {
            keeper.abort();
        }
    }
}

/// The largest mailbox: actix allows a quarter of the address space, this is more than anyone needs.
const MAX_MAILBOX: usize = 1 << 32;

/// Distributes clusters over arbiters: the largest first, each to the arbiter with the fewest
/// devices so far.
fn spread(specs: &[Arc<ClusterSpec>], arbiters: usize) -> Vec<Vec<Arc<ClusterSpec>>> {
    let mut by_size: Vec<&Arc<ClusterSpec>> = specs.iter().collect();
    by_size.sort_by_key(|spec| Reverse(spec.cluster().len()));
    let mut load: BinaryHeap<Reverse<(usize, usize)>> =
        (0..arbiters).map(|arbiter| Reverse((0, arbiter))).collect();
    let mut spread = vec![Vec::new(); arbiters];
    for spec in by_size {
        if let Some(Reverse((devices, arbiter))) = load.pop() {
            load.push(Reverse((devices + spec.cluster().len(), arbiter)));
            spread[arbiter].push(Arc::clone(spec));
        }
    }
    spread
}

/// Keeps one arbiter's clusters running, on another arbiter if need be.
struct Keeper {
    specs: Vec<Arc<ClusterSpec>>,
    link: Arc<Link>,
    backoff: Backoff,
}

/// An arbiter that runs, and how one learns that it does not any more.
struct Running {
    arbiter: Arbiter,
    since: Instant,
    /// Resolves when the arbiter's thread drops its tasks.
    ended: oneshot::Receiver<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        // Fails only if it has ended already.
        self.arbiter.stop();
    }
}

impl Keeper {
    /// Starts an arbiter with the clusters on it; gives their addresses by place.
    fn start(&self) -> (Vec<(usize, Addr<ClusterActor>)>, Running) {
        let arbiter = Arbiter::new();
        let (sender, ended) = oneshot::channel::<()>();
        arbiter.spawn(async move {
            // Held by a task that never ends, and so dropped with the thread's tasks.
            let _held = sender;
            std::future::pending::<()>().await;
        });
        let handle = arbiter.handle();
        let start = |spec: &Arc<ClusterSpec>| {
            let address = start_on(&handle, Arc::clone(spec), &self.link, spec.mailbox);
            (spec.place, address)
        };
        let addresses = self.specs.iter().map(start).collect();
        (
            addresses,
            Running {
                arbiter,
                since: Instant::now(),
                ended,
            },
        )
    }

    /// Waits for the arbiter to end, and starts the clusters on another one; for ever.
    async fn keep(self, mut running: Running, routes: Arc<watch::Sender<Arc<Routes>>>) {
        let mut failures = 0;
        loop {
            if !running.ended.is_terminated() {
                // An error is the news: the sender was dropped.
                (&mut running.ended).await.ok();
            }
            failures = if running.since.elapsed() > self.backoff.max {
                1
            } else {
                failures + 1
            };
            let wait = self.backoff.delay(failures, rand::random());
            let backoff_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
            let clusters = self.specs.len();
            log::warn!(clusters, reason = "thread ended", backoff_ms; "arbiter failed, replacing it");
            tokio::time::sleep(wait).await;
            // The system may have no thread left to give; then there is another try later.
            let Ok((addresses, next)) = guard("fleet", || self.start()) else {
                continue;
            };
            running = next;
            routes.send_modify(|current| {
                let mut next = Routes::clone(current);
                for (place, address) in addresses {
                    next.clusters[place] = address;
                }
                *current = Arc::new(next);
            });
        }
    }
}
