//! `GET /metrics`: everything that is counted, and the devices, for Prometheus.
//!
//! The format is the one that `Accept` prefers of the two texts that there are. It asks no actor,
//! so it answers also while all of them hang.

use std::collections::HashSet;
use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::http::header::{Accept, CONTENT_TYPE, Header, HeaderValue, Quality, RETRY_AFTER};
use actix_web::mime::{self, Mime};
use actix_web::{HttpRequest, HttpResponse, web};

use crate::engine::collector::StateScope;
use crate::server::error::{Problem, get_only};
use crate::server::metrics::exposition::{ExpositionFormat, stream};
use crate::server::metrics::families::registry;
use crate::server::state::ServerState;

pub(in crate::server) fn configure(config: &mut web::ServiceConfig) {
    config.service(
        web::resource("/metrics")
            .route(web::get().to(get))
            .route(web::head().to(head))
            .default_service(web::to(get_only)),
    );
}

async fn get(request: HttpRequest, state: web::Data<ServerState>) -> HttpResponse {
    let Ok(place) = Arc::clone(&state.scrapes).try_acquire_owned() else {
        let detail = "as many scrapes as may be answered at once are; try again later";
        let mut response = Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).response();
        let retry_after = HeaderValue::from_static("1");
        response.headers_mut().insert(RETRY_AFTER, retry_after);
        return response;
    };
    let format = format(&request);
    // A worker's own devices are its to show: others would be shown by all.
    let is_worker = state
        .workers
        .as_ref()
        .is_some_and(|it| it.sharing().worker.is_some());
    let remote = match is_worker {
        true => None,
        false => Some(state.collector.look(StateScope::Fleet).await),
    };
    let registry = registry(&state, remote);
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, format.content_type()))
        .body(stream(registry, format, place))
}

/// As [`get`], without writing what nobody reads.
async fn head(request: HttpRequest) -> HttpResponse {
    let nothing = futures::stream::empty::<Result<web::Bytes, std::convert::Infallible>>();
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, format(&request).content_type()))
        .streaming(nothing)
}

/// What the client prefers; Prometheus' own text if it wants neither, as scrapers expect.
fn format(request: &HttpRequest) -> ExpositionFormat {
    let accept = Accept::parse(request).unwrap_or_else(|_| Accept(Vec::new()));
    let format = |accepted: &Mime| match (accepted.type_(), accepted.subtype().as_str()) {
        (mime::APPLICATION, "openmetrics-text") => {
            let version = accepted.get_param("version");
            let is_known = version.is_none_or(|it| it == "1.0.0" || it == "0.0.1");
            is_known.then_some(ExpositionFormat::OpenMetrics)
        }
        (mime::TEXT, "plain" | "*") | (mime::STAR, "*") => Some(ExpositionFormat::Prometheus),
        (_, _) => None,
    };
    // There may be thousands, each of them a kind of its own.
    let refused = accept.iter().filter(|it| it.quality == Quality::ZERO);
    let refused: HashSet<&Mime> = refused.map(|it| &it.item).collect();
    let ranked = accept.ranked();
    let mut accepted = ranked.iter().filter(|it| !refused.contains(it));
    accepted
        .find_map(format)
        .unwrap_or(ExpositionFormat::Prometheus)
}
