//! Numbers: octets of the frame, header fields and arithmetic, into [`VALUE`].
//!
//! What cannot be had leaves by a label: a field that the frame does not have by `missing`, an octet that is
//! not there and a division by 0 by `cut`. Registers `R0` to `R5` are lost, `R6` to `R9` are not.

use rules::form::{Field, LoadSize, Number, Operator};

use super::frame::{FRAME, Looks, WAITING, WAITING_MAX};
use super::{CTX, fields, skb, stack};
use crate::asm::{Alu, Assembler, Cond, Label, Reg, Size};

/// Where a number comes out.
pub(super) const VALUE: Reg = Reg::R2;

/// What is known of a number before any frame is seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Folded {
    /// It is this.
    Known(u32),
    /// It cannot be had: a division by 0.
    Cut,
    /// It depends on the frame.
    Open,
}

/// What is known of a number before any frame is seen.
pub(super) fn folded(number: &Number) -> Folded {
    match number {
        Number::Constant(value) => Folded::Known(*value),
        Number::Length | Number::Field(_) => Folded::Open,
        Number::Load { at, .. } => match folded(at) {
            Folded::Cut => Folded::Cut,
            _ => Folded::Open,
        },
        Number::Operation(operator, left, right) => match (folded(left), folded(right)) {
            (Folded::Cut, _) => Folded::Cut,
            (Folded::Known(left), Folded::Known(right)) => {
                operator.apply(left, right).map_or(Folded::Cut, Folded::Known)
            }
            _ => Folded::Open,
        },
    }
}

/// How many numbers wait at most while this one is computed.
pub(super) fn waiting(number: &Number) -> usize {
    match number {
        Number::Constant(_) | Number::Length | Number::Field(_) => 0,
        Number::Load { at, .. } => waiting(at),
        Number::Operation(_, left, right) => match folded(right) {
            Folded::Known(_) => waiting(left),
            _ => waiting(left).max(waiting(right).saturating_add(1)),
        },
    }
}

/// Calls back for every number within a number, itself included.
pub(super) fn each(number: &Number, tell: &mut impl FnMut(&Number)) {
    tell(number);
    match number {
        Number::Constant(_) | Number::Length | Number::Field(_) => {}
        Number::Load { at, .. } => each(at, tell),
        Number::Operation(_, left, right) => {
            each(left, tell);
            each(right, tell);
        }
    }
}

/// Whether any part of a number is a field.
pub(super) fn has_field(number: &Number) -> bool {
    let mut found = false;
    each(number, &mut |part| found |= matches!(part, Number::Field(_)));
    found
}

/// Writes instructions that compute numbers.
pub(super) struct Reckoner<'a> {
    pub(super) asm: &'a mut Assembler,
    pub(super) looks: Looks,
    /// Where what cannot be had goes.
    pub(super) cut: Label,
    /// Octets of the frame that are known to be there, on the way to where instructions are written.
    pub(super) proven: u16,
}

