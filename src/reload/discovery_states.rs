//! How reading the lists goes that devices are taken from, for callers.

use std::sync::TryLockError;

use super::discovery_sources::{DiscoverySource, DiscoveryState};
use super::{Applied, ReloadHandle};

impl Applied {
    fn states(&self) -> Vec<DiscoveryState> {
        let state = |(place, feed): (usize, &DiscoverySource)| {
            let refused = self.refused.iter().filter(|it| it.discovery == place);
            DiscoveryState {
                origin: feed.config.discovery.to_string(),
                key: feed.config.key.clone(),
                devices: feed.devices(),
                read_at: feed.read_at,
                error: feed.error().map(str::to_owned),
                refused: refused.map(|it| it.count).sum(),
            }
        };
        self.sources.iter().enumerate().map(state).collect()
    }
}

impl ReloadHandle {
    /// The lists that devices are taken from, in the order of the configuration.
    #[must_use]
    pub fn discoveries(&self) -> Vec<DiscoveryState> {
        self.0.applied().states()
    }

    /// As [`ReloadHandle::discoveries`], but never waits: `None` while something is applied.
    #[must_use]
    pub fn discoveries_now(&self) -> Option<Vec<DiscoveryState>> {
        let applied = match self.0.applied.try_lock() {
            Ok(applied) => applied,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        Some(applied.states())
    }
}
