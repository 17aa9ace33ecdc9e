//! The actor of one cluster: owns its devices' actors, asks them all, follows the schedule.
//!
//! It keeps no deadline: that of a collect is its caller's (`collector`), so that an answer is in
//! time even when this actor is down or its thread is busy.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::oneshot;
use tokio::time::Interval;

use super::client_queue::ClientQueue;
use super::messages::{Collect, Drain, Probe, Reload, Stop, Tick, Withdraw};
use super::schedule::Ticker;
use super::withdrawal::{ClusterCollect, Withdrawals};
use crate::domain::ITEMS_PER_TURN;
use crate::engine::cluster_devices::{ClusterDevices, DeviceStart};
use crate::engine::cluster_spec::{ClusterSpec, DeviceList};
use crate::engine::gather::ClusterTicket;
use crate::supervision::catch_panic::with_drop_reason;
use crate::supervision::context::ShellContext;
use crate::supervision::failpoints::{FailAction, Failpoint};
use crate::supervision::health::Child;
use crate::supervision::shell::{BuildError, Supervised};

/// How often an actor that is to come to rest looks whether it does.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Owns the actors of one cluster's devices. Nobody else holds their addresses, so they end with
/// it; restarted, it starts new ones.
#[derive(Debug)]
pub(crate) struct ClusterActor {
    spec: Arc<ClusterSpec>,
    roster: Arc<ClusterDevices>,
    /// Collects whose answer is not complete, oldest first. When this actor dies, their callers
    /// hear at once.
    in_flight: VecDeque<ClusterCollect>,
    /// What is left to ask. Empty as long as there are devices left that may be asked at once.
    asking: ClientQueue<Asking>,
    /// How many devices may be asked at once: before others on the arbiter have had their turn.
    may_ask: usize,
    /// [`WithdrawRest`] runs as long as there are some.
    withdrawals: Withdrawals,
    ticker: Option<SpawnHandle>,
}

/// A share of which devices are left to ask.
#[derive(Debug)]
struct Asking {
    ticket: ClusterTicket,
    roster: Arc<ClusterDevices>,
}

impl Actor for ClusterActor {
    type Context = ShellContext<Self>;

    fn started(&mut self, ctx: &mut ShellContext<Self>) {
        if self.spec.left().is_some() {
            return;
        }
        let mut device_start = self.device_start(self.spec.plan());
        device_start.fails_at = Some(device_start.plan.devices.len() / 2);
        self.adopt(device_start, None, ctx);
    }

    fn stopping(&mut self, _: &mut ShellContext<Self>) -> Running {
        self.spec.pass(Failpoint::Stopping);
        Running::Stop
    }

    fn stopped(&mut self, _: &mut ShellContext<Self>) {
        self.forget_over();
        std::mem::take(&mut self.roster).let_go();
    }
}

impl Supervised for ClusterActor {
    type Spec = ClusterSpec;

    fn new(spec: &Arc<ClusterSpec>) -> Result<Self, BuildError> {
        BuildError::at_failpoint(spec.pass(Failpoint::New))?;
        Ok(Self {
            spec: Arc::clone(spec),
            roster: Arc::default(),
            in_flight: VecDeque::new(),
            asking: ClientQueue::default(),
            may_ask: ITEMS_PER_TURN,
            withdrawals: Withdrawals::default(),
            ticker: None,
        })
    }
}

impl Drop for ClusterActor {
    fn drop(&mut self) {
        if self.ticker.is_some() {
            self.spec.schedule_left();
        }
        self.spec.pass(Failpoint::Drop);
    }
}

impl ClusterActor {
    /// The rosters in use, some more than once; that of the present plan is first.
    fn rosters(&self) -> impl Iterator<Item = &Arc<ClusterDevices>> {
        let collect = self.in_flight.iter().chain(self.withdrawals.iter());
        let others = collect.map(|it| &it.roster);
        let asking = self.asking.iter().map(|it| &it.roster);
        [&self.roster].into_iter().chain(others).chain(asking)
    }

