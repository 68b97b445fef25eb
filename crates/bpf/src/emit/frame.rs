//! Where tests look: a copy of the frame's first octets, as they were on the wire.
//!
//! The copy lies in a table of one entry, a value for each CPU, of each hook by itself, so that a program
//! that runs inside of another (a clone that meets a hook on its way) does not write over what the other
//! has found. Octets beyond the copy are loaded one by one. In the tc view the outer tag may stand beside
//! the data; it is put back here, and nowhere else.
//!
//! ```text
//! 0     the frame, at most WINDOW octets; what lies behind its end is of an earlier frame
//! 320   numbers that wait while another is computed, 4 octets each
//! 448   a chain of headers: where it is (8), what comes next (4), how long this one is (4)
//! 464   always 0 (8): a zero of which the verifier does not know that it is one
//! 472   for each test what it said: 0 not, 1 that it holds, 2 that it does not
//! ```

use wire::LinkType;

use super::{CTX, skb, stack, xdp_md};
use crate::asm::{Alu, Assembler, Cond, Helper, MapRef, Reg, Size};
use crate::layout::View;
use crate::tables::TableId;

/// The most octets that are copied: `rules::form::REACH`.
pub(super) const WINDOW: u16 = 256;
/// Numbers that wait.
pub(super) const WAITING: i16 = 320;
/// How many may wait at once.
pub(super) const WAITING_MAX: usize = 32;
/// Where a chain is.
pub(super) const CHAIN_AT: i16 = 448;
/// What comes next in a chain.
pub(super) const CHAIN_NEXT: i16 = 456;
/// Octets of a header of a chain.
pub(super) const CHAIN_OCTETS: i16 = 460;
/// Always 0.
pub(super) const ZERO: i16 = 464;
/// What tests said.
pub(super) const SAID: i16 = 472;

/// The register that holds the address of the copy while tests are run.
pub(super) const FRAME: Reg = Reg::R7;

/// From where a program looks at frames.
#[derive(Clone, Copy)]
pub(super) struct Looks {
    /// As what it sees them.
    pub(super) view: View,
    /// How they begin.
    pub(super) link_type: LinkType,
    /// How many octets are copied.
    pub(super) window: u16,
}

impl Looks {
    /// Whether a tag may stand beside the data.
    pub(super) fn tag_beside(self) -> bool {
        self.view == View::Tc && self.link_type == LinkType::ETHERNET
    }

    /// The helper that loads octets of the frame.
    pub(super) fn helper(self) -> Helper {
        match self.view {
            View::Tc => Helper::SkbLoadBytes,
            View::Xdp => Helper::XdpLoadBytes,
        }
    }

    /// `dst` = octets of the frame on the wire. Loses `R3`.
    pub(super) fn length(self, asm: &mut Assembler, dst: Reg) {
        if self.view == View::Xdp {
            asm.load(Size::Word, Reg::R3, CTX, xdp_md::DATA);
            asm.load(Size::Word, dst, CTX, xdp_md::DATA_END);
            asm.alu(Alu::Sub, dst, Reg::R3);
            return;
        }
        asm.load(Size::Word, dst, CTX, skb::LEN);
        if self.tag_beside() {
            let bare = asm.label();
            asm.load(Size::Word, Reg::R3, CTX, skb::VLAN_PRESENT);
            asm.jump_if(Reg::R3, Cond::Eq, 0, bare);
            asm.alu32(Alu::Add, dst, 4);
            asm.place(bare);
        }
    }
}

