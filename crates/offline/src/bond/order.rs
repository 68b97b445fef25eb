//! Where in time each frame of one input goes.
//!
//! A frame whose time lies before that of a frame in front of it is put where its time belongs, unless that lies
//! too far back: more than the window, or further than what is kept in memory. Such a frame is late. It goes out at
//! the earliest moment that is still open, with its own time, and is counted. What comes of a frame depends on
//! the octets of the input alone, never on how they arrive.

use super::piece::{Entry, Piece};

/// What is known of the frames of an input so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Account {
    /// Frames.
    pub(super) frames: u64,
    /// Their octets, as captured.
    pub(super) bytes: u64,
    /// The earliest time, in nanoseconds since 1970; the largest number where there is no frame.
    pub(super) first: i64,
    /// The latest time; the smallest number where there is no frame.
    pub(super) last: i64,
    /// Frames whose time lies before that of their predecessor in the file.
    pub(super) out_of_order: u64,
    /// Frames that came too late to be put where their time belongs.
    pub(super) late: u64,
    /// Frames whose time the output cannot hold, written with the nearest that it can.
    pub(super) clamped: u64,
}

impl Default for Account {
    fn default() -> Self {
        Self { frames: 0, bytes: 0, first: i64::MAX, last: i64::MIN, out_of_order: 0, late: 0, clamped: 0 }
    }
}

/// Gives each frame its place.
#[derive(Debug)]
pub(super) struct Order {
    /// How far back a frame may be put, in nanoseconds; 0 keeps all frames where they are.
    window: i64,
    /// The time of the frame before.
    previous: i64,
    /// No frame goes before this: what is earlier has left memory.
    settled: i64,
    /// The latest time that the pieces before this one hold, where they are still in memory.
    edge: i64,
    pub(super) account: Account,
    /// Frames of the present piece that belong into one before it.
    displaced: Vec<Entry>,
}

impl Order {
    pub(super) fn new(window: i64) -> Self {
        let (previous, settled, edge) = (i64::MIN, i64::MIN, i64::MIN);
        Self { window, previous, settled, edge, account: Account::default(), displaced: Vec::new() }
    }

    /// The time of the frame before, which a frame without a time takes.
    pub(super) fn previous(&self) -> i64 {
        if self.previous == i64::MIN { 0 } else { self.previous }
    }

    /// No frame that comes later goes before this time.
    pub(super) fn open_from(&self) -> i64 {
        self.account.last.saturating_sub(self.window)
    }

    /// Pieces with times up to this have left memory.
    pub(super) fn settle(&mut self, time: i64) {
        self.settled = self.settled.max(time);
    }

    /// Pieces in memory hold times up to this.
    pub(super) fn set_edge(&mut self, time: i64) {
        self.edge = time;
    }

    /// Counts a frame of `captured` octets, and puts its record, `len` octets at `at`, in its place.
    #[inline]
    pub(super) fn place(&mut self, time: i64, captured: u64, at: usize, len: usize, piece: &mut Piece) {
        let account = &mut self.account;
        account.frames += 1;
        account.bytes += captured;
        if time >= account.last {
            if account.last == i64::MIN {
                account.first = account.first.min(time);
            }
            account.last = time;
            self.previous = time;
            piece.push(Entry::new(time, at, len, false));
        } else {
            self.place_earlier(time, at, len, piece);
        }
    }

    #[cold]
    fn place_earlier(&mut self, time: i64, at: usize, len: usize, piece: &mut Piece) {
        let account = &mut self.account;
        account.out_of_order += u64::from(time < self.previous);
        account.first = account.first.min(time);
        self.previous = time;
        let floor = self.settled.max(account.last.saturating_sub(self.window));
        let late = time < floor;
        account.late += u64::from(late);
        let entry = Entry::new(time.max(floor), at, len, late);
        if entry.key < self.edge { self.displaced.push(entry) } else { piece.push(entry) }
    }

    /// Moves the frames that belong into earlier pieces there. These lie in order, and `octets` are those of the
    /// present piece.
    pub(super) fn distribute<'a>(&mut self, octets: &[u8], earlier: impl Iterator<Item = &'a mut Piece>) {
        if self.displaced.is_empty() {
            return;
        }
        let mut pieces: Vec<&mut Piece> = earlier.collect();
        for entry in self.displaced.drain(..) {
            // The edge is the latest time of the last of them, so there is one.
            let found = pieces.partition_point(|piece| piece.max <= entry.key);
            let at = usize::try_from(entry.at).unwrap_or(usize::MAX);
            let end = usize::try_from(entry.end()).unwrap_or(usize::MAX);
            if let (Some(piece), Some(record)) = (pieces.get_mut(found), octets.get(at..end)) {
                piece.adopt(entry, record);
            }
        }
    }
}
