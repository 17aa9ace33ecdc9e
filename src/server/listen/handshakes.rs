//! TLS handshakes of one thread, which also answers those that ask how the service does.
//!
//! A handshake takes the processor for a millisecond or more, with an RSA key. So each client has one
//! of its handshakes go on at a time, and its others wait for their turn; between two turns everything
//! else of the thread goes on, the handshakes of other clients too. A turn ends when the handshake waits
//! for the client, so one that sends nothing holds up no other.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use tokio::sync::{Mutex, Notify};
use tokio::task::yield_now;

/// The handshakes of each client that has any.
#[derive(Debug, Default)]
pub(super) struct Handshakes(Turns);

/// Whose turn it is among the handshakes of each client, first come, first served.
type Turns = Rc<RefCell<HashMap<IpAddr, Rc<Mutex<()>>>>>;

/// A client's turns, as long as it has a handshake.
struct HandshakeQueue {
    turns: Turns,
    client: IpAddr,
    turn: Rc<Mutex<()>>,
}

impl Drop for HandshakeQueue {
    fn drop(&mut self) {
        // This one's and the map's.
        if Rc::strong_count(&self.turn) == 2 {
            self.turns.borrow_mut().remove(&self.client);
        }
    }
}

/// Says that a handshake can go on.
#[derive(Default)]
struct Ready(Notify);

impl Wake for Ready {
    fn wake(self: Arc<Self>) {
        self.0.notify_one();
    }
}

impl Handshakes {
    /// Does a handshake of this client, each step in its turn.
    pub(super) async fn do_in_turns<T>(
        &self,
        client: IpAddr,
        handshake: impl Future<Output = T>,
    ) -> T {
        let mut handshake = pin!(handshake);
        let queue = self.queue(client);
        let ready = Arc::<Ready>::default();
        let waker = Waker::from(Arc::clone(&ready));
        loop {
            let turn = queue.turn.lock().await;
            let step = handshake.as_mut().poll(&mut Context::from_waker(&waker));
            // Everything else that is ready comes before the next one of this client.
            yield_now().await;
            drop(turn);
            match step {
                Poll::Ready(done) => return done,
                Poll::Pending => ready.0.notified().await,
            }
        }
    }

    fn queue(&self, client: IpAddr) -> HandshakeQueue {
        let turn = Rc::clone(self.0.borrow_mut().entry(client).or_default());
        HandshakeQueue {
            turns: Rc::clone(&self.0),
            client,
            turn,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::pending;

    use tokio::task::spawn_local;

    use super::*;

    const STEPS: usize = 3;

    /// A handshake that can always go on, and counts its steps.
    async fn handshake(steps: Rc<Cell<usize>>) {
        for step in 1..=STEPS {
            steps.set(steps.get() + 1);
            if step < STEPS {
                yield_now().await;
            }
        }
    }

    fn client(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[actix::test]
    async fn a_crowd_of_one_client_does_not_hold_up_another() {
        let handshakes = Rc::new(Handshakes::default());
        let begin = |from: &str| {
            let (handshakes, from) = (Rc::clone(&handshakes), client(from));
            let steps = Rc::<Cell<usize>>::default();
            let counted = Rc::clone(&steps);
            let done = spawn_local(async move {
                handshakes.do_in_turns(from, handshake(counted)).await;
            });
            (steps, done)
        };
        let crowd: Vec<_> = (0..200).map(|_| begin("192.0.2.1")).collect();
        let (_, other) = begin("192.0.2.2");
        other.await.unwrap();
        let steps: usize = crowd.iter().map(|(steps, _)| steps.get()).sum();
        assert!(
            steps <= 4 * STEPS,
            "{steps} steps of a crowd before one of another"
        );
        for (steps, done) in crowd {
            done.await.unwrap();
            assert_eq!(steps.get(), STEPS);
        }
        assert!(handshakes.0.borrow().is_empty());
    }

    #[actix::test]
    async fn one_that_sends_nothing_holds_up_no_other_of_its_client() {
        let handshakes = Rc::new(Handshakes::default());
        let silent = {
            let handshakes = Rc::clone(&handshakes);
            let waits = async move {
                handshakes
                    .do_in_turns(client("192.0.2.1"), pending::<()>())
                    .await;
            };
            spawn_local(waits)
        };
        yield_now().await;
        let steps = Rc::<Cell<usize>>::default();
        handshakes
            .do_in_turns(client("192.0.2.1"), handshake(Rc::clone(&steps)))
            .await;
        assert_eq!(steps.get(), STEPS);
        silent.abort();
        silent.await.unwrap_err();
        assert!(handshakes.0.borrow().is_empty());
    }
}
