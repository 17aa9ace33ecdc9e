//! The answer of one roll call: every device exactly once, in topology order, by construction.
//!
//! A [`CollectionBuilder`] has one slot for each device of the topology, in topology order. A slot
//! takes the first outcome it is given and ignores the rest, whoever gives it and when, so that
//! nothing can appear twice, be lost or move. It does not know who asks or how long that may take.
//!
//! An answer is closed in one step, however large it is: a slot that is empty then is sealed when it is
//! first read, and reads as the fault of the whole answer from then on.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use super::slots::Slots;
use super::turn::{ITEMS_PER_TURN, drop_in_turns};
use super::{Cluster, DeviceId, DeviceKind, Fault, FaultKind, Outcome, Topology};

/// A roll call's answer while it is being gathered; filled from several threads at once.
#[derive(Debug)]
pub struct CollectionBuilder {
    topology: Arc<Topology>,
    parts: Box<[ClusterSlots]>,
    /// How many clusters still have an empty slot.
    open_parts: AtomicUsize,
    /// What the devices without an outcome get, once it is closed.
    closed: OnceLock<Outcome>,
    journal: Option<Journal>,
}

/// How many slots are looked at together for what to note of a closed answer.
const NOTED_AT_ONCE: usize = 256;

/// The order in which slots were filled, for whoever wants to see them as they come.
///
/// It is as large as the answer and never grows, so a reader may be as slow as it likes.
#[derive(Debug)]
struct Journal {
    /// Places counted over all clusters, from 1; 0 is not written yet.
    order: Box<[AtomicU32]>,
    next: AtomicUsize,
    /// After the end: the first device, counted over all clusters, of which it is not noted whether it
    /// has an outcome.
    unnoted: AtomicUsize,
    /// The place of each cluster's first device, counted over all clusters, from 0.
    starts: Box<[usize]>,
}

impl Journal {
    fn new(topology: &Topology) -> Self {
        let starts = topology.clusters().iter().scan(0, |start, cluster| {
            let own = *start;
            *start += cluster.len();
            Some(own)
        });
        Self {
            order: (0..topology.devices()).map(|_| AtomicU32::new(0)).collect(),
            next: AtomicUsize::new(0),
            unnoted: AtomicUsize::new(0),
            starts: starts.collect(),
        }
    }

    fn note(&self, cluster: usize, device: usize) {
        let place = self.starts[cluster] + device + 1;
        // There are at most 1,000,000 devices.
        let place = u32::try_from(place).unwrap_or(u32::MAX);
        let at = self.next.fetch_add(1, Ordering::Relaxed);
        self.order[at].store(place, Ordering::Release);
    }

    fn read(&self, at: usize) -> Option<(usize, usize)> {
        let place = self.order.get(at)?.load(Ordering::Acquire);
        let place = usize::try_from(place).ok()?.checked_sub(1)?;
        Some(self.place(place))
    }

    /// The place in the topology of a device, counted over all clusters.
    fn place(&self, device: usize) -> (usize, usize) {
        // Empty clusters start where the next one does.
        let cluster = self.starts.partition_point(|&start| start <= device) - 1;
        (cluster, device - self.starts[cluster])
    }
}

/// One cluster's share, so that threads that answer for different clusters count apart; on a cache
/// line of its own, or they would still get in each other's way.
#[derive(Debug)]
#[repr(align(64))]
struct ClusterSlots {
    slots: Slots,
    open_slots: AtomicUsize,
}

impl CollectionBuilder {
    /// An empty answer for `topology`.
    #[must_use]
    pub fn new(topology: Arc<Topology>) -> Self {
        Self::noted_in(None, topology)
    }

    fn noted_in(journal: Option<Journal>, topology: Arc<Topology>) -> Self {
        let parts: Box<[ClusterSlots]> = topology
            .clusters()
            .iter()
            .map(|cluster| ClusterSlots {
                slots: Slots::new(cluster.len()),
                open_slots: AtomicUsize::new(cluster.len()),
            })
            .collect();
        let open = topology
            .clusters()
            .iter()
            .filter(|cluster| !cluster.is_empty())
            .count();
        Self {
            topology,
            parts,
            open_parts: AtomicUsize::new(open),
            closed: OnceLock::new(),
            journal,
        }
    }

    /// As [`CollectionBuilder::new`], and it remembers in which order the outcomes came.
    #[must_use]
    pub fn with_journal(topology: Arc<Topology>) -> Self {
        Self::noted_in(Some(Journal::new(&topology)), topology)
    }

