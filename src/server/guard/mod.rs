//! What every request passes before its handler, and every answer on its way back.
//!
//! | step | answers | |
//! | --- | --- | --- |
//! | length of the address and of the headers | 414, 431 | |
//! | requests a second of this client | 429, `Retry-After` | |
//! | a name that this service does not have | 421 | [`hosts`] |
//! | a page of another origin that only asks whether it may | 204, 403 | [`origins`] |
//! | token and its role | 401, 403 | [`roles`] |
//! | a page of another origin that changes something, or begins a roll call | 403 | [`origins`] |
//! | what one client has of what there is not enough of for all | 429, `Retry-After` | [`scarce`] |
//! | body: its length, and the time that it takes | 413, 408, 400 | |
//!
//! Then the headers that keep browsers from doing what nobody asked them to do. `/test` has its own
//! headers, which are a contract, and its own form of errors. It knows paths, but no handler.

pub(super) mod connections;
mod denials;
mod hosts;
mod origins;
pub(super) mod record;
mod refusal;
mod roles;
mod scarce;

pub(super) use roles::is_test;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use actix_http::{Payload, Request, Response};
use actix_web::body::BoxBody;
use actix_web::dev::RequestHead;
use actix_web::http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderMap, HeaderName, HeaderValue,
    REFERRER_POLICY, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use actix_web::http::{ConnectionType, Method, StatusCode};
use actix_web::web::{Bytes, BytesMut};
use actix_web::{HttpMessage as _, HttpRequest, HttpResponse};
use futures::StreamExt as _;

use super::contract_headers::open_to_all;
use super::state::{MAX_LISTS, MAX_SCRAPES, MAX_TREES};
use crate::access::{Access, ClientShare, ClientShares, Policy};
use crate::engine::collector::CollectorHandle;
use crate::server::traffic::{Denial, RouteLabel, Traffic};
use connections::{Busy, KeptConnection, Occupied};
use denials::Denials;
use record::{ConnectionRecord, OpenRequest, Unread};
use refusal::Refusal;
use roles::Needs;
use scarce::Scarce;

/// The longest address of a request, query included, in bytes.
const MAX_URI_LEN: usize = 8 << 10;

/// The most that names and values of all headers may have together, in bytes.
const MAX_HEADERS_LEN: usize = 32 << 10;

/// The longest body of a request, in bytes; no handler needs more.
const MAX_BODY_LEN: usize = 64 << 10;

/// Where browsers of other origins may show a token on `/test`: the contract's preflight allows
/// this header, and not `Authorization`.
const X_ACCESS_TOKEN: HeaderName = HeaderName::from_static("x-access-token");

/// Stand on every answer but those of `/test`, unless its handler knows better.
const SECURITY: [(HeaderName, &str); 4] = [
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "no-referrer"),
    (X_FRAME_OPTIONS, "DENY"),
    (
        CONTENT_SECURITY_POLICY,
        "default-src 'none'; frame-ancestors 'none'",
    ),
];

/// What the guard has at hand; one for all threads.
#[derive(Debug)]
pub(super) struct Gate {
    access: Access,
    denials: Denials,
    traffic: Arc<Traffic>,
    collector: CollectorHandle,
    collects: Arc<ClientShares>,
    trees: Arc<ClientShares>,
    lists: Arc<ClientShares>,
    scrapes: Arc<ClientShares>,
}

impl Gate {
    pub(super) fn new(access: Access, traffic: Arc<Traffic>, collector: CollectorHandle) -> Self {
        Self {
            access,
            denials: Denials::default(),
            traffic,
            collector,
            collects: Arc::default(),
            trees: Arc::default(),
            lists: Arc::default(),
            scrapes: Arc::default(),
        }
    }

    /// Counts what is refused, and said elsewhere.
    pub(super) fn count(&self, denial: Denial) {
        self.traffic.denied(denial);
    }

    /// Counts what is refused before there is a request, with the status of its answer if it has one,
    /// and says so.
    pub(super) fn refuse(
        &self,
        denial: Denial,
        code: Option<StatusCode>,
        client: IpAddr,
        why: &str,
    ) {
        if let Some(code) = code {
            self.traffic.answered(RouteLabel::OTHER, code);
        }
        self.count(denial);
        self.denials.note_unread(denial, client, why);
    }

    /// The same for what actix-http refused.
    pub(super) fn refuse_unread(&self, unread: &Unread, client: IpAddr) {
        self.refuse(unread.denial, unread.code, client, &unread.why);
    }

