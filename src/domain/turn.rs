//! Work in turns: what takes longer gives way to the other requests of its thread.
//!
//! Every loop of a request over devices, or over what its client wrote, counts what it does here.
//! A future that is dropped between two turns does no more, so work ends when its client is gone.

use std::pin::pin;
use std::task::{Context, Poll};

use tokio::runtime::Handle;

/// How many items are done in one turn: some tenths of a millisecond's worth.
pub const ITEMS_PER_TURN: usize = 1024;

/// Counts the work of one request.
#[derive(Debug, Default)]
pub struct Turn {
    done: usize,
}

impl Turn {
    /// Counts this many items, and gives way if that fills the turn; returns whether it did. An item
    /// takes about as long as looking at one device: some hundred nanoseconds.
    pub async fn spend(&mut self, items: usize) -> bool {
        self.done = self.done.saturating_add(items);
        let is_full = self.done >= ITEMS_PER_TURN;
        if is_full {
            self.give_way().await;
        }
        is_full
    }

    /// Ends the turn now.
    pub async fn give_way(&mut self) {
        self.done = 0;
        // It is woken after the sockets of the thread were looked at, and not before.
        tokio::task::yield_now().await;
    }
}

/// Gives way in a function that is polled: pending, and woken as [`Turn::give_way`] is.
pub(crate) fn poll_give_way(context: &mut Context<'_>) -> Poll<()> {
    pin!(tokio::task::yield_now()).poll(context)
}

/// Drops many things: in turns if this thread has a runtime, else at once.
pub(crate) fn drop_in_turns<T: Send + 'static>(things: Vec<T>, per_turn: usize) {
    if things.len() <= per_turn {
        return;
    }
    let Ok(runtime) = Handle::try_current() else {
        return;
    };
    runtime.spawn(drop_some(things, per_turn));
}

/// Drops many things, in turns of whoever awaits it.
pub(crate) async fn drop_some<T>(mut things: Vec<T>, per_turn: usize) {
    loop {
        things.truncate(things.len().saturating_sub(per_turn));
        if things.is_empty() {
            return;
        }
        tokio::task::yield_now().await;
    }
}

/// Counts what is looked at, so that tests see what is done between two turns.
#[cfg(test)]
pub(crate) mod seen {
    use std::cell::Cell;

    thread_local! {
        static SEEN: Cell<usize> = const { Cell::new(0) };
    }

    /// A device is looked at.
    pub(crate) fn note() {
        SEEN.set(SEEN.get() + 1);
    }

    /// How many were, by this thread.
    pub(crate) fn count() -> usize {
        SEEN.get()
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    #[test]
    fn a_turn_ends_when_its_items_are_done() {
        let work = async {
            let mut turn = Turn::default();
            for _ in 0..3 * ITEMS_PER_TURN {
                turn.spend(1).await;
            }
            turn.spend(usize::MAX).await;
        };
        let mut work = pin!(work);
        let mut context = Context::from_waker(Waker::noop());
        let polls = (1..).find(|_| work.as_mut().poll(&mut context).is_ready());
        assert_eq!(polls, Some(5));
    }
}
