//! An owner's answer, in pieces.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::outcome::WireOutcome;
use super::plain::Plain;
use super::state::{WireChildState, WireDeviceState};
use crate::engine::remote::RemoteOutcome;

/// From an owner to a front: a piece of the answer. The first one comes at once.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(in crate::nats) struct Chunk<'a> {
    /// Its form.
    pub(in crate::nats) version: u32,
    /// Which lease the owner holds: later ones have larger numbers.
    pub(in crate::nats) fence: u64,
    /// Counted from 0, so that a lost one is missed.
    pub(in crate::nats) number: u64,
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    pub(in crate::nats) outcomes: Vec<WireOutcome<'a>>,
    /// More of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::nats) plain: Option<Plain>,
    /// What is known, if that is what was wanted: of the cluster's actor, in the first piece, and of
    /// devices that were ever asked or ever failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::nats) child: Option<WireChildState>,
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    pub(in crate::nats) states: Vec<WireDeviceState<'a>>,
    /// What a reset cleared, if that was wanted.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(in crate::nats) cleared: Option<Vec<Cow<'a, str>>>,
    /// What became of a right, if that was wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::nats) reserved: Option<Reserved>,
    /// Whether it is the last one, and why no more come, if some are missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::nats) end: Option<AnswerEnd>,
}

impl Chunk<'_> {
    /// What is said of devices; `None` if it cannot be read.
    pub(in crate::nats) fn told(&self) -> Option<impl Iterator<Item = RemoteOutcome>> {
        let plain = match &self.plain {
            None => Vec::new(),
            Some(plain) => plain.told()?,
        };
        let outcomes = self.outcomes.iter().map(WireOutcome::told);
        Some(outcomes.chain(plain))
    }
}

/// How an answer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::nats) enum AnswerEnd {
    /// Every device was told of.
    Complete,
    /// The cluster is not here, or not any more.
    NotHere,
    /// The cluster is being handed over: another worker is about to have it.
    Moving,
    /// The cluster has other devices here.
    OtherPlan,
    /// Too many collects are under way here.
    Overloaded,
    /// The worker is going away.
    ShuttingDown,
}

/// What became of the right to ask a device by force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::nats) enum Reserved {
    /// Nothing keeps it from being asked.
    Free,
    /// The next order that forces it has it asked.
    Granted,
    /// It is another caller's for so long, in microseconds.
    Refused(u64),
}
