//! Work of many clients, of which each client's has its turn, however much of it there is.

use std::collections::VecDeque;
use std::net::IpAddr;

/// What is to be done, for each client in the order in which it came.
#[derive(Debug)]
pub(super) struct ClientQueue<T> {
    /// The client that is next is first. Each has some work.
    clients: VecDeque<(Option<IpAddr>, VecDeque<T>)>,
}

impl<T> Default for ClientQueue<T> {
    fn default() -> Self {
        Self {
            clients: VecDeque::new(),
        }
    }
}

impl<T> ClientQueue<T> {
    pub(super) fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }

    /// Behind all that this client has. Those of which nothing is known are one client.
    pub(super) fn push(&mut self, client: Option<IpAddr>, work: T) {
        match self.clients.iter_mut().find(|(known, _)| *known == client) {
            Some((_, queue)) => queue.push_back(work),
            None => self.clients.push_back((client, VecDeque::from([work]))),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.clients.iter().flat_map(|(_, queue)| queue)
    }

    /// The first of the client that is next; all others come before its second.
    pub(super) fn pop(&mut self) -> Option<T> {
        let (client, mut queue) = self.clients.pop_front()?;
        let work = queue.pop_front();
        if !queue.is_empty() {
            self.clients.push_back((client, queue));
        }
        work
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_take_turns_however_much_each_wants() {
        let client = |last| Some(IpAddr::from([192, 0, 2, last]));
        let mut queue = ClientQueue::default();
        for nth in 0..300 {
            queue.push(client(1), (1, nth));
        }
        queue.push(client(2), (2, 0));
        queue.push(None, (0, 0));
        queue.push(client(2), (2, 1));
        let first: Vec<_> = std::iter::from_fn(|| queue.pop()).take(6).collect();
        assert_eq!(first, [(1, 0), (2, 0), (0, 0), (1, 1), (2, 1), (1, 2)]);
        // What is not done goes to the end of its client's.
        queue.push(client(1), (1, 2));
        let rest: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!((rest[0], rest[297]), ((1, 3), (1, 2)));
        assert!(queue.is_empty());
    }
}
