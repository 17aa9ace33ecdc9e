//! `GET /v1/supervision`: the supervision tree as it is now. It asks no actor, so it answers also
//! while all of them hang.

use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderValue, RETRY_AFTER};
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;

use crate::collector::Whose;
use crate::domain::TreeFilter;
use crate::http::State;
use crate::http::body::Held;
use crate::http::error::{Problem, get_only};
use crate::http::tree::TreeView;

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Query {
    /// `failures` leaves out devices that never failed.
    #[param(inline)]
    #[serde(default)]
    devices: Devices,
}

/// Which devices to show.
#[derive(Debug, Clone, Copy, Default, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
enum Devices {
    #[default]
    All,
    Failures,
}

pub(in crate::http) fn configure(config: &mut web::ServiceConfig) {
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
    responses(crate::http::v1::openapi::Tree)
)]
pub(in crate::http) async fn get(request: HttpRequest, state: web::Data<State>) -> HttpResponse {
    let query = match web::Query::<Query>::from_query(request.query_string()) {
        Ok(query) => query.into_inner(),
        Err(error) => {
            let detail = format!("{error}; write ?devices=all or ?devices=failures");
            return Problem::new(StatusCode::BAD_REQUEST, detail).response();
        }
    };
    let filter = match query.devices {
        Devices::All => TreeFilter::All,
        Devices::Failures => TreeFilter::Failures,
    };
    let Ok(place) = Arc::clone(&state.trees).try_acquire_owned() else {
        let detail = "as many trees as may be sent at once are; try again later";
        let mut response = Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).response();
        let retry_after = HeaderValue::from_static("1");
        response.headers_mut().insert(RETRY_AFTER, retry_after);
        return response;
    };
    let (collector, reload) = (state.collector.clone(), state.reload.clone());
    let debug = state.debug;
    let sight = collector.look(Whose::Fleet).await;
    // A million devices take their time.
    let json = web::block(move || {
        let tree = collector.tree(filter, &sight);
        TreeView::new(&tree, reload.discoveries(), collector.metrics()).to_json(debug)
    });
    match json.await {
        Ok(json) => HttpResponse::Ok()
            .content_type("application/json")
            .body(Held::new(json, place)),
        Err(error) => Problem::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string()).response(),
    }
}
