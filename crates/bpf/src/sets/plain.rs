//! Tests over the record of fields: what [`rules::form::Test`] says once it is known where each field lies.
//!
//! Pure. Whatever a rule of a set cannot ask (octets of the frame, its length) is refused here.

use std::net::IpAddr;
use std::sync::Arc;

use rules::form::{AddressTable, Addresses, End, Field, Network, Number, Operator, Relation, Test};

use super::prefixes::{self, pushed_down};
use crate::tables::{Table, TableId};

/// Where fields lie within the record, in octets.
pub(super) mod record {
    pub(in crate::sets) const VERSION: i16 = 0;
    pub(in crate::sets) const PROTOCOL: i16 = 1;
    pub(in crate::sets) const TOS: i16 = 2;
    pub(in crate::sets) const PRESENT: i16 = 3;
    pub(in crate::sets) const SOURCE_PORT: i16 = 4;
    pub(in crate::sets) const DESTINATION_PORT: i16 = 6;
    pub(in crate::sets) const TCP_FLAGS: i16 = 8;
    pub(in crate::sets) const ICMP_TYPE: i16 = 9;
    pub(in crate::sets) const ICMP_CODE: i16 = 10;
    pub(in crate::sets) const SOURCE: i16 = 16;
    pub(in crate::sets) const DESTINATION: i16 = 32;

    pub(in crate::sets) const HAS_PORTS: u8 = 1;
    pub(in crate::sets) const HAS_TCP_FLAGS: u8 = 2;
    pub(in crate::sets) const HAS_ICMP: u8 = 4;
}

/// Why a test cannot be asked of the record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Refused {
    /// It asks for more than fields, addresses and VLANs, or computes what only a frame can refuse.
    Number,
    /// It is nested too deep.
    Deep,
}

/// How deep tests may be nested: each level that is not at the top needs a place on the stack.
pub(super) const DEPTH_MAX: usize = 8;

/// A number that is had from the record, and what is done with it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Operand {
    pub(super) source: Source,
    /// Left to right, 32 bits. No division by 0.
    pub(super) then: Vec<(Operator, u32)>,
}

/// Where a number comes from.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Source {
    Constant(u32),
    /// An octet of the record.
    Octet(i16),
    /// Two octets, as the host orders them.
    Half(i16),
    /// Four octets in network order.
    Network(i16),
    /// The VLAN of the outer tag; 4096 for none.
    Vlan,
}

/// A test over the record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Plain {
    /// Holds always, or never.
    Known(bool),
    /// Eight octets of the record, from a multiple of 8 on, are these where the mask has ones.
    Masked {
        at: i16,
        mask: [u8; 8],
        value: [u8; 8],
    },
    /// The number lies in one range, ends included.
    Within {
        number: Operand,
        first: u32,
        last: u32,
    },
    /// Left stands in this relation to right.
    Compare {
        left: Operand,
        relation: Relation,
        right: Operand,
    },
    /// Sixteen octets of the record, in network order, lie in this range.
    Wide {
        at: i16,
        first: u128,
        last: u128,
    },
    /// The address is in the table of this number (see [`Tables`]).
    Listed {
        end: End,
        table: usize,
    },
    Not(Box<Plain>),
    All(Vec<Plain>),
    Any(Vec<Plain>),
}

/// The address tables that tests refer to, each once.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Tables(Vec<Arc<AddressTable>>);

impl Tables {
    fn number(&mut self, table: &Arc<AddressTable>) -> usize {
        let known = self.0.iter().position(|known| Arc::ptr_eq(known, table) || known == table);
        known.unwrap_or_else(|| {
            self.0.push(Arc::clone(table));
            self.0.len() - 1
        })
    }

    /// In the order of their numbers.
    pub(super) fn list(&self) -> &[Arc<AddressTable>] {
        &self.0
    }

