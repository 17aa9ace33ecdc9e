//! A roll call as one JSON text, as [`super::view::ReportView`] describes it.

use std::hash::Hash as _;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use actix_web::{HttpRequest, HttpResponse};
use serde_json::value::RawValue;
use xxhash_rust::xxh3::Xxh3;

use super::query::{Form, Shown, Wanted};
use super::view::{DeviceView, EndView, ResultView, Slowest, WhichView};
use crate::domain::{Outcome, Turn};
use crate::engine::collector::{Answer, Observation};
use crate::server::body::listing::{self, Listed, Listing, append};
use crate::server::body::stream::BegunBody;
use crate::server::error::Problem;
use crate::server::state::ServerState;
use crate::server::tag::tagged;

/// So many bytes of facts are hashed in the time of one item of work.
const BYTES_OF_AN_ITEM: usize = 1024;

/// Makes a roll call, and answers when it is over.
pub(super) async fn answer(
    http: &HttpRequest,
    state: &ServerState,
    wanted: Wanted,
) -> Result<HttpResponse, Problem> {
    let Wanted {
        start,
        request,
        shown,
        strict,
        ..
    } = wanted;
    let (answer, place) = state.collector.request_since(&request, start).await?;
    let failed = answer.summary().failed();
    let (form, mark) = Report::new(&answer, shown).await;
    // The answer ends here: while it is sent nothing keeps clusters that a reload has removed.
    let listing = Listing::new(answer.collection().clone(), form);
    drop(answer);
    let body = BegunBody::new(listing, state.debug);
    let len = body.measure(|_| {}).await;
    if strict && failed > 0 {
        return Ok(HttpResponse::ServiceUnavailable()
            .content_type(Form::Json.as_str())
            .body(body.into_body(len, place)));
    }
    Ok(tagged(http, mark, |response| {
        response.body(body.into_body(len, place))
    }))
}

/// What a report says beside the outcomes. It does not change while the report is sent, whereas its
/// devices may have been asked again by then.
#[derive(Debug, Clone)]
struct Report {
    end: Arc<EndView>,
    /// How each device came by its outcome, by its place.
    observations: Arc<[Box<[Option<Observation>]>]>,
    shown: Shown,
    /// When all that is.
    now: SystemTime,
}

impl Report {
    /// Looks at every device; also gives a mark of what is said of them, without how old that is.
    async fn new(answer: &Answer, shown: Shown) -> (Self, u128) {
        let now = SystemTime::now();
        let mut mark = Box::new(Xxh3::new());
        // Also what is counted and not shown.
        for (kind, count) in answer.summary().by_kind() {
            mark.update(format!("{kind}={count} ").as_bytes());
        }
        let mut slowest = Slowest::default();
        let mut clusters = Vec::with_capacity(answer.collection().clusters().len());
        let mut turn = Turn::default();
        for (place, (cluster, outcomes)) in answer.collection().clusters().enumerate() {
            turn.spend(1).await;
            cluster.id().hash(&mut *mark);
            let mut observations = Vec::with_capacity(cluster.len());
            for (index, outcome) in outcomes.iter().enumerate() {
                turn.spend(4).await;
                let observation = answer.observation(place, index, outcome);
                slowest.look((place, index), observation.and_then(|it| it.took));
                if shown.has(outcome) {
                    cluster.device(index).hash(&mut *mark);
                    let len = add(&mut mark, outcome, observation);
                    turn.spend(len / BYTES_OF_AN_ITEM).await;
                }
                observations.push(observation);
            }
            clusters.push(observations.into());
        }
        let report = Self {
            end: Arc::new(EndView::new(answer, slowest)),
            observations: clusters.into(),
            shown,
            now,
        };
        (report, mark.digest128())
    }
}

/// Adds what is said of an outcome, but for its age, to a hash; gives how many bytes that are.
fn add(mark: &mut Xxh3, outcome: &Outcome, observation: Option<Observation>) -> usize {
    let (kind, text) = match outcome {
        Ok(facts) => ("ok", facts.json().map_or("", RawValue::get)),
        Err(fault) => (fault.kind().as_str(), fault.message()),
    };
    // What no lookup gave was observed only now, so that its time says nothing.
    let lookup = observation.filter(|it| it.took.is_some());
    let at = lookup.and_then(|it| it.at.duration_since(UNIX_EPOCH).ok());
    (kind, at, text).hash(mark);
    text.len()
}

impl listing::Form for Report {
    fn head(&self, text: &mut Vec<u8>) {
        append(text, &*self.end);
        // The object goes on.
        text.pop();
        text.extend_from_slice(b",\"clusters\":[");
    }

    fn shows(&self, outcome: &Outcome) -> bool {
        self.shown.has(outcome)
    }

    fn device(&self, text: &mut Vec<u8>, device: &Listed<'_>) {
        let (cluster, index) = device.place;
        let observation = self.observations[cluster][index];
        let view = DeviceView {
            device: WhichView::new(device.kind, device.id),
            result: ResultView::new(device.outcome, observation, self.now),
        };
        append(text, &view);
    }
}
