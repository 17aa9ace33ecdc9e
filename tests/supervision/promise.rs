//! Guarantee G11 of `docs/supervision.md` against a small reference model: in every order of events
//! each answer is complete, ordered and in time, and the counters are the model's.
//!
//! The model knows no actor, message or thread. It keeps for each child what the rules say of it
//! and works out each collect from that. How a restart history and a breaker count is theirs
//! (`domain`, each with a model of its own); what is asked, answered, counted and forgotten is
//! checked here. A failure prints its seed: `PROMISE_SEED=… cargo nextest run promise` runs the very
//! same sequences.

use std::collections::BTreeMap;
use std::time::Duration;

use fleetcall::config::Config;
use fleetcall::domain::{
    Backoff, Breaker, BreakerPolicy, BreakerState, Decision, FaultKind, Liveness, RestartHistory,
    Step, SupervisionPolicy,
};
use fleetcall::supervision::failpoints::{FailAction, Failpoint};
use fleetcall::telemetry::Census;
use proptest::prelude::*;
use proptest::test_runner::{Config as Runs, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use tokio::time::{Instant, sleep};

use crate::harness::{Fleet, children, devices, parse};

const CASES: u32 = 256;
const CLUSTERS: usize = 2;
const SLOTS: usize = 4;

const LATENCY: Duration = Duration::from_millis(10);
const TIMEOUT: Duration = Duration::from_millis(50);
const DEADLINE: Duration = Duration::from_millis(200);
/// A little before the deadline the answer is closed.
const CLOSED_AFTER: Duration = Duration::from_millis(198);
/// How much later the second of two collects begins.
const LATER: Duration = Duration::from_millis(5);

const POLICY: SupervisionPolicy = SupervisionPolicy {
    intensity: 2,
    period: Duration::from_secs(10),
    backoff: Backoff {
        min: Duration::from_millis(100),
        max: Duration::from_millis(100),
    },
    quarantine: Duration::from_secs(5),
};

const BREAKER: BreakerPolicy = BreakerPolicy {
    failures: 3,
    open_min: Duration::from_secs(2),
    open_max: Duration::from_secs(8),
};

/// Timers may be late by a millisecond each; what happens closer together than this is not decided.
const CLOSE: Duration = Duration::from_millis(15);

const FAIL: Step = Step::Fail(FaultKind::Failed);
const AUTH: Step = Step::Fail(FaultKind::Auth);

/// How a device behaves: its script, and whether its lookups have no timeout of their own.
const BEHAVIOURS: [(&[Step], bool); 8] = [
    (&[Step::Ok], false),
    (&[Step::Ok, FAIL], false),
    (&[Step::Panic, Step::Ok], false),
    (&[Step::Hang, Step::Ok], false),
    (&[FAIL], false),
    (&[AUTH, Step::Ok], false),
    (&[Step::Ok, Step::Panic, Step::Panic, Step::Hang], false),
    (&[Step::Hang, Step::Ok], true),
];

/// The behaviour of each device that there is; the first two slots are nodes.
type Layout = [[Option<usize>; SLOTS]; CLUSTERS];

#[derive(Debug, Clone)]
enum Op {
    Collect,
    /// Two at nearly the same time.
    Twice,
    /// One whose caller goes away after so many milliseconds.
    Cancel(u64),
    /// One that makes the cluster's actor panic.
    Crash(usize),
    /// One that makes the device's actor stop itself.
    Stop(usize, usize),
    /// So many milliseconds pass: up to past the end of any quarantine.
    Wait(u64),
    Reload(Vec<(usize, usize, Option<usize>)>),
    /// A reload while a collect is under way.
    ReloadDuring(Vec<(usize, usize, Option<usize>)>),
}

fn layout() -> impl Strategy<Value = Layout> {
    let slot = || prop::option::weighted(0.8, 0..BEHAVIOURS.len());
    let cluster = || [slot(), slot(), slot(), slot()];
    [cluster(), cluster()]
}

fn op() -> impl Strategy<Value = Op> {
    let change = (
        0..CLUSTERS,
        0..SLOTS,
        prop::option::weighted(0.7, 0..BEHAVIOURS.len()),
    );
    let changes = || prop::collection::vec(change.clone(), 1..4);
    prop_oneof![
        8 => Just(Op::Collect),
        3 => Just(Op::Twice),
        2 => prop::sample::select(vec![5_u64, 30]).prop_map(Op::Cancel),
        2 => (0..CLUSTERS).prop_map(Op::Crash),
        2 => (0..CLUSTERS, 0..SLOTS).prop_map(|(cluster, slot)| Op::Stop(cluster, slot)),
        5 => (1_u64..400).prop_map(Op::Wait),
        3 => (400_u64..12_000).prop_map(Op::Wait),
        2 => changes().prop_map(Op::Reload),
        2 => changes().prop_map(Op::ReloadDuring),
    ]
}

fn id_of(slot: usize) -> (&'static str, usize) {
    let kind = if slot < SLOTS / 2 { "node" } else { "switch" };
    (kind, slot % (SLOTS / 2))
}

fn is_present(cluster: &[Option<usize>; SLOTS]) -> bool {
    cluster.iter().any(Option::is_some)
}

fn config(layout: &Layout) -> Config {
    parse(&text(layout))
}

fn text(layout: &Layout) -> String {
    let mut text = format!(
        "[lookup]\nlatency = \"{LATENCY:?}\"\ntimeout = \"{TIMEOUT:?}\"\n\
         breaker = {{ failures = 3, open = {{ min = \"2s\", max = \"8s\" }} }}\n\
         [collect]\ndeadline = \"{DEADLINE:?}\"\n\
         [supervision]\nintensity = 2\nperiod = \"10s\"\nquarantine = \"5s\"\n\
         backoff = {{ min = \"100ms\", max = \"100ms\" }}\n"
    );
    for (id, cluster) in layout.iter().enumerate().filter(|(_, it)| is_present(it)) {
        text += &format!("[[clusters]]\nid = {id}\n");
        for (slot, behaviour) in cluster.iter().enumerate() {
            let Some(behaviour) = *behaviour else {
                continue;
            };
            let (kind, device) = id_of(slot);
            let kind = if kind == "node" { "nodes" } else { "switches" };
            let (script, silent) = BEHAVIOURS[behaviour];
            let steps: Vec<&str> = script
                .iter()
                .map(|step| match step {
                    Step::Ok => "\"ok\"",
                    Step::Fail(FaultKind::Auth) => "\"auth\"",
                    Step::Fail(_) => "\"fail\"",
                    Step::Hang => "\"hang\"",
                    Step::Panic => "\"panic\"",
                })
                .collect();
            let timeout = if silent { ", timeout = \"1h\"" } else { "" };
            text += &format!(
                "[[clusters.{kind}]]\nids = {device}\nlookup = {{ script = [{}]{timeout} }}\n",
                steps.join(", ")
            );
        }
    }
    text
}

/// What the rules say of one supervised child.
#[derive(Debug, Clone, Default)]
struct Child {
    history: RestartHistory,
    failures: Vec<Duration>,
    up_since: Duration,
    restarts: u32,
    /// Whether it is quarantined, and until when it is down.
    down: Option<(bool, Duration)>,
}

#[derive(Debug, Clone)]
struct Device {
    behaviour: usize,
    asked: usize,
    child: Child,
    breaker: Breaker,
}

#[derive(Debug, Clone, Default)]
struct Cluster {
    child: Child,
    devices: BTreeMap<usize, Device>,
}

/// What is counted, by the names that the product gives.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Counters {
    collects: u64,
    collects_cancelled: u64,
    lookups: u64,
    lookups_failed: u64,
    crashes: u64,
    quarantines: u64,
    breakers_opened: u64,
    breakers_closed: u64,
}

