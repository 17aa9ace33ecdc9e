//! Turns of lookups on a controller, which has one session of ours at a time.
//!
//! It does not know what a session is; it knows what the task that has one is doing, for those that wait
//! in vain. Entry point: [`SessionTurn::wait_for`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::OwnedMutexGuard;
use tokio::time::{Instant, timeout_at};

use crate::domain::{ClusterId, DeviceId, LocalReason, LookupError};
use crate::drivers::Call;

/// By their addresses, the controllers on which a session is, or is waited for.
static CONTROLLERS: Mutex<BTreeMap<String, Controller>> = Mutex::new(BTreeMap::new());

/// A controller on which a session is, or is waited for.
#[derive(Default)]
struct Controller {
    lock: Arc<tokio::sync::Mutex<()>>,
    /// The task that has the lock, if it has begun.
    holder: Option<Holder>,
}

/// What a task that has a session, or is about to, is doing.
struct Holder {
    stage: Stage,
    cluster: ClusterId,
    device: DeviceId,
    since: Instant,
}

/// What it is doing.
#[derive(Clone, Copy)]
pub(super) enum Stage {
    Login,
    Lookup,
    Logout,
}

impl Holder {
    /// Why a lookup had no session within its `limit`.
    fn explain(&self, limit: Duration) -> LookupError {
        let Self {
            stage,
            cluster,
            device,
            since,
        } = self;
        let (what, is) = match stage {
            Stage::Login => ("login", "has no answer yet"),
            Stage::Lookup => ("session", "is in use"),
            Stage::Logout => ("logout", "has no answer yet"),
        };
        let limit = humantime::format_duration(limit);
        let age = humantime::format_duration(Duration::from_secs(since.elapsed().as_secs()));
        let text = format!(
            "no session within {limit}: the {what} of device {device} of cluster {cluster} there, begun \
             {age} ago, {is}"
        );
        match stage {
            // Both of them are ours, and this one's controller was not even asked.
            Stage::Lookup => LookupError::Local(LocalReason::Session, text),
            Stage::Login | Stage::Logout => LookupError::SessionTaken(text),
        }
    }
}

/// The right to have a session on a controller, which one task has at a time.
pub(super) struct SessionTurn {
    controller: String,
    lock: Arc<tokio::sync::Mutex<()>>,
    /// `None` while it waits.
    held: Option<OwnedMutexGuard<()>>,
}

impl SessionTurn {
    /// Waits until the call's deadline.
    pub(super) async fn wait_for(controller: String, call: Call<'_>) -> Result<Self, LookupError> {
        let lock = {
            let mut controllers = controllers();
            let known = controllers.entry(controller.clone()).or_default();
            Arc::clone(&known.lock)
        };
        let mut turn = Self {
            controller,
            lock: Arc::clone(&lock),
            held: None,
        };
        let Ok(held) = timeout_at(call.deadline, lock.lock_owned()).await else {
            let controllers = controllers();
            let known = controllers.get(&turn.controller);
            let holder = known.and_then(|it| it.holder.as_ref());
            let timed_out = || LookupError::TimedOut(call.timeout);
            return Err(holder.map_or_else(timed_out, |it| it.explain(call.timeout)));
        };
        turn.held = Some(held);
        Ok(turn)
    }

    /// The address of the controller.
    pub(super) fn controller(&self) -> &str {
        &self.controller
    }

    /// What the task that has it does from now on, for lookups that wait.
    pub(super) fn begins(&self, stage: Stage, cluster: &ClusterId, device: &DeviceId) {
        if let Some(controller) = controllers().get_mut(&self.controller) {
            controller.holder = Some(Holder {
                stage,
                cluster: cluster.clone(),
                device: device.clone(),
                since: Instant::now(),
            });
        }
    }
}

impl Drop for SessionTurn {
    fn drop(&mut self) {
        let mut controllers = controllers();
        let was_held = self.held.take().is_some();
        if was_held && let Some(controller) = controllers.get_mut(&self.controller) {
            controller.holder = None;
        }
        // That of the list and this one: nothing else waits for it.
        if Arc::strong_count(&self.lock) == 2 {
            controllers.remove(&self.controller);
        }
    }
}

fn controllers() -> MutexGuard<'static, BTreeMap<String, Controller>> {
    CONTROLLERS.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::FaultKind;

    #[tokio::test(start_paused = true)]
    async fn one_at_a_time_has_a_controller_and_none_is_kept() {
        let name = || "http://one.example".to_owned();
        let id = DeviceId::number(1);
        let call = Call::within(&id, Duration::from_secs(5));
        let first = SessionTurn::wait_for(name(), call).await.unwrap();
        let mut second = Box::pin(SessionTurn::wait_for(name(), call));
        let mut dropped = Box::pin(SessionTurn::wait_for(name(), call));
        assert!(futures::poll!(&mut second).is_pending());
        assert!(futures::poll!(&mut dropped).is_pending());
        let other = SessionTurn::wait_for("http://other.example".to_owned(), call).await;
        drop((first, dropped));
        drop((second.await, other));
        assert!(!controllers().contains_key(&name()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_lookup_that_waits_in_vain_says_for_what() {
        let name = || "http://taken.example".to_owned();
        let id = DeviceId::number(1);
        let held = SessionTurn::wait_for(name(), Call::within(&id, Duration::ZERO)).await;
        let (silent, taken) = (FaultKind::TimedOut, FaultKind::Failed);
        for (stage, kind, said) in [
            (
                Stage::Login,
                silent,
                "the login of device 1 of cluster 1 there, begun 14s ago, has no answer yet",
            ),
            (
                Stage::Lookup,
                taken,
                "the session of device 1 of cluster 1 there, begun 14s ago, is in use",
            ),
            (
                Stage::Logout,
                silent,
                "the logout of device 1 of cluster 1 there, begun 14s ago, has no answer yet",
            ),
        ] {
            controllers().get_mut(&name()).unwrap().holder = Some(Holder {
                stage,
                cluster: id.clone(),
                device: id.clone(),
                since: Instant::now() - Duration::from_secs(9),
            });
            let call = Call::within(&id, Duration::from_secs(5));
            // As a lookup does, whose own timer ends with its deadline.
            let lookup = call.bound(async move {
                let turn = SessionTurn::wait_for(name(), call).await;
                turn.map(|_| crate::domain::Facts::none())
            });
            let error = lookup.await.unwrap_err();
            assert_eq!(error.kind(), kind);
            assert_eq!(error.to_string(), format!("no session within 5s: {said}"));
        }
        drop(held);
        assert!(!controllers().contains_key(&name()));
    }
}
