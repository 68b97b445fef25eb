//! VLAN tests: a set of identifiers as a search tree of compares.

use std::collections::BTreeSet;

use wire::{LinkType, Vlan};

use super::ranges::Searched;
use super::{CTX, network_order, skb, stack};
use crate::asm::{Alu, Assembler, Cond, Helper, Label, Reg, Size, Width};

/// What stands for "no tag": in no set, since identifiers end at 4095.
pub(super) const UNTAGGED: u16 = 4096;

/// Identifiers from the first to the last, both in.
pub(super) type Range = (u16, u16);

/// A set as ranges in ascending order, no two of which touch.
pub(super) fn ranges(set: &BTreeSet<Vlan>) -> Vec<Range> {
    let mut ranges: Vec<Range> = Vec::new();
    for id in set.iter().map(|vlan| vlan.id()) {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == id => *last = id,
            _ => ranges.push((id, id)),
        }
    }
    ranges
}

/// Goes to `hit` or `miss` by whether `reg`, 0 to [`UNTAGGED`], lies in the ranges. Ends without falling
/// through.
pub(super) fn search(asm: &mut Assembler, reg: Reg, ranges: &[Range], hit: Label, miss: Label) {
    let ranges: Vec<_> = ranges.iter().map(|(first, last)| (u32::from(*first), u32::from(*last))).collect();
    let searched = Searched { reg, width: Width::W64 };
    super::ranges::search(asm, searched, &ranges, (0, u32::from(UNTAGGED)), hit, miss);
}

/// `into` = the VLAN of the frame whose octets lie between `data` and `end`. Loses `scratch`.
pub(super) fn from_data(asm: &mut Assembler, link_type: LinkType, [data, end, scratch]: [Reg; 3], into: Reg) {
    asm.note("the VLAN, or 4096");
    asm.mov(into, i32::from(UNTAGGED));
    if link_type != LinkType::ETHERNET {
        return;
    }
    let (tagged, done) = (asm.label(), asm.label());
    asm.bounds(data, end, scratch, 16, done);
    asm.load(Size::Half, scratch, data, 12);
    asm.note("802.1Q");
    asm.jump_if(scratch, Cond::Eq, network_order(0x8100), tagged);
    asm.note("802.1ad");
    asm.jump_if(scratch, Cond::Ne, network_order(0x88a8), done);
    asm.place(tagged);
    asm.load(Size::Half, into, data, 14);
    asm.to_big_endian(into, Size::Half);
    asm.alu(Alu::And, into, 0x0fff);
    asm.place(done);
}

/// Stores the VLAN of the skb on the stack. The tag may be beside the data or in it, and the data may not
/// be linear. Loses `r0` to `r5`.
pub(super) fn from_skb(asm: &mut Assembler, link_type: LinkType) {
    let (in_data, not_linear, store) = (asm.label(), asm.label(), asm.label());
    if link_type != LinkType::ETHERNET {
        asm.store(Size::Half, Reg::R10, stack::VLAN, i32::from(UNTAGGED));
        return;
    }
    asm.note("the VLAN, or 4096");
    asm.load(Size::Word, Reg::R5, CTX, skb::VLAN_PRESENT);
    asm.jump_if(Reg::R5, Cond::Eq, 0, in_data);
    asm.load(Size::Word, Reg::R5, CTX, skb::VLAN_TCI);
    asm.alu(Alu::And, Reg::R5, 0x0fff);
    asm.jump(store);

    asm.place(in_data);
    asm.load(Size::Word, Reg::R2, CTX, skb::DATA);
    asm.load(Size::Word, Reg::R3, CTX, skb::DATA_END);
    asm.bounds(Reg::R2, Reg::R3, Reg::R4, 16, not_linear);
    asm.load(Size::Half, Reg::R4, Reg::R2, 12);
    asm.load(Size::Half, Reg::R5, Reg::R2, 14);
    let judge = asm.label();
    asm.jump(judge);

    asm.place(not_linear);
    let untagged = asm.label();
    asm.mov(Reg::R1, CTX);
    asm.mov(Reg::R2, 12);
    asm.mov(Reg::R3, Reg::R10);
    asm.alu(Alu::Add, Reg::R3, i32::from(stack::PACKET));
    asm.mov(Reg::R4, 4);
    asm.call(Helper::SkbLoadBytes);
    asm.jump_if(Reg::R0, Cond::Ne, 0, untagged);
    asm.load(Size::Half, Reg::R4, Reg::R10, stack::PACKET);
    asm.load(Size::Half, Reg::R5, Reg::R10, stack::PACKET + 2);

    asm.place(judge);
    let tagged = asm.label();
    asm.note("802.1Q");
    asm.jump_if(Reg::R4, Cond::Eq, network_order(0x8100), tagged);
    asm.note("802.1ad");
    asm.jump_if(Reg::R4, Cond::Eq, network_order(0x88a8), tagged);
    asm.place(untagged);
    asm.mov(Reg::R5, i32::from(UNTAGGED));
    asm.jump(store);
    asm.place(tagged);
    asm.to_big_endian(Reg::R5, Size::Half);
    asm.alu(Alu::And, Reg::R5, 0x0fff);
    asm.place(store);
    asm.store(Size::Half, Reg::R10, stack::VLAN, Reg::R5);
}
