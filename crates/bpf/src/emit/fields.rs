//! The fields of the headers: found once, in a record of 48 octets on the stack.
//!
//! ```text
//! 0  version: 0 for no IP, 4, 6        1  protocol      2  type of service     3  what is present
//! 4  source port                       6  destination port
//! 8  TCP flags      9  ICMP type      10  ICMP code    11  0
//! 12 identification of a fragment     16  source address, 16 octets    32  destination address, 16 octets
//! ```
//!
//! Numbers are in host order, addresses as on the wire, those of IPv4 in the first 4 octets; what the frame has
//! not is 0. Means what `rules::form::Fields` means, for every frame. Each eight octets are written in an order
//! that leaves the verifier knowing nothing of them, and where a header begins goes by way of the stack, so
//! that all ways through headers are one way to what follows.

use rules::form::Field;
use wire::LinkType;
use wire::headers::{EXTENSIONS_MAX, TAGS_MAX};

use super::frame::{FRAME, Looks, ZERO};
use super::{network_order, stack};
use crate::asm::{Alu, Assembler, Cond, Label, Reg, Size};

pub(super) const VERSION: i16 = 0;
pub(super) const PROTOCOL: i16 = 1;
pub(super) const TOS: i16 = 2;
pub(super) const PRESENT: i16 = 3;
pub(super) const SOURCE_PORT: i16 = 4;
pub(super) const DESTINATION_PORT: i16 = 6;
pub(super) const TCP_FLAGS: i16 = 8;
pub(super) const ICMP_TYPE: i16 = 9;
pub(super) const ICMP_CODE: i16 = 10;
const NOTHING: i16 = 11;
pub(super) const FRAGMENT_ID: i16 = 12;
pub(super) const SOURCE: i16 = 16;
pub(super) const DESTINATION: i16 = 32;
const OCTETS: i16 = 48;

pub(super) const HAS_PORTS: u8 = 1;
const HAS_TCP_FLAGS: u8 = 2;
const HAS_ICMP: u8 = 4;
/// The packet is a fragment.
pub(super) const IS_FRAGMENT: u8 = 8;
/// And not the first.
pub(super) const IS_LATER: u8 = 16;

/// No header begins behind what is copied.
const HEADER_MAX: i32 = 256;

/// Where a field lies, and what says that it is there; without a flag the version does.
pub(super) fn place(field: Field) -> (i16, Size, Option<u8>) {
    match field {
        Field::Version => (VERSION, Size::Byte, None),
        Field::Protocol => (PROTOCOL, Size::Byte, None),
        Field::Tos => (TOS, Size::Byte, None),
        Field::SourcePort => (SOURCE_PORT, Size::Half, Some(HAS_PORTS)),
        Field::DestinationPort => (DESTINATION_PORT, Size::Half, Some(HAS_PORTS)),
        Field::TcpFlags => (TCP_FLAGS, Size::Byte, Some(HAS_TCP_FLAGS)),
        Field::IcmpType => (ICMP_TYPE, Size::Byte, Some(HAS_ICMP)),
        Field::IcmpCode => (ICMP_CODE, Size::Byte, Some(HAS_ICMP)),
    }
}

/// What a listing calls a field.
pub(super) fn name(field: Field) -> &'static str {
    match field {
        Field::Version => "IP version",
        Field::Protocol => "protocol",
        Field::Tos => "type of service",
        Field::SourcePort => "source port",
        Field::DestinationPort => "destination port",
        Field::TcpFlags => "TCP flags",
        Field::IcmpType => "ICMP type",
        Field::IcmpCode => "ICMP code",
    }
}

/// Writes the record of what the frame itself carries. Asks for the copy of the frame. Loses `R0` to `R5`.
pub(super) fn parse(asm: &mut Assembler, looks: Looks) {
    asm.origin_text("fields of the headers");
    blank(asm, stack::FIELDS);
    let (v4, v6, done) = (asm.label(), asm.label(), asm.label());
    link(asm, looks.link_type, [v4, v6, done], None);
    network(asm, stack::FIELDS, [v4, v6], done, done);
    asm.place(done);
}

/// From the IP header on, to `done`; to `none` where there is no whole one.
pub(super) fn network(asm: &mut Assembler, record: i16, [v4, v6]: [Label; 2], done: Label, none: Label) {
    let transport = asm.label();
    if asm.place_used(v4) {
        ipv4(asm, record, [transport, done, none]);
    }
    if asm.place_used(v6) {
        ipv6(asm, record, [transport, done, none]);
    }
    if asm.place_used(transport) {
        ports(asm, record, done);
    }
}

