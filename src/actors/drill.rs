//! Drills: makes chosen actors panic at chosen points, as a bug there would.
//!
//! The simulated driver panics where drivers do, in a lookup. Supervision has to hold at every
//! other point as well, and no configuration can put a bug there; tests and exercises do it by
//! handing a [`Drill`] to [`crate::app::App::start`]. Without one nothing of this runs.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::messages::ChildPath;

/// Where an actor can be made to panic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Point {
    /// A device's actor, while its state is built.
    DeviceNew,
    /// A device's actor, in `started`.
    DeviceStarted,
    /// A device's actor, in the handler of a request.
    DeviceHandler,
    /// A device's actor, while its state is dropped.
    DeviceDrop,
    /// A cluster's actor, while its state is built.
    ClusterNew,
    /// A cluster's actor, in `started`, with half of its devices started.
    ClusterStarted,
    /// A cluster's actor, in the handler of a collect, with half of its devices asked.
    ClusterHandler,
    /// A cluster's actor, while its state is dropped.
    ClusterDrop,
    /// Not a panic: the thread that runs a cluster's actor ends, in the handler of a collect.
    ClusterThread,
    /// The supervisor, in the handler of an exit.
    SupervisorHandler,
}

/// What is to go wrong, how often.
#[derive(Debug, Default)]
pub struct Drill {
    left: Mutex<HashMap<(Point, String), u32>>,
}

impl Drill {
    /// Makes the next `times` passes through `point` of the actor at `path` go wrong.
    ///
    /// `path` is the actor's as in the log: `cluster=1`, `cluster=1 node=3`, `supervisor`.
    pub fn arm(&self, point: Point, path: &str, times: u32) {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        left.insert((point, path.to_owned()), times);
    }

    /// Whether this pass is to go wrong.
    pub(super) fn strikes(&self, point: Point, path: &ChildPath) -> bool {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(times) = left.get_mut(&(point, path.to_string())) else {
            return false;
        };
        let strikes = *times > 0;
        *times = times.saturating_sub(1);
        strikes
    }

    /// Panics if this pass is to go wrong.
    pub(super) fn pass(&self, point: Point, path: &ChildPath) {
        if self.strikes(point, path) {
            panic!("drill: {point:?}");
        }
    }
}
