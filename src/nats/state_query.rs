//! What is known of a cluster where it is: a front's question, and a worker's answer.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_nats::StatusCode;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep, timeout};

use super::failure::Failure;
use super::front::{AGAIN, BYTES_OF_AN_ITEM, NOBODY, SILENCE, Shared};
use super::serving::{Sending, Unwanted};
use super::taken::LaterOwner;
use super::wire::{End, Look, Order, PIECE, Piece, Places, Reserved};
use crate::domain::{FORCED_EVERY, Hold, Turn};
use crate::engine::remote_state::{Inquiry, Known, Seen};
use crate::nats::wire::state::{ChildSaid, StateSaid};

/// How many looks are answered at once.
const LOOKS_AT_ONCE: usize = 16;

/// How many more may wait: one for each cluster, of several fronts.
const LOOKS_WAITING: usize = 65_536;

/// How many devices are looked at before others get their turn.
const DEVICES: usize = 512;

/// Why the owner of a cluster does not answer a question.
enum Unanswered {
    /// No worker has the cluster now.
    Nobody,
    /// Another worker took it meanwhile.
    Taken,
    /// Something went wrong.
    Failed(Failure),
}

impl Shared {
    /// Asks the owner of a cluster what it knows; `None` if it does not say.
    pub(super) async fn look(&self, inquiry: Inquiry) -> Option<Seen> {
        let mut order = question(&inquiry);
        order.look = Some(Look {
            facts: inquiry.facts,
        });
        let mut child = ChildSaid::default();
        let mut devices = HashMap::new();
        let asked = self.ask(&order, |piece| {
            if let Some(said) = piece.child {
                child = said;
            }
            for said in piece.states {
                let place = said.place;
                if let Some((kind, id)) = inquiry.device(place as usize) {
                    devices.insert(place, said.state(kind, id.clone()));
                }
            }
        });
        match asked.await {
            Ok(()) => Some(inquiry.seen(child.state("cluster"), devices)),
            Err(
                why @ (Failure::Unreadable(_) | Failure::OtherForm { .. } | Failure::PieceLost),
            ) => {
                let cluster = inquiry.cluster();
                if self.is_new(cluster, &why) {
                    log::warn!(cluster:%, why:%; "what the cluster's worker knows cannot be read");
                }
                None
            }
            Err(_) => None,
        }
    }

    /// Has the owner of a cluster reset a device; gives what it cleared, or why it did not.
    pub(super) async fn reset(&self, inquiry: Inquiry, caller: &str) -> Result<Vec<Hold>, String> {
        let mut order = question(&inquiry);
        order.reset = Some(caller.to_owned());
        let mut cleared: Option<Vec<Hold>> = None;
        let asked = self.ask(&order, |piece| {
            if let Some(said) = &piece.cleared {
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
    pub(super) async fn reserve_force(&self, inquiry: Inquiry) -> Option<Result<bool, Duration>> {
        let mut order = question(&inquiry);
        order.reserve = true;
        let mut reserved = None;
        let asked = self.ask(&order, |piece| reserved = piece.reserved.or(reserved));
        asked.await.ok()?;
        Some(match reserved? {
            Reserved::Free => Ok(false),
            Reserved::Granted => Ok(true),
            Reserved::Refused(wait_us) => Err(Duration::from_micros(wait_us).min(FORCED_EVERY)),
        })
    }

    /// Asks the owner of a cluster, waiting a moment for one, and reads what it says to the end.
    async fn ask(&self, order: &Order, mut read: impl FnMut(Piece<'_>)) -> Result<(), Failure> {
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
        order: &Order,
        taken: &mut LaterOwner,
        read: &mut impl FnMut(Piece<'_>),
    ) -> Result<(), Unanswered> {
        let client = &self.connection.client;
        let mut answers = self.looks.place();
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
            let piece = reading.read(&message).map_err(Unanswered::Failed)?;
            // Of an older lease.
            let Some(piece) = piece else { continue };
            let end = piece.end;
            read(piece);
            has_read = true;
            match end {
                None => {}
                Some(End::Complete) => return Ok(()),
                Some(End::NotHere | End::Moving) => return Err(Unanswered::Nobody),
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
fn question(inquiry: &Inquiry) -> Order {
    let places = inquiry.places.as_deref().map(Places::new);
    Order::new(inquiry.cluster().clone(), inquiry.plan_id(), places)
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
