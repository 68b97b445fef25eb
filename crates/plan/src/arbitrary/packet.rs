//! Packets that the rules of a plan often hold for, whole and broken.
//!
//! A [`Wish`] is what one rule of the plan asks for; the packet grants most of it. Around that there are
//! tags, options, extension headers, fragments, lengths that lie, and cuts at every octet.

use std::net::IpAddr;

use rules::form::{Addresses, End, Field, LoadSize, Number, Operator, Ranges, Relation, Test};
use wire::headers::protocol;

use super::{Random, frame, point, pool, tunnel, vlan_bits, vlan_near};
use crate::plan::Plan;

/// What a frame should look like, as far as a test says.
#[derive(Default)]
struct Wish {
    vlan: Option<u16>,
    version: Option<u32>,
    source: Option<IpAddr>,
    destination: Option<IpAddr>,
    protocol: Option<u8>,
    tos: Option<u8>,
    source_port: Option<u16>,
    destination_port: Option<u16>,
    tcp_flags: Option<u8>,
    icmp_type: Option<u8>,
    icmp_code: Option<u8>,
    length: Option<usize>,
    /// Octets at an offset from the start of the frame.
    octets: Vec<(usize, Vec<u8>)>,
}

/// A frame on Ethernet: mostly IPv4 or IPv6 with TCP, UDP or ICMP behind up to three tags, drawn so that
/// the rules of the plan often match; also fragments, options and extension headers, headers that are
/// broken, packets in packets, frames cut at any octet, and whatever [`super::frame`] draws. Mostly short, at
/// most 9,500 octets.
pub fn packet(random: &mut Random, plan: &Plan) -> Vec<u8> {
    if random.one_in(12) {
        return frame(random, plan);
    }
    let wish = wish(random, plan);
    let mut data = Vec::new();
    random.fill(&mut data, 12);
    for at in 0..[0, 0, 0, 0, 1, 1, 2, 3][random.below(8)].max(usize::from(wish.vlan.is_some())) {
        let protocol = *random.pick(&[0x8100_u16, 0x8100, 0x8100, 0x88a8, 0x88a8, 0x9100]);
        let vlan = wish.vlan.filter(|_| at == 0).unwrap_or_else(|| vlan_near(random, plan));
        data.extend(protocol.to_be_bytes().into_iter().chain((vlan | vlan_bits(random) << 12).to_be_bytes()));
    }
    let ip = ip(random, &wish);
    let is_v6 = ip.first().is_some_and(|octet| octet >> 4 == 6);
    let (ether_type, payload) = match random.one_in(8) {
        true => tunnel::around(random, ip),
        false => (if is_v6 { 0x86dd } else { 0x0800 }, ip),
    };
    data.extend(ether_type.to_be_bytes());
    data.extend(payload);
    if data.len() < 60 && !random.one_in(4) {
        // Padding of the link layer, which need not be 0.
        let missing = 60 - data.len();
        random.fill(&mut data, missing);
    }
    if let Some(length) = wish.length.filter(|length| (14..=9018).contains(length)) {
        let missing = length.saturating_sub(data.len());
        random.fill(&mut data, missing);
        data.truncate(length);
    }
    for (at, octets) in wish.octets {
        if let Some(place) = data.get_mut(at..at.saturating_add(octets.len())) {
            place.copy_from_slice(&octets);
        }
    }
    if random.one_in(10) {
        let length = random.below(data.len() + 1);
        data.truncate(length);
    }
    data
}

/// An IP packet alone, as frames of link type RAW are: whole, broken or cut.
pub fn ip_packet(random: &mut Random, plan: &Plan) -> Vec<u8> {
    let wish = wish(random, plan);
    let mut data = ip(random, &wish);
    if random.one_in(10) {
        let length = random.below(data.len() + 1);
        data.truncate(length);
    }
    data
}

/// What one rule or step of the plan asks for, mostly.
fn wish(random: &mut Random, plan: &Plan) -> Wish {
    let mut wish = Wish::default();
    let Some((_, hook)) = point(random, plan).and_then(|at| plan.hook_at(at)) else { return wish };
    let program = &hook.program;
    let sets = program.rule_sets.len();
    let test = if sets > 0 && !random.one_in(3) {
        let rulings = random.pick(&program.rule_sets).rulings();
        if rulings.is_empty() { None } else { Some(&random.pick(rulings).when) }
    } else if program.steps.is_empty() {
        None
    } else {
        Some(&random.pick(&program.steps).when)
    };
    if let Some(test) = test.filter(|_| !random.one_in(5)) {
        wish.that(random, test);
    }
    wish
}

