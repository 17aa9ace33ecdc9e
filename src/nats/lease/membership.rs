//! What a worker knows of the others: who is there, and which clusters are taken.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use async_nats::jetstream::kv::{Entry, Operation};
use serde::Deserialize;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::domain::WorkerState;
use crate::nats::lease::placement;
use crate::nats::wire::{Lease, Presence, VERSION, cluster_of, is_worker, key};

/// How many workers and leases are remembered; what is beyond is not there. A lease that is not
/// remembered is not taken all the same: its key is in the bucket.
const MOST_WORKERS: usize = 1024;
const MOST_LEASES: usize = 65_536;

/// A server removes what is too old a little later than it could.
pub(crate) const SERVER_SLACK: Duration = Duration::from_millis(300);

/// How many announcements in a row a worker that hears itself may not have heard yet.
const UNHEARD: u32 = 2;

/// Whether a worker is to have clusters, as far as that depends on itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Fitness {
    #[default]
    Fit,
    /// Only if there is no other worker that is fit: it loses leases again and again.
    Unsteady,
    /// Not at all.
    Unfit,
}

/// A lease as it was last seen in the bucket.
#[derive(Debug)]
struct SeenLease {
    worker: String,
    tenure: u64,
    serves: bool,
    at: Instant,
}

impl SeenLease {
    /// It has an owner, of whom nothing else is known.
    fn by_unknown(at: Instant) -> Self {
        Self {
            worker: String::new(),
            tenure: 0,
            serves: true,
            at,
        }
    }
}

/// Another worker.
#[derive(Debug)]
struct Peer {
    is_unsteady: bool,
    /// When it was last heard of.
    at: Instant,
}

/// Who waits for the next owner of a cluster.
#[derive(Debug)]
struct WaitingOwner {
    /// The lease session of the one who waits.
    tenure: u64,
    served: oneshot::Sender<()>,
}

/// What a worker knows of the others, and what they are to know of it.
#[derive(Debug)]
pub(crate) struct Membership {
    /// This worker's name.
    own: String,
    fitness: Fitness,
    /// The first of this worker's announcements that it did not hear, and how many there are.
    unheard: Option<(Instant, u32)>,
    /// When this worker heard its own announcement last.
    heard: Option<Instant>,
    /// The others that are there.
    workers: BTreeMap<String, Peer>,
    /// By key.
    leases: HashMap<String, SeenLease>,
    /// By key.
    waiting: HashMap<String, WaitingOwner>,
}

impl Membership {
    pub(crate) fn new(own: String) -> Self {
        Self {
            own,
            fitness: Fitness::Fit,
            unheard: None,
            heard: None,
            workers: BTreeMap::new(),
            leases: HashMap::new(),
            waiting: HashMap::new(),
        }
    }

    /// Forgets what was not heard of for so long, if this worker has heard its own announcement within
    /// `limit`: after a pause, or without a connection, others have spoken and it has not read it yet. What
    /// they said before that announcement it has read by then.
    pub(crate) fn forget(&mut self, gone: Duration, limit: Duration) {
        if self.heard.is_none_or(|at| at.elapsed() >= limit) {
            return;
        }
        self.workers.retain(|worker, peer| {
            let is_live = peer.at.elapsed() < gone;
            if !is_live {
                log::warn!(worker; "a worker is gone");
            }
            is_live
        });
        self.leases.retain(|_, seen| seen.at.elapsed() < gone);
    }

    /// When something is forgotten next, if nothing is heard until then.
    pub(crate) fn next_forgotten(&self, gone: Duration) -> Option<Instant> {
        let workers = self.workers.values().map(|peer| peer.at);
        let leases = self.leases.values().map(|seen| seen.at);
        workers.chain(leases).min().map(|at| at + gone)
    }

    /// Whether this worker is to have clusters from now on.
    pub(crate) fn set_fitness(&mut self, fitness: Fitness) {
        self.fitness = fitness;
    }

    /// Who of those who are there is to have a cluster, by its key.
    pub(crate) fn chosen(&self, key: &str) -> Option<&str> {
        let others = |is_unsteady: bool| {
            let others = self.workers.iter();
            others.filter_map(move |(worker, peer)| {
                (peer.is_unsteady == is_unsteady).then_some(worker.as_str())
            })
        };
        let own = |fitness: Fitness| (self.fitness == fitness).then_some(self.own.as_str());
        placement::chosen(others(false).chain(own(Fitness::Fit)), key)
            .or_else(|| placement::chosen(others(true).chain(own(Fitness::Unsteady)), key))
    }

    /// Whether this worker is to have a cluster, by its key.
    pub(crate) fn is_own(&self, key: &str) -> bool {
        self.chosen(key) == Some(self.own.as_str())
    }

