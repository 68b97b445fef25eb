//! A port over time, in a bounded number of bins: when they are used up, neighbours become one and bins twice as wide.

use serde::Serialize;

/// Most bins of a series; even.
const BINS: usize = 1000;
/// How long octets are added up for the peaks of a series, nanoseconds.
pub(super) const PEAK_NS: u64 = 1_000_000;
/// The first width of a bin, nanoseconds.
const WIDTH_NS: u64 = 1_000;

/// What happened at a port over time. Bin `i` begins at `from_ns + i * width_ns`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Series {
    /// Where the first bin begins.
    pub from_ns: u64,
    /// Width of every bin.
    pub width_ns: u64,
    /// By side, in the order of the plan.
    pub sides: Vec<SideSeries>,
    /// The most bytes of wire that all sides together offered in one millisecond that began in each bin; milliseconds
    /// are counted from `from_ns`.
    pub peaks: Vec<u64>,
    /// The distribution of delays of all sides: nanoseconds, and the part of frames that took no longer, in millionths.
    pub delays: Vec<(u64, u32)>,
}

/// One side over time; all vectors are equally long.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct SideSeries {
    /// The port that its frames entered by.
    pub name: String,
    /// Bytes of wire offered in each bin.
    pub offered: Vec<u64>,
    /// Bytes of wire that left in each bin.
    pub carried: Vec<u64>,
    /// Frames lost in each bin.
    pub dropped: Vec<u64>,
    /// The most frame bytes that waited at once in each bin.
    pub deepest: Vec<u64>,
    #[serde(skip)]
    waiting: u64,
    #[serde(skip)]
    waiting_bin: usize,
}

impl SideSeries {
    /// Adds another side to this one; of what waited the deeper stays, for each has its own buffer.
    pub(super) fn join(&mut self, other: &Self) {
        let pairs = [
            (&mut self.offered, &other.offered),
            (&mut self.carried, &other.carried),
            (&mut self.dropped, &other.dropped),
        ];
        for (to, from) in pairs {
            to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
        }
        let deepest = self.deepest.iter_mut().zip(&other.deepest);
        deepest.for_each(|(to, from)| *to = (*to).max(*from));
    }

    fn halve(&mut self) {
        for bins in [&mut self.offered, &mut self.carried, &mut self.dropped] {
            halve(bins, |one, other| one + other);
        }
        halve(&mut self.deepest, u64::max);
        self.waiting_bin /= 2;
    }
}

/// Makes one bin of two neighbours each.
fn halve(bins: &mut [u64], join: fn(u64, u64) -> u64) {
    for index in 0..BINS {
        let pair = |at: usize| bins.get(at).copied().unwrap_or(0);
        bins[index] = join(pair(2 * index), pair(2 * index + 1));
    }
}

/// Fills a series.
#[derive(Clone, Debug)]
pub(super) struct SeriesMeter {
    series: Series,
    /// The bin of the last event, and where it begins and ends: most events fall into the same.
    bin: usize,
    bin_from_ns: u64,
    bin_until_ns: u64,
    /// Where the millisecond that is going on ends, and its octets.
    peak_until_ns: u64,
    peak: u64,
}

impl SeriesMeter {
    pub(super) fn new(from_ns: u64, sides: &[String]) -> Self {
        let side = |name: &String| SideSeries {
            name: name.clone(),
            offered: vec![0; BINS],
            carried: vec![0; BINS],
            dropped: vec![0; BINS],
            deepest: vec![0; BINS],
            ..SideSeries::default()
        };
        let sides = sides.iter().map(side).collect();
        let series = Series { from_ns, width_ns: WIDTH_NS, sides, peaks: vec![0; BINS], delays: Vec::new() };
        let bin_until_ns = from_ns.saturating_add(WIDTH_NS);
        let peak_until_ns = from_ns.saturating_add(PEAK_NS);
        Self { series, bin: 0, bin_from_ns: from_ns, bin_until_ns, peak_until_ns, peak: 0 }
    }

    /// The bin of a time; what is before the first counts in it.
    #[inline]
    fn at(&mut self, at_ns: u64) -> usize {
        if at_ns < self.bin_from_ns || at_ns >= self.bin_until_ns {
            self.find(at_ns);
        }
        self.bin
    }

    fn find(&mut self, at_ns: u64) {
        let series = &mut self.series;
        let offset = at_ns.saturating_sub(series.from_ns);
        while offset / series.width_ns >= super::count(BINS) {
            series.sides.iter_mut().for_each(SideSeries::halve);
            halve(&mut series.peaks, u64::max);
            series.width_ns *= 2;
        }
        let bin = offset / series.width_ns;
        self.bin = usize::try_from(bin).expect("bins are few");
        self.bin_from_ns = series.from_ns + bin * series.width_ns;
        self.bin_until_ns = self.bin_from_ns.saturating_add(series.width_ns);
    }

    #[inline]
    pub(super) fn offered(&mut self, at_ns: u64, side: usize, wire_bytes: u64) {
        let bin = self.at(at_ns);
        self.series.sides[side].offered[bin] += wire_bytes;
        if at_ns >= self.peak_until_ns {
            self.end_peak();
            let passed = (at_ns - self.peak_until_ns) / PEAK_NS + 1;
            self.peak_until_ns = self.peak_until_ns.saturating_add(passed * PEAK_NS);
        }
        self.peak += wire_bytes;
    }

    /// The millisecond that was going on is over.
    fn end_peak(&mut self) {
        let offset = self.peak_until_ns - PEAK_NS - self.series.from_ns;
        let bin = usize::try_from(offset / self.series.width_ns).unwrap_or(BINS);
        if let Some(most) = self.series.peaks.get_mut(bin) {
            *most = (*most).max(self.peak);
        }
        self.peak = 0;
    }

    #[inline]
    pub(super) fn carried(&mut self, at_ns: u64, side: usize, wire_bytes: u64) {
        let bin = self.at(at_ns);
        self.series.sides[side].carried[bin] += wire_bytes;
    }

    pub(super) fn dropped(&mut self, at_ns: u64, side: usize) {
        let bin = self.at(at_ns);
        self.series.sides[side].dropped[bin] += 1;
    }

    /// From now on so many octets of a side wait; until now it was what was said last.
    #[inline]
    pub(super) fn depth(&mut self, at_ns: u64, side: usize, waiting: u64) {
        let bin = self.at(at_ns);
        let side = &mut self.series.sides[side];
        let before = side.waiting;
        if side.waiting_bin < bin {
            let passed = side.waiting_bin + 1..=bin;
            side.deepest[passed].iter_mut().for_each(|deepest| *deepest = before.max(*deepest));
            side.waiting_bin = bin;
        }
        side.waiting = waiting;
        side.deepest[bin] = side.deepest[bin].max(waiting);
    }

    /// The series up to `until_ns`.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a part of 1 in millionths")]
    pub(super) fn finish(mut self, until_ns: u64, delays: &[(u64, f64)]) -> Series {
        self.end_peak();
        let last = self.at(until_ns.saturating_sub(1).max(self.series.from_ns));
        for side in 0..self.series.sides.len() {
            let waiting = self.series.sides[side].waiting;
            self.depth(until_ns.saturating_sub(1).max(self.series.from_ns), side, waiting);
            let side = &mut self.series.sides[side];
            for bins in [&mut side.offered, &mut side.carried, &mut side.dropped, &mut side.deepest] {
                bins.truncate(last + 1);
            }
        }
        self.series.peaks.truncate(last + 1);
        self.series.delays = delays.iter().map(|(ns, part)| (*ns, (part * 1e6) as u32)).collect();
        self.series
    }
}
