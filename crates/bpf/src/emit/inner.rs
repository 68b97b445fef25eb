//! The fields of the innermost packet of a frame that carries packets in packets, in a record of its own.
//!
//! Means what `rules::form::Fields::inner` means: MPLS, IP in IP, GRE, VXLAN and GTP-U are looked through, at most
//! [`INNER_MAX`] times. Where the next header begins goes by way of [`stack::AT`], of which the verifier knows
//! nothing, so that each step is checked once.

use rules::form::{EXTENSIONS_MAX, INNER_MAX, LABELS_MAX};
use wire::headers::TAGS_MAX;

use super::fields::{self, DESTINATION_PORT, HAS_PORTS, IS_FRAGMENT, PRESENT, PROTOCOL};
use super::frame::{FRAME, Looks};
use super::{network_order, stack};
use crate::asm::{Alu, Assembler, Cond, Label, Reg, Size};

/// The last offset at which anything may begin.
const AT_MAX: i32 = 256;

/// Where a carried packet goes on: with an Ethernet header, with an IP header, or nowhere.
#[derive(Clone, Copy)]
struct Next {
    ethernet: Label,
    raw: Label,
    out: Label,
}

/// Writes the record. Asks for the copy of the frame. Loses `R0` to `R5`.
pub(super) fn parse(asm: &mut Assembler, looks: Looks) {
    asm.origin_text("fields of the innermost packet");
    fields::blank(asm, stack::INNER);
    let out = asm.label();
    let mut labels = [asm.label(), asm.label(), asm.label(), asm.label()];
    let [v4, v6, found, mpls] = labels;
    fields::link(asm, looks.link_type, [v4, v6, out], Some(mpls));
    fields::network(asm, stack::INNER, [v4, v6], found, out);
    for _ in 0..INNER_MAX {
        let [_, _, found, mpls] = labels;
        let next = Next { ethernet: asm.label(), raw: asm.label(), out };
        if asm.place_used(found) {
            carried(asm, next, mpls);
        }
        if asm.place_used(mpls) {
            labelled(asm, next);
        }
        labels = [asm.label(), asm.label(), asm.label(), asm.label()];
        let [v4, v6, found, mpls] = labels;
        if asm.place_used(next.ethernet) {
            ethernet(asm, [v4, v6, out], mpls);
        }
        if asm.place_used(next.raw) {
            raw(asm, [v4, v6, out]);
        }
        fields::network(asm, stack::INNER, [v4, v6], found, out);
    }
    // The last step is not looked into.
    let [_, _, found, mpls] = labels;
    for label in [found, mpls] {
        asm.place_used(label);
    }
    asm.place(out);
}

/// `R1` = [`stack::AT`], `R3` = its address, `R4` = octets that were copied.
fn here(asm: &mut Assembler, out: Label) {
    asm.load(Size::Half, Reg::R1, Reg::R10, stack::AT);
    address(asm, out);
}

fn address(asm: &mut Assembler, out: Label) {
    asm.jump_if(Reg::R1, Cond::Gt, AT_MAX, out);
    asm.load(Size::Half, Reg::R4, Reg::R10, stack::LIMIT);
    asm.mov(Reg::R3, FRAME);
    asm.alu(Alu::Add, Reg::R3, Reg::R1);
}

/// Goes out unless so many octets from `R1` on were copied; `R5` = what lies behind them.
fn whole(asm: &mut Assembler, octets: i32, out: Label) {
    asm.mov(Reg::R5, Reg::R1);
    asm.alu(Alu::Add, Reg::R5, octets);
    asm.jump_if(Reg::R5, Cond::Gt, Reg::R4, out);
}

/// The same where the octet before is wanted.
fn before(asm: &mut Assembler, out: Label) {
    asm.load(Size::Half, Reg::R1, Reg::R10, stack::AT);
    asm.jump_if(Reg::R1, Cond::Eq, 0, out);
    address(asm, out);
    whole(asm, 0, out);
}

