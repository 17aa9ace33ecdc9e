//! One lease session of a cluster: from the lease that is got to the lease that is over.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use std::sync::Mutex;

use std::time::{Duration, SystemTime};

use tokio::sync::{Notify, watch};

use tokio::task::JoinHandle;

use tokio::time::{Instant, timeout};

use crate::engine::remote::Lease;

use crate::nats::lock::lock;

/// How long orders may be on their way that are taken no more.
pub(super) const LAST_ORDERS: Duration = Duration::from_secs(1);

/// A cluster that is held, for as long as it is.
#[derive(Debug)]
pub(crate) struct LeaseSession {
    pub(crate) fence: u64,
    /// Tells it from other lease sessions of this worker.
    pub(crate) number: u64,
    /// When it began.
    pub(crate) since: SystemTime,
    term: Mutex<LeaseTerm>,
    /// Orders that ask devices, and whether more are taken.
    under_way: AtomicUsize,
    moves: AtomicBool,
    /// Tells what takes orders to take only those that are on their way.
    pub(super) last_orders: Notify,
    /// Whether it is over, for those who wait for that.
    over: watch::Sender<bool>,
    /// What takes orders, until somebody waits for its end.
    pub(super) taking: Mutex<Option<JoinHandle<()>>>,
}

/// How long a lease session lasts, if it is not renewed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LeaseTerm {
    /// What the lease is in the bucket.
    pub(crate) revision: u64,
    /// When it was asked for last.
    pub(crate) asked: Instant,
    /// When it is over, as far as this worker is concerned.
    pub(crate) end: Instant,
}

impl LeaseSession {
    pub(crate) fn new(fence: u64, number: u64, since: SystemTime, term: LeaseTerm) -> Self {
        Self {
            fence,
            number,
            since,
            term: Mutex::new(term),
            under_way: AtomicUsize::new(0),
            moves: AtomicBool::new(false),
            last_orders: Notify::new(),
            over: watch::Sender::new(false),
            taking: Mutex::new(None),
        }
    }

    pub(crate) fn term(&self) -> LeaseTerm {
        *lock(&self.term)
    }

    /// It lasts for longer, unless it is over.
    pub(crate) fn renewed(&self, term: LeaseTerm) {
        let mut own = lock(&self.term);
        if Instant::now() < own.end {
            *own = term;
        }
    }

    /// The lease is another revision in the bucket, and lasts as long as before.
    pub(crate) fn wrote(&self, revision: u64) {
        lock(&self.term).revision = revision;
    }

    /// Counts an order that asks devices until that is dropped.
    pub(crate) fn collecting(&self) -> RequestUnderWay<'_> {
        self.under_way.fetch_add(1, Ordering::Acquire);
        RequestUnderWay(self)
    }

    /// How many orders ask devices.
    pub(crate) fn under_way(&self) -> usize {
        self.under_way.load(Ordering::Acquire)
    }

    /// It is about to be over: new orders are to be given to the next owner.
    pub(crate) fn move_on(&self) {
        self.moves.store(true, Ordering::Release);
    }

    pub(crate) fn is_moving(&self) -> bool {
        self.moves.load(Ordering::Acquire)
    }

    /// Whether devices may be asked.
    pub(crate) fn is_valid(&self, now: Instant) -> bool {
        now < self.term().end
    }

    /// Those on their way are answered: a front that hears nothing would wait.
    pub(crate) fn take_no_more(&self) {
        self.last_orders.notify_one();
    }

    /// As [`LeaseSession::take_no_more`], and waits until those on their way have come.
    pub(crate) async fn leave_off(&self) {
        self.take_no_more();
        let taking = lock(&self.taking).take();
        if let Some(taking) = taking {
            timeout(2 * LAST_ORDERS, taking).await.ok();
        }
    }

    /// It is over at once.
    pub(crate) fn end(&self) {
        lock(&self.term).end = Instant::now();
        self.over.send_replace(true);
    }

    /// Waits until it is over.
    pub(crate) async fn over(&self) {
        // An error is that nobody ends it any more.
        self.over.subscribe().wait_for(|it| *it).await.ok();
    }
}

impl Lease for LeaseSession {
    fn holds(&self) -> bool {
        self.is_valid(Instant::now())
    }
}

/// Counts an order while it asks devices.
#[derive(Debug)]
pub(crate) struct RequestUnderWay<'a>(&'a LeaseSession);

impl Drop for RequestUnderWay<'_> {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Release);
    }
}
