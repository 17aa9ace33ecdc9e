//! Entity tags: whether a client has what it asks for (RFC 9110, section 13.1.2).

use actix_web::HttpMessage;
use actix_web::http::header::{EntityTag, Header as _, IF_NONE_MATCH, IfNoneMatch};

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
