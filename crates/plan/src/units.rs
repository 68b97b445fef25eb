//! Quantities as people write them: rates in bits a second, buffers in octets, times in nanoseconds, shares in
//! millionths. Exact, never floating.

use std::fmt;

/// Units of a rate, bits a second: decimal multiples (SI).
const RATES: [(&str, u64); 5] =
    [("Tbit", 1_000_000_000_000), ("Gbit", 1_000_000_000), ("Mbit", 1_000_000), ("kbit", 1_000), ("bit", 1)];

/// Units of a buffer, octets: binary multiples with an `i`, decimal ones without.
const SIZES: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1_000),
    ("B", 1),
];

/// Units of a time, nanoseconds.
const TIMES: [(&str, u64); 6] = [
    ("h", 3_600_000_000_000),
    ("min", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// Units of a share, millionths.
const SHARES: [(&str, u64); 1] = [("%", 10_000)];

/// The longest time, nanoseconds: 10,000 hours, more than a year.
pub const TIME_MAX: u64 = 36_000_000_000_000_000;
/// The slowest rate, bits a second.
pub const RATE_MIN: u64 = 1_000;
/// The fastest rate, bits a second.
pub const RATE_MAX: u64 = 1_000_000_000_000;
/// The largest buffer, octets: what a queueing discipline counts in 32 bits.
pub const BUFFER_MAX: u64 = (1 << 32) - 1;
/// The buffer of a monitor port with a rate that names none: the chapter's 1 megabyte a side.
pub const BUFFER_DEFAULT: u64 = 1 << 20;

/// Why a quantity was not understood.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UnitError {
    /// Not a number with one of the units.
    Form,
    /// Not a whole number of bits or octets.
    Fraction,
    /// Outside of the limits.
    Range,
}

/// Bits a second of `100Mbit`, `2.5Gbit`.
///
/// # Errors
/// See [`UnitError`]; the limits are [`RATE_MIN`] and [`RATE_MAX`].
pub fn rate(text: &str) -> Result<u64, UnitError> {
    quantity(text, &RATES).and_then(|bits| within(bits, RATE_MIN, RATE_MAX))
}

/// Octets of `1MiB`, `64KiB`, `1MB`, `1500B`.
///
/// # Errors
/// See [`UnitError`]; the limits are 1 and [`BUFFER_MAX`].
pub fn size(text: &str) -> Result<u64, UnitError> {
    quantity(text, &SIZES).and_then(|octets| within(octets, 1, BUFFER_MAX))
}

/// Nanoseconds of `500ms`, `1.5s`, `2min`, `1h`.
///
/// # Errors
/// See [`UnitError`]; the limits are 0 and [`TIME_MAX`].
pub fn time(text: &str) -> Result<u64, UnitError> {
    quantity(text, &TIMES).and_then(|ns| within(ns, 0, TIME_MAX))
}

/// Millionths of `0.1%`.
///
/// # Errors
/// See [`UnitError`]; the limits are 0 and 100%.
pub fn share(text: &str) -> Result<u32, UnitError> {
    let millionths = quantity(text, &SHARES).and_then(|share| within(share, 0, 1_000_000))?;
    u32::try_from(millionths).map_err(|_| UnitError::Range)
}

fn within(value: u128, least: u64, most: u64) -> Result<u64, UnitError> {
    u64::try_from(value).ok().filter(|value| (least..=most).contains(value)).ok_or(UnitError::Range)
}

fn quantity(text: &str, units: &[(&str, u64)]) -> Result<u128, UnitError> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or(UnitError::Form)?;
    let (number, unit) = text.split_at(split);
    let unit = unit.strip_prefix(' ').unwrap_or(unit);
    let multiple = units.iter().find(|(name, _)| *name == unit).ok_or(UnitError::Form)?.1;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if whole.is_empty() || fraction.is_empty() || fraction.contains('.') {
        return Err(UnitError::Form);
    }
    // Eighteen digits a part: what is longer is out of range, and shorter than u128 overflows.
    if whole.len() > 18 || fraction.len() > 18 {
        return Err(UnitError::Range);
    }
    let number = |digits: &str| digits.parse::<u128>().map_err(|_| UnitError::Form);
    let scale = 10u128.pow(u32::try_from(fraction.len()).map_err(|_| UnitError::Range)?);
    let scaled = (number(whole)? * scale + number(fraction)?) * u128::from(multiple);
    if scaled % scale != 0 {
        return Err(UnitError::Fraction);
    }
    Ok(scaled / scale)
}

