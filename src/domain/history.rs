//! What changed in a fleet: a bounded history of how its devices fare.
//!
//! It does not know who notes a change or when; the time is an argument.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::SystemTime;

use super::{ClusterId, DeviceId, DeviceKind, Fault};

/// The changes that are kept; older ones are forgotten.
pub const HISTORY_LEN: usize = 10_000;

/// One device has changed.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Its number, counted from 1 without gaps.
    pub number: u64,
    /// When it was noticed.
    pub time: SystemTime,
    /// The device's cluster.
    pub cluster: ClusterId,
    /// What it is.
    pub kind: DeviceKind,
    /// Which it is.
    pub device: DeviceId,
    /// What happened.
    pub event: Event,
}

/// What happened to a device.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// It is in the fleet from now on.
    Appeared,
    /// It is not in the fleet any more.
    Gone,
    /// It fails, and did not before.
    Failing(Arc<Fault>),
    /// It answers, and failed before.
    Recovered,
    /// Facts that do not change by themselves are others than before: these.
    FactsChanged(Vec<String>),
}

impl Event {
    /// As it stands in JSON.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Appeared => "appeared",
            Self::Gone => "gone",
            Self::Failing(_) => "failing",
            Self::Recovered => "recovered",
            Self::FactsChanged(_) => "facts_changed",
        }
    }
}

/// The last changes of a fleet.
#[derive(Debug, Default)]
pub struct History {
    /// Shared with whoever was told of them.
    changes: VecDeque<Arc<Change>>,
    last: u64,
}

/// Why changes since a number cannot be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HistoryError {
    /// Some of them are not known any more.
    #[error(
        "changes since {since} are not all known any more; the oldest that can be asked for is \
         {oldest}"
    )]
    Forgotten {
        /// What was asked for.
        since: u64,
        /// What could be.
        oldest: u64,
    },
    /// There was no such change since the service started.
    #[error(
        "`since` is of the future: there is no change {since} yet, the newest is {newest}; a number \
         of an earlier run of the service means nothing to this one"
    )]
    ToCome {
        /// What was asked for.
        since: u64,
        /// The number of the last change.
        newest: u64,
    },
}

impl History {
    /// The number of the last change; 0 if there was none.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Notes a change, and forgets the oldest one if there is no room.
    pub fn note(
        &mut self,
        time: SystemTime,
        (cluster, kind, device): (ClusterId, DeviceKind, DeviceId),
        event: Event,
    ) {
        self.last += 1;
        if self.changes.len() == HISTORY_LEN {
            self.changes.pop_front();
        }
        self.changes.push_back(Arc::new(Change {
            number: self.last,
            time,
            cluster,
            kind,
            device,
            event,
        }));
    }

    /// Every change that is known, oldest first.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Change>> {
        self.changes.iter().cloned().collect()
    }

    /// Every change after the one with this number, oldest first.
    ///
    /// # Errors
    /// If some of them are forgotten, or there was no such number since the service started.
    pub fn since(&self, since: u64) -> Result<Vec<Arc<Change>>, HistoryError> {
        let first = self.changes.front().map_or(self.last + 1, |it| it.number);
        if since > self.last {
            let newest = self.last;
            return Err(HistoryError::ToCome { since, newest });
        }
        if since + 1 < first {
            let oldest = first - 1;
            return Err(HistoryError::Forgotten { since, oldest });
        }
        let later = self.changes.iter().filter(|it| it.number > since);
        Ok(later.cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Id;

    fn note(history: &mut History, device: u64) {
        let who = (Id::number(1), DeviceKind::Node, Id::number(device));
        history.note(SystemTime::UNIX_EPOCH, who, Event::Appeared);
    }

    #[test]
    fn changes_are_given_from_a_number_on_until_they_are_forgotten() {
        let mut history = History::default();
        assert_eq!((history.last(), history.since(0)), (0, Ok(Vec::new())));
        let count = HISTORY_LEN as u64 + 5;
        for device in 1..=count {
            note(&mut history, device);
        }
        assert_eq!(history.last(), count);
        let devices = |since| -> Result<Vec<u64>, HistoryError> {
            Ok(history.since(since)?.iter().map(|it| it.number).collect())
        };
        assert_eq!(devices(count - 2), Ok(vec![count - 1, count]));
        assert_eq!(devices(count), Ok(Vec::new()));
        let (since, newest) = (count + 7, count);
        assert_eq!(devices(since), Err(HistoryError::ToCome { since, newest }));
        assert_eq!(devices(5).unwrap().len(), HISTORY_LEN);
        let (since, oldest) = (4, 5);
        assert_eq!(devices(4), Err(HistoryError::Forgotten { since, oldest }));
    }
}
