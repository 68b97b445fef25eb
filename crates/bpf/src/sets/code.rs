//! Instructions for tests over the record, without jumps.
//!
//! Each test leaves a number that is 0 where it holds. A rule then needs one jump, and the verifier looks at
//! each instruction once: a compare of a live register would tell it something about that register, and
//! what it knows would differ on each way (30,000 rules load in half a second so, 5,000 do not otherwise).

use rules::form::{End, GOLDEN, Operator, Relation};

use super::Place;
use super::plain::{Operand, Plain, Source, address_at, record};
use crate::asm::{Alu, Assembler, Cond, Helper, Label, MapRef, Reg, Size};
use crate::tables::TableId;

/// The scratch octets on the stack, from [`Place::scratch`] on. What the verifier shall know nothing about
/// is stored in the upper half of eight octets, where it does not track numbers.
pub(super) mod scratch {
    /// The highest rank so far, or the winner so far: 4 octets.
    pub(in crate::sets) const BEST: i16 = 4;
    /// The tag of the frame: 4 octets.
    pub(in crate::sets) const TAG: i16 = 12;
    /// Whether a quick rule has matched: 4 octets.
    pub(in crate::sets) const STOPPED: i16 = 84;
    /// What is known of the source address, and of the destination address: for 64 tables each.
    pub(in crate::sets) const KNOWN: i16 = 16;
    /// A key: 48 octets.
    pub(in crate::sets) const KEY: i16 = 32;
    /// Where the bitmaps of up to five axes lie, 8 octets each. Not needed while tests are compared.
    pub(in crate::sets) const AXES: i16 = 80;
    /// Nested tests: 8 octets for each level.
    pub(in crate::sets) const NESTED: i16 = 88;
    /// All of it.
    pub(in crate::sets) const OCTETS: i16 = 160;
}

/// Octets of a key of a trie: the bits, the version in four octets, the address in sixteen.
pub(super) const TRIE_KEY: u32 = 24;
/// Bits of a whole key.
pub(super) const TRIE_BITS: i32 = 32 + 128;

/// An assembler and where things lie on the stack.
pub(super) struct Code<'a> {
    pub(super) asm: &'a mut Assembler,
    pub(super) place: Place,
}

fn offset(base: i16, by: i16) -> i16 {
    // Both lie within 512 octets of stack.
    base.saturating_add(by)
}

