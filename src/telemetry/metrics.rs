//! Counters and gauges, handed to whoever counts; reading them is `http`'s and the tests'.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::domain::{FaultKind, Summary};

/// Everything this process counts, from its start. Cloning gives the same counters.
#[derive(Debug, Clone, Default)]
pub struct Metrics(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    collects: AtomicU64,
    cancelled: AtomicU64,
    refused: AtomicU64,
    faults: [AtomicU64; FaultKind::ALL.len()],
    crashes: AtomicU64,
    restarts: AtomicU64,
    quarantines: AtomicU64,
    gauges: [AtomicUsize; 4],
}

/// What can be there or not at a moment.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Gauge {
    /// Supervision shells: one for each actor, running or not.
    Shells,
    /// Actor values, one for each running actor.
    Actors,
    /// Lookups under way.
    Lookups,
    /// Collects under way.
    Collects,
}

/// How many of everything there are at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Census {
    /// Supervision shells: one for each actor, running or not.
    pub shells: usize,
    /// Actor values, one for each running actor.
    pub actors: usize,
    /// Lookups under way.
    pub lookups: usize,
    /// Collects under way.
    pub collects: usize,
}

/// Counts one more in a gauge until it is dropped.
#[derive(Debug)]
pub(crate) struct Guard {
    metrics: Metrics,
    gauge: Gauge,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.metrics.0.gauges[self.gauge as usize].fetch_sub(1, Ordering::Relaxed);
    }
}

impl Metrics {
    /// Counts one more in `gauge` until the guard is dropped.
    pub(crate) fn enter(&self, gauge: Gauge) -> Guard {
        self.0.gauges[gauge as usize].fetch_add(1, Ordering::Relaxed);
        Guard {
            metrics: self.clone(),
            gauge,
        }
    }

    /// A collect was answered.
    pub(crate) fn collected(&self, summary: &Summary) {
        self.0.collects.fetch_add(1, Ordering::Relaxed);
        for (kind, count) in summary.by_kind() {
            self.0.faults[kind.index()].fetch_add(count as u64, Ordering::Relaxed);
        }
    }

    /// A collect's caller went away.
    pub(crate) fn cancelled(&self) {
        self.0.cancelled.fetch_add(1, Ordering::Relaxed);
    }

    /// A collect was refused.
    pub(crate) fn refused(&self) {
        self.0.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// An actor failed.
    pub(crate) fn crashed(&self) {
        self.0.crashes.fetch_add(1, Ordering::Relaxed);
    }

    /// An actor runs again after a failure.
    pub(crate) fn restarted(&self) {
        self.0.restarts.fetch_add(1, Ordering::Relaxed);
    }

    /// An actor was quarantined.
    pub(crate) fn quarantined(&self) {
        self.0.quarantines.fetch_add(1, Ordering::Relaxed);
    }

    /// Collects answered, since the start.
    #[must_use]
    pub fn collects(&self) -> u64 {
        self.0.collects.load(Ordering::Relaxed)
    }

    /// Collects whose caller went away, since the start.
    #[must_use]
    pub fn collects_cancelled(&self) -> u64 {
        self.0.cancelled.load(Ordering::Relaxed)
    }

    /// Collects refused, since the start.
    #[must_use]
    pub fn collects_refused(&self) -> u64 {
        self.0.refused.load(Ordering::Relaxed)
    }

    /// Devices that failed in this way, summed over all collects.
    #[must_use]
    pub fn faults(&self, kind: FaultKind) -> u64 {
        self.0.faults[kind.index()].load(Ordering::Relaxed)
    }

    /// Actors that failed, since the start.
    #[must_use]
    pub fn crashes(&self) -> u64 {
        self.0.crashes.load(Ordering::Relaxed)
    }

    /// Actors that run again after a failure, since the start.
    #[must_use]
    pub fn restarts(&self) -> u64 {
        self.0.restarts.load(Ordering::Relaxed)
    }

    /// Times an actor was quarantined, since the start.
    #[must_use]
    pub fn quarantines(&self) -> u64 {
        self.0.quarantines.load(Ordering::Relaxed)
    }

    /// How many of everything there are at this moment.
    #[must_use]
    pub fn census(&self) -> Census {
        let now = |gauge: Gauge| self.0.gauges[gauge as usize].load(Ordering::Relaxed);
        Census {
            shells: now(Gauge::Shells),
            actors: now(Gauge::Actors),
            lookups: now(Gauge::Lookups),
            collects: now(Gauge::Collects),
        }
    }
}
