//! One way to look at a frame, and the classes of its values: values are alike when the same rules let them
//! pass.
//!
//! Pure.

use std::collections::HashMap;

use rules::form::Network;

use super::bits::{self, Bits};
use super::boxes::{Addressed, Dimension, Limit};
use super::pool::Pooled;
use super::prefixes::pushed_down;

/// Classes and their bitmaps: which rules let a value of the class pass.
#[derive(Debug, Default)]
pub(super) struct Classes {
    numbers: HashMap<Bits, u16>,
    pub(super) bitmaps: Vec<Bits>,
}

impl Classes {
    /// The class of values with this bitmap; `None` where there are too many classes.
    pub(super) fn of(&mut self, bitmap: &Bits) -> Option<u16> {
        if let Some(class) = self.numbers.get(bitmap) {
            return Some(*class);
        }
        let class = u16::try_from(self.bitmaps.len()).ok()?;
        self.numbers.insert(bitmap.clone(), class);
        self.bitmaps.push(bitmap.clone());
        Some(class)
    }
}

/// Which rules do not limit the dimension.
fn unlimited(rules: &[Pooled], dimension: Dimension) -> Bits {
    let mut free = bits::none(rules.len());
    for (place, rule) in rules.iter().enumerate() {
        bits::set(&mut free, place, rule.limits.of(dimension).is_none());
    }
    free
}

/// The classes of a dimension of numbers, and the class of each number. Of at most `most` classes.
pub(super) fn of_numbers(rules: &[Pooled], dimension: Dimension, most: usize) -> Option<(Classes, Vec<u16>)> {
    let (highest, _) = dimension.numbers();
    let mut turns: Vec<(u32, usize, bool)> = Vec::new();
    for (place, rule) in rules.iter().enumerate() {
        let Some(Limit::Numbers(ranges)) = rule.limits.of(dimension) else { continue };
        for (first, last) in ranges.ranges() {
            turns.push((*first, place, true));
            turns.extend(last.checked_add(1).map(|behind| (behind, place, false)));
        }
    }
    turns.sort_unstable();
    let mut now = unlimited(rules, dimension);
    let mut classes = Classes::default();
    let mut index = Vec::with_capacity(usize::try_from(highest).unwrap_or(0) + 1);
    let mut turns = turns.into_iter().peekable();
    let mut class = None;
    for number in 0..=highest {
        while let Some((_, place, on)) = turns.next_if(|(at, ..)| *at == number) {
            bits::set(&mut now, place, on);
            class = None;
        }
        let known = match class {
            Some(class) => class,
            None => classes.of(&now).filter(|_| classes.bitmaps.len() <= most)?,
        };
        class = Some(known);
        index.push(known);
    }
    Some((classes, index))
}

/// The classes of an address, the class of each network, and the class of all others.
pub(super) struct OfAddresses {
    pub(super) classes: Classes,
    pub(super) networks: Vec<(Network, u16)>,
    pub(super) otherwise: u16,
}

/// The classes of an address. Of at most `most` classes, and of not too many networks.
pub(super) fn of_addresses(
    rules: &[Pooled],
    dimension: Dimension,
    addressed: &Addressed,
    most: usize,
) -> Option<OfAddresses> {
    // Rules that name the same set of addresses turn together.
    let mut places: HashMap<usize, Vec<usize>> = HashMap::new();
    for (place, rule) in rules.iter().enumerate() {
        if let Some(Limit::Addresses(set)) = rule.limits.of(dimension) {
            places.entry(*set).or_default().push(place);
        }
    }
    let mut sets: Vec<(usize, Vec<usize>)> = places.into_iter().collect();
    sets.sort_unstable();
    let mut networks: Vec<(Network, (usize, bool))> = Vec::new();
    for (number, (set, _)) in sets.iter().enumerate() {
        networks
            .extend(addressed.networks(*set).iter().map(|(network, inside)| (*network, (number, *inside))));
    }
    if networks.len().saturating_mul(rules.len().div_ceil(64)) > NETWORK_WORDS_MAX {
        return None;
    }
    let mut classes = Classes::default();
    let start = unlimited(rules, dimension);
    let otherwise = classes.of(&start)?;
    let found = pushed_down(networks, &start, |now, (number, inside)| {
        for place in &sets[*number].1 {
            bits::set(now, *place, *inside);
        }
    });
    let mut networks = Vec::with_capacity(found.len());
    for (network, bitmap) in found {
        networks.push((network, classes.of(&bitmap).filter(|_| classes.bitmaps.len() <= most)?));
    }
    Some(OfAddresses { classes, networks, otherwise })
}

/// The most words of bitmaps that are made of networks before alike ones are brought together: 64 MiB.
const NETWORK_WORDS_MAX: usize = 8 << 20;
