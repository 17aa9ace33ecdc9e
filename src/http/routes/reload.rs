//! `POST /v1/reload`: reads the configuration again and applies it, or says all its faults.

use actix_web::http::StatusCode;
use actix_web::http::header::ALLOW;
use actix_web::{HttpRequest, HttpResponse, web};

use crate::http::State;
use crate::http::error::Problem;
use crate::reload::Trigger;

pub(in crate::http) fn configure(config: &mut web::ServiceConfig) {
    config.service(
        web::resource("/v1/reload")
            .route(web::post().to(post))
            .default_service(web::to(method_not_allowed)),
    );
}

async fn post(state: web::Data<State>) -> HttpResponse {
    match state.reload.reload(Trigger::Request).await {
        Ok(difference) => HttpResponse::Ok().json(difference),
        Err(error) => Problem::from(&error).response(),
    }
}

async fn method_not_allowed(request: HttpRequest) -> HttpResponse {
    let detail = format!("{} is not defined here; POST is", request.method());
    let mut response = Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail).response();
    let allow = actix_web::http::header::HeaderValue::from_static("POST");
    response.headers_mut().insert(ALLOW, allow);
    response
}
