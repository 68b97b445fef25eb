//! Random sets of rules, and frames that some of their rules match.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use plan::arbitrary::Random;
use rules::form::{
    AddressTable, Addresses, CopyIndex, End, Entry, Field, Handed, Network, Number, Operator, Ranges,
    Relation, RuleId, RuleSet, Ruled, Ruling, TagIndex, Test,
};
use wire::Vlan;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    /// Anything, in any order.
    Mixed,
    /// Anything, with tags.
    Tagged,
    /// Most rules name both hosts and both ports, some only a part of them.
    Tuples,
    /// Most rules differ in one network.
    Networks,
}

/// What rules were made of, and so what frames should be made of.
pub struct World {
    pub random: Random,
    hosts: Vec<IpAddr>,
    ports: Vec<u16>,
    /// Whole conversations that rules name: source, destination, protocol, ports.
    tuples: Vec<(IpAddr, IpAddr, u8, u16, u16)>,
    tables: Vec<Arc<AddressTable>>,
}

const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMP6: u8 = 58;

impl World {
    pub fn new(random: Random) -> Self {
        let mut world =
            Self { random, hosts: Vec::new(), ports: Vec::new(), tuples: Vec::new(), tables: Vec::new() };
        for _ in 0..4 {
            let host = world.fresh_host();
            world.hosts.push(host);
            let port = world.fresh_port();
            world.ports.push(port);
        }
        for number in 0..3 {
            // One of them has enough networks to be found by itself.
            let most = if number == 0 { 120 } else { 12 };
            let entries: Vec<Entry> = (0..1 + world.random.below(most)).map(|_| world.entry()).collect();
            world.tables.push(Arc::new(AddressTable::new(format!("t{number}"), entries)));
        }
        world
    }

    fn entry(&mut self) -> Entry {
        Entry { network: self.network(), negated: self.random.one_in(4) }
    }

    fn fresh_host(&mut self) -> IpAddr {
        let low = self.random.bits();
        let [a, b, ..] = low.to_be_bytes();
        if self.random.one_in(3) {
            Ipv6Addr::new(0x2001, 0xdb8, u16::from(a & 3), 0, 0, 0, 0, u16::from(b)).into()
        } else {
            Ipv4Addr::new(10, a & 7, b, u8::try_from(low & 0xff).unwrap()).into()
        }
    }

    fn fresh_port(&mut self) -> u16 {
        u16::try_from(self.random.below(65536)).unwrap()
    }

    /// A host, known half of the time.
    fn host(&mut self) -> IpAddr {
        if self.random.one_in(2) {
            return *self.random.pick(&self.hosts);
        }
        let host = self.fresh_host();
        self.hosts.push(host);
        host
    }

    fn port(&mut self) -> u16 {
        match self.random.below(8) {
            0 => 0,
            1 => u16::MAX,
            2 | 3 => {
                let port = self.fresh_port();
                self.ports.push(port);
                port
            }
            _ => *self.random.pick(&self.ports),
        }
    }

    fn network(&mut self) -> Network {
        let host = self.host();
        let most = if host.is_ipv4() { 32 } else { 128 };
        let len = match self.random.below(4) {
            0 => most,
            1 => most - most / 4,
            2 => most / 2,
            _ => self.random.below(usize::from(most) + 1).try_into().unwrap(),
        };
        Network::new(host, len).unwrap()
    }

    fn protocol(&mut self) -> u8 {
        *self.random.pick(&[TCP, TCP, UDP, UDP, ICMP, ICMP6, 47])
    }

    pub fn set(&mut self, shape: Shape, size: usize) -> RuleSet {
        let tags: Vec<String> = (0..3).map(|tag| format!("tag{tag}")).collect();
        let rulings = (0..size).map(|at| self.ruling(shape, at, size)).collect();
        RuleSet::new(rulings, tags)
    }

