//! Fluids at many rates at once.
//!
//! ```text
//!  rate   1 kbit/s ...   | first          | active                ... 1 Tbit/s
//!         would have lost| something waits| was empty before the last batch
//!                        |  (kept by side)|  (so it holds that, by side)
//! ```
//! Frames are taken in batches, which count as come with their last frame: of at most a 64th of the buffer, or one
//! frame. What that hides is kept in reserve.

use plan::units::{RATE_MAX, RATE_MIN};

use super::octets_a_ns;
use super::recent::Recent;

/// How far the rates are apart.
pub(super) const STEP_PERCENT: f64 = 2.5;
/// A batch is at most this part of the buffer.
const BATCH_PART: u64 = 64;
/// A backlog below this is none: rounding.
const NONE: f64 = 1e-3;

/// The fluids.
#[derive(Clone, Debug)]
pub(super) struct Bank {
    /// Octets a nanosecond, rising.
    rates: Vec<f64>,
    /// By side, then by rate: wire octets that wait.
    waiting: Vec<Vec<f64>>,
    first: usize,
    active: usize,
    buffer_bytes: u64,
    batch_max: u64,
    /// Wire octets of the largest batch of several frames.
    merged: u64,
    recent: Vec<Recent>,
    /// The batch before, which fluids that were empty hold.
    last: Batch,
    batch: Batch,
    longest: u64,
}

/// Frames that count as come at one time.
#[derive(Clone, Debug)]
struct Batch {
    at_ns: u64,
    /// Wire octets by side.
    octets: Vec<f64>,
    total: u64,
}

impl Batch {
    fn new(sides: usize) -> Self {
        Self { at_ns: 0, octets: vec![0.0; sides], total: 0 }
    }
}

/// All rates that are tried, bits a second.
fn rates() -> impl Iterator<Item = u64> {
    let next = |rate: &u64| (*rate < RATE_MAX).then(|| (rate + rate / 40).min(RATE_MAX));
    std::iter::successors(Some(RATE_MIN), next)
}

impl Bank {
    pub(super) fn new(sides: usize, buffer_bytes: u64) -> Self {
        let rates: Vec<f64> = rates().map(octets_a_ns).collect();
        Self {
            waiting: vec![vec![0.0; rates.len()]; sides],
            rates,
            first: 0,
            active: 0,
            buffer_bytes,
            batch_max: buffer_bytes / BATCH_PART,
            merged: 0,
            recent: vec![Recent::new(); sides],
            last: Batch::new(sides),
            batch: Batch::new(sides),
            longest: 0,
        }
    }

    #[inline]
    pub(super) fn offered(&mut self, at_ns: u64, side: usize, frame_bytes: u32, wire_bytes: u32) {
        if self.batch.total > 0 && self.batch.total + u64::from(wire_bytes) > self.batch_max {
            self.run();
        }
        if self.batch.total > 0 {
            self.merged = self.merged.max(self.batch.total + u64::from(wire_bytes));
        }
        self.longest = self.longest.max(u64::from(frame_bytes));
        self.batch.at_ns = self.batch.at_ns.max(at_ns);
        self.batch.octets[side] += f64::from(wire_bytes);
        self.batch.total += u64::from(wire_bytes);
        self.recent[side].add(u64::from(wire_bytes), u64::from(frame_bytes));
    }

    /// Lets the fluids run up to the batch, and adds it to them.
    #[allow(
        clippy::cast_precision_loss,
        reason = "times between batches and their octets are far below 2^53"
    )]
    fn run(&mut self) {
        let span = self.batch.at_ns.saturating_sub(self.last.at_ns) as f64;
        // Those that were empty before the last batch and have not yet served it.
        let total = self.last.total as f64;
        let idle = &self.rates[self.active..];
        let busy = self.active + idle.iter().position(|rate| rate * span >= total).unwrap_or(idle.len());
        for (waiting, octets) in self.waiting.iter_mut().zip(&self.last.octets) {
            waiting[self.active..busy].fill(*octets);
        }
        self.active = busy;
        self.serve(span);
        self.active = self.first_idle();
        self.judge();
        std::mem::swap(&mut self.last, &mut self.batch);
        self.batch.octets.fill(0.0);
        self.batch.total = 0;
        self.batch.at_ns = self.last.at_ns;
    }

    /// Forgets the fluids that would have lost something.
    #[allow(clippy::cast_precision_loss, reason = "buffers are far below 2^53")]
    fn judge(&mut self) {
        let sides = crate::meter::count(self.recent.len());
        // A frame of each other side; and what a batch of several frames hides: how deep it was before the batch
        // ended, and how much less another side had to wait for it.
        let reserve = self.longest * (sides - 1) + self.merged + self.merged / 2;
        let room = self.buffer_bytes.saturating_sub(reserve);
        for (recent, waiting) in self.recent.iter_mut().zip(&self.waiting) {
            let most = recent.wire_octets_within(room) as f64;
            while self.first < self.active && waiting[self.first] > most {
                self.first += 1;
            }
        }
    }

    /// The slowest fluid that holds nothing but the batch.
    #[allow(clippy::cast_precision_loss, reason = "octets of a batch are far below 2^53")]
    fn first_idle(&self) -> usize {
        let total = self.batch.total as f64 + NONE;
        let (mut busy, mut idle) = (self.first, self.active);
        while busy < idle {
            let middle = usize::midpoint(busy, idle);
            let waiting: f64 = self.waiting.iter().map(|waiting| waiting[middle]).sum();
            if waiting > total { busy = middle + 1 } else { idle = middle }
        }
        idle
    }

    /// Serves the fluids in which something waits for so long, and adds the batch to them.
    fn serve(&mut self, span: f64) {
        let busy = self.first..self.active;
        let rates = &self.rates[busy.clone()];
        match (self.waiting.as_mut_slice(), self.batch.octets.as_slice()) {
            ([only], [more]) => {
                for (waiting, rate) in only[busy].iter_mut().zip(rates) {
                    *waiting = (*waiting - rate * span).max(0.0) + more;
                }
            }
            ([one, other], [more_one, more_other]) => {
                let pairs = one[busy.clone()].iter_mut().zip(&mut other[busy]);
                for ((one, other), rate) in pairs.zip(rates) {
                    let octets = rate * span;
                    let half = octets * 0.5;
                    let of_one = half.max(octets - *other);
                    let of_other = half.max(octets - *one);
                    *one = (*one - of_one).max(0.0) + more_one;
                    *other = (*other - of_other).max(0.0) + more_other;
                }
            }
            (many, more) => {
                let mut waiting = [0.0; super::SIDES_MAX];
                let waiting = &mut waiting[..many.len()];
                for (index, rate) in busy.zip(rates) {
                    waiting.iter_mut().zip(&*many).for_each(|(to, from)| *to = from[index]);
                    super::backlog::drain(waiting, rate * span);
                    let left = waiting.iter().zip(more).map(|(left, more)| left + more);
                    many.iter_mut().zip(left).for_each(|(to, left)| to[index] = left);
                }
            }
        }
    }

    /// The lowest rate at which nothing would have been lost; `None`: none of the series.
    pub(super) fn finish(&mut self) -> Option<u64> {
        if self.batch.total > 0 {
            self.run();
        }
        rates().nth(self.first)
    }
}