impl Wish {
    /// Asks for what makes the test hold, as far as that is easily said.
    fn that(&mut self, random: &mut Random, test: &Test) {
        match test {
            Test::All(tests) => tests.iter().for_each(|test| self.that(random, test)),
            Test::Any(tests) if !tests.is_empty() => {
                let any = random.below(tests.len());
                self.that(random, &tests[any]);
            }
            Test::Vlan(ids) if !ids.is_empty() => {
                self.vlan = ids.iter().nth(random.below(ids.len())).map(|vlan| vlan.id());
            }
            Test::Within(number, ranges) => {
                if let Some(value) = some_of(random, ranges) {
                    self.number(random, number, value);
                }
            }
            Test::Compare(number, relation, Number::Constant(value)) => {
                let more = u32::from(*relation == Relation::Greater);
                self.number(random, number, value.wrapping_add(more));
            }
            Test::Address(end, addresses) => {
                let address = one_of(random, addresses);
                match end {
                    End::Source => self.source = address.or(self.source),
                    End::Destination => self.destination = address.or(self.destination),
                }
            }
            Test::Chain(chain) => {
                self.version = Some(u32::from(chain.version));
                self.protocol = Some(chain.protocol);
            }
            Test::Always | Test::Not(_) | Test::Any(_) | Test::Vlan(_) | Test::Compare(..) => {}
        }
    }

    fn number(&mut self, random: &mut Random, number: &Number, value: u32) {
        let octet = u8::try_from(value & 0xff).ok();
        let half = u16::try_from(value & 0xffff).ok();
        match number {
            Number::Length => self.length = usize::try_from(value).ok(),
            Number::Load { size, at } => {
                let Number::Constant(at) = **at else { return };
                let octets = value.to_be_bytes();
                let octets = match size {
                    LoadSize::One => &octets[3..],
                    LoadSize::Two => &octets[2..],
                    LoadSize::Four => &octets[..],
                };
                self.octets.extend(usize::try_from(at).ok().map(|at| (at, octets.to_vec())));
            }
            Number::Operation(Operator::And, number, mask) => {
                if let Number::Constant(mask) = **mask {
                    let free = random.word() & !mask;
                    self.number(random, number, value | free);
                }
            }
            Number::Field(field) => match field {
                Field::Version => self.version = Some(value),
                Field::Protocol => self.protocol = octet,
                Field::Tos => self.tos = octet,
                Field::SourcePort => self.source_port = half,
                Field::DestinationPort => self.destination_port = half,
                Field::TcpFlags => self.tcp_flags = octet,
                Field::IcmpType => self.icmp_type = octet,
                Field::IcmpCode => self.icmp_code = octet,
            },
            Number::Constant(_) | Number::Operation(..) => {}
        }
    }

    /// 4 or 6: what the addresses are, else what was asked for.
    fn family(&self, random: &mut Random) -> u32 {
        let address = self.source.or(self.destination);
        let by_address = address.map(|address| if address.is_ipv4() { 4 } else { 6 });
        let known = by_address.or(self.version.filter(|version| matches!(version, 4 | 6)));
        known.unwrap_or_else(|| *random.pick(&[4, 4, 4, 6, 6]))
    }

    /// The protocol, or one that has what was asked for.
    fn protocol(&self, random: &mut Random, family: u32) -> u8 {
        let icmp = if family == 4 { protocol::ICMP } else { protocol::ICMPV6 };
        let implied = if self.tcp_flags.is_some() {
            Some(protocol::TCP)
        } else if self.icmp_type.or(self.icmp_code).is_some() {
            Some(icmp)
        } else if self.source_port.or(self.destination_port).is_some() {
            Some(*random.pick(&[protocol::TCP, protocol::UDP]))
        } else {
            None
        };
        self.protocol.or(implied).unwrap_or_else(|| match random.below(6) {
            0 => pool::protocol(random),
            1 => icmp,
            2 | 3 => protocol::UDP,
            _ => protocol::TCP,
        })
    }
}

/// A number of the ranges, or now and then the one behind.
fn some_of(random: &mut Random, ranges: &Ranges) -> Option<u32> {
    if ranges.ranges().is_empty() {
        return None;
    }
    let (first, last) = *random.pick(ranges.ranges());
    let value = random.between(first, last);
    Some(if random.one_in(12) { last.wrapping_add(1) } else { value })
}

