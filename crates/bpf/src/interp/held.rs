//! A table in the memory of the interpreted kernel.

use std::collections::{BTreeSet, HashMap};

use crate::tables::{Table, TableKind};

/// A table as programs find it: values that keep their places, and a way to the place of a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Held {
    kind: TableKind,
    key_size: usize,
    writable: bool,
    /// For a trie the keys are cut to their prefixes.
    places: HashMap<Vec<u8>, u32>,
    /// Bits of prefixes that occur in a trie.
    lengths: BTreeSet<u32>,
    values: Vec<Vec<u8>>,
}

impl Held {
    /// A table with what it is filled with.
    pub fn new(table: &Table) -> Self {
        let mut held = Self {
            kind: table.kind,
            key_size: usize::try_from(table.key_size).unwrap_or(usize::MAX),
            writable: table.writable,
            places: HashMap::new(),
            lengths: BTreeSet::new(),
            values: Vec::with_capacity(table.entries.len()),
        };
        for (place, (key, value)) in (0u32..).zip(&table.entries) {
            let key = match split(key) {
                Some((bits, data)) if table.kind == TableKind::Lpm => {
                    held.lengths.insert(bits);
                    prefix(bits, data)
                }
                _ => key.clone(),
            };
            held.places.insert(key, place);
            held.values.push(value.clone());
        }
        held
    }

    /// Octets of a key.
    pub fn key_size(&self) -> usize {
        self.key_size
    }

    /// The place of the value that a lookup of this key finds.
    pub fn find(&self, key: &[u8]) -> Option<u32> {
        match self.kind {
            TableKind::Hash | TableKind::Array => self.places.get(key).copied(),
            TableKind::Lpm => {
                let (bits, data) = split(key)?;
                let mut lengths = self.lengths.range(..=bits).rev();
                lengths.find_map(|bits| self.places.get(&prefix(*bits, data)).copied())
            }
        }
    }

    /// The value at a place.
    pub fn value(&self, place: u32) -> Option<&[u8]> {
        self.values.get(usize::try_from(place).ok()?).map(Vec::as_slice)
    }

    /// The value at a place, to be written; `None` also where programs only read the table.
    pub fn value_mut(&mut self, place: u32) -> Option<&mut [u8]> {
        let place = usize::try_from(place).ok().filter(|_| self.writable)?;
        self.values.get_mut(place).map(Vec::as_mut_slice)
    }
}

/// Bits and data of a trie's key.
fn split(key: &[u8]) -> Option<(u32, &[u8])> {
    key.split_first_chunk().map(|(bits, data)| (u32::from_ne_bytes(*bits), data))
}

/// The bits, and the data without what lies behind them.
fn prefix(bits: u32, data: &[u8]) -> Vec<u8> {
    let mut key = bits.to_ne_bytes().to_vec();
    for (octet, first_bit) in data.iter().zip((0u32..).step_by(8)) {
        let mask = match bits.saturating_sub(first_bit) {
            0 => 0,
            kept @ 1..8 => 0xff << (8 - kept),
            _ => 0xff,
        };
        key.push(octet & mask);
    }
    key
}
