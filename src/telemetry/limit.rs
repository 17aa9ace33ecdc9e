//! A line of the log that others can cause: it is written once in a while at most.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Lets one line in so long through, and counts the others.
#[derive(Debug, Default)]
pub(crate) struct LogLimit(Mutex<LimitState>);

#[derive(Debug, Default)]
struct LimitState {
    passed_at: Option<Instant>,
    unlogged: u64,
}

impl LogLimit {
    /// If a line may be written now: how many were not since the last one.
    pub(crate) fn pass(&self, every: Duration) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.passed_at.is_some_and(|at| at.elapsed() < every) {
            state.unlogged += 1;
            return None;
        }
        state.passed_at = Some(Instant::now());
        Some(std::mem::take(&mut state.unlogged))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_line_in_so_long_says_how_many_were_not_written() {
        let limit = LogLimit::default();
        let every = Duration::from_secs(1);
        let passed: Vec<_> = (0..3).map(|_| limit.pass(every)).collect();
        assert_eq!(passed, [Some(0), None, None]);
        tokio::time::advance(every).await;
        assert_eq!(limit.pass(every), Some(2));
        tokio::time::advance(every).await;
        assert_eq!(limit.pass(every), Some(0));
    }
}
