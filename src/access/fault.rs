//! Faults of what `[http]` names.

use crate::config::{ConfigFault, Written};

/// A fault of something that is read where it is put in force.
pub(super) fn fault(written: &Written, key: &str, message: String) -> ConfigFault {
    ConfigFault {
        place: Some(written.place),
        key: format!("{}{key}", written.key),
        message,
    }
}
