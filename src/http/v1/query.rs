//! What a request for a roll call asks for, from its query and headers.

use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, Header as _};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::collector::CollectRequest;
use crate::domain::{DeviceKind, FaultKind, NodeSet, Outcome, Scope};
use crate::http::error::Problem;

/// Which devices are asked, and how.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ReportQuery {
    /// Only these clusters: a node set such as `1-4` or `edge,core[1-2]`.
    #[param(min_length = 1)]
    cluster: Option<String>,
    /// Only nodes, or only switches.
    #[param(inline)]
    kind: Option<KindQuery>,
    /// Only devices with these ids: a node set such as `web[01-40]`.
    #[param(min_length = 1)]
    device: Option<String>,
    /// Show only devices with this outcome: `ok`, `failed` for all failures, or one kind of failure
    /// such as `timed_out`. All are asked and counted.
    #[param(schema_with = outcomes)]
    outcome: Option<String>,
    /// The longest it may take, such as `2s` or `250ms`, if that is less than what is configured.
    #[param(pattern = "^[1-9][0-9]{0,5}(ms|s|m|h)$")]
    deadline: Option<String>,
    /// Results that are no older than this are not asked for again, such as `30s`. Without it,
    /// `Cache-Control: max-age` of the request counts.
    #[param(pattern = "^(0|[1-9][0-9]{0,5})(ms|s|m|h)$")]
    max_age: Option<String>,
    /// Answer 503 if a device failed.
    strict: Option<bool>,
    /// As [`ForceQuery`].
    #[param(ignore)]
    pub(super) force: Option<bool>,
}

/// What the requests that ask now take besides.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it describes what `ReportQuery` reads")]
pub(super) struct ForceQuery {
    /// Ask devices, too, that are left alone because their circuit breaker is open or their actor waits
    /// to be restarted; each at most once in 10 s.
    force: Option<bool>,
}

#[derive(Debug, Clone, Copy, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
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

    fn parse(text: &str) -> Option<Self> {
        match text {
            "ok" => Some(Self::Ok),
            "failed" => Some(Self::Failed),
            kind => {
                let is_it = |it: &FaultKind| it.as_str() == kind;
                FaultKind::ALL.into_iter().find(is_it).map(Self::Kind)
            }
        }
    }
}

/// A request, understood.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) request: CollectRequest,
    pub(super) shown: Shown,
    pub(super) strict: bool,
}

impl ReportQuery {
    /// Reads the query of a request.
    pub(super) fn read(request: &HttpRequest) -> Result<Self, Problem> {
        let query = actix_web::web::Query::<Self>::from_query(request.query_string());
        query.map(actix_web::web::Query::into_inner).map_err(|error| {
            bad(format!(
                "{error}; the parameters are `cluster`, `kind`, `device`, `outcome`, `deadline`, \
                 `max_age`, `strict` and `force`, each once"
            ))
        })
    }

    /// What is meant by it.
    pub(super) fn understand(&self, request: &HttpRequest) -> Result<Wanted, Problem> {
        // What is no node set means nobody.
        let set = |name: &str, text: &Option<String>| match text {
            None => Ok(Vec::new()),
            Some(text) => match NodeSet::parse(text) {
                Ok(set) => Ok(vec![set]),
                Err(why) => Err(Problem::new(
                    StatusCode::NOT_FOUND,
                    format!("no device is meant: `{name}` is no node set: {why}"),
                )),
            },
        };
        let shown = match &self.outcome {
            None => Shown::All,
            Some(text) => Shown::parse(text).ok_or_else(|| {
                let kinds: Vec<&str> = FaultKind::ALL.iter().map(|it| it.as_str()).collect();
                bad(format!(
                    "{text:?} is no outcome; write `ok`, `failed`, or one of {}",
                    kinds.join(", ")
                ))
            })?,
        };
        let deadline = duration("deadline", self.deadline.as_deref())?;
        if deadline.is_some_and(|deadline| deadline.is_zero()) {
            return Err(bad("`deadline` is too short; write at least 1ms".to_owned()));
        }
        let max_age = match duration("max_age", self.max_age.as_deref())? {
            Some(age) => Some(age),
            None => max_age(request),
        };
        Ok(Wanted {
            request: CollectRequest {
                scope: Scope {
                    clusters: set("cluster", &self.cluster)?,
                    kind: self.kind.map(|kind| match kind {
                        KindQuery::Node => DeviceKind::Node,
                        KindQuery::Switch => DeviceKind::Switch,
                    }),
                    devices: set("device", &self.device)?,
                },
                deadline,
                max_age: max_age.filter(|age| !age.is_zero()),
                force: self.force.unwrap_or_default(),
            },
            shown,
            strict: self.strict.unwrap_or_default(),
        })
    }
}