/// Clears a record, with a zero that the verifier takes for any number: what it knows to be 0 it would tell from
/// what is not. Loses `R0`.
pub(super) fn blank(asm: &mut Assembler, record: i16) {
    asm.load(Size::Double, Reg::R0, FRAME, ZERO);
    for at in (0..OCTETS).step_by(4) {
        asm.store(Size::Word, Reg::R10, record + at, Reg::R0);
    }
}

/// Stores a number of the record.
fn keep(asm: &mut Assembler, record: i16, size: Size, at: i16, from: Reg) {
    asm.store(size, Reg::R10, record + at, from);
}

/// Goes to `fail` where less than `end` octets were copied. Loses `R4`.
fn need(asm: &mut Assembler, end: i32, fail: Label) {
    asm.load(Size::Half, Reg::R4, Reg::R10, stack::LIMIT);
    asm.jump_if(Reg::R4, Cond::Lt, end, fail);
}

/// Goes on by the type in `R2`, as in memory.
pub(super) fn by_type(asm: &mut Assembler, [v4, v6, done]: [Label; 3], mpls: Option<Label>) {
    asm.note("IPv4");
    asm.jump_if(Reg::R2, Cond::Eq, network_order(0x0800), v4);
    asm.note("IPv6");
    asm.jump_if(Reg::R2, Cond::Eq, network_order(0x86dd), v6);
    if let Some(mpls) = mpls {
        asm.note("MPLS");
        asm.jump_if(Reg::R2, Cond::Eq, network_order(0x8847), mpls);
        asm.jump_if(Reg::R2, Cond::Eq, network_order(0x8848), mpls);
    }
    asm.jump(done);
}

/// From the link layer to the IP header, or to labels where these are asked for; it begins at [`stack::AT`].
pub(super) fn link(asm: &mut Assembler, link_type: LinkType, to: [Label; 3], mpls: Option<Label>) {
    let [v4, v6, done] = to;
    let by_type = |asm: &mut Assembler| by_type(asm, to, mpls);
    let fixed = |asm: &mut Assembler, type_at: i16, payload_at: i32| {
        need(asm, i32::from(type_at) + 2, done);
        asm.load(Size::Half, Reg::R2, FRAME, type_at);
        asm.store(Size::Half, Reg::R10, stack::AT, payload_at);
        by_type(asm);
    };
    match link_type {
        LinkType::ETHERNET => {
            tags(asm, done);
            by_type(asm);
        }
        LinkType::LINUX_SLL => fixed(asm, 14, 16),
        LinkType::LINUX_SLL2 => fixed(asm, 0, 20),
        LinkType::RAW => {
            need(asm, 1, done);
            asm.load(Size::Byte, Reg::R2, FRAME, 0);
            asm.alu(Alu::Rsh, Reg::R2, 4);
            asm.store(Size::Half, Reg::R10, stack::AT, 0);
            asm.jump_if(Reg::R2, Cond::Eq, 4, v4);
            asm.jump_if(Reg::R2, Cond::Eq, 6, v6);
            asm.jump(done);
        }
        _ => asm.jump(done),
    }
}

/// `R2` = the type behind all tags, as in memory; [`stack::AT`] = what follows it.
fn tags(asm: &mut Assembler, done: Label) {
    let typed = asm.label();
    for tags in 0..=TAGS_MAX {
        // At most 12 + 4 * TAGS_MAX.
        let at = i16::try_from(12 + 4 * tags).unwrap_or(i16::MAX);
        need(asm, i32::from(at) + 2, done);
        asm.load(Size::Half, Reg::R2, FRAME, at);
        let next = asm.label();
        if tags < TAGS_MAX {
            for (protocol, name) in [(0x8100, "802.1Q"), (0x88a8, "802.1ad"), (0x9100, "its elder")] {
                asm.note(name);
                asm.jump_if(Reg::R2, Cond::Eq, network_order(protocol), next);
            }
        }
        asm.store(Size::Half, Reg::R10, stack::AT, i32::from(at) + 2);
        asm.jump(typed);
        asm.place_used(next);
    }
    asm.place(typed);
}

