//! What is measured: a tap that stands, and the frames that are sent at it.

use crate::jobs::View;
use crate::stand::{Peer, Sink, Stand};

/// A tap, or a peer, that is set up and stays so for the whole run.
pub struct Standing {
    /// Its stand.
    pub stand: Stand,
    /// Where frames can end: the far end, the monitors, or `a` itself.
    pub sinks: Vec<Sink>,
    /// The peer's process, where it is one.
    pub process: Option<Peer>,
    /// Whether it keeps a ledger that must balance.
    pub has_ledger: bool,
    /// What is sent at it; each is measured by itself.
    pub loads: Vec<Load>,
}

/// Frames that are sent at a tap.
pub struct Load {
    /// The name in tables and results.
    pub name: String,
    /// How its frames travel.
    pub view: View,
    /// Whether it is a process beside the path, which may lose frames of a flood.
    pub may_lose: bool,
    /// The frame, of which the generator may change octets.
    pub frame: Vec<u8>,
    /// The generator's program.
    pub generator: sys::ProgFd,
    /// A sample has this part of the usual number of frames: slow peers would take all night.
    pub part: u32,
    /// Where frames must arrive.
    pub arrivals: Vec<Arrival>,
}

/// Sinks, and the share of all frames that must arrive at them together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Arrival {
    /// Indexes into [`Standing::sinks`].
    pub sinks: Vec<usize>,
    /// One frame of so many; 0 for none at all.
    pub one_of: u64,
}

impl Arrival {
    /// Every frame at this sink.
    pub fn all(sink: usize) -> Self {
        Self { sinks: vec![sink], one_of: 1 }
    }

    /// How many of the frames sent must arrive.
    pub fn expected(&self, sent: u64) -> u64 {
        sent.checked_div(self.one_of).unwrap_or(0)
    }
}
