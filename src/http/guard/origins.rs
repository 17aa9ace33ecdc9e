//! Pages of other origins: which may read the answers, and what none of them may do.
//!
//! `/test` is not among it, its headers are a contract and open to all.

use std::net::IpAddr;

use actix_web::HttpResponse;
use actix_web::dev::RequestHead;
use actix_web::http::Method;
use actix_web::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, HOST,
    HeaderMap, HeaderValue, ORIGIN, VARY,
};

use super::refusal::Refusal;
use super::roles::is_test;
use crate::access::Policy;

const ALLOW_METHODS: &str = "GET, HEAD, POST";
const ALLOW_HEADERS: &str =
    "Authorization, Cache-Control, Content-Type, If-None-Match, Last-Event-ID";
const EXPOSE_HEADERS: &str = "Age, ETag, Retry-After, X-Resource-Count";

/// How long a browser may remember what it may do, in seconds.
const MAX_AGE: &str = "600";

/// Whether the configuration's origins are meant for this path.
fn is_shared(path: &str) -> bool {
    path.starts_with("/v1/") || path == "/openapi.json"
}

fn origin(request: &RequestHead) -> Option<&str> {
    request.headers().get(ORIGIN)?.to_str().ok()
}

/// The origin of the page that asks, if it may read the answer.
pub(super) fn allowed(request: &RequestHead, policy: &Policy) -> Option<String> {
    let origin = origin(request).filter(|_| is_shared(request.uri.path()))?;
    let is_listed = policy.config.origins.iter().any(|listed| listed == origin);
    is_listed.then(|| origin.to_owned())
}

/// Tells browser and caches who may read the answer.
pub(super) fn mark(headers: &mut HeaderMap, allowed: Option<&str>) {
    headers.append(VARY, HeaderValue::from_static("Origin"));
    if let Some(origin) = allowed.and_then(|origin| HeaderValue::from_str(origin).ok()) {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        let exposed = HeaderValue::from_static(EXPOSE_HEADERS);
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    }
}

/// The answer to a browser that asks whether a page may ask; it shows no token yet.
pub(super) fn preflight(
    request: &RequestHead,
    policy: &Policy,
) -> Option<Result<HttpResponse, Refusal>> {
    let asks = request
        .headers()
        .contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    let is_one = request.method == Method::OPTIONS && asks && origin(request).is_some();
    if !is_one || !is_shared(request.uri.path()) {
        return None;
    }
    if allowed(request, policy).is_none() {
        return Some(Err(Refusal::OtherOrigin));
    }
    let mut response = HttpResponse::NoContent();
    response.insert_header((ACCESS_CONTROL_ALLOW_METHODS, ALLOW_METHODS));
    response.insert_header((ACCESS_CONTROL_ALLOW_HEADERS, ALLOW_HEADERS));
    response.insert_header((ACCESS_CONTROL_MAX_AGE, MAX_AGE));
    Some(Ok(response.finish()))
}

/// Whether a `Host` is an address or `localhost`, which nobody else can have lead here.
fn is_address(host: &[u8]) -> bool {
    let Ok(host) = std::str::from_utf8(host) else {
        return false;
    };
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    let name = match host.rsplit_once(':') {
        Some((name, port)) if is_port(port) => name,
        _ => host,
    };
    let bare = name.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    name.eq_ignore_ascii_case("localhost") || bare.unwrap_or(name).parse::<IpAddr>().is_ok()
}

/// A browser asks nobody before it sends a plain `POST` for a page of any origin. Where there are no
/// tokens, that page could have the fleet asked or the service reloaded.
pub(super) fn check(request: &RequestHead, policy: &Policy) -> Result<(), Refusal> {
    let changes = !matches!(request.method, Method::GET | Method::HEAD | Method::OPTIONS);
    let Some(from) = request.headers().get(ORIGIN) else {
        return Ok(());
    };
    if !changes || is_test(request.uri.path()) || allowed(request, policy).is_some() {
        return Ok(());
    }
    let host = request.headers().get(HOST).map(HeaderValue::as_bytes);
    let from = from.as_bytes();
    let own = |scheme: &[u8]| {
        from.strip_prefix(scheme)
            .is_some_and(|from| host.is_some_and(|host| host.eq_ignore_ascii_case(from)))
    };
    // Without tokens a name proves nothing: its owner may have it lead here (DNS rebinding).
    let is_trusted = !policy.tokens.is_empty() || host.is_some_and(is_address);
    if is_trusted && (own(b"http://") || own(b"https://")) {
        return Ok(());
    }
    Err(Refusal::OtherOrigin)
}
