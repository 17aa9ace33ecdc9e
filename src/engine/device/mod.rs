//! One device as it is known beyond the life of its actor: how to ask it, and what it answered.
//!
//! An actor that crashes loses its session and whatever it was doing, since those may be damaged.
//! What was learned of the *device* (its breaker, its last result, how often it was asked) is not,
//! so it is kept here; only the device's own actor writes it. A reload keeps it for a device that
//! it does not change, and begins a new one for a device that it does.

use std::num::NonZeroU16;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use log::Level;
use log::kv::Value;
use tokio::time::Instant;

use super::messages::Tick;
use super::queue::{MAX_CONCURRENT, Queued};
use crate::domain::{
    Breaker, BreakerState, DeviceId, DeviceKind, DeviceState, DriverKind, Event, Facts, Failing,
    Fault, FaultKind, Flapping, Flaps, Hold, LastLookup, LocalReason, LookupError, Outcome, Swing,
    Target, millis,
};
use crate::drivers::{self, Call, Driver};
use crate::engine::cluster_spec::ClusterBase;
use crate::engine::remote::{Lease, RemoteChange};
use crate::net::open_files;
use crate::net::secret::{self, SecretFiles, UsedSecret};
use crate::supervision::failpoints::{FailAction, Failpoint};
use crate::supervision::health::{Child, ChildPath, Health};
use crate::supervision::shell::{again_in, because};
use crate::telemetry::event;

/// How a group of devices is asked.
#[derive(Debug)]
pub(crate) struct TargetGroup {
    pub(super) target: Target,
    /// Whether there is no asking a device without a port of its own.
    needs_port: bool,
    /// Files that a lookup has open at a time.
    open_files: u32,
    driver: Driver,
    /// Whether a lookup may wait for files: with secrets, or the system's authorities.
    reads_files: bool,
    secrets: SecretFiles,
}

impl TargetGroup {
    pub(crate) fn new(target: Target) -> Self {
        let driver = Driver::new(&target);
        let needs_port = target.driver.names_port();
        let reads_files = target.driver.kind() != DriverKind::Simulated;
        let open_files = drivers::open_files(target.driver.kind());
        Self {
            target,
            needs_port,
            open_files,
            driver,
            reads_files,
            secrets: SecretFiles::default(),
        }
    }
}

/// A device of a cluster: what its actor is built from.
#[derive(Debug)]
pub(crate) struct Device {
    /// Not the cluster's spec, which holds this.
    cluster: Arc<ClusterBase>,
    kind: DeviceKind,
    id: DeviceId,
    /// The port that it was discovered with, if it was.
    port: Option<NonZeroU16>,
    pub(super) group: Arc<TargetGroup>,
    /// Lookups begun, retries included.
    asked: AtomicU32,
    /// Whether its lookup waits for room.
    queued: Queued,
    /// Whether its lookup waits for a file with a secret.
    awaits_file: AtomicBool,
    /// Whether its actor holds ports of collects, which it lets go of when they do not wait any more.
    is_awaited: AtomicBool,
    health: Health,
    record: Mutex<Record>,
}

/// What is known of a device from its answers.
#[derive(Debug, Clone, Default)]
struct Record {
    breaker: Breaker,
    last: Option<LastResult>,
    /// When a lookup last succeeded, in microseconds since the service started.
    succeeded_at_us: Option<u64>,
    /// The facts of that lookup.
    facts: Facts,
    /// That it fails, if it does and its fleet's history says so; boxed, as most do not.
    outage: Option<Box<Outage>>,
    /// How often that began and ended of late; boxed, as mostly it did not.
    flaps: Option<Box<Flaps>>,
    /// Whether its actor crashed after the last lookup.
    has_crashed: bool,
    /// The secrets that were refused last; boxed, as mostly none are.
    refused: Option<Arc<Vec<UsedSecret>>>,
}

/// The time in which a device fails.
#[derive(Debug, Clone)]
struct Outage {
    /// When it began, in microseconds since the service started.
    since_us: u64,
    /// Lookups that failed, and crashes, of which this process knows.
    failures: u32,
    /// The kinds of fault that it had: a set of [`FaultKind::index`].
    kinds: u32,
}

