//! Measures of one port: what was offered, carried and lost, what waited and for how long, microbursts, and what rate
//! or buffer would have lost nothing.
//!
//! A [`PortMeter`] is told events and never asks for any: no clock, no files, no frames, and memory that does not grow
//! with time. It is no part of the port: a model (or a real port) runs as it runs, and the meter looks on.
//!
//! ```
//! use offline::meter::{PortMeter, Spec};
//!
//! let mut meter = PortMeter::new(Spec {
//!     name: "ids".into(),
//!     sides: vec!["a".into(), "b".into()],
//!     rate_bits: Some(100_000_000),
//!     buffer_bytes: Some(1 << 20),
//!     ..Spec::default()
//! });
//! // A frame of side a at 0 ns; it leaves at once. Then one of side b that finds no room.
//! meter.offered(0, 0, 1476, 1500);
//! meter.departed(0, 120_000, 0, 1476);
//! meter.offered(500, 1, 1476, 1500);
//! meter.dropped(500, 1, 1476);
//! let measured = meter.finish(1_000_000);
//! assert_eq!(measured.report.total.dropped.frames, 1);
//! println!("{}", measured.report);
//! ```
//!
//! What a load alone asks of a port, before there is any: [`of_load`].

mod cure;
mod histogram;
mod plot;
mod queue;
mod report;
mod series;
mod show;
mod windows;

use plan::ledger::Count;
use plan::simulation::Framing;

use cure::Shadows;
use histogram::Histogram;
pub use plot::svg;
use queue::Depth;
pub use report::{Burst, Cure, Delay, Load, Losses, Measures, PortReport, Queue, SideReport};
use series::SeriesMeter;
pub use series::{Series, SideSeries};
pub use show::Reports;
use windows::{PEAK_NS, SHORT_NS, Windows, bits_a_second};

/// What a meter is to look at.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Spec {
    /// The user's name of the port.
    pub name: String,
    /// Names of the sides; events say which by index. An index beyond them counts for the last.
    pub sides: Vec<String>,
    /// Bits a second of wire that the port sends; `None`: nothing ever waits.
    pub rate_bits: Option<u64>,
    /// Bits a second of the line under the port, where that is known: no rate above it helps unless the line is faster.
    pub line_bits: Option<u64>,
    /// Frame bytes that may wait, one buffer a side.
    pub buffer_bytes: Option<u64>,
    /// What a frame takes on the wire of the port.
    pub framing: Framing,
    /// Whether to work out what would have lost nothing (needs a rate).
    pub cure: bool,
    /// Whether to keep the [`Series`] that a plot is made of.
    pub plots: bool,
}

/// What a meter gives in the end.
#[derive(Clone, PartialEq, Debug)]
pub struct Measured {
    /// The numbers.
    pub report: PortReport,
    /// What a plot is made of, where it was asked for.
    pub series: Option<Series>,
}

/// Looks on at one port.
///
/// Times are on a clock that begins at 0 with whatever is measured: all ports of a simulation share it. Times never go back within one kind of event; the kinds may be told in any order.
#[derive(Clone, Debug)]
pub struct PortMeter {
    spec: Spec,
    /// Where the clock begins: 0, except for a load that is given with the times of a capture.
    zero_ns: u64,
    from_ns: Option<u64>,
    until_ns: u64,
    sides: Vec<Side>,
    all: Windows<SHORT_NS, 3>,
    depth: Depth,
    waiting: u64,
    shadows: Option<Shadows>,
    series: Option<SeriesMeter>,
}

/// What is counted of one side.
#[derive(Clone, Debug)]
struct Side {
    offered: Count,
    wire_bytes: u64,
    /// When the last frame was offered, and its octets of wire.
    last: (u64, u32),
    carried: Count,
    dropped: Count,
    /// Times of the first and the last loss.
    lost_ns: Option<(u64, u64)>,
    depth: Depth,
    delays: Histogram,
    windows: Windows<PEAK_NS, 1>,
}