#[derive(Debug, Clone, Default)]
struct Model {
    clusters: BTreeMap<usize, Cluster>,
    counters: Counters,
    /// Something depends on which of two events within [`CLOSE`] comes first.
    is_close: bool,
}

impl Child {
    fn born(now: Duration) -> Self {
        Self {
            up_since: now,
            ..Self::default()
        }
    }
}

fn close(a: Duration, b: Duration) -> bool {
    a.abs_diff(b) < CLOSE
}

impl Model {
    fn new(layout: &Layout) -> Self {
        let mut model = Self::default();
        model.reload(layout, Duration::ZERO);
        model
    }

    /// What is configured as before stays, all else is forgotten or new.
    fn reload(&mut self, layout: &Layout, now: Duration) {
        for (id, slots) in layout.iter().enumerate() {
            if !is_present(slots) {
                self.clusters.remove(&id);
                continue;
            }
            let cluster = self.clusters.entry(id).or_insert_with(|| Cluster {
                child: Child::born(now),
                devices: BTreeMap::new(),
            });
            for (slot, behaviour) in slots.iter().enumerate() {
                match (*behaviour, cluster.devices.get(&slot)) {
                    (None, _) => {
                        cluster.devices.remove(&slot);
                    }
                    (Some(behaviour), Some(old)) if old.behaviour == behaviour => {}
                    (Some(behaviour), _) => {
                        let device = Device {
                            behaviour,
                            asked: 0,
                            child: Child::born(now),
                            breaker: Breaker::default(),
                        };
                        cluster.devices.insert(slot, device);
                    }
                }
            }
        }
    }