/// What an outcome changes of what is known of a device.
enum OutageChange {
    /// It begins to fail.
    Failing,
    /// It fails with a kind of fault that it did not have in this outage.
    OtherFault,
    /// It answers again.
    Recovered(Box<Outage>),
}

/// What came of a lookup.
#[derive(Debug)]
pub(super) struct LookedUp {
    pub(super) outcome: Outcome,
    /// When it ended, counted from when the service started.
    ended: Duration,
    /// How long it took, retries included.
    took: Duration,
    /// The secrets that the device refused, if it did.
    refused: Option<Arc<Vec<UsedSecret>>>,
}

/// What came of asking a device.
#[derive(Debug)]
pub(super) enum Asked {
    LookedUp(LookedUp),
    /// It was not asked: its breaker is open, and the secrets that it refused are the same.
    Not(Arc<Fault>),
    /// It was not asked: others may ask it now.
    LeaseOver,
}

/// What came of a device's last lookup.
#[derive(Debug, Clone)]
struct LastResult {
    outcome: Outcome,
    /// When it ended, in microseconds since the service started.
    at_us: u64,
    /// How long it took, in microseconds; `None` if a collect's deadline cut it off.
    took_us: Option<u32>,
}

impl Record {
    /// Takes note of a failure at `at_us`; what that changes.
    fn fails(&mut self, at_us: u64, kind: FaultKind) -> Option<OutageChange> {
        let kind = 1 << kind.index();
        let Some(outage) = &mut self.outage else {
            self.outage = Some(Box::new(Outage {
                since_us: at_us,
                failures: 0,
                kinds: kind,
            }));
            return Some(OutageChange::Failing);
        };
        let is_known = outage.kinds & kind != 0;
        outage.kinds |= kind;
        (!is_known).then_some(OutageChange::OtherFault)
    }

    /// What is to be said of it, now that `change` came of a look at it.
    fn flapping(&mut self, change: Option<&OutageChange>, now: Duration) -> Flapping {
        let has_changed = matches!(
            change,
            Some(OutageChange::Failing | OutageChange::Recovered(_))
        );
        match &mut self.flaps {
            Some(flaps) => flaps.look(has_changed, now),
            None if has_changed => self.flaps.insert(Box::default()).look(true, now),
            None => Flapping::No,
        }
    }

    /// Counts a failure that this process has seen itself.
    fn count_failure(&mut self) {
        if let Some(outage) = &mut self.outage {
            outage.failures = outage.failures.saturating_add(1);
        }
    }
}

impl LastResult {
    fn took(&self) -> Option<Duration> {
        self.took_us.map(|it| Duration::from_micros(it.into()))
    }
}

impl Child for Device {
    fn path(&self) -> ChildPath {
        ChildPath::Device(self.cluster.id.clone(), self.kind, self.id.clone())
    }

    fn role(&self) -> &'static str {
        self.kind.as_str()
    }

    fn health(&self) -> &Health {
        &self.health
    }

    fn crashed(&self, fault: &Fault) {
        let now = self.cluster.env.rules.now();
        let change = self.crashed_at(now, fault);
        let flapping = {
            let mut record = self.record();
            record.count_failure();
            record.flapping(change.as_ref(), now)
        };
        // Each crash has a line of its own.
        let change = change.filter(|it| matches!(it, OutageChange::Failing));
        self.say(change, flapping, Some(fault), now, None);
    }

    fn failing(&self) -> Option<Failing> {
        let record = self.record();
        let since = self.wall(record.outage.as_ref()?.since_us);
        let fault = if record.has_crashed {
            self.health.last_exit()?.fault
        } else {
            record.last.as_ref()?.outcome.as_ref().err().cloned()?
        };
        Some(Failing { fault, since })
    }
}

