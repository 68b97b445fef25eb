//! Whether a number lies in a set of ranges: a search tree of compares.

use crate::asm::{Assembler, Cond, Insn, Label, Reg, Src, Width};

/// Numbers from the first to the last, both in.
pub(super) type Range = (u32, u32);

/// A register and what is compared with it.
#[derive(Clone, Copy)]
pub(super) struct Searched {
    /// Holds a number below 2^32, the upper half 0.
    pub(super) reg: Reg,
    /// How it is compared; with [`Width::W64`] numbers must be below 2^31.
    pub(super) width: Width,
}

/// Goes to `hit` or `miss` by whether the number, known to lie in `known`, lies in the ranges, which ascend
/// and do not touch. A set of n ranges takes about log2(2n) compares and 2n instructions. Ends without
/// falling through.
pub(super) fn search(
    asm: &mut Assembler,
    searched: Searched,
    ranges: &[Range],
    known: Range,
    hit: Label,
    miss: Label,
) {
    let jump_if = |asm: &mut Assembler, cond: Cond, value: u32, to: Label| {
        let (width, dst, src) = (searched.width, searched.reg, Src::Imm(value.cast_signed()));
        asm.push(Insn::JumpIf { width, cond, dst, src, to });
    };
    match *ranges {
        [] => asm.jump(miss),
        [(first, last)] if first == last && first != known.0 && last != known.1 => {
            jump_if(asm, Cond::Eq, first, hit);
            asm.jump(miss);
        }
        [(first, last)] => {
            if first > known.0 {
                jump_if(asm, Cond::Lt, first, miss);
            }
            if last < known.1 {
                jump_if(asm, Cond::Gt, last, miss);
            }
            asm.jump(hit);
        }
        _ => {
            let (left, right) = ranges.split_at(ranges.len() / 2);
            let middle = right.first().map_or(known.1, |range| range.0);
            let above = asm.label();
            jump_if(asm, Cond::Ge, middle, above);
            search(asm, searched, left, (known.0, middle.saturating_sub(1)), hit, miss);
            asm.place(above);
            search(asm, searched, right, (middle, known.1), hit, miss);
        }
    }
}

/// Goes to the label of the number in `reg`, 0 to one less than there are labels; a higher number goes to the
/// last. Ends without falling through.
pub(super) fn switch(asm: &mut Assembler, reg: Reg, labels: &[Label]) {
    halve(asm, reg, 0, labels);
}

fn halve(asm: &mut Assembler, reg: Reg, first: i32, labels: &[Label]) {
    match *labels {
        [] => {}
        [only] => asm.jump(only),
        _ => {
            let (left, right) = labels.split_at(labels.len() / 2);
            // Fewer labels than instructions of a program, so than 2^31.
            let middle = first.saturating_add(i32::try_from(left.len()).unwrap_or(i32::MAX));
            let above = asm.label();
            asm.jump_if(reg, Cond::Ge, middle, above);
            halve(asm, reg, first, left);
            asm.place(above);
            halve(asm, reg, middle, right);
        }
    }
}
