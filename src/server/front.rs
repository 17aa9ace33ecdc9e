//! What each thread of the server answers requests with: the guard, then `/test`, then actix-web's
//! routes.
//!
//! `/test` is the path that has to be fast and will not change, so it stands before the router: a
//! request of it costs neither a match against all routes nor the boxes of a middleware. It knows
//! the guard and one route, and nothing of the others.

use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use actix_http::{Request, Response};
use actix_service::{IntoServiceFactory, Service, ServiceFactory};
use actix_web::body::MessageBody;
use actix_web::dev::{AppConfig, ServiceResponse};
use actix_web::{Error, web};
use futures::future::LocalBoxFuture;

use super::guard::connections::Occupied;
use super::guard::{Gate, guard, is_test};
use super::routes::test::{self, Memory};
use super::state::ServerState;

/// What makes, for each thread, something that answers requests by an `R`.
pub(super) trait RawFactory<R>:
    ServiceFactory<Request, Config = AppConfig, Response = R, Error = Error, InitError = ()>
{
}

impl<F, R> RawFactory<R> for F where
    F: ServiceFactory<Request, Config = AppConfig, Response = R, Error = Error, InitError = ()>
{
}

/// What `/test` is answered with.
type TestRoute = (web::Data<ServerState>, Memory);

/// What makes a front of `app`'s routes, and of `/test` if that is given.
pub(super) fn factory<F, B>(
    gate: Arc<Gate>,
    test: Option<TestRoute>,
    app: impl IntoServiceFactory<F, Request>,
) -> impl RawFactory<Response<Occupied>>
where
    F: RawFactory<ServiceResponse<B>, Service: 'static, Future: 'static> + 'static,
    B: MessageBody + 'static,
{
    let routes = app.into_factory();
    Factory {
        gate,
        test,
        routes,
        body: PhantomData,
    }
}

struct Factory<F, B> {
    gate: Arc<Gate>,
    test: Option<TestRoute>,
    routes: F,
    body: PhantomData<B>,
}

impl<F, B> ServiceFactory<Request> for Factory<F, B>
where
    F: RawFactory<ServiceResponse<B>, Service: 'static, Future: 'static>,
    B: MessageBody + 'static,
{
    type Response = Response<Occupied>;
    type Error = Error;
    type Config = AppConfig;
    type Service = RequestService<F::Service>;
    type InitError = ();
    type Future = LocalBoxFuture<'static, Result<Self::Service, ()>>;

    fn new_service(&self, config: AppConfig) -> Self::Future {
        let gate = Arc::clone(&self.gate);
        let test = self.test.clone();
        let routes = self.routes.new_service(config);
        Box::pin(async move {
            let routes = routes.await?;
            Ok(RequestService(Rc::new(Parts { gate, test, routes })))
        })
    }
}

/// Answers the requests of a thread.
pub(super) struct RequestService<S>(Rc<Parts<S>>);

/// Shared with the requests under way.
struct Parts<S> {
    gate: Arc<Gate>,
    test: Option<TestRoute>,
    routes: S,
}

impl<S, B> Service<Request> for RequestService<S>
where
    S: Service<Request, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: MessageBody + 'static,
{
    type Response = Response<Occupied>;
    type Error = Error;
    type Future = LocalBoxFuture<'static, Result<Self::Response, Error>>;

    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.0.routes.poll_ready(context)
    }

    fn call(&self, request: Request) -> Self::Future {
        let parts = Rc::clone(&self.0);
        Box::pin(async move {
            let Parts { gate, test, routes } = &*parts;
            let handle = async |request: Request| {
                if let Some((state, memory)) = test
                    && is_test(request.path())
                {
                    return test::answer(&request, state, memory).await.into();
                }
                match routes.call(request).await {
                    Ok(response) => Response::from(response).map_into_boxed_body(),
                    Err(error) => error.into(),
                }
            };
            Ok(guard(gate, request, handle).await)
        })
    }
}
