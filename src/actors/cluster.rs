//! The actor of one cluster: owns its devices' actors, asks them all, follows the schedule.
//!
//! It keeps no deadline: that of a collect is its caller's (`collector`), so that an answer is in
//! time even when this actor is down or its thread is busy.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use actix::dev::ToEnvelope;
use actix::prelude::*;
use tokio::sync::oneshot;
use tokio::time::Interval;

use super::context::ShellContext;
use super::device::Device;
use super::drill::{Act, Point};
use super::gathering::{InFlight, Share};
use super::health::Child;
use super::messages::{Collect, Leave, Probe, Reload, Rest, Tick, Withdraw};
use super::node::NodeActor;
use super::panics::blaming;
use super::plan::{ClusterSpec, Plan};
use super::schedule::Ticker;
use super::shell::{BuildError, Supervised, start};
use super::switch::SwitchActor;
use crate::domain::{Fault, FaultKind};

/// How many devices are asked before others on the arbiter get their turn.
const ASKED_PER_TURN: usize = 1024;

/// How often an actor that is to come to rest looks whether it does.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// How many messages may wait for one actor. Far more than `max_waiting` lets come at a time, so
/// one that is full belongs to an actor whose thread is stuck.
pub(super) const MAILBOX: usize = 1 << 20;

/// The actors of a plan's devices. Whoever holds it keeps them running: the cluster's actor, and
/// what runs in it.
#[derive(Debug, Default)]
struct Roster {
    plan: Arc<Plan>,
    nodes: Box<[Addr<NodeActor>]>,
    switches: Box<[Addr<SwitchActor>]>,
}

impl Roster {
    /// Gives the device at `index` a message.
    fn send<M>(&self, index: usize, message: M)
    where
        M: Message<Result = ()> + Send + 'static,
        NodeActor: Handler<M>,
        SwitchActor: Handler<M>,
    {
        match index.checked_sub(self.nodes.len()) {
            None => deliver(&self.nodes[index], message),
            Some(switch) => deliver(&self.switches[switch], message),
        }
    }
}

/// A plan's actors as they are gathered: those that run already, and new ones for the other devices.
struct Adoption {
    plan: Arc<Plan>,
    /// Those that run already.
    rosters: Vec<Arc<Roster>>,
    /// Where the actor of a device is that runs already: its roster, and its place in that one's plan.
    known: HashMap<*const Device, (usize, usize)>,
    nodes: Vec<Addr<NodeActor>>,
    switches: Vec<Addr<SwitchActor>>,
    /// Where a drill makes the start of the cluster's actor go wrong; `None` if that has started.
    drilled_at: Option<usize>,
}

impl Adoption {
    fn new(plan: Arc<Plan>, rosters: Vec<Arc<Roster>>) -> Self {
        let mut known = HashMap::new();
        for (at, roster) in rosters.iter().enumerate() {
            let devices = roster.plan.devices.iter().map(Arc::as_ptr);
            known.extend(devices.zip((0..).map(|place| (at, place))));
        }
        Self {
            plan,
            rosters,
            known,
            nodes: Vec::new(),
            switches: Vec::new(),
            drilled_at: None,
        }
    }

    /// Gathers some more; returns whether these are all.
    fn go_on(&mut self, spec: &ClusterSpec, ctx: &mut ShellContext<ClusterActor>) -> bool {
        let link = &spec.base.link;
        let (nodes, devices) = (self.plan.nodes(), &self.plan.devices);
        let from = self.nodes.len() + self.switches.len();
        let to = (from + ASKED_PER_TURN).min(devices.len());
        for (place, device) in (from..to).zip(&devices[from..to]) {
            if self.drilled_at == Some(place) && spec.pass(Point::Started) == Some(Act::Stop) {
                ctx.stop();
            }
            let known = self.known.get(&Arc::as_ptr(device));
            let known = known.map(|&(roster, place)| (&self.rosters[roster], place));
            if place < nodes {
                let actor = known.map(|(roster, place)| roster.nodes[place].clone());
                let new = || start(Arc::clone(device), link, MAILBOX);
                self.nodes.push(actor.unwrap_or_else(new));
            } else {
                let place = |roster: &Roster, place: usize| place - roster.nodes.len();
                let actor = known.map(|(it, at)| it.switches[place(it, at)].clone());
                let new = || start(Arc::clone(device), link, MAILBOX);
                self.switches.push(actor.unwrap_or_else(new));
            }
        }
        to == devices.len()
    }

