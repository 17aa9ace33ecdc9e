//! Who else asks clusters of the fleet.

use std::fmt;

use futures::future::BoxFuture;

use crate::domain::{Sharing, WorkerState};

/// Knows the workers that share the fleet. Whoever answers requests asks it, and not what is behind.
pub(crate) trait Workers: fmt::Debug + Send + Sync + 'static {
    /// Those that say so within a moment, by name; their clusters in no order.
    fn workers(&self) -> BoxFuture<'static, Result<Vec<WorkerState>, String>>;

    /// What keeps the fleet from being asked now, by a reason of a closed set and in words; waits for
    /// nobody.
    fn obstacles(&self) -> Vec<(&'static str, String)>;

    /// What this process has to do with them; waits for nobody.
    fn sharing(&self) -> Sharing;
}
