//! Which of a name's addresses to try first: RFC 6724, section 6, rules 1, 2, 5 and 6.
//!
//! The other rules are about mobile and deprecated addresses, which nobody tells us of, and about
//! common prefixes, which would undo the order in which servers spread load. Addresses that are
//! alike by these rules stay as the server gave them.

use std::cmp::Reverse;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// Addresses of one name that are tried at most.
const MOST: usize = 16;

/// Sorts addresses, the best first, and leaves out those beyond [`MOST`].
pub(super) fn sort(addresses: &mut Vec<IpAddr>) {
    // So many sockets, one after the other, even if a server sends thousands.
    addresses.truncate(4 * MOST);
    sort_with(addresses, source);
    addresses.truncate(MOST);
}

/// The address from which this machine would send there, if there is a way. Sends nothing.
fn source(to: IpAddr) -> Option<IpAddr> {
    let any: IpAddr = match to {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    // Any port but 0 does.
    socket.connect(SocketAddr::new(to, 9)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

fn sort_with(addresses: &mut [IpAddr], source: impl Fn(IpAddr) -> Option<IpAddr>) {
    if addresses.len() < 2 {
        return;
    }
    addresses.sort_by_cached_key(|&to| {
        let from = source(to);
        let is_alike = |of: fn(IpAddr) -> u8| from.is_some_and(|from| of(from) == of(to));
        Reverse((
            from.is_some(),
            is_alike(scope),
            is_alike(|address| policy(address).1),
            policy(to).0,
        ))
    });
}

/// RFC 6724, section 3.1: link-local (2), site-local (5) or global (14).
fn scope(address: IpAddr) -> u8 {
    let (is_near, is_site) = match address {
        IpAddr::V4(it) => (it.is_loopback() || it.is_link_local(), false),
        IpAddr::V6(it) => (
            it.is_loopback() || it.is_unicast_link_local(),
            it.segments()[0] & 0xffc0 == 0xfec0,
        ),
    };
    match (is_near, is_site) {
        (true, _) => 2,
        (false, true) => 5,
        (false, false) => 14,
    }
}

/// RFC 6724, section 2.1: the precedence and the label of an address.
fn policy(address: IpAddr) -> (u8, u8) {
    let IpAddr::V6(address) = address.to_canonical() else {
        return (35, 4);
    };
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 1] => (50, 0),
        [0, 0, 0, 0, 0, 0, _, _] => (1, 3),
        [0x2002, ..] => (30, 2),
        [0x2001, 0, ..] => (5, 5),
        [0x3ffe, ..] => (1, 12),
        [first, ..] if first & 0xfe00 == 0xfc00 => (3, 13),
        [first, ..] if first & 0xffc0 == 0xfec0 => (1, 11),
        [..] => (40, 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sorted, on a machine that sends from these addresses.
    fn sorted(addresses: &[&str], sources: &[&str]) -> Vec<String> {
        let parse = |texts: &[&str]| -> Vec<IpAddr> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        let (mut addresses, sources) = (parse(addresses), parse(sources));
        sort_with(&mut addresses, |to| {
            let mut alike = sources.iter().filter(|it| it.is_ipv4() == to.is_ipv4());
            let best = alike.clone().find(|&&it| scope(it) == scope(to));
            best.or_else(|| alike.next()).copied()
        });
        addresses.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_examples_of_the_standard_come_out_as_there() {
        // RFC 6724, section 10.2, but for those of rules that are not followed.
        let (v4, v6) = ("198.51.100.121", "2001:db8:1::1");
        let both = ["2001:db8:1::2", "198.51.100.117"];
        assert_eq!(
            sorted(&both, &["2001:db8:1::2", "fe80::1", "169.254.13.78"]),
            both
        );
        assert_eq!(
            sorted(&both, &["fe80::1", v4]),
            ["198.51.100.117", "2001:db8:1::2"]
        );
        assert_eq!(
            sorted(&["10.1.2.3", v6], &["2001:db8:1::2", "fe80::1", "10.1.2.4"]),
            [v6, "10.1.2.3"]
        );
        assert_eq!(
            sorted(&["2002:c633:6401::1", v6], &["2002:c633:6401::2"]),
            ["2002:c633:6401::1", v6]
        );
    }

    #[test]
    fn what_no_way_leads_to_comes_last() {
        let v4_only = ["192.0.2.1"];
        assert_eq!(
            sorted(&["2001:db8::1", "198.51.100.1"], &v4_only),
            ["198.51.100.1", "2001:db8::1"]
        );
    }

    #[test]
    fn what_is_alike_stays_as_the_server_gave_it() {
        let given = ["192.0.2.9", "192.0.2.1", "198.51.100.1", "192.0.2.5"];
        assert_eq!(sorted(&given, &["192.0.2.2"]), given);
    }

    #[test]
    fn however_many_come_few_are_kept() {
        let many = |n: u32| IpAddr::from(Ipv4Addr::from(0x7f00_0001 + n));
        let mut addresses: Vec<IpAddr> = (0..5000).map(many).collect();
        sort(&mut addresses);
        assert_eq!(addresses, (0..16).map(many).collect::<Vec<_>>());
    }
}
