//! Finding headers: the walk of [`wire::headers`] within the reach of [`rules::form::Fields`], unrolled.
//!
//! What is found is kept in scratch words. Every load is behind a compare with the end of what may be looked at, so
//! that no load ends the program.

use ::rules::form::{Field, Number, REACH, Test};
use wire::Tag;
use wire::headers::{EXTENSIONS_MAX, TAGS_MAX, ether_type, protocol};

use super::asm::{Assembler, Label, To, op};
use super::code::{IP_AT, PROTOCOL, TRANSPORT, TRANSPORT_AT, VERSION, WAITING};

/// Where the data ends that may be looked at.
const LIMIT: u32 = WAITING;
/// Where the packet ends, by its own account and within `LIMIT`.
const END: u32 = WAITING + 1;
/// Octets of the IPv4 header.
const HEADER_LEN: u32 = WAITING + 2;
/// Where the header behind an extension header would begin; the offset of a fragment.
const ASIDE: u32 = WAITING + 3;

/// How much of the headers a program asks for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(super) enum Needs {
    /// Nothing.
    #[default]
    Nothing,
    /// Whether there is an IP header, and where.
    Ip,
    /// What follows it.
    Protocol,
    /// The header that follows it.
    Transport,
}

/// What a test asks for.
pub(super) fn needs(test: &Test) -> Needs {
    let number = |number: &Number| needs_of(number);
    match test {
        Test::Always | Test::Vlan(_) => Needs::Nothing,
        Test::Not(test) => needs(test),
        Test::All(tests) | Test::Any(tests) => tests.iter().map(needs).max().unwrap_or_default(),
        Test::Within(value, _) => number(value),
        Test::Compare(left, _, right) => number(left).max(number(right)),
        Test::Address(..) => Needs::Ip,
        Test::Chain(chain) => number(&chain.at),
    }
}

fn needs_of(number: &Number) -> Needs {
    match number {
        Number::Constant(_) | Number::Length => Needs::Nothing,
        Number::Load { at, .. } => needs_of(at),
        Number::Field(Field::Version | Field::Tos) => Needs::Ip,
        Number::Field(Field::Protocol) => Needs::Protocol,
        Number::Field(_) => Needs::Transport,
        Number::Operation(_, left, right) => needs_of(left).max(needs_of(right)),
    }
}

/// Whether a test looks at places in the frame, which are others where the outer tag is beside the data.
pub(super) fn looks_at_places(test: &Test) -> bool {
    match test {
        Test::Always | Test::Address(..) => false,
        Test::Vlan(_) | Test::Chain(_) => true,
        Test::Not(test) => looks_at_places(test),
        Test::All(tests) | Test::Any(tests) => tests.iter().any(looks_at_places),
        Test::Within(value, _) => number_looks(value),
        Test::Compare(left, _, right) => number_looks(left) || number_looks(right),
    }
}

fn number_looks(number: &Number) -> bool {
    match number {
        Number::Constant(_) | Number::Field(_) => false,
        Number::Length | Number::Load { .. } => true,
        Number::Operation(_, left, right) => number_looks(left) || number_looks(right),
    }
}

fn octets(count: usize) -> u32 {
    u32::try_from(count).expect("a bound of the walk")
}

/// Goes on where `END` or `LIMIT`, in `word`, is at least X + `more`, else to `short`. Loses A, and X gains `more`.
fn reaches(asm: &mut Assembler, word: u32, more: u32, short: Label) {
    asm.put(op::MISC | op::TXA, 0);
    asm.alu(op::ADD, more);
    asm.put(op::MISC | op::TAX, 0);
    asm.load_word(word);
    asm.when_x(op::JGE, To::Next, short);
}

fn load(asm: &mut Assembler, size: u16, at: u32) {
    asm.put(op::LD | size | op::IND, at);
}