    /// Counts what a handler refused because all of what it takes is taken, or not there, and says so.
    fn unavailable(&self, scarce: Option<Scarce>, client: IpAddr) {
        match scarce {
            // The collector says that itself.
            Some(Scarce::Collects) => self.count(Denial::Unavailable),
            _ => {
                let why = "what the request takes is all taken, or not there";
                self.refuse(Denial::Unavailable, None, client, why);
            }
        }
    }

    /// The client's share of what a request needs.
    fn share(
        &self,
        scarce: Option<Scarce>,
        client: IpAddr,
    ) -> Result<Option<ClientShare>, Refusal> {
        let Some(scarce) = scarce else {
            return Ok(None);
        };
        let (shares, all) = match scarce {
            Scarce::Collects => (&self.collects, self.collector.max_waiting()),
            Scarce::Trees => (&self.trees, MAX_TREES),
            Scarce::Lists => (&self.lists, MAX_LISTS),
            Scarce::Scrapes => (&self.scrapes, MAX_SCRAPES),
        };
        let share = self.access.share(shares, client, all);
        share.map(Some).ok_or(Refusal::OverShare(scarce))
    }
}

/// Who sent a request that is none for reading, for the log: the name of its token, or without
/// tokens the address that it came from. Stands in the request's extensions.
#[derive(Debug, Clone)]
struct Caller(String);

/// Who sent a request that is none for reading.
pub(super) fn caller(request: &HttpRequest) -> String {
    let extensions = request.extensions();
    let caller = extensions.get::<Caller>();
    caller.map_or_else(String::new, |Caller(name)| name.clone())
}

/// Lets a request pass to its handler, or answers it.
pub(super) async fn guard(
    gate: &Gate,
    mut request: Request,
    handle: impl AsyncFnOnce(Request) -> Response<BoxBody>,
) -> Response<Occupied> {
    let busy = request.conn_data::<Arc<KeptConnection>>().map(Busy::new);
    let begun = request
        .conn_data::<Arc<ConnectionRecord>>()
        .map(OpenRequest::new);
    let is_test = roles::is_test(request.path());
    let route = RouteLabel::of(request.path());
    let from = client(request.head());
    let scarce = Scarce::needed(request.method(), &roles::routed(request.head()));
    // Let go before anybody waits.
    let (secret, is_open, origin, passed) = {
        let policy = gate.access.peek();
        let is_open = is_test && policy.config.test_cors;
        let origins = &policy.config.origins;
        let origin =
            (!is_open && !origins.is_empty()).then(|| origins::allowed(request.head(), &policy));
        let passed = pass(gate, &policy, &request, from, scarce);
        (!policy.tokens.is_empty(), is_open, origin, passed)
    };
    let passed = match passed {
        Ok(None) => take_body(gate, &mut request).await.map(|()| None),
        other => other,
    };
    let mut share = None;
    let passed = match passed {
        Ok(None) => gate.share(scarce, from).map(|taken| {
            share = taken;
            None
        }),
        other => other,
    };
    let mut unread = Payload::None;
    let mut response = match passed {
        Ok(None) => handle(request).await,
        Ok(Some(answer)) => {
            unread = request.take_payload();
            answer.into()
        }
        Err(refusal) => {
            unread = request.take_payload();
            if let (Refusal::BrokenBody, Some(begun)) = (&refusal, &begun) {
                begun.broken_body();
            }
            let method = request.method().as_str();
            gate.denials.note(&refusal, from, method, request.path());
            gate.count(refusal.denial());
            refusal.response(is_test).into()
        }
    };
    // Not a report with `strict`, which is one.
    let is_unavailable = response.status() == StatusCode::SERVICE_UNAVAILABLE
        && response.headers().contains_key(RETRY_AFTER);
    if is_unavailable {
        gate.unavailable(scarce, from);
    }
    gate.traffic.answered(route, response.status());
    if busy.as_ref().is_none_or(Busy::is_last) {
        let head = response.head_mut();
        head.set_connection_type(ConnectionType::Close);
    }
    let headers = response.headers_mut();
    if let Some(origin) = origin {
        origins::mark(headers, origin.as_deref());
    }
    if is_test {
        if is_open {
            open_to_all(headers);
        }
        if secret {
            set(headers, CACHE_CONTROL, "private, no-cache");
        }
    } else {
        for (name, value) in SECURITY {
            set(headers, name, value);
        }
        if secret {
            set(headers, CACHE_CONTROL, "no-store");
        }
    }
    response.map_body(|_, body| Occupied::new(body, begun, (busy, share, unread)))
}

