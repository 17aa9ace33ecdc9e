//! Which clients have connections closed because there is no room for more that say nothing: said once
//! when that begins, and once when it ends, however many connections and clients there are.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// It has ended when none was closed for so long.
const QUIET: Duration = Duration::from_secs(60);

/// Clients that are told apart at a time; all others are one.
const MAX_CLIENTS: usize = 16;

/// The crowds of one thread; `None` is all clients that are not told apart.
#[derive(Debug, Clone, Default)]
pub(super) struct Crowds(Rc<RefCell<HashMap<Option<IpAddr>, Crowd>>>);

/// A client whose connections are closed.
#[derive(Debug)]
struct Crowd {
    since: Instant,
    last: Instant,
    closed: u64,
}

/// As the log calls a client.
fn shown(client: Option<IpAddr>) -> String {
    client.map_or_else(|| "others".to_owned(), |it| it.to_string())
}

impl Crowds {
    /// A connection of this client was closed.
    pub(super) fn closed(&self, client: IpAddr) {
        let now = Instant::now();
        let mut crowds = self.0.borrow_mut();
        let client = Some(client)
            .filter(|_| crowds.len() < MAX_CLIENTS || crowds.contains_key(&Some(client)));
        if let Some(crowd) = crowds.get_mut(&client) {
            crowd.last = now;
            crowd.closed += 1;
            return;
        }
        let crowd = Crowd {
            since: now,
            last: now,
            closed: 1,
        };
        crowds.insert(client, crowd);
        log::warn!(reason = "evicted", client:% = shown(client); "connections that say nothing are closed for others");
        let crowds = self.clone();
        actix_web::rt::spawn(async move { crowds.watch(client).await });
    }

    /// Says when it has ended.
    async fn watch(&self, client: Option<IpAddr>) {
        loop {
            let Some(last) = self.0.borrow().get(&client).map(|crowd| crowd.last) else {
                return;
            };
            if last.elapsed() < QUIET {
                sleep_until(last + QUIET).await;
                continue;
            }
            if let Some(crowd) = self.0.borrow_mut().remove(&client) {
                let Crowd { since, closed, .. } = crowd;
                let seconds = (last - since).as_secs();
                log::info!(reason = "evicted", client:% = shown(client), closed, seconds; "no more connections are closed for others");
            }
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::time::advance;

    use super::*;

    fn client(number: u32) -> IpAddr {
        Ipv4Addr::from_bits(number).into()
    }

    #[actix::test]
    async fn a_crowd_ends_when_none_was_closed_for_a_while() {
        tokio::time::pause();
        let crowds = Crowds::default();
        let count = async |after: Duration| {
            advance(after).await;
            // Those that were woken go on.
            for _ in 0..4 {
                tokio::task::yield_now().await;
            }
            crowds.0.borrow().len()
        };
        crowds.closed(client(1));
        assert_eq!(count(QUIET / 2).await, 1);
        for _ in 0..1000 {
            crowds.closed(client(1));
        }
        // It is the same one.
        assert_eq!(count(QUIET * 3 / 4).await, 1);
        assert_eq!(crowds.0.borrow()[&Some(client(1))].closed, 1001);
        assert_eq!(count(QUIET / 2).await, 0);
    }

    #[actix::test]
    async fn clients_beyond_some_are_told_of_as_one() {
        tokio::time::pause();
        let crowds = Crowds::default();
        for number in 0..1000 {
            crowds.closed(client(number));
            crowds.closed(client(number));
        }
        let known = crowds.0.borrow();
        assert_eq!(known.len(), MAX_CLIENTS + 1);
        assert_eq!(known[&Some(client(0))].closed, 2);
        let others = 2 * (1000 - u64::try_from(MAX_CLIENTS).unwrap());
        assert_eq!(known[&None].closed, others);
    }
}