    /// The place in the topology (cluster, device) of the outcome that came as the `nth`, counted
    /// from 0; `None` if it has not come yet, or nobody remembers.
    ///
    /// Once the answer is closed, a call looks through more of it for that.
    #[must_use]
    pub fn arrived(&self, nth: usize) -> Option<(usize, usize)> {
        let journal = self.journal.as_ref()?;
        let mut found = journal.read(nth);
        while found.is_none() && self.closed.get().is_some() && self.note_sealed(journal) {
            found = journal.read(nth);
        }
        found
    }

    /// Notes those of the next devices that have no outcome; returns whether there were such devices.
    fn note_sealed(&self, journal: &Journal) -> bool {
        let devices = self.topology.devices();
        let from = journal.unnoted.fetch_add(NOTED_AT_ONCE, Ordering::Relaxed);
        for device in from..devices.min(from + NOTED_AT_ONCE) {
            let (cluster, device) = journal.place(device);
            if self.parts[cluster].slots.seal(device) {
                journal.note(cluster, device);
            }
        }
        from < devices
    }

    /// The topology this answer is for.
    #[must_use]
    pub fn topology(&self) -> &Arc<Topology> {
        &self.topology
    }

    /// Records the outcome of a device, by its place in the topology; only the first one counts.
    ///
    /// Returns whether this completed the whole answer: `true` for exactly one call.
    ///
    /// # Panics
    /// If the topology has no such cluster or device.
    pub fn answer(&self, cluster: usize, device: usize, outcome: Outcome) -> bool {
        self.fill(cluster, device, outcome) && self.close_part()
    }

    /// Records `fault` for every device of a cluster that has no outcome yet.
    ///
    /// Returns whether this completed the whole answer: `true` for exactly one call.
    ///
    /// # Panics
    /// If the topology has no such cluster.
    pub fn answer_rest(&self, cluster: usize, fault: &Arc<Fault>) -> bool {
        self.fill_rest(cluster, fault) && self.close_part()
    }

    /// Fills an empty slot; returns whether it was the last empty one of its cluster.
    fn fill(&self, cluster: usize, device: usize, outcome: Outcome) -> bool {
        let part = &self.parts[cluster];
        if self.closed.get().is_some() || !part.slots.fill(device, outcome) {
            return false;
        }
        // Before it counts as filled, so that a complete answer has a complete journal.
        if let Some(journal) = &self.journal {
            journal.note(cluster, device);
        }
        part.open_slots.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// Fills every empty slot of a cluster; returns whether there was one and none is left.
    fn fill_rest(&self, cluster: usize, fault: &Arc<Fault>) -> bool {
        let part = &self.parts[cluster];
        let mut last = false;
        if !self.is_cluster_complete(cluster) {
            for device in 0..part.slots.len() {
                if part.slots.get(device).is_none() {
                    last |= self.fill(cluster, device, Err(Arc::clone(fault)));
                }
            }
        }
        last
    }

    fn close_part(&self) -> bool {
        self.open_parts.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// The device's outcome, if it has one.
    ///
    /// # Panics
    /// If the topology has no such cluster or device.
    #[must_use]
    pub fn outcome(&self, cluster: usize, device: usize) -> Option<&Outcome> {
        outcome(&self.parts[cluster].slots, self.closed.get(), device)
    }

    /// Whether an outcome of the device would be taken.
    ///
    /// # Panics
    /// If the topology has no such cluster or device.
    #[must_use]
    pub fn is_open(&self, cluster: usize, device: usize) -> bool {
        self.closed.get().is_none() && self.parts[cluster].slots.get(device).is_none()
    }

    /// Whether no outcome of the device has come, or none came before the answer was closed, as its lookup
    /// runs or waits to begin.
    ///
    /// # Panics
    /// If the topology has no such cluster or device.
    #[must_use]
    pub fn lacks(&self, cluster: usize, device: usize) -> bool {
        let outcome = self.parts[cluster].slots.get(device);
        outcome.is_none_or(|it| it.as_ref().is_err_and(|fault| fault.is_unasked()))
    }

    /// What a device has instead of an outcome; `None` if it has one, or the answer is not closed.
    ///
    /// # Panics
    /// If the topology has no such cluster or device.
    #[must_use]
    pub fn closed_with(&self, cluster: usize, device: usize) -> Option<&Arc<Fault>> {
        if !self.lacks(cluster, device) {
            return None;
        }
        let given = self.parts[cluster].slots.get(device);
        given.or_else(|| self.closed.get())?.as_ref().err()
    }

    /// Whether every device of the cluster has an outcome.
    ///
    /// # Panics
    /// If the topology has no such cluster.
    #[must_use]
    pub fn is_cluster_complete(&self, cluster: usize) -> bool {
        let open_slots = &self.parts[cluster].open_slots;
        self.closed.get().is_some() || open_slots.load(Ordering::Acquire) == 0
    }

    /// Whether every device has an outcome.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.closed.get().is_some() || self.open_parts.load(Ordering::Acquire) == 0
    }

    /// Ends the gathering: devices without an outcome get `fault`, later outcomes are ignored. It looks
    /// at none of them.
    #[must_use]
    pub fn close(self: &Arc<Self>, fault: &Arc<Fault>) -> Collection {
        // The first reason stands.
        self.closed.set(Err(Arc::clone(fault))).ok();
        Collection {
            slots: Arc::clone(self),
        }
    }

    /// The answer, if every device has an outcome.
    #[must_use]
    pub fn complete(self: &Arc<Self>) -> Option<Collection> {
        self.is_complete().then(|| Collection {
            slots: Arc::clone(self),
        })
    }
}

impl Drop for CollectionBuilder {
    fn drop(&mut self) {
        let devices = self.topology.devices();
        if devices <= ITEMS_PER_TURN {
            return;
        }
        let parts = self.parts.iter_mut();
        let blocks: Vec<_> = parts.flat_map(|part| part.slots.take_blocks()).collect();
        // Those of small clusters are smaller.
        let per_turn = ITEMS_PER_TURN * blocks.len() / devices;
        drop_in_turns(blocks, per_turn.max(1));
    }
}

/// What a slot holds; an empty one is sealed if the answer is closed.
fn outcome<'a>(slots: &'a Slots, closed: Option<&'a Outcome>, at: usize) -> Option<&'a Outcome> {
    slots.get(at).or_else(|| {
        let closed = closed?;
        // What fills it just now was first.
        if slots.seal(at) {
            Some(closed)
        } else {
            slots.get(at)
        }
    })
}

/// The answer of one roll call: an outcome for every device of its topology.
#[derive(Debug, Clone)]
pub struct Collection {
    /// Shared with late lookups, which can no longer change it: no slot is empty.
    slots: Arc<CollectionBuilder>,
}

impl Collection {
    /// The topology this answer is for.
    #[must_use]
    pub fn topology(&self) -> &Arc<Topology> {
        &self.slots.topology
    }

