//! What a program remembers from one frame to the next. An argument, so that equal memory gives equal
//! decisions: every backend keeps the same numbers, the kernel one copy for each processor.

/// Packets whose first fragment is remembered. A newer one whose key falls on the same place takes it over.
pub const FRAGMENTS: usize = 4096;

/// The memory of one hook's program.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Memory {
    /// Frames for which chance was asked.
    pub draws: u64,
    /// For each spread of the program how often it was asked.
    pub turns: Vec<u64>,
    /// First fragments that took the place of another.
    pub forgotten: u64,
    /// At most [`FRAGMENTS`] places: key and slot. A key of 0 is an empty place.
    pub fragments: Vec<(u64, u64)>,
}

/// What is known about a packet's first fragment.
pub(super) enum Kept {
    /// The slot that it went by.
    Known(u16),
    /// It was not seen, or is forgotten.
    Unknown,
}

impl Memory {
    /// Counts one draw and gives its number: mixed from the seed and the count.
    pub(super) fn draw(&mut self, seed: u64) -> u64 {
        let draw = mixed(seed.wrapping_add(self.draws.wrapping_mul(GOLDEN)));
        self.draws = self.draws.wrapping_add(1);
        draw
    }

    /// How often a spread was asked before.
    pub(super) fn turn(&mut self, spread: usize) -> u64 {
        if self.turns.len() <= spread {
            self.turns.resize(spread + 1, 0);
        }
        let turn = self.turns[spread];
        self.turns[spread] = turn.wrapping_add(1);
        turn
    }

    pub(super) fn keep(&mut self, key: u64, slot: u16) {
        if self.fragments.is_empty() {
            self.fragments.resize(FRAGMENTS, (0, 0));
        }
        let place = &mut self.fragments[place_of(key)];
        if place.0 != 0 && place.0 != key {
            self.forgotten = self.forgotten.wrapping_add(1);
        }
        *place = (key, u64::from(slot));
    }

    pub(super) fn kept(&self, key: u64) -> Kept {
        match self.fragments.get(place_of(key)) {
            Some((known, slot)) if *known == key => Kept::Known(u16::try_from(*slot).unwrap_or(0)),
            _ => Kept::Unknown,
        }
    }
}

fn place_of(key: u64) -> usize {
    usize::try_from(key).unwrap_or(0) % FRAGMENTS
}

/// 2^64 divided by the golden ratio: what SplitMix64 steps by.
pub const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// A number whose bits all depend on all bits of the argument (the finaliser of SplitMix64).
pub const fn mixed(value: u64) -> u64 {
    let z = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
