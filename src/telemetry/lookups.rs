//! What is counted of lookups, and of what each request counts, apart on each thread that counts.
//!
//! A million devices count on every core at once; a counter that two cores write costs each of
//! them more than the rest of a lookup. So every thread has a share of its own, and who reads adds
//! them up.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use super::latency::{Histogram, Latency};
use crate::domain::{DriverKind, FaultKind};

/// As many threads count apart; beyond that, some share. Arbiters are as many as cores.
const SHARES: usize = 16;

/// Counts lookups.
#[derive(Debug, Default)]
pub(super) struct Lookups([ThreadCounters; SHARES]);

/// What some threads counted; on cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct ThreadCounters {
    /// Begun less ended, modulo 2^64: a lookup may end on another thread than it began on.
    under_way: AtomicUsize,
    /// Posted less taken up, in the same way.
    posted: AtomicUsize,
    joined: AtomicU64,
    collects_joined: AtomicU64,
    drivers: [DriverOutcomes; DriverKind::ALL.len()],
}

/// How one driver's lookups ended.
#[derive(Debug, Default)]
struct DriverOutcomes {
    ok: AtomicU64,
    faults: [AtomicU64; FaultKind::ALL.len()],
    /// Without those that were cut off.
    latency: Histogram,
}

impl DriverOutcomes {
    fn of(&self, fault: Option<FaultKind>) -> &AtomicU64 {
        fault.map_or(&self.ok, |kind| &self.faults[kind.index()])
    }
}

/// A lookup under way, until it is dropped.
#[derive(Debug)]
pub(crate) struct UnderWay<'a>(&'a Lookups);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.own().under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

/// This thread's place among so many, which threads take in turn.
pub(crate) fn thread_place(among: usize) -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static PLACE: usize = NEXT.fetch_add(1, Ordering::Relaxed);
    }
    // A thread that is ending may have lost its place.
    PLACE.try_with(|&place| place).unwrap_or_default() % among
}

impl Lookups {
    /// This thread's share.
    fn own(&self) -> &ThreadCounters {
        &self.0[thread_place(SHARES)]
    }

    pub(super) fn begin(&self) -> UnderWay<'_> {
        self.own().under_way.fetch_add(1, Ordering::Relaxed);
        UnderWay(self)
    }

    pub(super) fn ended(
        &self,
        driver: DriverKind,
        fault: Option<FaultKind>,
        took: Option<Duration>,
    ) {
        let outcomes = &self.own().drivers[driver as usize];
        outcomes.of(fault).fetch_add(1, Ordering::Relaxed);
        if let Some(took) = took {
            outcomes.latency.observe(took);
        }
    }

    pub(super) fn joined(&self) {
        self.own().joined.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn under_way(&self) -> usize {
        self.level(|share| &share.under_way)
    }

    pub(super) fn post(&self) {
        self.own().posted.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn take_up(&self) {
        self.own().posted.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn posted(&self) -> usize {
        self.level(|share| &share.posted)
    }

    /// How many there are of what is counted up on one thread and down on another.
    fn level(&self, of: impl Fn(&ThreadCounters) -> &AtomicUsize) -> usize {
        let shares = self.0.iter();
        let sum = shares.fold(0, |sum: usize, share| {
            sum.wrapping_add(of(share).load(Ordering::Relaxed))
        });
        // Of one that ends while this is read, only the end may have been seen.
        if sum > usize::MAX / 2 { 0 } else { sum }
    }

    pub(super) fn count(&self, driver: DriverKind, fault: Option<FaultKind>) -> u64 {
        let count = |share: &ThreadCounters| {
            let outcomes = &share.drivers[driver as usize];
            outcomes.of(fault).load(Ordering::Relaxed)
        };
        self.0.iter().map(count).sum()
    }

    pub(super) fn count_joined(&self) -> u64 {
        let joined = |share: &ThreadCounters| share.joined.load(Ordering::Relaxed);
        self.0.iter().map(joined).sum()
    }

    pub(super) fn collect_joined(&self) {
        self.own().collects_joined.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_collects_joined(&self) -> u64 {
        let joined = |share: &ThreadCounters| share.collects_joined.load(Ordering::Relaxed);
        self.0.iter().map(joined).sum()
    }

    pub(super) fn latency(&self, driver: DriverKind) -> Latency {
        let mut latency = Latency::none();
        for share in &self.0 {
            share.drivers[driver as usize]
                .latency
                .read_into(&mut latency);
        }
        latency
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_threads_count_apart_adds_up() {
        let lookups = Lookups::default();
        let driver = DriverKind::ALL[0];
        let left: usize = std::thread::scope(|scope| {
            let count = || {
                drop(lookups.begin());
                lookups.ended(driver, None, Some(Duration::from_millis(7)));
                lookups.ended(driver, Some(FaultKind::Failed), None);
                lookups.joined();
                // Ended on this test's thread.
                lookups.begin()
            };
            let threads: Vec<_> = (0..2 * SHARES).map(|_| scope.spawn(count)).collect();
            let open: Vec<_> = threads.into_iter().map(|it| it.join().unwrap()).collect();
            assert_eq!(lookups.under_way(), open.len());
            open.len()
        });
        assert_eq!(lookups.under_way(), 0);
        let each = left as u64;
        assert_eq!(lookups.count(driver, None), each);
        assert_eq!(lookups.count(driver, Some(FaultKind::Failed)), each);
        assert_eq!(lookups.count_joined(), each);
        assert_eq!(lookups.latency(driver).count, each);
        assert_eq!(lookups.latency(driver).sum, Duration::from_millis(7) * 32);
    }
}