impl Side {
    fn new() -> Self {
        Self {
            offered: Count::default(),
            wire_bytes: 0,
            last: (0, 0),
            carried: Count::default(),
            dropped: Count::default(),
            lost_ns: None,
            depth: Depth::default(),
            delays: Histogram::default(),
            windows: Windows::new(None),
        }
    }
}

impl PortMeter {
    /// A meter that has seen nothing yet. A port without sides has one, without a name.
    pub fn new(mut spec: Spec) -> Self {
        if spec.sides.is_empty() {
            spec.sides.push(String::new());
        }
        let sides: Vec<Side> = spec.sides.iter().map(|_| Side::new()).collect();
        let rate = spec.rate_bits.filter(|_| spec.cure);
        let shadows = rate.and_then(|rate| Shadows::new(sides.len(), rate, spec.buffer_bytes));
        let all = Windows::new(spec.rate_bits);
        let depth = Depth::default();
        Self {
            spec,
            zero_ns: 0,
            from_ns: None,
            until_ns: 0,
            sides,
            all,
            depth,
            waiting: 0,
            shadows,
            series: None,
        }
    }

    #[inline]
    fn side(&self, side: u16) -> usize {
        usize::from(side).min(self.sides.len() - 1)
    }

    #[inline]
    fn sees(&mut self, at_ns: u64) {
        self.until_ns = self.until_ns.max(at_ns);
        if self.from_ns.is_none() {
            self.begin(at_ns);
        }
    }

    #[cold]
    fn begin(&mut self, at_ns: u64) {
        self.from_ns = Some(at_ns);
        self.series = self.spec.plots.then(|| SeriesMeter::new(self.zero_ns, &self.spec.sides));
    }

    /// A frame is to leave by the port: `frame_bytes` with tags and without FCS, `wire_bytes` as it takes on the wire.
    #[inline]
    pub fn offered(&mut self, at_ns: u64, side: u16, frame_bytes: u32, wire_bytes: u32) {
        self.sees(at_ns);
        let index = self.side(side);
        let side = &mut self.sides[index];
        side.offered.frames += 1;
        side.offered.bytes += u64::from(frame_bytes);
        side.wire_bytes += u64::from(wire_bytes);
        side.last = (at_ns, wire_bytes);
        side.windows.add(at_ns, u64::from(wire_bytes));
        self.all.add(at_ns, u64::from(wire_bytes));
        if let Some(shadows) = &mut self.shadows {
            shadows.offered(at_ns, index, frame_bytes, wire_bytes);
        }
        if let Some(series) = &mut self.series {
            series.offered(at_ns, index, u64::from(wire_bytes));
        }
    }

    /// A frame that was offered is lost: the buffer of its side was full, or the port loses such frames.
    #[inline]
    pub fn dropped(&mut self, at_ns: u64, side: u16, frame_bytes: u32) {
        self.sees(at_ns);
        let index = self.side(side);
        let side = &mut self.sides[index];
        side.dropped.frames += 1;
        side.dropped.bytes += u64::from(frame_bytes);
        side.lost_ns = Some((side.lost_ns.map_or(at_ns, |(first, _)| first), at_ns));
        if let Some(series) = &mut self.series {
            series.dropped(at_ns, index);
        }
    }

    /// A frame that was offered at `arrived_ns` has left: its last bit at `departed_ns`.
    #[inline]
    pub fn departed(&mut self, arrived_ns: u64, departed_ns: u64, side: u16, frame_bytes: u32) {
        self.sees(departed_ns);
        let index = self.side(side);
        let side = &mut self.sides[index];
        side.carried.frames += 1;
        side.carried.bytes += u64::from(frame_bytes);
        side.delays.add(departed_ns.saturating_sub(arrived_ns));
        if let Some(series) = &mut self.series {
            series.carried(departed_ns, index, u64::from(self.spec.framing.wire_bytes(frame_bytes)));
        }
    }

