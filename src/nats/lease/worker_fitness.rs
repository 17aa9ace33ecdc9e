//! Whether a worker is fit to have clusters.
//!
//! It is not while it does not hear what it says itself, or while one of its threads is stuck. One
//! that loses leases again and again is to have none for ever longer, as far as there are others.

use std::time::Duration;

use tokio::time::Instant;

use super::LeaseManager;
use crate::nats::lease::membership::Fitness;
use crate::nats::lock::lock;

/// The longest that one that loses leases is to have none, if a lease is not longer than that.
const LONGEST: Duration = Duration::from_secs(60);

/// Why a worker is not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    Deaf,
    Stuck,
    Unsteady,
}

impl Why {
    fn text(self) -> &'static str {
        match self {
            Self::Deaf => "it does not hear what it announces",
            Self::Stuck => "one of its threads is stuck",
            Self::Unsteady => "it lost leases again and again",
        }
    }
}

/// What a worker knows of itself.
#[derive(Debug, Default)]
pub(super) struct WorkerFitness {
    why: Option<Why>,
    is_stuck: bool,
    losses: Losses,
}

/// The times that a worker lost leases.
#[derive(Debug, Default)]
struct Losses {
    /// How many of them follow each other closely.
    count: u32,
    last: Option<Instant>,
    /// How long it is to have no clusters after the last one.
    wait: Duration,
}

impl Losses {
    /// Leases of such a length are lost; those that are lost within one of them are lost at once.
    fn lost(&mut self, now: Instant, lease: Duration) {
        let since = self.last.map(|last| now.saturating_duration_since(last));
        self.last = Some(now);
        if since.is_some_and(|since| since < lease) {
            return;
        }
        let longest = LONGEST.max(lease);
        let is_again = since.is_some_and(|since| since < 2 * longest);
        self.count = if is_again { self.count + 1 } else { 1 };
        // The first one says nothing.
        let doubled = 2_u32.saturating_pow(self.count - 1);
        self.wait = match self.count {
            1 => Duration::ZERO,
            _ => lease.saturating_mul(doubled).min(longest),
        };
    }

    fn is_unsteady(&self, now: Instant) -> bool {
        self.last.is_some_and(|last| now < last + self.wait)
    }
}

impl LeaseManager {
    /// Leases were lost.
    pub(super) fn note_loss(&self) {
        let mut worker_fitness = lock(&self.worker_fitness);
        worker_fitness
            .losses
            .lost(Instant::now(), self.worker.lease);
    }

    /// Whether a thread that runs clusters is stuck.
    pub(super) fn note_stuck(&self, is_stuck: bool) {
        lock(&self.worker_fitness).is_stuck = is_stuck;
    }

    /// Whether this worker has announced itself and not heard it.
    pub(super) fn is_deaf(&self) -> bool {
        lock(&self.membership).is_deaf(self.worker.lease / 2)
    }

    /// Whether this worker is to have clusters now; says in the log when that changes.
    pub(super) fn fitness(&self) -> Fitness {
        let is_deaf = self.is_deaf();
        let mut worker_fitness = lock(&self.worker_fitness);
        let why = if is_deaf {
            Some(Why::Deaf)
        } else if worker_fitness.is_stuck {
            Some(Why::Stuck)
        } else if worker_fitness.losses.is_unsteady(Instant::now()) {
            Some(Why::Unsteady)
        } else {
            None
        };
        if why != worker_fitness.why {
            let losses = worker_fitness.losses.count;
            match why {
                None => log::info!("this worker is fit to have clusters again"),
                Some(Why::Unsteady) => {
                    let (why, wait_ms) =
                        (Why::Unsteady.text(), worker_fitness.losses.wait.as_millis());
                    log::warn!(why, losses, wait_ms = u64::try_from(wait_ms).unwrap_or(u64::MAX);
                               "this worker takes no clusters while others can");
                }
                Some(why) => log::warn!(why = why.text(); "this worker takes no clusters"),
            }
            worker_fitness.why = why;
        }
        drop(worker_fitness);
        let fitness = match why {
            None => Fitness::Fit,
            Some(Why::Unsteady) => Fitness::Unsteady,
            Some(Why::Deaf | Why::Stuck) => Fitness::Unfit,
        };
        lock(&self.membership).set_fitness(fitness);
        fitness
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(2);

    #[test]
    fn whoever_loses_leases_again_and_again_waits_longer() {
        let mut losses = Losses::default();
        let mut now = Instant::now();
        assert!(!losses.is_unsteady(now));
        for wait in [0, 4, 8, 16, 32, 60, 60] {
            // Several are lost at once.
            losses.lost(now, LEASE);
            losses.lost(now + LEASE / 4, LEASE);
            let last = now + LEASE / 4;
            let wait = Duration::from_secs(wait);
            assert_eq!(losses.wait, wait);
            assert_eq!(losses.is_unsteady(last), !wait.is_zero());
            assert!(!losses.is_unsteady(last + wait));
            now = last + wait + LEASE;
        }
        losses.lost(now + 3 * LONGEST, LEASE);
        assert_eq!(losses.wait, Duration::ZERO, "it was well for long");
    }
}
