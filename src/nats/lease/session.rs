//! One lease session of a cluster: from the lease that is got to the lease that is over.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use async_nats::{Client, Subscriber};
use bytes::Bytes;
use futures::StreamExt as _;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::engine::remote::Lease;
use crate::nats::connection::NatsConnection;
use crate::nats::lock::lock;
use crate::nats::serving::RequestServer;

/// How long orders may be on their way that are taken no more.
const LAST_ORDERS: Duration = Duration::from_secs(1);

/// Between two tries to take orders.
const SUBSCRIBE_AGAIN: Duration = Duration::from_millis(100);

/// How many of them may be.
const ON_THEIR_WAY: u64 = 64;

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
    last_orders: Notify,
    /// Whether it is over, for those who wait for that.
    over: watch::Sender<bool>,
    /// What takes orders, until somebody waits for its end.
    taking: Mutex<Option<JoinHandle<()>>>,
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

    /// Takes orders from now on.
    pub(in crate::nats) fn serve(
        self: &Arc<Self>,
        orders: Subscriber,
        subject: String,
        server: Arc<RequestServer>,
        connection: NatsConnection,
    ) {
        let taking = take_orders(orders, subject, server, Arc::clone(self), connection);
        *lock(&self.taking) = Some(actix::spawn(taking));
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

/// Takes orders until it is told to take no more, and then those that are on their way.
async fn take_orders(
    mut orders: Subscriber,
    subject: String,
    server: Arc<RequestServer>,
    session: Arc<LeaseSession>,
    connection: NatsConnection,
) {
    let mut taken = 0;
    let mut again = Box::pin(connection.again());
    let mut until: Option<Instant> = None;
    loop {
        let order = match until {
            None => tokio::select! {
                order = orders.next() => order,
                () = &mut again => {
                    again.set(connection.again());
                    // The server counts anew what it sends, and the client does not.
                    drop(orders);
                    orders = subscribe(&connection, &subject).await;
                    taken = 0;
                    continue;
                }
                () = session.last_orders.notified() => {
                    let last = Instant::now() + LAST_ORDERS;
                    let left_off = leave_off(&mut orders, taken, &subject, &server.client);
                    timeout_at(last, left_off).await.ok();
                    until = Some(last);
                    continue;
                }
            },
            Some(until) => timeout_at(until, orders.next()).await.unwrap_or_default(),
        };
        let Some(order) = order else {
            return;
        };
        taken += 1;
        let (server, session) = (Arc::clone(&server), Arc::clone(&session));
        actix::spawn(async move { server.answer(&order, &session).await });
    }
}

/// Tries until it is done: a client can be told at any time, and tells the server when it can.
async fn subscribe(connection: &NatsConnection, subject: &str) -> Subscriber {
    loop {
        let subscribed = connection.client.subscribe(subject.to_owned());
        if let Ok(Ok(orders)) = timeout(SUBSCRIBE_AGAIN, subscribed).await {
            return orders;
        }
        sleep(SUBSCRIBE_AGAIN).await;
    }
}

/// Has the server send no more orders, and the subscription end after those that are on their way.
///
/// The client ends one that is left off, or drained, when it has told the server, so that those had
/// nobody. It ends one that is to end after some more messages when they have come, and the last of
/// them are sent right here: whatever was on its way came before. They ask for no answer.
async fn leave_off(orders: &mut Subscriber, taken: u64, subject: &str, client: &Client) {
    if orders
        .unsubscribe_after(taken + ON_THEIR_WAY)
        .await
        .is_err()
    {
        return;
    }
    for _ in 0..ON_THEIR_WAY {
        let last = client.publish(subject.to_owned(), Bytes::new());
        if last.await.is_err() {
            return;
        }
    }
}
