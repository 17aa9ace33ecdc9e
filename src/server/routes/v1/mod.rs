//! `/v1`: roll calls of any part of the fleet, what is known without asking, and what changed.
//!
//! Described by the OpenAPI document at `/openapi.json`, which is made from the types here.

mod docs;
pub(crate) mod openapi;
mod query;
pub(crate) mod report;
pub(in crate::server) mod responses;
mod view;
mod whole;
pub(crate) mod workers;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use actix_web::http::StatusCode;
use actix_web::middleware::Compress;
use actix_web::{HttpRequest, HttpResponse, web};
use log::Level;
use log::kv::Value;
use serde::Serialize;
use utoipa::IntoParams;
use xxhash_rust::xxh3::xxh3_128;

use self::query::{
    CLUSTER, ClusterQuery, DEVICE, DeviceQuery, FORCE, ForceQuery, RollCallQuery, Wanted,
};
use self::view::{
    ChangeView, ChangesView, ClusterCountView, ClusterStateView, ClustersView, DeviceStateView,
    ResetView, WhichView,
};
use self::workers::{Owners, WorkersView};
use crate::domain::{
    Candidates, Cluster, ClusterId, DeviceId, DeviceKind, FORCED_EVERY, Hold, Id, NodeSet, Scope,
    Turn,
};
use crate::engine::collector::StateScope;
use crate::server::accept;
use crate::server::body::aside::aside;
use crate::server::body::held::HeldBody;
use crate::server::body::list::with_list;
use crate::server::error::{Problem, get_only, method_not_allowed, refuse_body};
use crate::server::guard::caller;
use crate::server::parameters::{Parameters, shown};
use crate::server::state::ServerState;
use crate::server::tag::tagged;
use crate::telemetry::event;

pub(crate) fn configure(config: &mut web::ServiceConfig) {
    let read = |path: &str, get: actix_web::Route, head: actix_web::Route| {
        web::resource(path)
            .wrap(Compress::default())
            .route(get)
            .route(head)
            .default_service(web::to(get_only))
    };
    let ask = |path: &str, post: actix_web::Route| {
        web::resource(path)
            .wrap(Compress::default())
            .route(post)
            .default_service(web::to(post_only))
    };
    macro_rules! get {
        ($path:expr, $handler:path) => {
            config.service(read(
                $path,
                web::get().to($handler),
                web::head().to($handler),
            ))
        };
    }
    get!("/v1/report", report);
    get!("/v1/changes", changes);
    get!("/v1/workers", workers);
    get!("/v1/clusters", clusters);
    get!("/v1/clusters/{cluster}", cluster);
    get!("/v1/clusters/{cluster}/nodes/{device}", node);
    get!("/v1/clusters/{cluster}/switches/{device}", switch);
    config.service(ask("/v1/collect", web::post().to(collect)));
    config.service(ask(
        "/v1/clusters/{cluster}/collect",
        web::post().to(collect_cluster),
    ));
    config.service(ask(
        "/v1/clusters/{cluster}/nodes/{device}/collect",
        web::post().to(collect_node),
    ));
    config.service(ask(
        "/v1/clusters/{cluster}/switches/{device}/collect",
        web::post().to(collect_switch),
    ));
    config.service(ask(
        "/v1/clusters/{cluster}/nodes/{device}/reset",
        web::post().to(reset_node),
    ));
    config.service(ask(
        "/v1/clusters/{cluster}/switches/{device}/reset",
        web::post().to(reset_switch),
    ));
}

async fn post_only(request: HttpRequest) -> HttpResponse {
    method_not_allowed(request.method(), "POST", "POST is")
}

/// What a handler comes to.
type Answered = Result<HttpResponse, Problem>;

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
async fn report(request: HttpRequest, state: web::Data<ServerState>) -> Answered {
    let wanted = Wanted::read(&request, &[CLUSTER, DEVICE, FORCE].concat())?;
    if wanted.request.force {
        // A browser sends a GET for a page of any origin, without a word of where it comes from.
        let why = "`force` is for POST /v1/collect and the others that ask now";
        return Err(Problem::bad(why));
    }
    report::answer(&request, &state, wanted).await
}

