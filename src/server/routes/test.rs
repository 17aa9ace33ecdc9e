//! `GET /test`: the contract of the three Python servers that fleetcall replaces.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use actix_http::Request;
use actix_web::HttpResponse;
use actix_web::body::MessageBody;
use actix_web::http::header::{self, ContentType, EntityTag, HeaderName, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::web::Bytes;
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use crate::access;
use crate::domain::{Summary, Topology};
use crate::engine::collector::{Answer, CollectRequest};
use crate::server::body::held::HeldBody;
use crate::server::body::listing::Listing;
use crate::server::body::stream::BegunBody;
use crate::server::contract_headers::camel_case;
use crate::server::error::ApiError;
use crate::server::state::ServerState;
use crate::server::tag::is_known;
use crate::server::view::{TestReport, report};

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// How many devices an answer has.
const RESOURCE_COUNT: HeaderName = HeaderName::from_static("x-resource-count");

/// Answers any request of this path.
pub(in crate::server) async fn answer(
    request: &Request,
    state: &ServerState,
    memory: &Memory,
) -> HttpResponse {
    match *request.method() {
        Method::GET => get(request, state, memory).await,
        Method::OPTIONS => camel_case(HttpResponse::Ok().finish()),
        _ => camel_case(method_not_allowed(request.method())),
    }
}

/// What is known of an answer once it is written.
#[derive(Debug)]
struct Written {
    status: StatusCode,
    etag: EntityTag,
    /// The same, as it stands in the head.
    etag_value: HeaderValue,
    devices: HeaderValue,
    /// How long its body is, in bytes.
    len: u64,
    /// The body, if it is in one piece and kept.
    body: Option<Bytes>,
}

impl Written {
    /// With the body, if others may be sent it.
    async fn new(body: &BegunBody<Listing<TestReport>>, summary: &Summary, keep: bool) -> Self {
        let (hash, len) = hash(body).await;
        // Whatever is not one piece is written again when it is sent.
        let whole = body.whole().filter(|_| keep).map(Bytes::copy_from_slice);
        let etag = EntityTag::new_strong(format!("{hash:032x}"));
        let etag_value = HeaderValue::try_from(format!("\"{}\"", etag.tag()));
        Self {
            status: if summary.failed() == 0 {
                StatusCode::OK
            } else {
                StatusCode::ACCEPTED
            },
            etag,
            // Hexadecimal digits in quotes are always one.
            etag_value: etag_value.unwrap_or(HeaderValue::from_static("")),
            devices: HeaderValue::from(summary.devices()),
            len,
            body: whole,
        }
    }
}

/// The newest answers that others may be sent as they are, so that they are written once.
#[derive(Debug, Default)]
pub(in crate::server) struct Memory {
    /// Of a collect that several requests share, by its number; for all threads.
    shared: Arc<Mutex<OfCollect>>,
    /// Of a collect in which every device answered and none told anything: which devices there are
    /// is all that it says. It keeps none of them in memory.
    plain: RefCell<Option<(Weak<Topology>, Arc<Written>)>>,
}

/// An answer by the number of its collect.
type OfCollect = Option<(u64, Arc<Written>)>;

impl Clone for Memory {
    /// The memory of another thread.
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            plain: RefCell::default(),
        }
    }
}

impl Memory {
    fn recall(&self, answer: &Answer) -> Option<Arc<Written>> {
        if answer.summary().is_plain() {
            let topology = Arc::as_ptr(answer.collection().topology());
            let plain = self.plain.borrow();
            let (_, written) = plain.as_ref().filter(|(of, _)| of.as_ptr() == topology)?;
            return Some(Arc::clone(written));
        }
        if !answer.is_shared {
            return None;
        }
        let shared = self.shared();
        let (_, written) = shared.as_ref().filter(|(id, _)| *id == answer.id)?;
        Some(Arc::clone(written))
    }

    fn learn(&self, answer: &Answer, written: &Arc<Written>) {
        if answer.summary().is_plain() {
            let topology = Arc::downgrade(answer.collection().topology());
            *self.plain.borrow_mut() = Some((topology, Arc::clone(written)));
        } else if answer.is_shared && written.body.is_some() {
            *self.shared() = Some((answer.id, Arc::clone(written)));
        }
    }

    fn shared(&self) -> MutexGuard<'_, OfCollect> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn get(request: &Request, state: &ServerState, memory: &Memory) -> HttpResponse {
    let asked = CollectRequest {
        client: request.peer_addr().map(|peer| access::client(peer.ip())),
        ..CollectRequest::default()
    };
    let (answer, place) = match state.collector.request(&asked).await {
        Ok(answer) => answer,
        Err(error) => return camel_case(ApiError(error).response(state.debug)),
    };
    let known = memory.recall(&answer);
    if let Some(written) = &known
        && let Some(body) = &written.body
    {
        return respond(request, written, HeldBody::new(body.clone(), place));
    }
    let summary = answer.summary();
    let body = BegunBody::new(report(answer.collection().clone(), summary), state.debug);
    let written = match known {
        Some(written) => written,
        None => {
            let keep = answer.is_shared || summary.is_plain();
            let written = Arc::new(Written::new(&body, summary, keep).await);
            memory.learn(&answer, &written);
            written
        }
    };
    // It ends here: while it is sent nothing keeps clusters that a reload has removed.
    drop(answer);
    respond(request, &written, body.into_body(written.len, place))
}

fn respond(request: &Request, written: &Written, body: impl MessageBody + 'static) -> HttpResponse {
    let known = is_known(request, &written.etag);
    let mut response = if known {
        HttpResponse::new(StatusCode::NOT_MODIFIED)
    } else {
        HttpResponse::with_body(written.status, body).map_into_boxed_body()
    };
    let headers = response.headers_mut();
    headers.insert(header::ETAG, written.etag_value.clone());
    headers.insert(RESOURCE_COUNT, written.devices.clone());
    if !known {
        headers.insert(header::CONTENT_TYPE, JSON);
    }
    camel_case(response)
}

/// The hash of a body, and its length; both are the same however it is sent.
async fn hash(body: &BegunBody<Listing<TestReport>>) -> (u128, u64) {
    if let Some(whole) = body.whole() {
        return (xxh3_128(whole), body.measure(|_| {}).await);
    }
    let mut hash = Box::new(Xxh3::new());
    let len = body.measure(|piece| hash.update(piece)).await;
    (hash.digest128(), len)
}

fn method_not_allowed(method: &Method) -> HttpResponse {
    HttpResponse::MethodNotAllowed()
        .insert_header((header::ALLOW, "GET, OPTIONS"))
        .content_type(ContentType::plaintext())
        .body(format!(
            "{method} is not defined on /test; GET and OPTIONS are\n"
        ))
}
