//! Smaller tests of the same meaning.
//!
//! What must not change is when a test ends because an octet is not there: `not (a and b)` holds where `a` does
//! not, and does not where `a` cannot be had. So an operand is left out only where its number is known to be
//! had, and moved only over operands that cannot end the test there.
//!
//! - `and` in `and` and `or` in `or` become one list, constants are computed, comparisons with a constant become
//!   ranges.
//! - What was found to hold is not asked again further inside.
//! - In an `or`, operands that begin with the same question ask it once: `(a and x) or (a and y)` becomes
//!   `a and (x or y)`, and where the answers exclude each other (EtherTypes), across others in between.
//! - Ranges of one number that lead to the same become one set of ranges.

use std::collections::BTreeMap;

use super::number::{Number, Operator};
use super::test::{Ranges, Relation, Test};

/// How deep common beginnings are looked for.
const DEPTH_MAX: usize = 24;

/// A test of the same meaning, as small as this pass can make it.
#[must_use]
pub fn simplify(test: Test) -> Test {
    simplified(test, &mut Vec::new())
}

/// What is known to hold where a test is asked.
type Facts = Vec<(Number, Ranges)>;

fn never() -> Test {
    Test::Any(Vec::new())
}

fn is_never(test: &Test) -> bool {
    matches!(test, Test::Any(tests) if tests.is_empty())
}

fn simplified(test: Test, facts: &mut Facts) -> Test {
    match test {
        Test::All(tests) => all(tests, facts),
        Test::Any(tests) => any(tests, facts),
        Test::Not(test) => negated(simplified(*test, facts)),
        Test::Within(number, ranges) => within(folded(number), &ranges, facts),
        Test::Compare(left, relation, right) => compared(folded(left), relation, folded(right), facts),
        Test::Chain(mut chain) => {
            chain.at = folded(chain.at);
            Test::Chain(chain)
        }
        other => other,
    }
}

fn negated(test: Test) -> Test {
    match test {
        Test::Always => never(),
        Test::Not(test) => *test,
        Test::Within(number, ranges) if !number.asks_fields() => {
            let rest = ranges.complement(number.most());
            Test::Within(number, rest)
        }
        test if is_never(&test) => Test::Always,
        test => Test::Not(Box::new(test)),
    }
}

fn within(number: Number, ranges: &Ranges, facts: &Facts) -> Test {
    let (number, ranges) = unmasked(number, ranges);
    let possible = Ranges::new([(0, number.most())]);
    let ranges = ranges.intersection(&possible);
    let is_sure = !number.may_be_missing();
    if let Number::Constant(value) = number {
        return if ranges.contains(value) { Test::Always } else { never() };
    }
    let known = facts.iter().rev().find(|(known, _)| *known == number).map(|(_, ranges)| ranges);
    let known = known.or(is_sure.then_some(&possible));
    if let Some(known) = known {
        let both = ranges.intersection(known);
        if both == *known {
            return Test::Always;
        }
        if both.ranges().is_empty() {
            return never();
        }
    }
    Test::Within(number, ranges)
}

/// Without a mask, where it keeps the high bits alone: what is left of a number lies in a range where the number
/// itself lies in one. So networks become ranges of addresses.
fn unmasked(number: Number, ranges: &Ranges) -> (Number, Ranges) {
    let Number::Operation(Operator::And, masked, mask) = &number else { return (number, ranges.clone()) };
    let (Number::Constant(mask), most) = (&**mask, masked.most()) else { return (number, ranges.clone()) };
    let low = most & !mask;
    let is_high = low.count_ones() == low.trailing_ones() && most.count_ones() == most.trailing_ones();
    if !is_high {
        return (number, ranges.clone());
    }
    let kept = ranges.ranges().iter().filter_map(|(first, last)| {
        // The first multiple of what the mask keeps, and the last number that is masked to at most this.
        let first = if first & low == 0 { *first } else { (first | low).checked_add(1)? };
        Some((first, (last & !low) | low))
    });
    let kept = Ranges::new(kept);
    match number {
        Number::Operation(_, masked, _) => (*masked, kept),
        other => (other, kept),
    }
}