    /// From now on `waiting_bytes` of this side wait (frame bytes, without the frame that is being sent).
    #[inline]
    pub fn depth(&mut self, at_ns: u64, side: u16, waiting_bytes: u64) {
        self.sees(at_ns);
        let index = self.side(side);
        let depth = &mut self.sides[index].depth;
        self.waiting = self.waiting - depth.waiting() + waiting_bytes;
        depth.set(at_ns, waiting_bytes);
        self.depth.set(at_ns, self.waiting);
        if let Some(series) = &mut self.series {
            series.depth(at_ns, index, waiting_bytes);
        }
    }

    /// The numbers. Traffic was to come until `end_ns` (what is simulated, not until buffers are empty), or until the
    /// last frame that was offered where that is later: from 0 until then mean rates are taken, of all ports and sides
    /// alike, whenever their first frame came. So a burst at the end is no rate that would go on.
    pub fn finish(mut self, end_ns: u64) -> Measured {
        self.all.finish();
        self.sides.iter_mut().for_each(|side| side.windows.finish());
        let last_ns = self.sides.iter().map(|side| side.last.0).max().unwrap_or(0);
        let until_ns = self.until_ns.max(end_ns);
        let from_ns = self.from_ns.unwrap_or(until_ns);
        let (zero_ns, load_until_ns) = (self.zero_ns, last_ns.max(end_ns).max(from_ns));
        let span = Span { zero_ns, load_until_ns, until_ns };
        let buffer = self.spec.buffer_bytes;
        let mut total = Measures::default();
        let mut delays = Histogram::default();
        let mut sides = Vec::new();
        let mut octets = 0;
        for (name, side) in self.spec.sides.iter().zip(&self.sides) {
            let measures = side.measures(span, buffer);
            octets += side.wire_bytes_before(span.load_until_ns);
            total.add(&measures);
            delays.merge(&side.delays);
            sides.push(SideReport { name: name.clone(), measures });
        }
        total.offered.mean_bits = bits_a_second(octets, span.load_ns());
        total.offered.peak_bits = self.all.peak_bits();
        let fullest = self.sides.iter().map(|side| side.depth.deepest()).max().unwrap_or(0);
        total.queue = self.depth.report(until_ns, fullest, buffer);
        total.delay = delays.delay();
        let lasting = self.spec.rate_bits.is_none_or(|rate| total.offered.mean_bits <= rate);
        let none = || self.spec.plots.then(|| SeriesMeter::new(self.zero_ns, &self.spec.sides));
        let series = self.series.or_else(none).map(|series| series.finish(until_ns, &delays.curve()));
        let cure = self.shadows.map(|mut shadows| shadows.finish(lasting));
        // A port that lost nothing has shown that what it has is enough; the reserves of the cure may ask for more.
        let has = self.spec.rate_bits.zip(buffer).filter(|_| total.lost_nothing());
        let cure = match (cure, has) {
            (Some(cure), Some((rate_bits, buffer_bytes))) => Some(cure.at_most(rate_bits, buffer_bytes)),
            (cure, _) => cure,
        };
        let report = PortReport {
            name: self.spec.name,
            rate_bits: self.spec.rate_bits,
            line_bits: self.spec.line_bits,
            buffer_bytes: buffer,
            from_ns,
            until_ns,
            total,
            sides,
            bursts: self.all.bursts(),
            cure,
        };
        Measured { report, series }
    }
}

/// What is measured over.
#[derive(Clone, Copy, Debug)]
struct Span {
    /// Where the clock begins.
    zero_ns: u64,
    /// Until when traffic was to come.
    load_until_ns: u64,
    /// Until when anything happened.
    until_ns: u64,
}

impl Span {
    const fn load_ns(self) -> u64 {
        self.load_until_ns - self.zero_ns
    }
}

impl Side {
    /// Octets of wire that came before a moment, which no frame comes after.
    ///
    /// Frames that come evenly and end with the last one have as many gaps as frames before it.
    fn wire_bytes_before(&self, at_ns: u64) -> u64 {
        let last = if self.last.0 >= at_ns { self.last.1 } else { 0 };
        self.wire_bytes - u64::from(last)
    }

