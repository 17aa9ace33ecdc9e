//! From "no answer at all" to a status: the only table of its kind.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, RETRY_AFTER};

use super::view::NoReport;
use crate::collector::CollectError;

/// An error as HTTP shows it.
#[derive(Debug)]
pub(super) struct ApiError(pub(super) CollectError);

impl ApiError {
    /// | error | status | `Retry-After` |
    /// | --- | --- | --- |
    /// | overloaded | 503 | 1 s: places come free with every answer |
    /// | shutting down | 503 | 5 s: about what a restart takes |
    fn status(&self) -> (StatusCode, u32) {
        match self.0 {
            CollectError::Overloaded { .. } => (StatusCode::SERVICE_UNAVAILABLE, 1),
            CollectError::ShuttingDown => (StatusCode::SERVICE_UNAVAILABLE, 5),
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
