//! The supervision tree as it is at one moment, for people and programs to look at.
//!
//! These are values only: who reads them off the living children is `engine`.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::{BreakerState, ClusterId, DeviceId, Fault, FaultKind, Outcome};

/// Every supervised child, in topology order.
#[derive(Debug, Clone, PartialEq)]
pub struct SupervisionTree {
    /// The supervisor itself.
    pub supervisor: ChildState,
    /// The clusters, in configured order.
    pub clusters: Vec<ClusterState>,
}

/// A cluster's actor, and its devices'.
#[derive(Debug, Clone, PartialEq)]
pub struct ClusterState {
    /// Which cluster.
    pub id: ClusterId,
    /// Its own actor.
    pub child: ChildState,
    /// How many devices it has, also those that a filter left out.
    pub devices: usize,
    /// Its nodes, in configured order.
    pub nodes: Vec<DeviceState>,
    /// Its switches, in configured order.
    pub switches: Vec<DeviceState>,
}

/// A device's actor, and its circuit breaker.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceState {
    /// Which device.
    pub id: DeviceId,
    /// Its actor.
    pub child: ChildState,
    /// Its circuit breaker.
    pub breaker: BreakerState,
    /// Failures of its lookups since the last success.
    pub failures: u32,
    /// Its last lookup; `None` if none has ended.
    pub last: Option<LastLookup>,
    /// How long ago a lookup last succeeded; `None` if none has.
    pub last_success: Option<Duration>,
    /// When that was, by the wall clock; the same however often one looks.
    pub last_success_at: Option<SystemTime>,
    /// Since when it fails, by the wall clock; `None` if it does not.
    pub failing_since: Option<SystemTime>,
}

/// How a device or an actor fails, and since when: what stands behind a breaker that is not closed,
/// a backoff or a quarantine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failing {
    /// Its last failure.
    pub fault: Arc<Fault>,
    /// When the first failure was that no success has followed, by the wall clock.
    pub since: SystemTime,
}

impl fmt::Display for Failing {
    /// As it stands in messages: `refused: cannot connect, failing since 2026-11-28T09:00:00Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { fault, since } = self;
        let since = humantime::format_rfc3339_seconds(*since);
        write!(
            f,
            "{}: {}, failing since {since}",
            fault.kind(),
            fault.message()
        )
    }
}

/// What came of a device's last lookup.
#[derive(Debug, Clone, PartialEq)]
pub struct LastLookup {
    /// What it came to.
    pub outcome: Outcome,
    /// How long ago that was.
    pub age: Duration,
    /// When that was, by the wall clock; the same however often one looks.
    pub at: SystemTime,
    /// How long it took, retries included; `None` if a collect's deadline cut it off.
    pub took: Option<Duration>,
}

impl DeviceState {
    /// The same, so much later, if nothing else happened.
    #[must_use]
    pub fn later(mut self, by: Duration) -> Self {
        self.child = self.child.later(by);
        if let BreakerState::Open(wait) = self.breaker {
            self.breaker = match wait.saturating_sub(by) {
                Duration::ZERO => BreakerState::HalfOpen,
                rest => BreakerState::Open(rest),
            };
        }
        if let Some(last) = &mut self.last {
            last.age += by;
        }
        self.last_success = self.last_success.map(|it| it + by);
        self
    }

    /// How long ago its last lookup ended, however it did; `None` if none has.
    #[must_use]
    pub fn last_lookup(&self) -> Option<Duration> {
        self.last.as_ref().map(|last| last.age)
    }

    /// Whether it answered when it was last asked, and nothing has failed since; `None` if it was
    /// not asked yet. `now` is the wall clock's, as that of its actor's last exit.
    #[must_use]
    pub fn is_up(&self, now: SystemTime) -> Option<bool> {
        if self.child.liveness != Liveness::Running || self.crash(now).is_some() {
            return Some(false);
        }
        self.last.as_ref().map(|last| last.outcome.is_ok())
    }

