//! Answers to many requests, on one subscription.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::Message;
use futures::StreamExt as _;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::lock::lock;
use super::wire::{CANCEL, Names, WINDOW};
use crate::nats::connection::{NatsConnection, NatsError, chain};

/// How many messages may wait for one request; nobody who keeps to the protocol sends as many.
const WAITING: usize = 2 * WINDOW;

/// How long a connection may be stuck before somebody is not told something.
const PATIENCE: Duration = Duration::from_millis(100);

type ReplyRoutes = HashMap<u64, mpsc::Sender<Message>>;

/// Where answers to this process' requests come.
#[derive(Debug)]
pub(super) struct Inbox {
    base: String,
    next: AtomicU64,
    routes: Arc<Mutex<ReplyRoutes>>,
    reading: AbortHandle,
}

/// Where the answers to one request come, at its subject and below; closed when dropped.
#[derive(Debug)]
pub(super) struct ReplySubscription {
    pub(super) subject: String,
    /// Ends early if too many wait.
    pub(super) messages: mpsc::Receiver<Message>,
    number: u64,
    routes: Arc<Mutex<ReplyRoutes>>,
}

/// Whether whoever made the request takes this answer.
fn pass_on(routes: &Mutex<ReplyRoutes>, number: u64, message: Message) -> bool {
    let mut routes = lock(routes);
    let Some(route) = routes.get(&number) else {
        return false;
    };
    let is_taken = route.try_send(message).is_ok();
    if !is_taken {
        routes.remove(&number);
    }
    is_taken
}

impl Inbox {
    /// Whoever sends something that nobody waits for any more is told so.
    ///
    /// # Errors
    /// If the server cannot be told.
    pub(super) async fn open(
        connection: &NatsConnection,
        names: &Names,
    ) -> Result<Self, NatsError> {
        let unique = connection.client.new_inbox();
        let unique = unique.rsplit('.').next().unwrap_or_default();
        let base = format!("{}.{unique}", names.answers(connection.role));
        let subscribed = connection.client.subscribe(format!("{base}.>")).await;
        let mut answers = subscribed.map_err(|error| NatsError::Connect {
            url: base.clone(),
            why: chain(&error),
        })?;
        let routes = Arc::new(Mutex::new(ReplyRoutes::new()));
        let known = Arc::clone(&routes);
        let len = base.len() + 1;
        let (client, names) = (connection.client.clone(), names.clone());
        let reading = tokio::spawn(async move {
            while let Some(message) = answers.next().await {
                let below = message.subject.get(len..);
                let number = below.and_then(|it| it.split('.').next()?.parse().ok());
                let Some(number) = number else {
                    continue;
                };
                let sender = message.reply.clone();
                if !pass_on(&known, number, message)
                    && let Some(sender) = sender
                    && names.is_answerable(&sender)
                {
                    // If it is lost, that one ends by the deadline.
                    let told = client.publish(sender, CANCEL.into());
                    timeout(PATIENCE, told).await.ok();
                }
            }
        });
        Ok(Self {
            base,
            next: AtomicU64::new(0),
            routes,
            reading: reading.abort_handle(),
        })
    }

    /// A place for the answers to one request.
    pub(super) fn place(&self) -> ReplySubscription {
        self.place_for(WAITING)
    }

    /// A place for the answers to one request, where as many may wait.
    pub(super) fn place_for(&self, most: usize) -> ReplySubscription {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, messages) = mpsc::channel(most);
        lock(&self.routes).insert(number, sender);
        ReplySubscription {
            subject: format!("{}.{number}", self.base),
            messages,
            number,
            routes: Arc::clone(&self.routes),
        }
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

impl Drop for ReplySubscription {
    fn drop(&mut self) {
        lock(&self.routes).remove(&self.number);
    }
}
