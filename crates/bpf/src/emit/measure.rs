//! How many wire frames an skb stands for, and their bytes.
//!
//! A super-frame (GSO) has one set of headers; on the wire each frame repeats them. `gso_segs` says how
//! many frames there are; where a driver left it 0, `gso_size` (payload octets a frame) and the length of
//! the headers tell. `gso_size` is 0 for all other skbs, and these stand for themselves.

use super::{BYTES, CTX, FRAMES, network_order, skb, stack};
use crate::asm::{Alu, Assembler, Cond, Helper, Label, Reg, Size};

/// `r8` = frames, and where `bytes` is asked `r9` = their bytes. `unmeasured` is run where the headers of
/// a super-frame cannot be measured; it may lose `r1` to `r5`. Loses `r0` to `r5`.
pub(super) fn frames(asm: &mut Assembler, bytes: bool, unmeasured: impl FnOnce(&mut Assembler)) {
    let (plain, known, counted) = (asm.label(), asm.label(), asm.label());
    let no_tag = asm.label();
    asm.note("wire frames that the skb stands for");
    if bytes {
        asm.load(Size::Word, BYTES, CTX, skb::LEN);
        asm.load(Size::Word, Reg::R1, CTX, skb::VLAN_PRESENT);
        asm.jump_if(Reg::R1, Cond::Eq, 0, no_tag);
        asm.alu(Alu::Add, BYTES, 4);
        asm.place(no_tag);
    }
    asm.mov(FRAMES, 1);
    asm.load(Size::Word, Reg::R1, CTX, skb::GSO_SIZE);
    asm.jump_if(Reg::R1, Cond::Eq, 0, plain);

    asm.load(Size::Word, FRAMES, CTX, skb::GSO_SEGS);
    if !bytes {
        asm.jump_if(FRAMES, Cond::Ne, 0, plain);
    }
    let failed = asm.label();
    header_length(asm, failed);
    asm.jump(known);
    asm.place(failed);
    unmeasured(asm);
    asm.mov(Reg::R0, 0);
    asm.place(known);

    // r0 = octets of headers. Frames by gso_size: the payload in parts, the last may be shorter.
    asm.jump_if(FRAMES, Cond::Ne, 0, counted);
    asm.load(Size::Word, FRAMES, CTX, skb::LEN);
    asm.load(Size::Word, Reg::R1, CTX, skb::GSO_SIZE);
    asm.alu(Alu::Sub, FRAMES, Reg::R0);
    asm.alu(Alu::Add, FRAMES, Reg::R1);
    asm.alu(Alu::Sub, FRAMES, 1);
    asm.alu(Alu::Div, FRAMES, Reg::R1);
    asm.jump_if(FRAMES, Cond::Ne, 0, counted);
    asm.mov(FRAMES, 1);
    asm.place(counted);
    if bytes {
        let bare = asm.label();
        asm.jump_if(Reg::R0, Cond::Eq, 0, plain);
        asm.load(Size::Word, Reg::R1, CTX, skb::VLAN_PRESENT);
        asm.jump_if(Reg::R1, Cond::Eq, 0, bare);
        asm.alu(Alu::Add, Reg::R0, 4);
        asm.place(bare);
        asm.mov(Reg::R2, FRAMES);
        asm.alu(Alu::Sub, Reg::R2, 1);
        asm.alu(Alu::Mul, Reg::R2, Reg::R0);
        asm.alu(Alu::Add, BYTES, Reg::R2);
    }
    asm.place(plain);
}

/// `r0` = octets before the payload: Ethernet, up to two tags in the data, IPv4 with options or IPv6
/// without extension headers, TCP with options or UDP. Goes to `failed` for anything else, and where the
/// headers claim more than the skb holds.
fn header_length(asm: &mut Assembler, failed: Label) {
    // EtherType, two tags, and as much of the IP header as names its length and what it carries.
    load_bytes(asm, 12, stack::PACKET, 20);
    asm.jump_if(Reg::R0, Cond::Ne, 0, failed);
    let transport = asm.label();
    for tags in 0i16..3 {
        let (type_at, ip) = (stack::PACKET + 4 * tags, stack::PACKET + 4 * tags + 2);
        let (next, v6) = (asm.label(), asm.label());
        asm.load(Size::Half, Reg::R1, Reg::R10, type_at);
        asm.note("IPv6");
        asm.jump_if(Reg::R1, Cond::Eq, network_order(0x86dd), v6);
        asm.note("IPv4");
        asm.jump_if(Reg::R1, Cond::Ne, network_order(0x0800), next);
        asm.load(Size::Byte, Reg::R2, Reg::R10, ip);
        asm.alu(Alu::And, Reg::R2, 0x0f);
        asm.alu(Alu::Lsh, Reg::R2, 2);
        asm.alu(Alu::Add, Reg::R2, i32::from(14 + 4 * tags));
        asm.load(Size::Byte, Reg::R3, Reg::R10, ip + 9);
        asm.jump(transport);
        asm.place(v6);
        asm.mov(Reg::R2, i32::from(14 + 4 * tags + 40));
        asm.load(Size::Byte, Reg::R3, Reg::R10, ip + 6);
        asm.jump(transport);
        asm.place(next);
        if tags < 2 {
            let tag = asm.label();
            asm.note("802.1Q");
            asm.jump_if(Reg::R1, Cond::Eq, network_order(0x8100), tag);
            asm.note("802.1ad");
            asm.jump_if(Reg::R1, Cond::Ne, network_order(0x88a8), failed);
            asm.place(tag);
        }
    }
    asm.jump(failed);

    // r2 = where the transport header begins, r3 = which it is.
    asm.place(transport);
    let (tcp, within) = (asm.label(), asm.label());
    asm.note("TCP");
    asm.jump_if(Reg::R3, Cond::Eq, 6, tcp);
    asm.note("UDP");
    asm.jump_if(Reg::R3, Cond::Ne, 17, failed);
    asm.mov(Reg::R0, Reg::R2);
    asm.alu(Alu::Add, Reg::R0, 8);
    asm.jump(within);
    asm.place(tcp);
    asm.store(Size::Double, Reg::R10, stack::TRANSPORT, Reg::R2);
    asm.alu(Alu::Add, Reg::R2, 12);
    load_bytes_at_r2(asm, stack::PACKET, 1);
    asm.jump_if(Reg::R0, Cond::Ne, 0, failed);
    asm.load(Size::Byte, Reg::R0, Reg::R10, stack::PACKET);
    asm.alu(Alu::Rsh, Reg::R0, 4);
    asm.alu(Alu::Lsh, Reg::R0, 2);
    asm.load(Size::Double, Reg::R2, Reg::R10, stack::TRANSPORT);
    asm.alu(Alu::Add, Reg::R0, Reg::R2);
    asm.place(within);
    asm.load(Size::Word, Reg::R1, CTX, skb::LEN);
    asm.jump_if(Reg::R0, Cond::Gt, Reg::R1, failed);
}

fn load_bytes(asm: &mut Assembler, at: i32, to: i16, octets: i32) {
    asm.mov(Reg::R2, at);
    load_bytes_at_r2(asm, to, octets);
}

fn load_bytes_at_r2(asm: &mut Assembler, to: i16, octets: i32) {
    asm.mov(Reg::R1, CTX);
    asm.mov(Reg::R3, Reg::R10);
    asm.alu(Alu::Add, Reg::R3, i32::from(to));
    asm.mov(Reg::R4, octets);
    asm.call(Helper::SkbLoadBytes);
}