/// [`FRAME`] = the copy, [`stack::LIMIT`] = its octets. Ends the program with `otherwise` where the table is
/// not there. Loses `R0` to `R5`, `R8` and `R9`.
pub(super) fn copy(asm: &mut Assembler, looks: Looks, table: TableId, otherwise: i32) {
    let found = asm.label();
    asm.note("a copy of the frame's first octets");
    value(asm, MapRef::Table(table));
    asm.jump_if(Reg::R0, Cond::Ne, 0, found);
    asm.mov(Reg::R0, otherwise);
    asm.exit();
    asm.place(found);
    asm.mov(FRAME, Reg::R0);
    asm.store(Size::Double, Reg::R10, stack::FRAME, FRAME);
    match looks.view {
        View::Tc => asm.load(Size::Word, Reg::R8, CTX, skb::LEN),
        View::Xdp => {
            asm.load(Size::Word, Reg::R1, CTX, xdp_md::DATA);
            asm.load(Size::Word, Reg::R8, CTX, xdp_md::DATA_END);
            asm.alu(Alu::Sub, Reg::R8, Reg::R1);
        }
    }
    let (plain, none, done) = (asm.label(), asm.label(), asm.label());
    if looks.tag_beside() {
        asm.load(Size::Word, Reg::R1, CTX, skb::VLAN_PRESENT);
        asm.jump_if(Reg::R1, Cond::Eq, 0, plain);
        asm.note("the tag back to where it was");
        load(asm, looks, 12);
        asm.jump_if(Reg::R0, Cond::Ne, 0, none);
        asm.load(Size::Word, Reg::R1, CTX, skb::VLAN_PROTO);
        asm.store(Size::Half, FRAME, 12, Reg::R1);
        asm.load(Size::Word, Reg::R1, CTX, skb::VLAN_TCI);
        asm.to_big_endian(Reg::R1, Size::Half);
        asm.store(Size::Half, FRAME, 14, Reg::R1);
        asm.alu(Alu::Sub, Reg::R8, 12);
        rest(asm, looks, [12, 16], looks.window.saturating_sub(16));
        asm.alu(Alu::Add, Reg::R9, 16);
        asm.jump(done);
        asm.place(plain);
    }
    rest(asm, looks, [0, 0], looks.window);
    asm.jump(done);
    if asm.place_used(none) {
        asm.mov(Reg::R9, 0);
    }
    asm.place(done);
    asm.store(Size::Half, Reg::R10, stack::LIMIT, Reg::R9);
}

/// `R9` = how many of the `R8` octets of the data from `from` on were copied to `to`, at most `most`.
fn rest(asm: &mut Assembler, looks: Looks, [from, to]: [i32; 2], most: u16) {
    let (whole, done) = (asm.label(), asm.label());
    let most = i32::from(most);
    if most == 0 {
        asm.mov(Reg::R9, 0);
        return;
    }
    asm.mov(Reg::R9, Reg::R8);
    asm.jump_if(Reg::R9, Cond::Le, most, whole);
    asm.mov(Reg::R9, most);
    asm.place(whole);
    asm.jump_if(Reg::R9, Cond::Eq, 0, done);
    asm.mov(Reg::R1, CTX);
    asm.mov(Reg::R2, from);
    asm.mov(Reg::R3, FRAME);
    if to != 0 {
        asm.alu(Alu::Add, Reg::R3, to);
    }
    asm.mov(Reg::R4, Reg::R9);
    asm.call(looks.helper());
    asm.jump_if(Reg::R0, Cond::Eq, 0, done);
    asm.mov(Reg::R9, 0);
    asm.place(done);
}

/// Copies octets from the start of the data. `R0` = 0 where they are there.
fn load(asm: &mut Assembler, looks: Looks, octets: i32) {
    asm.mov(Reg::R1, CTX);
    asm.mov(Reg::R2, 0);
    asm.mov(Reg::R3, FRAME);
    asm.mov(Reg::R4, octets);
    asm.call(looks.helper());
}

/// `R0` = entry 0 of a map of numbers, or NULL. Loses `R1` to `R5`.
pub(super) fn value(asm: &mut Assembler, map: MapRef) {
    asm.store(Size::Word, Reg::R10, stack::KEY, 0);
    lookup(asm, map, stack::KEY);
}

/// `R0` = what the key on the stack finds in a map, or NULL. Loses `R1` to `R5`.
pub(super) fn lookup(asm: &mut Assembler, map: MapRef, key: i16) {
    asm.mov(Reg::R2, Reg::R10);
    asm.alu(Alu::Add, Reg::R2, i32::from(key));
    asm.load_map(Reg::R1, map);
    asm.call(Helper::MapLookup);
}
