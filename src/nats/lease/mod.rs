//! A worker's leases: which clusters it takes, keeps, hands over and loses.
//!
//! A lease is a key in a bucket whose entries last for so long. Taking one is creating the key;
//! renewing it is writing the key at the revision that one knows, so that whoever lost it learns
//! that. The number of the first revision is the fence: a later owner has a larger one. A worker
//! counts a lease from before it asked for it, by a clock that nobody sets, and stops asking before
//! that time is over: so two do not ask at once, however their connections do. What that takes of
//! clocks is in `docs/distributed.md`.

mod advice;
mod announcement;
mod fitness;
mod former;
mod keeping;
mod leaving;
mod manager;
pub(crate) mod membership;
pub(crate) mod placement;
mod requests;
pub(crate) mod session;
mod taking;
pub(crate) mod worker_fitness;
mod writing;

pub(super) use manager::LeaseManager;
