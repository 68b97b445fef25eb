//! What a meter says at the end: plain numbers with their units in their names. How they look as tables is `show`'s
//! business.

use plan::ledger::Count;
use serde::Serialize;

/// Everything measured at one port.
///
/// Times are nanoseconds on the clock of the events: virtual time, whose 0 is the first frame of all captures that are
/// read, and the same for all ports; of a load alone, the times that it was given with. Rates are of wire
/// bits; bytes are frame bytes (with tags, without FCS) where nothing else is said.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct PortReport {
    /// The user's name of the port.
    pub name: String,
    /// Bits a second of wire; `None`: nothing ever waits.
    pub rate_bits: Option<u64>,
    /// Bits a second of the line under the port, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line_bits: Option<u64>,
    /// Frame bytes, one buffer a side; `None`: without end, or none.
    pub buffer_bytes: Option<u64>,
    /// The first event.
    pub from_ns: u64,
    /// The end of what was measured.
    pub until_ns: u64,
    /// All sides together.
    #[serde(flatten)]
    pub total: Measures,
    /// Each side, in the order of the plan.
    pub sides: Vec<SideReport>,
    /// Peak rates over windows, all sides together, the shortest window first.
    pub bursts: Vec<Burst>,
    /// What would have lost nothing; `None` where the port has no rate, or it was not asked for.
    pub cure: Option<Cure>,
}

/// What was measured of one side.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct SideReport {
    /// The port that its frames entered by.
    pub name: String,
    /// The numbers.
    #[serde(flatten)]
    pub measures: Measures,
}

/// What was measured of one side, or of all.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Measures {
    /// What was to leave by the port.
    pub offered: Load,
    /// What left.
    pub carried: Count,
    /// What was lost.
    pub dropped: Losses,
    /// What waited.
    pub queue: Queue,
    /// How long frames took that left, from their arrival to their last bit; `None`: nothing left.
    pub delay: Option<Delay>,
}

/// What was offered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Load {
    /// Frames.
    pub frames: u64,
    /// Frame bytes.
    pub bytes: u64,
    /// Bytes of wire.
    pub wire_bytes: u64,
    /// Bits a second of wire, from 0 until traffic was to end, whenever the port's first frame came.
    pub mean_bits: u64,
    /// The highest rate over any window of 1 ms (see [`Burst`] for which windows are looked at).
    pub peak_bits: u64,
}

/// What was lost.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub struct Losses {
    /// Frames.
    pub frames: u64,
    /// Frame bytes.
    pub bytes: u64,
    /// Percent of the frames offered.
    pub percent: f64,
    /// When the first frame was lost.
    pub first_ns: Option<u64>,
    /// When the last frame was lost.
    pub last_ns: Option<u64>,
}

/// What waited.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub struct Queue {
    /// The most frame bytes that waited at once.
    pub deepest_bytes: u64,
    /// When that was for the first time; `None`: nothing ever waited.
    pub deepest_at_ns: Option<u64>,
    /// How much of its buffer that is; of the fullest side for all sides together. `None` without a buffer.
    pub percent_of_buffer: Option<f64>,
    /// For how long something waited.
    pub waiting_ns: u64,
}

/// From the arrival of a frame until its last bit had left, nanoseconds.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Delay {
    /// Half of the frames took no longer.
    pub p50_ns: u64,
    /// Nine in ten.
    pub p90_ns: u64,
    /// 99 in a hundred.
    pub p99_ns: u64,
    /// 999 in a thousand.
    pub p999_ns: u64,
    /// The longest, exactly.
    pub max_ns: u64,
    /// How far each percentile may be from the exact one, as a part of it.
    pub relative_error: f64,
}

/// The highest rate over windows of one length.
///
/// Windows slide by a fiftieth of their length. A window in between holds at most what arrives within one step more,
/// so at a line of rate R the exact peak is at most R / 50 above this one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Burst {
    /// Length of the window.
    pub window_ns: u64,
    /// The highest rate in one, bits a second of wire.
    pub peak_bits: u64,
    /// When that window began, for the first time.
    pub peak_at_ns: Option<u64>,
    /// How many times the rate rose above the port's; `None` without a rate, and where the window has no room for four
    /// full frames at that rate (less than 492 Mbit/s for 100 us): a frame alone would be a burst.
    pub exceeded: Option<u64>,
    /// For how long windows were above the port's rate (time in which they ended); `None` as above.
    pub exceeded_ns: Option<u64>,
}

/// What would have lost nothing of this load. Both are sound, not only likely: with either the port model loses no
/// frame of the same load. They are rounded up to four digits; of a port that lost nothing they are no more than it has.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Cure {
    /// The lowest rate that is enough with the buffer as it is: one of a series, [`Cure::rate_step_percent`] apart.
    /// `None`: no rate up to 1 Tbit/s is sure to be, or the port has no buffer that could overflow.
    pub rate_bits: Option<u64>,
    /// How far the rates are apart that were tried.
    pub rate_step_percent: f64,
    /// A buffer a side that is enough at the rate as it is, frame bytes: the deepest backlog of a fluid, and a frame of
    /// each other side. 0: nothing ever waited.
    pub buffer_bytes: u64,
    /// Whether that buffer would do if the load went on like this. If not, no buffer cures it: on average more arrives
    /// than the rate, and the number above is for this run alone.
    pub lasting: bool,
}
