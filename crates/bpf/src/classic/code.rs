//! The program of one filter: what it needs to know of a frame first, then its test in both views of the
//! outer VLAN tag.
//!
//! Scratch words:
//!
//! ```text
//! 0  where the IP header begins        3  where the header behind it begins
//! 1  4, 6, or 0 for no IP              4  its protocol, or 0 where it is none we know, or not whole
//! 2  what follows the IP header        5  the tag that a frame bears (rule sets), from 1
//! 6  whether the rule that decided is one that is asked for
//! 7  and up: numbers that wait; while headers are walked, where that ends
//! ```
//!
//! Offsets in tests count from the start of the frame as it was on the wire. Where the outer tag is beside the
//! data, what stands behind it is 4 octets nearer, and its own 4 octets are not in the data at all.

use ::rules::form::{CopyIndex, Spread, Test};

use super::asm::{Assembler, Insn, Label, op};
use super::fields::Needs;
use super::{Why, fields, source};

pub(super) const IP_AT: u32 = 0;
pub(super) const VERSION: u32 = 1;
pub(super) const PROTOCOL: u32 = 2;
pub(super) const TRANSPORT_AT: u32 = 3;
pub(super) const TRANSPORT: u32 = 4;
pub(super) const TAG: u32 = 5;
pub(super) const DECIDED: u32 = 6;
/// The first of the words for numbers that wait.
pub(super) const WAITING: u32 = 7;
/// `BPF_MEMWORDS`.
pub(super) const WORDS: u32 = 16;

/// What a program returns for frames that it chooses. As a class it means: that of the filter, which is none.
pub(super) const CHOSEN: u32 = u32::MAX;

/// A program in the making.
pub(super) struct Code {
    pub(super) asm: Assembler,
    /// Whether the outer tag is beside the data on this way.
    pub(super) beside: bool,
    /// Whether a load behind the end of the frame, which ends the program with 0, is as good as a jump to `cut`.
    pub(super) ends: bool,
    /// Where a test goes that asked for what is not there.
    pub(super) cut: Label,
}

impl Code {
    /// A program whose body goes to the first label for frames that it chooses and to the second for others. The
    /// body is put twice where it looks at places in the frame, once for each view of the tag. Where a spread has the
    /// last word, only frames are chosen that it gives to the copy.
    pub(super) fn program(
        tests: &[&Test],
        spread: Option<(&Spread, CopyIndex)>,
        mut body: impl FnMut(&mut Self, Label, Label) -> Result<(), Why>,
    ) -> Result<Vec<Insn>, Why> {
        let mut asm = Assembler::default();
        let (chosen, passed_by) = (asm.label(), asm.label());
        let needs = tests.iter().map(|test| fields::needs(test)).max().unwrap_or_default();
        let needs = if spread.is_some() { needs.max(Needs::Ip) } else { needs };
        fields::walk(&mut asm, needs);
        let mut code = Self { asm, beside: false, ends: false, cut: passed_by };
        let found = if spread.is_some() { code.asm.label() } else { chosen };
        if tests.iter().any(|test| fields::looks_at_places(test)) {
            let in_data = code.asm.label();
            code.asm.put(op::LD | op::W | op::ABS, op::VLAN_PRESENT);
            code.asm.when(op::JEQ, 0, in_data, super::asm::To::Next);
            code.beside = true;
            body(&mut code, found, passed_by)?;
            code.asm.place(in_data);
            code.beside = false;
        }
        body(&mut code, found, passed_by)?;
        if let Some((spread, copy)) = spread {
            code.asm.place(found);
            source::pick(&mut code.asm, spread, copy, chosen, passed_by);
        }
        code.asm.place(chosen);
        code.asm.end(CHOSEN);
        code.asm.place(passed_by);
        code.asm.end(0);
        code.asm.finish()
    }
}

/// Chooses every frame.
pub(super) fn always() -> Vec<Insn> {
    vec![Insn::new(op::RET | op::K, CHOSEN)]
}

/// Chooses the frames for which a test holds, and which the spread, if there is one, gives to the copy.
pub(super) fn of_test(test: &Test, spread: Option<(&Spread, CopyIndex)>) -> Result<Vec<Insn>, Why> {
    Code::program(&[test], spread, |code, chosen, passed_by| {
        (code.ends, code.cut) = (true, passed_by);
        code.test(test, chosen, passed_by)
    })
}