/// `R1` = where the header begins, `R3` = its address, `R4` = octets of the frame that were copied, `R5` =
/// what follows the first `octets` of it.
fn header(asm: &mut Assembler, octets: i32, done: Label) {
    asm.load(Size::Half, Reg::R1, Reg::R10, stack::AT);
    asm.jump_if(Reg::R1, Cond::Gt, HEADER_MAX, done);
    asm.load(Size::Half, Reg::R4, Reg::R10, stack::LIMIT);
    asm.mov(Reg::R5, Reg::R1);
    asm.alu(Alu::Add, Reg::R5, octets);
    asm.jump_if(Reg::R5, Cond::Gt, Reg::R4, done);
    asm.mov(Reg::R3, FRAME);
    asm.alu(Alu::Add, Reg::R3, Reg::R1);
}

/// RFC 791, section 3.1.
fn ipv4(asm: &mut Assembler, record: i16, [transport, done, none]: [Label; 3]) {
    asm.note("IPv4");
    header(asm, 20, none);
    asm.load(Size::Byte, Reg::R2, Reg::R3, 0);
    asm.mov(Reg::R5, Reg::R2);
    asm.alu(Alu::Rsh, Reg::R5, 4);
    asm.jump_if(Reg::R5, Cond::Ne, 4, none);
    asm.alu(Alu::And, Reg::R2, 0x0f);
    asm.alu(Alu::Lsh, Reg::R2, 2);
    asm.jump_if(Reg::R2, Cond::Lt, 20, none);
    asm.mov(Reg::R5, Reg::R1);
    asm.alu(Alu::Add, Reg::R5, Reg::R2);
    asm.jump_if(Reg::R5, Cond::Gt, Reg::R4, none);
    asm.note("total length; 0 where it does not fit");
    asm.load(Size::Half, Reg::R0, Reg::R3, 2);
    asm.to_big_endian(Reg::R0, Size::Half);
    let (all, ended) = (asm.label(), asm.label());
    asm.jump_if(Reg::R0, Cond::Eq, 0, all);
    asm.jump_if(Reg::R0, Cond::Lt, Reg::R2, none);
    asm.alu(Alu::Add, Reg::R0, Reg::R1);
    asm.jump_if(Reg::R0, Cond::Le, Reg::R4, ended);
    asm.place(all);
    asm.mov(Reg::R0, Reg::R4);
    asm.place(ended);
    asm.store(Size::Half, Reg::R10, stack::END, Reg::R0);
    asm.store(Size::Half, Reg::R10, stack::AT, Reg::R5);
    if record != stack::FIELDS {
        // What was found in front of it counts no more.
        blank(asm, record);
    }
    asm.mov(Reg::R1, 4);
    keep(asm, record, Size::Byte, VERSION, Reg::R1);
    for (to, from) in [(PROTOCOL, 9), (TOS, 1)] {
        asm.load(Size::Byte, Reg::R1, Reg::R3, from);
        keep(asm, record, Size::Byte, to, Reg::R1);
    }
    asm.load(Size::Double, Reg::R0, FRAME, ZERO);
    for (to, from) in [(SOURCE, 12), (DESTINATION, 16)] {
        asm.load(Size::Word, Reg::R1, Reg::R3, from);
        keep(asm, record, Size::Word, to, Reg::R1);
        keep(asm, record, Size::Word, to + 4, Reg::R0);
    }
    asm.load(Size::Half, Reg::R1, Reg::R3, 6);
    let part = asm.label();
    asm.jump_if(Reg::R1, Cond::Set, network_order(0x3fff), part);
    asm.jump(transport);
    asm.place(part);
    asm.note("a fragment");
    asm.load(Size::Half, Reg::R2, Reg::R3, 4);
    asm.to_big_endian(Reg::R2, Size::Half);
    keep(asm, record, Size::Word, FRAGMENT_ID, Reg::R2);
    let later = asm.label();
    asm.jump_if(Reg::R1, Cond::Set, network_order(0x1fff), later);
    present(asm, record, IS_FRAGMENT);
    asm.jump(transport);
    asm.place(later);
    present(asm, record, IS_FRAGMENT | IS_LATER);
    asm.jump(done);
}

/// Adds flags to what is present. Loses `R5`.
fn present(asm: &mut Assembler, record: i16, flags: u8) {
    asm.load(Size::Byte, Reg::R5, Reg::R10, record + PRESENT);
    asm.alu(Alu::Or, Reg::R5, i32::from(flags));
    keep(asm, record, Size::Byte, PRESENT, Reg::R5);
}