    /// Brings back who is due.
    fn pass_time(&mut self, now: Duration) {
        let mut is_close = false;
        for cluster in self.clusters.values_mut() {
            let mut restarted_at = None;
            if let Some((_, until)) = cluster.child.down {
                is_close |= close(until, now);
                if until <= now {
                    cluster.child.down = None;
                    cluster.child.restarts += 1;
                    cluster.child.up_since = until;
                    restarted_at = Some(until);
                }
            }
            let is_up = cluster.child.down.is_none();
            for device in cluster.devices.values_mut() {
                is_close |= matches!(
                    device.breaker.state(now + CLOSE),
                    BreakerState::Open(wait) if wait < CLOSE * 2
                ) || matches!(
                    device.breaker.state(now),
                    BreakerState::Open(wait) if wait < CLOSE
                ) || (device.breaker.state(now) == BreakerState::HalfOpen
                    && now > CLOSE
                    && matches!(device.breaker.state(now - CLOSE), BreakerState::Open(_)));
                let Some((_, until)) = device.child.down else {
                    if let Some(at) = restarted_at {
                        device.child.up_since = at;
                    }
                    continue;
                };
                is_close |= close(until, now);
                // While its cluster is down nobody brings it back.
                let at = restarted_at.map_or(until, |at| until.max(at));
                if is_up && at <= now {
                    device.child.down = None;
                    device.child.restarts += 1;
                    device.child.up_since = at;
                }
            }
        }
        self.is_close |= is_close;
    }

    /// One roll call that begins at `now`; gives the answer of each device there is.
    ///
    /// `crash` and `stop` say whose actor goes wrong, `cut` when nobody waits any more.
    fn collect(
        &mut self,
        now: Duration,
        crash: Option<usize>,
        stop: Option<(usize, usize)>,
        patience: Duration,
        second: bool,
    ) -> (Vec<String>, Duration) {
        self.pass_time(now);
        let (mut answer, mut took) = (Vec::new(), Duration::ZERO);
        let Self {
            clusters,
            counters,
            is_close,
        } = self;
        for (&id, cluster) in clusters {
            let named = |slot: usize, fault: &str| {
                let (kind, device) = id_of(slot);
                format!("{id}/{}{device}{fault}", &kind[..1])
            };
            let all = |cluster: &Cluster, fault: &str| -> Vec<String> {
                cluster
                    .devices
                    .keys()
                    .map(|&slot| named(slot, fault))
                    .collect()
            };
            if let Some((quarantined, _)) = cluster.child.down {
                let fault = if quarantined {
                    ":quarantined"
                } else {
                    ":restarting"
                };
                answer.extend(all(cluster, fault));
                continue;
            }
            if crash == Some(id) {
                answer.extend(all(cluster, ":crashed"));
                fall(&mut cluster.child, now, counters, is_close);
                continue;
            }
            cluster.child.history.passed_trial();
            for (&slot, device) in &mut cluster.devices {
                let (fault, at) = ask(
                    device,
                    now,
                    stop == Some((id, slot)),
                    patience,
                    second,
                    counters,
                    is_close,
                );
                answer.push(named(slot, &fault));
                took = took.max(at);
            }
        }
        (answer, took)
    }

