//! Where connections come in: taken and looked at by a thread of their own, which answers those that
//! ask how the service does, and passes on all others.
//!
//! Whatever the other threads do, and however many connections there are, this one goes on: it
//! makes no roll call, writes no report and waits for nobody. What a connection asks is known by
//! its first bytes only, so each is let in until these have come
//! ([`super::pending`]); then it has to be one of those that its client may have,
//! and of those that all may.

use std::convert::Infallible;
use std::io::{Error, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::web::BytesMut;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsAcceptor;

use super::crowds::Crowds;
use super::handshakes::Handshakes;
use super::rooms::Rooms;
use super::serve::Serve;
use super::wire::{Io, Wire};
use super::worker::{Admitted, HeldConnection, OpenConnection, RequestThread};
use crate::access::{Access, ClientShares};
use crate::net::open_files;
use crate::server::guard::Gate;
use crate::server::listen::pending::{PendingConnection, PendingConnections};
use crate::server::traffic::Denial;
use crate::telemetry::LogLimit;

/// How much is read of a connection before it is passed on, in bytes.
const HEAD_LEN: usize = 1 << 10;

/// How requests begin that ask how the service does.
const HEALTH: [&[u8]; 4] = [
    b"GET /healthz",
    b"GET /readyz",
    b"HEAD /healthz",
    b"HEAD /readyz",
];

const TOO_SLOW: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// How long it waits when the system has no connection for it: no file, or no memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How often that is logged.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// What the thread has at hand that takes connections.
pub(super) struct Acceptor {
    pub(super) access: Access,
    pub(super) gate: Arc<Gate>,
    pub(super) tls: Option<TlsAcceptor>,
    pub(super) handshakes: Handshakes,
    /// The longest that a handshake and the first bytes of a request may take together.
    pub(super) timeout: Duration,
    pub(super) pending: PendingConnections,
    pub(super) crowds: Crowds,
    /// Answers those that ask how the service does.
    pub(super) health: Serve,
    pub(super) workers: Vec<RequestThread>,
    pub(super) rooms: Rooms,
    /// Connections of each client, those included that wait for room.
    pub(super) shares: Arc<ClientShares>,
    /// Room for connections on the workers.
    pub(super) room: Arc<Semaphore>,
    /// Room for those that wait for it.
    pub(super) waiting: Arc<Semaphore>,
    /// Room for all of them, where files are few.
    pub(super) all: Arc<Semaphore>,
    /// Kept as long as there is a connection.
    pub(super) alive: mpsc::Sender<Infallible>,
}

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wants {
    Health,
    Other,
}

/// What the first bytes of a connection ask for; `None` while more have to come.
fn wants(head: &[u8]) -> Option<Wants> {
    let mut may_be_health = false;
    for health in HEALTH {
        match head.strip_prefix(health) {
            Some([b' ' | b'?', ..]) => return Some(Wants::Health),
            Some(rest) => may_be_health |= rest.is_empty(),
            None => may_be_health |= health.starts_with(head),
        }
    }
    (!may_be_health).then_some(Wants::Other)
}

impl Acceptor {
    /// Takes connections until it is stopped.
    pub(super) async fn open(
        self: Rc<Self>,
        listener: TcpListener,
        mut stop: watch::Receiver<bool>,
    ) {
        let failed = LogLimit::default();
        loop {
            let accepted = tokio::select! {
                biased;
                _ = stop.changed() => return,
                accepted = self.accept(&listener) => accepted,
            };
            match accepted {
                Ok((stream, peer, place)) => self.receive(stream, peer, place, stop.clone()),
                Err(error) if is_of_connection(&error) => {}
                Err(error) => {
                    if let Some(unlogged) = failed.pass(LOG_EVERY) {
                        log::error!(error:%, unlogged; "a connection cannot be accepted");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn accept(
        &self,
        listener: &TcpListener,
    ) -> std::io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
        let all = Arc::clone(&self.all).acquire_owned().await;
        let place = all.map_err(Error::other)?;
        let (stream, peer) = listener.accept().await?;
        // Not before it is there: one that is silent is closed only for another one.
        if let Some(client) = self.pending.make_room().await {
            self.gate.count(Denial::Evicted);
            self.crowds.closed(client);
        }
        Ok((stream, peer, place))
    }

    fn receive(
        self: &Rc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        place: OwnedSemaphorePermit,
        stop: watch::Receiver<bool>,
    ) {
        let acceptor = Rc::clone(self);
        let open = (open_files::take(1), place);
        let begin = |visit| {
            let served = acceptor.serve(stream, peer, open, visit, stop);
            actix_web::rt::spawn(served).abort_handle()
        };
        self.pending.enter(crate::access::client(peer.ip()), begin);
    }

    async fn serve(
        self: Rc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        open: OpenConnection,
        visit: PendingConnection,
        stop: watch::Receiver<bool>,
    ) {
        match self
            .greet(stream, crate::access::client(peer.ip()), stop)
            .await
        {
            None => {}
            Some((io, Wants::Health)) => (self.health)(io, peer).await,
            Some((io, Wants::Other)) => {
                drop(visit);
                self.admit(io, peer, open).await;
            }
        }
    }

    /// Waits until it is known what a connection is for; `None` if it has ended.
    async fn greet(
        &self,
        stream: TcpStream,
        client: IpAddr,
        mut stop: watch::Receiver<bool>,
    ) -> Option<(Io, Wants)> {
        let end = Instant::now() + self.timeout;
        let wire = Wire::new(stream);
        let mut io = match &self.tls {
            None => Io::plain(wire),
            Some(tls) => {
                let handshake = self.handshakes.do_in_turns(client, tls.accept(wire));
                let done = tokio::select! {
                    biased;
                    done = timeout_at(end, handshake) => done,
                    // One that has asked nothing is not waited for.
                    _ = stop.changed() => return None,
                };
                match done {
                    Ok(Ok(stream)) => Io::tls(stream),
                    Ok(Err(error)) => {
                        // Any other error is that the client is gone.
                        if error.kind() == ErrorKind::InvalidData {
                            self.refuse(Denial::Handshake, client, &error.to_string());
                        }
                        return None;
                    }
                    Err(_) => {
                        let why = "the TLS handshake did not end in time";
                        self.refuse(Denial::Handshake, client, why);
                        return None;
                    }
                }
            }
        };
        let mut head = BytesMut::with_capacity(HEAD_LEN);
        loop {
            let read = tokio::select! {
                biased;
                read = timeout_at(end, io.read_buf(&mut head)) => read,
                _ = stop.changed(), if head.is_empty() => return None,
            };
            match read {
                Ok(Ok(1..)) => {}
                Ok(Ok(0) | Err(_)) => return None,
                Err(_) => {
                    if !head.is_empty() {
                        let why = "the request did not arrive in time";
                        let code = Some(StatusCode::REQUEST_TIMEOUT);
                        self.gate.refuse(Denial::SlowRequest, code, client, why);
                        io.write_all(TOO_SLOW).await.ok();
                    }
                    return None;
                }
            }
            if let Some(wants) = wants(&head) {
                io.unread(head.freeze());
                return Some((io, wants));
            }
        }
    }

    /// Passes a connection on to the worker that has fewest, as soon as there is room.
    async fn admit(&self, io: Io, peer: SocketAddr, open: OpenConnection) {
        let (client, most) = (peer.ip(), self.rooms.connections);
        let Some(share) = self.access.share(&self.shares, client, most) else {
            let why = "this client has half of all connections, which is its share";
            self.refuse(Denial::Connection, client, why);
            return;
        };
        let room = match Arc::clone(&self.room).try_acquire_owned() {
            Ok(room) => room,
            Err(_) => {
                let Ok(_waiting) = self.waiting.try_acquire() else {
                    let why = "too many connections wait for room already";
                    self.refuse(Denial::Connection, client, why);
                    return;
                };
                // It is never closed.
                let Ok(room) = Arc::clone(&self.room).acquire_owned().await else {
                    return;
                };
                room
            }
        };
        let Some(worker) = self
            .workers
            .iter()
            .min_by_key(|worker| worker.connections())
        else {
            return;
        };
        let alive = self.alive.clone();
        let held = HeldConnection::new(worker, (share, room, open, alive));
        worker.serve(Admitted { io, peer, held });
    }

    fn refuse(&self, denial: Denial, client: IpAddr, why: &str) {
        self.gate.refuse(denial, None, client, why);
    }
}

/// Whether an error is of the connection that was to be accepted, and the next may be well.
fn is_of_connection(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionAborted | ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_tell_what_a_connection_is_for() {
        for head in [
            "GET /healthz HTTP/1.1\r\n",
            "GET /healthz ",
            "HEAD /readyz?x",
            "GET /readyz HTTP/1.0\r\n\r\n",
        ] {
            assert_eq!(wants(head.as_bytes()), Some(Wants::Health), "{head}");
        }
        for head in [
            "POST /healthz HTTP/1.1",
            "GET /healthzz",
            "GET /healthz/",
            "GET /test",
            "GET /v1",
            "X",
            "\r\nGET /healthz ",
            "GET  /healthz ",
            "\u{16}\u{3}\u{1}",
        ] {
            assert_eq!(wants(head.as_bytes()), Some(Wants::Other), "{head}");
        }
        for whole in HEALTH {
            for len in 0..=whole.len() {
                assert_eq!(wants(&whole[..len]), None);
            }
        }
    }
}