/// Who has a roll call made by force.
fn log_forced(request: &HttpRequest, wanted: &Wanted) {
    if wanted.request.force {
        let (by, path) = (caller(request), request.path());
        let query = request.query_string();
        log::info!(by, path, query; "roll call by force");
    }
}

/// Asks every device now.
#[utoipa::path(
    post,
    path = "/v1/collect",
    tag = "roll calls",
    params(ClusterQuery, DeviceQuery, RollCallQuery, ForceQuery),
    responses(responses::RollCallResponses)
)]
async fn collect(
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
async fn collect_cluster(
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
async fn collect_node(
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
async fn collect_switch(
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

/// Closes a node's circuit breaker, and ends its backoff or quarantine.
#[utoipa::path(
    post, path = "/v1/clusters/{cluster}/nodes/{device}/reset", tag = "supervision",
    params(
        ("cluster" = String, Path, description = "the cluster's id"),
        ("device" = String, Path, description = "the node's id"),
    ),
    responses(responses::ResetResponses),
)]
async fn reset_node(
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
async fn reset_switch(
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

/// What somebody has done with a device.
fn log_device(
    by: &str,
    cluster: &str,
    kind: DeviceKind,
    device: &str,
    message: &str,
    cleared: &[Hold],
) {
    let words: Vec<&str> = cleared.iter().map(|it| it.as_str()).collect();
    let words = words.join(" ");
    let mut fields = vec![
        ("cluster", Value::from(cluster)),
        (kind.as_str(), Value::from(device)),
        ("by", Value::from(by)),
    ];
    if !words.is_empty() {
        fields.push(("cleared", Value::from(words.as_str())));
    }
    event(Level::Info, module_path!(), message, &fields);
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

/// The clusters in numbers, as they are known without asking anybody.
#[utoipa::path(
    get, path = "/v1/clusters", tag = "last known state",
    responses(responses::KnownResponses<ClustersView>),
)]
async fn clusters(request: HttpRequest, state: web::Data<ServerState>) -> Answered {
    plain(&request)?;
    let Ok(place) = Arc::clone(&state.trees).try_acquire_owned() else {
        return Err(busy());
    };
    let collector = state.collector.clone();
    let remote = collector.look(StateScope::Fleet).await;
    let work = aside(place, move |client| {
        let is_gone = || client.is_gone();
        let tree = collector.tree(crate::domain::TreeFilter::All, &remote, &is_gone);
        let clusters = tree.clusters.iter().map(ClusterCountView::from).collect();
        let (simulated, demonstration) = collector.simulated();
        let view = ClustersView {
            demonstration,
            simulated,
            clusters,
        };
        let json = client.json(&view)?;
        Some((xxh3_128(&json), json))
    });
    match work.await? {
        (Some((mark, json)), place) => Ok(tagged(&request, mark, |response| {
            response.body(HeldBody::new(json, place))
        })),
        (None, _) => Err(busy()),
    }
}

/// A cluster and its devices, as they are known without asking anybody.
#[utoipa::path(
    get, path = "/v1/clusters/{cluster}", tag = "last known state",
    params(("cluster" = String, Path, description = "the cluster's id")),
    responses(responses::KnownResponses<ClusterStateView<'static>>),
)]
async fn cluster(
    request: HttpRequest,
    path: web::Path<String>,
    state: web::Data<ServerState>,
) -> Answered {
    plain(&request)?;
    let Ok(place) = Arc::clone(&state.trees).try_acquire_owned() else {
        return Err(busy());
    };
    let id = id(&path)?;
    let collector = state.collector.clone();
    let remote = collector.look(StateScope::Cluster(&id)).await;
    let work = aside(place, move |client| {
        let is_gone = || client.is_gone();
        let known = collector.cluster(&id, &remote, &is_gone)?;
        let view = ClusterStateView::new(&known, SystemTime::now());
        let json = client.json(&view)?;
        Some((xxh3_128(&json), json))
    });
    match work.await? {
        (Some((mark, json)), place) => Ok(tagged(&request, mark, |response| {
            response.body(HeldBody::new(json, place))
        })),
        (None, _) => Err(no_cluster(&state, &path).await),
    }
}

/// A node, as it is known without asking it.
#[utoipa::path(
    get, path = "/v1/clusters/{cluster}/nodes/{device}", tag = "last known state",
    params(
        ("cluster" = String, Path, description = "the cluster's id"),
        ("device" = String, Path, description = "the node's id"),
    ),
    responses(responses::KnownResponses<DeviceStateView<'static>>),
)]
async fn node(
    request: HttpRequest,
    path: web::Path<(String, String)>,
    state: web::Data<ServerState>,
) -> Answered {
    device(&request, &path, &state, DeviceKind::Node).await
}

/// A switch, as it is known without asking it.
#[utoipa::path(
    get, path = "/v1/clusters/{cluster}/switches/{device}", tag = "last known state",
    params(
        ("cluster" = String, Path, description = "the cluster's id"),
        ("device" = String, Path, description = "the switch's id"),
    ),
    responses(responses::KnownResponses<DeviceStateView<'static>>),
)]
async fn switch(
    request: HttpRequest,
    path: web::Path<(String, String)>,
    state: web::Data<ServerState>,
) -> Answered {
    device(&request, &path, &state, DeviceKind::Switch).await
}

