//! Sets of rules of which one decides, as instructions and tables whose cost does not grow with the rules.
//!
//! [`lower`] chooses for each rule how it is found; [`Lowered::emit`] writes the instructions. What a frame
//! looks like is read from the record of fields on the stack, never from the frame. Pure: makes no map,
//! reads no clock, draws no numbers.

mod axis;
mod bits;
mod boxes;
mod choose;
mod code;
mod finder;
mod line;
mod networks;
mod plain;
mod pool;
mod prefixes;
mod rank;
mod tuples;
mod vectors;

use std::fmt;

use rules::form::{RuleSet, Ruled, Ruling};

use crate::asm::{Alu, Assembler, Cond, Label, Reg, Size};
use crate::tables::{Table, TableId};
use choose::Ranked;
use code::{Code, scratch};
use line::{Compared, Lists, Ordered};
use plain::{Tables, record};

/// Octets of stack that the instructions of a set need for themselves.
pub const SCRATCH_OCTETS: i16 = scratch::OCTETS;

/// Where things lie on the stack, as offsets from `r10`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// The record of fields: 48 octets, at a multiple of 8.
    pub fields: i16,
    /// The VLAN of the outer tag in two octets of the host's order, 4096 for none. Read where
    /// [`Lowered::asks_vlan`].
    pub vlan: i16,
    /// The frame's number of chance, 8 octets. Read where [`Lowered::asks_chance`].
    pub draw: i16,
    /// [`SCRATCH_OCTETS`] octets, at a multiple of 8, that are lost.
    pub scratch: i16,
}

/// Why a set cannot be lowered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SetError {
    /// A rule asks for something else than fields, addresses and VLANs, or computes with two fields.
    Number {
        /// Its index in the set.
        at: usize,
    },
    /// The test of a rule is nested too deep.
    Deep {
        /// Its index in the set.
        at: usize,
    },
    /// A rule asks for one address in several tables that lie too far apart among those of the set: of the
    /// first 64 that the set names, the next 64 and so on only one group can be asked at a time.
    Lists {
        /// Its index in the set.
        at: usize,
    },
}

impl fmt::Display for SetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number { at } => {
                write!(f, "rule {} of a set asks for more than fields, addresses and VLANs", at + 1)
            }
            Self::Deep { at } => write!(f, "the test of rule {} of a set is nested too deep", at + 1),
            Self::Lists { at } => {
                write!(f, "rule {} of a set looks one address up in too many tables", at + 1)
            }
        }
    }
}

impl std::error::Error for SetError {}

/// A set of rules, ready to be written as instructions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lowered {
    rules: usize,
    tables: Vec<Table>,
    lists: Option<TableId>,
    how: How,
    asks_vlan: bool,
    asks_chance: bool,
}

/// How the rule that decides is found.
#[derive(Clone, PartialEq, Eq, Debug)]
enum How {
    /// In the order of the rules, since some look at tags.
    Ordered(Vec<Ordered>),
    /// By rank.
    Ranked(Ranked),
}

/// Lowers a set. Tables are numbered from `next_table` on, which is moved behind them.
///
/// # Errors
///
/// A rule that the record of fields cannot answer; see [`SetError`].
pub fn lower(set: &RuleSet, next_table: &mut u32) -> Result<Lowered, SetError> {
    let mut lists = Tables::default();
    let stops_undecided = |ruling: &Ruling| ruling.quick && ruling.verdict == Ruled::Match;
    let mut tables = Vec::new();
    let how = if set.asks_tags() || set.rulings().iter().any(stops_undecided) {
        How::Ordered(line::in_order(set, &mut lists)?)
    } else {
        How::Ranked(Ranked::choose(set, &mut lists, &mut tables, next_table)?)
    };
    let mut list_trie = None;
    if !lists.list().is_empty() {
        let id = TableId::next(next_table);
        tables.push(lists.trie(id));
        list_trie = Some(id);
    }
    let mut lowered = Lowered {
        rules: set.rulings().len(),
        tables,
        lists: list_trie,
        how,
        asks_vlan: false,
        asks_chance: false,
    };
    let (mut asks_vlan, mut asks_chance) = (false, false);
    for rule in lowered.compared() {
        asks_chance |= rule.chance.is_some();
        rule.test.visit(&mut |test| asks_vlan |= test.asks_vlan());
    }
    if let How::Ranked(ranked) = &lowered.how {
        asks_vlan |= ranked.asks_vlan();
    }
    (lowered.asks_vlan, lowered.asks_chance) = (asks_vlan, asks_chance);
    Ok(lowered)
}

