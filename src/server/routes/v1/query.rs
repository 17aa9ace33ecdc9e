//! What a request for a roll call asks for, from its query and headers.

use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::http::StatusCode;
use actix_web::http::header;
use tokio::time::Instant;
use utoipa::IntoParams;

use crate::access;
use crate::domain::{DeviceKind, FaultKind, MAX_DEVICES, NodeSet, Outcome, Scope};
use crate::engine::collector::CollectRequest;
use crate::server::accept::preferred;
use crate::server::error::Problem;
use crate::server::parameters::Parameters;

/// The parameters of [`ClusterQuery`].
pub(super) const CLUSTER: &[&str] = &["cluster"];
/// The parameters of [`DeviceQuery`].
pub(super) const DEVICE: &[&str] = &["kind", "device", "exclude"];
/// The parameters of [`ForceQuery`].
pub(super) const FORCE: &[&str] = &["force"];
/// The parameters of [`RollCallQuery`].
const ROLL_CALL: &[&str] = &["outcome", "deadline", "max_age", "strict"];

/// Which clusters are asked.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it describes what `Parameters` reads")]
pub(super) struct ClusterQuery {
    /// Only these clusters: a node set such as `1-4` or `edge,core[1-2]`. Each part of it is there, or
    /// the answer is 404.
    #[param(min_length = 1)]
    cluster: Option<String>,
}

/// Which devices are asked.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it describes what `Parameters` reads")]
pub(super) struct DeviceQuery {
    /// Only nodes, or only switches.
    #[param(inline)]
    kind: Option<KindQuery>,
    /// Only devices with these ids: a node set such as `web[01-40]` or `web[01-40]!web07`. Each part of
    /// it is there, or the answer is 404.
    #[param(min_length = 1)]
    device: Option<String>,
    /// No devices with these ids: a node set.
    #[param(min_length = 1)]
    exclude: Option<String>,
}

/// How devices are asked, and what is shown.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it describes what `Parameters` reads")]
pub(super) struct RollCallQuery {
    /// Show only devices with this outcome: `ok`, `failed` for all failures, or one kind of failure
    /// such as `timed_out`. All are asked and counted.
    #[param(schema_with = outcomes)]
    outcome: Option<String>,
    /// The longest it may take, such as `2s` or `250ms`, if that is less than what is configured.
    /// Longer names of units, as in the configuration, are read too.
    #[param(pattern = "^[1-9][0-9]{0,5}(ms|s|m|h)( [1-9][0-9]{0,5}(ms|s|m|h)){0,3}$")]
    deadline: Option<String>,
    /// Results that are no older than this are not asked for again, such as `30s`. Without it,
    /// `Cache-Control: max-age` of the request counts.
    #[param(pattern = "^(0|[1-9][0-9]{0,5})(ms|s|m|h)( [1-9][0-9]{0,5}(ms|s|m|h)){0,3}$")]
    max_age: Option<String>,
    /// Answer 503 if a device failed.
    strict: Option<bool>,
}

/// What the requests that ask now take besides.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it describes what `Parameters` reads")]
pub(super) struct ForceQuery {
    /// Ask devices, too, that are left alone because their circuit breaker is open or their actor waits
    /// to be restarted; each at most once in 10 s.
    force: Option<bool>,
}

#[derive(Debug, utoipa::ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "it describes what `Parameters` reads")]
pub(super) enum KindQuery {
    Node,
    Switch,
}

/// Which outcomes are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    All,
    Ok,
    Failed,
    Kind(FaultKind),
}

impl Shown {
    pub(super) fn has(self, outcome: &Outcome) -> bool {
        match (self, outcome) {
            (Self::All, _) | (Self::Ok, Ok(_)) | (Self::Failed, Err(_)) => true,
            (Self::Kind(kind), Err(fault)) => fault.kind() == kind,
            (Self::Ok, Err(_)) | (Self::Failed | Self::Kind(_), Ok(_)) => false,
        }
    }

    /// By name, as `outcome` has them.
    fn names() -> Vec<(&'static str, Self)> {
        let kinds = FaultKind::ALL
            .iter()
            .filter(|kind| kind.as_str() != "failed");
        let kinds = kinds.map(|kind| (kind.as_str(), Self::Kind(*kind)));
        [("ok", Self::Ok), ("failed", Self::Failed)]
            .into_iter()
            .chain(kinds)
            .collect()
    }
}

/// A request, understood.
#[derive(Debug)]
pub(super) struct Wanted {
    /// When it was read, from which its deadline counts.
    pub(super) start: Instant,
    pub(super) request: CollectRequest,
    pub(super) form: Form,
    pub(super) shown: Shown,
    pub(super) strict: bool,
    /// Whether it says anything of force.
    pub(super) force: Option<bool>,
}