/// An Ethernet header with its tags.
fn ethernet(asm: &mut Assembler, to: [Label; 3], mpls: Label) {
    let [_, _, out] = to;
    asm.note("Ethernet within");
    here(asm, out);
    let typed = asm.label();
    for tags in 0..=TAGS_MAX {
        // At most 12 + 4 * TAGS_MAX.
        let at = i16::try_from(12 + 4 * tags).unwrap_or(i16::MAX);
        whole(asm, i32::from(at) + 2, out);
        asm.load(Size::Half, Reg::R2, Reg::R3, at);
        let next = asm.label();
        if tags < TAGS_MAX {
            for protocol in [0x8100, 0x88a8, 0x9100] {
                asm.jump_if(Reg::R2, Cond::Eq, network_order(protocol), next);
            }
        }
        asm.store(Size::Half, Reg::R10, stack::AT, Reg::R5);
        asm.jump(typed);
        asm.place_used(next);
    }
    asm.place(typed);
    fields::by_type(asm, to, Some(mpls));
}

/// An IP header, of the version that it says.
fn raw(asm: &mut Assembler, [v4, v6, out]: [Label; 3]) {
    asm.note("IP within");
    here(asm, out);
    whole(asm, 1, out);
    asm.load(Size::Byte, Reg::R2, Reg::R3, 0);
    asm.alu(Alu::Rsh, Reg::R2, 4);
    asm.jump_if(Reg::R2, Cond::Eq, 4, v4);
    asm.jump_if(Reg::R2, Cond::Eq, 6, v6);
    asm.jump(out);
}

/// What a packet carries whose IP header was found; [`stack::AT`] is behind its headers.
fn carried(asm: &mut Assembler, next: Next, mpls: Label) {
    let (gre, udp) = (asm.label(), asm.label());
    asm.load(Size::Byte, Reg::R1, Reg::R10, stack::INNER + PRESENT);
    asm.jump_if(Reg::R1, Cond::Set, i32::from(IS_FRAGMENT), next.out);
    asm.load(Size::Byte, Reg::R2, Reg::R10, stack::INNER + PROTOCOL);
    for (protocol, name, to) in
        [(4, "IP in IP", next.raw), (41, "IPv6 in IP", next.raw), (47, "GRE", gre), (17, "UDP", udp)]
    {
        asm.note(name);
        asm.jump_if(Reg::R2, Cond::Eq, protocol, to);
    }
    asm.jump(next.out);

    asm.place(gre);
    here(asm, next.out);
    whole(asm, 4, next.out);
    asm.load(Size::Byte, Reg::R2, Reg::R3, 0);
    asm.jump_if(Reg::R2, Cond::Set, 0x40, next.out);
    asm.load(Size::Byte, Reg::R0, Reg::R3, 1);
    asm.jump_if(Reg::R0, Cond::Set, 0x07, next.out);
    for bit in [0x80, 0x20, 0x10] {
        let (set, on) = (asm.label(), asm.label());
        asm.jump_if(Reg::R2, Cond::Set, bit, set);
        asm.jump(on);
        asm.place(set);
        asm.alu(Alu::Add, Reg::R5, 4);
        asm.place(on);
    }
    asm.store(Size::Half, Reg::R10, stack::AT, Reg::R5);
    asm.load(Size::Half, Reg::R2, Reg::R3, 2);
    asm.note("Ethernet in GRE");
    asm.jump_if(Reg::R2, Cond::Eq, network_order(0x6558), next.ethernet);
    fields::by_type(asm, [next.raw, next.raw, next.out], Some(mpls));

    asm.place(udp);
    let gtp = asm.label();
    asm.load(Size::Byte, Reg::R1, Reg::R10, stack::INNER + PRESENT);
    let there = asm.label();
    asm.jump_if(Reg::R1, Cond::Set, i32::from(HAS_PORTS), there);
    asm.jump(next.out);
    asm.place(there);
    asm.load(Size::Half, Reg::R2, Reg::R10, stack::INNER + DESTINATION_PORT);
    here(asm, next.out);
    asm.note("GTP-U");
    asm.jump_if(Reg::R2, Cond::Eq, 2152, gtp);
    asm.note("VXLAN");
    asm.jump_if(Reg::R2, Cond::Ne, 4789, next.out);
    whole(asm, 9, next.out);
    asm.load(Size::Byte, Reg::R2, Reg::R3, 8);
    let vxlan = asm.label();
    asm.jump_if(Reg::R2, Cond::Set, 0x08, vxlan);
    asm.jump(next.out);
    asm.place(vxlan);
    asm.alu(Alu::Add, Reg::R1, 16);
    asm.store(Size::Half, Reg::R10, stack::AT, Reg::R1);
    asm.jump(next.ethernet);

    asm.place(gtp);
    tunnelled(asm, next);
}

