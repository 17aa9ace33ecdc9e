//! What node and switch actors have in common: one lookup at a time, which requests may join.
//!
//! No actor itself. A request that comes while a lookup runs waits for its outcome; when nobody
//! waits any more, and the schedule did not ask for it, the lookup is dropped.

use std::future::Future;
use std::sync::Arc;

use actix::prelude::*;
use futures::FutureExt as _;
use futures::future::Either;
use smallvec::SmallVec;

use crate::domain::{Fault, FaultKind};
use crate::engine::device::{Asked, Device};
use crate::engine::gather::ReplyPort;
use crate::engine::messages::Tick;
use crate::engine::remote::Lease;
use crate::supervision::failpoints::{FailAction, Failpoint};
use crate::supervision::health::Child;
use crate::supervision::shell::BuildError;

/// A device's lookup under way, and who waits for it.
#[derive(Debug)]
pub(crate) struct Prober {
    device: Arc<Device>,
    /// Of when this began: a later one is another actor's.
    lease: Option<Arc<dyn Lease>>,
    /// The lookup, while one runs.
    running: Option<LookupUnderWay>,
    /// Who waits for it, mostly one; empty if none runs. Ports of collects that were withdrawn stay
    /// until that is seen.
    waiting: SmallVec<[ReplyPort; 1]>,
}

#[derive(Debug, Clone, Copy)]
struct LookupUnderWay {
    lookup: SpawnHandle,
    /// The schedule wants it, also when nobody else does.
    scheduled: bool,
    /// How often the device had been asked before.
    asked_before: u32,
}

impl Prober {
    pub(crate) fn new(device: &Arc<Device>) -> Result<Self, BuildError> {
        BuildError::at_failpoint(device.pass(Failpoint::New))?;
        Ok(Self {
            device: Arc::clone(device),
            lease: device.lease(),
            running: None,
            waiting: SmallVec::new(),
        })
    }

    /// Goes wrong here if a failpoint says so; gives whether the actor is to stop.
    pub(crate) fn pass(&self, point: Failpoint) -> bool {
        self.device.pass(point) == Some(FailAction::Stop)
    }

    /// Takes a request. Gives the lookup to start, unless it could join one or need not ask.
    pub(crate) fn ask(&mut self, port: ReplyPort) -> Option<impl Future<Output = Asked> + use<>> {
        if !port.is_open() {
            // It was withdrawn on the way.
            return None;
        }
        if self.running.is_some() {
            self.make_room();
            self.waiting.push(port);
            self.device.set_awaited(true);
            self.device.joined();
            return None;
        }
        match self.begin(port.is_forced(), None) {
            Ok(lookup) => {
                self.waiting.push(port);
                self.device.set_awaited(true);
                Some(lookup)
            }
            Err(refusal) => {
                port.send(Err(refusal));
                None
            }
        }
    }

    /// Makes room for one who waits. If there is none, those who do not wait any more are forgotten: so
    /// however many ask and go, memory is that of those who wait at once.
    fn make_room(&mut self) {
        let room = self.waiting.capacity();
        if self.waiting.len() < room {
            return;
        }
        self.waiting.retain(|port| port.is_open());
        if self.waiting.len() > room / 2 {
            // The next look comes only after as many have come.
            self.waiting.reserve(room);
        }
    }

    /// It is the device's time in the schedule. Gives the lookup to start, unless one runs (this
    /// one is skipped then) or the circuit breaker is open.
    pub(crate) fn tick(&mut self, tick: Tick) -> Option<impl Future<Output = Asked> + use<>> {
        if self.running.is_some() {
            return None;
        }
        self.begin(false, Some(tick)).ok()
    }

    /// The lookup to start, of which the schedule is told, or why there is none.
    fn begin(
        &self,
        force: bool,
        tick: Option<Tick>,
    ) -> Result<impl Future<Output = Asked> + use<>, Arc<Fault>> {
        let device = Arc::clone(&self.device);
        let refusal = if force { None } else { device.refusal() };
        let Some(refusal) = refusal else {
            if let Some(tick) = tick {
                tick.take();
            }
            return Ok(Either::Left(device.lookup(self.lease.clone())));
        };
        match device.refused_secrets() {
            None => Err(refusal),
            Some(refused) => {
                let lease = self.lease.clone();
                let lookup = device.lookup_with_other(refused, refusal, tick, lease);
                Ok(Either::Right(lookup.boxed_local()))
            }
        }
    }

    /// The lookup that [`Prober::ask`] or [`Prober::tick`] gave has been started.
    pub(crate) fn started(&mut self, lookup: SpawnHandle, scheduled: bool) {
        self.running = Some(LookupUnderWay {
            lookup,
            scheduled,
            asked_before: self.device.asked(),
        });
    }

