//! Many rules of any shape: for each way to look at a frame a bitmap of the rules that let it pass, of which
//! the lowest bit that all have is the rule that decides (Lakshman and Stiliadis, SIGCOMM 1998; with a
//! summary of which words are not 0, Baboescu and Varghese, SIGCOMM 2001).
//!
//! All bitmaps and what finds them stand in one block, the value of an array of one entry:
//!
//! ```text
//! | index of an axis | ... | ranks | bitmaps of an axis | ... |
//! bitmaps of one class: | summary of group 0 | ... | words of group 0 | words of group 1 | ... |
//! ```
//!
//! A group is up to 64 words, one bit of its summary for each. Words of a group, and ranks of a word, stand in
//! the order of [`Order::number`].

use rules::form::End;

use super::axis::{self, Classes};
use super::bits::{self, Bits, Order};
use super::boxes::{Addressed, Dimension};
use super::code::{Code, scratch};
use super::finder::{self, Finder};
use super::plain::record;
use super::pool::Pooled;
use crate::asm::{Alu, Cond, Label, Reg, Size, Src};
use crate::tables::{Table, TableId};

/// The most octets of the bitmaps of a block. Some thousands of rules of which no two are alike take as much.
const BLOCK_MAX: usize = 16 << 20;
/// The most classes of small dimensions together.
const COMBINED_MAX: usize = 1 << 14;

/// Rules whose bitmaps are looked up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Vectors {
    axes: Vec<Axis>,
    block: TableId,
    layout: Layout,
    ranks_at: usize,
    /// How many words of bitmaps there are.
    words: usize,
    /// How many rules there are.
    pub(super) rules: usize,
}

/// Where the class of a frame is found.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Axis {
    from: From,
    classes: usize,
    /// Where the bitmaps of its first class lie in the block.
    bitmaps_at: usize,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum From {
    Address(End, Finder),
    /// One number, by an index at this place of the block.
    Number(Dimension, usize),
    /// Several numbers: what their indexes say is added up, and is the place in one more index of so many.
    Combined {
        parts: Vec<(Dimension, usize)>,
        index_at: usize,
        len: usize,
    },
}

/// How the bitmaps of one class lie.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Layout {
    groups: usize,
    order: Order,
}

impl Layout {
    fn of(words: usize) -> Self {
        match Order::of(words) {
            Some(order) => Self { groups: 1, order },
            None => Self { groups: words.div_ceil(64), order: Order::WORD },
        }
    }

    fn stride(self) -> usize {
        8 * self.groups * (1 + self.order.bits())
    }

    /// Where the words of a group lie.
    fn words_at(self, group: usize) -> usize {
        8 * (self.groups + group * self.order.bits())
    }

    /// The octets of the bitmaps of one class.
    fn write(self, bitmap: &Bits, block: &mut [u8]) {
        for (at, word) in bitmap.iter().enumerate().filter(|(_, word)| **word != 0) {
            let (group, bit) = (at / 64, at % 64);
            let summary = &mut block[8 * group..][..8];
            let known = u64::from_ne_bytes(*summary.first_chunk().unwrap_or(&[0; 8]));
            summary.copy_from_slice(&(known | 1 << bit).to_ne_bytes());
            let place = self.words_at(group) + 8 * self.order.number(bit);
            block[place..place + 8].copy_from_slice(&word.to_ne_bytes());
        }
    }
}

/// What was made of rules.
pub(super) enum Made {
    /// Tables and how to use them.
    Vectors(Vectors, Vec<Table>),
    /// These dimensions have too many values together: rules that limit this one are to be left out.
    Without(Dimension),
    /// The bitmaps would be too large.
    TooLarge,
}

const SMALL: [Dimension; 7] = [
    Dimension::Version,
    Dimension::Protocol,
    Dimension::Tos,
    Dimension::TcpFlags,
    Dimension::IcmpType,
    Dimension::IcmpCode,
    Dimension::Vlan,
];

