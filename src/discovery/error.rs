//! Why a list of devices could not be had.

use std::time::Duration;

use crate::domain::MAX_DEVICES;

/// Why a list could not be had. What is secret stands in none of them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DiscoveryError {
    /// It took longer than it may.
    #[error("no answer within {}", humantime::format_duration(*.0))]
    TimedOut(Duration),
    /// A file cannot be read.
    #[error("cannot read {path}: {why}")]
    File { path: String, why: String },
    /// A server does not give it.
    #[error("{0}")]
    Server(String),
    /// It is not what a list of devices looks like.
    #[error("{of}: {why}")]
    Format { of: String, why: String },
    /// There are more devices than a fleet may have.
    #[error("it lists {0} devices; at most {MAX_DEVICES} are possible")]
    TooMany(usize),
}
