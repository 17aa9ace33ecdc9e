//! How long lookups took, as a histogram that may be counted into from every thread.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The upper bounds of all buckets but the last, which has none; in seconds. From what a local
/// network answers in to the longest that people wait; twelve are enough for quantiles that are
/// read off a graph, and few enough to be stored for every driver.
const BOUNDS: [f64; 12] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

/// As [`BOUNDS`], in microseconds.
const BOUNDS_US: [u64; BOUNDS.len()] = [
    5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
    10_000_000, 30_000_000,
];

/// Counts durations by size.
#[derive(Debug, Default)]
pub(super) struct Histogram {
    buckets: [AtomicU64; BOUNDS.len() + 1],
    sum_us: AtomicU64,
}

impl Histogram {
    /// One more; two additions, and no lock.
    pub(super) fn observe(&self, duration: Duration) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let place = BOUNDS_US.partition_point(|&bound| bound < us);
        self.buckets[place].fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    /// Adds what was counted so far to `latency`. What is being counted meanwhile is in it or not,
    /// by halves too.
    pub(super) fn read_into(&self, latency: &mut Latency) {
        for ((_, total), count) in latency.buckets.iter_mut().zip(&self.buckets) {
            let count = count.load(Ordering::Relaxed);
            *total += count;
            latency.count += count;
        }
        latency.sum += Duration::from_micros(self.sum_us.load(Ordering::Relaxed));
    }
}

/// How long lookups took.
#[derive(Debug, Clone, PartialEq)]
pub struct Latency {
    /// How many there were.
    pub count: u64,
    /// How long they took together.
    pub sum: Duration,
    /// The upper bound of each bucket, which is part of it, in seconds; and how many are in it and
    /// in none before.
    pub buckets: Vec<(f64, u64)>,
}

impl Latency {
    /// Nothing counted yet.
    pub(super) fn none() -> Self {
        let bounds = BOUNDS.into_iter().chain([f64::INFINITY]);
        Self {
            count: 0,
            sum: Duration::ZERO,
            buckets: bounds.map(|bound| (bound, 0)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_duration_is_in_the_first_bucket_that_is_large_enough() {
        for (bound, us) in BOUNDS.iter().zip(BOUNDS_US) {
            assert_eq!(Duration::from_secs_f64(*bound), Duration::from_micros(us));
        }
        let histogram = Histogram::default();
        for us in [0, 5_000, 5_001, 1_000_000, 30_000_000, 30_000_001] {
            histogram.observe(Duration::from_micros(us));
        }
        let mut read = Latency::none();
        histogram.read_into(&mut read);
        let filled: Vec<_> = read
            .buckets
            .iter()
            .filter(|(_, count)| *count > 0)
            .collect();
        assert_eq!(
            filled,
            [
                &(0.005, 2),
                &(0.01, 1),
                &(1.0, 1),
                &(30.0, 1),
                &(f64::INFINITY, 1)
            ]
        );
        assert_eq!(read.count, 6);
        assert_eq!(read.sum, Duration::from_micros(61_010_002));
    }
}
