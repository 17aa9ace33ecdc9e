//! Counters and gauges, handed to whoever counts; reading them is `server`'s and the tests'.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use super::latency::Latency;
use super::lookups::{Lookups, UnderWay};
use crate::domain::{DriverKind, FaultKind, LocalReason, Summary};

/// Everything this process counts, from its start. Cloning gives the same counters.
#[derive(Debug, Clone, Default)]
pub struct Metrics(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    collects: AtomicU64,
    partial: AtomicU64,
    cancelled: AtomicU64,
    refused: AtomicU64,
    faults: [AtomicU64; FaultKind::ALL.len()],
    crashes: AtomicU64,
    restarts: AtomicU64,
    quarantines: AtomicU64,
    lookups: Lookups,
    local_failures: [AtomicU64; LocalReason::ALL.len()],
    retries: AtomicU64,
    breakers_opened: AtomicU64,
    breakers_closed: AtomicU64,
    ticks: AtomicU64,
    ticks_skipped: AtomicU64,
    reloads: AtomicU64,
    reloads_refused: AtomicU64,
    discoveries: AtomicU64,
    discoveries_failed: AtomicU64,
    gauges: [AtomicUsize; 3],
}

/// What can be there or not at a moment.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Gauge {
    /// Supervision shells: one for each actor, running or not.
    Shells,
    /// Actor values, one for each running actor.
    Actors,
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
        self.metrics.fall(self.gauge);
    }
}

