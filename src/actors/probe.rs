//! What node and switch actors have in common: one lookup at a time, which requests may join.
//!
//! No actor itself. A request that comes while a lookup runs waits for its outcome; when nobody
//! waits any more, the lookup is dropped.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use actix::prelude::*;
use log::Level;
use log::kv::Value;
use tokio::time::Instant;

use super::cluster::ClusterSpec;
use super::drill::Point;
use super::gathering::Reply;
use super::messages::{ChildPath, Withdraw};
use crate::domain::{DeviceId, DeviceKind, Fault, FaultKind, Outcome};
use crate::lookup::{Call, LookupError};
use crate::telemetry::{Gauge, event};

/// A device of a cluster: what its actor is built from.
#[derive(Debug, Clone)]
pub(super) struct Device {
    pub(super) cluster: Arc<ClusterSpec>,
    /// Its place in the cluster.
    pub(super) index: usize,
}

impl Device {
    fn id(&self) -> (DeviceKind, &DeviceId) {
        self.cluster.cluster().device(self.index)
    }

    pub(super) fn path(&self) -> ChildPath {
        let (kind, device) = self.id();
        ChildPath::Device(self.cluster.cluster().id().clone(), kind, device.clone())
    }

    /// Fails here if a drill says so.
    pub(super) fn pass(&self, point: Point) {
        if let Some(drill) = &self.cluster.drill {
            drill.pass(point, &self.path());
        }
    }

    /// Asks the device once, when there is room for one more lookup in its cluster.
    pub(super) async fn lookup(self) -> Outcome {
        let cluster = &*self.cluster;
        let _permit = match &cluster.permits {
            // Closed never, as nobody does.
            Some(permits) => permits.acquire().await.ok(),
            None => None,
        };
        let _counted = cluster.metrics.enter(Gauge::Lookups);
        let (kind, device) = self.id();
        let number = cluster.asked[self.index].fetch_add(1, Ordering::Relaxed);
        let call = Call {
            cluster: cluster.cluster().id(),
            kind,
            device,
            number,
        };
        let (driver, timeout) = cluster.target(self.index);
        let start = Instant::now();
        let result = tokio::time::timeout(timeout, driver.lookup(call)).await;
        result
            .unwrap_or(Err(LookupError::TimedOut(timeout)))
            .map_err(|error| {
                let fault = Fault::from(error);
                self.log(Level::Warn, "lookup failed", &fault, Some(start.elapsed()));
                Arc::new(fault)
            })
    }

    fn log(&self, level: Level, message: &str, fault: &Fault, elapsed: Option<Duration>) {
        let (kind, device) = self.id();
        let mut fields = vec![
            ("cluster", Value::from_display(self.cluster.cluster().id())),
            (kind.as_str(), Value::from_display(device)),
            ("kind", Value::from(fault.kind().as_str())),
            ("error", Value::from(fault.message())),
        ];
        let millis = elapsed.map(|elapsed| u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX));
        if let Some(millis) = millis {
            fields.push(("duration_ms", Value::from(millis)));
        }
        event(level, module_path!(), message, &fields);
    }
}

/// A device's lookup under way, and who waits for it.
#[derive(Debug)]
pub(super) struct Prober {
    pub(super) device: Device,
    /// The lookup, while one runs.
    lookup: Option<SpawnHandle>,
    /// Who waits for it; empty if none runs.
    waiting: Vec<Reply>,
}

impl Prober {
    pub(super) fn new(device: Device) -> Self {
        device.pass(Point::DeviceNew);
        Self {
            device,
            lookup: None,
            waiting: Vec::new(),
        }
    }

    /// Takes a request. Gives the lookup to start, unless it could join one.
    pub(super) fn ask(&mut self, reply: Reply) -> Option<impl Future<Output = Outcome> + use<>> {
        self.device.pass(Point::DeviceHandler);
        self.waiting.push(reply);
        self.lookup.is_none().then(|| self.device.clone().lookup())
    }

    /// The lookup that [`Prober::ask`] gave has been started.
    pub(super) fn started(&mut self, lookup: SpawnHandle) {
        self.lookup = Some(lookup);
    }

    /// The lookup is over: answers everybody who waits for it.
    pub(super) fn finished(&mut self, outcome: &Outcome) {
        self.lookup = None;
        for reply in std::mem::take(&mut self.waiting) {
            reply.send(outcome.clone());
        }
    }

    /// Somebody does not wait any more. Gives the lookup to drop, if nobody is left.
    pub(super) fn withdraw(&mut self, withdraw: &Withdraw) -> Option<SpawnHandle> {
        let before = self.waiting.len();
        self.waiting
            .retain(|reply| reply.collect() != withdraw.collect);
        if self.waiting.len() == before || !self.waiting.is_empty() {
            return None;
        }
        let level = match withdraw.fault.kind() {
            FaultKind::Cancelled => Level::Debug,
            _ => Level::Warn,
        };
        self.device
            .log(level, "lookup cut off", &withdraw.fault, None);
        self.lookup.take()
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.device.pass(Point::DeviceDrop);
    }
}
