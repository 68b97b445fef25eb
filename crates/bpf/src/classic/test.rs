//! Tests of the form, and the numbers in them.

use std::net::IpAddr;

use ::rules::form::{Addresses, End, Field, LoadSize, Network, Number, Operator, Ranges, Relation, Test};

use super::Why;
use super::asm::{Assembler, Label, To, op};
use super::code::{Code, IP_AT, PROTOCOL, TRANSPORT, TRANSPORT_AT, VERSION, WAITING, WORDS};
use super::refuse::may_end;

/// Offsets from here on are no offsets to the kernel, and behind the end of every frame.
pub(super) const OFFSETS: u32 = 1 << 31;

impl Code {
    /// Goes to `yes` or `no` by whether the test holds, and to `self.cut` where it asked for what is not there.
    pub(super) fn test(&mut self, test: &Test, yes: Label, no: Label) -> Result<(), Why> {
        match test {
            Test::Always => self.asm.jump(yes),
            Test::Vlan(ids) => {
                let ids = ids.iter().map(|vlan| u32::from(vlan.id()));
                self.vlan(no);
                self.within(Ranges::new(ids.map(|id| (id, id))).ranges(), yes, no);
            }
            Test::Not(test) => self.test(test, no, yes)?,
            Test::All(tests) => {
                for test in tests {
                    let next = self.asm.label();
                    self.test(test, next, no)?;
                    self.asm.place(next);
                }
                self.asm.jump(yes);
            }
            Test::Any(tests) => {
                for test in tests {
                    let next = self.asm.label();
                    self.test(test, yes, next)?;
                    self.asm.place(next);
                }
                self.asm.jump(no);
            }
            Test::Within(value, ranges) => {
                self.number(value, no, WAITING)?;
                self.within(ranges.ranges(), yes, no);
            }
            Test::Compare(left, relation, right) => self.compare(left, *relation, right, yes, no)?,
            Test::Address(end, addresses) => self.address(*end, addresses, yes, no),
            Test::Chain(chain) => self.chain(chain, yes, no)?,
        }
        Ok(())
    }

    /// A = the VLAN of the outer tag, or to `no`.
    fn vlan(&mut self, no: Label) {
        if self.beside {
            self.asm.put(op::LD | op::W | op::ABS, op::VLAN_TAG);
        } else {
            let tagged = self.asm.label();
            self.asm.put(op::LD | op::W | op::LEN, 0);
            self.asm.when(op::JGE, 16, To::Next, no);
            self.asm.put(op::LD | op::H | op::ABS, 12);
            self.asm.when(op::JEQ, 0x8100, tagged, To::Next);
            self.asm.when(op::JEQ, 0x88a8, tagged, no);
            self.asm.place(tagged);
            self.asm.put(op::LD | op::H | op::ABS, 14);
        }
        self.asm.alu(op::AND, 0x0fff);
    }

    /// Whether A lies in one of these ascending ranges, by halves.
    fn within(&mut self, ranges: &[(u32, u32)], yes: Label, no: Label) {
        match ranges {
            [] => self.asm.jump(no),
            [(first, last)] if first == last => self.asm.when(op::JEQ, *first, yes, no),
            [(first, last)] => {
                if *first > 0 {
                    self.asm.when(op::JGE, *first, To::Next, no);
                }
                match last {
                    &u32::MAX => self.asm.jump(yes),
                    last => self.asm.when(op::JGT, *last, no, yes),
                }
            }
            _ => {
                let (low, high) = ranges.split_at(ranges.len() / 2);
                let above = self.asm.label();
                self.asm.when(op::JGE, high[0].0, above, To::Next);
                self.within(low, yes, no);
                self.asm.place(above);
                self.within(high, yes, no);
            }
        }
    }

    fn compare(
        &mut self,
        left: &Number,
        relation: Relation,
        right: &Number,
        yes: Label,
        no: Label,
    ) -> Result<(), Why> {
        let condition = match relation {
            Relation::Equal => op::JEQ,
            Relation::Greater => op::JGT,
            Relation::AtLeast => op::JGE,
        };
        if let Number::Constant(value) = right {
            self.number(left, no, WAITING)?;
            self.asm.when(condition, *value, yes, no);
            return Ok(());
        }
        // Where left is missing, right may still end the whole test.
        let missing = self.asm.label();
        self.number(left, missing, WAITING)?;
        self.asm.store(WAITING);
        self.number(right, no, next_word(WAITING)?)?;
        self.asm.put(op::MISC | op::TAX, 0);
        self.asm.load_word(WAITING);
        self.asm.when_x(condition, yes, no);
        self.asm.place(missing);
        if may_end(right) {
            self.number(right, no, WAITING)?;
        }
        self.asm.jump(no);
        Ok(())
    }

