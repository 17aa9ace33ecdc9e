//! Connections whose client begins a request and does not end it.
//!
//! actix-http limits the time that the first request of a connection takes to arrive. From the
//! second one on it waits for ever, once one byte has come: it stops its keep-alive timer then, and
//! starts no other. So every connection is known here with the time since which it has no request
//! under way, and its reading side is closed when that is longer than it can be. What is being sent
//! is still sent then.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::web::Bytes;
use socket2::{SockRef, Socket};
use tokio::time::{Instant, MissedTickBehavior};

/// A connection of a client.
#[derive(Debug)]
pub(in crate::http) struct Connection {
    /// The same as the server's, to close it from here.
    socket: Socket,
    /// Requests under way, answers that are being sent included.
    busy: AtomicUsize,
    /// When there was none any more, in milliseconds of `start`.
    idle_since: AtomicU64,
    start: Instant,
}

impl Connection {
    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// All connections.
#[derive(Debug)]
pub(in crate::http) struct Connections {
    /// Those that are closed are taken out at each look.
    open: Mutex<Vec<Weak<Connection>>>,
    start: Instant,
}

impl Connections {
    pub(in crate::http) fn new() -> Self {
        Self {
            open: Mutex::default(),
            start: Instant::now(),
        }
    }

    /// Knows a connection from now on, for as long as what is given is kept.
    pub(in crate::http) fn opened(&self, socket: &SockRef<'_>) -> std::io::Result<Arc<Connection>> {
        let connection = Connection {
            socket: socket.try_clone()?,
            busy: AtomicUsize::new(0),
            idle_since: AtomicU64::new(0),
            start: self.start,
        };
        connection
            .idle_since
            .store(connection.now(), Ordering::Relaxed);
        let connection = Arc::new(connection);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.push(Arc::downgrade(&connection));
        Ok(connection)
    }

    /// Closes connections that have no request under way for longer than `limit`; for ever.
    pub(in crate::http) async fn watch(self: Arc<Self>, limit: Duration) {
        let limit_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        let mut looks = tokio::time::interval(
            (limit / 4).clamp(Duration::from_millis(100), Duration::from_secs(1)),
        );
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            open.retain(|connection| {
                let Some(connection) = connection.upgrade() else {
                    return false;
                };
                let idle_since = connection.idle_since.load(Ordering::Relaxed);
                let idle_ms = connection.now().saturating_sub(idle_since);
                let is_stuck = connection.busy.load(Ordering::Acquire) == 0 && idle_ms > limit_ms;
                if is_stuck {
                    log::debug!(idle_ms; "a request does not arrive, its connection is closed");
                    // Fails only if it is closed already.
                    connection.socket.shutdown(std::net::Shutdown::Read).ok();
                }
                !is_stuck
            });
        }
    }
}

/// Counts a request as under way until it is dropped.
#[derive(Debug)]
pub(super) struct Busy(Arc<Connection>);

impl Busy {
    pub(super) fn new(connection: &Arc<Connection>) -> Self {
        connection.busy.fetch_add(1, Ordering::Release);
        Self(Arc::clone(connection))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.idle_since.store(self.0.now(), Ordering::Relaxed);
        self.0.busy.fetch_sub(1, Ordering::Release);
    }
}

/// The body of an answer, whose request is under way until it is sent.
pub(in crate::http) struct Occupied {
    body: BoxBody,
    _busy: Option<Busy>,
}

impl Occupied {
    pub(super) fn new(body: BoxBody, busy: Option<Busy>) -> Self {
        Self { body, _busy: busy }
    }
}

impl MessageBody for Occupied {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(context)
    }
}
