//! Numbers of chance, memory, and the choice of a spread: the arithmetic of `rules::form`, in 64 bits.
//!
//! The memory of a hook is a table of one entry, a value for each CPU: how often chance was asked (8 octets),
//! first fragments that took the place of another (8), and for each spread how often it was asked (8 each).
//! First fragments are a table of their own: key and slot, 8 octets each.

use rules::form::{FRAGMENTS, GOLDEN, Method};

use super::frame::{lookup, value};
use super::{fields, stack};
use crate::asm::{Alu, Assembler, Cond, Label, MapRef, Reg, Size};
use crate::tables::TableId;

/// Where the count of forgotten fragments lies.
const FORGOTTEN: i16 = 8;
/// Where the counts of turns begin.
const TURNS: i16 = 16;

/// Octets of the memory of a hook with so many spreads.
pub(super) fn octets(spreads: usize) -> u32 {
    u32::try_from(spreads).unwrap_or(u32::MAX).saturating_mul(8).saturating_add(16)
}

/// `reg` = a number whose bits all depend on all of its bits (`rules::form::mixed`). Loses `scratch`.
fn mix(asm: &mut Assembler, reg: Reg, scratch: Reg) {
    for (shift, factor) in [(30, 0xbf58_476d_1ce4_e5b9), (27, 0x94d0_49bb_1331_11eb)] {
        asm.mov(scratch, reg);
        asm.alu(Alu::Rsh, scratch, shift);
        asm.alu(Alu::Xor, reg, scratch);
        asm.load_imm64(scratch, factor);
        asm.alu(Alu::Mul, reg, scratch);
    }
    asm.mov(scratch, reg);
    asm.alu(Alu::Rsh, scratch, 31);
    asm.alu(Alu::Xor, reg, scratch);
}

/// [`stack::DRAW`] = the frame's number of chance. Loses `R0` to `R5`.
pub(super) fn draw(asm: &mut Assembler, memory: TableId, seed: u64) {
    let (found, done) = (asm.label(), asm.label());
    asm.note("a number of chance");
    value(asm, MapRef::Table(memory));
    asm.mov(Reg::R1, 0);
    asm.jump_if(Reg::R0, Cond::Ne, 0, found);
    asm.jump(done);
    asm.place(found);
    asm.load(Size::Double, Reg::R1, Reg::R0, 0);
    asm.mov(Reg::R2, Reg::R1);
    asm.alu(Alu::Add, Reg::R2, 1);
    asm.store(Size::Double, Reg::R0, 0, Reg::R2);
    asm.load_imm64(Reg::R2, GOLDEN);
    asm.alu(Alu::Mul, Reg::R1, Reg::R2);
    if seed != 0 {
        asm.load_imm64(Reg::R2, seed);
        asm.alu(Alu::Add, Reg::R1, Reg::R2);
    }
    mix(asm, Reg::R1, Reg::R2);
    asm.place(done);
    asm.store(Size::Double, Reg::R10, stack::DRAW, Reg::R1);
}

/// A spread and where it remembers.
#[derive(Clone, Copy)]
pub(super) struct Chooser {
    /// Its index in the program.
    pub(super) index: u16,
    /// How it chooses.
    pub(super) method: Method,
    /// What is chosen for each slot.
    pub(super) slots: TableId,
    /// How many slots there are.
    pub(super) count: usize,
    /// The fields that it goes by: those of the frame, or those of the innermost packet.
    pub(super) record: i16,
    /// The memory of the hook.
    pub(super) memory: Option<TableId>,
    /// The first fragments.
    pub(super) fragments: Option<TableId>,
}