    /// A = the number, or to `missing` where the frame has no such field. Loses X and the words from `word` on.
    pub(super) fn number(&mut self, number: &Number, missing: Label, word: u32) -> Result<(), Why> {
        match number {
            Number::Constant(value) => self.asm.load_constant(*value),
            Number::Length => {
                self.asm.put(op::LD | op::W | op::LEN, 0);
                if self.beside {
                    self.asm.alu(op::ADD, 4);
                }
            }
            Number::Load { size, at } => match **at {
                Number::Constant(at) => self.load_at(*size, at, word)?,
                _ => {
                    self.number(at, missing, word)?;
                    self.load_at_a(*size, bounds(at).0, word)?;
                }
            },
            Number::Field(field) => self.field(*field, missing),
            Number::Operation(operator, left, right) => {
                self.number(left, missing, word)?;
                match **right {
                    Number::Constant(right) => self.operate(*operator, right),
                    _ => {
                        self.asm.store(wordly(word)?);
                        self.number(right, missing, word + 1)?;
                        self.operate_words(*operator, word);
                    }
                }
            }
        }
        Ok(())
    }

    /// A = A operator constant.
    fn operate(&mut self, operator: Operator, right: u32) {
        match (operator, right) {
            (Operator::Divide | Operator::Remainder, 0) => self.asm.jump(self.cut),
            (Operator::ShiftLeft | Operator::ShiftRight, 32..) => self.asm.load_constant(0),
            _ => self.asm.alu(operation(operator), right),
        }
    }

    /// A = word operator A.
    fn operate_words(&mut self, operator: Operator, word: u32) {
        let done = self.asm.label();
        match operator {
            Operator::Divide | Operator::Remainder => self.asm.when(op::JEQ, 0, self.cut, To::Next),
            Operator::ShiftLeft | Operator::ShiftRight => {
                let shifts = self.asm.label();
                self.asm.when(op::JGT, 31, To::Next, shifts);
                self.asm.load_constant(0);
                self.asm.jump(done);
                self.asm.place(shifts);
            }
            _ => {}
        }
        self.asm.put(op::MISC | op::TAX, 0);
        self.asm.load_word(word);
        self.asm.alu_x(operation(operator));
        self.asm.place(done);
    }

    /// A = octets at a place of the frame as it was on the wire.
    fn load_at(&mut self, size: LoadSize, at: u32, word: u32) -> Result<(), Why> {
        let octets = size.octets();
        if at >= OFFSETS {
            self.asm.jump(self.cut);
            return Ok(());
        }
        let behind = at + octets;
        if !self.beside || behind <= 12 {
            self.there(behind);
            self.asm.put(op::LD | mode(size) | op::ABS, at);
        } else if at >= 16 {
            self.there(behind - 4);
            self.asm.put(op::LD | mode(size) | op::ABS, at - 4);
        } else {
            self.across_tag(octets, at, word)?;
        }
        Ok(())
    }

    /// A = octets of which at least one is in the tag beside the data.
    fn across_tag(&mut self, octets: u32, at: u32, word: u32) -> Result<(), Why> {
        if at + octets > 16 {
            self.there(at + octets - 4);
        }
        let whole = |code: &mut Self, what: u32| code.asm.put(op::LD | op::W | op::ABS, what);
        match (octets, at) {
            (2, 12) => whole(self, op::VLAN_PROTOCOL),
            (2, 14) => whole(self, op::VLAN_TAG),
            _ => {
                let word = wordly(word)?;
                for octet in at..at + octets {
                    match octet {
                        12 | 13 => whole(self, op::VLAN_PROTOCOL),
                        14 | 15 => whole(self, op::VLAN_TAG),
                        _ => {
                            let at = if octet < 12 { octet } else { octet - 4 };
                            self.asm.put(op::LD | op::B | op::ABS, at);
                        }
                    }
                    match octet {
                        12 | 14 => self.asm.alu(op::RSH, 8),
                        13 | 15 => self.asm.alu(op::AND, 0xff),
                        _ => {}
                    }
                    if octet > at {
                        self.asm.put(op::MISC | op::TAX, 0);
                        self.asm.load_word(word);
                        self.asm.alu(op::LSH, 8);
                        self.asm.alu_x(op::OR);
                    }
                    self.asm.store(word);
                }
            }
        }
        Ok(())
    }

    /// Goes on where the data has so many octets.
    fn there(&mut self, octets: u32) {
        if !self.ends {
            self.asm.put(op::LD | op::W | op::LEN, 0);
            self.asm.when(op::JGE, octets, To::Next, self.cut);
        }
    }

