//! What was found out about the clocks of the halves, and what is done about it.

use std::fmt;

use serde::Serialize;
use wire::capture::Timestamp;

use super::line::SCALE;

/// What the evidence says of all halves. `Display` gives a table for people.
#[derive(Clone, PartialEq, Eq, Serialize, Debug)]
pub struct Findings {
    /// Every half but the first, in order.
    pub placements: Vec<Placement>,
    /// Conversations of TCP that were looked at.
    pub conversations: usize,
    /// Of these, conversations whose ports were used a second time: they gave no evidence.
    pub conversations_reused: usize,
    /// Requests and replies of DNS, NTP and echo that were looked at.
    pub requests: usize,
    /// One conversation in so many was looked at; 1 unless there was no room for all.
    pub one_conversation_in: u64,
    /// One request in so many was looked at; 1 unless there was no room for all.
    pub one_request_in: u64,
    /// Frames of the conversations and requests that were not looked at.
    pub frames_left_out: u64,
    /// Frames whose time is more than 36 years from the first frame's: not looked at.
    pub frames_out_of_time: u64,
}

/// What the evidence says of the clock of one half. Offsets are what must be **added** to the times of this half,
/// in nanoseconds.
#[derive(Clone, PartialEq, Eq, Serialize, Debug)]
pub struct Placement {
    /// Which half, counted from 0 here; in JSON and in what people read, counted from 1.
    #[serde(serialize_with = "from_one")]
    pub half: usize,
    /// The file that it was read from; empty where that was not told ([`Findings::name`]).
    pub file: String,
    /// Pairs of cause and effect, by kind.
    pub evidence: Evidence,
    /// Offsets that no pair contradicts, if both clocks run at the same rate; `None` where there is none.
    pub offset_ns: Option<Interval>,
    /// Offsets at the half's first frame that no pair contradicts, whatever the rate (within 1000 parts in a
    /// million); `None` where there is none.
    pub offset_at_first_frame_ns: Option<Interval>,
    /// Drifts that no pair contradicts, in parts in 10^9: what must be added for each second of this half's
    /// clock, in nanoseconds. `None` where there is none. Within 1000 parts in a million at either end.
    pub drift_ppb: Option<Interval>,
    /// Whether the times may be right as they are: no pair contradicts an offset of 0 without drift.
    pub may_be_right: bool,
    /// Requests of this half that bear the very time of their reply in an earlier half, after what is done unless
    /// more is asked for. Of equal times the first-named half goes first, and with it these replies.
    pub tied: u64,
    /// Which end of the link is near the tap, by the turnaround times.
    pub near: Near,
    /// The offset that was chosen, at the half's first frame.
    pub chosen_offset_ns: i64,
    /// The drift that was chosen, in parts in 10^9.
    pub chosen_drift_ppb: i64,
    /// How many pairs contradict the choice.
    pub contradicted: u64,
    #[serde(skip)]
    pub(super) correction: Correction,
    #[serde(skip)]
    pub(super) bounds: super::line::Bounds,
}

/// From one number to another, both included; an end that nothing bounds is `None`.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Debug)]
pub struct Interval {
    /// The least.
    pub least: Option<i64>,
    /// The most.
    pub most: Option<i64>,
}

/// Pairs of cause and effect.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Default, Debug)]
pub struct Evidence {
    /// The reply is in this half: it bounds the offset from below.
    pub replies_here: u64,
    /// The request is in this half: it bounds the offset from above.
    pub requests_here: u64,
    /// Pairs with a SYN of TCP in them.
    pub tcp_handshakes: u64,
    /// Segments of TCP and their acknowledgements, where both bear time stamps.
    pub tcp_stamped: u64,
    /// Segments of TCP and their acknowledgements, without time stamps.
    pub tcp_plain: u64,
    /// Queries of DNS and their responses.
    pub dns: u64,
    /// ICMP and ICMPv6 echo.
    pub echo: u64,
    /// Requests of NTP clients and their answers.
    pub ntp: u64,
}

/// Which end is near the tap: its turnaround times pile up at the edge of the interval.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Debug)]
#[serde(rename_all = "snake_case")]
pub enum Near {
    /// The end that sends into this half.
    ThisHalf,
    /// The end that sends into an earlier half.
    EarlierHalf,
    /// Neither piles up: the middle was taken.
    Neither,
    /// There is evidence of one side only, or none.
    Unknown,
}

