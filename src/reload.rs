//! Changing the configuration under load: on a signal, on a change of the file, on request.
//!
//! The new configuration is read and validated as a whole before anything is touched. A bad one
//! changes nothing and is reported with all its faults; a good one is applied by difference
//! (`actors::fleet`). Reloads happen one after the other. It does not know who asks for one.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, oneshot};
use tokio::time::MissedTickBehavior;

use crate::actors::fleet::{FleetSpec, Settings, Tree};
use crate::config::{ClusterConfig, Config, ConfigError, GroupConfig, Source, Stamp};
use crate::telemetry::Metrics;

pub use crate::actors::fleet::Difference;

/// How often the file is looked at. A change is taken when it has lasted from one look to the next,
/// so that a file that is being written is not read half-way.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Reloads the configuration of a running service; cheap to clone.
#[derive(Debug, Clone)]
pub struct ReloadHandle(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    source: Source,
    tree: Tree,
    metrics: Metrics,
    /// Held by the reload under way.
    turn: Arc<Mutex<()>>,
}

/// Who wanted a reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// SIGHUP.
    Signal,
    /// `POST /v1/reload`.
    Request,
    /// The file changed.
    Watch,
}

impl Trigger {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Signal => "signal",
            Self::Request => "request",
            Self::Watch => "watch",
        }
    }
}

/// Why a reload changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The configuration is bad.
    #[error("{0}")]
    Config(ConfigError),
    /// Another reload is under way, and this one does not wait.
    #[error("another reload is under way; try again later")]
    Busy,
    /// The code that validates or applies has a bug.
    #[error("the reload failed: {0}")]
    Failed(String),
}

impl ReloadHandle {
    pub(crate) fn new(source: Source, tree: Tree, metrics: Metrics) -> Self {
        Self(Arc::new(Shared {
            source,
            tree,
            metrics,
            turn: Arc::new(Mutex::new(())),
        }))
    }

    /// Reads the configuration again and applies it. Waits while another reload is under way,
    /// unless it is a request: requests must not queue up.
    ///
    /// Dropping the future does not stop a reload that has begun: it is carried out, counted and
    /// logged all the same.
    ///
    /// # Errors
    /// Every variant of [`ReloadError`]; the configuration is the one of before then.
    pub async fn reload(&self, trigger: Trigger) -> Result<Difference, ReloadError> {
        let turn = Arc::clone(&self.0.turn);
        let turn = match Arc::clone(&turn).try_lock_owned() {
            Ok(turn) => turn,
            Err(_) if trigger == Trigger::Request => return Err(ReloadError::Busy),
            Err(_) => turn.lock_owned().await,
        };
        let shared = Arc::clone(&self.0);
        let work = on_a_thread(move || {
            let result = shared.reload(trigger);
            drop(turn);
            result
        });
        work.await.unwrap_or_else(|| {
            let error = ReloadError::Failed("its code panicked, or there is no thread".to_owned());
            self.0.metrics.reloaded(false);
            log::error!(trigger = trigger.as_str(), error:%; "reload failed");
            Err(error)
        })
    }

    /// Reloads whenever the file is another than at `seen`; for ever.
    pub(crate) async fn watch(self, mut seen: Stamp) {
        let mut last = seen;
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            let source = self.0.source.clone();
            let Some(now) = on_a_thread(move || source.stamp()).await else {
                continue;
            };
            if now != seen && now == last {
                seen = now;
                // It has said in the log what came of it.
                self.reload(Trigger::Watch).await.ok();
            }
            last = now;
        }
    }
}

impl Shared {
    /// Blocks, for as long as reading takes, and a million devices.
    fn reload(&self, trigger: Trigger) -> Result<Difference, ReloadError> {
        let trigger = trigger.as_str();
        match self.source.load() {
            Ok((config, from)) => {
                let difference = self.tree.reload(fleet_spec(config));
                self.metrics.reloaded(true);
                log_difference(&difference, &from, trigger);
                Ok(difference)
            }
            Err(error) => {
                self.metrics.reloaded(false);
                for fault in &error.faults {
                    let (line, column) = fault.place.unzip();
                    let path = error.path.display();
                    log::error!(
                        path:%, line, column, key = fault.key, fault = fault.message;
                        "configuration fault"
                    );
                }
                let faults = error.faults.len();
                log::error!(trigger, faults; "reload refused, the configuration stays as it was");
                Err(ReloadError::Config(error))
            }
        }
    }
}

/// Runs what may block for ever (a pipe that nobody writes to, a network's file system that hangs)
/// on a thread of its own, which nobody waits for when the process ends. `None` if it panics, or
/// there is no thread to be had.
async fn on_a_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (sender, receiver) = oneshot::channel();
    let thread = std::thread::Builder::new().name("reload".to_owned());
    let thread = thread.spawn(move || {
        // Whoever wanted to know may have gone.
        sender.send(work()).ok();
    });
    if let Err(error) = thread {
        log::error!(error:%; "cannot start a thread");
    }
    receiver.await.ok()
}

fn log_difference(difference: &Difference, config: &str, trigger: &str) {
    let Difference {
        clusters_added,
        clusters_removed,
        devices_added,
        devices_removed,
        devices_changed,
        devices_kept,
        settings_changed,
    } = *difference;
    log::info!(
        trigger, config, clusters_added, clusters_removed, devices_added, devices_removed,
        devices_changed, devices_kept, settings_changed;
        "reloaded"
    );
}

/// What the actors make of a configuration.
pub(crate) fn fleet_spec(config: Config) -> FleetSpec {
    let collect = config.collect;
    let targets = |ClusterConfig { cluster, groups }| {
        let target = |GroupConfig { devices, target }| (devices.end, target);
        (cluster, groups.into_iter().map(target).collect())
    };
    FleetSpec {
        clusters: config.clusters.into_iter().map(targets).collect(),
        settings: Settings {
            max_concurrent: collect.max_concurrent.map(std::num::NonZeroUsize::get),
            every: collect.every,
            policy: config.supervision,
            deadline: collect.deadline,
            max_waiting: collect.max_waiting.get(),
        },
    }
}