    /// A = octets at the place that is in A, and is at least `least`.
    pub(super) fn load_at_a(&mut self, size: LoadSize, least: u32, word: u32) -> Result<(), Why> {
        let octets = size.octets();
        if !self.beside {
            self.load_at_x(size);
            return Ok(());
        }
        if least >= 16 {
            self.asm.alu(op::SUB, 4);
            self.load_at_x(size);
            return Ok(());
        }
        let (behind, before, done) = (self.asm.label(), self.asm.label(), self.asm.label());
        let word = wordly(word)?;
        self.asm.store(word);
        self.asm.when(op::JGE, 16, behind, To::Next);
        self.asm.when(op::JGT, 12 - octets, To::Next, before);
        for at in 13 - octets..16 {
            let next = self.asm.label();
            if at < 15 {
                self.asm.load_word(word);
                self.asm.when(op::JEQ, at, To::Next, next);
            }
            self.load_at(size, at, word + 1)?;
            self.asm.jump(done);
            self.asm.place(next);
        }
        self.asm.place(behind);
        self.asm.alu(op::SUB, 4);
        self.asm.place(before);
        self.load_at_x(size);
        self.asm.place(done);
        Ok(())
    }

    /// A = octets of the data at the place that is in A. Always compared with the end: the kernel takes an offset of
    /// 2^31 and more for something else.
    fn load_at_x(&mut self, size: LoadSize) {
        self.asm.put(op::MISC | op::TAX, 0);
        self.asm.put(op::LD | op::W | op::LEN, 0);
        self.asm.when(op::JGE, size.octets(), To::Next, self.cut);
        self.asm.alu(op::SUB, size.octets());
        self.asm.when_x(op::JGE, To::Next, self.cut);
        self.asm.put(op::LD | mode(size) | op::IND, 0);
    }

    /// A = the field, or to `missing`.
    fn field(&mut self, field: Field, missing: Label) {
        let asm = &mut self.asm;
        let behind = |asm: &mut Assembler, protocols: &[u32], size: u16, at: u32| {
            let there = asm.label();
            asm.load_word(TRANSPORT);
            let (last, others) = protocols.split_last().expect("every header has a number");
            for number in others {
                asm.when(op::JEQ, *number, there, To::Next);
            }
            asm.when(op::JEQ, *last, there, missing);
            asm.place(there);
            asm.load_x(TRANSPORT_AT);
            asm.put(op::LD | size | op::IND, at);
        };
        match field {
            Field::Version => {
                asm.load_word(VERSION);
                asm.when(op::JEQ, 0, missing, To::Next);
            }
            Field::Protocol => {
                asm.load_word(VERSION);
                asm.when(op::JEQ, 0, missing, To::Next);
                asm.load_word(PROTOCOL);
            }
            Field::Tos => {
                let (four, done) = (asm.label(), asm.label());
                asm.load_x(IP_AT);
                asm.load_word(VERSION);
                asm.when(op::JEQ, 0, missing, To::Next);
                asm.when(op::JEQ, 4, four, To::Next);
                asm.put(op::LD | op::H | op::IND, 0);
                asm.alu(op::RSH, 4);
                asm.alu(op::AND, 0xff);
                asm.jump(done);
                asm.place(four);
                asm.put(op::LD | op::B | op::IND, 1);
                asm.place(done);
            }
            Field::SourcePort => behind(asm, &[6, 17], op::H, 0),
            Field::DestinationPort => behind(asm, &[6, 17], op::H, 2),
            Field::TcpFlags => behind(asm, &[6], op::B, 13),
            Field::IcmpType => behind(asm, &[1, 58], op::B, 0),
            Field::IcmpCode => behind(asm, &[1, 58], op::B, 1),
        }
    }

    fn address(&mut self, end: End, addresses: &Addresses, yes: Label, no: Label) {
        match addresses {
            Addresses::Network(network) => {
                self.is_version(network.address(), no);
                self.network(end, *network, yes, no);
            }
            Addresses::Range(first, last) if first.is_ipv4() != last.is_ipv4() => self.asm.jump(no),
            Addresses::Range(first, last) => {
                self.is_version(*first, no);
                self.range(end, *first, *last, yes, no);
            }
            Addresses::Table(table) => {
                // The longest prefix decides; of two with one network, the one that does not say `not`.
                let mut entries: Vec<_> = table.entries().collect();
                entries.sort_by_key(|entry| (std::cmp::Reverse(entry.network.prefix_len()), entry.negated));
                let (v4, v6): (Vec<_>, Vec<_>) =
                    entries.into_iter().partition(|entry| entry.network.address().is_ipv4());
                let six = self.asm.label();
                self.asm.load_word(VERSION);
                self.asm.when(op::JEQ, 4, To::Next, six);
                for (entries, version) in [(v4, 4), (v6, 6)] {
                    if version == 6 {
                        self.asm.place(six);
                        self.asm.load_word(VERSION);
                        self.asm.when(op::JEQ, 6, To::Next, no);
                    }
                    for entry in entries {
                        let next = self.asm.label();
                        self.network(end, entry.network, if entry.negated { no } else { yes }, next);
                        self.asm.place(next);
                    }
                    self.asm.jump(no);
                }
            }
        }
    }

