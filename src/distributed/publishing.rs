//! The configuration that processes share: published once, taken by all who are told to.
//!
//! It is a key of a bucket, so each one that is published has a number, and all see it at once. Those
//! who take it hold the last one that is valid, as they do with a file.

use std::time::Duration;

use async_nats::jetstream::kv::{Operation, Store};
use futures::StreamExt as _;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::nats::{Bucket, Connection, NatsError, chain};
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
    /// # Errors
    /// If nothing was published, or it cannot be read.
    pub(super) async fn open(connection: &Connection, names: &Names) -> Result<Self, NatsError> {
        let bucket = names.configurations();
        let cannot = |why: String| NatsError::Bucket {
            bucket: bucket.clone(),
            why,
        };
        let store = connection.existing(&bucket).await;
        let store = store.map_err(|error| cannot(format!("{NOTHING} ({error})")))?;
        let edition = match timeout(PATIENCE, edition(&store)).await {
            Ok(Ok(Some(edition))) => edition,
            Ok(Ok(None)) => return Err(cannot(NOTHING.to_owned())),
            Ok(Err(error)) => return Err(cannot(error)),
            Err(_) => return Err(cannot("no answer in 5 s".to_owned())),
        };
        Ok(Self {
            store,
            publication: Publication::new(bucket, edition),
        })
    }

    pub(super) fn publication(&self) -> Publication {
        self.publication.clone()
    }

    /// Reloads whenever another one is published; for ever.
    pub(super) async fn follow(self, reload: ReloadHandle) {
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // What is there already is looked at below.
            let watched = self.store.watch(KEY).await;
            if let Err(error) = &watched {
                log::warn!(error = chain(error); "cannot hear of configurations");
            }
            let mut entries = watched.ok();
            loop {
                let told = async {
                    match &mut entries {
                        Some(entries) => entries.next().await.is_some_and(|it| it.is_ok()),
                        None => {
                            sleep(AGAIN).await;
                            false
                        }
                    }
                };
                let goes_on = tokio::select! {
                    goes_on = told => goes_on,
                    _ = looks.tick() => true,
                };
                self.look(&reload).await;
                if !goes_on {
                    break;
                }
            }
            sleep(AGAIN).await;
        }
    }

    async fn look(&self, reload: &ReloadHandle) {
        // While it cannot be read, or is gone, the last one stays.
        let Ok(Ok(Some(edition))) = timeout(PATIENCE, edition(&self.store)).await else {
            return;
        };
        if self.publication.replace(edition) {
            // It has said in the log what came of it.
            reload.reload(Trigger::Publication).await.ok();
        }
    }
}

/// What to do about an empty bucket, or none.
const NOTHING: &str = "no configuration is published; `fleetcall publish --config FILE` does that";

async fn edition(store: &Store) -> Result<Option<Edition>, String> {
    let entry = store.entry(KEY).await.map_err(|error| chain(&error))?;
    let Some(entry) = entry.filter(|entry| entry.operation == Operation::Put) else {
        return Ok(None);
    };
    Ok(Some(Edition {
        version: entry.revision,
        text: String::from_utf8_lossy(&entry.value).into_owned(),
    }))
}
