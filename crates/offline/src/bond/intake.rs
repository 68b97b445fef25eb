//! One input: read in pieces, put in order, handed out piece after piece.
//!
//! Of each input so many pieces are kept back, in which a frame that comes out of order can still find its
//! place. A piece ends where the octets of the input (unpacked) come to a multiple of its length, so
//! that the same octets give the same pieces however they arrive. What can only be read once and may let its reader wait
//! is handed out as early as the window allows.

use std::collections::VecDeque;
use std::io::{self, Read};

use wire::capture::{Broken, Reader};

use super::order::{Account, Order};
use super::piece::{HEADROOM, Piece};
use super::records::{Correction, Nature, Records, Shape, Stop, count};

/// Octets that are read at first, to see what a capture is.
const FIRST: usize = 4096;

/// How the inputs are read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Plan {
    /// How far back a frame may be put, in nanoseconds.
    pub(super) window: i64,
    /// Octets of an input in a piece.
    pub(super) piece: usize,
    /// Pieces that are kept back.
    pub(super) lookahead: u64,
}

/// Why an input ended before its end.
#[derive(Debug)]
pub(super) enum Failure {
    /// It could not be read on from this offset.
    Io(u64, io::Error),
    /// The capture is cut or corrupt.
    Broken(Broken),
}

/// An input that has been opened, and of which the first octets have been read.
pub(super) struct Opened {
    source: Box<dyn Read + Send>,
    first: Vec<u8>,
    failure: Option<io::Error>,
    /// What it says of itself as far as has been read: a first packet, or all of it where there is none.
    pub(super) nature: Nature,
}

impl Opened {
    /// Reads until it is known what frames there are: of pcap the file header, of pcapng the first packet.
    pub(super) fn new(mut source: Box<dyn Read + Send>) -> Self {
        let (mut first, mut reader, mut at) = (Vec::new(), Reader::new(), 0);
        let (mut nature, mut failure) = (Nature::default(), None);
        let mut octets = vec![0; FIRST];
        loop {
            let mut rest = first.get(at..).unwrap_or_default();
            let before = rest.len();
            let packet = reader.next(&mut rest);
            at += before - rest.len();
            let link_type = packet.as_ref().ok().copied().flatten().map(|packet| packet.frame.link_type);
            nature.see(&reader, link_type);
            let known = packet.is_err() || link_type.is_some() || !nature.link_types.is_empty();
            if known {
                break;
            }
            match source.read(&mut octets) {
                Ok(0) => break,
                Ok(len) => first.extend_from_slice(&octets[..len]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    failure = Some(error);
                    break;
                }
            }
        }
        Self { source, first, failure, nature }
    }
}

/// One input.
pub(super) struct Intake {
    source: Box<dyn Read + Send>,
    plan: Plan,
    /// Whether a piece of it may be long in coming.
    stream: bool,
    records: Records,
    order: Order,
    /// Octets read from the source.
    offset: u64,
    /// Which piece is being filled.
    epoch: u64,
    filling: Filling,
    /// Pieces in which frames may still find their place.
    held: VecDeque<Piece>,
    ready: VecDeque<Piece>,
    spare: Vec<Piece>,
    /// Whether nothing but what [`Opened`] read has been looked at.
    fresh: bool,
    ended: bool,
    done: bool,
    failure: Option<Failure>,
    mixed: bool,
}

/// The piece that is being read.
#[derive(Default)]
struct Filling {
    /// Octets as they are read.
    raw: Vec<u8>,
    /// What of `raw` has become records, and how far it is filled.
    used: usize,
    filled: usize,
    /// The records; where they are not in `raw`, their octets too.
    piece: Piece,
}

impl Intake {
    pub(super) fn new(
        opened: Opened,
        plan: Plan,
        stream: bool,
        shape: Shape,
        correction: Option<Correction>,
    ) -> Self {
        let Opened { source, first, failure, .. } = opened;
        let records = Records::new(&first, shape, correction);
        let mut raw = vec![0; HEADROOM];
        raw.extend_from_slice(&first);
        let failure = failure.map(|error| Failure::Io(count(first.len()), error));
        let mut piece = Piece::default();
        piece.clear(0);
        Self {
            source,
            plan,
            stream,
            records,
            order: Order::new(plan.window),
            offset: count(first.len()),
            epoch: 0,
            filling: Filling { used: HEADROOM, filled: raw.len(), raw, piece },
            held: VecDeque::new(),
            ready: VecDeque::new(),
            spare: Vec::new(),
            fresh: stream,
            ended: failure.is_some(),
            done: false,
            failure,
            mixed: false,
        }
    }

    /// What is known of its frames so far.
    pub(super) fn account(&self) -> &Account {
        &self.order.account
    }

    /// Octets of whole records so far.
    pub(super) fn offset(&self) -> u64 {
        self.records.offset()
    }

    /// Why it ended before its end.
    pub(super) fn failure(&self) -> Option<&Failure> {
        self.failure.as_ref()
    }

    /// Whether it brought a second link type where the output has but one.
    pub(super) fn is_mixed(&self) -> bool {
        self.mixed
    }

    /// The link types of the interface numbers that its packets bear.
    pub(super) fn records(&self) -> &Records {
        &self.records
    }

    /// Takes back pieces that are no longer needed.
    pub(super) fn recycle(&mut self, pieces: impl IntoIterator<Item = Piece>) {
        self.spare.extend(pieces);
    }

