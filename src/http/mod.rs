//! The HTTP server: routes and their wire formats over a [`CollectorHandle`].
//!
//! | path | methods | what |
//! | --- | --- | --- |
//! | `/test` | `GET`, `OPTIONS` | one roll call; a contract that does not change |
//! | `/v1/supervision` | `GET` | the supervision tree as it is now |
//! | `/v1/reload` | `POST` | reads the configuration again |
//! | `/v1/…` | | roll calls of any part of the fleet, and more: see `v1` |
//! | `/openapi.json`, `/docs/` | `GET` | what all that is, for programs and for people |
//!
//! It never names an actor or a driver.

mod body;
mod error;
mod routes;
pub mod tree;
mod v1;
pub mod view;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::http::header::ContentType;
use actix_web::rt::net::TcpStream;
use actix_web::{App, HttpResponse, HttpServer, web};
use socket2::SockRef;
use tokio::sync::Semaphore;

use crate::collector::CollectorHandle;
use crate::reload::ReloadHandle;

/// Connections that may wait to be accepted, as far as the system allows.
const BACKLOG: u32 = 4096;

/// How many supervision trees are drawn or sent at once; that of a million devices has 200 MB.
const MAX_TREES: usize = 4;

/// How long a client may leave what it was sent untaken before its connection is closed.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);

/// The server's own limit on a graceful stop; `app` has a shorter one.
const SHUTDOWN_TIMEOUT_SECS: u64 = 25 * 60 * 60;

/// What every handler has at hand.
#[derive(Debug, Clone)]
struct State {
    collector: CollectorHandle,
    reload: ReloadHandle,
    /// Room for supervision trees that are drawn or sent at once.
    trees: Arc<Semaphore>,
    /// Indent JSON by two spaces.
    debug: bool,
}

/// Listens on `address` and gives the server, to be run, with the address it got.
///
/// # Errors
/// What the system says of the address.
pub(crate) fn serve(
    address: SocketAddr,
    collector: CollectorHandle,
    reload: ReloadHandle,
    debug: bool,
) -> std::io::Result<(Server, SocketAddr)> {
    let state = web::Data::new(State {
        collector,
        reload,
        trees: Arc::new(Semaphore::new(MAX_TREES)),
        debug,
    });
    let server = HttpServer::new(move || {
        App::new()
            .app_data(state.clone())
            .configure(routes::test::configure)
            .configure(routes::supervision::configure)
            .configure(routes::reload::configure)
            .configure(v1::configure)
            .default_service(web::to(not_found))
    })
    .backlog(BACKLOG)
    .disable_signals()
    .on_connect(|connection, _| {
        // Nothing above the socket notices that a client does not read: HTTP is waiting for room.
        // TCP_USER_TIMEOUT (RFC 5482, Linux's tcp(7)) counts a closed window too.
        if let Some(stream) = connection.downcast_ref::<TcpStream>()
            && let Err(error) = SockRef::from(stream).set_tcp_user_timeout(Some(SEND_TIMEOUT))
        {
            log::debug!(error:%; "cannot bound how long a client may not read");
        }
    })
    .shutdown_timeout(SHUTDOWN_TIMEOUT_SECS)
    // A client that closes its side is gone, and its request is cancelled. A client that only
    // closes its sending side and still reads cannot be told from that, and is not served.
    .h1_allow_half_closed(false)
    .bind(address)?;
    let addr = server.addrs().first().copied().unwrap_or(address);
    Ok((server.run(), addr))
}

async fn not_found() -> HttpResponse {
    HttpResponse::NotFound()
        .content_type(ContentType::plaintext())
        .body("there is nothing here; the roll call is GET /test, the supervision tree GET /v1/supervision\n")
}
