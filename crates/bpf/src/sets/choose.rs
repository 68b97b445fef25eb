//! Which rules of a set are found how.
//!
//! Rules that ask the same fields for single values go to a hash table, rules that differ in one network to a
//! trie, many others to bitmaps; what is left, and what matches by chance, is compared one by one. Each way
//! gives the best rank among its rules, and the best of them decides.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use rules::form::{RuleSet, Ruled};

use super::boxes::{self, Addressed};
use super::code::{Code, scratch};
use super::line::{self, Compared, Lists};
use super::networks::{self, Networks};
use super::plain::{Plain, Tables};
use super::pool::Pooled;
use super::tuples::{self, Tuples};
use super::vectors::{self, Made, Vectors};
use super::{SetError, grouped, rank};
use crate::asm::{Cond, Label, Reg, Size};
use crate::tables::Table;

/// The fewest rules that a table is made for: it costs a frame as much as these when they are compared.
const GROUP_LEAST: usize = 24;
/// The fewest where there are bitmaps anyway, to which a rule adds next to nothing.
const GROUP_LEAST_BESIDE: usize = 256;
/// The most rules that are compared one by one where they need not be.
const LINE_MOST: usize = 48;

/// The fewest rules of which bitmaps are made.
const BITMAPS_LEAST: usize = 32;

/// Rules by rank.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Ranked {
    /// The rank of the rule that decides where no other does; 0 for none.
    otherwise: u32,
    parts: Vec<Part>,
    /// Compared one by one, the highest rank first.
    line: Vec<(u32, Compared)>,
    /// Whether any rank stands for a quick rule.
    quick: bool,
}

/// Rules that are found together.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Part {
    /// The highest rank among them.
    best: u32,
    way: Way,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Way {
    Tuples(Tuples),
    Networks(Networks),
    Vectors(Vectors),
}

/// What has been chosen so far.
#[derive(Default)]
struct Chosen {
    parts: Vec<Part>,
    tables: Vec<Table>,
    next_table: u32,
    /// What no part has.
    rest: Vec<Pooled>,
}

impl Ranked {
    /// Chooses for each rule of a set in which no order but the rank matters.
    pub(super) fn choose(
        set: &RuleSet,
        lists: &mut Tables,
        tables: &mut Vec<Table>,
        next_table: &mut u32,
    ) -> Result<Self, SetError> {
        let mut addressed = Addressed::default();
        let mut deciding: Vec<(u32, usize)> = Vec::with_capacity(set.rulings().len());
        for (at, ruling) in set.rulings().iter().enumerate() {
            if ruling.verdict != Ruled::Match {
                deciding.push((rank::of(set.rulings().len(), at, ruling.quick), at));
            }
        }
        deciding.sort_unstable_by_key(|rule| Reverse(*rule));
        let mut ranked = Self { otherwise: 0, parts: Vec::new(), line: Vec::new(), quick: false };
        let mut pool = Vec::with_capacity(deciding.len());
        // The rules that are compared, each once, the highest rank first.
        let mut compared: BTreeSet<(Reverse<u32>, usize)> = BTreeSet::new();
        for (rank, at) in deciding {
            let ruling = &set.rulings()[at];
            let found = match ruling.chance {
                None => boxes::boxes(&ruling.when, true, &mut addressed),
                Some(_) => None,
            };
            let Some(found) = found else {
                compared.insert((Reverse(rank), at));
                ranked.quick |= ruling.quick;
                continue;
            };
            ranked.quick |= ruling.quick && !found.is_empty();
            if found.iter().any(|limits| limits.is_empty()) {
                // It matches every frame, so nothing below it ever decides.
                ranked.otherwise = rank;
                break;
            }
            pool.extend(found.into_iter().map(|limits| Pooled { rank, at, limits }));
        }
        let mut chosen = Chosen::of(pool, &addressed, *next_table);
        *next_table = chosen.next_table;
        tables.append(&mut chosen.tables);
        ranked.parts = chosen.parts;
        compared.extend(chosen.rest.iter().map(|pooled| (Reverse(pooled.rank), pooled.at)));
        for (Reverse(rank), at) in compared {
            let rule = Compared::of(at, &set.rulings()[at], lists)?;
            match rule.test {
                Plain::Known(false) => {}
                Plain::Known(true) if rule.chance.is_none() => {
                    ranked.otherwise = ranked.otherwise.max(rank);
                    break;
                }
                _ => ranked.line.push((rank, rule)),
            }
        }
        Ok(ranked)
    }

