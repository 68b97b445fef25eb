//! What comes: frames that sources make up, and frames of captures, each source in order of time.
//!
//! Never holds a frame beyond the next one, and takes no memory for frames that are made: their octets are those of a
//! template, in which the flow is written when somebody asks for them.

mod chance;
mod made;

use plan::arbitrary::Random;
use plan::ledger::Count;
use plan::plan::{HookId, PortId};
use plan::simulation::{Framing, Pattern, Size, Traffic};
use wire::capture::Timestamp;
use wire::{Frame, LinkType, Tag};

use super::clock::{Moment, Pace};
use super::merge::NEVER;
use super::{Arrival, Flaw, FrameRef};
use crate::input::Feed;

/// In a million.
const MILLION: u64 = 1_000_000;
/// What [`Size::Mix`] is, in the order in which frames come: 7 of 60, 4 of 590 and 1 of 1514 octets.
const MIX: [u8; 12] = [0, 1, 0, 0, 1, 0, 2, 0, 1, 0, 1, 0];
const MIX_BYTES: [u32; 3] = [60, 590, 1514];
/// The last moment at which a frame of a capture comes; what a capture says of later ones, only their order is kept of.
/// 292 years, and as many again for lines and ports to send what waits: nothing is ever due at `NEVER`.
const LATEST_NS: u64 = NEVER / 2;

/// A source of frames for one hook.
pub(crate) enum Source {
    /// Made up.
    Made(Box<Made>),
    /// From a capture.
    Captured(Box<Captured>),
}

impl Source {
    /// When its next frame comes; `NEVER` where there is none.
    #[inline]
    pub(crate) fn time_ns(&self) -> u64 {
        match self {
            Self::Made(made) => made.time_ns,
            Self::Captured(captured) => captured.time_ns,
        }
    }

    /// The next frame, which is there; `index` is that of the source. [`Source::step`] must follow.
    #[inline]
    pub(crate) fn arrival(&mut self, index: u32) -> Arrival {
        match self {
            Self::Made(made) => made.arrival(index),
            Self::Captured(captured) => captured.arrival(index),
        }
    }

    /// Its frame has been taken: goes on to the next one, where that is in memory. Otherwise it must be tried again after
    /// [`Source::refill`].
    #[inline]
    pub(crate) fn step(&mut self) -> bool {
        match self {
            Self::Made(_) => true,
            Self::Captured(captured) => captured.step(),
        }
    }

    /// Reads on; what was read before moves.
    #[cold]
    pub(crate) fn refill(&mut self) {
        if let Self::Captured(captured) = self {
            captured.feed.refill();
        }
    }

    /// Whether its frames were captured where they entered: nothing stands in their way.
    #[inline]
    pub(crate) fn has_entered(&self) -> bool {
        matches!(self, Self::Captured(captured) if captured.entered)
    }

    /// The time that its next frame has in the capture, where it is written with that.
    pub(crate) fn own_time(&self) -> Option<Timestamp> {
        match self {
            Self::Captured(captured) if captured.entered => captured.feed.time(),
            Self::Captured(_) | Self::Made(_) => None,
        }
    }
}

/// How frames that are made follow each other.
#[derive(Clone, Copy, Debug)]
enum Rhythm {
    Even,
    Exponential,
    OnOff { from_ns: u64, on_ns: u64, period_ns: u64 },
}

/// Frames of a length.
struct Length {
    bytes: u32,
    wire_bytes: u32,
    flaw: Option<Flaw>,
    template: Vec<u8>,
    /// The flow that is written in the template.
    flow: u32,
}

/// Frames that are made up.
pub(crate) struct Made {
    hook: HookId,
    /// When the next frame comes.
    time_ns: u64,
    /// The same to the part of a nanosecond; of what is on and off in turn, only the time on counts.
    next: Moment,
    until_ns: u64,
    pace: Pace,
    /// Nanoseconds of an octet of wire.
    octet_ns: f64,
    rhythm: Rhythm,
    lengths: Vec<Length>,
    mixed: usize,
    flows: u32,
    flow: u32,
    errors_ppm: u64,
    random: Random,
    /// What was made so far.
    pub(crate) made: Count,
}

