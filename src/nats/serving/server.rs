//! Reads an order, does what it says, and ends its answer.

use std::sync::Arc;

use async_nats::{Client, Message};
use tokio::time::{Instant, timeout};

use super::sending::{LOOK_PATIENCE, Sending, Unwanted};
use super::state::StateQueryLimit;
use crate::engine::collector::{
    ClusterPartError, ClusterPartRequest, ClusterPartStream, CollectError, CollectorHandle,
};
use crate::engine::remote_state::LocalCluster;
use crate::nats::counts::Counts;
use crate::nats::lease::session::LeaseSession;
use crate::nats::rare_log::RareLog;
use crate::nats::reply_subscription::Inbox;
use crate::nats::wire::{
    AnswerEnd, Chunk, ClusterRequest, MOST_PLACES, Names, OLDEST_SCHEMA, Reserved, VERSION, micros,
};

/// What answering takes.
#[derive(Debug)]
pub(in crate::nats) struct RequestServer {
    pub(in crate::nats) client: Client,
    pub(in crate::nats) inbox: Inbox,
    pub(in crate::nats) names: Names,
    pub(in crate::nats) collector: CollectorHandle,
    /// The newest form of pieces that it writes.
    pub(in crate::nats) schema: u32,
    pub(in crate::nats) state_queries: StateQueryLimit,
    pub(in crate::nats) counts: Arc<Counts>,
    pub(in crate::nats) unreadable: RareLog,
    pub(in crate::nats) unsent: RareLog,
    pub(in crate::nats) unanswerable: RareLog,
}

impl RequestServer {
    /// Answers an order for a cluster that is held by `session`.
    pub(in crate::nats) async fn answer(&self, order: &Message, session: &Arc<LeaseSession>) {
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
    pub(in crate::nats) fn is_answerable(&self, subject: &str, reply: &str) -> bool {
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