impl Device {
    pub(super) fn new(
        cluster: Arc<ClusterBase>,
        kind: DeviceKind,
        id: DeviceId,
        port: Option<NonZeroU16>,
        group: Arc<TargetGroup>,
    ) -> Self {
        Self {
            cluster,
            kind,
            id,
            port,
            group,
            asked: AtomicU32::new(0),
            queued: Queued::default(),
            awaits_file: AtomicBool::new(false),
            is_awaited: AtomicBool::new(false),
            health: Health::default(),
            record: Mutex::default(),
        }
    }

    pub(super) fn identity(&self) -> (DeviceKind, &DeviceId) {
        (self.kind, &self.id)
    }

    /// The lease that whoever begins to ask it has to look at, if there are leases.
    pub(super) fn lease(&self) -> Option<Arc<dyn Lease>> {
        self.cluster.lease()
    }

    /// Who asks it.
    pub(super) fn driver(&self) -> DriverKind {
        self.group.target.driver.kind()
    }

    /// Whether it is asked in this way.
    pub(super) fn is_asked(&self, target: &Target, port: Option<NonZeroU16>) -> bool {
        self.group.target == *target && self.port == port
    }

    /// What is known of it, if its actor runs, has not crashed since its last lookup, and that ended no
    /// longer ago than this.
    pub(crate) fn known(&self, max_age: Duration) -> Option<Outcome> {
        if self.health.down().is_some() {
            return None;
        }
        let record = self.record();
        let last = record.last.as_ref().filter(|_| !record.has_crashed)?;
        (self.age(last.at_us) <= max_age).then(|| last.outcome.clone())
    }

    /// When and how fast its last lookup gave just this outcome; `None` if another one did,
    /// or none.
    pub(crate) fn observed(&self, outcome: &Outcome) -> Option<(SystemTime, Option<Duration>)> {
        let record = self.record();
        let last = record.last.as_ref()?;
        let is_it = match (&last.outcome, outcome) {
            (Ok(known), Ok(facts)) => known.is(facts),
            (Err(known), Err(fault)) => Arc::ptr_eq(known, fault),
            (Ok(_), Err(_)) | (Err(_), Ok(_)) => false,
        };
        is_it.then(|| (self.wall(last.at_us), last.took()))
    }

    /// When that was, in microseconds since the service started.
    fn wall(&self, at_us: u64) -> SystemTime {
        let rules = &self.cluster.env.rules;
        rules.wall(Duration::from_micros(at_us))
    }

    /// How long ago that was, in microseconds since the service started.
    fn age(&self, at_us: u64) -> Duration {
        let now = self.cluster.env.rules.now();
        now.saturating_sub(Duration::from_micros(at_us))
    }

    /// Lookups begun so far.
    pub(super) fn asked(&self) -> u32 {
        self.asked.load(Ordering::Relaxed)
    }

    /// What its lookup waits for before it begins; 0 if for nothing.
    pub(crate) fn queued(&self) -> u32 {
        self.queued.what()
    }

    /// Whether its lookup waits for a file of ours, and not for the device.
    pub(super) fn awaits_file(&self) -> bool {
        self.awaits_file.load(Ordering::Relaxed)
    }

    /// Whether its actor holds ports of collects.
    pub(super) fn is_awaited(&self) -> bool {
        self.is_awaited.load(Ordering::Relaxed)
    }

