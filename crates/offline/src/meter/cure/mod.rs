//! What would have lost nothing: the smallest buffer at the port's rate, and the lowest rate with the port's buffer.
//!
//! Both come from shadows of the port that never drop: fluids, which serve all sides that wait at once, each an equal
//! share of the wire. A port that sends whole frames is never further behind such a fluid than a frame of each other
//! side, and that much is kept in reserve. So what is claimed is sound: run again with either, the port loses nothing.
//! How far it is from the least that would do is bounded and stated (see [`super::Cure`]).
//!
//! * **The buffer**: one fluid at the port's rate with buffers without end ([`backlog`]). With buffers as large as the
//!   deepest backlog the port loses nothing, so it runs exactly as it would without end; with less it must lose
//!   something when the backlog is deepest.
//! * **The rate**: fluids at all rates of a series, 2.5 % apart ([`bank`]). A higher rate never leaves more waiting on
//!   any side, so those that would have lost something are always the slowest, and those that are empty the fastest:
//!   only those in between take any time.
//!
//! Wire octets are what is served, frame octets what fills a buffer. What a FIFO holds is always what came last, so
//! how many frame octets a backlog of wire octets is can be looked up in what came last ([`recent`]), the same for
//! all fluids.

mod backlog;
mod bank;
mod recent;

use super::report::Cure;
use backlog::Backlog;
use bank::Bank;

/// More sides than a plan gives a port.
const SIDES_MAX: usize = 16;

/// Octets a nanosecond.
#[allow(clippy::cast_precision_loss, reason = "rates are below 2^53")]
fn octets_a_ns(rate_bits: u64) -> f64 {
    rate_bits as f64 / 8e9
}

/// Both shadows of a port.
#[derive(Clone, Debug)]
pub(super) struct Shadows {
    backlog: Backlog,
    /// `None` without a buffer: there is nothing that could overflow.
    bank: Option<Bank>,
    sides: u32,
    longest: u32,
}

impl Shadows {
    /// Shadows of a port of this rate; `None` where it has more sides than a plan gives it.
    pub(super) fn new(sides: usize, rate_bits: u64, buffer_bytes: Option<u64>) -> Option<Self> {
        let count = u32::try_from(sides).ok().filter(|_| sides <= SIDES_MAX)?;
        let bank = buffer_bytes.map(|buffer| Bank::new(sides, buffer));
        Some(Self { backlog: Backlog::new(sides, rate_bits), bank, sides: count, longest: 0 })
    }

    #[inline]
    pub(super) fn offered(&mut self, at_ns: u64, side: usize, frame_bytes: u32, wire_bytes: u32) {
        self.longest = self.longest.max(frame_bytes);
        self.backlog.offered(at_ns, side, frame_bytes, wire_bytes);
        if let Some(bank) = &mut self.bank {
            bank.offered(at_ns, side, frame_bytes, wire_bytes);
        }
    }

    /// What is found in the end; `lasting` as it is told in [`Cure`].
    pub(super) fn finish(&mut self, lasting: bool) -> Cure {
        let deepest = self.backlog.deepest();
        let reserve = if deepest > 0 { u64::from(self.longest) * u64::from(self.sides - 1) } else { 0 };
        Cure {
            rate_bits: self.bank.as_mut().and_then(Bank::finish).map(round_up),
            rate_step_percent: bank::STEP_PERCENT,
            buffer_bytes: round_up(deepest + reserve),
            lasting,
        }
    }
}

/// To four digits, as it is shown and will be typed: what is rounded down might lose something.
fn round_up(value: u64) -> u64 {
    let digits = value.checked_ilog10().unwrap_or(0);
    let unit = 10u64.pow(digits.saturating_sub(3));
    value.checked_next_multiple_of(unit).unwrap_or(value)
}

#[cfg(test)]
mod tests;
