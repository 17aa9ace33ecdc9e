//! The hosts and networks that the devices of a list may be on.
//!
//! Whoever writes a list, and whoever answers for the names in it, decides which addresses the service
//! connects to; an operator bounds that with [`Allow`].

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

/// Networks, and patterns of host names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Allow {
    networks: Vec<IpNet>,
    hosts: Vec<HostPattern>,
}

/// What an [`Allow`] says of a host before its name is resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostVerdict {
    /// It may be asked, whatever its name is resolved to.
    Allowed,
    /// It may be asked at those of its addresses that are allowed.
    ByAddress,
    /// It may not be asked.
    Refused,
}

/// In lower case, without a dot at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
enum HostPattern {
    Name(String),
    /// Everything below this, which begins with its dot.
    Below(String),
}

/// Why a text is no entry of an [`Allow`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AllowError {
    /// It is neither.
    #[error(
        "it is no network and no host; write such as \"10.0.0.0/8\", \"web01.example\" or \"*.example\""
    )]
    Neither,
    /// An address with a port.
    #[error("a port cannot stand here; write the host or the network alone")]
    Port,
    /// Bits behind the prefix.
    #[error("it has bits behind its prefix; write \"{0}\"")]
    Bits(IpNet),
    /// A name that clients read as an address.
    #[error("clients read this as an address; write a network, such as \"10.0.0.0/8\"")]
    Numeric,
}

impl Allow {
    /// Adds a network (`10.0.0.0/8`), an address, a host (`web01.example`), or all hosts below a domain
    /// (`*.example`).
    ///
    /// # Errors
    /// Every variant of [`AllowError`].
    pub fn add(&mut self, text: &str) -> Result<(), AllowError> {
        let address = unbracketed(text).parse::<IpAddr>().map(IpNet::from);
        if let Ok(network) = address.or_else(|_| text.parse::<IpNet>()) {
            if network.trunc() != network {
                return Err(AllowError::Bits(network.trunc()));
            }
            self.networks.push(unmapped(network));
            return Ok(());
        }
        let pattern = normal(text);
        let (name, is_below) = match pattern.strip_prefix("*.") {
            Some(name) => (name, true),
            None => (pattern.as_str(), false),
        };
        if let Some((host, port)) = name.rsplit_once(':')
            && !host.is_empty()
            && port.parse::<u16>().is_ok()
        {
            return Err(AllowError::Port);
        }
        let is_label = |label: &str| {
            let is_right = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            (1..=63).contains(&label.len()) && label.chars().all(is_right)
        };
        if !name.split('.').all(is_label) {
            return Err(AllowError::Neither);
        }
        // A host whose last label is a number is an IPv4 address to them (WHATWG URL).
        let last = name.rsplit('.').next().unwrap_or_default();
        let is_hex = last
            .strip_prefix("0x")
            .is_some_and(|it| it.chars().all(|c| c.is_ascii_hexdigit()));
        if is_hex || last.chars().all(|c| c.is_ascii_digit()) {
            return Err(AllowError::Numeric);
        }
        self.hosts.push(match is_below {
            true => HostPattern::Below(format!(".{name}")),
            false => HostPattern::Name(name.to_owned()),
        });
        Ok(())
    }

    /// Whether this address may be connected to.
    #[must_use]
    pub fn has_address(&self, address: IpAddr) -> bool {
        // A mapped address is that of IPv4 to the system.
        let address = address.to_canonical();
        self.networks.iter().any(|it| it.contains(&address))
    }

    /// What it says of a host: a name, or an address, with or without brackets.
    #[must_use]
    pub fn host(&self, host: &str) -> HostVerdict {
        if let Ok(address) = unbracketed(host).parse::<IpAddr>() {
            return match self.has_address(address) {
                true => HostVerdict::Allowed,
                false => HostVerdict::Refused,
            };
        }
        let host = normal(host);
        let matches = |pattern: &HostPattern| match pattern {
            HostPattern::Name(name) => host == *name,
            HostPattern::Below(domain) => {
                host.len() > domain.len() && host.ends_with(domain.as_str())
            }
        };
        if self.hosts.iter().any(matches) {
            HostVerdict::Allowed
        } else if self.networks.is_empty() {
            HostVerdict::Refused
        } else {
            HostVerdict::ByAddress
        }
    }
}

