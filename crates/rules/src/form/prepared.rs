//! Programs made ready for millions of frames: the same decisions as [`Program::run_into`], sooner.
//!
//! Tests become a graph of leaves, each of which names the next one for either answer, with numbers folded
//! as far as constants go; of a set of rules only those are tried that the frame's addresses and ports do
//! not rule out. Nothing is decided here that the form does not decide: tests hold both against each other.

use wire::Frame;

use super::index::Index;
use super::number::{LoadSize, Missing, Number, Operator, load};
use super::subject::Subject;
use super::{CopyIndex, Memory, Program, Ranges, Relation, RuleId, Test};

/// A program that is about to judge many frames.
#[derive(Clone, Debug)]
pub struct Prepared<'p> {
    program: &'p Program,
    /// One for each step.
    tests: Vec<Graph>,
    /// One for each set of rules.
    indexes: Vec<Index>,
    /// Rules of a set that are left to try, kept for its room.
    left: Vec<u32>,
}

impl<'p> Prepared<'p> {
    /// Prepares a program: takes time and room in proportion to its rules.
    pub fn new(program: &'p Program) -> Self {
        let tests = program.steps.iter().map(|step| Graph::of(&step.when)).collect();
        let indexes = program.rule_sets.iter().map(Index::of).collect();
        Self { program, tests, indexes, left: Vec::new() }
    }

    /// The same as [`Program::run_into`].
    pub fn run_into(
        &mut self,
        frame: &Frame<'_>,
        memory: &mut Memory,
        seed: u64,
        copies: &mut Vec<CopyIndex>,
    ) -> Option<RuleId> {
        let Self { program, tests, indexes, left } = self;
        let subject = Subject::new(*frame);
        let holds = |at: usize| tests.get(at).is_some_and(|test| test.holds_for(&subject));
        let deciding = |at: usize, draw| {
            let index = indexes.get(at)?;
            index.candidates(subject.fields(), left);
            let rules = left.iter().map(|at| usize::try_from(*at).unwrap_or(usize::MAX));
            program.rule_sets[at].deciding_among(rules, &subject, draw)
        };
        program.run_with(&subject, memory, seed, copies, holds, deciding)
    }
}

/// A test as a graph of leaves. Edges lead to lower indexes, and so no walk is longer than the graph.
#[derive(Clone, Debug)]
struct Graph {
    leaves: Vec<Leaf>,
    entry: Next,
}

/// One question, and where to go on for either answer.
#[derive(Clone, Debug)]
struct Leaf {
    asks: Asks,
    yes: Next,
    no: Next,
}

/// Where a walk goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Next {
    Leaf(u32),
    /// The test is over.
    Ends(bool),
}

/// What a leaf asks. A number that cannot be had ends the whole test, as [`Test`] says.
#[derive(Clone, Debug)]
enum Asks {
    /// Octets of the frame at a fixed place are in a range.
    Octets(Octets, Span),
    /// A number is in a range.
    Range(Value, Span),
    /// One of two numbers is in a range: which one it is would be hard to predict (`port 80`).
    Either(Value, Value, Span),
    /// A number is in one of some ranges.
    Within(Value, Ranges),
    Compare(Value, Relation, Value),
    /// What is asked of the form itself.
    Other(Test),
}

/// Numbers from the first on, and how many more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Span {
    first: u32,
    more: u32,
}

impl Span {
    /// Of the first and the last number.
    fn of((first, last): (u32, u32)) -> Self {
        Self { first, more: last.saturating_sub(first) }
    }

    #[inline]
    fn contains(self, value: u32) -> bool {
        value.wrapping_sub(self.first) <= self.more
    }
}

/// `((octets & mask) << shift) + plus` of octets at a fixed place.
#[derive(Clone, Copy, Debug)]
struct Octets {
    size: LoadSize,
    at: u32,
    mask: u32,
    shift: u32,
    plus: u32,
}

/// A [`Number`] with constants folded.
#[derive(Clone, Debug)]
enum Value {
    Constant(u32),
    Octets(Octets),
    /// Octets at a place that is computed.
    From(LoadSize, Box<Value>),
    Operation(Operator, Box<Value>, Box<Value>),
    /// Length and fields.
    Other(Number),
}

impl Graph {
    fn of(test: &Test) -> Self {
        let mut graph = Self { leaves: Vec::new(), entry: Next::Ends(false) };
        graph.entry = graph.build(test, Next::Ends(true), Next::Ends(false));
        graph
    }

