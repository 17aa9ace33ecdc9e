//! `GET /v1/changes`: what changed in the fleet.

use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, web};
use utoipa::IntoParams;
use xxhash_rust::xxh3::xxh3_128;

use super::responses;
use super::view::{ChangeView, ChangesView};
use crate::server::accept;
use crate::server::body::held::HeldBody;
use crate::server::body::list::with_list;
use crate::server::error::{Answered, Problem, busy};
use crate::server::parameters::Parameters;
use crate::server::state::ServerState;
use crate::server::tag::tagged;

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
pub(super) async fn changes(request: HttpRequest, state: web::Data<ServerState>) -> Answered {
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
