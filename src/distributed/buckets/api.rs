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

use super::bucket::{Bucket, Settings};
use crate::distributed::nats::{Connection, NatsError, chain};

/// How long the server may take to say something of a bucket.
const TIMEOUT: Duration = Duration::from_secs(3);

/// What was found, and what was done, when a bucket was to be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// It was made.
    Made,
    /// It was there, and is as it should be.
    There,
    /// As [`Found::There`], but it is kept in memory: a restart of the servers loses this.
    InMemory(&'static str),
    /// It was there, with these settings that are not as they should be.
    Foreign(String),
}

/// What servers say of a bucket.
#[derive(Debug)]
pub(super) enum ApiError {
    /// There is none.
    Missing,
    /// The server does not do it, and says why.
    Refused(String),
    /// This process may not ask for it.
    Denied,
    /// The server does not answer.
    Silent(String),
}

/// What the server knows of a bucket.
#[derive(Debug, Deserialize)]
pub(super) struct Info {
    #[serde(rename = "config")]
    pub(super) settings: Settings,
    #[serde(deserialize_with = "time")]
    pub(super) created: DateTime,
    pub(super) state: State,
}

#[derive(Debug, Deserialize)]
pub(super) struct State {
    pub(super) last_seq: u64,
}

#[derive(Debug, Deserialize)]
struct Deleted {}

fn time<'de, D: Deserializer<'de>>(source: D) -> Result<DateTime, D::Error> {
    let text = String::deserialize(source)?;
    parse_rfc3339(&text).map_err(serde::de::Error::custom)
}

fn context(connection: &Connection) -> Context {
    let mut context = async_nats::jetstream::new(connection.client.clone());
    context.set_timeout(TIMEOUT);
    context
}

/// Asks the server to do something with a bucket.
async fn ask<V: DeserializeOwned>(
    connection: &Connection,
    verb: &str,
    bucket: &str,
    payload: &impl Serialize,
) -> Result<V, ApiError> {
    let subject = format!("STREAM.{verb}.KV_{bucket}");
    let context = context(connection);
    let asked = context.request(subject.clone(), payload);
    let words = format!("\"$JS.API.{subject}\"");
    let answer = tokio::select! {
        answer = asked => answer,
        // It answers nothing to those who may not ask.
        () = connection.denied(&words) => return Err(ApiError::Denied),
    };
    match answer {
        Ok(Response::Ok(done)) => Ok(done),
        Ok(Response::Err { error }) if error.error_code() == ErrorCode::STREAM_NOT_FOUND => {
            Err(ApiError::Missing)
        }
        Ok(Response::Err { error }) => Err(ApiError::Refused(error.to_string())),
        Err(error) if error.kind() == RequestErrorKind::Other => {
            Err(ApiError::Refused(chain(&error)))
        }
        Err(error) => Err(ApiError::Silent(chain(&error))),
    }
}

/// What the server knows of a bucket.
pub(super) async fn info(connection: &Connection, name: &str) -> Result<Info, ApiError> {
    ask(connection, "INFO", name, &Settings::new()).await
}

pub(super) async fn create(
    connection: &Connection,
    bucket: &Bucket,
    first: Option<u64>,
) -> Result<Info, ApiError> {
    let settings = bucket.settings(replicas(connection), first);
    ask(connection, "CREATE", &bucket.name, &settings).await
}

/// Gives one its settings; those that are its owner's affair stay.
pub(super) async fn update(
    connection: &Connection,
    bucket: &Bucket,
    theirs: &Settings,
) -> Result<Info, ApiError> {
    ask(connection, "UPDATE", &bucket.name, &bucket.mended(theirs)).await
}

pub(super) async fn delete(connection: &Connection, name: &str) -> Result<(), ApiError> {
    let deleted = ask(connection, "DELETE", name, &Settings::new()).await;
    deleted.map(|Deleted {}| ())
}

/// A bucket; it is made if it is not there. Nothing is mended.
///
/// # Errors
/// [`NatsError::Bucket`].
pub(in crate::distributed) async fn make(
    connection: &Connection,
    bucket: &Bucket,
) -> Result<Found, NatsError> {
    let (info, found) = match info(connection, &bucket.name).await {
        Err(ApiError::Missing) => {
            let made = create(connection, bucket, bucket.first(0)).await;
            (made, Found::Made)
        }
        info => (info, Found::There),
    };
    let info = info.map_err(|error| NatsError::Bucket {
        bucket: bucket.name.clone(),
        why: match error {
            ApiError::Missing => NOT_THERE.to_owned(),
            ApiError::Denied => "these credentials may not make or look at it".to_owned(),
            ApiError::Refused(why) | ApiError::Silent(why) => why,
        },
    })?;
    let faults = bucket.faults(&info.settings);
    Ok(if !faults.is_empty() {
        Found::Foreign(faults.join("; "))
    } else if bucket.is_in_memory(&info.settings) {
        Found::InMemory(bucket.lost)
    } else {
        found
    })
}

pub(super) const NOT_THERE: &str = "it is not there";

/// Leases are to survive a server, if there are three.
fn replicas(connection: &Connection) -> usize {
    let info = connection.client.server_info();
    if info.connect_urls.len() >= 3 { 3 } else { 1 }
}

/// A handle of a bucket that is there.
///
/// # Errors
/// [`NatsError::Bucket`].
pub(in crate::distributed) async fn store(
    connection: &Connection,
    name: &str,
) -> Result<Store, NatsError> {
    let store = context(connection).get_key_value(name).await;
    store.map_err(|error| NatsError::Bucket {
        bucket: name.to_owned(),
        why: chain(&error),
    })
}

/// A bucket that another process made, with its settings; `None` if there is none.
///
/// # Errors
/// Why it cannot be used.
pub(in crate::distributed) async fn existing(
    connection: &Connection,
    bucket: &Bucket,
) -> Result<Option<Store>, String> {
    let why = |error| match error {
        ApiError::Missing => NOT_THERE.to_owned(),
        ApiError::Denied => "these credentials may not look at it".to_owned(),
        ApiError::Refused(why) | ApiError::Silent(why) => why,
    };
    let found = match info(connection, &bucket.name).await {
        Err(ApiError::Missing) => return Ok(None),
        found => found.map_err(why)?,
    };
    let faults = bucket.faults(&found.settings);
    if !faults.is_empty() {
        let mended = update(connection, bucket, &found.settings).await;
        if mended.map_or(true, |it| !bucket.faults(&it.settings).is_empty()) {
            let faults = faults.join("; ");
            return Err(format!("it has other settings than it needs: {faults}"));
        }
        log::info!(bucket = bucket.name, faults = faults.join("; "); "a bucket has its settings again");
    }
    let store = context(connection).get_key_value(&bucket.name).await;
    store.map(Some).map_err(|error| chain(&error))
}
