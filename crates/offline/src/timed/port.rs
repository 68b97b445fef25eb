//! A monitor port with a rate and buffers: what waits, what leaves when, what finds no room.
//!
//! ```text
//! side a --> [ buffer, FIFO ] --+
//!                               +--> line of `rate`, wire octets, never idle while a frame waits
//! side b --> [ buffer, FIFO ] --+
//! ```
//! A frame that finds the line idle and nothing waiting leaves at once; departure is the moment its transmission begins,
//! and from then on it is in no buffer. Between the sides that wait the line is shared by octets of wire: start-time
//! fair queueing (Goyal, Vin and Cheng 1996), so that no side gets ahead of another by more than a frame of each. A
//! frame that does not fit the buffer of its side is dropped whole.
//!
//! Pure: time is an argument and nothing is read or written. Frames that wait are known by what the caller gave for
//! them. Lazy: nothing happens between two calls.

use std::collections::VecDeque;

use plan::plan::Queue;
use plan::simulation::Framing;
use plan::tally::Given;

use super::clock::{Moment, Pace};

/// The least that a frame counts in a buffer: so few octets have no header, and so many frames wait at most.
const LEAST_BYTES: u32 = 14;

/// The part of a second whose rate the kernel's port may send at once after it waited.
const STORED_PARTS: u64 = 250;

/// A frame that has left after it waited.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Departure<T> {
    /// When its transmission began, nanoseconds, rounded up.
    pub(crate) at_ns: u64,
    /// When its transmission ended.
    pub(crate) end_ns: u64,
    /// When it came.
    pub(crate) arrived_ns: u64,
    /// The side whose buffer it was in.
    pub(crate) side: u16,
    /// Its octets.
    pub(crate) frame_bytes: u32,
    /// Octets that its side has waiting still.
    pub(crate) waiting_bytes: u64,
    /// What the caller gave for it.
    pub(crate) item: T,
}

/// What a port is allowed that is a tree of token buckets, as the kernel's is (HTB): the port may send so much beyond its
/// rate after it waited, and so may each side beyond its equal share of it, whatever the port has left.
#[derive(Clone, Debug)]
struct Stored {
    /// How much sooner than its rate allows the port may begin a frame.
    ns: u64,
    /// The share of a side.
    share: Pace,
    /// How much sooner than its share allows a side may begin a frame.
    share_ns: u64,
    /// By side: when it has had what it sent on its share, at its share.
    busy: Vec<Moment>,
}

impl Stored {
    fn new(rate_bits: u64, sides: usize, stored_bytes: u64) -> Self {
        let share = Pace::new(rate_bits / u64::try_from(sides).unwrap_or(u64::MAX).max(1));
        Self {
            ns: Pace::new(rate_bits).of(stored_bytes).floor_ns(),
            share_ns: share.of(stored_bytes).floor_ns(),
            share,
            busy: vec![Moment::default(); sides],
        }
    }

    /// From when on a side may begin a frame on its share.
    fn free_ns(&self, side: usize) -> u64 {
        self.busy[side].ceil_ns().saturating_sub(self.share_ns)
    }

    /// A frame of a side begins: on its share, where that allows it, and else on what others leave.
    fn charge(&mut self, side: usize, at_ns: u64, wire_bytes: u32) {
        if self.free_ns(side) <= at_ns {
            let takes = self.share.takes(wire_bytes);
            self.busy[side] = self.share.after(self.busy[side].max(Moment::at(at_ns)), takes);
        }
    }
}

/// One buffer.
#[derive(Clone, Debug)]
struct Side<T> {
    waiting: VecDeque<Waiting<T>>,
    /// Octets of the frames that wait.
    bytes: u64,
    /// What the line will have served of this side when the first frame that waits begins, in octets of wire, beside
    /// those of the others. Only told while a frame waits.
    start: u64,
    /// The same when the last frame that began will have ended.
    finish: u64,
}

#[derive(Clone, Copy, Debug)]
struct Waiting<T> {
    arrived_ns: u64,
    frame_bytes: u32,
    item: T,
}

