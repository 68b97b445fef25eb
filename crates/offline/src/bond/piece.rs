//! A piece of a capture: records that are ready to be written, and in which order they go.
//!
//! Records lie as they were read wherever the output has the same form: whoever writes them takes whole
//! stretches of a piece, and copies nothing. Never does I/O.

/// Octets in front of what is read, so that a record header always fits before the first packet.
pub(super) const HEADROOM: usize = 32;

/// Says in [`Entry::len`] that a frame came too late to be put where its time belongs.
const LATE: u32 = 1 << 31;

/// One record: where it goes and where it lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Entry {
    /// What it is ordered by: its time in nanoseconds since 1970; of a late one the time that it goes out at.
    pub(super) key: i64,
    /// Where it begins in the piece.
    pub(super) at: u32,
    /// Its length in octets, and the flag [`LATE`]. No record has 2^31 octets: the reader's limit is far below.
    len: u32,
}

impl Entry {
    /// A record of `len` octets at `at`. A piece is far below 2^31 octets.
    #[inline]
    pub(super) fn new(key: i64, at: usize, len: usize, late: bool) -> Self {
        let short = |size: usize| u32::try_from(size).unwrap_or(LATE - 1) & (LATE - 1);
        Self { key, at: short(at), len: short(len) | if late { LATE } else { 0 } }
    }

    /// Its length in octets.
    #[inline]
    pub(super) fn len(self) -> u32 {
        self.len & (LATE - 1)
    }

    /// Where it ends in the piece.
    #[inline]
    pub(super) fn end(self) -> u32 {
        self.at + self.len()
    }

    /// Whether it came too late to be put where its time belongs.
    #[inline]
    pub(super) fn is_late(self) -> bool {
        self.len & LATE != 0
    }
}

/// Records of one input that follow each other, those before them and behind them being in other pieces.
#[derive(Default, Debug)]
pub(super) struct Piece {
    /// What the entries point into; longer than what is used.
    pub(super) octets: Vec<u8>,
    /// How much of `octets` is in use.
    pub(super) used: usize,
    /// The records; in order once the piece has been finished.
    pub(super) entries: Vec<Entry>,
    /// Whether the entries are in order already.
    pub(super) sorted: bool,
    /// The latest time in the input up to the end of this piece.
    pub(super) max: i64,
    /// Which stretch of the input this is, counted from 0.
    pub(super) epoch: u64,
}

impl Piece {
    /// The octets of a record.
    pub(super) fn record(&self, entry: Entry) -> &[u8] {
        self.stretch(entry.at, entry.end())
    }

    /// The octets from `at` to `end`.
    #[inline]
    pub(super) fn stretch(&self, at: u32, end: u32) -> &[u8] {
        let (at, end) =
            (usize::try_from(at).unwrap_or(usize::MAX), usize::try_from(end).unwrap_or(usize::MAX));
        self.octets.get(at..end).unwrap_or_default()
    }

    /// Takes in a record of a later piece.
    pub(super) fn adopt(&mut self, entry: Entry, record: &[u8]) {
        self.octets.truncate(self.used);
        let at = self.octets.len();
        self.octets.extend_from_slice(record);
        self.used = self.octets.len();
        self.push(Entry::new(entry.key, at, record.len(), entry.is_late()));
    }

    /// Adds a record that lies in `octets`.
    #[inline]
    pub(super) fn push(&mut self, entry: Entry) {
        self.sorted &= self.entries.last().is_none_or(|last| last.key <= entry.key);
        self.entries.push(entry);
    }

    /// Puts the records in order. Of equal keys the one that came first stays first.
    pub(super) fn finish(&mut self) {
        if !self.sorted {
            self.entries.sort_by_key(|entry| entry.key);
            self.sorted = true;
        }
    }

    /// Moves the records with keys up to `bound` into a piece of their own. Entries must be in order.
    pub(super) fn split(&mut self, bound: i64, mut into: Piece) -> Option<Piece> {
        let count = self.entries.partition_point(|entry| entry.key <= bound);
        if count == 0 {
            return None;
        }
        into.clear(0);
        let moved: Vec<Entry> = self.entries.drain(..count).collect();
        for entry in &moved {
            into.adopt(*entry, self.stretch(entry.at, entry.end()));
        }
        into.max = moved.last().map_or(self.max, |entry| entry.key);
        into.epoch = self.epoch;
        Some(into)
    }

    /// Makes an empty piece of it that keeps its memory, where that is not much more than `usual` octets.
    pub(super) fn clear(&mut self, usual: usize) {
        if usual > 0 && self.octets.capacity() > usual.saturating_mul(2) {
            self.octets = Vec::new();
        }
        if usual > 0 && self.entries.capacity() > usual / 8 {
            self.entries = Vec::new();
        }
        self.entries.clear();
        self.used = 0;
        self.sorted = true;
        (self.max, self.epoch) = (i64::MIN, 0);
    }
}
