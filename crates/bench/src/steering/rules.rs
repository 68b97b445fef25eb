//! Sets of rules that are the same in every run, as pf rules and as nft rules, and frames that they meet.

use std::fmt::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rules::form::{GOLDEN, Network, mixed};
use wire::headers::protocol;

use crate::frame::Ends;

/// What the rules of a set look like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    /// Protocol, both addresses and both ports, each exact.
    Tuples,
    /// A network that frames come from.
    Networks,
    /// Any mix of networks of many lengths, ranges of ports, protocols and families: nothing that hashes.
    Mixed,
    /// As mixed, and with all else that a rule may ask for.
    Arbitrary,
}

/// Rules of one shape. The last one, and no other, matches the frames of [`Set::hit`]; none matches those of
/// [`Set::MISS`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Set {
    rules: Vec<Rule>,
    /// What the last rule matches.
    pub hit: Ends,
}

/// One rule; copies go to the first monitor for rules of even place, counted from the end, and to the second for
/// others, so that no two neighbours say the same.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Rule {
    ipv4: bool,
    protocol: Option<u8>,
    source: Option<Network>,
    source_ports: Option<Ports>,
    destination: Option<Network>,
    destination_ports: Option<Ports>,
    /// Words behind the rule that only pf rules have.
    further: &'static str,
}

/// Which ports.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ports {
    /// From the first to the last.
    Range(u16, u16),
    /// All but those from the first to the last.
    Outside(u16, u16),
}

impl Ports {
    fn contains(self, port: u16) -> bool {
        match self {
            Self::Range(first, last) => (first..=last).contains(&port),
            Self::Outside(first, last) => !(first..=last).contains(&port),
        }
    }
}

/// The seed of all sets.
const SEED: u64 = 20_261_122;

impl Set {
    /// What no rule matches, though rules have networks near it.
    pub const MISS: Ends = Ends {
        protocol: protocol::TCP,
        source: IpAddr::V4(Ipv4Addr::new(10, 254, 17, 1)),
        source_port: 40_000,
        destination: IpAddr::V4(Ipv4Addr::new(10, 254, 17, 2)),
        destination_port: 9,
    };

    /// So many rules of a shape.
    pub fn new(shape: Shape, count: usize) -> Self {
        let mut dice = Dice(SEED);
        let hit = Ends {
            protocol: protocol::TCP,
            source: IpAddr::V4(Ipv4Addr::new(10, 7, 7, 7)),
            source_port: 34_567,
            destination: IpAddr::V4(Ipv4Addr::new(10, 8, 8, 8)),
            destination_port: 443,
        };
        let last = match shape {
            Shape::Tuples => Rule::tuple(&hit),
            Shape::Networks => Rule::from(network(hit.source, 24)),
            Shape::Mixed | Shape::Arbitrary => Rule {
                source: Some(network(hit.source, 19)),
                source_ports: Some(Ports::Range(30_000, 40_000)),
                destination: Some(network(hit.destination, 13)),
                ..Rule::tuple(&hit)
            },
        };
        let mut known = std::collections::HashSet::new();
        let mut rules = Vec::with_capacity(count);
        while rules.len() + 1 < count {
            let rule = dice.rule(shape);
            let text = format!("{rule:?}");
            if !rule.matches(&hit) && !rule.matches(&Self::MISS) && known.insert(text) {
                rules.push(rule);
            }
        }
        rules.push(last);
        Self { rules, hit }
    }

    /// As pf rules for what enters at `a`.
    pub fn pf(&self) -> String {
        let mut text = String::new();
        for (rule, monitor) in self.with_monitors() {
            let next_hop = if rule.ipv4 { "192.0.2.1" } else { "2001:db8:ffff::1" };
            let _ = writeln!(text, "pass in on a dup-to (m{monitor} {next_hop}) {rule}");
        }
        text
    }

    /// As one pf rule with a table of networks: of rules that ask for nothing but one.
    pub fn pf_table(&self) -> String {
        let networks = self.rules.iter().filter_map(|rule| rule.source).map(|network| network.to_string());
        let networks: Vec<String> = networks.collect();
        format!(
            "table <them> const {{ {} }}\npass in on a dup-to (m1 192.0.2.1) inet from <them> to any\n",
            networks.join(", ")
        )
    }

    /// As nft rules one after the other, each of which ends the chain. What nft has no words for is left out.
    pub fn nft(&self) -> String {
        let rules = self.with_monitors();
        chain(rules.map(|(rule, monitor)| format!("{} dup to \"m{monitor}\" fwd to \"b\"", rule.nft())))
    }

