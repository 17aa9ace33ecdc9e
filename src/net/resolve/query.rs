//! What a question for a name takes and gives.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::domain::{LocalReason, LookupError};
use crate::net::error::{lack, said};
use crate::net::open_files::{self, OF_A_NAME, Taken};

/// Why a name has no addresses.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum ResolveError {
    /// No DNS server knows it.
    #[error("the name {0} is unknown")]
    Unknown(String),
    /// It is known, but not for that.
    #[error("the name {0} has no {1}")]
    Nothing(String, &'static str),
    /// It can be no name at all.
    #[error("{text} is no name: {why}")]
    NoName {
        /// As a message shows it.
        text: String,
        why: String,
    },
    /// No DNS server answered, however often it was asked.
    #[error("the DNS servers did not answer for the name {0}")]
    Silent(String),
    /// The DNS servers answered that they cannot tell.
    #[error("the DNS servers failed for the name {0}: {1}")]
    Failed(String, String),
    /// There is nobody to ask.
    #[error("there is no DNS server to ask for the name {0}: {1}")]
    NoServer(String, String),
    /// Its list may not have it asked, wherever it is.
    #[error("{0} is not in `allow` of its list")]
    NotAllowed(String),
    /// None of its addresses may be asked for its list.
    #[error("the name {0} resolves to {1}, which `allow` of its list does not have")]
    Outside(String, IpAddr),
    /// This process cannot ask.
    #[error("cannot ask for the name {0}: {2}")]
    Here(String, LocalReason, String),
}

impl ResolveError {
    pub(super) fn no_name(text: &str, why: &impl ToString) -> Self {
        Self::NoName {
            text: said(text),
            why: why.to_string(),
        }
    }

    /// What this process or machine lacks.
    pub(super) fn here(name: &str, error: &io::Error) -> Self {
        let (reason, why) = match lack(error) {
            Some((reason, advice)) => (reason, format!("{error}; {advice}")),
            None if error.kind() == io::ErrorKind::WouldBlock => {
                (LocalReason::Processes, error.to_string())
            }
            None => (LocalReason::Setup, error.to_string()),
        };
        Self::Here(name.to_owned(), reason, why)
    }

    /// What it means for a lookup; `doing` as in [`LookupError::io`].
    pub(crate) fn explain(&self, doing: &str) -> LookupError {
        let text = format!("{doing}: {self}");
        match self {
            Self::Unknown(_) | Self::Nothing(..) | Self::Silent(_) | Self::Failed(..) => {
                LookupError::Unreachable(text)
            }
            Self::NotAllowed(_) | Self::Outside(..) => LookupError::NotAllowed(text),
            Self::NoName { .. } | Self::NoServer(..) => {
                LookupError::Local(LocalReason::Setup, text)
            }
            Self::Here(_, reason, _) => LookupError::Local(*reason, text),
        }
    }
}

/// Where a service is, by an SRV record (RFC 2782).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SrvTarget {
    /// Without the dot at the end.
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) priority: u16,
    pub(crate) weight: u16,
}

/// A place among the names that are asked for at once, for whoever has to ask.
pub(super) type ResolverRoom = Arc<Semaphore>;

pub(super) async fn place(room: ResolverRoom) -> io::Result<(OwnedSemaphorePermit, Taken)> {
    // Closed never, as nobody does.
    let place = room.acquire_owned().await.map_err(io::Error::other)?;
    Ok((place, open_files::take(OF_A_NAME)))
}
