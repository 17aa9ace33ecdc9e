//! What requests came to: counted by the pattern of their path and the status of their answer, and
//! those that were refused by the reason.
//!
//! Its labels are from closed sets: a path that is not served counts as `other`, whatever it is.

use std::sync::atomic::{AtomicU64, Ordering};

use actix_web::http::StatusCode;

/// The paths that are served. `{…}` stands for one part of a path, and what ends in `/…` for all
/// paths below.
const PATHS: [&str; 23] = [
    "/test",
    "/healthz",
    "/readyz",
    "/metrics",
    "/",
    "/assets/{name}",
    "/openapi.json",
    "/docs/…",
    "/v1/report",
    "/v1/collect",
    "/v1/changes",
    "/v1/workers",
    "/v1/supervision",
    "/v1/reload",
    "/v1/clusters",
    "/v1/clusters/{cluster}",
    "/v1/clusters/{cluster}/collect",
    "/v1/clusters/{cluster}/nodes/{device}",
    "/v1/clusters/{cluster}/nodes/{device}/collect",
    "/v1/clusters/{cluster}/nodes/{device}/reset",
    "/v1/clusters/{cluster}/switches/{device}",
    "/v1/clusters/{cluster}/switches/{device}/collect",
    "/v1/clusters/{cluster}/switches/{device}/reset",
];

/// What paths are called that are not served.
const OTHER: &str = "other";

/// The smallest status, and how many there are (RFC 9110, section 15).
const FIRST_STATUS: usize = 100;
const STATUSES: usize = 500;

/// A path that is served, or any other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RouteLabel(usize);

impl RouteLabel {
    /// A path that is not served, or that could not be read.
    pub(super) const OTHER: Self = Self(PATHS.len());

    /// That of a request.
    pub(super) fn of(path: &str) -> Self {
        let known = PATHS.iter().position(|pattern| fits(pattern, path));
        known.map_or(Self::OTHER, Self)
    }

    fn label(self) -> &'static str {
        PATHS.get(self.0).copied().unwrap_or(OTHER)
    }

    fn all() -> impl Iterator<Item = Self> {
        (0..=PATHS.len()).map(Self)
    }
}

/// Whether this is a path of this pattern.
pub(super) fn fits(pattern: &str, path: &str) -> bool {
    if pattern == path {
        return true;
    }
    let (mut pattern, mut path) = (pattern.split('/'), path.split('/'));
    loop {
        match (pattern.next(), path.next()) {
            (None, None) | (Some("…"), Some(_)) => return true,
            (Some(any), Some(part)) if any.starts_with('{') && !part.is_empty() => {}
            (Some(expected), Some(part)) if expected == part => {}
            (_, _) => return false,
        }
    }
}

/// Why requests, and connections, are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Denial {
    /// The address of the request is too long.
    LongAddress,
    /// Its headers are.
    LongHeaders,
    /// Its body is.
    LongBody,
    /// Its body did not arrive in time.
    SlowBody,
    /// Its body broke off.
    BrokenBody,
    /// It is no HTTP request, or none that is sure to mean the same to all.
    Malformed,
    /// It did not arrive in time.
    SlowRequest,
    /// Its client asks too often.
    Rate,
    /// Its client has its share of what the request needs.
    Share,
    /// Its connection is more than its client's share, or there is no room for it: no request of it is
    /// read.
    Connection,
    /// Its connection did not say what it wants, and was closed for another.
    Evicted,
    /// Its connection's TLS handshake failed, or did not end in time.
    Handshake,
    /// It shows no token, and needs one.
    NoToken,
    /// Its token is not known.
    WrongToken,
    /// Its token's role does not suffice.
    Role,
    /// It asks for a name that this service does not have.
    Host,
    /// A page of another origin sent it.
    Origin,
    /// What it takes is all taken by others, or not there.
    Unavailable,
}

impl Denial {
    /// All of them.
    pub(super) const ALL: [Self; 18] = [
        Self::LongAddress,
        Self::LongHeaders,
        Self::LongBody,
        Self::SlowBody,
        Self::BrokenBody,
        Self::Malformed,
        Self::SlowRequest,
        Self::Rate,
        Self::Share,
        Self::Connection,
        Self::Evicted,
        Self::Handshake,
        Self::NoToken,
        Self::WrongToken,
        Self::Role,
        Self::Host,
        Self::Origin,
        Self::Unavailable,
    ];

    /// As it stands in metrics and in the log.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::LongAddress => "long_address",
            Self::LongHeaders => "long_headers",
            Self::LongBody => "long_body",
            Self::SlowBody => "slow_body",
            Self::BrokenBody => "broken_body",
            Self::Malformed => "malformed",
            Self::SlowRequest => "slow_request",
            Self::Rate => "rate",
            Self::Share => "share",
            Self::Connection => "connection",
            Self::Evicted => "evicted",
            Self::Handshake => "handshake",
            Self::NoToken => "no_token",
            Self::WrongToken => "wrong_token",
            Self::Role => "role",
            Self::Host => "host",
            Self::Origin => "origin",
            Self::Unavailable => "unavailable",
        }
    }

    /// Whether it is a connection that is refused, and not a request.
    pub(super) const fn is_of_connection(self) -> bool {
        matches!(self, Self::Connection | Self::Evicted | Self::Handshake)
    }

    /// Its place in [`Denial::ALL`].
    pub(super) const fn index(self) -> usize {
        self as usize
    }
}

