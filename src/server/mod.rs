//! The HTTP server: routes and their wire formats over a [`CollectorHandle`].
//!
//! | path | methods | what |
//! | --- | --- | --- |
//! | `/test` | `GET`, `OPTIONS` | one roll call; a contract that does not change |
//! | `/v1/supervision` | `GET` | the supervision tree as it is now |
//! | `/v1/reload` | `POST` | reads the configuration again |
//! | `/v1/…` | | roll calls of any part of the fleet, and more: see `routes::v1` |
//! | `/openapi.json`, `/docs/` | `GET` | what all that is, for programs and for people |
//! | `/metrics` | `GET`, `HEAD` | everything that is counted, for Prometheus |
//! | `/healthz` | `GET`, `HEAD` | whether roll calls can finish |
//! | `/readyz` | `GET`, `HEAD` | whether a roll call would be taken now |
//! | `/`, `/assets/…` | `GET`, `HEAD` | the status page |
//!
//! Every request passes `guard` first, then `front`. It never names an actor or a driver.

mod accept;
mod body;
#[cfg(test)]
mod cost;
#[cfg(test)]
mod crowd;
mod error;
mod front;
mod guard;
pub(crate) mod listen;
mod metrics;
mod page;
mod parameters;
pub(crate) mod routes;
mod tag;
mod traffic;
pub mod tree;
pub mod view;

use std::sync::Arc;

use actix_http::{Request, Response};
use actix_service::Service as _;
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{AppConfig, ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::http::header::ContentType;
use actix_web::{App, Error, HttpResponse, web};
use tokio::sync::Semaphore;

use crate::access::Access;
use crate::engine::collector::{CollectorHandle, Workers};
use crate::engine::watchdog::WatchdogHandle;
use crate::reload::ReloadHandle;
pub(crate) use crate::server::listen::Server;
use crate::server::routes::v1;
use front::RawFactory;
use guard::Gate;
use guard::connections::Occupied;
use traffic::Traffic;

/// How many supervision trees are drawn or sent at once; that of a million devices has 200 MB.
const MAX_TREES: usize = 4;

/// How many lists of changes, or of workers and their clusters, are sent at once; one of a hundred thousand
/// clusters has 20 MB.
const MAX_LISTS: usize = 16;

/// How many scrapes of `/metrics` are answered at once; each keeps a thread.
const MAX_SCRAPES: usize = 4;

/// What every handler has at hand.
#[derive(Debug)]
struct ServerState {
    collector: CollectorHandle,
    reload: ReloadHandle,
    /// Room for supervision trees that are drawn or sent at once.
    trees: Arc<Semaphore>,
    /// Room for lists of changes and workers that are sent at once.
    lists: Arc<Semaphore>,
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
    state: web::Data<ServerState>,
    gate: Arc<Gate>,
    /// Answers of `/test` that are written already.
    memory: routes::test::Memory,
}

impl Answering {
    pub(crate) fn new(handles: Handles, access: Access, debug: bool) -> Self {
        let (collector, reload, watchdog, workers) = handles;
        let traffic = Arc::<Traffic>::default();
        let state = web::Data::new(ServerState {
            collector,
            reload,
            trees: Arc::new(Semaphore::new(MAX_TREES)),
            lists: Arc::new(Semaphore::new(MAX_LISTS)),
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
        front::factory(self.clone(), true, self.app())
    }

    /// What answers those that ask how the service does, and nothing else.
    fn health(&self) -> impl RawFactory<Response<Occupied>> + use<> {
        let routes = App::new()
            .app_data(self.state.clone())
            .configure(routes::health::configure)
            .default_service(web::to(not_found));
        front::factory(self.clone(), false, routes)
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

async fn not_found() -> HttpResponse {
    HttpResponse::NotFound()
        .content_type(ContentType::plaintext())
        .body("there is nothing here; the roll call is GET /test, the supervision tree GET /v1/supervision\n")
}
