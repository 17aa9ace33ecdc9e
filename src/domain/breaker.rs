//! The circuit breaker of one device: after failures in a row it is left alone for a while.
//!
//! It counts *operational* failures, those a working driver reports of a device; crashes of the
//! code that asks are supervision's (`restart`). The pattern is Nygard's (*Release It!*, "Circuit
//! Breaker"). The clock is an argument.
//!
//! | state | a request | next |
//! | --- | --- | --- |
//! | closed | asks | open after `failures` failures in a row, or one `auth` failure |
//! | open | answers `breaker_open` at once | half-open when its time is over |
//! | half-open | asks: the trial; requests meanwhile join it | closed if it succeeds, else open again |
//!
//! A trial that is cut off (nobody waits any more, the code that asked crashed) proves nothing: the
//! next request is the trial.

use std::time::Duration;

use super::FaultKind;

/// When a breaker opens, and for how long, from `[lookup]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerPolicy {
    /// Failures in a row that open it; 0 leaves it to `auth` failures alone.
    pub failures: u32,
    /// How long it stays open the first time; doubled after each failed trial.
    pub open_min: Duration,
    /// The longest it stays open. After an `auth` failure it does so at once: devices lock out
    /// who repeats wrong credentials.
    pub open_max: Duration,
}

impl Default for BreakerPolicy {
    fn default() -> Self {
        Self {
            failures: 5,
            open_min: Duration::from_secs(30),
            open_max: Duration::from_secs(600),
        }
    }
}

/// What a breaker does with a request at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// The device is asked.
    Closed,
    /// The device is not asked; it will be again after this time.
    Open(Duration),
    /// The next lookup, or the one under way, decides.
    HalfOpen,
}

impl BreakerState {
    /// As it stands in JSON, logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open(_) => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// One device's breaker. `now` is always the time since some fixed moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Breaker {
    /// Failures since the last success.
    in_a_row: u32,
    /// How often it has opened since it was closed last.
    openings: u32,
    /// When it turns half-open; `None` is closed.
    until: Option<Duration>,
}

impl Breaker {
    /// What it does with a request at `now`.
    #[must_use]
    pub fn state(&self, now: Duration) -> BreakerState {
        match self.until {
            None => BreakerState::Closed,
            Some(until) if now < until => BreakerState::Open(until - now),
            Some(_) => BreakerState::HalfOpen,
        }
    }

    /// Whether it is closed, whatever the time.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.until.is_none()
    }

    /// Failures since the last success.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.in_a_row
    }

    /// A lookup succeeded. Returns whether that closed it.
    pub fn succeeded(&mut self) -> bool {
        std::mem::take(self).until.is_some()
    }

    /// A lookup failed with an operational `kind` at `now`. Returns for how long it opened, if so.
    pub fn failed(
        &mut self,
        policy: &BreakerPolicy,
        kind: FaultKind,
        now: Duration,
    ) -> Option<Duration> {
        self.in_a_row = self.in_a_row.saturating_add(1);
        let is_auth = kind == FaultKind::Auth;
        let is_full = policy.failures > 0 && self.in_a_row >= policy.failures;
        if !(is_auth || is_full || self.until.is_some()) {
            return None;
        }
        let open = if is_auth {
            policy.open_max
        } else {
            let factor = 2_u32.saturating_pow(self.openings);
            policy.open_min.saturating_mul(factor).min(policy.open_max)
        };
        self.openings = self.openings.saturating_add(1);
        self.until = Some(now.saturating_add(open));
        Some(open)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const POLICY: BreakerPolicy = BreakerPolicy {
        failures: 3,
        open_min: Duration::from_secs(10),
        open_max: Duration::from_secs(35),
    };

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn it_opens_at_the_threshold_and_half_opens_when_its_time_is_over() {
        let mut breaker = Breaker::default();
        assert_eq!(breaker.failed(&POLICY, FaultKind::Refused, secs(0)), None);
        assert_eq!(breaker.failed(&POLICY, FaultKind::TimedOut, secs(1)), None);
        assert_eq!(breaker.state(secs(1)), BreakerState::Closed);
        assert_eq!(
            breaker.failed(&POLICY, FaultKind::Failed, secs(2)),
            Some(secs(10))
        );
        assert_eq!(breaker.state(secs(3)), BreakerState::Open(secs(9)));
        assert_eq!(breaker.state(secs(12)), BreakerState::HalfOpen);
        assert!(breaker.succeeded());
        assert_eq!(breaker, Breaker::default());
    }

    #[test]
    fn a_success_starts_the_count_over() {
        let mut breaker = Breaker::default();
        for _ in 0..10 {
            assert_eq!(breaker.failed(&POLICY, FaultKind::Failed, secs(0)), None);
            assert_eq!(breaker.failed(&POLICY, FaultKind::Failed, secs(0)), None);
            assert!(!breaker.succeeded());
        }
    }

    #[test]
    fn each_failed_trial_doubles_the_time_up_to_the_maximum() {
        let mut breaker = Breaker::default();
        let opened: Vec<_> = (0..6)
            .filter_map(|n| breaker.failed(&POLICY, FaultKind::Failed, secs(n * 100)))
            .collect();
        assert_eq!(opened, [10, 20, 35, 35].map(secs));
    }

    #[test]
    fn an_authentication_failure_opens_it_at_once_and_for_long() {
        for failures in [0, 3] {
            let policy = BreakerPolicy { failures, ..POLICY };
            let mut breaker = Breaker::default();
            assert_eq!(
                breaker.failed(&policy, FaultKind::Auth, secs(0)),
                Some(secs(35))
            );
            assert_eq!(breaker.state(secs(34)), BreakerState::Open(secs(1)));
        }
    }

    #[test]
    fn without_a_threshold_other_failures_never_open_it() {
        let policy = BreakerPolicy {
            failures: 0,
            ..POLICY
        };
        let mut breaker = Breaker::default();
        assert!((0..1000).all(|n| {
            breaker
                .failed(&policy, FaultKind::Failed, secs(n))
                .is_none()
        }));
    }

    proptest! {
        /// Against a model that keeps the whole history of outcomes since the last success.
        #[test]
        fn it_agrees_with_counting_everything(
            steps in prop::collection::vec((0_u64..30, 0_u8..4), 1..80), failures in 0_u32..5,
        ) {
            let policy = BreakerPolicy { failures, ..POLICY };
            let (mut breaker, mut now) = (Breaker::default(), 0);
            let (mut since_success, mut openings, mut open_until) = (0_u32, 0_u32, None);
            for (wait, what) in steps {
                now += wait;
                let open = open_until.is_some_and(|until| now < until);
                prop_assert_eq!(matches!(breaker.state(secs(now)), BreakerState::Open(_)), open);
                if open { continue; }
                if what == 0 {
                    prop_assert_eq!(breaker.succeeded(), open_until.is_some());
                    (since_success, openings, open_until) = (0, 0, None);
                    continue;
                }
                let kind = if what == 1 { FaultKind::Auth } else { FaultKind::Unreachable };
                since_success += 1;
                let opens = kind == FaultKind::Auth || open_until.is_some()
                    || (failures > 0 && since_success >= failures);
                let time = if kind == FaultKind::Auth { 35 } else { (10_u64 << openings.min(5)).min(35) };
                prop_assert_eq!(breaker.failed(&policy, kind, secs(now)), opens.then(|| secs(time)));
                if opens {
                    openings += 1;
                    open_until = Some(now + time);
                }
            }
        }
    }
}
