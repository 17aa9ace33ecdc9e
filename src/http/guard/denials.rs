//! Log lines of refused requests: one a second at most, however many there are.

use std::net::IpAddr;
use std::time::Duration;

use super::refusal::Refusal;
use crate::telemetry::LogLimit;

/// How often it is logged that somebody tried what they may not.
const LOG_EVERY: Duration = Duration::from_secs(1);

/// The longest part of a path that is logged, in bytes.
const MAX_PATH_LEN: usize = 256;

/// What bounds those lines.
#[derive(Debug, Default)]
pub(super) struct Denials(LogLimit);

impl Denials {
    /// Logs a refusal. The query stays out: people put secrets there.
    pub(super) fn note(&self, refusal: &Refusal, client: IpAddr, path: &str) {
        let path = &path[..path.floor_char_boundary(MAX_PATH_LEN)];
        if !refusal.is_denial() {
            log::debug!(client:%, path, error:% = refusal; "request refused");
            return;
        }
        let Some(unlogged) = self.0.pass(LOG_EVERY) else {
            return;
        };
        log::warn!(client:%, path, unlogged, error:% = refusal; "request refused");
    }
}
