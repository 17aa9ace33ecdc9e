//! One agent, asked again and again during a lookup: sends again what is lost, and lets pass what
//! is no answer.
//!
//! It does not know what is asked. There is no limit on how often it sends: whoever drops the
//! lookup is the timeout. Entry point: [`SnmpSession::request`].

use std::time::Duration;

use tokio::time::Instant;

use super::message::{self, Ask, SnmpAnswer, protocol};
use super::transport::Transport;
use super::usm::{Received, User, UsmEngine, UsmReply};
use crate::domain::{LookupError, Secret};

/// The longest wait before a request is sent again.
const MAX_WAIT: Duration = Duration::from_secs(30);

/// How often, for one request, an engine is met or its clock is set: when it is new, by a report that
/// is forged, by the engine's own about what came of that, and for its clock. One that never knows
/// itself would keep us busy otherwise.
const MAX_CORRECTIONS: u32 = 4;

/// What authenticates us, and protects messages.
#[derive(Debug)]
pub(super) enum Security {
    Community(Secret),
    User(Box<User>),
}

#[derive(Debug)]
pub(super) struct SnmpSession {
    transport: Transport,
    security: Security,
    retransmit: Duration,
    /// Of the last request. The first one is random, so that it cannot be guessed.
    id: i32,
    /// Whether the last reply is certainly the engine's.
    is_proven: bool,
    /// Variables received so far.
    pub(super) variables: usize,
}

impl SnmpSession {
    pub(super) fn new(transport: Transport, security: Security, retransmit: Duration) -> Self {
        Self {
            transport,
            security,
            retransmit,
            id: rand::random_range(0..i32::MAX / 2),
            is_proven: false,
            variables: 0,
        }
    }

    /// The engine that answered, in version 3.
    pub(super) fn engine(&self) -> Option<&UsmEngine> {
        match &self.security {
            Security::Community(_) => None,
            Security::User(user) => user.engine(),
        }
    }

    /// Whether what came last has a digest that is right; what has none others may have sent.
    pub(super) fn is_proven(&self) -> bool {
        self.is_proven
    }

    /// Asks. `ask` is called with the number of the attempt, from 0, so that it may ask for less
    /// when an answer is missing.
    pub(super) async fn request(
        &mut self,
        mut ask: impl FnMut(u32) -> Ask,
    ) -> Result<SnmpAnswer, LookupError> {
        let mut corrections = 0;
        loop {
            self.id = self.id.checked_add(1).unwrap_or(1);
            let engine = match self.exchange(&mut ask).await? {
                UsmReply::Answer(answer) => return Ok(answer),
                UsmReply::Denied(error) => return Err(error),
                UsmReply::Unknown(engine) | UsmReply::NotInTime(engine)
                    if corrections < MAX_CORRECTIONS =>
                {
                    corrections += 1;
                    engine
                }
                UsmReply::Unknown(_) => return Err(protocol("it does not know its own engine")),
                UsmReply::NotInTime(_) => return Err(protocol("it does not know its own time")),
            };
            if let Security::User(user) = &mut self.security {
                user.meet(engine);
            }
        }
    }

    /// Sends until there is an answer to this.
    async fn exchange(
        &mut self,
        ask: &mut impl FnMut(u32) -> Ask,
    ) -> Result<UsmReply, LookupError> {
        let mut wait = self.retransmit;
        let mut attempt = 0_u32;
        loop {
            let message = self.security.write(self.id, &ask(attempt))?;
            self.transport.send(&message).await?;
            let deadline = Instant::now() + wait;
            // What cannot be read, or has no digest, others may have sent: it is believed only if nothing
            // better comes in the same time.
            let mut unsure = None;
            while let Some(bytes) = self.transport.receive(deadline).await? {
                match self.security.read(self.id, bytes) {
                    Received::Sure(reply) => {
                        self.is_proven = self.security.has_digest();
                        return Ok(reply);
                    }
                    // One more try is worth more than a reason to give up.
                    Received::Unsure(UsmReply::Denied(_)) if unsure.is_some() => {}
                    Received::Unsure(reply) => unsure = Some(reply),
                    Received::Foreign => {}
                }
            }
            if let Some(reply) = unsure {
                self.is_proven = false;
                return Ok(reply);
            }
            wait = (wait * 2).min(MAX_WAIT.max(self.retransmit));
            attempt = attempt.saturating_add(1);
        }
    }
}

impl Security {
    fn write(&mut self, id: i32, ask: &Ask) -> Result<Vec<u8>, LookupError> {
        match self {
            Self::Community(community) => {
                message::write_v2c(community.expose().as_bytes(), id, ask)
            }
            Self::User(user) => user.write(id, ask),
        }
    }

    fn read(&mut self, id: i32, bytes: &[u8]) -> Received {
        match self {
            Self::Community(_) => match message::read_v2c(bytes) {
                Ok(answer) if answer.request == id && !answer.is_report => {
                    Received::Sure(UsmReply::Answer(answer))
                }
                Ok(_) => Received::Foreign,
                Err(error) => Received::Unsure(UsmReply::Denied(error)),
            },
            Self::User(user) => user.read(id, bytes),
        }
    }

    fn has_digest(&self) -> bool {
        match self {
            Self::Community(_) => false,
            Self::User(user) => user.has_digest(),
        }
    }
}