/// What is done to the times of a half. Never puts a later time before an earlier one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Correction {
    offset_ns: i128,
    /// In units of 10^-15.
    drift: i64,
    /// Where the drift begins, in nanoseconds since 1970.
    from_ns: i128,
    /// Drifting times are rounded down to multiples of it, so that a file of this resolution loses no order.
    unit_ns: i64,
}

impl Correction {
    /// Leaves times as they are.
    pub const NONE: Self = Self::shift(0);

    /// Adds so many nanoseconds.
    pub const fn shift(offset_ns: i128) -> Self {
        Self { offset_ns, drift: 0, from_ns: 0, unit_ns: 1 }
    }

    pub(super) fn new(offset_ns: i64, drift: i64, from: Timestamp, unit_ns: i64) -> Self {
        Self { offset_ns: i128::from(offset_ns), drift, from_ns: from.0, unit_ns: unit_ns.max(1) }
    }

    /// Whether times stay as they are.
    pub fn is_none(&self) -> bool {
        self.offset_ns == 0 && self.drift == 0
    }

    /// The corrected time.
    #[inline]
    pub fn apply(&self, time: Timestamp) -> Timestamp {
        let shifted = time.0.saturating_add(self.offset_ns);
        if self.drift == 0 {
            return Timestamp(shifted);
        }
        let since = time.0.saturating_sub(self.from_ns);
        let drifted = since.saturating_mul(i128::from(self.drift)).div_euclid(i128::from(SCALE));
        let corrected = shifted.saturating_add(drifted);
        let unit = i128::from(self.unit_ns);
        Timestamp(corrected.saturating_sub(corrected.rem_euclid(unit)))
    }
}

/// Halves are counted from 1 wherever people or programs of theirs read it, as captures in a command line are.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "what serde asks for")]
fn from_one<S: serde::Serializer>(half: &usize, serializer: S) -> Result<S::Ok, S::Error> {
    half.saturating_add(1).serialize(serializer)
}

impl Findings {
    /// Says which files the halves were read from, the first included.
    pub fn name<'a>(&mut self, files: impl Fn(usize) -> Option<&'a str>) {
        for placement in &mut self.placements {
            placement.file = files(placement.half).unwrap_or_default().to_owned();
        }
    }

    /// What is to be done to a half: nothing to the first, and nothing to one whose times may be right as they are.
    pub fn correction(&self, half: usize) -> Correction {
        match self.placement(half) {
            Some(placement) if !placement.may_be_right => placement.correction,
            _ => Correction::NONE,
        }
    }

    /// The choice inside the interval, also where the times may be right as they are.
    pub fn forced(&self, half: usize) -> Correction {
        self.placement(half).map_or(Correction::NONE, |placement| placement.correction)
    }

    /// What was found out about a half; nothing about the first, which the others are held against.
    pub fn placement(&self, half: usize) -> Option<&Placement> {
        self.placements.iter().find(|placement| placement.half == half)
    }
}

impl Evidence {
    /// All pairs.
    pub fn pairs(&self) -> u64 {
        self.replies_here + self.requests_here
    }
}

impl Placement {
    /// Whether no pair contradicts this: so many nanoseconds at the half's first frame, and so many more for
    /// each second (parts in 10^9). An offset is added to the half's times.
    pub fn admits(&self, offset_ns: i64, drift_ppb: i64) -> bool {
        self.bounds.admits(offset_ns, drift_ppb.saturating_mul(SCALE / 1_000_000_000))
    }

    /// Whether the evidence bears on the drift at all.
    fn drift_is_told(&self) -> bool {
        self.drift_ppb.is_some_and(|drift| drift.least > Some(-DRIFT_PPB) || drift.most < Some(DRIFT_PPB))
    }

