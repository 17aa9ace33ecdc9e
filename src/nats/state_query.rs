//! What is known of a cluster where it is: a front's question.

use std::collections::HashMap;

use std::time::Duration;

use async_nats::StatusCode;

use tokio::time::{Instant, sleep, timeout};

use super::failure::Failure;

use super::front::{AGAIN, BYTES_OF_AN_ITEM, NOBODY, RemoteConnection, SILENCE};

use super::taken::LaterOwner;

use super::wire::{AnswerEnd, Chunk, ClusterRequest, Reserved, WirePlaces, WireStateQuery};

use crate::domain::{FORCED_EVERY, Hold, Turn};

use crate::engine::remote_state::{RemoteClusterState, StateQuery};

use crate::nats::wire::state::WireChildState;

/// Why the owner of a cluster does not answer a question.
enum Unanswered {
    /// No worker has the cluster now.
    Nobody,
    /// Another worker took it meanwhile.
    Taken,
    /// Something went wrong.
    Failed(Failure),
}

impl RemoteConnection {
    /// Asks the owner of a cluster what it knows; `None` if it does not say.
    pub(super) async fn look(&self, query: StateQuery) -> Option<RemoteClusterState> {
        let mut order = question(&query);
        order.look = Some(WireStateQuery { facts: query.facts });
        let mut child = WireChildState::default();
        let mut devices = HashMap::new();
        let asked = self.ask(&order, |chunk| {
            if let Some(said) = chunk.child {
                child = said;
            }
            for said in chunk.states {
                let place = said.place;
                if let Some((kind, id)) = query.device(place as usize) {
                    devices.insert(place, said.state(kind, id.clone()));
                }
            }
        });
        match asked.await {
            Ok(()) => Some(query.seen(child.state("cluster"), devices)),
            Err(
                why @ (Failure::Unreadable(_) | Failure::OtherForm { .. } | Failure::PieceLost),
            ) => {
                let cluster = query.cluster();
                if self.is_new(cluster, &why) {
                    log::warn!(cluster:%, why:%; "what the cluster's worker knows cannot be read");
                }
                None
            }
            Err(_) => None,
        }
    }

    /// Has the owner of a cluster reset a device; gives what it cleared, or why it did not.
    pub(super) async fn reset(&self, query: StateQuery, caller: &str) -> Result<Vec<Hold>, String> {
        let mut order = question(&query);
        order.reset = Some(caller.to_owned());
        let mut cleared: Option<Vec<Hold>> = None;
        let asked = self.ask(&order, |chunk| {
            if let Some(said) = &chunk.cleared {
                let known = |said| Hold::ALL.into_iter().find(|it| it.as_str() == said);
                cleared = Some(said.iter().filter_map(|said| known(&**said)).collect());
            }
        });
        asked.await.map_err(|why| why.to_string())?;
        let why = "the cluster's worker is of a release that cannot reset devices";
        cleared.ok_or_else(|| why.to_owned())
    }

    /// Has the owner of a cluster give the right to ask a device by force; gives whether something
    /// keeps it from being asked, or how long the right is another's. `None` if it does not say.
    pub(super) async fn reserve_force(&self, query: StateQuery) -> Option<Result<bool, Duration>> {
        let mut order = question(&query);
        order.reserve = true;
        let mut reserved = None;
        let asked = self.ask(&order, |chunk| reserved = chunk.reserved.or(reserved));
        asked.await.ok()?;
        Some(match reserved? {
            Reserved::Free => Ok(false),
            Reserved::Granted => Ok(true),
            Reserved::Refused(wait_us) => Err(Duration::from_micros(wait_us).min(FORCED_EVERY)),
        })
    }

    /// Asks the owner of a cluster, waiting a moment for one, and reads what it says to the end.
    async fn ask(
        &self,
        order: &ClusterRequest,
        mut read: impl FnMut(Chunk<'_>),
    ) -> Result<(), Failure> {
        let began = Instant::now();
        let mut taken = self.later_owner(&order.cluster);
        while self.connection.is_up() {
            match self.try_to_ask(order, &mut taken, &mut read).await {
                Ok(()) => return Ok(()),
                Err(Unanswered::Taken) => {}
                // Perhaps it moves.
                Err(Unanswered::Nobody) if began.elapsed() < NOBODY => sleep(AGAIN).await,
                Err(Unanswered::Nobody) => return Err(Failure::Nobody(order.cluster.clone())),
                Err(Unanswered::Failed(why)) => return Err(why),
            }
        }
        Err(Failure::Disconnected)
    }

    async fn try_to_ask(
        &self,
        order: &ClusterRequest,
        taken: &mut LaterOwner,
        read: &mut impl FnMut(Chunk<'_>),
    ) -> Result<(), Unanswered> {
        let client = &self.connection.client;
        let mut answers = self.state_queries.place();
        taken.begin();
        let sent = self.send(order, &answers, client).await;
        sent.map_err(|why| Unanswered::Failed(Failure::NotSent(why)))?;
        let mut reading = self.reading(&order.cluster);
        let (mut has_read, mut turn) = (false, Turn::default());
        loop {
            let message = tokio::select! {
                message = timeout(SILENCE, answers.messages.recv()) => message,
                () = taken.later_than(reading.fence()), if !has_read => {
                    return Err(Unanswered::Taken);
                }
            };
            let Ok(Some(message)) = message else { break };
            if message.status == Some(StatusCode::NO_RESPONDERS) {
                return Err(Unanswered::Nobody);
            }
            self.counts.piece_received();
            // However fast pieces come.
            turn.spend(message.payload.len() / BYTES_OF_AN_ITEM).await;
            let chunk = reading.read(&message).map_err(Unanswered::Failed)?;
            // Of an older lease.
            let Some(chunk) = chunk else { continue };
            let end = chunk.end;
            read(chunk);
            has_read = true;
            match end {
                None => {}
                Some(AnswerEnd::Complete) => return Ok(()),
                Some(AnswerEnd::NotHere | AnswerEnd::Moving) => return Err(Unanswered::Nobody),
                Some(end) => return Err(Unanswered::Failed(Failure::of(end))),
            }
            self.acknowledge(message).await;
        }
        if reading.has_skipped() && !has_read {
            self.forget_fence(&order.cluster);
        }
        Err(Unanswered::Failed(Failure::Silent))
    }
}

/// An order that has no device asked.
fn question(query: &StateQuery) -> ClusterRequest {
    let places = query.places.as_deref().map(WirePlaces::new);
    ClusterRequest::new(query.cluster().clone(), query.plan_id(), places)
}
