//! The chapter's enterprise (Figure 4-1) as data: hosts, cables, addresses, routes.
//!
//! Internet, perimeter router, firewall, a DMZ switch with web, DNS and mail hosts, and an intranet switch
//! with workstations. Addresses are those of documentation (RFC 5737, RFC 3849) and, in the intranet, private
//! ones; the Internet of the lab has routes to all of them. Never does I/O.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An interface of a host.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct End {
    /// The host, which is a namespace.
    pub host: String,
    /// The interface in it.
    pub interface: String,
}

impl End {
    /// `perimeter.lan`.
    pub fn new(host: &str, interface: &str) -> Self {
        Self { host: host.to_owned(), interface: interface.to_owned() }
    }
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.host, self.interface)
    }
}

/// What a host does with frames that are not its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Nothing.
    Host,
    /// Routes packets.
    Router,
    /// Bridges frames between all of its interfaces that [`CABLES`] names.
    Switch,
}

/// The hosts of the enterprise.
pub const HOSTS: [(&str, Kind); 10] = [
    ("internet", Kind::Host),
    ("perimeter", Kind::Router),
    ("firewall", Kind::Router),
    ("dmz", Kind::Switch),
    ("web", Kind::Host),
    ("dns", Kind::Host),
    ("mail", Kind::Host),
    ("intranet", Kind::Switch),
    ("ws1", Kind::Host),
    ("ws2", Kind::Host),
];

/// The box that the cables of a tapped link go to.
pub const TAP: &str = "tap";

/// A host and an interface of it.
pub type Jack = (&'static str, &'static str);

/// The cables of the enterprise. A tap is put into one by cutting it.
pub const CABLES: [(Jack, Jack); 9] = [
    (("internet", "eth0"), ("perimeter", "wan")),
    (("perimeter", "lan"), ("firewall", "outside")),
    (("firewall", "dmz"), ("dmz", "uplink")),
    (("firewall", "inside"), ("intranet", "uplink")),
    (("dmz", "p-web"), ("web", "eth0")),
    (("dmz", "p-dns"), ("dns", "eth0")),
    (("dmz", "p-mail"), ("mail", "eth0")),
    (("intranet", "p-ws1"), ("ws1", "eth0")),
    (("intranet", "p-ws2"), ("ws2", "eth0")),
];

/// The bridge of a switch.
pub const BRIDGE: &str = "br0";

const fn v6(net: u16, host: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0, net, 0, 0, 0, host)
}

/// Interfaces with their addresses; IPv4 prefixes are 24 bits long, IPv6 ones 64.
pub const ADDRESSES: [(&str, &str, Ipv4Addr, Ipv6Addr); 11] = [
    ("internet", "eth0", Ipv4Addr::new(203, 0, 113, 10), v6(1, 0x10)),
    ("perimeter", "wan", Ipv4Addr::new(203, 0, 113, 1), v6(1, 1)),
    ("perimeter", "lan", Ipv4Addr::new(198, 51, 100, 1), v6(2, 1)),
    ("firewall", "outside", Ipv4Addr::new(198, 51, 100, 2), v6(2, 2)),
    ("firewall", "dmz", Ipv4Addr::new(192, 0, 2, 1), v6(3, 1)),
    ("firewall", "inside", Ipv4Addr::new(10, 0, 0, 1), v6(4, 1)),
    ("web", "eth0", Ipv4Addr::new(192, 0, 2, 80), v6(3, 0x80)),
    ("dns", "eth0", Ipv4Addr::new(192, 0, 2, 53), v6(3, 0x53)),
    ("mail", "eth0", Ipv4Addr::new(192, 0, 2, 25), v6(3, 0x25)),
    ("ws1", "eth0", Ipv4Addr::new(10, 0, 0, 11), v6(4, 0x11)),
    ("ws2", "eth0", Ipv4Addr::new(10, 0, 0, 12), v6(4, 0x12)),
];

