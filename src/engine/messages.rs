//! The messages that cross two actors; each says who sends it, who answers, and how.
//!
//! None of them is answered through actix's reply channel except [`Exited`]: outcomes travel in
//! reply ports (`crate::engine::gather`), which answer for themselves when the receiver dies with
//! them.

use std::sync::Arc;

use actix::dev::ToEnvelope;
use actix::prelude::*;
use tokio::sync::oneshot;

use crate::domain::{Decision, Fault, FaultKind, THREAD_ENDED};
use crate::engine::gather::{ClusterTicket, ReplyPort};
use crate::supervision::catch_panic::with_drop_reason;
use crate::supervision::health::Child;
use crate::telemetry::Metrics;

/// From `CollectorHandle` to a `ClusterActor`: ask all your devices. Answered through the share,
/// by the devices, or with a fault when the share is dropped.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Collect(pub(crate) ClusterTicket);

/// From a `ClusterActor` to a device's actor: ask the device, or join the lookup under way.
/// Answered through the port.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Probe(pub(crate) ReplyPort);

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

/// From `CollectorHandle` to a `ClusterActor`: the caller of this collect does not wait any more. Not
/// answered.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Withdraw {
    /// Which collect.
    pub(crate) collect: u64,
}

/// From a `ClusterActor` to a device's actor: no collect waits for its lookup any more. Not answered.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct CutOff;

/// From the fleet to a `ClusterActor`: its cluster is asked elsewhere from now on, as its spec says,
/// so it drops its devices. Answered through the channel when they are gone; one that dies with it
/// starts none, and drops the channel.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Stop(pub(crate) oneshot::Sender<()>);

/// From the fleet to a `ClusterActor`: its cluster is asked elsewhere from now on, so it follows no
/// schedule, and is told to leave when it is at rest. Answered through the channel when every collect
/// that it had has its devices' outcomes; one that dies drops the channel.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Drain(pub(crate) oneshot::Sender<()>);

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

/// How many messages may wait for one actor. Far more than `max_waiting` lets come at a time, so
/// one that is full belongs to an actor whose thread is stuck.
pub(super) const MAILBOX: usize = 1 << 20;

/// Sends a message that answers for itself when it is dropped.
pub(crate) fn deliver<A, M>(to: &Addr<A>, message: M)
where
    A: Actor + Handler<M>,
    A::Context: ToEnvelope<A, M>,
    M: Message<Result = ()> + Send + 'static,
{
    let (why, message) = match to.try_send(message) {
        Ok(()) => return,
        Err(SendError::Full(message)) => (
            "its actor does not keep up: too many messages are waiting",
            message,
        ),
        Err(SendError::Closed(message)) => (THREAD_ENDED, message),
    };
    with_drop_reason(Arc::new(Fault::new(FaultKind::Crashed, why)), || {
        drop(message);
    });
}
