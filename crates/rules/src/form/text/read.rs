//! Text -> test. One pass without going back, and no deeper than [`DEPTH_MAX`].

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::ops::Range;
use std::str::FromStr;
use std::sync::Arc;

use super::{ENDS, FIELDS, OPERATORS, RELATIONS, vlan_range};
use crate::form::address::AddressTable;
use crate::form::chain::Chain;
use crate::form::number::{LoadSize, Number};
use crate::form::test::{Addresses, End, Ranges, Test};

/// How deep parentheses, brackets and `not` may nest.
pub const DEPTH_MAX: usize = 200;
/// The longest text of one test, octets.
pub const TEST_TEXT_MAX: usize = 1 << 26;

/// Why a text is no test, and where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TestError {
    /// Octets of the text that it is about.
    pub at: Range<usize>,
    /// What is wrong there.
    pub what: TestFlaw,
}

/// What is wrong with the text of a test.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TestFlaw {
    /// Something else should stand here.
    Expected(&'static str),
    /// This part of a list is no VLAN and no range of VLANs, 0 to 4095.
    Vlan(String),
    /// This part of a list is no number and no range of numbers, 0 to 4294967295.
    Range(String),
    /// Neither a network, nor a range of addresses.
    Addresses(String),
    /// There is no table of this name.
    Table(String),
    /// Two joints or operators beside each other, one of which should stand in parentheses.
    Mixed,
    /// Nested deeper than [`DEPTH_MAX`].
    Deep,
    /// Longer than [`TEST_TEXT_MAX`].
    Long,
}

impl fmt::Display for TestFlaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expected(what) => write!(f, "{what} should stand here"),
            Self::Vlan(part) => write!(f, "not a VLAN (0 to 4095) or a range of them: {part:?}"),
            Self::Range(part) => write!(f, "not a number or a range of numbers: {part:?}"),
            Self::Addresses(part) => write!(f, "not a network or a range of addresses: {part:?}"),
            Self::Table(name) => write!(f, "no table {name:?}"),
            Self::Mixed => f.write_str("this wants parentheses"),
            Self::Deep => write!(f, "nested deeper than {DEPTH_MAX}"),
            Self::Long => write!(f, "a test of more than {TEST_TEXT_MAX} octets"),
        }
    }
}

impl fmt::Display for TestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "octet {}: {}", self.at.start, self.what)
    }
}

impl std::error::Error for TestError {}

/// The table of a name as it stands between `<` and `>`.
type Tables<'a> = &'a dyn Fn(&str) -> Option<Arc<AddressTable>>;

impl FromStr for Test {
    type Err = TestError;

    /// Reads a test that names no tables; with them see [`Test::read`].
    fn from_str(text: &str) -> Result<Self, TestError> {
        Self::read(text, &|_| None)
    }
}

impl Test {
    /// Reads a test. `tables` has the tables by what stands between `<` and `>`.
    ///
    /// # Errors
    /// The first thing that is wrong with the text.
    pub fn read(text: &str, tables: Tables<'_>) -> Result<Self, TestError> {
        whole(text, tables).and_then(|(node, span)| node.test(span))
    }
}

impl FromStr for Number {
    type Err = TestError;

    fn from_str(text: &str) -> Result<Self, TestError> {
        whole(text, &|_| None).and_then(|(node, span)| node.number(span))
    }
}

fn whole(text: &str, tables: Tables<'_>) -> Read<(Node, Range<usize>)> {
    let mut reader = Reader { text, at: 0, depth: 0, tables };
    if text.len() > TEST_TEXT_MAX {
        return Err(TestError { at: 0..0, what: TestFlaw::Long });
    }
    reader.blanks();
    let start = reader.at;
    let node = reader.test()?;
    let span = start..reader.at;
    reader.blanks();
    if reader.at < text.len() { reader.expected("`and`, `or` or the end") } else { Ok((node, span)) }
}