    fn measures(&self, span: Span, buffer: Option<u64>) -> Measures {
        let mut dropped = Losses {
            frames: self.dropped.frames,
            bytes: self.dropped.bytes,
            percent: 0.0,
            first_ns: self.lost_ns.map(|(first, _)| first),
            last_ns: self.lost_ns.map(|(_, last)| last),
        };
        dropped.of(self.offered.frames);
        Measures {
            offered: Load {
                frames: self.offered.frames,
                bytes: self.offered.bytes,
                wire_bytes: self.wire_bytes,
                mean_bits: bits_a_second(self.wire_bytes_before(span.load_until_ns), span.load_ns()),
                peak_bits: self.windows.peak_bits(),
            },
            carried: self.carried,
            dropped,
            queue: self.depth.report(span.until_ns, self.depth.deepest(), buffer),
            delay: self.delays.delay(),
        }
    }
}

/// What a load would ask of a port: its rates, its microbursts, and what rate or buffer would lose nothing of it.
///
/// Frames are told by when they come (nanoseconds, in order), their side, and their length (octets with tags, without
/// FCS); mean rates are from the first frame to the last. No port is simulated: nothing is carried, dropped or waits in the report; compare [`Cure::buffer_bytes`] with
/// the buffer that there is.
///
/// ```
/// use offline::meter::{Spec, of_load};
///
/// // A hundred full frames at once of one side, every 20 ms, for a second.
/// let frames = (0..5000).map(|number| (number / 100 * 20_000_000, 0, 1514));
/// let spec = Spec { rate_bits: Some(100_000_000), buffer_bytes: Some(64 << 10), cure: true, ..Spec::default() };
/// let report = of_load(spec, frames);
/// let cure = report.cure.expect("the port has a rate");
/// assert_eq!(cure.buffer_bytes, 100 * 1514);
/// assert!(cure.lasting, "61 Mbit/s on average");
/// ```
pub fn of_load(spec: Spec, frames: impl IntoIterator<Item = (u64, u16, u32)>) -> PortReport {
    let framing = spec.framing;
    let mut meter = PortMeter::new(spec);
    let mut frames = frames.into_iter().peekable();
    meter.zero_ns = frames.peek().map_or(0, |(at_ns, ..)| *at_ns);
    for (at_ns, side, frame_bytes) in frames {
        meter.offered(at_ns, side, frame_bytes, framing.wire_bytes(frame_bytes));
    }
    meter.finish(0).report
}

/// A length in memory as a count. No machine has more than 2^64 octets.
fn count(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

impl Cure {
    /// No more than a port has that lost nothing.
    fn at_most(self, rate_bits: u64, buffer_bytes: u64) -> Self {
        Self {
            rate_bits: Some(self.rate_bits.map_or(rate_bits, |rate| rate.min(rate_bits))),
            buffer_bytes: self.buffer_bytes.min(buffer_bytes),
            ..self
        }
    }
}

impl Losses {
    /// Sets the percentage.
    #[allow(clippy::cast_precision_loss, reason = "a percentage")]
    fn of(&mut self, offered: u64) {
        self.percent = if offered == 0 { 0.0 } else { 100.0 * self.frames as f64 / offered as f64 };
    }
}

impl Measures {
    /// Whether something left and nothing was lost: of a load alone that is not known.
    const fn lost_nothing(&self) -> bool {
        self.dropped.frames == 0 && self.carried.frames > 0
    }

    /// Adds the counts of a side; rates, queues and delays do not add up.
    fn add(&mut self, side: &Self) {
        self.offered.frames += side.offered.frames;
        self.offered.bytes += side.offered.bytes;
        self.offered.wire_bytes += side.offered.wire_bytes;
        self.carried.frames += side.carried.frames;
        self.carried.bytes += side.carried.bytes;
        let (to, from) = (&mut self.dropped, &side.dropped);
        to.frames += from.frames;
        to.bytes += from.bytes;
        to.first_ns = to.first_ns.into_iter().chain(from.first_ns).min();
        to.last_ns = to.last_ns.max(from.last_ns);
        self.dropped.of(self.offered.frames);
    }
}

#[cfg(test)]
mod tests;
