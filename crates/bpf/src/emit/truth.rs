//! Tests as jumps: each part goes where it is true or where it is not, and no further than needed.
//!
//! What a load of an octet that is not there, or a division by 0, ends is the whole test: it leaves by `cut`,
//! whatever stands around it.

use std::net::IpAddr;

use rules::form::{Addresses, CHAIN_MAX, Chain, End, LoadSize, Network, Number, Ranges, Relation, Test};

use super::frame::{CHAIN_AT, CHAIN_NEXT, CHAIN_OCTETS, FRAME, lookup};
use super::number::{Folded, Reckoner, VALUE, folded, has_field};
use super::ranges::{Searched, search};
use super::stock::Lists;
use super::{fields, stack, vlan};
use crate::asm::{Alu, Cond, Label, MapRef, Reg, Size, Width};

/// Where the parts of a test go.
#[derive(Clone, Copy)]
pub(super) struct Ways {
    /// It holds.
    pub(super) hit: Label,
    /// It does not.
    pub(super) miss: Label,
}

/// Octets of the frame that are known to be there on either way.
#[derive(Clone, Copy)]
struct Proven {
    hit: u16,
    miss: u16,
}

impl Proven {
    fn both(octets: u16) -> Self {
        Self { hit: octets, miss: octets }
    }
}

/// Writes instructions that find whether a test holds.
pub(super) struct Truth<'a, 'b> {
    pub(super) reckoner: Reckoner<'a>,
    pub(super) lists: &'b Lists,
}

impl Truth<'_, '_> {
    /// Goes to one of the ways, or to the reckoner's `cut`; ends without falling through.
    pub(super) fn test(&mut self, test: &Test, ways: Ways) {
        self.part(test, ways);
    }

    fn part(&mut self, test: &Test, ways: Ways) -> Proven {
        let before = self.reckoner.proven;
        match test {
            Test::Always => self.reckoner.asm.jump(ways.hit),
            Test::Not(test) => {
                let turned = self.part(test, Ways { hit: ways.miss, miss: ways.hit });
                return Proven { hit: turned.miss, miss: turned.hit };
            }
            Test::All(tests) => return self.all(tests, ways),
            Test::Any(tests) => return self.any(tests, ways),
            Test::Vlan(set) => {
                let asm = &mut *self.reckoner.asm;
                asm.load(Size::Half, VALUE, Reg::R10, stack::VLAN);
                vlan::search(asm, VALUE, &vlan::ranges(set), ways.hit, ways.miss);
            }
            Test::Within(number, ranges) => return self.within(number, ranges, ways),
            Test::Compare(left, relation, right) => return self.compare(left, *relation, right, ways),
            Test::Address(end, addresses) => self.address(*end, addresses, ways),
            Test::Chain(chain) => self.chain(chain, ways),
        }
        Proven::both(before)
    }

    /// Each goes on to the next where it holds.
    fn all(&mut self, tests: &[Test], ways: Ways) -> Proven {
        let mut proven = Proven { hit: self.reckoner.proven, miss: u16::MAX };
        for (at, test) in tests.iter().enumerate() {
            let last = at + 1 == tests.len();
            let next = if last { ways.hit } else { self.reckoner.asm.label() };
            let found = self.part(test, Ways { hit: next, miss: ways.miss });
            proven = Proven { hit: found.hit, miss: proven.miss.min(found.miss) };
            self.reckoner.proven = found.hit;
            if !last && !self.reckoner.asm.place_used(next) {
                return proven;
            }
        }
        if tests.is_empty() {
            self.reckoner.asm.jump(ways.hit);
        }
        proven
    }

    /// Each goes on to the next where it does not hold.
    fn any(&mut self, tests: &[Test], ways: Ways) -> Proven {
        let mut proven = Proven { hit: u16::MAX, miss: self.reckoner.proven };
        for (at, test) in tests.iter().enumerate() {
            let last = at + 1 == tests.len();
            let next = if last { ways.miss } else { self.reckoner.asm.label() };
            let found = self.part(test, Ways { hit: ways.hit, miss: next });
            proven = Proven { hit: proven.hit.min(found.hit), miss: found.miss };
            self.reckoner.proven = found.miss;
            if !last && !self.reckoner.asm.place_used(next) {
                return proven;
            }
        }
        if tests.is_empty() {
            self.reckoner.asm.jump(ways.miss);
        }
        proven
    }