/// Makes the bitmaps of rules, of which there is at least one, the highest rank first.
pub(super) fn make(rules: &[Pooled], addressed: &Addressed, next_table: &mut u32) -> Made {
    let words = rules.len().div_ceil(64);
    let layout = Layout::of(words);
    let mut block = Block { octets: Vec::new(), room: BLOCK_MAX / layout.stride() };
    let mut axes: Vec<(From, Classes)> = Vec::new();
    let mut tables = Vec::new();
    let limited = |dimension: &Dimension| rules.iter().any(|rule| rule.limits.of(*dimension).is_some());
    for dimension in [Dimension::Source, Dimension::Destination] {
        let Some(end) = dimension.end().filter(|_| limited(&dimension)) else { continue };
        let Some(found) = axis::of_addresses(rules, dimension, addressed, block.room) else {
            return Made::TooLarge;
        };
        let networks = found.networks.into_iter().map(|(network, class)| (network, class.into()));
        let (finder, made) = finder::make(networks.collect(), found.otherwise.into(), next_table);
        tables.extend(made);
        block.reserve(&found.classes);
        axes.push((From::Address(end, finder), found.classes));
    }
    for dimension in [Dimension::SourcePort, Dimension::DestinationPort] {
        if !limited(&dimension) {
            continue;
        }
        let Some((classes, index)) = axis::of_numbers(rules, dimension, block.room) else {
            return Made::TooLarge;
        };
        block.reserve(&classes);
        axes.push((From::Number(dimension, block.index(&index)), classes));
    }
    let small: Vec<Dimension> = SMALL.into_iter().filter(limited).collect();
    if !small.is_empty() {
        match combined(rules, &small, &mut block) {
            Ok(Some(axis)) => axes.push(axis),
            Ok(None) => return Made::TooLarge,
            Err(dimension) => return Made::Without(dimension),
        }
    }
    let ranks_at = block.ranks(rules, layout);
    let axes = axes
        .into_iter()
        .map(|(from, classes)| Axis {
            from,
            classes: classes.bitmaps.len(),
            bitmaps_at: block.bitmaps(&classes, layout),
        })
        .collect();
    let id = TableId::next(next_table);
    let Some(table) = Table::block(id, block.octets) else { return Made::TooLarge };
    tables.push(table);
    Made::Vectors(Vectors { axes, block: id, layout, ranks_at, words, rules: rules.len() }, tables)
}

/// The block while it grows.
struct Block {
    octets: Vec<u8>,
    /// For how many more classes there is room.
    room: usize,
}

impl Block {
    fn reserve(&mut self, classes: &Classes) {
        self.room = self.room.saturating_sub(classes.bitmaps.len());
    }

    /// Adds an index of two octets for each number; gives its place.
    fn index(&mut self, index: &[u16]) -> usize {
        let at = self.octets.len();
        self.octets.extend(index.iter().flat_map(|class| class.to_ne_bytes()));
        self.octets.resize(self.octets.len().next_multiple_of(8), 0);
        at
    }

    fn ranks(&mut self, rules: &[Pooled], layout: Layout) -> usize {
        let at = self.octets.len();
        self.octets.resize(at + layout.groups * layout.order.bits() * 64 * 4, 0);
        for (place, rule) in rules.iter().enumerate() {
            let (word, bit) = (place / 64, place % 64);
            let word = word / 64 * layout.order.bits() + layout.order.number(word % 64);
            let to = at + (word * 64 + Order::WORD.number(bit)) * 4;
            self.octets[to..to + 4].copy_from_slice(&rule.rank.to_ne_bytes());
        }
        at
    }

    fn bitmaps(&mut self, classes: &Classes, layout: Layout) -> usize {
        let at = self.octets.len();
        let stride = layout.stride();
        self.octets.resize(at + classes.bitmaps.len() * stride, 0);
        for (bitmap, place) in classes.bitmaps.iter().zip(self.octets[at..].chunks_exact_mut(stride)) {
            layout.write(bitmap, place);
        }
        at
    }
}