type Read<T> = Result<T, TestError>;

/// What a text in parentheses turns out to be.
enum Node {
    Test(Test),
    Number(Number),
}

impl Node {
    fn test(self, at: Range<usize>) -> Read<Test> {
        match self {
            Self::Test(test) => Ok(test),
            Self::Number(_) => Err(TestError { at, what: TestFlaw::Expected("a test, and no number,") }),
        }
    }

    fn number(self, at: Range<usize>) -> Read<Number> {
        match self {
            Self::Number(number) => Ok(number),
            Self::Test(_) => Err(TestError { at, what: TestFlaw::Expected("a number, and no test,") }),
        }
    }
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
    depth: usize,
    tables: Tables<'t>,
}

impl<'t> Reader<'t> {
    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn blanks(&mut self) {
        self.at = self.text.len() - self.rest().trim_ascii_start().len();
    }

    /// Letters and hyphens that begin with a letter; nothing where something else comes next.
    fn word(&mut self) -> &'t str {
        self.blanks();
        let rest = self.rest();
        let end = rest.bytes().position(|octet| !octet.is_ascii_alphabetic() && octet != b'-');
        let word = &rest[..end.unwrap_or(rest.len())];
        if word.starts_with('-') { "" } else { word }
    }

    /// Steps over a sign where it comes next.
    fn sign(&mut self, sign: &str) -> bool {
        self.blanks();
        let found = self.rest().starts_with(sign);
        self.at += if found { sign.len() } else { 0 };
        found
    }

    /// Steps over a word where it comes next.
    fn known(&mut self, word: &str) -> bool {
        let found = self.word() == word;
        self.at += if found { word.len() } else { 0 };
        found
    }

    /// What comes next up to a blank or a closing parenthesis or bracket, and where it stands.
    fn part(&mut self) -> (&'t str, Range<usize>) {
        self.blanks();
        let rest = self.rest();
        let ends = |octet: u8| octet.is_ascii_whitespace() || octet == b')' || octet == b']';
        let part = &rest[..rest.bytes().position(ends).unwrap_or(rest.len())];
        let span = self.at..self.at + part.len();
        self.at = span.end;
        (part, span)
    }

    fn expected<T>(&mut self, what: &'static str) -> Read<T> {
        let (start, (_, span)) = (self.at, self.part());
        // Where a parenthesis is in the way, it is what stands there.
        let end = if span.is_empty() { (start + 1).min(self.text.len()) } else { span.end };
        let start = if span.is_empty() { start } else { span.start };
        let at = if self.text.is_char_boundary(end) { start..end } else { start..start };
        Err(TestError { at, what: TestFlaw::Expected(what) })
    }

    fn must(&mut self, sign: &'static str, what: &'static str) -> Read<()> {
        if self.sign(sign) { Ok(()) } else { self.expected(what) }
    }

    /// Reads one level further down.
    fn within<T>(&mut self, read: impl FnOnce(&mut Self) -> Read<T>) -> Read<T> {
        if self.depth == DEPTH_MAX {
            return Err(TestError { at: self.at..self.at, what: TestFlaw::Deep });
        }
        self.depth += 1;
        let read = read(self);
        self.depth -= 1;
        read
    }

    fn mixed<T>(&self, length: usize) -> Read<T> {
        Err(TestError { at: self.at..self.at + length, what: TestFlaw::Mixed })
    }

    /// Operands with `and` or `or` between them; a number where it is one.
    fn test(&mut self) -> Read<Node> {
        let start = self.at;
        let first = self.unary()?;
        let joint = self.word();
        if !matches!(joint, "and" | "or") {
            return Ok(first);
        }
        let mut tests = vec![first.test(start..self.at)?];
        while self.known(joint) {
            let start = self.at;
            let operand = self.unary()?;
            tests.push(operand.test(start..self.at)?);
        }
        match self.word() {
            other @ ("and" | "or") => self.mixed(other.len()),
            _ => Ok(Node::Test(if joint == "and" { Test::All(tests) } else { Test::Any(tests) })),
        }
    }

    fn unary(&mut self) -> Read<Node> {
        let word = self.word();
        let end = ENDS.iter().find(|(name, _)| *name == word).map(|(_, end)| *end);
        if !matches!(word, "not" | "all" | "vlan" | "protochain" | "and" | "or") && end.is_none() {
            return self.relation();
        }
        self.at += word.len();
        let test = match (word, end) {
            (_, Some(end)) => self.addresses(end)?,
            ("not", _) => {
                let start = self.at;
                let test = self.within(Self::unary)?.test(start..self.at)?;
                Test::Not(Box::new(test))
            }
            ("all", _) => Test::Always,
            ("vlan", _) => self.vlans()?,
            ("protochain", _) => self.chain()?,
            (joint, _) => {
                self.must("(", "`(` behind `and` or `or`")?;
                let start = self.at;
                let mut tests = Vec::new();
                if !self.sign(")") {
                    tests.push(self.within(Self::test)?.test(start..self.at)?);
                    self.must(")", "`)`")?;
                }
                if joint == "and" { Test::All(tests) } else { Test::Any(tests) }
            }
        };
        Ok(Node::Test(test))
    }

    fn vlans(&mut self) -> Read<Test> {
        let (list, span) = self.part();
        let mut ids = BTreeSet::new();
        if list == "none" {
            return Ok(Test::Vlan(ids));
        }
        for (part, at) in parts(list, span.start) {
            let range = vlan_range(part);
            ids.extend(range.ok_or_else(|| TestError { at, what: TestFlaw::Vlan(part.to_owned()) })?);
        }
        Ok(Test::Vlan(ids))
    }

    fn addresses(&mut self, end: End) -> Read<Test> {
        if !self.known("in") {
            return self.expected("`in`");
        }
        let (text, at) = self.part();
        let addresses = if let Some(name) = text.strip_prefix('<').and_then(|text| text.strip_suffix('>')) {
            let table = (self.tables)(name);
            Addresses::Table(table.ok_or_else(|| TestError { at, what: TestFlaw::Table(name.to_owned()) })?)
        } else {
            let range = text.split_once('-').and_then(|(first, last)| {
                Some(Addresses::Range(first.parse::<IpAddr>().ok()?, last.parse().ok()?))
            });
            let found = range.or_else(|| text.parse().ok().map(Addresses::Network));
            found.ok_or_else(|| TestError { at, what: TestFlaw::Addresses(text.to_owned()) })?
        };
        Ok(Test::Address(end, addresses))
    }

    fn chain(&mut self) -> Read<Test> {
        let protocol = self.small()?;
        if !self.known("of") {
            return self.expected("`of` and a version of IP");
        }
        let version = self.small()?;
        if !self.known("at") {
            return self.expected("`at` and an offset");
        }
        let start = self.at;
        let at = self.operand()?.number(start..self.at)?;
        Ok(Test::Chain(Chain { at, version, protocol }))
    }

    fn small(&mut self) -> Read<u8> {
        let (text, at) = self.part();
        let value = constant(text).and_then(|value| u8::try_from(value).ok());
        value.ok_or(TestError { at, what: TestFlaw::Expected("a number of 0 to 255") })
    }

    /// A number, or two in relation, or one and ranges.
    fn relation(&mut self) -> Read<Node> {
        self.blanks();
        let start = self.at;
        let left = match self.value()? {
            Node::Number(number) => number,
            test => return Ok(test),
        };
        if self.known("in") {
            return Ok(Node::Test(Test::Within(left, self.ranges()?)));
        }
        let Some(relation) = RELATIONS.iter().find(|(sign, _)| self.sign(sign)) else {
            self.at = start + self.text[start..self.at].trim_ascii_end().len();
            return Ok(Node::Number(left));
        };
        let start = self.at;
        let right = self.value()?.number(start..self.at)?;
        Ok(Node::Test(Test::Compare(left, relation.1, right)))
    }

    fn ranges(&mut self) -> Read<Ranges> {
        let (list, span) = self.part();
        if list == "none" {
            return Ok(Ranges::default());
        }
        let mut ranges = Vec::new();
        for (part, at) in parts(list, span.start) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let range = constant(first).zip(constant(last)).filter(|(first, last)| first <= last);
            ranges.push(range.ok_or_else(|| TestError { at, what: TestFlaw::Range(part.to_owned()) })?);
        }
        Ok(Ranges::new(ranges))
    }

    /// An operand, or two and an operator.
    fn value(&mut self) -> Read<Node> {
        let start = self.at;
        let left = self.operand()?;
        let Some((_, operator)) = OPERATORS.iter().find(|(sign, _)| self.sign(sign)) else { return Ok(left) };
        let left = left.number(start..self.at)?;
        let start = self.at;
        let right = self.operand()?.number(start..self.at)?;
        match OPERATORS.iter().find(|(sign, _)| self.rest().trim_ascii_start().starts_with(sign)) {
            Some((sign, _)) => {
                self.blanks();
                self.mixed(sign.len())
            }
            None => Ok(Node::Number(left.with(*operator, right))),
        }
    }

    fn operand(&mut self) -> Read<Node> {
        if self.sign("(") {
            let node = self.within(Self::test)?;
            self.must(")", "`)`")?;
            return Ok(node);
        }
        if self.sign("[") {
            return self.within(Self::load).map(Node::Number);
        }
        let word = self.word();
        let field = FIELDS.iter().find(|(name, _)| *name == word).map(|(_, field)| Number::Field(*field));
        if let Some(number) = field.or((word == "length").then_some(Number::Length)) {
            self.at += word.len();
            return Ok(Node::Number(number));
        }
        let rest = self.rest();
        let end = rest.bytes().position(|octet| !octet.is_ascii_alphanumeric()).unwrap_or(rest.len());
        match constant(&rest[..end]) {
            Some(value) => {
                self.at += end;
                Ok(Node::Number(Number::Constant(value)))
            }
            None => self.expected("a test or a number"),
        }
    }

    /// What stands behind `[`.
    fn load(&mut self) -> Read<Number> {
        let start = self.at;
        let at = self.value()?.number(start..self.at)?;
        let size = match self.sign(":") {
            false => LoadSize::One,
            true if self.sign("1") => LoadSize::One,
            true if self.sign("2") => LoadSize::Two,
            true if self.sign("4") => LoadSize::Four,
            true => return self.expected("1, 2 or 4 octets"),
        };
        self.must("]", "`]`")?;
        Ok(Number::Load { size, at: Box::new(at) })
    }
}