    /// As an nft set of five-tuples, or of networks: one lookup, and copies to the first monitor.
    pub fn nft_set(&self, shape: Shape) -> String {
        let (kind, key): (&str, &str) = match shape {
            Shape::Tuples => (
                "type ipv4_addr . inet_service . ipv4_addr . inet_service ;",
                "ip saddr . tcp sport . ip daddr . tcp dport",
            ),
            _ => ("type ipv4_addr ; flags interval ; auto-merge ;", "ip saddr"),
        };
        let element = |rule: &Rule| match (shape, rule.source, rule.destination) {
            (Shape::Tuples, Some(source), Some(destination)) => {
                let port = |ports: Option<Ports>| match ports {
                    Some(Ports::Range(first, _)) => first,
                    _ => 0,
                };
                let (from, to) = (port(rule.source_ports), port(rule.destination_ports));
                Some(format!("{source} . {from} . {destination} . {to}"))
            }
            (_, source, _) => source.map(|network| network.to_string()),
        };
        let elements: Vec<String> = self.rules.iter().filter_map(element).collect();
        format!(
            "table netdev t {{\n set s {{ {kind} elements = {{ {} }} }}\n chain c {{\n  \
             type filter hook ingress device \"a\" priority 0 ;\n  \
             {key} @s dup to \"m1\" fwd to \"b\"\n  fwd to \"b\"\n }}\n}}\n",
            elements.join(", ")
        )
    }

    fn with_monitors(&self) -> impl Iterator<Item = (&Rule, usize)> {
        let count = self.rules.len();
        self.rules.iter().enumerate().map(move |(at, rule)| (rule, 1 + (count - 1 - at) % 2))
    }
}

/// An nft script of one chain: these rules, and then everything to `b`.
pub fn chain(rules: impl Iterator<Item = String>) -> String {
    let rules: String = rules.map(|rule| format!("  {rule}\n")).collect();
    format!(
        "table netdev t {{\n chain c {{\n  type filter hook ingress device \"a\" priority 0 ;\n{rules}  \
         fwd to \"b\"\n }}\n}}\n"
    )
}

/// The network of this length that an address lies in.
fn network(address: IpAddr, len: u8) -> Network {
    Network::new(address, len).expect("lengths here fit the family")
}

impl Rule {
    fn tuple(ends: &Ends) -> Self {
        Self {
            ipv4: ends.source.is_ipv4(),
            protocol: Some(ends.protocol),
            source: Some(Network::host(ends.source)),
            source_ports: Some(Ports::Range(ends.source_port, ends.source_port)),
            destination: Some(Network::host(ends.destination)),
            destination_ports: Some(Ports::Range(ends.destination_port, ends.destination_port)),
            further: "",
        }
    }

    fn from(source: Network) -> Self {
        Self {
            ipv4: source.address().is_ipv4(),
            protocol: None,
            source: Some(source),
            source_ports: None,
            destination: None,
            destination_ports: None,
            further: "",
        }
    }

    /// Whether it matches, whatever stands in `further`.
    fn matches(&self, ends: &Ends) -> bool {
        self.ipv4 == ends.source.is_ipv4()
            && self.protocol.is_none_or(|protocol| protocol == ends.protocol)
            && self.source.is_none_or(|network| network.contains(ends.source))
            && self.destination.is_none_or(|network| network.contains(ends.destination))
            && self.source_ports.is_none_or(|ports| ports.contains(ends.source_port))
            && self.destination_ports.is_none_or(|ports| ports.contains(ends.destination_port))
    }

    fn nft(&self) -> String {
        let mut words = Vec::new();
        let ip = if self.ipv4 { "ip" } else { "ip6" };
        let name = self.protocol.map(protocol_name);
        for (key, network) in [("saddr", self.source), ("daddr", self.destination)] {
            words.extend(network.map(|network| format!("{ip} {key} {network}")));
        }
        if self.source.is_none() && self.destination.is_none() {
            words.push(format!("meta protocol {ip}"));
        }
        let ports = [("sport", self.source_ports), ("dport", self.destination_ports)];
        if ports.iter().all(|(_, ports)| ports.is_none()) {
            words.extend(name.map(|name| format!("meta l4proto {name}")));
        }
        for (key, ports) in ports {
            let name = name.unwrap_or("th");
            words.extend(ports.map(|ports| match ports {
                Ports::Range(first, last) if first == last => format!("{name} {key} {first}"),
                Ports::Range(first, last) => format!("{name} {key} {first}-{last}"),
                Ports::Outside(first, last) => format!("{name} {key} != {first}-{last}"),
            }));
        }
        words.join(" ")
    }
}

fn protocol_name(number: u8) -> &'static str {
    if number == protocol::TCP { "tcp" } else { "udp" }
}

/// As behind `pass in on a dup-to (m1 192.0.2.1)` in a pf rule.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.ipv4 { "inet" } else { "inet6" })?;
        if let Some(protocol) = self.protocol {
            write!(f, " proto {}", protocol_name(protocol))?;
        }
        let ends =
            [("from", self.source, self.source_ports), ("to", self.destination, self.destination_ports)];
        for (word, network, ports) in ends {
            match network {
                Some(network) => write!(f, " {word} {network}")?,
                None => write!(f, " {word} any")?,
            }
            match ports {
                Some(Ports::Range(first, last)) if first == last => write!(f, " port {first}")?,
                Some(Ports::Range(first, last)) => write!(f, " port {first}:{last}")?,
                Some(Ports::Outside(first, last)) => write!(f, " port {first} <> {last}")?,
                None => {}
            }
        }
        f.write_str(self.further)
    }
}