    /// One trie of all their networks. A value is one bit for each table, in words of 64: set where the
    /// addresses of the prefix are in it.
    pub(super) fn trie(&self, id: TableId) -> Table {
        let words = self.0.len().div_ceil(64);
        let entries = self.0.iter().enumerate().flat_map(|(number, table)| {
            // Where a network stands both with and without `!`, the one without decides, so it comes last.
            let mut entries: Vec<_> = table.entries().collect();
            entries.sort_by_key(|entry| (entry.network, !entry.negated));
            entries.into_iter().map(move |entry| (entry.network, (number, !entry.negated)))
        });
        let start = vec![0u64; words];
        let found = pushed_down(entries.collect(), &start, |bits, (number, listed)| {
            let bit = 1 << (number % 64);
            match listed {
                true => bits[number / 64] |= bit,
                false => bits[number / 64] &= !bit,
            }
        });
        let octets = |bits: Vec<u64>| bits.into_iter().flat_map(u64::to_ne_bytes).collect::<Vec<u8>>();
        let entries = found.into_iter().map(|(network, bits)| (network, octets(bits)));
        let value_size = u32::try_from(words * 8).unwrap_or(u32::MAX);
        prefixes::trie(id, value_size, vec![0; words * 8], entries)
    }
}

/// Where the address of an end lies.
pub(super) fn address_at(end: End) -> i16 {
    match end {
        End::Source => record::SOURCE,
        End::Destination => record::DESTINATION,
    }
}

impl Plain {
    /// What a test says of the record.
    pub(super) fn of(test: &Test, tables: &mut Tables) -> Result<Self, Refused> {
        Self::below(test, tables, 0)
    }

    fn below(test: &Test, tables: &mut Tables, depth: usize) -> Result<Self, Refused> {
        if depth > DEPTH_MAX {
            return Err(Refused::Deep);
        }
        let mut each = |tests: &[Test]| {
            tests.iter().map(|test| Self::below(test, tables, depth + 1)).collect::<Result<Vec<_>, _>>()
        };
        Ok(match test {
            Test::Always => Self::Known(true),
            Test::Vlan(ids) => {
                let ids = ids.iter().map(|vlan| (u32::from(vlan.id()), u32::from(vlan.id())));
                let ranges = rules::form::Ranges::new(ids);
                let number = Operand { source: Source::Vlan, then: Vec::new() };
                within(&number, ranges.ranges())
            }
            Test::Not(test) => not(Self::below(test, tables, depth + 1)?),
            Test::All(tests) => all(each(tests)?),
            Test::Any(tests) => any(each(tests)?),
            Test::Within(number, ranges) => {
                let (number, there) = operand(number)?;
                all(vec![there, within(&number, ranges.ranges())])
            }
            Test::Compare(left, relation, right) => {
                let ((left, left_there), (right, right_there)) = (operand(left)?, operand(right)?);
                all(vec![left_there, right_there, compare(left, *relation, right)])
            }
            Test::Address(end, Addresses::Network(network)) => of_network(*end, *network),
            Test::Address(end, Addresses::Range(first, last)) => of_range(*end, *first, *last),
            Test::Address(end, Addresses::Table(table)) => {
                Self::Listed { end: *end, table: tables.number(table) }
            }
            Test::Chain(_) => return Err(Refused::Number),
        })
    }

    /// Whether it reads the VLAN itself, not counting its parts.
    pub(super) fn asks_vlan(&self) -> bool {
        match self {
            Self::Within { number, .. } => number.source == Source::Vlan,
            _ => false,
        }
    }

    /// Shows every part of it, itself first.
    pub(super) fn visit<'a>(&'a self, see: &mut impl FnMut(&'a Self)) {
        see(self);
        match self {
            Self::Not(test) => test.visit(see),
            Self::All(tests) | Self::Any(tests) => tests.iter().for_each(|test| test.visit(see)),
            _ => {}
        }
    }
}

/// One octet of the record under a mask.
pub(super) fn octet(at: i16, mask: u8, value: u8) -> Plain {
    octets(at, &[mask], &[value])
}

/// Octets of the record under a mask; all of them in the same eight.
pub(super) fn octets(at: i16, mask: &[u8], value: &[u8]) -> Plain {
    let mut masked = ([0; 8], [0; 8]);
    let first = usize::try_from(at % 8).unwrap_or(0);
    for ((place, mask), value) in (first..8).zip(mask).zip(value) {
        (masked.0[place], masked.1[place]) = (*mask, value & mask);
    }
    Plain::Masked { at: at - at % 8, mask: masked.0, value: masked.1 }
}

