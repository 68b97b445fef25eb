//! Tests as text that people read and that reads back: `all`, `vlan 10,20-29`,
//! `[12:2] in 2048 and source in 10.0.0.0/8`.
//!
//! ```text
//! test     = unary | unary "and" unary "and" ... | unary "or" unary "or" ...
//! unary    = "not" unary | "all" | "vlan" VLANS | number "in" RANGES | number relation number
//!          | end "in" ADDRESSES | "protochain" NUMBER "of" NUMBER "at" operand
//!          | "(" test ")" | "and(" [test] ")" | "or(" [test] ")"
//! relation = "=" | ">" | ">="
//! end      = "source" | "destination"
//! number   = operand | operand operator operand
//! operator = "+" | "-" | "*" | "/" | "%" | "&" | "|" | "^" | "<<" | ">>"
//! operand  = NUMBER | "length" | FIELD | "[" number "]" | "[" number ":" ("2" | "4") "]" | "(" number ")"
//! ```
//!
//! `and` and `or` stand beside each other only in parentheses, and so do operators: nothing binds closer than
//! its neighbour. `and(...)` and `or(...)` are those of one operand or none. An address is a network, a range
//! (`10.0.0.1-10.0.0.9`) or a table (`<web>`).
//!
//! Never prints two tests alike that are not equal (tables of one name excepted: whoever has two names them).

mod read;

use std::collections::BTreeSet;
use std::fmt::{self, Display as _, Write as _};

use wire::Vlan;

use super::address::AddressTable;
use super::chain::Chain;
use super::number::{Field, LoadSize, Number, Operator};
use super::test::{Addresses, End, Ranges, Relation, Test};

pub use read::{DEPTH_MAX, TEST_TEXT_MAX, TestError, TestFlaw};

const FIELDS: [(&str, Field); 8] = [
    ("ip-version", Field::Version),
    ("protocol", Field::Protocol),
    ("tos", Field::Tos),
    ("source-port", Field::SourcePort),
    ("destination-port", Field::DestinationPort),
    ("tcp-flags", Field::TcpFlags),
    ("icmp-type", Field::IcmpType),
    ("icmp-code", Field::IcmpCode),
];

/// Those of two characters first, for reading.
const OPERATORS: [(&str, Operator); 10] = [
    ("<<", Operator::ShiftLeft),
    (">>", Operator::ShiftRight),
    ("+", Operator::Add),
    ("-", Operator::Subtract),
    ("*", Operator::Multiply),
    ("/", Operator::Divide),
    ("%", Operator::Remainder),
    ("&", Operator::And),
    ("|", Operator::Or),
    ("^", Operator::ExclusiveOr),
];

/// Those of two characters first, for reading.
const RELATIONS: [(&str, Relation); 3] =
    [(">=", Relation::AtLeast), (">", Relation::Greater), ("=", Relation::Equal)];

const ENDS: [(&str, End); 2] = [("source", End::Source), ("destination", End::Destination)];

fn name_of<T: PartialEq>(names: &[(&'static str, T)], value: T) -> &'static str {
    names.iter().find(|(_, known)| *known == value).map_or("", |(name, _)| name)
}

/// How a table is named in a test, without `<` and `>`.
pub type TableName<'a> = &'a dyn Fn(&AddressTable) -> String;

impl Test {
    /// The test as text, with tables under the names that `table` gives them (see [`table_name`]).
    pub fn shown<'a>(&'a self, table: TableName<'a>) -> ShownTest<'a> {
        ShownTest { test: self, table }
    }
}

/// A test as text.
pub struct ShownTest<'a> {
    test: &'a Test,
    table: TableName<'a>,
}

impl fmt::Display for ShownTest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_test(self.test, self.table, f)
    }
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_test(self, &|table| table_name(table.name()), f)
    }
}

/// A table's name as it stands between `<` and `>`: letters, digits, `_`, `.` and `-` as they are, all others
/// as `\u{20}`.
pub fn table_name(name: &str) -> String {
    let mut shown = String::with_capacity(name.len());
    for character in name.chars() {
        match character.is_alphanumeric() || "_.-".contains(character) {
            true => shown.push(character),
            false => write!(shown, "\\u{{{:x}}}", u32::from(character)).expect("a String takes all"),
        }
    }
    shown
}

