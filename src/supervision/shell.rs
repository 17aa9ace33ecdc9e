//! The supervision shell around every actor: catches, reports, restarts in place.
//!
//! A shell is a task that owns an actor's mailbox and, while it runs, the actor. Whatever its code
//! does (a handler, a lookup, `started`, `stopping`, `Drop`, or building its state anew), a panic
//! ends here: the actor and all that ran in it are dropped at once, so that callers hear now; the
//! `SupervisorActor` is asked for a verdict; and after the backoff a new actor is built from its
//! spec, behind the same mailbox. Until then every message is answered at once, by dropping it with
//! the reason at hand for its reply port. A caller may have it started before the backoff or the
//! quarantine is over ([`super::health::Health::start_now`]). When nobody holds the address any more, the shell ends,
//! in whatever state it is.
//!
//! ```text
//!           built                  panic, stop                 verdict
//! Starting ───────▶ Up ─────────────────────▶ Deciding ──────────────────▶ Waiting ──▶ Starting
//!     └──────────── building panics, errs ────────▲                        (backoff, quarantine,
//!                                                                           or started at once)
//! ```

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, ready};
use std::time::Duration;

use actix::dev::EnvelopeProxy;
use actix::dev::channel::{AddressReceiver, channel};
use actix::prelude::*;
use futures::{FutureExt as _, StreamExt as _};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::context::ShellContext;
use super::health::{Child, Downtime, ExitReason};
use super::supervisor::{Rules, SupervisorActor, verdict};
use crate::domain::{Decision, Failing, Fault, FaultKind};
use crate::engine::event_log::EventLog;
use crate::engine::messages::Exited;
use crate::supervision::catch_panic::{PanicReport, catch_panic, uninterrupted, with_drop_reason};
use crate::supervision::failpoints::FailAction;
use crate::telemetry::{Gauge, Metrics};

/// How many messages one actor may handle before others on its arbiter get their turn.
const MESSAGES_PER_TURN: usize = 128;

/// How long a shell waits for the supervisor's verdict before it decides itself.
const VERDICT_TIMEOUT: Duration = Duration::from_secs(1);

/// An actor that can be built again from a spec.
pub(crate) trait Supervised: Actor<Context = ShellContext<Self>> {
    /// What it is built from. State that shall outlive a crash belongs here.
    type Spec: Child;

    /// Builds the actor.
    ///
    /// # Errors
    /// If it cannot be built. That, and a panic in here, is a failure like any other.
    fn new(spec: &Arc<Self::Spec>) -> Result<Self, BuildError>;
}

/// Why an actor's state could not be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct BuildError(String);

impl BuildError {
    /// An error if a failpoint wants one.
    pub(crate) fn at_failpoint(act: Option<FailAction>) -> Result<(), Self> {
        match act {
            Some(FailAction::Error) => Err(Self("failpoint: it cannot be built".to_owned())),
            _ => Ok(()),
        }
    }
}

/// What every shell shares.
#[derive(Debug)]
pub(crate) struct SupervisionEnv {
    /// Who gives verdicts; `None` for the supervisor's own shell.
    pub(crate) supervisor: Option<Addr<SupervisorActor>>,
    /// The rules for verdicts, also while the supervisor is away.
    pub(crate) rules: Arc<Rules>,
    /// Where restarts and actors are counted.
    pub(crate) metrics: Metrics,
    /// What changed in the fleet.
    pub(crate) event_log: Arc<EventLog>,
}

/// Starts an actor in a shell on the current arbiter.
///
/// The address stays valid over restarts; when the last one is dropped, the actor ends. `capacity`
/// bounds its mailbox.
///
/// # Panics
/// Outside of an arbiter.
pub(crate) fn start<A: Supervised>(
    spec: Arc<A::Spec>,
    env: &Arc<SupervisionEnv>,
    capacity: usize,
) -> Addr<A> {
    let (sender, mailbox) = channel(capacity);
    actix::spawn(Shell::<A>::new(mailbox, spec, Arc::clone(env)));
    Addr::new(sender)
}

