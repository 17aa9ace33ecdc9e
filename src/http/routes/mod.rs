//! The routes, a file each.

pub(super) mod test;
