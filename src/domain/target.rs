//! How a device is to be asked: the settings of `[lookup]` after inheritance, valid and complete.
//!
//! These are values only; `lookup` turns them into code that asks.

use std::time::Duration;

use super::{Backoff, BreakerPolicy, FaultKind};

/// Which driver asks a device, with what settings, and for how long at most.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// The longest one lookup may take, retries included. Queueing for `max_concurrent` is not
    /// counted: it counts against the collect's deadline.
    pub timeout: Duration,
    /// When a lookup that failed is tried again.
    pub retry: RetryPolicy,
    /// When the device is left alone after failures.
    pub breaker: BreakerPolicy,
    /// The driver and its settings.
    pub driver: DriverSettings,
}

/// When a lookup that failed is tried again, within its timeout.
///
/// Only transient kinds are ([`FaultKind::is_transient`]). A wait that would not end before the
/// timeout is not begun: the last failure is the outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// How many times more than once; 0 is no retry.
    pub retries: u32,
    /// The wait before each retry.
    pub backoff: Backoff,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            retries: 0,
            backoff: Backoff {
                min: Duration::from_millis(100),
                max: Duration::from_secs(2),
            },
        }
    }
}

/// The settings of each kind of driver.
#[derive(Debug, Clone, PartialEq)]
pub enum DriverSettings {
    /// Asks nobody; behaves as told.
    Simulated(SimulatedSettings),
}

/// The simulated driver's settings.
#[derive(Debug, Clone, PartialEq)]
pub struct SimulatedSettings {
    /// How long a lookup takes; a failing or panicking one takes as long.
    pub latency: Duration,
    /// A lookup takes from `latency - jitter` to `latency + jitter`, evenly spread, at least 0.
    pub jitter: Duration,
    /// Decides jitter and faults, together with the device and the number of its lookup.
    pub seed: u64,
    /// What comes of a lookup.
    pub behaviour: Behaviour,
}

/// What comes of simulated lookups.
#[derive(Debug, Clone, PartialEq)]
pub enum Behaviour {
    /// Each lookup draws its fault by these probabilities.
    Random(FaultRates),
    /// The device's lookups do this in turn, and start over after the last; not empty.
    Script(Vec<Step>),
}

/// Probabilities of the faults of a simulated lookup, each from 0 to 1, together at most 1.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct FaultRates {
    /// It fails: a `failed` fault.
    pub fail: f64,
    /// It never ends: a `timed_out` fault, when the timeout passes.
    pub hang: f64,
    /// It panics: a `crashed` fault, and its actor is restarted.
    pub panic: f64,
}

/// What one simulated lookup does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It succeeds.
    Ok,
    /// It fails with this kind; one of [`Step::FAULTS`].
    Fail(FaultKind),
    /// It never ends.
    Hang,
    /// It panics.
    Panic,
}

impl Step {
    /// The kinds that a script may name: those that a driver of real machines gives, and `failed`.
    pub const FAULTS: [FaultKind; 6] = [
        FaultKind::Failed,
        FaultKind::Refused,
        FaultKind::Unreachable,
        FaultKind::Auth,
        FaultKind::Protocol,
        FaultKind::TooLarge,
    ];
}
