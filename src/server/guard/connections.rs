//! Connections whose client begins a request and does not end it.
//!
//! actix-http limits the time that the first request of a connection takes to arrive. From the
//! second one on it waits for ever, once one byte has come: it stops its keep-alive timer then, and
//! starts no other. So connections that may have a second request are known here, each with the time
//! since which it has no request under way, and its reading side is closed when that is longer than
//! it can be. What is being sent is still sent then.
//!
//! That takes an open file for each, so there is room for a part of them only. The others are closed
//! after their first answer.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use actix_http::Payload;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::web::Bytes;
use socket2::{SockRef, Socket};
use tokio::time::{Instant, MissedTickBehavior};

use super::record::OpenRequest;
use crate::access::{Access, ClientShare, ClientShares};
use crate::net::open_files;
use crate::net::open_files::Taken;

/// Connections that may have a second request, at most.
const MAX_KEPT: usize = 4096;

/// How long a connection may have no request when the server stops: one that was sent just before that
/// is read in this time.
const CLOSING_IDLE: Duration = Duration::from_millis(250);

/// A connection of a client.
#[derive(Debug)]
pub(in crate::server) struct KeptConnection {
    /// The same as the server's, to close it from here.
    socket: Socket,
    client: IpAddr,
    /// Requests under way, answers that are being sent included.
    busy: AtomicUsize,
    /// When there was none any more, in milliseconds of `start`.
    idle_since: AtomicU64,
    start: Instant,
    /// How many there are, this one included.
    kept: Arc<AtomicUsize>,
    /// The same as the server's.
    closing: Arc<AtomicBool>,
    _file: Taken,
    _share: ClientShare,
}

impl Drop for KeptConnection {
    fn drop(&mut self) {
        self.kept.fetch_sub(1, Ordering::Relaxed);
    }
}

impl KeptConnection {
    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// All connections that may have a second request.
#[derive(Debug)]
pub(in crate::server) struct Connections {
    /// Those that are closed are taken out at each look.
    open: Mutex<Vec<Weak<KeptConnection>>>,
    start: Instant,
    kept: Arc<AtomicUsize>,
    max_kept: usize,
    access: Access,
    /// Those of each client.
    shares: Arc<ClientShares>,
    /// Whether none is to have a further request.
    closing: Arc<AtomicBool>,
}

impl Connections {
    pub(in crate::server) fn new(access: Access) -> Self {
        Self {
            access,
            shares: Arc::default(),
            open: Mutex::default(),
            start: Instant::now(),
            kept: Arc::default(),
            max_kept: open_files::shares().kept.min(MAX_KEPT),
            closing: Arc::default(),
        }
    }

    /// Knows a connection from now on, for as long as what is given is kept; `None` if there is no
    /// room, or its client has half of it, and it is to have one request only.
    pub(in crate::server) fn opened(&self, socket: &SockRef<'_>) -> Option<Arc<KeptConnection>> {
        let client = socket.peer_addr().ok()?.as_socket()?.ip();
        let share = self.access.share(&self.shares, client, self.max_kept)?;
        let more = |kept: usize| (kept < self.max_kept).then_some(kept + 1);
        let relaxed = Ordering::Relaxed;
        self.kept.fetch_update(relaxed, relaxed, more).ok()?;
        let kept = Arc::clone(&self.kept);
        let socket = match socket.try_clone() {
            Ok(socket) => socket,
            Err(error) => {
                kept.fetch_sub(1, relaxed);
                log::debug!(error:%; "a connection cannot be kept");
                return None;
            }
        };
        let connection = KeptConnection {
            socket,
            client,
            busy: AtomicUsize::new(0),
            idle_since: AtomicU64::new(0),
            start: self.start,
            kept,
            closing: Arc::clone(&self.closing),
            _file: open_files::take(1),
            _share: share,
        };
        connection.idle_since.store(connection.now(), relaxed);
        let connection = Arc::new(connection);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.push(Arc::downgrade(&connection));
        Some(connection)
    }

    /// From now on no connection is kept that has no request under way, and each ends with its next
    /// answer.
    pub(in crate::server) fn close_idle(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }

    /// Closes connections that have no request under way for longer than `limit`, and tells `slow` whose
    /// they are; for ever.
    pub(in crate::server) async fn watch(self: Arc<Self>, limit: Duration, slow: impl Fn(IpAddr)) {
        let limit_ms = |limit: Duration| u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        let mut looks = tokio::time::interval(
            (limit / 4).clamp(Duration::from_millis(100), Duration::from_secs(1)),
        );
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            let is_closing = self.closing.load(Ordering::Relaxed);
            let limit_ms = match is_closing {
                true => limit_ms(CLOSING_IDLE),
                false => limit_ms(limit),
            };
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            open.retain(|connection| {
                let Some(connection) = connection.upgrade() else {
                    return false;
                };
                let idle_since = connection.idle_since.load(Ordering::Relaxed);
                let idle_ms = connection.now().saturating_sub(idle_since);
                let is_stuck = connection.busy.load(Ordering::Acquire) == 0 && idle_ms > limit_ms;
                if is_stuck {
                    if !is_closing {
                        slow(connection.client);
                    }
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
pub(super) struct Busy(Arc<KeptConnection>);

impl Busy {
    pub(super) fn new(connection: &Arc<KeptConnection>) -> Self {
        connection.busy.fetch_add(1, Ordering::Release);
        Self(Arc::clone(connection))
    }

    /// Whether the connection is to end with the answer to this request.
    pub(super) fn is_last(&self) -> bool {
        self.0.closing.load(Ordering::Relaxed)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.idle_since.store(self.0.now(), Ordering::Relaxed);
        self.0.busy.fetch_sub(1, Ordering::Release);
    }
}

/// The body of an answer, whose request is under way until it is sent.
pub(in crate::server) struct Occupied {
    body: BoxBody,
    begun: Option<OpenRequest>,
    _kept: Kept,
}

/// What a request keeps until its answer is sent: its connection, its client's share, and its own body
/// if that was not read. actix-http closes a connection behind an answer whose request has a body that
/// is still wanted; for the end of a chunked one that is not, it waits for ever.
pub(super) type Kept = (Option<Busy>, Option<ClientShare>, Payload);

impl Occupied {
    pub(super) fn new(body: BoxBody, begun: Option<OpenRequest>, kept: Kept) -> Self {
        let is_empty = matches!(body.size(), BodySize::None | BodySize::Sized(0));
        let mut this = Self {
            body,
            begun,
            _kept: kept,
        };
        if is_empty {
            this.done();
        }
        this
    }

    fn done(&mut self) {
        if let Some(begun) = &mut self.begun {
            begun.done();
        }
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
        let piece = Pin::new(&mut self.body).poll_next(context);
        if matches!(piece, Poll::Ready(None)) {
            self.done();
        }
        piece
    }
}
