//! What each client has of something of which there is not enough for all.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use super::client::client as counted;

/// How many each client has. Those that have none take no room, so there are never more than there
/// is to be had.
#[derive(Debug, Default)]
pub(crate) struct ClientShares(Mutex<HashMap<IpAddr, usize>>);

/// One of them, until it is dropped.
#[derive(Debug)]
pub(crate) struct ClientShare(Option<(Arc<ClientShares>, IpAddr)>);

impl ClientShares {
    /// One more for this client, unless it has `most`.
    pub(super) fn take(self: &Arc<Self>, client: IpAddr, most: usize) -> Option<ClientShare> {
        let client = counted(client);
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = held.entry(client).or_default();
        if *count >= most {
            if *count == 0 {
                held.remove(&client);
            }
            return None;
        }
        *count += 1;
        Some(ClientShare(Some((Arc::clone(self), client))))
    }
}

impl ClientShare {
    /// For a client that is not limited.
    pub(super) const fn unlimited() -> Self {
        Self(None)
    }
}

impl Drop for ClientShare {
    fn drop(&mut self) {
        let Some((shares, client)) = self.0.take() else {
            return;
        };
        let mut held = shares.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = held.get_mut(&client) {
            *count -= 1;
            if *count == 0 {
                held.remove(&client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_its_share_and_gives_it_back() {
        let shares = Arc::<ClientShares>::default();
        let take = |client: &str| shares.take(client.parse().unwrap(), 2);
        let first = take("192.0.2.1");
        let second = take("::ffff:192.0.2.1");
        assert!(first.is_some() && second.is_some());
        assert!(take("192.0.2.1").is_none());
        let other = take("192.0.2.2");
        assert!(other.is_some());
        drop(first);
        let third = take("192.0.2.1");
        assert!(third.is_some());
        drop((second, third, other));
        assert!(shares.0.lock().unwrap().is_empty());
    }

    #[test]
    fn a_network_of_64_bits_is_one_client() {
        let shares = Arc::<ClientShares>::default();
        let take = |client: &str| shares.take(client.parse().unwrap(), 1);
        let first = take("2001:db8::1");
        assert!(first.is_some() && take("2001:db8::ffff:2").is_none());
        assert!(take("2001:db8:0:1::1").is_some());
    }
}