impl Reckoner<'_> {
    /// [`VALUE`] = the number. `depth` numbers wait. Says whether any way goes on behind it.
    pub(super) fn number(&mut self, number: &Number, depth: usize, missing: Label) -> bool {
        match folded(number) {
            Folded::Known(value) => {
                self.asm.alu32(Alu::Mov, VALUE, value.cast_signed());
                return true;
            }
            Folded::Cut => {
                self.asm.jump(self.cut);
                return false;
            }
            Folded::Open => {}
        }
        match number {
            Number::Constant(_) => {}
            Number::Length => {
                self.asm.note("octets of the frame");
                self.looks.length(self.asm, VALUE);
            }
            Number::Field(field) => self.field(*field, missing),
            Number::Load { size, at } => {
                if let Folded::Known(at) = folded(at) {
                    self.load_constant(*size, at);
                } else {
                    if !self.number(at, depth, missing) {
                        return false;
                    }
                    self.load(*size);
                }
            }
            Number::Operation(operator, left, right) => {
                return self.operation(*operator, left, right, depth, missing);
            }
        }
        true
    }

    /// Puts [`VALUE`] where it waits.
    pub(super) fn wait(&mut self, depth: usize) {
        self.asm.store(Size::Word, FRAME, place(depth), VALUE);
    }

    /// [`VALUE`] = what waits, `R3` = what [`VALUE`] was.
    pub(super) fn resume(&mut self, depth: usize) {
        self.asm.mov(Reg::R3, VALUE);
        self.asm.load(Size::Word, VALUE, FRAME, place(depth));
    }

    fn operation(
        &mut self,
        operator: Operator,
        left: &Number,
        right: &Number,
        depth: usize,
        missing: Label,
    ) -> bool {
        if !self.number(left, depth, missing) {
            return false;
        }
        if let Folded::Known(right) = folded(right) {
            return self.by_constant(operator, right);
        }
        self.wait(depth);
        if !self.number(right, depth + 1, missing) {
            return false;
        }
        self.resume(depth);
        match operator {
            Operator::Divide | Operator::Remainder => {
                self.asm.jump_if32(Reg::R3, Cond::Eq, 0, self.cut);
                self.asm.alu32(Alu::of(operator), VALUE, Reg::R3);
            }
            Operator::ShiftLeft | Operator::ShiftRight => {
                let (none, done) = (self.asm.label(), self.asm.label());
                self.asm.jump_if32(Reg::R3, Cond::Gt, 31, none);
                self.asm.alu32(Alu::of(operator), VALUE, Reg::R3);
                self.asm.jump(done);
                self.asm.place(none);
                self.asm.mov(VALUE, 0);
                self.asm.place(done);
            }
            _ => self.asm.alu32(Alu::of(operator), VALUE, Reg::R3),
        }
        true
    }

    fn by_constant(&mut self, operator: Operator, right: u32) -> bool {
        match (operator, right) {
            (Operator::Divide | Operator::Remainder, 0) => {
                self.asm.jump(self.cut);
                return false;
            }
            (Operator::ShiftLeft | Operator::ShiftRight, 32..) => self.asm.mov(VALUE, 0),
            _ => self.asm.alu32(Alu::of(operator), VALUE, right.cast_signed()),
        }
        true
    }

    fn field(&mut self, field: Field, missing: Label) {
        let (at, size, flag) = fields::place(field);
        let stored = |at: i16| stack::FIELDS + at;
        match flag {
            None => {
                self.asm.load(Size::Byte, Reg::R1, Reg::R10, stored(fields::VERSION));
                self.asm.jump_if(Reg::R1, Cond::Eq, 0, missing);
            }
            Some(flag) => {
                let there = self.asm.label();
                self.asm.load(Size::Byte, Reg::R1, Reg::R10, stored(fields::PRESENT));
                self.asm.jump_if(Reg::R1, Cond::Set, i32::from(flag), there);
                self.asm.jump(missing);
                self.asm.place(there);
            }
        }
        self.asm.note(fields::name(field));
        self.asm.load(size, VALUE, Reg::R10, stored(at));
    }

    /// [`VALUE`] = octets of the frame at a constant offset.
    fn load_constant(&mut self, size: LoadSize, at: u32) {
        let end = u16::try_from(at.saturating_add(size.octets())).ok();
        let (Some(end), Ok(off)) = (end.filter(|end| *end <= self.looks.window), i16::try_from(at)) else {
            self.asm.alu32(Alu::Mov, VALUE, at.cast_signed());
            self.load_beyond(size);
            return;
        };
        if self.proven < end {
            self.asm.load(Size::Half, Reg::R1, Reg::R10, stack::LIMIT);
            self.asm.jump_if(Reg::R1, Cond::Lt, i32::from(end), self.cut);
            self.proven = end;
        }
        self.asm.load(memory_size(size), VALUE, FRAME, off);
        self.in_host_order(size);
    }

    /// [`VALUE`] = octets of the frame at the offset that it holds, all 64 bits of it.
    pub(super) fn load(&mut self, size: LoadSize) {
        let (beyond, done) = (self.asm.label(), self.asm.label());
        let octets = size_octets(size);
        self.asm.jump_if(VALUE, Cond::Gt, i32::from(self.looks.window) - octets, beyond);
        self.asm.mov(Reg::R3, VALUE);
        self.asm.alu(Alu::Add, Reg::R3, octets);
        self.asm.load(Size::Half, Reg::R1, Reg::R10, stack::LIMIT);
        self.asm.jump_if(Reg::R3, Cond::Gt, Reg::R1, self.cut);
        self.asm.mov(Reg::R3, FRAME);
        self.asm.alu(Alu::Add, Reg::R3, VALUE);
        self.asm.load(memory_size(size), VALUE, Reg::R3, 0);
        self.in_host_order(size);
        self.asm.jump(done);
        self.asm.place(beyond);
        self.load_beyond(size);
        self.asm.place(done);
    }

    /// The same from the frame itself, beyond the copy.
    fn load_beyond(&mut self, size: LoadSize) {
        // Offsets of helpers have 32 bits, those of a chain more; no frame has that many octets.
        self.asm.jump_if(VALUE, Cond::Gt, i32::MAX, self.cut);
        if self.looks.tag_beside() {
            let bare = self.asm.label();
            self.asm.load(Size::Word, Reg::R3, CTX, skb::VLAN_PRESENT);
            self.asm.jump_if(Reg::R3, Cond::Eq, 0, bare);
            self.asm.alu(Alu::Sub, VALUE, 4);
            self.asm.place(bare);
        }
        self.asm.mov(Reg::R1, CTX);
        self.asm.mov(Reg::R3, Reg::R10);
        self.asm.alu(Alu::Add, Reg::R3, i32::from(stack::KEY));
        self.asm.mov(Reg::R4, size_octets(size));
        self.asm.call(self.looks.helper());
        self.asm.jump_if(Reg::R0, Cond::Ne, 0, self.cut);
        self.asm.load(memory_size(size), VALUE, Reg::R10, stack::KEY);
        self.in_host_order(size);
    }

    fn in_host_order(&mut self, size: LoadSize) {
        match size {
            LoadSize::One => {}
            LoadSize::Two => self.asm.to_big_endian(VALUE, Size::Half),
            LoadSize::Four => self.asm.to_big_endian(VALUE, Size::Word),
        }
    }
}

/// Where a number waits; [`super::judge`] refuses what would need more places.
fn place(depth: usize) -> i16 {
    WAITING + i16::try_from(depth.min(WAITING_MAX - 1)).unwrap_or(0) * 4
}

fn size_octets(size: LoadSize) -> i32 {
    match size {
        LoadSize::One => 1,
        LoadSize::Two => 2,
        LoadSize::Four => 4,
    }
}

fn memory_size(size: LoadSize) -> Size {
    match size {
        LoadSize::One => Size::Byte,
        LoadSize::Two => Size::Half,
        LoadSize::Four => Size::Word,
    }
}
