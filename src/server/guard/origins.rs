//! Pages of other origins: which may read the answers, and what none of them may do.
//!
//! `/test` is not among it while it is open to all, as its contract says (`test_cors`).

use actix_web::HttpResponse;
use actix_web::dev::RequestHead;
use actix_web::http::Method;
use actix_web::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, HOST,
    HeaderMap, HeaderName, HeaderValue, ORIGIN, VARY,
};

use super::hosts::is_ours;
use super::refusal::Refusal;
use super::roles::is_test;
use super::scarce::Scarce;
use crate::access::Policy;

const ALLOW_METHODS: &str = "GET, HEAD, POST";
const ALLOW_HEADERS: &str =
    "Authorization, Cache-Control, Content-Type, If-None-Match, Last-Event-ID";
const EXPOSE_HEADERS: &str = "Age, ETag, Retry-After, X-Resource-Count";

/// How long a browser may remember what it may do, in seconds.
const MAX_AGE: &str = "600";

/// What a browser says of where a request comes from
/// ([Fetch Metadata](https://www.w3.org/TR/fetch-metadata/)). No page can change it.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Whether the configuration's origins are meant for this path.
fn is_shared(path: &str, policy: &Policy) -> bool {
    let is_closed_test = is_test(path) && !policy.config.test_cors;
    path.starts_with("/v1/") || path == "/openapi.json" || is_closed_test
}

/// The value of a header of which browsers send one at most.
///
/// # Errors
/// If there are several: which of them counts is anybody's guess.
fn single(request: &RequestHead, name: HeaderName) -> Result<Option<&HeaderValue>, Several> {
    let mut values = request.headers().get_all(name);
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        (_, Some(_)) => Err(Several),
    }
}

/// A header stands there more than once.
#[derive(Debug)]
struct Several;

fn origin(request: &RequestHead) -> Option<&str> {
    single(request, ORIGIN).ok()??.to_str().ok()
}

/// The origin of the page that asks, if it may read the answer.
pub(super) fn allowed(request: &RequestHead, policy: &Policy) -> Option<String> {
    let origin = origin(request).filter(|_| is_shared(request.uri.path(), policy))?;
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
    if !is_one || !is_shared(request.uri.path(), policy) {
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

/// Whether the page that asks is of another origin than this service, and none of those that may
/// read its answers. A browser sends no `Origin` with what a page only embeds or leads to.
///
/// What no browser sends is taken for a page elsewhere: headers that are repeated, and words of
/// `Sec-Fetch-Site` that are not known here, whatever they may come to mean.
fn is_foreign(request: &RequestHead, policy: &Policy) -> bool {
    let (Ok(from), Ok(site)) = (single(request, ORIGIN), single(request, SEC_FETCH_SITE)) else {
        return true;
    };
    if allowed(request, policy).is_some() {
        return false;
    }
    let site = site.map(HeaderValue::as_bytes);
    if !matches!(site, None | Some(b"same-origin" | b"none")) {
        return true;
    }
    let Some(from) = from else {
        return false;
    };
    let host = request.headers().get(HOST);
    let host = host.and_then(|host| host.to_str().ok());
    let is_of_host = |scheme: &[u8]| {
        let from = from.as_bytes().strip_prefix(scheme);
        from.zip(host)
            .is_some_and(|(from, host)| host.as_bytes().eq_ignore_ascii_case(from))
    };
    let is_own = if policy.config.tls.is_some() {
        is_of_host(b"https://")
    } else {
        // By `https` it is asked through a proxy only, and whether the page was as well, and not some
        // other service of that name, the browser knows.
        let is_through_proxy = matches!(site, Some(b"same-origin"));
        is_of_host(b"http://") || (is_through_proxy && is_of_host(b"https://"))
    };
    // Without tokens a name proves nothing: its owner may have it lead here (DNS rebinding).
    let is_trusted = !policy.tokens.is_empty() || host.is_some_and(|host| is_ours(host, policy));
    !(is_trusted && is_own)
}

/// A browser asks nobody before it sends a plain `GET` or `POST` for a page of any origin. Where there
/// are no tokens, that page could have the fleet asked or the service reloaded.
pub(super) fn check(
    request: &RequestHead,
    policy: &Policy,
    scarce: Option<Scarce>,
) -> Result<(), Refusal> {
    let path = request.uri.path();
    let changes = !matches!(request.method, Method::GET | Method::HEAD | Method::OPTIONS);
    let is_open = is_test(path) && policy.config.test_cors;
    let collects = scarce == Some(Scarce::Collects);
    if !is_open && (changes || collects) && is_foreign(request, policy) {
        return Err(Refusal::OtherOrigin);
    }
    Ok(())
}
