//! The pass that lets one compare of packet bounds serve as much code as it can.
//!
//! Two steps over code whose jumps all go forward. First, a check is raised to the need of the checks
//! that follow it in the same block with the same way out, as long as nothing between them can be seen
//! from outside (a frame that is short for the later check then leaves earlier, and nobody can tell).
//! Second, a check that every way to it has already passed is dropped.

use super::{Helper, Insn, Line, Reg};

/// Merges the bounds of a program; what is no longer needed is left with a need of 0.
pub(super) fn merge(lines: &mut [Line], targets: &[usize]) {
    raise(lines, targets);
    drop_proven(lines, targets);
}

fn raise(lines: &mut [Line], targets: &[usize]) {
    let mut entered = vec![false; lines.len() + 1];
    for target in targets {
        if let Some(mark) = entered.get_mut(*target) {
            *mark = true;
        }
    }
    // The check that may still be raised, if there is one.
    let mut open: Option<usize> = None;
    for at in 0..lines.len() {
        if entered[at] {
            open = None;
        }
        match lines[at].insn {
            Insn::Bounds { data, end, need, fail, .. } => {
                if let Some(first) = open
                    && let Insn::Bounds { data: d, end: e, need: ref mut raised, fail: f, .. } =
                        lines[first].insn
                    && (d, e, f) == (data, end, fail)
                {
                    *raised = need.max(*raised);
                } else {
                    open = Some(at);
                }
            }
            // Reading and reckoning cannot be seen from outside, but must leave the two pointers alone.
            Insn::Alu { .. } | Insn::ToBigEndian { .. } | Insn::Load { .. } | Insn::LoadImm64 { .. } => {
                if let Some(first) = open
                    && let Insn::Bounds { data, end, .. } = lines[first].insn
                    && lines[at].insn.writes().is_some_and(|reg| reg == data || reg == end)
                {
                    open = None;
                }
            }
            _ => open = None,
        }
    }
}

/// What is proven before a line: this many octets lie between these two registers.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Proven {
    data: Reg,
    end: Reg,
    need: u16,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Known {
    /// No way leads here yet.
    Unreached,
    Nothing,
    Proven(Proven),
}

impl Known {
    fn meet(self, other: Self) -> Self {
        match (self, other) {
            (Self::Unreached, known) | (known, Self::Unreached) => known,
            (Self::Proven(a), Self::Proven(b)) if (a.data, a.end) == (b.data, b.end) => {
                Self::Proven(Proven { need: a.need.min(b.need), ..a })
            }
            _ => Self::Nothing,
        }
    }
}

fn drop_proven(lines: &mut [Line], targets: &[usize]) {
    let mut known = vec![Known::Unreached; lines.len() + 1];
    known[0] = Known::Nothing;
    for at in 0..lines.len() {
        let before = known[at];
        let target = lines[at].insn.jumps_to().and_then(|label| targets.get(label.index())).copied();
        let mut next = before;
        match &mut lines[at].insn {
            Insn::Bounds { data, end, scratch, need, .. } => {
                let held = match before {
                    Known::Proven(p) if (p.data, p.end) == (*data, *end) => p.need,
                    _ => 0,
                };
                if held >= *need {
                    *need = 0;
                } else {
                    next = Known::Proven(Proven { data: *data, end: *end, need: *need });
                    if scratch == data || scratch == end {
                        next = Known::Nothing;
                    }
                }
            }
            Insn::Call(helper) => {
                if clobbers(*helper, before) {
                    next = Known::Nothing;
                }
            }
            insn => {
                if let (Some(reg), Known::Proven(p)) = (insn.writes(), before)
                    && (reg == p.data || reg == p.end)
                {
                    next = Known::Nothing;
                }
            }
        }
        if let Some(slot) = target.and_then(|t| known.get_mut(t)) {
            *slot = slot.meet(before);
        }
        if !matches!(lines[at].insn, Insn::Jump { .. } | Insn::Exit) {
            known[at + 1] = known[at + 1].meet(next);
        }
    }
}

fn clobbers(helper: Helper, known: Known) -> bool {
    let lost = |reg: Reg| reg <= Reg::R5;
    helper.moves_packet() || matches!(known, Known::Proven(p) if lost(p.data) || lost(p.end))
}

#[cfg(test)]
mod tests {
    use super::super::{Assembler, Cond, Kind, Label, Program, Size};
    use super::*;

    fn compares(program: &Program) -> usize {
        program.lines.iter().filter(|line| matches!(line.insn, Insn::JumpIf { cond: Cond::Gt, .. })).count()
    }

    fn start() -> (Assembler, Label) {
        let mut asm = Assembler::new("t", Kind::Xdp);
        let short = asm.label();
        asm.load(Size::Word, Reg::R2, Reg::R1, 0);
        asm.load(Size::Word, Reg::R3, Reg::R1, 4);
        asm.bounds(Reg::R2, Reg::R3, Reg::R4, 14, short);
        asm.load(Size::Half, Reg::R5, Reg::R2, 12);
        (asm, short)
    }

    fn finish(mut asm: Assembler, short: Label) -> Program {
        asm.place(short);
        asm.mov(Reg::R0, 2);
        asm.exit();
        asm.finish().unwrap()
    }

    #[test]
    fn one_compare_serves_a_block() {
        let (mut asm, short) = start();
        asm.bounds(Reg::R2, Reg::R3, Reg::R4, 18, short);
        asm.load(Size::Half, Reg::R5, Reg::R2, 16);
        let program = finish(asm, short);
        assert_eq!(compares(&program), 1);
        let add = program.lines.iter().find_map(|line| match line.insn {
            Insn::Alu { op: super::super::Alu::Add, src: super::super::Src::Imm(need), .. } => Some(need),
            _ => None,
        });
        assert_eq!(add, Some(18), "the first compare is raised to what the second needs");
    }

    #[test]
    fn a_store_between_two_checks_keeps_them_apart() {
        let (mut asm, short) = start();
        asm.store(Size::Double, Reg::R10, -8, 1);
        asm.bounds(Reg::R2, Reg::R3, Reg::R4, 18, short);
        assert_eq!(compares(&finish(asm, short)), 2);
    }

    #[test]
    fn what_every_way_has_passed_is_not_checked_again() {
        let (mut asm, short) = start();
        let join = asm.label();
        asm.jump_if(Reg::R5, Cond::Eq, 8, join);
        asm.bounds(Reg::R2, Reg::R3, Reg::R4, 18, short);
        asm.place(join);
        asm.bounds(Reg::R2, Reg::R3, Reg::R4, 14, short);
        assert_eq!(compares(&finish(asm, short)), 2, "14 is proven on both ways, 18 on one");
    }

    #[test]
    fn a_call_that_may_move_the_packet_forgets_what_was_proven() {
        let (mut asm, short) = start();
        asm.call(Helper::CloneRedirect);
        asm.bounds(Reg::R2, Reg::R3, Reg::R4, 14, short);
        assert_eq!(compares(&finish(asm, short)), 2);
    }

    #[test]
    fn another_way_out_is_another_check() {
        let (mut asm, short) = start();
        let other = asm.label();
        asm.bounds(Reg::R2, Reg::R3, Reg::R4, 18, other);
        asm.place(other);
        assert_eq!(compares(&finish(asm, short)), 2);
    }
}
