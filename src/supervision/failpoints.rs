//! Failpoints: make chosen actors go wrong at chosen points, as a bug there would.
//!
//! The simulated driver panics where drivers do, in a lookup. Supervision has to hold at every
//! other point as well, and no configuration can put a bug there; tests and exercises do it by
//! handing a [`Failpoints`] to [`crate::app::App::start`]. Without one nothing of this runs.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::health::ChildPath;

/// Where an actor can be made to go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Failpoint {
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
pub enum FailAction {
    /// It panics; possible at every point.
    Panic,
    /// It returns an error; at [`Failpoint::New`].
    Error,
    /// It stops itself; at [`Failpoint::Started`] and [`Failpoint::Handler`].
    Stop,
    /// The thread that runs it ends; at a cluster's [`Failpoint::Handler`].
    EndThread,
    /// It blocks its thread; possible at every point, and armed by [`Failpoints::block`].
    Block,
}

type Key = (Failpoint, String);

/// What is to go wrong, how often.
#[derive(Debug, Default)]
pub struct Failpoints {
    armed: Mutex<HashMap<Key, (FailAction, u32)>>,
    /// Notified when an entry of `armed` is removed: threads wait for that.
    removed: Condvar,
}

/// As long as this is held, the thread that it blocks stays blocked.
#[derive(Debug)]
#[must_use = "the thread is blocked only until this is dropped"]
pub struct Blocked {
    failpoints: Arc<Failpoints>,
    key: Key,
}

impl Drop for Blocked {
    fn drop(&mut self) {
        self.failpoints.armed().remove(&self.key);
        self.failpoints.removed.notify_all();
    }
}

impl Failpoints {
    /// Makes the next `times` passes through `point` of the actor at `path` go wrong.
    ///
    /// `path` is the actor's as in the log: `cluster=1`, `cluster=1 node=3`, `supervisor`. An `act`
    /// that is not possible at `point` does nothing there.
    pub fn arm(&self, point: Failpoint, act: FailAction, path: &str, times: u32) {
        self.armed().insert((point, path.to_owned()), (act, times));
    }

    /// Makes the next pass through `point` of the actor at `path` block its thread until what this
    /// gives is dropped.
    pub fn block(self: &Arc<Self>, point: Failpoint, path: &str) -> Blocked {
        self.arm(point, FailAction::Block, path, 1);
        let (failpoints, key) = (Arc::clone(self), (point, path.to_owned()));
        Blocked { failpoints, key }
    }

    /// How often the actor at `path` is still to go wrong at `point`.
    #[must_use]
    pub fn left(&self, point: Failpoint, path: &str) -> u32 {
        let key = (point, path.to_owned());
        self.armed().get(&key).map_or(0, |&(_, times)| times)
    }

    fn armed(&self) -> MutexGuard<'_, HashMap<Key, (FailAction, u32)>> {
        self.armed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Panics if this pass is to; else gives what it is to do, if anything.
    pub(crate) fn pass(&self, point: Failpoint, path: &ChildPath) -> Option<FailAction> {
        let key = (point, path.to_string());
        let mut armed = self.armed();
        let (act, times) = armed.get_mut(&key)?;
        *times = times.checked_sub(1)?;
        let act = *act;
        if act == FailAction::Block {
            let is_blocked = |armed: &mut HashMap<_, _>| armed.contains_key(&key);
            let woken = self.removed.wait_while(armed, is_blocked);
            drop(woken.unwrap_or_else(PoisonError::into_inner));
        } else {
            drop(armed);
        }
        assert!(act != FailAction::Panic, "failpoint: {point:?}");
        Some(act)
    }
}
