//! Addresses: IP, Ethernet, DECnet.

use std::net::Ipv6Addr;

use super::link::carries;
use super::ports::Direction;
use super::scope::{From, Link, Scope, ethertype as types};
use super::words::Protocol;
use super::{Refusal, refusal};
use crate::form::{LoadSize, Ranges, Test};

/// `host` and `net` with an IPv4 address: also of ARP and RARP, where no protocol was said.
///
/// # Errors
/// Protocols that have no such addresses.
pub(super) fn ip4(
    scope: &mut Scope,
    (address, mask): (u32, u32),
    protocol: Option<Protocol>,
    direction: Direction,
) -> Result<Test, Refusal> {
    let (kind, source, destination) = match protocol {
        None => {
            let mut protocols = vec![Protocol::Ip];
            if scope.labels == 0 {
                protocols.extend([Protocol::Arp, Protocol::Rarp]);
            }
            let tests: Result<_, _> = protocols
                .into_iter()
                .map(|protocol| ip4(scope, (address, mask), Some(protocol), direction))
                .collect();
            return tests.map(Test::Any);
        }
        Some(Protocol::Ip) => (types::IP, 12, 16),
        Some(Protocol::Arp) => (types::ARP, 14, 24),
        Some(Protocol::Rarp) => (types::RARP, 14, 24),
        Some(Protocol::Decnet) => return decnet(scope, address, direction),
        Some(other) => return Err(no_addresses(other, "IPv4")),
    };
    direction.apply(|is_source| {
        let carried = carries(scope, kind)?;
        let at = if is_source { source } else { destination };
        Ok(Test::All(vec![carried, scope.equal_in(From::Network, at, LoadSize::Four, address, mask)]))
    })
}

fn no_addresses(protocol: Protocol, family: &str) -> Refusal {
    let what = format!("`{}` has no {family} addresses", protocol.word());
    let help = match family {
        "IPv4" => "say `ip`, `arp`, `rarp`, or none of them",
        _ => "say `ip6`, or nothing",
    };
    refusal(what, help)
}

/// `host` and `net` with an IPv6 address.
///
/// # Errors
/// Other protocols than IPv6.
pub(super) fn ip6(
    scope: &mut Scope,
    (address, len): (Ipv6Addr, u32),
    protocol: Option<Protocol>,
    direction: Direction,
) -> Result<Test, Refusal> {
    if let Some(other) = protocol.filter(|protocol| *protocol != Protocol::Ip6) {
        return Err(no_addresses(other, "IPv6"));
    }
    let mask = u128::MAX.checked_shl(128 - len).unwrap_or(0);
    let words = |value: u128| {
        let octets = value.to_be_bytes();
        [0, 4, 8, 12]
            .map(|at| octets[at..at + 4].iter().fold(0u32, |word, octet| word << 8 | u32::from(*octet)))
    };
    let (address, mask) = (words(u128::from(address)), words(mask));
    direction.apply(|is_source| {
        let mut tests = vec![carries(scope, types::IP6)?];
        let mut at = if is_source { 8 } else { 24 };
        for (address, mask) in address.into_iter().zip(mask) {
            tests.push(scope.equal_in(From::Network, at, LoadSize::Four, address, mask));
            at += 4;
        }
        Ok(Test::All(tests))
    })
}

/// `ether host`.
///
/// # Errors
/// Links without Ethernet addresses.
pub(super) fn mac(scope: &mut Scope, mac: &[u8; 6], direction: Direction) -> Result<Test, Refusal> {
    match scope.link {
        Link::Ethernet => {
            let checked = scope.has_ethernet();
            let test = direction
                .apply(|is_source| Ok(scope.octets(From::LinkHeader, if is_source { 6 } else { 0 }, mac)))?;
            Ok(Test::All(checked.into_iter().chain([test]).collect()))
        }
        Link::Wlan { .. } => Ok(super::wlan::host(scope, mac, direction)),
        other => {
            let what = format!("no Ethernet addresses on {}", other.name());
            Err(refusal(what, "test addresses of IP there"))
        }
    }
}

