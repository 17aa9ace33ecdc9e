//! `GET /v1/supervision`: the supervision tree as it is now. It asks no actor, so it answers also
//! while all of them hang.

use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};

use crate::domain::TreeFilter;
use crate::engine::collector::StateScope;
use crate::server::accept;
use crate::server::body::aside::aside;
use crate::server::body::held::HeldBody;
use crate::server::body::listing::indented;
use crate::server::error::{Problem, get_only};
use crate::server::parameters::Parameters;
use crate::server::state::ServerState;
use crate::server::tree::TreeView;

#[derive(Debug, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it describes what `Parameters` reads")]
struct Query {
    /// `failures` leaves out devices that never failed.
    #[param(inline)]
    devices: Option<Devices>,
}

/// Which devices to show.
#[derive(Debug, utoipa::ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "it describes what `Parameters` reads")]
enum Devices {
    All,
    Failures,
}

pub(in crate::server) fn configure(config: &mut web::ServiceConfig) {
    config.service(
        web::resource("/v1/supervision")
            .route(web::get().to(get))
            .route(web::head().to(get))
            .default_service(web::to(get_only)),
    );
}

/// The supervision tree as it is now: each actor with its state, restarts and last exit.
///
/// It asks no actor, so it answers also while all of them hang.
#[utoipa::path(
    get,
    path = "/v1/supervision",
    tag = "supervision",
    params(Query),
    responses(crate::server::routes::v1::responses::TreeResponses)
)]
pub(in crate::server) async fn get(
    request: HttpRequest,
    state: web::Data<ServerState>,
) -> Result<HttpResponse, Problem> {
    accept::json(&request)?;
    let filters = [("all", TreeFilter::All), ("failures", TreeFilter::Failures)];
    let given = Parameters::read(&request, &["devices"])?;
    let filter = given.one_of("devices", &filters)?;
    let filter = filter.unwrap_or(TreeFilter::All);
    let Ok(place) = Arc::clone(&state.trees).try_acquire_owned() else {
        let detail = "as many trees as may be sent at once are; try again later";
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).retry_after(1));
    };
    let (collector, reload) = (state.collector.clone(), state.reload.clone());
    let debug = state.debug;
    let remote = collector.look(StateScope::Fleet).await;
    // A million devices take their time.
    let work = aside(place, move |client| {
        let is_gone = || client.is_gone();
        let tree = collector.tree(filter, &remote, &is_gone);
        let view = TreeView::new(&tree, reload.discoveries(), collector.metrics());
        Some(indented(client.json(&view)?, debug))
    });
    let (Some(json), place) = work.await? else {
        let detail = "the tree was not written";
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail));
    };
    Ok(HttpResponse::Ok()
        .content_type("application/json")
        .body(HeldBody::new(json, place)))
}
