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

    /// Whether something must be looked up for the rule.
    fn asks(&self, rule: &Compared) -> bool {
        self.trie.is_some() && !rule.list_words().is_subset(&self.known)
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

/// The most jumps that wait for the verifier to follow them: it takes 8,192 (`BPF_COMPLEXITY_LIMIT_JMP_SEQ`).
///
/// It follows the way on which no rule matches to its end before it looks at any other. What it knows of the
/// stack it works out anew, for the whole program, at the end of each way that has touched the stack at a new
/// place (Linux 6.18), so a way on which a rule matches leaves the stack alone until all of them meet.
///
/// More rules than these share jumps, and the time to load them grows with their square (5,000 that shared jumps
/// took 10 s on a busy machine). Only rules that are no boxes, or match by chance, are compared in such numbers.
const WAITING_MAX: usize = 7500;

/// Rules of which the first that matches decides: the highest rank comes first. Leaves its rank in scratch,
/// and falls through or goes to `done`.
///
/// `beside`: there may be a best rank already, which stays where it is higher.
pub(super) fn ranked(
    code: &mut Code<'_>,
    lists: &mut Lists,
    rules: &[(u32, Compared)],
    beside: bool,
    done: Label,
) {
    let together = rules.len().div_ceil(WAITING_MAX).max(1);
    let mut hits = Hits::new(code);
    let mut rest = rules;
    if rules.is_empty() {
        return;
    }
    while let Some(((_, first), others)) = rest.split_first() {
        lists.find_out(code, first);
        // Looking up loses registers, so what needs it begins a group.
        let more = others.iter().take(together - 1).take_while(|(_, rule)| !lists.asks(rule)).count();
        let (group, behind) = rest.split_at(1 + more);
        let hit = code.asm.label();
        for (at, (_, rule)) in group.iter().enumerate() {
            code.asm.origin(Origin::Rule(rule.rule));
            mismatch(code, rule);
            if together > 1 {
                collect(code, at);
            }
        }
        match together {
            1 => code.asm.jump_if(Reg::R0, Cond::Eq, 0, hit),
            _ => code.asm.jump_if(Reg::R5, Cond::Ne, 0, hit),
        }
        hits.add(hit, group.iter().map(|(rank, rule)| (*rank, rule.rule)).collect());
        rest = behind;
        if !rest.is_empty() {
            hits.write_in_time(code);
        }
    }
    hits.write(code, done);
    if beside {
        code.recall(Size::Word, Reg::R1, scratch::BEST);
        code.asm.jump_if(Reg::R1, Cond::Ge, Reg::R0, done);
    }
    code.keep(Size::Word, scratch::BEST, Reg::R0);
}

/// Where frames go that a rule matches, and what `R0` is there: for a group of several rules that of the first
/// whose bit is set in `R5`.
struct Hits {
    open: Vec<(Label, Vec<(u32, RuleId)>)>,
    /// Where all of them meet.
    got: Label,
    /// The line of the program behind which the first open one was jumped to.
    since: usize,
    count: usize,
}

/// How many lines may lie between a jump and where it leads. A conditional jump reaches 32,767 slots, of which
/// a line takes two at most; a longer one would be turned round, and so followed at once.
const NEAR: usize = 10_000;

impl Hits {
    fn new(code: &mut Code<'_>) -> Self {
        Self { open: Vec::new(), got: code.asm.label(), since: code.asm.len(), count: 0 }
    }

    fn add(&mut self, hit: Label, numbers: Vec<(u32, RuleId)>) {
        self.open.push((hit, numbers));
        self.count += 1;
    }

    /// Writes the open ones, and a jump over them, before they are out of reach.
    fn write_in_time(&mut self, code: &mut Code<'_>) {
        if code.asm.len() - self.since > NEAR {
            let over = code.asm.label();
            code.asm.jump(over);
            self.write_open(code);
            code.asm.place(over);
            self.since = code.asm.len();
        }
    }

    /// Writes the rest: those that no rule matched go to `done`, the others fall through.
    fn write(mut self, code: &mut Code<'_>, done: Label) {
        code.asm.jump(done);
        self.write_open(code);
        code.asm.place(self.got);
    }

    fn write_open(&mut self, code: &mut Code<'_>) {
        for (hit, numbers) in self.open.drain(..) {
            code.asm.place(hit);
            // One of them is set, so the last need not be asked.
            let last = numbers.len() - 1;
            for (at, (number, rule)) in numbers.into_iter().enumerate() {
                code.asm.origin(Origin::Rule(rule));
                let next = code.asm.label();
                if at < last {
                    code.asm.mov(Reg::R0, Reg::R5);
                    code.asm.alu(Alu::And, Reg::R0, bit(at));
                    code.asm.jump_if(Reg::R0, Cond::Eq, 0, next);
                }
                code.asm.mov(Reg::R0, number.cast_signed());
                code.asm.jump(self.got);
                code.asm.place(next);
            }
        }
    }
}

/// Which bit of `R5` stands for a rule of a group, of which there are at most 17.
fn bit(at: usize) -> i32 {
    1 << (at % 31)
}

/// `R5` gains the bit of a rule where `R0` is 0.
fn collect(code: &mut Code<'_>, at: usize) {
    code.make_mask();
    code.asm.alu(Alu::And, Reg::R0, bit(at));
    let op = if at == 0 { Alu::Mov } else { Alu::Or };
    code.asm.alu(op, Reg::R5, Reg::R0);
}

/// `R0` = 0 where the rule matches, tags left aside.
fn mismatch(code: &mut Code<'_>, rule: &Compared) {
    code.mismatch(&rule.test);
    if let Some(share) = rule.chance {
        code.chance(rule.at, share);
        code.asm.alu(Alu::Or, Reg::R0, Reg::R1);
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

/// Rules in their order. Without jumps but those of quick rules, so that no ways run side by side. Leaves the
/// winner in scratch, and falls through or goes to `done`.
pub(super) fn ordered(code: &mut Code<'_>, lists: &mut Lists, rules: &[Ordered], done: Label) {
    code.keep(Size::Word, scratch::TAG, 0);
    code.keep(Size::Word, scratch::STOPPED, 0);
    let mut hits = Hits::new(code);
    let mut stops = false;
    for rule in rules {
        code.asm.origin(Origin::Rule(rule.compared.rule));
        lists.find_out(code, &rule.compared);
        let winner = rule.decides.then_some(rank::winner_of(rule.compared.at));
        if rule.is_certain() && !stops {
            let sets = [(scratch::BEST, winner), (scratch::TAG, rule.tag)];
            for (at, number) in sets {
                if let Some(number) = number {
                    code.keep(Size::Word, at, number.cast_signed());
                }
            }
            continue;
        }
        ordered_mismatch(code, rule, stops);
        if rule.quick && rule.decides && hits.count < WAITING_MAX {
            let hit = code.asm.label();
            code.asm.jump_if(Reg::R0, Cond::Eq, 0, hit);
            hits.add(hit, vec![(rank::winner_of(rule.compared.at), rule.compared.rule)]);
            hits.write_in_time(code);
            continue;
        }
        code.make_mask();
        let stopped = rule.quick.then_some(1);
        for (at, number) in [(scratch::BEST, winner), (scratch::TAG, rule.tag), (scratch::STOPPED, stopped)] {
            if let Some(number) = number {
                code.choose(at, number);
            }
        }
        stops |= rule.quick;
    }
    if hits.count == 0 {
        return;
    }
    hits.write(code, done);
    code.keep(Size::Word, scratch::BEST, Reg::R0);
}

/// `R0` = 0 where the rule matches.
fn ordered_mismatch(code: &mut Code<'_>, rule: &Ordered, stops: bool) {
    mismatch(code, &rule.compared);
    if stops {
        // Nothing is tried behind a quick rule that matched.
        code.recall(Size::Word, Reg::R1, scratch::STOPPED);
        code.asm.alu(Alu::Or, Reg::R0, Reg::R1);
    }
    let Some((tag, not)) = rule.tagged else { return };
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
