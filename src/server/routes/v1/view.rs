//! The JSON of `/v1`, as its OpenAPI document describes it.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::domain::{
    Change, ClusterId, ClusterState, DeviceId, DeviceKind, DeviceState, Event, Fault, FaultKind,
    LastExit, Outcome, Summary, Topology, millis,
};
use crate::engine::collector::{Answer, Observation};
use crate::server::id_schema::IdSchema;
pub(super) use crate::server::tree::ErrorView;
use crate::server::tree::{BreakerView, ChildView, ExitView, rfc3339};

/// What a roll call came to.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct SummaryView {
    /// Devices that were meant.
    pub(super) asked: usize,
    /// Devices that answered.
    pub(super) ok: usize,
    /// Devices that did not.
    pub(super) failed: usize,
    /// How many failed in which way; kinds that did not occur are absent.
    pub(super) faults: serde_json::Map<String, serde_json::Value>,
    /// The device whose lookup took longest, if any lookup ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) slowest: Option<SlowestView>,
}

/// The device whose lookup took longest.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct SlowestView {
    /// Its cluster.
    #[schema(value_type = IdSchema)]
    pub(super) cluster_id: ClusterId,
    #[serde(flatten)]
    pub(super) device: WhichView,
    /// How long it took, in milliseconds.
    pub(super) duration_ms: f64,
}

/// Which device: one of the two is there.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct WhichView {
    /// The node's id, if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<IdSchema>)]
    pub(super) node_id: Option<DeviceId>,
    /// The switch's id, if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<IdSchema>)]
    pub(super) switch_id: Option<DeviceId>,
}

impl WhichView {
    pub(super) fn new(kind: DeviceKind, id: &DeviceId) -> Self {
        let (node_id, switch_id) = match kind {
            DeviceKind::Node => (Some(id.clone()), None),
            DeviceKind::Switch => (None, Some(id.clone())),
        };
        Self { node_id, switch_id }
    }
}

/// One device of an answer.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DeviceReportView)]
pub(super) struct DeviceView<'a> {
    #[serde(flatten)]
    pub(super) device: WhichView,
    #[serde(flatten)]
    pub(super) result: ResultView<'a>,
}

/// What came of asking a device.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ResultView<'a> {
    /// `ok`, or the kind of its failure; `unknown` if it was never asked.
    pub(super) outcome: &'a str,
    /// When that was so, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub(super) observed_at: Option<String>,
    /// How long ago that was, in milliseconds; only in roll calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) age_ms: Option<u64>,
    /// How long its lookup took, in milliseconds; absent if none ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) duration_ms: Option<f64>,
    /// What was learned of it; see the page on facts.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<std::collections::BTreeMap<String, serde_json::Value>>)]
    pub(super) facts: Option<&'a RawValue>,
    /// Why nothing was learned.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<ErrorView>)]
    pub(super) error: Option<Cow<'a, Fault>>,
}

impl<'a> ResultView<'a> {
    /// An outcome that was observed so, or just now by whoever knew that asking is no use.
    pub(super) fn new(
        outcome: &'a Outcome,
        observation: Option<Observation>,
        now: SystemTime,
    ) -> Self {
        let at = observation.map_or(now, |it| it.at);
        let age = now.duration_since(at).unwrap_or_default();
        Self {
            outcome: outcome
                .as_ref()
                .map_or_else(|fault| fault.kind().as_str(), |_| "ok"),
            observed_at: Some(rfc3339(at)),
            age_ms: Some(millis(age)),
            duration_ms: observation.and_then(|it| it.took).map(fraction_ms),
            facts: outcome.as_ref().ok().and_then(|facts| facts.json()),
            error: outcome.as_ref().err().map(|fault| Cow::Borrowed(&**fault)),
        }
    }

    /// A crash of the code that asks, and no lookup since.
    fn crashed(exit: &LastExit) -> Self {
        Self {
            outcome: FaultKind::Crashed.as_str(),
            observed_at: Some(rfc3339(exit.time)),
            error: Some(Cow::Owned(exit.fault())),
            ..Self::UNKNOWN
        }
    }

    const UNKNOWN: Self = Self {
        outcome: "unknown",
        observed_at: None,
        age_ms: None,
        duration_ms: None,
        facts: None,
        error: None,
    };
}

/// A whole roll call. Clusters and devices stand in configured order.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ReportView<'a> {
    #[serde(flatten)]
    pub(super) head: HeadView,
    /// What it came to.
    pub(super) summary: SummaryView,
    /// The clusters.
    pub(super) clusters: Vec<ClusterReportView<'a>>,
}

/// Which roll call it is.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct HeadView {
    /// Counts the roll calls of this process, from 1.
    pub(super) collect: u64,
    /// The number of the last change that was known then, for `/v1/changes?since=`.
    pub(super) changes: u64,
    /// When it began, RFC 3339.
    #[schema(format = DateTime)]
    pub(super) started_at: String,
    /// How long it took, in milliseconds.
    pub(super) duration_ms: f64,
    /// Which topology it is of, in 16 hexadecimal digits: the same in every process that has the
    /// same clusters and devices in the same order.
    pub(super) topology: String,
    /// Whether every device of the fleet is simulated, so that nothing of this is of real machines.
    pub(super) demonstration: bool,
}

