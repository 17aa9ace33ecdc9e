//! What the service says about itself: log lines and counters.
//!
//! Every room but `domain` may call this one; it calls none. Metrics are handed around as values.
//! The log is the only global, as a process has one standard error.

mod latency;
mod limit;
mod logging;
mod lookups;
mod metrics;
mod writer;

pub use latency::Latency;
pub(crate) use limit::LogLimit;
pub use logging::{LogFormat, lines_dropped, open};
pub(crate) use logging::{aborts, complain, event, flush, init};
pub(crate) use lookups::thread_place;
pub use metrics::{Census, Metrics};
pub(crate) use metrics::{Gauge, Guard};
pub use writer::LogWriter;
