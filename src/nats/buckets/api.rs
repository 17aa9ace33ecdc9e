//! What servers are asked of buckets.
//!
//! By requests of its own and not by the client's: that knows some settings of a bucket, and those of
//! later servers matter, too.

use std::time::Duration;

use async_nats::datetime::{DateTime, parse_rfc3339};
use async_nats::jetstream::kv::Store;
use async_nats::jetstream::response::Response;
use async_nats::jetstream::{Context, ErrorCode, context::RequestErrorKind};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};

use super::bucket::{Bucket, BucketSettings};
use crate::nats::connection::{NatsConnection, NatsError, chain};

/// How many streams are named, at most, that have the subjects of a bucket.
const MOST_NAMED: usize = 3;

/// What to do about a bucket whose entries may have come from elsewhere.
const SUSPECT: &str = "its entries may be from elsewhere: delete it, and publish again; if the server gives \
                       these to each new one, a later release may know them";

/// How long the server may take to say something of a bucket.
const TIMEOUT: Duration = Duration::from_secs(3);

/// What was found, and what was done, when a bucket was to be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BucketFound {
    /// It was made.
    Made,
    /// It was there, and is as it should be.
    There,
    /// As [`BucketFound::There`], but it is kept in memory: a restart of the servers loses this.
    InMemory(&'static str),
    /// It was there, with these settings that are not as they should be.
    Foreign(String),
}

/// What servers say of a bucket.
#[derive(Debug)]
pub(super) enum JetStreamError {
    /// There is none.
    Missing,
    /// There is none, and another stream has its subjects.
    Occupied(String),
    /// It is there, and this cannot be changed.
    Unchangeable(String),
    /// The server does not do it, and says why.
    Refused(String),
    /// This process may not ask for it.
    Denied,
    /// The server does not answer.
    Silent(String),
}

impl JetStreamError {
    /// In words; `denied` is what this process may not do.
    pub(super) fn why(self, denied: &str) -> String {
        match self {
            Self::Missing => NOT_THERE.to_owned(),
            Self::Denied => denied.to_owned(),
            Self::Occupied(why)
            | Self::Unchangeable(why)
            | Self::Refused(why)
            | Self::Silent(why) => why,
        }
    }
}

/// What the server knows of a bucket.
#[derive(Debug, Deserialize)]
pub(super) struct Info {
    #[serde(rename = "config")]
    pub(super) settings: BucketSettings,
    #[serde(deserialize_with = "time")]
    pub(super) created: DateTime,
    pub(super) state: StreamState,
}

#[derive(Debug, Deserialize)]
pub(super) struct StreamState {
    pub(super) last_seq: u64,
}

#[derive(Debug, Deserialize)]
struct Deleted {}

/// Names of streams.
#[derive(Debug, Deserialize)]
struct Streams {
    streams: Option<Vec<String>>,
}

/// A bucket that another process made, and when the server made it.
#[derive(Debug)]
pub(in crate::nats) struct Existing {
    pub(in crate::nats) store: Store,
    created: DateTime,
}

fn time<'de, D: Deserializer<'de>>(source: D) -> Result<DateTime, D::Error> {
    let text = String::deserialize(source)?;
    parse_rfc3339(&text).map_err(serde::de::Error::custom)
}

fn context(connection: &NatsConnection) -> Context {
    let mut context = async_nats::jetstream::new(connection.client.clone());
    context.set_timeout(TIMEOUT);
    context
}

/// Asks the server to do something with a bucket.
async fn ask<V: DeserializeOwned>(
    connection: &NatsConnection,
    verb: &str,
    bucket: &str,
    payload: &impl Serialize,
) -> Result<V, JetStreamError> {
    ask_at(connection, format!("STREAM.{verb}.KV_{bucket}"), payload).await
}

async fn ask_at<V: DeserializeOwned>(
    connection: &NatsConnection,
    subject: String,
    payload: &impl Serialize,
) -> Result<V, JetStreamError> {
    let context = context(connection);
    let asked = context.request(subject.clone(), payload);
    let words = format!("\"$JS.API.{subject}\"");
    let answer = tokio::select! {
        answer = asked => answer,
        // It answers nothing to those who may not ask.
        () = connection.denied(&words) => return Err(JetStreamError::Denied),
    };
    match answer {
        Ok(Response::Ok(done)) => Ok(done),
        Ok(Response::Err { error }) => Err(match error.error_code() {
            ErrorCode::STREAM_NOT_FOUND => JetStreamError::Missing,
            ErrorCode::STREAM_SUBJECT_OVERLAP => JetStreamError::Occupied(error.to_string()),
            ErrorCode::STREAM_INVALID_CONFIG
            | ErrorCode::STREAM_MIRROR_NOT_UPDATABLE
            | ErrorCode::STREAM_SEALED => JetStreamError::Unchangeable(error.to_string()),
            _ => JetStreamError::Refused(error.to_string()),
        }),
        Err(error) if error.kind() == RequestErrorKind::Other => {
            Err(JetStreamError::Refused(chain(&error)))
        }
        Err(error) => Err(JetStreamError::Silent(chain(&error))),
    }
}

/// What the server knows of a bucket.
pub(super) async fn info(connection: &NatsConnection, name: &str) -> Result<Info, JetStreamError> {
    ask(connection, "INFO", name, &BucketSettings::new()).await
}