fn not(test: Plain) -> Plain {
    match test {
        Plain::Known(held) => Plain::Known(!held),
        Plain::Not(test) => *test,
        test => Plain::Not(Box::new(test)),
    }
}

/// All of them, with masked octets brought together.
pub(super) fn all(tests: Vec<Plain>) -> Plain {
    let mut masked: Vec<(i16, [u8; 8], [u8; 8])> = Vec::new();
    let mut rest = Vec::new();
    let mut open: Vec<Plain> = tests.into_iter().rev().collect();
    while let Some(test) = open.pop() {
        match test {
            Plain::Known(true) => {}
            Plain::Known(false) => return Plain::Known(false),
            Plain::All(tests) => open.extend(tests.into_iter().rev()),
            Plain::Masked { at, mask, value } => match masked.iter_mut().find(|known| known.0 == at) {
                None => masked.push((at, mask, value)),
                Some((_, known_mask, known_value)) => {
                    for place in 0..8 {
                        let both = known_mask[place] & mask[place];
                        if (known_value[place] ^ value[place]) & both != 0 {
                            return Plain::Known(false);
                        }
                        known_mask[place] |= mask[place];
                        known_value[place] |= value[place];
                    }
                }
            },
            test if rest.contains(&test) => {}
            test => rest.push(test),
        }
    }
    masked.sort_unstable();
    let masked = masked.into_iter().map(|(at, mask, value)| Plain::Masked { at, mask, value });
    let mut tests: Vec<Plain> = masked.chain(rest).collect();
    match tests.len() {
        0 => Plain::Known(true),
        1 => tests.remove(0),
        _ => Plain::All(tests),
    }
}

pub(super) fn any(tests: Vec<Plain>) -> Plain {
    let mut kept = Vec::new();
    for test in tests {
        match test {
            Plain::Known(true) => return Plain::Known(true),
            Plain::Known(false) => {}
            Plain::Any(tests) => kept.extend(tests),
            test => kept.push(test),
        }
    }
    match kept.len() {
        0 => Plain::Known(false),
        1 => kept.remove(0),
        _ => Plain::Any(kept),
    }
}

pub(super) fn within(number: &Operand, ranges: &[(u32, u32)]) -> Plain {
    let one = |(first, last): &(u32, u32)| within_one(number, *first, *last);
    any(ranges.iter().map(one).collect())
}

fn within_one(number: &Operand, first: u32, last: u32) -> Plain {
    let most = match number.source {
        Source::Octet(_) => 0xff,
        Source::Half(_) => 0xffff,
        Source::Vlan => 4096,
        Source::Constant(_) | Source::Network(_) => u32::MAX,
    };
    match (number.source, number.then.as_slice()) {
        (_, []) if first > most => Plain::Known(false),
        (_, []) if first == 0 && last >= most => Plain::Known(true),
        (Source::Octet(at), []) if first == last => match u8::try_from(first) {
            Ok(value) => octet(at, 0xff, value),
            Err(_) => Plain::Known(false),
        },
        (Source::Octet(at), [(Operator::And, mask)]) if first == last => {
            match (u8::try_from(mask & 0xff), u8::try_from(first)) {
                (Ok(mask), Ok(value)) if value & !mask == 0 => octet(at, mask, value),
                _ => Plain::Known(false),
            }
        }
        (Source::Half(at), []) if first == last => match u16::try_from(first) {
            Ok(value) => octets(at, &[0xff; 2], &value.to_ne_bytes()),
            Err(_) => Plain::Known(false),
        },
        _ => Plain::Within { number: number.clone(), first, last },
    }
}

fn compare(left: Operand, relation: Relation, right: Operand) -> Plain {
    let constant = match (&right.source, right.then.as_slice()) {
        (Source::Constant(value), []) => Some(*value),
        _ => None,
    };
    match (constant, relation) {
        (Some(value), Relation::Equal) => within_one(&left, value, value),
        (Some(value), Relation::AtLeast) => within_one(&left, value, u32::MAX),
        (Some(value), Relation::Greater) => match value.checked_add(1) {
            Some(first) => within_one(&left, first, u32::MAX),
            None => Plain::Known(false),
        },
        (None, _) => Plain::Compare { left, relation, right },
    }
}

