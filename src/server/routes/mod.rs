//! The routes, a file each.

pub(super) mod health;
pub(super) mod metrics;
pub(super) mod reload;
pub(super) mod supervision;
pub(super) mod test;
pub(crate) mod v1;
