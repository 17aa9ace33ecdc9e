//! The messages that cross two actors; each says who sends it, who answers, and how.
//!
//! None of them is answered through actix's reply channel except [`Exited`]: outcomes travel in
//! reply ports (`super::gathering`), which answer for themselves when the receiver dies with them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;

use super::gathering::{Reply, Share};
use super::panics::PanicReport;
use crate::domain::{ClusterId, Decision, DeviceId, DeviceKind, Fault};

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

/// From `CollectorHandle` to a `ClusterActor`, and from there to those of its devices that have
/// not answered: nobody waits for this collect any more. Not answered.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub(crate) struct Withdraw {
    /// Which collect.
    pub(crate) collect: u64,
    /// What the devices without an answer were given instead.
    pub(crate) fault: Arc<Fault>,
}

/// From a supervision shell to the `SupervisorActor`: a child ended; what becomes of it? If the
/// supervisor dies before it answers, the shell decides by its own policy.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Decision")]
pub(crate) struct Exited {
    /// The child; an id is never used again, so a late notice cannot hit another one.
    pub(crate) child: u64,
    /// Its place in the tree.
    pub(crate) path: ChildPath,
    /// Why it ended.
    pub(crate) reason: ExitReason,
    /// How long it had been running.
    pub(crate) uptime: Duration,
    /// How often it has been restarted so far.
    pub(crate) restarts: u32,
}

/// From a supervision shell to the `SupervisorActor`: a child that had failed before is gone for
/// good, as its parent is. Not answered.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Gone {
    /// The child.
    pub(crate) child: u64,
}

/// Why an actor ended though its parent wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ExitReason {
    /// Its code panicked.
    Panic(PanicReport),
    /// It stopped itself; a permanent child is restarted all the same.
    Stopped,
}

/// A child's place in the supervision tree.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum ChildPath {
    /// The `SupervisorActor` itself.
    Supervisor,
    /// A `ClusterActor`.
    Cluster(ClusterId),
    /// A `NodeActor` or `SwitchActor`.
    Device(ClusterId, DeviceKind, DeviceId),
}

impl fmt::Display for ChildPath {
    /// As in the log: `cluster=1 node=3`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Supervisor => f.write_str("supervisor"),
            Self::Cluster(cluster) => write!(f, "cluster={cluster}"),
            Self::Device(cluster, kind, device) => write!(f, "cluster={cluster} {kind}={device}"),
        }
    }
}
