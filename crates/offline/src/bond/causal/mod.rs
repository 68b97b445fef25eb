//! Clocks that differ, found out from the conversations: a reply cannot precede its request.
//!
//! The halves of a full-duplex link were captured by clocks of their own. What one half answers of the other
//! says which moment came first, in both directions, and together that bounds by how much the clocks differ:
//! an interval, never a number. [`Observer`] gathers the evidence, [`Findings`] are the bounds, what they leave
//! open, and the choice inside them with the assumption that it rests on, [`Correction`] is what is done to the
//! times of a half. [`Inversions`] counts the replies that come before their request in a merged stream. The
//! method and its limits are described in `docs/causal.md`.
//!
//! Never does I/O, never reads a clock, never reorders frames of one half. Every table is bounded.

mod choice;
mod findings;
mod inversions;
mod line;
#[cfg(test)]
mod model;
mod sight;
mod table;
#[cfg(test)]
mod tests;

pub use findings::{Correction, Evidence, Findings, Interval, Near, Placement};
pub use inversions::Inversions;

use wire::Frame;
use wire::capture::Timestamp;

use choice::Gathered;
use sight::{Sight, see};
use table::{Limits, Moment, Table};

/// Gathers evidence from the halves.
#[derive(Debug)]
pub struct Observer {
    table: Table,
    /// The first time of the first frame: all others are counted from here.
    origin: Option<Timestamp>,
    halves: Vec<Seen>,
    /// Frames whose time is more than 73 years from the first one's.
    out_of_time: u64,
}

/// What was seen of a half.
#[derive(Clone, Copy, Debug)]
struct Seen {
    frames: u64,
    first: i64,
    /// All times are multiples of it, in nanoseconds.
    unit: i64,
}

/// Units that a half's times may have, in nanoseconds, coarsest first.
const UNITS: [i64; 4] = [1_000_000_000, 1_000_000, 1_000, 1];

impl Observer {
    /// An observer of so many halves.
    pub fn new(halves: usize) -> Self {
        Self::with(halves, Limits::USUAL)
    }

    fn with(halves: usize, limits: Limits) -> Self {
        let seen = Seen { frames: 0, first: 0, unit: UNITS[0] };
        Self { table: Table::new(limits), origin: None, halves: vec![seen; halves], out_of_time: 0 }
    }

    /// Looks at a frame. Frames of one half come in the order of their file; halves in any order. A frame of a
    /// half that was not announced is ignored.
    pub fn frame(&mut self, half: usize, time: Timestamp, frame: &Frame<'_>) {
        let Some(seen) = self.halves.get_mut(half) else { return };
        let origin = *self.origin.get_or_insert(time);
        let since = time.0.checked_sub(origin.0).and_then(|since| i64::try_from(since).ok());
        let Some(since) = since.filter(|since| since.abs() < line::TIME_MAX / 2) else {
            self.out_of_time += 1;
            return;
        };
        if seen.frames == 0 {
            seen.first = since;
        }
        seen.frames += 1;
        while seen.unit > 1 && time.0 % i128::from(seen.unit) != 0 {
            seen.unit /= 1000;
        }
        let at = Moment { half, time: since };
        match see(frame) {
            Some(Sight::Segment(segment)) => self.table.segment(at, &segment),
            Some(Sight::Request(exchange)) => self.table.exchange(at, &exchange, true),
            Some(Sight::Reply(exchange)) => self.table.exchange(at, &exchange, false),
            None => {}
        }
    }

    /// What the evidence says of each half but the first.
    pub fn finish(self) -> Findings {
        let mut gathered: Vec<Gathered> = self.halves.iter().map(|_| Gathered::default()).collect();
        self.table.pairs(|pair| {
            if let Some(of) = gathered.get_mut(pair.cause.half.max(pair.effect.half)) {
                of.add(pair);
            }
        });
        let origin = self.origin.unwrap_or_default();
        let unit = self.halves.iter().filter(|seen| seen.frames > 0).map(|seen| seen.unit).min();
        let unit = unit.unwrap_or(1);
        let mut placements: Vec<Placement> = Vec::new();
        for (half, gathered) in gathered.iter().enumerate().skip(1) {
            let first = self.halves.get(half).map_or(0, |seen| seen.first);
            placements.push(choice::place(
                half,
                gathered,
                &placements,
                &choice::Frame { origin, first, unit },
            ));
        }
        let (conversations, exchanges) = self.table.held();
        let share = self.table.share();
        Findings {
            placements,
            conversations,
            conversations_reused: self.table.reused(),
            requests: exchanges,
            one_conversation_in: share.conversations,
            one_request_in: share.exchanges,
            frames_left_out: self.table.frames_left_out,
            frames_out_of_time: self.out_of_time,
        }
    }
}
