//! What is known of a cluster where it is: a front's question, and a worker's answer.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep, timeout};

use super::failure::Failure;
use super::front::{AGAIN, NOBODY, SILENCE, Shared};
use super::known::{ChildSaid, StateSaid};
use super::serving::{ACK, Sending, Unwanted};
use super::wire::{End, Look, Order, PIECE, Piece, Places};
use crate::actors::sight::{Inquiry, Known, Seen};
use crate::domain::Hold;

/// How many looks are answered at once.
const LOOKS_AT_ONCE: usize = 16;

/// How many more may wait: one for each cluster, of several fronts.
const LOOKS_WAITING: usize = 65_536;

/// How many devices are looked at before others get their turn.
const DEVICES: usize = 512;

impl Shared {
    /// Asks the owner of a cluster what it knows; `None` if it does not say.
    pub(super) async fn look(&self, inquiry: Inquiry) -> Option<Seen> {
        let began = Instant::now();
        while self.connection.is_up() {
            match self.try_to_look(&inquiry).await {
                Ok(seen) => return seen,
                // Perhaps it moves.
                Err(()) if began.elapsed() < NOBODY => sleep(AGAIN).await,
                Err(()) => break,
            }
        }
        None
    }

    /// Has the owner of a cluster reset a device; gives what it cleared, or why it did not.
    pub(super) async fn reset(&self, inquiry: Inquiry, caller: &str) -> Result<Vec<Hold>, String> {
        let began = Instant::now();
        while self.connection.is_up() {
            match self.try_to_reset(&inquiry, caller).await {
                Ok(done) => return done,
                // Perhaps it moves.
                Err(()) if began.elapsed() < NOBODY => sleep(AGAIN).await,
                Err(()) => return Err(Failure::Nobody(inquiry.cluster().clone()).to_string()),
            }
        }
        Err(Failure::Disconnected.to_string())
    }

    /// An error if nobody has the cluster now.
    async fn try_to_reset(
        &self,
        inquiry: &Inquiry,
        caller: &str,
    ) -> Result<Result<Vec<Hold>, String>, ()> {
        let client = &self.connection.client;
        let mut answers = self.looks.place();
        let places = inquiry.places.as_deref().map(Places::new);
        let mut order = Order::new(inquiry.cluster().clone(), inquiry.plan_id(), places);
        order.reset = Some(caller.to_owned());
        if let Err(why) = self.send(&order, &answers, client).await {
            return Ok(Err(Failure::NotSent(why).to_string()));
        }
        let mut reading = self.reading(inquiry.cluster());
        let mut cleared: Option<Vec<Hold>> = None;
        while let Ok(Some(message)) = timeout(SILENCE, answers.messages.recv()).await {
            if message.status == Some(async_nats::StatusCode::NO_RESPONDERS) {
                return Err(());
            }
            self.counts.piece_received();
            let piece = match reading.read(&message) {
                Ok(Some(piece)) => piece,
                // Of an older lease.
                Ok(None) => continue,
                Err(why) => return Ok(Err(why.to_string())),
            };
            if let Some(said) = &piece.cleared {
                let known = |said| Hold::ALL.into_iter().find(|it| it.as_str() == said);
                cleared = Some(said.iter().filter_map(|said| known(&**said)).collect());
            }
            match piece.end {
                None => {}
                Some(End::Complete) => {
                    let why = "the cluster's worker is of a release that cannot reset devices";
                    return Ok(cleared.ok_or_else(|| why.to_owned()));
                }
                Some(End::NotHere | End::Moving) => return Err(()),
                Some(end) => return Ok(Err(Failure::of(end).to_string())),
            }
            if let Some(reply) = message.reply {
                // If it is lost the connection is, and then the owner is silent.
                let read = client.publish(reply, ACK.into());
                timeout(SILENCE, read).await.ok();
            }
        }
        Ok(Err(Failure::Silent.to_string()))
    }