impl Wanted {
    /// Reads the query and the headers of a request that takes these filters.
    pub(super) fn read(request: &HttpRequest, filters: &[&str]) -> Result<Self, Problem> {
        let given = Parameters::read(request, &[filters, ROLL_CALL].concat())?;
        let kinds = [DeviceKind::Node, DeviceKind::Switch].map(|kind| (kind.as_str(), kind));
        let force = given.boolean("force")?;
        let max_age = given.duration("max_age", Duration::ZERO)?;
        let max_age = max_age.or_else(|| max_age_of(request));
        let scope = Scope {
            clusters: set(&given, "cluster")?,
            kind: given.one_of("kind", &kinds)?,
            devices: set(&given, "device")?,
            exclude: set(&given, "exclude")?,
        };
        Ok(Self {
            start: Instant::now(),
            form: Form::of(request)?,
            request: CollectRequest {
                // Where nothing is taken away, it is the same request as one that does not check that.
                check_removals: !scope.is_whole(),
                scope,
                deadline: given.duration("deadline", SHORTEST)?,
                max_age: max_age.filter(|age| !age.is_zero()),
                force: force.unwrap_or_default(),
                client: request.peer_addr().map(|peer| access::client(peer.ip())),
            },
            shown: given
                .one_of("outcome", &Shown::names())?
                .unwrap_or(Shown::All),
            strict: given.boolean("strict")?.unwrap_or_default(),
            force,
        })
    }
}

/// The shortest deadline; timers count in milliseconds.
const SHORTEST: Duration = Duration::from_millis(1);

/// Different elements of a filter at most; in brackets, each range is one.
const MAX_ELEMENTS: usize = 1000;

/// A filter. What is no node set means no device, so that is 404.
fn set(given: &Parameters, name: &str) -> Result<Option<NodeSet>, Problem> {
    let Some(text) = given.text(name) else {
        return Ok(None);
    };
    let set = NodeSet::parse(text).map_err(|why| {
        let detail = format!("no device is meant: `{name}` is no node set: {why}");
        Problem::new(StatusCode::NOT_FOUND, detail)
    })?;
    let (elements, ids) = set.size();
    if elements > MAX_ELEMENTS {
        return Err(Problem::bad(format!(
            "`{name}` has {elements} different elements, at most {MAX_ELEMENTS} are possible; write \
             ranges such as \"web[001-128]\", or make several requests"
        )));
    }
    if ids > MAX_DEVICES as u64 {
        return Err(Problem::bad(format!(
            "`{name}` stands for {ids} ids, at most {MAX_DEVICES} are possible, as many as a fleet may \
             have"
        )));
    }
    Ok(Some(set))
}

/// The values of `outcome`.
fn outcomes() -> utoipa::openapi::schema::Object {
    let values = Shown::names().into_iter().map(|(name, _)| name);
    utoipa::openapi::ObjectBuilder::new()
        .schema_type(utoipa::openapi::schema::Type::String)
        .enum_values(Some(values))
        .build()
}

/// `Cache-Control: max-age` of a request (RFC 9111, section 5.2.1.1), unless `no-cache` or `no-store`
/// stands beside it.
fn max_age_of(request: &HttpRequest) -> Option<Duration> {
    let values = request.headers().get_all(header::CACHE_CONTROL);
    let texts: Vec<String> = values
        .filter_map(|value| value.to_str().ok())
        .map(str::to_ascii_lowercase)
        .collect();
    let directives = || texts.iter().flat_map(|text| text.split(',')).map(str::trim);
    if directives().any(|it| it == "no-cache" || it == "no-store") {
        return None;
    }
    let secs = directives().find_map(|it| it.strip_prefix("max-age=")?.parse().ok());
    secs.map(Duration::from_secs)
}

/// In which form a roll call is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Json,
    /// A line of JSON for each device when it has answered.
    Lines,
    /// The same as server-sent events.
    Events,
}

impl Form {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Lines => "application/x-ndjson",
            Self::Events => "text/event-stream",
        }
    }

    /// The form that a request prefers.
    pub(super) fn of(request: &HttpRequest) -> Result<Self, Problem> {
        let forms = [Self::Json, Self::Lines, Self::Events];
        let preferred = preferred(request, &forms.map(Self::as_str))?;
        let form = forms.into_iter().find(|form| form.as_str() == preferred);
        Ok(form.unwrap_or(Self::Json))
    }
}