/// One axis of several dimensions, each of which has few classes. `None` where it is too large.
fn combined(
    rules: &[Pooled],
    dimensions: &[Dimension],
    block: &mut Block,
) -> Result<Option<(From, Classes)>, Dimension> {
    let mut found = Vec::with_capacity(dimensions.len());
    for dimension in dimensions {
        let Some((classes, index)) = axis::of_numbers(rules, *dimension, block.room) else { return Ok(None) };
        found.push((*dimension, classes, index));
    }
    let len = found.iter().fold(1usize, |len, (_, classes, _)| len.saturating_mul(classes.bitmaps.len()));
    if len > COMBINED_MAX {
        let largest = found.iter().max_by_key(|(_, classes, _)| classes.bitmaps.len());
        return Err(largest.map_or(Dimension::Vlan, |(dimension, ..)| *dimension));
    }
    let mut bitmaps: Vec<Bits> = vec![vec![u64::MAX; bits::none(rules.len()).len()]];
    let (mut parts, mut factor) = (Vec::new(), 1u16);
    for (dimension, classes, index) in &found {
        // Below 2^14 together.
        let index: Vec<u16> = index.iter().map(|class| class * factor).collect();
        parts.push((*dimension, block.index(&index)));
        factor *= u16::try_from(classes.bitmaps.len()).unwrap_or(u16::MAX);
        let both = |a: &Bits, b: &Bits| a.iter().zip(b).map(|(a, b)| a & b).collect::<Bits>();
        let known = std::mem::take(&mut bitmaps);
        bitmaps.extend(
            classes.bitmaps.iter().flat_map(|class| known.iter().map(move |known| both(known, class))),
        );
    }
    let mut classes = Classes::default();
    let mut index = Vec::with_capacity(len);
    for bitmap in &bitmaps {
        let Some(class) = classes.of(bitmap).filter(|_| classes.bitmaps.len() <= block.room) else {
            return Ok(None);
        };
        index.push(class);
    }
    block.reserve(&classes);
    let index_at = block.index(&index);
    Ok(Some((From::Combined { parts, index_at, len }, classes)))
}

/// Where the place of an axis' bitmaps in the block is kept.
fn kept_at(axis: usize) -> i16 {
    // There are at most five axes.
    scratch::AXES + 8 * i16::try_from(axis).unwrap_or(0)
}

