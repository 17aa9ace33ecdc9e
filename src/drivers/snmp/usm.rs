//! A user of version 3 at one engine: protects what is asked, and checks what comes back
//! (RFC 3414, sections 3.1 and 3.2).
//!
//! It does not know sockets, nor what is asked. Entry points: [`User::write`], [`User::read`].

use std::sync::Arc;

use tokio::time::Instant;

use super::keys::{self, Vector};
use super::message::{
    self, AUTH, Ask, Envelope, PRIV, SnmpAnswer, SnmpBody, UsmParameters, protocol,
};
use crate::domain::{LookupError, SnmpCipher, SnmpDigest};

/// By how much a message may be older than the engine's time, in seconds (RFC 3414, 2.2.3).
const TIME_WINDOW: u32 = 150;

/// The longest id that an engine may have, in bytes (RFC 3411).
const MAX_ENGINE_ID_LEN: usize = 32;

/// `usmStats`: the reports about messages that could not be accepted.
const USM_STATS: [u32; 9] = [1, 3, 6, 1, 6, 3, 15, 1, 1];

/// An agent's engine, as it is kept from one lookup to the next.
#[derive(Debug, Clone)]
pub(super) struct UsmEngine {
    id: Arc<[u8]>,
    boots: u32,
    /// Its own time in seconds, at `at`.
    time: u32,
    at: Instant,
}

impl UsmEngine {
    fn of(usm: &UsmParameters) -> Result<Self, LookupError> {
        let number = |it| {
            let number = u32::try_from(it).ok();
            number.filter(|number| i32::try_from(*number).is_ok())
        };
        let id: &[u8] = usm.authoritative_engine_id.as_ref();
        let boots = number(&usm.authoritative_engine_boots);
        let time = number(&usm.authoritative_engine_time);
        match (boots, time) {
            (Some(boots), Some(time)) if (1..=MAX_ENGINE_ID_LEN).contains(&id.len()) => Ok(Self {
                id: id.into(),
                boots,
                time,
                at: Instant::now(),
            }),
            _ => Err(protocol("its answer has an impossible engine")),
        }
    }

    fn now(&self) -> u32 {
        let passed = u32::try_from(self.at.elapsed().as_secs()).unwrap_or(u32::MAX);
        self.time.saturating_add(passed)
    }
}

/// A user's name, and the keys of its passwords.
#[derive(Clone, PartialEq)]
pub(super) struct UsmCredentials {
    pub(super) name: Arc<str>,
    pub(super) auth: Option<AuthKey>,
}

#[derive(Clone, PartialEq)]
pub(super) struct AuthKey {
    pub(super) digest: SnmpDigest,
    pub(super) master: Arc<[u8]>,
    pub(super) privacy: Option<(SnmpCipher, Arc<[u8]>)>,
}

/// A user, and the engine that it speaks to.
pub(super) struct User {
    credentials: UsmCredentials,
    /// `None` until the engine has said who it is.
    met: Option<Met>,
    /// Of the next message that is encrypted; never the same twice with one key.
    salt: u64,
}

struct Met {
    engine: UsmEngine,
    auth: Option<(SnmpDigest, Vec<u8>)>,
    privacy: Option<(SnmpCipher, Vec<u8>)>,
}

/// How a message is to be taken.
#[derive(Debug)]
pub(super) enum Received {
    /// It is no answer to this request.
    Foreign,
    /// It counts: it is as well protected as an answer can be.
    Sure(UsmReply),
    /// Others than the engine may have sent it. It counts if nothing better comes in the same wait.
    Unsure(UsmReply),
}

/// What a message of an engine means for the request.
#[derive(Debug)]
pub(super) enum UsmReply {
    Answer(SnmpAnswer),
    /// It goes by another id than we thought, or than nothing.
    Unknown(UsmEngine),
    /// Its clock is another than we thought.
    NotInTime(UsmEngine),
    /// It will not answer.
    Denied(LookupError),
}

// Keys are secret.
impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let engine = self.engine();
        f.debug_struct("User")
            .field("name", &self.credentials.name)
            .field("engine", &engine)
            .finish_non_exhaustive()
    }
}

impl User {
    /// A user that speaks to `engine`, or to one that is yet to be discovered.
    pub(super) fn new(credentials: UsmCredentials, engine: Option<UsmEngine>) -> Self {
        let mut user = Self {
            credentials,
            met: None,
            salt: rand::random(),
        };
        if let Some(engine) = engine {
            user.meet(engine);
        }
        user
    }