/// An address of DECnet phase IV: area and node, in a routing header that may be padded, long or short.
fn decnet(scope: &mut Scope, address: u32, direction: Direction) -> Result<Test, Refusal> {
    let [_, _, high, low] = address.to_be_bytes();
    // Little-endian on the wire.
    let address = u32::from(low) << 8 | u32::from(high);
    direction.apply(|is_source| {
        let (long, short) = if is_source { (15, 3) } else { (7, 1) };
        let mut tests = Vec::new();
        for (flags, at, padded) in
            [(0x02, short, false), (0x0281, short, true), (0x06, long, false), (0x0681, long, true)]
        {
            let flags = if padded {
                let [_, _, high, low] = u32::to_be_bytes(flags);
                let flags = u32::from(low) << 8 | u32::from(high);
                scope.equal_in(From::Network, 2, LoadSize::Two, flags, 0xff07)
            } else {
                scope.equal_in(From::Network, 2, LoadSize::One, flags, 0x07)
            };
            let at = 2 + u32::from(padded) + at;
            tests.push(Test::All(vec![flags, scope.equal(From::Network, at, LoadSize::Two, address)]));
        }
        Ok(Test::All(vec![carries(scope, types::DECNET)?, Test::Any(tests)]))
    })
}

/// `broadcast`.
///
/// # Errors
/// Links and protocols without broadcasts.
pub(super) fn broadcast(scope: &mut Scope, protocol: Option<Protocol>) -> Result<Test, Refusal> {
    match (protocol, scope.link) {
        (None | Some(Protocol::Link), Link::Ethernet) => mac(scope, &[0xff; 6], Direction::Dst),
        (None | Some(Protocol::Link), Link::Wlan { .. }) => {
            Ok(super::wlan::host(scope, &[0xff; 6], Direction::Dst))
        }
        (None | Some(Protocol::Link), other) => {
            Err(refusal(format!("no broadcasts on {}", other.name()), "test `ip broadcast`"))
        }
        (Some(Protocol::Ip), _) => {
            // Without a netmask, as tcpdump reads files: all bits of the address are bits of the host.
            let ip = carries(scope, types::IP)?;
            let to = scope.load(From::Network, 16, LoadSize::Four);
            Ok(Test::All(vec![ip, Test::Within(to, Ranges::new([(0, 0), (u32::MAX, u32::MAX)]))]))
        }
        (Some(other), _) => {
            let what = format!("`{}` has no broadcasts", other.word());
            Err(refusal(what, "say `ether`, `ip`, or nothing"))
        }
    }
}

/// `multicast`.
///
/// # Errors
/// Links and protocols without multicasts.
pub(super) fn multicast(scope: &mut Scope, protocol: Option<Protocol>) -> Result<Test, Refusal> {
    let group = |scope: &mut Scope, at: u32| scope.any_bit(From::LinkHeader, at, LoadSize::One, 1);
    match (protocol, scope.link) {
        (None | Some(Protocol::Link), Link::Ethernet) => {
            let checked = scope.has_ethernet();
            let test = group(scope, 0);
            Ok(Test::All(checked.into_iter().chain([test]).collect()))
        }
        (None | Some(Protocol::Link), Link::Wlan { .. }) => {
            Ok(super::wlan::destination(scope, &mut |scope, at| group(scope, at)))
        }
        (None | Some(Protocol::Link), other) => Err(refusal(
            format!("no multicasts on {}", other.name()),
            "test `ip multicast` or `ip6 multicast`",
        )),
        (Some(Protocol::Ip), _) => {
            let ip = carries(scope, types::IP)?;
            let to = scope.load(From::Network, 16, LoadSize::One);
            Ok(Test::All(vec![ip, Test::Within(to, Ranges::new([(224, u32::MAX)]))]))
        }
        (Some(Protocol::Ip6), _) => {
            let ip6 = carries(scope, types::IP6)?;
            Ok(Test::All(vec![ip6, scope.equal(From::Network, 24, LoadSize::One, 0xff)]))
        }
        (Some(other), _) => {
            let what = format!("`{}` has no multicasts", other.word());
            Err(refusal(what, "say `ether`, `ip`, `ip6`, or nothing"))
        }
    }
}
