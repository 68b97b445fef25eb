//! A fluid at one rate, with buffers without end.

use super::octets_a_ns;
use super::recent::Recent;

/// What waits at one rate.
#[derive(Clone, Debug)]
pub(super) struct Backlog {
    /// Octets a nanosecond.
    rate: f64,
    last_ns: u64,
    /// Wire octets that wait, by side.
    waiting: Vec<f64>,
    recent: Vec<Recent>,
    /// The most frame octets that ever waited on one side.
    deepest: u64,
}

impl Backlog {
    pub(super) fn new(sides: usize, rate_bits: u64) -> Self {
        let recent = vec![Recent::new(); sides];
        Self { rate: octets_a_ns(rate_bits), last_ns: 0, waiting: vec![0.0; sides], recent, deepest: 0 }
    }

    #[inline]
    #[allow(clippy::cast_precision_loss, reason = "times between events are far below 2^53 ns")]
    pub(super) fn offered(&mut self, at_ns: u64, side: usize, frame_bytes: u32, wire_bytes: u32) {
        let octets = self.rate * at_ns.saturating_sub(self.last_ns) as f64;
        self.last_ns = self.last_ns.max(at_ns);
        drain(&mut self.waiting, octets);
        // What finds the line idle does not wait.
        let idle = self.waiting.iter().all(|waiting| *waiting <= 0.0);
        let waiting = &mut self.waiting[side];
        *waiting += f64::from(wire_bytes);
        let recent = &mut self.recent[side];
        recent.add(u64::from(wire_bytes), u64::from(frame_bytes));
        let frame_octets = recent.frame_octets_since_served(*waiting);
        if frame_octets > self.deepest && !idle {
            self.deepest = frame_octets;
        }
    }

    /// Frame octets, of the deepest side.
    pub(super) const fn deepest(&self) -> u64 {
        self.deepest
    }
}

/// Serves so many octets, the sides that wait in equal shares; what one does not need the others have.
#[inline]
pub(super) fn drain(waiting: &mut [f64], octets: f64) {
    match waiting {
        [only] => *only = (*only - octets).max(0.0),
        [one, other] => {
            let half = octets * 0.5;
            let of_one = half.max(octets - *other);
            let of_other = half.max(octets - *one);
            *one = (*one - of_one).max(0.0);
            *other = (*other - of_other).max(0.0);
        }
        many => drain_many(many, octets),
    }
}

/// A round for each side that is empty before the octets are used up.
#[allow(clippy::cast_precision_loss, reason = "sides are few")]
fn drain_many(waiting: &mut [f64], mut octets: f64) {
    for _ in 0..waiting.len() {
        let busy = waiting.iter().filter(|it| **it > 0.0).count();
        if busy == 0 || octets <= 0.0 {
            return;
        }
        let least = waiting.iter().copied().filter(|it| *it > 0.0).fold(f64::INFINITY, f64::min);
        let each = least.min(octets / busy as f64);
        waiting.iter_mut().for_each(|it| *it = (*it - each).max(0.0));
        octets -= each * busy as f64;
    }
}