    /// Whether what counts is protected by a digest.
    pub(super) fn has_digest(&self) -> bool {
        self.credentials.auth.is_some()
    }

    pub(super) fn engine(&self) -> Option<&UsmEngine> {
        self.met.as_ref().map(|met| &met.engine)
    }

    /// Speaks to `engine` from now on.
    pub(super) fn meet(&mut self, engine: UsmEngine) {
        let auth = self.credentials.auth.as_ref();
        let key = |auth: &AuthKey, master| keys::localized(auth.digest, master, &engine.id);
        self.met = Some(Met {
            auth: auth.map(|auth| (auth.digest, key(auth, &auth.master))),
            privacy: auth.and_then(|auth| {
                let (cipher, master) = auth.privacy.as_ref()?;
                let key = keys::cipher_key(auth.digest, *cipher, key(auth, master));
                Some((*cipher, key))
            }),
            engine,
        });
    }

    /// The message that asks this, or that asks the engine who it is.
    pub(super) fn write(&mut self, id: i32, ask: &Ask) -> Result<Vec<u8>, LookupError> {
        let Some(met) = &self.met else {
            let nobody = parameters(&[], (0, 0), "");
            let nothing = message::scoped(&[], id, &Ask::Get(Vec::new()));
            return message::write_v3(id, 0, &nobody, SnmpBody::Plain(nothing));
        };
        let (boots, time) = (met.engine.boots, met.engine.now());
        let mut usm = parameters(&met.engine.id, (boots, time), &self.credentials.name);
        let scoped = message::scoped(&met.engine.id, id, ask);
        let mut body = SnmpBody::Plain(scoped);
        if let (Some((cipher, key)), SnmpBody::Plain(scoped)) = (&met.privacy, &body) {
            self.salt = self.salt.wrapping_add(1);
            let salt = self.salt.to_be_bytes();
            let mut bytes = message::write_scoped(scoped)?;
            keys::encrypt(*cipher, key, Vector { boots, time, salt }, &mut bytes);
            usm.privacy_parameters = salt.into();
            body = SnmpBody::Encrypted(bytes);
        }
        let flags = met.flags();
        if let Some((digest, key)) = &met.auth {
            usm.authentication_parameters = vec![0; keys::tag_len(*digest)].into();
            let blank = message::write_v3(id, flags, &usm, body.clone())?;
            usm.authentication_parameters = keys::tag(*digest, key, &blank).into();
        }
        message::write_v3(id, flags, &usm, body)
    }

    /// What a message means for this request.
    pub(super) fn read(&mut self, id: i32, bytes: &[u8]) -> Received {
        let received = self.understand(id, bytes);
        received.unwrap_or_else(|error| Received::Unsure(UsmReply::Denied(error)))
    }

    /// An error is a reason to doubt that the engine is right, or that the message is the engine's.
    fn understand(&mut self, id: i32, bytes: &[u8]) -> Result<Received, LookupError> {
        let envelope = message::read_v3(bytes)?;
        if envelope.id != Some(id) {
            return Ok(Received::Foreign);
        }
        let engine = UsmEngine::of(&envelope.usm)?;
        let is_authentic = envelope.flags & AUTH != 0;
        if is_authentic
            && !self
                .met
                .as_ref()
                .is_some_and(|met| met.sent(&envelope, bytes))
        {
            return Err(auth(
                "the digest of its answer is not that of this password",
            ));
        }
        let flags = envelope.flags & (AUTH | PRIV);
        let scoped = match envelope.body {
            SnmpBody::Plain(_) if flags & PRIV != 0 => {
                return Err(protocol("its answer says that it is encrypted, and is not"));
            }
            SnmpBody::Plain(scoped) => scoped,
            SnmpBody::Encrypted(mut bytes) => {
                let privacy = self.met.as_ref().and_then(|met| met.privacy.as_ref());
                let salt = envelope.usm.privacy_parameters.as_ref().try_into().ok();
                let (Some((cipher, key)), Some(salt), true) = (privacy, salt, is_authentic) else {
                    return Err(auth("its answer is encrypted, and not for this user"));
                };
                let (boots, time) = (engine.boots, engine.time);
                keys::decrypt(*cipher, key, Vector { boots, time, salt }, &mut bytes);
                message::read_scoped(&bytes)
                    .map_err(|_| auth("its answer cannot be decrypted with this password"))?
            }
        };
        let answer = message::answer(scoped.data)?;
        if answer.is_report {
            return Ok(self.report(&answer, engine, is_authentic));
        }
        let Some(met) = self.met.as_mut().filter(|met| met.engine.id == engine.id) else {
            return Ok(Received::Foreign);
        };
        if answer.request != id {
            return Ok(Received::Foreign);
        }
        if flags != met.flags() {
            return Err(auth("its answer is not protected as the request was"));
        }
        if is_authentic {
            let (boots, now) = (met.engine.boots, met.engine.now());
            let is_old = engine.boots == boots && engine.time.saturating_add(TIME_WINDOW) < now;
            if engine.boots < boots || is_old {
                return Err(protocol("its answer is older than this request"));
            }
            met.engine = engine;
        }
        Ok(Received::Sure(UsmReply::Answer(answer)))
    }