/// As [`start`], on another arbiter. If that has ended, the address is closed.
pub(crate) fn start_on<A: Supervised>(
    arbiter: &ArbiterHandle,
    spec: Arc<A::Spec>,
    env: &Arc<SupervisionEnv>,
    capacity: usize,
) -> Addr<A> {
    let (sender, mailbox) = channel(capacity);
    let env = Arc::clone(env);
    arbiter.spawn_fn(move || {
        actix::spawn(Shell::<A>::new(mailbox, spec, env));
    });
    Addr::new(sender)
}

/// The task around an actor; see the module's documentation.
struct Shell<A: Supervised> {
    mailbox: AddressReceiver<A>,
    state: ShellState<A>,
    spec: Arc<A::Spec>,
    env: Arc<SupervisionEnv>,
}

/// A failed child is a rare one, so what it needs is in a box.
enum ShellState<A: Supervised> {
    Starting,
    Up(RunningActor<A>),
    Down(Box<Down>),
}

struct Down {
    /// What callers are told meanwhile.
    downtime: Downtime,
    stage: DownStage,
    start: EarlyStart,
}

/// Whether a child that is down is started before it is time.
enum EarlyStart {
    /// Resolves when it is; `None` if that cannot be any more.
    Waiting(Option<oneshot::Receiver<()>>),
    Now,
}

impl EarlyStart {
    fn of(child: &dyn Child) -> Self {
        Self::Waiting(Some(child.health().starts()))
    }

    fn poll(&mut self, task: &mut TaskContext<'_>) -> bool {
        if let Self::Waiting(starts) = self
            && let Some(Poll::Ready(heard)) = starts.as_mut().map(|it| it.poll_unpin(task))
        {
            *self = match heard {
                Ok(()) => Self::Now,
                // Another shell of the child waits for it.
                Err(_) => Self::Waiting(None),
            };
        }
        matches!(self, Self::Now)
    }
}

enum DownStage {
    Deciding(Pin<Box<dyn Future<Output = Option<Decision>>>>),
    Waiting(Pin<Box<tokio::time::Sleep>>),
}

/// An actor that runs; ended only by [`RunningActor::drop_actor`].
struct RunningActor<A: Supervised> {
    actor: A,
    /// With what it spawned.
    context: ShellContext<A>,
    /// In microseconds since the service started.
    since_us: u64,
}

impl<A: Supervised> Shell<A> {
    fn new(mailbox: AddressReceiver<A>, spec: Arc<A::Spec>, env: Arc<SupervisionEnv>) -> Self {
        env.metrics.rise(Gauge::Shells);
        // A backoff or a quarantine goes on over the end of the parent, or of the thread.
        let state = match spec.health().down() {
            Some(Downtime {
                quarantined,
                until: Some(until),
            }) => Down::until(quarantined, until, EarlyStart::of(&*spec)),
            // Its thread ended, which is nobody's fault: no backoff, and it counts for nothing.
            Some(Downtime { until: None, .. }) if spec.health().ended_with_thread() => {
                spec.health().restarted();
                env.metrics.restarted();
                ShellState::Starting
            }
            // The last shell ended before it heard the verdict.
            Some(Downtime { until: None, .. }) => {
                let start = EarlyStart::of(&*spec);
                apply_decision(verdict(&env.rules, &*spec), &*spec, &env, start)
            }
            None => ShellState::Starting,
        };
        Self {
            mailbox,
            state,
            spec,
            env,
        }
    }