impl Made {
    /// The source of a pattern that is no capture, which `None` is for. `end_ns` is where the simulation ends.
    pub(crate) fn new(
        traffic: &Traffic,
        hook: HookId,
        framing: Framing,
        seed: u64,
        end_ns: u64,
    ) -> Option<Self> {
        let (rate_bits, size) = match traffic.pattern {
            Pattern::Constant { rate_bits, size }
            | Pattern::Poisson { rate_bits, size }
            | Pattern::OnOff { rate_bits, size, .. } => (rate_bits, size),
            Pattern::Capture { .. } => return None,
        };
        let rhythm = match traffic.pattern {
            Pattern::Poisson { .. } => Rhythm::Exponential,
            Pattern::OnOff { on_ns, off_ns, .. } => Rhythm::OnOff {
                from_ns: traffic.from_ns,
                on_ns: on_ns.max(1),
                period_ns: on_ns.saturating_add(off_ns).max(1),
            },
            Pattern::Constant { .. } | Pattern::Capture { .. } => Rhythm::Even,
        };
        let lengths: Vec<u32> = match size {
            Size::Fixed(bytes) => vec![bytes],
            Size::Mix => MIX_BYTES.into(),
        };
        let length = |bytes: u32| Length::new(traffic.at.port, bytes, framing);
        let mut made = Self {
            hook,
            time_ns: NEVER,
            next: Moment::at(traffic.from_ns),
            until_ns: traffic.until_ns.unwrap_or(u64::MAX).min(end_ns),
            pace: Pace::new(rate_bits),
            octet_ns: octet_ns(rate_bits),
            rhythm,
            lengths: lengths.into_iter().map(length).collect(),
            mixed: 0,
            flows: traffic.flows.max(1),
            flow: 0,
            errors_ppm: u64::from(traffic.errors_ppm),
            random: Random::new(seed),
            made: Count::default(),
        };
        if let Rhythm::Exponential = made.rhythm {
            // The first frame comes after a gap, too.
            made.step(made.lengths[0].wire_bytes);
        }
        made.settle();
        Some(made)
    }

    #[inline]
    fn arrival(&mut self, source: u32) -> Arrival {
        let at = match (self.lengths.len(), self.rhythm) {
            (1, _) => 0,
            (_, Rhythm::Exponential) => MIX[self.random.below(MIX.len())],
            _ => {
                let at = MIX[self.mixed];
                self.mixed = (self.mixed + 1) % MIX.len();
                at
            }
        };
        let Length { bytes, wire_bytes, flaw, .. } = self.lengths[usize::from(at)];
        let damaged = self.errors_ppm > 0 && self.random.bits() % MILLION < self.errors_ppm;
        let flaw = if damaged { Some(Flaw::Damaged) } else { flaw };
        self.made.frames += 1;
        self.made.bytes += u64::from(bytes);
        let frame = FrameRef::Made { source, flow: self.flow, length: at };
        let arrival = Arrival { time_ns: self.time_ns, hook: self.hook, frame_bytes: bytes, flaw, frame };
        self.flow = if self.flow + 1 == self.flows { 0 } else { self.flow + 1 };
        self.step(wire_bytes);
        self.settle();
        arrival
    }

    /// Sets when the next frame comes, after one that took so many octets.
    #[inline]
    fn step(&mut self, wire_bytes: u32) {
        match self.rhythm {
            Rhythm::Even | Rhythm::OnOff { .. } => {
                let takes = self.pace.takes(wire_bytes);
                self.next = self.pace.after(self.next, takes);
            }
            Rhythm::Exponential => {
                let gap = chance::exponential(&mut self.random) * f64::from(wire_bytes) * self.octet_ns;
                self.next = self.pace.after(self.next, self.pace.span(gap));
            }
        }
    }

    /// A frame comes at the nanosecond in which its moment lies.
    #[inline]
    fn settle(&mut self) {
        let mut at_ns = self.next.floor_ns();
        if let Rhythm::OnOff { from_ns, on_ns, period_ns } = self.rhythm {
            // `next` stands still while it is off: what is left of one time on is there at the next.
            let spent = at_ns.saturating_sub(from_ns);
            let periods = (spent / on_ns).saturating_mul(period_ns);
            at_ns = from_ns.saturating_add(periods).saturating_add(spent % on_ns);
        }
        self.time_ns = if at_ns < self.until_ns { at_ns } else { NEVER };
    }

    /// Where its frames are judged.
    pub(crate) fn hook(&self) -> HookId {
        self.hook
    }