    /// Adds the leaves of a test and gives the first.
    fn build(&mut self, test: &Test, yes: Next, no: Next) -> Next {
        let asks = match test {
            Test::Always => return yes,
            Test::Not(test) => return self.build(test, no, yes),
            Test::All(tests) => return tests.iter().rev().fold(yes, |yes, test| self.build(test, yes, no)),
            Test::Any(tests) => match either(tests) {
                Some(asks) => asks,
                None => return tests.iter().rev().fold(no, |no, test| self.build(test, yes, no)),
            },
            Test::Within(number, ranges) => match (Value::of(number), ranges.ranges()) {
                (Value::Octets(octets), [range]) => Asks::Octets(octets, Span::of(*range)),
                (value, [range]) => Asks::Range(value, Span::of(*range)),
                (value, _) => Asks::Within(value, ranges.clone()),
            },
            Test::Compare(left, relation, right) => {
                Asks::Compare(Value::of(left), *relation, Value::of(right))
            }
            Test::Vlan(_) | Test::Address(..) | Test::Chain(_) => Asks::Other(test.clone()),
        };
        let Ok(at) = u32::try_from(self.leaves.len()) else {
            // A test of 2^32 leaves does not fit any memory.
            return Next::Ends(false);
        };
        self.leaves.push(Leaf { asks, yes, no });
        Next::Leaf(at)
    }

    #[inline]
    fn holds_for(&self, subject: &Subject<'_>) -> bool {
        let mut next = self.entry;
        loop {
            let leaf = match next {
                Next::Ends(holds) => return holds,
                Next::Leaf(at) => match usize::try_from(at).ok().and_then(|at| self.leaves.get(at)) {
                    Some(leaf) => leaf,
                    None => return false,
                },
            };
            next = match leaf.asks.answer(subject) {
                Some(true) => leaf.yes,
                Some(false) => leaf.no,
                None => return false,
            };
        }
    }
}

/// Two numbers of which one must be in a range, where that is all that is asked.
fn either(tests: &[Test]) -> Option<Asks> {
    let [Test::Within(left, ranges), Test::Within(right, same)] = tests else { return None };
    let [range] = ranges.ranges() else { return None };
    (ranges == same).then(|| Asks::Either(Value::of(left), Value::of(right), Span::of(*range)))
}

impl Asks {
    /// `None` where the whole test ends.
    #[inline]
    fn answer(&self, subject: &Subject<'_>) -> Option<bool> {
        let number = |value: &Value| match value.of_frame(subject) {
            Ok(value) => Some(Some(value)),
            Err(Missing::Field) => Some(None),
            Err(Missing::Cut) => None,
        };
        Some(match self {
            Self::Octets(octets, span) => span.contains(octets.of(subject.frame().data)?),
            Self::Range(value, span) => number(value)?.is_some_and(|value| span.contains(value)),
            Self::Either(left, right, span) => {
                let left = number(left)?.is_some_and(|value| span.contains(value));
                match number(right) {
                    Some(right) => left | right.is_some_and(|value| span.contains(value)),
                    // It would not have been asked for.
                    None if left => true,
                    None => return None,
                }
            }
            Self::Within(value, ranges) => number(value)?.is_some_and(|value| ranges.contains(value)),
            Self::Compare(left, relation, right) => match (number(left)?, number(right)?) {
                (Some(left), Some(right)) => relation.holds(left, right),
                _ => false,
            },
            Self::Other(test) => return test.truth(subject),
        })
    }
}

impl Octets {
    /// `None` where the frame does not have them.
    #[inline]
    fn of(&self, data: &[u8]) -> Option<u32> {
        let octets = load(data, self.size, self.at).ok()?;
        Some(((octets & self.mask) << self.shift).wrapping_add(self.plus))
    }
}

impl Value {
    /// Folds a number. What it is for a frame does not change, nor when it is missing.
    fn of(number: &Number) -> Self {
        match number {
            Number::Constant(value) => Self::Constant(*value),
            Number::Load { size, at } => match Self::of(at) {
                Self::Constant(at) => {
                    Self::Octets(Octets { size: *size, at, mask: u32::MAX, shift: 0, plus: 0 })
                }
                at => Self::From(*size, Box::new(at)),
            },
            Number::Operation(operator, left, right) => {
                Self::folded(*operator, Self::of(left), Self::of(right))
            }
            Number::Length | Number::Field(_) => Self::Other(number.clone()),
        }
    }

