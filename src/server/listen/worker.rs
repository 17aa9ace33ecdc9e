//! The threads that answer requests.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use actix::Arbiter;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::{self, UnboundedSender};

use super::serve::{ConnectionSettings, Serve, serving};
use super::wire::Io;
use crate::access::ClientShare;
use crate::net::open_files::Taken;
use crate::server::service::Answering;

/// What an open connection has: its file, and its place among all.
pub(super) type OpenConnection = (Taken, OwnedSemaphorePermit);

/// What a connection keeps from others: its client's share, and its room; and that there is one.
type KeptShare = (
    ClientShare,
    OwnedSemaphorePermit,
    OpenConnection,
    mpsc::Sender<Infallible>,
);

/// A connection that has room.
pub(super) struct Admitted {
    pub(super) io: Io,
    pub(super) peer: SocketAddr,
    pub(super) held: HeldConnection,
}

/// What a connection has until it ends.
pub(super) struct HeldConnection {
    worker: Arc<AtomicUsize>,
    _kept: KeptShare,
}

impl HeldConnection {
    /// For a connection of this worker.
    pub(super) fn new(worker: &RequestThread, kept: KeptShare) -> Self {
        let worker = Arc::clone(&worker.connections);
        worker.fetch_add(1, Ordering::Relaxed);
        Self {
            worker,
            _kept: kept,
        }
    }
}

impl Drop for HeldConnection {
    fn drop(&mut self) {
        self.worker.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A thread that answers requests.
pub(super) struct RequestThread {
    /// Not bounded by itself: what is in it has room.
    to: UnboundedSender<Admitted>,
    connections: Arc<AtomicUsize>,
}

impl RequestThread {
    pub(super) fn start(
        arbiter: &Arbiter,
        answering: Answering,
        settings: ConnectionSettings,
    ) -> Self {
        let (to, mut from) = mpsc::unbounded_channel::<Admitted>();
        arbiter.spawn_fn(move || {
            actix_web::rt::spawn(async move {
                let serve: Serve = serving(answering.front(), settings).await;
                while let Some(Admitted { mut io, peer, held }) = from.recv().await {
                    let serve = Rc::clone(&serve);
                    actix_web::rt::spawn(async move {
                        match io.settle().await {
                            Ok(()) => serve(io, peer).await,
                            Err(error) => {
                                log::debug!(error:%; "a connection cannot be served");
                            }
                        }
                        drop(held);
                    });
                }
            });
        });
        Self {
            to,
            connections: Arc::default(),
        }
    }

    /// How many connections it has.
    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Has it answer the requests of a connection.
    pub(super) fn serve(&self, admitted: Admitted) {
        // It ends with the server only, and the connection with it.
        self.to.send(admitted).ok();
    }
}
