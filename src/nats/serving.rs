//! A worker's side of an order: asks the devices, and sends what they say in pieces.

use std::sync::Arc;

use std::time::Duration;

use async_nats::{Client, Message, Subject};

use tokio::time::{Instant, timeout};

use super::rare_log::RareLog;

use super::counts::Counts;

use super::wire::{
    ACK, AnswerEnd, CHUNK_LEN, Chunk, ClusterRequest, HEARTBEAT, LONGEST, MOST_PLACES, Names,
    OLDEST_SCHEMA, Reserved, VERSION, WINDOW, WireOutcome, micros,
};

use crate::engine::collector::{
    ClusterPartError, ClusterPartRequest, ClusterPartStream, CollectError, CollectorHandle,
};

use crate::engine::remote_state::LocalCluster;

use crate::nats::lease::session::{LeaseSession, RequestUnderWay};

use crate::nats::reply_subscription;

use crate::nats::reply_subscription::Inbox;

use crate::nats::state_query::StateQueryLimit;

use crate::nats::wire::plain::PlainRows;

/// How long an owner waits for the first outcomes before it says that it is there.
const FIRST: Duration = Duration::from_millis(20);

/// How long a front may take to read the pieces that are on their way.
const PATIENCE: Duration = Duration::from_secs(10);

/// The same for what is known: a front waits no longer for it.
const LOOK_PATIENCE: Duration = Duration::from_secs(2);

/// How many outcomes are looked at before others get their turn.
const OUTCOMES: usize = 512;

/// What answering takes.
#[derive(Debug)]
pub(super) struct RequestServer {
    pub(super) client: Client,
    pub(super) inbox: Inbox,
    pub(super) names: Names,
    pub(super) collector: CollectorHandle,
    /// The newest form of pieces that it writes.
    pub(super) schema: u32,
    pub(super) state_queries: StateQueryLimit,
    pub(super) counts: Arc<Counts>,
    pub(super) unreadable: RareLog,
    pub(super) unsent: RareLog,
    pub(super) unanswerable: RareLog,
}

/// An answer on its way to a front.
pub(super) struct Sending<'a> {
    client: &'a Client,
    counts: &'a Counts,
    unsent: &'a RareLog,
    /// Whether nobody is asked for it.
    is_look: bool,
    /// Counts it until it is sent, if somebody is.
    counted: Option<RequestUnderWay<'a>>,
    front: Subject,
    fence: u64,
    /// The form of the pieces.
    schema: u32,
    acks: reply_subscription::ReplySubscription,
    /// Pieces sent, and how many of them were read.
    sent: usize,
    read: usize,
}

/// The front is gone, or does not want the rest.
pub(super) struct Unwanted;

impl RequestServer {
    /// Answers an order for a cluster that is held by `session`.
    pub(super) async fn answer(&self, order: &Message, session: &Arc<LeaseSession>) {
        let Some(front) = order.reply.clone() else {
            return;
        };
        if !self.is_answerable(&order.subject, &front) {
            return;
        }
        let mut sending = Sending {
            client: &self.client,
            counts: &self.counts,
            unsent: &self.unsent,
            is_look: false,
            counted: None,
            front,
            fence: session.fence,
            schema: OLDEST_SCHEMA,
            acks: self.inbox.place(),
            sent: 0,
            read: 0,
        };
        let end = match self.follow(order, session, &mut sending).await {
            Ok(end) => {
                let last = Chunk {
                    end: Some(end),
                    ..Chunk::default()
                };
                sending.chunk(last).await.map(|()| end)
            }
            Err(unwanted) => Err(unwanted),
        };
        // Whoever does not want it does not miss it.
        self.counts.answered(sending.is_look, end.ok());
    }

    /// Whether what came on a subject may be answered there; counts what may not.
    pub(super) fn is_answerable(&self, subject: &str, reply: &str) -> bool {
        let is_answerable = self.names.is_answerable(reply);
        if !is_answerable {
            self.counts.misdirected();
            if self.unanswerable.is_due() {
                log::warn!(subject, reply:?; "a message is to be answered where no process may");
            }
        }
        is_answerable
    }

