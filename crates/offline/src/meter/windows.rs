//! Peak rates over sliding windows: microbursts.
//!
//! Each window is fifty steps; the steps of a longer window are sums of steps of the shorter one, so an event costs
//! one addition and a comparison, and memory is three rings.

use super::report::Burst;

/// Full frames that a window must have room for at the port's rate: in a shorter one a frame alone is a burst.
const FRAMES_MIN: u64 = 4;
/// A full frame of Ethernet on the wire, octets.
const FRAME_BYTES: u64 = 1538;
/// Steps in a window.
const STEPS: usize = 50;
/// The step of a window of 100 us, nanoseconds.
pub(super) const SHORT_NS: u64 = 2_000;
/// The step of a window of 1 ms, nanoseconds: the peak rate of a load.
pub(super) const PEAK_NS: u64 = SHORT_NS * FACTOR;
/// How many steps of one window make a step of the next.
const FACTOR: u64 = 10;

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
    /// The step with which the last of them was no longer so: a run that begins with it is the same.
    above_until: u64,
    exceeded: u64,
    above_steps: u64,
    /// The step that is going on, and its octets.
    current: (u64, u64),
}

impl Window {
    fn new(step_ns: u64, rate_bits: Option<u64>) -> Self {
        let window_ns = u128::from(step_ns.saturating_mul(super::count(STEPS)));
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
            above_until: 0,
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
            self.exceeded += u64::from(self.exceeded == 0 || self.above_until != step);
            self.above_from = Some(step);
        }
    }

    /// Steps that the window which ends with `step` no longer holds.
    fn forget_before(&mut self, step: u64) {
        while self.len > 0 {
            let (old, octets) = self.ring[self.oldest];
            let gone = old + super::count(STEPS);
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
                self.above_until = gone;
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
        let window_ns = self.step_ns * super::count(STEPS);
        let limited = limited && self.limit >= FRAMES_MIN * FRAME_BYTES;
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

/// Windows of which each is ten times as long as the one before; the shortest has steps of `STEP_NS`.
#[derive(Clone, Debug)]
pub(super) struct Windows<const STEP_NS: u64, const COUNT: usize> {
    /// Octets of the shortest step that is going on, not yet in a window.
    current: u64,
    /// Its number.
    step: u64,
    /// Where it ends.
    end_ns: u64,
    windows: [Window; COUNT],
    limited: bool,
}

impl<const STEP_NS: u64, const COUNT: usize> Windows<STEP_NS, COUNT> {
    /// Windows that have seen nothing.
    pub(super) fn new(rate_bits: Option<u64>) -> Self {
        let mut next_ns = STEP_NS;
        let windows = std::array::from_fn(|_| {
            let window = Window::new(next_ns, rate_bits);
            next_ns = next_ns.saturating_mul(FACTOR);
            window
        });
        Self { current: 0, step: 0, end_ns: 0, windows, limited: rate_bits.is_some() }
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
        for index in 0..COUNT {
            if let Some((step, octets)) = self.windows[index].finish() {
                self.feed(index + 1, step / FACTOR, octets);
            }
        }
    }

    pub(super) fn bursts(&self) -> Vec<Burst> {
        self.windows.iter().map(|window| window.report(self.limited)).collect()
    }

    /// Bits a second of wire, in windows of 1 ms.
    pub(super) fn peak_bits(&self) -> u64 {
        let peak = self.windows.iter().find(|window| window.step_ns == PEAK_NS);
        peak.map_or(0, |window| window.report(false).peak_bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use plan::arbitrary::Random;

    /// The most octets in windows that end with a step, and how many steps are above a limit and in how many runs.
    fn brute(events: &[(u64, u64)], step_ns: u64, limit: u64) -> (u64, u64, u64) {
        let last = events.last().unwrap().0 / step_ns + STEPS as u64;
        let (mut peak, mut above, mut runs, mut before) = (0, 0, 0, false);
        for step in 0..=last {
            let from = (step + 1).saturating_sub(STEPS as u64) * step_ns;
            let until = (step + 1) * step_ns;
            let within = events.iter().filter(|(at, _)| (from..until).contains(at));
            let octets: u64 = within.map(|(_, octets)| octets).sum();
            peak = peak.max(octets);
            above += u64::from(octets > limit);
            runs += u64::from(octets > limit && !before);
            before = octets > limit;
        }
        (peak, above, runs)
    }

    #[test]
    fn windows_are_those_of_brute_force() {
        for seed in 0..10 {
            let mut random = Random::new(seed);
            let mut now = 0;
            let events: Vec<(u64, u64)> = (0..300)
                .map(|_| {
                    let gap = [10, 3_000, 90_000, 900_000][random.below(4)];
                    now += random.below(gap) as u64;
                    (now, 1 + random.below(100_000) as u64)
                })
                .collect();
            let rate = 1_000_000_000 + random.below(1 << 33) as u64;
            let mut windows: Windows<SHORT_NS, 3> = Windows::new(Some(rate));
            events.iter().for_each(|(at, octets)| windows.add(*at, *octets));
            windows.finish();
            for (burst, step_ns) in windows.bursts().iter().zip([2_000, 20_000, 200_000]) {
                let window_ns = step_ns * 50;
                let limit = u64::try_from(u128::from(rate) * u128::from(window_ns) / 8_000_000_000).unwrap();
                let (peak, above, runs) = brute(&events, step_ns, limit);
                let told = (burst.peak_bits, burst.exceeded_ns, burst.exceeded);
                let exact = (bits_a_second(peak, window_ns), Some(above * step_ns), Some(runs));
                assert_eq!(told, exact, "seed {seed}, {window_ns} ns");
                let from = burst.peak_at_ns.unwrap();
                let in_it = events.iter().filter(|(at, _)| (from..from + window_ns).contains(at));
                let octets: u64 = in_it.map(|(_, octets)| octets).sum();
                assert!(octets == peak || from == 0, "seed {seed}: {octets} of {peak} from {from}");
            }
        }
    }

    #[test]
    fn a_frame_alone_is_no_burst() {
        let mut windows: Windows<SHORT_NS, 3> = Windows::new(Some(100_000_000));
        windows.add(5, 1538);
        windows.finish();
        let exceeded: Vec<Option<u64>> = windows.bursts().iter().map(|burst| burst.exceeded).collect();
        assert_eq!(exceeded, [None, Some(0), Some(0)]);
        assert_eq!(windows.peak_bits(), 1538 * 8 * 1000);
    }

    #[test]
    fn no_time_has_no_rate() {
        assert_eq!((bits_a_second(1, 0), bits_a_second(125, 1000)), (0, 1_000_000_000));
    }
}
