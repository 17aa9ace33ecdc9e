//! A lease that this worker had, and may take back.

use std::sync::Arc;
use std::time::SystemTime;

use super::session::LeaseSession;

/// A lease session that this worker does not have, though its lease may still be in the bucket.
#[derive(Debug)]
pub(super) struct FormerLease {
    pub(super) number: u64,
    pub(super) since: SystemTime,
    /// `None` if the server's answer was lost: nothing is known of it then but that it was asked for.
    pub(super) session: Option<Arc<LeaseSession>>,
}

impl FormerLease {
    pub(super) fn of(session: Arc<LeaseSession>) -> Self {
        Self {
            number: session.number,
            since: session.since,
            session: Some(session),
        }
    }
}
