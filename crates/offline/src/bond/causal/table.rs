//! What was said in each half, and which of it answers what in another half.
//!
//! Holds a bounded number of marks: where there are more, conversations are left out by a hash with a fixed key,
//! the same ones every time, and a long conversation keeps every second of its marks. Bounds stay sound either
//! way, since an acknowledgement answers everything before it.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hash};

use super::sight::{Asking, Conversation, Exchange, Segment, Stamps};

/// The most that a table holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Marks of all conversations of TCP.
    pub marks: usize,
    /// Conversations of TCP.
    pub conversations: usize,
    /// Marks of one kind that one half keeps of one direction of a conversation.
    pub track: usize,
    /// Requests of DNS, NTP and echo.
    pub exchanges: usize,
}

impl Limits {
    pub const USUAL: Self =
        Self { marks: 1 << 20, conversations: 1 << 16, track: 1 << 14, exchanges: 1 << 18 };
}

/// Octets that an acknowledgement may be ahead of all that was captured. Beyond, it is of another conversation.
const AHEAD_MAX: u64 = 1 << 20;

/// Within this time an acknowledgement may have been delayed until a second segment came (Linux: 40 ms), and no
/// sender repeats (at least 200 ms).
const DELAYED_NS: i64 = 40_000_000;

/// No capture has `2^48` times as many segments of one conversation as a track holds.
const THIN_MAX: u32 = 48;

/// Marks that are looked back at for one with an older time stamp.
const BACK_MAX: usize = 64;

/// What kind of evidence a pair is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum Kind {
    Handshake,
    Stamped,
    Acknowledgement,
    Dns,
    Echo,
    Ntp,
}

/// A moment in one half, in nanoseconds since the observer's beginning.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Moment {
    pub half: usize,
    pub time: i64,
}

/// The cause came first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pair {
    pub cause: Moment,
    pub effect: Moment,
    pub kind: Kind,
}

/// Everything said so far.
#[derive(Debug)]
pub(super) struct Table {
    limits: Limits,
    conversations: HashMap<Conversation, Dialogue>,
    exchanges: HashMap<Exchange, Asked>,
    marks: usize,
    /// Conversations of whose hash so many low bits are 0 are looked at.
    conversation_bits: u32,
    exchange_bits: u32,
    /// Frames that were not looked at for lack of room.
    pub frames_left_out: u64,
}

/// Which part of the conversations was looked at: one in so many.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    pub conversations: u64,
    pub exchanges: u64,
}

#[derive(Default, Debug)]
struct Dialogue {
    /// The first number seen of each direction's sequence space, from which positions are counted.
    base: [Option<u32>; 2],
    lanes: Vec<Lane>,
    /// The ports were taken for a second conversation: numbers of one may be mistaken for the other's.
    reused: bool,
}

/// One direction of a conversation in one half.
#[derive(Debug)]
struct Lane {
    half: usize,
    direction: usize,
    first: Option<u32>,
    /// Segments before which octets are missing, and segments that may have filled such a gap later.
    gaps: u32,
    fillers: u32,
    sent: Track,
    acknowledged: Track,
}

/// Positions that only grow, and when each was first reached.
#[derive(Debug, Default)]
struct Track {
    marks: Vec<Mark>,
    /// The last number and its position.
    last: Option<(u32, u64)>,
    /// One mark in `2^thin` is kept.
    thin: u32,
    seen: u64,
}

#[derive(Clone, Copy, Debug)]
struct Mark {
    time: i64,
    /// Behind the last octet.
    end: u64,
    /// Octets that were new in it.
    len: u32,
    stamp: Option<u32>,
    syn: bool,
}

#[derive(Debug, Default)]
struct Asked {
    request: Option<Told>,
    reply: Option<Told>,
}

#[derive(Clone, Copy, Debug)]
struct Told {
    first: Moment,
    count: u32,
}

fn is_chosen(of: &impl Hash, bits: u32) -> bool {
    // The same conversations in each run: the tables' own hash is of another key each time.
    bits == 0 || BuildHasherDefault::<DefaultHasher>::default().hash_one(of).trailing_zeros() >= bits
}

