//! What travels between processes: subjects, keys and messages, each with its version.
//!
//! Pure: it knows no connection. `docs/distributed.md` is the protocol; what is changed here is
//! changed there.

mod places;
pub(crate) mod plain;
pub(crate) mod state;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::nats::wire::plain::Plain;
use crate::nats::wire::state::{WireChildState, WireDeviceState};
pub(in crate::nats) use places::{MOST_PLACES, WirePlaces};

use crate::domain::{ClusterId, Facts, Fault, FaultKind, Holding, Moves, Outcome, WorkerState};
use crate::engine::collector::Observation;
use crate::engine::remote::{RemoteOutcome, Time};

/// The version of the messages. One that cannot be read by those who know only the one before gets a
/// new number, and with it subjects of its own.
pub(in crate::nats) const VERSION: u32 = 1;

/// The newest form of an answer's pieces. A front says which one it can read, and an owner writes the
/// newest that both know, so releases with another newest one work together.
pub const NEWEST_SCHEMA: u32 = 2;

/// What subjects and buckets begin with, unless it is said otherwise.
pub(in crate::nats) const DEFAULT_PREFIX: &str = "fleetcall";

/// The form of pieces that everybody reads: each outcome by itself. From 2 on, those without anything
/// to say are in columns.
pub(in crate::nats) const OLDEST_SCHEMA: u32 = 1;

/// About how large a piece of an answer may become, in bytes. Servers take 1 MiB unless they are told
/// otherwise; small pieces share a connection more fairly.
pub(in crate::nats) const CHUNK_LEN: usize = 64 * 1024;

/// The most that may be said of one device, in bytes: with the rest of its piece it is to be less than
/// what servers take.
pub(in crate::nats) const LONGEST: usize = 768 * 1024;

/// How many pieces may be on their way that the front has not read.
pub(in crate::nats) const WINDOW: usize = 8;

/// What a process is to the others, and to the servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::nats) enum NatsRole {
    /// Asks owners.
    Front,
    /// Has clusters, and asks other owners.
    Worker,
    /// Puts the configuration there.
    Publisher,
    /// Makes buckets.
    Operator,
}

impl NatsRole {
    fn as_str(self) -> &'static str {
        match self {
            Self::Front => "front",
            Self::Worker => "worker",
            Self::Publisher => "publisher",
            Self::Operator => "operator",
        }
    }
}

/// The names of one installation on a NATS server that others may use too.
#[derive(Debug, Clone)]
pub(in crate::nats) struct Names {
    prefix: String,
}

impl Names {
    /// `prefix` is a token of a subject: letters, digits, `_` and `-`.
    pub(in crate::nats) fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
        }
    }

    /// What a command line needs for these names; nothing for the default ones.
    pub(in crate::nats) fn flag(&self) -> String {
        match self.prefix.as_str() {
            DEFAULT_PREFIX => String::new(),
            other => format!(" --nats-prefix {other}"),
        }
    }

    /// Where the owner of a cluster takes orders.
    pub(in crate::nats) fn orders(&self, cluster: &ClusterId) -> String {
        format!("{}.v{VERSION}.collect.{}", self.prefix, key(cluster))
    }

    /// Where all workers say what they have.
    pub(in crate::nats) fn roster(&self) -> String {
        format!("{}.v{VERSION}.workers", self.prefix)
    }

    /// Where workers tell what changed in their clusters.
    pub(in crate::nats) fn changes(&self) -> String {
        format!("{}.v{VERSION}.changes", self.prefix)
    }

    /// What the subjects begin with where servers answer a role, and no process may.
    pub(in crate::nats) fn inbox(&self, role: NatsRole) -> String {
        format!("{}.inbox.{}", self.prefix, role.as_str())
    }

    /// What the subjects begin with where other processes answer a role.
    pub(in crate::nats) fn answers(&self, role: NatsRole) -> String {
        format!("{}.answers.{}", self.prefix, role.as_str())
    }

    /// Whether a process that asks may be answered there: it says where, and a server that is told to
    /// send something there does not look whether that process might.
    pub(in crate::nats) fn is_answerable(&self, subject: &str) -> bool {
        let is_below = |role| {
            let rest = subject.strip_prefix(&self.answers(role));
            rest.is_some_and(|rest| rest.starts_with('.') && !rest.contains(['*', '>']))
        };
        is_below(NatsRole::Front) || is_below(NatsRole::Worker)
    }

    /// The bucket of the configuration.
    pub(in crate::nats) fn configurations(&self) -> String {
        format!("{}_config", self.prefix)
    }

    /// The bucket of leases.
    pub(in crate::nats) fn leases(&self) -> String {
        format!("{}_leases", self.prefix)
    }

    /// The bucket of live workers.
    pub(in crate::nats) fn workers(&self) -> String {
        format!("{}_workers", self.prefix)
    }
}

