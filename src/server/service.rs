//! What answers a request: the guard, then `/test`, then all other routes.
//!
//! It alone names the routes.

use std::sync::Arc;

use actix_http::{Request, Response};
use actix_service::Service as _;
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{AppConfig, ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::{App, Error, web};

use super::error::not_found;
use super::front::{self, RawFactory};
use super::guard::Gate;
use super::guard::connections::Occupied;
use super::page;
use super::routes::test::Memory;
use super::routes::{self, v1};
use super::state::{Handles, ServerState};
use crate::access::Access;

/// What every thread of a server needs to answer requests.
#[derive(Clone)]
pub(crate) struct Answering {
    state: web::Data<ServerState>,
    pub(super) gate: Arc<Gate>,
    /// Answers of `/test` that are written already.
    memory: Memory,
}

impl Answering {
    pub(crate) fn new(handles: Handles, access: Access, debug: bool) -> Self {
        let state = web::Data::new(ServerState::new(handles, debug));
        let traffic = Arc::clone(&state.traffic);
        let gate = Arc::new(Gate::new(access, traffic, state.collector.clone()));
        Self {
            state,
            gate,
            memory: Memory::default(),
        }
    }

    /// What answers requests on one thread: all routes, and what requests pass before them.
    pub(super) fn front(&self) -> impl RawFactory<Response<Occupied>> + use<> {
        let test = (self.state.clone(), self.memory.clone());
        front::factory(Arc::clone(&self.gate), Some(test), self.app())
    }

    /// What answers those that ask how the service does, and nothing else.
    pub(super) fn health(&self) -> impl RawFactory<Response<Occupied>> + use<> {
        let routes = App::new()
            .app_data(self.state.clone())
            .configure(routes::health::configure)
            .default_service(web::to(not_found));
        front::factory(Arc::clone(&self.gate), None, routes)
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
            .configure(v1::openapi::configure)
            .configure(v1::configure)
            .configure(routes::metrics::configure)
            .configure(routes::health::configure)
            .configure(page::configure)
            .default_service(web::to(not_found))
    }
}
