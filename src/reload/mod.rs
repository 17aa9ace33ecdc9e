//! Changing the fleet under load: on a signal, on a change of the file, on request, and when a list
//! that devices are taken from changes.
//!
//! The new configuration is read and validated as a whole before anything is touched. A bad one
//! changes nothing and is reported with all its faults; a good one is applied by difference
//! (`engine::fleet`). Reloads happen one after the other. It does not know who asks for one.
//!
//! A list that cannot be read keeps the devices that it had, and a new one makes the configuration
//! a bad one; but the service starts without it.

pub(crate) mod discovery_sources;
mod discovery_states;
mod spec;

use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use tokio::signal::unix::Signal;
use tokio::sync::{Mutex, Notify, OwnedMutexGuard, oneshot};
use tokio::task::AbortHandle;
use tokio::time::MissedTickBehavior;

use crate::access::Access;
use crate::config::{Config, ConfigError, ConfigFault, DiscoveryConfig, Source, Stamp};
use crate::domain::{DiscoveredDevices, Discovery};
use crate::engine::fleet::{FleetHandle, FleetSpec};
use crate::reload::discovery_sources::{DiscoverySource, Reader};
use crate::telemetry::Metrics;
use spec::{Refused, Repeated, Specified, TooManyDevices, specify};

pub use crate::engine::fleet::Difference;
pub use crate::reload::discovery_sources::DiscoveryState;

/// How often the file is looked at. A change is taken when it has lasted from one look to the next,
/// so that a file that is being written is not read half-way.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Who tries a configuration again that could not be used.
const RETRIED: &str = Trigger::Publication.as_str();

/// Reloads the configuration of a running service; cheap to clone.
#[derive(Debug, Clone)]
pub struct ReloadHandle(Arc<ReloadState>);

#[derive(Debug)]
struct ReloadState {
    source: Source,
    fleet_handle: FleetHandle,
    metrics: Metrics,
    /// Held by the reload under way.
    turn: Arc<Mutex<()>>,
    /// Held while something is applied, never while something is read.
    applied: std::sync::Mutex<Applied>,
    reader: Reader,
    /// Who may do what, if there is a server.
    access: OnceLock<Access>,
}

/// The configuration in force, as far as lists are concerned.
#[derive(Debug, Default)]
struct Applied {
    /// To be applied again with another list; `None` if there are no lists.
    config: Option<Config>,
    /// In the order of its discoveries.
    sources: Vec<DiscoverySource>,
    /// Whether every device is simulated, as it was last logged.
    is_demonstration: bool,
    /// Devices that lists repeat, as it was last logged.
    repeated: Vec<Repeated>,
    /// Entries of lists that may not be asked, as it was last logged.
    refused: Vec<Refused>,
    /// The tasks that read the lists again and again.
    polls: Vec<Poll>,
    /// Whether the service ends, so that nothing is applied any more.
    is_stopped: bool,
}

/// A task that reads a list again and again; it ends when this is dropped.
#[derive(Debug)]
struct Poll {
    discovery: Discovery,
    task: AbortHandle,
    /// Told when it is to read the list at once.
    wake: Arc<Notify>,
}

impl Drop for Poll {
    fn drop(&mut self) {
        self.task.abort();
    }
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
    /// Another configuration was published.
    Publication,
    /// A list that devices are taken from was read, and is another one.
    Discovery,
}

impl Trigger {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Signal => "signal",
            Self::Request => "request",
            Self::Watch => "watch",
            Self::Publication => "publication",
            Self::Discovery => "discovery",
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
    /// `config` is what the fleet was started from, with no list read, if there are lists.
    pub(crate) fn new(
        config: Option<Config>,
        source: Source,
        fleet_handle: FleetHandle,
        metrics: Metrics,
    ) -> Self {
        let discoveries = config.iter().flat_map(|config| &config.discoveries);
        let sources = discoveries.cloned().map(DiscoverySource::new).collect();
        let applied = Applied {
            config,
            sources,
            ..Applied::default()
        };
        Self(Arc::new(ReloadState {
            source,
            fleet_handle,
            metrics,
            turn: Arc::new(Mutex::new(())),
            applied: std::sync::Mutex::new(applied),
            reader: Reader::default(),
            access: OnceLock::new(),
        }))
    }

