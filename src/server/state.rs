//! What the handlers of all routes share, and how much of it there is.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::traffic::Traffic;
use crate::engine::collector::{CollectorHandle, Workers};
use crate::engine::watchdog::WatchdogHandle;
use crate::reload::ReloadHandle;

/// How many supervision trees are drawn or sent at once; that of a million devices has 200 MB.
pub(super) const MAX_TREES: usize = 4;

/// How many lists of changes, or of workers and their clusters, are sent at once; one of a hundred thousand
/// clusters has 20 MB.
pub(super) const MAX_LISTS: usize = 16;

/// How many scrapes of `/metrics` are answered at once; each keeps a thread.
pub(super) const MAX_SCRAPES: usize = 4;

/// What every handler has at hand.
#[derive(Debug)]
pub(super) struct ServerState {
    pub(super) collector: CollectorHandle,
    pub(super) reload: ReloadHandle,
    /// Room for supervision trees that are drawn or sent at once.
    pub(super) trees: Arc<Semaphore>,
    /// Room for lists of changes and workers that are sent at once.
    pub(super) lists: Arc<Semaphore>,
    pub(super) watchdog: WatchdogHandle,
    /// Room for scrapes that are answered at once.
    pub(super) scrapes: Arc<Semaphore>,
    /// Who else asks clusters; `None` if nobody does.
    pub(super) workers: Option<Arc<dyn Workers>>,
    /// What requests came to.
    pub(super) traffic: Arc<Traffic>,
    /// Indent JSON by two spaces.
    pub(super) debug: bool,
}

/// What the handlers ask.
pub(crate) type Handles = (
    CollectorHandle,
    ReloadHandle,
    WatchdogHandle,
    Option<Arc<dyn Workers>>,
);

impl ServerState {
    pub(super) fn new((collector, reload, watchdog, workers): Handles, debug: bool) -> Self {
        Self {
            collector,
            reload,
            trees: Arc::new(Semaphore::new(MAX_TREES)),
            lists: Arc::new(Semaphore::new(MAX_LISTS)),
            watchdog,
            scrapes: Arc::new(Semaphore::new(MAX_SCRAPES)),
            workers,
            traffic: Arc::default(),
            debug,
        }
    }
}
