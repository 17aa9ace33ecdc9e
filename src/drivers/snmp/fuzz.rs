//! Fuzzed: messages of agents, what their security makes of them, and whole tables.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use rasn::types::ObjectIdentifier;
use rasn_smi::v1::{Counter, TimeTicks};
use rasn_smi::v2::{ApplicationSyntax, Counter64, ObjectSyntax, SimpleSyntax};
use rasn_snmp::v2::{Pdu, Pdus, Report, Response, VarBind, VarBindValue};
use rasn_snmp::v2c::Message as MessageV2c;
use rasn_snmp::v3::ScopedPdu;
use tokio::net::UdpSocket;
use tokio::runtime::Runtime;

use super::message::{self, AUTH, Ask, Oid, PRIV, SnmpAnswer, SnmpBody, UsmParameters};
use super::session::{Security, SnmpSession};
use super::transport::Transport;
use super::usm::{AuthKey, Received, User, UsmCredentials, UsmReply};
use super::{keys, mibs};
use crate::domain::{LookupError, Secret, SnmpCipher, SnmpDigest};
use crate::drivers::fuzz::check;

/// A message as it comes, in both versions and without an envelope.
pub fn snmp_message(bytes: &[u8]) {
    let is_small = |answer: &SnmpAnswer| {
        let count = answer.variables.len();
        assert!(count <= bytes.len());
        let values = answer.variables.iter();
        let len: usize = values.map(|it| it.name.len()).sum();
        assert!(
            len <= bytes.len() * 2,
            "{len} arcs in {} bytes",
            bytes.len()
        );
    };
    match message::read_v2c(bytes) {
        Ok(answer) => {
            is_small(&answer);
            written(bytes, &answer);
        }
        Err(error) => drop(check(Err(error))),
    }
    if let Err(error) = message::read_v3(bytes) {
        check(Err(error));
    }
    match message::read_scoped(bytes).map(|scoped| message::answer(scoped.data)) {
        Ok(Ok(answer)) => is_small(&answer),
        Ok(Err(error)) | Err(error) => drop(check(Err(error))),
    }
}

/// What is read reads the same when it is written again; and what is asked for is what was found.
fn written(bytes: &[u8], answer: &SnmpAnswer) {
    let again =
        message::read::<MessageV2c<Pdus>>(bytes, "message").and_then(|it| message::write(&it));
    let again = again.and_then(|bytes| message::read_v2c(&bytes));
    match again {
        Ok(again) => assert_eq!(again.variables, answer.variables),
        Err(error) => panic!("{error}"),
    }
    let names: Vec<Oid> = answer.variables.iter().map(|it| it.name.clone()).collect();
    for ask in [Ask::Get(names.clone()), Ask::Bulk(names.clone(), 20)] {
        let asked = message::write_v2c(b"public", answer.request, &ask);
        let asked = asked.and_then(|bytes| message::read(&bytes, "request"));
        let Ok(MessageV2c::<Pdus> { data, .. }) = asked else {
            panic!("{asked:?}");
        };
        let (id, found) = request(data);
        assert_eq!((id, found), (answer.request, names.clone()));
    }
}

/// The id and the names of a request.
fn request(pdus: Pdus) -> (i32, Vec<Oid>) {
    let (id, variables) = match pdus {
        Pdus::GetRequest(get) => (get.0.request_id, get.0.variable_bindings),
        Pdus::GetBulkRequest(bulk) => (bulk.0.request_id, bulk.0.variable_bindings),
        other => panic!("it asks by {other:?}"),
    };
    let name = |variable: VarBind| variable.name.as_ref().to_vec();
    (id, variables.into_iter().map(name).collect())
}

const ENGINE: &[u8] = b"engine-1";
const CLOCK: (u32, u32) = (3, 1_000);
const ID: i32 = 7;

/// What a user makes of a message: the first byte says of which security, the second whether the
/// rest is a message as it comes or the PDU in one that is protected as it should be.
pub fn snmp_user(bytes: &[u8]) {
    let &[security, kind, at, ref rest @ ..] = bytes else {
        return;
    };
    let digests = usize::from(security) % (SnmpDigest::ALL.len() + 1);
    let ciphers = usize::from(security) / (SnmpDigest::ALL.len() + 1);
    let ciphers = ciphers % (SnmpCipher::ALL.len() + 1);
    let digest = digests.checked_sub(1).map(|at| SnmpDigest::ALL[at]);
    let cipher = ciphers.checked_sub(1).map(|at| SnmpCipher::ALL[at]);
    let mut user = user(digest, cipher);
    if kind % 2 == 0 {
        if let Received::Unsure(UsmReply::Denied(error)) = user.read(ID, rest) {
            check(Err(error));
        }
        return;
    }
    let Some(mut sent) = protected(digest, cipher, rest) else {
        return;
    };
    let read = user.read(ID, &sent);
    let plain = message::read_scoped(rest).and_then(|scoped| message::answer(scoped.data));
    match (plain, read) {
        (Ok(plain), Received::Sure(UsmReply::Answer(answer))) => {
            assert!(!plain.is_report && plain.request == ID);
            assert_eq!(plain.variables, answer.variables);
        }
        (Ok(plain), other) => {
            let is_answer = !plain.is_report && plain.request == ID;
            assert!(!is_answer, "{other:?}");
        }
        (Err(_), Received::Unsure(UsmReply::Denied(error))) => drop(check(Err(error))),
        (Err(_), other) => assert!(matches!(other, Received::Foreign), "{other:?}"),
    }
    if digest.is_some() {
        let at = usize::from(at) * sent.len() / 256;
        sent[at] ^= 0x10;
        let read = user.read(ID, &sent);
        let is_believed = matches!(read, Received::Sure(_));
        assert!(!is_believed, "changed at {at}: {read:?}");
    }
}