    /// The lookup is over: answers every request that waits for it. Gives the lookup to start, if the
    /// device was not asked and a request forces that.
    pub(crate) fn finished(&mut self, asked: Asked) -> Option<impl Future<Output = Asked> + use<>> {
        self.running = None;
        let waiting = std::mem::take(&mut self.waiting);
        let (outcome, waiting) = match asked {
            Asked::LookedUp(lookup) => {
                self.device.health().worked();
                self.device.learned(&lookup);
                (lookup.outcome, waiting)
            }
            Asked::LeaseOver => {
                let why = "its worker's lease is over";
                let fault = Arc::new(Fault::new(FaultKind::Unreachable, why));
                (Err(fault), waiting)
            }
            Asked::Not(refusal) => {
                let asks_again = |port: &ReplyPort| port.is_forced() && port.is_open();
                let (forced, others) = waiting.into_iter().partition(asks_again);
                self.waiting = forced;
                (Err(refusal), others)
            }
        };
        self.device.set_awaited(!self.waiting.is_empty());
        for port in waiting {
            port.send(outcome.clone());
        }
        let lookup = || Arc::clone(&self.device).lookup(self.lease.clone());
        (!self.waiting.is_empty()).then(lookup)
    }

    /// Lets go of those who do not wait any more. Gives the lookup to drop, if these are all who asked
    /// for it.
    pub(crate) fn cut_off(&mut self) -> Option<SpawnHandle> {
        if self.waiting.first().is_none_or(ReplyPort::is_open) {
            return None;
        }
        let (fault, tells) = self.given_instead()?;
        self.waiting.retain(|port| port.is_open());
        if !self.waiting.is_empty() {
            return None;
        }
        self.device.set_awaited(false);
        let running = self.running.filter(|it| !it.scheduled)?;
        self.give_up(running, &fault, tells);
        Some(running.lookup)
    }

    /// Gives the lookup to drop before this request is taken, if those who asked for it had their deadline
    /// and the device was silent until then. One whose callers only went is joined: they are kept, so
    /// that it is dropped with them if this request is withdrawn before it joins.
    pub(crate) fn overdue(&mut self, port: &ReplyPort) -> Option<SpawnHandle> {
        if self.waiting.iter().any(ReplyPort::is_open) || !port.is_open() {
            return None;
        }
        let is_silent = self.given_instead().is_some_and(|(_, tells)| tells);
        if is_silent { self.cut_off() } else { None }
    }

    /// What those who do not wait any more were given instead of an outcome, and whether that says
    /// something of it: that the device was silent until the deadline, or was not asked for want of
    /// something here, if it was for one of them.
    fn given_instead(&self) -> Option<(Arc<Fault>, bool)> {
        let given = || self.waiting.iter().filter_map(ReplyPort::closed_with);
        given().find(|(_, tells)| *tells).or_else(|| given().next())
    }

    /// The actor ends, as its device is not configured any more. If the collect that asked it was
    /// closed with the device silent, that is the last thing to say of it.
    pub(crate) fn ending(&mut self) {
        if let Some(running) = self.running
            && let Some((fault, tells)) = self.given_instead()
        {
            self.give_up(running, &fault, tells);
        }
    }

