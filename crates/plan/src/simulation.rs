//! What virtual time knows beyond the plan: how fast lines are, which ports share one wire, and what traffic comes.
//!
//! Only `offline` looks at it: on the kernel lines have the speed that they have. Pure data.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::plan::{Point, PortId};

mod spec;

pub use spec::{FLOWS_MAX, SIZE_MAX, SIZE_MIN, Spec, port_spec, traffic_spec};

/// What is simulated, and for how long. The default is what a replay of captures needs: lines of any speed, frames
/// as they are on Ethernet.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Simulation {
    /// Nanoseconds of virtual time; `None`: until all traffic has ended and all buffers are empty.
    pub duration_ns: Option<u64>,
    /// What chance is drawn from: equal seeds, equal outcomes.
    pub seed: u64,
    /// What a frame takes on a line.
    pub framing: Framing,
    /// Octets that a monitor port may send at once beyond its rate after it was idle: what a token bucket stores.
    pub stored_bytes: u64,
    /// Lines whose speed is known.
    pub lines: Vec<Line>,
    /// Ports that share one wire.
    pub hubs: Vec<Hub>,
    /// What comes.
    pub traffic: Vec<Traffic>,
}

/// What a frame takes on a line beyond its own octets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Framing {
    /// Octets added to each frame (IEEE 802.3: preamble and start 8, FCS 4, gap 12).
    pub overhead_bytes: u32,
    /// The least that a frame takes, overhead included.
    pub minimum_bytes: u32,
}

impl Framing {
    /// Frame + 24, at least 84.
    pub const ETHERNET: Self = Self { overhead_bytes: 24, minimum_bytes: 84 };
    /// The octets of the frame alone: for sums on paper.
    pub const NONE: Self = Self { overhead_bytes: 0, minimum_bytes: 0 };

    /// Octets of line that a frame of `frame_bytes` octets (with tags, without FCS) takes.
    #[inline]
    pub const fn wire_bytes(self, frame_bytes: u32) -> u32 {
        let octets = frame_bytes.saturating_add(self.overhead_bytes);
        if octets < self.minimum_bytes { self.minimum_bytes } else { octets }
    }
}

impl Default for Framing {
    fn default() -> Self {
        Self::ETHERNET
    }
}

/// The line at a port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Line {
    /// The port.
    pub port: PortId,
    /// Bits a second of wire (see [`Framing`]).
    pub speed_bits: u64,
}

/// Ports that share one half-duplex wire (IEEE 802.3, clause 4).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hub {
    /// The device's name.
    pub name: String,
    /// Its ports, in the order of the config.
    pub ports: Vec<PortId>,
    /// Those that the output of a tap or a SPAN port is plugged into: it sends whatever comes, whether the wire is free
    /// or not, and never again what collided.
    pub taps: BTreeSet<PortId>,
    /// Bits a second.
    pub speed_bits: u64,
}

/// What comes to one point.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Traffic {
    /// Where frames cross the plan.
    pub at: Point,
    /// What comes.
    pub pattern: Pattern,
    /// When it begins, nanoseconds of virtual time.
    pub from_ns: u64,
    /// When it ends; `None`: with the simulation, or with the capture.
    pub until_ns: Option<u64>,
    /// How many flows (five-tuples) its frames belong to in turn; 1 or more. Captures have their own.
    pub flows: u32,
    /// Frames in a million that arrive damaged (a bad FCS): taps carry them, SPAN ports lose them.
    pub errors_ppm: u32,
}

/// How frames follow each other.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Pattern {
    /// Evenly: `cbr:RATE:SIZE`.
    Constant {
        /// Bits a second of wire.
        rate_bits: u64,
        /// How long frames are.
        size: Size,
    },
    /// With exponential gaps: `poisson:RATE:SIZE`.
    Poisson {
        /// Bits a second of wire, on the long run.
        rate_bits: u64,
        /// How long frames are.
        size: Size,
    },
    /// Evenly, on and off in turn, on first: `onoff:RATE:SIZE:ON:OFF`.
    OnOff {
        /// Bits a second of wire, while on.
        rate_bits: u64,
        /// How long frames are.
        size: Size,
        /// Nanoseconds.
        on_ns: u64,
        /// Nanoseconds.
        off_ns: u64,
    },
    /// A capture, its times relative to its first frame: a path, or `capture:PATH[:SPEED]`.
    Capture {
        /// The file, as named; `-` is standard input.
        file: PathBuf,
        /// How many times faster than it was, in thousandths.
        speed_milli: u64,
    },
}

/// How long the frames of a pattern are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Size {
    /// Octets without FCS; frames have no tag, so that below 60 it is a runt, and above 1514 a giant.
    Fixed(u32),
    /// 7 of 60, 4 of 590 and 1 of 1514 octets: the simple Internet mix.
    Mix,
}
