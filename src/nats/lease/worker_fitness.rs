//! Whether a worker is fit to have clusters.
//!
//! It is not while it does not hear what it says itself, or while one of its threads is stuck. One
//! that loses leases again and again is to have none for ever longer, as far as there are others.

use std::time::Duration;

use tokio::time::Instant;

/// The longest that one that loses leases is to have none, if a lease is not longer than that.
const LONGEST: Duration = Duration::from_secs(60);

/// Why a worker is not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    Deaf,
    Stuck,
    Unsteady,
}

impl Why {
    pub(super) fn text(self) -> &'static str {
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
    pub(super) why: Option<Why>,
    pub(super) is_stuck: bool,
    pub(super) losses: Losses,
}

/// The times that a worker lost leases.
#[derive(Debug, Default)]
pub(super) struct Losses {
    /// How many of them follow each other closely.
    pub(super) count: u32,
    last: Option<Instant>,
    /// How long it is to have no clusters after the last one.
    pub(super) wait: Duration,
}

impl Losses {
    /// Leases of such a length are lost; those that are lost within one of them are lost at once.
    pub(super) fn lost(&mut self, now: Instant, lease: Duration) {
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

    pub(super) fn is_unsteady(&self, now: Instant) -> bool {
        self.last.is_some_and(|last| now < last + self.wait)
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
