//! How names are resolved.

use std::net::SocketAddr;
use std::time::Duration;

/// `[dns]`: whom to ask for names, and how long; what is not given is the system's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DnsSettings {
    /// Asked instead of those of `/etc/resolv.conf`, unless this is empty.
    pub servers: Vec<SocketAddr>,
    /// How long an attempt may take, over all servers.
    pub timeout: Option<Duration>,
    /// Attempts in all; at least 1.
    pub attempts: Option<usize>,
}