    /// Who has a cluster, by its key.
    pub(crate) fn owner(&self, key: &str) -> Option<&str> {
        self.leases.get(key).map(|seen| seen.worker.as_str())
    }

    /// Resolves when the one that is to have a cluster after this lease session takes its orders;
    /// `None` if nobody is to have it.
    pub(crate) fn next_owner(&mut self, key: &str, tenure: u64) -> Option<oneshot::Receiver<()>> {
        let (served, serves) = oneshot::channel();
        let seen = self.leases.get(key);
        if seen.is_some_and(|seen| seen.serves && seen.tenure != tenure) {
            return None;
        }
        if self.chosen(key).is_none_or(|chosen| chosen == self.own) {
            return None;
        }
        self.waiting
            .insert(key.to_owned(), WaitingOwner { tenure, served });
        Some(serves)
    }

    /// Nobody waits for the next owner of a cluster any more.
    pub(crate) fn wait_no_more(&mut self, key: &str) {
        self.waiting.remove(key);
    }

    /// This worker announces itself now.
    pub(crate) fn spoke(&mut self) {
        let (since, count) = self.unheard.unwrap_or((Instant::now(), 0));
        self.unheard = Some((since, count.saturating_add(1)));
    }

    /// This worker's last announcement was refused, so that it is not to be heard.
    pub(crate) fn was_refused(&mut self) {
        let rest = self.unheard.map(|(since, count)| (since, count - 1));
        self.unheard = rest.filter(|(_, count)| *count > 0);
    }

    /// Whether this worker announced itself for so long, and did not hear it.
    pub(crate) fn is_deaf(&self, limit: Duration) -> bool {
        self.unheard
            .is_some_and(|(since, count)| count >= UNHEARD && since.elapsed() >= limit)
    }

    /// Whether an announcement of this worker was not heard for so long.
    pub(crate) fn is_unheard(&self, limit: Duration) -> bool {
        self.unheard
            .is_some_and(|(since, _)| since.elapsed() >= limit)
    }

    /// Takes note of an entry of the bucket of leases.
    pub(crate) fn see_lease(&mut self, entry: &Entry) {
        let at = Instant::now();
        let seen = match read::<Lease>(entry) {
            // Its owner says with that which one it was. One that others removed is its owner's until
            // that is over: it writes it again, and does not know yet.
            Content::Removed if entry.value.is_empty() => {
                let is_lease = cluster_of(&entry.key).is_some();
                if is_lease && self.leases.len() < MOST_LEASES {
                    self.leases
                        .entry(entry.key.clone())
                        .or_insert(SeenLease::by_unknown(at));
                }
                return;
            }
            Content::Removed => {
                self.leases.remove(&entry.key);
                return;
            }
            // Who had it has it until that is over, or writes it again.
            Content::Rubbish => return,
            Content::Known(lease) => SeenLease {
                worker: lease.worker,
                tenure: lease.tenure,
                serves: lease.serves,
                at,
            },
            Content::Newer => SeenLease::by_unknown(at),
        };
        if cluster_of(&entry.key).is_some() {
            self.saw_lease(&entry.key, seen);
        }
    }

    fn saw_lease(&mut self, key: &str, seen: SeenLease) {
        if self.leases.len() >= MOST_LEASES && !self.leases.contains_key(key) {
            return;
        }
        let waiting = self.waiting.get(key);
        if seen.serves
            && waiting.is_some_and(|it| it.tenure != seen.tenure)
            && let Some(waiting) = self.waiting.remove(key)
        {
            // It may have waited long enough.
            waiting.served.send(()).ok();
        }
        let worker = seen.worker.clone();
        let before = self.leases.insert(key.to_owned(), seen);
        if before.is_none_or(|before| before.worker != worker) {
            log::debug!(key, worker; "a cluster has an owner");
        }
    }

    /// Takes note of an entry of the bucket of workers.
    pub(crate) fn see_worker(&mut self, entry: &Entry) {
        let worker = entry.key.as_str();
        if worker == self.own {
            self.unheard = None;
            self.heard = Some(Instant::now());
            return;
        }
        match read::<Presence>(entry) {
            Content::Removed => {
                if self.workers.remove(worker).is_some() {
                    log::info!(worker; "a worker left");
                }
            }
            Content::Rubbish => {}
            Content::Known(presence) => self.saw_worker(worker, presence.unsteady),
            Content::Newer => self.saw_worker(worker, false),
        }
    }

    fn saw_worker(&mut self, worker: &str, is_unsteady: bool) {
        let is_full = self.workers.len() >= MOST_WORKERS && !self.workers.contains_key(worker);
        if !is_worker(worker) || is_full {
            return;
        }
        let at = Instant::now();
        let peer = Peer { is_unsteady, at };
        if self.workers.insert(worker.to_owned(), peer).is_none() {
            log::info!(worker; "a worker is there");
        }
    }

