//! Log lines of refused requests: one a second at most, however many there are.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::refusal::Refusal;

/// How often it is logged that somebody tried what they may not.
const LOG_EVERY: Duration = Duration::from_secs(1);

/// The longest part of a path that is logged, in bytes.
const MAX_PATH_LEN: usize = 256;

/// When it was logged, and how many were not logged since.
#[derive(Debug, Default)]
pub(super) struct Denials(Mutex<(Option<Instant>, u64)>);

impl Denials {
    /// Logs a refusal. The query stays out: people put secrets there.
    pub(super) fn note(&self, refusal: &Refusal, client: IpAddr, path: &str) {
        let path = &path[..path.floor_char_boundary(MAX_PATH_LEN)];
        if !refusal.is_denial() {
            log::debug!(client:%, path, error:% = refusal; "request refused");
            return;
        }
        let unlogged = {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let (at, unlogged) = &mut *state;
            if at.is_some_and(|at| at.elapsed() < LOG_EVERY) {
                *unlogged += 1;
                return;
            }
            *at = Some(Instant::now());
            std::mem::take(unlogged)
        };
        log::warn!(client:%, path, unlogged, error:% = refusal; "request refused");
    }
}