/// The parts between commas, and where each stands.
fn parts(list: &str, start: usize) -> impl Iterator<Item = (&str, Range<usize>)> {
    let mut at = start;
    list.split(',').map(move |part| {
        let span = at..at + part.len();
        at = span.end + 1;
        (part, span)
    })
}

/// A decimal number, or a hexadecimal one behind `0x`.
fn constant(text: &str) -> Option<u32> {
    let (digits, radix) = text.strip_prefix("0x").map_or((text, 10), |digits| (digits, 16));
    let fits = (1..=10).contains(&digits.len()) && !digits.starts_with('+');
    u32::from_str_radix(digits, radix).ok().filter(|_| fits)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use wire::Vlan;

    use super::*;

    fn vlans(ids: &[u16]) -> Test {
        Test::Vlan(ids.iter().filter_map(|id| Vlan::new(*id)).collect())
    }

    #[test]
    fn runs_of_three_are_ranges() {
        assert_eq!(Test::Always.to_string(), "all");
        assert_eq!(vlans(&[10]).to_string(), "vlan 10");
        assert_eq!(vlans(&[1, 2, 4, 5, 6, 4095]).to_string(), "vlan 1,2,4-6,4095");
        assert_eq!(vlans(&[]).to_string(), "vlan none");
    }

    #[test]
    fn every_pattern_of_twelve_neighbours_reads_back() {
        for base in [0u16, 9, 4084] {
            for bits in 0u16..4096 {
                let ids: Vec<u16> =
                    (0..12).filter(|bit| bits & (1 << bit) != 0).map(|bit| base + bit).collect();
                let test = vlans(&ids);
                assert_eq!(test.to_string().parse(), Ok(test));
            }
        }
    }

    #[test]
    fn canonical_texts_read_back_to_themselves() {
        let table = Arc::new(AddressTable::new("a table", []));
        let tables = |name: &str| (name == r"a\u{20}table").then(|| Arc::clone(&table));
        for text in [
            "[12:2] in 2048 and source in 10.0.0.0/8",
            "not not [23] in 6,17-18",
            "(source in 10.0.0.1 or destination in 10.0.0.1) and destination-port in 80,443,8000-8080",
            "and() or or() or and(all) or or(vlan none)",
            "and(all and all) and (or(all) or not (all or all))",
            "[(([14] & 15) << 2) + 16:2] >= length - 14",
            "[[[0:4]:2]] > 4294967295",
            "tcp-flags & 18 = 2",
            "(tcp-flags & 18) + 1 in none",
            "destination in 2001:db8::-2001:db8::ff and not source in ::/0",
            r"source in <a\u{20}table>",
            "protochain 58 of 6 at 14 or protochain 6 of 4 at ([0] + 1)",
            "ip-version = 4 and protocol in 0-4294967295 and tos ^ 1 = 3",
            "icmp-type in 8 and icmp-code > source-port % 7",
        ] {
            let test = Test::read(text, &tables).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(test.to_string(), text);
        }
        for (text, canonical) in [
            (" ( all ) ", "all"),
            ("[12 : 2]=0x86DD", "[12:2] = 34525"),
            ("((1))>=(2)", "1 >= 2"),
            ("[0:1] in 7,5-6,0", "[0] in 0,5-7"),
            ("vlan 3,1,2", "vlan 1-3"),
            ("not(all)and(vlan 5)", "not all and vlan 5"),
            ("length>>1>2", "length >> 1 > 2"),
        ] {
            assert_eq!(text.parse::<Test>().map(|test| test.to_string()), Ok(canonical.to_owned()));
        }
    }

    #[test]
    fn what_is_not_equal_is_not_printed_alike() {
        let within = |value| Test::Within(Number::Length, Ranges::one(value));
        let compare = Test::Compare(Number::Length, crate::form::test::Relation::Equal, Number::Constant(1));
        let two = vec![within(1), within(2)];
        let tests = [
            within(1),
            compare,
            Test::All(vec![]),
            Test::Any(vec![]),
            Test::All(vec![within(1)]),
            Test::Any(vec![within(1)]),
            Test::All(two.clone()),
            Test::Any(two.clone()),
            Test::All(vec![Test::All(two.clone())]),
            Test::All(vec![Test::Any(two.clone())]),
            Test::All(vec![Test::All(two.clone()), within(3)]),
            Test::All(vec![within(1), within(2), within(3)]),
            Test::Not(Box::new(Test::All(two))),
        ];
        let texts: BTreeSet<String> = tests.iter().map(Test::to_string).collect();
        assert_eq!(texts.len(), tests.len());
        for test in tests {
            assert_eq!(test.to_string().parse(), Ok(test));
        }
    }

    #[test]
    fn nonsense_is_refused_where_it_stands() {
        for (text, said) in [
            ("", "0..0: a test or a number should stand here"),
            ("any", "0..3: a test or a number should stand here"),
            ("all all", "4..7: `and`, `or` or the end should stand here"),
            ("vlan", "4..4: not a VLAN (0 to 4095) or a range of them: \"\""),
            ("vlan 1 2", "7..8: `and`, `or` or the end should stand here"),
            ("vlan 7,4096", "7..11: not a VLAN (0 to 4095) or a range of them: \"4096\""),
            ("(all", "4..4: `)` should stand here"),
            ("all)", "3..4: `and`, `or` or the end should stand here"),
            ("all and", "7..7: a test or a number should stand here"),
            ("all or all and all", "11..14: this wants parentheses"),
            ("1 + 2 + 3 = 4", "6..7: this wants parentheses"),
            ("1", "0..1: a test, and no number, should stand here"),
            ("not 5", "3..5: a test, and no number, should stand here"),
            ("all = 1", "4..5: `and`, `or` or the end should stand here"),
            ("1 = all", "4..7: a test or a number should stand here"),
            ("(all) + 1 = 2", "0..7: a number, and no test, should stand here"),
            ("[0:3] = 1", "3..4: 1, 2 or 4 octets should stand here"),
            ("[0 = 1", "3..4: `]` should stand here"),
            ("[all] = 1", "1..4: a test or a number should stand here"),
            ("length in 5-4", "10..13: not a number or a range of numbers: \"5-4\""),
            ("length in 1,,2", "12..12: not a number or a range of numbers: \"\""),
            ("length in 4294967296", "10..20: not a number or a range of numbers: \"4294967296\""),
            ("source 10.0.0.1", "7..15: `in` should stand here"),
            ("source in 10.0.0.0/33", "10..21: not a network or a range of addresses: \"10.0.0.0/33\""),
            ("source in <web>", "10..15: no table \"web\""),
            ("and all", "4..7: `(` behind `and` or `or` should stand here"),
            ("protochain 256 of 4 at 0", "11..14: a number of 0 to 255 should stand here"),
            ("protochain 6 at 14", "13..15: `of` and a version of IP should stand here"),
            ("protochain 6 of 4", "17..17: `at` and an offset should stand here"),
            ("-1 = 1", "0..2: a test or a number should stand here"),
            ("ä", "0..2: a test or a number should stand here"),
            ("all and ä)", "8..10: a test or a number should stand here"),
        ] {
            let error = text.parse::<Test>().expect_err(text);
            assert_eq!(format!("{:?}: {}", error.at, error.what), said, "{text:?}");
        }
        for part in ["", "4096", "5-4", "-", "1-", "-1", "+1", "1-2-3", "00001", "x"] {
            let error = format!("vlan 7,{part}").parse::<Test>().expect_err(part);
            assert_eq!(error, TestError { at: 7..7 + part.len(), what: TestFlaw::Vlan(part.to_owned()) });
        }
    }

    #[test]
    fn nesting_has_a_bound() {
        for (open, close) in [("(", ")"), ("not ", ""), ("and(", ")"), ("[", "]")] {
            let inner = if open == "[" { "0" } else { "all" };
            let behind = if open == "[" { " = 0" } else { "" };
            let text = |depth| format!("{}{inner}{}{behind}", open.repeat(depth), close.repeat(depth));
            let test = text(DEPTH_MAX).parse::<Test>().unwrap_or_else(|e| panic!("{open}: {e}"));
            let _ = test.to_string();
            let error = text(DEPTH_MAX + 1).parse::<Test>().expect_err(open);
            assert_eq!(error.what, TestFlaw::Deep);
            assert!(text(100_000).parse::<Test>().is_err());
        }
    }

    #[test]
    fn ten_thousand_hosts_read_back() {
        let host = |n: u32| {
            Test::Address(
                End::Source,
                Addresses::Network(super::super::super::Network::host(IpAddr::from(n.to_be_bytes()))),
            )
        };
        let test = Test::Any((0..10_000).map(|n| host(0x0a00_0000 + n)).collect());
        assert_eq!(test.to_string().parse(), Ok(test));
    }
}