    /// How its actor crashed, if that is the last thing that is known: no lookup has ended since.
    /// `now` is the wall clock's, as that of the exit.
    #[must_use]
    pub fn crash(&self, now: SystemTime) -> Option<&LastExit> {
        // The end of a thread is nothing that the device, or the code that asks it, did.
        let exit = self.child.last_exit.as_deref();
        let exit = exit.filter(|exit| exit.reason != "thread")?;
        let since_exit = now.duration_since(exit.time).unwrap_or_default();
        let is_last = self.last.as_ref().is_none_or(|last| last.age > since_exit);
        is_last.then_some(exit)
    }

    /// How it fails, if it does: its actor crashed, or its last lookup failed. `now` is the wall
    /// clock's, as that of its actor's last exit.
    #[must_use]
    pub fn fault(&self, now: SystemTime) -> Option<Arc<Fault>> {
        match self.crash(now) {
            Some(exit) => Some(Arc::new(exit.fault())),
            None => self.last.as_ref()?.outcome.as_ref().err().cloned(),
        }
    }

    /// Whether its actor runs, has never failed, and its last lookup did not fail.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.child.is_plain()
            && self.failures == 0
            && self.breaker == BreakerState::Closed
            && self.failing_since.is_none()
    }
}

/// How often a device or a cluster that would be left alone may be tried by force.
pub const FORCED_EVERY: Duration = Duration::from_secs(10);

/// What keeps a device from being asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// Its circuit breaker is not closed.
    Breaker,
    /// Its actor, or that of its cluster, waits to be restarted.
    Backoff,
    /// Its actor, or that of its cluster, is quarantined.
    Quarantine,
}

impl Hold {
    /// Every one of them.
    pub const ALL: [Self; 3] = [Self::Breaker, Self::Backoff, Self::Quarantine];

    /// As it stands in JSON and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Breaker => "breaker",
            Self::Backoff => "backoff",
            Self::Quarantine => "quarantine",
        }
    }
}

/// What is known of one supervised actor.
#[derive(Debug, Clone, PartialEq)]
pub struct ChildState {
    /// Whether it runs.
    pub liveness: Liveness,
    /// How often it has been restarted since the process began, or since it was configured.
    pub restarts: u32,
    /// How it ended the last time, if it ever did.
    pub last_exit: Option<Box<LastExit>>,
    /// How long it may not be tried by force again, if it was a moment ago.
    pub forced: Option<Duration>,
}

impl ChildState {
    /// The same, so much later, if nothing else happened.
    #[must_use]
    pub fn later(mut self, by: Duration) -> Self {
        self.liveness = match self.liveness {
            Liveness::Running => Liveness::Running,
            Liveness::Restarting(wait) => {
                Liveness::Restarting(wait.map(|it| it.saturating_sub(by)))
            }
            Liveness::Quarantined(wait) => Liveness::Quarantined(wait.saturating_sub(by)),
        };
        let left = |wait: Duration| wait.checked_sub(by).filter(|it| !it.is_zero());
        self.forced = self.forced.and_then(left);
        self
    }

    /// How it ended, if it does not run.
    #[must_use]
    pub fn down_by(&self) -> Option<&LastExit> {
        let is_down = self.liveness != Liveness::Running;
        self.last_exit.as_deref().filter(|_| is_down)
    }

    /// Whether it runs and has never failed.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.liveness == Liveness::Running && self.last_exit.is_none()
    }
}

/// Whether an actor runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Liveness {
    /// It runs, or is about to for the first time.
    Running,
    /// It failed and comes back after this time; `None` while that is being decided.
    Restarting(Option<Duration>),
    /// It failed too often and is left alone for this time.
    Quarantined(Duration),
}

impl Liveness {
    /// As it stands in JSON and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Restarting(_) => "restarting",
            Self::Quarantined(_) => "quarantined",
        }
    }

    /// When it is back, as far as that is known.
    #[must_use]
    pub const fn again_in(self) -> Option<Duration> {
        match self {
            Self::Running => None,
            Self::Restarting(wait) => wait,
            Self::Quarantined(wait) => Some(wait),
        }
    }
}