fn compared(left: Number, relation: Relation, right: Number, facts: &Facts) -> Test {
    let (number, ranges) = match (left, right) {
        (left, Number::Constant(value)) => {
            let ranges = match relation {
                Relation::Equal => Ranges::one(value),
                Relation::Greater => Ranges::new(value.checked_add(1).map(|first| (first, u32::MAX))),
                Relation::AtLeast => Ranges::new([(value, u32::MAX)]),
            };
            (left, ranges)
        }
        (Number::Constant(value), right) => {
            let ranges = match relation {
                Relation::Equal => Ranges::one(value),
                Relation::Greater => Ranges::new(value.checked_sub(1).map(|last| (0, last))),
                Relation::AtLeast => Ranges::new([(0, value)]),
            };
            (right, ranges)
        }
        (left, right) => return Test::Compare(left, relation, right),
    };
    within(number, &ranges, facts)
}

fn all(tests: Vec<Test>, facts: &mut Facts) -> Test {
    let known = facts.len();
    let mut out = Vec::new();
    let mut rest: Vec<Test> = tests.into_iter().rev().collect();
    while let Some(test) = rest.pop() {
        match simplified(test, facts) {
            Test::Always => {}
            Test::All(tests) => {
                // They are simple already; what they say is news to what follows.
                for test in tests {
                    let ends = is_never(&test);
                    conjoin(&mut out, test, facts);
                    if ends {
                        rest.clear();
                    }
                }
            }
            test if is_never(&test) => {
                out.push(test);
                rest.clear();
            }
            test => conjoin(&mut out, test, facts),
        }
    }
    facts.truncate(known);
    if out.last().is_some_and(is_never) && out.iter().all(|test| !may_end(test)) {
        return never();
    }
    match out.len() {
        0 => Test::Always,
        1 => out.remove(0),
        _ => Test::All(out),
    }
}

/// Adds one test to those that must hold.
fn conjoin(out: &mut Vec<Test>, test: Test, facts: &mut Facts) {
    let Test::Within(number, ranges) = test else {
        out.push(test);
        return;
    };
    let mut ranges = ranges;
    if let Some(Test::Within(before, narrower)) = out.last()
        && *before == number
    {
        ranges = ranges.intersection(narrower);
        out.pop();
        facts.pop();
    }
    facts.push((number.clone(), ranges.clone()));
    out.push(Test::Within(number, ranges));
}

fn any(tests: Vec<Test>, facts: &mut Facts) -> Test {
    let mut out = Vec::new();
    for test in tests {
        match simplified(test, facts) {
            Test::Any(tests) => out.extend(tests),
            test => out.push(test),
        }
        if out.last() == Some(&Test::Always) {
            break;
        }
    }
    if out.last() == Some(&Test::Always) && out.iter().all(|test| !may_end(test)) {
        return Test::Always;
    }
    grouped(out, DEPTH_MAX)
}

/// Whether asking the test can end the whole.
fn may_end(test: &Test) -> bool {
    match test {
        Test::Always | Test::Vlan(_) | Test::Address(..) => false,
        Test::Not(test) => may_end(test),
        Test::All(tests) | Test::Any(tests) => tests.iter().any(may_end),
        Test::Within(number, _) => number.may_end(),
        Test::Compare(left, _, right) => left.may_end() || right.may_end(),
        Test::Chain(_) => true,
    }
}

/// An operand of an `or` that begins with a question about a number.
struct Item {
    ranges: Ranges,
    /// What must hold besides.
    rest: Vec<Test>,
}

