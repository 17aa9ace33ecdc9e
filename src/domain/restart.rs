//! When a failed actor comes back: OTP's restart intensity, with a backoff and a quarantine.
//!
//! A child may be restarted `intensity` times within `period`; the next failure within it puts the
//! child into quarantine ([Erlang/OTP, `supervisor`: Maximum Restart Intensity][otp], where the
//! supervisor itself would give up instead). OTP restarts at once; here each restart waits for a
//! [`Backoff`]. The clock and the dice are arguments.
//!
//! [otp]: https://www.erlang.org/doc/system/sup_princ.html#maximum-restart-intensity

use std::collections::VecDeque;
use std::time::Duration;

/// How long to wait before the next restart: exponential, with jitter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The shortest wait; not zero, so that a child that fails at once cannot spin.
    pub min: Duration,
    /// The longest wait.
    pub max: Duration,
}

impl Backoff {
    /// The wait before a restart, after `failures` failures in a row (1 for the first).
    ///
    /// It lies between `min` and `min * 2^failures`, at most `max`; `dice`, from 0 to 1, says where.
    /// Spread over the whole range ("full jitter"), children that failed together do not come back
    /// together.
    #[must_use]
    pub fn delay(&self, failures: u32, dice: f64) -> Duration {
        let factor = 2_u32.saturating_pow(failures);
        let ceiling = self.min.saturating_mul(factor).min(self.max).max(self.min);
        self.min + (ceiling - self.min).mul_f64(dice.clamp(0.0, 1.0))
    }
}

/// The rules by which failed actors come back, from `[supervision]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SupervisionPolicy {
    /// How many restarts pass within `period`; one more failure and the child is quarantined.
    pub intensity: u32,
    /// The sliding window over which `intensity` counts. A child that ran this long without a
    /// failure starts with a clean slate.
    pub period: Duration,
    /// The wait before each restart.
    pub backoff: Backoff,
    /// How long a quarantined child is left alone.
    pub quarantine: Duration,
}

impl Default for SupervisionPolicy {
    fn default() -> Self {
        Self {
            intensity: 5,
            period: Duration::from_secs(60),
            backoff: Backoff {
                min: Duration::from_millis(100),
                max: Duration::from_secs(30),
            },
            quarantine: Duration::from_secs(300),
        }
    }
}

/// What becomes of a child that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It comes back after this wait.
    Restart(Duration),
    /// It is left alone this long, then tried again.
    Quarantine(Duration),
}

/// The failures of one child that still count.
#[derive(Debug, Clone, Default)]
pub struct RestartHistory {
    /// When it failed, within the last `period`, oldest first; at most `intensity` entries.
    failures: VecDeque<Duration>,
    /// Failures in a row, none of them `period` after the one before; sets the backoff.
    in_a_row: u32,
    /// It comes back from quarantine, and has not proved itself: one failure and it goes back.
    on_trial: bool,
}

impl RestartHistory {
    /// Takes note of a failure at `now` and decides.
    ///
    /// `now` is the time since some fixed moment and must not go back; `uptime` is how long the
    /// child had been running; `dice`, from 0 to 1, places the jitter.
    pub fn failed(
        &mut self,
        policy: &SupervisionPolicy,
        now: Duration,
        uptime: Duration,
        dice: f64,
    ) -> Decision {
        let recovered = uptime >= policy.period;
        if recovered {
            self.in_a_row = 0;
        }
        self.in_a_row = self.in_a_row.saturating_add(1);
        while self
            .failures
            .front()
            .is_some_and(|&then| now.saturating_sub(then) >= policy.period)
        {
            self.failures.pop_front();
        }
        let failed_trial = self.on_trial && !recovered;
        self.on_trial = failed_trial || self.failures.len() >= policy.intensity as usize;
        if self.on_trial {
            self.failures.clear();
            return Decision::Quarantine(policy.quarantine);
        }
        self.failures.push_back(now);
        Decision::Restart(policy.backoff.delay(self.in_a_row, dice))
    }

    /// Whether it comes back from quarantine, and its first work decides.
    #[must_use]
    pub fn is_on_trial(&self) -> bool {
        self.on_trial
    }

