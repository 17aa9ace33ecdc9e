//! What a process counts of what it has to do with others.
//!
//! Orders are sent, read and answered by tasks of one thread, so that no two write a counter at
//! once; whoever reads them does so from anywhere.

use std::sync::atomic::{AtomicU64, Ordering};

use super::failure::Failure;
use super::wire::AnswerEnd;
use crate::domain::{Moves, OrdersAnswered, OrdersSent, Renewals};

/// From the start of the process.
#[derive(Debug, Default)]
pub(super) struct Counts {
    collects_sent: AtomicU64,
    looks_sent: AtomicU64,
    pieces_received: AtomicU64,
    /// In the order of [`Failure::REASONS`].
    failures: [AtomicU64; Failure::REASONS.len()],
    complete: AtomicU64,
    looked: AtomicU64,
    refused: AtomicU64,
    unwanted: AtomicU64,
    misdirected: AtomicU64,
    pieces_sent: AtomicU64,
    taken: AtomicU64,
    handed_over: AtomicU64,
    lost: AtomicU64,
    renewed: AtomicU64,
    not_renewed: AtomicU64,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

impl Counts {
    /// An order is on its way: to ask devices, or to say what is known of them.
    pub(super) fn order_sent(&self, is_look: bool) {
        count(if is_look {
            &self.looks_sent
        } else {
            &self.collects_sent
        });
    }

    /// A piece of an answer came.
    pub(super) fn piece_received(&self) {
        count(&self.pieces_received);
    }

    /// A cluster's part of a roll call ended with devices that its worker did not answer for.
    pub(super) fn failed(&self, failure: &Failure) {
        count(&self.failures[failure.place()]);
    }

    /// An order was answered to its end, which is this one; `None` if the front did not want it.
    pub(super) fn answered(&self, is_look: bool, end: Option<AnswerEnd>) {
        count(match end {
            Some(AnswerEnd::Complete) if is_look => &self.looked,
            Some(AnswerEnd::Complete) => &self.complete,
            Some(
                AnswerEnd::NotHere
                | AnswerEnd::Moving
                | AnswerEnd::OtherPlan
                | AnswerEnd::Overloaded
                | AnswerEnd::ShuttingDown,
            ) => &self.refused,
            None => &self.unwanted,
        });
    }

    /// An order, or a question who has what, is to be answered where no process may be.
    pub(super) fn misdirected(&self) {
        count(&self.misdirected);
    }

    /// A piece of an answer is on its way.
    pub(super) fn piece_sent(&self) {
        count(&self.pieces_sent);
    }

    /// A cluster was taken.
    pub(super) fn taken(&self) {
        count(&self.taken);
    }

    /// A cluster was handed over.
    pub(super) fn handed_over(&self) {
        count(&self.handed_over);
    }

    /// A cluster was lost.
    pub(super) fn lost(&self) {
        count(&self.lost);
    }

    /// A lease was to be renewed, and lasts for longer if that went well.
    pub(super) fn renewed(&self, well: bool) {
        count(if well {
            &self.renewed
        } else {
            &self.not_renewed
        });
    }

    /// Clusters that came and went.
    pub(super) fn moves(&self) -> Moves {
        Moves {
            taken: read(&self.taken),
            handed_over: read(&self.handed_over),
            lost: read(&self.lost),
        }
    }

    /// Leases that were renewed.
    pub(super) fn renewals(&self) -> Renewals {
        Renewals {
            ok: read(&self.renewed),
            failed: read(&self.not_renewed),
        }
    }

    /// What a front counts.
    pub(super) fn as_front(&self) -> OrdersSent {
        let reasons = Failure::REASONS.into_iter().zip(&self.failures);
        OrdersSent {
            collects: read(&self.collects_sent),
            looks: read(&self.looks_sent),
            pieces: read(&self.pieces_received),
            failed: reasons.map(|(reason, it)| (reason, read(it))).collect(),
        }
    }

    /// What a worker counts of orders.
    pub(super) fn as_worker(&self) -> OrdersAnswered {
        OrdersAnswered {
            complete: read(&self.complete),
            looked: read(&self.looked),
            refused: read(&self.refused),
            unwanted: read(&self.unwanted),
            misdirected: read(&self.misdirected),
            pieces: read(&self.pieces_sent),
        }
    }
}