    fn roster(self) -> Arc<Roster> {
        Arc::new(Roster {
            plan: self.plan,
            nodes: self.nodes.into(),
            switches: self.switches.into(),
        })
    }
}

/// Sends a message that answers for itself when it is dropped.
pub(crate) fn deliver<A, M>(to: &Addr<A>, message: M)
where
    A: Actor + Handler<M>,
    A::Context: ToEnvelope<A, M>,
    M: Message<Result = ()> + Send + 'static,
{
    let (why, message) = match to.try_send(message) {
        Ok(()) => return,
        Err(SendError::Full(message)) => (
            "its actor does not keep up: too many messages are waiting",
            message,
        ),
        Err(SendError::Closed(message)) => ("the thread that ran its actor ended", message),
    };
    blaming(Arc::new(Fault::new(FaultKind::Crashed, why)), || {
        drop(message);
    });
}

/// Owns the actors of one cluster's devices. Nobody else holds their addresses, so they end with
/// it; restarted, it starts new ones.
#[derive(Debug)]
pub(crate) struct ClusterActor {
    spec: Arc<ClusterSpec>,
    roster: Arc<Roster>,
    /// Collects whose answer is not complete, oldest first. When this actor dies, their callers
    /// hear at once.
    in_flight: VecDeque<Going>,
    ticker: Option<SpawnHandle>,
}

/// A collect under way, and whom it asks: after a reload not the devices that there are now.
#[derive(Debug)]
struct Going {
    in_flight: InFlight,
    roster: Arc<Roster>,
}

impl Actor for ClusterActor {
    type Context = ShellContext<Self>;

    fn started(&mut self, ctx: &mut ShellContext<Self>) {
        if self.spec.left().is_some() {
            return;
        }
        let mut adoption = self.adoption(self.spec.plan());
        adoption.drilled_at = Some(adoption.plan.devices.len() / 2);
        self.adopt(adoption, None, ctx);
    }

    fn stopping(&mut self, _: &mut ShellContext<Self>) -> Running {
        self.spec.pass(Point::Stopping);
        Running::Stop
    }
}

impl Supervised for ClusterActor {
    type Spec = ClusterSpec;
    const ROLE: &'static str = "cluster";

    fn new(spec: &Arc<ClusterSpec>) -> Result<Self, BuildError> {
        BuildError::drilled(spec.pass(Point::New))?;
        Ok(Self {
            spec: Arc::clone(spec),
            roster: Arc::default(),
            in_flight: VecDeque::new(),
            ticker: None,
        })
    }
}

impl Drop for ClusterActor {
    fn drop(&mut self) {
        if self.ticker.is_some() {
            self.spec.schedule_left();
        }
        self.spec.pass(Point::Drop);
    }
}

impl ClusterActor {
    /// The actors for a plan, to be gathered.
    fn adoption(&self, plan: Arc<Plan>) -> Adoption {
        let mut rosters: Vec<Arc<Roster>> = Vec::new();
        let known = self.in_flight.iter().map(|going| &going.roster);
        for roster in known.chain([&self.roster]) {
            // Collects in a row mostly share their roster.
            if !rosters.last().is_some_and(|last| Arc::ptr_eq(last, roster)) {
                rosters.push(Arc::clone(roster));
            }
        }
        Adoption::new(plan, rosters)
    }

