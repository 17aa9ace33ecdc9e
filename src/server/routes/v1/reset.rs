//! `POST …/reset`: closes the circuit breaker of a device, and ends its backoff or quarantine.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};

use super::action_log::log_device;
use super::responses;
use super::scope::{id, no_cluster, no_device};
use super::view::{ResetView, WhichView};
use crate::domain::{DeviceKind, Hold};
use crate::server::accept::plain;
use crate::server::error::{Answered, Problem, refuse_body};
use crate::server::guard::caller;
use crate::server::state::ServerState;

/// Closes a node's circuit breaker, and ends its backoff or quarantine.
#[utoipa::path(
    post, path = "/v1/clusters/{cluster}/nodes/{device}/reset", tag = "supervision",
    params(
        ("cluster" = String, Path, description = "the cluster's id"),
        ("device" = String, Path, description = "the node's id"),
    ),
    responses(responses::ResetResponses),
)]
pub(super) async fn reset_node(
    request: HttpRequest,
    path: web::Path<(String, String)>,
    state: web::Data<ServerState>,
    body: web::Bytes,
) -> Answered {
    reset(&request, &path, &state, &body, DeviceKind::Node).await
}

/// Closes a switch's circuit breaker, and ends its backoff or quarantine.
#[utoipa::path(
    post, path = "/v1/clusters/{cluster}/switches/{device}/reset", tag = "supervision",
    params(
        ("cluster" = String, Path, description = "the cluster's id"),
        ("device" = String, Path, description = "the switch's id"),
    ),
    responses(responses::ResetResponses),
)]
pub(super) async fn reset_switch(
    request: HttpRequest,
    path: web::Path<(String, String)>,
    state: web::Data<ServerState>,
    body: web::Bytes,
) -> Answered {
    reset(&request, &path, &state, &body, DeviceKind::Switch).await
}

async fn reset(
    request: &HttpRequest,
    (cluster, device): &(String, String),
    state: &ServerState,
    body: &[u8],
    kind: DeviceKind,
) -> Answered {
    refuse_body(body)?;
    plain(request)?;
    let (cluster_id, device_id) = (id(cluster)?, id(device)?);
    if !state.collector.has_cluster(&cluster_id) {
        return Err(no_cluster(state, cluster).await);
    }
    let by = caller(request);
    let reset = state.collector.reset(&cluster_id, kind, &device_id, &by);
    let Some(cleared) = reset.await else {
        return Err(no_device(state, cluster, kind, device).await);
    };
    let cleared = cleared.map_err(|why| {
        let detail = format!("it was not reset: {why}");
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).retry_after(1)
    })?;
    log_device(&by, cluster, kind, device, "device reset", &cleared);
    let view = ResetView {
        cluster_id,
        device: WhichView::new(kind, &device_id),
        cleared: cleared.into_iter().map(Hold::as_str).collect(),
    };
    Ok(HttpResponse::Ok().json(view))
}
