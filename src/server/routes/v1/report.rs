//! Roll calls of `/v1`: the whole answer at once ([`whole`]), or each device when it has answered.

use std::time::{Duration, SystemTime};

use actix_web::http::Method;
use actix_web::http::header;
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse};
use futures::StreamExt as _;
use serde::Serialize;

use super::query::{Form, Shown, Wanted};
use super::view::{CameView, DeviceView, EndView, LineView, ResultView, Slowest, WhichView};
use super::whole;
use crate::domain::{Outcome, Turn};
use crate::engine::collector::{Answer, AnswerStream};
use crate::server::error::Problem;
use crate::server::state::ServerState;

/// Devices of one piece of a stream at most.
const PIECE: usize = 256;

/// How often a stream that has nothing to say says so, for whoever is in between.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Answers a roll call in the form that the request prefers.
pub(super) async fn answer(
    http: &HttpRequest,
    state: &ServerState,
    wanted: Wanted,
) -> Result<HttpResponse, Problem> {
    let form = wanted.form;
    if form == Form::Events && is_reconnect(http) {
        return Ok(HttpResponse::NoContent().finish());
    }
    match form {
        Form::Json => whole::answer(http, state, wanted).await,
        Form::Lines | Form::Events => {
            let Wanted {
                start,
                request,
                shown,
                ..
            } = wanted;
            let stream = state.collector.stream_since(&request, start).await?;
            Ok(streamed(form, stream, shown))
        }
    }
}

/// Whether an `EventSource` comes back, which it does by itself when a stream has ended. A roll call
/// is over then, and 204 tells it to stay away (HTML, section 9.2.3).
fn is_reconnect(http: &HttpRequest) -> bool {
    let last = http.headers().get("Last-Event-ID");
    http.method() == Method::GET && last.is_some_and(|id| !id.is_empty())
}

/// These types have a JSON form, so nothing stands for what has none.
fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// What came of asking a device, by its place, and how a stream says so; `None` before that.
fn came(
    stream: &AnswerStream,
    (place, index): (usize, usize),
    now: SystemTime,
) -> Option<(&Outcome, LineView<'_>)> {
    let (outcome, observation) = stream.outcome(place, index)?;
    let cluster = &stream.topology().clusters()[place];
    let result = ResultView::new(outcome, observation, now);
    let (kind, id) = cluster.device(index);
    let came = LineView::Device(CameView {
        cluster_id: cluster.id(),
        device: DeviceView {
            device: WhichView::new(kind, id),
            result,
        },
    });
    Some((outcome, came))
}

/// In turns.
async fn end(answer: &Answer) -> EndView {
    let (mut slowest, mut turn) = (Slowest::default(), Turn::default());
    for (place, (_, outcomes)) in answer.collection().clusters().enumerate() {
        turn.spend(1).await;
        for (index, outcome) in outcomes.iter().enumerate() {
            turn.spend(1).await;
            let observation = answer.observation(place, index, outcome);
            slowest.look((place, index), observation.and_then(|it| it.took));
        }
    }
    EndView::new(answer, slowest)
}

/// The line of a stream that says what came of asking a device, by its place.
pub(crate) fn came_line(
    stream: &AnswerStream,
    place: (usize, usize),
    now: SystemTime,
) -> Option<String> {
    came(stream, place, now).map(|(_, came)| json(&came))
}

/// The last line of a stream.
pub(crate) async fn end_line(answer: &Answer) -> String {
    json(&LineView::End(end(answer).await))
}

/// Where a stream stands.
enum StreamStage {
    Running(AnswerStream),
    Over,
}

fn streamed(form: Form, stream: AnswerStream, shown: Shown) -> HttpResponse {
    // The id of all events of this stream; without data it is no event of its own. It comes at once,
    // so that a client which loses the connection early has it too.
    let first = match form {
        Form::Events => Some(Ok(Bytes::from(format!("id: {}\n\n", stream.id())))),
        Form::Lines | Form::Json => None,
    };
    let pieces = futures::stream::unfold(StreamStage::Running(stream), move |stage| async move {
        let StreamStage::Running(mut stream) = stage else {
            return None;
        };
        let mut text = String::new();
        loop {
            let come = tokio::time::timeout(KEEP_ALIVE, stream.next(PIECE)).await;
            let Ok(come) = come else {
                // A comment of an event stream; lines have none but empty ones.
                text.push_str(if form == Form::Events { ":\n\n" } else { "\n" });
                break;
            };
            if come.is_empty() {
                let end = match stream.finish().await {
                    Ok(answer) => entry(form, "summary", &LineView::End(end(&answer).await)),
                    Err(error) => entry(form, "error", &Problem::from(error)),
                };
                return Some((
                    Ok::<_, std::convert::Infallible>(Bytes::from(end)),
                    StreamStage::Over,
                ));
            }
            // However many have come, and however fast the client reads.
            tokio::task::yield_now().await;
            let now = SystemTime::now();
            for place in come {
                let Some((outcome, came)) = came(&stream, place, now) else {
                    continue;
                };
                if shown.has(outcome) {
                    text.push_str(&entry(form, "device", &came));
                }
            }
            if !text.is_empty() {
                break;
            }
        }
        Some((Ok(Bytes::from(text)), StreamStage::Running(stream)))
    });
    HttpResponse::Ok()
        .content_type(form.as_str())
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header((header::VARY, "Accept"))
        // Nobody in between is to gather what comes in pieces.
        .insert_header((header::CONTENT_ENCODING, "identity"))
        .insert_header(("X-Accel-Buffering", "no"))
        .streaming(futures::stream::iter(first).chain(pieces))
}

fn entry(form: Form, name: &str, value: &impl Serialize) -> String {
    let json = json(value);
    match form {
        Form::Events => format!("event: {name}\ndata: {json}\n\n"),
        Form::Lines | Form::Json => format!("{json}\n"),
    }
}