    /// Gathers the actors for a plan, and then has the share of a collect asked if there is one. A
    /// large cluster does so in turns, and takes no message meanwhile.
    fn adopt(
        &mut self,
        mut adoption: Adoption,
        share: Option<Share>,
        ctx: &mut ShellContext<Self>,
    ) {
        if adoption.go_on(&self.spec, ctx) {
            self.adopted(adoption, share, ctx);
        } else {
            let adoption = Some(adoption);
            ctx.wait(AdoptRest { adoption, share });
        }
    }

    /// A plan's actors are there.
    fn adopted(&mut self, adoption: Adoption, share: Option<Share>, ctx: &mut ShellContext<Self>) {
        let roster = adoption.roster();
        if Arc::ptr_eq(&roster.plan, &self.spec.plan()) {
            // Devices that are not in it end with the collects that ask them.
            self.roster = Arc::clone(&roster);
            let in_flight = self.in_flight.iter();
            let over: Vec<_> = in_flight.filter_map(|it| it.in_flight.over()).collect();
            self.forget_when(over, ctx);
            self.schedule(ctx);
        }
        if let Some(share) = share {
            self.take(share, roster, ctx);
        }
    }

    /// Follows the schedule that the spec has now.
    fn schedule(&mut self, ctx: &mut ShellContext<Self>) {
        if let Some(ticker) = self.ticker.take() {
            ctx.cancel_future(ticker);
        }
        let (every, ticked) = self.spec.take_schedule();
        self.ticker = every.map(|every| {
            let devices = &self.roster.plan.devices;
            let ticker = Ticker::new(&self.spec.base.id, devices, every, ticked);
            let spec = Arc::clone(&self.spec);
            ctx.spawn(Ticking { ticker, spec })
        });
    }

    /// Lets go of the devices that only these collects ask, when they are over.
    fn forget_when(
        &mut self,
        over: impl IntoIterator<Item = oneshot::Receiver<()>>,
        ctx: &mut ShellContext<Self>,
    ) {
        let over = futures::future::join_all(over).into_actor(self);
        ctx.spawn(over.map(|_, this, _| this.forget_over()));
    }

    /// Asks up to `count` more devices of a share.
    fn ask(&self, share: &mut Share, roster: &Roster, count: usize) {
        for _ in 0..count {
            let Some((index, mut reply)) = share.next_port() else {
                return;
            };
            if reply.is_forced() && !roster.plan.devices[index].force() {
                reply = reply.unforced();
            }
            roster.send(index, Probe(reply));
        }
    }

    /// Forgets the collects that are over; the devices that only they asked end with that.
    fn forget_over(&mut self) {
        self.in_flight.retain(|going| !going.in_flight.is_over());
    }
}

impl Handler<Collect> for ClusterActor {
    type Result = ();

    fn handle(&mut self, Collect(mut share): Collect, ctx: &mut ShellContext<Self>) {
        share.take_up();
        if let Some(fault) = self.spec.left() {
            blaming(Arc::clone(fault), || drop(share));
            return;
        }
        while self
            .in_flight
            .front()
            .is_some_and(|it| it.in_flight.is_over())
        {
            self.in_flight.pop_front();
        }
        // A collect that began just before a reload may come just after it, or the other way.
        if Arc::ptr_eq(share.plan(), &self.roster.plan) {
            let roster = Arc::clone(&self.roster);
            self.take(share, roster, ctx);
        } else if !share.is_settled() {
            let adoption = self.adoption(Arc::clone(share.plan()));
            self.adopt(adoption, Some(share), ctx);
        }
    }
}

impl ClusterActor {
    /// Asks the devices of a share, the first of them now.
    fn take(&mut self, mut share: Share, roster: Arc<Roster>, ctx: &mut ShellContext<Self>) {
        if share.is_settled() {
            // Its deadline passed, or its caller went, while it waited.
            return;
        }
        let in_flight = share.in_flight();
        if !Arc::ptr_eq(&roster, &self.roster) {
            self.forget_when(in_flight.over(), ctx);
        }
        self.in_flight.push_back(Going {
            in_flight,
            roster: Arc::clone(&roster),
        });
        let half = (roster.plan.devices.len() / 2).min(ASKED_PER_TURN);
        self.ask(&mut share, &roster, half);
        match self.spec.pass(Point::Handler) {
            Some(Act::EndThread) => {
                Arbiter::current().stop();
            }
            Some(Act::Stop) => ctx.stop(),
            Some(Act::Panic | Act::Error | Act::Block) | None => {}
        }
        self.ask(&mut share, &roster, ASKED_PER_TURN - half);
        if share.has_more() {
            ctx.spawn(AskRest { share, roster });
        }
        self.spec.health().worked();
    }
}