    /// The rosters in use: few, mostly one for each plan.
    fn distinct_rosters(&self) -> Vec<Arc<ClusterDevices>> {
        let mut rosters: Vec<Arc<ClusterDevices>> = Vec::new();
        for roster in self.rosters() {
            if !rosters.iter().any(|it| Arc::ptr_eq(it, roster)) {
                rosters.push(Arc::clone(roster));
            }
        }
        rosters
    }

    /// The actors for a plan, to be gathered.
    fn device_start(&self, plan: Arc<DeviceList>) -> DeviceStart {
        DeviceStart::new(plan, self.distinct_rosters())
    }

    /// Gathers the actors for a plan, and then has the share of a collect asked if there is one. A
    /// large cluster does so in turns, and takes no message meanwhile.
    fn adopt(
        &mut self,
        mut device_start: DeviceStart,
        ticket: Option<ClusterTicket>,
        ctx: &mut ShellContext<Self>,
    ) {
        if device_start.go_on(&self.spec, || ctx.stop()) {
            self.adopted(device_start, ticket, ctx);
        } else {
            let device_start = Some(device_start);
            ctx.wait(AdoptRest {
                device_start,
                ticket,
            });
        }
    }

    /// A plan's actors are there.
    fn adopted(
        &mut self,
        device_start: DeviceStart,
        ticket: Option<ClusterTicket>,
        ctx: &mut ShellContext<Self>,
    ) {
        let roster = device_start.roster();
        if Arc::ptr_eq(&roster.plan, &self.spec.plan()) {
            // Devices that are not in it end with the collects that ask them.
            std::mem::replace(&mut self.roster, Arc::clone(&roster)).let_go();
            let in_flight = self.in_flight.iter();
            let over: Vec<_> = in_flight.filter_map(|it| it.in_flight.over()).collect();
            self.forget_when(over, ctx);
            self.schedule(ctx);
        }
        match ticket {
            Some(ticket) => self.take(ticket, roster, ctx),
            None => roster.let_go(),
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

    /// Asks up to `count` more devices of a share; gives how many that were.
    fn ask(ticket: &mut ClusterTicket, roster: &ClusterDevices, count: usize) -> usize {
        for asked in 0..count {
            let Some((index, mut port)) = ticket.next_port() else {
                return asked;
            };
            if port.is_forced() && !roster.plan.devices[index].force() {
                port = port.unforced();
            }
            roster.send(index, Probe(port));
        }
        count
    }

    /// Remembers a collect. If there is no room for it, those that are over are forgotten: so however
    /// many come and go while another one waits, memory is that of those under way at once.
    fn remember(&mut self, collect: ClusterCollect) {
        let room = self.in_flight.capacity();
        if self.in_flight.len() == room {
            self.forget_over();
            if self.in_flight.len() > room / 2 {
                // The next look comes only after as many have come.
                self.in_flight.reserve(room);
            }
        }
        self.in_flight.push_back(collect);
    }

    /// Forgets the collects that are over; the devices that only they asked end with that.
    fn forget_over(&mut self) {
        for _ in 0..self.in_flight.len() {
            match self.in_flight.pop_front() {
                Some(collect) if collect.in_flight.is_over() => collect.roster.let_go(),
                collect => self.in_flight.extend(collect),
            }
        }
    }

    /// Tells some more devices of collects that were withdrawn; returns whether there may be others.
    fn withdraw_some(&mut self) -> bool {
        if self.withdrawals.is_between_rounds() {
            // Each turn of a round goes through all that are remembered.
            self.forget_over();
        }
        self.withdrawals.go_on(&self.in_flight)
    }
}

impl Handler<Collect> for ClusterActor {
    type Result = ();

    fn handle(&mut self, Collect(mut ticket): Collect, ctx: &mut ShellContext<Self>) {
        ticket.take_up();
        if let Some(fault) = self.spec.left() {
            with_drop_reason(Arc::clone(fault), || drop(ticket));
            return;
        }
        // A collect that began before a reload may come after it, also one of another process that has
        // not reloaded yet, or the other way. All of one plan share its roster.
        let has_plan = |it: &&Arc<ClusterDevices>| Arc::ptr_eq(&it.plan, ticket.plan());
        let known = self.rosters().find(has_plan).cloned();
        if let Some(roster) = known {
            self.take(ticket, roster, ctx);
        } else if !ticket.is_settled() {
            let device_start = self.device_start(Arc::clone(ticket.plan()));
            self.adopt(device_start, Some(ticket), ctx);
        }
    }
}

impl ClusterActor {
    /// Asks the devices of a share, the first of them now.
    fn take(
        &mut self,
        mut ticket: ClusterTicket,
        roster: Arc<ClusterDevices>,
        ctx: &mut ShellContext<Self>,
    ) {
        if ticket.is_settled() {
            // Its deadline passed, or its caller went, while it waited.
            roster.let_go();
            return;
        }
        let in_flight = ticket.in_flight();
        if !Arc::ptr_eq(&roster, &self.roster) {
            self.forget_when(in_flight.over(), ctx);
        }
        self.remember(ClusterCollect {
            in_flight,
            roster: Arc::clone(&roster),
        });
        let has_turn = self.may_ask > 0;
        let half = (roster.plan.devices.len() / 2).min(self.may_ask);
        self.may_ask -= Self::ask(&mut ticket, &roster, half);
        match self.spec.pass(Failpoint::Handler) {
            Some(FailAction::EndThread) => {
                Arbiter::current().stop();
            }
            Some(FailAction::Stop) => ctx.stop(),
            Some(FailAction::Panic | FailAction::Error | FailAction::Block) | None => {}
        }
        self.may_ask -= Self::ask(&mut ticket, &roster, self.may_ask);
        if ticket.has_more() {
            let client = ticket.client();
            self.asking.push(client, Asking { ticket, roster });
        }
        if has_turn && self.may_ask == 0 {
            ctx.spawn(AskRest);
        }
        self.spec.health().worked();
    }
}

impl Handler<Withdraw> for ClusterActor {
    type Result = ();

    fn handle(&mut self, withdraw: Withdraw, ctx: &mut ShellContext<Self>) {
        let is_it = |collect: &ClusterCollect| collect.in_flight.collect() == withdraw.collect;
        let found = self.in_flight.iter().position(is_it);
        let Some(collect) = found.and_then(|index| self.in_flight.remove(index)) else {
            return;
        };
        let begins = self.withdrawals.is_empty();
        self.withdrawals.push(collect);
        if begins {
            ctx.spawn(WithdrawRest);
        }
    }
}

/// Tells the devices that no collect waits for them any more, some a turn. A device that does not take
/// it ends its lookup by its own timeout.
struct WithdrawRest;

impl ActorFuture<ClusterActor> for WithdrawRest {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        actor: &mut ClusterActor,
        _: &mut ShellContext<ClusterActor>,
        task: &mut TaskContext<'_>,
    ) -> Poll<()> {
        if actor.withdraw_some() {
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
            let device_start = self.device_start(plan);
            self.adopt(device_start, None, ctx);
        }
    }
}

impl Handler<Stop> for ClusterActor {
    type Result = ();

