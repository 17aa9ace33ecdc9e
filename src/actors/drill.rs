//! Drills: makes chosen actors go wrong at chosen points, as a bug there would.
//!
//! The simulated driver panics where drivers do, in a lookup. Supervision has to hold at every
//! other point as well, and no configuration can put a bug there; tests and exercises do it by
//! handing a [`Drill`] to [`crate::app::App::start`]. Without one nothing of this runs.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::health::ChildPath;

/// Where an actor can be made to go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Point {
    /// While its state is built.
    New,
    /// In `started`; a cluster's actor with half of its devices started.
    Started,
    /// In the handler of a request: a device's of a probe, a cluster's of a collect (with half of
    /// its devices asked), the supervisor's of an exit.
    Handler,
    /// In a future that runs inside it: a device's lookup, the part of a large cluster's collect
    /// that its handler left over.
    Item,
    /// In `stopping`.
    Stopping,
    /// While its state is dropped.
    Drop,
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// It panics; possible at every point.
    Panic,
    /// It returns an error; at [`Point::New`].
    Error,
    /// It stops itself; at [`Point::Started`] and [`Point::Handler`].
    Stop,
    /// The thread that runs it ends; at a cluster's [`Point::Handler`].
    EndThread,
    /// It keeps its thread busy for so long; possible at every point.
    Hog(Duration),
    /// It blocks its thread until the drill [releases](Drill::release) it; possible at every point.
    Block,
}

/// What is to go wrong, how often.
#[derive(Debug, Default)]
pub struct Drill {
    left: Mutex<HashMap<(Point, String), (Act, u32)>>,
    /// Whether nothing is blocked any more.
    is_released: Mutex<bool>,
    released: Condvar,
}

impl Drill {
    /// Makes the next `times` passes through `point` of the actor at `path` go wrong.
    ///
    /// `path` is the actor's as in the log: `cluster=1`, `cluster=1 node=3`, `supervisor`. An `act`
    /// that is not possible at `point` does nothing there.
    pub fn arm(&self, point: Point, act: Act, path: &str, times: u32) {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        left.insert((point, path.to_owned()), (act, times));
    }

    /// What is blocked goes on, and nothing is blocked any more.
    pub fn release(&self) {
        *self
            .is_released
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = true;
        self.released.notify_all();
    }

    /// How often the actor at `path` is still to go wrong at `point`.
    #[must_use]
    pub fn left(&self, point: Point, path: &str) -> u32 {
        let left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        left.get(&(point, path.to_owned()))
            .map_or(0, |&(_, times)| times)
    }

    /// Panics if this pass is to; else gives what it is to do, if anything.
    pub(super) fn pass(&self, point: Point, path: &ChildPath) -> Option<Act> {
        let act = self.take(point, path)?;
        match act {
            Act::Panic => panic!("drill: {point:?}"),
            Act::Hog(time) => {
                let start = Instant::now();
                while start.elapsed() < time {
                    std::hint::spin_loop();
                }
            }
            Act::Block => {
                let is_released = self.is_released.lock();
                let is_released = is_released.unwrap_or_else(PoisonError::into_inner);
                drop(self.released.wait_while(is_released, |it| !*it));
            }
            Act::Error | Act::Stop | Act::EndThread => {}
        }
        Some(act)
    }

    fn take(&self, point: Point, path: &ChildPath) -> Option<Act> {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let (act, times) = left.get_mut(&(point, path.to_string()))?;
        *times = times.checked_sub(1)?;
        Some(*act)
    }
}