impl Table {
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            conversations: HashMap::new(),
            exchanges: HashMap::new(),
            marks: 0,
            conversation_bits: 0,
            exchange_bits: 0,
            frames_left_out: 0,
        }
    }

    pub fn share(&self) -> Share {
        Share {
            conversations: 1 << self.conversation_bits.min(63),
            exchanges: 1 << self.exchange_bits.min(63),
        }
    }

    /// How many conversations and exchanges are held.
    pub fn held(&self) -> (usize, usize) {
        (self.conversations.len(), self.exchanges.len())
    }

    pub fn segment(&mut self, at: Moment, segment: &Segment) {
        if !is_chosen(&segment.conversation, self.conversation_bits) {
            self.frames_left_out += 1;
            return;
        }
        let dialogue = self.conversations.entry(segment.conversation).or_default();
        let before = dialogue.marks();
        dialogue.say(at, segment, self.limits.track);
        self.marks = self.marks - before + dialogue.marks();
        while (self.marks > self.limits.marks || self.conversations.len() > self.limits.conversations)
            && self.conversations.len() > 1
            && self.conversation_bits < 63
        {
            self.conversation_bits += 1;
            let bits = self.conversation_bits;
            self.conversations.retain(|conversation, _| is_chosen(conversation, bits));
            self.marks = self.conversations.values().map(Dialogue::marks).sum();
        }
    }

    pub fn exchange(&mut self, at: Moment, exchange: &Exchange, request: bool) {
        if !is_chosen(exchange, self.exchange_bits) {
            self.frames_left_out += 1;
            return;
        }
        let asked = self.exchanges.entry(*exchange).or_default();
        let told = if request { &mut asked.request } else { &mut asked.reply };
        match told {
            None => *told = Some(Told { first: at, count: 1 }),
            Some(told) if told.first.half == at.half => {
                told.first.time = told.first.time.min(at.time);
                told.count = told.count.saturating_add(1);
            }
            // The same in another half too: a link that the frame went along twice. The first half speaks.
            Some(_) => {}
        }
        while self.exchanges.len() > self.limits.exchanges && self.exchange_bits < 63 {
            self.exchange_bits += 1;
            let bits = self.exchange_bits;
            self.exchanges.retain(|exchange, _| is_chosen(exchange, bits));
        }
    }

    /// Hands over every pair of cause and effect in two different halves, in no particular order.
    pub fn pairs(&self, mut give: impl FnMut(Pair)) {
        for (exchange, asked) in &self.exchanges {
            let (Some(request), Some(reply)) = (asked.request, asked.reply) else { continue };
            // More replies than requests: a request was missed, and the first reply may be to that one.
            if reply.count > request.count || request.first.half == reply.first.half {
                continue;
            }
            let kind = match exchange.kind {
                Asking::Dns => Kind::Dns,
                Asking::Echo => Kind::Echo,
                Asking::Ntp => Kind::Ntp,
            };
            give(Pair { cause: request.first, effect: reply.first, kind });
        }
        let dialogues = || self.conversations.values().filter(|dialogue| !dialogue.reused);
        let lanes = dialogues().flat_map(|dialogue| &dialogue.lanes);
        let incomplete: HashSet<usize> =
            lanes.filter(|lane| lane.gaps > lane.fillers).map(|lane| lane.half).collect();
        for dialogue in dialogues() {
            for sender in &dialogue.lanes {
                for receiver in &dialogue.lanes {
                    if sender.direction != receiver.direction && sender.half != receiver.half {
                        answers(sender, receiver, !incomplete.contains(&sender.half), &mut give);
                    }
                }
            }
        }
    }

    /// Conversations whose ports were used twice.
    pub fn reused(&self) -> usize {
        self.conversations.values().filter(|dialogue| dialogue.reused).count()
    }
}

impl Dialogue {
    fn marks(&self) -> usize {
        self.lanes.iter().map(|lane| lane.sent.marks.len() + lane.acknowledged.marks.len()).sum()
    }

    fn say(&mut self, at: Moment, segment: &Segment, limit: usize) {
        if self.reused {
            return;
        }
        let direction = segment.direction & 1;
        let is_lane = |lane: &Lane| lane.half == at.half && lane.direction == direction;
        let index = self.lanes.iter().position(is_lane).unwrap_or_else(|| {
            let (sent, acknowledged) = (Track::default(), Track::default());
            self.lanes.push(Lane {
                half: at.half,
                direction,
                first: None,
                gaps: 0,
                fillers: 0,
                sent,
                acknowledged,
            });
            self.lanes.len() - 1
        });
        let lane = &mut self.lanes[index];
        if segment.syn {
            // Only the first SYN of a direction and its repetitions are of one conversation.
            let begun = lane.first.is_none() && !lane.sent.marks.is_empty();
            if begun || lane.first.is_some_and(|first| first != segment.sequence) {
                self.reused = true;
                self.lanes.clear();
                return;
            }
            lane.first = Some(segment.sequence);
        }
        let Stamps { value, echo } = segment.stamps.unwrap_or(Stamps { value: 0, echo: 0 });
        let with = |stamp| segment.stamps.map(|_| stamp);
        let base = *self.base[direction].get_or_insert(segment.sequence);
        let end = segment.sequence.wrapping_add(segment.len);
        let mark = Mark { time: at.time, end: 0, len: segment.len, stamp: with(value), syn: segment.syn };
        // What bears no octet says only that those before it were sent earlier, nobody knows when; and the first
        // that is seen of a conversation that was under way may have been sent before.
        match lane.sent.distance(segment.sequence) {
            Some(1..) => lane.gaps = lane.gaps.saturating_add(1),
            Some(..=-1) if segment.len > 0 => lane.fillers = lane.fillers.saturating_add(1),
            _ => {}
        }
        let is_first = segment.len > 0 && (segment.syn || lane.sent.last.is_some());
        lane.sent.reach(end, base, mark, is_first, limit);
        if let Some(acknowledged) = segment.acknowledged {
            let base = *self.base[1 - direction].get_or_insert(acknowledged);
            let mark = Mark { time: at.time, end: 0, len: 0, stamp: with(echo), syn: segment.syn };
            lane.acknowledged.reach(acknowledged, base, mark, true, limit);
        }
    }
}

