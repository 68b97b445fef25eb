//! Rules that differ in one network only, and rules that ask for an address of a table: the longest prefix that
//! holds an address tells the best of all rules whose network does, or whether the table holds it.

use std::collections::HashMap;

use rules::form::{End, Network};

use super::boxes::{self, Addressed, Dimension, Limit, Limits};
use super::code::Code;
use super::finder::{self, Finder};
use super::plain::Plain;
use super::pool::{self, Pooled};
use super::prefixes::pushed_down;
use crate::asm::{Cond, Label, Reg};
use crate::tables::Table;

/// The most tries: each costs a frame as much as some twenty rules that are compared.
const TRIES_MAX: usize = 4;

/// Rules that ask the same but for one network.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Networks {
    pub(super) finder: Finder,
    pub(super) end: End,
    /// What all of them ask besides.
    first: Plain,
    /// How many rules there are.
    pub(super) rules: usize,
    /// How many networks they name.
    pub(super) networks: usize,
}

/// Takes the rules out of the pool that stand in groups of at least `least`, and those that name so many
/// networks by themselves.
pub(super) fn take(
    pool: &mut Vec<Pooled>,
    addressed: &Addressed,
    least: usize,
    next_table: &mut u32,
) -> Vec<(Networks, Vec<Table>, Vec<Pooled>)> {
    let mut groups: HashMap<(Dimension, Limits), Vec<usize>> = HashMap::new();
    for (index, pooled) in pool.iter().enumerate() {
        for (dimension, limit) in pooled.limits.iter() {
            let Limit::Addresses(set) = limit else { continue };
            if addressed.one(*set).is_some() {
                let rest = pooled.limits.without(*dimension);
                groups.entry((*dimension, rest)).or_default().push(index);
            }
        }
    }
    let mut groups: Vec<_> = groups.into_iter().filter(|(_, of)| of.len() >= least).collect();
    groups.sort_by(|a, b| b.1.len().cmp(&a.1.len()).then_with(|| a.0.cmp(&b.0)));
    let mut taken = vec![false; pool.len()];
    let mut kept: Vec<((Dimension, Plain), Vec<usize>)> = Vec::new();
    for ((dimension, rest), mut indexes) in groups {
        indexes.retain(|index| !taken[*index]);
        let Some(first) = boxes::plain(&rest, addressed) else { continue };
        if indexes.len() >= least && kept.len() < TRIES_MAX {
            indexes.iter().for_each(|index| taken[*index] = true);
            kept.push(((dimension, first), indexes));
        }
    }
    for (index, pooled) in pool.iter().enumerate() {
        let large = |limit: &Limit| match limit {
            Limit::Addresses(set) => addressed.networks(*set).len() >= least,
            _ => false,
        };
        let Some((dimension, _)) = pooled.limits.iter().find(|(_, limit)| large(limit)) else { continue };
        if kept.len() < TRIES_MAX && !taken[index] {
            let Some(first) = boxes::plain(&pooled.limits.without(*dimension), addressed) else { continue };
            kept.push(((*dimension, first), vec![index]));
        }
    }
    let (asked, indexes): (Vec<(Dimension, Plain)>, Vec<Vec<usize>>) = kept.into_iter().unzip();
    let mut found = Vec::with_capacity(asked.len());
    for ((dimension, first), rules) in asked.into_iter().zip(pool::split(pool, &indexes)) {
        let Some(end) = dimension.end() else { continue };
        let mut networks: Vec<(Network, (u32, bool))> = Vec::with_capacity(rules.len());
        for pooled in &rules {
            let Some(Limit::Addresses(set)) = pooled.limits.of(dimension) else { continue };
            let of = addressed.networks(*set).iter();
            networks.extend(of.map(|(network, inside)| (*network, (pooled.rank, *inside))));
        }
        let count = networks.len();
        // The best rank of all networks that hold a prefix. Only a rule that stands alone has networks that
        // are not in: there nothing matches.
        let best = pushed_down(networks, &0u32, |best, (rank, inside)| {
            *best = if *inside { (*best).max(*rank) } else { 0 };
        });
        let (finder, tables) = finder::make(best, 0, next_table);
        let networks = Networks { finder, end, first, rules: rules.len(), networks: count };
        found.push((networks, tables, rules));
    }
    found
}

impl Networks {
    pub(super) fn first(&self) -> &Plain {
        &self.first
    }

    /// `R0` = a rank, or 0; goes to `none` where there is no use in looking.
    pub(super) fn emit(&self, code: &mut Code<'_>, none: Label) {
        if self.first != Plain::Known(true) {
            code.mismatch(&self.first);
            code.asm.jump_if(Reg::R0, Cond::Ne, 0, none);
        }
        self.finder.emit(code, self.end, none);
        code.asm.mov(Reg::R0, Reg::R2);
    }
}
