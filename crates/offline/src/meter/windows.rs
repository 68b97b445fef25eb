//! Peak rates over sliding windows: microbursts.
//!
//! Each window is fifty steps; the steps of a longer window are sums of steps of the shorter one, so an event costs
//! one addition and a comparison, and memory is three rings.

use super::report::Burst;

/// Steps in a window.
const STEPS: usize = 50;
/// The step of the shortest window, nanoseconds.
const STEP_NS: u64 = 2_000;
/// How many steps of one window make a step of the next.
const FACTOR: u64 = 10;
/// Windows: 100 us, 1 ms and 10 ms.
const WINDOWS: usize = 3;
/// Which of them is the peak rate of a load.
const PEAK: usize = 1;

/// One length of window: the steps that hold anything, however far they are apart.
#[derive(Clone, Debug)]
struct Window {
    step_ns: u64,
    /// Steps that lie within the window, by number and octets: `len` from `oldest`.
    ring: [(u64, u64); STEPS],
    oldest: usize,
    len: usize,
    /// Octets of the ring.
    sum: u64,
    peak: u64,
    /// The last step of the window of the peak.
    peak_step: u64,
    /// Octets that a window may hold at the port's rate.
    limit: u64,
    /// The first step of those that end windows above the limit now.
    above_from: Option<u64>,
    exceeded: u64,
    above_steps: u64,
    /// The step that is going on, and its octets.
    current: (u64, u64),
}

impl Window {
    fn new(step_ns: u64, rate_bits: Option<u64>) -> Self {
        let window_ns = u128::from(step_ns) * STEPS as u128;
        let limit = rate_bits.map(|rate| u128::from(rate) * window_ns / 8_000_000_000);
        Self {
            step_ns,
            ring: [(0, 0); STEPS],
            oldest: 0,
            len: 0,
            sum: 0,
            peak: 0,
            peak_step: 0,
            limit: limit.and_then(|limit| u64::try_from(limit).ok()).unwrap_or(u64::MAX),
            above_from: None,
            exceeded: 0,
            above_steps: 0,
            current: (0, 0),
        }
    }

    /// Octets of a step, not before the one that is going on. Gives the step that this ends, if any.
    #[inline]
    fn add(&mut self, step: u64, octets: u64) -> Option<(u64, u64)> {
        if step <= self.current.0 {
            self.current.1 += octets;
            return None;
        }
        let ended = std::mem::replace(&mut self.current, (step, octets));
        (ended.1 > 0).then(|| {
            self.slide(ended.0, ended.1);
            ended
        })
    }

    /// A step with so many octets is over.
    fn slide(&mut self, step: u64, octets: u64) {
        self.forget_before(step);
        self.ring[(self.oldest + self.len) % STEPS] = (step, octets);
        self.len += 1;
        self.sum += octets;
        if self.sum > self.peak {
            (self.peak, self.peak_step) = (self.sum, step);
        }
        if self.sum > self.limit && self.above_from.is_none() {
            (self.above_from, self.exceeded) = (Some(step), self.exceeded + 1);
        }
    }

    /// Steps that the window which ends with `step` no longer holds.
    fn forget_before(&mut self, step: u64) {
        while self.len > 0 {
            let (old, octets) = self.ring[self.oldest];
            let gone = old + STEPS as u64;
            if gone > step {
                break;
            }
            self.oldest = (self.oldest + 1) % STEPS;
            self.len -= 1;
            self.sum -= octets;
            if self.sum <= self.limit
                && let Some(from) = self.above_from.take()
            {
                self.above_steps += gone - from;
            }
        }
    }

    /// Nothing more comes. Gives the step that was going on.
    fn finish(&mut self) -> Option<(u64, u64)> {
        let ended = self.add(u64::MAX, 0);
        self.forget_before(u64::MAX - 1);
        ended
    }

    fn report(&self, limited: bool) -> Burst {
        let window_ns = self.step_ns * STEPS as u64;
        let end_ns = (self.peak_step + 1).saturating_mul(self.step_ns);
        Burst {
            window_ns,
            peak_bits: bits_a_second(self.peak, window_ns),
            peak_at_ns: (self.peak > 0).then(|| end_ns.saturating_sub(window_ns)),
            exceeded: limited.then_some(self.exceeded),
            exceeded_ns: limited.then_some(self.above_steps * self.step_ns),
        }
    }
}

/// Octets in a time, as a rate; 0 in no time.
pub(super) fn bits_a_second(octets: u64, ns: u64) -> u64 {
    let bits = u128::from(octets) * 8_000_000_000;
    bits.checked_div(u128::from(ns)).and_then(|rate| u64::try_from(rate).ok()).unwrap_or(0)
}

/// The windows of one side, or of all sides.
#[derive(Clone, Debug)]
pub(super) struct Windows {
    /// Octets of the shortest step that is going on, not yet in a window.
    current: u64,
    /// Its number.
    step: u64,
    /// Where it ends.
    end_ns: u64,
    windows: [Window; WINDOWS],
    limited: bool,
}

impl Windows {
    pub(super) fn new(rate_bits: Option<u64>) -> Self {
        let window = |power: u32| Window::new(STEP_NS * FACTOR.pow(power), rate_bits);
        Self {
            current: 0,
            step: 0,
            end_ns: 0,
            windows: [window(0), window(1), window(2)],
            limited: rate_bits.is_some(),
        }
    }

    /// So many octets at this time. What is older than the step that is going on counts in it.
    #[inline]
    pub(super) fn add(&mut self, at_ns: u64, octets: u64) {
        if at_ns >= self.end_ns {
            self.end_step();
            self.step = at_ns / STEP_NS;
            self.end_ns = (self.step + 1).saturating_mul(STEP_NS);
        }
        self.current += octets;
    }

    fn end_step(&mut self) {
        let octets = std::mem::take(&mut self.current);
        self.feed(0, self.step, octets);
    }

    /// Octets of a step of one window; where that ends the step before, that one goes to the next longer window.
    fn feed(&mut self, first: usize, mut step: u64, mut octets: u64) {
        for window in &mut self.windows[first..] {
            let Some(ended) = window.add(step, octets) else { return };
            (step, octets) = (ended.0 / FACTOR, ended.1);
        }
    }

    /// Nothing more comes.
    pub(super) fn finish(&mut self) {
        self.end_step();
        for index in 0..WINDOWS {
            if let Some((step, octets)) = self.windows[index].finish() {
                self.feed(index + 1, step / FACTOR, octets);
            }
        }
    }

    pub(super) fn bursts(&self) -> Vec<Burst> {
        self.windows.iter().map(|window| window.report(self.limited)).collect()
    }

    /// Bits a second of wire.
    pub(super) fn peak_bits(&self) -> u64 {
        self.windows[PEAK].report(self.limited).peak_bits
    }
}
