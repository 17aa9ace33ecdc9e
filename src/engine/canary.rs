//! A hidden cluster of one simulated device, for a roll call that shows whether a thread works.
//!
//! It is started for each run, on the thread that is tried, and goes with it: so a run covers
//! what a thread has to do (take in a cluster, its device, their messages and a timer), and there
//! is nothing for a reload or for the thread's successor to carry over. It has counters of its own
//! that nobody reads, and stands in no topology.

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;

use super::cluster::ClusterActor;
use super::fleet::{Difference, TargetRun};
use super::messages::{Collect, MAILBOX, deliver};
use crate::domain::{
    Backoff, Behaviour, BreakerPolicy, Cluster, DriverSettings, Fault, FaultKind, FaultRates, Id,
    RetryPolicy, SimulatedSettings, Target, Topology,
};
use crate::engine::cluster_spec::{ClusterSpec, plan};
use crate::engine::gather::{CollectOptions, FleetDevices, Gather};
use crate::supervision::shell::{SupervisionEnv, start_on};
use crate::telemetry::Metrics;

/// How long its device takes: the shortest that needs the thread's timers.
const LATENCY: Duration = Duration::from_millis(1);

/// How long its device may take; a thread that is stuck also holds this clock, so it tells nothing.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A roll call of the hidden cluster, under way.
#[derive(Debug)]
pub(super) struct Canary {
    gather: Arc<Gather>,
    /// Held so that the cluster runs.
    _actor: Addr<ClusterActor>,
}

impl Canary {
    /// Begins one on `arbiter`.
    pub(super) fn begin(arbiter: &ArbiterHandle, env: &SupervisionEnv) -> Self {
        let env = Arc::new(SupervisionEnv {
            supervisor: env.supervisor.clone(),
            rules: Arc::clone(&env.rules),
            metrics: Metrics::default(),
            event_log: Arc::default(),
        });
        let (spec, topology, fleet_devices) = hidden(&env);
        let actor = start_on(arbiter, spec, &env, MAILBOX);
        let gather = gather(0, &topology, &fleet_devices);
        deliver(&actor, Collect(gather.ticket(0, 0, None)));
        Self {
            gather,
            _actor: actor,
        }
    }

    /// Waits for the answer, for as long as that takes; an error is the device's fault.
    pub(super) async fn finish(self) -> Result<(), Arc<Fault>> {
        self.gather.settled().await;
        let nobody = Arc::new(Fault::new(FaultKind::Cancelled, "there is no answer"));
        let collection = self.gather.close(&nobody);
        let fault = collection.faults().next();
        fault.map_or(Ok(()), |(_, _, _, fault)| Err(Arc::clone(fault)))
    }
}

/// The cluster, and all that a collect of it needs.
pub(super) fn hidden(
    env: &Arc<SupervisionEnv>,
) -> (Arc<ClusterSpec>, Arc<Topology>, Arc<FleetDevices>) {
    let metrics = env.metrics.clone();
    let id = cluster_id();
    let cluster = Cluster::new(id.clone(), vec![id.clone()], Vec::new());
    let spec = ClusterSpec::new(id, Arc::clone(env), metrics.clone(), None);
    let spec = Arc::new(spec);
    let run = TargetRun {
        end: cluster.len(),
        target: target(),
        ports: Vec::new(),
    };
    let (plan, _) = plan(&spec, &cluster, &[run], &mut Difference::default(), true);
    spec.set_plan(Arc::clone(&plan));
    let topology = Arc::new(Topology::new(vec![cluster]));
    let plans = Box::new([plan]);
    (spec, topology, Arc::new(FleetDevices { plans, metrics }))
}

/// A collect of it.
pub(super) fn gather(
    id: u64,
    topology: &Arc<Topology>,
    devices: &Arc<FleetDevices>,
) -> Arc<Gather> {
    let options = CollectOptions {
        read: false,
        force: false,
        is_patient: true,
        client: None,
    };
    Gather::new(id, Arc::clone(topology), Arc::clone(devices), options)
}

/// For tests of what runs without a supervisor.
#[cfg(test)]
pub(super) fn env() -> Arc<SupervisionEnv> {
    use crate::domain::SupervisionPolicy;
    use crate::supervision::supervisor::Rules;

    Arc::new(SupervisionEnv {
        supervisor: None,
        rules: Arc::new(Rules::new(SupervisionPolicy::default())),
        metrics: Metrics::default(),
        event_log: Arc::default(),
    })
}

/// As it stands in the log, which names it only if a bug crashes it.
#[expect(clippy::expect_used, reason = "a test builds it")]
fn cluster_id() -> Id {
    Id::name("watchdog").expect("it is an id")
}

fn target() -> Target {
    Target {
        timeout: TIMEOUT,
        retry: RetryPolicy {
            retries: 0,
            backoff: Backoff {
                min: TIMEOUT,
                max: TIMEOUT,
            },
        },
        breaker: BreakerPolicy {
            failures: 0,
            open_min: TIMEOUT,
            open_max: TIMEOUT,
        },
        driver: DriverSettings::Simulated(SimulatedSettings {
            latency: LATENCY,
            jitter: Duration::ZERO,
            seed: 0,
            behaviour: Behaviour::Random(FaultRates::default()),
        }),
        allow: None,
    }
}