/// A number that tells things apart.
pub(super) fn hex(number: u64) -> String {
    format!("{number:016x}")
}

impl HeadView {
    pub(super) fn new(answer: &Answer) -> Self {
        Self {
            collect: answer.id,
            changes: answer.changes,
            started_at: rfc3339(answer.started),
            duration_ms: fraction_ms(answer.duration),
            topology: hex(answer.topology),
            demonstration: answer.demonstration,
        }
    }
}

/// One cluster of a roll call.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ClusterReportView<'a> {
    /// Which cluster.
    #[schema(value_type = IdSchema)]
    pub(super) cluster_id: ClusterId,
    /// Its nodes.
    pub(super) nodes: Vec<DeviceView<'a>>,
    /// Its switches.
    pub(super) switches: Vec<DeviceView<'a>>,
}

/// A line of a stream: a device, when it has answered.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CameView<'a> {
    /// Its cluster.
    #[schema(value_type = IdSchema)]
    pub(super) cluster_id: &'a ClusterId,
    #[serde(flatten)]
    pub(super) device: DeviceView<'a>,
}

/// A line of a stream.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum LineView<'a> {
    /// A device, when it has answered.
    Device(CameView<'a>),
    /// What it came to, last.
    End(EndView),
}

/// The last line of a stream.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EndView {
    #[serde(flatten)]
    pub(super) head: HeadView,
    /// What it came to.
    pub(super) summary: SummaryView,
}

impl EndView {
    pub(super) fn new(answer: &Answer, slowest: Slowest) -> Self {
        let slowest = slowest.view(answer.collection().topology());
        Self {
            head: HeadView::new(answer),
            summary: SummaryView::new(answer.summary(), slowest),
        }
    }
}

impl SummaryView {
    fn new(summary: &Summary, slowest: Option<SlowestView>) -> Self {
        let faults = summary.by_kind();
        Self {
            asked: summary.devices(),
            ok: summary.devices() - summary.failed(),
            failed: summary.failed(),
            faults: faults
                .map(|(kind, count)| (kind.as_str().to_owned(), count.into()))
                .collect(),
            slowest,
        }
    }
}

/// Finds the device whose lookup took longest.
#[derive(Debug, Default)]
pub(super) struct Slowest(Option<(Duration, usize, usize)>);

impl Slowest {
    /// Looks at how long a device took, if its lookup ended, by its place in the answer.
    pub(super) fn look(&mut self, (cluster, device): (usize, usize), took: Option<Duration>) {
        let longest = self.0.map(|(longest, ..)| longest);
        // Of those that took as long the first one.
        if let Some(took) = took.filter(|&took| longest.is_none_or(|longest| took > longest)) {
            self.0 = Some((took, cluster, device));
        }
    }

    /// What was found in an answer for `topology`.
    pub(super) fn view(self, topology: &Topology) -> Option<SlowestView> {
        let (took, cluster, device) = self.0?;
        let cluster = &topology.clusters()[cluster];
        let (kind, id) = cluster.device(device);
        Some(SlowestView {
            cluster_id: cluster.id().clone(),
            device: WhichView::new(kind, id),
            duration_ms: fraction_ms(took),
        })
    }
}

/// All clusters in numbers.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ClustersView {
    /// Whether every device of the fleet is simulated, so that nothing of this is of real machines.
    pub(super) demonstration: bool,
    /// How many devices are simulated.
    pub(super) simulated: usize,
    /// The clusters, in configured order.
    pub(super) clusters: Vec<ClusterCountView>,
}

/// One cluster in numbers: what is known of its devices, without asking them.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ClusterCountView {
    /// Which cluster.
    #[schema(value_type = IdSchema)]
    cluster_id: ClusterId,
    /// `running`, `restarting` or `quarantined`: its own actor.
    state: &'static str,
    /// How that ended, if it does not run.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_exit: Option<ExitView>,
    /// Its devices.
    devices: usize,
    /// Its nodes.
    nodes: usize,
    /// Its switches.
    switches: usize,
    /// Devices that answered when they were last asked.
    ok: usize,
    /// Devices that did not, or whose actor crashed or is down since.
    failed: usize,
    /// Devices that were never asked.
    unknown: usize,
}

impl From<&ClusterState> for ClusterCountView {
    fn from(state: &ClusterState) -> Self {
        let devices = || state.nodes.iter().chain(&state.switches);
        let now = SystemTime::now();
        let (mut ok, mut unknown) = (0, 0);
        for device in devices() {
            match device.is_up(now) {
                Some(true) => ok += 1,
                Some(false) => {}
                None => unknown += 1,
            }
        }
        Self {
            cluster_id: state.id.clone(),
            state: state.child.liveness.as_str(),
            last_exit: state.child.down_by().map(crate::server::tree::exit),
            devices: state.devices,
            nodes: state.nodes.len(),
            switches: state.switches.len(),
            ok,
            failed: state.devices - ok - unknown,
            unknown,
        }
    }
}

