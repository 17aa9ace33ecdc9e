//! The JSON of `/v1/supervision`, for the server to write and for `fleetcall tree` to read.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::{
    BreakerState, ChildState, ClusterId, ClusterState, DeviceId, DeviceKind, DeviceState, LastExit,
    Liveness, SupervisionTree, millis,
};
use crate::reload::DiscoveryState;
use crate::telemetry::Metrics;

/// The whole tree.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct TreeView {
    /// When this was so, RFC 3339.
    pub time: String,
    /// The supervisor itself.
    pub supervisor: ChildView,
    /// The clusters, in configured order.
    pub clusters: Vec<ClusterView>,
    /// The lists that devices are taken from, in configured order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub discoveries: Vec<DiscoveryView>,
    /// What is counted since the start, by name.
    pub counters: serde_json::Map<String, serde_json::Value>,
}

/// A list that devices are taken from.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DiscoveryView {
    /// What it is called: a pattern of files, a URL without its query, or a name in DNS.
    pub origin: String,
    /// The key of the configuration that names it first.
    pub key: String,
    /// The devices of the list as it was last read.
    pub devices: usize,
    /// When it was last read, RFC 3339; nothing if it never was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_at: Option<String>,
    /// Why it could not be read the last time, if so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// How many of its entries `allow` refuses: they are not asked.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub refused: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// What is known of one actor.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ChildView {
    /// `running`, `restarting` or `quarantined`.
    pub state: String,
    /// When it is back, as far as that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub again_in_ms: Option<u64>,
    /// The same by the wall clock, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// How often it was restarted.
    pub restarts: u32,
    /// How it ended the last time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_exit: Option<ExitView>,
}

/// How an actor ended.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ExitView {
    /// `panic`, `error`, `stopped` or `thread`.
    pub reason: String,
    /// What the panic or the error said.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Where it panicked, as `file:line`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub at: String,
    /// When, RFC 3339.
    pub time: String,
    /// How long it had been running.
    pub uptime_ms: u64,
}

/// A cluster's actor, and its devices'.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ClusterView {
    /// Which cluster.
    #[schema(value_type = crate::server::id_schema::IdSchema)]
    pub cluster_id: ClusterId,
    /// Its own actor.
    #[serde(flatten)]
    pub child: ChildView,
    /// How many devices it has, also those that are not shown.
    pub devices: usize,
    /// Its nodes, in configured order.
    pub nodes: Vec<DeviceView>,
    /// Its switches, in configured order.
    pub switches: Vec<DeviceView>,
}

/// A device's actor, and its circuit breaker.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DeviceView {
    /// Which node, if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<crate::server::id_schema::IdSchema>)]
    pub node_id: Option<DeviceId>,
    /// Which switch, if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<crate::server::id_schema::IdSchema>)]
    pub switch_id: Option<DeviceId>,
    /// Its actor.
    #[serde(flatten)]
    pub child: ChildView,
    /// Its circuit breaker.
    pub breaker: BreakerView,
    /// `ok`, or the kind of its failure; `unknown` if it was never asked.
    #[serde(default)]
    pub outcome: String,
    /// Why it fails, if it does: what stands behind a breaker, a backoff or a quarantine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorView>,
    /// Since when it fails, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub failing_since: Option<String>,
    /// How long ago its last lookup ended, if one has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_lookup_age_ms: Option<u64>,
}

/// Why a device has no result.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ErrorView {
    /// The kind of failure, one of a closed set.
    pub kind: String,
    /// What went wrong, for people.
    pub message: String,
}

/// A circuit breaker.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct BreakerView {
    /// `closed`, `open` or `half_open`.
    pub state: String,
    /// Failures of lookups since the last success.
    pub failures: u32,
    /// When it turns half-open, if it is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub again_in_ms: Option<u64>,
}

impl TreeView {
    /// The tree as it is shown, with the lists that devices are taken from and all counters.
    #[must_use]
    pub fn new(tree: &SupervisionTree, lists: Vec<DiscoveryState>, metrics: &Metrics) -> Self {
        let now = SystemTime::now();
        let counters = metrics.counters().into_iter();
        Self {
            time: rfc3339(now),
            supervisor: child(&tree.supervisor, now),
            clusters: tree.clusters.iter().map(|it| cluster(it, now)).collect(),
            discoveries: lists.into_iter().map(discovery).collect(),
            counters: counters
                .map(|(name, value)| (name.to_owned(), value.into()))
                .collect(),
        }
    }

    /// The JSON text, indented by two spaces or on one line.
    #[must_use]
    pub fn to_json(&self, indent: bool) -> Vec<u8> {
        super::view::to_json(self, indent)
    }
}

fn discovery(state: DiscoveryState) -> DiscoveryView {
    DiscoveryView {
        origin: state.origin,
        key: state.key,
        devices: state.devices,
        read_at: state.read_at.map(rfc3339),
        error: state.error,
        refused: state.refused,
    }
}

fn cluster(state: &ClusterState, now: SystemTime) -> ClusterView {
    let devices = |kind, states: &[DeviceState]| {
        let view = |state| device(kind, state, now);
        states.iter().map(view).collect()
    };
    ClusterView {
        cluster_id: state.id.clone(),
        child: child(&state.child, now),
        devices: state.devices,
        nodes: devices(DeviceKind::Node, &state.nodes),
        switches: devices(DeviceKind::Switch, &state.switches),
    }
}

fn device(kind: DeviceKind, state: &DeviceState, now: SystemTime) -> DeviceView {
    let (node_id, switch_id) = match kind {
        DeviceKind::Node => (Some(state.id.clone()), None),
        DeviceKind::Switch => (None, Some(state.id.clone())),
    };
    let fault = state.fault(now);
    DeviceView {
        node_id,
        switch_id,
        child: child(&state.child, now),
        breaker: breaker(state),
        outcome: match (&fault, &state.last) {
            (Some(fault), _) => fault.kind().as_str(),
            (None, Some(_)) => "ok",
            (None, None) => "unknown",
        }
        .to_owned(),
        error: fault.map(|fault| ErrorView {
            kind: fault.kind().as_str().to_owned(),
            message: fault.message().to_owned(),
        }),
        failing_since: state.failing_since.map(rfc3339),
        last_lookup_age_ms: state.last_lookup().map(millis),
    }
}

pub(super) fn breaker(state: &DeviceState) -> BreakerView {
    BreakerView {
        state: state.breaker.as_str().to_owned(),
        failures: state.failures,
        again_in_ms: match state.breaker {
            BreakerState::Open(wait) => Some(millis(wait)),
            BreakerState::Closed | BreakerState::HalfOpen => None,
        },
    }
}

pub(super) fn child(state: &ChildState, now: SystemTime) -> ChildView {
    let again_in = Liveness::again_in(state.liveness);
    ChildView {
        state: state.liveness.as_str().to_owned(),
        again_in_ms: again_in.map(millis),
        until: again_in.map(|wait| rfc3339(now + wait)),
        restarts: state.restarts,
        last_exit: state.last_exit.as_deref().map(exit),
    }
}

pub(super) fn exit(exit: &LastExit) -> ExitView {
    ExitView {
        reason: exit.reason.to_owned(),
        message: exit.message.clone(),
        at: exit.at.clone(),
        time: rfc3339(exit.time),
        uptime_ms: millis(exit.uptime),
    }
}

pub(super) fn rfc3339(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time).to_string()
}
