//! Lines and switches in front of the plan: what a sender can put on its wire, and what a SPAN port can mirror.
//!
//! **A network port's line** carries one frame after the other at its speed. What its sender has ready sooner waits in
//! the sender's queue of [`SENDER_BYTES`], and is lost as `sender` where that is full.
//!
//! **A SPAN port's switch** does not mirror what it drops by itself: runts (below 60 octets without FCS), giants
//! (above 1518 with FCS, 1522 with one tag, 1526 with two) and frames whose FCS is wrong. What is left shares the
//! mirror's line: what comes faster waits in [`SWITCH_BYTES`], and is lost as `oversubscribed` where that is full.
//! A tap carries all of these.

use std::collections::VecDeque;

use plan::simulation::Framing;

use super::clock::{Moment, Pace};
use super::{Arrival, Emerged, Stage};

/// What a sender's queue holds, octets of frames: 1000 full frames, the length of the queue of a Linux interface.
pub(crate) const SENDER_BYTES: u64 = 1000 * 1514;
/// What a switch keeps for its mirror port, octets of frames: a small share of a shared packet memory.
pub(crate) const SWITCH_BYTES: u64 = 128 << 10;

/// What stands in front of a hook.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// A sender's own line.
    Sender,
    /// A switch that mirrors.
    Span,
}

/// A line, FIFO.
pub(crate) struct Line {
    kind: Kind,
    framing: Framing,
    /// `None`: as fast as need be.
    pace: Option<Pace>,
    busy: Moment,
    waiting: VecDeque<Arrival>,
    bytes: u64,
}

impl Line {
    /// A line of this speed, bits a second of wire; `None`: of any.
    pub(crate) fn new(kind: Kind, speed_bits: Option<u64>, framing: Framing) -> Self {
        Self {
            kind,
            framing,
            pace: speed_bits.map(Pace::new),
            busy: Moment::default(),
            waiting: VecDeque::new(),
            bytes: 0,
        }
    }

    const fn room_bytes(&self) -> u64 {
        match self.kind {
            Kind::Sender => SENDER_BYTES,
            Kind::Span => SWITCH_BYTES,
        }
    }

    /// Puts a frame on the wire, which is free.
    fn begin(&mut self, mut arrival: Arrival, at_ns: u64, out: &mut Vec<Emerged>) {
        if let Some(pace) = &mut self.pace {
            let takes = pace.takes(self.framing.wire_bytes(arrival.frame_bytes));
            self.busy = pace.after(self.busy.max(Moment::at(arrival.time_ns)), takes);
        }
        arrival.time_ns = at_ns;
        out.push(Emerged::Through(arrival));
    }
}

impl Stage for Line {
    fn offer(&mut self, arrival: Arrival, out: &mut Vec<Emerged>) {
        if self.kind == Kind::Span
            && let Some(flaw) = arrival.flaw
        {
            out.push(Emerged::Lost(arrival, flaw.reason()));
            return;
        }
        let free = self.pace.is_none() || self.busy.ceil_ns() <= arrival.time_ns;
        if free && self.waiting.is_empty() {
            self.begin(arrival, arrival.time_ns, out);
        } else if self.bytes + u64::from(arrival.frame_bytes.max(1)) > self.room_bytes() {
            let reason = match self.kind {
                Kind::Sender => "sender",
                Kind::Span => "oversubscribed",
            };
            out.push(Emerged::Lost(arrival, reason));
        } else {
            self.bytes += u64::from(arrival.frame_bytes.max(1));
            self.waiting.push_back(arrival);
        }
    }

    fn next_ns(&self) -> Option<u64> {
        (!self.waiting.is_empty()).then(|| self.busy.ceil_ns())
    }

    fn advance(&mut self, now_ns: u64, out: &mut Vec<Emerged>) {
        while let Some(at_ns) = self.next_ns().filter(|at_ns| *at_ns <= now_ns) {
            let Some(arrival) = self.waiting.pop_front() else { break };
            self.bytes -= u64::from(arrival.frame_bytes.max(1));
            self.begin(arrival, at_ns, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timed::{Flaw, FrameRef};
    use plan::plan::HookId;

    fn arrival(time_ns: u64, frame_bytes: u32, flaw: Option<Flaw>) -> Arrival {
        Arrival { time_ns, hook: HookId(3), frame_bytes, flaw, frame: FrameRef::None }
    }

    /// Everything through a line: times of those that come through, in order, and reasons of the others.
    fn through(line: &mut Line, arrivals: &[Arrival]) -> (Vec<u64>, Vec<&'static str>) {
        let mut out = Vec::new();
        for arrival in arrivals {
            line.advance(arrival.time_ns, &mut out);
            line.offer(*arrival, &mut out);
        }
        line.advance(u64::MAX, &mut out);
        assert_eq!((line.next_ns(), line.bytes, out.len()), (None, 0, arrivals.len()));
        let (mut times, mut lost) = (Vec::new(), Vec::new());
        for emerged in out {
            match emerged {
                Emerged::Through(it) => times.push(it.time_ns),
                Emerged::Lost(_, reason) => lost.push(reason),
            }
        }
        (times, lost)
    }

    #[test]
    fn a_sender_waits_for_its_wire_and_loses_nothing_but_what_its_queue_does_not_hold() {
        // 1000 octets take 1 ms.
        let mut line = Line::new(Kind::Sender, Some(8_000_000), Framing::NONE);
        let few =
            [arrival(0, 1000, None), arrival(10, 1000, Some(Flaw::Damaged)), arrival(2_500_000, 500, None)];
        assert_eq!(through(&mut line, &few), (vec![0, 1_000_000, 2_500_000], vec![]));
        let many = vec![arrival(9_000_000, 1514, None); 1100];
        let (times, lost) = through(&mut line, &many);
        assert_eq!((times.len(), lost), (1001, vec!["sender"; 99]));
        assert_eq!(times[..2], [9_000_000, 10_514_000]);
    }

    #[test]
    fn a_switch_mirrors_no_flawed_frame_and_no_more_than_its_line() {
        let flaws = [Flaw::Runt, Flaw::Giant, Flaw::Damaged];
        let flawed: Vec<Arrival> = flaws.map(|flaw| arrival(0, 100, Some(flaw))).into();
        let mut line = Line::new(Kind::Span, None, Framing::ETHERNET);
        assert_eq!(through(&mut line, &flawed), (vec![], vec!["runt", "giant", "damaged"]));
        // Twice what the line carries, for 1 s: half of it is lost but for what the switch holds.
        let arrivals: Vec<Arrival> = (0..2000).map(|n| arrival(n * 500_000, 1000, None)).collect();
        let mut line = Line::new(Kind::Span, Some(8_000_000), Framing::NONE);
        let (times, lost) = through(&mut line, &arrivals);
        let held = usize::try_from(SWITCH_BYTES / 1000).unwrap();
        assert_eq!((times.len(), lost.len()), (1000 + held, 1000 - held));
        assert!(lost.iter().all(|reason| *reason == "oversubscribed"));
        assert!(times.windows(2).all(|pair| pair[1] - pair[0] == 1_000_000));
    }
}
