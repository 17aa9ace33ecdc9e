//! `POST /v1/reload`: reads the configuration again and applies it, or says all its faults.

use actix_web::{HttpRequest, HttpResponse, web};

use crate::http::State;
use crate::http::error::{Problem, method_not_allowed, refuse_body};
use crate::http::guard::caller;
use crate::http::v1::plain;
use crate::reload::Trigger;

pub(in crate::http) fn configure(config: &mut web::ServiceConfig) {
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
    responses(crate::http::v1::openapi::Reload)
)]
pub(in crate::http) async fn post(
    request: HttpRequest,
    state: web::Data<State>,
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
