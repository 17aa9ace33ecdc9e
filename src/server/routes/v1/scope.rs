//! The cluster or device that a path names, or the problem that there is none.

use actix_web::http::StatusCode;

use crate::domain::{Candidates, ClusterId, DeviceId, DeviceKind, Id, NodeSet, Scope, Turn};
use crate::server::error::Problem;
use crate::server::parameters::shown;
use crate::server::state::ServerState;

pub(super) fn id(text: &str) -> Result<Id, Problem> {
    Id::parse(text).map_err(|error| {
        let detail = format!("{} is no id: {error}", shown(text));
        Problem::new(StatusCode::NOT_FOUND, detail)
    })
}

pub(super) async fn cluster_scope(state: &ServerState, cluster: &str) -> Result<Scope, Problem> {
    let id: ClusterId = id(cluster)?;
    if !state.collector.has_cluster(&id) {
        return Err(no_cluster(state, cluster).await);
    }
    Ok(Scope {
        clusters: Some(NodeSet::only(&id)),
        ..Scope::default()
    })
}

pub(super) async fn device_scope(
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
pub(super) async fn no_cluster(state: &ServerState, cluster: &str) -> Problem {
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
pub(super) async fn no_device(
    state: &ServerState,
    cluster: &str,
    kind: DeviceKind,
    device: &str,
) -> Problem {
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
