//! Entity tags: whether a client has what it asks for (RFC 9110, section 13.1.2).

use actix_web::http::header::{
    CACHE_CONTROL, ETag, EntityTag, Header as _, IF_NONE_MATCH, IfNoneMatch, VARY,
};
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpMessage, HttpRequest, HttpResponse, HttpResponseBuilder};

/// Whether the request says that its client has the answer with this tag.
pub(super) fn is_known(request: &impl HttpMessage, tag: &EntityTag) -> bool {
    if !request.headers().contains_key(IF_NONE_MATCH) {
        return false;
    }
    match IfNoneMatch::parse(request) {
        Ok(IfNoneMatch::Any) => true,
        Ok(IfNoneMatch::Items(tags)) => tags.iter().any(|it| it.weak_eq(tag)),
        Err(_) => false,
    }
}

/// An answer in JSON with an entity tag of `mark`, which stands for its content; or 304, if the
/// request says that it has that.
pub(super) fn tagged(
    http: &HttpRequest,
    mark: u128,
    body: impl FnOnce(&mut HttpResponseBuilder) -> HttpResponse,
) -> HttpResponse {
    let etag = EntityTag::new_weak(format!("{mark:032x}"));
    let reads = http.method() == Method::GET || http.method() == Method::HEAD;
    let is_known = reads && is_known(http, &etag);
    let mut response = HttpResponse::Ok();
    response
        .insert_header(ETag(etag))
        .insert_header((CACHE_CONTROL, "no-cache"))
        .insert_header((VARY, "Accept"));
    if is_known {
        return response.status(StatusCode::NOT_MODIFIED).finish();
    }
    body(response.content_type("application/json"))
}