    /// What the next collect would find if it began a moment after one that has just begun.
    fn joined(
        &self,
        first: &[String],
        crash: Option<usize>,
        stop: Option<(usize, usize)>,
    ) -> Vec<String> {
        let mut answer = Vec::new();
        for (&id, cluster) in &self.clusters {
            for &slot in cluster.devices.keys() {
                let (kind, device) = id_of(slot);
                let name = format!("{id}/{}{device}", &kind[..1]);
                let of_first = first
                    .iter()
                    .find(|it| it.as_str() == name || it.starts_with(&format!("{name}:")));
                let state = |child: &Child| match child.down {
                    Some((true, _)) => ":quarantined",
                    _ => ":restarting",
                };
                answer.push(
                    if crash == Some(id) && of_first.unwrap().ends_with(":crashed") {
                        format!("{name}{}", state(&cluster.child))
                    } else if stop == Some((id, slot)) && of_first.unwrap().ends_with(":crashed") {
                        format!("{name}{}", state(&cluster.devices[&slot].child))
                    } else {
                        of_first.unwrap().clone()
                    },
                );
            }
        }
        answer
    }
}

/// One device's part in a roll call: how it answers, and how long after its beginning.
fn ask(
    device: &mut Device,
    now: Duration,
    stops: bool,
    patience: Duration,
    second: bool,
    counters: &mut Counters,
    is_close: &mut bool,
) -> (String, Duration) {
    let at_once = |fault: &str| (format!(":{fault}"), Duration::ZERO);
    match device.child.down {
        Some((true, _)) => return at_once("quarantined"),
        Some((false, _)) => return at_once("restarting"),
        None => {}
    }
    if stops {
        fall(&mut device.child, now, counters, is_close);
        return at_once("crashed");
    }
    if matches!(device.breaker.state(now), BreakerState::Open(_)) {
        return at_once("breaker_open");
    }
    let (script, silent) = BEHAVIOURS[device.behaviour];
    let step = script[device.asked % script.len()];
    device.asked += 1;
    let (kind, took) = match step {
        Step::Ok | Step::Panic => (None, LATENCY),
        Step::Fail(kind) => (Some(kind), LATENCY),
        Step::Hang if silent => {
            // Whoever waits longest gives it up.
            let gives_up = if second {
                CLOSED_AFTER + LATER
            } else {
                CLOSED_AFTER
            };
            (Some(FaultKind::TimedOut), gives_up)
        }
        Step::Hang => (Some(FaultKind::TimedOut), TIMEOUT),
    };
    if took > patience {
        return (":nobody hears this".to_owned(), patience);
    }
    if step == Step::Panic {
        fall(&mut device.child, now + took, counters, is_close);
        return (":crashed".to_owned(), took);
    }
    // A lookup that ends is work done, one that is cut off is not.
    if !(silent && step == Step::Hang) {
        device.child.history.passed_trial();
    }
    counters.lookups += 1;
    let Some(kind) = kind else {
        counters.breakers_closed += u64::from(device.breaker.succeeded());
        return (String::new(), took);
    };
    counters.lookups_failed += 1;
    let opened = device.breaker.failed(&BREAKER, kind, now + took);
    counters.breakers_opened += u64::from(opened.is_some());
    (format!(":{kind}"), took)
}

fn fall(child: &mut Child, now: Duration, counters: &mut Counters, is_close: &mut bool) {
    let uptime = now.saturating_sub(child.up_since);
    *is_close |= close(uptime, POLICY.period);
    *is_close |= child
        .failures
        .iter()
        .any(|&then| close(now - then, POLICY.period));
    child.failures.push(now);
    counters.crashes += 1;
    child.down = Some(match child.history.failed(&POLICY, now, uptime, 0.5) {
        Decision::Restart(wait) => (false, now + wait),
        Decision::Quarantine(wait) => {
            counters.quarantines += 1;
            (true, now + wait)
        }
    });
}

/// The product beside the model.
struct Run {
    fleet: Fleet,
    model: Model,
    layout: Layout,
    start: Instant,
}

impl Run {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// Runs `simulate` on the model at a moment at which nothing is close.
    async fn at_a_clear_moment<T>(&mut self, simulate: impl Fn(&mut Model, Duration) -> T) -> T {
        loop {
            let now = self.now();
            let mut model = self.model.clone();
            model.is_close = false;
            let expected = simulate(&mut model, now);
            if !model.is_close {
                self.model = model;
                return expected;
            }
            sleep(CLOSE * 2 + Duration::from_millis(1)).await;
        }
    }

    fn changed(&self, changes: &[(usize, usize, Option<usize>)]) -> Layout {
        let mut layout = self.layout;
        for &(cluster, slot, behaviour) in changes {
            layout[cluster][slot] = behaviour;
        }
        if layout.iter().any(is_present) {
            layout
        } else {
            self.layout
        }
    }

