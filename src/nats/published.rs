//! The configuration that was published, as one process takes it: at its start, and each later one.
//!
//! It holds the last one that is valid, as a process does with a file.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::kv::{CreateErrorKind, Entry, Operation, Store};
use futures::StreamExt as _;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::buckets::{self, Bucket, Buckets, STARTING};
use super::trust::Trust;
use super::wire::Names;
use crate::config::{Edition, Publication};
use crate::nats::connection::{NOTHING, NatsConnection, NatsError, chain};
use crate::reload::{ReloadHandle, Trigger};
use crate::telemetry::LogLimit;

/// The key of the bucket.
pub(super) const KEY: &str = "clusters";

/// How long the server may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// How often one looks whether there is another one, in case one was not told.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// The longest wait before one that could not be used is tried again.
const LONGEST_WAIT: Duration = Duration::from_secs(600);

/// Before one listens again.
const AGAIN: Duration = Duration::from_secs(1);

/// Between two lines of the log on what others put there.
const SAY_EVERY: Duration = Duration::from_secs(1);

/// Configurations that are looked at when a process starts, at most; buckets keep 16.
const MOST_KEPT: usize = 64;

/// What was published, as one process takes it.
#[derive(Debug)]
pub(super) struct Published {
    store: Store,
    trust: Trust,
    publication: Publication,
    /// The largest version of those that were there.
    known: u64,
}

impl Published {
    /// Servers that are just starting are given [`STARTING`].
    ///
    /// # Errors
    /// If nothing was published, or it cannot be read.
    pub(super) async fn open(
        connection: &NatsConnection,
        names: &Names,
        trust: Trust,
    ) -> Result<Self, NatsError> {
        let kept_in = Bucket::configurations(names);
        let bucket = kept_in.name.clone();
        let until = Instant::now() + STARTING;
        let mut is_said = false;
        loop {
            let why = match Self::look(connection, &kept_in, &trust).await {
                Ok(Some((store, kept))) => {
                    let name = bucket.clone();
                    let known = kept.editions.iter().map(|it| it.version).max();
                    let KeptEditions { editions, deleted } = kept;
                    let allows_local = trust.allows_local();
                    match Publication::new(name, allows_local, editions, deleted) {
                        Some(publication) => {
                            return Ok(Self {
                                store,
                                trust,
                                publication,
                                known: known.unwrap_or_default(),
                            });
                        }
                        None => return Err(NatsError::Unpublished { bucket }),
                    }
                }
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

    /// What a bucket keeps that has its settings before that is read, and after; `None` if there is none.
    async fn look(
        connection: &NatsConnection,
        bucket: &Bucket,
        trust: &Trust,
    ) -> Result<Option<(Store, KeptEditions)>, String> {
        let Some(existing) = buckets::existing(connection, bucket).await? else {
            return Ok(None);
        };
        let kept = timeout(PATIENCE, kept(&existing.store, trust)).await;
        let kept = kept.map_err(|_| "no answer in 5 s".to_owned())??;
        buckets::is_still(connection, bucket, &existing).await?;
        Ok(Some((existing.store, kept)))
    }

    pub(super) fn publication(&self) -> Publication {
        self.publication.clone()
    }

    /// Reloads whenever another one is published, and again if one could not be used; for ever.
    pub(super) async fn follow(self, reload: ReloadHandle, buckets: Arc<Buckets>) {
        let bucket = self.store.name.clone();
        let is_behind = self.publication.is_behind();
        let mut taking = Taking {
            known: self.known,
            said: self.known,
            serial: self.publication.newest().serial,
            in_force: self.publication.in_force(),
            publication: self.publication,
            trust: self.trust,
            reload,
            remade: buckets.remade(&bucket),
            buckets,
            is_unchecked: false,
            older: None,
            limit: LogLimit::default(),
            again: is_behind.then(|| Instant::now() + LOOK_EVERY),
            wait: LOOK_EVERY,
        };
        taking.buckets.knows(&bucket, taking.known);
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // With the one that is there already.
            let watched = self.store.watch_with_history(KEY).await;
            if watched.is_err() {
                taking.buckets.look();
            }
            let mut entries = watched.ok();
            loop {
                if std::mem::take(&mut taking.is_unchecked) {
                    looks.reset_after(AGAIN);
                }
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
                        Some(entry) => taking.told(&entry).await,
                        None => break,
                    },
                    _ = looks.tick() => {
                        taking.look(&self.store).await;
                        taking.try_again().await;
                    }
                    Ok(()) = taking.remade.changed() => {
                        // Its versions may begin anew.
                        taking.known = 0;
                        taking.look(&self.store).await;
                        break;
                    }
                }
            }
            tokio::select! {
                () = sleep(AGAIN) => {}
                Ok(()) = taking.remade.changed() => taking.remade.mark_changed(),
            }
        }
    }
}

/// Takes one edition after the other.
struct Taking {
    publication: Publication,
    trust: Trust,
    /// Its version in the bucket that there is now.
    known: u64,
    /// The version of the last one that may not be used and was said so.
    said: u64,
    limit: LogLimit,
    /// The largest serial so far, if they are asked for.
    serial: Option<u64>,
    /// The last one that could be used.
    in_force: Edition,
    reload: ReloadHandle,
    buckets: Arc<Buckets>,
    /// Changes when the bucket is another one than what was read comes from.
    remade: watch::Receiver<u64>,
    /// There is one of which it is not known whether it may be taken.
    is_unchecked: bool,
    /// The last look gave one that is older than what is in force.
    older: Option<u64>,
    /// When one that could not be used is tried again.
    again: Option<Instant>,
    /// How long that waits.
    wait: Duration,
}