/// One cluster, as it is known without asking anybody.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ClusterStateView<'a> {
    /// Which cluster.
    #[schema(value_type = IdSchema)]
    pub(super) cluster_id: &'a ClusterId,
    #[serde(flatten)]
    pub(super) child: ChildView,
    /// Its nodes, in configured order.
    pub(super) nodes: Vec<DeviceStateView<'a>>,
    /// Its switches, in configured order.
    pub(super) switches: Vec<DeviceStateView<'a>>,
}

/// One device, as it is known without asking it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DeviceStateView<'a> {
    #[serde(flatten)]
    pub(super) device: WhichView,
    #[serde(flatten)]
    pub(super) result: ResultView<'a>,
    /// When it last answered, RFC 3339; absent if it never did.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub(super) last_success_at: Option<String>,
    /// Since when it fails, RFC 3339; absent if it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub(super) failing_since: Option<String>,
    #[serde(flatten)]
    pub(super) child: ChildView,
    /// Its circuit breaker.
    pub(super) breaker: BreakerView,
}

impl<'a> ClusterStateView<'a> {
    pub(super) fn new(state: &'a ClusterState, now: SystemTime) -> Self {
        let view = |kind: DeviceKind, states: &'a [DeviceState]| {
            let view = |state| DeviceStateView::new(kind, state, now);
            states.iter().map(view).collect()
        };
        Self {
            cluster_id: &state.id,
            child: crate::server::tree::child(&state.child, now),
            nodes: view(DeviceKind::Node, &state.nodes),
            switches: view(DeviceKind::Switch, &state.switches),
        }
    }
}

impl<'a> DeviceStateView<'a> {
    pub(super) fn new(kind: DeviceKind, state: &'a DeviceState, now: SystemTime) -> Self {
        let known = state.last.as_ref().map_or(ResultView::UNKNOWN, |last| {
            let observation = Observation {
                at: last.at,
                took: last.took,
            };
            // Without its age: what is known is the same as long as nothing else is.
            ResultView {
                age_ms: None,
                ..ResultView::new(&last.outcome, Some(observation), now)
            }
        });
        Self {
            device: WhichView::new(kind, &state.id),
            result: state.crash(now).map_or(known, ResultView::crashed),
            last_success_at: state.last_success_at.map(rfc3339),
            failing_since: state.failing_since.map(rfc3339),
            child: crate::server::tree::child(&state.child, now),
            breaker: crate::server::tree::breaker(state),
        }
    }
}

/// What a reset came to.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ResetView {
    /// Its cluster.
    #[schema(value_type = IdSchema)]
    pub(super) cluster_id: ClusterId,
    #[serde(flatten)]
    pub(super) device: WhichView,
    /// What kept it from being asked: `breaker`, `backoff`, `quarantine`; empty if nothing did.
    pub(super) cleared: Vec<&'static str>,
}

/// What changed since a number.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ChangesView<'a> {
    /// What was asked for.
    pub(super) since: u64,
    /// What to ask for the next time.
    pub(super) next: u64,
    /// The changes, oldest first.
    pub(super) changes: Vec<ChangeView<'a>>,
}

/// One device has changed.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ChangeView<'a> {
    /// Its number, counted from 1 without gaps since the service started.
    number: u64,
    /// When it was noticed, RFC 3339.
    #[schema(format = DateTime)]
    time: String,
    /// The device's cluster.
    #[schema(value_type = IdSchema)]
    cluster_id: &'a ClusterId,
    #[serde(flatten)]
    device: WhichView,
    /// `appeared`, `gone`, `failing` (it did not before), `recovered` or `facts_changed`.
    change: &'static str,
    /// Why it fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<ErrorView>)]
    error: Option<&'a Fault>,
    /// The facts that are others than before; times and counters are not looked at.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    facts: &'a [String],
}

impl<'a> From<&'a Change> for ChangeView<'a> {
    fn from(change: &'a Change) -> Self {
        let (error, facts) = match &change.event {
            Event::Failing(fault) => (Some(&**fault), &[][..]),
            Event::FactsChanged(facts) => (None, facts.as_slice()),
            Event::Appeared | Event::Gone | Event::Recovered => (None, &[][..]),
        };
        Self {
            number: change.number,
            time: rfc3339(change.time),
            cluster_id: &change.cluster,
            device: WhichView::new(change.kind, &change.device),
            change: change.event.as_str(),
            error,
            facts,
        }
    }
}

/// Milliseconds, and microseconds behind the point.
fn fraction_ms(duration: Duration) -> f64 {
    let micros = u32::try_from(duration.as_micros()).unwrap_or(u32::MAX);
    f64::from(micros) / 1000.0
}