    /// The next records, in order: at least one, unless it has ended. Waits where a stream has none yet.
    pub(super) fn next(&mut self) -> Option<Piece> {
        loop {
            if let Some(mut piece) = self.ready.pop_front() {
                piece.finish();
                return Some(piece);
            }
            if self.done {
                return None;
            }
            self.fill();
        }
    }

    /// Reads some more.
    fn fill(&mut self) {
        let end = (self.epoch + 1).saturating_mul(count(self.plan.piece));
        // What came while it was found out what this is must not wait for more of a stream.
        if !std::mem::take(&mut self.fresh) {
            self.read_up_to(end);
        }
        // What was read to see what the capture is may reach into the pieces behind this one.
        let beyond = usize::try_from(self.offset.saturating_sub(end)).unwrap_or(usize::MAX);
        let filling = &mut self.filling;
        let limit = filling.filled.saturating_sub(beyond).max(filling.used);
        self.order.set_edge(self.held.back().map_or(i64::MIN, |last| last.max));
        let (used, stop) =
            self.records.read(&mut filling.raw, filling.used, limit, &mut self.order, &mut filling.piece);
        filling.used = used;
        let octets = if self.records.in_place() { &filling.raw } else { &filling.piece.octets };
        self.order.distribute(octets, self.held.iter_mut());
        let rest = filling.raw.get(used..filling.filled).unwrap_or_default();
        let last = self.ended && beyond == 0;
        let failure = match stop {
            Some(Stop::Broken(broken)) => Some(broken),
            Some(Stop::Mixed) => {
                self.mixed = true;
                None
            }
            None if last && self.failure.is_none() => self.records.finish(rest, &self.order).err(),
            None => None,
        };
        self.done = last || self.mixed || failure.is_some();
        self.failure = failure.map(Failure::Broken).or(self.failure.take());
        if self.done || self.offset >= end {
            self.close();
        } else {
            self.release_early();
        }
    }

    /// Reads on towards an offset. Of a stream one read, whatever that gives.
    fn read_up_to(&mut self, end: u64) {
        let filling = &mut self.filling;
        while !self.ended && self.offset < end {
            let missing = usize::try_from(end - self.offset).unwrap_or(usize::MAX);
            let room = filling.filled + missing.min(self.plan.piece);
            if filling.raw.len() < room {
                // Twice as much would be kept for each of many inputs.
                filling.raw.reserve_exact(room - filling.raw.len());
                filling.raw.resize(room, 0);
            }
            match self.source.read(filling.raw.get_mut(filling.filled..room).unwrap_or_default()) {
                Ok(0) => self.ended = true,
                Ok(len) => {
                    filling.filled += len;
                    self.offset += count(len);
                    if self.stream {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.failure = Some(Failure::Io(self.offset, error));
                    self.ended = true;
                }
            }
        }
    }

    /// Ends the piece that is being filled, and begins the next one with what is left of it.
    fn close(&mut self) {
        if self.filling.piece.entries.is_empty() {
            // A record that is longer than a piece: it stays where it is until it is whole.
            self.epoch += 1;
        } else {
            self.turn();
        }
        while let Some(front) = self.held.front() {
            // Pieces up to this one are settled: what comes later goes behind them.
            let settled = front.epoch + self.plan.lookahead < self.epoch;
            if !settled && !self.done && front.max > self.order.open_from() {
                break;
            }
            if settled {
                self.order.settle(front.max);
            }
            self.ready.extend(self.held.pop_front());
        }
    }

    /// Takes what is being filled for a piece, and begins the next one with what is left.
    fn turn(&mut self) {
        let mut next = self.spare();
        let filling = &mut self.filling;
        let rest = filling.used..filling.filled;
        let mut piece;
        if self.records.in_place() {
            let mut raw = std::mem::take(&mut next.octets);
            let needed = (HEADROOM + rest.len()).max(raw.len());
            raw.resize(needed, 0);
            if let (Some(to), Some(from)) =
                (raw.get_mut(HEADROOM..HEADROOM + rest.len()), filling.raw.get(rest.clone()))
            {
                to.copy_from_slice(from);
            }
            piece = std::mem::replace(&mut filling.piece, next);
            piece.octets = std::mem::replace(&mut filling.raw, raw);
            piece.used = filling.used;
        } else {
            filling.raw.copy_within(rest.clone(), HEADROOM);
            next.octets.clear();
            piece = std::mem::replace(&mut filling.piece, next);
        }
        (filling.used, filling.filled) = (HEADROOM, HEADROOM + rest.len());
        piece.max = self.order.account.last;
        piece.epoch = self.epoch;
        self.epoch += 1;
        self.held.push_back(piece);
    }

    /// Hands out what no later frame can go before, out of pieces that are still open.
    fn release_early(&mut self) {
        let bound = self.order.open_from();
        while self.held.front().is_some_and(|front| front.max <= bound) {
            self.ready.extend(self.held.pop_front());
        }
        let into = self.spare();
        let split = match self.held.front_mut() {
            Some(front) => {
                front.finish();
                front.split(bound, into)
            }
            None => {
                let Filling { raw, piece, .. } = &mut self.filling;
                piece.finish();
                let in_place = self.records.in_place();
                if in_place {
                    std::mem::swap(raw, &mut piece.octets);
                }
                let split = piece.split(bound, into);
                if in_place {
                    std::mem::swap(raw, &mut piece.octets);
                }
                split
            }
        };
        self.ready.extend(split);
    }

    /// An empty piece.
    fn spare(&mut self) -> Piece {
        let mut piece = self.spare.pop().unwrap_or_default();
        piece.clear(self.plan.piece + HEADROOM);
        piece
    }
}
