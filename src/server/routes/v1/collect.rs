//! Roll calls of any part of the fleet: `GET /v1/report`, and `POST` to what is to be asked now.

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, web};

use super::action_log::{log_device, log_forced};
use super::query::{
    CLUSTER, ClusterQuery, DEVICE, DeviceQuery, FORCE, ForceQuery, RollCallQuery, Wanted,
};
use super::scope::{cluster_scope, device_scope, id};
use super::{report, responses};
use crate::domain::{DeviceKind, FORCED_EVERY, Scope};
use crate::server::error::{Answered, Problem, refuse_body};
use crate::server::guard::caller;
use crate::server::state::ServerState;

/// Makes a roll call.
///
/// Every device that is meant stands in it exactly once, in configured order, whatever happened to
/// it. With `Accept: application/x-ndjson` or `text/event-stream` each comes when it has answered,
/// and the summary last.
#[utoipa::path(
    get,
    path = "/v1/report",
    tag = "roll calls",
    params(
        ClusterQuery, DeviceQuery, RollCallQuery,
        ("Last-Event-ID" = Option<String>, Header, description = "sent by an `EventSource` that comes \
         back when its stream has ended; it is told by 204 to stay away"),
    ),
    responses(responses::ReportResponses)
)]
pub(super) async fn report(request: HttpRequest, state: web::Data<ServerState>) -> Answered {
    let wanted = Wanted::read(&request, &[CLUSTER, DEVICE, FORCE].concat())?;
    if wanted.request.force {
        // A browser sends a GET for a page of any origin, without a word of where it comes from.
        let why = "`force` is for POST /v1/collect and the others that ask now";
        return Err(Problem::bad(why));
    }
    report::answer(&request, &state, wanted).await
}

/// Asks every device now.
#[utoipa::path(
    post,
    path = "/v1/collect",
    tag = "roll calls",
    params(ClusterQuery, DeviceQuery, RollCallQuery, ForceQuery),
    responses(responses::RollCallResponses)
)]
pub(super) async fn collect(
    request: HttpRequest,
    state: web::Data<ServerState>,
    body: web::Bytes,
) -> Answered {
    let filters = [CLUSTER, DEVICE].concat();
    ask(&request, &state, &body, &filters, |_| {}).await
}

/// Asks the devices of a cluster now.
#[utoipa::path(
    post, path = "/v1/clusters/{cluster}/collect", tag = "roll calls",
    params(
        ("cluster" = String, Path, description = "the cluster's id"),
        DeviceQuery, RollCallQuery, ForceQuery,
    ),
    responses(responses::RollCallResponses),
)]
pub(super) async fn collect_cluster(
    request: HttpRequest,
    path: web::Path<String>,
    state: web::Data<ServerState>,
    body: web::Bytes,
) -> Answered {
    let scope = cluster_scope(&state, &path).await?;
    ask(&request, &state, &body, DEVICE, |asked| {
        asked.clusters = scope.clusters
    })
    .await
}

/// Asks a node now, also if it is left alone because its circuit breaker is open or its actor waits to
/// be restarted: that at most once in 10 s, unless `force=false`.
#[utoipa::path(
    post, path = "/v1/clusters/{cluster}/nodes/{device}/collect", tag = "roll calls",
    params(
        ("cluster" = String, Path, description = "the cluster's id"),
        ("device" = String, Path, description = "the node's id"),
        RollCallQuery,
        ForceQuery,
    ),
    responses(responses::RollCallResponses),
)]
pub(super) async fn collect_node(
    request: HttpRequest,
    path: web::Path<(String, String)>,
    state: web::Data<ServerState>,
    body: web::Bytes,
) -> Answered {
    ask_device(&request, &path, &state, &body, DeviceKind::Node).await
}

/// Asks a switch now, also if it is left alone because its circuit breaker is open or its actor waits
/// to be restarted: that at most once in 10 s, unless `force=false`.
#[utoipa::path(
    post, path = "/v1/clusters/{cluster}/switches/{device}/collect", tag = "roll calls",
    params(
        ("cluster" = String, Path, description = "the cluster's id"),
        ("device" = String, Path, description = "the switch's id"),
        RollCallQuery,
        ForceQuery,
    ),
    responses(responses::RollCallResponses),
)]
pub(super) async fn collect_switch(
    request: HttpRequest,
    path: web::Path<(String, String)>,
    state: web::Data<ServerState>,
    body: web::Bytes,
) -> Answered {
    ask_device(&request, &path, &state, &body, DeviceKind::Switch).await
}

/// Asks one device now, whatever is known, and although it would be left alone.
async fn ask_device(
    request: &HttpRequest,
    path: &(String, String),
    state: &ServerState,
    body: &[u8],
    kind: DeviceKind,
) -> Answered {
    refuse_body(body)?;
    let mut wanted = Wanted::read(request, FORCE)?;
    let scope = device_scope(state, path, kind).await?;
    let force = wanted.force != Some(false);
    if force {
        let (cluster, device) = (id(&path.0)?, id(&path.1)?);
        let (start, deadline) = (wanted.start, wanted.request.deadline);
        let reserved = state
            .collector
            .reserve_force(&cluster, kind, &device, start, deadline);
        if reserved.await.map_err(too_soon)? {
            let by = caller(request);
            log_device(&by, &path.0, kind, &path.1, "device asked by force", &[]);
        }
    }
    let asked = &mut wanted.request;
    asked.max_age = None;
    asked.force = force;
    asked.scope = scope;
    report::answer(request, state, wanted).await
}

fn too_soon(wait: Duration) -> Problem {
    let secs = u32::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(u32::MAX);
    let detail = format!(
        "it is left alone, and was asked by force a moment ago; that may be once in {} s",
        FORCED_EVERY.as_secs()
    );
    Problem::new(StatusCode::TOO_MANY_REQUESTS, detail).retry_after(secs)
}

/// Asks now, whatever is known.
async fn ask(
    request: &HttpRequest,
    state: &ServerState,
    body: &[u8],
    filters: &[&str],
    change: impl FnOnce(&mut Scope),
) -> Answered {
    refuse_body(body)?;
    let mut wanted = Wanted::read(request, &[filters, FORCE].concat())?;
    log_forced(request, &wanted);
    wanted.request.max_age = None;
    change(&mut wanted.request.scope);
    report::answer(request, state, wanted).await
}