    /// Reloads this too, from now on.
    pub(crate) fn guard(&self, access: Access) {
        // There is one server, so this is the first one.
        self.0.access.set(access).ok();
    }

    /// Reads all lists for the first time, within their timeouts, and again and again from then on.
    /// Those that cannot be read are empty; the log says so.
    pub async fn discover(&self) {
        let turn = self.turn().await;
        let Some(config) = self.0.applied().config.clone() else {
            return;
        };
        let shared = Arc::clone(&self.0);
        let work = on_a_thread(move || {
            let (read, _) = shared.read_new(&config.discoveries);
            let difference = shared.apply(config, read.clone());
            if let Err(error) = &difference {
                shared.go_without(read, *error);
            }
            drop(turn);
            difference
        });
        match work.await {
            Some(Ok(difference)) => {
                log_difference(
                    &difference,
                    "the lists of devices",
                    Trigger::Discovery.as_str(),
                    None,
                    self.0.fleet_handle.version(),
                );
            }
            Some(Err(error)) => log::error!(error:%; "the lists of devices are not used"),
            None => log::error!("the code that reads lists of devices failed"),
        }
    }

    /// As [`ReloadHandle::discover`], but no list is read again.
    pub(crate) async fn discover_once(&self) {
        self.stop();
        self.discover().await;
    }

    /// Says in the log whether every device is simulated, if it has not said so.
    pub(crate) fn note_demonstration(&self) {
        self.0.note_demonstration(&mut self.0.applied());
    }

    /// Reads no list again, and does not apply one that is being read again.
    pub(crate) fn stop(&self) {
        let mut applied = self.0.applied();
        applied.is_stopped = true;
        applied.polls.clear();
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
        self.reload_for(trigger, None).await
    }

    /// As [`ReloadHandle::reload`]; the log names `by`, who wanted it.
    ///
    /// # Errors
    /// As [`ReloadHandle::reload`].
    pub async fn reload_for(
        &self,
        trigger: Trigger,
        by: Option<String>,
    ) -> Result<Difference, ReloadError> {
        let turn = match self.turn_now() {
            Some(turn) => turn,
            None if trigger == Trigger::Request => return Err(ReloadError::Busy),
            None => {
                note_next(trigger);
                self.turn().await
            }
        };
        self.reload_in_turn(turn, trigger, by).await
    }