/// RFC 8200, sections 3 and 4.
fn ipv6(asm: &mut Assembler, record: i16, [transport, done, none]: [Label; 3]) {
    asm.note("IPv6");
    header(asm, 40, none);
    asm.load(Size::Byte, Reg::R2, Reg::R3, 0);
    asm.alu(Alu::Rsh, Reg::R2, 4);
    asm.jump_if(Reg::R2, Cond::Ne, 6, none);
    asm.note("payload length; 0 where it does not fit");
    asm.load(Size::Half, Reg::R0, Reg::R3, 4);
    asm.to_big_endian(Reg::R0, Size::Half);
    let (all, ended) = (asm.label(), asm.label());
    asm.jump_if(Reg::R0, Cond::Eq, 0, all);
    asm.alu(Alu::Add, Reg::R0, Reg::R5);
    asm.jump_if(Reg::R0, Cond::Le, Reg::R4, ended);
    asm.place(all);
    asm.mov(Reg::R0, Reg::R4);
    asm.place(ended);
    asm.store(Size::Half, Reg::R10, stack::END, Reg::R0);
    asm.store(Size::Half, Reg::R10, stack::AT, Reg::R5);
    if record != stack::FIELDS {
        // What was found in front of it counts no more.
        blank(asm, record);
    }
    asm.mov(Reg::R1, 6);
    keep(asm, record, Size::Byte, VERSION, Reg::R1);
    asm.load(Size::Byte, Reg::R1, Reg::R3, 6);
    keep(asm, record, Size::Byte, PROTOCOL, Reg::R1);
    asm.load(Size::Half, Reg::R1, Reg::R3, 0);
    asm.to_big_endian(Reg::R1, Size::Half);
    asm.alu(Alu::Rsh, Reg::R1, 4);
    keep(asm, record, Size::Byte, TOS, Reg::R1);
    for (to, from) in [(SOURCE, 8), (DESTINATION, 24)] {
        for at in (0..16).step_by(4) {
            asm.load(Size::Word, Reg::R1, Reg::R3, from + at);
            keep(asm, record, Size::Word, to + at, Reg::R1);
        }
    }
    for _ in 0..EXTENSIONS_MAX {
        extension(asm, record, transport, done);
    }
    asm.jump(transport);
}

/// Goes on behind one extension header; to `transport` where there is none that is whole.
fn extension(asm: &mut Assembler, record: i16, transport: Label, done: Label) {
    let (options, fragment, lengths, next) = (asm.label(), asm.label(), asm.label(), asm.label());
    asm.load(Size::Byte, Reg::R2, Reg::R10, record + PROTOCOL);
    for (protocol, name, to) in [
        (0, "hop-by-hop options", options),
        (43, "routing", options),
        (60, "destination options", options),
        (44, "fragment", fragment),
    ] {
        asm.note(name);
        asm.jump_if(Reg::R2, Cond::Eq, protocol, to);
    }
    asm.note("authentication");
    asm.jump_if(Reg::R2, Cond::Ne, 51, transport);
    let whole = |asm: &mut Assembler, octets: i32| {
        asm.load(Size::Half, Reg::R1, Reg::R10, stack::AT);
        asm.jump_if(Reg::R1, Cond::Gt, 256, transport);
        asm.load(Size::Half, Reg::R0, Reg::R10, stack::END);
        asm.mov(Reg::R4, Reg::R1);
        asm.alu(Alu::Add, Reg::R4, octets);
        asm.jump_if(Reg::R4, Cond::Gt, Reg::R0, transport);
        asm.mov(Reg::R3, FRAME);
        asm.alu(Alu::Add, Reg::R3, Reg::R1);
    };
    whole(asm, 2);
    asm.load(Size::Byte, Reg::R5, Reg::R3, 1);
    asm.alu(Alu::Add, Reg::R5, 2);
    asm.alu(Alu::Lsh, Reg::R5, 2);
    asm.jump(lengths);
    asm.place(options);
    whole(asm, 2);
    asm.load(Size::Byte, Reg::R5, Reg::R3, 1);
    asm.alu(Alu::Add, Reg::R5, 1);
    asm.alu(Alu::Lsh, Reg::R5, 3);
    asm.place(lengths);
    asm.alu(Alu::Add, Reg::R1, Reg::R5);
    asm.jump_if(Reg::R1, Cond::Gt, Reg::R0, transport);
    asm.store(Size::Half, Reg::R10, stack::AT, Reg::R1);
    asm.load(Size::Byte, Reg::R1, Reg::R3, 0);
    keep(asm, record, Size::Byte, PROTOCOL, Reg::R1);
    asm.jump(next);
    asm.place(fragment);
    whole(asm, 8);
    asm.store(Size::Half, Reg::R10, stack::AT, Reg::R4);
    asm.load(Size::Byte, Reg::R1, Reg::R3, 0);
    keep(asm, record, Size::Byte, PROTOCOL, Reg::R1);
    asm.load(Size::Half, Reg::R1, Reg::R3, 2);
    let part = asm.label();
    // Offset 0 and no more to come is a whole packet with a fragment header (RFC 6946).
    asm.jump_if(Reg::R1, Cond::Set, network_order(0xfff9), part);
    asm.jump(next);
    asm.place(part);
    asm.load(Size::Word, Reg::R2, Reg::R3, 4);
    asm.to_big_endian(Reg::R2, Size::Word);
    keep(asm, record, Size::Word, FRAGMENT_ID, Reg::R2);
    let later = asm.label();
    asm.jump_if(Reg::R1, Cond::Set, network_order(0xfff8), later);
    present(asm, record, IS_FRAGMENT);
    asm.jump(next);
    asm.place(later);
    present(asm, record, IS_FRAGMENT | IS_LATER);
    asm.jump(done);
    asm.place(next);
}

