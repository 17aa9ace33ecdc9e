//! The name that a request asks for.
//!
//! The owner of a name can have it lead to any address, `127.0.0.1` too (DNS rebinding). A page that
//! was loaded by that name is of the same origin as this service then, and the browser lets it read
//! everything. The browser still says which name it asked for, so names that this service does not
//! have are refused where only the address keeps others out: without tokens, on this machine. Where
//! others can reach the service, its names are known only if the configuration says them.

use std::net::IpAddr;

use actix_web::dev::RequestHead;
use actix_web::http::header::{HOST, HeaderValue};

use super::refusal::Refusal;
use super::roles::{is_health, is_test};
use crate::access::Policy;

/// Refuses a request that asks for another name. A client that says none is no browser.
pub(super) fn check(request: &RequestHead, policy: &Policy) -> Result<(), Refusal> {
    let path = request.uri.path();
    let is_exempt = is_health(path) || (is_test(path) && policy.config.test_cors);
    let names_are_known = policy.is_local || !policy.config.names.is_empty();
    if is_exempt || !policy.tokens.is_empty() || !names_are_known {
        return Ok(());
    }
    // Of a request for `http://name/path` the name counts as well, and there may be several headers.
    let target = request.uri.authority().map(|it| it.as_str().as_bytes());
    let hosts = request.headers().get_all(HOST).map(HeaderValue::as_bytes);
    for asked in target.into_iter().chain(hosts) {
        let asked = String::from_utf8_lossy(asked);
        if !is_ours(&asked, policy) {
            return Err(Refusal::OtherHost(Refusal::shown(&asked)));
        }
    }
    Ok(())
}

/// Whether an address or a name, perhaps with a port, is one of this service.
pub(super) fn is_ours(authority: &str, policy: &Policy) -> bool {
    let Some(host) = host(authority) else {
        return false;
    };
    let bare = host.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    if let Ok(address) = bare.unwrap_or(host).parse::<IpAddr>() {
        // An address cannot be had to lead elsewhere. What is in between may have changed it.
        return !policy.is_local || address.to_canonical().is_loopback();
    }
    let host = host.strip_suffix('.').unwrap_or(host);
    let is = |name: &str| host.eq_ignore_ascii_case(name.strip_suffix('.').unwrap_or(name));
    let config = &policy.config;
    let of_origin = |origin: &str| {
        let (_, authority) = origin.split_once("://")?;
        self::host(authority).map(is)
    };
    is("localhost")
        || config.names.iter().any(|name| is(name))
        || config.origins.iter().any(|it| of_origin(it) == Some(true))
        || is_this_machine(is)
}

/// The machine's name, and what stands before its domain.
fn is_this_machine(is: impl Fn(&str) -> bool) -> bool {
    let system = rustix::system::uname();
    let name = system.nodename().to_string_lossy();
    let short = name.split('.').next().unwrap_or_default();
    !short.is_empty() && (is(&name) || is(short))
}

/// What stands before the port.
fn host(authority: &str) -> Option<&str> {
    let after_brackets = authority.rfind(']').unwrap_or(0);
    let (host, port) = match authority[after_brackets..].find(':') {
        Some(at) => authority.split_at(after_brackets + at),
        None => (authority, ""),
    };
    let port = port.strip_prefix(':').unwrap_or(port);
    port.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then_some(host)
}