/// Puts the walk.
pub(super) fn walk(asm: &mut Assembler, needs: Needs) {
    if needs == Needs::Nothing {
        return;
    }
    let (done, none, judged, in_data) = (asm.label(), asm.label(), asm.label(), asm.label());
    asm.load_constant(0);
    asm.store(VERSION);
    asm.store(TRANSPORT);
    asm.put(op::LD | op::W | op::ABS, op::VLAN_PRESENT);
    asm.when(op::JEQ, 0, in_data, To::Next);
    tags(asm, TAGS_MAX - 1, octets(REACH - Tag::LEN), judged, none);
    asm.place(in_data);
    tags(asm, TAGS_MAX, octets(REACH), judged, none);

    // A is the EtherType, X where the payload begins.
    asm.place(judged);
    let (v4, v6) = (asm.label(), asm.label());
    asm.put(op::STX, IP_AT);
    asm.when(op::JEQ, u32::from(ether_type::IPV4), v4, To::Next);
    asm.when(op::JEQ, u32::from(ether_type::IPV6), v6, done);
    let found = asm.label();
    asm.place(v4);
    ipv4(asm, needs, found, done);
    asm.place(v6);
    ipv6(asm, needs, found, done);
    asm.place(found);
    if needs == Needs::Transport {
        transport(asm, done);
    }
    asm.place(none);
    asm.place(done);
}

/// Looks through at most so many tags from offset 12 on, and goes to `judged`.
fn tags(asm: &mut Assembler, most: usize, reach: u32, judged: Label, none: Label) {
    let short = asm.label();
    asm.put(op::LD | op::W | op::LEN, 0);
    asm.when(op::JGT, reach, To::Next, short);
    asm.load_constant(reach);
    asm.place(short);
    asm.store(LIMIT);
    for tag in 0..=octets(most) {
        let at = 12 + 4 * tag;
        asm.load_word(LIMIT);
        asm.when(op::JGE, at + 2, To::Next, none);
        asm.put(op::LDX | op::W | op::IMM, at + 2);
        asm.put(op::LD | op::H | op::ABS, at);
        if tag == octets(most) {
            break;
        }
        let next = asm.label();
        asm.when(op::JEQ, 0x8100, next, To::Next);
        asm.when(op::JEQ, 0x88a8, next, To::Next);
        asm.when(op::JEQ, 0x9100, next, judged);
        asm.place(next);
    }
    asm.jump(judged);
}

fn is_version(asm: &mut Assembler, version: u32, none: Label) {
    load(asm, op::B, 0);
    asm.alu(op::RSH, 4);
    asm.when(op::JEQ, version, To::Next, none);
}

/// A = the lesser of A and `LIMIT`, kept as `END`. Loses X.
fn end_within_limit(asm: &mut Assembler) {
    let within = asm.label();
    asm.load_x(LIMIT);
    asm.when_x(op::JGT, To::Next, within);
    asm.put(op::MISC | op::TXA, 0);
    asm.place(within);
    asm.store(END);
}

/// RFC 791, section 3.1.
fn ipv4(asm: &mut Assembler, needs: Needs, found: Label, none: Label) {
    let (whole, known) = (asm.label(), asm.label());
    reaches(asm, LIMIT, 20, none);
    asm.load_x(IP_AT);
    is_version(asm, 4, none);
    load(asm, op::B, 0);
    asm.alu(op::AND, 0x0f);
    asm.alu(op::LSH, 2);
    asm.when(op::JGE, 20, To::Next, none);
    asm.store(HEADER_LEN);
    asm.alu_x(op::ADD);
    asm.store(TRANSPORT_AT);
    asm.put(op::MISC | op::TAX, 0);
    asm.load_word(LIMIT);
    asm.when_x(op::JGE, To::Next, none);
    asm.load_x(IP_AT);
    load(asm, op::H, 2);
    asm.when(op::JEQ, 0, whole, To::Next);
    asm.load_x(HEADER_LEN);
    asm.when_x(op::JGE, To::Next, none);
    asm.load_x(IP_AT);
    asm.alu_x(op::ADD);
    end_within_limit(asm);
    asm.jump(known);
    // A super-frame too long for the field.
    asm.place(whole);
    asm.load_word(LIMIT);
    asm.store(END);
    asm.place(known);
    asm.load_constant(4);
    asm.store(VERSION);
    if needs >= Needs::Protocol {
        asm.load_x(IP_AT);
        load(asm, op::B, 9);
        asm.store(PROTOCOL);
        load(asm, op::H, 6);
        asm.when(op::JSET, 0x1fff, none, found);
    } else {
        asm.jump(none);
    }
}

