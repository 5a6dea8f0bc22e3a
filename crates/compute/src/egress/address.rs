//! Addresses that a name must not lead to. Pure, but for the question whether an address is one of this machine's.
//!
//! A listed name says nothing about where it points: whoever owns the domain decides, and may point it at the node
//! itself or at the metadata service of its cloud. Private networks are not refused: names of an intranet live there.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// Services of clouds that hand out credentials at addresses which look like any other: Alibaba, Oracle, Azure, AWS.
const METADATA: [IpAddr; 4] = [
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x254)),
];

/// What an address is that only an entry of its own allows, if so.
pub(super) fn forbidden(address: IpAddr) -> Option<&'static str> {
    if METADATA.contains(&address) {
        return Some("the metadata service of a cloud");
    }
    match address.to_canonical() {
        IpAddr::V4(address) => forbidden_v4(address),
        IpAddr::V6(address) => forbidden_v6(address),
    }
}

fn forbidden_v4(address: Ipv4Addr) -> Option<&'static str> {
    match address.octets() {
        [127, ..] => Some("a loopback address"),
        [0, ..] => Some("an unspecified address"),
        [169, 254, ..] => Some("a link-local address"),
        [224..=255, ..] => Some("a multicast or reserved address"),
        _ => METADATA.contains(&IpAddr::V4(address)).then_some("the metadata service of a cloud"),
    }
}

fn forbidden_v6(address: Ipv6Addr) -> Option<&'static str> {
    if address.is_loopback() {
        return Some("a loopback address");
    }
    if address.is_unspecified() {
        return Some("an unspecified address");
    }
    if address.is_multicast() {
        return Some("a multicast or reserved address");
    }
    if address.is_unicast_link_local() {
        return Some("a link-local address");
    }
    inner_v4(address).and_then(forbidden_v4)
}

/// The address of IPv4 that a gateway would make of one of IPv6: NAT64, 6to4, IPv4-compatible.
fn inner_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let v4 = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match address.segments() {
        [0x64, 0xff9b, .., high, low] | [0, 0, 0, 0, 0, 0, high, low] => Some(v4(high, low)),
        [0x2002, high, low, ..] => Some(v4(high, low)),
        _ => None,
    }
}

/// Whether an address is one of this machine's: the kernel talks to itself from the address it talks to. Sends nothing.
pub(super) fn is_own(address: IpAddr) -> io::Result<bool> {
    let from: IpAddr = match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind(SocketAddr::new(from, 0))?;
    socket.connect(SocketAddr::new(address, 9))?;
    Ok(socket.local_addr()?.ip() == address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doors_back_into_the_node_are_known_in_all_clothes() {
        for address in [
            "127.0.0.1",
            "127.8.9.1",
            "0.0.0.0",
            "169.254.169.254",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "::7f00:1",
            "100.100.100.200",
            "fd00:ec2::254",
            "64:ff9b::a9fe:a9fe",
            "::ffff:168.63.129.16",
        ] {
            assert!(forbidden(address.parse().unwrap()).is_some(), "{address}");
        }
        for address in [
            "192.0.2.1",
            "10.1.2.3",
            "192.168.1.1",
            "2001:db8::1",
            "fd12::1",
            "64:ff9b::c000:201",
            "100.64.0.1",
        ] {
            assert_eq!(forbidden(address.parse().unwrap()), None, "{address}");
        }
    }

    #[test]
    fn the_machine_knows_itself() {
        assert!(is_own(Ipv4Addr::LOCALHOST.into()).unwrap());
        // Without any route the question cannot be asked, and nothing could be reached either.
        assert!(!is_own("192.0.2.1".parse().unwrap()).unwrap_or(false));
    }
}