fn unbracketed(host: &str) -> &str {
    let inner = host.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    inner.unwrap_or(host)
}

fn normal(host: &str) -> String {
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

/// A network of IPv4-mapped addresses as that of IPv4.
fn unmapped(network: IpNet) -> IpNet {
    let mapped = |network: ipnet::Ipv6Net| {
        let address = network.network().to_ipv4_mapped()?;
        let prefix = network.prefix_len().checked_sub(96)?;
        Ipv4Net::new(address, prefix).ok()
    };
    match network {
        IpNet::V6(it) => mapped(it).map_or(network, IpNet::V4),
        IpNet::V4(_) => network,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allow(entries: &[&str]) -> Allow {
        let mut allow = Allow::default();
        for entry in entries {
            allow.add(entry).unwrap();
        }
        allow
    }

    #[test]
    fn addresses_have_to_be_in_a_network() {
        let allow = allow(&[
            "10.0.0.0/8",
            "192.0.2.7",
            "fd00::/8",
            "[2001:db8::1]",
            "::ffff:198.51.100.0/120",
        ]);
        for host in [
            "10.0.0.1",
            "::ffff:10.0.0.1",
            "[::ffff:10.0.0.1]",
            "192.0.2.7",
            "fd00::1",
            "[FD00::1]",
            "2001:db8::1",
            "198.51.100.3",
        ] {
            assert_eq!(allow.host(host), HostVerdict::Allowed, "{host}");
        }
        for host in [
            "127.0.0.1",
            "169.254.169.254",
            "11.0.0.0",
            "192.0.2.8",
            "0.0.0.0",
            "::",
            "::1",
            "[::1]",
            "::ffff:127.0.0.1",
            "::10.0.0.1",
            "64:ff9b::10.0.0.1",
            "2001:db8::2",
            "198.51.101.3",
        ] {
            assert_eq!(allow.host(host), HostVerdict::Refused, "{host}");
        }
        // Every address of IPv6 is none of IPv4, however it is spelled.
        let all = self::allow(&["::/0"]);
        assert!(!all.has_address("::ffff:127.0.0.1".parse().unwrap()));
        assert!(!all.has_address("127.0.0.1".parse().unwrap()));
    }

    #[test]
    fn names_match_whole_labels_in_any_case() {
        let allow = allow(&["*.Example", "web01", "db.test."]);
        for host in ["a.example", "A.B.EXAMPLE", "a.example.", "WEB01", "db.test"] {
            assert_eq!(allow.host(host), HostVerdict::Allowed, "{host}");
        }
        for host in [
            "example",
            ".example",
            "badexample",
            "a.example.test",
            "web01.example.test",
            "web011",
            "a.db.test",
            "10.0.0.1",
            "127.1",
            "7",
            "",
        ] {
            assert_eq!(allow.host(host), HostVerdict::Refused, "{host}");
        }
    }

    #[test]
    fn other_names_are_judged_by_their_addresses_if_there_are_networks() {
        let allow = allow(&["10.0.0.0/8", "*.example"]);
        assert_eq!(allow.host("a.example"), HostVerdict::Allowed);
        for host in ["a.test", "localhost", "127.1", "7", "[fe80::1%eth0]"] {
            assert_eq!(allow.host(host), HostVerdict::ByAddress, "{host}");
        }
    }

    #[test]
    fn what_is_neither_is_refused() {
        for (entry, error) in [
            ("", AllowError::Neither),
            ("*", AllowError::Neither),
            ("*.", AllowError::Neither),
            ("a.*.example", AllowError::Neither),
            ("*example", AllowError::Neither),
            ("a..b", AllowError::Neither),
            ("http://a", AllowError::Neither),
            ("10.0.0.0/33", AllowError::Neither),
            ("10.0.0.1:80", AllowError::Port),
            ("web01:80", AllowError::Port),
            ("127.1", AllowError::Numeric),
            ("*.1", AllowError::Numeric),
            ("0x7f000001", AllowError::Numeric),
            ("7", AllowError::Numeric),
            (
                "10.1.0.0/8",
                AllowError::Bits("10.0.0.0/8".parse().unwrap()),
            ),
        ] {
            assert_eq!(Allow::default().add(entry), Err(error), "{entry}");
        }
    }
}
