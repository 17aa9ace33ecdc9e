//! What servers are asked of buckets.

use std::time::Duration;

use async_nats::jetstream::context::{CreateStreamErrorKind, GetStreamError, GetStreamErrorKind};
use async_nats::jetstream::kv::Store;
use async_nats::jetstream::{Context, ErrorCode, stream};

use super::bucket::Bucket;
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
    /// The server does not answer, as it does to those who may not ask.
    Silent(String),
}

pub(super) fn context(connection: &Connection) -> Context {
    let mut context = async_nats::jetstream::new(connection.client.clone());
    context.set_timeout(TIMEOUT);
    context
}

/// What the server knows of a bucket.
pub(super) async fn info(
    connection: &Connection,
    bucket: &Bucket,
) -> Result<stream::Info, ApiError> {
    let stream = context(connection).get_stream(bucket.stream()).await;
    match stream {
        Ok(stream) => Ok(stream.cached_info().clone()),
        Err(error) => Err(said(&error)),
    }
}

fn said(error: &GetStreamError) -> ApiError {
    match error.kind() {
        GetStreamErrorKind::JetStream(error)
            if error.error_code() == ErrorCode::STREAM_NOT_FOUND =>
        {
            ApiError::Missing
        }
        GetStreamErrorKind::JetStream(error) => ApiError::Refused(error.to_string()),
        GetStreamErrorKind::EmptyName
        | GetStreamErrorKind::InvalidStreamName
        | GetStreamErrorKind::Request => ApiError::Silent(chain(error)),
    }
}

pub(super) async fn create(
    connection: &Connection,
    bucket: &Bucket,
    first: Option<u64>,
) -> Result<stream::Info, ApiError> {
    let settings = bucket.settings(replicas(connection), first);
    let created = context(connection).create_stream(settings).await;
    match created {
        Ok(stream) => Ok(stream.cached_info().clone()),
        Err(error) => Err(match error.kind() {
            CreateStreamErrorKind::TimedOut => ApiError::Silent(chain(&error)),
            _ => ApiError::Refused(chain(&error)),
        }),
    }
}

/// A bucket; it is made if it is not there. Nothing is mended.
///
/// # Errors
/// [`NatsError::Bucket`].
pub(in crate::distributed) async fn make(
    connection: &Connection,
    bucket: &Bucket,
) -> Result<Found, NatsError> {
    let cannot = |why: String| NatsError::Bucket {
        bucket: bucket.name.clone(),
        why,
    };
    let (info, found) = match info(connection, bucket).await {
        Ok(info) => (info, Found::There),
        Err(ApiError::Missing) => match create(connection, bucket, bucket.first(0)).await {
            Ok(info) => (info, Found::Made),
            Err(ApiError::Missing) => return Err(cannot(NOT_THERE.to_owned())),
            Err(ApiError::Refused(why) | ApiError::Silent(why)) => return Err(cannot(why)),
        },
        Err(ApiError::Refused(why) | ApiError::Silent(why)) => return Err(cannot(why)),
    };
    let faults = bucket.faults(&info.config);
    Ok(if faults.is_empty() {
        found
    } else {
        Found::Foreign(faults.join("; "))
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

/// A bucket that another process made; `None` if there is none.
///
/// # Errors
/// Why it cannot be used.
pub(in crate::distributed) async fn existing(
    connection: &Connection,
    name: &str,
) -> Result<Option<Store>, String> {
    let error = match context(connection).get_key_value(name).await {
        Ok(store) => return Ok(Some(store)),
        Err(error) => error,
    };
    let missing = context(connection).get_stream(format!("KV_{name}")).await;
    if let Err(missing) = missing
        && matches!(said(&missing), ApiError::Missing)
    {
        return Ok(None);
    }
    Err(chain(&error))
}
