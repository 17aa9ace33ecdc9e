//! The HTTP server: routes and their wire formats over a [`CollectorHandle`].
//!
//! | path | methods | what |
//! | --- | --- | --- |
//! | `/test` | `GET`, `OPTIONS` | one roll call; a contract that does not change |
//! | `/v1/supervision` | `GET` | the supervision tree as it is now |
//! | `/v1/reload` | `POST` | reads the configuration again |
//! | `/v1/…` | | roll calls of any part of the fleet, and more: see `v1` |
//! | `/openapi.json`, `/docs/` | `GET` | what all that is, for programs and for people |
//! | `/metrics` | `GET`, `HEAD` | everything that is counted, for Prometheus |
//! | `/healthz` | `GET`, `HEAD` | whether roll calls can finish |
//! | `/readyz` | `GET`, `HEAD` | whether a roll call would be taken now |
//! | `/`, `/assets/…` | `GET`, `HEAD` | the status page |
//!
//! Every request passes `guard` first, then `front`. It never names an actor or a driver.

mod accept;
mod aside;
mod body;
#[cfg(test)]
mod cost;
mod devices;
mod error;
mod exposition;
mod families;
mod front;
mod guard;
mod indent;
mod list;
mod listing;
mod page;
mod parameters;
mod pieces;
mod process;
mod routes;
mod sharing;
mod tag;
mod traffic;
pub mod tree;
pub(crate) mod v1;
pub mod view;