fn imm(number: usize) -> i32 {
    // Places in the block, which ends far below 2^31.
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn off(number: usize) -> i16 {
    // Places within the bitmaps of one class: 16 groups of 65 words, far below 2^15.
    i16::try_from(number).unwrap_or(i16::MAX)
}

impl Vectors {
    /// What is looked at.
    pub(super) fn asks_vlan(&self) -> bool {
        self.axes.iter().any(|axis| match &axis.from {
            From::Combined { parts, .. } => parts.iter().any(|(dimension, _)| *dimension == Dimension::Vlan),
            _ => false,
        })
    }

    /// The tables, as they are called in listings.
    pub(super) fn names(&self) -> String {
        let mut names = vec![format!("table_{}", self.block.0)];
        for axis in &self.axes {
            if let From::Address(_, finder) = &axis.from {
                names.push(finder.names());
            }
        }
        names.join(" and ")
    }

    /// `R0` = the rank of the best rule; goes to `none` where there is none.
    pub(super) fn emit(&self, code: &mut Code<'_>, none: Label) {
        for (number, axis) in self.axes.iter().enumerate() {
            if let From::Address(end, finder) = &axis.from {
                finder.emit(code, *end, none);
                self.keep(code, number, none);
            }
        }
        code.keep(Size::Word, scratch::KEY, 0);
        code.find(self.block, scratch::KEY);
        code.asm.jump_if(Reg::R0, Cond::Eq, 0, none);
        for (number, axis) in self.axes.iter().enumerate() {
            match &axis.from {
                From::Address(..) => continue,
                From::Number(dimension, index_at) => index(code, *dimension, *index_at, none),
                From::Combined { parts, index_at, len } => {
                    combined_index(code, parts, none);
                    code.asm.jump_if(Reg::R3, Cond::Ge, imm(*len), none);
                    class(code, Reg::R3, *index_at);
                }
            }
            self.keep(code, number, none);
        }
        let got = code.asm.label();
        for group in 0..self.layout.groups {
            self.group(code, group, got, none);
        }
        code.asm.place(got);
        code.asm.load(Size::Word, Reg::R0, Reg::R1, 0);
    }

    /// Keeps where the bitmaps of the class in `R2` lie. Frames have no class beyond the last.
    fn keep(&self, code: &mut Code<'_>, number: usize, never: Label) {
        let axis = &self.axes[number];
        code.asm.jump_if(Reg::R2, Cond::Ge, imm(axis.classes), never);
        code.asm.alu(Alu::Mul, Reg::R2, imm(self.layout.stride()));
        code.asm.alu(Alu::Add, Reg::R2, imm(axis.bitmaps_at));
        code.keep(Size::Double, kept_at(number), Reg::R2);
    }

    /// Looks for a rule in one group: `R1` = where its rank lies, and goes to `got`. Falls through where there
    /// is none and another group follows.
    fn group(&self, code: &mut Code<'_>, group: usize, got: Label, none: Label) {
        let last = group + 1 == self.layout.groups;
        let (found, behind) = (code.asm.label(), if last { none } else { code.asm.label() });
        let order = self.layout.order;
        self.and(code, Reg::R5, Reg::R0, off(8 * group));
        code.asm.jump_if(Reg::R5, Cond::Eq, 0, behind);
        let words = (self.words - 64 * group).min(64);
        for word in 0..words {
            code.asm.mov(Reg::R1, Reg::R5);
            lowest(code, Reg::R1, order);
            code.asm.alu(Alu::Lsh, Reg::R1, 3);
            code.asm.mov(Reg::R2, Reg::R1);
            code.asm.alu(Alu::Add, Reg::R2, Reg::R0);
            self.and(code, Reg::R4, Reg::R2, off(self.layout.words_at(group)));
            code.asm.jump_if(Reg::R4, Cond::Ne, 0, found);
            if word + 1 < words {
                code.asm.mov(Reg::R2, Reg::R5);
                code.asm.alu(Alu::Sub, Reg::R2, 1);
                code.asm.alu(Alu::And, Reg::R5, Reg::R2);
                code.asm.jump_if(Reg::R5, Cond::Eq, 0, behind);
            }
        }
        code.asm.jump(behind);
        code.asm.place(found);
        lowest(code, Reg::R4, Order::WORD);
        // 64 ranks of 4 octets for each word of 8.
        code.asm.alu(Alu::Lsh, Reg::R1, 5);
        code.asm.alu(Alu::Lsh, Reg::R4, 2);
        code.asm.alu(Alu::Add, Reg::R1, Reg::R4);
        code.asm.alu(Alu::Add, Reg::R1, imm(self.ranks_at + group * order.bits() * 256));
        code.asm.alu(Alu::Add, Reg::R1, Reg::R0);
        code.asm.jump(got);
        if !last {
            code.asm.place(behind);
        }
    }

    /// `dst` = what the words of all axes have in common, this far behind `base`. Loses `R3`.
    fn and(&self, code: &mut Code<'_>, dst: Reg, base: Reg, at: i16) {
        for number in 0..self.axes.len() {
            code.recall(Size::Double, Reg::R3, kept_at(number));
            code.asm.alu(Alu::Add, Reg::R3, base);
            code.asm.load(Size::Double, Reg::R3, Reg::R3, at);
            let op = if number == 0 { Alu::Mov } else { Alu::And };
            code.asm.alu(op, dst, Reg::R3);
        }
    }
}

/// `reg` = the number of its lowest bit. Loses `R2` and `R3`.
fn lowest(code: &mut Code<'_>, reg: Reg, order: Order) {
    code.asm.mov(Reg::R2, 0);
    code.asm.alu(Alu::Sub, Reg::R2, reg);
    code.asm.alu(Alu::And, reg, Reg::R2);
    code.with(Alu::Mul, reg, order.factor());
    code.asm.alu(Alu::Rsh, reg, imm(usize::try_from(order.shift()).unwrap_or(0)));
}

/// `R2` = what an index of the block says of a number of the frame. `R0` is the block. Loses `R1`.
fn index(code: &mut Code<'_>, dimension: Dimension, index_at: usize, never: Label) {
    use super::plain::Source;
    match dimension.source() {
        Source::Octet(at) => code.field(Size::Byte, Reg::R1, at),
        Source::Half(at) => code.field(Size::Half, Reg::R1, at),
        _ => code.asm.load(Size::Half, Reg::R1, Reg::R10, code.place.vlan),
    }
    let (highest, present) = dimension.numbers();
    if dimension == Dimension::Version {
        // 4 is 0 and 6 is 1.
        code.asm.alu(Alu::Rsh, Reg::R1, 1);
        code.asm.alu(Alu::And, Reg::R1, 1);
    }
    if let Some(bit) = present {
        // A frame that has none has 0, and becomes the highest number.
        code.field(Size::Byte, Reg::R2, record::PRESENT);
        code.asm.alu(Alu::And, Reg::R2, i32::from(bit));
        code.asm.alu(Alu::Xor, Reg::R2, i32::from(bit));
        let shift = highest.trailing_zeros() - bit.trailing_zeros();
        code.asm.alu(Alu::Lsh, Reg::R2, i32::try_from(shift).unwrap_or(0));
        code.asm.alu(Alu::Or, Reg::R1, Reg::R2);
    }
    let highest = i32::try_from(highest).unwrap_or(i32::MAX);
    if highest > 255 {
        code.asm.jump_if(Reg::R1, Cond::Gt, highest, never);
    }
    class(code, Reg::R1, index_at);
}

/// `R2` = the two octets at this place of an index. `R0` is the block.
fn class(code: &mut Code<'_>, number: Reg, index_at: usize) {
    code.asm.alu(Alu::Lsh, number, 1);
    code.asm.alu(Alu::Add, number, Src::Reg(Reg::R0));
    code.asm.alu(Alu::Add, number, imm(index_at));
    code.asm.load(Size::Half, Reg::R2, number, 0);
}

/// `R3` = the sum of what the indexes of several numbers say.
fn combined_index(code: &mut Code<'_>, parts: &[(Dimension, usize)], never: Label) {
    for (number, (dimension, index_at)) in parts.iter().enumerate() {
        index(code, *dimension, *index_at, never);
        let op = if number == 0 { Alu::Mov } else { Alu::Add };
        code.asm.alu(op, Reg::R3, Reg::R2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_a_class_do_not_overlap() {
        for words in [1, 2, 3, 16, 17, 64, 65, 129, 1024] {
            let layout = Layout::of(words);
            let bitmap: Bits = (1..).take(words).collect();
            let mut block = vec![0; layout.stride()];
            layout.write(&bitmap, &mut block);
            let word = |at: usize| u64::from_ne_bytes(*block[at..].first_chunk().unwrap());
            for (at, want) in bitmap.iter().enumerate() {
                assert_eq!(word(8 * (at / 64)) >> (at % 64) & 1, 1);
                assert_eq!(word(layout.words_at(at / 64) + 8 * layout.order.number(at % 64)), *want);
            }
            let summaries: u32 = (0..layout.groups).map(|group| word(8 * group).count_ones()).sum();
            assert_eq!(usize::try_from(summaries).unwrap(), words);
        }
    }
}
