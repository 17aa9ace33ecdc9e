//! What keeps a device from being asked, ended or passed over: here, or where the device is.
//!
//! Not by messages: it is for when the actors that would take them are down. It does not know who may
//! do so. Entry points: [`Tree::reset`], [`Tree::reserve_force`].

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::device::{Device, hold};
use super::elsewhere::Way;
use super::fleet::Tree;
use super::health::Child as _;
use super::plan::ClusterSpec;
use super::sight::Inquiry;
use crate::domain::{BreakerState, ChildState, ClusterId, DeviceId, DeviceKind, Hold, Liveness};

/// Resets a device; its cluster's actor is started if it waits to be.
pub(super) fn reset(cluster: &ClusterSpec, device: &Device) -> Vec<Hold> {
    let mut cleared = device.reset();
    let health = cluster.health();
    let down = health.down().map(|down| down.quarantined);
    health.start_now();
    cleared.extend(hold(down).filter(|it| !cleared.contains(it)));
    cleared
}

/// Gives the right to ask a device by force, as [`Tree::reserve_force`] says.
pub(super) fn reserve_force(cluster: &ClusterSpec, device: &Device) -> Result<bool, Duration> {
    let now = Instant::now();
    let state = device.state(now);
    let whole = cluster.health().state(now);
    let is_down = |child: &ChildState| child.liveness != Liveness::Running;
    let is_open = matches!(state.breaker, BreakerState::Open(_));
    let held = [
        (is_open || is_down(&state.child)).then_some((device.health(), state.child.forced)),
        is_down(&whole).then_some((cluster.health(), whole.forced)),
    ];
    let held = held.into_iter().flatten();
    if let Some(wait) = held.clone().filter_map(|(_, forced)| forced).max() {
        return Err(wait);
    }
    let mut is_held = false;
    for (health, _) in held {
        health.reserve_force(now)?;
        is_held = true;
    }
    Ok(is_held)
}

impl Tree {
    /// Closes a device's breaker and ends its backoff or quarantine, here or where it is, for this
    /// caller; gives what was cleared, or why that was not done. `None` if there is no such device.
    pub(crate) async fn reset(
        &self,
        cluster: &ClusterId,
        kind: DeviceKind,
        id: &DeviceId,
        caller: &str,
    ) -> Option<Result<Vec<Hold>, String>> {
        let (plan, place, asked) = {
            let routes = self.peek();
            let route = routes.route(cluster)?;
            let place = route.plan.place(kind, id)?;
            match &route.way {
                Way::Here(_) => return Some(Ok(reset(&route.spec, &route.plan.devices[place]))),
                Way::Elsewhere(elsewhere) => {
                    let inquiry = Inquiry::of_device(route, place);
                    let asked = elsewhere.reset(inquiry, caller.to_owned());
                    (Arc::clone(&route.plan), place, asked)
                }
            }
        };
        let cleared = asked.await;
        if cleared.is_ok() {
            plan.devices[place].health().reset();
        }
        Some(cleared)
    }

    /// Gives a caller the right to ask a device by force, if something keeps it from being asked: its
    /// breaker, or its actor or its cluster's being down. Gives whether something does, or how long the
    /// caller has to wait as another one had that right a moment ago. The owner of a cluster decides,
    /// for the callers of all processes; nothing is known if it does not say. The future may be dropped
    /// at any time.
    pub(crate) async fn reserve_force(
        &self,
        cluster: &ClusterId,
        kind: DeviceKind,
        id: &DeviceId,
    ) -> Option<Result<bool, Duration>> {
        let asked = {
            let routes = self.peek();
            let route = routes.route(cluster)?;
            let place = route.plan.place(kind, id)?;
            match &route.way {
                Way::Here(_) => {
                    return Some(reserve_force(&route.spec, &route.plan.devices[place]));
                }
                Way::Elsewhere(elsewhere) => {
                    elsewhere.reserve_force(Inquiry::of_device(route, place))
                }
            }
        };
        asked.await
    }
}
