//! Publishing a configuration that processes share, and making the buckets that they need.
//!
//! It is a key of a bucket, so each one that is published has a number, and all see it at once.

use std::time::{Duration, SystemTime};

use async_nats::jetstream::kv::Store;
use tokio::time::timeout;

use super::buckets::{self, Bucket, BucketFound};
use super::published::{KEY, PATIENCE, read};
use super::settings::Distributed;
use super::signature::SigningKey;
use super::trust::Trust;
use super::wire::{Names, NatsRole};
use crate::nats::connection::{NatsConnection, NatsError, NatsSettings, chain};

/// What is left of a message for what is not the configuration, in bytes.
const OVERHEAD: usize = 16 * 1024;

/// Publishes a configuration, which is valid, signed if there is a key; its version, and the serial
/// that was signed. `trust` is that of the processes that are to take it.
///
/// # Errors
/// If NATS cannot be reached, or does not take it.
pub async fn publish(
    settings: &Distributed,
    text: String,
    key: Option<&SigningKey>,
    trust: &Trust,
) -> Result<(u64, Option<u64>), NatsError> {
    let NatsSettings { url, .. } = &settings.nats;
    let names = Names::new(&settings.prefix);
    let connection = NatsConnection::open(&settings.nats, &names, NatsRole::Publisher).await?;
    let bucket = Bucket::configurations(&names);
    let name = bucket.name.clone();
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
    // Once: whoever does this sees what comes of it.
    match buckets::make(&connection, &bucket).await? {
        BucketFound::Made | BucketFound::There => {}
        BucketFound::InMemory(lost) => {
            log::warn!(bucket = name, lost; "a bucket is in memory, which a restart of NATS loses");
        }
        BucketFound::Foreign(faults) => {
            let bucket = name;
            return Err(NatsError::OtherSettings { bucket, faults });
        }
    }
    let store = buckets::store(&connection, &name).await?;
    let cannot = |why: String| NatsError::Bucket {
        bucket: name.clone(),
        why,
    };
    let (entry, serial) = match key {
        None => (text, None),
        Some(key) => {
            let serial = next_serial(&store, trust).await;
            let entry = key.sign(&name, serial, &text).map_err(cannot)?;
            (entry, Some(serial))
        }
    };
    match timeout(PATIENCE, store.put(KEY, entry.into())).await {
        Ok(Ok(version)) => Ok((version, serial)),
        Ok(Err(error)) => Err(cannot(chain(&error))),
        Err(_) => Err(cannot("no answer in 5 s".to_owned())),
    }
}

/// One that is larger than all before: the time in microseconds, or the one after the newest that is
/// trusted, if the clock of who published that is ahead.
async fn next_serial(store: &Store, trust: &Trust) -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = u64::try_from(now.unwrap_or_default().as_micros()).unwrap_or_default();
    let newest = match timeout(PATIENCE, store.entry(KEY)).await {
        Ok(Ok(entry)) => entry.and_then(|it| read(&it, trust)),
        failed => {
            let error = match failed {
                Ok(Err(error)) => chain(&error),
                Ok(Ok(_)) | Err(_) => "no answer in 5 s".to_owned(),
            };
            let bucket = &store.name;
            log::warn!(bucket, error; "what was published before cannot be read, so the serial is the time of this machine");
            None
        }
    };
    let serial = newest.and_then(|it| it.serial);
    now.max(serial.map_or(0, |it| it.saturating_add(1)))
}

/// Makes all buckets that processes of a fleet with such leases need, as far as they are not there;
/// what was found of each, by its name.
///
/// # Errors
/// If NATS cannot be reached; [`NatsError::Bucket`] for a bucket that cannot be used.
pub async fn init(
    settings: &Distributed,
    lease: Duration,
) -> Result<Vec<(String, Result<BucketFound, NatsError>)>, NatsError> {
    let names = Names::new(&settings.prefix);
    let connection = NatsConnection::open(&settings.nats, &names, NatsRole::Operator).await?;
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