    /// Takes note of what workers say that they have.
    pub(crate) fn heard(&mut self, workers: &[WorkerState]) {
        for worker in workers {
            if worker.name == self.own {
                continue;
            }
            self.saw_worker(&worker.name, false);
            for holding in &worker.holdings {
                let seen = SeenLease {
                    worker: worker.name.clone(),
                    tenure: 0,
                    serves: true,
                    at: Instant::now(),
                };
                self.saw_lease(&key(&holding.cluster), seen);
            }
        }
    }
}

/// What an entry of a bucket says.
#[derive(Debug)]
pub(crate) enum Content<T> {
    /// It was removed.
    Removed,
    /// This.
    Known(T),
    /// What a later release writes: that it is there is known, and no more.
    Newer,
    /// Nothing that any release writes.
    Rubbish,
}

/// What an entry says; a version of messages that is not known here is not read.
pub(crate) fn read<T: serde::de::DeserializeOwned>(entry: &Entry) -> Content<T> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    if entry.operation != Operation::Put {
        return Content::Removed;
    }
    match serde_json::from_slice(&entry.value) {
        Ok(Versioned { version }) if version > VERSION => Content::Newer,
        Ok(Versioned { version: VERSION }) => match serde_json::from_slice(&entry.value) {
            Ok(known) => Content::Known(known),
            Err(_) => Content::Rubbish,
        },
        Ok(_) | Err(_) => Content::Rubbish,
    }
}

#[cfg(test)]
mod tests {
    use async_nats::datetime::DateTime;

    use super::*;

    fn entry(key: &str, value: &str) -> Entry {
        Entry {
            bucket: "fleetcall_leases".to_owned(),
            key: key.to_owned(),
            value: value.to_owned().into(),
            revision: 1,
            delta: 0,
            created: DateTime::UNIX_EPOCH,
            operation: Operation::Put,
            seen_current: false,
        }
    }

    /// Of a worker that is to have nothing.
    fn membership() -> Membership {
        let mut membership = Membership::new("me".to_owned());
        membership.set_fitness(Fitness::Unfit);
        membership
    }

    fn removed(key: &str, value: &str) -> Entry {
        let operation = Operation::Delete;
        Entry {
            operation,
            ..entry(key, value)
        }
    }

    const LEASE: &str = r#"{"version":1,"worker":"a","tenure":1,"since_ms":1,"more":[]}"#;
    const PRESENCE: &str = r#"{"version":1,"release":"1","since_ms":1}"#;
    const LATER: &str = r#"{"version":2,"who":"a"}"#;
    const RUBBISH: [&str; 6] = [
        "",
        "x",
        "{}",
        r#"{"version":0,"worker":"a","tenure":1,"since_ms":1,"release":"1"}"#,
        r#"{"version":1,"worker":7}"#,
        r#"{"version":-1}"#,
    ];

