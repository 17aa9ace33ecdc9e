//! Why a request does not reach its handler, and what its client is told.

use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{
    CONNECTION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
};

use super::scarce::Scarce;
use crate::domain::Role;
use crate::server::contract_headers::camel_case;
use crate::server::error::Problem;
use crate::server::traffic::Denial;
use crate::server::view::NoReport;

/// The longest name that is shown, in bytes.
const MAX_NAME_LEN: usize = 253;

/// Why a request is refused. What a client sent stands in none of them, but for a name that it
/// asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("the address of the request is longer than {0} bytes")]
    LongAddress(usize),
    #[error("the headers of the request have more than {0} bytes")]
    LongHeaders(usize),
    #[error("the body of the request has more than {0} bytes")]
    LongBody(usize),
    #[error("the body of the request did not arrive within {}", humantime::format_duration(*.0))]
    SlowBody(Duration),
    #[error("the body of the request broke off")]
    BrokenBody,
    #[error("this client asks too often; try again later")]
    TooManyRequests {
        /// Until it may.
        wait: Duration,
    },
    #[error(
        "this client has half of all {} at once, which is its share; try again later",
        .0.as_str()
    )]
    OverShare(Scarce),
    #[error("a token is needed; send it as `Authorization: Bearer …`")]
    NoToken,
    #[error("the token is not known here")]
    WrongToken,
    #[error("the token {name:?} allows `{role}`, and this needs `{needed}`")]
    OtherRole {
        name: String,
        role: Role,
        needed: Role,
    },
    #[error(
        "this service has no name {0}; `names` in [http] says what it is called beside localhost, its \
         address and this machine's name"
    )]
    OtherHost(String),
    #[error("pages of other origins may not do this; `origins` in [http] names those that may")]
    OtherOrigin,
}

impl Refusal {
    /// A name that a client sent, as it is shown: in quotes, not longer than names are.
    pub(super) fn shown(name: &str) -> String {
        format!("{:?}", &name[..name.floor_char_boundary(MAX_NAME_LEN)])
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::LongAddress(_) => StatusCode::URI_TOO_LONG,
            Self::LongHeaders(_) => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::LongBody(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::SlowBody(_) => StatusCode::REQUEST_TIMEOUT,
            Self::BrokenBody => StatusCode::BAD_REQUEST,
            Self::TooManyRequests { .. } | Self::OverShare(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::NoToken | Self::WrongToken => StatusCode::UNAUTHORIZED,
            Self::OtherRole { .. } | Self::OtherOrigin => StatusCode::FORBIDDEN,
            Self::OtherHost(_) => StatusCode::MISDIRECTED_REQUEST,
        }
    }

    /// The header that says what would be right, if there is one.
    fn header(&self) -> Option<(HeaderName, String)> {
        match self {
            Self::TooManyRequests { wait } => {
                let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
                Some((RETRY_AFTER, seconds.to_string()))
            }
            // Each answer that is sent makes room.
            Self::OverShare(_) => Some((RETRY_AFTER, "1".to_owned())),
            Self::NoToken => Some((WWW_AUTHENTICATE, "Bearer realm=\"fleetcall\"".to_owned())),
            Self::WrongToken => {
                let value = "Bearer realm=\"fleetcall\", error=\"invalid_token\"";
                Some((WWW_AUTHENTICATE, value.to_owned()))
            }
            Self::OtherRole { needed, .. } => {
                let value = format!(
                    "Bearer realm=\"fleetcall\", error=\"insufficient_scope\", scope=\"{needed}\""
                );
                Some((WWW_AUTHENTICATE, value))
            }
            Self::LongBody(_) | Self::SlowBody(_) | Self::BrokenBody => {
                // What is left of the body is not read.
                Some((CONNECTION, "close".to_owned()))
            }
            Self::LongAddress(_)
            | Self::LongHeaders(_)
            | Self::OtherHost(_)
            | Self::OtherOrigin => None,
        }
    }

    /// The reason, as it is counted.
    pub(super) fn denial(&self) -> Denial {
        match self {
            Self::LongAddress(_) => Denial::LongAddress,
            Self::LongHeaders(_) => Denial::LongHeaders,
            Self::LongBody(_) => Denial::LongBody,
            Self::SlowBody(_) => Denial::SlowBody,
            Self::BrokenBody => Denial::BrokenBody,
            Self::TooManyRequests { .. } => Denial::Rate,
            Self::OverShare(_) => Denial::Share,
            Self::NoToken => Denial::NoToken,
            Self::WrongToken => Denial::WrongToken,
            Self::OtherRole { .. } => Denial::Role,
            Self::OtherHost(_) => Denial::Host,
            Self::OtherOrigin => Denial::Origin,
        }
    }

    /// The answer, on `/test` in its own form.
    pub(super) fn response(&self, is_test: bool) -> HttpResponse {
        let mut response = if is_test {
            let body = NoReport::because(self.to_string()).to_json(false);
            camel_case(
                HttpResponse::build(self.status())
                    .insert_header((CONTENT_TYPE, "application/json"))
                    .body(body),
            )
        } else {
            Problem::new(self.status(), self.to_string()).response()
        };
        if let Some((name, value)) = self.header() {
            insert(response.headers_mut(), name, &value);
        }
        if matches!(
            self,
            Self::LongBody(_) | Self::SlowBody(_) | Self::BrokenBody
        ) {
            response
                .head_mut()
                .set_connection_type(actix_web::http::ConnectionType::Close);
        }
        response
    }
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}