/// The port.
#[derive(Clone, Debug)]
pub(crate) struct Port<T> {
    buffer_bytes: u64,
    framing: Framing,
    pace: Pace,
    /// `None` for a line.
    stored: Option<Box<Stored>>,
    /// When the line has done what it was given, at its rate.
    busy: Moment,
    sides: Vec<Side<T>>,
    /// Frames that wait, of all sides.
    waiting: usize,
    /// What the frame on the line began with: where a side that waited for nothing joins the others.
    served: u64,
}

impl<T: Copy> Port<T> {
    /// A port of this capacity whose copies come from so many sides. After it waited it may send `stored_bytes` of wire
    /// beyond its rate: 0 for a line, [`kernel_stored_bytes`] for the port that the kernel makes.
    pub(crate) fn new(queue: Queue, framing: Framing, sides: usize, stored_bytes: u64) -> Self {
        let side = || Side { waiting: VecDeque::new(), bytes: 0, start: 0, finish: 0 };
        let sides = sides.max(1);
        let stored = || Box::new(Stored::new(queue.rate_bits, sides, stored_bytes));
        Self {
            buffer_bytes: queue.buffer_bytes,
            framing,
            pace: Pace::new(queue.rate_bits),
            stored: (stored_bytes > 0).then(stored),
            busy: Moment::default(),
            sides: (0..sides).map(|_| side()).collect(),
            waiting: 0,
            served: 0,
        }
    }

    /// When the next frame that waits will leave; `None` where none waits.
    #[inline]
    pub(crate) fn next_ns(&self) -> Option<u64> {
        if self.waiting == 0 {
            return None;
        }
        match &self.stored {
            None => Some(self.free_ns()),
            Some(stored) => self.next_of(stored).map(|(at_ns, _)| at_ns),
        }
    }

    /// Frames that wait.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Octets in the buffer of a side.
    #[inline]
    pub(crate) fn depth_bytes(&self, side: u16) -> u64 {
        self.sides.get(usize::from(side)).map_or(0, |side| side.bytes)
    }

    /// The frames that leave up to this moment, it included, in order.
    #[inline]
    pub(crate) fn advance(&mut self, now_ns: u64, mut left: impl FnMut(Departure<T>)) {
        while self.waiting > 0 {
            let next = match &self.stored {
                None => Some((self.free_ns(), self.least_served())),
                Some(stored) => self.next_of(stored),
            };
            let Some((at_ns, side)) = next.filter(|(at_ns, _)| *at_ns <= now_ns) else { break };
            let Some(departure) = self.begin(at_ns, side) else { break };
            left(departure);
        }
    }

    /// A frame comes at this moment, which [`Port::advance`] has been told of: it leaves at once, waits or is dropped.
    ///
    /// `item` is asked for where it waits. A side that the port does not have counts as its last.
    #[inline]
    pub(crate) fn offer(
        &mut self,
        now_ns: u64,
        side: u16,
        frame_bytes: u32,
        item: impl FnOnce() -> T,
    ) -> Given {
        let wire_bytes = self.framing.wire_bytes(frame_bytes);
        let index = usize::from(side).min(self.sides.len() - 1);
        let mut idle = self.waiting == 0 && self.free_ns() <= now_ns;
        if let Some(stored) = &mut self.stored {
            idle |= self.sides[index].waiting.is_empty() && stored.free_ns(index) <= now_ns;
            if idle {
                stored.charge(index, now_ns, wire_bytes);
            }
        }
        let side = &mut self.sides[index];
        if idle {
            self.served = self.served.max(side.finish);
            side.finish = self.served + u64::from(wire_bytes);
            let takes = self.pace.takes(wire_bytes);
            self.busy = self.pace.after(self.busy.max(Moment::at(now_ns)), takes);
            return Given::Sent;
        }
        let room_bytes = u64::from(frame_bytes.max(LEAST_BYTES));
        if side.bytes + room_bytes > self.buffer_bytes {
            return Given::Dropped;
        }
        if side.waiting.is_empty() {
            side.start = self.served.max(side.finish);
        }
        side.bytes += room_bytes;
        side.waiting.push_back(Waiting { arrived_ns: now_ns, frame_bytes, item: item() });
        self.waiting += 1;
        Given::Queued
    }

