//! `GET /test`: the contract of the three Python servers that fleetcall replaces.

use actix_web::http::header::{
    self, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ContentType, ETag, EntityTag,
};
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse, web};
use xxhash_rust::xxh3::xxh3_128;

use crate::collector::CollectRequest;
use crate::http::State;
use crate::http::body::Held;
use crate::http::error::ApiError;
use crate::http::tag::is_known;
use crate::http::view::Report;

/// Stand on every answer of this path.
const CORS: [(header::HeaderName, &str); 5] = [
    (ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
    (
        ACCESS_CONTROL_ALLOW_METHODS,
        "POST, GET, PUT, DELETE, OPTIONS",
    ),
    (ACCESS_CONTROL_MAX_AGE, "1000"),
    (
        ACCESS_CONTROL_ALLOW_HEADERS,
        "CONTENT-TYPE, Access-Control-Allow-Origin, cache-control, Cache-Control, x-access-token",
    ),
    (ACCESS_CONTROL_EXPOSE_HEADERS, "X-Resource-Count"),
];

pub(in crate::http) fn configure(config: &mut web::ServiceConfig) {
    config.service(
        web::resource("/test")
            .route(web::get().to(get))
            .route(web::method(Method::OPTIONS).to(options))
            .default_service(web::to(method_not_allowed)),
    );
}

async fn get(request: HttpRequest, state: web::Data<State>) -> HttpResponse {
    let (answer, place) = match state.collector.request(&CollectRequest::default()).await {
        Ok(answer) => answer,
        Err(error) => return with_cors(ApiError(error).response(state.debug)),
    };
    let summary = answer.summary().clone();
    let body = Report::new(answer.collection(), &summary).to_json(state.debug);
    // Freed before the body is sent, which a slow client can make take long; its place is not.
    drop(answer);
    let status = if summary.failed() == 0 {
        StatusCode::OK
    } else {
        StatusCode::ACCEPTED
    };
    let etag = EntityTag::new_strong(format!("{:032x}", xxh3_128(&body)));
    let known = is_known(&request, &etag);
    let mut response = HttpResponse::build(if known {
        StatusCode::NOT_MODIFIED
    } else {
        status
    });
    response.insert_header(ETag(etag));
    response.insert_header(("X-Resource-Count", summary.devices()));
    with_cors(if known {
        response.finish()
    } else {
        response
            .insert_header((header::CONTENT_TYPE, "application/json"))
            .body(Held::new(body, place))
    })
}

async fn options() -> HttpResponse {
    with_cors(HttpResponse::Ok().finish())
}

async fn method_not_allowed(request: HttpRequest) -> HttpResponse {
    let mut response = HttpResponse::MethodNotAllowed();
    response.insert_header((header::ALLOW, "GET, OPTIONS"));
    with_cors(
        response
            .content_type(ContentType::plaintext())
            .body(format!(
                "{} is not defined on /test; GET and OPTIONS are\n",
                request.method()
            )),
    )
}

pub(in crate::http) fn with_cors(mut response: HttpResponse) -> HttpResponse {
    for (name, value) in CORS {
        response
            .headers_mut()
            .insert(name, header::HeaderValue::from_static(value));
    }
    // The Python servers wrote names like this, and some callers compare them as they are.
    response.head_mut().set_camel_case_headers(true);
    response
}
