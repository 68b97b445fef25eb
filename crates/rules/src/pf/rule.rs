//! A rule as it stands after expansion: one interface, one protocol, one address and one port at each end.

use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;

use crate::form::{Addresses, End, Field, Number, Ranges, Test};

/// What a rule does with the frames that it decides about.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Action {
    /// They pass.
    Pass,
    /// They do not pass.
    Block,
    /// It decides nothing, and only sets its tag.
    Match,
}

/// Which way frames go, seen from the tap.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Direction {
    /// They enter the tap.
    In,
    /// They leave it.
    Out,
}

/// The interface that a rule is limited to.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct On {
    /// Its name: a port of the config or an interface of Linux.
    pub interface: String,
    /// Set for `on ! name`: every interface but this.
    pub negated: bool,
}

/// An IP version.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Family {
    /// IPv4, `inet`.
    V4,
    /// IPv6, `inet6`.
    V6,
}

impl Family {
    /// The family of an address.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// 4 or 6.
    pub fn version(self) -> u32 {
        match self {
            Self::V4 => 4,
            Self::V6 => 6,
        }
    }
}

/// One end of the conversation: its address and its port. What is `None` may be anything.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Peer {
    /// The address.
    pub host: Option<Host>,
    /// The port, of TCP or UDP.
    pub port: Option<PortMatch>,
}

/// Addresses, or all the others.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Host {
    /// Which.
    pub addresses: Addresses,
    /// Set for `!`: all the others.
    pub negated: bool,
}

impl Host {
    /// The family, where the addresses are of one; tables hold both.
    pub fn family(&self) -> Option<Family> {
        match &self.addresses {
            Addresses::Network(network) => Some(Family::of(network.address())),
            Addresses::Range(first, _) => Some(Family::of(*first)),
            Addresses::Table(_) => None,
        }
    }

    /// Whether these are all addresses of a family.
    pub fn is_any(&self) -> bool {
        matches!(&self.addresses, Addresses::Network(network) if network.prefix_len() == 0)
    }
}

/// Ports by operator.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum PortMatch {
    /// `= n`
    Equal(u16),
    /// `!= n`
    NotEqual(u16),
    /// `< n`
    Less(u16),
    /// `<= n`
    AtMost(u16),
    /// `> n`
    Greater(u16),
    /// `>= n`
    AtLeast(u16),
    /// `a >< b`: between them, neither of them.
    Between(u16, u16),
    /// `a <> b`: below the first or above the second.
    Outside(u16, u16),
    /// `a:b`: from one to the other, both of them.
    Range(u16, u16),
}

impl PortMatch {
    /// The ports as ranges; where a frame has no port, none of them matches.
    pub fn ranges(self) -> Ranges {
        const LAST: u32 = 0xffff;
        let below = |port: u16| u32::from(port).checked_sub(1).map(|last| (0, last));
        let above = |port: u16| (u32::from(port) + 1, LAST);
        match self {
            Self::Equal(port) => Ranges::one(port.into()),
            Self::NotEqual(port) => Ranges::one(port.into()).complement(LAST),
            Self::Less(port) => Ranges::new(below(port)),
            Self::AtMost(port) => Ranges::new([(0, port.into())]),
            Self::Greater(port) => Ranges::new([above(port)]),
            Self::AtLeast(port) => Ranges::new([(port.into(), LAST)]),
            Self::Between(first, last) => {
                Ranges::new(below(last).map(|(_, end)| (u32::from(first) + 1, end)))
            }
            Self::Outside(first, last) => Ranges::new(below(first).into_iter().chain([above(last)])),
            Self::Range(first, last) => Ranges::new([(first.into(), last.into())]),
        }
    }
}

/// Flags of TCP: of those in `of`, exactly those in `set` are set.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Flags {
    /// Those that are set.
    pub set: u8,
    /// Those that are looked at.
    pub of: u8,
}

/// A type of ICMP or ICMPv6, and perhaps a code.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Icmp {
    /// The type.
    pub kind: u8,
    /// The code.
    pub code: Option<u8>,
}

/// Where a rule sends its copy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pool {
    /// How one of several is chosen.
    pub method: PoolMethod,
    /// Set for `sticky-address`: a source always goes to the same target.
    pub sticky: bool,
    /// One or more.
    pub targets: Vec<Target>,
}

/// How one of several targets is chosen.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum PoolMethod {
    /// There is one.
    Single,
    /// Each in its turn.
    RoundRobin,
    /// By chance.
    Random,
    /// By the source address. The key is kept as it was written and decides nothing.
    SourceHash(Option<String>),
}