/// What the end of an actor's thread means for the device or cluster.
pub(crate) const THREAD_ENDED: &str = "the thread that ran its actor ended";

/// How an actor ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastExit {
    /// Whose actor it was: `node`, `switch`, `cluster` or `supervisor`.
    pub role: &'static str,
    /// `panic`, `error` (its state could not be built), `stopped` (it stopped itself) or `thread`
    /// (the thread that ran it ended).
    pub reason: &'static str,
    /// What the panic or the error said; empty if it stopped itself.
    pub message: String,
    /// Where it panicked, as `file:line`; empty for other reasons.
    pub at: String,
    /// When that was, by the wall clock.
    pub time: SystemTime,
    /// How long it had been running.
    pub uptime: Duration,
}

impl LastExit {
    /// What it means for the device or cluster, and for who was waiting for it.
    #[must_use]
    pub fn fault(&self) -> Fault {
        let Self { role, message, .. } = self;
        Fault::new(
            FaultKind::Crashed,
            match self.reason {
                "panic" => format!("the {role} actor panicked: {message}"),
                "stopped" => format!("the {role} actor stopped itself"),
                "thread" => THREAD_ENDED.to_owned(),
                _ => format!("the {role} actor failed: {message}"),
            },
        )
    }
}

/// Which devices of a tree to show; clusters and the supervisor always are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TreeFilter {
    /// Every device.
    #[default]
    All,
    /// Devices that are not plain: down, restarted before, or with a lookup that failed last.
    Failures,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Facts, Id};

    #[test]
    fn a_device_is_up_when_its_last_lookup_succeeded_and_its_actor_has_not_failed_since() {
        let now = SystemTime::now();
        let secs = Duration::from_secs;
        let never = DeviceState {
            id: Id::number(1),
            child: ChildState {
                liveness: Liveness::Running,
                restarts: 0,
                last_exit: None,
                forced: None,
            },
            breaker: BreakerState::Closed,
            failures: 0,
            last: None,
            last_success: None,
            last_success_at: None,
            failing_since: None,
        };
        assert_eq!(never.is_up(now), None);
        let last = |outcome| {
            let age = secs(10);
            let took = None;
            Some(LastLookup {
                outcome,
                age,
                at: SystemTime::UNIX_EPOCH,
                took,
            })
        };
        let well = DeviceState {
            last: last(Ok(Facts::default())),
            ..never.clone()
        };
        assert_eq!(well.is_up(now), Some(true));
        let fault = Arc::new(Fault::new(FaultKind::Refused, ""));
        let failed = DeviceState {
            last: last(Err(fault)),
            ..never.clone()
        };
        assert_eq!(failed.is_up(now), Some(false));
        let after = |state: &DeviceState, reason, age| {
            let mut state = state.clone();
            state.child.last_exit = Some(Box::new(LastExit {
                role: "node",
                reason,
                message: String::new(),
                at: String::new(),
                time: now - secs(age),
                uptime: secs(1),
            }));
            state.is_up(now)
        };
        assert_eq!(after(&never, "panic", 1), Some(false));
        assert_eq!(after(&well, "panic", 1), Some(false), "it crashed since");
        assert_eq!(after(&well, "panic", 20), Some(true), "it answered since");
        assert_eq!(after(&well, "thread", 1), Some(true), "not its fault");
        let mut down = well;
        down.child.liveness = Liveness::Restarting(None);
        assert_eq!(down.is_up(now), Some(false));
        assert_eq!(down.child.down_by(), None, "it never ended");
        let exit = LastExit {
            role: "node",
            reason: "stopped",
            message: String::new(),
            at: String::new(),
            time: now,
            uptime: secs(1),
        };
        assert_eq!(exit.fault().message(), "the node actor stopped itself");
        down.child.last_exit = Some(Box::new(exit.clone()));
        assert_eq!(down.child.down_by(), Some(&exit));
        down.child.liveness = Liveness::Running;
        assert_eq!(down.child.down_by(), None, "it runs again");
    }
}
