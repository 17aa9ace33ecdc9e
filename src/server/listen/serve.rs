//! What answers the requests of a connection.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_http::{Extensions, HttpService, Response};
use actix_service::{Service as _, ServiceFactory as _, map_config};
use actix_web::dev::AppConfig;
use actix_web::http::KeepAlive;
use futures::future::LocalBoxFuture;

use super::wire::Io;
use crate::server::front::RawFactory;
use crate::server::guard::Gate;
use crate::server::guard::connections::{Connections, Occupied};

/// How long a connection may have no request.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// How long a client may take to close a connection that is closed here.
const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Answers the requests of a connection.
pub(super) type Serve = Rc<dyn Fn(Io, SocketAddr) -> LocalBoxFuture<'static, ()>>;

/// How connections are served.
#[derive(Clone)]
pub(super) struct ConnectionSettings {
    /// The longest that a request may take to arrive.
    pub(super) request_timeout: Duration,
    /// Those that may have a second request; `None` if none may.
    pub(super) kept: Option<Arc<Connections>>,
    /// Hears what is refused before there is a request.
    pub(super) gate: Arc<Gate>,
}

/// What answers the requests of connections, on this thread.
pub(super) async fn serving(
    front: impl RawFactory<Response<Occupied>> + 'static,
    settings: ConnectionSettings,
) -> Serve {
    let ConnectionSettings {
        request_timeout,
        kept,
        gate,
    } = settings;
    let keep_alive = match kept {
        Some(_) => KeepAlive::Timeout(KEEP_ALIVE),
        None => KeepAlive::Disabled,
    };
    let http = HttpService::<Io, _, Occupied>::build()
        .keep_alive(keep_alive)
        .client_request_timeout(request_timeout)
        .client_disconnect_timeout(DISCONNECT_TIMEOUT)
        // A client that closes its side is gone, and its request is cancelled. A client that only
        // closes its sending side and still reads cannot be told from that, and is not served.
        .h1_allow_half_closed(false)
        .on_connect_ext(move |io: &Io, data: &mut Extensions| {
            data.insert(Arc::clone(io.record()));
            let known = kept.as_ref().zip(io.socket());
            if let Some(kept) = known.and_then(|(kept, socket)| kept.opened(&socket)) {
                data.insert(kept);
            }
        })
        .h1(map_config(front, |()| AppConfig::default()))
        .new_service(())
        .await;
    #[expect(clippy::expect_used, reason = "it has no data that is made later")]
    let http = Rc::new(http.expect("only data factories fail"));
    Rc::new(move |io, peer| {
        let (gate, record) = (Arc::clone(&gate), Arc::clone(io.record()));
        let served = http.call((io, Some(peer)));
        Box::pin(async move {
            let ended = served.await;
            if let Some(unread) = record.refused(&ended) {
                gate.refuse_unread(&unread, peer.ip());
            } else if let Err(error) = ended {
                log::debug!(error:%; "a connection ended");
            }
        })
    })
}
