//! When a packet was captured, and in what units a capture file counts.

use std::fmt;

/// Nanoseconds in a second.
const NS: i128 = 1_000_000_000;

/// A moment in nanoseconds since 1970-01-01 00:00 UTC, without leap seconds; negative before.
///
/// Whatever any capture file can say fits: the coarsest unit there is (1 s) times 2^64, moved by any
/// `if_tsoffset`. What is finer than a nanosecond is rounded down, towards the past.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Timestamp(pub i128);

impl Timestamp {
    /// From seconds and nanoseconds, which may be a second or more.
    pub fn new(seconds: i64, nanoseconds: u64) -> Self {
        Self(i128::from(seconds) * NS + i128::from(nanoseconds))
    }

    /// Whole seconds, rounded down, and the nanoseconds above them (below 1,000,000,000).
    pub fn split(self) -> (i128, u32) {
        if let Ok(ns) = u64::try_from(self.0) {
            // The usual case, in 64-bit arithmetic: 128-bit division is a call.
            let fraction = u32::try_from(ns % 1_000_000_000).unwrap_or_default();
            return (i128::from(ns / 1_000_000_000), fraction);
        }
        (self.0.div_euclid(NS), u32::try_from(self.0.rem_euclid(NS)).unwrap_or_default())
    }
}

/// `seconds.nanoseconds`, with nine digits behind the point.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let size = self.0.unsigned_abs();
        write!(f, "{sign}{}.{:09}", size / 1_000_000_000, size % 1_000_000_000)
    }
}

/// The unit of an interface's timestamps (`if_tsresol`; microseconds where nothing is said).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Resolution {
    /// 10^-n seconds.
    Decimal(u8),
    /// 2^-n seconds.
    Binary(u8),
}

impl Resolution {
    /// 10^-6 s.
    pub const MICROSECONDS: Self = Self::Decimal(6);
    /// 10^-9 s.
    pub const NANOSECONDS: Self = Self::Decimal(9);

    /// From the octet of an `if_tsresol` option: the top bit chooses the base.
    pub const fn from_octet(octet: u8) -> Self {
        if octet & 0x80 == 0 { Self::Decimal(octet) } else { Self::Binary(octet & 0x7f) }
    }

    /// The octet of an `if_tsresol` option. The exponent has 7 bits.
    pub const fn octet(self) -> u8 {
        match self {
            Self::Decimal(n) => n & 0x7f,
            Self::Binary(n) => n | 0x80,
        }
    }

    /// Whether some ticks of this unit are not whole microseconds, so that a file of microseconds
    /// would lose something.
    pub const fn is_finer_than_microseconds(self) -> bool {
        match self {
            Self::Decimal(n) => n > 6,
            // 2^-6 s = 15,625 us; 2^-7 s is no whole number of them.
            Self::Binary(n) => n > 6,
        }
    }
}

/// How ticks become nanoseconds: what a [`Resolution`] and an `if_tsoffset` say, worked out once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Clock {
    unit: Unit,
    offset_ns: i128,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Unit {
    Times(u64),
    DividedBy(u64),
    Shifted(u8),
    /// So fine that 2^64 ticks are less than a nanosecond.
    Nothing,
}

impl Clock {
    pub(super) fn new(resolution: Resolution, offset_s: i64) -> Self {
        let unit = match resolution {
            Resolution::Binary(n) => Unit::Shifted(n & 0x7f),
            Resolution::Decimal(n) if n <= 9 => Unit::Times(10u64.pow(9 - u32::from(n))),
            Resolution::Decimal(n) => {
                10u64.checked_pow(u32::from(n) - 9).map_or(Unit::Nothing, Unit::DividedBy)
            }
        };
        Self { unit, offset_ns: i128::from(offset_s) * NS }
    }

    pub(super) fn timestamp(self, ticks: u64) -> Timestamp {
        let ns = match self.unit {
            Unit::Times(factor) => i128::from(ticks) * i128::from(factor),
            Unit::DividedBy(divisor) => i128::from(ticks / divisor),
            // 2^64 * 10^9 is below 2^94, so the product fits.
            Unit::Shifted(bits) => (i128::from(ticks) * NS) >> bits,
            Unit::Nothing => 0,
        };
        Timestamp(ns + self.offset_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ns(octet: u8, offset_s: i64, ticks: u64) -> i128 {
        Clock::new(Resolution::from_octet(octet), offset_s).timestamp(ticks).0
    }

    #[test]
    fn every_unit_becomes_nanoseconds() {
        assert_eq!(ns(0, 0, 7), 7_000_000_000);
        assert_eq!(ns(6, 0, 1_500_000), 1_500_000_000);
        assert_eq!(ns(9, 0, 12_345), 12_345);
        assert_eq!(ns(12, 0, 1_999), 1, "picoseconds are rounded down");
        assert_eq!(ns(0x80 | 30, 0, 3 << 29), 1_500_000_000);
        assert_eq!(ns(0x80 | 127, 0, u64::MAX), 0);
        assert_eq!(ns(28, 0, u64::MAX), 1);
        assert_eq!(ns(127, 0, u64::MAX), 0);
    }

    #[test]
    fn offsets_move_both_ways_and_nothing_overflows() {
        assert_eq!(ns(6, -1, 999_999), -1_000);
        assert_eq!(ns(6, 10, 1), 10_000_001_000);
        let most = i128::from(u64::MAX) * NS + i128::from(i64::MAX) * NS;
        assert_eq!(ns(0, i64::MAX, u64::MAX), most);
    }

    #[test]
    fn a_moment_before_the_epoch_splits_downwards() {
        assert_eq!(Timestamp(-1).split(), (-1, 999_999_999));
        assert_eq!(Timestamp::new(3, 2_000_000_001).split(), (5, 1));
        assert_eq!(Timestamp(-1_500_000_000).to_string(), "-1.500000000");
    }

    #[test]
    fn what_microseconds_cannot_hold_is_finer() {
        let finer = |octet| Resolution::from_octet(octet).is_finer_than_microseconds();
        assert_eq!([6, 7, 0x86, 0x87, 0x9e].map(finer), [false, true, false, true, true]);
        assert_eq!(Resolution::from_octet(0x9e).octet(), 0x9e);
    }
}