    fn folded(operator: Operator, left: Self, right: Self) -> Self {
        // A constant is never missing, so it may stand on either side of what commutes.
        let (left, right) = match (&left, operator) {
            (Self::Constant(_), Operator::Add | Operator::Multiply | Operator::And) => (right, left),
            _ => (left, right),
        };
        match (&left, operator, &right) {
            (Self::Constant(left_value), _, Self::Constant(right_value)) => {
                match operator.apply(*left_value, *right_value) {
                    Some(value) => Self::Constant(value),
                    None => Self::Operation(operator, Box::new(left), Box::new(right)),
                }
            }
            (Self::Octets(octets), _, Self::Constant(value)) => match octets.with(operator, *value) {
                Some(octets) => Self::Octets(octets),
                None => Self::Operation(operator, Box::new(left), Box::new(right)),
            },
            _ => Self::Operation(operator, Box::new(left), Box::new(right)),
        }
    }

    #[inline]
    fn of_frame(&self, subject: &Subject<'_>) -> Result<u32, Missing> {
        let data = subject.frame().data;
        match self {
            Self::Constant(value) => Ok(*value),
            Self::Octets(octets) => octets.of(data).ok_or(Missing::Cut),
            Self::From(size, at) => match &**at {
                Self::Octets(octets) => load(data, *size, octets.of(data).ok_or(Missing::Cut)?),
                at => load(data, *size, at.of_frame(subject)?),
            },
            Self::Operation(operator, left, right) => {
                let (left, right) = (left.of_frame(subject)?, right.of_frame(subject)?);
                operator.apply(left, right).ok_or(Missing::Cut)
            }
            Self::Other(number) => number.value(subject),
        }
    }
}

