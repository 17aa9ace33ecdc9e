//! Which addresses are one client.

use std::net::{IpAddr, Ipv6Addr};

/// The client that an address counts as: in IPv6 one has a network of 64 bits.
pub(crate) fn client(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        address @ IpAddr::V4(_) => address,
        IpAddr::V6(address) => {
            let bits = address.to_bits() >> 64 << 64;
            Ipv6Addr::from_bits(bits).into()
        }
    }
}
