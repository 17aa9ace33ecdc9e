//! What is known of a cluster and its devices, as it travels.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::outcome::WireOutcome;
use super::protocol::LONGEST;
use super::time::micros;
use crate::domain::{
    BreakerState, ChildState, DeviceId, DeviceKind, DeviceState, LastExit, LastLookup, Liveness,
};

/// What is known of a device that was asked or failed.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct WireDeviceState<'a> {
    #[serde(rename = "d")]
    pub(crate) place: u32,
    /// Its last lookup, if there was one.
    #[serde(rename = "l", borrow, default, skip_serializing_if = "Option::is_none")]
    last: Option<WireOutcome<'a>>,
    /// How long ago a lookup succeeded.
    #[serde(rename = "g", default, skip_serializing_if = "Option::is_none")]
    success_us: Option<u64>,
    /// How long ago it began to fail, if it does.
    #[serde(rename = "w", default, skip_serializing_if = "Option::is_none")]
    failing_us: Option<u64>,
    /// Failures in a row.
    #[serde(rename = "n", default, skip_serializing_if = "is_zero")]
    failures: u32,
    /// Its circuit breaker, unless that is closed.
    #[serde(rename = "b", default, skip_serializing_if = "Option::is_none")]
    breaker: Option<WireBreaker>,
    /// Its actor, unless that never failed.
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    child: Option<WireChildState>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// A circuit breaker that is not closed.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum WireBreaker {
    /// For so long, in microseconds.
    Open(u64),
    HalfOpen,
}

/// How an actor is.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct WireChildState {
    /// If it does not run: whether it is quarantined, and for how long, in microseconds, if that is
    /// known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    down: Option<(bool, Option<u64>)>,
    #[serde(default, skip_serializing_if = "is_zero")]
    restarts: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    exit: Option<WireExit>,
    /// How long it may not be tried by force again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    forced: Option<u64>,
}

/// Why an actor ended last.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct WireExit {
    reason: String,
    message: String,
    at: String,
    ago_us: u64,
    uptime_us: u64,
}

/// A hundred years.
const LONGEST_TIME: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// What `LastExit::reason` can be.
const REASONS: [&str; 4] = ["panic", "error", "stopped", "thread"];

impl WireChildState {
    pub(crate) fn new(child: &ChildState) -> Self {
        let wait = child.liveness.again_in().map(micros);
        let exit = child.last_exit.as_deref().map(|exit| WireExit {
            reason: exit.reason.to_owned(),
            message: exit.message.clone(),
            at: exit.at.clone(),
            ago_us: micros(exit.time.elapsed().unwrap_or_default()),
            uptime_us: micros(exit.uptime),
        });
        Self {
            down: match child.liveness {
                Liveness::Running => None,
                Liveness::Restarting(_) => Some((false, wait)),
                Liveness::Quarantined(_) => Some((true, wait)),
            },
            restarts: child.restarts,
            exit,
            forced: child.forced.map(micros),
        }
    }

    /// As it is shown, of an actor of this role; a reason that is not known here is `error`.
    pub(crate) fn state(self, role: &'static str) -> ChildState {
        let exit = |exit: WireExit| {
            let reason = REASONS.iter().find(|it| **it == exit.reason);
            Box::new(LastExit {
                role,
                reason: reason.copied().unwrap_or("error"),
                message: exit.message,
                at: exit.at,
                time: before_now(duration(exit.ago_us)),
                uptime: duration(exit.uptime_us),
            })
        };
        ChildState {
            liveness: match self.down {
                None => Liveness::Running,
                Some((false, wait)) => Liveness::Restarting(wait.map(duration)),
                Some((true, wait)) => Liveness::Quarantined(duration(wait.unwrap_or_default())),
            },
            restarts: self.restarts,
            last_exit: self.exit.map(exit),
            forced: self.forced.map(duration),
        }
    }

    fn len(&self) -> usize {
        let exit = self.exit.as_ref();
        60 + exit.map_or(0, |exit| 100 + exit.message.len() + exit.at.len())
    }
}

/// As long as it is said to be, but no longer than anything is that fleetcall waits for or remembers:
/// nobody's clock shows the year that follows from the longest.
fn duration(us: u64) -> Duration {
    Duration::from_micros(us).min(LONGEST_TIME)
}

/// The Unix epoch for what is longer ago than clocks show.
fn before_now(age: Duration) -> SystemTime {
    let time = SystemTime::now().checked_sub(age);
    time.unwrap_or(SystemTime::UNIX_EPOCH)
        .max(SystemTime::UNIX_EPOCH)
}

impl<'a> WireDeviceState<'a> {
    /// `None` for a device that was never asked and never failed: nothing need be said of that.
    pub(crate) fn new(place: u32, state: &'a DeviceState, facts: bool) -> Option<Self> {
        let last = state.last.as_ref().map(|last| {
            let said = WireOutcome::aged(place, &last.outcome, Some(last.age), last.took);
            if facts && said.len() <= LONGEST {
                said
            } else {
                said.without_facts()
            }
        });
        let never_failed =
            state.child.is_plain() && state.child.restarts == 0 && state.child.forced.is_none();
        let said = Self {
            place,
            success_us: state.last_success.map(micros),
            failing_us: state
                .failing_since
                .map(|since| micros(since.elapsed().unwrap_or_default())),
            failures: state.failures,
            breaker: match state.breaker {
                BreakerState::Closed => None,
                BreakerState::Open(wait) => Some(WireBreaker::Open(micros(wait))),
                BreakerState::HalfOpen => Some(WireBreaker::HalfOpen),
            },
            child: (!never_failed).then(|| WireChildState::new(&state.child)),
            last,
        };
        (said.last.is_some() || said.child.is_some()).then_some(said)
    }

    /// About how long it is, in bytes.
    pub(crate) fn len(&self) -> usize {
        let last = self.last.as_ref().map_or(0, WireOutcome::len);
        80 + last + self.child.as_ref().map_or(0, WireChildState::len)
    }

    /// As it is shown, of this device.
    pub(crate) fn state(self, kind: DeviceKind, id: DeviceId) -> DeviceState {
        let last = self.last.map(|said| {
            let told = said.told();
            let (age, took) = told.observed.unwrap_or_default();
            LastLookup {
                outcome: told.outcome,
                age,
                at: before_now(age),
                took,
            }
        });
        let success = self.success_us.map(duration);
        DeviceState {
            id,
            child: self.child.unwrap_or_default().state(kind.as_str()),
            breaker: match self.breaker {
                None => BreakerState::Closed,
                Some(WireBreaker::Open(wait)) => BreakerState::Open(duration(wait)),
                Some(WireBreaker::HalfOpen) => BreakerState::HalfOpen,
            },
            failures: self.failures,
            last,
            last_success: success,
            last_success_at: success.map(before_now),
            failing_since: self.failing_us.map(duration).map(before_now),
        }
    }
}
