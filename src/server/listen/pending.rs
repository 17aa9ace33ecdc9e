//! Connections that have not said yet what they want.
//!
//! There is always room for one more: when all is taken, the connection that has been here longest ends,
//! of the client that has most. So a client that opens connections and says nothing, or that slowly,
//! has the room of its own connections, and no other's. Each is given a moment, so that a crowd that
//! comes at once and speaks at once is not taken for that.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::Instant;

/// How long each may be here, however many want to come.
const MOMENT: Duration = Duration::from_millis(10);

/// How often it is looked whether there is room.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// The room; of one thread.
#[derive(Debug, Clone)]
pub(super) struct PendingConnections(Rc<RefCell<PendingRoom>>);

#[derive(Debug)]
struct PendingRoom {
    most: usize,
    count: usize,
    next: u64,
    /// Those of each client that has any.
    visitors: HashMap<IpAddr, Visitors>,
}

/// When each connection came, and what ends it, by the order in which they came.
type Visitors = BTreeMap<u64, (Instant, AbortHandle)>;

/// A connection's place, until it is dropped.
#[derive(Debug)]
pub(super) struct PendingConnection {
    pending: PendingConnections,
    client: IpAddr,
    number: u64,
}

impl PendingConnections {
    pub(super) fn new(most: usize) -> Self {
        Self(Rc::new(RefCell::new(PendingRoom {
            most,
            count: 0,
            next: 0,
            visitors: HashMap::new(),
        })))
    }

    /// Resolves when there is room for one more, with the client of which a connection was ended for it.
    pub(super) async fn make_room(&self) -> Option<IpAddr> {
        loop {
            let room = self.0.borrow_mut().room();
            match room {
                Poll::Ready(ended) => return ended,
                Poll::Pending => tokio::time::sleep(LOOK_EVERY).await,
            }
        }
    }

    /// Lets a connection in, which `begin` begins to serve.
    pub(super) fn enter(
        &self,
        client: IpAddr,
        begin: impl FnOnce(PendingConnection) -> AbortHandle,
    ) {
        let number = {
            let mut room = self.0.borrow_mut();
            room.next += 1;
            room.count += 1;
            room.next
        };
        let visit = PendingConnection {
            pending: self.clone(),
            client,
            number,
        };
        // It is not polled before this thread is through here.
        let task = begin(visit);
        let mut room = self.0.borrow_mut();
        let visitors = room.visitors.entry(client).or_default();
        visitors.insert(number, (Instant::now(), task));
    }
}

impl PendingRoom {
    /// Ready if there is room for one more; ends one for it, if it may, and says whose.
    fn room(&mut self) -> Poll<Option<IpAddr>> {
        if self.count < self.most {
            return Poll::Ready(None);
        }
        let oldest = |visitors: &Visitors| visitors.first_key_value().map(|(&number, _)| number);
        let rank = |visitors: &Visitors| (visitors.len(), Reverse(oldest(visitors)));
        let most = self.visitors.iter().max_by_key(|(_, it)| rank(it));
        let Some((&client, visitors)) = most else {
            return Poll::Ready(None);
        };
        let Some((&number, &(since, _))) = visitors.first_key_value() else {
            return Poll::Ready(None);
        };
        if since.elapsed() < MOMENT {
            return Poll::Pending;
        }
        if let Some(task) = self.leave(client, number) {
            task.abort();
        }
        Poll::Ready(Some(client))
    }

    fn leave(&mut self, client: IpAddr, number: u64) -> Option<AbortHandle> {
        let visitors = self.visitors.get_mut(&client)?;
        let (_, task) = visitors.remove(&number)?;
        if visitors.is_empty() {
            self.visitors.remove(&client);
        }
        self.count -= 1;
        Some(task)
    }
}

impl Drop for PendingConnection {
    fn drop(&mut self) {
        // Nothing, if it was ended for want of room.
        self.pending.0.borrow_mut().leave(self.client, self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Says which connections have ended.
    #[derive(Default)]
    struct PendingEnded(Rc<RefCell<Vec<u32>>>);

    struct PendingStream(u32, Rc<RefCell<Vec<u32>>>);

    impl Drop for PendingStream {
        fn drop(&mut self) {
            self.1.borrow_mut().push(self.0);
        }
    }

    impl PendingEnded {
        /// Gives the client of which a connection was ended for it.
        async fn open(
            &self,
            pending: &PendingConnections,
            client: &str,
            number: u32,
        ) -> Option<String> {
            let ended = pending.make_room().await;
            let connection = PendingStream(number, Rc::clone(&self.0));
            pending.enter(client.parse().unwrap(), |visit| {
                let waits = async move {
                    let _held = (visit, connection);
                    std::future::pending::<()>().await;
                };
                tokio::task::spawn_local(waits).abort_handle()
            });
            ended.map(|client| client.to_string())
        }

        async fn ended(&self) -> Vec<u32> {
            for _ in 0..3 {
                tokio::task::yield_now().await;
            }
            self.0.borrow().clone()
        }
    }

    #[actix::test]
    async fn room_is_made_by_the_client_that_has_most_and_its_oldest() {
        tokio::time::pause();
        let (pending, ended) = (PendingConnections::new(4), PendingEnded::default());
        ended.open(&pending, "192.0.2.1", 1).await;
        for number in 2..=4 {
            let of = ended.open(&pending, "192.0.2.2", number).await;
            assert_eq!(of, None, "there was room");
        }
        assert!(ended.ended().await.is_empty());
        let start = Instant::now();
        let of = ended.open(&pending, "192.0.2.2", 5).await;
        assert_eq!(of.as_deref(), Some("192.0.2.2"));
        assert_eq!(ended.ended().await, [2]);
        assert!(start.elapsed() >= MOMENT, "each is given a moment");
        ended.open(&pending, "192.0.2.3", 6).await;
        assert_eq!(ended.ended().await, [2, 3]);
        // Two of one client by now, and one of each other.
        ended.open(&pending, "192.0.2.4", 7).await;
        assert_eq!(ended.ended().await, [2, 3, 4]);
        // All have one: the oldest.
        let of = ended.open(&pending, "192.0.2.5", 8).await;
        assert_eq!(of.as_deref(), Some("192.0.2.1"));
        assert_eq!(ended.ended().await, [2, 3, 4, 1]);
        assert_eq!(pending.0.borrow().count, 4);
    }

    #[actix::test]
    async fn a_connection_that_leaves_makes_room() {
        let (pending, left) = (PendingConnections::new(1), Rc::new(Cell::new(0)));
        for _ in 0..3 {
            let left = Rc::clone(&left);
            pending.enter("192.0.2.1".parse().unwrap(), |visit| {
                let leaves = async move {
                    drop(visit);
                    left.set(left.get() + 1);
                };
                tokio::task::spawn_local(leaves).abort_handle()
            });
            tokio::task::yield_now().await;
        }
        assert_eq!(left.get(), 3);
        let room = pending.0.borrow();
        assert!(room.visitors.is_empty() && room.count == 0);
    }
}
