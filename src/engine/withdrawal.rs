//! Collects whose callers do not wait any more: which devices hear of it, in turns.
//!
//! A device hears of it only if collects joined its lookup and no other one of its cluster waits for that. How
//! many were withdrawn together does not matter for that: the devices are gone through once for all of
//! them.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use super::messages::CutOff;
use crate::domain::ITEMS_PER_TURN;
use crate::engine::cluster_devices::ClusterDevices;
use crate::engine::gather::TicketInFlight;

/// How many outcomes are looked for in one turn: each takes some nanoseconds.
const LOOKS_PER_TURN: usize = 64 * ITEMS_PER_TURN;

/// A collect under way, and whom it asks: after a reload not the devices that there are now.
#[derive(Debug)]
pub(super) struct ClusterCollect {
    pub(super) in_flight: TicketInFlight,
    pub(super) roster: Arc<ClusterDevices>,
}

/// The collects that were withdrawn and whose devices have not heard of it.
#[derive(Debug, Default)]
pub(super) struct Withdrawals {
    /// Those for which devices are gone through; all of one roster.
    round: Vec<ClusterCollect>,
    /// The next device, by its place in the plan.
    next: usize,
    /// Those that came since.
    waiting: Vec<ClusterCollect>,
}

impl Withdrawals {
    pub(super) fn push(&mut self, collect: ClusterCollect) {
        self.waiting.push(collect);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &ClusterCollect> {
        self.round.iter().chain(&self.waiting)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.round.is_empty() && self.waiting.is_empty()
    }

    /// Whether the next turn is the first of those that go through the devices.
    pub(super) fn is_between_rounds(&self) -> bool {
        self.round.is_empty()
    }

    /// Tells some more devices; returns whether there may be others. `others` are the collects that wait.
    pub(super) fn go_on(&mut self, others: &VecDeque<ClusterCollect>) -> bool {
        if self.round.is_empty() {
            self.begin();
        }
        let Some(first) = self.round.first() else {
            return false;
        };
        let roster = Arc::clone(&first.roster);
        let devices = roster.plan.devices.len();
        let collects = self.round.len() + others.len();
        let count = (LOOKS_PER_TURN / collects).clamp(1, ITEMS_PER_TURN);
        let places = self.next..devices.min(self.next + count);
        for place in self.unwanted(places.clone(), &roster, others) {
            if roster.plan.devices[place].is_awaited() {
                roster.send(place, CutOff);
            }
        }
        self.next = places.end;
        if self.next == devices {
            for collect in self.round.drain(..) {
                collect.roster.let_go();
            }
            roster.let_go();
        }
        !self.is_empty()
    }

    /// Begins to go through the devices for those that wait for that.
    fn begin(&mut self) {
        self.next = 0;
        let Some(first) = self.waiting.first() else {
            return;
        };
        let roster = Arc::clone(&first.roster);
        let all = std::mem::take(&mut self.waiting).into_iter();
        (self.round, self.waiting) = all.partition(|it| Arc::ptr_eq(&it.roster, &roster));
    }

    /// Those of these devices that did not answer a collect of this round, and which no other one waits
    /// for. One of another roster may: its port tells the device.
    fn unwanted(
        &self,
        places: Range<usize>,
        roster: &Arc<ClusterDevices>,
        others: &VecDeque<ClusterCollect>,
    ) -> impl Iterator<Item = usize> + use<> {
        let mut is_unwanted = vec![false; places.len()];
        let mut count = 0;
        for collect in &self.round {
            if count == places.len() {
                break;
            }
            collect.in_flight.each_lacking(places.clone(), |place| {
                let it = &mut is_unwanted[place - places.start];
                count += usize::from(!std::mem::replace(it, true));
            });
        }
        for collect in others {
            if count == 0 {
                break;
            }
            if !collect.in_flight.is_settled() && Arc::ptr_eq(&collect.roster, roster) {
                collect.in_flight.each_lacking(places.clone(), |place| {
                    let it = &mut is_unwanted[place - places.start];
                    count -= usize::from(std::mem::replace(it, false));
                });
            }
        }
        places
            .zip(is_unwanted)
            .filter_map(|(place, is)| is.then_some(place))
    }
}