/// The VLAN in which DMZ hosts are managed (`watch` only).
pub const MANAGEMENT_VLAN: u16 = 20;

/// Who asks in [`MANAGEMENT_VLAN`], and who answers, by their `eth0`.
pub const MANAGEMENT: [(&str, Ipv4Addr); 2] =
    [("mail", Ipv4Addr::new(172, 16, 20, 25)), ("web", Ipv4Addr::new(172, 16, 20, 80))];

/// A static route: the host, the destination (`None` is the default route), and the next router.
pub type Route = (&'static str, Option<(IpAddr, u8)>, IpAddr);

/// Every static route, IPv4 and IPv6.
pub fn routes() -> Vec<Route> {
    let defaults = [
        ("internet", Ipv4Addr::new(203, 0, 113, 1), v6(1, 1)),
        ("firewall", Ipv4Addr::new(198, 51, 100, 1), v6(2, 1)),
        ("web", Ipv4Addr::new(192, 0, 2, 1), v6(3, 1)),
        ("dns", Ipv4Addr::new(192, 0, 2, 1), v6(3, 1)),
        ("mail", Ipv4Addr::new(192, 0, 2, 1), v6(3, 1)),
        ("ws1", Ipv4Addr::new(10, 0, 0, 1), v6(4, 1)),
        ("ws2", Ipv4Addr::new(10, 0, 0, 1), v6(4, 1)),
    ];
    let mut routes: Vec<Route> = Vec::new();
    for (host, via4, via6) in defaults {
        routes.push((host, None, via4.into()));
        routes.push((host, None, via6.into()));
    }
    let inside = [(Ipv4Addr::new(192, 0, 2, 0), v6(3, 0)), (Ipv4Addr::new(10, 0, 0, 0), v6(4, 0))];
    for (net4, net6) in inside {
        routes.push(("perimeter", Some((net4.into(), 24)), Ipv4Addr::new(198, 51, 100, 2).into()));
        routes.push(("perimeter", Some((net6.into(), 64)), v6(2, 2).into()));
    }
    routes
}

/// The IPv4 address of a host's first interface.
pub fn v4_of(host: &str) -> IpAddr {
    address_of(host).0.into()
}

/// The IPv6 address of a host's first interface.
pub fn v6_of(host: &str) -> IpAddr {
    address_of(host).1.into()
}

fn address_of(host: &str) -> (Ipv4Addr, Ipv6Addr) {
    let found = ADDRESSES.iter().find(|(name, ..)| *name == host);
    found.map(|(_, _, v4, v6)| (*v4, *v6)).expect("callers name hosts of the table")
}

/// The web site of the Internet, and that of the enterprise.
pub const OUTSIDE_SITE: &str = "www.example.net";
/// The web site of the enterprise.
pub const INSIDE_SITE: &str = "www.example.com";
/// The mail host of the enterprise.
pub const MAIL_NAME: &str = "mail.example.com";

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_jack_is_of_a_host_and_takes_one_cable() {
        let jacks: Vec<Jack> = CABLES.iter().flat_map(|(a, b)| [*a, *b]).collect();
        let set: BTreeSet<Jack> = jacks.iter().copied().collect();
        assert_eq!(set.len(), jacks.len());
        for (host, interface) in set {
            assert!(HOSTS.iter().any(|(name, _)| *name == host), "{host}");
            assert!(interface.len() < 16);
        }
    }

    #[test]
    fn every_address_is_on_a_cable_and_every_router_is_an_address() {
        for (host, interface, ..) in ADDRESSES {
            assert!(CABLES.iter().any(|(a, b)| [*a, *b].contains(&(host, interface))), "{host}.{interface}");
        }
        for (host, _, via) in routes() {
            let known = |(_, _, v4, v6): &(_, _, Ipv4Addr, Ipv6Addr)| via == *v4 || via == *v6;
            assert!(ADDRESSES.iter().any(known), "{host} via {via}");
        }
    }
}
