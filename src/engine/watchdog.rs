//! Whether roll calls can finish: makes one on every thread that runs clusters, again and again.
//!
//! Each is of a hidden cluster of one simulated device, through the same messages and actors as
//! everybody's (`engine::canary`). One that gets no answer is waited for and not repeated, so a
//! thread that is stuck gathers nothing; that it takes too long is seen by whoever asks
//! ([`WatchdogHandle::threads`]), who runs elsewhere, so that also the watchdog's own thread may be
//! the one that is stuck. It does not know who asks.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::engine::fleet::FleetHandle;

/// Between a roll call that came to nothing and the next one, at most: a thread that ended is
/// replaced soon.
const RETRY: Duration = Duration::from_secs(1);

/// How often, and how long it may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WatchdogSettings {
    /// From an answer to the next roll call.
    pub every: Duration,
    /// A thread whose answer takes longer is stuck.
    pub deadline: Duration,
}

impl Default for WatchdogSettings {
    fn default() -> Self {
        Self {
            every: Duration::from_secs(5),
            deadline: Duration::from_secs(5),
        }
    }
}

/// The tasks that make roll calls; they end when it is dropped.
#[derive(Debug)]
pub(crate) struct Watchdog {
    handle: WatchdogHandle,
    tasks: Vec<JoinHandle<()>>,
}

/// What the watchdog found; cheap to clone.
#[derive(Debug, Clone)]
pub struct WatchdogHandle(Arc<ThreadRecords>);

#[derive(Debug)]
struct ThreadRecords {
    settings: WatchdogSettings,
    threads: Box<[Mutex<CanaryRecord>]>,
}

/// The roll calls of one thread.
#[derive(Debug)]
struct CanaryRecord {
    /// When the last one began.
    began: Instant,
    is_under_way: bool,
    /// What came of the last one that ended.
    last: Option<CanaryResult>,
}

#[derive(Debug)]
struct CanaryResult {
    at: Instant,
    took: Duration,
    fault: Option<String>,
}

/// How a thread that runs clusters does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThreadHealth {
    /// How long its last roll call took, or the one under way has taken so far if that is longer.
    pub took: Duration,
    /// Why it cannot be relied on, if so.
    pub trouble: Option<String>,
}

impl Watchdog {
    /// Begins on the current arbiter.
    pub(crate) fn start(fleet: &FleetHandle, settings: WatchdogSettings) -> Self {
        let canary = |_| {
            Mutex::new(CanaryRecord {
                began: Instant::now(),
                is_under_way: true,
                last: None,
            })
        };
        let threads = (0..fleet.threads()).map(canary).collect();
        let handle = WatchdogHandle(Arc::new(ThreadRecords { settings, threads }));
        let watch = |thread| actix_web::rt::spawn(handle.clone().watch(fleet.clone(), thread));
        let tasks = (0..fleet.threads()).map(watch).collect();
        Self { handle, tasks }
    }

    /// What it finds.
    pub(crate) fn handle(&self) -> WatchdogHandle {
        self.handle.clone()
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl WatchdogHandle {
    /// How each thread does, in order; waits for none of them.
    #[must_use]
    pub fn threads(&self) -> Vec<ThreadHealth> {
        let now = Instant::now();
        let threads = 0..self.0.threads.len();
        threads
            .map(|it| self.canary(it).health(self.0.settings, now))
            .collect()
    }

    /// The threads that have owed an answer for longer than it may take; waits for none of them.
    pub(crate) fn stuck(&self) -> Vec<usize> {
        let (now, deadline) = (Instant::now(), self.0.settings.deadline);
        let threads = 0..self.0.threads.len();
        let is_stuck = |&thread: &usize| self.canary(thread).waited(now) > deadline;
        threads.filter(is_stuck).collect()
    }

    fn canary(&self, thread: usize) -> MutexGuard<'_, CanaryRecord> {
        let canary = self.0.threads[thread].lock();
        canary.unwrap_or_else(PoisonError::into_inner)
    }

    /// Tries a thread again and again, for ever.
    async fn watch(self, fleet: FleetHandle, thread: usize) {
        let every = self.0.settings.every;
        loop {
            let began = Instant::now();
            {
                let mut canary = self.canary(thread);
                canary.began = began;
                canary.is_under_way = true;
            }
            let result = fleet.run_canary(thread).await;
            let wait = if result.is_ok() {
                every
            } else {
                every.min(RETRY)
            };
            {
                let mut canary = self.canary(thread);
                let at = Instant::now();
                canary.is_under_way = false;
                canary.last = Some(CanaryResult {
                    at,
                    took: at - began,
                    fault: result.err().map(|fault| fault.message().to_owned()),
                });
            }
            tokio::time::sleep(wait).await;
        }
    }
}

impl CanaryRecord {
    /// How long the answer of the roll call under way is owed, if there is one.
    fn waited(&self, now: Instant) -> Duration {
        if self.is_under_way {
            now.saturating_duration_since(self.began)
        } else {
            Duration::ZERO
        }
    }

    fn health(&self, settings: WatchdogSettings, now: Instant) -> ThreadHealth {
        let WatchdogSettings { every, deadline } = settings;
        let waited = self.waited(now);
        let last = self.last.as_ref();
        let took = last.map(|last| last.took).unwrap_or_default();
        let text = |duration: Duration| {
            let whole =
                Duration::from_millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
            humantime::format_duration(whole).to_string()
        };
        if self.is_under_way {
            let fault = last.and_then(|last| last.fault.clone());
            return ThreadHealth {
                took: took.max(waited),
                trouble: if waited > deadline {
                    let waited = text(waited);
                    Some(format!("a roll call on it has had no answer for {waited}"))
                } else {
                    fault
                },
            };
        }
        let idle = last.map(|last| now.saturating_duration_since(last.at));
        let overdue = idle.filter(|&idle| idle > every + deadline).map(text);
        let asleep =
            |idle| format!("the last roll call on it was {idle} ago: the main thread is stuck");
        let fault = last.and_then(|last| last.fault.clone());
        ThreadHealth {
            took,
            trouble: overdue.map(asleep).or(fault),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: WatchdogSettings = WatchdogSettings {
        every: Duration::from_secs(5),
        deadline: Duration::from_secs(3),
    };

    fn trouble(is_under_way: bool, fault: Option<&str>, since: u64) -> Option<String> {
        let began = Instant::now();
        let canary = CanaryRecord {
            began,
            is_under_way,
            last: Some(CanaryResult {
                at: began,
                took: Duration::ZERO,
                fault: fault.map(str::to_owned),
            }),
        };
        canary
            .health(SETTINGS, began + Duration::from_secs(since))
            .trouble
    }

    #[test]
    fn a_thread_is_in_trouble_when_its_answer_is_late_or_bad_or_nobody_asks() {
        assert_eq!(trouble(true, None, 3), None);
        let late = trouble(true, None, 4).unwrap();
        assert_eq!(late, "a roll call on it has had no answer for 4s");
        assert_eq!(trouble(false, None, 8), None);
        let asleep = trouble(false, None, 9).unwrap();
        assert!(
            asleep.contains("was 9s ago: the main thread is stuck"),
            "{asleep}"
        );
        let ended = Some("its thread ended");
        assert_eq!(trouble(false, ended, 1).as_deref(), ended);
        assert_eq!(
            trouble(true, ended, 1).as_deref(),
            ended,
            "until it has answered"
        );
    }
}