impl Handler<Withdraw> for ClusterActor {
    type Result = ();

    fn handle(&mut self, withdraw: Withdraw, ctx: &mut ShellContext<Self>) {
        let is_it = |going: &Going| going.in_flight.collect() == withdraw.collect;
        let found = self.in_flight.iter().position(is_it);
        let Some(going) = found.and_then(|index| self.in_flight.remove(index)) else {
            return;
        };
        let devices = going.in_flight.closed_by(&withdraw.fault).into_iter();
        let mut rest = WithdrawRest {
            devices,
            roster: going.roster,
            withdraw,
        };
        if rest.tell() {
            ctx.spawn(rest);
        }
    }
}

/// Tells the devices that nobody waits for them any more, some a turn. A device that does not take it
/// ends its lookup by its own timeout.
struct WithdrawRest {
    devices: std::vec::IntoIter<usize>,
    roster: Arc<Roster>,
    withdraw: Withdraw,
}

impl WithdrawRest {
    /// Tells some more; returns whether there may be others.
    fn tell(&mut self) -> bool {
        for index in self.devices.by_ref().take(ASKED_PER_TURN) {
            self.roster.send(index, self.withdraw.clone());
        }
        self.devices.len() > 0
    }
}

impl ActorFuture<ClusterActor> for WithdrawRest {
    type Output = ();

    fn poll(
        mut self: Pin<&mut Self>,
        _: &mut ClusterActor,
        _: &mut ShellContext<ClusterActor>,
        task: &mut TaskContext<'_>,
    ) -> Poll<()> {
        if self.tell() {
            task.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(())
    }
}

impl Handler<Reload> for ClusterActor {
    type Result = ();

    fn handle(&mut self, _: Reload, ctx: &mut ShellContext<Self>) {
        if self.spec.left().is_some() {
            return;
        }
        let plan = self.spec.plan();
        if Arc::ptr_eq(&plan, &self.roster.plan) {
            self.schedule(ctx);
        } else {
            let adoption = self.adoption(plan);
            self.adopt(adoption, None, ctx);
        }
    }
}

impl Handler<Leave> for ClusterActor {
    type Result = ();

    fn handle(&mut self, Leave(gone): Leave, ctx: &mut ShellContext<Self>) {
        let Some(fault) = self.spec.left().map(Arc::clone) else {
            return;
        };
        if let Some(ticker) = self.ticker.take() {
            ctx.cancel_future(ticker);
        }
        let roster = std::mem::take(&mut self.roster);
        let in_flight = std::mem::take(&mut self.in_flight);
        // Their actors end with this, and what they do with them: they are woken by it, and have had
        // their turn when a task that is begun now has had two.
        blaming(fault, || drop((in_flight, roster)));
        actix::spawn(async move {
            for _ in 0..2 {
                tokio::task::yield_now().await;
            }
            // Nobody may wait for it.
            gone.send(()).ok();
        });
    }
}

impl Handler<Rest> for ClusterActor {
    type Result = ();

    fn handle(&mut self, Rest(rests): Rest, ctx: &mut ShellContext<Self>) {
        if let Some(ticker) = self.ticker.take() {
            ctx.cancel_future(ticker);
        }
        ctx.spawn(Resting {
            looks: tokio::time::interval(LOOK_EVERY),
            rests: Some(rests),
        });
    }
}

/// Says when no collect waits for a device any more.
struct Resting {
    looks: Interval,
    rests: Option<oneshot::Sender<()>>,
}

impl ActorFuture<ClusterActor> for Resting {
    type Output = ();