    fn within(&mut self, number: &Number, ranges: &Ranges, ways: Ways) -> Proven {
        let before = self.reckoner.proven;
        if let Folded::Known(value) = folded(number) {
            self.jump_by(ranges.contains(value), ways);
            return Proven::both(before);
        }
        if self.reckoner.number(number, 0, ways.miss) {
            let searched = Searched { reg: VALUE, width: Width::W32 };
            search(self.reckoner.asm, searched, ranges.ranges(), (0, u32::MAX), ways.hit, ways.miss);
        }
        let after = self.reckoner.proven;
        // A frame without the field left earlier.
        Proven { hit: after, miss: if has_field(number) { before } else { after } }
    }

    fn jump_by(&mut self, holds: bool, ways: Ways) {
        self.reckoner.asm.jump(if holds { ways.hit } else { ways.miss });
    }

    fn compare(&mut self, left: &Number, relation: Relation, right: &Number, ways: Ways) -> Proven {
        let before = self.reckoner.proven;
        match (folded(left), folded(right)) {
            (Folded::Cut, _) | (_, Folded::Cut) => self.reckoner.asm.jump(self.reckoner.cut),
            (Folded::Known(left), Folded::Known(right)) => {
                let holds = match relation {
                    Relation::Equal => left == right,
                    Relation::Greater => left > right,
                    Relation::AtLeast => left >= right,
                };
                self.jump_by(holds, ways);
            }
            (_, Folded::Known(right)) => {
                if self.reckoner.number(left, 0, ways.miss) {
                    let cond = condition(relation);
                    self.reckoner.asm.jump_if32(VALUE, cond, right.cast_signed(), ways.hit);
                    self.reckoner.asm.jump(ways.miss);
                }
            }
            (Folded::Known(left), _) => {
                if self.reckoner.number(right, 0, ways.miss) {
                    let cond = turned(relation);
                    self.reckoner.asm.jump_if32(VALUE, cond, left.cast_signed(), ways.hit);
                    self.reckoner.asm.jump(ways.miss);
                }
            }
            (Folded::Open, Folded::Open) => self.compare_both(left, relation, right, ways),
        }
        if has_field(left) || has_field(right) {
            self.reckoner.proven = before;
        }
        Proven::both(self.reckoner.proven)
    }

    fn compare_both(&mut self, left: &Number, relation: Relation, right: &Number, ways: Ways) {
        let before = self.reckoner.proven;
        // Where left is a field that the frame has not, right may still end the test.
        let absent = self.reckoner.asm.label();
        if self.reckoner.number(left, 0, absent) {
            self.reckoner.wait(0);
            if self.reckoner.number(right, 1, ways.miss) {
                self.reckoner.resume(0);
                self.reckoner.asm.jump_if32(VALUE, condition(relation), Reg::R3, ways.hit);
                self.reckoner.asm.jump(ways.miss);
            }
        }
        if self.reckoner.asm.place_used(absent) {
            let after = std::mem::replace(&mut self.reckoner.proven, before);
            if self.reckoner.number(right, 0, ways.miss) {
                self.reckoner.asm.jump(ways.miss);
            }
            self.reckoner.proven = after;
        }
    }

    fn address(&mut self, end: End, addresses: &Addresses, ways: Ways) {
        let at = stack::FIELDS
            + match end {
                End::Source => fields::SOURCE,
                End::Destination => fields::DESTINATION,
            };
        match addresses {
            Addresses::Network(network) => self.network(at, *network, ways),
            Addresses::Range(first, last) => self.range(at, *first, *last, ways),
            Addresses::Table(table) => self.listed(at, table, ways),
        }
    }

    /// Goes to `miss` unless the IP header is of this version.
    fn version(&mut self, version: i32, miss: Label) {
        let asm = &mut *self.reckoner.asm;
        asm.load(Size::Byte, Reg::R1, Reg::R10, stack::FIELDS + fields::VERSION);
        asm.jump_if(Reg::R1, Cond::Ne, version, miss);
    }

    fn network(&mut self, at: i16, network: Network, ways: Ways) {
        let (version, octets) = match network.address() {
            IpAddr::V4(v4) => (4, v4.octets().to_vec()),
            IpAddr::V6(v6) => (6, v6.octets().to_vec()),
        };
        self.version(version, ways.miss);
        let words = octets.as_chunks::<4>().0.iter();
        for ((word, off), first_bit) in words.zip((at..).step_by(4)).zip((0u32..).step_by(32)) {
            let bits = u32::from(network.prefix_len()).saturating_sub(first_bit).min(32);
            if bits == 0 {
                break;
            }
            let asm = &mut *self.reckoner.asm;
            asm.load(Size::Word, VALUE, Reg::R10, off);
            if bits < 32 {
                let mask = u32::MAX << (32 - bits);
                asm.alu32(Alu::And, VALUE, mask.to_be().cast_signed());
            }
            asm.jump_if32(VALUE, Cond::Ne, u32::from_ne_bytes(*word).cast_signed(), ways.miss);
        }
        self.reckoner.asm.jump(ways.hit);
    }