/// RFC 8200, sections 3 and 4.
fn ipv6(asm: &mut Assembler, needs: Needs, found: Label, none: Label) {
    let (whole, known) = (asm.label(), asm.label());
    reaches(asm, LIMIT, 40, none);
    asm.load_x(IP_AT);
    is_version(asm, 6, none);
    asm.load_constant(6);
    asm.store(VERSION);
    if needs < Needs::Protocol {
        return asm.jump(none);
    }
    load(asm, op::H, 4);
    asm.when(op::JEQ, 0, whole, To::Next);
    asm.alu(op::ADD, 40);
    asm.alu_x(op::ADD);
    end_within_limit(asm);
    asm.jump(known);
    asm.place(whole);
    asm.load_word(LIMIT);
    asm.store(END);
    asm.place(known);
    asm.load_x(IP_AT);
    load(asm, op::B, 6);
    asm.store(PROTOCOL);
    asm.put(op::MISC | op::TXA, 0);
    asm.alu(op::ADD, 40);
    asm.store(TRANSPORT_AT);
    for _ in 0..EXTENSIONS_MAX {
        extension(asm, found, none);
    }
    asm.jump(found);
}

/// Looks through one extension header, and goes on. Where there is none, to `found`; behind that of a later
/// fragment, to `none`.
fn extension(asm: &mut Assembler, found: Label, none: Label) {
    let (options, authentication, fragment) = (asm.label(), asm.label(), asm.label());
    let (sized, next) = (asm.label(), asm.label());
    asm.load_word(PROTOCOL);
    for (number, to) in [
        (protocol::HOP_BY_HOP, options),
        (protocol::ROUTING, options),
        (protocol::DESTINATION, options),
        (protocol::AUTHENTICATION, authentication),
    ] {
        asm.when(op::JEQ, u32::from(number), to, To::Next);
    }
    asm.when(op::JEQ, u32::from(protocol::FRAGMENT), fragment, found);

    for (place, units, shift) in [(options, 1, 3), (authentication, 2, 2)] {
        asm.place(place);
        asm.load_x(TRANSPORT_AT);
        reaches(asm, END, 2, found);
        asm.load_x(TRANSPORT_AT);
        load(asm, op::B, 1);
        asm.alu(op::ADD, units);
        asm.alu(op::LSH, shift);
        asm.jump(sized);
    }
    asm.place(sized);
    asm.alu_x(op::ADD);
    asm.store(ASIDE);
    asm.put(op::MISC | op::TAX, 0);
    asm.load_word(END);
    asm.when_x(op::JGE, To::Next, found);
    asm.load_x(TRANSPORT_AT);
    load(asm, op::B, 0);
    asm.store(PROTOCOL);
    asm.load_word(ASIDE);
    asm.store(TRANSPORT_AT);
    asm.jump(next);

    asm.place(fragment);
    asm.load_x(TRANSPORT_AT);
    reaches(asm, END, 8, found);
    asm.load_x(TRANSPORT_AT);
    load(asm, op::B, 0);
    asm.store(PROTOCOL);
    load(asm, op::H, 2);
    asm.store(ASIDE);
    asm.put(op::MISC | op::TXA, 0);
    asm.alu(op::ADD, 8);
    asm.store(TRANSPORT_AT);
    asm.load_word(ASIDE);
    asm.when(op::JSET, 0xfff8, none, next);
    asm.place(next);
}

/// The header behind IP, where it is whole.
fn transport(asm: &mut Assembler, done: Label) {
    let (tcp, eight, four, six, whole) = (asm.label(), asm.label(), asm.label(), asm.label(), asm.label());
    asm.load_word(PROTOCOL);
    asm.when(op::JEQ, u32::from(protocol::TCP), tcp, To::Next);
    asm.when(op::JEQ, u32::from(protocol::UDP), eight, To::Next);
    asm.when(op::JEQ, u32::from(protocol::ICMP), four, To::Next);
    asm.when(op::JEQ, u32::from(protocol::ICMPV6), six, done);
    asm.place(four);
    asm.load_word(VERSION);
    asm.when(op::JEQ, 4, eight, done);
    asm.place(six);
    asm.load_word(VERSION);
    asm.when(op::JEQ, 6, eight, done);
    asm.place(eight);
    asm.load_x(TRANSPORT_AT);
    reaches(asm, END, 8, done);
    asm.jump(whole);
    asm.place(tcp);
    asm.load_x(TRANSPORT_AT);
    reaches(asm, END, 20, done);
    asm.load_x(TRANSPORT_AT);
    load(asm, op::B, 12);
    asm.alu(op::RSH, 4);
    asm.alu(op::LSH, 2);
    asm.when(op::JGE, 20, To::Next, done);
    asm.alu_x(op::ADD);
    asm.put(op::MISC | op::TAX, 0);
    asm.load_word(END);
    asm.when_x(op::JGE, whole, done);
    asm.place(whole);
    asm.load_word(PROTOCOL);
    asm.store(TRANSPORT);
}
