//! Tests in few letters, for golden files: `[12:2] 2048` is a comparison of two octets.

use std::fmt::Write as _;

use rules::form::{LoadSize, Number, Operator, Ranges, Relation, Test};

/// A test on one line.
pub fn listing(test: &Test) -> String {
    let mut line = String::new();
    show(test, &mut line);
    line
}

fn show(test: &Test, line: &mut String) {
    let joined = |tests: &[Test], sign: &str, none: &str, line: &mut String| {
        if tests.is_empty() {
            line.push_str(none);
        }
        for (at, test) in tests.iter().enumerate() {
            line.push_str(if at == 0 { "" } else { sign });
            let brackets = matches!(test, Test::All(_) | Test::Any(_));
            line.push_str(if brackets { "(" } else { "" });
            show(test, line);
            line.push_str(if brackets { ")" } else { "" });
        }
    };
    match test {
        Test::All(tests) => joined(tests, " & ", "always", line),
        Test::Any(tests) => joined(tests, " | ", "never", line),
        Test::Not(test) => {
            line.push_str("not(");
            show(test, line);
            line.push(')');
        }
        Test::Within(number, ranges) => {
            let _ = write!(line, "{} {}", shown(number), shown_ranges(number, ranges));
        }
        Test::Compare(left, relation, right) => {
            let sign = match relation {
                Relation::Equal => "=",
                Relation::Greater => ">",
                Relation::AtLeast => ">=",
            };
            let _ = write!(line, "{} {sign} {}", shown(left), shown(right));
        }
        Test::Chain(chain) => {
            let _ = write!(line, "chain{}({}) {}", chain.version, shown(&chain.at), chain.protocol);
        }
        Test::Always => line.push_str("always"),
        other => {
            let _ = write!(line, "{other}");
        }
    }
}

fn shown_ranges(number: &Number, ranges: &Ranges) -> String {
    let most = match number {
        Number::Load { size: LoadSize::One, .. } => 0xff,
        Number::Load { size: LoadSize::Two, .. } => 0xffff,
        _ => u32::MAX,
    };
    if ranges.ranges() == [(0, most)] {
        return "there".into();
    }
    let one = |(first, last): &(u32, u32)| match first == last {
        true => format!("{first:#x}"),
        false if *last == most => format!("{first:#x}-"),
        false => format!("{first:#x}-{last:#x}"),
    };
    ranges.ranges().iter().map(one).collect::<Vec<_>>().join(",")
}

fn shown(number: &Number) -> String {
    match number {
        Number::Constant(value) => value.to_string(),
        Number::Length => "len".into(),
        Number::Field(field) => format!("{field:?}"),
        Number::Load { size: LoadSize::One, at } => format!("[{}]", bare(at)),
        Number::Load { size, at } => format!("[{}:{}]", bare(at), size.octets()),
        Number::Operation(..) => format!("({})", bare(number)),
    }
}

fn bare(number: &Number) -> String {
    let Number::Operation(operator, left, right) = number else { return shown(number) };
    let sign = match operator {
        Operator::Add => "+",
        Operator::Subtract => "-",
        Operator::Multiply => "*",
        Operator::Divide => "/",
        Operator::Remainder => "%",
        Operator::And => "&",
        Operator::Or => "|",
        Operator::ExclusiveOr => "^",
        Operator::ShiftLeft => "<<",
        Operator::ShiftRight => ">>",
    };
    format!("{}{sign}{}", shown(left), shown(right))
}
