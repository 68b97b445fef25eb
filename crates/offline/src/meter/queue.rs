//! What waits at a port: how deep it was, when, and for how long anything waited.

use super::report::Queue;

/// One queue, or all of a port together.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Depth {
    waiting: u64,
    deepest: u64,
    deepest_at_ns: u64,
    since_ns: u64,
    waiting_ns: u64,
}

impl Depth {
    /// From now on so many octets wait.
    #[inline]
    pub(super) fn set(&mut self, at_ns: u64, octets: u64) {
        if self.waiting > 0 {
            self.waiting_ns += at_ns.saturating_sub(self.since_ns);
        }
        self.since_ns = at_ns;
        self.waiting = octets;
        if octets > self.deepest {
            (self.deepest, self.deepest_at_ns) = (octets, at_ns);
        }
    }

    #[inline]
    pub(super) const fn waiting(&self) -> u64 {
        self.waiting
    }

    /// The numbers up to `until_ns`; `fullest`: the deepest of the buffers that this is about.
    #[allow(clippy::cast_precision_loss, reason = "a percentage")]
    pub(super) fn report(mut self, until_ns: u64, fullest: u64, buffer: Option<u64>) -> Queue {
        self.set(until_ns.max(self.since_ns), self.waiting);
        Queue {
            deepest_bytes: self.deepest,
            deepest_at_ns: (self.deepest > 0).then_some(self.deepest_at_ns),
            percent_of_buffer: buffer
                .filter(|octets| *octets > 0)
                .map(|octets| 100.0 * fullest as f64 / octets as f64),
            waiting_ns: self.waiting_ns,
        }
    }

    pub(super) const fn deepest(&self) -> u64 {
        self.deepest
    }
}
