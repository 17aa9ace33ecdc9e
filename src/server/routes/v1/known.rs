//! What is known without asking a device: clusters, one cluster, one device, the workers.

use std::sync::Arc;
use std::time::SystemTime;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use xxhash_rust::xxh3::xxh3_128;

use super::responses;
use super::scope::{id, no_cluster, no_device};
use super::view::{ClusterCountView, ClusterStateView, ClustersView, DeviceStateView};
use super::workers::{Owners, WorkersView};
use crate::domain::{Cluster, DeviceKind, TreeFilter};
use crate::engine::collector::StateScope;
use crate::server::accept::plain;
use crate::server::body::aside::aside;
use crate::server::body::held::HeldBody;
use crate::server::body::list::with_list;
use crate::server::error::{Answered, Problem, busy};
use crate::server::state::ServerState;
use crate::server::tag::tagged;

/// The clusters in numbers, as they are known without asking anybody.
#[utoipa::path(
    get, path = "/v1/clusters", tag = "last known state",
    responses(responses::KnownResponses<ClustersView>),
)]
pub(super) async fn clusters(request: HttpRequest, state: web::Data<ServerState>) -> Answered {
    plain(&request)?;
    let Ok(place) = Arc::clone(&state.trees).try_acquire_owned() else {
        return Err(busy());
    };
    let collector = state.collector.clone();
    let remote = collector.look(StateScope::Fleet).await;
    let work = aside(place, move |client| {
        let is_gone = || client.is_gone();
        let tree = collector.tree(TreeFilter::All, &remote, &is_gone);
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
pub(super) async fn cluster(
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
pub(super) async fn node(
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
pub(super) async fn switch(
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

/// Who has which cluster, where the fleet is shared by several processes.
#[utoipa::path(
    get,
    path = "/v1/workers",
    tag = "last known state",
    responses(responses::WorkersResponses)
)]
pub(super) async fn workers(request: HttpRequest, state: web::Data<ServerState>) -> Answered {
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

/// An answer with an entity tag of all of it.
fn json(request: &HttpRequest, view: &impl Serialize) -> HttpResponse {
    // These types have a JSON form.
    let json = serde_json::to_vec(view).unwrap_or_default();
    tagged(request, xxh3_128(&json), |response| response.body(json))
}