/// A cluster as a key of a bucket, and as one token of a subject.
pub(in crate::nats) fn key(cluster: &ClusterId) -> String {
    // No id has '=' in it.
    cluster.to_string().replace('.', "=")
}

/// Whether a worker may have such a name: it is a key of a bucket, too.
pub(crate) fn is_worker(name: &str) -> bool {
    let is_fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let has_dots_inside = !name.starts_with('.') && !name.ends_with('.') && !name.contains("..");
    (1..=128).contains(&name.len()) && name.chars().all(is_fine) && has_dots_inside
}

/// The cluster of such a key; `None` if it is none's.
pub(in crate::nats) fn cluster_of(key: &str) -> Option<ClusterId> {
    ClusterId::parse(&key.replace('=', ".")).ok()
}

/// From a front to a cluster's owner: ask these devices.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::nats) struct ClusterRequest {
    pub(in crate::nats) version: u32,
    pub(in crate::nats) cluster: ClusterId,
    /// Tells the places' devices.
    pub(in crate::nats) plan: u64,
    /// Whom of the cluster's plan to ask; absent means all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::nats) places: Option<WirePlaces>,
    /// The longest that the collect may take, and how long ago it began.
    pub(in crate::nats) deadline_us: u64,
    pub(in crate::nats) elapsed_us: u64,
    /// How old what is known of a device may be for it not to be asked; absent asks all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::nats) max_age_us: Option<u64>,
    /// The newest form of pieces that the front reads; absent is the first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::nats) speaks: Option<u32>,
    /// Nobody is to be asked; what is known of the devices is wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::nats) look: Option<WireStateQuery>,
    /// Devices are asked although their breaker is open or their actor is down, each once in 10 s.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(in crate::nats) force: bool,
    /// No device is to be asked; the one at the only place is to be reset, for this caller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::nats) reset: Option<String>,
    /// No device is to be asked; the right to ask the one at the only place by force is wanted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(in crate::nats) reserve: bool,
}

/// What became of the right to ask a device by force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::nats) enum Reserved {
    /// Nothing keeps it from being asked.
    Free,
    /// The next order that forces it has it asked.
    Granted,
    /// It is another caller's for so long, in microseconds.
    Refused(u64),
}

/// What is wanted of what is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::nats) struct WireStateQuery {
    /// Whether the facts of last lookups are, too.
    pub(in crate::nats) facts: bool,
}

/// From an owner to a front: a piece of the answer. The first one comes at once.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(in crate::nats) struct Chunk<'a> {
    /// Its form.
    pub(in crate::nats) version: u32,
    /// Which lease the owner holds: later ones have larger numbers.
    pub(in crate::nats) fence: u64,
    /// Counted from 0, so that a lost one is missed.
    pub(in crate::nats) number: u64,
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    pub(in crate::nats) outcomes: Vec<WireOutcome<'a>>,
    /// More of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::nats) plain: Option<Plain>,
    /// What is known, if that is what was wanted: of the cluster's actor, in the first piece, and of
    /// devices that were ever asked or ever failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::nats) child: Option<WireChildState>,
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    pub(in crate::nats) states: Vec<WireDeviceState<'a>>,
    /// What a reset cleared, if that was wanted.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(in crate::nats) cleared: Option<Vec<Cow<'a, str>>>,
    /// What became of a right, if that was wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::nats) reserved: Option<Reserved>,
    /// Whether it is the last one, and why no more come, if some are missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::nats) end: Option<AnswerEnd>,
}