/// Numbers that are the same in every run (SplitMix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u32) -> u32 {
        self.0 = self.0.wrapping_add(GOLDEN);
        u32::try_from((mixed(self.0) >> 32) % u64::from(bound)).expect("a remainder is below its divisor")
    }

    fn half(&mut self) -> u16 {
        u16::try_from(self.below(1 << 16)).expect("below 2^16")
    }

    /// From 10.0.0.0/8.
    fn ipv4(&mut self) -> IpAddr {
        let [_, a, b, c] = self.below(1 << 24).to_be_bytes();
        IpAddr::from([10, a, b, c])
    }

    /// From 2001:db8::/32.
    fn ipv6(&mut self) -> IpAddr {
        let mut words = [0x2001, 0xdb8, 0, 0, 0, 0, 0, 0];
        words[2..].fill_with(|| self.half());
        IpAddr::V6(Ipv6Addr::from(words))
    }

    fn rule(&mut self, shape: Shape) -> Rule {
        match shape {
            Shape::Tuples => {
                let ends = Ends {
                    protocol: protocol::TCP,
                    source: self.ipv4(),
                    source_port: 1024 + self.half() / 2,
                    destination: self.ipv4(),
                    destination_port: 1 + self.half() / 2,
                };
                Rule::tuple(&ends)
            }
            Shape::Networks => {
                let len = 16 + u8::try_from(self.below(17)).expect("below 17");
                Rule::from(network(self.ipv4(), len))
            }
            Shape::Mixed => self.mixed(),
            Shape::Arbitrary => {
                let mut rule = self.mixed();
                rule.further = match (self.below(4), rule.protocol) {
                    (0, Some(protocol::TCP)) => " flags S/SA",
                    (1, Some(protocol::TCP)) => " flags F/SFRA",
                    (2, _) => " tos 0x10",
                    _ => "",
                };
                rule
            }
        }
    }

    fn mixed(&mut self) -> Rule {
        let ipv4 = self.below(3) != 0;
        let protocol = match self.below(3) {
            0 => Some(protocol::TCP),
            1 => Some(protocol::UDP),
            _ => None,
        };
        let mut network = |always: bool| {
            if !always && self.below(4) == 0 {
                return None;
            }
            let address = if ipv4 { self.ipv4() } else { self.ipv6() };
            let (least, most) = if ipv4 { (9, 32) } else { (33, 128) };
            let len = u8::try_from(least + self.below(most - least + 1)).expect("at most 128");
            Some(self::network(address, len))
        };
        let (source, destination) = (network(true), network(false));
        let mut ports = || {
            let (one, other) = (1 + self.half() / 2, 1 + self.half() / 2);
            let (first, last) = (one.min(other), one.max(other));
            // Ports are a matter of TCP and UDP alone.
            match (protocol, self.below(4)) {
                (None, _) | (_, 0) => None,
                (_, 1) => Some(Ports::Range(first, first)),
                (_, 2) => Some(Ports::Range(first, last)),
                _ => Some(Ports::Outside(first, last)),
            }
        };
        let (source_ports, destination_ports) = (ports(), ports());
        Rule { ipv4, protocol, source, source_ports, destination, destination_ports, further: "" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPES: [Shape; 4] = [Shape::Tuples, Shape::Networks, Shape::Mixed, Shape::Arbitrary];

    #[test]
    fn the_last_rule_alone_matches_and_no_two_are_alike() {
        for shape in SHAPES {
            let set = Set::new(shape, 300);
            assert_eq!(set.rules.len(), 300);
            let matching = |ends: &Ends| set.rules.iter().filter(|rule| rule.matches(ends)).count();
            assert_eq!((matching(&set.hit), matching(&Set::MISS)), (1, 0), "{shape:?}");
            assert!(set.rules[299].matches(&set.hit));
            let (pf, mut lines) = (set.pf(), set.pf().lines().map(str::to_owned).collect::<Vec<_>>());
            lines.sort_unstable();
            lines.dedup();
            assert_eq!((lines.len(), pf.lines().count()), (300, 300), "{shape:?}");
            assert!(pf.lines().last().unwrap().contains("dup-to (m1 "));
        }
    }

    #[test]
    fn one_rule_is_the_last_one() {
        let set = Set::new(Shape::Tuples, 1);
        assert_eq!(
            set.pf(),
            "pass in on a dup-to (m1 192.0.2.1) inet proto tcp from 10.7.7.7 port 34567 to 10.8.8.8 port 443\n"
        );
        assert!(set.nft().contains(
            "ip saddr 10.7.7.7 ip daddr 10.8.8.8 tcp sport 34567 tcp dport 443 dup to \"m1\" fwd to \"b\""
        ));
    }
}