    async fn step(&mut self, op: &Op) -> Result<(), TestCaseError> {
        let collector = self.fleet.engine.collector();
        match op {
            Op::Collect => self.collect(None, None).await?,
            Op::Crash(cluster) => self.collect(Some(*cluster), None).await?,
            Op::Stop(cluster, slot) => self.collect(None, Some((*cluster, *slot))).await?,
            Op::Twice => {
                let (first, took) = self
                    .at_a_clear_moment(|model, now| {
                        let expected = model.collect(now, None, None, DEADLINE * 2, true);
                        model.counters.collects += 2;
                        expected
                    })
                    .await;
                let second = self.model.joined(&first, None, None);
                let start = Instant::now();
                let (one, two) = tokio::join!(collector.collect(), async {
                    sleep(LATER).await;
                    collector.collect().await
                });
                in_time(start, took, took + LATER)?;
                prop_assert_eq!(devices(&one.unwrap()), first);
                prop_assert_eq!(devices(&two.unwrap()), second);
            }
            Op::Cancel(after) => {
                let patience = Duration::from_millis(*after);
                let took = self
                    .at_a_clear_moment(|model, now| {
                        let (_, took) = model.collect(now, None, None, patience, false);
                        let is_answered = took < patience;
                        model.counters.collects += u64::from(is_answered);
                        model.counters.collects_cancelled += u64::from(!is_answered);
                        took
                    })
                    .await;
                let answer = tokio::time::timeout(patience, collector.collect()).await;
                prop_assert_eq!(answer.is_ok(), took < patience);
            }
            Op::Wait(millis) => sleep(Duration::from_millis(*millis)).await,
            Op::Reload(changes) => {
                let layout = self.changed(changes);
                self.at_a_clear_moment(|model, now| {
                    model.pass_time(now);
                    model.reload(&layout, now);
                })
                .await;
                self.fleet.engine.apply(config(&layout));
                self.layout = layout;
            }
            Op::ReloadDuring(changes) => {
                let layout = self.changed(changes);
                let (expected, took) = self
                    .at_a_clear_moment(|model, now| {
                        let expected = model.collect(now, None, None, DEADLINE * 2, false);
                        model.counters.collects += 1;
                        model.reload(&layout, now + LATER);
                        expected
                    })
                    .await;
                let start = Instant::now();
                let (answer, ()) = tokio::join!(collector.collect(), async {
                    sleep(LATER).await;
                    self.fleet.engine.apply(config(&layout));
                });
                self.layout = layout;
                in_time(start, took, took.max(LATER))?;
                prop_assert_eq!(devices(&answer.unwrap()), expected);
            }
        }
        // What the last answer set off takes its turn.
        sleep(Duration::from_millis(3)).await;
        self.check()
    }

    async fn collect(
        &mut self,
        crash: Option<usize>,
        stop: Option<(usize, usize)>,
    ) -> Result<(), TestCaseError> {
        let stopped = stop.map(|(cluster, slot)| {
            let (kind, id) = id_of(slot);
            (FailAction::Stop, format!("cluster={cluster} {kind}={id}"))
        });
        let crashed = crash.map(|cluster| (FailAction::Panic, format!("cluster={cluster}")));
        let (expected, took) = self
            .at_a_clear_moment(|model, now| {
                let expected = model.collect(now, crash, stop, DEADLINE * 2, false);
                model.counters.collects += 1;
                expected
            })
            .await;
        let armed = stopped.or(crashed);
        if let Some((act, path)) = &armed {
            self.fleet.failpoints.arm(Failpoint::Handler, *act, path, 1);
        }
        let start = Instant::now();
        let answer = self.fleet.ask().await;
        if let Some((act, path)) = &armed {
            // It was down, or is not there: it must not go wrong later.
            self.fleet.failpoints.arm(Failpoint::Handler, *act, path, 0);
        }
        in_time(start, took, took)?;
        prop_assert_eq!(devices(&answer), expected);
        Ok(())
    }