/// How an answer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::nats) enum AnswerEnd {
    /// Every device was told of.
    Complete,
    /// The cluster is not here, or not any more.
    NotHere,
    /// The cluster is being handed over: another worker is about to have it.
    Moving,
    /// The cluster has other devices here.
    OtherPlan,
    /// Too many collects are under way here.
    Overloaded,
    /// The worker is going away.
    ShuttingDown,
}

/// What came of one device.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::nats) struct WireOutcome<'a> {
    #[serde(rename = "d")]
    place: u32,
    /// How long ago a lookup gave this, if one did.
    #[serde(rename = "a", default, skip_serializing_if = "Option::is_none")]
    age_us: Option<u64>,
    /// How long it took, if no deadline cut it off.
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    took_us: Option<u64>,
    #[serde(rename = "f", borrow, default, skip_serializing_if = "Option::is_none")]
    facts: Option<&'a RawValue>,
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    steady: Option<u64>,
    #[serde(rename = "k", borrow, default, skip_serializing_if = "Option::is_none")]
    kind: Option<Cow<'a, str>>,
    #[serde(rename = "m", borrow, default, skip_serializing_if = "Option::is_none")]
    message: Option<Cow<'a, str>>,
}

pub(in crate::nats) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

impl Chunk<'_> {
    /// What is said of devices; `None` if it cannot be read.
    pub(in crate::nats) fn told(&self) -> Option<impl Iterator<Item = RemoteOutcome>> {
        let plain = match &self.plain {
            None => Vec::new(),
            Some(plain) => plain.told()?,
        };
        let outcomes = self.outcomes.iter().map(WireOutcome::told);
        Some(outcomes.chain(plain))
    }
}

impl ClusterRequest {
    /// For all who have these places in the plan, without a time.
    pub(in crate::nats) fn new(cluster: ClusterId, plan: u64, places: Option<WirePlaces>) -> Self {
        Self {
            version: VERSION,
            cluster,
            plan,
            places,
            deadline_us: 0,
            elapsed_us: 0,
            max_age_us: None,
            speaks: None,
            look: None,
            force: false,
            reset: None,
            reserve: false,
        }
    }

    /// Whether devices are to be asked for it.
    pub(in crate::nats) fn asks(&self) -> bool {
        self.look.is_none() && self.reset.is_none() && !self.reserve
    }

    pub(in crate::nats) fn deadline(&self) -> Duration {
        Duration::from_micros(self.deadline_us)
    }

    pub(in crate::nats) fn elapsed(&self) -> Duration {
        Duration::from_micros(self.elapsed_us)
    }

    pub(in crate::nats) fn set_time(&mut self, time: Time) {
        self.deadline_us = micros(time.deadline);
        self.elapsed_us = micros(time.start.elapsed());
        self.max_age_us = time.max_age.map(micros);
    }

    pub(in crate::nats) fn max_age(&self) -> Option<Duration> {
        self.max_age_us.map(Duration::from_micros)
    }
}

impl<'a> WireOutcome<'a> {
    pub(in crate::nats) fn new(
        place: u32,
        outcome: &'a Outcome,
        observation: Option<Observation>,
    ) -> Self {
        let age = observation.map(|it| it.at.elapsed().unwrap_or_default());
        let took = observation.and_then(|it| it.took);
        Self::aged(place, outcome, age, took)
    }

    /// As [`WireOutcome::new`], by how long ago it was.
    pub(in crate::nats) fn aged(
        place: u32,
        outcome: &'a Outcome,
        age: Option<Duration>,
        took: Option<Duration>,
    ) -> Self {
        let (facts, fault) = match outcome {
            Ok(facts) => (Some(facts), None),
            Err(fault) => (None, Some(fault)),
        };
        let json = facts.and_then(Facts::json);
        Self {
            place,
            age_us: age.map(micros),
            took_us: took.map(micros),
            facts: json,
            steady: json.and(facts).and_then(Facts::steady),
            kind: fault.map(|it| Cow::Borrowed(it.kind().as_str())),
            message: fault.map(|it| Cow::Borrowed(it.message())),
        }
    }

