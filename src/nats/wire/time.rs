//! Times and durations as numbers.

use std::time::{Duration, SystemTime};

pub(in crate::nats) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Since the Unix epoch.
pub(in crate::nats) fn to_ms(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

/// The Unix epoch for what no clock shows.
pub(in crate::nats) fn from_ms(ms: u64) -> SystemTime {
    let since = Duration::from_millis(ms);
    let time = SystemTime::UNIX_EPOCH.checked_add(since);
    // What is later cannot be written as a date (RFC 3339 has years of four digits).
    time.filter(|_| ms < 253_402_300_800_000)
        .unwrap_or(SystemTime::UNIX_EPOCH)
}