/// What a handler said stays.
fn set(headers: &mut HeaderMap, name: HeaderName, value: &'static str) {
    if !headers.contains_key(&name) {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

/// `None` if the handler is to answer, once the body is there.
fn pass(
    gate: &Gate,
    policy: &Policy,
    request: &Request,
    from: IpAddr,
    scarce: Option<Scarce>,
) -> Result<Option<HttpResponse>, Refusal> {
    let address = request.uri().path_and_query();
    if address.is_some_and(|it| it.as_str().len() > MAX_URI_LEN) {
        return Err(Refusal::LongAddress(MAX_URI_LEN));
    }
    let headers = request.head().headers().iter();
    let len: usize = headers
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum();
    if len > MAX_HEADERS_LEN {
        return Err(Refusal::LongHeaders(MAX_HEADERS_LEN));
    }
    // However often a client asks for other things, it hears how the service does.
    if !roles::is_health(request.path()) {
        let admitted = gate.access.admit(policy, from);
        admitted.map_err(|wait| Refusal::TooManyRequests { wait })?;
    }
    hosts::check(request.head(), policy)?;
    if let Some(answer) = origins::preflight(request.head(), policy) {
        return answer.map(Some);
    }
    let token = authorize(policy, request.head())?;
    origins::check(request.head(), policy, scarce)?;
    if !matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::OPTIONS
    ) {
        let caller = match (token, request.head().peer_addr) {
            (Some(name), _) => name.to_owned(),
            (None, Some(peer)) => peer.to_string(),
            (None, None) => "an unknown address".to_owned(),
        };
        request.extensions_mut().insert(Caller(caller));
    }
    Ok(None)
}

/// Reads the body of a request; what is refused stays unread.
async fn take_body(gate: &Gate, request: &mut Request) -> Result<(), Refusal> {
    if matches!(request.payload(), Payload::None) {
        return Ok(());
    }
    let timeout = gate.access.peek().config.request_timeout;
    let body = read(request.payload(), timeout).await?;
    *request.payload() = Payload::from(body);
    Ok(())
}

fn client(request: &RequestHead) -> IpAddr {
    let unknown = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    request.peer_addr.map_or(unknown, |peer| peer.ip())
}

/// Gives the name of the token, if one was needed.
fn authorize<'p>(policy: &'p Policy, request: &RequestHead) -> Result<Option<&'p str>, Refusal> {
    if policy.tokens.is_empty() {
        return Ok(None);
    }
    let needed = match roles::needs(&request.method, request.uri.path()) {
        Needs::Nothing => return Ok(None),
        Needs::Role(role) => role,
    };
    let Some(shown) = shown(request) else {
        return Err(Refusal::NoToken);
    };
    let Some(token) = policy.tokens.find(shown) else {
        return Err(Refusal::WrongToken);
    };
    if token.role < needed {
        return Err(Refusal::OtherRole {
            name: token.name.clone(),
            role: token.role,
            needed,
        });
    }
    Ok(Some(&token.name))
}

/// The token that the client shows. Of several headers the first one counts.
fn shown(request: &RequestHead) -> Option<&str> {
    if let Some(value) = request.headers().get(AUTHORIZATION) {
        let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
        return scheme.eq_ignore_ascii_case("bearer").then(|| token.trim());
    }
    let may_be_elsewhere = roles::is_test(request.uri.path()) && request.method == Method::GET;
    let value = request.headers().get(X_ACCESS_TOKEN)?;
    may_be_elsewhere.then(|| value.to_str().ok())?
}

/// The whole body, within its time.
async fn read(payload: &mut Payload, timeout: Duration) -> Result<Bytes, Refusal> {
    let whole = async {
        let mut body = BytesMut::new();
        while let Some(piece) = payload.next().await {
            let piece = piece.map_err(|_| Refusal::BrokenBody)?;
            if body.len() + piece.len() > MAX_BODY_LEN {
                return Err(Refusal::LongBody(MAX_BODY_LEN));
            }
            body.extend_from_slice(&piece);
        }
        Ok(body.freeze())
    };
    let read = tokio::time::timeout(timeout, whole).await;
    read.unwrap_or(Err(Refusal::SlowBody(timeout)))
}