impl Chooser {
    /// `R1` = what is chosen, as an index into the choices; goes to `nobody` where a table is not there.
    /// Loses `R0` to `R5`.
    pub(super) fn choose(&self, asm: &mut Assembler, nobody: Label) {
        match self.method {
            Method::Flow => self.by_flow(asm),
            Method::Source => {
                asm.note("the source address");
                folded(asm, Reg::R1, self.record + fields::SOURCE, Reg::R2);
                mix(asm, Reg::R1, Reg::R2);
                asm.alu(Alu::Rsh, Reg::R1, 48);
            }
            Method::RoundRobin => self.in_turn(asm, nobody),
            Method::Random => {
                let own = u64::from(self.index).wrapping_add(1).wrapping_mul(GOLDEN);
                asm.note("by chance");
                asm.load(Size::Double, Reg::R1, Reg::R10, stack::DRAW);
                asm.load_imm64(Reg::R2, own);
                asm.alu(Alu::Xor, Reg::R1, Reg::R2);
                mix(asm, Reg::R1, Reg::R2);
                asm.alu(Alu::Rsh, Reg::R1, 32);
                asm.alu(Alu::Mod, Reg::R1, self.len());
            }
        }
        // The upper half of eight octets is what the verifier does not follow over the call.
        asm.store(Size::Word, Reg::R10, stack::RANK, Reg::R1);
        asm.note("what the slot is for");
        value(asm, MapRef::Table(self.slots));
        asm.jump_if(Reg::R0, Cond::Eq, 0, nobody);
        asm.load(Size::Word, Reg::R1, Reg::R10, stack::RANK);
        asm.jump_if(Reg::R1, Cond::Ge, self.len(), nobody);
        asm.alu(Alu::Add, Reg::R0, Reg::R1);
        asm.load(Size::Byte, Reg::R1, Reg::R0, 0);
    }

    /// How many slots there are: at most 2^16.
    fn len(&self) -> i32 {
        i32::try_from(self.count).unwrap_or(i32::MAX)
    }

    /// `R1` = the turn.
    fn in_turn(&self, asm: &mut Assembler, nobody: Label) {
        let Some(memory) = self.memory else { return };
        let at = TURNS.saturating_add(i16::try_from(self.index).unwrap_or(0).saturating_mul(8));
        asm.note("whose turn it is");
        value(asm, MapRef::Table(memory));
        asm.jump_if(Reg::R0, Cond::Eq, 0, nobody);
        asm.load(Size::Double, Reg::R1, Reg::R0, at);
        asm.mov(Reg::R2, Reg::R1);
        asm.alu(Alu::Add, Reg::R2, 1);
        asm.store(Size::Double, Reg::R0, at, Reg::R2);
        asm.alu(Alu::Mod, Reg::R1, self.len());
    }

    /// `R1` = the slot of the conversation, or of the first fragment of the packet.
    fn by_flow(&self, asm: &mut Assembler) {
        asm.note("the two ends of the conversation, whichever way");
        folded(asm, Reg::R1, self.record + fields::SOURCE, Reg::R2);
        folded(asm, Reg::R3, self.record + fields::DESTINATION, Reg::R2);
        asm.mov(Reg::R4, Reg::R1);
        asm.alu32(Alu::Xor, Reg::R4, Reg::R3);
        asm.alu(Alu::Lsh, Reg::R4, 32);
        asm.mov(Reg::R5, Reg::R1);
        asm.alu32(Alu::Add, Reg::R5, Reg::R3);
        asm.alu(Alu::Or, Reg::R4, Reg::R5);
        mix(asm, Reg::R4, Reg::R2);
        let field = |asm: &mut Assembler, size: Size, reg: Reg, at: i16| {
            asm.load(size, reg, Reg::R10, self.record + at);
        };
        field(asm, Size::Half, Reg::R2, fields::SOURCE_PORT);
        field(asm, Size::Half, Reg::R5, fields::DESTINATION_PORT);
        asm.mov(Reg::R0, Reg::R2);
        asm.alu(Alu::Xor, Reg::R0, Reg::R5);
        asm.alu(Alu::Lsh, Reg::R0, 24);
        asm.alu(Alu::Add, Reg::R2, Reg::R5);
        asm.alu(Alu::Or, Reg::R0, Reg::R2);
        asm.alu(Alu::Xor, Reg::R4, Reg::R0);
        field(asm, Size::Byte, Reg::R2, fields::PROTOCOL);
        asm.alu(Alu::Lsh, Reg::R2, 56);
        asm.alu(Alu::Xor, Reg::R4, Reg::R2);
        mix(asm, Reg::R4, Reg::R2);
        asm.alu(Alu::Rsh, Reg::R4, 48);
        let done = asm.label();
        if let Some(table) = self.fragments {
            self.with_fragments(asm, table, done);
        }
        asm.place(done);
        asm.mov(Reg::R1, Reg::R4);
    }