    /// Goes on where the frame carries IP of the version of an address. X = where the header begins.
    fn is_version(&mut self, of: IpAddr, no: Label) {
        self.asm.load_word(VERSION);
        self.asm.when(op::JEQ, if of.is_ipv4() { 4 } else { 6 }, To::Next, no);
    }

    fn network(&mut self, end: End, network: Network, yes: Label, no: Label) {
        self.asm.load_x(IP_AT);
        let words = words(network.address());
        let at = place(end, words.len());
        let mut left = u32::from(network.prefix_len());
        for (number, word) in (0..).zip(words) {
            if left == 0 {
                break;
            }
            self.asm.put(op::LD | op::W | op::IND, at + 4 * number);
            let bits = left.min(32);
            if bits < 32 {
                self.asm.alu(op::AND, u32::MAX << (32 - bits));
            }
            self.asm.when(op::JEQ, word, To::Next, no);
            left -= bits;
        }
        self.asm.jump(yes);
    }

    /// Whether an address lies between two, word by word.
    fn range(&mut self, end: End, first: IpAddr, last: IpAddr, yes: Label, no: Label) {
        self.asm.load_x(IP_AT);
        for (bound, is_lower) in [(words(first), true), (words(last), false)] {
            let at = place(end, bound.len());
            let held = self.asm.label();
            for (number, word) in (0..).zip(&bound) {
                self.asm.put(op::LD | op::W | op::IND, at + 4 * number);
                let equal = self.asm.label();
                self.asm.when(op::JEQ, *word, equal, To::Next);
                let (above, below) = if is_lower { (held, no) } else { (no, held) };
                self.asm.when(op::JGT, *word, above, below);
                self.asm.place(equal);
            }
            self.asm.place(held);
        }
        self.asm.jump(yes);
    }
}

/// Where an address stands in its header.
fn place(end: End, words: usize) -> u32 {
    match (end, words) {
        (End::Source, 1) => 12,
        (End::Destination, 1) => 16,
        (End::Source, _) => 8,
        (End::Destination, _) => 24,
    }
}

fn words(address: IpAddr) -> Vec<u32> {
    match address {
        IpAddr::V4(v4) => vec![u32::from(v4)],
        IpAddr::V6(v6) => {
            let word = |octets: &[u8]| octets.iter().fold(0, |word, octet| word << 8 | u32::from(*octet));
            v6.octets().chunks(4).map(word).collect()
        }
    }
}

fn mode(size: LoadSize) -> u16 {
    match size {
        LoadSize::One => op::B,
        LoadSize::Two => op::H,
        LoadSize::Four => op::W,
    }
}

fn operation(operator: Operator) -> u16 {
    match operator {
        Operator::Add => op::ADD,
        Operator::Subtract => op::SUB,
        Operator::Multiply => op::MUL,
        Operator::Divide => op::DIV,
        Operator::Remainder => op::MOD,
        Operator::And => op::AND,
        Operator::Or => op::OR,
        Operator::ExclusiveOr => op::XOR,
        Operator::ShiftLeft => op::LSH,
        Operator::ShiftRight => op::RSH,
    }
}

/// A scratch word that there is.
fn wordly(word: u32) -> Result<u32, Why> {
    if word < WORDS { Ok(word) } else { Err(Why::TooDeep) }
}

fn next_word(word: u32) -> Result<u32, Why> {
    wordly(word + 1)
}

/// The least and the most that a number can be.
pub(super) fn bounds(number: &Number) -> (u32, u32) {
    let any = (0, u32::MAX);
    match number {
        Number::Constant(value) => (*value, *value),
        Number::Load { size: LoadSize::One, .. } => (0, 0xff),
        Number::Load { size: LoadSize::Two, .. } => (0, 0xffff),
        Number::Operation(operator, left, right) => {
            let (left, right) = (bounds(left), bounds(right));
            let both = |of: fn(u32, u32) -> Option<u32>| match (of(left.0, right.0), of(left.1, right.1)) {
                (Some(least), Some(most)) => (least, most),
                _ => any,
            };
            match operator {
                Operator::Add => both(u32::checked_add),
                Operator::Multiply => both(u32::checked_mul),
                Operator::And => (0, left.1.min(right.1)),
                Operator::ShiftLeft if right.0 == right.1 && right.0 < 32 => {
                    let shifted = |value: u32| value.checked_mul(1 << right.0);
                    match (shifted(left.0), shifted(left.1)) {
                        (Some(least), Some(most)) => (least, most),
                        _ => any,
                    }
                }
                _ => any,
            }
        }
        _ => any,
    }
}
