//! Virtual time: traffic that comes, wires and switches that it goes through, the plan, and monitor ports with a rate.
//!
//! ```text
//! traffic --+                                                 +--> monitor port: buffers, rate --> capture
//! traffic --+--> stage of its hook (line, SPAN switch, hub) --+--> verdict, tally
//! capture -----------------------------------------------------+--> network port --------------> capture
//! ```
//! Everything that happens has a moment in nanoseconds, and the engine always does what is earliest: first what comes
//! out of stages, then what sources send, then captures, each in their order. Never reads a clock; never holds more
//! than what waits in stages and ports, whatever the duration.
//!
//! # Stages
//! A [`Stage`] stands between traffic and the hook or hooks where its frames are judged. It is handed each [`Arrival`]
//! when it comes (times never fall), keeps it as long as it must, and gives it back as [`Emerged::Through`] at the
//! moment that it enters the plan, or as [`Emerged::Lost`] with the reason, by which it is counted under
//! `lost_before`. An arrival is a few words that are handed around by value: its octets stay with the engine, which
//! needs every arrival back exactly once. A hub is one stage for all of its ports.

mod clock;
mod engine;
mod line;
mod merge;
pub(crate) mod port;
mod simulate;
mod store;
mod traffic;

use plan::arbitrary::Random;
use plan::plan::{HookId, Plan, Port, PortId, Queue, Role};
use plan::simulation::Simulation;

use crate::hub::HubStage;

pub use port::kernel_stored_bytes;
pub use simulate::{Look, Simulated, simulate};
pub(crate) use store::FrameRef;

/// A frame on its way to the hook where it is judged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Arrival {
    /// When it is here: at a stage when its sender has it ready, at a hook when it enters. Nanoseconds.
    pub(crate) time_ns: u64,
    /// Where it is going to be judged.
    pub(crate) hook: HookId,
    /// Its octets, with tags and without FCS.
    pub(crate) frame_bytes: u32,
    /// Why a switch would not mirror it; a hub and a tap carry it as it is.
    pub(crate) flaw: Option<Flaw>,
    /// Where its octets are: for the engine alone.
    pub(crate) frame: FrameRef,
}

/// What is wrong with a frame of Ethernet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Flaw {
    /// Shorter than 64 octets with FCS.
    Runt,
    /// Longer than 1518 octets with FCS; 1522 with one tag, 1526 with two.
    Giant,
    /// Its FCS is wrong.
    Damaged,
}

/// The shortest frame of Ethernet, without FCS.
const SHORTEST_BYTES: u32 = 60;
/// The longest frame of Ethernet without a tag, without FCS.
const LONGEST_BYTES: u32 = 1514;
/// Octets of a tag.
const TAG_BYTES: u32 = 4;

impl Flaw {
    /// The flaw of a frame with so many tags.
    pub(crate) fn of(frame_bytes: u32, tags: u32, damaged: bool) -> Option<Self> {
        if damaged {
            Some(Self::Damaged)
        } else if frame_bytes < SHORTEST_BYTES {
            Some(Self::Runt)
        } else if frame_bytes > LONGEST_BYTES + TAG_BYTES * tags.min(2) {
            Some(Self::Giant)
        } else {
            None
        }
    }

    /// What frames are counted under that are lost for it.
    pub(crate) const fn reason(self) -> &'static str {
        match self {
            Self::Runt => "runt",
            Self::Giant => "giant",
            Self::Damaged => "damaged",
        }
    }
}

/// What became of an arrival in a stage.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Emerged {
    /// It enters the plan at its `time_ns`, which the stage has set.
    Through(Arrival),
    /// It is lost before the plan, for this reason.
    Lost(Arrival, &'static str),
}

/// What arrivals pass through before they are judged.
pub(crate) trait Stage {
    /// An arrival comes, at its time. The stage has been told of that time by [`Stage::advance`].
    fn offer(&mut self, arrival: Arrival, out: &mut Vec<Emerged>);

    /// When something may come out next without another arrival; `None`: never.
    fn next_ns(&self) -> Option<u64>;

    /// Everything that comes out up to this moment, it included, in order of time.
    fn advance(&mut self, now_ns: u64, out: &mut Vec<Emerged>);
}

/// A stage, of one of the kinds that there are.
pub(crate) enum Before {
    /// The line of a port.
    Line(line::Line),
    /// The wire of a hub.
    Hub(HubStage),
}

impl Stage for Before {
    fn offer(&mut self, arrival: Arrival, out: &mut Vec<Emerged>) {
        match self {
            Self::Line(line) => line.offer(arrival, out),
            Self::Hub(hub) => hub.offer(arrival, out),
        }
    }

    fn next_ns(&self) -> Option<u64> {
        match self {
            Self::Line(line) => line.next_ns(),
            Self::Hub(hub) => hub.next_ns(),
        }
    }

    fn advance(&mut self, now_ns: u64, out: &mut Vec<Emerged>) {
        match self {
            Self::Line(line) => line.advance(now_ns, out),
            Self::Hub(hub) => hub.advance(now_ns, out),
        }
    }
}

/// What a monitor port can send, and what its buffers hold: its rate, and no more than its line where that has a speed.
/// A port whose line alone is known has the queue of a sender on each side. `None` where neither is.
pub(crate) fn capacity(plan: &Plan, simulation: &Simulation, port: PortId) -> Option<Queue> {
    let Port { role, queue, .. } = *plan.port(port);
    let line = simulation.lines.iter().find(|line| line.port == port && role == Role::Monitor);
    match (queue, line.map(|line| line.speed_bits)) {
        (queue, None) => queue,
        (None, Some(rate_bits)) => Some(Queue { rate_bits, buffer_bytes: line::SENDER_BYTES }),
        (Some(queue), Some(speed)) => Some(Queue { rate_bits: queue.rate_bits.min(speed), ..queue }),
    }
}

/// Whether any port of a plan delays frames, so that a replay takes virtual time.
pub fn delays(plan: &Plan, simulation: &Simulation) -> bool {
    plan.ports().any(|(port, _)| capacity(plan, simulation, port).is_some())
}

/// A seed for each of many: all bits of it depend on both arguments.
pub(crate) fn spread(seed: u64, index: u64) -> u64 {
    let mut random = Random::new(seed ^ Random::new(index).bits());
    random.bits()
}