    /// Octets of wire that a frame takes.
    #[inline]
    pub(crate) fn wire_bytes(&self, frame_bytes: u32) -> u32 {
        self.framing.wire_bytes(frame_bytes)
    }

    /// How long the transmission of a frame takes, nanoseconds, rounded up.
    #[inline]
    pub(crate) fn takes_ns(&mut self, frame_bytes: u32) -> u64 {
        self.pace.takes(self.framing.wire_bytes(frame_bytes)).ceil_ns()
    }

    /// When the line takes the next frame.
    #[inline]
    fn free_ns(&self) -> u64 {
        self.busy.ceil_ns().saturating_sub(self.stored.as_ref().map_or(0, |stored| stored.ns))
    }

    /// The side that waits and was served least.
    #[inline]
    fn least_served(&self) -> usize {
        let waiting = self.sides.iter().enumerate().filter(|(_, side)| !side.waiting.is_empty());
        waiting.min_by_key(|(_, side)| side.start).map_or(0, |(index, _)| index)
    }

    /// Which side begins a frame next, and when: the first that may, those on their own share before those that take
    /// what others leave, and of these the one that was served least.
    fn next_of(&self, stored: &Stored) -> Option<(u64, usize)> {
        let port_ns = self.free_ns();
        let next = self.sides.iter().enumerate().filter_map(|(index, side)| {
            let arrived_ns = side.waiting.front()?.arrived_ns;
            let own_ns = stored.free_ns(index);
            let at_ns = own_ns.min(port_ns).max(arrived_ns);
            Some((at_ns, own_ns > at_ns, side.start, index))
        });
        next.min().map(|(at_ns, _, _, index)| (at_ns, index))
    }

    /// Begins the first frame of a side. `None` where none waits.
    #[inline]
    fn begin(&mut self, at_ns: u64, index: usize) -> Option<Departure<T>> {
        let side = self.sides.get_mut(index)?;
        let Waiting { arrived_ns, frame_bytes, item } = side.waiting.pop_front()?;
        side.bytes -= u64::from(frame_bytes.max(LEAST_BYTES));
        self.waiting -= 1;
        let wire_bytes = self.framing.wire_bytes(frame_bytes);
        self.served = self.served.max(side.start);
        side.finish = side.start + u64::from(wire_bytes);
        side.start = side.finish;
        let takes = self.pace.takes(wire_bytes);
        match &mut self.stored {
            // While a frame waits a line begins the next one just when it is free.
            None => self.busy = self.pace.after(self.busy, takes),
            Some(stored) => {
                stored.charge(index, at_ns, wire_bytes);
                self.busy = self.pace.after(self.busy.max(Moment::at(at_ns)), takes);
            }
        }
        let end_ns = at_ns.saturating_add(takes.ceil_ns());
        let waiting_bytes = side.bytes;
        let side = u16::try_from(index).unwrap_or(u16::MAX);
        Some(Departure { at_ns, end_ns, arrived_ns, side, frame_bytes, waiting_bytes, item })
    }
}