    /// The trial went well: it starts with a clean slate. Does nothing to a child not on trial.
    pub fn passed_trial(&mut self) {
        if self.on_trial {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const POLICY: SupervisionPolicy = SupervisionPolicy {
        intensity: 3,
        period: Duration::from_secs(10),
        backoff: Backoff {
            min: Duration::from_millis(100),
            max: Duration::from_secs(1),
        },
        quarantine: Duration::from_secs(60),
    };

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn fail(history: &mut RestartHistory, now: u64, uptime: u64) -> bool {
        matches!(
            history.failed(&POLICY, secs(now), secs(uptime), 0.5),
            Decision::Quarantine(wait) if wait == POLICY.quarantine
        )
    }

    #[test]
    fn intensity_restarts_pass_and_the_next_within_the_period_quarantines() {
        let mut history = RestartHistory::default();
        let quarantined: Vec<bool> = (0..4).map(|now| fail(&mut history, now, 0)).collect();
        assert_eq!(quarantined, [false, false, false, true]);
    }

    #[test]
    fn a_failure_just_outside_the_period_does_not_count() {
        let mut history = RestartHistory::default();
        for now in [0, 1, 2, 10] {
            assert!(!fail(&mut history, now, 0), "at {now}");
        }
        assert!(fail(&mut history, 10, 0));
    }

    #[test]
    fn a_failed_trial_goes_straight_back_to_quarantine() {
        let mut history = RestartHistory::default();
        assert!((0..4).any(|_| fail(&mut history, 0, 0)));
        assert!(fail(&mut history, 100, 9), "failed on trial");
        assert!(!fail(&mut history, 200, 10), "had recovered");
        assert!(!fail(&mut history, 201, 0));
    }

    #[test]
    fn a_passed_trial_is_a_clean_slate() {
        let mut history = RestartHistory::default();
        assert!((0..4).any(|_| fail(&mut history, 0, 0)));
        assert!(history.is_on_trial());
        history.passed_trial();
        assert!(!history.is_on_trial());
        let quarantined: Vec<bool> = (0..4).map(|_| fail(&mut history, 100, 0)).collect();
        assert_eq!(quarantined, [false, false, false, true]);
        let mut young = RestartHistory::default();
        assert!(!fail(&mut young, 0, 0));
        young.passed_trial();
        assert!(!fail(&mut young, 0, 0) && !fail(&mut young, 0, 0));
        assert!(
            fail(&mut young, 0, 0),
            "success forgives nothing to one not on trial"
        );
    }

    #[test]
    fn intensity_zero_quarantines_at_once() {
        let policy = SupervisionPolicy {
            intensity: 0,
            ..POLICY
        };
        let decision = RestartHistory::default().failed(&policy, secs(0), secs(1000), 0.5);
        assert_eq!(decision, Decision::Quarantine(policy.quarantine));
    }

    #[test]
    fn backoff_doubles_up_to_its_maximum_and_starts_over_after_a_quiet_period() {
        let policy = SupervisionPolicy {
            intensity: 100,
            ..POLICY
        };
        let mut history = RestartHistory::default();
        let mut waits = |uptime| match history.failed(&policy, secs(0), secs(uptime), 1.0) {
            Decision::Restart(wait) => wait.as_millis(),
            Decision::Quarantine(_) => unreachable!("intensity is not reached"),
        };
        assert_eq!([0, 0, 0, 0, 0].map(&mut waits), [200, 400, 800, 1000, 1000]);
        assert_eq!(waits(10), 200);
    }

    proptest! {
        #[test]
        fn backoff_stays_within_its_bounds(
            min in 1_u64..10_000, more in 0_u64..100_000, failures in 0_u32.., dice in 0.0..=1.0,
        ) {
            let (min, max) = (Duration::from_millis(min), Duration::from_millis(min + more));
            let delay = Backoff { min, max }.delay(failures, dice);
            prop_assert!(min <= delay && delay <= max, "{:?}", delay);
        }

        /// Against a model that keeps every failure and counts those within the period.
        #[test]
        fn the_window_agrees_with_counting_everything(
            steps in prop::collection::vec(0_u64..8, 1..60), intensity in 0_u32..5,
        ) {
            let policy = SupervisionPolicy { intensity, ..POLICY };
            let (mut history, mut now) = (RestartHistory::default(), 0);
            let mut counted: Vec<u64> = Vec::new();
            for step in steps {
                now += step;
                let within = counted.iter().filter(|&&then| now - then < 10).count();
                let decision = history.failed(&policy, secs(now), secs(0), 0.0);
                if within >= intensity as usize {
                    prop_assert_eq!(decision, Decision::Quarantine(policy.quarantine));
                    // It stays on trial from here on; the model covers what comes before.
                    break;
                }
                prop_assert_eq!(decision, Decision::Restart(policy.backoff.min));
                counted.push(now);
            }
        }
    }
}
