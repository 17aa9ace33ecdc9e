//! The actor that does nothing but supervise: it hears of every exit, decides, logs and counts.
//!
//! It runs no work and touches no child: the child's shell carries out the verdict. It remembers
//! nothing itself: what counts of a child's past is in that child's [`Health`], so a supervisor
//! that fails forgets nothing, and while it is away shells decide by the same rules ([`verdict`]).

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use actix::prelude::*;
use log::Level;
use log::kv::Value;
use tokio::time::Instant;

use super::context::ShellContext;
use super::health::{Child, ChildPath, Health};
use super::shell::{BuildError, Supervised, SupervisionEnv, start};
use crate::domain::{Backoff, ChildState, Decision, MAX_DEVICES, SupervisionPolicy};
use crate::engine::messages::Exited;
use crate::supervision::failpoints::{FailAction, Failpoint, Failpoints};
use crate::telemetry::{Metrics, event};

/// Exits that may be waiting for a verdict: one for each actor there can be.
const MAILBOX: usize = MAX_DEVICES * 2;

/// Between restarts of the supervisor itself, whatever the configuration says: it is needed.
const OWN_BACKOFF: Backoff = Backoff {
    min: Duration::from_millis(10),
    max: Duration::from_secs(5),
};

/// Gives verdicts on children that ended.
#[derive(Debug)]
pub(crate) struct SupervisorActor {
    spec: Arc<SupervisorSpec>,
}

/// What the supervisor is built from.
#[derive(Debug)]
pub(crate) struct SupervisorSpec {
    pub(crate) rules: Arc<Rules>,
    pub(crate) failpoints: Option<Arc<Failpoints>>,
    pub(crate) health: Health,
}

/// The rules by which all decide, and the clock they go by.
#[derive(Debug)]
pub(crate) struct Rules {
    policy: RwLock<SupervisionPolicy>,
    start: Instant,
    /// The same by the wall clock, as it was then.
    started: SystemTime,
}

impl Rules {
    pub(crate) fn new(policy: SupervisionPolicy) -> Self {
        Self {
            policy: RwLock::new(policy),
            start: Instant::now(),
            started: SystemTime::now(),
        }
    }

    pub(crate) fn policy(&self) -> SupervisionPolicy {
        *self.policy.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Exits from now on are decided by this policy.
    pub(crate) fn set_policy(&self, policy: SupervisionPolicy) {
        *self.policy.write().unwrap_or_else(PoisonError::into_inner) = policy;
    }

    /// The time since the service started, for breakers and restart histories.
    pub(crate) fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// As [`Rules::now`], in microseconds.
    pub(crate) fn now_us(&self) -> u64 {
        u64::try_from(self.now().as_micros()).unwrap_or(u64::MAX)
    }

    /// How long ago that was, in microseconds since the service started.
    pub(crate) fn since(&self, us: u64) -> Duration {
        self.now().saturating_sub(Duration::from_micros(us))
    }

    /// When that is, so long after the service started.
    pub(crate) fn instant(&self, since_start: Duration) -> Instant {
        self.start + since_start
    }

    /// The wall clock's time so long after the service started, whatever was done to the clock
    /// since: the same each time.
    pub(crate) fn wall(&self, since_start: Duration) -> SystemTime {
        self.started + since_start
    }
}

/// Starts the supervisor on the current arbiter and gives what the shells of its children share.
pub(crate) fn start_supervisor(
    spec: &Arc<SupervisorSpec>,
    metrics: &Metrics,
) -> Arc<SupervisionEnv> {
    let event_log = Arc::default();
    let env = |supervisor| {
        Arc::new(SupervisionEnv {
            supervisor,
            rules: Arc::clone(&spec.rules),
            metrics: metrics.clone(),
            event_log: Arc::clone(&event_log),
        })
    };
    let supervisor = start::<SupervisorActor>(Arc::clone(spec), &env(None), MAILBOX);
    env(Some(supervisor))
}

impl Child for SupervisorSpec {
    fn path(&self) -> ChildPath {
        ChildPath::Supervisor
    }

