//! Rules that pin the same fields to single values: one lookup in a hash table finds the best of them.

use std::collections::{BTreeMap, HashMap};

use super::boxes::{Addressed, Dimension, Limit, Limits};
use super::code::{Code, scratch};
use super::plain::{self, Operand, Plain, Source, record};
use super::pool::{self, Pooled};
use crate::asm::{Alu, Cond, Label, Reg, Size};
use crate::tables::{Table, TableId, TableKind};

/// The most tables: each costs a frame as much as some twenty rules that are compared.
const TABLES_MAX: usize = 8;

/// Octets of the record and behind them those of the VLAN.
const RECORD: usize = 50;
const VLAN: i16 = 48;

/// Rules of one shape.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Tuples {
    pub(super) table: TableId,
    /// What all of them ask besides.
    first: Plain,
    key: Vec<Piece>,
    /// How many keys there are.
    pub(super) keys: usize,
    /// How many rules there are.
    pub(super) rules: usize,
}

/// Part of a key: octets of the record under a mask.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Piece {
    at: i16,
    size: Size,
    mask: u64,
}

impl Piece {
    fn octets(&self) -> usize {
        usize::from(self.size.octets())
    }

    fn range(&self) -> std::ops::Range<usize> {
        let first = usize::try_from(self.at).unwrap_or(0);
        first..first + self.octets()
    }

    fn is_whole(&self) -> bool {
        self.mask == u64::MAX >> (64 - 8 * self.octets())
    }
}

/// Which dimensions are limited to one value, and the bits of the prefixes. All alike have one shape.
type Shape = (u8, Vec<(Dimension, u8)>);

/// Takes the rules out of the pool that stand in groups of at least `least` of one shape. With `hosts`, only
/// those whose addresses are single ones.
pub(super) fn take(
    pool: &mut Vec<Pooled>,
    addressed: &Addressed,
    least: usize,
    hosts: bool,
    next_table: &mut u32,
) -> Vec<(Tuples, Table, Vec<Pooled>)> {
    let mut groups: HashMap<Shape, Vec<usize>> = HashMap::new();
    for (index, pooled) in pool.iter().enumerate() {
        if let Some(shape) = shape(&pooled.limits, addressed, hosts) {
            groups.entry(shape).or_default().push(index);
        }
    }
    let mut groups: Vec<(Shape, Vec<usize>)> =
        groups.into_iter().filter(|(_, of)| of.len() >= least).collect();
    groups.sort_by(|a, b| b.1.len().cmp(&a.1.len()).then_with(|| a.0.cmp(&b.0)));
    groups.truncate(TABLES_MAX);
    let (shapes, indexes): (Vec<Shape>, Vec<Vec<usize>>) = groups.into_iter().unzip();
    let make = |(shape, rules): (Shape, Vec<Pooled>)| {
        let (tuples, table) = build(&shape, &rules, addressed, TableId::next(next_table));
        (tuples, table, rules)
    };
    shapes.into_iter().zip(pool::split(pool, &indexes)).map(make).collect()
}

fn shape(limits: &Limits, addressed: &Addressed, hosts: bool) -> Option<Shape> {
    let (mut version, mut dimensions) = (0, Vec::with_capacity(8));
    for (dimension, limit) in limits.iter() {
        let bits = match limit {
            Limit::Numbers(ranges) => {
                let [(value, last)] = *ranges.ranges() else { return None };
                let (highest, present) = dimension.numbers();
                let absent = present.is_some() && value == highest;
                if value != last || absent {
                    return None;
                }
                0
            }
            Limit::Addresses(set) => {
                let network = addressed.one(*set)?;
                let family = plain::version_of(network.address());
                let host = network.prefix_len() == if family == 4 { 32 } else { 128 };
                if (version != 0 && version != family) || (hosts && !host) {
                    return None;
                }
                version = family;
                network.prefix_len()
            }
        };
        dimensions.push((*dimension, bits));
    }
    Some((version, dimensions))
}

/// The record of a frame that the rule is about; zeros where it does not care.
fn wanted(limits: &Limits, addressed: &Addressed) -> [u8; RECORD] {
    let mut octets = [0; RECORD];
    for (dimension, limit) in limits.iter() {
        match limit {
            Limit::Numbers(ranges) => {
                let value = ranges.ranges().first().map_or(0, |(value, _)| *value);
                let value = if *dimension == Dimension::Version { 4 + 2 * value } else { value };
                let half = u16::try_from(value).unwrap_or(u16::MAX);
                match place(*dimension) {
                    (at, Size::Half) => octets[at..at + 2].copy_from_slice(&half.to_ne_bytes()),
                    (at, _) => octets[at] = u8::try_from(half).unwrap_or(u8::MAX),
                }
            }
            Limit::Addresses(set) => {
                let (at, _) = place(*dimension);
                if let Some(network) = addressed.one(*set) {
                    octets[at..at + 16].copy_from_slice(&plain::octets_of(network.address()));
                }
            }
        }
    }
    octets
}

/// Where a dimension lies in the record and what loads it.
fn place(dimension: Dimension) -> (usize, Size) {
    let (at, size) = match dimension.source() {
        Source::Octet(at) => (at, Size::Byte),
        Source::Half(at) => (at, Size::Half),
        Source::Network(at) => (at, Size::Word),
        Source::Vlan | Source::Constant(_) => (VLAN, Size::Half),
    };
    (usize::try_from(at).unwrap_or(0), size)
}