impl Octets {
    /// The same octets with a constant applied, where that has this form.
    fn with(self, operator: Operator, value: u32) -> Option<Self> {
        let shifted = |by: u32| {
            let shift = self.shift.checked_add(by).filter(|shift| *shift < u32::BITS)?;
            // Moving a sum moves what was added too, which is the same modulo 2^32.
            Some(Self { shift, plus: self.plus << by, ..self })
        };
        match operator {
            Operator::Add => Some(Self { plus: self.plus.wrapping_add(value), ..self }),
            Operator::Subtract => Some(Self { plus: self.plus.wrapping_sub(value), ..self }),
            Operator::And if self.shift == 0 && self.plus == 0 => {
                Some(Self { mask: self.mask & value, ..self })
            }
            Operator::Multiply if value.is_power_of_two() => shifted(value.trailing_zeros()),
            Operator::ShiftLeft if value < u32::BITS => shifted(value),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::sync::Arc;

    use super::super::*;
    use super::*;

    /// Numbers that are the same in every run.
    struct Dice(u64);

    impl Dice {
        fn below(&mut self, bound: u32) -> u32 {
            self.0 = self.0.wrapping_add(GOLDEN);
            u32::try_from((mixed(self.0) >> 32) % u64::from(bound)).unwrap()
        }

        fn of<T: Copy>(&mut self, choices: &[T]) -> T {
            choices[usize::try_from(self.below(u32::try_from(choices.len()).unwrap())).unwrap()]
        }

        fn constant(&mut self) -> u32 {
            match self.below(4) {
                0 => self.below(8),
                1 => self.of(&[0x0800, 0x86dd, 0x0f, 80, 443, 32, 33, u32::MAX]),
                _ => self.below(70),
            }
        }

        fn number(&mut self, depth: u32) -> Number {
            let sizes = [LoadSize::One, LoadSize::Two, LoadSize::Four];
            match self.below(if depth == 0 { 4 } else { 8 }) {
                0 => Number::Constant(self.constant()),
                1 => Number::load(self.of(&sizes), self.constant()),
                2 => Number::Length,
                3 => Number::Field(self.of(&[Field::Version, Field::SourcePort, Field::IcmpType])),
                4 => Number::Load { size: self.of(&sizes), at: Box::new(self.number(depth - 1)) },
                _ => {
                    use Operator::{
                        Add, And, Divide, ExclusiveOr, Multiply, Or, Remainder, ShiftLeft, ShiftRight,
                        Subtract,
                    };
                    let operators = [
                        Add,
                        Subtract,
                        Multiply,
                        Divide,
                        Remainder,
                        And,
                        Or,
                        ExclusiveOr,
                        ShiftLeft,
                        ShiftRight,
                        ShiftLeft,
                        Multiply,
                        And,
                        Add,
                    ];
                    let left = self.number(depth - 1);
                    left.with(self.of(&operators), self.number(depth - 1))
                }
            }
        }

        fn test(&mut self, depth: u32) -> Test {
            match self.below(if depth == 0 { 4 } else { 8 }) {
                0 => Test::Always,
                1 => Test::Compare(
                    self.number(2),
                    self.of(&[Relation::Equal, Relation::Greater, Relation::AtLeast]),
                    self.number(2),
                ),
                2 | 3 => {
                    let ranges = (0..=self.below(2)).map(|_| (self.constant(), self.constant()));
                    let ranges: Vec<(u32, u32)> = ranges.collect();
                    Test::Within(self.number(3), Ranges::new(ranges))
                }
                4 => Test::Not(Box::new(self.test(depth - 1))),
                5 => Test::Any((0..self.below(4)).map(|_| self.test(depth - 1)).collect()),
                _ => Test::All((0..self.below(4)).map(|_| self.test(depth - 1)).collect()),
            }
        }

        fn address(&mut self) -> IpAddr {
            // Few, so that rules meet frames.
            let low = u8::try_from(self.below(4)).unwrap();
            match self.below(3) {
                0 => IpAddr::from([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, low]),
                _ => IpAddr::from([10, low, 0, low]),
            }
        }

        fn demand(&mut self) -> Test {
            let end = self.of(&[End::Source, End::Destination]);
            let address = self.address();
            let len =
                if address.is_ipv4() { self.of(&[0, 8, 16, 31, 32]) } else { self.of(&[0, 64, 127, 128]) };
            let network = Network::new(address, len).unwrap();
            let port = self.of(&[Field::SourcePort, Field::DestinationPort]);
            match self.below(6) {
                0 | 1 => Test::Address(end, Addresses::Network(network)),
                2 => Test::Address(end, Addresses::Range(address, address)),
                3 => {
                    let entry = Entry { network, negated: false };
                    Test::Address(end, Addresses::Table(Arc::new(AddressTable::new("t", [entry]))))
                }
                4 => Test::Within(Number::Field(port), Ranges::one(self.below(3))),
                _ => Test::Within(Number::Field(port), Ranges::new([(self.below(3), self.below(4))])),
            }
        }

        fn ruling(&mut self, rule: u32) -> Ruling {
            let demands: Vec<Test> = (0..self.below(4)).map(|_| self.demand()).collect();
            let when = match (self.below(5), demands) {
                (0, demands) => Test::Any(demands),
                (1, demands) => Test::Not(Box::new(Test::All(demands))),
                (2, mut demands) if demands.len() == 1 => demands.remove(0),
                (_, demands) => Test::All(demands),
            };
            let verdicts = [Ruled::Match, Ruled::Block, Ruled::Pass(Handed::Nobody)];
            let verdict = match self.below(2) {
                0 => self.of(&verdicts),
                _ => Ruled::Pass(Handed::Copy(CopyIndex(u16::try_from(rule).unwrap()))),
            };
            let tag = |dice: &mut Self| TagIndex(u16::try_from(dice.below(2)).unwrap());
            Ruling {
                rule: RuleId(rule),
                when,
                tagged: (self.below(6) == 0).then(|| (tag(self), self.below(2) == 0)),
                chance: (self.below(6) == 0).then_some(1 << 31),
                quick: self.below(5) == 0,
                verdict,
                tag: (self.below(5) == 0).then(|| tag(self)),
            }
        }

        /// UDP or TCP, over IPv4 or IPv6, cut somewhere at times.
        fn frame(&mut self) -> Vec<u8> {
            let (from, to) = (self.address(), self.address());
            let mut frame = vec![2; 12];
            let protocol = self.of(&[6, 17]);
            match (from, to) {
                (IpAddr::V4(from), IpAddr::V4(to)) => {
                    frame.extend([0x08, 0, 0x45, 0, 0, 40, 0, 1, 0, 0, 64, protocol, 0, 0]);
                    frame.extend(from.octets().into_iter().chain(to.octets()));
                }
                (IpAddr::V6(from), IpAddr::V6(to)) => {
                    frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 20, protocol, 64]);
                    frame.extend(from.octets().into_iter().chain(to.octets()));
                }
                _ => frame.extend([0x08, 6, 0, 1, 8, 0]),
            }
            let ports = [self.below(4), self.below(4)].map(|port| u8::try_from(port).unwrap());
            frame.extend([0, ports[0], 0, ports[1], 0, 20, 0, 0, 0, 0, 0, 0, 0x50, 2, 0, 0, 0, 0, 0, 0]);
            if self.below(8) == 0 {
                let octets = u32::try_from(frame.len()).unwrap();
                frame.truncate(usize::try_from(self.below(octets)).unwrap());
            }
            frame
        }
    }

