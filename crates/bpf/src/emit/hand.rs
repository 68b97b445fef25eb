//! From a decision to what is done: the ways that it may take, each written once.

use plan::plan::{Hook, HookId, PortId};
use rules::form::SpreadIndex;

use super::frame::lookup;
use super::judge::{Judge, Way};
use super::ranges::switch;
use super::{BLOCK, Context, stack};
use crate::asm::{Alu, Assembler, Cond, Label, MapRef, Reg, Size, Src};
use crate::layout::Rows;

/// Writes what is done with the copies of one hook.
pub(super) struct Hand<'a, 'b> {
    pub(super) context: &'a Context<'a>,
    pub(super) id: HookId,
    pub(super) hook: &'a Hook,
    pub(super) judge: &'a Judge<'b>,
}

impl Hand<'_, '_> {
    /// Takes one of the ways: the one in `R1`, or the first where there is no choice. `copy` writes what is
    /// done for a port (given with its place among the ports of these ways) with the row of counters that
    /// [`stack::RANK`] names. Loses `R0` to `R5`.
    pub(super) fn take(
        &self,
        asm: &mut Assembler,
        ways: &[Way],
        chosen: bool,
        done: Label,
        mut copy: impl FnMut(&mut Assembler, usize, PortId),
    ) {
        let labels: Vec<Label> =
            ways.iter().map(|way| if *way == Way::Nobody { done } else { asm.label() }).collect();
        if chosen {
            switch(asm, Reg::R1, &labels);
        } else if let Some(first) = labels.first() {
            asm.jump(*first);
        }
        for (way, label) in ways.iter().zip(&labels) {
            let Way::Spread(spread) = way else { continue };
            if asm.place_used(*label) {
                self.spread(asm, *spread, ways, &labels, done);
            }
        }
        let mut port_at = 0;
        for (way, label) in ways.iter().zip(&labels) {
            match way {
                Way::Nobody | Way::Spread(_) => {}
                Way::Block => {
                    if asm.place_used(*label) {
                        asm.load(Size::Half, Reg::R1, Reg::R10, stack::BLOCKED);
                        asm.jump_if(Reg::R1, Cond::Ne, 0, done);
                        asm.load(Size::Word, Reg::R1, Reg::R10, stack::RANK);
                        asm.alu(Alu::Add, Reg::R1, 1);
                        asm.store(Size::Half, Reg::R10, stack::BLOCKED, Reg::R1);
                        asm.jump(done);
                    }
                }
                Way::Port(port) => {
                    if asm.place_used(*label) {
                        copy(asm, port_at, *port);
                        asm.jump(done);
                    }
                    port_at += 1;
                }
            }
        }
    }

    /// Chooses, and goes to the port of what was chosen.
    fn spread(&self, asm: &mut Assembler, spread: SpreadIndex, ways: &[Way], labels: &[Label], done: Label) {
        let Some(chooser) = self.judge.spread(spread) else {
            asm.jump(done);
            return;
        };
        chooser.choose(asm, done);
        let choices = self.judge.choices(self.context, spread);
        let chosen: Vec<Label> = choices.iter().map(|_| asm.label()).collect();
        switch(asm, Reg::R1, &chosen);
        for ((way, row), label) in choices.iter().zip(chosen) {
            asm.place(label);
            asm.store(Size::Word, Reg::R10, stack::RANK, row.cast_signed());
            let to = ways.iter().position(|known| known == way).and_then(|at| labels.get(at).copied());
            asm.jump(to.unwrap_or(done));
        }
    }

    /// `R1` = the row of counters of the copy that [`stack::RANK`] names; gives the slot that it begins at.
    /// Goes to `nobody` where there is none. Loses `R0` to `R5`.
    pub(super) fn row(&self, asm: &mut Assembler, nobody: Label) -> u16 {
        row(asm, self.context.layout.copy_rows(self.id, self.hook), stack::RANK, nobody)
    }

    /// The row of the rule that blocks, likewise.
    pub(super) fn block_row(&self, asm: &mut Assembler, nobody: Label) -> u16 {
        asm.load(Size::Half, Reg::R1, Reg::R10, stack::BLOCKED);
        asm.alu(Alu::Sub, Reg::R1, 1);
        asm.store(Size::Word, Reg::R10, stack::RANK, Reg::R1);
        row(asm, self.context.layout.block_rows(self.id, self.hook), stack::RANK, nobody)
    }
}

/// `R1` = a row of counters.
fn row(asm: &mut Assembler, rows: Rows, number: i16, nobody: Label) -> u16 {
    asm.load(Size::Word, Reg::R1, Reg::R10, number);
    match rows {
        Rows::Block { first, slots, count } => {
            asm.jump_if(Reg::R1, Cond::Ge, i32::from(count), nobody);
            asm.alu(Alu::Mul, Reg::R1, i32::from(slots) * 8);
            asm.alu(Alu::Add, Reg::R1, BLOCK);
            first
        }
        Rows::Tallies { first } => {
            asm.alu(Alu::Add, Reg::R1, first.cast_signed());
            asm.store(Size::Word, Reg::R10, stack::KEY, Reg::R1);
            lookup(asm, MapRef::Tallies, stack::KEY);
            asm.jump_if(Reg::R0, Cond::Eq, 0, nobody);
            asm.mov(Reg::R1, Reg::R0);
            0
        }
    }
}

/// Adds to a slot of the row in `R1`. Loses `R2`.
pub(super) fn count(asm: &mut Assembler, first: u16, slot: u16, by: impl Into<Src>) {
    asm.count(Reg::R1, first.saturating_add(slot), by, Reg::R2);
}

/// Remembers the first rule that blocks, by its row. Loses `R1`.
pub(super) fn block(asm: &mut Assembler, row: u32) {
    let already = asm.label();
    asm.load(Size::Half, Reg::R1, Reg::R10, stack::BLOCKED);
    asm.jump_if(Reg::R1, Cond::Ne, 0, already);
    asm.store(Size::Half, Reg::R10, stack::BLOCKED, row.saturating_add(1).cast_signed());
    asm.place(already);
}
