//! Who else asks clusters of the fleet.

use std::fmt;

use futures::future::BoxFuture;

use crate::domain::{Sharing, WorkerState};

/// Knows the workers that share the fleet. Whoever answers requests asks it, and not what is behind.
pub(crate) trait Workers: fmt::Debug + Send + Sync + 'static {
    /// Those that say so within a moment, by name; their clusters in no order.
    fn workers(&self) -> BoxFuture<'static, Result<Vec<WorkerState>, String>>;

    /// Why none of them can be asked anything now, if so; waits for nobody.
    fn obstacle(&self) -> Option<String>;

    /// What this process has to do with them; waits for nobody.
    fn sharing(&self) -> Sharing;
}
