//! Whether a lease is long enough for the servers and the line to them.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::manager::LeaseManager;

/// How many times a lease is at least as long as a message and its answer take: a renewal is tried
/// again in it, and a cluster moves in a part of it.
const ROUND_TRIPS: u32 = 20;

/// How often the time is taken; the shortest counts, as others show load that passes.
const TRIES: usize = 5;

/// How long a lease has to be for servers that choose another leader meanwhile.
const ELECTION: Duration = Duration::from_secs(15);

/// How many copies of a bucket there are at least if there is a leader to be chosen.
const COPIES: usize = 2;

/// The shortest lease for such a line, in whole seconds.
fn fits(round_trip: Duration) -> Duration {
    let wanted = round_trip * ROUND_TRIPS;
    Duration::from_secs(wanted.as_secs() + u64::from(wanted.subsec_nanos() > 0))
}

impl LeaseManager {
    /// Asks the server something, and waits for its answer: what was said before is read by then.
    pub(super) async fn round_trip(&self) {
        // Whatever it says.
        self.leases.entry(&self.worker.name).await.ok();
    }

    /// Warns if the lease is too short, and says which one is not.
    pub(in crate::nats) async fn advise(&self) {
        let own = self.worker.lease;
        let mut shortest: Option<Duration> = None;
        for _ in 0..TRIES {
            let asked = Instant::now();
            if timeout(own, self.round_trip()).await.is_ok() {
                let took = asked.elapsed();
                shortest = Some(shortest.map_or(took, |it| it.min(took)));
            }
        }
        let status = self.leases.status().await;
        let copies = status.map_or(0, |status| status.info.config.num_replicas);
        let lease = humantime::format_duration(own).to_string();
        // Without an answer it is at least as long.
        let round_trip = shortest.unwrap_or(own);
        let long = fits(round_trip);
        if long > own {
            let round_trip_ms = u64::try_from(round_trip.as_millis()).unwrap_or(u64::MAX);
            let fits = humantime::format_duration(long).to_string();
            log::warn!(lease, fits, round_trip_ms; "the lease is short for the line to NATS");
        }
        if copies >= COPIES && own < ELECTION {
            let fits = humantime::format_duration(ELECTION.max(long)).to_string();
            log::warn!(lease, fits, copies; "the lease is short for servers that choose a leader");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::fits;
    use std::time::Duration;

    #[test]
    fn a_lease_is_many_round_trips() {
        let seconds = |round_trip_ms| fits(Duration::from_millis(round_trip_ms)).as_secs();
        assert_eq!(
            [0, 1, 50, 100, 101, 200, 500].map(seconds),
            [0, 1, 1, 2, 3, 4, 10]
        );
    }
}
