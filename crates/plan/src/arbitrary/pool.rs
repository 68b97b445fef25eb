//! Addresses, ports and protocols that plans and packets share, few enough to meet often.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rules::form::{End, Field, Network};

use super::Random;

/// Ports that occur in rules and packets.
const PORTS: [u16; 12] = [0, 1, 22, 53, 79, 80, 81, 443, 1024, 8080, 32768, 65535];

/// Protocols: ICMP, TCP, UDP, GRE, AH, ICMPv6, SCTP and one that nobody has.
const PROTOCOLS: [u8; 12] = [1, 6, 6, 6, 6, 17, 17, 17, 47, 58, 132, 253];

impl Random {
    /// 32 random bits.
    pub(super) fn word(&mut self) -> u32 {
        u32::try_from(self.bits() >> 32).unwrap_or(0)
    }

    /// 16 random bits.
    pub(super) fn half(&mut self) -> u16 {
        u16::try_from(self.bits() >> 48).unwrap_or(0)
    }

    /// A number below `end` as 32 bits.
    pub(super) fn word_below(&mut self, end: usize) -> u32 {
        u32::try_from(self.below(end)).unwrap_or(0)
    }

    /// A number from `first` to `last`, both included; often one of the two.
    pub(super) fn between(&mut self, first: u32, last: u32) -> u32 {
        match self.below(4) {
            0 => first,
            1 => last,
            _ => {
                let count = u64::from(last.saturating_sub(first)) + 1;
                u32::try_from(u64::from(first) + self.bits() % count).unwrap_or(last)
            }
        }
    }
}

/// An IPv4 or IPv6 address.
pub(super) fn address(random: &mut Random) -> IpAddr {
    if random.below(5) < 3 { v4(random).into() } else { v6(random).into() }
}

/// An address of a family, 4 or 6.
pub(super) fn address_of(random: &mut Random, version: u32) -> IpAddr {
    if version == 4 { v4(random).into() } else { v6(random).into() }
}

fn v4(random: &mut Random) -> Ipv4Addr {
    let low = random.word_below(6);
    let bits = match random.below(8) {
        0..=3 => 0x0a00_0000 | low,
        4 => 0x0a01_0200 | low,
        5 => 0xc0a8_0100 | low,
        6 => *random.pick(&[0, u32::MAX, 0xe000_0001, 0x7f00_0001, 0x0aff_ffff]),
        _ => random.word(),
    };
    bits.into()
}

fn v6(random: &mut Random) -> Ipv6Addr {
    let low = u128::from(random.word_below(6));
    let bits = match random.below(8) {
        0..=3 => 0x2001_0db8_u128 << 96 | low,
        4 => 0x2001_0db8_0001_0002_u128 << 64 | low,
        5 => 0xfe80_u128 << 112 | low,
        6 => *random.pick(&[0, u128::MAX, 0xff02_u128 << 112 | 1, 1]),
        _ => u128::from(random.bits()) << 64 | u128::from(random.bits()),
    };
    bits.into()
}

/// A network of any length, mostly one of those that routers know.
pub(super) fn network(random: &mut Random) -> Network {
    let address = address(random);
    let len = match (address, random.below(6)) {
        (IpAddr::V4(_), 0) => random.below(33),
        (IpAddr::V6(_), 0) => random.below(129),
        (IpAddr::V4(_), _) => *random.pick(&[8, 16, 24, 24, 29, 30, 31, 32, 32]),
        (IpAddr::V6(_), _) => *random.pick(&[16, 32, 48, 64, 64, 125, 127, 128, 128]),
    };
    let len = u8::try_from(len).unwrap_or(0);
    Network::new(address, len).unwrap_or(Network::host(address))
}

pub(super) fn port(random: &mut Random) -> u16 {
    if random.one_in(6) { random.half() } else { *random.pick(&PORTS) }
}

pub(super) fn protocol(random: &mut Random) -> u8 {
    if random.one_in(12) { random.octet() } else { *random.pick(&PROTOCOLS) }
}

pub(super) fn end(random: &mut Random) -> End {
    *random.pick(&[End::Source, End::Destination])
}

/// A value that a field of a packet may well have.
pub(super) fn field_value(random: &mut Random, field: Field) -> u32 {
    match field {
        Field::Version => *random.pick(&[4, 4, 6, 5]),
        Field::Protocol => protocol(random).into(),
        Field::Tos => *random.pick(&[0, 0, 0x10, 0xb8, 0xff]),
        Field::SourcePort | Field::DestinationPort => port(random).into(),
        Field::TcpFlags => *random.pick(&[0x02, 0x12, 0x10, 0x18, 0x04, 0x11, 0, 0xff]),
        Field::IcmpType => *random.pick(&[0, 3, 8, 11, 128, 129, 135]),
        Field::IcmpCode => *random.pick(&[0, 1, 3]),
    }
}