/// What the kernel's port of this rate may send beyond it after it waited: 4 ms of its rate, at least 16 KiB, at most
/// 4 MiB (`engine::kernel::queue`).
pub fn kernel_stored_bytes(rate_bits: u64) -> u64 {
    (rate_bits / 8 / STORED_PARTS).clamp(16 << 10, 4 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;
    use plan::arbitrary::Random;

    fn queue(rate_bits: u64, buffer_bytes: u64) -> Queue {
        Queue { rate_bits, buffer_bytes }
    }

    /// Every frame with its number, through a port until it is empty: when each left, `None` where it was dropped.
    fn through(port: &mut Port<usize>, frames: &[(u64, u16, u32)]) -> Vec<Option<u64>> {
        let mut left = vec![None; frames.len()];
        for (number, (at, side, len)) in frames.iter().enumerate() {
            port.advance(*at, |it| left[it.item] = Some(it.at_ns));
            if port.offer(*at, *side, *len, || number) == Given::Sent {
                left[number] = Some(*at);
            }
            assert!(port.waiting() <= port.sides.len() * 100_000 / 14);
        }
        port.advance(u64::MAX, |it| left[it.item] = Some(it.at_ns));
        assert_eq!((port.waiting(), port.next_ns()), (0, None));
        assert!((0..port.sides.len()).all(|side| port.depth_bytes(u16::try_from(side).unwrap()) == 0));
        left
    }

    #[test]
    fn by_hand() {
        // 1000 octets at 8 Mbit/s take 1 ms.
        let mut port = Port::new(queue(8_000_000, 2000), Framing::NONE, 2, 0);
        let at = |ms: u64| ms * 1_000_000;
        assert_eq!(port.offer(0, 0, 1000, || 'a'), Given::Sent);
        assert_eq!(port.offer(0, 0, 1000, || 'b'), Given::Queued);
        assert_eq!(port.offer(0, 0, 1000, || 'c'), Given::Queued);
        assert_eq!(port.offer(0, 0, 14, || 'd'), Given::Dropped, "2000 octets are all of it");
        assert_eq!(port.offer(0, 1, 1000, || 'e'), Given::Queued, "the other side has its own");
        assert_eq!((port.depth_bytes(0), port.depth_bytes(1), port.waiting()), (2000, 1000, 3));
        assert_eq!(port.next_ns(), Some(at(1)));
        let mut left = Vec::new();
        port.advance(at(2) - 1, |it| left.push((it.item, it.at_ns, it.side)));
        // Side 0 has had a frame: it is the turn of side 1.
        assert_eq!(left, [('e', at(1), 1)]);
        port.advance(at(2), |it| left.push((it.item, it.at_ns, it.side)));
        assert_eq!(left[1..], [('b', at(2), 0)]);
        assert_eq!(port.offer(at(2), 0, 1000, || 'f'), Given::Queued);
        port.advance(u64::MAX, |it| left.push((it.item, it.at_ns, it.side)));
        assert_eq!(left[2..], [('c', at(3), 0), ('f', at(4), 0)]);
        // The line is busy until 5 ms, and idle from then on.
        assert_eq!(port.offer(at(5) - 1, 1, 1000, || 'g'), Given::Queued);
        port.advance(at(5), |it| left.push((it.item, it.at_ns, it.side)));
        assert_eq!(left[4..], [('g', at(5), 1)]);
        assert_eq!(port.offer(at(6), 1, 1000, || 'h'), Given::Sent);
    }

    #[test]
    fn what_is_stored_goes_out_at_once_and_only_once() {
        let mut port = Port::new(queue(8_000_000, 1 << 20), Framing::NONE, 1, 3000);
        // Three frames are stored, and one may always begin.
        let given: Vec<Given> = (0..6).map(|number| port.offer(0, 0, 1000, || number)).collect();
        use Given::{Queued, Sent};
        assert_eq!(given, [Sent, Sent, Sent, Sent, Queued, Queued]);
        let mut left = Vec::new();
        port.advance(u64::MAX, |it| left.push(it.at_ns));
        assert_eq!(left, [1_000_000, 2_000_000]);
        assert_eq!(port.offer(2_500_000, 0, 1000, || 9), Queued);
        port.advance(3_000_000, |_| ());
        // 3 ms later it is all there again, but no more.
        let given: Vec<Given> = (0..5).map(|number| port.offer(60_000_000, 0, 1000, || number)).collect();
        assert_eq!(given, [Sent, Sent, Sent, Sent, Queued]);
        assert_eq!(kernel_stored_bytes(100_000_000), 50_000);
        assert_eq!([1_000, u64::MAX].map(kernel_stored_bytes), [16 << 10, 4 << 20]);
    }

    #[test]
    fn each_side_of_the_kernels_port_has_its_own_share_and_store() {
        // 4000 octets are stored: of the port, and of each side for its half of 8 Mbit/s.
        let mut port = Port::new(queue(8_000_000, 1 << 20), Framing::NONE, 2, 4000);
        let give = |port: &mut Port<u16>, side| port.offer(0, side, 1000, || side);
        let sent = |given: &[Given]| given.iter().filter(|it| **it == Given::Sent).count();
        let a: Vec<Given> = (0..10).map(|_| give(&mut port, 0)).collect();
        // Its own 4000 octets and a frame; the port then has sent as much, and waits with it.
        assert_eq!(sent(&a), 5);
        // The port has nothing left, and still the other side has its share: twice the store at once.
        let b: Vec<Given> = (0..10).map(|_| give(&mut port, 1)).collect();
        assert_eq!(sent(&b), 5);
        let mut left = Vec::new();
        port.advance(u64::MAX, |it| left.push((it.at_ns / 1_000_000, it.side)));
        // From then on each has 4 Mbit/s, and nobody more: the port owes what it sent too much.
        let expected: Vec<(u64, u16)> = (1..=5).flat_map(|turn| [(2 * turn, 0), (2 * turn, 1)]).collect();
        assert_eq!(left, expected);
    }

    fn length(random: &mut Random) -> u32 {
        u32::try_from(14 + random.below(1501)).unwrap()
    }

    /// Frames in time order: bursts and gaps.
    fn frames(random: &mut Random, sides: usize, gap_ns: usize) -> Vec<(u64, u16, u32)> {
        let mut now = 0;
        let frame = |_| {
            let gap = if random.one_in(50) { 40 * gap_ns } else { random.below(2 * gap_ns) };
            now += u64::try_from(gap).unwrap();
            (now, u16::try_from(random.below(sides)).unwrap(), length(random))
        };
        (0..3000).map(frame).collect()
    }

    /// Lindley's recursion, in whole units of `1 / rate` ns: a frame begins when it comes or when the one before it
    /// has ended, whichever is later.
    #[test]
    fn one_side_is_lindleys_recursion_exactly() {
        for seed in 0..20 {
            let mut random = Random::new(seed);
            let rate = 50_000_000 + u64::try_from(random.below(150_000_000)).unwrap();
            let frames = frames(&mut random, 1, 100_000);
            let mut port = Port::new(queue(rate, u64::MAX), Framing::ETHERNET, 1, 0);
            let left = through(&mut port, &frames);
            let mut free: u128 = 0;
            for ((at, _, len), left) in frames.iter().zip(left) {
                let begins = free.max(u128::from(*at) * u128::from(rate));
                free = begins + u128::from((len + 24).max(84)) * 8_000_000_000;
                assert_eq!(left.map(u128::from), Some(begins.div_ceil(u128::from(rate))), "seed {seed}");
            }
        }
    }

    /// The same with a buffer that overflows: a frame is dropped where those that have come and not begun leave no room.
    #[test]
    fn one_side_drops_what_does_not_fit_and_nothing_else() {
        for seed in 0..20 {
            let mut random = Random::new(seed);
            let frames = frames(&mut random, 1, 50_000);
            let mut port = Port::new(queue(100_000_000, 20_000), Framing::NONE, 1, 0);
            let left = through(&mut port, &frames);
            let mut kept: Vec<(u64, u64, u32)> = Vec::new();
            let (mut dropped, mut free) = (0, 0);
            for ((at, _, len), left) in frames.iter().zip(&left) {
                let waits = kept.iter().rev().take_while(|(_, begins, _)| begins > at);
                let waits: u32 = waits.map(|(_, _, len)| len).sum();
                let begins = free.max(*at);
                if begins > *at && waits + len > 20_000 {
                    assert_eq!(*left, None, "seed {seed}");
                    dropped += 1;
                    continue;
                }
                // 80 ns an octet: nothing is left over.
                free = begins + u64::from(*len) * 80;
                kept.push((*at, begins, *len));
                assert_eq!(*left, Some(begins), "seed {seed}");
            }
            assert!(dropped > 10, "seed {seed}: {dropped}");
        }
    }

    /// The fluid that fair sharing means: all sides that wait are served at once, at equal shares of the line. In
    /// octets by side, up to a moment; brute force, in doubles.
    fn fluid(frames: &[(u64, u16, u32)], sides: usize, rate_bits: f64, until: u64) -> Vec<f64> {
        let mut backlog = vec![0.0; sides];
        let mut served = vec![0.0; sides];
        let mut now = 0.0;
        let until = until as f64;
        let came =
            frames.iter().map(|(at, side, len)| (*at as f64, Some((usize::from(*side), f64::from(*len)))));
        for (at, frame) in came.take_while(|(at, _)| *at < until).chain([(until, None)]) {
            while now < at {
                let busy: Vec<usize> = (0..sides).filter(|side| backlog[*side] > 1e-6).collect();
                if busy.is_empty() {
                    now = at;
                    break;
                }
                let share = rate_bits / 8e9 / busy.len() as f64;
                let first = busy.iter().map(|side| backlog[*side] / share).fold(at - now, f64::min);
                for side in busy {
                    backlog[side] -= share * first;
                    served[side] += share * first;
                }
                now = if first < at - now { now + first } else { at };
            }
            if let Some((side, len)) = frame {
                backlog[side] += len;
            }
        }
        served
    }

    #[test]
    fn several_sides_are_within_a_frame_of_each_of_the_fluid() {
        for (seed, sides) in (0..12).zip([2, 3, 16].into_iter().cycle()) {
            let mut random = Random::new(seed);
            let frames = &frames(&mut random, sides, 110_000)[..1500];
            let mut port = Port::new(queue(100_000_000, u64::MAX), Framing::NONE, sides, 0);
            let left = through(&mut port, frames);
            let end = frames.last().unwrap().0;
            for until in (1..40).map(|part| end / 40 * part) {
                let fluid = fluid(frames, sides, 100e6, until);
                for (side, fluid) in fluid.iter().enumerate() {
                    let mine = frames.iter().zip(&left).filter(|((_, of, _), _)| usize::from(*of) == side);
                    // What a frame on the line has had of it counts.
                    let begun = |at: u64| until.saturating_sub(at) as f64 * 100e6 / 8e9;
                    let served: f64 =
                        mine.map(|((_, _, len), at)| begun(at.unwrap()).min(f64::from(*len))).sum();
                    let most = 1514.0 * sides as f64;
                    assert!((served - fluid).abs() <= most, "seed {seed}, side {side}: {served}, {fluid}");
                }
            }
        }
    }

    #[test]
    fn a_side_that_asks_for_less_than_its_share_never_waits_long() {
        // 90 and 50 on 100 Mbit/s, 1500 octets: the 90 has all that waits.
        let mut port = Port::new(queue(100_000_000, 1_000_000), Framing::NONE, 2, 0);
        let mut frames: Vec<(u64, u16, u32)> = Vec::new();
        frames.extend((0..7500).map(|number| (number * 1_200_000 / 9, 0, 1500)));
        frames.extend((0..4167).map(|number| (number * 240_000, 1, 1500)));
        frames.sort_unstable();
        let left = through(&mut port, &frames);
        let worst = frames.iter().zip(&left).filter(|((_, side, _), _)| *side == 1);
        let worst = worst.map(|((at, ..), left)| left.unwrap() - at).max();
        assert!(worst < Some(2 * 120_000), "{worst:?}");
        let first = frames.iter().zip(&left).find(|(_, left)| left.is_none()).unwrap().0;
        // 666 frames fit, and 40 Mbit/s bring the next one a little before 0.2 s.
        assert!((199_500_000..200_000_000).contains(&first.0), "{first:?}");
    }
}