    fn handle(&mut self, Stop(gone): Stop, ctx: &mut ShellContext<Self>) {
        let Some(fault) = self.spec.left().map(Arc::clone) else {
            return;
        };
        if let Some(ticker) = self.ticker.take() {
            ctx.cancel_future(ticker);
        }
        let rosters = self.distinct_rosters();
        self.roster = Arc::default();
        let in_flight = std::mem::take(&mut self.in_flight);
        let asking = std::mem::take(&mut self.asking);
        let withdrawals = std::mem::take(&mut self.withdrawals);
        with_drop_reason(fault, || drop((in_flight, asking, withdrawals)));
        actix::spawn(async move {
            // The devices' actors end with this, and what they do with them: they are woken by it, and
            // have had their turn when this task has had two more.
            for roster in rosters.into_iter().filter_map(Arc::into_inner) {
                roster.end().await;
            }
            for _ in 0..2 {
                tokio::task::yield_now().await;
            }
            // Nobody may wait for it.
            gone.send(()).ok();
        });
    }
}

impl Handler<Drain> for ClusterActor {
    type Result = ();

    fn handle(&mut self, Drain(rests): Drain, ctx: &mut ShellContext<Self>) {
        if let Some(ticker) = self.ticker.take() {
            ctx.cancel_future(ticker);
        }
        ctx.spawn(Draining {
            looks: tokio::time::interval(LOOK_EVERY),
            rests: Some(rests),
        });
    }
}

/// Says when no collect waits for a device any more.
struct Draining {
    looks: Interval,
    rests: Option<oneshot::Sender<()>>,
}

impl ActorFuture<ClusterActor> for Draining {
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
    device_start: Option<DeviceStart>,
    ticket: Option<ClusterTicket>,
}

impl ActorFuture<ClusterActor> for AdoptRest {
    type Output = ();