pub(super) async fn create(
    connection: &NatsConnection,
    bucket: &Bucket,
    first: Option<u64>,
) -> Result<Info, JetStreamError> {
    let settings = bucket.settings(replicas(connection), first);
    match ask(connection, "CREATE", &bucket.name, &settings).await {
        Err(JetStreamError::Occupied(_)) => {
            Err(JetStreamError::Occupied(occupied(connection, bucket).await))
        }
        made => made,
    }
}

/// Which streams have the subjects of a bucket that is not there, and what to do about it.
async fn occupied(connection: &NatsConnection, bucket: &Bucket) -> String {
    let subject = bucket.subject();
    let asked = serde_json::json!({"subject": subject});
    let found = ask_at::<Streams>(connection, "STREAM.NAMES".to_owned(), &asked).await;
    let names = found.ok().and_then(|it| it.streams).unwrap_or_default();
    let mut names = names.iter().take(MOST_NAMED);
    match names.next() {
        Some(first) => {
            let more: String = names.map(|name| format!(", {name:?}")).collect();
            format!(
                "another stream has its subjects, {subject:?}: delete {first:?}{more} (`nats stream \
                 rm {first}`), or take these subjects from it"
            )
        }
        None => format!(
            "another stream has its subjects, {subject:?}: delete it, or take them from it (`nats \
             stream ls --subject '{subject}'` names it)"
        ),
    }
}

/// Gives one its settings; those that are its owner's affair stay.
pub(super) async fn update(
    connection: &NatsConnection,
    bucket: &Bucket,
    theirs: &BucketSettings,
) -> Result<Info, JetStreamError> {
    ask(connection, "UPDATE", &bucket.name, &bucket.mended(theirs)).await
}

pub(super) async fn delete(connection: &NatsConnection, name: &str) -> Result<(), JetStreamError> {
    let deleted = ask(connection, "DELETE", name, &BucketSettings::new()).await;
    deleted.map(|Deleted {}| ())
}

/// A bucket; it is made if it is not there. Nothing is mended.
///
/// # Errors
/// [`NatsError::Bucket`].
pub(in crate::nats) async fn make(
    connection: &NatsConnection,
    bucket: &Bucket,
) -> Result<BucketFound, NatsError> {
    let (info, found) = match info(connection, &bucket.name).await {
        Err(JetStreamError::Missing) => {
            let made = create(connection, bucket, bucket.first(0)).await;
            (made, BucketFound::Made)
        }
        info => (info, BucketFound::There),
    };
    let info = info.map_err(|error| NatsError::Bucket {
        bucket: bucket.name.clone(),
        why: error.why("these credentials may not make or look at it"),
    })?;
    let faults = bucket.faults(&info.settings);
    Ok(if !faults.is_empty() {
        BucketFound::Foreign(faults.join("; "))
    } else if bucket.is_in_memory(&info.settings) {
        BucketFound::InMemory(bucket.lost)
    } else {
        found
    })
}

const MAY_NOT_LOOK: &str = "these credentials may not look at it";
const NOT_THERE: &str = "it is not there";

/// Leases are to survive a server, if there are three.
fn replicas(connection: &NatsConnection) -> usize {
    let info = connection.client.server_info();
    if info.connect_urls.len() >= 3 { 3 } else { 1 }
}

/// A handle of a bucket that is there.
///
/// # Errors
/// [`NatsError::Bucket`].
pub(in crate::nats) async fn store(
    connection: &NatsConnection,
    name: &str,
) -> Result<Store, NatsError> {
    let store = context(connection).get_key_value(name).await;
    store.map_err(|error| NatsError::Bucket {
        bucket: name.to_owned(),
        why: chain(&error),
    })
}

/// A bucket that another process made, with its settings; `None` if there is none. Bounds are mended.
///
/// # Errors
/// Why it cannot be used.
pub(in crate::nats) async fn existing(
    connection: &NatsConnection,
    bucket: &Bucket,
) -> Result<Option<Existing>, String> {
    let found = match info(connection, &bucket.name).await {
        Err(JetStreamError::Missing) => return Ok(None),
        found => found.map_err(|error| error.why(MAY_NOT_LOOK))?,
    };
    let faults = bucket.faults(&found.settings);
    if !faults.is_empty() {
        let faults = faults.join("; ");
        let cannot = format!("it has other settings than it needs: {faults}");
        if bucket.is_suspect(&found.settings) {
            return Err(format!("{cannot}; {SUSPECT}"));
        }
        let mended = update(connection, bucket, &found.settings).await;
        if mended.map_or(true, |it| !bucket.faults(&it.settings).is_empty()) {
            return Err(cannot);
        }
        log::info!(bucket = bucket.name, faults; "a bucket has its settings again");
    }
    let store = context(connection).get_key_value(&bucket.name).await;
    let store = store.map_err(|error| chain(&error))?;
    let created = found.created;
    Ok(Some(Existing { store, created }))
}

/// Whether it is that bucket still and has its settings, so that what was read from it since was written
/// by who may write to it.
///
/// # Errors
/// Why not, or why that is not known.
pub(in crate::nats) async fn is_still(
    connection: &NatsConnection,
    bucket: &Bucket,
    existing: &Existing,
) -> Result<(), String> {
    let found = info(connection, &bucket.name).await;
    let found = found.map_err(|error| error.why(MAY_NOT_LOOK))?;
    if found.created != existing.created || !bucket.faults(&found.settings).is_empty() {
        return Err("it was changed while it was read".to_owned());
    }
    Ok(())
}
