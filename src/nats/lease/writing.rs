//! How a worker writes to buckets.
//!
//! Each write names the stream that is to take it: while a bucket is missing, another stream may have
//! its subjects, and would say that it was written.

use async_nats::header::{NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_EXPECTED_STREAM};
use async_nats::jetstream::context::PublishError;
use async_nats::jetstream::kv::Store;
use async_nats::{HeaderMap, HeaderValue};
use bytes::Bytes;

use super::manager::LeaseManager;

/// On what a write depends: the revision that the entry is to have until then, 0 if there is to be
/// none; `None` whatever it is.
type Expected = Option<u64>;

impl LeaseManager {
    /// Writes an entry; its revision.
    pub(super) async fn write(
        &self,
        bucket: &Store,
        key: &str,
        value: Bytes,
        expected: Expected,
    ) -> Result<u64, PublishError> {
        self.send(bucket, key, value, expected, HeaderMap::new())
            .await
    }

    /// Removes an entry. `value` is told to those who see that.
    pub(super) async fn remove(
        &self,
        bucket: &Store,
        key: &str,
        value: Bytes,
        expected: Expected,
    ) -> Result<u64, PublishError> {
        let mut headers = HeaderMap::new();
        headers.insert("KV-Operation", "DEL");
        self.send(bucket, key, value, expected, headers).await
    }

    async fn send(
        &self,
        bucket: &Store,
        key: &str,
        value: Bytes,
        expected: Expected,
        mut headers: HeaderMap,
    ) -> Result<u64, PublishError> {
        headers.insert(NATS_EXPECTED_STREAM, bucket.stream_name.as_str());
        if let Some(revision) = expected {
            let revision = HeaderValue::from(revision);
            headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, revision);
        }
        let subject = format!("{}{key}", bucket.prefix);
        let sent = self.jetstream.publish_with_headers(subject, headers, value);
        Ok(sent.await?.await?.sequence)
    }
}