fn one_of(random: &mut Random, addresses: &Addresses) -> Option<IpAddr> {
    Some(match addresses {
        Addresses::Network(network) => within(random, *network),
        Addresses::Range(first, last) => *random.pick(&[*first, *last]),
        Addresses::Table(table) => {
            let entries: Vec<_> = table.entries().collect();
            if entries.is_empty() {
                return None;
            }
            let network = random.pick(&entries).network;
            within(random, network)
        }
    })
}

/// An address of a network: the first, one near it, or any.
fn within(random: &mut Random, network: rules::form::Network) -> IpAddr {
    let free = match random.below(3) {
        0 => 0,
        1 => u128::from(random.word_below(4)),
        _ => u128::from(random.bits()) << 64 | u128::from(random.bits()),
    };
    let len = u32::from(network.prefix_len());
    match network.address() {
        IpAddr::V4(first) => {
            let low = u32::MAX.checked_shr(len).unwrap_or(0);
            let free = u32::try_from(free & u128::from(u32::MAX)).unwrap_or(0);
            IpAddr::V4((u32::from(first) | free & low).into())
        }
        IpAddr::V6(first) => {
            let low = u128::MAX.checked_shr(len).unwrap_or(0);
            IpAddr::V6((u128::from(first) | free & low).into())
        }
    }
}

fn ip(random: &mut Random, wish: &Wish) -> Vec<u8> {
    let family = wish.family(random);
    let of_family = |wanted: Option<IpAddr>| wanted.filter(|address| address.is_ipv4() == (family == 4));
    let mut source = of_family(wish.source).unwrap_or_else(|| pool::address_of(random, family));
    let mut destination = of_family(wish.destination).unwrap_or_else(|| pool::address_of(random, family));
    if random.one_in(8) {
        (source, destination) = (destination, source);
    }
    let next = wish.protocol(random, family);
    let fragment = if random.one_in(8) { fragment(random) } else { None };
    let mut inner = transport(random, wish, next);
    if fragment.is_some_and(|fragment| fragment.offset > 0) && !random.one_in(4) {
        // Octets of a later fragment are no header, but may look like one.
        inner.clear();
        let count = 8 * random.below(9);
        random.fill(&mut inner, count);
    }
    let payload = match random.below(64) {
        0 => 1500,
        1 if random.one_in(4) => 8900,
        2..=9 => random.below(600),
        _ => random.below(30),
    };
    random.fill(&mut inner, payload);
    let tos = wish.tos.unwrap_or_else(|| *random.pick(&[0, 0, 0, 0x10, 0xb8, 0xff]));
    let mut data = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let mut header = ipv4(random, next, tos, fragment, inner.len());
            header[12..16].copy_from_slice(&source.octets());
            header[16..20].copy_from_slice(&destination.octets());
            header
        }
        (source, destination) => {
            let mut header = ipv6(random, next, tos, fragment, inner.len());
            for (at, address) in [(8, source), (24, destination)] {
                if let IpAddr::V6(address) = address {
                    header[at..at + 16].copy_from_slice(&address.octets());
                }
            }
            header
        }
    };
    data.extend(inner);
    if random.one_in(10) {
        broken(random, &mut data);
    }
    data
}

/// The place of a fragment in its packet; ids are few, so that fragments of one packet meet.
#[derive(Clone, Copy)]
struct Fragment {
    id: u16,
    /// In units of 8 octets.
    offset: u16,
    more: bool,
}

fn fragment(random: &mut Random) -> Option<Fragment> {
    let id = u16::try_from(random.below(4)).ok()?;
    let (offset, more) =
        *random.pick(&[(0, true), (0, true), (1, true), (185, true), (185, false), (8191, false)]);
    Some(Fragment { id, offset, more })
}

/// A header with 0 to 40 octets of options; addresses and checksum are 0.
fn ipv4(random: &mut Random, next: u8, tos: u8, fragment: Option<Fragment>, payload: usize) -> Vec<u8> {
    let options = if random.one_in(6) { 4 * random.below(11) } else { 0 };
    let words = u8::try_from(5 + options / 4).unwrap_or(5);
    let length = u16::try_from(20 + options + payload).unwrap_or(u16::MAX);
    let flags = match fragment {
        Some(Fragment { offset, more, .. }) => offset | if more { 0x2000 } else { 0 },
        None => *random.pick(&[0, 0x4000]),
    };
    let id = fragment.map_or_else(|| random.half(), |fragment| fragment.id);
    let mut header = vec![0x40 | words, tos];
    header.extend(length.to_be_bytes());
    header.extend(id.to_be_bytes());
    header.extend(flags.to_be_bytes());
    header.extend([64, next]);
    header.resize(20, 0);
    random.fill(&mut header, options);
    header
}

