//! The HTTP server: routes and their wire formats over a [`CollectorHandle`].
//!
//! | path | methods | what |
//! | --- | --- | --- |
//! | `/test` | `GET`, `OPTIONS` | one roll call; a contract that does not change |
//!
//! It never names an actor or a driver.

mod error;
mod routes;
pub mod view;

use std::net::SocketAddr;

use actix_web::dev::Server;
use actix_web::http::header::ContentType;
use actix_web::{App, HttpResponse, HttpServer, web};

use crate::collector::CollectorHandle;

/// Connections that may wait to be accepted, as far as the system allows.
const BACKLOG: u32 = 4096;

/// The server's own limit on a graceful stop; `app` has a shorter one.
const SHUTDOWN_TIMEOUT_SECS: u64 = 25 * 60 * 60;

/// What every handler has at hand.
#[derive(Debug, Clone)]
struct State {
    collector: CollectorHandle,
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
    debug: bool,
) -> std::io::Result<(Server, SocketAddr)> {
    let state = web::Data::new(State { collector, debug });
    let server = HttpServer::new(move || {
        App::new()
            .app_data(state.clone())
            .configure(routes::test::configure)
            .default_service(web::to(not_found))
    })
    .backlog(BACKLOG)
    .disable_signals()
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
        .body("there is nothing here; the roll call is GET /test\n")
}