    /// An error if nobody has the cluster now.
    async fn try_to_look(&self, inquiry: &Inquiry) -> Result<Option<Seen>, ()> {
        let client = &self.connection.client;
        let mut answers = self.looks.place();
        let places = inquiry.places.as_deref().map(Places::new);
        let mut order = Order::new(inquiry.cluster().clone(), inquiry.plan_id(), places);
        order.look = Some(Look {
            facts: inquiry.facts,
        });
        if self.send(&order, &answers, client).await.is_err() {
            return Ok(None);
        }
        let mut reading = self.reading(inquiry.cluster());
        let mut child = ChildSaid::default();
        let mut devices = HashMap::new();
        while let Ok(Some(message)) = timeout(SILENCE, answers.messages.recv()).await {
            if message.status == Some(async_nats::StatusCode::NO_RESPONDERS) {
                return Err(());
            }
            self.counts.piece_received();
            let piece = match reading.read(&message) {
                Ok(Some(piece)) => piece,
                // Of an older lease.
                Ok(None) => continue,
                Err(why) => {
                    let cluster = inquiry.cluster();
                    if self.is_new(cluster, &why) {
                        log::warn!(cluster:%, why:%; "what the cluster's worker knows cannot be read");
                    }
                    return Ok(None);
                }
            };
            if let Some(said) = piece.child {
                child = said;
            }
            for said in piece.states {
                let place = said.place;
                if let Some(id) = inquiry.device(place as usize) {
                    devices.insert(place, said.state(id.clone()));
                }
            }
            match piece.end {
                None => {}
                Some(End::Complete) => return Ok(Some(inquiry.seen(child.state(), devices))),
                Some(End::NotHere | End::Moving) => return Err(()),
                Some(End::OtherPlan | End::Overloaded | End::ShuttingDown) => return Ok(None),
            }
            if let Some(reply) = message.reply {
                // If it is lost the connection is, and then the owner is silent.
                let read = client.publish(reply, ACK.into());
                timeout(SILENCE, read).await.ok();
            }
        }
        if reading.has_skipped() && devices.is_empty() {
            self.forget_fence(inquiry.cluster());
        }
        Ok(None)
    }
}

/// Bounds what a worker says of what it knows, whoever asks.
#[derive(Debug)]
pub(super) struct Looks {
    at_once: Semaphore,
    waiting: AtomicUsize,
}

impl Default for Looks {
    fn default() -> Self {
        Self {
            at_once: Semaphore::new(LOOKS_AT_ONCE),
            waiting: AtomicUsize::new(0),
        }
    }
}

impl Looks {
    /// Waits for a place; `None` if too many do.
    pub(super) async fn enter(&self) -> Option<SemaphorePermit<'_>> {
        /// Also when whoever waits is dropped.
        struct Waits<'a>(&'a AtomicUsize);
        impl Drop for Waits<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::Relaxed);
            }
        }
        let waiting = self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waits = Waits(&self.waiting);
        if waiting >= LOOKS_WAITING {
            return None;
        }
        self.at_once.acquire().await.ok()
    }
}

impl Sending<'_> {
    /// Sends what is known of the devices at these places.
    pub(super) async fn states(
        &mut self,
        known: &Known,
        places: &[u32],
        look: Look,
    ) -> Result<(), Unwanted> {
        let mut child = Some(ChildSaid::new(&known.child()));
        for places in places.chunks(DEVICES) {
            let states: Vec<_> = places
                .iter()
                .filter_map(|&place| Some((place, known.state(place as usize)?)))
                .collect();
            let mut said = Vec::new();
            let mut len = 0;
            for (place, state) in &states {
                let Some(next) = StateSaid::new(*place, state, look.facts) else {
                    continue;
                };
                if len + next.len() > PIECE && !said.is_empty() {
                    let states = std::mem::take(&mut said);
                    self.piece(Piece {
                        child: child.take(),
                        states,
                        ..Piece::default()
                    })
                    .await?;
                    len = 0;
                }
                len += next.len();
                said.push(next);
            }
            if !said.is_empty() {
                self.piece(Piece {
                    child: child.take(),
                    states: said,
                    ..Piece::default()
                })
                .await?;
            }
            tokio::task::yield_now().await;
        }
        if child.is_some() {
            self.piece(Piece {
                child,
                ..Piece::default()
            })
            .await?;
        }
        Ok(())
    }
}