    /// Addresses of one family are numbers; of IPv4 and IPv6 those of IPv4 come first.
    fn range(&mut self, at: i16, first: IpAddr, last: IpAddr, ways: Ways) {
        match (first, last) {
            (IpAddr::V4(first), last) => {
                let last = if let IpAddr::V4(last) = last { u32::from(last) } else { u32::MAX };
                self.version(4, ways.miss);
                let asm = &mut *self.reckoner.asm;
                asm.load(Size::Word, VALUE, Reg::R10, at);
                asm.to_big_endian(VALUE, Size::Word);
                let ranges = Ranges::new([(u32::from(first), last)]);
                let searched = Searched { reg: VALUE, width: Width::W32 };
                search(asm, searched, ranges.ranges(), (0, u32::MAX), ways.hit, ways.miss);
            }
            (IpAddr::V6(first), IpAddr::V6(last)) => {
                self.version(6, ways.miss);
                let enough = self.reckoner.asm.label();
                self.beyond(at, u128::from(first), [Cond::Lt, Cond::Gt], [ways.miss, enough]);
                if self.reckoner.asm.is_used(enough) {
                    self.reckoner.asm.place(enough);
                }
                self.beyond(at, u128::from(last), [Cond::Gt, Cond::Lt], [ways.miss, ways.hit]);
                self.reckoner.asm.jump(ways.hit);
            }
            (IpAddr::V6(_), IpAddr::V4(_)) => self.reckoner.asm.jump(ways.miss),
        }
    }

    /// Compares 16 octets with a number: `out` goes to the first label, `within` to the second, equal on.
    fn beyond(&mut self, at: i16, limit: u128, [out, within]: [Cond; 2], [miss, enough]: [Label; 2]) {
        let octets = limit.to_be_bytes();
        let (high, low) = octets.split_at(8);
        let half = |octets: &[u8]| octets.iter().fold(0u64, |number, octet| number << 8 | u64::from(*octet));
        let asm = &mut *self.reckoner.asm;
        for (part, off, last) in [(half(high), at, false), (half(low), at + 8, true)] {
            asm.load(Size::Double, VALUE, Reg::R10, off);
            asm.to_big_endian(VALUE, Size::Double);
            asm.load_imm64(Reg::R3, part);
            asm.jump_if(VALUE, out, Reg::R3, miss);
            if !last {
                asm.jump_if(VALUE, within, Reg::R3, enough);
            }
        }
    }

    fn listed(&mut self, at: i16, table: &std::sync::Arc<rules::form::AddressTable>, ways: Ways) {
        let found = self.lists.of(table);
        let by_family = [(4, 32, found.v4), (6, 128, found.v6)];
        let (next, known) = (self.reckoner.asm.label(), self.reckoner.asm.label());
        self.reckoner.asm.note(format!("<{}>", table.name()));
        for (version, bits, id) in by_family {
            let other = if version == 4 { next } else { ways.miss };
            self.version(version, other);
            let asm = &mut *self.reckoner.asm;
            if let Some(id) = id {
                asm.store(Size::Word, Reg::R10, stack::ADDRESS, bits);
                for off in (0..i16::try_from(bits / 8).unwrap_or(0)).step_by(4) {
                    asm.load(Size::Word, VALUE, Reg::R10, at + off);
                    asm.store(Size::Word, Reg::R10, stack::ADDRESS + 4 + off, VALUE);
                }
                lookup(asm, MapRef::Table(id), stack::ADDRESS);
                asm.jump(known);
            } else {
                asm.jump(ways.miss);
            }
            if version == 4 {
                asm.place(next);
            }
        }
        let asm = &mut *self.reckoner.asm;
        if asm.place_used(known) {
            asm.jump_if(Reg::R0, Cond::Eq, 0, ways.miss);
            asm.load(Size::Word, VALUE, Reg::R0, 0);
            asm.jump_if(VALUE, Cond::Ne, 0, ways.hit);
            asm.jump(ways.miss);
        }
    }

