//! `GET /test`: the contract of the three Python servers that fleetcall replaces.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use actix_web::body::MessageBody;
use actix_web::http::header::{
    self, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ContentType, EntityTag, HeaderName,
    HeaderValue,
};
use actix_web::http::{Method, StatusCode};
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse, web};
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use crate::collector::{Answer, CollectRequest};
use crate::http::State;
use crate::http::body::Held;
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

/// What stands above a body.
#[derive(Debug, Clone)]
struct Head {
    status: StatusCode,
    etag: EntityTag,
    devices: usize,
}

/// The newest answer that several requests share, if it is in one piece, so that it is written
/// once; by the collect that it is of.
#[derive(Debug, Clone, Default)]
pub(in crate::http) struct Shared(Arc<Mutex<Option<(u64, Head, Bytes)>>>);

impl Shared {
    fn slot(&self) -> MutexGuard<'_, Option<(u64, Head, Bytes)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn of(&self, answer: &Answer) -> Option<(Head, Bytes)> {
        if !answer.is_shared {
            return None;
        }
        let slot = self.slot();
        let (_, head, body) = slot.as_ref().filter(|(id, ..)| *id == answer.id)?;
        Some((head.clone(), body.clone()))
    }
}

async fn get(request: HttpRequest, state: web::Data<State>) -> HttpResponse {
    let (answer, place) = match state.collector.request(&CollectRequest::default()).await {
        Ok(answer) => answer,
        Err(error) => return with_cors(ApiError(error).response(state.debug)),
    };
    if let Some((head, body)) = state.shared.of(&answer) {
        return respond(&request, &head, Held::new(body, place));
    }
    let summary = answer.summary();
    let body = Begun::new(report(answer.collection().clone(), summary), state.debug);
    let (hash, len) = hash(&body).await;
    let head = Head {
        status: if summary.failed() == 0 {
            StatusCode::OK
        } else {
            StatusCode::ACCEPTED
        },
        etag: EntityTag::new_strong(format!("{hash:032x}")),
        devices: summary.devices(),
    };
    if answer.is_shared
        && let Some(whole) = body.whole()
    {
        let body = Bytes::copy_from_slice(whole);
        *state.shared.slot() = Some((answer.id, head.clone(), body));
    }
    // It ends here: while it is sent nothing keeps clusters that a reload has removed.
    drop(answer);
    respond(&request, &head, body.into_body(len, place))
}

fn respond(request: &HttpRequest, head: &Head, body: impl MessageBody + 'static) -> HttpResponse {
    let known = is_known(request, &head.etag);
    let mut response = HttpResponse::build(if known {
        StatusCode::NOT_MODIFIED
    } else {
        head.status
    });
    // As `ETag` writes it, which takes a character at a time.
    response.insert_header((header::ETAG, format!("\"{}\"", head.etag.tag())));
    response.insert_header((RESOURCE_COUNT, head.devices));
    with_cors(if known {
        response.finish()
    } else {
        response
            .insert_header((header::CONTENT_TYPE, "application/json"))
            .body(body)
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