    #[test]
    fn leases_of_later_releases_are_taken_and_rubbish_is_none() {
        let mut membership = membership();
        for (key, value) in [("1", LEASE), ("rack=7", LATER)] {
            membership.see_lease(&entry(key, value));
            assert!(membership.owner(key).is_some(), "{value}");
            // What was there until now is as good as before.
            for rubbish in RUBBISH {
                membership.see_lease(&entry(key, rubbish));
            }
            assert!(membership.owner(key).is_some());
            membership.see_lease(&removed(key, value));
            assert!(membership.owner(key).is_none());
            for rubbish in RUBBISH {
                membership.see_lease(&entry(key, rubbish));
            }
            assert!(membership.owner(key).is_none());
        }
        membership.see_lease(&entry("no/cluster", LEASE));
        assert!(membership.owner("no/cluster").is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_its_owner_did_not_remove_is_its_own_until_it_is_over() {
        const LEASE_LASTS: Duration = Duration::from_secs(2);
        let mut membership = membership();
        let forget = |membership: &mut Membership| {
            membership.see_worker(&entry("me", PRESENCE));
            membership.forget(LEASE_LASTS, LEASE_LASTS / 2);
        };
        membership.see_lease(&entry("1", LEASE));
        // One that came later knows no owner.
        for key in ["1", "2"] {
            membership.see_lease(&removed(key, ""));
            assert!(membership.owner(key).is_some(), "{key}");
        }
        tokio::time::advance(LEASE_LASTS / 2).await;
        forget(&mut membership);
        assert_eq!(membership.owner("1"), Some("a"));
        assert!(membership.owner("2").is_some());
        // An owner that does not know of it goes on, and says when it is over.
        membership.see_lease(&entry("1", LEASE));
        tokio::time::advance(LEASE_LASTS / 2).await;
        forget(&mut membership);
        assert_eq!(membership.owner("1"), Some("a"));
        assert_eq!(membership.owner("2"), None);
        membership.see_lease(&removed("1", LEASE));
        assert_eq!(membership.owner("1"), None);
        for number in 0..MOST_LEASES + 10 {
            membership.see_lease(&removed(&number.to_string(), ""));
        }
        assert_eq!(membership.leases.len(), MOST_LEASES);
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_was_paused_reads_again_before_it_says_who_is_gone() {
        const GONE: Duration = Duration::from_secs(2);
        const LIMIT: Duration = Duration::from_secs(1);
        let mut membership = membership();
        let announced =
            |membership: &mut Membership, name: &str| membership.see_worker(&entry(name, PRESENCE));
        for name in ["a", "b", "me"] {
            announced(&mut membership, name);
        }
        tokio::time::advance(10 * GONE).await;
        membership.forget(GONE, LIMIT);
        let known =
            |membership: &Membership| membership.workers.keys().cloned().collect::<Vec<_>>();
        assert_eq!(known(&membership), ["a", "b"], "it was paused itself");
        // What the others said meanwhile comes before what it says then.
        for name in ["a", "me"] {
            announced(&mut membership, name);
        }
        membership.forget(GONE, LIMIT);
        assert_eq!(known(&membership), ["a"]);
        tokio::time::advance(GONE).await;
        announced(&mut membership, "me");
        membership.forget(GONE, LIMIT);
        assert_eq!(known(&membership), [""; 0]);
    }

    #[test]
    fn workers_of_later_releases_are_there_and_rubbish_is_none() {
        let mut membership = membership();
        for value in RUBBISH {
            membership.see_worker(&entry("x", value));
        }
        for name in ["a/b", "=", &"a".repeat(129)] {
            membership.see_worker(&entry(name, PRESENCE));
        }
        assert_eq!(membership.chosen("1"), None);
        membership.see_worker(&entry("later", LATER));
        assert_eq!(membership.chosen("1"), Some("later"));
        membership.see_worker(&entry("later", "x"));
        assert_eq!(membership.chosen("1"), Some("later"));
        membership.see_worker(&removed("later", ""));
        membership.see_worker(&entry("a", PRESENCE));
        assert_eq!(membership.chosen("1"), Some("a"));
    }

    #[test]
    fn no_more_is_remembered_than_a_fleet_may_have() {
        let mut membership = membership();
        for number in 0..MOST_WORKERS + 10 {
            membership.see_worker(&entry(&format!("w{number}"), PRESENCE));
        }
        assert_eq!(membership.workers.len(), MOST_WORKERS);
        for number in 0..MOST_LEASES + 10 {
            membership.see_lease(&entry(&number.to_string(), LEASE));
        }
        assert_eq!(membership.leases.len(), MOST_LEASES);
    }

    fn peer(is_unsteady: bool) -> Peer {
        Peer {
            is_unsteady,
            at: Instant::now(),
        }
    }

    #[test]
    fn whoever_is_not_fit_is_to_have_clusters_if_nobody_is_or_never() {
        let keys: Vec<String> = (0..50).map(|it| it.to_string()).collect();
        let owned =
            |membership: &Membership| keys.iter().filter(|key| membership.is_own(key)).count();
        let mut membership = Membership::new("a".to_owned());
        assert_eq!(owned(&membership), 50, "alone");
        membership.set_fitness(Fitness::Unsteady);
        assert_eq!(owned(&membership), 50, "there is nobody else");
        membership.workers.insert("b".to_owned(), peer(true));
        let shared = owned(&membership);
        assert!((1..50).contains(&shared), "{shared}: both are alike");
        membership.workers.insert("c".to_owned(), peer(false));
        assert_eq!(owned(&membership), 0);
        membership.set_fitness(Fitness::Fit);
        let shared = owned(&membership);
        assert!(
            (1..50).contains(&shared),
            "{shared}: without the unsteady one"
        );
        assert!(keys.iter().all(|key| membership.chosen(key) != Some("b")));
        membership.workers.clear();
        membership.set_fitness(Fitness::Unfit);
        assert_eq!(membership.chosen("1"), None, "it cannot have any");
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_hears_none_of_its_announcements_is_deaf() {
        let limit = Duration::from_secs(1);
        let mut membership = Membership::new("a".to_owned());
        tokio::time::advance(2 * limit).await;
        assert!(!membership.is_deaf(limit), "it said nothing");
        membership.spoke();
        assert!(!membership.is_unheard(limit));
        tokio::time::advance(2 * limit).await;
        assert!(!membership.is_deaf(limit), "once may be on its way");
        assert!(membership.is_unheard(limit));
        membership.spoke();
        assert!(membership.is_deaf(limit));
        membership.unheard = None;
        assert!(!membership.is_deaf(limit));
    }
}