    /// Builds the actor and lets it start.
    fn start_actor(&mut self) {
        let since_us = self.env.rules.now_us();
        let role = self.spec.role();
        let built = catch_panic(role, || {
            let actor = A::new(&self.spec)?;
            let address = Addr::new(self.mailbox.sender());
            let context = ShellContext::new(address.downgrade());
            Ok::<_, BuildError>(RunningActor {
                actor,
                context,
                since_us,
            })
        });
        match built {
            Ok(Ok(running)) => {
                self.env.metrics.rise(Gauge::Actors);
                self.state = ShellState::Up(running);
                let ShellState::Up(running) = &mut self.state else {
                    return;
                };
                match catch_panic(role, || running.started()) {
                    Ok(()) => self.spec.health().started(),
                    Err(report) => self.on_exit(&ExitReason::Panic(report), since_us),
                }
            }
            Ok(Err(error)) => self.on_exit(&ExitReason::Error(error.to_string()), since_us),
            Err(report) => self.on_exit(&ExitReason::Panic(report), since_us),
        }
    }

    /// Drops the actor, so that its callers hear now, and asks for a verdict.
    fn on_exit(&mut self, reason: &ExitReason, since_us: u64) {
        let uptime = self.env.rules.since(since_us);
        let fault = self.spec.health().exited(self.spec.role(), reason, uptime);
        self.spec.crashed(&fault);
        self.env.metrics.crashed();
        let child: Arc<dyn Child> = Arc::<A::Spec>::clone(&self.spec);
        let supervisor = self.env.supervisor.clone();
        let verdict = async move {
            let answer = supervisor?
                .send(Exited { child })
                .timeout(VERDICT_TIMEOUT)
                .await;
            answer.ok()
        };
        let down = ShellState::Down(Box::new(Down {
            downtime: Downtime {
                quarantined: false,
                until: None,
            },
            stage: DownStage::Deciding(Box::pin(verdict)),
            start: EarlyStart::of(&*self.spec),
        }));
        if let ShellState::Up(running) = std::mem::replace(&mut self.state, down) {
            with_drop_reason(Arc::new(fault), || {
                running.drop_actor(self.spec.role(), &self.env);
            });
        }
    }

    /// Carries out a verdict, the supervisor's or this shell's own.
    fn decide(&mut self, decision: Option<Decision>) {
        let decision = decision.unwrap_or_else(|| verdict(&self.env.rules, &*self.spec));
        let start = match std::mem::replace(&mut self.state, ShellState::Starting) {
            ShellState::Down(down) => down.start,
            ShellState::Starting | ShellState::Up(_) => EarlyStart::of(&*self.spec),
        };
        self.state = apply_decision(decision, &*self.spec, &self.env, start);
    }

    /// Nobody holds the address any more: ends the actor, and with it all that runs in it.
    fn orphaned(&mut self) {
        if let ShellState::Up(mut running) =
            std::mem::replace(&mut self.state, ShellState::Starting)
        {
            let fault = Fault::new(FaultKind::Cancelled, "the device is no longer asked");
            let role = self.spec.role();
            with_drop_reason(Arc::new(fault), || {
                if let Err(report) = catch_panic(role, || running.stopped()) {
                    log_last_panic(&*self.spec, &report);
                }
                running.drop_actor(role, &self.env);
            });
        }
    }
}

/// What a verdict makes of a child.
fn apply_decision<A: Supervised>(
    decision: Decision,
    child: &A::Spec,
    env: &SupervisionEnv,
    start: EarlyStart,
) -> ShellState<A> {
    let (quarantined, wait) = match decision {
        Decision::Restart(wait) => (false, wait),
        Decision::Quarantine(wait) => {
            env.metrics.quarantined();
            (true, wait)
        }
    };
    let until = Instant::now() + wait;
    child.health().waits(quarantined, until);
    Down::until(quarantined, until, start)
}

impl Down {
    fn until<A: Supervised>(quarantined: bool, until: Instant, start: EarlyStart) -> ShellState<A> {
        ShellState::Down(Box::new(Self {
            downtime: Downtime {
                quarantined,
                until: Some(until),
            },
            stage: DownStage::Waiting(Box::pin(tokio::time::sleep_until(until))),
            start,
        }))
    }

