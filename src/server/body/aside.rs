//! Work that takes long and stands on its own: done on a thread beside those that answer requests,
//! until it is done or its client is gone.
//!
//! The place that bounds how much of it there is belongs to the work, not to the request: a client
//! that hangs up frees it when the work has ended, which is soon after.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use actix_web::http::StatusCode;
use actix_web::web;
use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;

use crate::server::error::Problem;

/// How much is written between two looks whether the client is gone, in bytes.
const LOOK_EVERY: usize = 64 << 10;

/// Whether the client of some work is still there.
#[derive(Debug, Clone)]
pub(crate) struct Client(Arc<AtomicBool>);

impl Client {
    pub(crate) fn is_gone(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// The JSON of a value; `None` if the client goes away meanwhile.
    pub(crate) fn json(&self, value: &impl Serialize) -> Option<Vec<u8>> {
        let mut text = Text {
            json: Vec::new(),
            next_look: LOOK_EVERY,
            client: self,
        };
        serde_json::to_writer(&mut text, value).ok()?;
        (!self.is_gone()).then_some(text.json)
    }
}

/// What is written for a client, as long as it is there.
struct Text<'a> {
    json: Vec<u8>,
    next_look: usize,
    client: &'a Client,
}

impl Write for Text<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.json.extend_from_slice(bytes);
        if self.json.len() >= self.next_look {
            self.next_look = self.json.len() + LOOK_EVERY;
            if self.client.is_gone() {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Says that the client is gone when it is dropped.
struct WaitingClient(Client);

impl Drop for WaitingClient {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}

/// Does some work beside the threads that answer requests, and gives its result and its place back.
pub(crate) async fn aside<T: Send + 'static>(
    place: OwnedSemaphorePermit,
    work: impl FnOnce(&Client) -> T + Send + 'static,
) -> Result<(T, OwnedSemaphorePermit), Problem> {
    let client = Client(Arc::default());
    let waiting = WaitingClient(client.clone());
    let done = web::block(move || (work(&client), place)).await;
    drop(waiting);
    done.map_err(|error| {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string()).retry_after(1)
    })
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use tokio::sync::Semaphore;

    use super::*;

    /// What must come is waited for so long.
    const PATIENCE: Duration = Duration::from_secs(60);

    #[actix_web::test]
    async fn work_hears_that_its_client_is_gone_and_keeps_its_place_until_it_ends() {
        let places = Arc::new(Semaphore::new(1));
        let place = Arc::clone(&places).try_acquire_owned().unwrap();
        let (began, begins) = mpsc::channel();
        let (end, ends) = mpsc::channel();
        let (ended, result) = mpsc::channel();
        let request = aside(place, move |client| {
            began.send(()).unwrap();
            ends.recv_timeout(PATIENCE).unwrap();
            ended.send(client.json(&vec![1; LOOK_EVERY])).unwrap();
        });
        let mut request = Box::pin(request);
        assert!(futures::poll!(&mut request).is_pending());
        begins.recv_timeout(PATIENCE).unwrap();
        drop(request);
        assert_eq!(places.available_permits(), 0, "its work goes on");
        end.send(()).unwrap();
        assert_eq!(result.recv_timeout(PATIENCE).unwrap(), None);
        let place = places.acquire();
        let place = tokio::time::timeout(PATIENCE, place).await.unwrap();
        drop(place.unwrap());
    }

    #[actix_web::test]
    async fn what_is_done_comes_with_its_place() {
        let places = Arc::new(Semaphore::new(1));
        let place = Arc::clone(&places).try_acquire_owned().unwrap();
        let numbers: Vec<usize> = (0..LOOK_EVERY).collect();
        let expected = serde_json::to_vec(&numbers).unwrap();
        let (json, place) = aside(place, move |client| client.json(&numbers))
            .await
            .unwrap();
        assert_eq!(json, Some(expected));
        assert_eq!(places.available_permits(), 0);
        drop(place);
        assert_eq!(places.available_permits(), 1);
    }
}
