//! `GET /test`: the contract of the three Python servers that fleetcall replaces.

use actix_web::http::header::{
    self, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ContentType, EntityTag, HeaderName,
    HeaderValue,
};
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse, web};
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use crate::collector::CollectRequest;
use crate::http::State;
use crate::http::error::ApiError;
use crate::http::listing::Listing;
use crate::http::pieces::Begun;
use crate::http::tag::is_known;
use crate::http::view::{Report, report};

/// Stand on every answer of this path.
static CORS: [(HeaderName, HeaderValue); 5] = [
    (ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*")),
    (
        ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static("POST, GET, PUT, DELETE, OPTIONS"),
    ),
    (ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("1000")),
    (
        ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static(
            "CONTENT-TYPE, Access-Control-Allow-Origin, cache-control, Cache-Control, x-access-token",
        ),
    ),
    (
        ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static("X-Resource-Count"),
    ),
];

/// How many devices an answer has.
const RESOURCE_COUNT: HeaderName = HeaderName::from_static("x-resource-count");

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
    let body = Begun::new(report(answer.into_collection(), &summary), state.debug);
    let (hash, len) = hash(&body).await;
    let etag = EntityTag::new_strong(format!("{hash:032x}"));
    let known = is_known(&request, &etag);
    let mut response = HttpResponse::build(if known {
        StatusCode::NOT_MODIFIED
    } else if summary.failed() == 0 {
        StatusCode::OK
    } else {
        StatusCode::ACCEPTED
    });
    // As `ETag` writes it, which takes a character at a time.
    response.insert_header((header::ETAG, format!("\"{}\"", etag.tag())));
    response.insert_header((RESOURCE_COUNT, summary.devices()));
    with_cors(if known {
        response.finish()
    } else {
        response
            .insert_header((header::CONTENT_TYPE, "application/json"))
            .body(body.into_body(len, place))
    })
}

/// The hash of a body, and its length; both are the same however it is sent.
async fn hash(body: &Begun<Listing<Report>>) -> (u128, u64) {
    if let Some(whole) = body.whole() {
        return (xxh3_128(whole), body.measure(|_| {}).await);
    }
    let mut hash = Box::new(Xxh3::new());
    let len = body.measure(|piece| hash.update(piece)).await;
    (hash.digest128(), len)
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
    for (name, value) in &CORS {
        response.headers_mut().insert(name.clone(), value.clone());
    }
    // The Python servers wrote names like this, and some callers compare them as they are.
    response.head_mut().set_camel_case_headers(true);
    response
}