    /// `R4` = the slot that the packet's first fragment went by; `R1` and `R3` are the folded addresses.
    fn with_fragments(&self, asm: &mut Assembler, table: TableId, done: Label) {
        let part = asm.label();
        asm.load(Size::Byte, Reg::R5, Reg::R10, self.record + fields::PRESENT);
        asm.jump_if(Reg::R5, Cond::Set, i32::from(fields::IS_FRAGMENT), part);
        asm.jump(done);
        asm.place(part);
        asm.note("what the fragments of a packet have in common");
        asm.alu(Alu::Lsh, Reg::R1, 32);
        asm.alu(Alu::Or, Reg::R1, Reg::R3);
        mix(asm, Reg::R1, Reg::R2);
        asm.load(Size::Word, Reg::R2, Reg::R10, self.record + fields::FRAGMENT_ID);
        asm.alu(Alu::Lsh, Reg::R2, 8);
        // What follows the fragment header of IPv6 stands in the first fragment only.
        let v6 = asm.label();
        asm.load(Size::Byte, Reg::R3, Reg::R10, self.record + fields::VERSION);
        asm.jump_if(Reg::R3, Cond::Ne, 4, v6);
        asm.load(Size::Byte, Reg::R3, Reg::R10, self.record + fields::PROTOCOL);
        asm.alu(Alu::Or, Reg::R2, Reg::R3);
        asm.place(v6);
        asm.alu(Alu::Xor, Reg::R1, Reg::R2);
        mix(asm, Reg::R1, Reg::R2);
        asm.store(Size::Double, Reg::R10, stack::FRAGMENT, Reg::R1);
        asm.store(Size::Double, Reg::R10, stack::HASH, Reg::R4);
        // FRAGMENTS is a power of two.
        asm.alu(Alu::And, Reg::R1, i32::try_from(FRAGMENTS - 1).unwrap_or(0));
        asm.store(Size::Word, Reg::R10, stack::KEY, Reg::R1);
        lookup(asm, MapRef::Table(table), stack::KEY);
        asm.load(Size::Double, Reg::R4, Reg::R10, stack::HASH);
        asm.jump_if(Reg::R0, Cond::Eq, 0, done);
        asm.load(Size::Double, Reg::R1, Reg::R10, stack::FRAGMENT);
        asm.load(Size::Double, Reg::R2, Reg::R0, 0);
        asm.load(Size::Byte, Reg::R5, Reg::R10, self.record + fields::PRESENT);
        let (later, keep) = (asm.label(), asm.label());
        asm.jump_if(Reg::R5, Cond::Set, i32::from(fields::IS_LATER), later);
        asm.note("the first one");
        asm.store(Size::Double, Reg::R0, 0, Reg::R1);
        asm.store(Size::Double, Reg::R0, 8, Reg::R4);
        asm.jump_if(Reg::R2, Cond::Eq, 0, done);
        asm.jump_if(Reg::R2, Cond::Ne, Reg::R1, keep);
        asm.jump(done);
        asm.place(keep);
        if let Some(memory) = self.memory {
            value(asm, MapRef::Table(memory));
            asm.load(Size::Double, Reg::R4, Reg::R10, stack::HASH);
            asm.jump_if(Reg::R0, Cond::Eq, 0, done);
            asm.load(Size::Double, Reg::R1, Reg::R0, FORGOTTEN);
            asm.alu(Alu::Add, Reg::R1, 1);
            asm.store(Size::Double, Reg::R0, FORGOTTEN, Reg::R1);
        }
        asm.jump(done);
        asm.place(later);
        asm.note("a later one, whose first one is remembered");
        asm.jump_if(Reg::R2, Cond::Ne, Reg::R1, done);
        asm.load(Size::Double, Reg::R4, Reg::R0, 8);
    }
}

/// `into` = the address at a place of the stack as 32 bits: its four words mixed one after the other. Loses
/// `scratch`.
fn folded(asm: &mut Assembler, into: Reg, at: i16, scratch: Reg) {
    asm.mov(into, 0);
    for word in (0..16).step_by(4) {
        asm.load(Size::Word, scratch, Reg::R10, at + word);
        asm.to_big_endian(scratch, Size::Word);
        asm.alu32(Alu::Xor, into, scratch);
        asm.alu32(Alu::Mul, into, 0x9e37_79b1_u32.cast_signed());
    }
}
