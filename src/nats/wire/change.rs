//! What became of a cluster's devices, as its owner tells everybody.

use serde::{Deserialize, Serialize};

use super::outcome::WireOutcome;
use crate::domain::ClusterId;

/// How many names of facts that changed are told of a device.
const MOST_FACTS: usize = 256;

/// How long such a name is at most, in bytes.
const LONGEST_NAME: usize = 1024;

/// From an owner to everybody: what became of devices. Also the first thing that it says, with no
/// device: those whose question to the owner before is open ask this one.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::nats) struct Changed<'a> {
    pub(in crate::nats) version: u32,
    pub(in crate::nats) cluster: ClusterId,
    /// The lease of the owner.
    pub(in crate::nats) fence: u64,
    /// Tells the places' devices, if there are any.
    pub(in crate::nats) plan: u64,
    /// In the order in which it happened.
    #[serde(borrow)]
    pub(in crate::nats) changes: Vec<WireChange<'a>>,
}

/// What became of a device.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::nats) struct WireChange<'a> {
    #[serde(rename = "o", borrow)]
    pub(in crate::nats) outcome: WireOutcome<'a>,
    /// Which facts changed, if some did.
    #[serde(rename = "n", default, skip_serializing_if = "Vec::is_empty")]
    pub(in crate::nats) facts: Vec<String>,
}

/// No more than is kept of any device.
pub(in crate::nats) fn some_names(mut names: Vec<String>) -> Vec<String> {
    names.truncate(MOST_FACTS);
    names.retain(|name| name.len() <= LONGEST_NAME);
    names
}
