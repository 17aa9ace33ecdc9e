//! `GET /healthz` and `GET /readyz`: for whoever restarts the service, and for whoever sends it
//! requests.
//!
//! | path | 200 | 503 |
//! | --- | --- | --- |
//! | `/healthz` | roll calls finish on every thread | one cannot: the answer names the thread |
//! | `/readyz` | the next roll call would be answered, in full as far as is known here | it would not: the answer says why |
//!
//! Both answer from what is known already and wait for nobody, so also while everything hangs.

use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::{HttpResponse, web};
use serde::Serialize;

use crate::engine::collector::CollectError;
use crate::server::error::get_only;
use crate::server::state::ServerState;

/// What both answer.
#[derive(Debug, Serialize)]
struct ReadinessReport {
    /// `ok` or `failing`; `ready` or `not_ready`.
    status: &'static str,
    /// What is wrong; empty if nothing is.
    reasons: Vec<Reason>,
    /// The threads that run clusters; in `/healthz` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    threads: Option<Vec<Thread>>,
}

/// One thing that is wrong.
#[derive(Debug, Serialize)]
struct Reason {
    reason: &'static str,
    /// Which thread it is, for `thread_stuck`.
    #[serde(skip_serializing_if = "Option::is_none")]
    thread: Option<usize>,
    message: String,
}

/// How a thread does.
#[derive(Debug, Serialize)]
struct Thread {
    thread: usize,
    ok: bool,
    /// How long its last roll call took, or the one under way has taken so far if that is longer.
    roll_call_ms: u64,
}

pub(in crate::server) fn configure(config: &mut web::ServiceConfig) {
    config
        .service(
            web::resource("/healthz")
                .route(web::get().to(healthz))
                .route(web::head().to(healthz))
                .default_service(web::to(get_only)),
        )
        .service(
            web::resource("/readyz")
                .route(web::get().to(readyz))
                .route(web::head().to(readyz))
                .default_service(web::to(get_only)),
        );
}

async fn healthz(state: web::Data<ServerState>) -> HttpResponse {
    let threads = state.watchdog.threads();
    let threads = threads.iter().enumerate().map(|(thread, health)| Thread {
        thread,
        ok: health.trouble.is_none(),
        roll_call_ms: u64::try_from(health.took.as_millis()).unwrap_or(u64::MAX),
    });
    let report = ReadinessReport {
        status: "ok",
        threads: Some(threads.collect()),
        reasons: stuck(&state),
    };
    report.response("failing", state.debug)
}

async fn readyz(state: web::Data<ServerState>) -> HttpResponse {
    let mut reasons = Vec::new();
    if let Some(error) = state.collector.obstacle() {
        let reason = match error {
            CollectError::Overloaded { .. } => "overloaded",
            CollectError::ShuttingDown => "shutting_down",
            CollectError::Scope(_) => "empty",
        };
        reasons.push(Reason::new(reason, error.to_string()));
    }
    // While a configuration is applied, the one of before is in force, and was ready.
    for list in state.reload.discoveries_now().unwrap_or_default() {
        if list.read_at.is_none() {
            let (key, origin) = (list.key, list.origin);
            let why = list.error.unwrap_or_else(|| "it is being read".to_owned());
            let message = format!("{key}: the list of devices {origin} was never read: {why}");
            reasons.push(Reason::new("list_not_read", message));
        }
    }
    // One that shares its fleet could answer for what is here at most, and others are better asked.
    let obstacles = state.workers.iter().flat_map(|it| it.obstacles());
    reasons.extend(obstacles.map(|(reason, why)| Reason::new(reason, why)));
    reasons.extend(stuck(&state));
    let report = ReadinessReport {
        status: "ready",
        reasons,
        threads: None,
    };
    report.response("not_ready", state.debug)
}

/// The threads on which roll calls do not finish.
fn stuck(state: &ServerState) -> Vec<Reason> {
    let threads = state.watchdog.threads().into_iter().enumerate();
    let reason = |(thread, trouble): (usize, Option<String>)| {
        trouble.map(|trouble| Reason {
            reason: "thread_stuck",
            thread: Some(thread),
            message: format!("thread {thread}: {trouble}"),
        })
    };
    threads
        .map(|(thread, health)| (thread, health.trouble))
        .filter_map(reason)
        .collect()
}

impl Reason {
    fn new(reason: &'static str, message: String) -> Self {
        Self {
            reason,
            thread: None,
            message,
        }
    }
}

impl ReadinessReport {
    /// 200, or 503 with another status if there is a reason.
    fn response(mut self, otherwise: &'static str, indent: bool) -> HttpResponse {
        let mut status = StatusCode::OK;
        if !self.reasons.is_empty() {
            self.status = otherwise;
            status = StatusCode::SERVICE_UNAVAILABLE;
        }
        let json = if indent {
            serde_json::to_vec_pretty(&self)
        } else {
            serde_json::to_vec(&self)
        };
        match json {
            Ok(json) => HttpResponse::build(status)
                .insert_header((CONTENT_TYPE, "application/json"))
                .insert_header((CACHE_CONTROL, "no-store"))
                .body(json),
            Err(_) => HttpResponse::InternalServerError().finish(),
        }
    }
}
