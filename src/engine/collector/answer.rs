//! An answer with what a program wants to know beside the outcomes.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::selection::Selection;
use crate::domain::{Collection, Outcome, Summary};

/// A complete answer: an outcome for each device that was meant.
#[derive(Debug)]
pub struct Answer {
    pub(super) collection: Collection,
    pub(super) selection: Arc<Selection>,
    pub(super) summary: Summary,
    /// Whether several requests share it.
    pub is_shared: bool,
    /// Which collect it is, counted from 1.
    pub id: u64,
    /// When it began.
    pub started: SystemTime,
    /// How long it took.
    pub duration: Duration,
    /// Which topology it is of: the same in every process that has the same clusters and devices in
    /// the same order.
    pub topology: u64,
    /// Whether every device of the fleet was simulated when it began.
    pub demonstration: bool,
    /// The number of changes that were known at its end: later ones have come since.
    pub changes: u64,
}

/// When and how fast a lookup gave an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Observation {
    /// When that was; the same however often one looks.
    pub at: SystemTime,
    /// How long it took, retries included; `None` if a deadline cut it off.
    pub took: Option<Duration>,
}

impl Answer {
    /// The outcomes.
    #[must_use]
    pub fn collection(&self) -> &Collection {
        &self.collection
    }

    /// The outcomes in numbers.
    #[must_use]
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// How a device, by its place in the answer's topology, came by its outcome; `None` if no
    /// lookup gave it, but whoever knew that asking is no use, or a deadline.
    ///
    /// # Panics
    /// If there is no such device.
    #[must_use]
    pub fn observation(
        &self,
        cluster: usize,
        device: usize,
        outcome: &Outcome,
    ) -> Option<Observation> {
        self.selection.observation(cluster, device, outcome)
    }
}
