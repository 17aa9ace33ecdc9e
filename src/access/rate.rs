//! How often one client may ask, for a bounded number of clients.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::client::client as counted;
use crate::config::Rate;

/// Clients that are told apart at once; further ones share one allowance.
const MAX_CLIENTS: usize = 16_384;

/// How often those that have not asked for long are looked for, when there is no more room.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// Allowances of clients, by the generic cell rate algorithm: of each only the time is kept at
/// which its allowance is whole again.
#[derive(Debug, Default)]
pub(super) struct Limiter(Mutex<ClientTable>);

#[derive(Debug, Default)]
struct ClientTable {
    whole_at: HashMap<IpAddr, Duration>,
    /// That of the clients that there is no room for.
    others_whole_at: Duration,
    swept_at: Option<Duration>,
}

impl Limiter {
    /// Takes one request off the client's allowance, or says how long it has to wait for one.
    pub(super) fn admit(&self, client: IpAddr, rate: Rate, now: Duration) -> Result<(), Duration> {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        table.admit(counted(client), rate, now)
    }
}

impl ClientTable {
    fn admit(&mut self, client: IpAddr, rate: Rate, now: Duration) -> Result<(), Duration> {
        let interval = Duration::from_secs(1) / rate.per_second.get();
        // What an unused allowance is worth; it is used up when it is whole this much later.
        let burst = interval * rate.burst.get();
        let is_known = self.whole_at.contains_key(&client);
        if !is_known && self.whole_at.len() >= MAX_CLIENTS {
            self.sweep(now);
        }
        let whole_at = if is_known || self.whole_at.len() < MAX_CLIENTS {
            self.whole_at.entry(client).or_default()
        } else {
            &mut self.others_whole_at
        };
        let next = now.max(*whole_at) + interval;
        let most = now + burst;
        if next > most {
            return Err(next - most);
        }
        *whole_at = next;
        Ok(())
    }

    /// Forgets those whose allowance is whole.
    fn sweep(&mut self, now: Duration) {
        if self.swept_at.is_some_and(|at| now < at + SWEEP_EVERY) {
            return;
        }
        self.swept_at = Some(now);
        self.whole_at.retain(|_, whole_at| *whole_at > now);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::num::NonZeroU32;

    use super::*;

    fn rate(per_second: u32, burst: u32) -> Rate {
        Rate {
            per_second: NonZeroU32::new(per_second).unwrap(),
            burst: NonZeroU32::new(burst).unwrap(),
        }
    }

    fn client(number: u32) -> IpAddr {
        Ipv4Addr::from_bits(number).into()
    }

    #[test]
    fn a_client_has_its_burst_and_then_its_rate() {
        let mut table = ClientTable::default();
        let rate = rate(10, 3);
        let at = Duration::from_secs(5);
        for _ in 0..3 {
            assert_eq!(table.admit(client(1), rate, at), Ok(()));
        }
        let wait = table.admit(client(1), rate, at).unwrap_err();
        assert_eq!(wait, Duration::from_millis(100));
        assert_eq!(
            table.admit(client(2), rate, at),
            Ok(()),
            "others have theirs"
        );
        assert!(
            table
                .admit(client(1), rate, at + wait - Duration::from_nanos(1))
                .is_err()
        );
        assert_eq!(table.admit(client(1), rate, at + wait), Ok(()));
        assert!(table.admit(client(1), rate, at + wait).is_err());
    }

    #[test]
    fn an_unused_allowance_does_not_grow() {
        let mut table = ClientTable::default();
        let rate = rate(10, 3);
        let admitted = |table: &mut ClientTable, at| {
            (0..10)
                .filter(|_| table.admit(client(1), rate, at).is_ok())
                .count()
        };
        assert_eq!(admitted(&mut table, Duration::ZERO), 3);
        assert_eq!(admitted(&mut table, Duration::from_secs(3600)), 3);
    }

    #[test]
    fn however_many_clients_there_are_the_table_is_bounded() {
        let mut table = ClientTable::default();
        let rate = rate(1, 2);
        let most = u32::try_from(MAX_CLIENTS).unwrap();
        for number in 0..most {
            assert_eq!(table.admit(client(number), rate, Duration::ZERO), Ok(()));
        }
        let late = |number| client(most + number);
        assert_eq!(table.admit(late(0), rate, Duration::ZERO), Ok(()));
        assert_eq!(table.admit(late(1), rate, Duration::ZERO), Ok(()));
        assert!(
            table.admit(late(2), rate, Duration::ZERO).is_err(),
            "those that there is no room for share one allowance"
        );
        assert_eq!(table.whole_at.len(), MAX_CLIENTS);
        assert_eq!(
            table.admit(client(0), rate, Duration::ZERO),
            Ok(()),
            "who is known is not one of them"
        );
        // Later all but the one that asked twice have their allowance back, and are forgotten.
        let later = Duration::from_millis(1500);
        assert_eq!(table.admit(late(2), rate, later), Ok(()));
        assert_eq!(table.whole_at.len(), 2);
    }

    #[test]
    fn a_client_with_a_whole_network_is_one() {
        let address = |text: &str| counted(text.parse().unwrap());
        assert_eq!(address("2001:db8::1"), address("2001:db8::ffff:1"));
        assert_ne!(address("2001:db8::1"), address("2001:db8:0:1::1"));
        assert_ne!(address("192.0.2.1"), address("192.0.2.2"));
    }
}
