//! A place for the outcome of each device of a cluster; each takes one, from whatever thread.
//!
//! Nearly all that most roll calls hear is that a device answered and had nothing to tell. That
//! takes one byte here; only where there is more to say is there room for it, for some devices at a
//! time.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

use smallvec::SmallVec;

use super::{Facts, Outcome};

/// So many devices of a cluster need no allocation of their own.
const IN_PLACE: usize = 16;

/// For so many devices there is room for more at a time.
const BLOCK: usize = 256;

/// Nothing came yet.
const EMPTY: u8 = 0;
/// The device answered and told nothing.
const PLAIN: u8 = 1;
/// What came stands in its block.
const TOLD: u8 = 2;
/// Nothing came, and nothing is taken any more.
const SEALED: u8 = 3;

/// What a [`PLAIN`] slot holds.
static ANSWERED: Outcome = Ok(Facts::none());

/// What more there is to say of some devices than that they answered.
pub(super) type Block = Box<[OnceLock<Outcome>]>;

/// The slots of a cluster's devices, in their order.
#[derive(Debug)]
pub(super) struct Slots {
    states: SmallVec<[AtomicU8; IN_PLACE]>,
    /// Each is made when it is needed.
    blocks: SmallVec<[OnceLock<Block>; 1]>,
}

impl Slots {
    /// So many empty ones.
    pub(super) fn new(count: usize) -> Self {
        let blocks = count.div_ceil(BLOCK);
        Self {
            states: (0..count).map(|_| AtomicU8::new(EMPTY)).collect(),
            blocks: (0..blocks).map(|_| OnceLock::new()).collect(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.states.len()
    }

    /// Fills a slot; returns whether it was empty: `true` for exactly one call. It is not empty
    /// afterwards, whatever that returns.
    ///
    /// # Panics
    /// If there is no such slot.
    pub(super) fn fill(&self, at: usize, outcome: Outcome) -> bool {
        let state = if matches!(&outcome, Ok(facts) if facts.json().is_none()) {
            PLAIN
        } else {
            // If another one was here before, it may still be on the way to the next line: then
            // its outcome counts by that line here.
            self.block(at)[at % BLOCK].set(outcome).ok();
            TOLD
        };
        let (success, failure) = (Ordering::AcqRel, Ordering::Acquire);
        let state = self.states[at].compare_exchange(EMPTY, state, success, failure);
        state.is_ok()
    }

    /// Seals a slot if it is empty; returns whether it is sealed.
    ///
    /// # Panics
    /// If there is no such slot.
    pub(super) fn seal(&self, at: usize) -> bool {
        #[cfg(test)]
        super::seen::note();
        let (success, failure) = (Ordering::AcqRel, Ordering::Acquire);
        let sealed = self.states[at].compare_exchange(EMPTY, SEALED, success, failure);
        matches!(sealed, Ok(_) | Err(SEALED))
    }

    fn block(&self, at: usize) -> &Block {
        let nth = at / BLOCK;
        let len = (self.len() - nth * BLOCK).min(BLOCK);
        self.blocks[nth].get_or_init(|| (0..len).map(|_| OnceLock::new()).collect())
    }

    /// What a slot holds, if it is filled.
    ///
    /// # Panics
    /// If there is no such slot.
    pub(super) fn get(&self, at: usize) -> Option<&Outcome> {
        match self.states[at].load(Ordering::Acquire) {
            EMPTY | SEALED => None,
            PLAIN => Some(&ANSWERED),
            _ => self.blocks[at / BLOCK].get()?[at % BLOCK].get(),
        }
    }

    /// Empties it, and gives what more there was to say of some devices.
    pub(super) fn take_blocks(&mut self) -> impl Iterator<Item = Block> + use<> {
        let blocks = std::mem::take(&mut self.blocks);
        self.states.clear();
        blocks.into_iter().filter_map(OnceLock::into_inner)
    }

    /// Whatever is filled with more than that a device answered, with its place, in order.
    pub(super) fn told(&self) -> impl Iterator<Item = (usize, &Outcome)> {
        let made = self.blocks.iter().enumerate();
        let made = made.filter(|(_, block)| block.get().is_some());
        made.flat_map(|(nth, _)| nth * BLOCK..self.len().min((nth + 1) * BLOCK))
            .filter(|&at| self.states[at].load(Ordering::Acquire) == TOLD)
            .filter_map(|at| Some((at, self.get(at)?)))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::domain::{Fault, FaultKind};

    fn fault(text: &'static str) -> Outcome {
        Err(Arc::new(Fault::new(FaultKind::Failed, text)))
    }

    fn facts(number: u64) -> Outcome {
        let facts = Facts::new(&std::collections::BTreeMap::from([("n", number)]), 0);
        Ok(facts)
    }

    #[test]
    fn a_slot_takes_the_first_outcome_whatever_it_is() {
        let last = 2 * BLOCK;
        let slots = Slots::new(last + 1);
        assert!(slots.get(last).is_none());
        assert!(slots.fill(0, Ok(Facts::default())) && !slots.fill(0, fault("late")));
        assert!(slots.fill(last, fault("first")) && !slots.fill(last, Ok(Facts::default())));
        assert!(slots.fill(1, facts(1)) && !slots.fill(1, facts(2)));
        assert!(matches!(slots.get(0), Some(Ok(facts)) if facts.json().is_none()));
        let told: Vec<(usize, String)> = slots
            .told()
            .map(|(at, outcome)| match outcome {
                Ok(facts) => (at, facts.json().unwrap().get().to_owned()),
                Err(fault) => (at, fault.message().to_owned()),
            })
            .collect();
        let expected = [(1, "{\"n\":1}".to_owned()), (last, "first".to_owned())];
        assert_eq!(told, expected);
        assert!(slots.blocks[1].get().is_none(), "room for nobody");
    }

    #[test]
    fn of_all_who_fill_at_once_one_is_told_so_and_each_sees_it_filled() {
        for _ in 0..200 {
            let slots = Slots::new(BLOCK + 1);
            let filled: Vec<AtomicUsize> = (0..slots.len()).map(|_| AtomicUsize::new(0)).collect();
            std::thread::scope(|scope| {
                for who in 0..3 {
                    let (slots, filled) = (&slots, &filled);
                    scope.spawn(move || {
                        for (at, filled) in filled.iter().enumerate() {
                            let outcome = match (at + who) % 3 {
                                0 => Ok(Facts::default()),
                                1 => facts(who as u64),
                                _ => fault("other"),
                            };
                            let first = slots.fill(at, outcome);
                            filled.fetch_add(usize::from(first), Ordering::Relaxed);
                            assert!(slots.get(at).is_some());
                        }
                    });
                }
            });
            assert!(filled.iter().all(|it| it.load(Ordering::Relaxed) == 1));
        }
    }
}
