//! Where lists of devices come from that others keep: Prometheus' service discovery.
//!
//! It does not know how a list is read; that is the `discovery` room's.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::Duration;

use super::{DeviceId, SecretSource, WebSettings};

/// A list of devices that is read again and again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discovery {
    /// How long after it was read it is read again.
    pub every: Duration,
    /// How long reading it may take.
    pub timeout: Duration,
    /// Where it is.
    pub origin: Origin,
}

/// Where a list of devices is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// All files whose paths match this pattern, in the order of their paths.
    Files(PathBuf),
    /// The answer of a web server.
    Web(Box<WebSettings>),
    /// The SRV records (RFC 2782) of this name.
    Srv(String),
}

impl Discovery {
    /// The secrets that reading it needs.
    #[must_use]
    pub fn secrets(&self) -> Vec<&SecretSource> {
        match &self.origin {
            Origin::Web(settings) => settings.secrets(),
            Origin::Files(_) | Origin::Srv(_) => Vec::new(),
        }
    }
}

impl fmt::Display for Discovery {
    /// A name for messages. Without a URL's query, in which people write tokens.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Origin::Files(pattern) => write!(f, "{}", pattern.display()),
            Origin::Web(web) => {
                let url = web.url.to_string();
                f.write_str(url.split(['?', '#']).next().unwrap_or_default())
            }
            Origin::Srv(name) => f.write_str(name),
        }
    }
}

/// A list of devices as it was read, in its order.
pub type DiscoveredDevices = Vec<DiscoveredGroup>;

/// Devices that have the same labels: what Prometheus calls a target group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiscoveredGroup {
    /// The devices.
    pub devices: Vec<DiscoveredDevice>,
    /// What the list says of them.
    pub labels: BTreeMap<String, String>,
}

impl DiscoveredGroup {
    /// Whether it has all of these labels with just these values.
    #[must_use]
    pub fn has(&self, labels: &[(String, String)]) -> bool {
        labels
            .iter()
            .all(|(name, value)| self.labels.get(name) == Some(value))
    }
}

/// A device of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiscoveredDevice {
    /// Its host.
    pub id: DeviceId,
    /// What the list names as its port, if it names one.
    pub port: Option<NonZeroU16>,
}
