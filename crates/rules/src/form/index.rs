//! Which rules of a set a frame's addresses and ports do not rule out.
//!
//! Each rule that asks for a network or a single port is filed under one such demand: of all that it makes, the
//! one that fewest rules share. Whatever is not filed is always left to try. So the rules that are left hold
//! every one that matches, and mostly few others; how many rules there are does not matter then.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::net::IpAddr;

use super::fields::Fields;
use super::memory::{GOLDEN, mixed};
use super::number::{Field, Number};
use super::ruleset::RuleSet;
use super::{Addresses, End, Network, Test};

/// The rules of a set by what they ask for.
#[derive(Clone, Debug)]
pub(super) struct Index {
    filed: HashMap<Demand, Vec<u32>, BuildHasherDefault<Mixer>>,
    /// Ends and lengths of prefixes that occur in `filed`, each once.
    prefixes: Vec<(End, bool, u8)>,
    /// Ends whose ports occur in `filed`.
    ports: Vec<End>,
    /// Rules that are not filed.
    others: Vec<u32>,
}

/// What a rule cannot match without.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Demand {
    Network(End, Network),
    Port(End, u32),
}

impl Index {
    pub(super) fn of(set: &RuleSet) -> Self {
        let demands: Vec<Vec<Demand>> = set.rulings().iter().map(|ruling| demands(&ruling.when)).collect();
        let mut shared: HashMap<Demand, usize> = HashMap::new();
        for demand in demands.iter().flatten() {
            *shared.entry(*demand).or_default() += 1;
        }
        let mut index =
            Self { filed: HashMap::default(), prefixes: Vec::new(), ports: Vec::new(), others: Vec::new() };
        for (rule, demands) in (0u32..).zip(&demands) {
            match demands.iter().min_by_key(|demand| shared[*demand]) {
                Some(demand) => index.filed.entry(*demand).or_default().push(rule),
                None => index.others.push(rule),
            }
        }
        for demand in index.filed.keys() {
            match demand {
                Demand::Network(end, network) => {
                    index.prefixes.push((*end, network.address().is_ipv4(), network.prefix_len()));
                }
                Demand::Port(end, _) => index.ports.push(*end),
            }
        }
        index.prefixes.sort_unstable();
        index.prefixes.dedup();
        index.ports.sort_unstable();
        index.ports.dedup();
        index
    }

    /// Puts the rules that a frame of these fields may match into `left`, in order.
    pub(super) fn candidates(&self, fields: &Fields, left: &mut Vec<u32>) {
        left.clear();
        let Some(ip) = fields.ip else { return };
        let end = |end| if end == End::Source { ip.source } else { ip.destination };
        let networks = self.prefixes.iter().filter_map(|(which, is_ipv4, len)| {
            let address: IpAddr = end(*which);
            (address.is_ipv4() == *is_ipv4).then_some(())?;
            Some(Demand::Network(*which, Network::new(address, *len)?))
        });
        let ports = self.ports.iter().filter_map(|which| {
            let (source, destination) = fields.ports?;
            Some(Demand::Port(*which, u32::from(if *which == End::Source { source } else { destination })))
        });
        for demand in networks.chain(ports) {
            left.extend(self.filed.get(&demand).into_iter().flatten());
        }
        if left.is_empty() {
            left.extend(&self.others);
            return;
        }
        left.extend(&self.others);
        left.sort_unstable();
    }
}

/// A hasher for keys that the user's own rules gave, of which nobody can choose many to collide: frames only
/// look keys up.
#[derive(Clone, Debug, Default)]
struct Mixer(u64);

impl Hasher for Mixer {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, octets: &[u8]) {
        for chunk in octets.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, value: u8) {
        self.write_u64(u64::from(value));
    }

    fn write_u32(&mut self, value: u32) {
        self.write_u64(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = mixed(self.0.wrapping_add(GOLDEN) ^ value);
    }

    fn write_usize(&mut self, value: usize) {
        self.write_u64(u64::try_from(value).unwrap_or(u64::MAX));
    }
}

/// What no frame can lack for which the test holds.
fn demands(test: &Test) -> Vec<Demand> {
    match test {
        Test::All(tests) => tests.iter().flat_map(demands).collect(),
        Test::Any(tests) => match tests.as_slice() {
            [only] => demands(only),
            _ => Vec::new(),
        },
        Test::Address(end, Addresses::Network(network)) => vec![Demand::Network(*end, *network)],
        Test::Address(end, Addresses::Range(first, last)) if first == last => {
            vec![Demand::Network(*end, Network::host(*first))]
        }
        Test::Within(Number::Field(field), ranges) => match (field, ranges.ranges()) {
            (Field::SourcePort, [(first, last)]) if first == last => vec![Demand::Port(End::Source, *first)],
            (Field::DestinationPort, [(first, last)]) if first == last => {
                vec![Demand::Port(End::Destination, *first)]
            }
            _ => Vec::new(),
        },
        _ => Vec::new(),
    }
}