    fn lines(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "half {}", self.half.saturating_add(1))?;
        if !self.file.is_empty() {
            write!(f, " ({})", self.file)?;
        }
        writeln!(f, ": what must be added to its times")?;
        writeln!(f, "  evidence  {}", self.evidence)?;
        if self.evidence.pairs() == 0 {
            return writeln!(f, "  nothing here answers anything there: the times stay as they are");
        }
        match self.offset_ns {
            Some(offset) => {
                writeln!(f, "  offset    {} (if both clocks run at one rate)", offset.show(Unit::Time))?
            }
            None => writeln!(f, "  offset    none, if both clocks run at one rate")?,
        }
        match self.drift_ppb {
            Some(drift) if self.drift_is_told() => writeln!(f, "  drift     {}", drift.show(Unit::Rate))?,
            Some(_) => writeln!(f, "  drift     not told by the evidence")?,
            None => writeln!(f, "  drift     none within 1000 ppm would do")?,
        }
        if let (None, Some(offset)) = (self.offset_ns, self.offset_at_first_frame_ns) {
            writeln!(f, "  with it   {} at the first frame", offset.show(Unit::Time))?;
        }
        if self.contradicted > 0 {
            let (wrong, pairs) = (self.contradicted, self.evidence.pairs());
            writeln!(f, "  contradictory: {wrong} of {pairs} pairs contradict the best offset and drift")?;
        }
        if self.may_be_right {
            writeln!(f, "  0 is possible: the halves may be right as they are, and nothing is changed")?;
            if self.tied > 0 {
                let (bear, their) = if self.tied == 1 {
                    ("request here bears", "its")
                } else {
                    ("requests here bear", "their")
                };
                writeln!(f, "  {} {bear} the very time of {their} reply: name this half first", self.tied)?;
            }
            write!(f, "  if asked  ")?;
        } else {
            write!(f, "  chosen    ")?;
        }
        write!(f, "{}", Unit::Time.show(self.chosen_offset_ns))?;
        if self.chosen_drift_ppb != 0 {
            write!(f, " at the first frame, and {}", Unit::Rate.show(self.chosen_drift_ppb))?;
        }
        writeln!(f, ": {}", self.near.words())
    }
}

/// The most drift that is looked for, in parts in 10^9.
const DRIFT_PPB: i64 = super::line::DRIFT_MAX / (SCALE / 1_000_000_000);

impl Near {
    fn words(self) -> &'static str {
        match self {
            Self::ThisHalf => {
                "the end that sends into this half answers soonest, so it is near the tap and its fastest answer \
                 took next to no time"
            }
            Self::EarlierHalf => {
                "the end that this half's frames go to answers soonest, so it is near the tap and its fastest \
                 answer took next to no time"
            }
            Self::Neither => "neither end answers much sooner than the other, so the middle",
            Self::Unknown => "only one end answers the other, so the nearest to its fastest answer",
        }
    }
}

#[derive(Clone, Copy)]
enum Unit {
    Time,
    Rate,
}

impl Unit {
    /// With a sign: what is added.
    fn show(self, value: i64) -> String {
        let sign = if value < 0 { '-' } else { '+' };
        let size = value.unsigned_abs();
        match self {
            Self::Time => format!("{sign}{}.{:06} ms", size / 1_000_000, size % 1_000_000),
            Self::Rate => format!("{sign}{}.{:03} ppm", size / 1000, size % 1000),
        }
    }
}

impl Interval {
    fn show(&self, unit: Unit) -> String {
        match (self.least, self.most) {
            (Some(least), Some(most)) => format!("{} to {}", unit.show(least), unit.show(most)),
            (Some(least), None) => format!("{} or more", unit.show(least)),
            (None, Some(most)) => format!("{} or less", unit.show(most)),
            (None, None) => "anything".to_owned(),
        }
    }

    /// Whether a number lies within.
    pub fn holds(&self, value: i64) -> bool {
        self.least.is_none_or(|least| least <= value) && self.most.is_none_or(|most| value <= most)
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} replies here, {} requests here", self.replies_here, self.requests_here)?;
        let kinds = [
            ("TCP handshakes", self.tcp_handshakes),
            ("TCP with time stamps", self.tcp_stamped),
            ("TCP without", self.tcp_plain),
            ("DNS", self.dns),
            ("echo", self.echo),
            ("NTP", self.ntp),
        ];
        let mut between = ": ";
        for (name, count) in kinds.into_iter().filter(|(_, count)| *count > 0) {
            write!(f, "{between}{name} {count}")?;
            between = ", ";
        }
        Ok(())
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for placement in &self.placements {
            placement.lines(f)?;
        }
        if self.one_conversation_in > 1 || self.one_request_in > 1 {
            writeln!(
                f,
                "looked at 1 TCP conversation in {} and 1 request in {}; {} frames left out for lack of room",
                self.one_conversation_in, self.one_request_in, self.frames_left_out
            )?;
        }
        if self.conversations_reused > 0 {
            writeln!(
                f,
                "{} of {} TCP conversations used their ports again and gave no evidence",
                self.conversations_reused, self.conversations
            )?;
        }
        if self.frames_out_of_time > 0 {
            let out = self.frames_out_of_time;
            let are = if out == 1 { "frame is" } else { "frames are" };
            writeln!(f, "{out} {are} decades from the first in time: not looked at")?;
        }
        Ok(())
    }
}
