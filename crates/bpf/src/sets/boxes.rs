//! Tests as boxes: one set of values for each dimension, all of which must hold.
//!
//! Pure. A test that is no box, or not a few of them, is left to be compared.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use rules::form::{AddressTable, Addresses, End, Field, Network, Number, Ranges, Relation, Test};

use super::plain::{self, Operand, Plain, Source, record};
use super::prefixes::pushed_down;

/// Something that a rule may limit.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum Dimension {
    Source,
    Destination,
    SourcePort,
    DestinationPort,
    /// 0 for IPv4, 1 for IPv6.
    Version,
    Protocol,
    Tos,
    TcpFlags,
    IcmpType,
    IcmpCode,
    Vlan,
}

/// What a dimension is limited to.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum Limit {
    /// Numbers of the dimension, of which the highest may be for frames that have none.
    Numbers(Ranges),
    /// Addresses, by their number in [`Addressed`].
    Addresses(usize),
}

/// One set of values for each dimension that is limited, in the order of dimensions. None of them is empty,
/// none is everything.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub(super) struct Limits(Vec<(Dimension, Limit)>);

impl Limits {
    fn one(dimension: Dimension, limit: Limit) -> Self {
        Self(vec![(dimension, limit)])
    }

    /// Whether nothing is limited.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// In the order of dimensions.
    pub(super) fn iter(&self) -> std::slice::Iter<'_, (Dimension, Limit)> {
        self.0.iter()
    }

    /// What a dimension is limited to.
    pub(super) fn of(&self, dimension: Dimension) -> Option<&Limit> {
        self.0.iter().find(|(known, _)| *known == dimension).map(|(_, limit)| limit)
    }

    /// The same without a limit on this dimension.
    pub(super) fn without(&self, dimension: Dimension) -> Self {
        Self(self.0.iter().filter(|(known, _)| *known != dimension).cloned().collect())
    }

    fn set(&mut self, dimension: Dimension, limit: Limit) {
        match self.0.binary_search_by_key(&dimension, |(known, _)| *known) {
            Ok(at) => self.0[at].1 = limit,
            Err(at) => self.0.insert(at, (dimension, limit)),
        }
    }
}

/// The most boxes that a test is taken apart into.
const BOXES_MAX: usize = 16;

impl Dimension {
    pub(super) fn of_end(end: End) -> Self {
        match end {
            End::Source => Self::Source,
            End::Destination => Self::Destination,
        }
    }

    /// Which address it is.
    pub(super) fn end(self) -> Option<End> {
        match self {
            Self::Source => Some(End::Source),
            Self::Destination => Some(End::Destination),
            _ => None,
        }
    }

    /// The highest number, and the bit that says whether a frame has one: without, the highest is for none.
    pub(super) fn numbers(self) -> (u32, Option<u8>) {
        match self {
            Self::Source | Self::Destination => (0, None),
            Self::SourcePort | Self::DestinationPort => (1 << 16, Some(record::HAS_PORTS)),
            Self::Version => (1, None),
            Self::Protocol | Self::Tos => (255, None),
            Self::TcpFlags => (256, Some(record::HAS_TCP_FLAGS)),
            Self::IcmpType | Self::IcmpCode => (256, Some(record::HAS_ICMP)),
            Self::Vlan => (4096, None),
        }
    }

    /// Where the number lies in the record. The version lies there as 4 or 6.
    pub(super) fn source(self) -> Source {
        match self {
            Self::Source => Source::Network(record::SOURCE),
            Self::Destination => Source::Network(record::DESTINATION),
            Self::SourcePort => Source::Half(record::SOURCE_PORT),
            Self::DestinationPort => Source::Half(record::DESTINATION_PORT),
            Self::Version => Source::Octet(record::VERSION),
            Self::Protocol => Source::Octet(record::PROTOCOL),
            Self::Tos => Source::Octet(record::TOS),
            Self::TcpFlags => Source::Octet(record::TCP_FLAGS),
            Self::IcmpType => Source::Octet(record::ICMP_TYPE),
            Self::IcmpCode => Source::Octet(record::ICMP_CODE),
            Self::Vlan => Source::Vlan,
        }
    }
}

/// Sets of addresses, each once: networks that are in or out, of which the longest decides, and outside of
/// which nothing is in.
#[derive(Debug, Default)]
pub(super) struct Addressed {
    sets: Vec<Arc<[(Network, bool)]>>,
    numbers: HashMap<Arc<[(Network, bool)]>, usize>,
    tables: HashMap<*const AddressTable, usize>,
}

impl Addressed {
    pub(super) fn networks(&self, number: usize) -> &[(Network, bool)] {
        &self.sets[number]
    }

    /// The network, where the set is just one.
    pub(super) fn one(&self, number: usize) -> Option<Network> {
        match *self.sets[number] {
            [(network, true)] => Some(network),
            _ => None,
        }
    }