    fn agree(program: &Program, frames: &[Vec<u8>]) {
        let mut prepared = Prepared::new(program);
        let (mut plain, mut ready) = (Memory::default(), Memory::default());
        for data in frames {
            let frame = Frame::ethernet(data).unwrap();
            let (mut expected, mut copies) = (Vec::new(), Vec::new());
            let blocked_by = program.run_into(&frame, &mut plain, 7, &mut expected);
            assert_eq!(
                prepared.run_into(&frame, &mut ready, 7, &mut copies),
                blocked_by,
                "{program:#?}\n{data:02x?}"
            );
            assert_eq!(copies, expected, "{program:#?}\n{data:02x?}");
        }
        assert_eq!(plain, ready);
    }

    #[test]
    fn tests_of_any_shape_decide_as_before() {
        let mut dice = Dice(1);
        let (mut held, mut tried) = (0, 0);
        for _ in 0..20_000 {
            let when = dice.test(3);
            let frames: Vec<Vec<u8>> = (0..4).map(|_| dice.frame()).collect();
            tried += frames.len();
            held += frames.iter().filter(|data| when.holds(&Frame::ethernet(data).unwrap())).count();
            let steps = vec![Step { rule: RuleId(0), when, then: Action::Block }];
            agree(&Program { steps, ..Program::default() }, &frames);
        }
        assert!(held > tried / 10 && held < tried * 9 / 10, "{held} of {tried} held");
    }

    #[test]
    fn sets_of_rules_decide_as_before() {
        let mut dice = Dice(2);
        let mut decided = 0;
        for _ in 0..4_000 {
            let rulings: Vec<Ruling> = (0..dice.below(12)).map(|rule| dice.ruling(rule)).collect();
            let set = RuleSet::new(rulings, vec!["x".into(), "y".into()]);
            let frames: Vec<Vec<u8>> = (0..8).map(|_| dice.frame()).collect();
            let deciding =
                |data: &&Vec<u8>| set.deciding(&Subject::new(Frame::ethernet(data).unwrap()), 0).is_some();
            decided += frames.iter().filter(deciding).count();
            agree(&Program { rule_sets: vec![set.clone(), set], ..Program::default() }, &frames);
        }
        assert!(decided > 4_000, "only {decided} of 32,000 frames were decided about");
    }

    #[test]
    fn of_many_rules_few_are_tried() {
        let rule = |number: u32| {
            let [_, _, high, low] = number.to_be_bytes();
            let from = Network::host(IpAddr::from([10, 0, high, low]));
            let tests = vec![
                Test::Within(Number::Field(Field::Protocol), Ranges::one(6)),
                Test::Address(End::Source, Addresses::Network(from)),
                Test::Address(
                    End::Destination,
                    Addresses::Network(Network::host(IpAddr::from([10, 9, 9, 9]))),
                ),
                Test::Within(Number::Field(Field::DestinationPort), Ranges::one(80)),
            ];
            let verdict = Ruled::Pass(Handed::Nobody);
            let when = Test::All(tests);
            Ruling {
                rule: RuleId(number),
                when,
                tagged: None,
                chance: None,
                quick: false,
                verdict,
                tag: None,
            }
        };
        let set = RuleSet::new((0..10_000).map(rule).collect(), vec![]);
        let index = Index::of(&set);
        let ip = IpFields {
            source: IpAddr::from([10, 0, 1, 2]),
            destination: IpAddr::from([10, 9, 9, 9]),
            protocol: 6,
            tos: 0,
            fragment: None,
        };
        let fields = Fields { ip: Some(ip), ports: Some((1, 80)), ..Fields::default() };
        let mut left = Vec::new();
        index.candidates(&fields, &mut left);
        assert_eq!(left, [258]);
    }
}