    /// Its actor holds ports of collects from now on, or none.
    pub(super) fn set_awaited(&self, is_awaited: bool) {
        self.is_awaited.store(is_awaited, Ordering::Relaxed);
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes wrong here if a failpoint says so.
    pub(super) fn pass(&self, point: Failpoint) -> Option<FailAction> {
        self.cluster.failpoints.as_ref()?.pass(point, &self.path())
    }

    fn crashed_at(&self, at: Duration, fault: &Fault) -> Option<OutageChange> {
        let mut record = self.record();
        record.has_crashed = true;
        let change = record.fails(micros(at), fault.kind());
        drop(record);
        if matches!(change, Some(OutageChange::Failing)) {
            let event = Event::Failing(Arc::new(fault.clone()));
            self.cluster.note(self.kind, &self.id, event);
        }
        change
    }

    /// The same device, asked in another way: what it fails with now is said again, and when it
    /// answers, that ends the failing of before.
    pub(super) fn replaces(self, old: &Self) -> Self {
        let outage = old.record().outage.as_ref().map(|outage| {
            let Outage {
                since_us, failures, ..
            } = **outage;
            let kinds = 0;
            Box::new(Outage {
                since_us,
                failures,
                kinds,
            })
        });
        let flaps = old.record().flaps.clone();
        {
            let mut record = self.record();
            (record.outage, record.flaps) = (outage, flaps);
        }
        self
    }

    /// Whether it is asked now, as a caller forces it, although its breaker is open or its actor is
    /// down; if that is down, it is started.
    pub(super) fn force(&self) -> bool {
        let state = self.record().breaker.state(self.cluster.env.rules.now());
        let is_down = self.health.down().is_some();
        let is_held = is_down || matches!(state, BreakerState::Open(_));
        if !is_held || self.health.force(Instant::now()).is_err() {
            return false;
        }
        if is_down {
            self.health.start_now();
        }
        true
    }

    /// Closes its breaker, and ends its backoff or quarantine; gives what it had of those.
    pub(super) fn reset(&self) -> Vec<Hold> {
        let mut cleared = Vec::new();
        let is_closed = {
            let mut record = self.record();
            std::mem::take(&mut record.breaker).is_closed()
        };
        if !is_closed {
            self.cluster.metrics.breaker_closed();
            cleared.push(Hold::Breaker);
        }
        cleared.extend(hold(self.health.reset()));
        cleared
    }

    /// A fault at once if the circuit breaker is open.
    pub(super) fn refusal(&self) -> Option<Arc<Fault>> {
        let record = self.record();
        if record.breaker.is_closed() {
            return None;
        }
        let BreakerState::Open(wait) = record.breaker.state(self.cluster.env.rules.now()) else {
            return None;
        };
        let failures = record.breaker.failures();
        drop(record);
        let again = again_in(wait);
        let text = format!("not asked, failures in a row: {failures}{again}");
        let message = because(self.failing(), &text);
        Some(Arc::new(Fault::new(FaultKind::BreakerOpen, message)))
    }

    /// The secrets that the device refused in its last lookup, if they are in files: others may be
    /// there now.
    pub(super) fn refused_secrets(&self) -> Option<Arc<Vec<UsedSecret>>> {
        let record = self.record();
        let last = record.last.as_ref()?.outcome.as_ref().err()?;
        let refused = record.refused.as_ref()?;
        (last.kind() == FaultKind::Auth && !refused.is_empty()).then(|| Arc::clone(refused))
    }

    /// As [`Device::lookup`], if one of these secrets is another one now; `tick` is for the schedule.
    pub(super) async fn lookup_with_other(
        self: Arc<Self>,
        refused: Arc<Vec<UsedSecret>>,
        refusal: Arc<Fault>,
        tick: Option<Tick>,
        lease: Option<Arc<dyn Lease>>,
    ) -> Asked {
        if !self.group.secrets.have_changed(&refused).await {
            return Asked::Not(refusal);
        }
        self.log(
            Level::Info,
            "asked before its breaker closes: a secret changed",
            &[],
        );
        if let Some(tick) = tick {
            tick.take();
        }
        self.lookup(lease).await
    }

    /// Takes note of what came of a lookup.
    pub(super) fn learned(&self, lookup: &LookedUp) {
        if let Some(refused) = &lookup.refused {
            self.record().refused = Some(Arc::clone(refused));
        }
        self.note(&lookup.outcome, lookup.ended, Some(lookup.took));
    }

    /// Takes note of a lookup that was cut off with `fault`.
    pub(super) fn cut_off(&self, fault: &Arc<Fault>) {
        self.note(&Err(Arc::clone(fault)), self.cluster.env.rules.now(), None);
    }

    /// Takes note of what another process learned of it, so long ago. That one counts and logs it, and
    /// decides whether the device is asked.
    pub(super) fn told(&self, outcome: &Outcome, age: Duration, took: Option<Duration>) {
        let at = self.cluster.env.rules.now().saturating_sub(age);
        drop(self.remember(outcome, at, took));
    }

    /// Takes note of what another process says that it became, so long ago, unless that is known.
    pub(super) fn apply_remote_change(&self, happened: RemoteChange) {
        let at = self.cluster.env.rules.now().saturating_sub(happened.age);
        let outcome = &happened.outcome;
        if let Err(fault) = outcome
            && fault.kind() == FaultKind::Crashed
        {
            // No lookup gave that.
            self.crashed_at(at, fault);
            return;
        }
        let (is_news, is_first) = {
            let record = self.record();
            let is_older = record.last.as_ref().is_some_and(|it| micros(at) < it.at_us);
            let is_news = match outcome {
                Ok(facts) => record.outage.is_some() || record.facts.differ(facts),
                Err(_) => record.outage.is_none(),
            };
            (is_news && !is_older, record.succeeded_at_us.is_none())
        };
        if is_news {
            drop(self.remember(outcome, at, None));
            // What they were before is not known here.
            if is_first && !happened.facts.is_empty() {
                let event = Event::FactsChanged(happened.facts);
                self.cluster.note(self.kind, &self.id, event);
            }
        }
    }

    /// What it is after this change; `None` if it says nothing of that.
    pub(super) fn after(&self, event: &Event) -> Option<Outcome> {
        match event {
            Event::Appeared | Event::Gone => None,
            Event::Failing(fault) => Some(Err(Arc::clone(fault))),
            Event::Recovered | Event::FactsChanged(_) => Some(Ok(self.record().facts.clone())),
        }
    }

    /// `now` is counted from when the service started.
    fn note(&self, outcome: &Outcome, now: Duration, took: Option<Duration>) {
        let metrics = &self.cluster.metrics;
        let driver = self.driver();
        let (mut record, change) = self.remember(outcome, now, took);
        let flapping = record.flapping(change.as_ref(), now);
        match outcome {
            Ok(_) => {
                let closed = record.breaker.succeeded();
                drop(record);
                metrics.looked_up(driver, None, took);
                if closed {
                    metrics.breaker_closed();
                    self.log(Level::Debug, "circuit breaker closed", &[]);
                }
                self.say(change, flapping, None, now, None);
            }
            Err(fault) => {
                record.count_failure();
                let policy = &self.group.target.breaker;
                // What is missing here says nothing of the device.
                let opened = match fault.local_reason() {
                    Some(reason) => {
                        metrics.failed_locally(reason);
                        None
                    }
                    None => record.breaker.failed(policy, fault.breaker_kind(), now),
                };
                let failures = record.breaker.failures();
                drop(record);
                metrics.looked_up(driver, Some(fault.kind()), took);
                let open_ms = opened.map(|open| ("breaker_open_ms", Value::from(millis(open))));
                self.say(change, flapping, Some(fault), now, open_ms.clone());
                if let Some(open_ms) = open_ms {
                    metrics.breaker_opened();
                    let fields = [("failures", Value::from(failures)), open_ms];
                    self.log(Level::Debug, "circuit breaker opened", &fields);
                }
            }
        }
    }

    /// Says in the log what a look at the device changed; of one that flaps that it does, once.
    fn say<'v>(
        &self,
        change: Option<OutageChange>,
        flapping: Flapping,
        fault: Option<&'v Fault>,
        now: Duration,
        more: Option<(&'v str, Value<'v>)>,
    ) {
        let worst = fault.map_or(Level::Info, |_| Level::Warn);
        let swung = |Swing { changes, within }| {
            let within = ("within_ms", Value::from(millis(within)));
            vec![("changes", Value::from(changes)), within]
        };
        let (level, message, mut fields) = match (flapping, change) {
            (Flapping::Begins(swing), _) => (Level::Warn, "flapping", swung(swing)),
            (Flapping::Ends(swing), _) => (worst, "flapping no more", swung(swing)),
            (Flapping::No | Flapping::Goes, None) => return,
            (Flapping::No | Flapping::Goes, Some(change)) => match change {
                OutageChange::Failing => (worst, "failing", Vec::new()),
                OutageChange::OtherFault => (worst, "failing with another fault", Vec::new()),
                OutageChange::Recovered(outage) => {
                    let since = Duration::from_micros(outage.since_us);
                    let failing_ms = Value::from(millis(now.saturating_sub(since)));
                    let failures = ("failures", Value::from(outage.failures));
                    (
                        worst,
                        "recovered",
                        vec![("failing_ms", failing_ms), failures],
                    )
                }
            },
        };
        let is_said = flapping != Flapping::Goes;
        let level = if is_said { level } else { Level::Debug };
        fields.extend(more);
        match fault {
            Some(fault) => self.log_with(level, message, fault, &fields),
            None => self.log(level, message, &fields),
        }
    }