    /// The counters, and what each child is and has been.
    fn check(&mut self) -> Result<(), TestCaseError> {
        let counted: BTreeMap<_, _> = self.fleet.metrics().counters().into_iter().collect();
        let counters = Counters {
            collects: counted["collects"],
            collects_cancelled: counted["collects_cancelled"],
            lookups: counted["lookups"],
            lookups_failed: counted["lookups_failed"],
            crashes: counted["crashes"],
            quarantines: counted["quarantines"],
            breakers_opened: counted["breakers_opened"],
            breakers_closed: counted["breakers_closed"],
        };
        prop_assert_eq!(&counters, &self.model.counters);
        let now = self.now();
        let mut model = self.model.clone();
        model.is_close = false;
        model.pass_time(now);
        if model.is_close {
            return Ok(());
        }
        let tree = self.fleet.tree();
        let mut expected = vec![("supervisor".to_owned(), "running", 0)];
        let state = |child: &Child| match child.down {
            None => "running",
            Some((false, _)) => "restarting",
            Some((true, _)) => "quarantined",
        };
        for (id, cluster) in &model.clusters {
            let path = format!("cluster={id}");
            expected.push((path.clone(), state(&cluster.child), cluster.child.restarts));
            for (&slot, device) in &cluster.devices {
                let (kind, id) = id_of(slot);
                let path = format!("{path} {kind}={id}");
                expected.push((path, state(&device.child), device.child.restarts));
            }
        }
        let found: Vec<_> = children(&tree)
            .into_iter()
            .map(|(path, child)| (path, Liveness::as_str(child.liveness), child.restarts))
            .collect();
        prop_assert_eq!(found, expected);
        let expected: Vec<_> = model
            .clusters
            .values()
            .flat_map(|cluster| cluster.devices.values())
            .map(|device| {
                (
                    device.breaker.state(now).as_str(),
                    device.breaker.failures(),
                )
            })
            .collect();
        let found: Vec<_> = tree
            .clusters
            .iter()
            .flat_map(|cluster| cluster.nodes.iter().chain(&cluster.switches))
            .map(|device| (device.breaker.as_str(), device.failures))
            .collect();
        prop_assert_eq!(found, expected);
        Ok(())
    }
}

/// Each timer in a row may be late by a millisecond, and an answer is never later than its deadline.
fn in_time(start: Instant, least: Duration, most: Duration) -> Result<(), TestCaseError> {
    let took = start.elapsed();
    prop_assert!(took >= least, "{took:?} is too early for {least:?}");
    prop_assert!(
        took <= most + Duration::from_millis(3),
        "{took:?} is too late for {most:?}"
    );
    prop_assert!(took <= DEADLINE + LATER, "{took:?} is past the deadline");
    Ok(())
}

async fn run(layout: Layout, ops: Vec<Op>) -> Result<(), TestCaseError> {
    let fleet = Fleet::start_paused(&text(&layout));
    let mut run = Run {
        model: Model::new(&layout),
        fleet,
        layout,
        start: Instant::now(),
    };
    for op in &ops {
        run.step(op).await?;
    }
    // Long enough for everything to be over: as many actors as are configured, and nothing else.
    sleep(Duration::from_secs(60)).await;
    run.model.pass_time(run.start.elapsed());
    run.check()?;
    let configured = run
        .model
        .clusters
        .values()
        .map(|cluster| 1 + cluster.devices.len());
    let actors = 1 + configured.sum::<usize>();
    let expected = Census {
        shells: actors,
        actors,
        lookups: 0,
        collects: 0,
    };
    prop_assert_eq!(run.fleet.metrics().census(), expected);
    Ok(())
}

#[test]
fn every_sequence_of_events_keeps_the_promise() {
    let seed = std::env::var("PROMISE_SEED").ok();
    let seed: u64 = seed.map_or_else(rand_seed, |seed| seed.parse().expect("a number"));
    println!("PROMISE_SEED={seed}");
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let runs = Runs {
        cases: CASES,
        failure_persistence: None,
        ..Runs::default()
    };
    let sequences = (layout(), prop::collection::vec(op(), 1..40));
    let result = TestRunner::new_with_rng(runs, rng).run(&sequences, |(mut layout, ops)| {
        layout[0][0] = layout[0][0].or(Some(0));
        actix_web::rt::System::new().block_on(run(layout, ops))
    });
    if let Err(error) = result {
        panic!("PROMISE_SEED={seed}\n{error}");
    }
}

fn rand_seed() -> u64 {
    use std::hash::{BuildHasher as _, Hasher as _, RandomState};
    RandomState::new().build_hasher().finish() % 1_000_000_000
}
