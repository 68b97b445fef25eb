//! All inputs into one: by time; of equal times the first-named input first; each input in its own order.
//!
//! As long as one input is the earliest, its records follow each other where they lie, and are written as one
//! stretch.

use super::crew::{Crew, Lane};
use super::piece::{Entry, Piece};
use super::records::{self, Shape};
use super::sink::{Sink, Stretch};
use super::{BondError, Progress};
use wire::LinkType;
use wire::capture::RECORD_HEADER;

/// Frames between two calls of the caller's `progress`.
const PROGRESS: u64 = 1 << 16;

/// Frames of equal time from different inputs.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Ties {
    /// Moments at which several inputs have frames.
    pub(super) groups: u64,
    /// The frames of these moments.
    pub(super) frames: u64,
    /// The same, by input.
    pub(super) by_input: Vec<u64>,
    key: i64,
    lane: usize,
    count: u64,
    /// Of the present moment, where several inputs have frames: who has how many.
    shares: Vec<(usize, u64)>,
}

impl Ties {
    fn new(lanes: usize) -> Self {
        Self { by_input: vec![0; lanes], key: i64::MIN, ..Self::default() }
    }

    /// The next frame, in the order of the output.
    #[inline]
    fn frame(&mut self, lane: usize, key: i64) {
        if key == self.key {
            if lane == self.lane {
                self.count += 1;
                return;
            }
            self.shares.push((self.lane, self.count));
        } else {
            if !self.shares.is_empty() {
                self.close();
            }
            self.key = key;
        }
        (self.lane, self.count) = (lane, 1);
    }

    /// Counts the present moment, at which several inputs have frames.
    #[cold]
    fn close(&mut self) {
        self.shares.push((self.lane, self.count));
        self.groups += 1;
        for (lane, count) in self.shares.drain(..) {
            self.frames += count;
            if let Some(known) = self.by_input.get_mut(lane) {
                *known += count;
            }
        }
    }
}

/// Who is shown each record of the output: which input it is of, its place, its octets, and the link types of interfaces.
pub(super) type Watch<'a> = &'a mut dyn FnMut(usize, Entry, &[u8], &[LinkType]);

/// What an input brings to the merge.
struct Head {
    lane: Lane,
    name: String,
    /// Where its piece lies, while it has one.
    slot: usize,
    /// The next of the piece's entries.
    next: usize,
    /// Interface numbers in the output of its link types.
    interfaces: Vec<u32>,
    /// Pieces that have been written.
    spare: Vec<Piece>,
}

/// What came out of a merge.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Came {
    /// Frames.
    pub(super) frames: u64,
    /// Their octets, as captured.
    pub(super) bytes: u64,
    /// The time that the first and the last of them were ordered by, in nanoseconds since 1970.
    pub(super) first: i64,
    pub(super) last: i64,
    /// Whether no frame was written before one that bears an earlier time.
    pub(super) ordered: bool,
}

/// The merge.
pub(super) struct Merge<'a> {
    crew: &'a Crew,
    shape: Shape,
    heads: Vec<Head>,
    /// Pieces that are in use, by slot.
    pieces: Vec<Piece>,
    free: Vec<usize>,
    /// Slots that are done with once what has been gathered is written, and whose they are.
    retired: Vec<(usize, usize)>,
    /// The earliest input first: a heap by time and place in the command line.
    heap: Vec<(i64, usize)>,
    sink: &'a mut Sink,
    watch: Option<Watch<'a>>,
    ties: Ties,
    progress: Progress,
    /// Octets of frames of pcapng, whose records do not tell by their length.
    captured: u64,
    first: Option<i64>,
    ordered: bool,
    /// The latest time of what was written up to the last late frame, as the output bears it.
    newest: u64,
    /// Link types of the interfaces of the output, where it is pcapng.
    interfaces: Vec<LinkType>,
}

