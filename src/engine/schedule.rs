//! The schedule of a cluster: each device once in every interval, at an offset of its own.
//!
//! A device's offset is a hash of its name, so it is the same after a restart of anything, and
//! devices spread over the interval. Offsets count from the Unix epoch: a device with offset 17 s in
//! an interval of 60 s is asked at 17 s past each minute. The wall clock is read once, when a ticker
//! is made; from then on the monotonic clock counts.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::{Instant, Sleep, sleep_until};
use xxhash_rust::xxh3::xxh3_64;

use super::device::Device;
use crate::domain::{ClusterId, DeviceId, DeviceKind};

/// Says which device's time has come.
pub(super) struct Ticker {
    agenda: Agenda,
    start: Instant,
    sleep: Pin<Box<Sleep>>,
}

impl Ticker {
    /// Follows the schedule from now on. What came due after `since` counts as missed.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub(super) fn new(
        cluster: &ClusterId,
        devices: &[Arc<Device>],
        every: Duration,
        since: Option<Instant>,
    ) -> Self {
        let every_ms = u64::try_from(every.as_millis()).unwrap_or(u64::MAX).max(1);
        let offset = |device: &Arc<Device>| {
            let (kind, id) = device.identity();
            offset_ms(cluster, kind, id, every_ms)
        };
        let offsets = devices.iter().map(offset).collect();
        let now = Instant::now();
        let start = since.unwrap_or(now);
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
        let since_epoch = since_epoch.unwrap_or_default().saturating_sub(now - start);
        let since_epoch = since_epoch.as_millis();
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a remainder of a u64's divisor fits in it"
        )]
        let phase_ms = (since_epoch % u128::from(every_ms)) as u64;
        let mut agenda = Agenda::new(offsets, every_ms, phase_ms);
        let gap_ms = u64::try_from((now - start).as_millis()).unwrap_or(u64::MAX);
        agenda.miss_until(gap_ms);
        Self {
            agenda,
            start,
            sleep: Box::pin(sleep_until(start)),
        }
    }

    /// The next device whose time has come, by its place in the cluster.
    pub(super) fn poll_next(&mut self, task: &mut TaskContext<'_>) -> Poll<usize> {
        loop {
            let now = self.start.elapsed();
            let now_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
            if let Some(device) = self.agenda.due(now_ms) {
                return Poll::Ready(device);
            }
            let Some(next_ms) = self.agenda.next_ms() else {
                return Poll::Pending;
            };
            let next = self.start + Duration::from_millis(next_ms);
            if self.sleep.deadline() != next {
                self.sleep.as_mut().reset(next);
            }
            if self.sleep.as_mut().poll(task).is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// How many ticks could not even be given since this was asked last.
    pub(super) fn take_missed(&mut self) -> u64 {
        std::mem::take(&mut self.agenda.missed)
    }
}

/// When in the interval the device is asked, in whole milliseconds from 0 to below `every_ms`.
fn offset_ms(cluster: &ClusterId, kind: DeviceKind, device: &DeviceId, every_ms: u64) -> u64 {
    // `/` stands in no id, so no two devices look alike.
    xxh3_64(format!("{cluster}/{kind}/{device}").as_bytes()) % every_ms
}

/// Who is due when; times in milliseconds since the ticker began.
#[derive(Debug)]
struct Agenda {
    /// Offset within the interval, and the device; sorted.
    entries: Box<[(u64, u32)]>,
    every_ms: u64,
    /// When the current interval began; before the ticker did, so kept with `every_ms` added.
    interval_ms: u64,
    /// The next entry of the current interval.
    next: usize,
    /// Ticks of intervals that passed as a whole while nobody looked.
    missed: u64,
}

impl Agenda {
    /// `phase_ms` of the current interval have passed already.
    fn new(offsets: Vec<u64>, every_ms: u64, phase_ms: u64) -> Self {
        let entries = (0_u32..).zip(offsets);
        let mut entries: Box<[_]> = entries.map(|(device, offset)| (offset, device)).collect();
        entries.sort_unstable();
        let next = entries.partition_point(|&(offset, _)| offset < phase_ms);
        Self {
            entries,
            every_ms,
            interval_ms: every_ms - phase_ms,
            next,
            missed: 0,
        }
    }

    /// When the next device is due; `None` if there is no device.
    fn next_ms(&self) -> Option<u64> {
        let (offset, interval_ms) = match self.entries.get(self.next) {
            Some(&(offset, _)) => (offset, self.interval_ms),
            None => (self.entries.first()?.0, self.interval_ms + self.every_ms),
        };
        Some((interval_ms + offset).saturating_sub(self.every_ms))
    }

    /// Everything that is due by `now_ms` is missed.
    fn miss_until(&mut self, now_ms: u64) {
        while self.due(now_ms).is_some() {
            self.missed += 1;
        }
    }

    /// A device that is due at `now_ms`, and not again before the next interval.
    fn due(&mut self, now_ms: u64) -> Option<usize> {
        if self.next_ms()? > now_ms {
            return None;
        }
        if self.next == self.entries.len() {
            self.next = 0;
            self.interval_ms += self.every_ms;
        }
        // How many whole intervals this is late: they are not made up for.
        let late =
            (now_ms + self.every_ms - self.interval_ms - self.entries[self.next].0) / self.every_ms;
        if late > 0 {
            self.interval_ms += late * self.every_ms;
            self.missed += late * self.entries.len() as u64;
        }
        let (_, device) = self.entries[self.next];
        self.next += 1;
        usize::try_from(device).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::Id;

    #[test]
    fn offsets_are_fixed_and_spread() {
        let offset = |n| offset_ms(&Id::number(1), DeviceKind::Node, &Id::number(n), 60_000);
        assert_eq!(
            offset(1),
            31_128,
            "the same in every build, or a restart would move it"
        );
        let mut quarters = [0; 4];
        for n in 0..4000 {
            quarters[usize::try_from(offset(n) / 15_000).unwrap()] += 1;
        }
        assert!(
            quarters.iter().all(|count| (900..1100).contains(count)),
            "{quarters:?}"
        );
        let switch = offset_ms(&Id::number(1), DeviceKind::Switch, &Id::number(1), 60_000);
        assert_ne!(switch, offset(1));
    }

    #[test]
    fn intervals_that_passed_unseen_are_missed_and_not_made_up_for() {
        let mut agenda = Agenda::new(vec![10, 60], 100, 0);
        assert_eq!(
            (agenda.due(9), agenda.due(10), agenda.due(10)),
            (None, Some(0), None)
        );
        assert_eq!(
            agenda.due(475),
            Some(1),
            "60 of the interval that began at 400"
        );
        assert_eq!(agenda.missed, 8);
        assert_eq!((agenda.due(475), agenda.next_ms()), (None, Some(510)));
    }

    #[test]
    fn what_came_due_while_nobody_followed_is_missed() {
        let mut agenda = Agenda::new(vec![10, 60, 90], 100, 50);
        // From 50 on: 60, 90, two whole intervals, and 10.
        agenda.miss_until(280);
        assert_eq!(agenda.missed, 9);
        assert_eq!((agenda.due(280), agenda.next_ms()), (None, Some(310)));
    }

    proptest! {
        /// Seen often enough, each device is due once in each interval, at its offset.
        #[test]
        fn each_device_is_due_once_in_each_interval(
            offsets in prop::collection::vec(0_u64..50, 1..20), phase in 0_u64..50,
        ) {
            let mut agenda = Agenda::new(offsets.clone(), 50, phase);
            let mut times = vec![Vec::new(); offsets.len()];
            for now in 0..500 {
                while let Some(device) = agenda.due(now) {
                    times[device].push(now);
                }
            }
            for (offset, times) in offsets.iter().zip(times) {
                let first = (50 + offset - phase) % 50;
                let expected: Vec<u64> = (0..).map(|n| first + n * 50).take_while(|&t| t < 500).collect();
                prop_assert_eq!(times, expected);
            }
            prop_assert_eq!(agenda.missed, 0);
        }
    }
}
