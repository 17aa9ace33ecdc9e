//! The requests of one lease session: taken, and left off without losing one.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, Subscriber};
use bytes::Bytes;
use futures::StreamExt as _;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::session::{LAST_ORDERS, LeaseSession};
use crate::nats::connection::NatsConnection;
use crate::nats::lock::lock;
use crate::nats::serving::RequestServer;

/// Between two tries to take orders.
const SUBSCRIBE_AGAIN: Duration = Duration::from_millis(100);

/// How many orders may be on their way that are taken no more.
const ON_THEIR_WAY: u64 = 64;

impl LeaseSession {
    /// Takes orders from now on.
    pub(super) fn serve(
        self: &Arc<Self>,
        orders: Subscriber,
        subject: String,
        server: Arc<RequestServer>,
        connection: NatsConnection,
    ) {
        let taking = take_orders(orders, subject, server, Arc::clone(self), connection);
        *lock(&self.taking) = Some(actix::spawn(taking));
    }
}

/// Takes orders until it is told to take no more, and then those that are on their way.
async fn take_orders(
    mut orders: Subscriber,
    subject: String,
    server: Arc<RequestServer>,
    session: Arc<LeaseSession>,
    connection: NatsConnection,
) {
    let mut taken = 0;
    let mut again = Box::pin(connection.again());
    let mut until: Option<Instant> = None;
    loop {
        let order = match until {
            None => tokio::select! {
                order = orders.next() => order,
                () = &mut again => {
                    again.set(connection.again());
                    // The server counts anew what it sends, and the client does not.
                    drop(orders);
                    orders = subscribe(&connection, &subject).await;
                    taken = 0;
                    continue;
                }
                () = session.last_orders.notified() => {
                    let last = Instant::now() + LAST_ORDERS;
                    let left_off = leave_off(&mut orders, taken, &subject, &server.client);
                    timeout_at(last, left_off).await.ok();
                    until = Some(last);
                    continue;
                }
            },
            Some(until) => timeout_at(until, orders.next()).await.unwrap_or_default(),
        };
        let Some(order) = order else {
            return;
        };
        taken += 1;
        let (server, session) = (Arc::clone(&server), Arc::clone(&session));
        actix::spawn(async move { server.answer(&order, &session).await });
    }
}

/// Tries until it is done: a client can be told at any time, and tells the server when it can.
async fn subscribe(connection: &NatsConnection, subject: &str) -> Subscriber {
    loop {
        let subscribed = connection.client.subscribe(subject.to_owned());
        if let Ok(Ok(orders)) = timeout(SUBSCRIBE_AGAIN, subscribed).await {
            return orders;
        }
        sleep(SUBSCRIBE_AGAIN).await;
    }
}

/// Has the server send no more orders, and the subscription end after those that are on their way.
///
/// The client ends one that is left off, or drained, when it has told the server, so that those had
/// nobody. It ends one that is to end after some more messages when they have come, and the last of
/// them are sent right here: whatever was on its way came before. They ask for no answer.
async fn leave_off(orders: &mut Subscriber, taken: u64, subject: &str, client: &Client) {
    if orders
        .unsubscribe_after(taken + ON_THEIR_WAY)
        .await
        .is_err()
    {
        return;
    }
    for _ in 0..ON_THEIR_WAY {
        let last = client.publish(subject.to_owned(), Bytes::new());
        if last.await.is_err() {
            return;
        }
    }
}