    pub(super) fn quick(&self) -> bool {
        self.quick
    }

    pub(super) fn line(&self) -> &[(u32, Compared)] {
        &self.line
    }

    /// Whether any part reads the VLAN; the line is not asked.
    pub(super) fn asks_vlan(&self) -> bool {
        self.parts.iter().any(|part| match &part.way {
            Way::Tuples(tuples) => {
                let mut asks = tuples.asks_vlan();
                tuples.first().visit(&mut |test| asks |= test.asks_vlan());
                asks
            }
            Way::Networks(networks) => {
                let mut asks = false;
                networks.first().visit(&mut |test| asks |= test.asks_vlan());
                asks
            }
            Way::Vectors(vectors) => vectors.asks_vlan(),
        })
    }

    pub(super) fn describe(&self, rules: &str) -> Vec<String> {
        let (mut lines, mut counts) = (Vec::new(), BTreeMap::new());
        for part in &self.parts {
            let (name, count) = match &part.way {
                Way::Tuples(tuples) => {
                    let keys = grouped(tuples.keys);
                    lines.push(format!("table_{}: {keys} exact keys in a hash table", tuples.table.0));
                    ("by exact fields", tuples.rules)
                }
                Way::Networks(networks) => {
                    let (count, end) = (grouped(networks.networks), line::end_name(networks.end));
                    lines.push(format!("{}: {count} networks of the {end}", networks.finder.names()));
                    ("by network", networks.rules)
                }
                Way::Vectors(vectors) => {
                    lines.push(format!("{}: bitmaps of {} tests", vectors.names(), grouped(vectors.rules)));
                    ("by bitmaps", vectors.rules)
                }
            };
            *counts.entry(name).or_insert(0) += count;
        }
        if !self.line.is_empty() {
            counts.insert("compared one by one", self.line.len());
        }
        if self.otherwise != 0 {
            counts.insert("for every other frame", 1);
        }
        let counts: Vec<String> =
            counts.into_iter().map(|(name, count)| format!("{} {name}", grouped(count))).collect();
        let counts = if counts.is_empty() { "none can decide".to_owned() } else { counts.join(", ") };
        lines.insert(0, format!("{rules}: {counts}"));
        lines
    }

    /// Leaves the best rank in scratch and falls through or goes to `done`.
    pub(super) fn emit(&self, code: &mut Code<'_>, lists: &mut Lists, done: Label) {
        code.keep(Size::Word, scratch::BEST, self.otherwise.cast_signed());
        for (number, part) in self.parts.iter().enumerate() {
            let next = code.asm.label();
            if number > 0 {
                // Nothing better is to be had here.
                code.recall(Size::Word, Reg::R0, scratch::BEST);
                code.asm.jump_if(Reg::R0, Cond::Ge, part.best.cast_signed(), next);
            }
            match &part.way {
                Way::Tuples(tuples) => tuples.emit(code, next),
                Way::Networks(networks) => networks.emit(code, next),
                Way::Vectors(vectors) => vectors.emit(code, next),
            }
            if number > 0 || self.otherwise != 0 {
                code.recall(Size::Word, Reg::R1, scratch::BEST);
                code.asm.jump_if(Reg::R0, Cond::Le, Reg::R1, next);
            }
            code.keep(Size::Word, scratch::BEST, Reg::R0);
            code.asm.place(next);
        }
        let beside = !self.parts.is_empty();
        if let Some((best, _)) = self.line.first().filter(|_| beside) {
            code.recall(Size::Word, Reg::R0, scratch::BEST);
            code.asm.jump_if(Reg::R0, Cond::Ge, best.cast_signed(), done);
        }
        line::ranked(code, lists, &self.line, beside, done);
    }
}