    /// Answers every message at once, by dropping it.
    fn answer<A: Supervised>(
        &self,
        child: &A::Spec,
        mailbox: &mut AddressReceiver<A>,
        task: &mut TaskContext<'_>,
    ) {
        for _ in 0..MESSAGES_PER_TURN {
            let Poll::Ready(Some(message)) = mailbox.poll_next_unpin(task) else {
                return;
            };
            let fault = Arc::new(self.fault(child));
            with_drop_reason(fault, || {
                // A message of ours does not panic when dropped; if one does, it is gone.
                catch_panic(child.role(), || drop(message)).ok();
            });
        }
        task.waker().wake_by_ref();
    }

    fn fault(&self, child: &dyn Child) -> Fault {
        let (kind, state) = if self.downtime.quarantined {
            (
                FaultKind::Quarantined,
                "crashed too often and is quarantined",
            )
        } else {
            (FaultKind::Restarting, "crashed and is restarting")
        };
        let wait = self
            .downtime
            .until
            .map(|until| until.saturating_duration_since(Instant::now()));
        let again = wait.map(again_in).unwrap_or_default();
        let text = format!("the {} actor {state}{again}", child.role());
        Fault::new(kind, because(child.failing(), &text))
    }
}

impl<A: Supervised> RunningActor<A> {
    fn started(&mut self) {
        self.actor.started(&mut self.context);
        if self.context.state() == ActorState::Started {
            self.context.set_state(ActorState::Running);
        }
    }

    fn stopped(&mut self) {
        self.context.set_state(ActorState::Stopping);
        // An actor that nobody can reach cannot prevent its end, so the answer does not matter.
        let _: actix::Running = self.actor.stopping(&mut self.context);
        self.context.set_state(ActorState::Stopped);
        self.actor.stopped(&mut self.context);
    }

    /// Runs the actor until it has nothing to do. `Ready` when it stopped itself.
    fn turn(&mut self, mailbox: &mut AddressReceiver<A>, task: &mut TaskContext<'_>) -> Poll<()> {
        for _ in 0..MESSAGES_PER_TURN {
            while let Some(mut wait) = self.context.take_wait() {
                let (actor, context) = (&mut self.actor, &mut self.context);
                let polled = uninterrupted(|| wait.as_mut().poll(actor, context, task));
                match polled {
                    Ok(Poll::Ready(())) => {}
                    Ok(Poll::Pending) => {
                        self.context.put_back_wait(wait);
                        return Poll::Pending;
                    }
                    Err(panic) => {
                        self.context.put_back_wait(wait);
                        panic.go_on();
                    }
                }
            }
            if self.has_ended() {
                return Poll::Ready(());
            }
            let Poll::Ready(Some(mut message)) = mailbox.poll_next_unpin(task) else {
                return self.poll_items(task);
            };
            message.handle(&mut self.actor, &mut self.context);
        }
        task.waker().wake_by_ref();
        self.poll_items(task)
    }