    /// Frames of so many flows and lengths are all different.
    pub(crate) fn variants(&self) -> (u32, u8) {
        (self.flows, if self.lengths.len() == 1 { 1 } else { 3 })
    }

    /// A frame by its flow and length.
    pub(crate) fn frame(&mut self, flow: u32, length: u8) -> Frame<'_> {
        let length = &mut self.lengths[usize::from(length)];
        if length.flow != flow {
            made::address(&mut length.template, flow);
            length.flow = flow;
        }
        Frame { data: &length.template, wire_len: length.bytes, link_type: LinkType::ETHERNET }
    }
}

impl Length {
    fn new(port: PortId, bytes: u32, framing: Framing) -> Self {
        let template = made::template(port, usize::try_from(bytes).expect("32 bits fit"));
        let bytes = u32::try_from(template.len()).expect("as long as 32 bits said");
        let wire_bytes = framing.wire_bytes(bytes);
        Self { bytes, wire_bytes, flaw: Flaw::of(bytes, 0, false), template, flow: 0 }
    }
}

#[allow(clippy::cast_precision_loss, reason = "chance needs no more than 53 bits")]
fn octet_ns(rate_bits: u64) -> f64 {
    8e9 / rate_bits.max(1) as f64
}

/// Frames of a capture.
pub(crate) struct Captured {
    pub(crate) feed: Feed,
    /// When the next frame comes.
    time_ns: u64,
    /// The moment of the capture that is `from_ns`.
    zero: Timestamp,
    from_ns: u64,
    until_ns: u64,
    speed_milli: u64,
    /// Whether its frames were captured where they entered: neither line nor switch is in their way, and they are
    /// written with their own times.
    entered: bool,
}

impl Captured {
    /// A capture whose frames entered the plan, in a replay that begins at `zero`.
    pub(crate) fn entered(feed: Feed, zero: Timestamp, end_ns: u64) -> Self {
        let base =
            Self { feed, time_ns: 0, zero, from_ns: 0, until_ns: end_ns, speed_milli: 1000, entered: true };
        base.begun()
    }

    /// A capture that is sent again: its times relative to its first frame.
    pub(crate) fn sent(feed: Feed, traffic: &Traffic, speed_milli: u64, end_ns: u64) -> Self {
        let zero = feed.time().unwrap_or_default();
        let until_ns = traffic.until_ns.unwrap_or(u64::MAX).min(end_ns);
        let from_ns = traffic.from_ns;
        let base = Self { feed, time_ns: from_ns, zero, from_ns, until_ns, speed_milli, entered: false };
        base.begun()
    }

    fn begun(mut self) -> Self {
        self.settle();
        self
    }

    #[inline]
    fn arrival(&self, source: u32) -> Arrival {
        let head = self.feed.head();
        let (frame_bytes, flaw) = head.map_or((0, None), |(_, frame)| {
            // Whoever sends pads: what a capture holds of less was taken before that.
            (
                frame.wire_len,
                Flaw::of(frame.wire_len, tags(frame.data), false).filter(|flaw| *flaw != Flaw::Runt),
            )
        });
        let frame = FrameRef::Next(source);
        Arrival { time_ns: self.time_ns, hook: self.feed.hook, frame_bytes, flaw, frame }
    }

    fn step(&mut self) -> bool {
        let there = self.feed.step();
        if there {
            self.settle();
        }
        there
    }

    /// Time never runs backwards, whatever a capture says.
    fn settle(&mut self) {
        let Some(time) = self.feed.time() else {
            self.time_ns = NEVER;
            return;
        };
        let since = u128::try_from(time.0 - self.zero.0).unwrap_or_default();
        let since = since.saturating_mul(1000) / u128::from(self.speed_milli.max(1));
        let at_ns = self.from_ns.saturating_add(u64::try_from(since).unwrap_or(u64::MAX));
        self.time_ns = at_ns.min(LATEST_NS).max(self.time_ns);
        if self.time_ns >= self.until_ns {
            self.time_ns = NEVER;
        }
    }
}

/// Tags of a frame of Ethernet, two at most.
fn tags(data: &[u8]) -> u32 {
    let announces = |at: usize| match data.get(at..at + 2) {
        Some([high, low]) => Tag::announces(u16::from_be_bytes([*high, *low])),
        _ => false,
    };
    match (announces(12), announces(16)) {
        (false, _) => 0,
        (true, false) => 1,
        (true, true) => 2,
    }
}
