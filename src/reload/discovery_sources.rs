//! The lists that the configuration in force takes devices from, and the thread that reads them.

use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use log::Level;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::config::DiscoveryConfig;
use crate::discovery;
use crate::domain::{DiscoveredDevices, Discovery, Flapping, Flaps, Swing, millis};

/// One list, and how reading it went.
#[derive(Debug, Clone)]
pub(super) struct DiscoverySource {
    pub(super) config: DiscoveryConfig,
    /// As it was last read; `None` if it never was.
    pub(super) list: Option<Arc<DiscoveredDevices>>,
    /// That it cannot be read, if so; what was read before stays.
    pub(super) unread: Option<ReadFailure>,
    /// When it was last read well.
    pub(super) read_at: Option<SystemTime>,
    /// How often of late it could not be read, and could again.
    flaps: Flaps,
    /// From when their times are counted.
    began_at: Instant,
}

/// The time in which a list cannot be read.
#[derive(Debug, Clone)]
pub(super) struct ReadFailure {
    since: Instant,
    /// Tries that failed.
    failures: u32,
    /// Why the last one failed.
    error: String,
    /// The errors that the log has said.
    said: Vec<String>,
}

/// The most errors that are said of a list until it can be read again.
const MOST_SAID: usize = 8;

impl DiscoverySource {
    /// A list that nobody has tried to read.
    pub(super) fn new(config: DiscoveryConfig) -> Self {
        Self {
            config,
            list: None,
            unread: None,
            read_at: None,
            flaps: Flaps::default(),
            began_at: Instant::now(),
        }
    }

    pub(super) fn was_tried(&self) -> bool {
        self.list.is_some() || self.unread.is_some()
    }

    /// It was read; gives what that ends, if it could not be before.
    pub(super) fn succeeds(&mut self, list: Arc<DiscoveredDevices>) -> Option<ReadFailure> {
        self.list = Some(list);
        self.read_at = Some(SystemTime::now());
        self.unread.take()
    }

    /// Says in the log that it could be read and used, if it could not be before or flapped.
    pub(super) fn note_read(&mut self, ended: Option<&ReadFailure>, was_read: bool) {
        let flapping = self.look(ended.is_some());
        let Some(ReadFailure {
            since, failures, ..
        }) = ended
        else {
            return;
        };
        let (list, key) = (&self.config.discovery, &self.config.key);
        let level = match flapping {
            Flapping::Begins(_) | Flapping::Goes => Level::Debug,
            Flapping::No | Flapping::Ends(_) => Level::Info,
        };
        let failing_ms = millis(since.elapsed());
        let again = if was_read { " again" } else { "" };
        log::log!(level, list:%, key, failing_ms, failures; "a list of devices can be read{again}");
    }

    /// It could not be read, or used; logs why, each error once until it can be.
    pub(super) fn fails(&mut self, error: String) {
        let flapping = self.look(self.unread.is_none());
        let unread = self.unread.get_or_insert_with(|| ReadFailure {
            since: Instant::now(),
            failures: 0,
            error: String::new(),
            said: Vec::new(),
        });
        unread.failures = unread.failures.saturating_add(1);
        let is_new = unread.said.len() < MOST_SAID && !unread.said.contains(&error);
        // That it has come to rest as one that cannot be read is news.
        let is_said = match flapping {
            Flapping::Goes => false,
            Flapping::Ends(_) => true,
            Flapping::No | Flapping::Begins(_) => is_new,
        };
        let level = if is_said { Level::Warn } else { Level::Debug };
        let (list, key) = (&self.config.discovery, &self.config.key);
        let stays = match self.list {
            Some(_) => "what was read before stays",
            None => "there is none from before",
        };
        log::log!(level, list:%, key, error; "cannot read a list of devices, {stays}");
        if is_new {
            unread.said.push(error.clone());
        }
        unread.error = error;
    }

    /// It was tried, and can or cannot be read as before, or not; says in the log when it begins to flap,
    /// and when it is steady.
    fn look(&mut self, has_changed: bool) -> Flapping {
        let flapping = self.flaps.look(has_changed, self.began_at.elapsed());
        let (list, key) = (&self.config.discovery, &self.config.key);
        match flapping {
            Flapping::Begins(Swing { changes, within }) => {
                let within_ms = millis(within);
                log::warn!(list:%, key, changes, within_ms; "a list of devices flaps");
            }
            Flapping::Ends(Swing { changes, within }) => {
                let within_ms = millis(within);
                log::info!(list:%, key, changes, within_ms; "a list of devices flaps no more");
            }
            Flapping::No | Flapping::Goes => {}
        }
        flapping
    }

    /// Why it could not be read the last time, if so.
    pub(super) fn error(&self) -> Option<&str> {
        self.unread.as_ref().map(|unread| unread.error.as_str())
    }

    pub(super) fn devices(&self) -> usize {
        let groups = self.list.iter().flat_map(|list| list.iter());
        groups.map(|group| group.devices.len()).sum()
    }
}

/// A list that the fleet takes devices from, as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiscoveryState {
    /// What to call it: a pattern, a URL or a name.
    pub origin: String,
    /// The key that names it first, such as `clusters[2].nodes`.
    pub key: String,
    /// The devices of the list as it was last read; 0 if it never was.
    pub devices: usize,
    /// When it was last read; `None` if it never was.
    pub read_at: Option<SystemTime>,
    /// Why it could not be read the last time, if so.
    pub error: Option<String>,
    /// How many of its entries `allow` refuses, for each group that takes from it.
    pub refused: usize,
}

/// The thread on which lists are read, so that neither a large one nor a slow one is anybody
/// else's matter. It is started when there is a list, and ends when this is dropped.
#[derive(Debug, Default)]
pub(super) struct Reader(OnceLock<ReaderThread>);

#[derive(Debug)]
struct ReaderThread {
    runtime: Handle,
    /// Dropped to end the thread.
    _stop: oneshot::Sender<()>,
}

impl Reader {
    /// Its runtime; `None` if it cannot be had now, which the log says.
    pub(super) fn runtime(&self) -> Option<&Handle> {
        if self.0.get().is_none() {
            match start_reader() {
                Ok(running) => drop(self.0.set(running)),
                Err(error) => log::error!(error:%; "cannot start the thread that reads lists"),
            }
        }
        self.0.get().map(|running| &running.runtime)
    }
}

fn start_reader() -> std::io::Result<ReaderThread> {
    let (stop, stopped) = oneshot::channel();
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    let thread = std::thread::Builder::new().name("discovery".to_owned());
    thread.spawn(move || {
        // An error is how it ends: the sender is gone.
        runtime.block_on(stopped).ok();
        // Lists that are being read are not waited for.
        runtime.shutdown_background();
    })?;
    Ok(ReaderThread {
        runtime: handle,
        _stop: stop,
    })
}

/// Reads a list, whatever its code does; on the current runtime, up to when this is dropped.
pub(super) async fn read(discovery: Discovery) -> Result<Arc<DiscoveredDevices>, String> {
    let mut task = JoinSet::new();
    task.spawn(async move { discovery::read(&discovery).await });
    match task.join_next().await {
        Some(Ok(Ok(list))) => Ok(Arc::new(list)),
        Some(Ok(Err(error))) => Err(error.to_string()),
        Some(Err(error)) => Err(format!("the code that reads it failed: {error}")),
        None => Err("the code that reads it is gone".to_owned()),
    }
}
