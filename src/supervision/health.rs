//! What is known of each supervised child: whether it runs, why it ended, what that counts for.
//!
//! It belongs to no actor, so it outlives them: a child's own crash, its cluster's, the
//! supervisor's, the end of their thread. Shells write it; anybody may read it at any time, also
//! while everything hangs, which is when people look. A child that never failed costs a null
//! pointer.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::domain::{
    Backoff, ChildState, ClusterId, Decision, DeviceId, DeviceKind, FORCED_EVERY, Failing, Fault,
    LastExit, Liveness, RestartHistory, SupervisionPolicy,
};
use crate::supervision::catch_panic::PanicReport;

/// A supervised child, as its shell and the supervisor see it.
pub(crate) trait Child: fmt::Debug + Send + Sync + 'static {
    /// Its place in the tree.
    fn path(&self) -> ChildPath;

    /// Whose panic it is, in logs and replies.
    fn role(&self) -> &'static str;

    /// What is known of it.
    fn health(&self) -> &Health;

    /// Takes note of a crash, beside its health.
    fn crashed(&self, _: &Fault) {}

    /// How it fails, if it does.
    fn failing(&self) -> Option<Failing> {
        self.health().last_exit()
    }
}

/// A child's place in the supervision tree.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum ChildPath {
    /// The `SupervisorActor` itself.
    Supervisor,
    /// A `ClusterActor`.
    Cluster(ClusterId),
    /// A `DeviceActor`.
    Device(ClusterId, DeviceKind, DeviceId),
}

impl fmt::Display for ChildPath {
    /// As in the log: `cluster=1 node=3`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Supervisor => f.write_str("supervisor"),
            Self::Cluster(cluster) => write!(f, "cluster={cluster}"),
            Self::Device(cluster, kind, device) => write!(f, "cluster={cluster} {kind}={device}"),
        }
    }
}

/// Why an actor ended though its parent wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ExitReason {
    /// Its code panicked.
    Panic(PanicReport),
    /// Its state could not be built.
    Error(String),
    /// It stopped itself; a permanent child is restarted all the same.
    Stopped,
    /// The thread that ran it ended.
    Thread,
}

impl ExitReason {
    /// As it stands in the log: reason, message, source line; empty where there is none.
    pub(crate) fn parts(&self) -> (&'static str, &str, &str) {
        match self {
            Self::Panic(report) => ("panic", &report.message, &report.at),
            Self::Error(error) => ("error", error, ""),
            Self::Stopped => ("stopped", "", ""),
            Self::Thread => ("thread", "", ""),
        }
    }
}

/// Whether a child is down, until when, and as what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Downtime {
    pub(crate) quarantined: bool,
    /// `None` while that is being decided.
    pub(crate) until: Option<Instant>,
}

/// What is known of one child.
#[derive(Debug, Default)]
pub(crate) struct Health {
    restarts: AtomicU32,
    /// Whether its next work is its trial after a quarantine; here, since each lookup asks.
    on_trial: AtomicBool,
    failures: Mutex<Option<Box<Failures>>>,
}

#[derive(Debug, Default)]
struct Failures {
    history: RestartHistory,
    last_exit: Option<Box<LastExit>>,
    down: Option<Downtime>,
    /// Whether the last exit was the end of its thread.
    ended_with_thread: bool,
    /// To the shell that waits out a backoff or a quarantine.
    starter: Option<oneshot::Sender<()>>,
    /// When it was last tried although it was left alone.
    forced: Option<Instant>,
    /// Whether the caller who may try it since then has not done so.
    reserved: bool,
    /// What becomes of the last exit. Kept, so that however many decide on it count it once.
    decision: Option<Decision>,
}

impl Failures {
    fn forced_wait(&self, now: Instant) -> Option<Duration> {
        let since = now.saturating_duration_since(self.forced?);
        FORCED_EVERY.checked_sub(since).filter(|it| !it.is_zero())
    }
}

impl Health {
    fn failures(&self) -> MutexGuard<'_, Option<Box<Failures>>> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its actor of this role ended; gives what that means for it.
    pub(crate) fn exited(
        &self,
        role: &'static str,
        reason: &ExitReason,
        uptime: Duration,
    ) -> Fault {
        let is_thread = *reason == ExitReason::Thread;
        let (reason, message, at) = reason.parts();
        let last_exit = LastExit {
            role,
            reason,
            message: message.to_owned(),
            at: at.to_owned(),
            time: SystemTime::now(),
            uptime,
        };
        let fault = last_exit.fault();
        let mut failures = self.failures();
        let failures = failures.get_or_insert_default();
        failures.last_exit = Some(Box::new(last_exit));
        failures.down = Some(Downtime {
            quarantined: false,
            until: None,
        });
        failures.ended_with_thread = is_thread;
        failures.decision = None;
        fault
    }

    /// What becomes of the exit that was noted last, and whether that is decided only now.
    ///
    /// `None` for `policy` is a child that must never be given up: it only waits for `backoff`.
    pub(crate) fn decide(
        &self,
        policy: Option<&SupervisionPolicy>,
        backoff: Backoff,
        now: Duration,
    ) -> (Decision, bool) {
        let mut failures = self.failures();
        let failures = failures.get_or_insert_default();
        if let Some(decision) = failures.decision {
            return (decision, false);
        }
        let uptime = failures.last_exit.as_ref().map(|exit| exit.uptime);
        let uptime = uptime.unwrap_or_default();
        let unlimited = SupervisionPolicy {
            // The window is as short as can be, so nothing piles up in it.
            intensity: u32::MAX,
            period: backoff.max,
            backoff,
            quarantine: Duration::ZERO,
        };
        let policy = policy.unwrap_or(&unlimited);
        let decision = failures.history.failed(policy, now, uptime, rand::random());
        failures.decision = Some(decision);
        self.on_trial
            .store(failures.history.is_on_trial(), Ordering::Release);
        (decision, true)
    }