/// Simple operands of an `or`, joined.
fn grouped(tests: Vec<Test>, depth: usize) -> Test {
    let mut out = Vec::new();
    let mut run: Option<(Number, Vec<Item>)> = None;
    for test in tests {
        match (begins(test), &mut run) {
            (Ok((number, item)), Some((same, items))) if number == *same => items.push(item),
            (Ok((number, item)), _) => {
                flush(run.take(), &mut out, depth);
                run = Some((number, vec![item]));
            }
            (Err(test), _) => {
                flush(run.take(), &mut out, depth);
                out.push(test);
            }
        }
    }
    flush(run, &mut out, depth);
    let mut out = ranges_joined(out);
    match out.len() {
        1 => out.remove(0),
        _ => Test::Any(out),
    }
}

fn begins(test: Test) -> Result<(Number, Item), Test> {
    match test {
        Test::Within(number, ranges) => Ok((number, Item { ranges, rest: Vec::new() })),
        Test::All(mut tests) if matches!(tests.first(), Some(Test::Within(..))) => match tests.remove(0) {
            Test::Within(number, ranges) => Ok((number, Item { ranges, rest: tests })),
            other => Err(other),
        },
        other => Err(other),
    }
}

/// Puts operands that ask for the same number together again.
fn flush(run: Option<(Number, Vec<Item>)>, out: &mut Vec<Test>, depth: usize) {
    let Some((number, items)) = run else { return };
    let groups = if depth == 0 || items.len() == 1 {
        items.into_iter().map(|item| (item.ranges, vec![item.rest])).collect()
    } else {
        by_answer(items)
    };
    // Where each body stands, so that ranges that lead to the same become one.
    let mut joined: Vec<(Ranges, Test)> = Vec::new();
    let exclusive = are_exclusive(groups.iter().map(|(ranges, _)| ranges));
    let mut places: BTreeMap<Test, usize> = BTreeMap::new();
    for (ranges, bodies) in groups {
        let body = body(bodies, depth);
        let last = joined.len().checked_sub(1);
        let same = match places.get(&body) {
            Some(place) if exclusive || Some(*place) == last => Some(*place),
            _ => None,
        };
        match same {
            Some(place) => joined[place].0 = joined[place].0.union(&ranges),
            None => {
                places.insert(body.clone(), joined.len());
                joined.push((ranges, body));
            }
        }
    }
    for (ranges, body) in joined {
        let question = Test::Within(number.clone(), ranges);
        out.push(match body {
            Test::Always => question,
            Test::All(tests) => Test::All([question].into_iter().chain(tests).collect()),
            test => Test::All(vec![question, test]),
        });
    }
}

/// What must hold besides the question, of operands that share it.
fn body(mut bodies: Vec<Vec<Test>>, depth: usize) -> Test {
    let one = |mut tests: Vec<Test>| match tests.len() {
        0 => Test::Always,
        1 => tests.remove(0),
        _ => Test::All(tests),
    };
    if bodies.len() == 1 {
        return one(bodies.remove(0));
    }
    let mut tests = Vec::new();
    for body in bodies {
        match one(body) {
            Test::Any(inner) => tests.extend(inner),
            test => tests.push(test),
        }
        if tests.last() == Some(&Test::Always) {
            break;
        }
    }
    if tests.last() == Some(&Test::Always) && tests.iter().all(|test| !may_end(test)) {
        return Test::Always;
    }
    grouped(tests, depth - 1)
}

/// Puts items of equal answers together: all of them where answers exclude each other, else neighbours.
fn by_answer(items: Vec<Item>) -> Vec<(Ranges, Vec<Vec<Test>>)> {
    let mut distinct: Vec<&Ranges> = items.iter().map(|item| &item.ranges).collect();
    distinct.sort_unstable();
    distinct.dedup();
    let exclusive = are_exclusive(distinct.into_iter());
    let mut groups: Vec<(Ranges, Vec<Vec<Test>>)> = Vec::new();
    let mut places: BTreeMap<Ranges, usize> = BTreeMap::new();
    for item in items {
        let last = groups.len().checked_sub(1);
        let place = places.get(&item.ranges).copied().filter(|place| exclusive || Some(*place) == last);
        match place {
            Some(place) => groups[place].1.push(item.rest),
            None => {
                places.insert(item.ranges.clone(), groups.len());
                groups.push((item.ranges, vec![item.rest]));
            }
        }
    }
    groups
}

