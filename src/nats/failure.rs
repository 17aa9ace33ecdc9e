//! Why a cluster's worker does not answer for its devices: in words, and by a closed set of reasons.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use super::lock::lock;
use super::wire::AnswerEnd;
use crate::domain::ClusterId;

/// How long a cluster is to be without a failure before it is said that it answers again.
const SETTLED: Duration = Duration::from_secs(2);

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
    pub(super) fn of(end: AnswerEnd) -> Self {
        match end {
            AnswerEnd::Complete => Self::LeftOut,
            AnswerEnd::NotHere | AnswerEnd::Moving => Self::GaveUp,
            AnswerEnd::OtherPlan => Self::OtherPlan,
            AnswerEnd::Overloaded => Self::Overloaded,
            AnswerEnd::ShuttingDown => Self::ShuttingDown,
        }
    }
}

/// Which clusters cannot be asked, so that each kind of failure is logged once while it lasts.
#[derive(Debug, Default)]
pub(super) struct FailingClusters(Mutex<HashMap<ClusterId, Lasting>>);

#[derive(Debug)]
struct Lasting {
    /// The last failure.
    at: Instant,
    /// By the places of reasons.
    reasons: [bool; Failure::REASONS.len()],
}

impl FailingClusters {
    /// Takes note of a failure; whether the cluster did not fail so until now.
    pub(super) fn is_new(&self, cluster: &ClusterId, failure: &Failure) -> bool {
        let mut failing = lock(&self.0);
        let at = Instant::now();
        let lasting = failing.entry(cluster.clone()).or_insert_with(|| Lasting {
            at,
            reasons: <_>::default(),
        });
        lasting.at = at;
        !std::mem::replace(&mut lasting.reasons[failure.place()], true)
    }

    /// A cluster was answered for. Of requests at once some may fail and some not.
    pub(super) fn answered(&self, cluster: &ClusterId) {
        let mut failing = lock(&self.0);
        if failing
            .get(cluster)
            .is_some_and(|it| it.at.elapsed() >= SETTLED)
        {
            failing.remove(cluster);
            log::info!(cluster:%; "the cluster's worker answers again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{FailingClusters, Failure, SETTLED};
    use crate::domain::ClusterId;

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_new_once_while_it_lasts() {
        let failing = FailingClusters::default();
        let [one, two] = ["1", "2"].map(|it| ClusterId::parse(it).unwrap());
        assert!(failing.is_new(&one, &Failure::Silent));
        for _ in 0..100 {
            assert!(!failing.is_new(&one, &Failure::Silent));
            // Another request was answered at the same time.
            failing.answered(&one);
        }
        assert!(failing.is_new(&one, &Failure::GaveUp));
        assert!(failing.is_new(&two, &Failure::Silent));
        tokio::time::advance(SETTLED).await;
        failing.answered(&one);
        assert!(failing.is_new(&one, &Failure::Silent));
        assert!(!failing.is_new(&two, &Failure::Silent));
    }

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
