//! How many frame octets the last so many wire octets of one side are.

use std::collections::VecDeque;

/// Points kept; when there are more, every other goes.
const POINTS_MAX: usize = 512;

/// Sums of what came, at points a chunk of wire octets apart, as far back as anyone still asks.
#[derive(Clone, Debug, Default)]
pub(super) struct Recent {
    /// Wire octets and frame octets up to a point, in order.
    points: VecDeque<(u64, u64)>,
    wire: u64,
    frame: u64,
    /// Least distance of two points, wire octets.
    chunk: u64,
}

impl Recent {
    pub(super) fn new() -> Self {
        Self { points: VecDeque::from([(0, 0)]), chunk: 1, ..Self::default() }
    }

    #[inline]
    pub(super) fn add(&mut self, wire: u64, frame: u64) {
        self.wire += wire;
        self.frame += frame;
        if self.points.back().is_none_or(|(last, _)| self.wire - last >= self.chunk) {
            self.points.push_back((self.wire, self.frame));
            if self.points.len() > POINTS_MAX {
                self.thin();
            }
        }
    }

    #[cold]
    fn thin(&mut self) {
        let mut index = 0;
        // The first stays: it is where the oldest that anyone asks for begins.
        self.points.retain(|_| {
            index += 1;
            index % 2 == 1
        });
        let span = self.wire - self.points.front().map_or(0, |(wire, _)| *wire);
        self.chunk = (span / (crate::meter::count(POINTS_MAX) / 2)).max(1);
    }

    /// At least as many frame octets as the last `wire` wire octets hold, by less than a chunk. Asks for what began
    /// before that are over: they are forgotten.
    #[inline]
    pub(super) fn frame_octets_since_served(&mut self, backlog: f64) -> u64 {
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a backlog is not negative"
        )]
        let served = self.wire.saturating_sub(backlog.ceil() as u64);
        while self.points.get(1).is_some_and(|(wire, _)| *wire <= served) {
            self.points.pop_front();
        }
        self.frame - self.points.front().map_or(0, |(_, frame)| *frame)
    }

    /// The most wire octets that can wait of what came last so that it is no more than `frame_max` frame octets; less
    /// than that by less than a chunk. What is older is forgotten.
    #[inline]
    pub(super) fn wire_octets_within(&mut self, frame_max: u64) -> u64 {
        while self.points.front().is_some_and(|(_, frame)| self.frame - frame > frame_max) {
            self.points.pop_front();
        }
        self.wire - self.points.front().map_or(self.wire, |(wire, _)| *wire)
    }
}