/// A user that has met [`ENGINE`], as it does in life: by the report that says who that is.
fn user(digest: Option<SnmpDigest>, cipher: Option<SnmpCipher>) -> User {
    let auth = digest.map(|digest| AuthKey {
        digest,
        master: Arc::from([7; 32]),
        privacy: cipher.map(|cipher| (cipher, Arc::from([8; 32]))),
    });
    let name = "u".into();
    let mut user = User::new(UsmCredentials { name, auth }, None);
    let name = vec![1, 3, 6, 1, 6, 3, 15, 1, 1, 4, 0];
    let report = Pdus::Report(Report(Pdu {
        request_id: ID,
        error_status: 0,
        error_index: 0,
        variable_bindings: vec![VarBind {
            name: ObjectIdentifier::new_unchecked(name.into()),
            value: VarBindValue::Unspecified,
        }],
    }));
    let scoped = ScopedPdu {
        engine_id: ENGINE.into(),
        name: (&[][..]).into(),
        data: report,
    };
    let sent = message::write_v3(ID, 0, &parameters(), SnmpBody::Plain(scoped));
    match sent.map(|sent| user.read(ID, &sent)) {
        Ok(Received::Sure(UsmReply::Unknown(engine))) => user.meet(engine),
        other => panic!("{other:?}"),
    }
    user
}

fn parameters() -> UsmParameters {
    UsmParameters {
        authoritative_engine_id: ENGINE.into(),
        authoritative_engine_boots: CLOCK.0.into(),
        authoritative_engine_time: CLOCK.1.into(),
        user_name: (&b"u"[..]).into(),
        authentication_parameters: (&[][..]).into(),
        privacy_parameters: (&[][..]).into(),
    }
}

/// The message of the engine with this PDU, as the user expects it; `None` if it cannot be written.
fn protected(
    digest: Option<SnmpDigest>,
    cipher: Option<SnmpCipher>,
    pdu: &[u8],
) -> Option<Vec<u8>> {
    let mut usm = parameters();
    let Some(digest) = digest else {
        let scoped = message::read_scoped(pdu).ok()?;
        return message::write_v3(ID, 0, &usm, SnmpBody::Plain(scoped)).ok();
    };
    let (body, flags) = match cipher {
        None => (SnmpBody::Plain(message::read_scoped(pdu).ok()?), AUTH),
        Some(cipher) => {
            let key = keys::localized(digest, &[8; 32], ENGINE);
            let key = keys::cipher_key(digest, cipher, key);
            let (boots, time) = CLOCK;
            let salt = [9; 8];
            let mut bytes = pdu.to_vec();
            keys::encrypt(cipher, &key, keys::Vector { boots, time, salt }, &mut bytes);
            usm.privacy_parameters = salt.into();
            (SnmpBody::Encrypted(bytes), AUTH | PRIV)
        }
    };
    let key = keys::localized(digest, &[7; 32], ENGINE);
    usm.authentication_parameters = vec![0; keys::tag_len(digest)].into();
    let blank = message::write_v3(ID, flags, &usm, body.clone()).ok()?;
    usm.authentication_parameters = keys::tag(digest, &key, &blank).into();
    message::write_v3(ID, flags, &usm, body).ok()
}

thread_local! {
    static RUNTIME: RefCell<Runtime> = RefCell::new(
        match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => panic!("{error}"),
        }
    );
}

/// A whole lookup, of an agent on the loopback that says what the bytes say. It ends, also with an
/// agent that never comes to an end.
pub fn snmp_walk(bytes: &[u8]) {
    let walked = RUNTIME.with_borrow(|runtime| runtime.block_on(walk(bytes)));
    if let Err(error) = walked {
        panic!("the loopback: {error}");
    }
}