async fn device(
    request: &HttpRequest,
    (cluster, device): &(String, String),
    state: &ServerState,
    kind: DeviceKind,
) -> Answered {
    plain(request)?;
    let (cluster_id, device_id) = (id(cluster)?, id(device)?);
    let whose = StateScope::Device(&cluster_id, kind, &device_id);
    let remote = state.collector.look(whose).await;
    let known = state
        .collector
        .device(&cluster_id, kind, &device_id, &remote);
    let Some(known) = known else {
        return Err(no_device(state, cluster, kind, device).await);
    };
    let view = DeviceStateView::new(kind, &known, SystemTime::now());
    Ok(json(request, &view))
}

/// Refuses what an answer in JSON without parameters cannot be asked for.
pub(in crate::server) fn plain(request: &HttpRequest) -> Result<(), Problem> {
    accept::json(request)?;
    Parameters::read(request, &[]).map(|_| ())
}

/// An answer with an entity tag of all of it.
fn json(request: &HttpRequest, view: &impl Serialize) -> HttpResponse {
    // These types have a JSON form.
    let json = serde_json::to_vec(view).unwrap_or_default();
    tagged(request, xxh3_128(&json), |response| response.body(json))
}

/// Since when changes are wanted.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it describes what `Parameters` reads")]
struct ChangesQuery {
    /// The number after which changes are wanted: `changes` of a roll call, or `next` of an earlier
    /// answer. Without it, all that are known.
    #[param(minimum = 0, maximum = 9_007_199_254_740_991_i64)]
    since: Option<u64>,
}

/// The largest number that every reader of JSON holds exactly (RFC 8259, section 6).
const MAX_NUMBER: u64 = (1 << 53) - 1;

/// What changed in the fleet: devices that appeared, are gone, fail, recovered, or have other facts.
///
/// The last 10,000 changes are known.
#[utoipa::path(
    get,
    path = "/v1/changes",
    tag = "changes",
    params(ChangesQuery),
    responses(responses::ChangesResponses)
)]
async fn changes(request: HttpRequest, state: web::Data<ServerState>) -> Answered {
    accept::json(&request)?;
    let since = Parameters::read(&request, &["since"])?.number("since", MAX_NUMBER)?;
    let Ok(place) = Arc::clone(&state.lists).try_acquire_owned() else {
        return Err(busy());
    };
    let (changes, next) = state.collector.changes(since);
    let changes = changes.map_err(|error| Problem::new(StatusCode::GONE, error.to_string()))?;
    let view = ChangesView {
        since: since.unwrap_or_default(),
        next,
        changes: Vec::new(),
    };
    let changes = changes.iter().map(|it| ChangeView::from(&**it));
    let json = with_list(&view, changes).await;
    Ok(tagged(&request, xxh3_128(&json), |response| {
        response.body(HeldBody::new(json, place))
    }))
}

