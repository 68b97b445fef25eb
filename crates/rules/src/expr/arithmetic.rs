//! Numbers in expressions: octets, lengths, constants and what is computed of them.
//!
//! The strength of operators is that of libpcap's grammar: `|`, `&`, shifts, `+` and `-`, `*` and `/`, unary
//! `-`, each stronger than those before it and taken from the left. `%` and `^` have none there, so that each
//! takes all that follows for its right side.

use super::parse::{Parser, Stop};
use super::ports;
use super::token::Token;
use super::words::Protocol;
use crate::form::{LoadSize, Number, Operator, Ranges, Relation, Test};

/// Operations in one number: what a machine without recursion limits would not mind is bounded here.
const OPERATIONS_MAX: usize = 64;

/// A number, and what must hold of a frame to have it.
pub(super) struct Computed {
    pub(super) number: Number,
    pub(super) checks: Vec<Test>,
    operations: usize,
}

impl Computed {
    fn plain(number: Number) -> Self {
        Self { number, checks: Vec::new(), operations: 0 }
    }
}

/// The operator of a sign and how strong it is; 0 for those without a strength.
fn operator(sign: &str) -> Option<(Operator, u8)> {
    Some(match sign {
        "|" => (Operator::Or, 1),
        "&" => (Operator::And, 2),
        "<<" => (Operator::ShiftLeft, 3),
        ">>" => (Operator::ShiftRight, 3),
        "+" => (Operator::Add, 4),
        "-" => (Operator::Subtract, 4),
        "*" => (Operator::Multiply, 5),
        "/" => (Operator::Divide, 5),
        "%" => (Operator::Remainder, 0),
        "^" => (Operator::ExclusiveOr, 0),
        _ => return None,
    })
}

/// Stronger than all that stand between two numbers.
const UNARY: u8 = 6;

/// Whether a sign stands between two numbers.
pub(super) fn joins_numbers(token: Token<'_>) -> bool {
    match token {
        Token::Sign(sign) => operator(sign).is_some() || is_relation(sign),
        _ => false,
    }
}

fn is_relation(sign: &str) -> bool {
    matches!(sign, "=" | "!=" | "<" | "<=" | ">" | ">=")
}

