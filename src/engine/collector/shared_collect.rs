//! A collect that several requests may share, and the one way to a whole answer.
//!
//! With `join`, a request that comes while a collect of the same kind is under way waits for that
//! one's answer: what it hears of a device may have been learned before it asked, but never before
//! that collect began. An answer that is complete is shared with nobody who comes later.
//!
//! Nobody who waits needs another one for that: each asks the devices if nobody did, keeps the
//! deadline, and hears if collects are given up. Another one's thread may be stuck, and a server may
//! keep the request of a connection that it closes without ever polling it again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arc_swap::ArcSwapWeak;
use tokio::time::Instant;

use super::selection::Selection;
use super::{Admission, Answer, CollectError, CollectRequest, CollectorState};
use crate::engine::collector::in_flight::CollectInFlight;

/// How often a collect gives way before it asks, so that the others of its thread have had their
/// turn: actix-http polls a new request twice in its own. Those who ask too join this collect then,
/// or their messages go out together with its own, and wake each arbiter once for all of them.
const TURNS: usize = 2;

/// A collect under way, or its answer. Withdrawn when nobody holds it any more.
#[derive(Debug)]
pub(super) struct SharedCollect {
    request: CollectRequest,
    in_flight: CollectInFlight,
    /// Whether a request joined it.
    is_shared: AtomicBool,
    answer: OnceLock<Result<Arc<Answer>, CollectError>>,
}

impl SharedCollect {
    /// Begins a collect, or joins the one under way if it may. The place goes on being taken for as long
    /// as the answer is on its way.
    pub(super) async fn enter(
        shared: &Arc<CollectorState>,
        request: &CollectRequest,
        start: Instant,
    ) -> Result<(Admission, Arc<Self>), CollectError> {
        let (place, may_join) = {
            let routes = shared.fleet.peek();
            let place = CollectInFlight::place(shared, routes.settings.max_waiting)?;
            // What is known of a device and young enough for one request may be too old for a later
            // one.
            (place, routes.settings.join && request.max_age.is_none())
        };
        if may_join && let Some(shared_collect) = Self::join(shared, request) {
            return Ok((place, shared_collect));
        }
        let selection = CollectInFlight::select(shared, request).await?;
        if !may_join {
            return Ok((place, Self::begin(shared, selection, request, start)));
        }
        let Latest {
            shared_collect: latest,
            turn,
        } = &shared.latest;
        let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
        // Another one may have begun it meanwhile.
        let shared_collect = Self::join(shared, request).unwrap_or_else(|| {
            let shared_collect = Self::begin(shared, selection, request, start);
            latest.store(Arc::downgrade(&shared_collect));
            shared_collect
        });
        Ok((place, shared_collect))
    }

    /// Joins the collect under way, if there is one and it may be.
    fn join(shared: &CollectorState, request: &CollectRequest) -> Option<Arc<Self>> {
        let shared_collect = shared.latest.shared_collect.load().upgrade()?;
        if !shared_collect.request.is_like(request) || !shared_collect.in_flight.may_be_joined() {
            return None;
        }
        shared_collect.is_shared.store(true, Ordering::Relaxed);
        shared.metrics.collect_joined();
        Some(shared_collect)
    }

    fn begin(
        shared: &Arc<CollectorState>,
        selection: Selection,
        request: &CollectRequest,
        start: Instant,
    ) -> Arc<Self> {
        Arc::new(Self {
            request: request.clone(),
            in_flight: CollectInFlight::begin(shared, selection, request, false, start),
            is_shared: AtomicBool::new(false),
            answer: OnceLock::new(),
        })
    }

    /// Waits for the answer, which comes at the deadline at the latest.
    pub(super) async fn answer(&self) -> Result<Arc<Answer>, CollectError> {
        self.ask().await;
        self.in_flight.settle().await?;
        // Whoever wakes first closes it; that takes no longer than looking at every outcome once.
        let answer = self.answer.get_or_init(|| {
            let is_shared = self.is_shared.load(Ordering::Relaxed);
            self.in_flight.finish(is_shared).map(Arc::new)
        });
        answer.clone()
    }

    /// Asks the devices, if nobody did. Others who wait do so too, so that it is done whichever of them
    /// goes away.
    async fn ask(&self) {
        if self.in_flight.is_asked() {
            return;
        }
        for _ in 0..TURNS {
            tokio::task::yield_now().await;
        }
        self.in_flight.ask(self.request.max_age).await;
    }
}

/// The collect that requests may join, if it still runs.
#[derive(Debug, Default)]
pub(super) struct Latest {
    shared_collect: ArcSwapWeak<SharedCollect>,
    /// Whoever begins the next one has it.
    turn: Mutex<()>,
}