    fn ruling(&mut self, shape: Shape, at: usize, size: usize) -> Ruling {
        let when = match shape {
            Shape::Tuples if !self.random.one_in(9) => self.tuple(),
            Shape::Networks if !self.random.one_in(9) => {
                let end = if self.random.one_in(3) { End::Source } else { End::Destination };
                let one = Test::Address(end, Addresses::Network(self.network()));
                if self.random.one_in(2) {
                    one
                } else {
                    Test::All(vec![self.is(Field::Protocol, TCP.into()), one])
                }
            }
            // A rule that holds for all frames hides those below it, so there are few.
            _ if self.random.one_in(2 * size + 4) => Test::Always,
            _ => self.conjunction(size),
        };
        let tag = |random: &mut Random| TagIndex(u16::try_from(random.below(3)).unwrap());
        let tagged = shape == Shape::Tagged;
        let rule = RuleId(u32::try_from(at).unwrap());
        let quick = self.random.one_in(if tagged { 12 } else { 3 });
        let verdict = match self.random.below(8) {
            0 if !quick || tagged => Ruled::Match,
            1..=3 => Ruled::Block,
            _ => Ruled::Pass(Handed::Copy(CopyIndex(0))),
        };
        Ruling {
            rule,
            when,
            tagged: (tagged && self.random.one_in(2)).then(|| (tag(&mut self.random), self.random.one_in(2))),
            chance: self.random.one_in(12).then(|| u32::try_from(self.random.bits() >> 32).unwrap()),
            quick,
            verdict,
            tag: (tagged && self.random.one_in(2)).then(|| tag(&mut self.random)),
        }
    }

    fn is(&self, field: Field, value: u32) -> Test {
        Test::Within(Number::Field(field), Ranges::one(value))
    }

    fn at(&self, end: End, host: IpAddr) -> Test {
        Test::Address(end, Addresses::Network(Network::host(host)))
    }

    fn tuple(&mut self) -> Test {
        let source = self.host();
        let mut destination = self.host();
        while destination.is_ipv4() != source.is_ipv4() {
            destination = self.fresh_host();
        }
        let protocol = *self.random.pick(&[TCP, UDP]);
        let (from, to) = (self.port(), self.port());
        self.tuples.push((source, destination, protocol, from, to));
        let ends = [self.at(End::Source, source), self.at(End::Destination, destination)];
        let mut tests = match self.random.below(10) {
            0 => vec![self.is(Field::DestinationPort, to.into())],
            1 => vec![ends[0].clone(), self.is(Field::DestinationPort, to.into())],
            _ => {
                let mut tests = ends.to_vec();
                tests.push(self.is(Field::SourcePort, from.into()));
                tests.push(self.is(Field::DestinationPort, to.into()));
                tests
            }
        };
        tests.push(self.is(Field::Protocol, protocol.into()));
        Test::All(tests)
    }

    fn conjunction(&mut self, size: usize) -> Test {
        // Many rules that each match often would hide each other.
        let least = if size > 50 { 3 } else { 1 };
        let count = least + self.random.below(4);
        match self.random.below(20) {
            0 => Test::Not(Box::new(self.some(count))),
            1 => Test::All(vec![Test::Any((0..2).map(|_| self.some(2)).collect()), self.one()]),
            _ => self.some(count),
        }
    }

    fn some(&mut self, count: usize) -> Test {
        Test::All((0..count).map(|_| self.one()).collect())
    }

    fn ranges(&mut self) -> Ranges {
        let (a, b) = (u32::from(self.port()), u32::from(self.port()));
        match self.random.below(5) {
            0 => Ranges::one(a),
            1 => Ranges::new([(a, u32::MAX)]),
            2 => Ranges::new([(0, a)]),
            3 => Ranges::new([(a.min(b), a.max(b)), (443, 443), (70_000, 80_000)]),
            _ => Ranges::new([(a.min(b), a.max(b))]),
        }
    }