    /// What is said of a device whose facts are too long to travel.
    pub(in crate::nats) fn too_large(place: u32) -> Self {
        Self {
            place,
            age_us: None,
            took_us: None,
            facts: None,
            steady: None,
            kind: Some(Cow::Borrowed(FaultKind::TooLarge.as_str())),
            message: Some(Cow::Borrowed(
                "its facts are too long to travel between processes",
            )),
        }
    }

    /// The same without facts.
    pub(in crate::nats) fn without_facts(self) -> Self {
        Self {
            facts: None,
            steady: None,
            ..self
        }
    }

    /// About how long it is, in bytes.
    pub(in crate::nats) fn len(&self) -> usize {
        let facts = self.facts.map_or(0, |it| it.get().len());
        80 + facts + self.message.as_ref().map_or(0, |it| it.len())
    }

    /// As it is taken up by the front; a kind that is not known here is `protocol`.
    pub(in crate::nats) fn told(&self) -> RemoteOutcome {
        let outcome = match &self.kind {
            None => Ok(self.facts.map_or(Facts::none(), |facts| {
                Facts::new(&facts, self.steady.unwrap_or_default())
            })),
            Some(kind) => {
                let known = FaultKind::ALL.iter().find(|it| it.as_str() == kind);
                let message = self.message.as_deref().unwrap_or_default().to_owned();
                let kind = known.copied().unwrap_or(FaultKind::Protocol);
                Err(Arc::new(Fault::new(kind, message)))
            }
        };
        let took = self.took_us.map(Duration::from_micros);
        let age = self.age_us.map(Duration::from_micros);
        RemoteOutcome {
            place: self.place as usize,
            outcome,
            observed: age.map(|age| (age, took)),
        }
    }
}

/// Who has a cluster, as the bucket of leases says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::nats) struct Lease {
    pub(in crate::nats) version: u32,
    /// The name of the worker.
    pub(in crate::nats) worker: String,
    /// Tells this tenure of the cluster from others of the same worker.
    pub(in crate::nats) tenure: u64,
    /// When it began, in milliseconds since the Unix epoch, by the worker's clock; for people.
    pub(in crate::nats) since_ms: u64,
    /// Whether orders for the cluster reach the worker, so that the one before may leave off.
    #[serde(default)]
    pub(in crate::nats) serves: bool,
}

/// A live worker, as the bucket of workers says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::nats) struct Presence {
    pub(in crate::nats) version: u32,
    /// The release that it runs; for people.
    pub(in crate::nats) release: String,
    /// When it started, in milliseconds since the Unix epoch, by its clock; for people.
    pub(in crate::nats) since_ms: u64,
    /// Whether it is to have clusters only if all others are like that, too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(in crate::nats) unsteady: bool,
}

/// From a worker to whoever asks for the roster: what it has. With very many clusters several come.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::nats) struct Roster {
    pub(in crate::nats) version: u32,
    name: String,
    release: String,
    since_ms: u64,
    lease_ms: u64,
    #[serde(default)]
    topology: u64,
    taken: u64,
    handed_over: u64,
    lost: u64,
    /// What keeps it from taking clusters, if something does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::nats) obstacle: Option<String>,
    held: Vec<HeldLease>,
}

/// A cluster of a worker's.
#[derive(Debug, Serialize, Deserialize)]
struct HeldLease {
    #[serde(rename = "c")]
    cluster: ClusterId,
    #[serde(rename = "f")]
    fence: u64,
    #[serde(rename = "s")]
    since_ms: u64,
    #[serde(rename = "r")]
    renewed_ms: u64,
}

/// How many clusters stand in one message at most: with the longest ids less than servers take.
const HELD: usize = 2000;

