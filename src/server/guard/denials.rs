//! Log lines of refused requests: however many there are, one in a while for each reason and kind of
//! network.

use std::net::IpAddr;
use std::time::Duration;

use super::refusal::Refusal;
use crate::server::traffic::Denial;
use crate::telemetry::LogLimit;

/// How often a reason is logged for clients of one kind of network.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// The longest part of a path that is logged, in bytes.
const MAX_PATH_LEN: usize = 256;

/// Kinds of networks that clients are in: [`network`] gives one.
const NETWORKS: [&str; 3] = ["loopback", "private", "public"];

/// What bounds those lines: the limits of each kind of network.
#[derive(Debug, Default)]
pub(super) struct Denials([[LogLimit; Denial::ALL.len()]; NETWORKS.len()]);

impl Denials {
    /// Logs a refusal. The query stays out: people put secrets there.
    pub(super) fn note(&self, refusal: &Refusal, client: IpAddr, method: &str, path: &str) {
        let denial = refusal.denial();
        let Some((network, unlogged)) = self.pass(denial, client) else {
            return;
        };
        let path = &path[..path.floor_char_boundary(MAX_PATH_LEN)];
        let reason = denial.as_str();
        log::warn!(
            reason, client:%, network, method, path, unlogged, error:% = refusal;
            "request refused"
        );
    }

    /// Logs what is refused before there is a request.
    pub(super) fn note_unread(&self, denial: Denial, client: IpAddr, why: &str) {
        if let Some((network, unlogged)) = self.pass(denial, client) {
            let reason = denial.as_str();
            let what = match denial.is_of_connection() {
                true => "connection",
                false => "request",
            };
            log::warn!(reason, client:%, network, unlogged, error = why; "{what} refused");
        }
    }

    /// If a line may be written now: the kind of network that it is for, and how many were not written
    /// since the one before.
    fn pass(&self, denial: Denial, client: IpAddr) -> Option<(&'static str, u64)> {
        let place = network(client);
        let unlogged = self.0[place][denial.index()].pass(LOG_EVERY)?;
        Some((NETWORKS[place], unlogged))
    }
}

/// The kind of network that a client is in, by its place in [`NETWORKS`].
fn network(client: IpAddr) -> usize {
    let client = client.to_canonical();
    let is_private = match client {
        IpAddr::V4(it) => it.is_private() || it.is_link_local(),
        IpAddr::V6(it) => it.is_unique_local() || it.is_unicast_link_local(),
    };
    match (client.is_loopback(), is_private) {
        (true, _) => 0,
        (false, true) => 1,
        (false, false) => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_told_apart_by_kinds_of_networks() {
        for (address, expected) in [
            ("127.0.0.7", "loopback"),
            ("::1", "loopback"),
            ("::ffff:127.0.0.1", "loopback"),
            ("10.1.2.3", "private"),
            ("192.168.1.1", "private"),
            ("fe80::1", "private"),
            ("fd00::1", "private"),
            ("192.0.2.1", "public"),
            ("2001:db8::1", "public"),
        ] {
            assert_eq!(NETWORKS[network(address.parse().unwrap())], expected);
        }
    }
}
