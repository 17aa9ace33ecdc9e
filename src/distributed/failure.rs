//! Why a cluster's worker does not answer for its devices: in words, and by a closed set of reasons.

use super::wire::End;
use crate::domain::ClusterId;

/// Why devices that were to be asked by a worker are unreachable.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("there is no connection to NATS")]
    Disconnected,
    #[error("it cannot be asked: {0}")]
    NotSent(String),
    #[error("no worker has cluster {0}")]
    Nobody(ClusterId),
    #[error("its worker is silent")]
    Silent,
    #[error("its worker sends too fast")]
    TooFast,
    #[error("a part of its worker's answer was lost")]
    PieceLost,
    #[error("its worker left devices out")]
    LeftOut,
    #[error("its worker sends what cannot be read: {0}")]
    Unreadable(serde_json::Error),
    #[error("its worker sends columns that are none")]
    NoColumns,
    #[error("its worker writes form {theirs} of answers, and this front reads up to {ours}")]
    OtherForm { theirs: u32, ours: u32 },
    #[error("its worker answers for devices that were not asked")]
    NotAsked,
    #[error("its worker gave the cluster up")]
    GaveUp,
    #[error("its worker has another configuration of the cluster")]
    OtherPlan,
    #[error("too many collects are waiting at its worker")]
    Overloaded,
    #[error("its worker is shutting down")]
    ShuttingDown,
}

impl Failure {
    /// What is told apart where they are counted.
    pub(super) const REASONS: [&'static str; 9] = [
        "disconnected",
        "nobody",
        "silent",
        "incomplete",
        "protocol",
        "moved",
        "other_plan",
        "overloaded",
        "shutting_down",
    ];

    /// The place of its reason in [`Self::REASONS`].
    pub(super) fn place(&self) -> usize {
        match self {
            Self::Disconnected | Self::NotSent(_) => 0,
            Self::Nobody(_) => 1,
            Self::Silent => 2,
            Self::TooFast | Self::PieceLost | Self::LeftOut => 3,
            Self::Unreadable(_) | Self::NoColumns | Self::OtherForm { .. } | Self::NotAsked => 4,
            Self::GaveUp => 5,
            Self::OtherPlan => 6,
            Self::Overloaded => 7,
            Self::ShuttingDown => 8,
        }
    }

    /// What the end of an answer says of the devices that it left out.
    pub(super) fn of(end: End) -> Self {
        match end {
            End::Complete => Self::LeftOut,
            End::NotHere | End::Moving => Self::GaveUp,
            End::OtherPlan => Self::OtherPlan,
            End::Overloaded => Self::Overloaded,
            End::ShuttingDown => Self::ShuttingDown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Failure;
    use crate::domain::ClusterId;

    #[test]
    fn failures_are_counted_by_what_they_are() {
        let reason = |failure: Failure| Failure::REASONS[failure.place()];
        let cluster = ClusterId::parse("1").unwrap();
        assert_eq!(reason(Failure::NotSent(String::new())), "disconnected");
        assert_eq!(reason(Failure::Nobody(cluster)), "nobody");
        assert_eq!(reason(Failure::Silent), "silent");
        assert_eq!(reason(Failure::PieceLost), "incomplete");
        assert_eq!(reason(Failure::NoColumns), "protocol");
        assert_eq!(reason(Failure::GaveUp), "moved");
        assert_eq!(reason(Failure::OtherPlan), "other_plan");
        assert_eq!(reason(Failure::Overloaded), "overloaded");
        assert_eq!(reason(Failure::ShuttingDown), "shutting_down");
    }
}