/// Rules that may be found together, and what they take.
struct Group {
    way: Way,
    tables: Vec<Table>,
    rules: Vec<Pooled>,
}

impl Group {
    /// How many rules, or networks of one rule.
    fn size(&self) -> usize {
        match &self.way {
            Way::Networks(networks) => networks.networks,
            Way::Tuples(_) | Way::Vectors(_) => self.rules.len(),
        }
    }
}

impl Chosen {
    fn of(pool: Vec<Pooled>, addressed: &Addressed, next_table: u32) -> Self {
        let mut chosen = Self { next_table, rest: pool, ..Self::default() };
        let mut groups = chosen.groups(addressed);
        let count = |pool: &[Pooled]| pool.chunk_by(|a, b| a.at == b.at).count();
        if count(&chosen.rest) > LINE_MOST {
            // There will be bitmaps, and they may as well have the small groups.
            let small = |group: &mut Group| group.size() < GROUP_LEAST_BESIDE;
            chosen.rest.extend(groups.extract_if(.., small).flat_map(|group| group.rules));
            chosen.rest.sort_by_key(|pooled| Reverse(pooled.rank));
        }
        for group in groups {
            chosen.add(group);
        }
        if count(&chosen.rest) > LINE_MOST {
            chosen.bitmaps(addressed);
        }
        chosen
    }

    fn add(&mut self, group: Group) {
        let best = group.rules.iter().map(|pooled| pooled.rank).max().unwrap_or(0);
        self.parts.push(Part { best, way: group.way });
        self.tables.extend(group.tables);
    }

    /// Takes the groups out of the rest that are large enough for a table.
    fn groups(&mut self, addressed: &Addressed) -> Vec<Group> {
        let (rest, next, least) = (&mut self.rest, &mut self.next_table, GROUP_LEAST);
        // Single addresses are found by exact keys, which takes less room, before networks are.
        let mut groups = Vec::new();
        let exact = tuples::take(rest, addressed, least, true, next);
        let networks = networks::take(rest, addressed, least, next);
        let masked = tuples::take(rest, addressed, least, false, next);
        for (tuples, table, rules) in exact.into_iter().chain(masked) {
            groups.push(Group { way: Way::Tuples(tuples), tables: vec![table], rules });
        }
        for (networks, tables, rules) in networks {
            groups.push(Group { way: Way::Networks(networks), tables, rules });
        }
        groups
    }

    /// Makes bitmaps of the rest. Where they would be too large they are made of each half: half the rules
    /// have half the classes, of half the size.
    fn bitmaps(&mut self, addressed: &Addressed) {
        let mut open = vec![std::mem::take(&mut self.rest)];
        while let Some(mut rules) = open.pop() {
            if rules.len() < BITMAPS_LEAST {
                self.rest.append(&mut rules);
                continue;
            }
            match vectors::make(&rules, addressed, &mut self.next_table) {
                Made::Vectors(vectors, tables) => {
                    self.add(Group { way: Way::Vectors(vectors), tables, rules });
                }
                Made::Without(dimension) => {
                    let (without, limited): (Vec<_>, Vec<_>) =
                        rules.into_iter().partition(|pooled| pooled.limits.of(dimension).is_none());
                    self.rest.extend(limited);
                    open.push(without);
                }
                Made::TooLarge => {
                    let lower = rules.split_off(rules.len() / 2);
                    // The higher ranks come first.
                    open.extend([lower, rules]);
                }
            }
        }
    }
}