use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use actix_http::{Request, Response};
use actix_service::Service as _;
use actix_tls::accept::rustls_0_23::TlsStream;
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{AppConfig, Server, ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::http::header::ContentType;
use actix_web::rt::net::TcpStream;
use actix_web::{App, Error, HttpResponse, HttpServer, web};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

use crate::access::Access;
use crate::collector::{CollectorHandle, Workers};
use crate::open_files;
use crate::reload::ReloadHandle;
use crate::watchdog::WatchdogHandle;
use front::RawFactory;
use guard::Gate;
use guard::connections::{Connections, Occupied};
use traffic::Traffic;

/// Connections that may wait to be accepted, as far as the system allows.
const BACKLOG: i32 = 4096;

/// How many supervision trees are drawn or sent at once; that of a million devices has 200 MB.
const MAX_TREES: usize = 4;

/// How many scrapes of `/metrics` are answered at once; each keeps a thread.
const MAX_SCRAPES: usize = 4;

/// How long a client may leave what it was sent untaken before its connection is closed.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a connection may have no request.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// The server's own limit on a graceful stop; `app` has a shorter one.
const SHUTDOWN_TIMEOUT_SECS: u64 = 25 * 60 * 60;

/// What every handler has at hand.
#[derive(Debug)]
struct State {
    collector: CollectorHandle,
    reload: ReloadHandle,
    /// Room for supervision trees that are drawn or sent at once.
    trees: Arc<Semaphore>,
    watchdog: WatchdogHandle,
    /// Room for scrapes that are answered at once.
    scrapes: Arc<Semaphore>,
    /// Who else asks clusters; `None` if nobody does.
    workers: Option<Arc<dyn Workers>>,
    /// What requests came to.
    traffic: Arc<Traffic>,
    /// Indent JSON by two spaces.
    debug: bool,
}

/// A server that listens, to be run.
pub(crate) struct Listening {
    pub(crate) server: Server,
    /// With the port that it got.
    pub(crate) addr: SocketAddr,
    /// What watches its connections; to be ended with it.
    pub(crate) watch: AbortHandle,
}

/// What the handlers ask.
pub(crate) type Handles = (
    CollectorHandle,
    ReloadHandle,
    WatchdogHandle,
    Option<Arc<dyn Workers>>,
);

/// What every thread of a server needs to answer requests.
#[derive(Clone)]
pub(crate) struct Answering {
    state: web::Data<State>,
    gate: Arc<Gate>,
    /// Answers of `/test` that are written already.
    memory: routes::test::Memory,
}

impl Answering {
    pub(crate) fn new(handles: Handles, access: Access, debug: bool) -> Self {
        let (collector, reload, watchdog, workers) = handles;
        let traffic = Arc::<Traffic>::default();
        let state = web::Data::new(State {
            collector,
            reload,
            trees: Arc::new(Semaphore::new(MAX_TREES)),
            watchdog,
            scrapes: Arc::new(Semaphore::new(MAX_SCRAPES)),
            workers,
            traffic: Arc::clone(&traffic),
            debug,
        });
        let gate = Arc::new(Gate::new(access, traffic, state.collector.clone()));
        Self {
            state,
            gate,
            memory: routes::test::Memory::default(),
        }
    }

    /// What answers requests on one thread: all routes, and what requests pass before them.
    fn front(&self) -> impl RawFactory<Response<Occupied>> + use<> {
        front::factory(self.clone(), self.app())
    }

    /// What answers requests on this thread.
    pub(crate) async fn serverless(self) -> impl AsyncFn(Request) -> Response<BoxBody> + use<> {
        let front = self.front().new_service(AppConfig::default()).await;
        #[expect(clippy::expect_used, reason = "it has no data that is made later")]
        let front = front.expect("only data factories fail");
        async move |request| match front.call(request).await {
            Ok(response) => response.map_into_boxed_body(),
            Err(error) => error.into(),
        }
    }

    /// All routes but `/test`.
    fn app(
        &self,
    ) -> App<
        impl ServiceFactory<
            ServiceRequest,
            Config = (),
            Response = ServiceResponse<impl MessageBody + use<>>,
            Error = Error,
            InitError = (),
        > + use<>,
    > {
        App::new()
            .app_data(self.state.clone())
            .configure(routes::supervision::configure)
            .configure(routes::reload::configure)
            .configure(v1::configure)
            .configure(routes::metrics::configure)
            .configure(routes::health::configure)
            .configure(page::configure)
            .default_service(web::to(not_found))
    }
}

/// Listens on `address`.
///
/// # Errors
/// What the system says of the address.
pub(crate) fn serve(
    address: SocketAddr,
    handles: Handles,
    access: Access,
    debug: bool,
) -> std::io::Result<Listening> {
    let config = access.policy().config.clone();
    let tls = access.server_config().map_err(std::io::Error::other)?;
    let answering = Answering::new(handles, access, debug);
    let connections = Arc::new(Connections::new());
    let watch = Arc::clone(&connections).watch(KEEP_ALIVE + config.request_timeout);
    let threads = available_parallelism().map_or(1, NonZeroUsize::get);
    let most = config
        .max_connections
        .get()
        .min(open_files::shares().connections);
    let server = HttpServer::new(move || answering.front())
        .workers(threads)
        // The server counts them for each thread, which has one at least.
        .max_connections(most.div_ceil(threads))
        .keep_alive(KEEP_ALIVE)
        .client_request_timeout(config.request_timeout)
        .tls_handshake_timeout(config.request_timeout)
        .disable_signals()
        .on_connect(move |connection, data| {
            data.insert(open_files::take(1));
            let stream = connection.downcast_ref::<TcpStream>().or_else(|| {
                let stream = connection.downcast_ref::<TlsStream<TcpStream>>()?;
                Some(stream.get_ref().0)
            });
            if let Some(connection) = stream.and_then(|it| connections.opened(&SockRef::from(it))) {
                data.insert(connection);
            }
        })
        .shutdown_timeout(SHUTDOWN_TIMEOUT_SECS)
        // A client that closes its side is gone, and its request is cancelled. A client that only
        // closes its sending side and still reads cannot be told from that, and is not served.
        .h1_allow_half_closed(false);
    let listener = listen(address)?;
    let addr = listener.local_addr()?;
    let server = match tls {
        None => server.listen(listener)?,
        Some(tls) => server.listen_rustls_0_23(listener, tls)?,
    };
    Ok(Listening {
        server: server.run(),
        addr,
        watch: actix_web::rt::spawn(watch).abort_handle(),
    })
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

async fn not_found() -> HttpResponse {
    HttpResponse::NotFound()
        .content_type(ContentType::plaintext())
        .body("there is nothing here; the roll call is GET /test, the supervision tree GET /v1/supervision\n")
}
