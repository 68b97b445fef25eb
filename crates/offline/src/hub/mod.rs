//! A hub: stations that share one half-duplex wire (IEEE 802.3-2018, clause 4), and the outputs of taps that do not.
//!
//! ```text
//! station: queue -> wait for silence and the gap -> send -> heard nobody else: delivered
//!                         ^                           | heard somebody: jam, and try again later, 16 times at most
//!                         +-- 0 .. 2^n - 1 slots -----+
//! tap:     queue -> send; whatever overlaps is lost for good, here and there
//! ```
//! A machine of events: told what comes and when, it says what became of it and when. Pure and seeded; never reads a
//! clock, never holds more than its queues.
//!
//! What is simplified, and said so in the manual: every two ports are [`PROPAGATION_BITS`] apart, whatever is between
//! them; times are whole nanoseconds, which is exact at 10, 100 and 1000 Mbit/s; a frame is padded to 64 octets; there
//! is no carrier extension and no bursting at 1000 Mbit/s; a station that collides late tries again, as clause 4 has it
//! up to 100 Mbit/s.

mod counts;
mod domain;
mod stage;
#[cfg(test)]
mod tests;

pub use counts::{HubCounts, PortCounts};
pub(crate) use stage::HubStage;

/// The slot time, bit times: what back-off is counted in.
pub const SLOT_BITS: u64 = 512;
/// The gap between frames, bit times.
pub const GAP_BITS: u64 = 96;
/// The last part of the gap, in which a carrier is not looked at any more, bit times.
pub const GAP_DEAF_BITS: u64 = 32;
/// What a station sends on after it heard a collision, bit times.
pub const JAM_BITS: u64 = 32;
/// Preamble and start of frame, bit times: sent to the end even in a collision.
pub const PREAMBLE_BITS: u64 = 64;
/// From port to port through the hub, bit times: two cables of 100 m, two stations and a class II repeater make 414
/// there and back (clause 29.3).
pub const PROPAGATION_BITS: u64 = 207;
/// How often a frame is tried.
pub const ATTEMPTS_MAX: usize = 16;
/// From this attempt on back-off grows no more.
pub const BACKOFF_ATTEMPTS_MAX: usize = 10;
/// Frames that wait at a port, one that is being sent included: what Linux keeps for a card.
pub const QUEUE_FRAMES: usize = 1000;