    fn add(&mut self, networks: Vec<(Network, bool)>) -> usize {
        let networks: Arc<[_]> = networks.into();
        if let Some(number) = self.numbers.get(&networks) {
            return *number;
        }
        self.sets.push(Arc::clone(&networks));
        self.numbers.insert(networks, self.sets.len() - 1);
        self.sets.len() - 1
    }

    fn add_table(&mut self, table: &Arc<AddressTable>) -> usize {
        if let Some(number) = self.tables.get(&Arc::as_ptr(table)) {
            return *number;
        }
        let entries = table.entries().map(|entry| (entry.network, !entry.negated));
        // Where a network stands twice, the entry that is in decides.
        let merged: BTreeMap<Network, bool> =
            entries.fold(BTreeMap::new(), |mut merged, (network, inside)| {
                *merged.entry(network).or_insert(false) |= inside;
                merged
            });
        let number = self.add(simplified(merged.into_iter().collect()));
        self.tables.insert(Arc::as_ptr(table), number);
        number
    }

    fn complement(&mut self, number: usize) -> usize {
        let roots = roots().map(|root| (root, false));
        let all = pushed_down(
            roots.into_iter().chain(self.sets[number].iter().copied()).collect(),
            &false,
            |now, inside| {
                *now = *inside;
            },
        );
        self.add(simplified(all.into_iter().map(|(network, inside)| (network, !inside)).collect()))
    }

    /// What is in both, or in either.
    fn joined(&mut self, a: usize, b: usize, both: bool) -> usize {
        if a == b {
            return a;
        }
        let of = |number: usize, second: bool| {
            self.sets[number].iter().map(move |(network, inside)| (*network, (second, *inside)))
        };
        let all = of(a, false).chain(of(b, true)).collect();
        let found = pushed_down(all, &(false, false), |now, (second, inside)| match second {
            false => now.0 = *inside,
            true => now.1 = *inside,
        });
        let holds = |(a, b): (bool, bool)| if both { a && b } else { a || b };
        self.add(simplified(found.into_iter().map(|(network, now)| (network, holds(now))).collect()))
    }
}

fn roots() -> [Network; 2] {
    let root = |text: &str| text.parse().expect("the networks of no bits are networks");
    [root("0.0.0.0/0"), root("::/0")]
}

/// Without networks that say what a shorter one says.
fn simplified(networks: Vec<(Network, bool)>) -> Vec<(Network, bool)> {
    let found = pushed_down(networks, &(false, false), |(before, now), inside| {
        *before = *now;
        *now = *inside;
    });
    found
        .into_iter()
        .filter(|(_, (before, now))| before != now)
        .map(|(network, (_, now))| (network, now))
        .collect()
}

/// The networks of a range of one family.
fn range(first: IpAddr, last: IpAddr) -> Option<Vec<(Network, bool)>> {
    let (width, mut next, last): (u32, u128, u128) = match (first, last) {
        _ if first > last => return Some(Vec::new()),
        (IpAddr::V4(first), IpAddr::V4(last)) => (32, u32::from(first).into(), u32::from(last).into()),
        (IpAddr::V6(first), IpAddr::V6(last)) => (128, first.into(), last.into()),
        _ => return None,
    };
    let address = |number: u128| match u32::try_from(number) {
        Ok(number) if width == 32 => IpAddr::from(number.to_be_bytes()),
        _ => IpAddr::from(number.to_be_bytes()),
    };
    let mut networks = Vec::new();
    loop {
        // As large as alignment and the end allow.
        let mut bits = next.trailing_zeros().min(width);
        while bits > 0 && u128::MAX.checked_shr(128 - bits).unwrap_or(0) > last - next {
            bits -= 1;
        }
        let size = u128::MAX.checked_shr(128 - bits).unwrap_or(0);
        networks.push((Network::new(address(next), u8::try_from(width - bits).ok()?)?, true));
        match next.checked_add(size).and_then(|end| end.checked_add(1)) {
            Some(after) if after <= last => next = after,
            _ => return Some(networks),
        }
    }
}

