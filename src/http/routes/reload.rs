//! `POST /v1/reload`: reads the configuration again and applies it, or says all its faults.

use actix_web::{HttpRequest, HttpResponse, web};

use crate::http::State;
use crate::http::error::{Problem, method_not_allowed, refuse_body};
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
pub(in crate::http) async fn post(state: web::Data<State>, body: web::Bytes) -> HttpResponse {
    if let Err(problem) = refuse_body(&body) {
        return problem.response();
    }
    match state.reload.reload(Trigger::Request).await {
        Ok(difference) => HttpResponse::Ok().json(difference),
        Err(error) => Problem::from(&error).response(),
    }
}

async fn other(request: HttpRequest) -> HttpResponse {
    method_not_allowed(request.method(), "POST", "POST is")
}
