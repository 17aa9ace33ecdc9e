//! The actor of one cluster: owns its devices, asks them all, withdraws when nobody waits.
//!
//! It keeps no time: the deadline of a collect is its caller's (`collector`), so that an answer is
//! in time even when this actor is down or its thread is busy.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::Semaphore;

use super::context::ShellContext;
use super::drill::{Drill, Point};
use super::gathering::{InFlight, Share};
use super::messages::{ChildPath, Collect, Probe, Withdraw};
use super::node::NodeActor;
use super::probe::Device;
use super::shell::{Link, Supervised, start};
use super::switch::SwitchActor;
use crate::domain::{Cluster, Topology};
use crate::lookup::Driver;
use crate::telemetry::Metrics;

/// How many devices are asked before others on the arbiter get their turn.
const ASKED_PER_TURN: usize = 1024;

/// What a cluster's actor, and each of its devices' actors, is built from. It outlives them all,
/// and with it what has to survive a crash: how often each device has been asked.
#[derive(Debug)]
pub(crate) struct ClusterSpec {
    pub(super) topology: Arc<Topology>,
    /// The cluster's place in the topology.
    pub(super) place: usize,
    /// Runs of devices that are asked alike: the end of each run, and how.
    pub(super) targets: Box<[(usize, Driver, Duration)]>,
    /// Lookups begun, by device.
    pub(super) asked: Box<[AtomicU32]>,
    /// Room for lookups at a time, if that is limited; first come, first served.
    pub(super) permits: Option<Semaphore>,
    /// How many messages may wait for an actor: two for each collect that may wait.
    pub(super) mailbox: usize,
    pub(super) link: Arc<Link>,
    pub(super) metrics: Metrics,
    pub(super) drill: Option<Arc<Drill>>,
}

impl ClusterSpec {
    pub(super) fn cluster(&self) -> &Cluster {
        &self.topology.clusters()[self.place]
    }

    /// How the device at `index` is asked, and for how long at most.
    pub(super) fn target(&self, index: usize) -> (&Driver, Duration) {
        let run = self.targets.partition_point(|&(end, _, _)| end <= index);
        let (_, driver, timeout) = &self.targets[run];
        (driver, *timeout)
    }

    fn path(&self) -> ChildPath {
        ChildPath::Cluster(self.cluster().id().clone())
    }

    fn pass(&self, point: Point) {
        if let Some(drill) = &self.drill {
            drill.pass(point, &self.path());
        }
    }
}

/// Owns the actors of one cluster's devices. Nobody else holds their addresses, so they end with
/// it; restarted, it starts new ones.
#[derive(Debug)]
pub(crate) struct ClusterActor {
    spec: Arc<ClusterSpec>,
    nodes: Vec<Addr<NodeActor>>,
    switches: Vec<Addr<SwitchActor>>,
    /// Collects whose answer is not complete, oldest first. When this actor dies, their callers
    /// hear at once.
    in_flight: VecDeque<InFlight>,
}

impl Actor for ClusterActor {
    type Context = ShellContext<Self>;

    fn started(&mut self, _: &mut ShellContext<Self>) {
        let cluster = self.spec.cluster();
        let (link, mailbox) = (&self.spec.link, self.spec.mailbox);
        for index in 0..cluster.len() {
            if index == cluster.len() / 2 {
                self.spec.pass(Point::ClusterStarted);
            }
            let device = Device {
                cluster: Arc::clone(&self.spec),
                index,
            };
            if index < cluster.nodes() {
                self.nodes.push(start(device, link, mailbox));
            } else {
                self.switches.push(start(device, link, mailbox));
            }
        }
    }
}

impl Supervised for ClusterActor {
    type Spec = Arc<ClusterSpec>;
    const ROLE: &'static str = "cluster";

    fn new(spec: &Arc<ClusterSpec>) -> Self {
        spec.pass(Point::ClusterNew);
        let cluster = spec.cluster();
        Self {
            spec: Arc::clone(spec),
            nodes: Vec::with_capacity(cluster.nodes()),
            switches: Vec::with_capacity(cluster.len() - cluster.nodes()),
            in_flight: VecDeque::new(),
        }
    }

    fn path(spec: &Arc<ClusterSpec>) -> ChildPath {
        spec.path()
    }
}

impl Drop for ClusterActor {
    fn drop(&mut self) {
        self.spec.pass(Point::ClusterDrop);
    }
}

impl ClusterActor {
    /// Asks up to `count` more devices of a share.
    fn ask(&self, share: &mut Share, count: usize) {
        for _ in 0..count {
            let Some((index, reply)) = share.next_port() else {
                return;
            };
            let half = self.spec.cluster().len() / 2;
            if index == half {
                self.spec.pass(Point::ClusterHandler);
            }
            // A mailbox that is full or closed drops the port, and that answers.
            if index < self.nodes.len() {
                self.nodes[index].try_send(Probe(reply)).ok();
            } else {
                self.switches[index - self.nodes.len()]
                    .try_send(Probe(reply))
                    .ok();
            }
        }
    }
}

impl Handler<Collect> for ClusterActor {
    type Result = ();

    fn handle(&mut self, Collect(mut share): Collect, ctx: &mut ShellContext<Self>) {
        while self.in_flight.front().is_some_and(InFlight::is_over) {
            self.in_flight.pop_front();
        }
        if share.is_settled() {
            // Its deadline passed, or its caller went, while it waited in the mailbox.
            return;
        }
        self.in_flight.push_back(share.in_flight());
        let strikes = |drill: &Arc<Drill>| drill.strikes(Point::ClusterThread, &self.spec.path());
        if self.spec.drill.as_ref().is_some_and(strikes) {
            Arbiter::current().stop();
        }
        self.ask(&mut share, ASKED_PER_TURN);
        if share.has_more() {
            ctx.spawn(AskRest { share });
        }
    }
}

impl Handler<Withdraw> for ClusterActor {
    type Result = ();

    fn handle(&mut self, withdraw: Withdraw, _: &mut ShellContext<Self>) {
        let found = self
            .in_flight
            .iter()
            .position(|it| it.collect() == withdraw.collect);
        let Some(in_flight) = found.and_then(|index| self.in_flight.remove(index)) else {
            return;
        };
        for index in in_flight.closed_by(&withdraw.fault) {
            // A device that does not take it ends its lookup by its own timeout.
            if index < self.nodes.len() {
                self.nodes[index].try_send(withdraw.clone()).ok();
            } else {
                self.switches[index - self.nodes.len()]
                    .try_send(withdraw.clone())
                    .ok();
            }
        }
    }
}

/// Asks the rest of a large cluster, some devices a turn.
struct AskRest {
    share: Share,
}

impl ActorFuture<ClusterActor> for AskRest {
    type Output = ();

    fn poll(
        mut self: Pin<&mut Self>,
        actor: &mut ClusterActor,
        _: &mut ShellContext<ClusterActor>,
        task: &mut TaskContext<'_>,
    ) -> Poll<()> {
        if self.share.is_settled() {
            return Poll::Ready(());
        }
        actor.ask(&mut self.share, ASKED_PER_TURN);
        if self.share.has_more() {
            task.waker().wake_by_ref();
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    }
}