/// The boxes of a test, or of its opposite; `None` where it has no few.
pub(super) fn boxes(test: &Test, holds: bool, addressed: &mut Addressed) -> Option<Vec<Limits>> {
    match test {
        Test::Always => Some(if holds { vec![Limits::default()] } else { Vec::new() }),
        Test::Not(test) => boxes(test, !holds, addressed),
        Test::All(tests) if holds => product(tests, holds, addressed),
        Test::Any(tests) if !holds => product(tests, holds, addressed),
        Test::All(tests) | Test::Any(tests) => sum(tests, holds, addressed),
        Test::Vlan(ids) => {
            let ids = ids.iter().map(|vlan| (u32::from(vlan.id()), u32::from(vlan.id())));
            Some(numbers(Dimension::Vlan, &Ranges::new(ids), holds))
        }
        Test::Within(number, ranges) => field_within(number, ranges, holds),
        Test::Compare(number, relation, Number::Constant(limit)) => {
            let ranges = match relation {
                Relation::Equal => Ranges::one(*limit),
                Relation::AtLeast => Ranges::new([(*limit, u32::MAX)]),
                Relation::Greater => Ranges::new(limit.checked_add(1).map(|first| (first, u32::MAX))),
            };
            field_within(number, &ranges, holds)
        }
        Test::Address(end, addresses) => {
            let mut set = match addresses {
                Addresses::Network(network) => addressed.add(vec![(*network, true)]),
                Addresses::Range(first, last) => addressed.add(range(*first, *last)?),
                Addresses::Table(table) => addressed.add_table(table),
            };
            if !holds {
                set = addressed.complement(set);
            }
            Some(match addressed.networks(set) {
                [] => Vec::new(),
                networks
                    if roots().iter().all(|root| networks.contains(&(*root, true)))
                        && networks.len() == 2 =>
                {
                    vec![Limits::default()]
                }
                _ => vec![Limits::one(Dimension::of_end(*end), Limit::Addresses(set))],
            })
        }
        Test::Compare(..) | Test::Chain(_) => None,
    }
}

fn product(tests: &[Test], holds: bool, addressed: &mut Addressed) -> Option<Vec<Limits>> {
    let mut found = vec![Limits::default()];
    for test in tests {
        let mut factors = boxes(test, holds, addressed)?;
        if let ([one], 1) = (found.as_mut_slice(), factors.len()) {
            // Nearly always: a rule asks for a few fields, each once.
            let factor = factors.remove(0);
            if factor.0.iter().all(|(dimension, _)| one.of(*dimension).is_none()) {
                factor.0.into_iter().for_each(|(dimension, limit)| one.set(dimension, limit));
                continue;
            }
            factors.push(factor);
        }
        let mut next = Vec::with_capacity(found.len() * factors.len());
        for one in &found {
            for factor in &factors {
                next.extend(both(one, factor, addressed));
            }
        }
        if next.len() > BOXES_MAX {
            return None;
        }
        found = next;
    }
    Some(found)
}

fn sum(tests: &[Test], holds: bool, addressed: &mut Addressed) -> Option<Vec<Limits>> {
    let mut found: Vec<Limits> = Vec::new();
    for test in tests {
        for one in boxes(test, holds, addressed)? {
            if one.is_empty() {
                return Some(vec![one]);
            }
            let merged = found.iter_mut().find_map(|known| merge(known, &one, addressed));
            if merged.is_none() {
                found.push(one);
            }
        }
        if found.len() > BOXES_MAX {
            return None;
        }
    }
    Some(found)
}

/// What lies in both boxes, if anything does.
fn both(a: &Limits, b: &Limits, addressed: &mut Addressed) -> Option<Limits> {
    let mut found = a.clone();
    for (dimension, limit) in b.iter() {
        let limit = match (found.of(*dimension), limit) {
            (None, limit) => limit.clone(),
            (Some(Limit::Numbers(a)), Limit::Numbers(b)) => {
                let (highest, _) = dimension.numbers();
                let outside = [a.complement(highest), b.complement(highest)];
                let ranges = outside.iter().flat_map(|ranges| ranges.ranges().iter().copied());
                let inside = Ranges::new(ranges).complement(highest);
                let inside = clipped(&inside, highest);
                if inside.ranges().is_empty() {
                    return None;
                }
                Limit::Numbers(inside)
            }
            (Some(Limit::Addresses(a)), Limit::Addresses(b)) => {
                let set = addressed.joined(*a, *b, true);
                if addressed.networks(set).is_empty() {
                    return None;
                }
                Limit::Addresses(set)
            }
            _ => return None,
        };
        found.set(*dimension, limit);
    }
    Some(found)
}

/// Makes `known` hold `one` too where they differ in one dimension only.
fn merge(known: &mut Limits, one: &Limits, addressed: &mut Addressed) -> Option<()> {
    let mut differ = known.iter().zip(one.iter()).filter(|(a, b)| a != b);
    let ((dimension, a), (other, b)) = differ.next()?;
    if known.0.len() != one.0.len() || dimension != other || differ.next().is_some() {
        return None;
    }
    let dimension = *dimension;
    let limit = match (a, b) {
        (Limit::Numbers(a), Limit::Numbers(b)) => {
            let ranges = Ranges::new(a.ranges().iter().chain(b.ranges()).copied());
            (ranges.ranges() != [(0, dimension.numbers().0)]).then_some(Limit::Numbers(ranges))?
        }
        (Limit::Addresses(a), Limit::Addresses(b)) => Limit::Addresses(addressed.joined(*a, *b, false)),
        _ => return None,
    };
    known.set(dimension, limit);
    Some(())
}