    /// What a report means. Most have no digest, as they are about what a digest is made with.
    fn report(&self, answer: &SnmpAnswer, engine: UsmEngine, is_authentic: bool) -> Received {
        let name = answer.variables.first().map(|it| it.name.as_slice());
        let counter = name.and_then(|name| {
            let rest = name.strip_prefix(&USM_STATS)?;
            rest.first().copied()
        });
        let user = &self.credentials.name;
        let denied = |what: String| UsmReply::Denied(LookupError::Auth(what));
        let is_other = |met: &Met| met.engine.id != engine.id;
        let reply = match counter {
            Some(1) => denied(format!("it does not offer user {user:?} such security")),
            // The clock of another engine is of no use.
            Some(2) if self.met.as_ref().is_none_or(is_other) => return Received::Foreign,
            Some(2) => UsmReply::NotInTime(engine),
            Some(3) => denied(format!("it knows no user {user:?}")),
            // Asked who it is, it can only say so without a digest.
            Some(4) if self.met.is_none() => return Received::Sure(UsmReply::Unknown(engine)),
            Some(4) => UsmReply::Unknown(engine),
            Some(5) => denied(format!(
                "it does not accept the digest: another `auth_password` or `auth` of user {user:?}"
            )),
            Some(6) => denied(format!(
                "it cannot decrypt: another `privacy_password` or `privacy` of user {user:?}"
            )),
            _ => UsmReply::Denied(protocol("it reports that it could not accept the request")),
        };
        if is_authentic {
            Received::Sure(reply)
        } else {
            Received::Unsure(reply)
        }
    }
}

impl Met {
    fn flags(&self) -> u8 {
        match (&self.auth, &self.privacy) {
            (None, _) => 0,
            (Some(_), None) => AUTH,
            (Some(_), Some(_)) => AUTH | PRIV,
        }
    }

    /// Whether a message's digest is right.
    fn sent(&self, envelope: &Envelope, bytes: &[u8]) -> bool {
        let Some((digest, key)) = &self.auth else {
            return false;
        };
        let tag: &[u8] = envelope.usm.authentication_parameters.as_ref();
        if tag.len() != keys::tag_len(*digest) {
            return false;
        }
        // The digest is over the message as it came, with zeros in the digest's place; an encoder
        // need not write it as ours would. Whoever puts the same bytes in front only gets another
        // digest.
        let Some(at) = bytes.windows(tag.len()).position(|it| it == tag) else {
            return false;
        };
        let mut blank = bytes.to_vec();
        blank[at..at + tag.len()].fill(0);
        keys::is_tag(*digest, key, &blank, tag)
    }
}

fn parameters(engine: &[u8], (boots, time): (u32, u32), user: &str) -> UsmParameters {
    UsmParameters {
        authoritative_engine_id: engine.into(),
        authoritative_engine_boots: boots.into(),
        authoritative_engine_time: time.into(),
        user_name: user.as_bytes().into(),
        authentication_parameters: (&[][..]).into(),
        privacy_parameters: (&[][..]).into(),
    }
}

fn auth(what: &str) -> LookupError {
    LookupError::Auth(what.to_owned())
}

#[cfg(test)]
mod tests {
    use rasn_snmp::v2::{Pdu, Pdus, Report, Response, VarBind, VarBindValue};
    use rasn_snmp::v3::ScopedPdu;

    use super::*;
    use crate::domain::FaultKind;

    const ENGINE: &[u8] = b"engine-1";

    /// A user that is authenticated, and has met `ENGINE` in its third life.
    fn user() -> User {
        let auth = AuthKey {
            digest: SnmpDigest::Sha256,
            master: [7; 32].into(),
            privacy: None,
        };
        let credentials = UsmCredentials {
            name: "u".into(),
            auth: Some(auth),
        };
        let engine = UsmEngine::of(&parameters(ENGINE, (3, 1_000), "u")).unwrap();
        User::new(credentials, Some(engine))
    }

