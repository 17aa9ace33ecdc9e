//! What became of the requests of a connection, as far as actix-http does not say it.
//!
//! actix-http answers by itself what is no HTTP request, or does not arrive in time, and no handler
//! hears of it. When a connection has ended, what is recorded here and how its service ended tell
//! whether that has happened.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use actix_http::error::{DispatchError, ParseError};
use actix_web::http::StatusCode;

use crate::server::traffic::Denial;

/// What has happened on a connection.
#[derive(Debug, Default)]
pub(in crate::server) struct ConnectionRecord {
    /// The client has closed its side, or the connection is lost.
    is_closed: AtomicBool,
    /// A request was there.
    has_request: AtomicBool,
    /// The answer to a request was given up.
    is_cut: AtomicBool,
    /// A request was refused because its body is not as HTTP has it.
    has_broken_body: AtomicBool,
}

/// What actix-http refused.
#[derive(Debug)]
pub(in crate::server) struct Unread {
    pub(super) denial: Denial,
    /// The status of the answer, if there was one.
    pub(super) code: Option<StatusCode>,
    pub(super) why: String,
}

fn set(flag: &AtomicBool) {
    flag.store(true, Ordering::Relaxed);
}

fn is_set(flag: &AtomicBool) -> bool {
    flag.load(Ordering::Relaxed)
}

impl ConnectionRecord {
    /// The client sends no more.
    pub(in crate::server) fn closed(&self) {
        set(&self.is_closed);
    }

    /// What was refused on a connection whose service ended so.
    pub(in crate::server) fn refused(&self, ended: &Result<(), DispatchError>) -> Option<Unread> {
        let (denial, code, why) = match ended {
            // This one was answered by the guard.
            Err(DispatchError::Parse(_)) if is_set(&self.has_broken_body) => return None,
            Err(DispatchError::Parse(error)) => {
                let (denial, code) = match error {
                    ParseError::TooLarge => {
                        let code = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
                        (Denial::LongHeaders, code)
                    }
                    _ => (Denial::Malformed, StatusCode::BAD_REQUEST),
                };
                (denial, Some(code), error.to_string())
            }
            Err(_) => return None,
            Ok(()) if is_set(&self.is_closed) => return None,
            Ok(()) if !is_set(&self.has_request) => {
                let why = "the request did not arrive in time".to_owned();
                (Denial::SlowRequest, Some(StatusCode::REQUEST_TIMEOUT), why)
            }
            // Behind a request that is under way it ends the connection, and nothing is answered.
            Ok(()) if is_set(&self.is_cut) => {
                let why = "what followed a request on its connection was none".to_owned();
                (Denial::Malformed, None, why)
            }
            Ok(()) => return None,
        };
        Some(Unread { denial, code, why })
    }
}

/// A request whose answer is not sent yet.
#[derive(Debug)]
pub(super) struct OpenRequest {
    record: Arc<ConnectionRecord>,
    is_done: bool,
}

impl OpenRequest {
    pub(super) fn new(record: &Arc<ConnectionRecord>) -> Self {
        set(&record.has_request);
        Self {
            record: Arc::clone(record),
            is_done: false,
        }
    }

    /// Its body is not as HTTP has it, and it is answered so.
    pub(super) fn broken_body(&self) {
        set(&self.record.has_broken_body);
    }

    /// The answer is sent, as far as it is written.
    pub(super) fn done(&mut self) {
        self.is_done = true;
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        if !self.is_done {
            set(&self.record.is_cut);
        }
    }
}