impl Metrics {
    /// Counts one more in `gauge`, for whoever is too small to hold a guard.
    pub(crate) fn rise(&self, gauge: Gauge) {
        self.0.gauges[gauge as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts one less.
    pub(crate) fn fall(&self, gauge: Gauge) {
        self.0.gauges[gauge as usize].fetch_sub(1, Ordering::Relaxed);
    }

    /// Counts one more in `gauge` until the guard is dropped, unless there are `max` already.
    pub(crate) fn enter_below(&self, gauge: Gauge, max: usize) -> Option<Guard> {
        let more = |count: usize| (count < max).then_some(count + 1);
        let counter = &self.0.gauges[gauge as usize];
        counter
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .ok()?;
        Some(Guard {
            metrics: self.clone(),
            gauge,
        })
    }

    /// A part of a collect goes into a mailbox.
    pub(crate) fn posted(&self) {
        self.0.lookups.post();
    }

    /// It is out of it.
    pub(crate) fn taken_up(&self) {
        self.0.lookups.take_up();
    }

    /// A collect was answered.
    pub(crate) fn collected(&self, summary: &Summary) {
        self.0.collects.fetch_add(1, Ordering::Relaxed);
        if summary.failed() > 0 {
            self.0.partial.fetch_add(1, Ordering::Relaxed);
        }
        for (kind, count) in summary.by_kind() {
            self.0.faults[kind.index()].fetch_add(count as u64, Ordering::Relaxed);
        }
    }

    /// A collect's caller went away.
    pub(crate) fn cancelled(&self) {
        self.0.cancelled.fetch_add(1, Ordering::Relaxed);
    }

    /// A request joined a collect under way.
    pub(crate) fn collect_joined(&self) {
        self.0.lookups.collect_joined();
    }

    /// A collect was refused.
    pub(crate) fn refused(&self) {
        self.0.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// A lookup is under way until the guard is dropped.
    pub(crate) fn looking_up(&self) -> UnderWay<'_> {
        self.0.lookups.begin()
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

    /// A lookup ended: well, or with this kind of fault; after so long, unless it was cut off.
    pub(crate) fn looked_up(
        &self,
        driver: DriverKind,
        fault: Option<FaultKind>,
        took: Option<Duration>,
    ) {
        self.0.lookups.ended(driver, fault, took);
    }

    /// A lookup failed for want of something here; it is counted by [`Metrics::looked_up`] as well.
    pub(crate) fn failed_locally(&self, reason: LocalReason) {
        self.0.local_failures[reason.index()].fetch_add(1, Ordering::Relaxed);
    }

    /// A request joined a lookup under way.
    pub(crate) fn joined(&self) {
        self.0.lookups.joined();
    }

    /// A lookup is tried again after a transient failure.
    pub(crate) fn retried(&self) {
        self.0.retries.fetch_add(1, Ordering::Relaxed);
    }

    /// A circuit breaker opened, for the first time or again.
    pub(crate) fn breaker_opened(&self) {
        self.0.breakers_opened.fetch_add(1, Ordering::Relaxed);
    }

    /// A circuit breaker closed.
    pub(crate) fn breaker_closed(&self) {
        self.0.breakers_closed.fetch_add(1, Ordering::Relaxed);
    }

    /// The schedule had a device asked.
    pub(crate) fn ticked(&self) {
        self.0.ticks.fetch_add(1, Ordering::Relaxed);
    }

    /// So many devices were not asked though it was their time in the schedule.
    pub(crate) fn tick_skipped(&self, count: u64) {
        self.0.ticks_skipped.fetch_add(count, Ordering::Relaxed);
    }

    /// A list of devices was read, or could not be.
    pub(crate) fn discovered(&self, well: bool) {
        self.0.discoveries.fetch_add(1, Ordering::Relaxed);
        if !well {
            self.0.discoveries_failed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A reload was carried out, or refused.
    pub(crate) fn reloaded(&self, carried_out: bool) {
        let counter = if carried_out {
            &self.0.reloads
        } else {
            &self.0.reloads_refused
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Every counter by its name, in a fixed order.
    #[must_use]
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Counters {
            collects,
            cancelled,
            refused,
            crashes,
            restarts,
            quarantines,
            retries,
            breakers_opened,
            breakers_closed,
            ticks,
            ticks_skipped,
            reloads,
            reloads_refused,
            discoveries,
            discoveries_failed,
            partial: _,
            faults: _,
            lookups: _,
            local_failures: _,
            gauges: _,
        } = &*self.0;
        vec![
            ("collects", read(collects)),
            ("collects_cancelled", read(cancelled)),
            ("collects_joined", self.collects_joined()),
            ("collects_refused", read(refused)),
            ("lookups", self.lookups()),
            ("lookups_failed", self.lookups_failed()),
            ("retries", read(retries)),
            ("crashes", read(crashes)),
            ("restarts", read(restarts)),
            ("quarantines", read(quarantines)),
            ("breakers_opened", read(breakers_opened)),
            ("breakers_closed", read(breakers_closed)),
            ("ticks", read(ticks)),
            ("ticks_skipped", read(ticks_skipped)),
            ("reloads", read(reloads)),
            ("reloads_refused", read(reloads_refused)),
            ("discoveries", read(discoveries)),
            ("discoveries_failed", read(discoveries_failed)),
        ]
    }

    /// Lookups that ended, well or not, retries not counted apart, since the start.
    #[must_use]
    pub fn lookups(&self) -> u64 {
        let ok = |driver| self.lookups_by(driver, None);
        DriverKind::ALL.into_iter().map(ok).sum::<u64>() + self.lookups_failed()
    }

    fn lookups_failed(&self) -> u64 {
        let failed = FaultKind::ALL.map(|kind| self.lookup_faults(kind));
        failed.iter().sum()
    }

    /// One driver's lookups that ended well, or with this kind of fault, since the start.
    #[must_use]
    pub fn lookups_by(&self, driver: DriverKind, fault: Option<FaultKind>) -> u64 {
        self.0.lookups.count(driver, fault)
    }

    /// How long one driver's lookups took that were not cut off, since the start.
    #[must_use]
    pub fn latency(&self, driver: DriverKind) -> Latency {
        self.0.lookups.latency(driver)
    }

    /// Lookups that failed for want of this here, since the start.
    #[must_use]
    pub fn local_failures(&self, reason: LocalReason) -> u64 {
        self.0.local_failures[reason.index()].load(Ordering::Relaxed)
    }

    /// Requests that joined a lookup under way, since the start.
    #[must_use]
    pub fn lookups_joined(&self) -> u64 {
        self.0.lookups.count_joined()
    }

    /// Times a lookup was tried again, since the start.
    #[must_use]
    pub fn retries(&self) -> u64 {
        self.0.retries.load(Ordering::Relaxed)
    }

    /// Times a circuit breaker opened, since the start.
    #[must_use]
    pub fn breakers_opened(&self) -> u64 {
        self.0.breakers_opened.load(Ordering::Relaxed)
    }

    /// Lookups that the schedule began, since the start.
    #[must_use]
    pub fn ticks(&self) -> u64 {
        self.0.ticks.load(Ordering::Relaxed)
    }

    /// Times a device was not asked though it was its time in the schedule, since the start.
    #[must_use]
    pub fn ticks_skipped(&self) -> u64 {
        self.0.ticks_skipped.load(Ordering::Relaxed)
    }

    /// Lookups that ended with this kind of fault, since the start.
    #[must_use]
    pub fn lookup_faults(&self, kind: FaultKind) -> u64 {
        let failed = |driver| self.lookups_by(driver, Some(kind));
        DriverKind::ALL.into_iter().map(failed).sum()
    }

    /// Collects answered, since the start.
    #[must_use]
    pub fn collects(&self) -> u64 {
        self.0.collects.load(Ordering::Relaxed)
    }

    /// Collects answered with a device that failed, since the start.
    #[must_use]
    pub fn collects_partial(&self) -> u64 {
        self.0.partial.load(Ordering::Relaxed)
    }

    /// Collects whose caller went away, since the start.
    #[must_use]
    pub fn collects_cancelled(&self) -> u64 {
        self.0.cancelled.load(Ordering::Relaxed)
    }

    /// Requests that joined a collect under way, since the start.
    #[must_use]
    pub fn collects_joined(&self) -> u64 {
        self.0.lookups.count_collects_joined()
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

    /// Collects, or parts of them, that wait in the mailboxes of clusters' actors at this moment.
    #[must_use]
    pub fn mailboxes(&self) -> usize {
        self.0.lookups.posted()
    }

    /// How many of everything there are at this moment.
    #[must_use]
    pub fn census(&self) -> Census {
        let now = |gauge: Gauge| self.0.gauges[gauge as usize].load(Ordering::Relaxed);
        Census {
            shells: now(Gauge::Shells),
            actors: now(Gauge::Actors),
            lookups: self.0.lookups.under_way(),
            collects: now(Gauge::Collects),
        }
    }
}