    /// A cluster, by its place in the topology, with the outcomes of its devices.
    ///
    /// # Panics
    /// If there is no such cluster.
    #[must_use]
    pub fn cluster(&self, place: usize) -> (&Cluster, Outcomes<'_>) {
        let cluster = &self.topology().clusters()[place];
        (cluster, self.outcomes(&self.slots.parts[place]))
    }

    fn outcomes<'a>(&'a self, part: &'a ClusterSlots) -> Outcomes<'a> {
        Outcomes {
            slots: &part.slots,
            closed: self.slots.closed.get(),
            from: 0,
        }
    }

    /// Every cluster with the outcomes of its devices, nodes before switches, in topology order.
    pub fn clusters(&self) -> impl ExactSizeIterator<Item = (&Cluster, Outcomes<'_>)> {
        self.topology()
            .clusters()
            .iter()
            .zip(&self.slots.parts)
            .map(|(cluster, part)| (cluster, self.outcomes(part)))
    }

    /// Every device without a result, in topology order.
    pub fn faults(&self) -> impl Iterator<Item = (&Cluster, DeviceKind, &DeviceId, &Arc<Fault>)> {
        self.clusters().flat_map(|(cluster, outcomes)| {
            outcomes
                .iter()
                .enumerate()
                .filter_map(move |(index, outcome)| {
                    let fault = outcome.as_ref().err()?;
                    let (kind, device) = cluster.device(index);
                    Some((cluster, kind, device, fault))
                })
        })
    }

    /// How many devices were asked for, how many of them failed in which way, and how many told
    /// facts.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let mut summary = Summary {
            devices: self.topology().devices(),
            failed: [0; _],
            told: 0,
        };
        for part in &self.slots.parts {
            if let Some(Err(fault)) = self.slots.closed.get() {
                let sealed = (0..part.slots.len()).filter(|&at| part.slots.seal(at));
                summary.failed[fault.kind().index()] += sealed.count();
            }
            for (_, outcome) in part.slots.told() {
                match outcome {
                    Ok(_) => summary.told += 1,
                    Err(fault) => summary.failed[fault.kind().index()] += 1,
                }
            }
        }
        summary
    }
}

