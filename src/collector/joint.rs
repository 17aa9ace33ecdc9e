//! A collect that several requests may share, and the one way to a whole answer.
//!
//! With `join`, a request that comes while a collect of the same kind is under way waits for that
//! one's answer: what it hears of a device may have been learned before it asked, but never before
//! that collect began. An answer that is complete is shared with nobody who comes later.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, Weak};

use tokio::time::Instant;

use super::running::Running;
use super::{Answer, CollectError, CollectRequest, Place, Shared};

/// A collect under way, or its answer. Withdrawn when nobody holds it any more.
#[derive(Debug)]
pub(super) struct Joint {
    request: CollectRequest,
    running: Running,
    /// Whether a request joined it.
    is_shared: AtomicBool,
    answer: OnceLock<Result<Arc<Answer>, CollectError>>,
}

impl Joint {
    /// Begins a collect, or joins the one under way if it may.
    pub(super) fn enter(
        shared: &Arc<Shared>,
        request: &CollectRequest,
    ) -> Result<(Place, Arc<Self>), CollectError> {
        // Waiting for others who begin one counts, too.
        let start = Instant::now();
        // What is known of a device and young enough for one request may be too old for a later one.
        if !shared.tree.routes().settings.join || request.max_age.is_some() {
            return Self::begin(shared, request, start);
        }
        let mut latest = shared.joint.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(joint) = latest.upgrade()
            && joint.request == *request
            && joint.running.may_be_joined()
        {
            let place = Running::place(shared, joint.running.max_waiting())?;
            shared.metrics.collect_joined();
            joint.is_shared.store(true, Ordering::Relaxed);
            return Ok((place, joint));
        }
        let (place, joint) = Self::begin(shared, request, start)?;
        *latest = Arc::downgrade(&joint);
        Ok((place, joint))
    }

    fn begin(
        shared: &Arc<Shared>,
        request: &CollectRequest,
        start: Instant,
    ) -> Result<(Place, Arc<Self>), CollectError> {
        let (running, place) = Running::begin(shared, request, false, start)?;
        let joint = Self {
            request: request.clone(),
            running,
            is_shared: AtomicBool::new(false),
            answer: OnceLock::new(),
        };
        Ok((place, Arc::new(joint)))
    }

    /// Waits for the answer, which comes at the deadline at the latest.
    pub(super) async fn answer(&self) -> Result<Arc<Answer>, CollectError> {
        self.running.settle().await?;
        // Whoever wakes first closes it; that takes no longer than looking at every outcome once.
        let answer = self.answer.get_or_init(|| {
            let is_shared = self.is_shared.load(Ordering::Relaxed);
            self.running.finish(is_shared).map(Arc::new)
        });
        answer.clone()
    }
}

/// The collect that requests may join, if it still runs.
pub(super) type Latest = std::sync::Mutex<Weak<Joint>>;