/// What all threads count.
#[derive(Debug)]
pub(super) struct Traffic {
    /// For each route all statuses, one behind the other.
    answered: Box<[AtomicU64]>,
    denied: [AtomicU64; Denial::ALL.len()],
}

impl Default for Traffic {
    fn default() -> Self {
        let counters = RouteLabel::all().count() * STATUSES;
        Self {
            answered: (0..counters).map(|_| AtomicU64::new(0)).collect(),
            denied: Default::default(),
        }
    }
}

impl Traffic {
    /// A request of this route was answered with this status.
    pub(super) fn answered(&self, route: RouteLabel, status: StatusCode) {
        let status = usize::from(status.as_u16()).saturating_sub(FIRST_STATUS);
        let counter = route.0 * STATUSES + status.min(STATUSES - 1);
        if let Some(counter) = self.answered.get(counter) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A request was refused before its handler; it is answered as well.
    pub(super) fn denied(&self, denial: Denial) {
        self.denied[denial.index()].fetch_add(1, Ordering::Relaxed);
    }

    /// What was answered so far: path, status, and how often. Nothing of what never was.
    pub(super) fn answers(&self) -> impl Iterator<Item = (&'static str, usize, u64)> {
        let by_route = self.answered.chunks(STATUSES);
        RouteLabel::all()
            .zip(by_route)
            .flat_map(|(route, counters)| {
                counters.iter().enumerate().filter_map(move |(at, count)| {
                    let count = count.load(Ordering::Relaxed);
                    (count > 0).then(|| (route.label(), FIRST_STATUS + at, count))
                })
            })
    }

    /// How many requests were refused for each reason.
    pub(super) fn denials(&self) -> [(Denial, u64); Denial::ALL.len()] {
        Denial::ALL.map(|denial| {
            let count = self.denied[denial.index()].load(Ordering::Relaxed);
            (denial, count)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_path_is_counted_by_its_pattern_and_any_other_as_one() {
        for (path, label) in [
            ("/test", "/test"),
            ("/", "/"),
            ("/assets/app.js", "/assets/{name}"),
            ("/docs/", "/docs/…"),
            ("/docs/x", "/docs/…"),
            ("/v1/clusters/edge", "/v1/clusters/{cluster}"),
            (
                "/v1/clusters/edge/nodes/a%2Fb/reset",
                "/v1/clusters/{cluster}/nodes/{device}/reset",
            ),
            ("", OTHER),
            ("/assets/", OTHER),
            ("/docs", OTHER),
            ("/test/", OTHER),
            ("/v1/clusters/", OTHER),
            ("/v1/clusters/1/nodes/2/3/reset", OTHER),
            ("/wp-login.php", OTHER),
        ] {
            assert_eq!(RouteLabel::of(path).label(), label, "{path}");
        }
    }

    #[test]
    fn every_path_of_the_interface_is_known() {
        use utoipa::OpenApi as _;
        let document = crate::server::routes::v1::openapi::Document::openapi();
        let described: BTreeSet<&str> = document.paths.paths.keys().map(String::as_str).collect();
        assert!(described.len() > 12, "{described:?}");
        let known: BTreeSet<&str> = PATHS.into_iter().collect();
        let missing: Vec<_> = described.difference(&known).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }

    #[test]
    fn reasons_have_places_and_names_of_their_own() {
        for (place, denial) in Denial::ALL.into_iter().enumerate() {
            assert_eq!(denial.index(), place, "{denial:?}");
        }
        let names: BTreeSet<_> = Denial::ALL.map(Denial::as_str).into_iter().collect();
        assert_eq!(names.len(), Denial::ALL.len());
    }

    #[test]
    fn answers_are_counted_by_path_and_status() {
        let traffic = Traffic::default();
        for (path, status) in [("/test", 200), ("/x", 404), ("/y", 404), ("/test", 999)] {
            traffic.answered(RouteLabel::of(path), StatusCode::from_u16(status).unwrap());
        }
        traffic.denied(Denial::Rate);
        let answers: Vec<_> = traffic.answers().collect();
        assert_eq!(
            answers,
            [("/test", 200, 1), ("/test", 599, 1), (OTHER, 404, 2)]
        );
        let denied = traffic
            .denials()
            .into_iter()
            .filter(|(_, count)| *count > 0);
        assert_eq!(denied.collect::<Vec<_>>(), [(Denial::Rate, 1)]);
    }
}
