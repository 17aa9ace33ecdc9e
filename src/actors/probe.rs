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

use super::device::{Asked, Device};
use super::drill::{Act, Point};
use super::elsewhere::Lease;
use super::gathering::Reply;
use super::health::Child;
use super::messages::{Tick, Withdraw};
use super::shell::BuildError;
use crate::domain::{Fault, FaultKind};

/// A device's lookup under way, and who waits for it.
#[derive(Debug)]
pub(super) struct Prober {
    device: Arc<Device>,
    /// Of when this began: a later one is another actor's.
    lease: Option<Arc<dyn Lease>>,
    /// The lookup, while one runs.
    running: Option<Running>,
    /// Who waits for it, mostly one; empty if none runs.
    waiting: SmallVec<[Reply; 1]>,
}

#[derive(Debug, Clone, Copy)]
struct Running {
    lookup: SpawnHandle,
    /// The schedule wants it, also when nobody else does.
    scheduled: bool,
    /// How often the device had been asked before.
    asked_before: u32,
}

impl Prober {
    pub(super) fn new(device: &Arc<Device>) -> Result<Self, BuildError> {
        BuildError::drilled(device.pass(Point::New))?;
        Ok(Self {
            device: Arc::clone(device),
            lease: device.lease(),
            running: None,
            waiting: SmallVec::new(),
        })
    }

    /// Goes wrong here if a drill says so; gives whether the actor is to stop.
    pub(super) fn pass(&self, point: Point) -> bool {
        self.device.pass(point) == Some(Act::Stop)
    }

    /// Takes a request. Gives the lookup to start, unless it could join one or need not ask.
    pub(super) fn ask(&mut self, reply: Reply) -> Option<impl Future<Output = Asked> + use<>> {
        if self.running.is_some() {
            self.waiting.push(reply);
            self.device.joined();
            return None;
        }
        match self.begin(reply.is_forced(), None) {
            Ok(lookup) => {
                self.waiting.push(reply);
                Some(lookup)
            }
            Err(refusal) => {
                reply.send(Err(refusal));
                None
            }
        }
    }

    /// It is the device's time in the schedule. Gives the lookup to start, unless one runs (this
    /// one is skipped then) or the circuit breaker is open.
    pub(super) fn tick(&mut self, tick: Tick) -> Option<impl Future<Output = Asked> + use<>> {
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
    pub(super) fn started(&mut self, lookup: SpawnHandle, scheduled: bool) {
        self.running = Some(Running {
            lookup,
            scheduled,
            asked_before: self.device.asked(),
        });
    }

    /// The lookup is over: answers every request that waits for it. Gives the lookup to start, if the
    /// device was not asked and a request forces that.
    pub(super) fn finished(&mut self, asked: Asked) -> Option<impl Future<Output = Asked> + use<>> {
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
                let (forced, others) = waiting.into_iter().partition(Reply::is_forced);
                self.waiting = forced;
                (Err(refusal), others)
            }
        };
        for reply in waiting {
            reply.send(outcome.clone());
        }
        let lookup = || Arc::clone(&self.device).lookup(self.lease.clone());
        (!self.waiting.is_empty()).then(lookup)
    }

    /// Somebody does not wait any more. Gives the lookup to drop, if nobody is left.
    pub(super) fn withdraw(&mut self, withdraw: &Withdraw) -> Option<SpawnHandle> {
        let before = self.waiting.len();
        self.waiting
            .retain(|reply| reply.collect() != withdraw.collect);
        let running = self.running?;
        if self.waiting.len() == before || !self.waiting.is_empty() || running.scheduled {
            return None;
        }
        self.cut_off(running, &withdraw.fault, withdraw.tells);
        Some(running.lookup)
    }

    /// The actor ends, as its device is not configured any more. If the collect that asked it was
    /// closed with the device silent, that is the last thing to say of it.
    pub(super) fn ending(&mut self) {
        if let Some(running) = self.running
            && let Some(fault) = self.waiting.first().and_then(Reply::closed_with)
        {
            // Nobody knows it any more, so it does not matter what that says of it.
            self.cut_off(running, &fault, true);
        }
    }

    /// The lookup under way is given up: its collect was closed with `fault`, which `tells` of it.
    fn cut_off(&mut self, running: Running, fault: &Arc<Fault>, tells: bool) {
        self.running = None;
        self.device.log_fault("lookup cut off", fault, None);
        // A device that was asked and silent until the deadline failed; one whose lookup still
        // waited for `max_concurrent` or for a secret, or that nobody waits for, did not.
        let was_asked = self.device.asked() != running.asked_before && !self.device.awaits_file();
        if tells && was_asked && fault.kind() == FaultKind::TimedOut {
            self.device.cut_off(fault);
        }
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.device.pass(Point::Drop);
    }
}
