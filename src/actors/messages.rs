//! The messages that cross two actors; each says who sends it, who answers, and how.
//!
//! None of them is answered through actix's reply channel except [`Exited`]: outcomes travel in
//! reply ports (`super::gathering`), which answer for themselves when the receiver dies with them.

use std::sync::Arc;

use actix::prelude::*;
use tokio::sync::oneshot;

use super::gathering::{Reply, Share};
use super::health::Child;
use crate::domain::{Decision, Fault};
use crate::telemetry::Metrics;

/// From `CollectorHandle` to a `ClusterActor`: ask all your devices. Answered through the share,
/// by the devices, or with a fault when the share is dropped.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Collect(pub(crate) Share);

/// From a `ClusterActor` to a device's actor: ask the device, or join the lookup under way.
/// Answered through the port.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Probe(pub(crate) Reply);

/// From a `ClusterActor` to a device's actor: it is the device's time in the schedule. Not
/// answered; dropped unread, it counts as skipped.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Tick {
    metrics: Metrics,
    taken: bool,
}

impl Tick {
    pub(super) fn new(metrics: Metrics) -> Self {
        Self {
            metrics,
            taken: false,
        }
    }

    /// A lookup begins for it.
    pub(super) fn take(mut self) {
        self.taken = true;
        self.metrics.ticked();
    }
}

impl Drop for Tick {
    fn drop(&mut self) {
        if !self.taken {
            self.metrics.tick_skipped(1);
        }
    }
}

/// From `CollectorHandle` to a `ClusterActor`, and from there to those of its devices that have
/// not answered: nobody waits for this collect any more. Not answered.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub(crate) struct Withdraw {
    /// Which collect.
    pub(crate) collect: u64,
    /// What the devices without an answer were given instead.
    pub(crate) fault: Arc<Fault>,
    /// Whether that says something of them: not if their caller had less patience than is configured.
    pub(crate) tells: bool,
}

/// From the fleet to a `ClusterActor`: its cluster is asked elsewhere from now on, as its spec says,
/// so it drops its devices. Answered through the channel when they are gone; one that dies with it
/// starts none, and drops the channel.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Leave(pub(crate) oneshot::Sender<()>);

/// From the fleet to a `ClusterActor`: its cluster is asked elsewhere from now on, so it follows no
/// schedule, and is told to leave when it is at rest. Answered through the channel when every collect
/// that it had has its devices' outcomes; one that dies drops the channel.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Rest(pub(crate) oneshot::Sender<()>);

/// From the fleet to a `ClusterActor`: its spec has another plan or schedule now. Not answered; a
/// `ClusterActor` that dies with it is built from the new plan.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Reload;

/// From a supervision shell to the `SupervisorActor`: a child ended; what becomes of it? If the
/// supervisor does not answer, the shell decides, by the same rules and the same memory.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Decision")]
pub(crate) struct Exited {
    /// The child, as it is known whatever becomes of the supervisor. Its health has this exit.
    pub(crate) child: Arc<dyn Child>,
}
