//! Who else asks clusters of the fleet.

use std::fmt;

use futures::future::BoxFuture;

use crate::domain::WorkerState;

/// Knows the workers that share the fleet. Whoever answers requests asks it, and not what is behind.
pub(crate) trait Workers: fmt::Debug + Send + Sync + 'static {
    /// Those that say so within a moment, by name; their clusters in no order.
    fn workers(&self) -> BoxFuture<'static, Result<Vec<WorkerState>, String>>;
}
