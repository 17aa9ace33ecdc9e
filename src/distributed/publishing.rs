//! The configuration that processes share: published once, taken by all who are told to.
//!
//! It is a key of a bucket, so each one that is published has a number, and all see it at once. Those
//! who take it hold the last one that is valid, as they do with a file.

use std::time::Duration;

use async_nats::jetstream::kv::{Entry, Operation, Store};
use futures::StreamExt as _;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::nats::{Bucket, Connection, NatsError, STARTING, chain};
use super::wire::Names;
use super::{Distributed, NatsSettings};
use crate::config::{Edition, Publication};
use crate::reload::{ReloadHandle, Trigger};

/// The key.
const KEY: &str = "clusters";

/// How many of the last ones the bucket keeps, for people to look at.
const KEPT: i64 = 16;

/// What is left of a message for what is not the configuration, in bytes.
const OVERHEAD: usize = 16 * 1024;

/// How long the server may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often one looks whether there is another one, in case one was not told.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// The longest wait before one that could not be used is tried again.
const LONGEST_WAIT: Duration = Duration::from_secs(600);

/// Before one listens again.
const AGAIN: Duration = Duration::from_secs(1);

/// Publishes a configuration, which is valid; its number.
///
/// # Errors
/// If NATS cannot be reached, or does not take it.
pub async fn publish(settings: &Distributed, text: String) -> Result<u64, NatsError> {
    let NatsSettings { url, .. } = &settings.nats;
    let connection = Connection::open(&settings.nats).await?;
    let name = Names::new(&settings.prefix).configurations();
    let most = connection.client.server_info().max_payload;
    let most = most.saturating_sub(OVERHEAD);
    if text.len() > most {
        let len = text.len();
        return Err(NatsError::TooLong {
            url: url.clone(),
            len,
            most,
        });
    }
    let bucket = Bucket {
        name: &name,
        description: "fleetcall: the configuration",
        max_age: Duration::ZERO,
        history: KEPT,
        max_value_size: None,
    };
    // Once: whoever does this sees what comes of it.
    let store = connection.try_bucket(&bucket).await?;
    let cannot = |why: String| NatsError::Bucket {
        bucket: name.clone(),
        why,
    };
    match timeout(PATIENCE, store.put(KEY, text.into())).await {
        Ok(Ok(version)) => Ok(version),
        Ok(Err(error)) => Err(cannot(chain(&error))),
        Err(_) => Err(cannot("no answer in 5 s".to_owned())),
    }
}

/// What was published, as one process takes it.
#[derive(Debug)]
pub(super) struct Published {
    store: Store,
    publication: Publication,
}

impl Published {
    /// Servers that are just starting are given [`STARTING`].
    ///
    /// # Errors
    /// If nothing was published, or it cannot be read.
    pub(super) async fn open(connection: &Connection, names: &Names) -> Result<Self, NatsError> {
        let bucket = names.configurations();
        let until = Instant::now() + STARTING;
        loop {
            let (is_known, why) = match connection.existing(&bucket).await {
                Ok(store) => match timeout(PATIENCE, edition(&store)).await {
                    Ok(Ok(Some(edition))) => {
                        return Ok(Self {
                            store,
                            publication: Publication::new(bucket, edition),
                        });
                    }
                    Ok(Ok(None)) => (true, NOTHING.to_owned()),
                    Ok(Err(error)) => (false, error),
                    Err(_) => (false, "no answer in 5 s".to_owned()),
                },
                Err(error) => (error.is_missing, format!("{NOTHING} ({})", error.why)),
            };
            // Whether there is one is known as soon as somebody says so.
            if is_known || Instant::now() >= until {
                return Err(NatsError::Bucket { bucket, why });
            }
            log::info!(bucket, error = why; "a bucket is not there yet");
            sleep(AGAIN).await;
        }
    }

    pub(super) fn publication(&self) -> Publication {
        self.publication.clone()
    }

    /// Reloads whenever another one is published, and again if one could not be used; for ever.
    pub(super) async fn follow(self, reload: ReloadHandle) {
        let mut taking = Taking {
            publication: self.publication,
            reload,
            older: None,
            again: None,
            wait: LOOK_EVERY,
        };
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // With the one that is there already.
            let watched = self.store.watch_with_history(KEY).await;
            if let Err(error) = &watched {
                log::warn!(error = chain(error); "cannot hear of configurations");
            }
            let mut entries = watched.ok();
            loop {
                let told = async {
                    match &mut entries {
                        Some(entries) => entries.next().await?.ok(),
                        None => {
                            sleep(AGAIN).await;
                            None
                        }
                    }
                };
                tokio::select! {
                    entry = told => match entry {
                        // Of several that were missed only the last one.
                        Some(entry) if entry.delta > 0 => {}
                        Some(entry) => taking.told(read(&entry)).await,
                        None => break,
                    },
                    _ = looks.tick() => {
                        // While it cannot be read, or is gone, the last one stays.
                        let looked = timeout(PATIENCE, edition(&self.store)).await;
                        if let Ok(Ok(Some(edition))) = looked {
                            taking.looked(edition).await;
                        }
                        taking.try_again().await;
                    }
                }
            }
            sleep(AGAIN).await;
        }
    }
}

/// Takes one edition after the other.
struct Taking {
    publication: Publication,
    reload: ReloadHandle,
    /// The last look gave one that is older than what is in force.
    older: Option<u64>,
    /// When one that could not be used is tried again.
    again: Option<Instant>,
    /// How long that waits.
    wait: Duration,
}

impl Taking {
    /// The server says that there is another one.
    async fn told(&mut self, edition: Option<Edition>) {
        // What is older is heard again after a connection was lost.
        let edition = edition.filter(|it| it.version > self.publication.version());
        if let Some(edition) = edition {
            self.take(edition).await;
        }
    }

    /// There was this one when one looked: any of several servers may have said so, and be late. One
    /// that is still the older one at the next look is of a server that lost its files.
    async fn looked(&mut self, edition: Edition) {
        let version = edition.version;
        let is_older = version < self.publication.version();
        if !is_older || self.older.replace(version) == Some(version) {
            self.older = None;
            self.take(edition).await;
        }
    }

    async fn try_again(&mut self) {
        if self.again.is_some_and(|at| Instant::now() >= at) {
            self.apply().await;
        }
    }

    async fn take(&mut self, edition: Edition) {
        if self.publication.replace(edition) {
            self.wait = LOOK_EVERY;
            self.apply().await;
        }
    }

    async fn apply(&mut self) {
        // It says in the log what comes of it.
        self.again = match self.reload.reload(Trigger::Publication).await {
            Ok(_) => None,
            // Perhaps a list, or a file that it names, is not there yet.
            Err(_) => Some(Instant::now() + self.wait),
        };
        self.wait = (self.wait * 2).min(LONGEST_WAIT);
    }
}

/// What to do about an empty bucket, or none.
const NOTHING: &str = "no configuration is published; `fleetcall publish --config FILE` does that";

async fn edition(store: &Store) -> Result<Option<Edition>, String> {
    let entry = store.entry(KEY).await.map_err(|error| chain(&error))?;
    Ok(entry.as_ref().and_then(read))
}

/// `None` if it was deleted.
fn read(entry: &Entry) -> Option<Edition> {
    (entry.operation == Operation::Put).then(|| Edition {
        version: entry.revision,
        text: String::from_utf8_lossy(&entry.value).into_owned(),
    })
}