    /// It stays down until then.
    pub(crate) fn waits(&self, quarantined: bool, until: Instant) {
        if let Some(failures) = &mut *self.failures() {
            let until = Some(until);
            failures.down = Some(Downtime { quarantined, until });
        }
    }

    /// Whether it is down, as its last shell left it.
    pub(crate) fn down(&self) -> Option<Downtime> {
        self.failures().as_ref().and_then(|failures| failures.down)
    }

    /// Whether what ended it was the end of its thread.
    pub(crate) fn ended_with_thread(&self) -> bool {
        let failures = self.failures();
        failures.as_ref().is_some_and(|it| it.ended_with_thread)
    }

    /// How it ended the last time, if it ever did.
    pub(crate) fn last_exit(&self) -> Option<Failing> {
        let failures = self.failures();
        let exit = failures.as_ref()?.last_exit.as_ref()?;
        Some(Failing {
            fault: Arc::new(exit.fault()),
            since: exit.time,
        })
    }

    /// For its shell, while it is down: resolves when it is to be started at once.
    pub(crate) fn starts(&self) -> oneshot::Receiver<()> {
        let (starter, starts) = oneshot::channel();
        self.failures().get_or_insert_default().starter = Some(starter);
        starts
    }

    /// Ends its backoff or quarantine, if it waits one out. What led there counts as before: one that
    /// was quarantined is on trial.
    pub(crate) fn start_now(&self) {
        let mut failures = self.failures();
        if let Some(starter) = failures.as_mut().and_then(|it| it.starter.take()) {
            // Nobody hears it if its shell has ended, or it was time anyway.
            starter.send(()).ok();
        }
    }

    /// It is tried at `now` although it would be left alone, unless that was so less than
    /// [`FORCED_EVERY`] ago: an error says how long it has to wait. What was reserved is used up.
    pub(crate) fn force(&self, now: Instant) -> Result<(), Duration> {
        let mut failures = self.failures();
        let failures = failures.get_or_insert_default();
        let reserved = std::mem::take(&mut failures.reserved);
        match failures.forced_wait(now) {
            Some(_) if reserved => Ok(()),
            Some(wait) => Err(wait),
            None => {
                failures.forced = Some(now);
                Ok(())
            }
        }
    }

    /// As [`Health::force`], for a caller that has yet to ask: the next one that tries it may.
    pub(crate) fn reserve_force(&self, now: Instant) -> Result<(), Duration> {
        let mut failures = self.failures();
        let failures = failures.get_or_insert_default();
        if let Some(wait) = failures.forced_wait(now) {
            return Err(wait);
        }
        failures.forced = Some(now);
        failures.reserved = true;
        Ok(())
    }

    /// The right that was reserved at `now` is not needed.
    pub(crate) fn give_back_force(&self, now: Instant) {
        if let Some(failures) = &mut *self.failures()
            && failures.reserved
            && failures.forced == Some(now)
        {
            (failures.forced, failures.reserved) = (None, false);
        }
    }

    /// Forgets why it would be left alone, and starts it if it is down. Gives whether it was, and
    /// whether that was a quarantine.
    pub(crate) fn reset(&self) -> Option<bool> {
        self.on_trial.store(false, Ordering::Release);
        let down = {
            let mut failures = self.failures();
            let failures = failures.as_mut()?;
            failures.history = RestartHistory::default();
            failures.forced = None;
            failures.reserved = false;
            failures.down
        };
        self.start_now();
        down.map(|down| down.quarantined)
    }

    /// Its backoff or quarantine is over.
    pub(crate) fn restarted(&self) {
        self.restarts.fetch_add(1, Ordering::Relaxed);
    }

    /// It runs.
    pub(crate) fn started(&self) {
        if let Some(failures) = &mut *self.failures() {
            failures.down = None;
            failures.starter = None;
        }
    }

    /// It did its work: if that was its trial after a quarantine, it is over.
    pub(crate) fn worked(&self) {
        if self.on_trial.load(Ordering::Acquire) {
            self.on_trial.store(false, Ordering::Release);
            if let Some(failures) = &mut *self.failures() {
                failures.history.passed_trial();
            }
        }
    }

    /// What anybody may know at `now`.
    pub(crate) fn state(&self, now: Instant) -> ChildState {
        let failures = self.failures();
        let failures = failures.as_ref();
        let down = failures.and_then(|failures| failures.down);
        ChildState {
            liveness: down.map_or(Liveness::Running, |down| {
                let wait = down.until.map(|until| until.saturating_duration_since(now));
                if down.quarantined {
                    Liveness::Quarantined(wait.unwrap_or_default())
                } else {
                    Liveness::Restarting(wait)
                }
            }),
            restarts: self.restarts.load(Ordering::Relaxed),
            last_exit: failures.and_then(|failures| failures.last_exit.clone()),
            forced: failures.and_then(|failures| failures.forced_wait(now)),
        }
    }
}