    fn poll(
        mut self: Pin<&mut Self>,
        actor: &mut ClusterActor,
        ctx: &mut ShellContext<ClusterActor>,
        task: &mut TaskContext<'_>,
    ) -> Poll<()> {
        let Some(mut device_start) = self.device_start.take() else {
            return Poll::Ready(());
        };
        let ticket = self.ticket.take();
        if let Some(fault) = actor.spec.left() {
            with_drop_reason(Arc::clone(fault), || drop(ticket));
            device_start.roster().let_go();
            return Poll::Ready(());
        }
        let is_needed = ticket.as_ref().is_some_and(|ticket| !ticket.is_settled());
        if !is_needed && !Arc::ptr_eq(&device_start.plan, &actor.spec.plan()) {
            // Of another reload, which is in the mailbox or comes there.
            device_start.roster().let_go();
            return Poll::Ready(());
        }
        if device_start.go_on(&actor.spec, || ctx.stop()) {
            actor.adopted(device_start, ticket, ctx);
            return Poll::Ready(());
        }
        (self.device_start, self.ticket) = (Some(device_start), ticket);
        task.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Asks what is left, some devices a turn. The clients who want that take turns, and so do the collects
/// of each.
struct AskRest;

impl ActorFuture<ClusterActor> for AskRest {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        actor: &mut ClusterActor,
        _: &mut ShellContext<ClusterActor>,
        task: &mut TaskContext<'_>,
    ) -> Poll<()> {
        actor.spec.pass(Failpoint::Item);
        let mut left = ITEMS_PER_TURN;
        while left > 1
            && let Some(Asking { mut ticket, roster }) = actor.asking.pop()
        {
            left -= 1;
            if let Some(fault) = actor.spec.left() {
                ticket.answer_rest(fault);
                break;
            }
            if ticket.is_settled() {
                roster.let_go();
                continue;
            }
            left -= ClusterActor::ask(&mut ticket, &roster, left);
            if ticket.has_more() {
                let client = ticket.client();
                actor.asking.push(client, Asking { ticket, roster });
            }
        }
        if actor.asking.is_empty() {
            actor.may_ask = ITEMS_PER_TURN;
            return Poll::Ready(());
        }
        task.waker().wake_by_ref();
        Poll::Pending
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
        for _ in 0..ITEMS_PER_TURN {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Fault, FaultKind, Topology};
    use crate::engine::canary;
    use crate::engine::gather::{FleetDevices, Gather};
    use crate::engine::messages::{MAILBOX, deliver};
    use crate::supervision::shell::{SupervisionEnv, start};

    /// A cluster that had one device before it was reloaded, and collects that began before.
    struct Reloaded {
        env: Arc<SupervisionEnv>,
        spec: Arc<ClusterSpec>,
        before: Arc<DeviceList>,
        topology: Arc<Topology>,
        fleet_devices: Arc<FleetDevices>,
    }

    impl Reloaded {
        fn new() -> Self {
            let env = canary::env();
            let (spec, topology, fleet_devices) = canary::hidden(&env);
            let before = spec.plan();
            spec.set_plan(Arc::default());
            Self {
                env,
                spec,
                before,
                topology,
                fleet_devices,
            }
        }

        fn start(&self) -> Addr<ClusterActor> {
            start(Arc::clone(&self.spec), &self.env, MAILBOX)
        }

        fn collect(&self, id: u64) -> Arc<Gather> {
            canary::gather(id, &self.topology, &self.fleet_devices)
        }
    }

    fn post(actor: &Addr<ClusterActor>, collect: &Arc<Gather>) {
        deliver(actor, Collect(collect.ticket(0, 0, None)));
    }

    /// Waits until all collects that it had have their outcomes.
    async fn rested(actor: &Addr<ClusterActor>) {
        let (rests, rested) = oneshot::channel();
        deliver(actor, Drain(rests));
        rested.await.unwrap();
    }

    #[actix_web::test]
    async fn collects_of_one_old_plan_share_their_roster() {
        tokio::time::pause();
        let cluster = Reloaded::new();
        let holders = Arc::strong_count(&cluster.before);
        let actor = cluster.start();
        let collects: Vec<_> = (0..3).map(|id| cluster.collect(id)).collect();
        for collect in &collects {
            post(&actor, collect);
        }
        rested(&actor).await;
        assert_eq!(Arc::strong_count(&cluster.before), holders + 1);
        assert_eq!(cluster.before.devices[0].asked(), 1, "they join one lookup");
    }

    #[actix_web::test]
    async fn a_device_of_withdrawn_collects_is_not_asked_by_two_actors() {
        tokio::time::pause();
        let cluster = Reloaded::new();
        let device = &cluster.before.devices[0];
        let actor = cluster.start();
        let first = cluster.collect(1);
        post(&actor, &first);
        while device.asked() == 0 {
            tokio::task::yield_now().await;
        }
        // Both messages are taken before the device hears of the first.
        drop(first.close(&Arc::new(Fault::new(FaultKind::Cancelled, "it went"))));
        deliver(&actor, Withdraw { collect: 1 });
        let second = cluster.collect(2);
        post(&actor, &second);
        rested(&actor).await;
        assert_eq!(device.asked(), 1, "it joins the lookup");
        assert_eq!(second.complete().unwrap().faults().count(), 0);
    }

    #[actix_web::test]
    async fn collects_that_are_over_are_forgotten_behind_one_that_waits() {
        let cluster = Reloaded::new();
        let mut actor = ClusterActor::new(&cluster.spec).unwrap();
        let cluster_collect = |collect: &Arc<Gather>| ClusterCollect {
            in_flight: collect.ticket(0, 0, None).in_flight(),
            roster: Arc::default(),
        };
        let waits = cluster.collect(0);
        actor.remember(cluster_collect(&waits));
        for id in 1..1000 {
            actor.remember(cluster_collect(&cluster.collect(id)));
        }
        assert!(actor.in_flight.len() <= 8, "{}", actor.in_flight.len());
        // Also where there is room for many, before all are gone through again and again.
        let many: Vec<_> = (1..1000).map(|id| cluster.collect(id)).collect();
        for collect in &many {
            actor.remember(cluster_collect(collect));
        }
        assert!(actor.in_flight.len() >= 1000);
        drop(many);
        actor.withdraw_some();
        assert_eq!(actor.in_flight.len(), 1);
    }
}