/// TCP, UDP, ICMP and ICMPv6, where the header is whole.
fn ports(asm: &mut Assembler, record: i16, done: Label) {
    let (tcp, udp, both, icmp, icmp6) = (asm.label(), asm.label(), asm.label(), asm.label(), asm.label());
    asm.load(Size::Half, Reg::R1, Reg::R10, stack::AT);
    asm.jump_if(Reg::R1, Cond::Gt, 256, done);
    asm.load(Size::Half, Reg::R4, Reg::R10, stack::END);
    asm.alu(Alu::Sub, Reg::R4, Reg::R1);
    asm.mov(Reg::R3, FRAME);
    asm.alu(Alu::Add, Reg::R3, Reg::R1);
    asm.load(Size::Byte, Reg::R2, Reg::R10, record + PROTOCOL);
    asm.load(Size::Byte, Reg::R1, Reg::R10, record + VERSION);
    for (protocol, name, to) in [(6, "TCP", tcp), (17, "UDP", udp), (1, "ICMP", icmp), (58, "ICMPv6", icmp6)]
    {
        asm.note(name);
        asm.jump_if(Reg::R2, Cond::Eq, protocol, to);
    }
    asm.jump(done);

    asm.place(tcp);
    asm.jump_if(Reg::R4, Cond::Lt, 20, done);
    asm.load(Size::Byte, Reg::R2, Reg::R3, 12);
    asm.alu(Alu::Rsh, Reg::R2, 4);
    asm.alu(Alu::Lsh, Reg::R2, 2);
    asm.jump_if(Reg::R2, Cond::Lt, 20, done);
    asm.jump_if(Reg::R2, Cond::Gt, Reg::R4, done);
    asm.load(Size::Byte, Reg::R2, Reg::R3, 13);
    keep(asm, record, Size::Byte, TCP_FLAGS, Reg::R2);
    asm.load(Size::Double, Reg::R0, FRAME, ZERO);
    keep(asm, record, Size::Byte, NOTHING, Reg::R0);
    present(asm, record, HAS_PORTS | HAS_TCP_FLAGS);
    asm.jump(both);

    asm.place(udp);
    asm.jump_if(Reg::R4, Cond::Lt, 8, done);
    present(asm, record, HAS_PORTS);
    asm.place(both);
    for (to, from) in [(SOURCE_PORT, 0), (DESTINATION_PORT, 2)] {
        asm.load(Size::Half, Reg::R2, Reg::R3, from);
        asm.to_big_endian(Reg::R2, Size::Half);
        keep(asm, record, Size::Half, to, Reg::R2);
    }
    asm.jump(done);

    let whole = asm.label();
    asm.place(icmp);
    asm.jump_if(Reg::R1, Cond::Eq, 4, whole);
    asm.jump(done);
    asm.place(icmp6);
    asm.jump_if(Reg::R1, Cond::Ne, 6, done);
    asm.place(whole);
    asm.jump_if(Reg::R4, Cond::Lt, 8, done);
    for (to, from) in [(ICMP_TYPE, 0), (ICMP_CODE, 1)] {
        asm.load(Size::Byte, Reg::R2, Reg::R3, from);
        keep(asm, record, Size::Byte, to, Reg::R2);
    }
    present(asm, record, HAS_ICMP);
}
