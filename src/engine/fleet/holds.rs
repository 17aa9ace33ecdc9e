//! What keeps a device from being asked, ended or passed over: here, or where the device is.
//!
//! Not by messages: it is for when the actors that would take them are down. It does not know who may
//! do so. Entry points: [`FleetHandle::reset`], [`FleetHandle::reserve_force`].

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::{BreakerState, ChildState, ClusterId, DeviceId, DeviceKind, Hold, Liveness};
use crate::engine::cluster_spec::ClusterSpec;
use crate::engine::device::{Device, hold};
use crate::engine::fleet::FleetHandle;
use crate::engine::remote::Way;
use crate::engine::remote_state::StateQuery;
use crate::supervision::health::{Child as _, Health};

/// Resets a device; its cluster's actor is started if it waits to be.
pub(crate) fn reset(cluster: &ClusterSpec, device: &Device) -> Vec<Hold> {
    let mut cleared = device.reset();
    let health = cluster.health();
    let down = health.down().map(|down| down.quarantined);
    health.start_now();
    cleared.extend(hold(down).filter(|it| !cleared.contains(it)));
    cleared
}

/// Gives the right to ask a device by force, as [`FleetHandle::reserve_force`] says.
pub(crate) fn reserve_force(cluster: &ClusterSpec, device: &Device) -> Result<bool, Duration> {
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
    let held: Vec<_> = held.map(|(health, _)| health).collect();
    reserve_all(&held, now)?;
    Ok(!held.is_empty())
}

/// Reserves the right to force each of these, or of none if another caller has just got one of them.
fn reserve_all(held: &[&Health], now: Instant) -> Result<(), Duration> {
    for (count, health) in held.iter().enumerate() {
        if let Err(wait) = health.reserve_force(now) {
            for reserved in &held[..count] {
                reserved.give_back_force(now);
            }
            return Err(wait);
        }
    }
    Ok(())
}

impl FleetHandle {
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
                    let query = StateQuery::of_device(route, place);
                    let asked = elsewhere.reset(query, caller.to_owned());
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
                    elsewhere.reserve_force(StateQuery::of_device(route, place))
                }
            }
        };
        asked.await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::FORCED_EVERY;

    #[tokio::test(start_paused = true)]
    async fn a_right_that_another_caller_gets_in_part_is_not_used_up() {
        for cluster_first in [true, false] {
            let (device, cluster) = (Health::default(), Health::default());
            let held = if cluster_first {
                [&cluster, &device]
            } else {
                [&device, &cluster]
            };
            let now = Instant::now();
            // A caller who asks for another device of the cluster.
            assert_eq!(cluster.reserve_force(now), Ok(()));
            tokio::time::advance(Duration::from_secs(1)).await;
            let wait = FORCED_EVERY - Duration::from_secs(1);
            assert_eq!(reserve_all(&held, Instant::now()), Err(wait));
            assert_eq!(device.state(Instant::now()).forced, None);
            assert_eq!(cluster.force(Instant::now()), Ok(()), "that caller's right");
            tokio::time::advance(wait).await;
            assert_eq!(reserve_all(&held, Instant::now()), Ok(()));
            assert_eq!(device.force(Instant::now()), Ok(()));
            assert_eq!(device.force(Instant::now()), Err(FORCED_EVERY));
        }
    }
}
