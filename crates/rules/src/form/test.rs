//! What a frame must look like.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use wire::{Frame, Vlan};

use super::address::{AddressTable, Network};
use super::chain::{Chain, reaches};
use super::number::{Missing, Number};
use super::subject::Subject;

/// What a frame must look like.
///
/// A load of octets that the frame does not have, and a division by 0, end the whole test: the frame does
/// not pass it, whatever stands around the load (`BPF_RET` 0 of a failed load, as in bpf(4)). Operands are
/// tried in order, and no further than needed, so a load behind an operand that decided is never tried.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Test {
    /// Holds for every frame.
    Always,
    /// The outer tag (802.1Q or 802.1ad) names one of these VLANs. An untagged frame is in none.
    Vlan(BTreeSet<Vlan>),
    /// Holds where the other does not.
    Not(Box<Test>),
    /// All of them hold; none of none is missing.
    All(Vec<Test>),
    /// At least one of them holds; of none, none does.
    Any(Vec<Test>),
    /// The number lies in one of the ranges.
    Within(Number, Ranges),
    /// Left stands in this relation to right.
    Compare(Number, Relation, Number),
    /// An address of the IP header.
    Address(End, Addresses),
    /// A protocol in the chain of headers behind an IP header (`protochain` of pcap-filter(7)).
    Chain(Chain),
}

/// Which end of a conversation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum End {
    /// Where the frame came from.
    Source,
    /// Where it goes.
    Destination,
}

/// How two numbers without sign stand to each other.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Relation {
    /// The same.
    Equal,
    /// Left is more.
    Greater,
    /// Left is as much or more.
    AtLeast,
}

impl Relation {
    /// Whether two numbers stand so.
    #[inline]
    pub fn holds(self, left: u32, right: u32) -> bool {
        match self {
            Self::Equal => left == right,
            Self::Greater => left > right,
            Self::AtLeast => left >= right,
        }
    }
}

/// Numbers as ascending ranges, ends included, no two of which touch.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Ranges(Vec<(u32, u32)>);

impl Ranges {
    /// The numbers of these ranges, in any order, overlapping or not; one that runs backwards is empty.
    pub fn new(ranges: impl IntoIterator<Item = (u32, u32)>) -> Self {
        let mut sorted: Vec<(u32, u32)> = ranges.into_iter().filter(|(first, last)| first <= last).collect();
        sorted.sort_unstable();
        let mut merged: Vec<(u32, u32)> = Vec::with_capacity(sorted.len());
        for (first, last) in sorted {
            match merged.last_mut() {
                Some((_, end)) if first <= end.saturating_add(1) => *end = (*end).max(last),
                _ => merged.push((first, last)),
            }
        }
        Self(merged)
    }

    /// One number.
    pub fn one(value: u32) -> Self {
        Self(vec![(value, value)])
    }

    /// All other numbers up to `max`.
    #[must_use]
    pub fn complement(&self, max: u32) -> Self {
        let mut rest = Vec::new();
        let mut next = Some(0);
        for (first, last) in &self.0 {
            if let Some(from) = next.filter(|from| from < first) {
                rest.push((from, (*first - 1).min(max)));
            }
            next = last.checked_add(1);
        }
        rest.extend(next.map(|from| (from, max)));
        Self::new(rest)
    }

    /// The numbers of both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let (mut these, mut those) = (self.0.as_slice(), other.0.as_slice());
        let mut both = Vec::new();
        while let ([(a, b), ..], [(c, d), ..]) = (these, those) {
            if a.max(c) <= b.min(d) {
                both.push((*a.max(c), *b.min(d)));
            }
            if b < d { these = &these[1..] } else { those = &those[1..] }
        }
        Self(both)
    }

    /// The numbers of either.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        Self::new(self.0.iter().chain(&other.0).copied())
    }

    /// The ranges.
    pub fn ranges(&self) -> &[(u32, u32)] {
        &self.0
    }

    /// Whether a number is in one of them.
    pub fn contains(&self, value: u32) -> bool {
        let at = self.0.partition_point(|(_, last)| *last < value);
        self.0.get(at).is_some_and(|(first, _)| *first <= value)
    }
}

/// Which addresses.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Addresses {
    /// Those of a network.
    Network(Network),
    /// Those from the first to the last, of one family.
    Range(IpAddr, IpAddr),
    /// Those of a table.
    Table(Arc<AddressTable>),
}

impl Addresses {
    /// Whether an address is one of them.
    pub fn contains(&self, address: IpAddr) -> bool {
        match self {
            Self::Network(network) => network.contains(address),
            Self::Range(first, last) => {
                first.is_ipv4() == address.is_ipv4() && (*first..=*last).contains(&address)
            }
            Self::Table(table) => table.contains(address),
        }
    }
}

/// Tables are told apart by name.
impl Ord for Addresses {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let key = |of: &Self| match of {
            Self::Network(network) => {
                (0, Some((network.address(), IpAddr::from([network.prefix_len(); 4]))), None)
            }
            Self::Range(first, last) => (1, Some((*first, *last)), None),
            Self::Table(table) => (2, None, Some(table.name().to_owned())),
        };
        key(self).cmp(&key(other))
    }
}

impl PartialOrd for Addresses {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Test {
    /// Whether the frame passes the test.
    pub fn holds(&self, frame: &Frame<'_>) -> bool {
        self.holds_for(&Subject::new(*frame))
    }

    /// Whether a frame passes the test, of which something may be known already.
    pub fn holds_for(&self, subject: &Subject<'_>) -> bool {
        self.truth(subject) == Some(true)
    }

    /// `None` where the whole test ends.
    pub(super) fn truth(&self, subject: &Subject<'_>) -> Option<bool> {
        let number = |number: &Number| match number.value(subject) {
            Ok(value) => Some(Some(value)),
            Err(Missing::Field) => Some(None),
            Err(Missing::Cut) => None,
        };
        Some(match self {
            Self::Always => true,
            Self::Vlan(ids) => subject.frame().outer_tag().is_some_and(|tag| ids.contains(&tag.vlan())),
            Self::Not(test) => !test.truth(subject)?,
            Self::All(tests) => {
                for test in tests {
                    if !test.truth(subject)? {
                        return Some(false);
                    }
                }
                true
            }
            Self::Any(tests) => {
                for test in tests {
                    if test.truth(subject)? {
                        return Some(true);
                    }
                }
                false
            }
            Self::Within(value, ranges) => number(value)?.is_some_and(|value| ranges.contains(value)),
            Self::Compare(left, relation, right) => match (number(left)?, number(right)?) {
                (Some(left), Some(right)) => relation.holds(left, right),
                _ => false,
            },
            Self::Address(end, addresses) => subject.fields().ip.is_some_and(|ip| {
                addresses.contains(match end {
                    End::Source => ip.source,
                    End::Destination => ip.destination,
                })
            }),
            Self::Chain(chain) => match chain.at.value(subject) {
                Ok(at) => reaches(subject.frame().data, chain, at)?,
                Err(_) => return None,
            },
        })
    }

    /// Whether the test looks at nothing but the outer VLAN tag.
    pub fn is_by_vlan(&self) -> bool {
        matches!(self, Self::Always | Self::Vlan(_))
    }
}