/// GTP-U behind a UDP header at `R1` (TS 29.281).
fn tunnelled(asm: &mut Assembler, next: Next) {
    let (plain, longer, ended) = (asm.label(), asm.label(), asm.label());
    whole(asm, 10, next.out);
    asm.load(Size::Byte, Reg::R0, Reg::R3, 9);
    asm.jump_if(Reg::R0, Cond::Ne, 255, next.out);
    asm.load(Size::Byte, Reg::R2, Reg::R3, 8);
    asm.mov(Reg::R0, Reg::R2);
    asm.alu(Alu::And, Reg::R0, 0xf0);
    asm.jump_if(Reg::R0, Cond::Ne, 0x30, next.out);
    asm.alu(Alu::Add, Reg::R1, 16);
    asm.store(Size::Half, Reg::R10, stack::AT, Reg::R1);
    asm.jump_if(Reg::R2, Cond::Set, 0x07, longer);
    asm.jump(next.raw);
    asm.place(longer);
    asm.alu(Alu::Add, Reg::R1, 4);
    asm.store(Size::Half, Reg::R10, stack::AT, Reg::R1);
    asm.jump_if(Reg::R2, Cond::Set, 0x04, plain);
    asm.jump(next.raw);
    asm.place(plain);
    for _ in 0..EXTENSIONS_MAX {
        // The type of what comes next is the octet before it.
        before(asm, next.out);
        asm.load(Size::Byte, Reg::R2, Reg::R3, -1);
        asm.jump_if(Reg::R2, Cond::Eq, 0, ended);
        whole(asm, 1, next.out);
        asm.load(Size::Byte, Reg::R2, Reg::R3, 0);
        asm.jump_if(Reg::R2, Cond::Eq, 0, next.out);
        asm.alu(Alu::Lsh, Reg::R2, 2);
        asm.alu(Alu::Add, Reg::R1, Reg::R2);
        asm.store(Size::Half, Reg::R10, stack::AT, Reg::R1);
    }
    before(asm, next.out);
    asm.load(Size::Byte, Reg::R2, Reg::R3, -1);
    asm.jump_if(Reg::R2, Cond::Ne, 0, next.out);
    asm.place(ended);
    asm.jump(next.raw);
}

/// IP behind the label with the bottom bit (RFC 3032).
fn labelled(asm: &mut Assembler, next: Next) {
    asm.note("MPLS");
    here(asm, next.out);
    for label in 0..LABELS_MAX {
        // Four labels of four octets.
        let at = i16::try_from(label * 4).unwrap_or(i16::MAX);
        whole(asm, i32::from(at) + 3, next.out);
        asm.alu(Alu::Add, Reg::R5, 1);
        asm.store(Size::Half, Reg::R10, stack::AT, Reg::R5);
        asm.load(Size::Byte, Reg::R2, Reg::R3, at + 2);
        asm.jump_if(Reg::R2, Cond::Set, 1, next.raw);
    }
    asm.jump(next.out);
}
