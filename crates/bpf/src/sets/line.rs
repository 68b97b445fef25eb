//! Rules that are compared one by one, in straight lines.

use std::collections::BTreeSet;

use rules::form::{End, RuleId, RuleSet, Ruled, Ruling};

use super::code::{Code, scratch};
use super::plain::{self, Plain, Tables};
use super::{SetError, rank};
use crate::asm::{Alu, Cond, Label, Origin, Reg, Size};
use crate::tables::TableId;

/// One rule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Compared {
    /// Its index in the set.
    pub(super) at: usize,
    pub(super) rule: RuleId,
    pub(super) test: Plain,
    pub(super) chance: Option<u32>,
}

impl Compared {
    pub(super) fn of(at: usize, ruling: &Ruling, tables: &mut Tables) -> Result<Self, SetError> {
        let refused = |why| match why {
            plain::Refused::Number => SetError::Number { at },
            plain::Refused::Deep => SetError::Deep { at },
        };
        let test = Plain::of(&ruling.when, tables).map_err(refused)?;
        let rule = Self { at, rule: ruling.rule, test, chance: ruling.chance };
        let words = rule.list_words();
        match words.iter().zip(words.iter().skip(1)).any(|(a, b)| a.0 == b.0) {
            true => Err(SetError::Lists { at }),
            false => Ok(rule),
        }
    }

    /// Which words of what a trie says of address tables the rule needs.
    fn list_words(&self) -> BTreeSet<(End, usize)> {
        let mut words = BTreeSet::new();
        self.test.visit(&mut |test| {
            if let Plain::Listed { end, table } = test {
                words.insert((*end, table / 64));
            }
        });
        words
    }
}

/// What has been found out of the address tables that an address is in. The rules stand in one line, so what
/// a rule found out is known to those behind it.
pub(super) struct Lists {
    trie: Option<TableId>,
    /// Where frames go for which nothing is found, which are none.
    never: Label,
    known: BTreeSet<(End, usize)>,
}

impl Lists {
    pub(super) fn new(trie: Option<TableId>, never: Label) -> Self {
        Self { trie, never, known: BTreeSet::new() }
    }

    fn find_out(&mut self, code: &mut Code<'_>, rule: &Compared) {
        let Some(trie) = self.trie else { return };
        for (end, word) in rule.list_words() {
            if self.known.contains(&(end, word)) {
                continue;
            }
            code.know(end, trie, word, self.never);
            // There is one place for each end.
            self.known.retain(|(known, _)| *known != end);
            self.known.insert((end, word));
        }
    }
}

/// Rules of which the first that matches decides: the highest rank comes first.
///
/// `beside`: there may be a best rank already, which stays where it is higher.
pub(super) fn ranked(
    code: &mut Code<'_>,
    lists: &mut Lists,
    rules: &[(u32, Compared)],
    beside: bool,
    done: Label,
) {
    for (rank, rule) in rules {
        code.asm.origin(Origin::Rule(rule.rule));
        lists.find_out(code, rule);
        let next = code.asm.label();
        if rule.test != Plain::Known(true) {
            code.mismatch(&rule.test);
            code.asm.jump_if(Reg::R0, Cond::Ne, 0, next);
        }
        if let Some(share) = rule.chance {
            code.chance(rule.at, share);
            code.asm.jump_if(Reg::R1, Cond::Ne, 0, next);
        }
        if beside {
            code.recall(Size::Word, Reg::R0, scratch::BEST);
            code.asm.jump_if(Reg::R0, Cond::Ge, rank.cast_signed(), done);
        }
        code.keep(Size::Word, scratch::BEST, rank.cast_signed());
        code.asm.jump(done);
        code.asm.place(next);
    }
}

/// The name of an end.
pub(super) fn end_name(end: End) -> &'static str {
    match end {
        End::Source => "source",
        End::Destination => "destination",
    }
}

/// One rule of a set in which the order matters.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Ordered {
    compared: Compared,
    /// Tag plus one, and whether the frame must not bear it.
    tagged: Option<(u32, bool)>,
    tag: Option<u32>,
    decides: bool,
    quick: bool,
}

/// The rules of a set whose order matters, up to the one behind which none is ever tried.
pub(super) fn in_order(set: &RuleSet, tables: &mut Tables) -> Result<Vec<Ordered>, SetError> {
    let mut rules = Vec::new();
    for (at, ruling) in set.rulings().iter().enumerate() {
        let rule = Ordered {
            compared: Compared::of(at, ruling, tables)?,
            tagged: ruling.tagged.map(|(tag, not)| (u32::from(tag.0) + 1, not)),
            tag: ruling.tag.map(|tag| u32::from(tag.0) + 1),
            decides: ruling.verdict != Ruled::Match,
            quick: ruling.quick,
        };
        let last = rule.quick && rule.is_certain();
        if rule.compared.test != Plain::Known(false) {
            rules.push(rule);
        }
        if last {
            break;
        }
    }
    Ok(rules)
}

impl Ordered {
    pub(super) fn compared(&self) -> &Compared {
        &self.compared
    }

    fn is_certain(&self) -> bool {
        self.compared.test == Plain::Known(true) && self.tagged.is_none() && self.compared.chance.is_none()
    }
}

/// Rules in their order. Without jumps but that of a quick rule, so that no ways run side by side.
pub(super) fn ordered(code: &mut Code<'_>, lists: &mut Lists, rules: &[Ordered], done: Label) {
    code.keep(Size::Word, scratch::TAG, 0);
    for rule in rules {
        code.asm.origin(Origin::Rule(rule.compared.rule));
        lists.find_out(code, &rule.compared);
        let winner = rank::winner_of(rule.compared.at);
        let certain = rule.is_certain();
        if !certain {
            mismatch(code, rule);
        }
        if rule.quick {
            let next = code.asm.label();
            if !certain {
                code.asm.jump_if(Reg::R0, Cond::Ne, 0, next);
            }
            if rule.decides {
                code.keep(Size::Word, scratch::BEST, winner.cast_signed());
            }
            code.asm.jump(done);
            code.asm.place(next);
            continue;
        }
        if !certain {
            code.make_mask();
        }
        let sets = [(scratch::BEST, rule.decides.then_some(winner)), (scratch::TAG, rule.tag)];
        for (at, number) in sets {
            match number {
                Some(number) if certain => code.keep(Size::Word, at, number.cast_signed()),
                Some(number) => code.choose(at, number),
                None => {}
            }
        }
    }
}

/// `R0` = 0 where the rule matches.
fn mismatch(code: &mut Code<'_>, rule: &Ordered) {
    code.mismatch(&rule.compared.test);
    if let Some((tag, not)) = rule.tagged {
        code.recall(Size::Word, Reg::R1, scratch::TAG);
        code.asm.alu32(Alu::Xor, Reg::R1, tag.cast_signed());
        if not {
            code.asm.mov(Reg::R2, 0);
            code.asm.alu(Alu::Sub, Reg::R2, Reg::R1);
            code.asm.alu(Alu::Rsh, Reg::R2, 63);
            code.asm.alu(Alu::Xor, Reg::R2, 1);
            code.asm.mov(Reg::R1, Reg::R2);
        }
        code.asm.alu(Alu::Or, Reg::R0, Reg::R1);
    }
    if let Some(share) = rule.compared.chance {
        code.chance(rule.compared.at, share);
        code.asm.alu(Alu::Or, Reg::R0, Reg::R1);
    }
}
