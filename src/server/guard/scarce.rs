//! What requests need of which there is not enough for all: the only table of its kind.

use actix_web::http::Method;

use super::roles::is_test;

/// What there is a bounded number of at once, of which one client has at most half.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scarce {
    /// Collects that may wait, answers and streams that are being sent included.
    Collects,
    /// Trees, or lists of all clusters or of one's devices.
    Trees,
    /// Lists of changes, or of who has which cluster.
    Lists,
    /// Scrapes of the metrics.
    Scrapes,
}

impl Scarce {
    /// What a request of this path needs, by the path that routes are found by.
    pub(super) fn needed(method: &Method, path: &str) -> Option<Self> {
        let reads = method == Method::GET || method == Method::HEAD;
        if is_test(path) {
            return (method == Method::GET).then_some(Self::Collects);
        }
        let clusters = path.strip_prefix("/v1/clusters");
        let is_cluster = clusters.is_some_and(|rest| rest.rfind('/').is_none_or(|at| at == 0));
        match path {
            "/v1/report" if reads => Some(Self::Collects),
            _ if method == Method::POST && path.ends_with("/collect") => Some(Self::Collects),
            "/metrics" if reads => Some(Self::Scrapes),
            "/v1/supervision" if reads => Some(Self::Trees),
            "/v1/changes" | "/v1/workers" if reads => Some(Self::Lists),
            _ if reads && is_cluster => Some(Self::Trees),
            _ => None,
        }
    }

    /// As refusals call them.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Collects => "collects that may wait",
            Self::Trees => "trees and lists that may be sent",
            Self::Lists => "changes and workers that may be sent",
            Self::Scrapes => "scrapes that may be answered",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_costs_is_counted() {
        for (method, path, expected) in [
            (Method::GET, "/test", Some(Scarce::Collects)),
            (Method::OPTIONS, "/test", None),
            (Method::GET, "/v1/report", Some(Scarce::Collects)),
            (Method::HEAD, "/v1/report", Some(Scarce::Collects)),
            (Method::POST, "/v1/report", None),
            (Method::POST, "/v1/collect", Some(Scarce::Collects)),
            (
                Method::POST,
                "/v1/clusters/a/collect",
                Some(Scarce::Collects),
            ),
            (
                Method::POST,
                "/v1/clusters/a/nodes/b/collect",
                Some(Scarce::Collects),
            ),
            (Method::POST, "/v1/clusters/a/nodes/b/reset", None),
            (Method::GET, "/v1/clusters", Some(Scarce::Trees)),
            (Method::GET, "/v1/clusters/a", Some(Scarce::Trees)),
            (Method::GET, "/v1/clusters/a/nodes/b", None),
            (Method::GET, "/v1/supervision", Some(Scarce::Trees)),
            (Method::GET, "/metrics", Some(Scarce::Scrapes)),
            (Method::GET, "/healthz", None),
            (Method::GET, "/v1/changes", Some(Scarce::Lists)),
            (Method::HEAD, "/v1/workers", Some(Scarce::Lists)),
            (Method::GET, "/", None),
        ] {
            assert_eq!(Scarce::needed(&method, path), expected, "{method} {path}");
        }
    }
}