impl Code<'_> {
    /// `dst` = octets of the record.
    pub(super) fn field(&mut self, size: Size, dst: Reg, at: i16) {
        self.asm.load(size, dst, Reg::R10, offset(self.place.fields, at));
    }

    /// `dst` = scratch.
    pub(super) fn recall(&mut self, size: Size, dst: Reg, at: i16) {
        self.asm.load(size, dst, Reg::R10, offset(self.place.scratch, at));
    }

    /// Scratch = a number or a register.
    pub(super) fn keep(&mut self, size: Size, at: i16, src: impl Into<crate::asm::Src>) {
        self.asm.store(size, Reg::R10, offset(self.place.scratch, at), src);
    }

    /// `dst = value`, in as few slots as do.
    fn constant(&mut self, dst: Reg, value: u64) {
        match i32::try_from(value.cast_signed()) {
            Ok(small) => self.asm.mov(dst, small),
            Err(_) => self.asm.load_imm64(dst, value),
        }
    }

    /// `dst op= value`, 64 bits; loses `R3`.
    pub(super) fn with(&mut self, op: Alu, dst: Reg, value: u64) {
        match i32::try_from(value.cast_signed()) {
            Ok(small) => self.asm.alu(op, dst, small),
            Err(_) => {
                self.asm.load_imm64(Reg::R3, value);
                self.asm.alu(op, dst, Reg::R3);
            }
        }
    }

    /// `r1` is made 1 where it is not 0; loses `R2`.
    fn make_bit(&mut self, reg: Reg) {
        self.asm.mov(Reg::R2, 0);
        self.asm.alu(Alu::Sub, Reg::R2, reg);
        self.asm.alu(Alu::Or, reg, Reg::R2);
        self.asm.alu(Alu::Rsh, reg, 63);
    }

    /// `R0` is 0 where all of these hold. Loses `R1` to `R3`. Nothing is known of `R0` to the verifier.
    pub(super) fn mismatch(&mut self, test: &Plain) {
        let one = [test.clone()];
        let tests = match test {
            Plain::All(tests) => tests.as_slice(),
            _ => one.as_slice(),
        };
        for (at, test) in tests.iter().enumerate() {
            self.raw(test, 0);
            match at {
                0 => self.asm.mov(Reg::R0, Reg::R1),
                _ => self.asm.alu(Alu::Or, Reg::R0, Reg::R1),
            }
        }
        if tests.is_empty() {
            self.asm.mov(Reg::R0, 0);
        }
    }

    /// `R1` is 0 where the test holds.
    fn raw(&mut self, test: &Plain, depth: i16) {
        match test {
            Plain::Known(held) => self.asm.mov(Reg::R1, i32::from(!held)),
            Plain::Masked { at, mask, value } => self.masked(*at, *mask, *value),
            Plain::Within { number, first, last } => {
                self.operand(Reg::R1, number);
                self.within(*first, *last);
            }
            Plain::Compare { left, relation, right } => self.compare(left, *relation, right),
            Plain::Wide { at, first, last } => self.wide(*at, *first, *last),
            Plain::Listed { end, table } => self.listed(*end, *table),
            Plain::Not(test) => {
                self.bit(test, depth);
                self.asm.alu(Alu::Xor, Reg::R1, 1);
            }
            Plain::All(tests) => self.several(Alu::Or, tests, depth),
            Plain::Any(tests) => self.several(Alu::And, tests, depth),
        }
    }

    /// `R1` is 0 where the test holds and 1 where not.
    fn bit(&mut self, test: &Plain, depth: i16) {
        self.raw(test, depth);
        if matches!(test, Plain::Masked { .. } | Plain::Compare { relation: Relation::Equal, .. }) {
            self.make_bit(Reg::R1);
        }
    }

    fn several(&mut self, op: Alu, tests: &[Plain], depth: i16) {
        let at = offset(scratch::NESTED, depth.saturating_mul(8));
        for (number, test) in tests.iter().enumerate() {
            self.bit(test, depth.saturating_add(1));
            if number > 0 {
                self.recall(Size::Double, Reg::R2, at);
                self.asm.alu(op, Reg::R1, Reg::R2);
            }
            if number + 1 < tests.len() {
                self.keep(Size::Double, at, Reg::R1);
            }
        }
    }

    fn masked(&mut self, at: i16, mask: [u8; 8], value: [u8; 8]) {
        // The narrowest load that has all octets of the mask.
        let first = mask.iter().position(|octet| *octet != 0).unwrap_or(0);
        let last = mask.iter().rposition(|octet| *octet != 0).unwrap_or(0);
        let (size, from) = [(Size::Byte, 1), (Size::Half, 2), (Size::Word, 4)]
            .into_iter()
            .map(|(size, octets)| (size, octets, first - first % octets))
            .find(|(_, octets, from)| last < from + octets)
            .map_or((Size::Double, 0), |(size, _, from)| (size, from));
        let octets = usize::from(size.octets());
        let number = |of: [u8; 8]| loaded(&of[from..from + octets]);
        let (mask, value) = (number(mask), number(value));
        self.field(size, Reg::R1, offset(at, i16::try_from(from).unwrap_or(0)));
        let whole = u64::MAX >> (64 - 8 * octets);
        let wide = size == Size::Double;
        if mask != whole {
            self.narrow(Alu::And, mask, wide);
        }
        if value != 0 {
            self.narrow(Alu::Xor, value, wide);
        }
    }

    /// `r1 op= value`, in one slot where the register has no more than 32 bits.
    fn narrow(&mut self, op: Alu, value: u64, wide: bool) {
        match u32::try_from(value) {
            Ok(value) if !wide => self.asm.alu32(op, Reg::R1, value.cast_signed()),
            _ => self.with(op, Reg::R1, value),
        }
    }

    /// `R1`, a number of 32 bits, becomes 0 within the range and 1 outside.
    fn within(&mut self, first: u32, last: u32) {
        if first == last {
            self.asm.alu32(Alu::Xor, Reg::R1, first.cast_signed());
            self.make_bit(Reg::R1);
            return;
        }
        if first != 0 {
            self.asm.alu32(Alu::Sub, Reg::R1, first.cast_signed());
        }
        // Below 0, and so with the highest bit set, where the number is more than the range is long.
        self.constant(Reg::R2, u64::from(last.wrapping_sub(first)));
        self.asm.alu(Alu::Sub, Reg::R2, Reg::R1);
        self.asm.alu(Alu::Rsh, Reg::R2, 63);
        self.asm.mov(Reg::R1, Reg::R2);
    }

    /// `dst` = the number, of 32 bits. Loses `R3`.
    fn operand(&mut self, dst: Reg, number: &Operand) {
        match number.source {
            Source::Constant(value) => self.constant(dst, value.into()),
            Source::Octet(at) => self.field(Size::Byte, dst, at),
            Source::Half(at) => self.field(Size::Half, dst, at),
            Source::Network(at) => {
                self.field(Size::Word, dst, at);
                self.asm.to_big_endian(dst, Size::Word);
            }
            Source::Vlan => self.asm.load(Size::Half, dst, Reg::R10, self.place.vlan),
        }
        for (operator, by) in &number.then {
            let op = Alu::of(*operator);
            match operator {
                Operator::ShiftLeft | Operator::ShiftRight if *by >= 32 => self.asm.mov(dst, 0),
                _ => self.asm.alu32(op, dst, by.cast_signed()),
            }
        }
    }

    fn compare(&mut self, left: &Operand, relation: Relation, right: &Operand) {
        self.operand(Reg::R1, left);
        self.operand(Reg::R2, right);
        match relation {
            Relation::Equal => self.asm.alu(Alu::Xor, Reg::R1, Reg::R2),
            Relation::AtLeast => {
                self.asm.alu(Alu::Sub, Reg::R1, Reg::R2);
                self.asm.alu(Alu::Rsh, Reg::R1, 63);
            }
            Relation::Greater => {
                self.asm.alu(Alu::Sub, Reg::R1, Reg::R2);
                self.asm.alu(Alu::Sub, Reg::R1, 1);
                self.asm.alu(Alu::Rsh, Reg::R1, 63);
            }
        }
    }

    /// Two numbers of 128 bits are compared as those of a subtraction: what is borrowed tells.
    fn wide(&mut self, at: i16, first: u128, last: u128) {
        let kept = scratch::KEY;
        let (first, last) = (halves(first), halves(last));
        self.below(at, first, false);
        self.keep(Size::Double, kept + 8, Reg::R1);
        self.below(at, last, true);
        self.recall(Size::Double, Reg::R2, kept + 8);
        self.asm.alu(Alu::Or, Reg::R1, Reg::R2);
    }

    /// `R1` = 1 where the address is below the limit (or, turned, where the limit is below the address).
    fn below(&mut self, at: i16, (high, low): (u64, u64), turned: bool) {
        let kept = scratch::KEY;
        self.half_below(at + 8, low, turned);
        self.keep(Size::Double, kept, Reg::R1);
        // The upper halves decide unless they are equal.
        self.field(Size::Double, Reg::R1, at);
        self.asm.to_big_endian(Reg::R1, Size::Double);
        self.with(Alu::Xor, Reg::R1, high);
        self.make_bit(Reg::R1);
        self.asm.alu(Alu::Xor, Reg::R1, 1);
        self.recall(Size::Double, Reg::R2, kept);
        self.asm.alu(Alu::And, Reg::R1, Reg::R2);
        self.keep(Size::Double, kept, Reg::R1);
        self.half_below(at, high, turned);
        self.recall(Size::Double, Reg::R2, kept);
        self.asm.alu(Alu::Or, Reg::R1, Reg::R2);
    }

    /// `R1` = 1 where eight octets are below the limit, without sign: `(!a & b | (!a | b) & a - b) >> 63`
    /// (H. S. Warren, Hacker's Delight, 2-12).
    fn half_below(&mut self, at: i16, limit: u64, turned: bool) {
        let (a, b) = if turned { (Reg::R2, Reg::R1) } else { (Reg::R1, Reg::R2) };
        self.field(Size::Double, Reg::R1, at);
        self.asm.to_big_endian(Reg::R1, Size::Double);
        self.constant(Reg::R2, limit);
        self.asm.mov(Reg::R3, a);
        self.asm.alu(Alu::Sub, Reg::R3, b);
        self.asm.alu(Alu::Xor, a, -1);
        self.asm.mov(Reg::R4, a);
        self.asm.alu(Alu::Or, Reg::R4, b);
        self.asm.alu(Alu::And, Reg::R3, Reg::R4);
        self.asm.alu(Alu::And, a, b);
        self.asm.alu(Alu::Or, Reg::R3, a);
        self.asm.alu(Alu::Rsh, Reg::R3, 63);
        self.asm.mov(Reg::R1, Reg::R3);
    }

    /// What [`Self::know`] found out before.
    fn listed(&mut self, end: End, table: usize) {
        self.recall(Size::Double, Reg::R1, known_at(end));
        match i32::try_from(table % 64) {
            Ok(0) | Err(_) => {}
            Ok(shift) => self.asm.alu(Alu::Rsh, Reg::R1, shift),
        }
        self.asm.alu(Alu::And, Reg::R1, 1);
        self.asm.alu(Alu::Xor, Reg::R1, 1);
    }

    /// Looks an address up in a trie of address tables and keeps what it says of 64 of them. A trie holds
    /// the prefix of no bits, so that something is always found.
    pub(super) fn know(&mut self, end: End, trie: TableId, word: usize, never: Label) {
        self.find_address(end, trie);
        self.asm.jump_if(Reg::R0, Cond::Eq, 0, never);
        // A set has fewer tables than rules, so far fewer than 2^12 words.
        let at = i16::try_from(word * 8).unwrap_or(i16::MAX);
        self.asm.load(Size::Double, Reg::R1, Reg::R0, at);
        self.keep(Size::Double, known_at(end), Reg::R1);
    }

    /// `R0` = what a trie holds for an address, or 0.
    pub(super) fn find_address(&mut self, end: End, trie: TableId) {
        self.keep(Size::Word, scratch::KEY, TRIE_BITS);
        self.field(Size::Byte, Reg::R1, record::VERSION);
        self.keep(Size::Word, scratch::KEY + 4, Reg::R1);
        let at = address_at(end);
        for half in [0, 8] {
            self.field(Size::Double, Reg::R1, at + half);
            self.keep(Size::Double, scratch::KEY + 8 + half, Reg::R1);
        }
        self.find(trie, scratch::KEY);
    }

    /// `R0` = what a table holds for the key in scratch, or 0.
    pub(super) fn find(&mut self, table: TableId, key: i16) {
        self.asm.mov(Reg::R2, Reg::R10);
        self.asm.alu(Alu::Add, Reg::R2, i32::from(offset(self.place.scratch, key)));
        self.asm.load_map(Reg::R1, MapRef::Table(table));
        self.asm.call(Helper::MapLookup);
    }

    /// `R1` is 0 where chance is with the rule and 1 where not: `mixed(draw + number * GOLDEN) >> 32 <
    /// share`. Loses `R2` and `R3`.
    pub(super) fn chance(&mut self, at: usize, share: u32) {
        let number = u64::try_from(at).unwrap_or(u64::MAX).wrapping_add(1);
        self.asm.load(Size::Double, Reg::R1, Reg::R10, self.place.draw);
        self.with(Alu::Add, Reg::R1, number.wrapping_mul(GOLDEN));
        for (shift, factor) in
            [(30, Some(0xbf58_476d_1ce4_e5b9)), (27, Some(0x94d0_49bb_1331_11eb)), (31, None)]
        {
            self.asm.mov(Reg::R2, Reg::R1);
            self.asm.alu(Alu::Rsh, Reg::R2, shift);
            self.asm.alu(Alu::Xor, Reg::R1, Reg::R2);
            if let Some(factor) = factor {
                self.with(Alu::Mul, Reg::R1, factor);
            }
        }
        self.asm.alu(Alu::Rsh, Reg::R1, 32);
        self.with(Alu::Sub, Reg::R1, share.into());
        // The highest bit is set where the number is below the share.
        self.asm.alu(Alu::Rsh, Reg::R1, 63);
        self.asm.alu(Alu::Xor, Reg::R1, 1);
    }

    /// `R0`, 0 or not, becomes all ones or 0. Loses `R1`.
    pub(super) fn make_mask(&mut self) {
        self.asm.mov(Reg::R1, 0);
        self.asm.alu(Alu::Sub, Reg::R1, Reg::R0);
        self.asm.alu(Alu::Or, Reg::R0, Reg::R1);
        self.asm.alu(Alu::Rsh, Reg::R0, 63);
        self.asm.alu(Alu::Sub, Reg::R0, 1);
    }

    /// Four octets of scratch become this number where `R0` is all ones. Loses `R1` and `R2`.
    pub(super) fn choose(&mut self, at: i16, number: u32) {
        self.recall(Size::Word, Reg::R1, at);
        self.asm.mov(Reg::R2, Reg::R1);
        self.asm.alu32(Alu::Xor, Reg::R2, number.cast_signed());
        self.asm.alu(Alu::And, Reg::R2, Reg::R0);
        self.asm.alu(Alu::Xor, Reg::R1, Reg::R2);
        self.keep(Size::Word, at, Reg::R1);
    }
}

fn known_at(end: End) -> i16 {
    match end {
        End::Source => scratch::KNOWN,
        End::Destination => scratch::KNOWN + 8,
    }
}

fn halves(number: u128) -> (u64, u64) {
    let [octets_high, octets_low] = [number >> 64, number & u128::from(u64::MAX)];
    (u64::try_from(octets_high).unwrap_or(0), u64::try_from(octets_low).unwrap_or(0))
}

/// The number that a load of these octets gives: 1, 2, 4 or 8 of them.
fn loaded(octets: &[u8]) -> u64 {
    match *octets {
        [a] => a.into(),
        [a, b] => u16::from_ne_bytes([a, b]).into(),
        [a, b, c, d] => u32::from_ne_bytes([a, b, c, d]).into(),
        _ => octets.first_chunk().map_or(0, |octets| u64::from_ne_bytes(*octets)),
    }
}