/// The values of `outcome`.
fn outcomes() -> utoipa::openapi::schema::Object {
    let kinds = FaultKind::ALL.iter().map(|kind| kind.as_str());
    let values: Vec<&str> = ["ok", "failed"]
        .into_iter()
        .chain(kinds.filter(|kind| *kind != "failed"))
        .collect();
    utoipa::openapi::ObjectBuilder::new()
        .schema_type(utoipa::openapi::schema::Type::String)
        .enum_values(Some(values))
        .build()
}

pub(super) fn bad(detail: String) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, detail)
}

fn duration(name: &str, text: Option<&str>) -> Result<Option<Duration>, Problem> {
    let Some(text) = text else {
        return Ok(None);
    };
    let millis = || {
        let at = text.find(|c: char| !c.is_ascii_digit())?;
        let (number, unit) = text.split_at(at);
        let is_plain =
            (1..=6).contains(&number.len()) && (number == "0" || !number.starts_with('0'));
        let unit: u64 = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return None,
        };
        Some(number.parse::<u64>().ok().filter(|_| is_plain)? * unit)
    };
    let millis = millis().ok_or_else(|| {
        bad(format!(
            "`{name}` is no duration; write a number of at most six digits and ms, s, m or h, such \
             as `2s` or `250ms`"
        ))
    })?;
    Ok(Some(Duration::from_millis(millis)))
}

/// `Cache-Control: max-age` of a request (RFC 9111, section 5.2.1.1), unless `no-cache` or `no-store`
/// stands beside it.
fn max_age(request: &HttpRequest) -> Option<Duration> {
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

    /// The form that a request prefers (RFC 9110, section 12.5.1).
    pub(super) fn of(request: &HttpRequest) -> Result<Self, Problem> {
        if !request.headers().contains_key(header::ACCEPT) {
            return Ok(Self::Json);
        }
        let accept = header::Accept::parse(request).map_err(|error| bad(error.to_string()))?;
        let ranked = accept.ranked();
        if ranked.is_empty() {
            return Ok(Self::Json);
        }
        // The most specific range counts: one that is refused is not taken for `*/*`.
        let fits = |range: &header::Accept, form: Self| {
            let ranges = range.iter().filter_map(|item| {
                let how = match (item.item.type_().as_str(), item.item.subtype().as_str()) {
                    ("*", "*") => 0,
                    (kind, "*") if form.as_str().split('/').next() == Some(kind) => 1,
                    (_, _) if item.item.essence_str() == form.as_str() => 2,
                    (_, _) => return None,
                };
                Some((how, item.quality))
            });
            let best = ranges.max_by_key(|&(how, _)| how);
            best.map_or(header::Quality::ZERO, |(_, quality)| quality)
        };
        let forms = [Self::Json, Self::Lines, Self::Events];
        let best = forms
            .into_iter()
            .map(|form| (form, fits(&accept, form)))
            .filter(|(_, quality)| *quality > header::Quality::ZERO)
            // The first one of those that are liked alike.
            .rev()
            .max_by_key(|&(_, quality)| quality);
        best.map(|(form, _)| form).ok_or_else(|| {
            let forms = forms.map(Self::as_str).join(", ");
            Problem::new(
                StatusCode::NOT_ACCEPTABLE,
                format!("this is answered as one of {forms}"),
            )
        })
    }
}
