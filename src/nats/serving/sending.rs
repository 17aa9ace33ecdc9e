//! An answer on its way to a front, piece by piece.

use std::time::Duration;

use async_nats::{Client, Message, Subject};
use tokio::time::timeout;

use crate::engine::collector::ClusterPartStream;
use crate::nats::counts::Counts;
use crate::nats::lease::session::RequestUnderWay;
use crate::nats::rare_log::RareLog;
use crate::nats::reply_subscription::ReplySubscription;
use crate::nats::wire::plain::PlainRows;
use crate::nats::wire::{
    ACK, CHUNK_LEN, Chunk, HEARTBEAT, LONGEST, OLDEST_SCHEMA, WINDOW, WireOutcome,
};

/// How long an owner waits for the first outcomes before it says that it is there.
const FIRST: Duration = Duration::from_millis(20);

/// How long a front may take to read the pieces that are on their way.
const PATIENCE: Duration = Duration::from_secs(10);

/// The same for what is known: a front waits no longer for it.
pub(super) const LOOK_PATIENCE: Duration = Duration::from_secs(2);

/// How many outcomes are looked at before others get their turn.
const OUTCOMES: usize = 512;

/// An answer on its way to a front.
pub(super) struct Sending<'a> {
    pub(super) client: &'a Client,
    pub(super) counts: &'a Counts,
    pub(super) unsent: &'a RareLog,
    /// Whether nobody is asked for it.
    pub(super) is_look: bool,
    /// Counts it until it is sent, if somebody is.
    pub(super) counted: Option<RequestUnderWay<'a>>,
    pub(super) front: Subject,
    pub(super) fence: u64,
    /// The form of the pieces.
    pub(super) schema: u32,
    pub(super) acks: ReplySubscription,
    /// Pieces sent, and how many of them were read.
    pub(super) sent: usize,
    pub(super) read: usize,
}

/// The front is gone, or does not want the rest.
pub(super) struct Unwanted;

impl Sending<'_> {
    /// Sends every outcome as it comes.
    pub(super) async fn outcomes(&mut self, part: &mut ClusterPartStream) -> Result<(), Unwanted> {
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