impl<'a> Merge<'a> {
    pub(super) fn new(
        crew: &'a Crew,
        shape: Shape,
        lanes: Vec<(Lane, String)>,
        sink: &'a mut Sink,
        watch: Option<Watch<'a>>,
    ) -> Self {
        let ties = Ties::new(lanes.len());
        let head =
            |(lane, name)| Head { lane, name, slot: 0, next: 0, interfaces: Vec::new(), spare: Vec::new() };
        let heads = lanes.into_iter().map(head).collect();
        Self {
            crew,
            shape,
            heads,
            pieces: Vec::new(),
            free: Vec::new(),
            retired: Vec::new(),
            heap: Vec::new(),
            sink,
            watch,
            ties,
            progress: Progress::default(),
            captured: 0,
            first: None,
            ordered: true,
            newest: 0,
            interfaces: Vec::new(),
        }
    }

    /// Merges to the end, and gives the inputs back.
    pub(super) fn run(&mut self, progress: &mut dyn FnMut(&Progress)) -> Result<(), BondError> {
        for lane in 0..self.heads.len() {
            if let Some(key) = self.load(lane)? {
                self.heap.push((key, lane));
            }
        }
        self.heap.sort_unstable();
        self.first = self.heap.first().map(|(key, _)| *key);
        let mut next_progress = PROGRESS;
        while let Some((_, lane)) = self.heap.first().copied() {
            if self.sink.is_closed() {
                break;
            }
            let key = self.drain(lane)?;
            match key {
                Some(key) => self.heap[0] = (key, lane),
                None => {
                    self.heap.swap_remove(0);
                }
            }
            sift_down(&mut self.heap);
            if self.progress.frames >= next_progress {
                next_progress = self.progress.frames + PROGRESS;
                progress(&self.progress);
            }
        }
        if !self.ties.shares.is_empty() {
            self.ties.close();
        }
        self.flush()?;
        progress(&self.progress);
        Ok(())
    }

    /// The inputs, once all has been merged.
    pub(super) fn into_lanes(self) -> (Vec<Lane>, Ties, Came) {
        let Progress { frames, bytes, time } = self.progress;
        let bytes = match self.shape {
            Shape::Pcap(..) => bytes - frames * records::count(RECORD_HEADER),
            Shape::Pcapng => self.captured,
        };
        let came =
            Came { frames, bytes, first: self.first.unwrap_or(time), last: time, ordered: self.ordered };
        (self.heads.into_iter().map(|head| head.lane).collect(), self.ties, came)
    }

    /// Takes records of the earliest input as long as it is the earliest. Its next time, unless it has ended.
    fn drain(&mut self, lane: usize) -> Result<Option<i64>, BondError> {
        let bound = match self.heap.get(1..) {
            None | Some([]) => (i64::MAX, usize::MAX),
            Some([one]) => *one,
            Some([one, other, ..]) => *one.min(other),
        };
        loop {
            let Head { slot, next, .. } = &mut self.heads[lane];
            let slot = *slot;
            let piece = &self.pieces[slot];
            let entries = piece.entries.get(*next..).unwrap_or_default();
            let mut taken = 0;
            let mut key = None;
            let mut room = true;
            for entry in entries {
                if (entry.key, lane) > bound {
                    key = Some(entry.key);
                    break;
                }
                if !entry.is_late() {
                    self.ties.frame(lane, entry.key);
                } else {
                    // All others go out by their own time, so only what is late can be out of order.
                    let own = records::borne(piece.record(*entry), self.shape).unwrap_or_default();
                    self.newest = self.newest.max(records::held(self.ties.key, self.shape));
                    self.ordered &= own >= self.newest;
                    self.newest = self.newest.max(own);
                }
                if self.shape == Shape::Pcapng {
                    self.captured += records::captured(piece.record(*entry));
                }
                self.progress.bytes += u64::from(entry.len());
                if let Some(watch) = &mut self.watch {
                    watch(lane, *entry, piece.record(*entry), &self.interfaces);
                }
                taken += 1;
                if !self.sink.take(Stretch { slot, at: entry.at, end: entry.end() }) {
                    room = false;
                    break;
                }
            }
            *next += taken;
            self.progress.frames += records::count(taken);
            let left = *next < piece.entries.len();
            if let Some(last) = piece.entries.get((*next).saturating_sub(1)) {
                self.progress.time = last.key;
            }
            if !room {
                self.flush()?;
            }
            if key.is_some() {
                return Ok(key);
            }
            if left {
                continue;
            }
            self.retired.push((slot, lane));
            if self.sink.is_closed() {
                return Ok(None);
            }
            match self.load(lane)? {
                Some(key) if (key, lane) <= bound => {}
                key => return Ok(key),
            }
        }
    }

