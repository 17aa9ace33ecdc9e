//! The headers of `/test`, as the Python servers wrote them.

use actix_web::HttpResponse;
use actix_web::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, HeaderMap, HeaderName, HeaderValue,
};

/// Stand on every answer of `/test`, unless `test_cors` says otherwise: the guard adds them.
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

/// The Python servers wrote names of headers like this, and some callers compare them as they are.
pub(super) fn camel_case(mut response: HttpResponse) -> HttpResponse {
    response.head_mut().set_camel_case_headers(true);
    response
}

/// What lets pages of all origins read an answer of `/test`.
pub(super) fn open_to_all(headers: &mut HeaderMap) {
    for (name, value) in &CORS {
        headers.insert(name.clone(), value.clone());
    }
}
