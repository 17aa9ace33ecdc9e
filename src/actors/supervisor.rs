//! The actor that does nothing but supervise: it hears of every exit, decides, logs and counts.
//!
//! It runs no work and touches no child: the child's shell carries out the verdict. What it knows
//! of a child is lost if it fails itself; shells then decide by a policy of their own until it is
//! back, and children start with a clean slate.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use log::Level;
use log::kv::Value;
use tokio::time::Instant;

use super::context::ShellContext;
use super::drill::{Drill, Point};
use super::messages::{ChildPath, ExitReason, Exited, Gone};
use super::shell::{Link, Supervised, start};
use crate::domain::{Decision, MAX_DEVICES, RestartHistory, SupervisionPolicy};
use crate::telemetry::{Metrics, event};

/// Exits that may be waiting for a verdict: one for each actor there can be.
const MAILBOX: usize = MAX_DEVICES * 2;

/// Gives verdicts on children that ended.
#[derive(Debug)]
pub(crate) struct SupervisorActor {
    spec: SupervisorSpec,
    /// The children that failed and are still there.
    histories: HashMap<u64, RestartHistory>,
    /// The origin of the histories' clock.
    start: Instant,
}

/// What the supervisor is built from.
#[derive(Debug, Clone)]
pub(crate) struct SupervisorSpec {
    pub(super) policy: SupervisionPolicy,
    pub(super) drill: Option<Arc<Drill>>,
}

/// Starts the supervisor on the current arbiter and gives what the shells of its children share.
pub(super) fn start_supervisor(spec: SupervisorSpec, metrics: &Metrics) -> Arc<Link> {
    let backoff = spec.policy.backoff;
    let link = |supervisor| {
        let metrics = metrics.clone();
        Arc::new(Link {
            supervisor,
            backoff,
            metrics,
        })
    };
    let supervisor = start::<SupervisorActor>(spec, &link(None), MAILBOX);
    link(Some(supervisor))
}

impl Actor for SupervisorActor {
    type Context = ShellContext<Self>;
}

impl Supervised for SupervisorActor {
    type Spec = SupervisorSpec;
    const ROLE: &'static str = "supervisor";

    fn new(spec: &SupervisorSpec) -> Self {
        Self {
            spec: spec.clone(),
            histories: HashMap::new(),
            start: Instant::now(),
        }
    }

    fn path(_: &SupervisorSpec) -> ChildPath {
        ChildPath::Supervisor
    }
}

impl Handler<Exited> for SupervisorActor {
    type Result = MessageResult<Exited>;

    fn handle(&mut self, exited: Exited, _: &mut ShellContext<Self>) -> MessageResult<Exited> {
        if let Some(drill) = &self.spec.drill {
            drill.pass(Point::SupervisorHandler, &ChildPath::Supervisor);
        }
        let history = self.histories.entry(exited.child).or_default();
        let now = self.start.elapsed();
        let decision = history.failed(&self.spec.policy, now, exited.uptime, rand::random());
        log_exit(&exited, decision);
        MessageResult(decision)
    }
}

impl Handler<Gone> for SupervisorActor {
    type Result = ();

    fn handle(&mut self, gone: Gone, _: &mut ShellContext<Self>) {
        self.histories.remove(&gone.child);
    }
}

/// The one line that an exit leaves in the log.
pub(super) fn log_exit(exited: &Exited, decision: Decision) {
    let (cluster, device) = match &exited.path {
        ChildPath::Supervisor => (None, None),
        ChildPath::Cluster(cluster) => (Some(cluster), None),
        ChildPath::Device(cluster, kind, device) => (Some(cluster), Some((kind.as_str(), device))),
    };
    let mut fields: Vec<(&str, Value<'_>)> = Vec::with_capacity(8);
    if let Some(cluster) = cluster {
        fields.push(("cluster", Value::from_display(cluster)));
    } else {
        fields.push(("actor", Value::from("supervisor")));
    }
    if let Some((kind, device)) = device {
        fields.push((kind, Value::from_display(device)));
    }
    match &exited.reason {
        ExitReason::Panic(report) => fields.extend([
            ("reason", Value::from("panic")),
            ("panic", Value::from(report.message.as_str())),
            ("at", Value::from(report.at.as_str())),
        ]),
        ExitReason::Stopped => fields.push(("reason", Value::from("stopped"))),
    }
    // With the one that is announced here.
    let restarts = match decision {
        Decision::Restart(_) => exited.restarts.saturating_add(1),
        Decision::Quarantine(_) => exited.restarts,
    };
    fields.push(("restarts", Value::from(restarts)));
    let millis = |wait: Duration| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    let message = match decision {
        Decision::Restart(wait) => {
            fields.push(("backoff_ms", Value::from(millis(wait))));
            "actor failed, restarting it"
        }
        Decision::Quarantine(wait) => {
            fields.push(("quarantine_ms", Value::from(millis(wait))));
            "actor failed too often, quarantining it"
        }
    };
    event(Level::Warn, module_path!(), message, &fields);
}
