//! Numbers that tests compare: octets of the frame, header fields, and arithmetic on them.

use super::subject::Subject;

/// A number of 32 bits that is read from a frame or computed. Arithmetic wraps, as in BPF.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Number {
    /// Itself.
    Constant(u32),
    /// Octets of the frame on the wire, without FCS.
    Length,
    /// Octets of the frame, most significant first, at an offset from its start. One that is not there ends
    /// the whole test (see [`super::Test`]).
    Load {
        /// How many.
        size: LoadSize,
        /// Where.
        at: Box<Number>,
    },
    /// A field of the headers, found behind tags and extension headers. Where the frame has none, the
    /// comparison does not hold, whichever it is.
    Field(Field),
    /// Left operand, right operand.
    Operation(Operator, Box<Number>, Box<Number>),
}

/// How many octets a load takes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum LoadSize {
    /// 1.
    One,
    /// 2.
    Two,
    /// 4.
    Four,
}

impl LoadSize {
    /// 1, 2 or 4.
    pub const fn octets(self) -> u32 {
        match self {
            Self::One => 1,
            Self::Two => 2,
            Self::Four => 4,
        }
    }
}

/// A field of the headers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Field {
    /// 4 or 6; there where the frame carries IP.
    Version,
    /// What the IP header is followed by, behind extension headers.
    Protocol,
    /// Type of service or traffic class.
    Tos,
    /// Source port of TCP or UDP.
    SourcePort,
    /// Destination port of TCP or UDP.
    DestinationPort,
    /// Flags of TCP.
    TcpFlags,
    /// Type of ICMP or ICMPv6.
    IcmpType,
    /// Code of ICMP or ICMPv6.
    IcmpCode,
}

/// Arithmetic on 32 bits without sign.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Operator {
    /// Sum.
    Add,
    /// Difference.
    Subtract,
    /// Product.
    Multiply,
    /// Quotient. By 0: ends the whole test.
    Divide,
    /// Remainder. By 0: ends the whole test.
    Remainder,
    /// Bits that both have.
    And,
    /// Bits that either has.
    Or,
    /// Bits that one of both has.
    ExclusiveOr,
    /// Shift to the left; by 32 or more it gives 0.
    ShiftLeft,
    /// Shift to the right, zeros move in; by 32 or more it gives 0.
    ShiftRight,
}

/// Why a number cannot be had.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Missing {
    /// The frame has no such field: the comparison does not hold.
    Field,
    /// An octet that is not there, or a division by 0: the whole test does not hold.
    Cut,
}

impl Number {
    /// A constant offset and size.
    pub fn load(size: LoadSize, at: u32) -> Self {
        Self::Load { size, at: Box::new(Self::Constant(at)) }
    }

    /// `self operator right`.
    #[must_use]
    pub fn with(self, operator: Operator, right: Self) -> Self {
        Self::Operation(operator, Box::new(self), Box::new(right))
    }

    /// A bound that the number never exceeds.
    pub(crate) fn most(&self) -> u32 {
        match self {
            Self::Constant(value) => *value,
            Self::Load { size: LoadSize::One, .. } => 0xff,
            Self::Load { size: LoadSize::Two, .. } => 0xffff,
            Self::Operation(Operator::And, left, right) => left.most().min(right.most()),
            Self::Operation(Operator::ShiftRight, left, right) => match **right {
                Self::Constant(bits) => left.most().checked_shr(bits).unwrap_or(0),
                _ => left.most(),
            },
            Self::Operation(Operator::Add, left, right) => left.most().saturating_add(right.most()),
            Self::Operation(Operator::Multiply, left, right) => left.most().saturating_mul(right.most()),
            Self::Operation(Operator::ShiftLeft, left, right) => match **right {
                Self::Constant(bits @ 0..32) => left.most().saturating_mul(1 << bits),
                _ => u32::MAX,
            },
            Self::Operation(Operator::Divide, left, _) => left.most(),
            Self::Operation(Operator::Remainder, left, right) => {
                left.most().min(right.most().saturating_sub(1))
            }
            Self::Operation(Operator::Or | Operator::ExclusiveOr, left, right) => {
                let both = left.most() | right.most();
                u32::MAX.checked_shr(both.leading_zeros()).unwrap_or(0)
            }
            _ => u32::MAX,
        }
    }

    /// Whether computing it can end the whole test.
    pub(super) fn may_end(&self) -> bool {
        match self {
            Self::Constant(_) | Self::Length | Self::Field(_) => false,
            Self::Load { .. } => true,
            Self::Operation(operator, left, right) => {
                let divides = matches!(operator, Operator::Divide | Operator::Remainder);
                let safe = !divides || matches!(**right, Self::Constant(1..));
                !safe || left.may_end() || right.may_end()
            }
        }
    }

    /// Whether it asks for fields, which a frame may not have.
    pub(super) fn asks_fields(&self) -> bool {
        match self {
            Self::Constant(_) | Self::Length => false,
            Self::Field(_) => true,
            Self::Load { at, .. } => at.asks_fields(),
            Self::Operation(_, left, right) => left.asks_fields() || right.asks_fields(),
        }
    }

    /// Whether there are frames that do not have it.
    pub(super) fn may_be_missing(&self) -> bool {
        self.may_end() || self.asks_fields()
    }

    /// The number for one frame.
    pub(super) fn value(&self, subject: &Subject<'_>) -> Result<u32, Missing> {
        match self {
            Self::Constant(value) => Ok(*value),
            Self::Length => Ok(subject.frame().wire_len),
            Self::Load { size, at } => load(subject.frame().data, *size, at.value(subject)?),
            Self::Field(field) => subject.field(*field).ok_or(Missing::Field),
            Self::Operation(operator, left, right) => {
                operator.apply(left.value(subject)?, right.value(subject)?).ok_or(Missing::Cut)
            }
        }
    }
}

#[inline]
pub(super) fn load(data: &[u8], size: LoadSize, at: u32) -> Result<u32, Missing> {
    let rest = usize::try_from(at).ok().and_then(|at| data.get(at..)).ok_or(Missing::Cut)?;
    let value = match size {
        LoadSize::One => rest.first().copied().map(u32::from),
        LoadSize::Two => rest.first_chunk().map(|octets| u32::from(u16::from_be_bytes(*octets))),
        LoadSize::Four => rest.first_chunk().map(|octets| u32::from_be_bytes(*octets)),
    };
    value.ok_or(Missing::Cut)
}

impl Operator {
    /// The result; `None` for a division by 0.
    pub fn apply(self, left: u32, right: u32) -> Option<u32> {
        Some(match self {
            Self::Add => left.wrapping_add(right),
            Self::Subtract => left.wrapping_sub(right),
            Self::Multiply => left.wrapping_mul(right),
            Self::Divide => left.checked_div(right)?,
            Self::Remainder => left.checked_rem(right)?,
            Self::And => left & right,
            Self::Or => left | right,
            Self::ExclusiveOr => left ^ right,
            Self::ShiftLeft => left.checked_shl(right).unwrap_or(0),
            Self::ShiftRight => left.checked_shr(right).unwrap_or(0),
        })
    }
}