fn write_test(test: &Test, table: TableName<'_>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match test {
        Test::All(tests) if tests.len() > 1 => joined(tests, " and ", table, f),
        Test::Any(tests) if tests.len() > 1 => joined(tests, " or ", table, f),
        _ => write_unary(test, table, f),
    }
}

fn joined(tests: &[Test], joint: &str, table: TableName<'_>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (at, test) in tests.iter().enumerate() {
        if at > 0 {
            f.write_str(joint)?;
        }
        write_unary(test, table, f)?;
    }
    Ok(())
}

fn write_unary(test: &Test, table: TableName<'_>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut enclosed = |open: &str, tests: &[Test]| {
        f.write_str(open)?;
        match tests {
            [one] => write_test(one, table, f)?,
            [] => {}
            _ => write_test(test, table, f)?,
        }
        f.write_char(')')
    };
    match test {
        Test::Always => f.write_str("all"),
        Test::Vlan(ids) => write!(f, "vlan {}", ShownVlans(ids)),
        Test::Not(test) => {
            f.write_str("not ")?;
            write_unary(test, table, f)
        }
        Test::All(tests) => enclosed(if tests.len() > 1 { "(" } else { "and(" }, tests),
        Test::Any(tests) => enclosed(if tests.len() > 1 { "(" } else { "or(" }, tests),
        Test::Within(number, ranges) => {
            write!(f, "{number} in ")?;
            write_ranges(ranges, f)
        }
        Test::Compare(left, relation, right) => {
            write!(f, "{left} {} {right}", name_of(&RELATIONS, *relation))
        }
        Test::Address(end, addresses) => {
            write!(f, "{} in ", name_of(&ENDS, *end))?;
            match addresses {
                Addresses::Network(network) => network.fmt(f),
                Addresses::Range(first, last) => write!(f, "{first}-{last}"),
                Addresses::Table(of) => write!(f, "<{}>", table(of)),
            }
        }
        Test::Chain(Chain { at, version, protocol }) => {
            write!(f, "protochain {protocol} of {version} at ")?;
            write_operand(at, f)
        }
    }
}

fn write_ranges(ranges: &Ranges, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if ranges.ranges().is_empty() {
        return f.write_str("none");
    }
    for (at, (first, last)) in ranges.ranges().iter().enumerate() {
        let separator = if at > 0 { "," } else { "" };
        match first == last {
            true => write!(f, "{separator}{first}")?,
            false => write!(f, "{separator}{first}-{last}")?,
        }
    }
    Ok(())
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operation(operator, left, right) => {
                write_operand(left, f)?;
                write!(f, " {} ", name_of(&OPERATORS, *operator))?;
                write_operand(right, f)
            }
            operand => write_operand(operand, f),
        }
    }
}

fn write_operand(number: &Number, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match number {
        Number::Constant(value) => value.fmt(f),
        Number::Length => f.write_str("length"),
        Number::Load { size: LoadSize::One, at } => write!(f, "[{at}]"),
        Number::Load { size, at } => write!(f, "[{at}:{}]", size.octets()),
        Number::Field(field) => f.write_str(name_of(&FIELDS, *field)),
        Number::Operation(..) => write!(f, "({number})"),
    }
}

/// VLANs as a list of numbers and of ranges where three or more follow each other; `none` for no VLAN.
pub struct ShownVlans<'a>(pub &'a BTreeSet<Vlan>);

impl fmt::Display for ShownVlans<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        let mut ids = self.0.iter().map(|vlan| vlan.id()).peekable();
        let mut separator = "";
        while let Some(first) = ids.next() {
            let mut last = first;
            while let Some(next) = ids.next_if(|id| *id == last + 1) {
                last = next;
            }
            match last - first {
                0 => write!(f, "{separator}{first}")?,
                1 => write!(f, "{separator}{first},{last}")?,
                _ => write!(f, "{separator}{first}-{last}")?,
            }
            separator = ",";
        }
        Ok(())
    }
}

/// The VLANs of `10` or `20-29`; `None` where it is neither, or runs backwards.
pub fn vlan_range(text: &str) -> Option<impl Iterator<Item = Vlan> + use<>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (vlan_number(first)?, vlan_number(last)?);
    (first <= last).then(|| (first..=last).filter_map(Vlan::new))
}

fn vlan_number(text: &str) -> Option<u16> {
    let digits = (1..=4).contains(&text.len()) && text.bytes().all(|octet| octet.is_ascii_digit());
    text.parse().ok().filter(|id| digits && *id < 4096)
}