    /// The lookup under way is given up: its collect was closed with `fault`, which `tells` of it.
    fn give_up(&mut self, running: LookupUnderWay, fault: &Arc<Fault>, tells: bool) {
        self.running = None;
        self.device.log_fault("lookup cut off", fault, None);
        // A device that was asked and silent until the deadline failed; one whose lookup still
        // waited for `max_concurrent` or for a secret, or that nobody waits for, did not. One that
        // waited for what is missing here failed for that.
        let was_asked = self.device.asked() != running.asked_before && !self.device.awaits_file();
        if tells && (was_asked || fault.local_reason().is_some()) {
            self.device.cut_off(fault);
        }
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        if !self.waiting.is_empty() {
            self.device.set_awaited(false);
        }
        self.device.pass(Failpoint::Drop);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{FaultKind, Topology};
    use crate::engine::canary;
    use crate::engine::cluster_spec::ClusterSpec;
    use crate::engine::gather::{FleetDevices, Gather};
    use crate::telemetry::Metrics;

    /// What makes collects of a cluster of one device.
    struct Collects {
        spec: Arc<ClusterSpec>,
        topology: Arc<Topology>,
        fleet_devices: Arc<FleetDevices>,
    }

    impl Collects {
        fn new() -> Self {
            let (spec, topology, fleet_devices) = canary::hidden(&canary::env());
            Self {
                spec,
                topology,
                fleet_devices,
            }
        }

        fn prober(&self) -> Prober {
            Prober::new(&self.spec.plan().devices[0]).unwrap()
        }

        fn begin(&self) -> Arc<Gather> {
            canary::gather(0, &self.topology, &self.fleet_devices)
        }
    }

    fn port(gather: &Arc<Gather>) -> ReplyPort {
        gather.ticket(0, 0, None).next_port().unwrap().1
    }

    #[test]
    fn collects_that_come_and_go_while_another_one_waits_take_no_room() {
        let collects = Collects::new();
        let fault = Arc::new(Fault::new(FaultKind::Cancelled, "its caller went away"));
        let mut prober = collects.prober();
        let stays = collects.begin();
        assert!(prober.ask(port(&stays)).is_some());
        prober.started(SpawnHandle::default(), false);
        for _ in 0..1000 {
            let goes = collects.begin();
            assert!(prober.ask(port(&goes)).is_none(), "it joins");
            drop(goes.close(&fault));
            assert!(prober.cut_off().is_none(), "one waits");
        }
        assert!(prober.waiting.len() <= 4, "{}", prober.waiting.len());
        // One that went before its message came takes none at all, nor a lookup.
        let gone = collects.begin();
        let late = port(&gone);
        drop(gone.close(&fault));
        assert!(prober.ask(late).is_none());
        drop(stays.close(&fault));
        assert!(prober.cut_off().is_some(), "none waits");
        assert!(prober.waiting.is_empty() && prober.running.is_none());
        let late = collects.begin();
        let unwanted = port(&late);
        drop(late.close(&fault));
        assert!(prober.ask(unwanted).is_none(), "none is begun for it");
    }

    #[test]
    fn a_lookup_is_joined_when_its_callers_went_and_begun_anew_after_their_deadline() {
        let collects = Collects::new();
        let mut prober = collects.prober();
        for (kind, is_joined) in [(FaultKind::Cancelled, true), (FaultKind::TimedOut, false)] {
            let first = collects.begin();
            assert!(prober.ask(port(&first)).is_some());
            prober.started(SpawnHandle::default(), false);
            drop(first.close(&Arc::new(Fault::new(kind, "it ended"))));
            let second = collects.begin();
            let port = port(&second);
            assert_eq!(prober.overdue(&port).is_none(), is_joined, "{kind:?}");
            assert_eq!(prober.ask(port).is_none(), is_joined, "{kind:?}");
            assert_eq!(prober.waiting.len(), 1);
            (prober.running, prober.waiting) = (None, SmallVec::new());
        }
    }

    #[test]
    fn a_scheduled_lookup_lets_go_of_collects_that_went() {
        let collects = Collects::new();
        let mut prober = collects.prober();
        assert!(prober.tick(Tick::new(Metrics::default())).is_some());
        prober.started(SpawnHandle::default(), true);
        assert!(!prober.device.is_awaited());
        let joins = collects.begin();
        assert!(prober.ask(port(&joins)).is_none(), "it joins");
        assert!(prober.device.is_awaited(), "it is told when that goes");
        drop(joins.close(&Arc::new(Fault::new(FaultKind::Cancelled, "it went"))));
        assert!(prober.cut_off().is_none(), "the schedule wants it");
        assert!(prober.running.is_some() && !prober.device.is_awaited());
        let freed = Arc::downgrade(&joins);
        drop(joins);
        assert!(freed.upgrade().is_none(), "its answer is free");
    }

    #[test]
    fn a_lookup_ends_when_the_request_that_was_to_join_it_went_as_well() {
        let collects = Collects::new();
        let fault = Arc::new(Fault::new(FaultKind::Cancelled, "it went"));
        let mut prober = collects.prober();
        let first = collects.begin();
        assert!(prober.ask(port(&first)).is_some());
        prober.started(SpawnHandle::default(), false);
        drop(first.close(&fault));
        let second = collects.begin();
        let port = port(&second);
        assert!(prober.overdue(&port).is_none(), "it is to be joined");
        drop(second.close(&fault));
        assert!(prober.ask(port).is_none(), "it was withdrawn");
        assert!(prober.device.is_awaited(), "the device is told of that");
        assert!(prober.cut_off().is_some(), "none waits");
    }

    #[test]
    fn an_actor_that_ends_says_nothing_of_those_who_wait_for_another_one() {
        let collects = Collects::new();
        let (before, mut after) = (collects.prober(), collects.prober());
        let waits = collects.begin();
        assert!(after.ask(port(&waits)).is_some());
        drop(before);
        assert!(after.device.is_awaited());
        drop(after);
        assert!(!collects.prober().device.is_awaited());
    }
}