fn pieces(shape: &Shape) -> Vec<Piece> {
    let (version, dimensions) = shape;
    let mut pieces = Vec::new();
    let mut ports = 0;
    for (dimension, bits) in dimensions {
        let (at, size) = place(*dimension);
        let at = i16::try_from(at).unwrap_or(0);
        match (dimension.end(), version) {
            (Some(_), 4) => {
                let [a, b, c, d, ..] = plain::mask_of(*bits);
                pieces.push(Piece { at, size: Size::Word, mask: u32::from_ne_bytes([a, b, c, d]).into() });
            }
            (Some(_), _) => {
                let mask = plain::mask_of(*bits);
                for (half, at) in mask.chunks_exact(8).zip([at, at + 8]) {
                    let mask = half.first_chunk().map_or(0, |octets| u64::from_ne_bytes(*octets));
                    pieces.push(Piece { at, size: Size::Double, mask });
                }
            }
            (None, _) => {
                ports += usize::from(matches!(dimension, Dimension::SourcePort | Dimension::DestinationPort));
                let mask = if size == Size::Half { 0xffff } else { 0xff };
                pieces.push(Piece { at, size, mask });
            }
        }
    }
    pieces.retain(|piece| piece.mask != 0);
    if ports == 2 {
        // They lie side by side.
        pieces.retain(|piece| piece.at != record::SOURCE_PORT && piece.at != record::DESTINATION_PORT);
        pieces.push(Piece { at: record::SOURCE_PORT, size: Size::Word, mask: u32::MAX.into() });
    }
    pieces.sort_by_key(|piece| (std::cmp::Reverse(piece.octets()), piece.at));
    pieces
}

fn build(shape: &Shape, rules: &[Pooled], addressed: &Addressed, id: TableId) -> (Tuples, Table) {
    let records: Vec<(u32, [u8; RECORD])> =
        rules.iter().map(|pooled| (pooled.rank, wanted(&pooled.limits, addressed))).collect();
    let mut first = Vec::new();
    if shape.0 != 0 {
        first.push(plain::octet(record::VERSION, 0xff, shape.0));
    }
    for (dimension, _) in &shape.1 {
        if let (_, Some(bit)) = dimension.numbers() {
            first.push(plain::octet(record::PRESENT, bit, bit));
        }
    }
    // What is the same for all of them need not be looked up.
    let (mut key, mut fixed) = (Vec::new(), Vec::new());
    for piece in pieces(shape) {
        let one = &records[0].1[piece.range()];
        match piece.is_whole() && records.iter().all(|(_, record)| record[piece.range()] == *one) {
            true => fixed.push((piece, one.to_vec())),
            false => key.push(piece),
        }
    }
    if key.is_empty() {
        key.extend(fixed.pop().map(|(piece, _)| piece));
    }
    first.extend(fixed.iter().map(|(piece, value)| same(piece, value)));
    let octets = key.iter().map(Piece::octets).sum::<usize>().next_multiple_of(4);
    let mut best: BTreeMap<Vec<u8>, u32> = BTreeMap::new();
    for (rank, record) in &records {
        // The octets of a network behind its prefix are 0, as they are under the mask.
        let mut octets_of =
            key.iter().flat_map(|piece| record[piece.range()].iter().copied()).collect::<Vec<u8>>();
        octets_of.resize(octets, 0);
        let known = best.entry(octets_of).or_insert(0);
        *known = (*known).max(*rank);
    }
    let table = Table {
        id,
        kind: TableKind::Hash,
        key_size: u32::try_from(octets).unwrap_or(u32::MAX),
        value_size: 4,
        entries: best.into_iter().map(|(key, rank)| (key, rank.to_ne_bytes().to_vec())).collect(),
        writable: false,
        per_cpu: false,
    };
    (
        Tuples { table: id, first: plain::all(first), key, keys: table.entries.len(), rules: records.len() },
        table,
    )
}

/// Octets of the record are these.
fn same(piece: &Piece, value: &[u8]) -> Plain {
    if piece.at == VLAN {
        let vlan = value.first_chunk().map_or(0, |octets| u32::from(u16::from_ne_bytes(*octets)));
        let number = Operand { source: Source::Vlan, then: Vec::new() };
        return plain::within(&number, &[(vlan, vlan)]);
    }
    plain::octets(piece.at, &vec![0xff; value.len()], value)
}

impl Tuples {
    pub(super) fn first(&self) -> &Plain {
        &self.first
    }

    pub(super) fn asks_vlan(&self) -> bool {
        self.key.iter().any(|piece| piece.at == VLAN)
    }

    /// `R0` = a rank; goes to `none` where there is no use in looking.
    pub(super) fn emit(&self, code: &mut Code<'_>, none: Label) {
        if self.first != Plain::Known(true) {
            code.mismatch(&self.first);
            code.asm.jump_if(Reg::R0, Cond::Ne, 0, none);
        }
        let mut at = scratch::KEY;
        for piece in &self.key {
            match piece.at {
                VLAN => code.asm.load(Size::Half, Reg::R1, Reg::R10, code.place.vlan),
                from => code.field(piece.size, Reg::R1, from),
            }
            if !piece.is_whole() {
                code.with(Alu::And, Reg::R1, piece.mask);
            }
            code.keep(piece.size, at, Reg::R1);
            at += i16::from(piece.size.octets());
        }
        while (at - scratch::KEY) % 4 != 0 {
            code.keep(Size::Byte, at, 0);
            at += 1;
        }
        code.find(self.table, scratch::KEY);
        code.asm.jump_if(Reg::R0, Cond::Eq, 0, none);
        code.asm.load(Size::Word, Reg::R0, Reg::R0, 0);
    }
}
