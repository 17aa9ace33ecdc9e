//! Log lines that others can bring about at any time, each of them seldom.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use super::lock::lock;

/// Before the same is logged again that others can bring about at any time.
const SELDOM: Duration = Duration::from_secs(600);

/// Bounds how often something is logged that others can bring about at any time.
#[derive(Debug, Default)]
pub(super) struct RareLog(Mutex<Option<Instant>>);

impl RareLog {
    /// Whether it was not logged for long, and is now.
    pub(super) fn is_due(&self) -> bool {
        let mut last = lock(&self.0);
        let is_due = last.is_none_or(|at| at.elapsed() >= SELDOM);
        if is_due {
            *last = Some(Instant::now());
        }
        is_due
    }
}