    /// Keeps what came of a lookup, and notes in the fleet's history what that changes.
    #[inline]
    fn remember(
        &self,
        outcome: &Outcome,
        now: Duration,
        took: Option<Duration>,
    ) -> (MutexGuard<'_, Record>, Option<OutageChange>) {
        let mut record = self.record();
        let at_us = micros(now);
        let took_us = took.map(|took| u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
        record.has_crashed = false;
        record.last = Some(LastResult {
            outcome: outcome.clone(),
            at_us,
            took_us,
        });
        let (event, change) = match outcome {
            Ok(facts) => {
                let is_first = record.succeeded_at_us.replace(at_us).is_none();
                let before = std::mem::replace(&mut record.facts, facts.clone());
                if let Some(outage) = record.outage.take() {
                    (
                        Some(Event::Recovered),
                        Some(OutageChange::Recovered(outage)),
                    )
                } else {
                    let changed = !is_first && before.differ(facts);
                    let facts = || Event::FactsChanged(drivers::changed_facts(&before, facts));
                    (changed.then(facts), None)
                }
            }
            Err(fault) => {
                let change = record.fails(at_us, fault.kind());
                let is_new = matches!(change, Some(OutageChange::Failing));
                (is_new.then(|| Event::Failing(Arc::clone(fault))), change)
            }
        };
        if let Some(event) = event {
            self.cluster.note(self.kind, &self.id, event);
        }
        (record, change)
    }

    /// A request joined its lookup under way.
    pub(super) fn joined(&self) {
        self.cluster.metrics.joined();
    }

    /// What anybody may know at `now`.
    pub(super) fn state(&self, now: Instant) -> DeviceState {
        let Record {
            breaker,
            last,
            succeeded_at_us,
            outage,
            ..
        } = self.record().clone();
        let since_start = self.cluster.env.rules.now();
        let age = |at_us| since_start.saturating_sub(Duration::from_micros(at_us));
        DeviceState {
            id: self.id.clone(),
            child: self.health.state(now),
            breaker: breaker.state(since_start),
            failures: breaker.failures(),
            last: last.map(|last| LastLookup {
                age: age(last.at_us),
                at: self.wall(last.at_us),
                took: last.took(),
                outcome: last.outcome,
            }),
            last_success: succeeded_at_us.map(age),
            last_success_at: succeeded_at_us.map(|it| self.wall(it)),
            failing_since: outage.map(|it| self.wall(it.since_us)),
        }
    }

    /// Asks the device, when there is room for one more lookup in its cluster; again after a
    /// transient failure, as far as its retries, its timeout and the lease go.
    ///
    /// That is looked at right before the device is asked: a thread that was stuck, or a process that
    /// was stopped, goes on with what it had to do before it is told that it is over.
    pub(super) async fn lookup(self: Arc<Self>, lease: Option<Arc<dyn Lease>>) -> Asked {
        let _permit = match self.cluster.permits() {
            // Closed never, as nobody does. Boxed, as most do not wait.
            Some(permits) => {
                let permit = self.queued.wait(MAX_CONCURRENT, permits.acquire_owned());
                Box::pin(permit).await.ok()
            }
            None => None,
        };
        // The same, for the files that it opens.
        let _files = match self.group.open_files {
            0 => None,
            files => {
                let taken = self.queued.wait(files, open_files::wait_for(files));
                Some(Box::pin(taken).await)
            }
        };
        if is_over(lease.as_ref()) {
            return Asked::LeaseOver;
        }
        let _counted = self.cluster.metrics.looking_up();
        let rules = &self.cluster.env.rules;
        let began = rules.now();
        let (result, used) = self.attempts(began, lease.as_ref()).await;
        let ended = rules.now();
        let took = ended.saturating_sub(began);
        let outcome = result.map_err(|error| {
            let fault = Fault::from(error);
            self.log_fault("lookup failed", &fault, Some(took));
            Arc::new(fault)
        });
        let is_auth = |fault: &Arc<Fault>| fault.kind() == FaultKind::Auth;
        let refused = outcome.as_ref().is_err_and(is_auth);
        Asked::LookedUp(LookedUp {
            outcome,
            ended,
            took,
            refused: refused.then(|| Arc::new(used)),
        })
    }

    /// Asks it until that succeeds, cannot, or has been tried often enough; also gives the secrets that
    /// it was asked with. `began` is counted from when the service started.
    async fn attempts(
        &self,
        began: Duration,
        lease: Option<&Arc<dyn Lease>>,
    ) -> (Result<Facts, LookupError>, Vec<UsedSecret>) {
        let TargetGroup {
            target,
            needs_port,
            driver,
            reads_files,
            ..
        } = &*self.group;
        if *needs_port && self.port.is_none() {
            let why = "its list names no port for it, and {port} stands for that";
            let error = LookupError::Local(LocalReason::Setup, why.to_owned());
            return (Err(error), Vec::new());
        }
        let timeout = target.timeout;
        let deadline = self.cluster.env.rules.instant(began) + timeout;
        let mut retries = 0;
        loop {
            let number = self.asked.fetch_add(1, Ordering::Relaxed);
            self.pass(Failpoint::Item);
            let call = Call {
                cluster: &self.cluster.id,
                kind: self.kind,
                device: &self.id,
                port: self.port,
                number,
                deadline,
                timeout,
            };
            let (result, used) = if *reads_files {
                Box::pin(secret::using(&self.awaits_file, driver.lookup(call))).await
            } else {
                (driver.lookup(call).await, Vec::new())
            };
            let error = match result {
                Ok(facts) => return (Ok(facts), used),
                Err(error) => error,
            };
            if retries == target.retry.retries || !error.kind().is_transient() {
                return (Err(error), used);
            }
            retries += 1;
            let wait = target.retry.backoff.delay(retries, rand::random());
            if Instant::now() + wait >= deadline {
                return (Err(error), used);
            }
            self.cluster.metrics.retried();
            let fault = Fault::from(error.clone());
            self.log_fault("lookup failed, trying again", &fault, None);
            tokio::time::sleep(wait).await;
            if is_over(lease) {
                return (Err(error), used);
            }
        }
    }

    /// Logs what became of one lookup, for debugging.
    pub(super) fn log_fault(&self, message: &str, fault: &Fault, took: Option<Duration>) {
        let took = took.map(|took| ("duration_ms", Value::from(millis(took))));
        self.log_with(Level::Debug, message, fault, took.as_slice());
    }

    fn log_with(&self, level: Level, message: &str, fault: &Fault, more: &[(&str, Value<'_>)]) {
        let fault = [
            ("kind", Value::from(fault.kind().as_str())),
            ("error", Value::from(fault.message())),
        ];
        self.log(level, message, &[&fault, more].concat());
    }

    fn log(&self, level: Level, message: &str, fields: &[(&str, Value<'_>)]) {
        let mut all = vec![
            ("cluster", Value::from_display(&self.cluster.id)),
            (self.kind.as_str(), Value::from_display(&self.id)),
        ];
        all.extend_from_slice(fields);
        event(level, module_path!(), message, &all);
    }
}

fn is_over(lease: Option<&Arc<dyn Lease>>) -> bool {
    lease.is_some_and(|lease| !lease.holds())
}

/// What it was for a device that its actor, or that of its cluster, was down: whether in quarantine.
pub(super) fn hold(quarantined: Option<bool>) -> Option<Hold> {
    quarantined.map(|quarantined| {
        if quarantined {
            Hold::Quarantine
        } else {
            Hold::Backoff
        }
    })
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
pub(crate) mod actor;
pub(crate) mod probe;