/// A header with up to 20 extension headers; the addresses are 0.
fn ipv6(random: &mut Random, next: u8, tos: u8, fragment: Option<Fragment>, payload: usize) -> Vec<u8> {
    let count = match random.below(12) {
        0..=7 => 0,
        8 | 9 => 1,
        10 => 1 + random.below(4),
        _ => random.below(21),
    };
    let kinds = [protocol::HOP_BY_HOP, protocol::ROUTING, protocol::DESTINATION, protocol::AUTHENTICATION];
    let mut chain: Vec<u8> = (0..count).map(|_| *random.pick(&kinds)).collect();
    if fragment.is_some() || random.one_in(30) {
        chain.insert(random.below(chain.len() + 1), protocol::FRAGMENT);
    }
    chain.push(next);
    let mut extensions = Vec::new();
    for link in chain.windows(2) {
        extensions.push(link[1]);
        let words = u8::try_from(random.below(3)).unwrap_or(0);
        match link[0] {
            protocol::FRAGMENT => {
                let Fragment { id, offset, more } =
                    fragment.unwrap_or(Fragment { id: 9, offset: 0, more: false });
                extensions.push(0);
                extensions.extend((offset << 3 | u16::from(more)).to_be_bytes());
                extensions.extend(u32::from(id).to_be_bytes());
            }
            protocol::AUTHENTICATION => {
                extensions.push(words + 1);
                random.fill(&mut extensions, usize::from(words) * 4 + 10);
            }
            _ => {
                extensions.push(words);
                random.fill(&mut extensions, usize::from(words) * 8 + 6);
            }
        }
    }
    let length = u16::try_from(extensions.len() + payload).unwrap_or(u16::MAX);
    let first = 6 << 28 | u32::from(tos) << 20 | random.word() & 0xf_ffff;
    let mut header = first.to_be_bytes().to_vec();
    header.extend(length.to_be_bytes());
    header.extend([chain[0], 64]);
    header.resize(40, 0);
    header.extend(extensions);
    header
}

fn transport(random: &mut Random, wish: &Wish, next: u8) -> Vec<u8> {
    let ports = [wish.source_port, wish.destination_port];
    let ports = ports.map(|wanted| wanted.unwrap_or_else(|| pool::port(random)).to_be_bytes());
    let mut data = Vec::new();
    match next {
        protocol::TCP => {
            data.extend(ports.concat());
            random.fill(&mut data, 8);
            let words = if random.one_in(4) { 5 + random.below(11) } else { 5 };
            let value = pool::field_value(random, Field::TcpFlags);
            let flags = wish.tcp_flags.or_else(|| u8::try_from(value).ok()).unwrap_or(0);
            data.extend([u8::try_from(words << 4).unwrap_or(0x50), flags]);
            random.fill(&mut data, words * 4 - 14);
        }
        protocol::UDP => {
            data.extend(ports.concat());
            data.extend([0, 8]);
            random.fill(&mut data, 2);
        }
        _ => {
            let mut value = |field| u8::try_from(pool::field_value(random, field)).unwrap_or(0);
            let (kind, code) = (value(Field::IcmpType), value(Field::IcmpCode));
            data.extend([wish.icmp_type.unwrap_or(kind), wish.icmp_code.unwrap_or(code)]);
            random.fill(&mut data, 6);
        }
    }
    if random.one_in(30) {
        let length = random.below(data.len());
        data.truncate(length);
    }
    data
}

/// One thing that no sender would write: lengths that lie, a version that is another, any octet.
fn broken(random: &mut Random, data: &mut [u8]) {
    let octet = random.octet();
    let is_v4 = data.first().is_some_and(|first| first >> 4 == 4);
    let (at, octets): (usize, &[u8]) = match random.below(8) {
        0 => (0, &[octet]),
        1 if is_v4 => (0, &[0x40 | octet & 0x0f]),
        2 if is_v4 => (2, &[0, octet]),
        3 if is_v4 => (2, &[0, 0]),
        2 => (4, &[0, octet]),
        3 => (4, &[0, 0]),
        4 => (if is_v4 { 6 } else { 42 }, &[octet & 0x3f, octet]),
        5 => (if is_v4 { 32 } else { 52 }, &[octet]),
        6 if !is_v4 => (41, &[octet]),
        _ => (random.below(data.len().min(80)), &[octet]),
    };
    if let Some(place) = data.get_mut(at..at + octets.len()) {
        place.copy_from_slice(octets);
    }
}