/// A rate in the largest unit that keeps it whole: reads back to the same number.
pub struct ShownRate(pub u64);

/// A size in the largest unit that keeps it whole: reads back to the same number.
pub struct ShownSize(pub u64);

/// A time in the largest unit that keeps it whole: reads back to the same number.
pub struct ShownTime(pub u64);

impl fmt::Display for ShownTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The last of the units would do, but nobody writes 0 like that.
        if self.0 == 0 { f.write_str("0s") } else { show(f, self.0, &TIMES) }
    }
}

impl fmt::Display for ShownRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(f, self.0, &RATES)
    }
}

impl fmt::Display for ShownSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(f, self.0, &SIZES)
    }
}

fn show(f: &mut fmt::Formatter<'_>, value: u64, units: &[(&str, u64)]) -> fmt::Result {
    let fits = |(_, multiple): &&(&str, u64)| value >= *multiple && value.is_multiple_of(*multiple);
    let (name, multiple) = units.iter().find(fits).copied().unwrap_or((units[units.len() - 1].0, 1));
    write!(f, "{}{name}", value / multiple)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_decimal_and_sizes_say_which_they_are() {
        assert_eq!(rate("100Mbit"), Ok(100_000_000));
        assert_eq!(rate("2.5Gbit"), Ok(2_500_000_000));
        assert_eq!(rate("64 kbit"), Ok(64_000));
        assert_eq!(size("1MiB"), Ok(1_048_576));
        assert_eq!(size("1MB"), Ok(1_000_000));
        assert_eq!(size("1500B"), Ok(1500));
        assert_eq!(size("0.5KiB"), Ok(512));
    }

    #[test]
    fn times_and_shares_are_exact() {
        for (text, ns) in [("0s", 0), ("1.5s", 1_500_000_000), ("2min", 120_000_000_000), ("250 us", 250_000)]
        {
            assert_eq!(time(text), Ok(ns), "{text}");
        }
        assert_eq!(time("10000h"), Ok(TIME_MAX));
        assert_eq!(time("10000.1h"), Err(UnitError::Range));
        assert_eq!(time("0.5ns"), Err(UnitError::Fraction));
        assert_eq!(time("5"), Err(UnitError::Form));
        assert_eq!(share("0.1%"), Ok(1000));
        assert_eq!(share("100%"), Ok(1_000_000));
        assert_eq!(share("100.1%"), Err(UnitError::Range));
        assert_eq!(share("0.00001%"), Err(UnitError::Fraction));
        assert_eq!((ShownTime(0).to_string().as_str(), time("0s")), ("0s", Ok(0)));
        assert_eq!(ShownTime(90_000_000_000).to_string(), "90s");
    }

    #[test]
    fn nonsense_says_what_kind() {
        for text in
            ["", "100", "Mbit", ".5Mbit", "1.Mbit", "1..2Mbit", "100mbit", "-1Mbit", "1Mbit ", "١Mbit"]
        {
            assert_eq!(rate(text), Err(UnitError::Form), "{text}");
        }
        assert_eq!(rate("1.0005kbit"), Err(UnitError::Fraction));
        for text in ["0Mbit", "999bit", "2Tbit", "99999999999999999999999999Tbit", "999999999999999999Tbit"] {
            assert_eq!(rate(text), Err(UnitError::Range), "{text}");
        }
        assert_eq!(size("4GiB"), Err(UnitError::Range));
        assert_eq!(size("4294967295B"), Ok(BUFFER_MAX));
    }

    #[test]
    fn what_is_shown_reads_back() {
        for value in (1000..200_000).chain([1 << 20, 1_000_000, 2_500_000_000, u64::from(u32::MAX)]) {
            assert_eq!(rate(&ShownRate(value).to_string()), Ok(value));
            assert_eq!(size(&ShownSize(value).to_string()), Ok(value));
        }
        assert_eq!(ShownRate(2_500_000_000).to_string(), "2500Mbit");
        assert_eq!(ShownSize(1_000_000).to_string(), "1MB");
    }
}
