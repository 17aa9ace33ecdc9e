//! The server: its listener, its threads, and their end.

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroUsize;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use actix::Arbiter;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;

use super::acceptor::Acceptor;
use super::crowds::Crowds;
use super::handshakes::Handshakes;
use super::pending::PendingConnections;
use super::rooms::Rooms;
use super::serve::{ConnectionSettings, KEEP_ALIVE, serving};
use super::worker::RequestThread;
use crate::access::Access;
use crate::net::open_files;
use crate::server::guard::connections::Connections;
use crate::server::service::Answering;
use crate::server::state::Handles;
use crate::server::traffic::Denial;

/// Connections that may wait to be accepted, as far as the system allows.
const BACKLOG: i32 = 4096;

/// How long a client may leave what it was sent untaken before its connection is closed.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);

/// Threads for what blocks, on each thread that answers: as many as one runtime has, for all.
const BLOCKING_THREADS: usize = 512;

/// A running server. Dropping it ends its threads, and what they do.
#[derive(Debug)]
pub(crate) struct Server {
    addr: SocketAddr,
    threads: Vec<Arbiter>,
    stop: watch::Sender<bool>,
    /// Ends with the listener.
    listening: oneshot::Receiver<Infallible>,
    /// Ends with the last connection, and the listener.
    alive: mpsc::Receiver<Infallible>,
    connections: Arc<Connections>,
    /// Watches connections.
    watch: AbortHandle,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.watch.abort();
        for thread in &self.threads {
            thread.stop();
        }
    }
}

impl Server {
    /// Listens on `address`, and answers on as many threads as there are processors.
    ///
    /// # Errors
    /// What the system says of the address, or of threads.
    ///
    /// # Panics
    /// Outside of an actix `System`.
    pub(crate) fn start(
        address: SocketAddr,
        handles: Handles,
        access: Access,
        debug: bool,
    ) -> std::io::Result<Self> {
        let count = available_parallelism().map_or(1, NonZeroUsize::get);
        Self::start_on(count, address, handles, access, debug)
    }

    /// As [`Server::start`], on `count` threads.
    pub(crate) fn start_on(
        count: usize,
        address: SocketAddr,
        handles: Handles,
        access: Access,
        debug: bool,
    ) -> std::io::Result<Self> {
        let config = access.policy().config.clone();
        let tls = access.server_config().map_err(std::io::Error::other)?;
        let answering = Answering::new(handles, access.clone(), debug);
        let gate = Arc::clone(&answering.gate);
        let listener = listen(address)?;
        let addr = listener.local_addr()?;
        let connections = Arc::new(Connections::new(access.clone()));
        let mut threads = Vec::with_capacity(count + 1);
        let mut workers = Vec::with_capacity(count);
        for _ in 0..count {
            let thread = Arbiter::try_with_tokio_rt(move || {
                tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .max_blocking_threads((BLOCKING_THREADS / count).max(1))
                    .build()
            })?;
            let settings = ConnectionSettings {
                request_timeout: config.request_timeout,
                kept: Some(Arc::clone(&connections)),
                gate: Arc::clone(&answering.gate),
            };
            workers.push(RequestThread::start(&thread, answering.clone(), settings));
            threads.push(thread);
        }
        let thread = Arbiter::try_new()?;
        let (stop, stopped) = watch::channel(false);
        let (listens, listening) = oneshot::channel();
        let (alive, ended) = mpsc::channel(1);
        let rooms = Rooms::new(
            config.max_connections.get(),
            open_files::shares().connections,
        );
        let timeout = config.request_timeout;
        thread.spawn_fn(move || {
            actix_web::rt::spawn(async move {
                // Dropped with this task.
                let _listens: oneshot::Sender<Infallible> = listens;
                let settings = ConnectionSettings {
                    request_timeout: timeout,
                    kept: None,
                    gate: Arc::clone(&answering.gate),
                };
                let acceptor = Acceptor {
                    access,
                    gate: Arc::clone(&answering.gate),
                    tls: tls.map(|config| TlsAcceptor::from(Arc::new(config))),
                    handshakes: Handshakes::default(),
                    timeout,
                    pending: PendingConnections::new(rooms.pending),
                    crowds: Crowds::default(),
                    health: serving(answering.health(), settings).await,
                    workers,
                    rooms,
                    shares: Arc::default(),
                    room: Arc::new(Semaphore::new(rooms.connections)),
                    waiting: Arc::new(Semaphore::new(rooms.waiting)),
                    all: Arc::new(Semaphore::new(rooms.all)),
                    alive,
                };
                match tokio::net::TcpListener::from_std(listener) {
                    Ok(listener) => Rc::new(acceptor).open(listener, stopped).await,
                    Err(error) => log::error!(error:%; "cannot wait for connections"),
                }
            });
        });
        threads.push(thread);
        let slow = move |client| {
            let why = "the next request did not arrive in time";
            gate.refuse(Denial::SlowRequest, None, client, why);
        };
        let limit = KEEP_ALIVE + config.request_timeout;
        let watch = Arc::clone(&connections).watch(limit, slow);
        Ok(Self {
            addr,
            threads,
            stop,
            listening,
            alive: ended,
            connections,
            watch: actix_web::rt::spawn(watch).abort_handle(),
        })
    }

    /// Where it listens, with the port that it got.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Resolves when it listens no more.
    pub(crate) async fn ended(&mut self) {
        (&mut self.listening).await.ok();
    }

    /// Listens no more, and resolves when the last connection has ended.
    pub(crate) async fn stop(&mut self) {
        self.stop.send_replace(true);
        self.connections.close_idle();
        while self.alive.recv().await.is_some() {}
    }
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    // Nothing above the socket notices that a client does not read: HTTP is waiting for room.
    // TCP_USER_TIMEOUT (RFC 5482, Linux's tcp(7)) counts a closed window too, and connections have
    // it from the socket that they were accepted by.
    socket.set_tcp_user_timeout(Some(SEND_TIMEOUT))?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}