    async fn reload_in_turn(
        &self,
        turn: OwnedMutexGuard<()>,
        trigger: Trigger,
        by: Option<String>,
    ) -> Result<Difference, ReloadError> {
        let shared = Arc::clone(&self.0);
        let work = on_a_thread(move || {
            let result = shared.reload(trigger, by.as_deref());
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

    /// To be held by a reload, if none is under way.
    fn turn_now(&self) -> Option<OwnedMutexGuard<()>> {
        Arc::clone(&self.0.turn).try_lock_owned().ok()
    }

    /// To be held by a reload, as soon as none is under way.
    fn turn(&self) -> impl Future<Output = OwnedMutexGuard<()>> + use<> {
        Arc::clone(&self.0.turn).lock_owned()
    }

    /// Reloads on each of these signals, for ever. Those that come while a reload is under way are one
    /// more reload after it.
    pub(crate) async fn follow(self, mut signals: Signal) {
        while signals.recv().await.is_some() {
            let turn = match self.turn_now() {
                Some(turn) => turn,
                None => {
                    note_next(Trigger::Signal);
                    let mut turn = pin!(self.turn());
                    loop {
                        tokio::select! {
                            turn = &mut turn => break turn,
                            Some(()) = signals.recv() => note_next(Trigger::Signal),
                        }
                    }
                }
            };
            let reload = self.clone();
            tokio::spawn(async move {
                // It has said in the log what came of it.
                reload
                    .reload_in_turn(turn, Trigger::Signal, None)
                    .await
                    .ok();
            });
        }
    }

    /// Counts a configuration that is refused before it is read.
    pub(crate) fn note_refused(&self) {
        self.0.metrics.reloaded(false);
    }

    /// Reloads whenever the file is another than at `seen`; for ever.
    pub(crate) async fn watch(self, mut seen: Stamp) {
        let mut last = seen;
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            // As long as its file system does not answer, it is what it was.
            let Some(now) = self.0.source.look().await else {
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

impl ReloadState {
    /// Blocks, for as long as reading takes, and a million devices.
    fn reload(
        self: &Arc<Self>,
        trigger: Trigger,
        by: Option<&str>,
    ) -> Result<Difference, ReloadError> {
        let trigger = trigger.as_str();
        let reloaded = self.source.load_again().and_then(|(config, from)| {
            let access = self.access.get();
            let prepared = access
                .map(|access| access.prepare(&config, &self.source))
                .transpose();
            let (read, mut faults) = self.read_new(&config.discoveries);
            let policy = prepared.unwrap_or_else(|more| {
                faults.extend(more);
                faults.sort_by_key(|fault| fault.place);
                None
            });
            let refused = |faults| ConfigError {
                path: PathBuf::from(&from),
                faults,
            };
            if !faults.is_empty() {
                return Err(refused(faults));
            }
            let mut difference = self.apply(config, read).map_err(|error| {
                refused(vec![ConfigFault {
                    place: None,
                    key: String::new(),
                    message: error.to_string(),
                }])
            })?;
            if let (Some(access), Some(policy)) = (access, policy) {
                difference.note_settings(access.put_in_force(policy));
            }
            Ok((difference, from))
        });
        match reloaded {
            Ok((difference, from)) => {
                self.metrics.reloaded(true);
                log_difference(&difference, &from, trigger, by, self.fleet_handle.version());
                self.note_demonstration(&mut self.applied());
                Ok(difference)
            }
            Err(error) => {
                self.metrics.reloaded(false);
                // One that is tried again is said once.
                let was_said = self.source.was_refused(&error) && trigger == RETRIED;
                if was_said {
                    return Err(ReloadError::Config(error));
                }
                for fault in &error.faults {
                    let (line, column) = fault.place.unzip();
                    let path = error.path.display();
                    let key = Some(fault.key.as_str()).filter(|key| !key.is_empty());
                    log::error!(
                        path:%, line, column, key, fault = fault.message;
                        "configuration fault"
                    );
                }
                let faults = error.faults.len();
                log::error!(trigger, by, faults; "reload refused, the configuration stays as it was");
                Err(ReloadError::Config(error))
            }
        }
    }
}

impl ReloadState {
    fn applied(&self) -> MutexGuard<'_, Applied> {
        self.applied.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads those lists that nobody tried to read before, all at once, each within its timeout;
    /// also the faults of those that cannot be read. Blocks.
    fn read_new(
        &self,
        discoveries: &[DiscoveryConfig],
    ) -> (Vec<DiscoverySource>, Vec<ConfigFault>) {
        let known: Vec<Discovery> = {
            let applied = self.applied();
            let tried = applied.sources.iter().filter(|feed| feed.was_tried());
            tried.map(|feed| feed.config.discovery.clone()).collect()
        };
        let is_new = |it: &&DiscoveryConfig| !known.contains(&it.discovery);
        let mut new: Vec<DiscoverySource> = discoveries
            .iter()
            .filter(is_new)
            .cloned()
            .map(DiscoverySource::new)
            .collect();
        if new.is_empty() {
            return (new, Vec::new());
        }
        let results = match self.reader.runtime() {
            Some(runtime) => {
                let read = |feed: &DiscoverySource| {
                    runtime.spawn(discovery_sources::read(feed.config.discovery.clone()))
                };
                let reads: Vec<_> = new.iter().map(read).collect();
                let done = futures::executor::block_on(futures::future::join_all(reads));
                done.into_iter()
                    .map(|read| read.unwrap_or_else(|error| Err(error.to_string())))
                    .collect()
            }
            None => vec![Err("there is no thread to read it".to_owned()); new.len()],
        };
        let mut faults = Vec::new();
        for (feed, result) in new.iter_mut().zip(results) {
            self.metrics.discovered(result.is_ok());
            match result {
                Ok(list) => drop(feed.succeeds(list)),
                Err(error) => {
                    faults.push(ConfigFault {
                        place: Some(feed.config.place),
                        key: feed.config.key.clone(),
                        message: format!("the list of devices cannot be read: {error}"),
                    });
                    feed.fails(error);
                }
            }
        }
        (new, faults)
    }

    /// Puts a configuration in force, with lists that were read for it and those that are in force.
    fn apply(
        self: &Arc<Self>,
        config: Config,
        mut read: Vec<DiscoverySource>,
    ) -> Result<Difference, TooManyDevices> {
        let mut applied = self.applied();
        // With whether it was read just now.
        let sources: Vec<(DiscoverySource, bool)> = config
            .discoveries
            .iter()
            .map(|config| {
                let is_it = |feed: &DiscoverySource| feed.config.discovery == config.discovery;
                let new = read
                    .iter()
                    .position(is_it)
                    .map(|place| read.swap_remove(place));
                let known = || applied.sources.iter().find(|feed| is_it(feed)).cloned();
                let is_fresh = new.is_some();
                let mut feed = new
                    .or_else(known)
                    .unwrap_or_else(|| DiscoverySource::new(config.clone()));
                // Perhaps it is named somewhere else now.
                feed.config = config.clone();
                (feed, is_fresh)
            })
            .collect();
        let (sources, fresh): (Vec<DiscoverySource>, Vec<bool>) = sources.into_iter().unzip();
        let kept = (!sources.is_empty()).then(|| config.clone());
        let difference = self.put_in_force(&mut applied, config, &sources)?;
        applied.config = kept;
        self.poll_again(&mut applied, &sources, &fresh);
        applied.sources = sources;
        Ok(difference)
    }

    /// Reads these lists again and again, those that are not fresh at once. One that is being read
    /// goes on with that, so that it comes to an end however often this is called.
    fn poll_again(
        self: &Arc<Self>,
        applied: &mut Applied,
        sources: &[DiscoverySource],
        fresh: &[bool],
    ) {
        let mut before = std::mem::take(&mut applied.polls);
        let Some(runtime) = self.reader.runtime().filter(|_| !applied.is_stopped) else {
            return;
        };
        for (feed, &is_fresh) in sources.iter().zip(fresh) {
            let discovery = &feed.config.discovery;
            let known = before.iter().position(|poll| poll.discovery == *discovery);
            let poll = known.map_or_else(
                || {
                    let wake = Arc::new(Notify::new());
                    let poll = poll(Arc::downgrade(self), discovery.clone(), Arc::clone(&wake));
                    Poll {
                        discovery: discovery.clone(),
                        task: runtime.spawn(poll).abort_handle(),
                        wake,
                    }
                },
                |known| before.swap_remove(known),
            );
            if !is_fresh {
                poll.wake.notify_one();
            }
            applied.polls.push(poll);
        }
    }

    /// Begins without lists that make too large a fleet: they are read again, and used when they fit.
    fn go_without(self: &Arc<Self>, read: Vec<DiscoverySource>, error: TooManyDevices) {
        let mut applied = self.applied();
        let without = |mut feed: DiscoverySource| {
            (feed.list, feed.read_at) = (None, None);
            if feed.unread.is_none() {
                feed.fails(error.to_string());
            }
            feed
        };
        let sources: Vec<DiscoverySource> = read.into_iter().map(without).collect();
        self.poll_again(&mut applied, &sources, &vec![true; sources.len()]);
        applied.sources = sources;
    }

    fn put_in_force(
        &self,
        applied: &mut Applied,
        config: Config,
        sources: &[DiscoverySource],
    ) -> Result<Difference, TooManyDevices> {
        let lists: Vec<_> = sources.iter().map(|feed| feed.list.clone()).collect();
        let Specified {
            fleet,
            repeated,
            refused,
        } = specify(config, &lists)?;
        for it in refused.iter().filter(|it| !applied.refused.contains(it)) {
            let list = sources.get(it.discovery).map(|feed| &feed.config.discovery);
            let list = list.map(ToString::to_string);
            let Refused {
                discovery: _,
                cluster,
                kind,
                device,
                why,
                count,
            } = it;
            log::warn!(
                list, cluster:%, kind:%, first:% = device, count, error = why;
                "a list has entries that its `allow` refuses, they are not asked"
            );
        }
        applied.refused = refused;
        for it in repeated.iter().filter(|it| !applied.repeated.contains(it)) {
            let Repeated {
                cluster,
                kind,
                device,
                count,
            } = it;
            log::warn!(
                cluster:%, kind:%, first:% = device, count;
                "devices of a list are in their cluster already, each is asked once"
            );
        }
        applied.repeated = repeated;
        Ok(self.fleet_handle.reload(fleet))
    }

    fn note_demonstration(&self, applied: &mut Applied) {
        let routes = self.fleet_handle.peek();
        let (is_now, devices) = (routes.is_demonstration(), routes.topology.devices());
        match (
            std::mem::replace(&mut applied.is_demonstration, is_now),
            is_now,
        ) {
            (false, true) => {
                log::warn!(devices; "every device is simulated, this is a demonstration");
            }
            (true, false) => {
                let simulated = routes.simulated;
                log::info!(devices, simulated; "this is no demonstration any more");
            }
            (true, true) | (false, false) => {}
        }
    }

    /// Uses what was read, if it is another list and still wanted; returns whether it is wanted.
    fn take(&self, discovery: &Discovery, read: Result<Arc<DiscoveredDevices>, String>) -> bool {
        let mut applied = self.applied();
        let mut sources = applied.sources.clone();
        let feed = sources
            .iter_mut()
            .find(|feed| feed.config.discovery == *discovery);
        let (Some(feed), false) = (feed, applied.is_stopped) else {
            return false;
        };
        let before = feed.clone();
        let ended = match read {
            Ok(list) => feed.succeeds(list),
            Err(error) => {
                feed.fails(error);
                None
            }
        };
        let changed = feed.list != before.list;
        let was_read = before.list.is_some();
        let named = feed.config.clone();
        if changed && let Some(config) = applied.config.clone() {
            match self.put_in_force(&mut applied, config, &sources) {
                Ok(difference) => {
                    let from = discovery.to_string();
                    log_difference(
                        &difference,
                        &from,
                        Trigger::Discovery.as_str(),
                        None,
                        self.fleet_handle.version(),
                    );
                    self.note_demonstration(&mut applied);
                }
                Err(too_many) => {
                    if let Some(feed) = sources.iter_mut().find(|it| it.config == named) {
                        *feed = before;
                        feed.fails(too_many.to_string());
                    }
                }
            }
        }
        let read = sources
            .iter_mut()
            .find(|it| it.config == named && it.unread.is_none());
        let is_read = read.is_some();
        if let Some(feed) = read {
            feed.note_read(ended.as_ref(), was_read);
        }
        applied.sources = sources;
        drop(applied);
        self.metrics.discovered(is_read);
        true
    }
}

/// Reads a list again and again, as long as it is in force, and at once when it is woken.
async fn poll(shared: Weak<ReloadState>, discovery: Discovery, wake: Arc<Notify>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(discovery.every) => {}
            () = wake.notified() => {}
        }
        let read = discovery_sources::read(discovery.clone()).await;
        let Some(shared) = shared.upgrade() else {
            return;
        };
        if !shared.take(&discovery, read) {
            return;
        }
    }
}

/// What the actors make of a configuration whose lists have not been read.
#[expect(clippy::expect_used, reason = "validation counts the devices")]
pub(crate) fn unread(config: Config) -> FleetSpec {
    let specified = specify(config, &[]);
    specified
        .expect("a configuration lists as many devices as are possible at most")
        .fleet
}

/// Runs what blocks for some seconds (files that hang, a million devices) on a thread of its own, which
/// nobody waits for when the process ends. `None` if it panics, or there is no thread to be had.
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

/// Says in the log that a reload waits for the one that is under way.
fn note_next(trigger: Trigger) {
    log::info!(trigger = trigger.as_str(); "a reload is under way, another one follows it");
}

fn log_difference(
    difference: &Difference,
    config: &str,
    trigger: &str,
    by: Option<&str>,
    topology: u64,
) {
    let topology = format!("{topology:016x}");
    let Difference {
        clusters_added,
        clusters_removed,
        devices_added,
        devices_removed,
        devices_changed,
        devices_kept,
        settings_changed,
        changed_settings,
    } = difference;
    let settings = settings_changed.then(|| changed_settings.join(","));
    log::info!(
        trigger, by, config, clusters_added, clusters_removed, devices_added, devices_removed,
        devices_changed, devices_kept, settings_changed, settings, topology;
        "reloaded"
    );
}