/// The box in which a dimension has one of these numbers, or has not.
fn numbers(dimension: Dimension, ranges: &Ranges, holds: bool) -> Vec<Limits> {
    let (highest, present) = dimension.numbers();
    // The highest number is for frames that have none: they are never within. The VLANs end below theirs.
    let last = if present.is_some() || dimension == Dimension::Vlan { highest - 1 } else { highest };
    let mut ranges = clipped(ranges, last);
    if !holds {
        ranges = clipped(&ranges.complement(highest), highest);
    }
    match ranges.ranges() {
        [] => Vec::new(),
        [(0, all)] if *all == highest => vec![Limits::default()],
        _ => vec![Limits::one(dimension, Limit::Numbers(ranges))],
    }
}

fn clipped(ranges: &Ranges, last: u32) -> Ranges {
    Ranges::new(ranges.ranges().iter().filter(|(first, _)| *first <= last).map(|(a, b)| (*a, (*b).min(last))))
}

fn field_within(number: &Number, ranges: &Ranges, holds: bool) -> Option<Vec<Limits>> {
    if let Number::Field(field) = number {
        let dimension = dimension_of(*field);
        let ranges = match dimension {
            Dimension::Version => versions(ranges),
            _ => ranges.clone(),
        };
        return Some(numbers(dimension, &ranges, holds));
    }
    // Arithmetic on a field of one octet: each of its values is tried.
    let field = field_of(number)?;
    let dimension = dimension_of(field);
    if dimension.numbers().0 > 256 {
        return None;
    }
    let mut within = Vec::new();
    for value in 0..=255 {
        if ranges.contains(computed(number, value)?) {
            within.push((value, value));
        }
    }
    let mut within = Ranges::new(within);
    if dimension == Dimension::Version {
        within = versions(&within);
    }
    Some(numbers(dimension, &within, holds))
}

fn versions(ranges: &Ranges) -> Ranges {
    let version = |version, number| ranges.contains(version).then_some((number, number));
    Ranges::new(version(4, 0).into_iter().chain(version(6, 1)))
}

fn dimension_of(field: Field) -> Dimension {
    match field {
        Field::Version => Dimension::Version,
        Field::Protocol => Dimension::Protocol,
        Field::Tos => Dimension::Tos,
        Field::SourcePort => Dimension::SourcePort,
        Field::DestinationPort => Dimension::DestinationPort,
        Field::TcpFlags => Dimension::TcpFlags,
        Field::IcmpType => Dimension::IcmpType,
        Field::IcmpCode => Dimension::IcmpCode,
    }
}

/// The field of a number that has one, and constants beside it.
fn field_of(number: &Number) -> Option<Field> {
    match number {
        Number::Field(field) => Some(*field),
        Number::Operation(_, left, right) => match **right {
            Number::Constant(_) => field_of(left),
            _ => None,
        },
        _ => None,
    }
}

/// The number where its field has this value.
fn computed(number: &Number, value: u32) -> Option<u32> {
    match number {
        Number::Field(_) => Some(value),
        Number::Constant(constant) => Some(*constant),
        Number::Operation(operator, left, right) => {
            operator.apply(computed(left, value)?, computed(right, value)?)
        }
        _ => None,
    }
}

/// The test that a box stands for, where each set of addresses in it is one network.
pub(super) fn plain(of: &Limits, addressed: &Addressed) -> Option<Plain> {
    let limited = |(dimension, limit): &(Dimension, Limit)| {
        Some(match limit {
            Limit::Numbers(ranges) => plain_numbers(*dimension, ranges),
            Limit::Addresses(set) => plain::of_network(dimension.end()?, addressed.one(*set)?),
        })
    };
    Some(plain::all(of.iter().map(limited).collect::<Option<_>>()?))
}

fn plain_numbers(dimension: Dimension, ranges: &Ranges) -> Plain {
    let (highest, present) = dimension.numbers();
    let number = Operand { source: dimension.source(), then: Vec::new() };
    if dimension == Dimension::Version {
        let versions = [(0, 4), (1, 6)];
        let versions = versions.iter().filter(|(number, _)| ranges.contains(*number));
        return plain::any(
            versions.map(|(_, version)| plain::octet(record::VERSION, 0xff, *version)).collect(),
        );
    }
    let Some(bit) = present else { return plain::within(&number, ranges.ranges()) };
    let there = plain::octet(record::PRESENT, bit, bit);
    let within = plain::all(vec![there, plain::within(&number, clipped(ranges, highest - 1).ranges())]);
    match ranges.contains(highest) {
        true => plain::any(vec![plain::octet(record::PRESENT, bit, 0), within]),
        false => within,
    }
}