    /// A message of an engine, with the user's digest if it is to be protected.
    fn message(clock: (u32, u32), is_protected: bool, data: Pdus) -> Vec<u8> {
        let key = user().met.unwrap().auth.unwrap();
        let mut usm = parameters(ENGINE, clock, "u");
        let body = SnmpBody::Plain(ScopedPdu {
            engine_id: ENGINE.into(),
            name: (&[][..]).into(),
            data,
        });
        if !is_protected {
            return message::write_v3(7, 0, &usm, body).unwrap();
        }
        usm.authentication_parameters = vec![0; keys::tag_len(key.0)].into();
        let blank = message::write_v3(7, AUTH, &usm, body.clone()).unwrap();
        usm.authentication_parameters = keys::tag(key.0, &key.1, &blank).into();
        message::write_v3(7, AUTH, &usm, body).unwrap()
    }

    fn pdu(name: &[u32]) -> Pdu {
        let name = rasn::types::ObjectIdentifier::new_unchecked(name.to_vec().into());
        let value = VarBindValue::Unspecified;
        Pdu {
            request_id: 7,
            error_status: 0,
            error_index: 0,
            variable_bindings: vec![VarBind { name, value }],
        }
    }

    fn response() -> Pdus {
        Pdus::Response(Response(pdu(&[1, 3])))
    }

    fn report(counter: u32) -> Pdus {
        Pdus::Report(Report(pdu(&[&USM_STATS[..], &[counter, 0]].concat())))
    }

    /// Of what is believed only if nothing better comes.
    fn kind(received: Received) -> FaultKind {
        match received {
            Received::Unsure(UsmReply::Denied(error)) => error.kind(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_answer_counts_with_the_right_digest_in_time_only() {
        let right = message((3, 1_001), true, response());
        let read = user().read(7, &right);
        assert!(
            matches!(read, Received::Sure(UsmReply::Answer(_))),
            "{read:?}"
        );
        let read = user().read(8, &right);
        assert!(
            matches!(read, Received::Foreign),
            "another request: {read:?}"
        );
        // All bytes are below the digest.
        for at in 0..right.len() {
            let mut changed = right.clone();
            changed[at] ^= 0x10;
            let read = user().read(7, &changed);
            assert!(!matches!(read, Received::Sure(_)), "{at}: {read:?}");
        }
        let bare = message((3, 1_001), false, response());
        assert_eq!(kind(user().read(7, &bare)), FaultKind::Auth);
        for clock in [(2, 5_000), (3, 800)] {
            let old = message(clock, true, response());
            assert_eq!(kind(user().read(7, &old)), FaultKind::Protocol);
        }
        let newer = message((4, 1), true, response());
        let mut user = user();
        assert!(matches!(user.read(7, &newer), Received::Sure(_)));
        assert_eq!(kind(user.read(7, &right)), FaultKind::Protocol);
    }

    #[test]
    fn reports_say_what_was_wrong() {
        for counter in [1, 3, 5, 6] {
            let bytes = message((3, 1_000), false, report(counter));
            assert_eq!(kind(user().read(7, &bytes)), FaultKind::Auth, "{counter}");
        }
        let bytes = message((3, 1_000), false, report(7));
        assert_eq!(kind(user().read(7, &bytes)), FaultKind::Protocol);
        let read = user().read(7, &message((1, 1), false, report(4)));
        assert!(
            matches!(read, Received::Unsure(UsmReply::Unknown(_))),
            "{read:?}"
        );
    }

    #[test]
    fn only_a_protected_report_is_sure() {
        for (counter, is_protected) in [(1, true), (2, true), (1, false), (2, false)] {
            let read = user().read(7, &message((9, 1), is_protected, report(counter)));
            let (is_sure, reply) = match read {
                Received::Sure(reply) => (true, reply),
                Received::Unsure(reply) => (false, reply),
                Received::Foreign => panic!("{counter}"),
            };
            assert_eq!(is_sure, is_protected, "{reply:?}");
            assert_eq!(matches!(reply, UsmReply::NotInTime(_)), counter == 2);
        }
    }

    #[test]
    fn an_engine_that_is_asked_who_it_is_is_believed() {
        let mut stranger = user();
        stranger.met = None;
        let read = stranger.read(7, &message((1, 1), false, report(4)));
        assert!(
            matches!(read, Received::Sure(UsmReply::Unknown(_))),
            "{read:?}"
        );
        let read = stranger.read(7, &message((1, 1), false, report(3)));
        assert_eq!(kind(read), FaultKind::Auth);
    }
}