    async fn follow<'a>(
        &self,
        order: &Message,
        session: &'a LeaseSession,
        sending: &mut Sending<'a>,
    ) -> Result<AnswerEnd, Unwanted> {
        let mut order = match self.read(order, session) {
            Ok(order) => order,
            Err(end) => return Ok(end),
        };
        sending.schema = order.speaks.unwrap_or(OLDEST_SCHEMA);
        sending.schema = sending.schema.clamp(OLDEST_SCHEMA, self.schema);
        if let Some(look) = order.look.take() {
            sending.is_look = true;
            let entered = timeout(LOOK_PATIENCE, self.state_queries.enter()).await;
            let Ok(Some(_place)) = entered else {
                return Ok(AnswerEnd::Overloaded);
            };
            let Some(known) = self.collector.known(&order.cluster, order.plan) else {
                return Ok(AnswerEnd::OtherPlan);
            };
            let all = u32::try_from(known.devices()).unwrap_or(u32::MAX);
            let places = match order.places.as_ref().map(|it| it.read(all)) {
                None => (0..all).collect(),
                Some(Some(places)) => places,
                Some(None) => return Ok(AnswerEnd::OtherPlan),
            };
            sending.states(&known, &places, look).await?;
            return Ok(AnswerEnd::Complete);
        }
        if let Some(caller) = &order.reset {
            sending.is_look = true;
            return self.reset(&order, caller, sending).await;
        }
        if order.reserve {
            sending.is_look = true;
            return self.reserve(&order, sending).await;
        }
        sending.counted = Some(session.collecting());
        let places = match order.places.as_ref().map(|it| it.read(MOST_PLACES)) {
            None => None,
            Some(Some(places)) => Some(places),
            Some(None) => return Ok(AnswerEnd::OtherPlan),
        };
        let mut part = match self.begin(order, places, session).await {
            Ok(part) => part,
            Err(end) => return Ok(end),
        };
        tokio::select! {
            sent = sending.outcomes(&mut part) => sent?,
            // What runs on a thread that is stuck says nothing more.
            () = session.over() => return Ok(AnswerEnd::NotHere),
        }
        part.finish().await;
        Ok(AnswerEnd::Complete)
    }

    /// Resets the only device that is meant.
    async fn reset(
        &self,
        order: &ClusterRequest,
        caller: &str,
        sending: &mut Sending<'_>,
    ) -> Result<AnswerEnd, Unwanted> {
        let Some((known, place)) = self.device(order) else {
            return Ok(AnswerEnd::OtherPlan);
        };
        let Some((device, cleared)) = known.reset(place) else {
            return Ok(AnswerEnd::OtherPlan);
        };
        let cluster = &order.cluster;
        let count = cleared.len();
        log::info!(cluster:%, device:%, by:% = caller, cleared = count; "device reset for a front");
        let cleared = cleared.into_iter().map(|it| it.as_str().into()).collect();
        let chunk = Chunk {
            cleared: Some(cleared),
            ..Chunk::default()
        };
        sending.chunk(chunk).await.map(|()| AnswerEnd::Complete)
    }

    /// Reserves the right to ask the only device that is meant by force.
    async fn reserve(
        &self,
        order: &ClusterRequest,
        sending: &mut Sending<'_>,
    ) -> Result<AnswerEnd, Unwanted> {
        let Some((known, place)) = self.device(order) else {
            return Ok(AnswerEnd::OtherPlan);
        };
        let Some(reserved) = known.reserve_force(place) else {
            return Ok(AnswerEnd::OtherPlan);
        };
        let reserved = match reserved {
            Ok(false) => Reserved::Free,
            Ok(true) => Reserved::Granted,
            Err(wait) => Reserved::Refused(micros(wait)),
        };
        let chunk = Chunk {
            reserved: Some(reserved),
            ..Chunk::default()
        };
        sending.chunk(chunk).await.map(|()| AnswerEnd::Complete)
    }

    /// The cluster of an order, and its only place.
    fn device(&self, order: &ClusterRequest) -> Option<(LocalCluster, usize)> {
        let known = self.collector.known(&order.cluster, order.plan)?;
        let places = order.places.as_ref()?.read(MOST_PLACES)?;
        match places[..] {
            [place] => Some((known, place as usize)),
            _ => None,
        }
    }

    fn read(&self, order: &Message, session: &LeaseSession) -> Result<ClusterRequest, AnswerEnd> {
        // Also when the next owner is to begin already.
        if session.is_moving() {
            return Err(AnswerEnd::Moving);
        }
        // A process that was stopped for a while wakes up with orders in its hands.
        if !session.is_valid(Instant::now()) {
            return Err(AnswerEnd::NotHere);
        }
        let subject = order.subject.as_str();
        let order: ClusterRequest = serde_json::from_slice(&order.payload).map_err(|error| {
            if self.unreadable.is_due() {
                log::warn!(error:%; "an order cannot be read");
            }
            AnswerEnd::OtherPlan
        })?;
        if order.version != VERSION || self.names.orders(&order.cluster) != *subject {
            return Err(AnswerEnd::OtherPlan);
        }
        Ok(order)
    }

    async fn begin(
        &self,
        order: ClusterRequest,
        places: Option<Vec<u32>>,
        session: &LeaseSession,
    ) -> Result<ClusterPartStream, AnswerEnd> {
        let request = ClusterPartRequest {
            deadline: order.deadline(),
            elapsed: order.elapsed(),
            max_age: order.max_age(),
            force: order.force,
            cluster: order.cluster,
            plan_id: order.plan,
            places,
        };
        // This order is one of them.
        let others = session.under_way().saturating_sub(1);
        let part = self.collector.part(request, others).await;
        part.map_err(|error| match error {
            ClusterPartError::NotHere => AnswerEnd::NotHere,
            ClusterPartError::OtherPlan | ClusterPartError::Refused(CollectError::Scope(_)) => {
                AnswerEnd::OtherPlan
            }
            ClusterPartError::Refused(CollectError::Overloaded { .. }) => AnswerEnd::Overloaded,
            ClusterPartError::Refused(CollectError::ShuttingDown) => AnswerEnd::ShuttingDown,
        })
    }
}