async fn walk(bytes: &[u8]) -> std::io::Result<()> {
    let socket = UdpSocket::bind("127.0.0.1:0").await?;
    let transport = Transport::open(socket.local_addr()?, Arc::default()).await;
    let transport = transport.map_err(std::io::Error::other)?;
    let community = Security::Community(Secret::new("public"));
    // Nothing is lost on the loopback: sending again would be a bug, and takes too long.
    let mut session = SnmpSession::new(transport, community, Duration::from_secs(600));
    let mut agent = FakeAgent {
        socket,
        script: bytes.iter(),
    };
    let facts = tokio::select! {
        facts = mibs::gather(&mut session) => facts,
        error = agent.run() => return Err(error),
    };
    if let Ok(facts) = &facts {
        let long = |text: &Option<String>| text.as_ref().is_some_and(|it| it.chars().count() > 255);
        assert!(!long(&facts.hostname) && !long(&facts.description) && !long(&facts.model));
        let ports = facts.ports.as_ref().map_or(0, Vec::len);
        assert!(ports <= session.variables);
    }
    check(facts);
    Ok(())
}

/// An agent that takes its answers from bytes, and has nothing when they have ended.
struct FakeAgent<'a> {
    socket: UdpSocket,
    script: std::slice::Iter<'a, u8>,
}

impl FakeAgent<'_> {
    /// Answers until it is dropped.
    async fn run(&mut self) -> std::io::Error {
        loop {
            if let Err(error) = self.answer().await {
                return error;
            }
        }
    }

    async fn answer(&mut self) -> std::io::Result<()> {
        let mut buffer = vec![0; 64 << 10];
        let (len, from) = self.socket.recv_from(&mut buffer).await?;
        let asked: Result<MessageV2c<Pdus>, LookupError> = message::read(&buffer[..len], "request");
        let mut message = asked.map_err(std::io::Error::other)?;
        let repetitions = match &message.data {
            Pdus::GetBulkRequest(bulk) => bulk.0.max_repetitions,
            _ => 0,
        };
        let (request_id, names) = request(message.data);
        let error_status = match self.byte() {
            status @ 1..=18 => status.into(),
            _ => 0,
        };
        let variable_bindings = match repetitions {
            0 => names.into_iter().map(|name| self.variable(name)).collect(),
            repetitions => self.rows(names, repetitions),
        };
        message.data = Pdus::Response(Response(Pdu {
            request_id,
            error_status,
            error_index: 0,
            variable_bindings,
        }));
        let bytes = message::write(&message).map_err(std::io::Error::other)?;
        self.socket.send_to(&bytes, from).await.map(drop)
    }

    /// Some rows of these columns, each behind the one before, as a table has them; or not.
    fn rows(&mut self, mut names: Vec<Oid>, repetitions: u32) -> Vec<VarBind> {
        let mut found = Vec::new();
        for _ in 0..repetitions {
            let steps = self.byte();
            for name in &mut names {
                match steps % 8 {
                    // The next row, with an index of one, two or three arcs.
                    0..=3 => match name.get_mut(11..).and_then(<[u32]>::last_mut) {
                        Some(last) => *last = last.wrapping_add(1),
                        None => name.extend([1, 2, 1].iter().take(1 + usize::from(steps) % 3)),
                    },
                    4 => name.push(self.byte().into()),
                    // Fewer arcs than two are no name.
                    5 => name.truncate((name.len() - 1).max(2)),
                    6 => *name = vec![1, 3, self.byte().into()],
                    _ => {}
                }
                found.push(self.variable(name.clone()));
            }
            if self.script.len() == 0 || steps > 250 {
                break;
            }
        }
        found
    }

    fn variable(&mut self, name: Oid) -> VarBind {
        let application = |syntax| VarBindValue::Value(ObjectSyntax::ApplicationWide(syntax));
        let value = match self.byte() % 12 {
            _ if self.script.len() == 0 => VarBindValue::EndOfMibView,
            0 | 1 => {
                // What statuses, classes and kinds are.
                let number = i32::from(self.byte() % 8);
                VarBindValue::Value(ObjectSyntax::from(number))
            }
            2 => VarBindValue::Value(ObjectSyntax::from(self.number().cast_signed())),
            3..=5 => {
                let len = usize::from(self.byte());
                let text: Vec<u8> = self.script.by_ref().take(len).copied().collect();
                VarBindValue::Value(ObjectSyntax::Simple(SimpleSyntax::String(text.into())))
            }
            6 => application(ApplicationSyntax::Counter(Counter(self.number()))),
            7 => application(ApplicationSyntax::Ticks(TimeTicks(self.number()))),
            8 => {
                let number = u64::from(self.number()) << 32 | u64::from(self.number());
                application(ApplicationSyntax::BigCounter(Counter64(number)))
            }
            9 => VarBindValue::NoSuchInstance,
            10 => VarBindValue::Unspecified,
            _ => VarBindValue::EndOfMibView,
        };
        let name = ObjectIdentifier::new_unchecked(name.into());
        VarBind { name, value }
    }

    /// The next byte; zero when they have ended.
    fn byte(&mut self) -> u8 {
        self.script.next().copied().unwrap_or_default()
    }

    fn number(&mut self) -> u32 {
        u32::from_be_bytes([self.byte(), self.byte(), self.byte(), self.byte()])
    }
}