    fn role(&self) -> &'static str {
        "supervisor"
    }

    fn health(&self) -> &Health {
        &self.health
    }
}

impl SupervisorSpec {
    fn pass(&self, point: Failpoint) -> Option<FailAction> {
        self.failpoints
            .as_ref()?
            .pass(point, &ChildPath::Supervisor)
    }
}

impl Actor for SupervisorActor {
    type Context = ShellContext<Self>;

    fn started(&mut self, ctx: &mut ShellContext<Self>) {
        if self.spec.pass(Failpoint::Started) == Some(FailAction::Stop) {
            ctx.stop();
        }
    }

    fn stopping(&mut self, _: &mut ShellContext<Self>) -> Running {
        self.spec.pass(Failpoint::Stopping);
        Running::Stop
    }
}

impl Drop for SupervisorActor {
    fn drop(&mut self) {
        self.spec.pass(Failpoint::Drop);
    }
}

impl Supervised for SupervisorActor {
    type Spec = SupervisorSpec;

    fn new(spec: &Arc<SupervisorSpec>) -> Result<Self, BuildError> {
        BuildError::at_failpoint(spec.pass(Failpoint::New))?;
        let spec = Arc::clone(spec);
        Ok(Self { spec })
    }
}

impl Handler<Exited> for SupervisorActor {
    type Result = MessageResult<Exited>;

    fn handle(&mut self, exited: Exited, ctx: &mut ShellContext<Self>) -> MessageResult<Exited> {
        if self.spec.pass(Failpoint::Handler) == Some(FailAction::Stop) {
            ctx.stop();
        }
        MessageResult(verdict(&self.spec.rules, &*exited.child))
    }
}

/// Decides on a child's last exit, and logs it; one that was decided on before is only looked up.
pub(crate) fn verdict(rules: &Rules, child: &dyn Child) -> Decision {
    let policy = rules.policy();
    let (policy, backoff) = match child.path() {
        ChildPath::Supervisor => (None, OWN_BACKOFF),
        ChildPath::Cluster(_) | ChildPath::Device(..) => (Some(&policy), policy.backoff),
    };
    let (decision, is_new) = child.health().decide(policy, backoff, rules.now());
    if is_new {
        log_exit(child, decision);
    }
    decision
}

/// The one line that an exit leaves in the log.
fn log_exit(child: &dyn Child, decision: Decision) {
    let path = child.path();
    let ChildState {
        restarts,
        last_exit: Some(exit),
        ..
    } = child.health().state(Instant::now())
    else {
        // There is no decision without an exit.
        return;
    };
    let (cluster, device) = match &path {
        ChildPath::Supervisor => (None, None),
        ChildPath::Cluster(cluster) => (Some(cluster), None),
        ChildPath::Device(cluster, kind, device) => (Some(cluster), Some((kind.as_str(), device))),
    };
    let mut fields: Vec<(&str, Value<'_>)> = Vec::with_capacity(9);
    if let Some(cluster) = cluster {
        fields.push(("cluster", Value::from_display(cluster)));
    } else {
        fields.push(("actor", Value::from("supervisor")));
    }
    if let Some((kind, device)) = device {
        fields.push((kind, Value::from_display(device)));
    }
    fields.push(("reason", Value::from(exit.reason)));
    if !exit.message.is_empty() {
        fields.push((exit.reason, Value::from(exit.message.as_str())));
    }
    if !exit.at.is_empty() {
        fields.push(("at", Value::from(exit.at.as_str())));
    }
    // With the one that is announced here.
    let restarts = match decision {
        Decision::Restart(_) => restarts.saturating_add(1),
        Decision::Quarantine(_) => restarts,
    };
    fields.push(("restarts", Value::from(restarts)));
    let millis = |wait: Duration| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    fields.push(("uptime_ms", Value::from(millis(exit.uptime))));
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