/// One target of `dup-to`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    /// Its name: a port of the config or an interface of Linux.
    pub interface: String,
    /// The next hop, which a tap does not need: it says no more than the family.
    pub address: Option<IpAddr>,
    /// Octets of the rule file that name it.
    pub span: Range<usize>,
}

/// One rule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rule {
    /// Octets of the rule file that it was written in; rules of one statement have the same.
    pub origin: Range<usize>,
    /// Line of the statement, from 1.
    pub line: u32,
    /// Column of the statement in characters, from 1.
    pub column: u32,
    /// What it does.
    pub action: Action,
    /// Which way frames go.
    pub direction: Option<Direction>,
    /// Whether no later rule is tried once it matches.
    pub quick: bool,
    /// The interface that it is limited to.
    pub on: Option<On>,
    /// The IP version, written or implied.
    pub family: Option<Family>,
    /// The IP protocol.
    pub protocol: Option<u8>,
    /// Where frames came from.
    pub source: Peer,
    /// Where they go.
    pub destination: Peer,
    /// Flags of TCP.
    pub flags: Option<Flags>,
    /// Type of ICMP or ICMPv6.
    pub icmp: Option<Icmp>,
    /// Type of service or traffic class, all eight bits.
    pub tos: Option<u8>,
    /// The share of frames for which it matches, as a part of 2^32.
    pub chance: Option<u32>,
    /// A name for people and counters.
    pub label: Option<String>,
    /// The tag that a frame bears from here on.
    pub tag: Option<String>,
    /// The tag that a frame must bear, or (`true`) must not.
    pub tagged: Option<(String, bool)>,
    /// Where its copy goes.
    pub dup_to: Option<Arc<Pool>>,
}

impl Rule {
    /// Whether the rule speaks of frames that enter by one port and leave by another; `None` where they leave
    /// by none, as those of a SPAN port.
    pub fn applies(&self, entering: &str, leaving: Option<&str>) -> bool {
        let is_on = |port: &str| match &self.on {
            Some(on) => (on.interface == port) != on.negated,
            None => true,
        };
        match self.direction {
            Some(Direction::In) => is_on(entering),
            Some(Direction::Out) => leaving.is_some_and(is_on),
            None => is_on(entering) || leaving.is_some_and(is_on),
        }
    }

    /// What a frame must look like: all of some tests of fields and addresses. A frame without an IP header
    /// never does.
    pub fn test(&self) -> Test {
        let field = |field, ranges| Test::Within(Number::Field(field), ranges);
        let one = |of, value: u8| field(of, Ranges::one(value.into()));
        let mut tests = Vec::new();
        let ends = [(End::Source, &self.source), (End::Destination, &self.destination)];
        let hosts: Vec<(End, &Host)> = ends
            .iter()
            .filter_map(|(end, peer)| peer.host.as_ref().map(|host| (*end, host)))
            .filter(|(_, host)| !host.is_any())
            .collect();
        // An address of the family says as much as the version does.
        let said = hosts.iter().any(|(_, host)| !host.negated && host.family().is_some());
        match self.family {
            Some(family) if !said => tests.push(field(Field::Version, Ranges::one(family.version()))),
            None if self.needs_ip(&hosts) => {
                tests.push(field(Field::Version, Ranges::new([(4, 4), (6, 6)])));
            }
            _ => {}
        }
        tests.extend(self.protocol.map(|protocol| one(Field::Protocol, protocol)));
        for (end, host) in hosts {
            let test = Test::Address(end, host.addresses.clone());
            tests.push(if host.negated { Test::Not(Box::new(test)) } else { test });
        }
        tests.extend(self.source.port.map(|port| field(Field::SourcePort, port.ranges())));
        tests.extend(self.destination.port.map(|port| field(Field::DestinationPort, port.ranges())));
        if let Some(Flags { set, of }) = self.flags {
            let matching = (0..=u8::MAX).filter(|flags| flags & of == set);
            let ranges = Ranges::new(matching.map(|flags| (flags.into(), flags.into())));
            tests.push(field(Field::TcpFlags, ranges));
        }
        if let Some(Icmp { kind, code }) = self.icmp {
            tests.push(one(Field::IcmpType, kind));
            tests.extend(code.map(|code| one(Field::IcmpCode, code)));
        }
        tests.extend(self.tos.map(|tos| one(Field::Tos, tos)));
        Test::All(tests)
    }

    /// Whether no other test asks for an IP header of what matches.
    fn needs_ip(&self, hosts: &[(End, &Host)]) -> bool {
        self.protocol.is_none() && self.tos.is_none() && hosts.iter().all(|(_, host)| host.negated)
            || hosts.iter().any(|(_, host)| host.negated)
    }
}
