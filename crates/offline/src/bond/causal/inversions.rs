//! Counts frames of a merged stream that answer something which only comes later, from another half.
//!
//! What never comes at all is no inversion: it was not captured. So an answer without a cause waits in a table
//! until its cause comes, and counts then. Never looks at time: order is all there is. Both tables are bounded:
//! what was silent longest is forgotten first, and answers for which there is no room are counted.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

use wire::Frame;
use wire::capture::Timestamp;

use super::sight::{Conversation, Exchange, Segment, Sight, see};

/// Conversations and requests that are remembered for sure; up to twice as many are.
const REMEMBERED: usize = 1 << 15;

/// Answers of one direction of a conversation that wait for what they answer.
const WAITING_MAX: usize = 1 << 12;

/// An acknowledgement this far ahead of a SYN may still be of the conversation that the SYN begins.
const CLOSE: u32 = 1 << 24;

/// Streaming count of inversions.
#[derive(Debug)]
pub struct Inversions {
    conversations: Ages<Conversation, [Direction; 2]>,
    exchanges: Ages<Exchange, Known>,
    count: u64,
    answers: u64,
    no_room: u64,
}

/// What is known of one direction of a conversation.
#[derive(Debug, Default)]
struct Direction {
    /// The number behind the furthest octet seen.
    seen: Option<u32>,
    /// Acknowledgements, by the other end, of what has not been seen; in the order of their numbers.
    waiting: VecDeque<Waiting>,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    acknowledged: u32,
    half: usize,
    frames: u64,
}

#[derive(Debug, Default)]
struct Known {
    asked: bool,
    /// Replies that came before, by the half of the first of them.
    waiting: Option<(usize, u64)>,
}

impl Default for Inversions {
    fn default() -> Self {
        Self::new()
    }
}

impl Inversions {
    /// Nothing seen, nothing counted.
    pub fn new() -> Self {
        Self {
            conversations: Ages::new(REMEMBERED),
            exchanges: Ages::new(REMEMBERED),
            count: 0,
            answers: 0,
            no_room: 0,
        }
    }

    /// Looks at the next frame of the merged stream. Its time does not matter: the order of the calls does.
    #[inline]
    pub fn frame(&mut self, half: usize, _time: Timestamp, frame: &Frame<'_>) {
        match see(frame) {
            Some(Sight::Segment(segment)) => self.segment(half, &segment),
            Some(Sight::Request(exchange)) => {
                let known = self.exchanges.entry(exchange);
                known.asked = true;
                if let Some((_, frames)) = known.waiting.take().filter(|(from, _)| *from != half) {
                    self.count += frames;
                }
            }
            Some(Sight::Reply(exchange)) => {
                self.answers += 1;
                let known = self.exchanges.entry(exchange);
                if !known.asked {
                    let (_, frames) = known.waiting.get_or_insert((half, 0));
                    *frames += 1;
                }
            }
            None => {}
        }
    }

    /// Frames that answered what came later.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Frames that answered anything new: what the count is out of.
    pub fn answers(&self) -> u64 {
        self.answers
    }

    /// Answers that could not be kept until their cause came: as many may be missing in the count.
    pub fn no_room(&self) -> u64 {
        self.no_room
    }

    fn segment(&mut self, half: usize, segment: &Segment) {
        let directions = self.conversations.entry(segment.conversation);
        let [forward, backward] = directions;
        let (own, other) = if segment.direction == 0 { (forward, backward) } else { (backward, forward) };
        self.count += own.sends(half, segment);
        if let Some(acknowledged) = segment.acknowledged {
            match other.is_answered(half, acknowledged) {
                Answered::Nothing => {}
                Answered::Seen | Answered::Waits => self.answers += 1,
                Answered::NoRoom => {
                    self.answers += 1;
                    self.no_room += 1;
                }
            }
        }
    }
}

enum Answered {
    Nothing,
    Seen,
    Waits,
    NoRoom,
}

/// Whether `a` is behind `b` in the sequence space (RFC 9293, section 3.4).
fn is_after(a: u32, b: u32) -> bool {
    a.wrapping_sub(b).cast_signed() > 0
}

impl Direction {
    /// Takes a segment in and gives how many frames had answered it already.
    fn sends(&mut self, half: usize, segment: &Segment) -> u64 {
        let end = segment.sequence.wrapping_add(segment.len);
        let mut early = 0;
        // An acknowledgement that ends inside of this segment, or with it, is to this segment; one that ends
        // before it, to a segment that was not captured.
        let mut answer = |waiting: &Waiting| {
            let inside = segment.len > 0 && is_after(waiting.acknowledged, segment.sequence);
            if inside && waiting.half != half {
                early += waiting.frames;
            }
        };
        if segment.syn {
            // Numbers of a conversation before it mean nothing; those of this one follow closely.
            self.waiting.retain(|waiting| {
                let ahead = waiting.acknowledged.wrapping_sub(end);
                if ahead == 0 {
                    answer(waiting);
                }
                (1..CLOSE).contains(&ahead)
            });
        }
        while let Some(waiting) = self.waiting.pop_front_if(|first| !is_after(first.acknowledged, end)) {
            answer(&waiting);
        }
        // A SYN far from what was seen begins another conversation; a repeated one changes nothing.
        let is_other = |seen: u32| segment.syn && seen.wrapping_sub(end) >= CLOSE;
        if self.seen.is_none_or(|seen| is_after(end, seen) || is_other(seen)) {
            self.seen = Some(end);
        }
        early
    }

    /// Notes what the other end has received, as far as that is new.
    fn is_answered(&mut self, half: usize, acknowledged: u32) -> Answered {
        match self.seen {
            Some(seen) if seen == acknowledged => return Answered::Seen,
            Some(seen) if !is_after(acknowledged, seen) => return Answered::Nothing,
            _ => {}
        }
        let behind = self.waiting.iter().rposition(|waiting| !is_after(waiting.acknowledged, acknowledged));
        let same = behind.and_then(|index| self.waiting.get_mut(index));
        if let Some(same) = same.filter(|same| same.acknowledged == acknowledged && same.half == half) {
            same.frames += 1;
        } else if self.waiting.len() >= WAITING_MAX {
            return Answered::NoRoom;
        } else {
            let waiting = Waiting { acknowledged, half, frames: 1 };
            self.waiting.insert(behind.map_or(0, |index| index + 1), waiting);
        }
        Answered::Waits
    }
}

/// A table that forgets what was not touched for longest, half of it at a time.
#[derive(Debug)]
struct Ages<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    limit: usize,
}

impl<K: Hash + Eq + Copy, V: Default> Ages<K, V> {
    fn new(limit: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), limit }
    }

    fn entry(&mut self, key: K) -> &mut V {
        if self.young.len() >= self.limit && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        let old = &mut self.old;
        self.young.entry(key).or_insert_with(|| old.remove(&key).unwrap_or_default())
    }
}
