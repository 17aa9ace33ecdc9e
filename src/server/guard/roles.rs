//! Which role each request needs: the only table of its kind.
//!
//! Whatever is not listed needs `read` if it only reads, else `admin`: a new route is closed until
//! somebody decides.

use std::borrow::Cow;

use actix_web::dev::{RequestHead, Url};
use actix_web::http::Method;

use crate::domain::Role;
use crate::server::traffic::fits;

/// What a request needs, where tokens are configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Needs {
    /// Everybody may.
    Nothing,
    /// A token of this role, or of one that allows more.
    Role(Role),
}

/// Whoever watches over the process may ask these; they tell nothing of the fleet.
const OPEN: [&str; 2] = ["/healthz", "/readyz"];

/// Whether this is asked by whoever watches over the process.
pub(super) fn is_health(path: &str) -> bool {
    OPEN.contains(&path)
}

/// The files of the status page, the OpenAPI document and its page tell nothing of the fleet, and a
/// browser can send a token only once the page is there to ask for it.
fn is_page(path: &str) -> bool {
    let name = path.strip_prefix("/assets/");
    let is_document = path == "/openapi.json" || path.starts_with("/docs/");
    is_document || path == "/" || name.is_some_and(|name| !name.contains('/'))
}

/// `POST` needs only `collect`.
const COLLECT: [&str; 6] = [
    "/v1/collect",
    "/v1/clusters/{cluster}/collect",
    "/v1/clusters/{cluster}/nodes/{device}/collect",
    "/v1/clusters/{cluster}/switches/{device}/collect",
    "/v1/clusters/{cluster}/nodes/{device}/reset",
    "/v1/clusters/{cluster}/switches/{device}/reset",
];

/// The path that routes are found by: without needless percent-encoding. What is refused by its path is
/// so by this one, and what is exempt by its path is so by the one that was sent.
pub(super) fn routed(request: &RequestHead) -> Cow<'_, str> {
    let path = request.uri.path();
    if path.contains('%') {
        return Url::new(request.uri.clone()).path().to_owned().into();
    }
    path.into()
}

/// Whether this is the path of the contract, which has its own headers and errors.
pub(in crate::server) fn is_test(path: &str) -> bool {
    path == "/test"
}

/// | request | needs |
/// | --- | --- |
/// | `GET`, `HEAD` of `/healthz`, `/readyz`, `/`, `/assets/…`, `/docs/…`, `/openapi.json`; `OPTIONS` of `/test` | nothing |
/// | `GET`, `HEAD` of anything else; anything else of `/test`, which answers it by 405 | `read` |
/// | `POST …/collect`, `POST …/reset` | `collect` |
/// | everything else | `admin` |
pub(super) fn needs(method: &Method, path: &str) -> Needs {
    let reads = method == Method::GET || method == Method::HEAD;
    let is_open = is_health(path) || is_page(path);
    if (reads && is_open) || (is_test(path) && method == Method::OPTIONS) {
        Needs::Nothing
    } else if reads || is_test(path) {
        Needs::Role(Role::Read)
    } else if method == Method::POST && COLLECT.iter().any(|pattern| fits(pattern, path)) {
        Needs::Role(Role::Collect)
    } else {
        Needs::Role(Role::Admin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_has_its_role() {
        for (method, path, expected) in [
            (Method::GET, "/test", Needs::Role(Role::Read)),
            (Method::OPTIONS, "/test", Needs::Nothing),
            (Method::POST, "/test", Needs::Role(Role::Read)),
            (Method::GET, "/healthz", Needs::Nothing),
            (Method::HEAD, "/readyz", Needs::Nothing),
            (Method::POST, "/healthz", Needs::Role(Role::Admin)),
            (Method::GET, "/healthz/", Needs::Role(Role::Read)),
            (Method::GET, "/v1/report", Needs::Role(Role::Read)),
            (Method::GET, "/metrics", Needs::Role(Role::Read)),
            (Method::GET, "/", Needs::Nothing),
            (Method::HEAD, "/assets/app.js", Needs::Nothing),
            (Method::GET, "/assets/a/b", Needs::Role(Role::Read)),
            (Method::POST, "/assets/app.js", Needs::Role(Role::Admin)),
            (Method::GET, "/nowhere", Needs::Role(Role::Read)),
            (Method::POST, "/v1/collect", Needs::Role(Role::Collect)),
            (
                Method::POST,
                "/v1/clusters/edge/collect",
                Needs::Role(Role::Collect),
            ),
            (
                Method::POST,
                "/v1/clusters/1/nodes/a%2Fb/collect",
                Needs::Role(Role::Collect),
            ),
            (
                Method::POST,
                "/v1/clusters/1/switches/2/collect",
                Needs::Role(Role::Collect),
            ),
            (
                Method::POST,
                "/v1/clusters/1/nodes/2/reset",
                Needs::Role(Role::Collect),
            ),
            (
                Method::POST,
                "/v1/clusters/1/switches/2/reset",
                Needs::Role(Role::Collect),
            ),
            (
                Method::POST,
                "/v1/clusters/1/reset",
                Needs::Role(Role::Admin),
            ),
            (
                Method::POST,
                "/v1/clusters//collect",
                Needs::Role(Role::Admin),
            ),
            (
                Method::POST,
                "/v1/clusters/1/nodes/2/3/collect",
                Needs::Role(Role::Admin),
            ),
            (Method::POST, "/v1/collect/", Needs::Role(Role::Admin)),
            (Method::PUT, "/v1/collect", Needs::Role(Role::Admin)),
            (Method::POST, "/v1/%63ollect", Needs::Role(Role::Admin)),
            (Method::POST, "/v1/reload", Needs::Role(Role::Admin)),
            (Method::OPTIONS, "/v1/reload", Needs::Role(Role::Admin)),
            (Method::DELETE, "/v1/report", Needs::Role(Role::Admin)),
            (Method::POST, "/new", Needs::Role(Role::Admin)),
        ] {
            assert_eq!(needs(&method, path), expected, "{method} {path}");
        }
    }

    /// Those whose resource is registered somewhere in this source, however it is written there.
    fn registered(folder: &std::path::Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                registered(&path, found);
            } else if path.extension().is_some_and(|it| it == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let resources = text.split("web::resource(\"").skip(1);
                found.extend(resources.map(|rest| rest.split('"').next().unwrap().to_owned()));
            }
        }
    }

    #[test]
    fn no_route_that_is_registered_is_open_unless_it_is_listed() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/server/routes");
        let mut paths = Vec::new();
        registered(&folder, &mut paths);
        assert!(paths.contains(&"/v1/reload".to_owned()), "{paths:?}");
        let open = [&OPEN[..], &["/openapi.json", "/docs/"]].concat();
        for path in &paths {
            let expected = if open.contains(&path.as_str()) {
                Needs::Nothing
            } else {
                Needs::Role(Role::Read)
            };
            assert_eq!(needs(&Method::GET, path), expected, "{path}");
            if is_test(path) {
                continue;
            }
            let needed = needs(&Method::POST, path);
            let expected = if path.ends_with("/collect") {
                Role::Collect
            } else {
                Role::Admin
            };
            assert_eq!(needed, Needs::Role(expected), "{path}");
        }
    }
}
