//! Fuzzed: lists of targets.

use super::format;
use crate::domain::DeviceId;
use crate::domain::fuzz::check_message;

/// A list of targets: refused with a message, or devices whose ids can be read again.
pub fn target_list(bytes: &[u8]) {
    match format::parse("fuzzed.json", bytes) {
        Ok(list) => {
            let devices = list.iter().flat_map(|group| &group.devices);
            for device in devices {
                let id = &device.id;
                assert_eq!(DeviceId::parse(&id.to_string()).as_ref(), Ok(id));
            }
        }
        Err(error) => check_message(&error.to_string()),
    }
}