/// Whether no number is in two of these.
fn are_exclusive<'a>(ranges: impl Iterator<Item = &'a Ranges>) -> bool {
    let mut all: Vec<(u32, u32)> = ranges.flat_map(|ranges| ranges.ranges().iter().copied()).collect();
    all.sort_unstable();
    all.windows(2).all(|pair| pair[0].1 < pair[1].0)
}

/// Joins questions about one number that stand apart in an `or`, where nothing in between can end the test that
/// had not been asked before the first of them.
fn ranges_joined(tests: Vec<Test>) -> Vec<Test> {
    enum Slot {
        Test(Test),
        Question(Number, Vec<(u32, u32)>),
    }
    let mut slots: Vec<Slot> = Vec::with_capacity(tests.len());
    // The last question about a number, and the last slot that asks something for the first time.
    let mut asked: BTreeMap<Number, usize> = BTreeMap::new();
    let mut newest = 0;
    for test in tests {
        let here = slots.len();
        match test {
            Test::Within(number, ranges) => {
                let before = asked.get(&number).copied();
                match before {
                    Some(place) if place >= newest => {
                        if let Slot::Question(_, all) = &mut slots[place] {
                            all.extend(ranges.ranges());
                        }
                        continue;
                    }
                    Some(_) => {}
                    None => newest = here,
                }
                asked.insert(number.clone(), here);
                slots.push(Slot::Question(number, ranges.ranges().to_vec()));
            }
            test => {
                newest = here;
                slots.push(Slot::Test(test));
            }
        }
    }
    let test = |slot| match slot {
        Slot::Test(test) => test,
        Slot::Question(number, ranges) => Test::Within(number, Ranges::new(ranges)),
    };
    slots.into_iter().map(test).collect()
}

/// A number of the same value, with what is constant computed.
fn folded(number: Number) -> Number {
    match number {
        Number::Load { size, at } => Number::Load { size, at: Box::new(folded(*at)) },
        Number::Operation(operator, left, right) => operation(operator, folded(*left), folded(*right)),
        other => other,
    }
}

fn operation(operator: Operator, left: Number, right: Number) -> Number {
    use Operator::{Add, And, Divide, ExclusiveOr, Multiply, Or, ShiftLeft, ShiftRight, Subtract};
    let commutes = matches!(operator, Add | Multiply | And | Or | ExclusiveOr);
    let (left, right) = match (left, right) {
        (Number::Constant(a), Number::Constant(b)) => {
            // A division by 0 stays, and ends the test.
            return match operator.apply(a, b) {
                Some(value) => Number::Constant(value),
                None => Number::Constant(a).with(operator, Number::Constant(b)),
            };
        }
        (left @ Number::Constant(_), right) if commutes => (right, left),
        sides => sides,
    };
    let Number::Constant(value) = right else { return left.with(operator, right) };
    match (operator, value) {
        (Add | Subtract | Or | ExclusiveOr | ShiftLeft | ShiftRight, 0) => left,
        (Multiply | Divide, 1) => left,
        (And, u32::MAX) => left,
        (And, mask) if left.most() & !mask == 0 && left.most().saturating_add(1).is_power_of_two() => left,
        (Subtract, value) => operation(Add, left, Number::Constant(value.wrapping_neg())),
        (Add | And | Or | ExclusiveOr, _) => match left {
            Number::Operation(inner, number, constant) if inner == operator => match *constant {
                Number::Constant(before) => {
                    let both = operator.apply(before, value).unwrap_or(value);
                    operation(operator, *number, Number::Constant(both))
                }
                other => Number::Operation(inner, number, Box::new(other)).with(operator, right),
            },
            left => left.with(operator, right),
        },
        _ => left.with(operator, right),
    }
}
