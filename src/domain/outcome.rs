//! What came of asking one device.

use std::sync::Arc;

use super::{Facts, Fault};

/// What came of asking one device.
///
/// The fault is shared: one deadline that passes is the fault of every device it found silent.
pub type Outcome = Result<Facts, Arc<Fault>>;