impl Parser<'_> {
    /// Two numbers and how they stand to each other.
    pub(super) fn relation(&mut self, level: usize) -> Result<Test, Stop> {
        let begin = self.start();
        let left = self.number(0, level)?;
        let Some(sign) = self.sign_if(is_relation) else {
            return Err(self.expected("a comparison", "compare the number, as in `tcp[13] & 2 != 0`"));
        };
        let right = self.number(0, level)?;
        if left.operations + right.operations > OPERATIONS_MAX {
            let what = format!("more than {OPERATIONS_MAX} operations in one comparison");
            return Err(self.stop(begin..self.end(), what, "compare parts of it one by one"));
        }
        let (left_number, right_number) = (left.number, right.number);
        let not = |test| Test::Not(Box::new(test));
        let test = match sign {
            "=" => Test::Compare(left_number, Relation::Equal, right_number),
            "!=" => not(Test::Compare(left_number, Relation::Equal, right_number)),
            ">" => Test::Compare(left_number, Relation::Greater, right_number),
            "<=" => not(Test::Compare(left_number, Relation::Greater, right_number)),
            ">=" => Test::Compare(left_number, Relation::AtLeast, right_number),
            _ => not(Test::Compare(left_number, Relation::AtLeast, right_number)),
        };
        let checks = left.checks.into_iter().chain(right.checks);
        Ok(Test::All(checks.chain([test]).collect()))
    }

    /// A number, with all operators that are stronger than this.
    fn number(&mut self, weaker: u8, level: usize) -> Result<Computed, Stop> {
        let begin = self.start();
        let mut left = self.operand_number(level)?;
        while let Some(Token::Sign(sign)) = self.peek() {
            let Some((operator, strength)) = operator(sign) else { break };
            if strength != 0 && strength <= weaker {
                break;
            }
            self.step();
            let right_begin = self.start();
            let right = self.number(strength, level + 1)?;
            self.refuse_nonsense(operator, &right.number, right_begin);
            let operations = left.operations + right.operations + 1;
            if operations > OPERATIONS_MAX {
                let what = format!("more than {OPERATIONS_MAX} operations in one number");
                return Err(self.stop(begin..self.end(), what, "compare parts of it one by one"));
            }
            // libpcap asks for the headers of the left number alone: those of the right are read unasked.
            let number = left.number.with(operator, right.number);
            left = Computed { number, checks: left.checks, operations };
        }
        Ok(left)
    }

    fn refuse_nonsense(&mut self, operator: Operator, right: &Number, begin: usize) {
        let Number::Constant(value) = right else { return };
        let span = begin..self.end();
        match operator {
            Operator::Divide | Operator::Remainder if *value == 0 => {
                self.flaw(span, "division by zero", "divide by something else");
            }
            Operator::ShiftLeft | Operator::ShiftRight if *value > 31 => {
                self.flaw(span, "a shift by more than 31 bits leaves nothing", "numbers have 32 bits");
            }
            _ => {}
        }
    }

    fn operand_number(&mut self, level: usize) -> Result<Computed, Stop> {
        self.check_level(level)?;
        match self.peek() {
            Some(Token::Number(value)) => {
                self.step();
                Ok(Computed::plain(Number::Constant(value)))
            }
            Some(Token::Keyword("len")) => {
                self.step();
                Ok(Computed::plain(Number::Length))
            }
            Some(Token::Sign("-")) => {
                self.step();
                let right = self.number(UNARY, level + 1)?;
                let operations = right.operations + 1;
                let number = match right.number {
                    Number::Constant(value) => Number::Constant(value.wrapping_neg()),
                    number => Number::Constant(0).with(Operator::Subtract, number),
                };
                Ok(Computed { number, checks: right.checks, operations })
            }
            Some(Token::Sign("(")) => {
                self.step();
                let inside = self.number(0, level + 1)?;
                self.close(")", "a bracket that opened before the number")?;
                Ok(inside)
            }
            other => {
                let protocol = match other {
                    Some(Token::Keyword(word)) => Protocol::of(word),
                    _ => None,
                };
                match protocol {
                    Some(protocol) => self.octets(protocol, level),
                    None => {
                        let help = "write a number, `len`, or octets as in `ip[9]` and `tcp[2:2]`";
                        Err(self.expected("a number", help))
                    }
                }
            }
        }
    }

    /// `protocol [ index : size ]`.
    fn octets(&mut self, protocol: Protocol, level: usize) -> Result<Computed, Stop> {
        let begin = self.start();
        self.step();
        self.close("[", "an index, as in `ip[9]`,")?;
        let index = self.number(0, level + 1)?;
        let mut size = LoadSize::One;
        if self.sign_if(|sign| sign == ":").is_some() {
            size = match self.peek() {
                Some(Token::Number(1)) => LoadSize::One,
                Some(Token::Number(2)) => LoadSize::Two,
                Some(Token::Number(4)) => LoadSize::Four,
                _ => {
                    return Err(
                        self.expected("a size of 1, 2 or 4", "one, two or four octets are read at once")
                    );
                }
            };
            self.step();
        }
        self.close("]", "the index that opened before")?;
        let operations = index.operations + 1;
        let read = ports::header_octets(&mut self.scope, protocol, index.number, index.checks, size);
        Ok(match read {
            Ok((number, checks)) => Computed { number, checks, operations },
            Err((what, help)) => {
                self.flaw(begin..self.end(), what, help);
                // Something that could be asked for, so that the rest is read too.
                Computed { number: Number::Length, checks: Vec::new(), operations }
            }
        })
    }

    /// `less N`, `greater N`: both include N.
    pub(super) fn length(&mut self, at_least: bool) -> Result<Test, Stop> {
        let Some(Token::Number(value)) = self.peek() else {
            return Err(self.expected("a number of octets", "as in `greater 1000`"));
        };
        self.step();
        let range = if at_least { (value, u32::MAX) } else { (0, value) };
        Ok(Test::Within(Number::Length, Ranges::new([range])))
    }

    /// `byte N op N`.
    pub(super) fn byte(&mut self) -> Result<Test, Stop> {
        const HELP: &str = "as in `byte 12 = 8`, better `ether[12] = 8`";
        let Some(Token::Number(at)) = self.peek() else { return Err(self.expected("an offset", HELP)) };
        self.step();
        let Some(sign) = self.sign_if(|sign| matches!(sign, "&" | "|" | "<" | ">" | "=")) else {
            return Err(self.expected("one of & | < > =", HELP));
        };
        let Some(Token::Number(value)) = self.peek() else { return Err(self.expected("a number", HELP)) };
        self.step();
        let octet = self.scope.load(super::scope::From::LinkHeader, at, LoadSize::One);
        let not = |test| Test::Not(Box::new(test));
        let zero =
            |operator| Test::Within(octet.clone().with(operator, Number::Constant(value)), Ranges::one(0));
        Ok(match sign {
            "&" => not(zero(Operator::And)),
            "|" => not(zero(Operator::Or)),
            "<" => not(Test::Within(octet, Ranges::new([(value, u32::MAX)]))),
            ">" => Test::Compare(octet, Relation::Greater, Number::Constant(value)),
            _ => Test::Within(octet, Ranges::one(value)),
        })
    }
}
