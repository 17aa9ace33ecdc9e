//! `POST /v1/reload`: reads the configuration again and applies it, or says all its faults.

use actix_web::{HttpRequest, HttpResponse, web};

use crate::reload::Trigger;
use crate::server::accept::plain;
use crate::server::error::{Problem, method_not_allowed, refuse_body};
use crate::server::guard::caller;
use crate::server::state::ServerState;

pub(in crate::server) fn configure(config: &mut web::ServiceConfig) {
    config.service(
        web::resource("/v1/reload")
            .route(web::post().to(post))
            .default_service(web::to(other)),
    );
}

/// Reads the configuration again and applies it by difference.
#[utoipa::path(
    post,
    path = "/v1/reload",
    tag = "supervision",
    responses(crate::server::routes::v1::responses::ReloadResponses)
)]
pub(in crate::server) async fn post(
    request: HttpRequest,
    state: web::Data<ServerState>,
    body: web::Bytes,
) -> Result<HttpResponse, Problem> {
    refuse_body(&body)?;
    plain(&request)?;
    let by = Some(caller(&request));
    let difference = state.reload.reload_for(Trigger::Request, by).await;
    let difference = difference.map_err(|error| Problem::from(&error))?;
    Ok(HttpResponse::Ok().json(difference))
}

async fn other(request: HttpRequest) -> HttpResponse {
    method_not_allowed(request.method(), "POST", "POST is")
}
