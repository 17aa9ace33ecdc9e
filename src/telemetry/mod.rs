//! What the service says about itself: log lines and counters.
//!
//! Every room but `domain` may call this one; it calls none. Metrics are handed around as values,
//! there are no globals but the logger that `log` itself has.

mod latency;
mod logging;
mod lookups;
mod metrics;

pub use latency::Latency;
pub use logging::{LogFormat, init};
pub(crate) use logging::{event, init_on};
pub(crate) use lookups::thread_place;
pub use metrics::{Census, Metrics};
pub(crate) use metrics::{Gauge, Guard};