impl Lowered {
    /// The tables that the instructions look up.
    pub fn tables(&self) -> &[Table] {
        &self.tables
    }

    /// Whether the VLAN of the outer tag is read.
    pub fn asks_vlan(&self) -> bool {
        self.asks_vlan
    }

    /// Whether the frame's number of chance is read.
    pub fn asks_chance(&self) -> bool {
        self.asks_chance
    }

    /// Lines that tell how the rule that decides is found.
    pub fn describe(&self) -> Vec<String> {
        let rules = match self.rules {
            1 => "1 rule".to_owned(),
            rules => format!("{} rules", grouped(rules)),
        };
        match &self.how {
            How::Ordered(_) => {
                vec![format!("{rules}: compared one by one in their order, since some look at tags")]
            }
            How::Ranked(ranked) => ranked.describe(&rules),
        }
    }

    /// Appends the instructions. They read the record, and leave in `R0` 0 where no rule decides, else 1 +
    /// the index of the one that does. `R1` to `R5` are lost, `R6` to `R9` are not touched.
    pub fn emit(&self, asm: &mut Assembler, place: &Place) {
        let (none, done, out) = (asm.label(), asm.label(), asm.label());
        let mut code = Code { asm, place: *place };
        code.asm.origin_text("a set of rules: frames without IP match none");
        code.field(Size::Byte, Reg::R0, record::VERSION);
        code.asm.jump_if(Reg::R0, Cond::Eq, 0, none);
        let mut lists = Lists::new(self.lists, none);
        match &self.how {
            How::Ordered(rules) => {
                code.keep(Size::Word, scratch::BEST, 0);
                line::ordered(&mut code, &mut lists, rules, done);
            }
            How::Ranked(ranked) => {
                ranked.emit(&mut code, &mut lists, done);
            }
        }
        code.asm.origin_text("a set of rules: the rule that decides");
        code.asm.place(done);
        code.recall(Size::Word, Reg::R0, scratch::BEST);
        if matches!(&self.how, How::Ranked(ranked) if ranked.quick()) {
            self.winner_from_rank(&mut code, out);
        } else {
            code.asm.jump(out);
        }
        code.asm.place(none);
        code.asm.mov(Reg::R0, 0);
        code.asm.place(out);
    }

    fn winner_from_rank(&self, code: &mut Code<'_>, out: Label) {
        let others = i32::try_from(self.rules).unwrap_or(i32::MAX);
        code.asm.jump_if(Reg::R0, Cond::Le, others, out);
        code.asm.mov(Reg::R1, rank::top(self.rules).cast_signed());
        code.asm.alu(Alu::Sub, Reg::R1, Reg::R0);
        code.asm.mov(Reg::R0, Reg::R1);
        code.asm.jump(out);
    }

    fn compared(&self) -> impl Iterator<Item = &Compared> {
        let (ordered, ranked) = match &self.how {
            How::Ordered(rules) => (rules.as_slice(), [].as_slice()),
            How::Ranked(ranked) => ([].as_slice(), ranked.line()),
        };
        ordered.iter().map(Ordered::compared).chain(ranked.iter().map(|(_, rule)| rule))
    }
}

/// A number with a comma before each three digits from behind.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut shown = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}
