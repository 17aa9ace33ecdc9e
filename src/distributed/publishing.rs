//! The configuration that processes share: published once, taken by all who are told to.
//!
//! It is a key of a bucket, so each one that is published has a number, and all see it at once. Those
//! who take it hold the last one that is valid, as they do with a file.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::kv::{CreateErrorKind, Entry, Operation, Store};
use futures::StreamExt as _;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::buckets::{self, Bucket, Buckets, Found, STARTING};
use super::nats::{Connection, NatsError, chain};
use super::wire::{Names, Role};
use super::{Distributed, NatsSettings};
use crate::config::{Edition, Publication};
use crate::reload::{ReloadHandle, Trigger};

/// The key.
const KEY: &str = "clusters";

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
    let names = Names::new(&settings.prefix);
    let connection = Connection::open(&settings.nats, &names, Role::Publisher).await?;
    let name = names.configurations();
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
    let bucket = Bucket::configurations(&names);
    // Once: whoever does this sees what comes of it.
    match buckets::make(&connection, &bucket).await? {
        Found::Made | Found::There => {}
        Found::InMemory(lost) => {
            log::warn!(bucket = name, lost; "a bucket is in memory, which a restart of NATS loses");
        }
        Found::Foreign(faults) => {
            let bucket = name;
            return Err(NatsError::OtherSettings { bucket, faults });
        }
    }
    let store = buckets::store(&connection, &name).await?;
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

/// Makes all buckets that processes of a fleet with such leases need, as far as they are not there;
/// what was found of each, by its name.
///
/// # Errors
/// If NATS cannot be reached; [`NatsError::Bucket`] for a bucket that cannot be used.
pub async fn init(
    settings: &Distributed,
    lease: Duration,
) -> Result<Vec<(String, Result<Found, NatsError>)>, NatsError> {
    let names = Names::new(&settings.prefix);
    let connection = Connection::open(&settings.nats, &names, Role::Operator).await?;
    let mut all = Vec::new();
    for bucket in [
        Bucket::leases(&names, lease),
        Bucket::workers(&names, lease),
        Bucket::configurations(&names),
    ] {
        let found = buckets::make(&connection, &bucket).await;
        all.push((bucket.name, found));
    }
    Ok(all)
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
        let kept_in = Bucket::configurations(names);
        let bucket = kept_in.name.clone();
        let until = Instant::now() + STARTING;
        let mut is_said = false;
        loop {
            let why = match buckets::existing(connection, &kept_in).await {
                Ok(Some(store)) => match timeout(PATIENCE, kept(&store)).await {
                    Ok(Ok(kept)) => {
                        let name = bucket.clone();
                        match Publication::new(name, kept.editions, kept.deleted) {
                            Some(publication) => return Ok(Self { store, publication }),
                            None => return Err(NatsError::Unpublished { bucket }),
                        }
                    }
                    Ok(Err(error)) => error,
                    Err(_) => "no answer in 5 s".to_owned(),
                },
                // Whether there is one is known as soon as a server says so.
                Ok(None) => return Err(NatsError::Unpublished { bucket }),
                Err(why) => why,
            };
            if Instant::now() >= until {
                return Err(NatsError::Bucket { bucket, why });
            }
            if !std::mem::replace(&mut is_said, true) {
                log::info!(bucket, error = why; "a bucket cannot be used yet");
            }
            sleep(AGAIN).await;
        }
    }

    pub(super) fn publication(&self) -> Publication {
        self.publication.clone()
    }

    /// Reloads whenever another one is published, and again if one could not be used; for ever.
    pub(super) async fn follow(self, reload: ReloadHandle, buckets: Arc<Buckets>) {
        let bucket = self.store.name.clone();
        let mut remade = buckets.remade(&bucket);
        let is_behind = self.publication.is_behind();
        let mut taking = Taking {
            known: self.publication.version(),
            in_force: self.publication.in_force(),
            publication: self.publication,
            reload,
            buckets,
            older: None,
            again: is_behind.then(|| Instant::now() + LOOK_EVERY),
            wait: LOOK_EVERY,
        };
        taking.buckets.knows(&bucket, taking.known);
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            remade.mark_unchanged();
            // With the one that is there already.
            let watched = self.store.watch_with_history(KEY).await;
            if watched.is_err() {
                taking.buckets.look();
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
                        taking.look(&self.store).await;
                        taking.try_again().await;
                    }
                    Ok(()) = remade.changed() => {
                        // Its versions may begin anew.
                        taking.known = 0;
                        taking.look(&self.store).await;
                        break;
                    }
                }
            }
            tokio::select! {
                () = sleep(AGAIN) => {}
                Ok(()) = remade.changed() => remade.mark_changed(),
            }
        }
    }
}