    fn poll(
        mut self: Pin<&mut Self>,
        actor: &mut ClusterActor,
        _: &mut ShellContext<ClusterActor>,
        task: &mut TaskContext<'_>,
    ) -> Poll<()> {
        loop {
            if actor.in_flight.iter().all(|it| it.in_flight.is_settled()) {
                if let Some(rests) = self.rests.take() {
                    // Nobody may wait for it.
                    rests.send(()).ok();
                }
                return Poll::Ready(());
            }
            if self.looks.poll_tick(task).is_pending() {
                return Poll::Pending;
            }
        }
    }
}

/// Gathers the rest of a large plan's actors, some a turn.
struct AdoptRest {
    /// `None` when it is over.
    adoption: Option<Adoption>,
    share: Option<Share>,
}

impl ActorFuture<ClusterActor> for AdoptRest {
    type Output = ();

    fn poll(
        mut self: Pin<&mut Self>,
        actor: &mut ClusterActor,
        ctx: &mut ShellContext<ClusterActor>,
        task: &mut TaskContext<'_>,
    ) -> Poll<()> {
        let Some(mut adoption) = self.adoption.take() else {
            return Poll::Ready(());
        };
        let share = self.share.take();
        if let Some(fault) = actor.spec.left() {
            blaming(Arc::clone(fault), || drop(share));
            return Poll::Ready(());
        }
        let is_needed = share.as_ref().is_some_and(|share| !share.is_settled());
        if !is_needed && !Arc::ptr_eq(&adoption.plan, &actor.spec.plan()) {
            // Of another reload, which is in the mailbox or comes there.
            return Poll::Ready(());
        }
        if adoption.go_on(&actor.spec, ctx) {
            actor.adopted(adoption, share, ctx);
            return Poll::Ready(());
        }
        (self.adoption, self.share) = (Some(adoption), share);
        task.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Asks the rest of a large cluster, some devices a turn.
struct AskRest {
    share: Share,
    roster: Arc<Roster>,
}

impl ActorFuture<ClusterActor> for AskRest {
    type Output = ();

    fn poll(
        mut self: Pin<&mut Self>,
        actor: &mut ClusterActor,
        _: &mut ShellContext<ClusterActor>,
        task: &mut TaskContext<'_>,
    ) -> Poll<()> {
        actor.spec.pass(Point::Item);
        if self.share.is_settled() {
            return Poll::Ready(());
        }
        if let Some(fault) = actor.spec.left() {
            self.share.answer_rest(fault);
            return Poll::Ready(());
        }
        let Self { share, roster } = &mut *self;
        actor.ask(share, roster, ASKED_PER_TURN);
        if self.share.has_more() {
            task.waker().wake_by_ref();
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    }
}

/// Follows the schedule, for ever.
struct Ticking {
    ticker: Ticker,
    spec: Arc<ClusterSpec>,
}

impl Drop for Ticking {
    fn drop(&mut self) {
        let metrics = &self.spec.base.metrics;
        metrics.tick_skipped(self.ticker.take_missed());
    }
}

impl ActorFuture<ClusterActor> for Ticking {
    type Output = ();

    fn poll(
        mut self: Pin<&mut Self>,
        actor: &mut ClusterActor,
        _: &mut ShellContext<ClusterActor>,
        task: &mut TaskContext<'_>,
    ) -> Poll<()> {
        let metrics = &actor.spec.base.metrics;
        metrics.tick_skipped(self.ticker.take_missed());
        for _ in 0..ASKED_PER_TURN {
            match self.ticker.poll_next(task) {
                Poll::Ready(device) => actor.roster.send(device, Tick::new(metrics.clone())),
                Poll::Pending => {
                    metrics.tick_skipped(self.ticker.take_missed());
                    return Poll::Pending;
                }
            }
        }
        task.waker().wake_by_ref();
        Poll::Pending
    }
}