    fn poll_items(&mut self, task: &mut TaskContext<'_>) -> Poll<()> {
        let mut place = 0;
        // What is spawned meanwhile is behind, so it has its first turn in this very loop.
        while place < self.context.places() && !self.context.has_waits() && !self.has_ended() {
            if let Some((handle, mut item)) = self.context.take(place) {
                let (actor, context) = (&mut self.actor, &mut self.context);
                let polled = uninterrupted(|| item.as_mut().poll(actor, context, task));
                match polled {
                    Ok(Poll::Ready(())) => drop(item),
                    Ok(Poll::Pending) => self.context.put_back(place, (handle, item)),
                    Err(panic) => {
                        self.context.put_back(place, (handle, item));
                        panic.go_on();
                    }
                }
            }
            place += 1;
        }
        self.context.tidy();
        if self.context.has_waits() {
            // Its first turn is the next one.
            task.waker().wake_by_ref();
        }
        if self.has_ended() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    /// Whether the actor stopped itself and does not change its mind in `stopping`.
    fn has_ended(&mut self) -> bool {
        match self.context.state() {
            ActorState::Started | ActorState::Running => false,
            ActorState::Stopping => {
                if self.actor.stopping(&mut self.context) == actix::Running::Continue {
                    self.context.set_state(ActorState::Running);
                    return false;
                }
                self.context.set_state(ActorState::Stopped);
                self.actor.stopped(&mut self.context);
                true
            }
            ActorState::Stopped => true,
        }
    }

    /// Drops what ran in the actor, then the actor, each so that a panic in a `Drop` ends there.
    fn drop_actor(self, role: &'static str, env: &SupervisionEnv) {
        let Self {
            actor, mut context, ..
        } = self;
        let mut panics = 0;
        let mut count = |result: Result<(), PanicReport>| panics += usize::from(result.is_err());
        while let Some(item) = context.take_any() {
            count(catch_panic(role, || drop(item)));
        }
        count(catch_panic(role, || drop(context)));
        count(catch_panic(role, || drop(actor)));
        env.metrics.fall(Gauge::Actors);
        if panics > 0 {
            log::warn!(role, panics; "a failed actor panicked again while it was dropped");
        }
    }
}

impl<A: Supervised> Future for Shell<A> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<()> {
        let this = self.get_mut();
        loop {
            if !this.mailbox.connected() {
                this.orphaned();
                return Poll::Ready(());
            }
            match &mut this.state {
                ShellState::Starting => this.start_actor(),
                ShellState::Up(running) => {
                    let since_us = running.since_us;
                    match catch_panic(this.spec.role(), || running.turn(&mut this.mailbox, task)) {
                        Ok(Poll::Pending) => return Poll::Pending,
                        Ok(Poll::Ready(())) => this.on_exit(&ExitReason::Stopped, since_us),
                        Err(report) => this.on_exit(&ExitReason::Panic(report), since_us),
                    }
                }
                ShellState::Down(down) => {
                    // Its messages are those for which it is started, if it is.
                    let starts = down.start.poll(task);
                    if !starts {
                        down.answer(&*this.spec, &mut this.mailbox, task);
                    }
                    match &mut down.stage {
                        DownStage::Deciding(verdict) => {
                            let verdict = ready!(verdict.as_mut().poll(task));
                            this.decide(verdict);
                        }
                        DownStage::Waiting(sleep) => {
                            if !starts {
                                ready!(sleep.as_mut().poll(task));
                            }
                            this.spec.health().restarted();
                            this.env.metrics.restarted();
                            this.state = ShellState::Starting;
                        }
                    }
                }
            }
        }
    }
}

impl<A: Supervised> Drop for Shell<A> {
    /// The arbiter ends with this shell in it: what it holds must not panic on its thread.
    fn drop(&mut self) {
        if let ShellState::Up(running) = std::mem::replace(&mut self.state, ShellState::Starting) {
            let uptime = self.env.rules.since(running.since_us);
            let health = self.spec.health();
            let role = self.spec.role();
            let fault = health.exited(role, &ExitReason::Thread, uptime);
            self.env.metrics.crashed();
            with_drop_reason(Arc::new(fault), || running.drop_actor(role, &self.env));
        }
        self.env.metrics.fall(Gauge::Shells);
    }
}

/// `, again in 1s 500ms`: how a fault says when to ask again.
pub(crate) fn again_in(wait: Duration) -> String {
    let millis = u64::try_from(wait.as_millis().max(1)).unwrap_or(u64::MAX);
    let wait = humantime::format_duration(Duration::from_millis(millis));
    format!(", again in {wait}")
}

/// Why a device is not asked: first the failure behind it, which is what a narrow table has room for.
pub(crate) fn because(failing: Option<Failing>, text: &str) -> String {
    failing.map_or_else(|| text.to_owned(), |failing| format!("{failing}; {text}"))
}

fn log_last_panic(child: &dyn Child, report: &PanicReport) {
    log::warn!(
        child:% = child.path(), message:% = report.message, at:% = report.at;
        "actor panicked while it was being ended"
    );
}