/// The outcomes of one cluster's devices, in the order of [`Cluster::device`].
#[derive(Debug, Clone, Copy)]
pub struct Outcomes<'a> {
    slots: &'a Slots,
    closed: Option<&'a Outcome>,
    /// The first one.
    from: usize,
}

impl<'a> Outcomes<'a> {
    /// Without the first `count`, at once.
    ///
    /// # Panics
    /// If there are less.
    #[must_use]
    pub fn after(self, count: usize) -> Self {
        let from = self.from + count;
        assert!(from <= self.slots.len(), "there are less outcomes");
        Self { from, ..self }
    }

    /// The outcomes in order.
    ///
    /// # Panics
    /// If a slot is empty, which a closed collection does not have.
    #[expect(
        clippy::expect_used,
        reason = "a Collection is closed, or all its slots were filled"
    )]
    pub fn iter(self) -> impl ExactSizeIterator<Item = &'a Outcome> {
        (self.from..self.slots.len()).map(move |at| {
            let outcome = outcome(self.slots, self.closed, at);
            outcome.expect("a collection has no empty slot")
        })
    }
}

/// What a roll call came to, in numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    devices: usize,
    failed: [usize; FaultKind::ALL.len()],
    told: usize,
}

impl Summary {
    /// How many devices the answer holds.
    #[must_use]
    pub fn devices(&self) -> usize {
        self.devices
    }