/// A number of a test, and the test that the frame has it at all.
fn operand(number: &Number) -> Result<(Operand, Plain), Refused> {
    let plain = |source| Operand { source, then: Vec::new() };
    let there = |bit| octet(record::PRESENT, bit, bit);
    Ok(match number {
        Number::Constant(value) => (plain(Source::Constant(*value)), Plain::Known(true)),
        Number::Field(field) => match field {
            Field::Version => (plain(Source::Octet(record::VERSION)), Plain::Known(true)),
            Field::Protocol => (plain(Source::Octet(record::PROTOCOL)), Plain::Known(true)),
            Field::Tos => (plain(Source::Octet(record::TOS)), Plain::Known(true)),
            Field::SourcePort => (plain(Source::Half(record::SOURCE_PORT)), there(record::HAS_PORTS)),
            Field::DestinationPort => {
                (plain(Source::Half(record::DESTINATION_PORT)), there(record::HAS_PORTS))
            }
            Field::TcpFlags => (plain(Source::Octet(record::TCP_FLAGS)), there(record::HAS_TCP_FLAGS)),
            Field::IcmpType => (plain(Source::Octet(record::ICMP_TYPE)), there(record::HAS_ICMP)),
            Field::IcmpCode => (plain(Source::Octet(record::ICMP_CODE)), there(record::HAS_ICMP)),
        },
        Number::Operation(operator, left, right) => {
            let Number::Constant(by) = **right else { return Err(Refused::Number) };
            if matches!(operator, Operator::Divide | Operator::Remainder) && by == 0 {
                return Err(Refused::Number);
            }
            let (mut number, there) = operand(left)?;
            match (number.source, number.then.is_empty()) {
                (Source::Constant(value), true) => {
                    number.source = Source::Constant(operator.apply(value, by).ok_or(Refused::Number)?);
                }
                _ => number.then.push((*operator, by)),
            }
            (number, there)
        }
        Number::Length | Number::Load { .. } => return Err(Refused::Number),
    })
}

/// The version of a family, as the record has it.
pub(super) fn version_of(address: IpAddr) -> u8 {
    if address.is_ipv4() { 4 } else { 6 }
}

/// The octets of an address, as the record has them.
pub(super) fn octets_of(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        }
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// The octets of a mask of so many bits.
pub(super) fn mask_of(bits: u8) -> [u8; 16] {
    u128::MAX.checked_shl(128 - u32::from(bits.min(128))).unwrap_or(0).to_be_bytes()
}

pub(super) fn of_network(end: End, network: Network) -> Plain {
    let (mask, value) = (mask_of(network.prefix_len()), octets_of(network.address()));
    let at = address_at(end);
    all(vec![
        octet(record::VERSION, 0xff, version_of(network.address())),
        octets(at, &mask[..8], &value[..8]),
        octets(at + 8, &mask[8..], &value[8..]),
    ]
    .into_iter()
    .filter(|test| !matches!(test, Plain::Masked { mask: [0, 0, 0, 0, 0, 0, 0, 0], .. }))
    .collect())
}

fn of_range(end: End, first: IpAddr, last: IpAddr) -> Plain {
    let at = address_at(end);
    let range = match (first, last) {
        _ if first > last => Plain::Known(false),
        (IpAddr::V4(first), last) => {
            let number = Operand { source: Source::Network(at), then: Vec::new() };
            // The end of the range may only be of the other family where the range reaches beyond its own.
            let last = if let IpAddr::V4(last) = last { last.into() } else { u32::MAX };
            within_one(&number, first.into(), last)
        }
        (IpAddr::V6(first), IpAddr::V6(last)) => Plain::Wide { at, first: first.into(), last: last.into() },
        _ => Plain::Known(false),
    };
    all(vec![octet(record::VERSION, 0xff, version_of(first)), range])
}
