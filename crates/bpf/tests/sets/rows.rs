//! Sets of one kind and any size, made alike each time, and frames for them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use plan::arbitrary::Random;
use rules::form::{
    Addresses, End, Field, Handed, Network, Number, Ranges, RuleId, RuleSet, Ruled, Ruling, Test,
};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Both hosts, both ports and the protocol.
    FiveTuples,
    /// `from NET to any`.
    Networks,
    /// Two networks, ranges of both ports and a protocol, no two alike.
    Arbitrary,
    /// As arbitrary, of which the bitmaps would take too much memory, or that are no boxes.
    Odd,
    /// As arbitrary, with tags.
    Tagged,
}

fn is(field: Field, value: u32) -> Test {
    Test::Within(Number::Field(field), Ranges::one(value))
}

fn network(end: End, address: impl Into<IpAddr>, len: u8) -> Test {
    Test::Address(end, Addresses::Network(Network::new(address.into(), len).unwrap()))
}

fn half(random: &mut Random) -> u32 {
    u32::try_from(random.below(1 << 16)).unwrap()
}

fn address(random: &mut Random) -> Ipv4Addr {
    // Not the networks of the frames that hit nothing.
    Ipv4Addr::from(0x0a00_0000 | u32::try_from(random.below(1 << 23)).unwrap())
}

fn test(kind: Kind, random: &mut Random) -> Test {
    let protocol = if random.one_in(2) { 6 } else { 17 };
    match kind {
        Kind::FiveTuples => Test::All(vec![
            is(Field::Protocol, protocol),
            network(End::Source, address(random), 32),
            network(End::Destination, address(random), 32),
            is(Field::SourcePort, half(random)),
            is(Field::DestinationPort, half(random)),
        ]),
        Kind::Networks => network(End::Source, address(random), 20 + u8::try_from(random.below(10)).unwrap()),
        Kind::Arbitrary | Kind::Odd | Kind::Tagged => {
            let (a, b) = (half(random), half(random));
            let source = match random.one_in(5) {
                true => network(
                    End::Source,
                    Ipv6Addr::new(0x2001, 0xdb8, a.try_into().unwrap(), 0, 0, 0, 0, 0),
                    48,
                ),
                false => network(End::Source, address(random), 16 + u8::try_from(random.below(16)).unwrap()),
            };
            let mut tests = vec![
                is(Field::Protocol, protocol),
                source,
                Test::Within(Number::Field(Field::SourcePort), Ranges::new([(a.min(b), a.max(b))])),
            ];
            if !random.one_in(3) {
                let range = (half(random) / 2, 32_768 + half(random) / 2);
                tests.push(Test::Within(Number::Field(Field::DestinationPort), Ranges::new([range])));
            }
            let last =
                network(End::Destination, address(random), 8 + u8::try_from(random.below(24)).unwrap());
            match kind {
                // Whether one port is above the other is no matter of one dimension.
                Kind::Odd => tests.push(Test::Compare(
                    Number::Field(Field::SourcePort),
                    rules::form::Relation::Greater,
                    Number::Field(Field::DestinationPort),
                )),
                _ => tests.push(last),
            }
            Test::All(tests)
        }
    }
}

/// So many rules, none of which holds for every frame.
pub fn set(kind: Kind, size: usize) -> RuleSet {
    let mut random = Random::new(7);
    let rulings = (0..size).map(|at| Ruling {
        rule: RuleId(u32::try_from(at).unwrap()),
        when: test(kind, &mut random),
        tagged: (kind == Kind::Tagged && at % 2 == 1).then_some((rules::form::TagIndex(0), at % 4 == 1)),
        chance: None,
        quick: at % 3 == 0,
        verdict: if at % 2 == 0 { Ruled::Block } else { Ruled::Pass(Handed::Nobody) },
        tag: (kind == Kind::Tagged && at % 8 == 0).then_some(rules::form::TagIndex(0)),
    });
    RuleSet::new(rulings.collect(), vec!["tag".to_owned()])
}

/// A frame of TCP over IPv4 that no rule, or some, may match.
pub fn frame(random: &mut Random) -> Vec<u8> {
    let mut data = vec![2; 12];
    data.extend([0x08, 0x00, 0x45, 0, 0, 40, 0, 7, 0, 0, 64, 6, 0, 0]);
    data.extend(address(random).octets().into_iter().chain(address(random).octets()));
    let ports = [half(random), half(random)];
    data.extend(ports.iter().flat_map(|port| u16::try_from(*port).unwrap().to_be_bytes()));
    data.resize(54, 0);
    data[14 + 20 + 12] = 0x50;
    data
}