impl Track {
    /// How far a number is ahead of the furthest so far.
    fn distance(&self, number: u32) -> Option<i32> {
        self.last.map(|(last, _)| number.wrapping_sub(last).cast_signed())
    }

    /// Notes how far `end` reaches, and if that is further than all before it, keeps the mark where `keep` says so.
    /// `base` is a number at a known position, the same for all who count in this sequence space.
    fn reach(&mut self, end: u32, base: u32, mark: Mark, keep: bool, limit: usize) {
        // Far from 0, so that what lies before the base has a position too.
        let (number, position) = self.last.unwrap_or((base, 1 << 40));
        let ahead = i64::from(end.wrapping_sub(number).cast_signed());
        if self.last.is_some() && ahead <= 0 {
            return;
        }
        let reached = position.saturating_add_signed(ahead);
        let new = if self.last.is_some() { reached.saturating_sub(position) } else { u64::from(mark.len) };
        self.last = Some((end, reached));
        if !keep {
            return;
        }
        self.seen += 1;
        if self.seen & ((1 << self.thin) - 1) != 0 {
            return;
        }
        let len = mark.len.min(u32::try_from(new).unwrap_or(u32::MAX));
        self.marks.push(Mark { end: reached, len, ..mark });
        if self.marks.len() > limit && self.thin < THIN_MAX {
            let mut number = 0_u64;
            self.marks.retain(|_| {
                number += 1;
                number.is_multiple_of(2)
            });
            self.thin += 1;
        }
    }
}

/// Which acknowledgements of one lane answer what was sent in the other.
/// `complete`: nothing says that the half of the sender lacks frames.
fn answers(sender: &Lane, receiver: &Lane, complete: bool, give: &mut impl FnMut(Pair)) {
    let sent = &sender.sent.marks;
    let mut next = 0;
    for answer in &receiver.acknowledged.marks {
        while sent.get(next).is_some_and(|mark| mark.end < answer.end) {
            next += 1;
        }
        // The one with the last octet that is acknowledged, or, where that was not captured, the last before it.
        let whole = sent.get(next).filter(|mark| answer.end > mark.end - u64::from(mark.len).min(mark.end));
        let index = match (whole, next.checked_sub(1)) {
            (Some(_), _) => next,
            (None, Some(before)) => before,
            (None, None) => continue,
        };
        let Some(cause) = sent.get(index) else { continue };
        if answer.end.saturating_sub(cause.end) > AHEAD_MAX << sender.sent.thin.min(16) {
            continue;
        }
        let Some(cause) = unrepeated(sent, index, answer, complete) else { continue };
        let kind = match (cause.syn || answer.syn, answer.stamp.is_some() && cause.stamp.is_some()) {
            (true, _) => Kind::Handshake,
            (false, true) => Kind::Stamped,
            (false, false) => Kind::Acknowledgement,
        };
        give(Pair {
            cause: Moment { half: sender.half, time: cause.time },
            effect: Moment { half: receiver.half, time: answer.time },
            kind,
        });
    }
}

/// The mark that surely came before the answer. An answer that echoes a time stamp older than the mark's may be
/// to an earlier transmission that was not captured: then the mark with a time stamp as old counts, unless
/// nothing is known to be missing and it is so little earlier that the answer was only delayed.
fn unrepeated<'a>(sent: &'a [Mark], index: usize, answer: &Mark, complete: bool) -> Option<&'a Mark> {
    let mark = sent.get(index)?;
    let (Some(echo), Some(_)) = (answer.stamp, mark.stamp) else { return Some(mark) };
    let is_older = |mark: &&Mark| mark.stamp.is_some_and(|stamp| stamp.wrapping_sub(echo).cast_signed() <= 0);
    let older = sent.get(..=index)?.iter().rev().take(BACK_MAX).find(is_older)?;
    let is_delayed = complete && mark.time.saturating_sub(older.time) <= DELAYED_NS;
    Some(if is_delayed { mark } else { older })
}
