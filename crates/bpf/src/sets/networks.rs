//! Rules that differ in one network only: the longest prefix that holds an address tells the best of all
//! rules whose network does.

use std::collections::HashMap;

use rules::form::{End, Network};

use super::boxes::{self, Addressed, Dimension, Limit, Limits};
use super::code::Code;
use super::plain::Plain;
use super::pool::Pooled;
use super::prefixes::{pushed_down, trie};
use crate::asm::{Cond, Label, Reg};
use crate::tables::{Table, TableId};

/// The most tries: each costs a frame as much as some twenty rules that are compared.
const TRIES_MAX: usize = 4;

/// Rules that ask the same but for one network.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Networks {
    pub(super) trie: TableId,
    pub(super) end: End,
    /// What all of them ask besides.
    first: Plain,
    /// How many rules there are.
    pub(super) rules: usize,
}

/// Takes the rules out of the pool that stand in groups of at least `least`.
pub(super) fn take(
    pool: &mut Vec<Pooled>,
    addressed: &Addressed,
    least: usize,
    next_table: &mut u32,
) -> Vec<(Networks, Table)> {
    let mut groups: HashMap<(Dimension, Limits), Vec<usize>> = HashMap::new();
    for (index, pooled) in pool.iter().enumerate() {
        for (dimension, limit) in &pooled.limits {
            let Limit::Addresses(set) = limit else { continue };
            if addressed.one(*set).is_some() {
                let mut rest = pooled.limits.clone();
                rest.remove(dimension);
                groups.entry((*dimension, rest)).or_default().push(index);
            }
        }
    }
    let mut groups: Vec<_> = groups.into_iter().filter(|(_, of)| of.len() >= least).collect();
    groups.sort_by(|a, b| b.1.len().cmp(&a.1.len()).then_with(|| a.0.cmp(&b.0)));
    let mut taken = vec![false; pool.len()];
    let mut found: Vec<(Networks, Table)> = Vec::new();
    for ((dimension, rest), mut indexes) in groups {
        indexes.retain(|index| !taken[*index]);
        let (Some(end), Some(first)) = (dimension.end(), boxes::plain(&rest, addressed)) else { continue };
        if indexes.len() < least || found.len() == TRIES_MAX {
            continue;
        }
        let networks: Vec<(Network, u32)> = indexes
            .iter()
            .filter_map(|index| match pool[*index].limits.get(&dimension) {
                Some(Limit::Addresses(set)) => Some((addressed.one(*set)?, pool[*index].rank)),
                _ => None,
            })
            .collect();
        let id = TableId::next(next_table);
        let rules = networks.len();
        found.push((Networks { trie: id, end, first, rules }, ranks(id, networks)));
        indexes.into_iter().for_each(|index| taken[index] = true);
    }
    let mut index = 0..;
    pool.retain(|_| !index.next().is_some_and(|index| taken[index]));
    found
}

/// A trie of the best rank of all networks that hold a prefix.
fn ranks(id: TableId, networks: Vec<(Network, u32)>) -> Table {
    let found = pushed_down(networks, &0u32, |best, rank| *best = (*best).max(*rank));
    trie(id, 4, vec![0; 4], found.into_iter().map(|(network, best)| (network, best.to_ne_bytes().to_vec())))
}

impl Networks {
    pub(super) fn first(&self) -> &Plain {
        &self.first
    }

    /// `R0` = the pointer to a rank, or 0; goes to `none` where there is no use in looking.
    pub(super) fn emit(&self, code: &mut Code<'_>, none: Label) {
        if self.first != Plain::Known(true) {
            code.mismatch(&self.first);
            code.asm.jump_if(Reg::R0, Cond::Ne, 0, none);
        }
        code.find_address(self.end, self.trie);
    }
}
