//! From "no answer at all" to a status, and problems as `/v1` shows them: the only table of its
//! kind.

use actix_web::http::header::{ALLOW, CONTENT_TYPE, ContentType, HeaderValue, RETRY_AFTER};
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse, ResponseError};

use serde::Serialize;
use utoipa::ToSchema;

use super::view::NoReport;
use crate::config::ConfigFault;
use crate::domain::{ScopeError, counted};
use crate::engine::collector::CollectError;
use crate::reload::ReloadError;

/// An error as HTTP shows it.
#[derive(Debug)]
pub(super) struct ApiError(pub(super) CollectError);

impl ApiError {
    /// | error | status | `Retry-After` |
    /// | --- | --- | --- |
    /// | overloaded | 503 | 1 s: places come free with every answer |
    /// | shutting down | 503 | 5 s: about what a restart takes |
    /// | no device is meant, or not what is named | 404 | – |
    /// | what is meant would take too long to find | 400 | – |
    fn status(&self) -> (StatusCode, u32) {
        match &self.0 {
            CollectError::Overloaded { .. } => (StatusCode::SERVICE_UNAVAILABLE, 1),
            CollectError::ShuttingDown => (StatusCode::SERVICE_UNAVAILABLE, 5),
            CollectError::Scope(ScopeError::TooLarge { .. }) => (StatusCode::BAD_REQUEST, 5),
            CollectError::Scope(ScopeError::Unmatched(_) | ScopeError::Empty(_)) => {
                (StatusCode::NOT_FOUND, 5)
            }
        }
    }

    /// The response in the format of `/test`.
    pub(super) fn response(&self, indent: bool) -> HttpResponse {
        let (status, retry_after_secs) = self.status();
        HttpResponse::build(status)
            .insert_header((RETRY_AFTER, retry_after_secs))
            .insert_header((CONTENT_TYPE, "application/json"))
            .body(NoReport::new(&self.0).to_json(indent))
    }
}

/// A problem of `/v1`, as RFC 9457 has it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Problem {
    /// What kind of problem it is; `about:blank` says no more than the status.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The status in words.
    title: &'static str,
    /// The status.
    status: u16,
    /// What is wrong here, and what would be right.
    detail: String,
    /// The faults of a configuration.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    faults: Vec<FaultView>,
    #[serde(skip)]
    retry_after_secs: Option<u32>,
}

/// A fault of a configuration.
#[derive(Debug, Clone, Serialize, ToSchema)]
struct FaultView {
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<usize>,
    #[serde(skip_serializing_if = "String::is_empty")]
    key: String,
    message: String,
}

impl From<&ConfigFault> for FaultView {
    fn from(fault: &ConfigFault) -> Self {
        let (line, column) = fault.place.unzip();
        Self {
            line,
            column,
            key: fault.key.clone(),
            message: fault.message.clone(),
        }
    }
}

impl Problem {
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: detail.into(),
            faults: Vec::new(),
            retry_after_secs: None,
        }
    }

    /// 400.
    pub(super) fn bad(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// Says after how many seconds to come again.
    pub(super) fn retry_after(self, secs: u32) -> Self {
        Self {
            retry_after_secs: Some(secs),
            ..self
        }
    }

    pub(super) fn response(&self) -> HttpResponse {
        let status = StatusCode::from_u16(self.status);
        let mut response = HttpResponse::build(status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR));
        if let Some(secs) = self.retry_after_secs {
            response.insert_header((RETRY_AFTER, secs));
        }
        // Not `insert_header`: `json` keeps a content type that is there.
        response.content_type("application/problem+json").json(self)
    }
}

/// 405, where only reading is defined.
pub(super) async fn get_only(request: HttpRequest) -> HttpResponse {
    method_not_allowed(request.method(), "GET, HEAD", "GET and HEAD are")
}

/// What a handler comes to.
pub(super) type Answered = Result<HttpResponse, Problem>;

/// 503, where what an answer takes is all taken.
pub(super) fn busy() -> Problem {
    let detail = "as many such answers as may be sent at once are; try again later";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).retry_after(1)
}

/// 404, where there is no route.
pub(super) async fn not_found() -> HttpResponse {
    HttpResponse::NotFound()
        .content_type(ContentType::plaintext())
        .body("there is nothing here; the roll call is GET /test, the supervision tree GET /v1/supervision\n")
}

/// 415, if a request has a body, as nothing here takes one.
pub(super) fn refuse_body(body: &[u8]) -> Result<(), Problem> {
    if body.is_empty() {
        return Ok(());
    }
    let detail = "this takes no body; what is asked for stands in the URL";
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail))
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.detail)
    }
}

impl ResponseError for Problem {
    fn error_response(&self) -> HttpResponse {
        self.response()
    }
}

impl From<CollectError> for Problem {
    fn from(error: CollectError) -> Self {
        let error = ApiError(error);
        let (status, retry_after_secs) = error.status();
        let problem = Self::new(status, error.0.to_string());
        match error.0 {
            CollectError::Overloaded { .. } | CollectError::ShuttingDown => {
                problem.retry_after(retry_after_secs)
            }
            CollectError::Scope(_) => problem,
        }
    }
}

/// 405; `right` says which methods are defined, in words.
pub(super) fn method_not_allowed(
    method: &Method,
    allow: &'static str,
    right: &str,
) -> HttpResponse {
    let detail = format!("{method} is not defined here; {right}");
    let mut response = Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail).response();
    let allow = HeaderValue::from_static(allow);
    response.headers_mut().insert(ALLOW, allow);
    response
}

impl From<&ReloadError> for Problem {
    /// | error | status |
    /// | --- | --- |
    /// | bad configuration | 422, with all its faults |
    /// | another reload is under way | 409 |
    /// | a bug | 500 |
    fn from(error: &ReloadError) -> Self {
        match error {
            ReloadError::Config(error) => {
                let path = error.path.display();
                let faults = counted(error.faults.len(), "fault");
                let detail = format!("{path} has {faults}; the configuration stays as it was");
                Self {
                    faults: error.faults.iter().map(FaultView::from).collect(),
                    ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
                }
            }
            ReloadError::Busy => Self::new(StatusCode::CONFLICT, error.to_string()),
            ReloadError::Failed(_) => {
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
            }
        }
    }
}