    /// As `rules::form` follows it: protocol found, no next header, extension headers of IPv6, then the
    /// authentication header.
    fn chain(&mut self, chain: &Chain, ways: Ways) {
        let cut = self.reckoner.cut;
        if !self.reckoner.number(&chain.at, 0, cut) {
            return;
        }
        self.reckoner.asm.store(Size::Double, FRAME, CHAIN_AT, VALUE);
        self.chain_start(chain.version == 4);
        for _ in 0..CHAIN_MAX {
            self.chain_step(chain, ways);
        }
        let asm = &mut *self.reckoner.asm;
        asm.load(Size::Word, Reg::R1, FRAME, CHAIN_NEXT);
        asm.jump_if(Reg::R1, Cond::Eq, i32::from(chain.protocol), ways.hit);
        asm.jump(ways.miss);
    }

    fn chain_start(&mut self, v4: bool) {
        let reckoner = &mut self.reckoner;
        reckoner.asm.alu(Alu::Add, VALUE, if v4 { 9 } else { 6 });
        reckoner.load(LoadSize::One);
        reckoner.asm.store(Size::Word, FRAME, CHAIN_NEXT, VALUE);
        reckoner.asm.load(Size::Double, VALUE, FRAME, CHAIN_AT);
        if v4 {
            reckoner.load(LoadSize::One);
            reckoner.asm.alu(Alu::And, VALUE, 0x0f);
            reckoner.asm.alu(Alu::Lsh, VALUE, 2);
            reckoner.asm.load(Size::Double, Reg::R1, FRAME, CHAIN_AT);
            reckoner.asm.alu(Alu::Add, VALUE, Reg::R1);
        } else {
            reckoner.asm.alu(Alu::Add, VALUE, 40);
        }
        reckoner.asm.store(Size::Double, FRAME, CHAIN_AT, VALUE);
    }

    fn chain_step(&mut self, chain: &Chain, ways: Ways) {
        const EXTENSIONS: [i32; 4] = [0, 60, 43, 44];
        let reckoner = &mut self.reckoner;
        let (extension, on) = (reckoner.asm.label(), reckoner.asm.label());
        reckoner.asm.load(Size::Word, Reg::R1, FRAME, CHAIN_NEXT);
        reckoner.asm.jump_if(Reg::R1, Cond::Eq, i32::from(chain.protocol), ways.hit);
        reckoner.asm.note("no next header");
        reckoner.asm.jump_if(Reg::R1, Cond::Eq, 59, ways.miss);
        if chain.version == 6 {
            for protocol in EXTENSIONS {
                reckoner.asm.jump_if(Reg::R1, Cond::Eq, protocol, extension);
            }
        }
        reckoner.asm.note("authentication");
        reckoner.asm.jump_if(Reg::R1, Cond::Ne, 51, ways.miss);
        let octets = |reckoner: &mut Reckoner<'_>, more: i32, shift: i32| {
            reckoner.asm.load(Size::Double, VALUE, FRAME, CHAIN_AT);
            reckoner.asm.alu(Alu::Add, VALUE, 1);
            reckoner.load(LoadSize::One);
            reckoner.asm.alu(Alu::Add, VALUE, more);
            reckoner.asm.alu(Alu::Lsh, VALUE, shift);
        };
        octets(reckoner, 2, 2);
        if reckoner.asm.is_used(extension) {
            reckoner.asm.jump(on);
            reckoner.asm.place(extension);
            octets(reckoner, 1, 3);
            reckoner.asm.place(on);
        }
        reckoner.asm.store(Size::Word, FRAME, CHAIN_OCTETS, VALUE);
        reckoner.asm.load(Size::Double, VALUE, FRAME, CHAIN_AT);
        reckoner.load(LoadSize::One);
        reckoner.asm.store(Size::Word, FRAME, CHAIN_NEXT, VALUE);
        reckoner.asm.load(Size::Double, VALUE, FRAME, CHAIN_AT);
        reckoner.asm.load(Size::Word, Reg::R1, FRAME, CHAIN_OCTETS);
        reckoner.asm.alu(Alu::Add, VALUE, Reg::R1);
        reckoner.asm.store(Size::Double, FRAME, CHAIN_AT, VALUE);
    }
}

fn condition(relation: Relation) -> Cond {
    match relation {
        Relation::Equal => Cond::Eq,
        Relation::Greater => Cond::Gt,
        Relation::AtLeast => Cond::Ge,
    }
}

/// The same relation with its operands exchanged.
fn turned(relation: Relation) -> Cond {
    match relation {
        Relation::Equal => Cond::Eq,
        Relation::Greater => Cond::Lt,
        Relation::AtLeast => Cond::Le,
    }
}