    /// Gets the next piece of an input. Its first time, unless it has ended.
    fn load(&mut self, lane: usize) -> Result<Option<i64>, BondError> {
        if self.heads[lane].lane.may_wait() {
            // Nothing that could be written is kept from its reader while nothing comes.
            self.flush()?;
        }
        let head = &mut self.heads[lane];
        let mut link_types = Vec::new();
        let (shape, known) = (self.shape, head.interfaces.len());
        let look = |intake: &super::intake::Intake| {
            if shape == Shape::Pcapng {
                link_types.extend_from_slice(intake.records().link_types().get(known..).unwrap_or_default());
            }
        };
        let Some(mut piece) = head.lane.next(self.crew, head.spare.drain(..), look) else {
            return Ok(None);
        };
        if !link_types.is_empty() {
            self.describe(lane, &link_types)?;
        }
        if shape == Shape::Pcapng {
            number(&mut piece, &self.heads[lane].interfaces);
        }
        let key = piece.entries.first().map(|first| first.key);
        let slot = self.free.pop().unwrap_or(self.pieces.len());
        match self.pieces.get_mut(slot) {
            Some(place) => *place = piece,
            None => self.pieces.push(piece),
        }
        let head = &mut self.heads[lane];
        (head.slot, head.next) = (slot, 0);
        Ok(key)
    }

    /// Describes interfaces for new link types of an input.
    fn describe(&mut self, lane: usize, link_types: &[LinkType]) -> Result<(), BondError> {
        self.flush()?;
        for link_type in link_types {
            let head = &mut self.heads[lane];
            head.interfaces.push(self.sink.interface(*link_type, &head.name));
            self.interfaces.push(*link_type);
        }
        Ok(())
    }

    /// Writes what is gathered, and gives the pieces that it was in back.
    fn flush(&mut self) -> Result<(), BondError> {
        self.sink.flush(&self.pieces)?;
        for (slot, lane) in self.retired.drain(..) {
            let piece = std::mem::take(&mut self.pieces[slot]);
            self.heads[lane].spare.push(piece);
            self.free.push(slot);
        }
        Ok(())
    }
}

/// Writes the numbers that interfaces have in the output over those that they have in the input.
fn number(piece: &mut Piece, interfaces: &[u32]) {
    for entry in &piece.entries {
        let at = usize::try_from(entry.at).unwrap_or(usize::MAX);
        let place = piece.octets.get_mut(at..).and_then(|record| record.get_mut(8..12));
        let Some(place) = place else { continue };
        let local = <[u8; 4]>::try_from(&*place).map_or(0, u32::from_le_bytes);
        let global = usize::try_from(local).ok().and_then(|local| interfaces.get(local));
        place.copy_from_slice(&global.copied().unwrap_or_default().to_le_bytes());
    }
}

/// Puts the first of a heap where it belongs.
fn sift_down(heap: &mut [(i64, usize)]) {
    let mut at = 0;
    loop {
        let (left, right) = (2 * at + 1, 2 * at + 2);
        let mut least = at;
        for child in [left, right] {
            if heap.get(child).is_some_and(|child| *child < heap[least]) {
                least = child;
            }
        }
        if least == at {
            return;
        }
        heap.swap(at, least);
        at = least;
    }
}