/// Since the Unix epoch.
pub(in crate::nats) fn to_ms(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

/// The Unix epoch for what no clock shows.
fn from_ms(ms: u64) -> SystemTime {
    let since = Duration::from_millis(ms);
    let time = SystemTime::UNIX_EPOCH.checked_add(since);
    // What is later cannot be written as a date (RFC 3339 has years of four digits).
    time.filter(|_| ms < 253_402_300_800_000)
        .unwrap_or(SystemTime::UNIX_EPOCH)
}

impl Roster {
    /// What a worker has, in messages.
    pub(in crate::nats) fn of(worker: &WorkerState, obstacle: Option<&str>) -> Vec<Self> {
        let held: Vec<_> = worker.holdings.iter().collect();
        let none: &[&Holding] = &[];
        let chunks = held.chunks(HELD);
        let chunks = chunks.chain((held.is_empty()).then_some(none));
        let message = |chunk: &[&Holding]| Self {
            version: VERSION,
            name: worker.name.clone(),
            release: worker.release.clone(),
            since_ms: to_ms(worker.started),
            lease_ms: millis(worker.lease),
            topology: worker.topology,
            taken: worker.moves.taken,
            handed_over: worker.moves.handed_over,
            obstacle: obstacle.map(str::to_owned),
            lost: worker.moves.lost,
            held: chunk
                .iter()
                .map(|it| HeldLease {
                    cluster: it.cluster.clone(),
                    fence: it.fence,
                    since_ms: to_ms(it.since),
                    renewed_ms: millis(it.renewed),
                })
                .collect(),
        };
        chunks.map(message).collect()
    }

    /// What the worker says.
    pub(in crate::nats) fn state(self) -> WorkerState {
        let holding = |held: HeldLease| Holding {
            cluster: held.cluster,
            fence: held.fence,
            since: from_ms(held.since_ms),
            renewed: Duration::from_millis(held.renewed_ms),
        };
        WorkerState {
            name: self.name,
            release: self.release,
            started: from_ms(self.since_ms),
            lease: Duration::from_millis(self.lease_ms),
            topology: self.topology,
            moves: Moves {
                taken: self.taken,
                handed_over: self.handed_over,
                lost: self.lost,
            },
            holdings: self.held.into_iter().map(holding).collect(),
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through(outcome: &Outcome, observation: Option<Observation>) -> RemoteOutcome {
        let json = serde_json::to_string(&WireOutcome::new(7, outcome, observation)).unwrap();
        serde_json::from_str::<WireOutcome<'_>>(&json)
            .unwrap()
            .told()
    }

    #[test]
    fn outcomes_come_out_as_they_went_in() {
        let facts = Facts::new(&serde_json::json!({"model": "x\"1"}), 99);
        for outcome in [
            Ok(Facts::none()),
            Ok(facts),
            Err(Arc::new(Fault::new(FaultKind::Auth, "wrong \"key\"\n"))),
        ] {
            let took = Some(Duration::from_micros(1500));
            let at = SystemTime::now();
            let told = through(&outcome, Some(Observation { at, took }));
            assert_eq!((told.place, &told.outcome), (7, &outcome));
            assert_eq!(told.observed.unwrap().1, took);
            let steady = |it: &Outcome| it.as_ref().ok().and_then(Facts::steady);
            assert_eq!(steady(&told.outcome), steady(&outcome));
            assert!(through(&outcome, None).observed.is_none());
        }
    }

    #[test]
    fn what_others_made_up_is_taken_for_no_more_than_it_is() {
        let later = r#"{"d":1,"k":"melted","m":"a kind of later releases","new":[1]}"#;
        let told = serde_json::from_str::<WireOutcome<'_>>(later)
            .unwrap()
            .told();
        assert_eq!(told.outcome.unwrap_err().kind(), FaultKind::Protocol);
        let no_object = r#"{"d":1,"f":[1,2],"a":18446744073709551615,"t":18446744073709551615}"#;
        let told = serde_json::from_str::<WireOutcome<'_>>(no_object)
            .unwrap()
            .told();
        assert_eq!(told.outcome, Ok(Facts::none()));
        for ms in [253_402_300_800_000, u64::MAX] {
            assert_eq!(from_ms(ms), SystemTime::UNIX_EPOCH);
        }
        let order = format!(
            r#"{{"version":1,"cluster":1,"plan":0,"deadline_us":{0},"elapsed_us":{0}}}"#,
            u64::MAX
        );
        let order: ClusterRequest = serde_json::from_str(&order).unwrap();
        assert_eq!(order.places, None);
        assert_eq!(order.elapsed(), Duration::from_micros(u64::MAX));
    }

    /// These lines do not change: releases wrote them.
    #[test]
    fn what_the_first_releases_wrote_is_read() {
        let order = r#"{"version":1,"cluster":"rack.7","plan":12297829382473034410,"places":{"runs":[[0,2],[7,1]]},"deadline_us":30000000,"elapsed_us":125}"#;
        let order: ClusterRequest = serde_json::from_str(order).unwrap();
        assert_eq!(order.cluster, ClusterId::name("rack.7").unwrap());
        assert!(!order.force && order.asks());
        assert_eq!(order.places.unwrap().read(8), Some(vec![0, 1, 7]));
        assert_eq!((order.speaks, order.max_age_us), (None, None));
        assert_eq!(order.look, None);
        let chunk = r#"{"version":1,"fence":17,"number":3,"outcomes":[{"d":7,"a":12,"t":3000123},{"d":9,"k":"refused","m":"no"}],"end":"complete"}"#;
        let chunk: Chunk<'_> = serde_json::from_str(chunk).unwrap();
        let told: Vec<_> = chunk.told().unwrap().collect();
        assert_eq!((told[0].place, told[0].outcome.is_ok()), (7, true));
        let fault = told[1].outcome.as_ref().unwrap_err();
        assert_eq!((fault.kind(), fault.message()), (FaultKind::Refused, "no"));
        assert_eq!(chunk.end, Some(AnswerEnd::Complete));
        let lease = r#"{"version":1,"worker":"a","tenure":7,"since_ms":1795633260000}"#;
        assert_eq!(serde_json::from_str::<Lease>(lease).unwrap().worker, "a");
        let roster = r#"{"version":1,"name":"a","release":"0.1.0","since_ms":1,"lease_ms":5000,"taken":1,"handed_over":0,"lost":0,"held":[{"c":1,"f":133,"s":2,"r":310}]}"#;
        let state = serde_json::from_str::<Roster>(roster).unwrap().state();
        assert_eq!(state.holdings[0].fence, 133);
    }

    #[test]
    fn clusters_are_one_token_of_a_subject() {
        let names = Names::new("lab");
        for (id, subject) in [
            (ClusterId::number(7), "lab.v1.collect.7"),
            (ClusterId::name("rack.7").unwrap(), "lab.v1.collect.rack=7"),
            (ClusterId::name(".x.").unwrap(), "lab.v1.collect.=x="),
        ] {
            assert_eq!(names.orders(&id), subject);
        }
    }

    #[test]
    fn answers_go_where_processes_are_answered_only() {
        let names = Names::new("lab");
        for role in [NatsRole::Front, NatsRole::Worker] {
            assert!(names.is_answerable(&format!("{}.x.1", names.answers(role))));
        }
        let [front, publisher] = [NatsRole::Front, NatsRole::Publisher].map(|it| names.answers(it));
        for other in [
            "",
            "lab.answers.front",
            "lab.answers.fronts.x",
            "lab.answers.operator.x",
            "lab.answers.front.*",
            "lab.answers.worker.>",
            "lab.v1.collect.1",
            "other.answers.front.x",
            "_INBOX.x",
            "$KV.lab_config.clusters",
            "$KV.lab_leases.1",
            "$JS.API.STREAM.DELETE.KV_lab_leases",
            &names.inbox(NatsRole::Front),
            &format!("{}.x", names.inbox(NatsRole::Worker)),
            &format!("x.{front}.x"),
            &format!("{publisher}.x"),
        ] {
            assert!(!names.is_answerable(other), "{other}");
        }
    }
}