impl Taking {
    /// The server says that there is another one.
    async fn told(&mut self, entry: &Entry) {
        // What is older is heard again after a connection was lost.
        if entry.revision > self.known
            && let Some(edition) = read(entry, &self.trust)
        {
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
                if let Some(edition) = read(&entry, &self.trust) {
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
        let bucket = store.name.as_str();
        let entry = self.in_force.entry.clone();
        let put = timeout(PATIENCE, store.create(KEY, entry.into()));
        let why = match put.await {
            Ok(Ok(version)) => {
                log::info!(bucket, version; "the configuration in force is published again");
                self.buckets.wrote(bucket);
                self.put_back_newest(store, version).await;
                let edition = self.in_force.clone();
                self.take(Edition { version, ..edition }).await;
                return;
            }
            // Another process was faster.
            Ok(Err(error)) if error.kind() == CreateErrorKind::AlreadyExists => return,
            Ok(Err(error)) => chain(&error),
            Err(_) => "no answer".to_owned(),
        };
        self.buckets.failed(bucket, format!("{NOTHING} ({why})"));
    }

    /// One that is newer than the one in force, and cannot be used here yet, may be in force at others.
    /// It stays behind what was published since.
    async fn put_back_newest(&self, store: &Store, version: u64) {
        let newest = self.publication.newest();
        if newest.refused.is_none() && newest.entry != self.in_force.entry {
            let put = store.update(KEY, newest.entry.into(), version);
            timeout(PATIENCE, put).await.ok();
        }
    }

    async fn try_again(&mut self) {
        if self.again.is_some_and(|at| Instant::now() >= at) {
            self.apply().await;
        }
    }

    async fn take(&mut self, edition: Edition) {
        if !self.may_come_from_anywhere(&edition) && !self.is_of_its_bucket().await {
            self.is_unchecked = true;
            return;
        }
        let is_new = std::mem::replace(&mut self.known, edition.version) != edition.version;
        self.buckets
            .knows(&self.publication.name(), edition.version);
        self.buckets.wrote(&self.publication.name());
        match self.refusal(&edition) {
            Some(why) => return self.refuse(edition.version, &why, is_new),
            // What is in force already was published again, and a newer one is to be tried again.
            None if self.is_superseded(&edition) => return,
            None => {}
        }
        self.serial = self.serial.max(edition.serial);
        if self.publication.replace(edition) {
            self.wait = LOOK_EVERY;
            self.apply().await;
        }
    }

    /// Whether it does not matter who wrote one: it is signed, refused, or used already.
    fn may_come_from_anywhere(&self, edition: &Edition) -> bool {
        edition.serial.is_some()
            || edition.refused.is_some()
            || edition.entry == self.in_force.entry
            || self.publication.is_newest(edition)
    }

    /// Whether what was read comes from a bucket that has its settings, so that who may write to it wrote
    /// it, and not from one that was made anew since. It is read again soon if not.
    async fn is_of_its_bucket(&self) -> bool {
        let name = self.publication.name();
        self.buckets.has_its_settings(&name).await && !self.remade.has_changed().unwrap_or(true)
    }

    /// Whether one that was signed later was taken, or is to be.
    fn is_superseded(&self, edition: &Edition) -> bool {
        let is_later = edition.serial.is_none() || edition.serial > self.serial;
        !is_later && !self.publication.is_newest(edition)
    }

    /// Why it may not be used, if so.
    fn refusal(&self, edition: &Edition) -> Option<String> {
        if edition.refused.is_some() {
            return edition.refused.clone();
        }
        let (serial, newest) = (edition.serial?, self.serial?);
        let is_old = self.is_superseded(edition) && edition.entry != self.in_force.entry;
        is_old.then(|| format!("its serial {serial} is not larger than {newest}, which was taken"))
    }

    /// Says so, once for each as far as there are not too many.
    fn refuse(&mut self, version: u64, why: &str, is_new: bool) {
        if is_new {
            self.reload.note_refused();
        }
        if self.said != version
            && let Some(unlogged) = self.limit.pass(SAY_EVERY)
        {
            self.said = version;
            let publication = &*self.publication.name();
            log::warn!(publication, version, why, unlogged; "a published configuration is refused");
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

/// What a bucket keeps of a configuration.
struct KeptEditions {
    editions: Vec<Edition>,
    /// The version by which it was deleted, if it was.
    deleted: Option<u64>,
}

async fn kept(store: &Store, trust: &Trust) -> Result<KeptEditions, String> {
    let mut history = store.history(KEY).await.map_err(|error| chain(&error))?;
    let mut kept = KeptEditions {
        editions: Vec::new(),
        deleted: None,
    };
    while let Some(entry) = history.next().await {
        let entry = entry.map_err(|error| chain(&error))?;
        kept.deleted = (entry.operation != Operation::Put).then_some(entry.revision);
        kept.editions.extend(read(&entry, trust));
        if kept.editions.len() > MOST_KEPT {
            let ranked = kept.editions.iter().enumerate();
            let least = ranked.min_by_key(|(_, it)| it.rank()).map(|(at, _)| at);
            kept.editions.swap_remove(least.unwrap_or_default());
        }
    }
    Ok(kept)
}

/// `None` if it was deleted.
pub(super) fn read(entry: &Entry, trust: &Trust) -> Option<Edition> {
    (entry.operation == Operation::Put).then(|| {
        let text = String::from_utf8_lossy(&entry.value).into_owned();
        trust.edition(&entry.bucket, entry.revision, text)
    })
}