/// Takes one edition after the other.
struct Taking {
    publication: Publication,
    /// Its version in the bucket that there is now.
    known: u64,
    /// The last one that could be used.
    in_force: Edition,
    reload: ReloadHandle,
    buckets: Arc<Buckets>,
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
        let edition = edition.filter(|it| it.version > self.known);
        if let Some(edition) = edition {
            self.take(edition).await;
        }
    }

    /// Looks which one is there, and puts back the one in force if none is kept any more. While it
    /// cannot be read, or is deleted with those before it still there, the last one stays.
    async fn look(&mut self, store: &Store) {
        let Ok(Ok(entry)) = timeout(PATIENCE, store.entry(KEY)).await else {
            return;
        };
        match entry {
            Some(entry) if entry.operation == Operation::Delete => {}
            Some(entry) if entry.operation == Operation::Put => {
                if let Some(edition) = read(&entry) {
                    self.looked(edition).await;
                }
            }
            Some(_) | None => self.put_back(store).await,
        }
    }

    /// There was this one when one looked: any of several servers may have said so, and be late. One
    /// that is still the older one at the next look is of a server that lost its files.
    async fn looked(&mut self, edition: Edition) {
        let version = edition.version;
        let is_older = version < self.known;
        if !is_older || self.older.replace(version) == Some(version) {
            self.older = None;
            self.take(edition).await;
        }
    }

    /// The bucket lost what it had.
    async fn put_back(&mut self, store: &Store) {
        let text = self.in_force.text.clone();
        let bucket = store.name.as_str();
        let put = timeout(PATIENCE, store.create(KEY, text.clone().into()));
        let why = match put.await {
            Ok(Ok(version)) => {
                log::info!(bucket, version; "the configuration in force is published again");
                self.buckets.wrote(bucket);
                self.take(Edition { version, text }).await;
                return;
            }
            // Another process was faster.
            Ok(Err(error)) if error.kind() == CreateErrorKind::AlreadyExists => return,
            Ok(Err(error)) => chain(&error),
            Err(_) => "no answer".to_owned(),
        };
        self.buckets.failed(bucket, format!("{NOTHING} ({why})"));
    }

    async fn try_again(&mut self) {
        if self.again.is_some_and(|at| Instant::now() >= at) {
            self.apply().await;
        }
    }

    async fn take(&mut self, edition: Edition) {
        // One with other settings may have it from anywhere. It is looked at again.
        if !self
            .buckets
            .has_its_settings(&self.publication.name())
            .await
        {
            return;
        }
        self.known = edition.version;
        self.buckets
            .knows(&self.publication.name(), edition.version);
        self.buckets.wrote(&self.publication.name());
        if self.publication.replace(edition) {
            self.wait = LOOK_EVERY;
            self.apply().await;
        }
    }

    async fn apply(&mut self) {
        let edition = self.publication.newest();
        // It says in the log what comes of it.
        self.again = match self.reload.reload(Trigger::Publication).await {
            Ok(_) => {
                self.in_force = edition;
                None
            }
            // Perhaps a list, or a file that it names, is not there yet.
            Err(_) => Some(Instant::now() + self.wait),
        };
        self.wait = (self.wait * 2).min(LONGEST_WAIT);
    }
}

/// What to do about an empty bucket, or none.
const NOTHING: &str = "no configuration is published; `fleetcall publish --config FILE` does that";

/// What a bucket keeps of a configuration.
struct Kept {
    /// The newest one first.
    editions: Vec<Edition>,
    /// The version by which it was deleted, if it was.
    deleted: Option<u64>,
}

async fn kept(store: &Store) -> Result<Kept, String> {
    let mut history = store.history(KEY).await.map_err(|error| chain(&error))?;
    let mut kept = Kept {
        editions: Vec::new(),
        deleted: None,
    };
    while let Some(entry) = history.next().await {
        let entry = entry.map_err(|error| chain(&error))?;
        kept.deleted = (entry.operation != Operation::Put).then_some(entry.revision);
        kept.editions.extend(read(&entry));
    }
    kept.editions.reverse();
    Ok(kept)
}

/// `None` if it was deleted.
fn read(entry: &Entry) -> Option<Edition> {
    (entry.operation == Operation::Put).then(|| Edition {
        version: entry.revision,
        text: String::from_utf8_lossy(&entry.value).into_owned(),
    })
}
