//! Exact time on a line of a given speed: nanoseconds, and what is left over of one.
//!
//! Never rounds from frame to frame: a line that is busy for an hour ends after exactly so many octets.

/// A moment of virtual time: nanoseconds, and a part of one in units of `1 / rate` of the line's [`Pace`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(crate) struct Moment {
    ns: u64,
    part: u64,
}

impl Moment {
    /// A whole nanosecond.
    #[inline]
    pub(crate) const fn at(ns: u64) -> Self {
        Self { ns, part: 0 }
    }

    /// Rounded down.
    #[inline]
    pub(crate) const fn floor_ns(self) -> u64 {
        self.ns
    }

    /// Rounded up: the first whole nanosecond that is not before it.
    #[inline]
    pub(crate) const fn ceil_ns(self) -> u64 {
        if self.part == 0 { self.ns } else { self.ns.saturating_add(1) }
    }
}

/// How long octets take at a rate.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    rate_bits: u64,
    /// The last length that was asked for, and what it takes: most frames are as long as the one before.
    known: (u32, Moment),
}

impl Pace {
    /// Of a line of so many bits a second; 0 counts as 1.
    pub(crate) fn new(rate_bits: u64) -> Self {
        Self { rate_bits: rate_bits.max(1), known: (0, Moment::default()) }
    }

    /// How long so many octets take.
    #[inline]
    pub(crate) fn takes(&mut self, octets: u32) -> Moment {
        if self.known.0 != octets {
            self.known = (octets, self.of(u64::from(octets)));
        }
        self.known.1
    }

    /// The same for any number of octets.
    #[cold]
    pub(crate) fn of(&self, octets: u64) -> Moment {
        let bits = u128::from(octets) * 8 * 1_000_000_000;
        let rate = u128::from(self.rate_bits);
        let part = u64::try_from(bits % rate).expect("a rest is below the rate, which fits");
        Moment { ns: u64::try_from(bits / rate).unwrap_or(u64::MAX), part }
    }

    /// A span of chance, to the part of a nanosecond. What is longer than time ends with it.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "`as` keeps within the bounds of u64, and chance needs no more than 53 bits"
    )]
    pub(crate) fn span(&self, ns: f64) -> Moment {
        let part = (ns.fract() * self.rate_bits as f64) as u64;
        Moment { ns: ns as u64, part: part.min(self.rate_bits - 1) }
    }

    /// A moment, and so much later. Time stops at its end, in 584 years.
    #[inline]
    pub(crate) fn after(&self, from: Moment, span: Moment) -> Moment {
        let (sum, carried) = from.part.overflowing_add(span.part);
        let ns = from.ns.saturating_add(span.ns);
        if carried || sum >= self.rate_bits {
            Moment { ns: ns.saturating_add(1), part: sum.wrapping_sub(self.rate_bits) }
        } else {
            Moment { ns, part: sum }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_rounded_from_frame_to_frame() {
        for rate in [1, 3, 7, 999_999_937, 90_000_000, 100_000_000_000, u64::MAX] {
            let mut pace = Pace::new(rate);
            let mut now = Moment::at(5);
            let mut octets = 0;
            for len in (60..1514).cycle().step_by(7).take(10_000) {
                let span = pace.takes(len);
                now = pace.after(now, span);
                octets += u64::from(len);
            }
            let whole = pace.of(octets);
            assert_eq!(now, pace.after(Moment::at(5), whole), "{rate}");
            let bits = u128::from(octets) * 8_000_000_000;
            assert_eq!(u128::from(now.floor_ns()) - 5, bits / u128::from(rate), "{rate}");
            let rest = u64::from(bits % u128::from(rate) != 0);
            assert_eq!(now.ceil_ns() - now.floor_ns(), rest, "{rate}");
        }
    }
}
