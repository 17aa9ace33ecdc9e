//! What `/metrics` shows, and how it is sent.

pub(crate) mod devices;
pub(crate) mod distributed;
pub(crate) mod exposition;
pub(crate) mod families;
pub(crate) mod process;
pub(crate) mod writer;
