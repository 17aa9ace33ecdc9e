//! `[dns]`: whom to ask for names, instead of the system's servers.

use std::net::{IpAddr, SocketAddr};

use super::reader::{Node, SHORTEST, Table};
use crate::domain::DnsSettings;

/// Servers at most; the system's file may name three.
const MAX_SERVERS: usize = 8;

/// Where a DNS server listens.
const PORT: u16 = 53;

/// Reads `[dns]`, if there is one.
pub(super) fn read(root: &Table<'_, '_>) -> DnsSettings {
    let known = ["servers", "timeout", "attempts"];
    let Some(table) = root.get("dns").and_then(|node| node.table(&known)) else {
        return DnsSettings::default();
    };
    let timeout = table.get("timeout");
    let attempts = table.get("attempts").and_then(|node| node.integer(1..=10));
    DnsSettings {
        servers: table
            .get("servers")
            .map(|node| servers(&node))
            .unwrap_or_default(),
        timeout: timeout.and_then(|node| node.duration(SHORTEST)),
        attempts: attempts.and_then(|number| usize::try_from(number).ok()),
    }
}

/// Faults of one server do not hide those of the next.
fn servers(node: &Node<'_, '_>) -> Vec<SocketAddr> {
    let right =
        "write the servers' addresses, such as servers = [\"192.0.2.53\", \"[2001:db8::53]:5353\"]";
    let Some(texts) = node.texts(right) else {
        return Vec::new();
    };
    if texts.is_empty() {
        node.fault(format!(
            "there is no server; {right}, or leave `servers` out"
        ));
    }
    if texts.len() > MAX_SERVERS {
        node.fault(format!("too many servers; write at most {MAX_SERVERS}"));
    }
    let server = |(node, text): (Node<'_, '_>, &str)| {
        let with_port = text.parse().ok();
        let alone = || Some(SocketAddr::new(text.parse::<IpAddr>().ok()?, PORT));
        let server = with_port.or_else(alone);
        let server = server.filter(|it: &SocketAddr| it.port() != 0 && !it.ip().is_unspecified());
        if server.is_none() {
            node.fault(format!("{text:?} is no address of a server; {right}"));
        }
        server
    };
    texts.into_iter().filter_map(server).collect()
}