    fn one(&mut self) -> Test {
        let end = if self.random.one_in(2) { End::Source } else { End::Destination };
        let port = if end == End::Source { Field::SourcePort } else { Field::DestinationPort };
        match self.random.below(16) {
            0 => self.is(Field::Version, if self.random.clone().one_in(3) { 6 } else { 4 }),
            1 => {
                let protocol = self.protocol();
                self.is(Field::Protocol, protocol.into())
            }
            2 => Test::Within(Number::Field(Field::Tos), Ranges::new([(0, 7), (0x20, 0xf0)])),
            3..=6 => Test::Within(Number::Field(port), self.ranges()),
            7 => {
                let mask = *self.random.pick(&[0x02, 0x12, 0x17, 0xff]);
                let flags = Number::Field(Field::TcpFlags).with(Operator::And, Number::Constant(mask));
                Test::Compare(flags, Relation::Equal, Number::Constant(mask & 0x12))
            }
            8 => match self.random.below(3) {
                0 => self.is(Field::IcmpType, 8),
                1 => Test::All(vec![self.is(Field::IcmpType, 3), self.is(Field::IcmpCode, 1)]),
                _ => {
                    let (a, b) = (Number::Field(Field::SourcePort), Number::Field(Field::DestinationPort));
                    let relation =
                        *self.random.pick(&[Relation::Equal, Relation::Greater, Relation::AtLeast]);
                    Test::Compare(a.with(Operator::Add, Number::Constant(3)), relation, b)
                }
            },
            9 => Test::Vlan((0..8).filter_map(|id| Vlan::new(id * 3)).collect()),
            10 => {
                let (a, b) = (self.host(), self.host());
                let (first, last) = if a.is_ipv4() == b.is_ipv4() { (a.min(b), a.max(b)) } else { (a, a) };
                Test::Address(end, Addresses::Range(first, last))
            }
            11 => {
                let table = self.random.below(self.tables.len());
                let test = Test::Address(end, Addresses::Table(Arc::clone(&self.tables[table])));
                if self.random.one_in(3) { Test::Not(Box::new(test)) } else { test }
            }
            12 => Test::Not(Box::new(Test::Within(Number::Field(port), self.ranges()))),
            _ => Test::Address(end, Addresses::Network(self.network())),
        }
    }

    /// A frame, most often with what the rules were made of.
    pub fn frame(&mut self) -> Vec<u8> {
        let known =
            (!self.tuples.is_empty() && !self.random.one_in(4)).then(|| *self.random.pick(&self.tuples));
        let (mut source, mut destination, mut protocol, mut from, mut to) = known.unwrap_or_else(|| {
            let source = *self.random.pick(&self.hosts);
            let alike: Vec<IpAddr> =
                self.hosts.iter().copied().filter(|host| host.is_ipv4() == source.is_ipv4()).collect();
            let destination = *self.random.pick(&alike);
            (source, destination, self.protocol(), self.port(), self.port())
        });
        // Beside what a rule names.
        match self.random.below(14) {
            0 => (source, destination) = (destination, source),
            1 => protocol = self.protocol(),
            2 => from = self.port(),
            3 => to = to.wrapping_add(1),
            _ => {}
        }
        self.build(source, destination, protocol, [from, to])
    }

    fn build(&mut self, source: IpAddr, destination: IpAddr, protocol: u8, ports: [u16; 2]) -> Vec<u8> {
        let mut data = vec![2; 12];
        if self.random.one_in(3) {
            let id = u16::try_from(self.random.below(30)).unwrap();
            data.extend([0x81, 0x00].into_iter().chain(id.to_be_bytes()));
        }
        if self.random.one_in(40) {
            data.extend([0x08, 0x06, 0, 1, 8, 0, 6, 4]);
            return data;
        }
        let tos = u8::try_from(self.random.below(256)).unwrap();
        let fragment: u16 = *self.random.pick(&[0, 0, 0, 0, 0, 0, 0x2000, 0x0010]);
        let mut transport: Vec<u8> = match protocol {
            TCP | UDP => ports.iter().flat_map(|port| port.to_be_bytes()).collect(),
            _ => vec![*self.random.pick(&[8, 0, 3, 128]), u8::try_from(self.random.below(3)).unwrap(), 0, 0],
        };
        transport.resize(20, 0);
        if protocol == TCP {
            (transport[12], transport[13]) = (0x50, *self.random.pick(&[0x02, 0x12, 0x10, 0x18]));
        }
        match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                data.extend([0x08, 0x00, 0x45, tos, 0, 40, 0, 7]);
                data.extend(fragment.to_be_bytes());
                data.extend([64, protocol, 0, 0]);
                data.extend(source.octets().into_iter().chain(destination.octets()));
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                data.extend([0x86, 0xdd, 0x60 | tos >> 4, tos << 4, 0, 0, 0, 20, protocol, 64]);
                data.extend(source.octets().into_iter().chain(destination.octets()));
            }
            _ => {}
        }
        data.extend(transport);
        if self.random.one_in(10) {
            data.truncate(14 + self.random.below(60));
        }
        data
    }
}