    /// How many of them failed.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.failed.iter().sum()
    }

    /// Whether every device answered and none of them told facts, so that there is nothing to say
    /// but who they are.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.told == 0 && self.failed() == 0
    }

    /// The kinds of failure that occurred, each with its count, in the order of [`FaultKind::ALL`].
    pub fn by_kind(&self) -> impl Iterator<Item = (FaultKind, usize)> {
        FaultKind::ALL
            .into_iter()
            .map(|kind| (kind, self.failed[kind.index()]))
            .filter(|&(_, count)| count > 0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::{Facts, Id};

    fn topology(sizes: &[(usize, usize)]) -> Arc<Topology> {
        let ids = |count: usize| (0..count as u64).map(Id::number).collect::<Vec<_>>();
        let cluster = |(place, &(nodes, switches)): (usize, &(usize, usize))| {
            Cluster::new(Id::number(place as u64), ids(nodes), ids(switches))
        };
        Arc::new(Topology::new(
            sizes.iter().enumerate().map(cluster).collect(),
        ))
    }

    fn fault(message: String) -> Arc<Fault> {
        Arc::new(Fault::new(FaultKind::Failed, message))
    }

    fn messages(collection: &Collection) -> Vec<Vec<String>> {
        let message = |outcome: &Outcome| outcome.as_ref().unwrap_err().message().to_owned();
        collection
            .clusters()
            .map(|(_, outcomes)| outcomes.iter().map(message).collect())
            .collect()
    }

    proptest! {
        /// Whatever comes, twice or not at all, in whatever order: each device once, in its place,
        /// with the first thing said of it, and completion is announced once.
        #[test]
        fn order_of_answers_does_not_matter_and_nothing_is_lost(
            sizes in prop::collection::vec((0_usize..5, 0_usize..5), 0..6),
            picks in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..80),
        ) {
            let topology = topology(&sizes);
            let places: Vec<(usize, usize)> = sizes.iter().enumerate()
                .flat_map(|(c, &(n, s))| (0..n + s).map(move |d| (c, d))).collect();
            let builder = Arc::new(CollectionBuilder::with_journal(Arc::clone(&topology)));
            let mut order: Vec<(usize, usize)> = Vec::new();
            let mut model: Vec<Vec<Option<String>>> =
                sizes.iter().map(|&(n, s)| vec![None; n + s]).collect();
            let mut completions = 0;
            for (pick, tag) in &picks {
                if places.is_empty() { break; }
                let (c, d) = places[pick.index(places.len())];
                completions += usize::from(builder.answer(c, d, Err(fault(tag.to_string()))));
                if !order.contains(&(c, d)) { order.push((c, d)); }
                let came: Vec<_> = (0..).map_while(|nth| builder.arrived(nth)).collect();
                prop_assert_eq!(&came, &order);
                model[c][d].get_or_insert(tag.to_string());
                prop_assert!(builder.outcome(c, d).is_some());
            }
            let complete = model.iter().flatten().all(Option::is_some);
            prop_assert_eq!(builder.is_complete(), complete);
            prop_assert_eq!(completions, usize::from(complete && !places.is_empty()));
            let collection = builder.close(&fault("late".to_owned()));
            prop_assert!(builder.is_complete());
            let mut came: Vec<_> = (0..).map_while(|nth| builder.arrived(nth)).collect();
            prop_assert_eq!(&came[..order.len()], &order[..]);
            came.sort_unstable();
            prop_assert_eq!(&came, &places);
            let expected: Vec<Vec<String>> = model.into_iter()
                .map(|row| row.into_iter().map(|m| m.unwrap_or("late".to_owned())).collect())
                .collect();
            prop_assert_eq!(messages(&collection), expected.clone());
            for (c, d) in places {
                prop_assert!(!builder.answer(c, d, Ok(Facts::default())));
            }
            prop_assert_eq!(messages(&collection), expected);
            prop_assert_eq!(collection.summary().failed(), topology.devices());
        }
    }

    #[test]
    fn an_answer_is_closed_without_a_look_at_its_devices() {
        const DEVICES: usize = 20_000;
        let topology = topology(&[(DEVICES, 0)]);
        let late = fault("late".to_owned());
        for is_read in [false, true] {
            let builder = Arc::new(if is_read {
                CollectionBuilder::with_journal(Arc::clone(&topology))
            } else {
                CollectionBuilder::new(Arc::clone(&topology))
            });
            builder.answer(0, 7, Ok(Facts::default()));
            let before = super::super::seen::count();
            let collection = builder.close(&late);
            assert_eq!(super::super::seen::count(), before);
            assert!(builder.is_complete() && builder.is_cluster_complete(0));
            assert!(builder.lacks(0, 1) && !builder.lacks(0, 7) && !builder.is_open(0, 1));
            if is_read {
                assert_eq!(builder.arrived(0), Some((0, 7)));
                assert!(builder.arrived(1).is_some());
                let looked_at = super::super::seen::count() - before;
                assert!(looked_at <= 2 * NOTED_AT_ONCE, "{looked_at}");
            }
            assert_eq!(collection.summary().failed(), DEVICES - 1);
        }
    }

    #[tokio::test]
    async fn what_a_large_answer_holds_is_freed_in_turns() {
        const DEVICES: usize = 20_000;
        for sizes in [vec![(DEVICES, 0)], vec![(0, 10); DEVICES / 10]] {
            let topology = topology(&sizes);
            let builder = CollectionBuilder::new(Arc::clone(&topology));
            let fault = fault("held".to_owned());
            for (place, cluster) in topology.clusters().iter().enumerate() {
                for device in 0..cluster.len() {
                    builder.answer(place, device, Err(Arc::clone(&fault)));
                }
            }
            let mut held = Arc::strong_count(&fault);
            assert!(held > DEVICES);
            drop(builder);
            while held > 1 {
                let now = Arc::strong_count(&fault);
                assert!(held - now <= 2 * ITEMS_PER_TURN, "{} at once", held - now);
                held = now;
                tokio::task::yield_now().await;
            }
        }
    }

    /// What is read of a closed answer stays, however late outcomes come meanwhile.
    #[test]
    fn a_closed_answer_does_not_change_while_threads_answer() {
        for _ in 0..200 {
            let topology = topology(&[(300, 0)]);
            let builder = Arc::new(CollectionBuilder::with_journal(topology));
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    for device in 0..300 {
                        builder.answer(0, device, Err(fault("in time".to_owned())));
                    }
                });
                let collection = builder.close(&fault("late".to_owned()));
                let first = messages(&collection);
                assert_eq!(messages(&collection), first);
                assert_eq!(collection.summary().failed(), 300);
            });
            let came: std::collections::BTreeSet<_> =
                (0..).map_while(|nth| builder.arrived(nth)).collect();
            assert_eq!(came.len(), 300);
        }
    }

    #[test]
    fn threads_that_answer_at_once_complete_it_once() {
        let topology = topology(&[(50, 50), (0, 100), (100, 0)]);
        let builder = CollectionBuilder::with_journal(topology);
        let completions = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for cluster in 0..3 {
                        for device in 0..100 {
                            let last = builder.answer(cluster, device, Ok(Facts::default()));
                            completions.fetch_add(usize::from(last), Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        assert_eq!(completions.into_inner(), 1);
        assert!(builder.is_complete());
        let came: std::collections::BTreeSet<_> =
            (0..).map_while(|nth| builder.arrived(nth)).collect();
        assert_eq!(came.len(), 300);
        assert_eq!(builder.arrived(300), None);
    }
}