/// Who has which cluster, where the fleet is shared by several processes.
#[utoipa::path(
    get,
    path = "/v1/workers",
    tag = "last known state",
    responses(responses::WorkersResponses)
)]
async fn workers(request: HttpRequest, state: web::Data<ServerState>) -> Answered {
    plain(&request)?;
    let Some(workers) = &state.workers else {
        let detail = "this process asks all clusters itself; --nats shares them with others";
        return Err(Problem::new(StatusCode::NOT_FOUND, detail));
    };
    let Ok(place) = Arc::clone(&state.lists).try_acquire_owned() else {
        return Err(busy());
    };
    let known = workers.workers().await;
    let known =
        known.map_err(|why| Problem::new(StatusCode::SERVICE_UNAVAILABLE, why).retry_after(1))?;
    let fleet = state.collector.devices();
    let clusters = fleet.clusters().iter().map(Cluster::id);
    let view = WorkersView::new(&known, state.collector.topology());
    let owners = Owners::of(&known).await;
    let json = with_list(&view, clusters.map(|it| owners.view(it))).await;
    Ok(tagged(&request, xxh3_128(&json), |response| {
        response.body(HeldBody::new(json, place))
    }))
}

fn id(text: &str) -> Result<Id, Problem> {
    Id::parse(text).map_err(|error| {
        let detail = format!("{} is no id: {error}", shown(text));
        Problem::new(StatusCode::NOT_FOUND, detail)
    })
}

async fn cluster_scope(state: &ServerState, cluster: &str) -> Result<Scope, Problem> {
    let id: ClusterId = id(cluster)?;
    if !state.collector.has_cluster(&id) {
        return Err(no_cluster(state, cluster).await);
    }
    Ok(Scope {
        clusters: Some(NodeSet::only(&id)),
        ..Scope::default()
    })
}

async fn device_scope(
    state: &ServerState,
    (cluster, device): &(String, String),
    kind: DeviceKind,
) -> Result<Scope, Problem> {
    let scope = cluster_scope(state, cluster).await?;
    let device_id: DeviceId = id(device)?;
    if !state.collector.has_device(&id(cluster)?, kind, &device_id) {
        return Err(no_device(state, cluster, kind, device).await);
    }
    Ok(Scope {
        kind: Some(kind),
        devices: Some(NodeSet::only(&device_id)),
        ..scope
    })
}

/// In turns, as there may be many.
async fn no_cluster(state: &ServerState, cluster: &str) -> Problem {
    let fleet = state.collector.devices();
    let (mut there, mut turn) = (Candidates::new(cluster), Turn::default());
    for found in fleet.clusters() {
        turn.spend(there.see(found.id())).await;
    }
    let detail = format!(
        "there is no cluster {}; {}{}",
        shown(cluster),
        there.known(),
        there.did_you_mean(),
    );
    Problem::new(StatusCode::NOT_FOUND, detail)
}

/// In turns, as there may be many.
async fn no_device(state: &ServerState, cluster: &str, kind: DeviceKind, device: &str) -> Problem {
    let fleet = state.collector.devices();
    let id = Id::parse(cluster).ok();
    let mut turn = Turn::default();
    let mut found = None;
    for cluster in fleet.clusters() {
        turn.spend(1).await;
        if id.as_ref() == Some(cluster.id()) {
            found = Some(cluster);
            break;
        }
    }
    let Some(found) = found else {
        return no_cluster(state, cluster).await;
    };
    let mut there = Candidates::new(device);
    for place in 0..found.len() {
        let (other, id) = found.device(place);
        let work = if other == kind { there.see(id) } else { 1 };
        turn.spend(work).await;
    }
    let detail = format!(
        "there is no {kind} {} in cluster {}{}{}",
        shown(device),
        shown(cluster),
        match there.count() {
            0 => "; it has none".to_owned(),
            _ => format!("; {}", there.known()),
        },
        there.did_you_mean(),
    );
    Problem::new(StatusCode::NOT_FOUND, detail)
}

fn busy() -> Problem {
    let detail = "as many such answers as may be sent at once are; try again later";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).retry_after(1)
}