impl Sending<'_> {
    /// Sends every outcome as it comes.
    async fn outcomes(&mut self, part: &mut ClusterPartStream) -> Result<(), Unwanted> {
        let mut wait = FIRST;
        let mut waits = true;
        while waits {
            let come = tokio::select! {
                come = timeout(wait, part.next(OUTCOMES)) => come,
                ack = self.acks.messages.recv() => {
                    self.note(ack)?;
                    continue;
                }
            };
            wait = HEARTBEAT;
            let come = come.ok();
            waits = come.as_ref().is_none_or(|it| !it.is_empty());
            if !waits {
                break;
            }
            let mut said = Vec::new();
            let mut len = 0;
            let mut plain = PlainRows::default();
            for device in come.into_iter().flatten() {
                let (place, outcome, observation) = part.outcome(device);
                if self.schema > OLDEST_SCHEMA && plain.take(place, outcome, observation) {
                    continue;
                }
                let mut next = WireOutcome::new(place, outcome, observation);
                if next.len() > LONGEST {
                    next = WireOutcome::too_large(place);
                }
                if len + next.len() > CHUNK_LEN && !said.is_empty() {
                    let outcomes = std::mem::take(&mut said);
                    self.chunk(Chunk {
                        outcomes,
                        ..Chunk::default()
                    })
                    .await?;
                    len = 0;
                }
                len += next.len();
                said.push(next);
            }
            self.chunk(Chunk {
                outcomes: said,
                plain: plain.columns(),
                ..Chunk::default()
            })
            .await?;
        }
        Ok(())
    }

    /// Sends a piece, when the front has read enough of those before.
    pub(super) async fn chunk(&mut self, chunk: Chunk<'_>) -> Result<(), Unwanted> {
        while let Ok(ack) = self.acks.messages.try_recv() {
            self.note(Some(ack))?;
        }
        while self.sent - self.read >= WINDOW {
            let patience = if self.is_look {
                LOOK_PATIENCE
            } else {
                PATIENCE
            };
            let ack = timeout(patience, self.acks.messages.recv()).await;
            self.note(ack.unwrap_or_default())?;
        }
        let chunk = Chunk {
            version: self.schema,
            fence: self.fence,
            number: u64::try_from(self.sent).unwrap_or(u64::MAX),
            ..chunk
        };
        let json = serde_json::to_vec(&chunk).map_err(|_| Unwanted)?;
        // Each is acknowledged at a subject of its own, since servers let a front answer there once. The
        // last one need not be.
        let acks = format!("{}.{}", self.acks.subject, self.sent);
        self.sent += 1;
        let (client, front) = (self.client, self.front.clone());
        let sent = async {
            match chunk.end {
                None => client.publish_with_reply(front, acks, json.into()).await,
                Some(_) => client.publish(front, json.into()).await,
            }
        };
        match timeout(PATIENCE, sent).await {
            Ok(Ok(())) => {
                self.counts.piece_sent();
                Ok(())
            }
            Ok(Err(error)) => {
                if self.unsent.is_due() {
                    log::warn!(error:%; "an answer cannot be sent");
                }
                Err(Unwanted)
            }
            // Its connection is stuck, and so is everything that is said by it.
            Err(_) => Err(Unwanted),
        }
    }

    /// Takes note of what the front says; `None` is that it says nothing any more.
    fn note(&mut self, message: Option<Message>) -> Result<(), Unwanted> {
        match message {
            Some(message) if *message.payload == *ACK.as_bytes() && self.read < self.sent => {
                self.read += 1;
                Ok(())
            }
            _ => Err(Unwanted),
        }
    }
}
