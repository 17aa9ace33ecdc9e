//! Why a device gave no facts: what whatever asks devices fails with.

use std::time::Duration;

use super::{Fault, FaultKind, LocalReason};

/// Why a lookup gave no facts. What a device says stands in it cut and escaped (`said`), what is
/// secret not at all.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum LookupError {
    /// The device did not answer within the timeout given here.
    #[error("no answer within {}", humantime::format_duration(*.0))]
    TimedOut(Duration),
    /// An earlier session on its controller did not end within the timeout.
    #[error("{0}")]
    SessionTaken(String),
    /// The simulated driver was told to fail.
    #[error("the simulated lookup failed")]
    Simulated,
    /// The simulated driver was told to fail as a driver of real machines does.
    #[error("the simulated lookup failed as told: {0}")]
    SimulatedAs(FaultKind),
    /// Whoever is there does not take connections.
    #[error("{0}")]
    Refused(String),
    /// Its name is unknown, no way leads to it, or it went away while it answered.
    #[error("{0}")]
    Unreachable(String),
    /// It does not accept our credentials.
    #[error("{0}")]
    Auth(String),
    /// The same, though it has accepted these credentials, so that they are perhaps right.
    #[error("{0}")]
    UnprovenAuth(String),
    /// It answers something that it should not.
    #[error("{0}")]
    Protocol(String),
    /// Its answer is larger than this many bytes.
    #[error("the answer has more than {0} bytes")]
    TooLarge(usize),
    /// Its answers have more than this many variables, over all of them.
    #[error("the answers have more than {0} variables")]
    TooManyVariables(usize),
    /// It says itself that it failed.
    #[error("{0}")]
    Failed(String),
    /// The list that it is from may not have it asked there.
    #[error("{0}")]
    NotAllowed(String),
    /// What is needed to ask it is missing here.
    #[error("{1}")]
    Local(LocalReason, String),
}

impl LookupError {
    /// The kind under which this stands in answers, metrics and logs.
    pub(crate) fn kind(&self) -> FaultKind {
        match self {
            Self::TimedOut(_) | Self::SessionTaken(_) => FaultKind::TimedOut,
            Self::Simulated | Self::Failed(_) | Self::NotAllowed(_) | Self::Local(..) => {
                FaultKind::Failed
            }
            Self::SimulatedAs(kind) => *kind,
            Self::Refused(_) => FaultKind::Refused,
            Self::Unreachable(_) => FaultKind::Unreachable,
            Self::Auth(_) | Self::UnprovenAuth(_) => FaultKind::Auth,
            Self::Protocol(_) => FaultKind::Protocol,
            Self::TooLarge(_) | Self::TooManyVariables(_) => FaultKind::TooLarge,
        }
    }
}

impl From<LookupError> for Fault {
    fn from(error: LookupError) -> Self {
        match error {
            LookupError::Local(reason, message) => Self::local(reason, message),
            LookupError::UnprovenAuth(_) => Self::unproven(error.kind(), error.to_string()),
            other => Self::new(other.kind(), other.to_string()),
        }
    }
}
