//! How the saved text is kept: in an ARRAY map that every attached program holds, so that it lives exactly as
//! long as what is attached.
//!
//! ```text
//! entry 0          header: magic, slot in force (0 or 1), octets of its text
//! entry 1 ..= n    slot 0, JSON in pieces of CHUNK octets
//! entry n+1 ..=2n  slot 1
//! ```
//! A rewrite fills the slot that is not in force and then turns the header over in one update, so that a
//! process killed half-way leaves the older text whole.

use crate::machine::saved::Saved;

/// Octets of one map entry.
pub const CHUNK: usize = 4096;
/// The key of the header.
pub const HEADER: [u8; 4] = [0; 4];
/// Begins the header; the digit is the version of the layout.
const MAGIC: &[u8; 8] = b"tapwrt-1";
/// Octets that a slot has above the first text, for what is added later.
const HEADROOM: usize = 64 * 1024;
/// The longest text that is read back: more is no state of ours.
pub const TEXT_MAX: usize = 64 * 1024 * 1024;

/// Why a state map could not be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Unreadable {
    /// The header is not ours, or of another version.
    Header,
    /// Fewer entries than the header says.
    Short,
    /// The text is not what this version writes.
    Text(String),
}

impl std::fmt::Display for Unreadable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Header => f.write_str("its header is not of this version of tapwright"),
            Self::Short => f.write_str("it is shorter than its header says"),
            Self::Text(why) => write!(f, "its text is not of this version of tapwright: {why}"),
        }
    }
}

/// What is written for a text: all of the pieces first, in any order, and then the header, which puts them in
/// force.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rewrite {
    /// Keys and values.
    pub pieces: Vec<(Vec<u8>, Vec<u8>)>,
    /// The value of [`HEADER`].
    pub header: Vec<u8>,
}

/// How a text is laid out over map entries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Geometry {
    /// Entries of one slot.
    pub slot_entries: u32,
}

impl Geometry {
    /// Room for a text of this many octets and what may be added to it; `None` where that is more than
    /// [`TEXT_MAX`].
    pub fn for_text(octets: usize) -> Option<Self> {
        let octets = octets.checked_add(HEADROOM).filter(|octets| *octets <= TEXT_MAX)?;
        u32::try_from(octets.div_ceil(CHUNK)).ok().map(|slot_entries| Self { slot_entries })
    }

    /// The geometry of a map with this many entries.
    pub fn of_map(entries: u32) -> Self {
        Self { slot_entries: entries.saturating_sub(1) / 2 }
    }

    /// Entries of the whole map.
    pub fn entries(self) -> u32 {
        1 + 2 * self.slot_entries
    }

    /// How `text` is written into `slot`, which must not be in force. `None` where it does not fit.
    pub fn rewrite(self, slot: u8, text: &[u8]) -> Option<Rewrite> {
        let pieces = text.chunks(CHUNK);
        if u32::try_from(pieces.len()).ok()? > self.slot_entries {
            return None;
        }
        let keys = (self.first(slot)..).map(|entry| entry.to_ne_bytes().to_vec());
        let mut header = MAGIC.to_vec();
        header.push(slot);
        header.extend(u64::try_from(text.len()).ok()?.to_le_bytes());
        Some(Rewrite { pieces: keys.zip(pieces.map(padded)).collect(), header: padded(&header) })
    }

    /// The entries that hold the text of a header: the slot in force, the entries, the octets.
    pub fn locate(self, header: &[u8]) -> Result<(u8, std::ops::Range<u32>, usize), Unreadable> {
        let rest = header.strip_prefix(MAGIC).ok_or(Unreadable::Header)?;
        let (slot, length) = rest.split_first().ok_or(Unreadable::Header)?;
        let length: [u8; 8] = length.get(..8).and_then(|l| l.try_into().ok()).ok_or(Unreadable::Header)?;
        let octets = usize::try_from(u64::from_le_bytes(length)).map_err(|_| Unreadable::Header)?;
        let entries = u32::try_from(octets.div_ceil(CHUNK)).map_err(|_| Unreadable::Header)?;
        if *slot > 1 || octets > TEXT_MAX || entries > self.slot_entries {
            return Err(Unreadable::Header);
        }
        let first = self.first(*slot);
        Ok((*slot, first..first + entries, octets))
    }

    fn first(self, slot: u8) -> u32 {
        1 + u32::from(slot) * self.slot_entries
    }
}

fn padded(piece: &[u8]) -> Vec<u8> {
    let mut entry = piece.to_vec();
    entry.resize(CHUNK, 0);
    entry
}

/// Reads the saved text back from the pieces of a slot.
///
/// # Errors
/// [`Unreadable::Short`] or [`Unreadable::Text`].
pub fn join(pieces: &[Vec<u8>], octets: usize) -> Result<Saved, Unreadable> {
    let text: Vec<u8> = pieces.concat();
    Saved::from_text(text.get(..octets).ok_or(Unreadable::Short)?).map_err(Unreadable::Text)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::machine::saved::{Choice, Pair, Phase};

    fn sample(padding: usize) -> Saved {
        Saved {
            phase: Phase::Applying,
            plan: "x".repeat(padding),
            file: "tap.toml".into(),
            choices: vec![Choice { attach: "tcx".into(), why: "default".into() }],
            interfaces: vec![],
            pairs: vec![Pair { near: "tw0".into(), far: "tw1".into() }],
            hurried: false,
        }
    }

    fn read(map: &BTreeMap<Vec<u8>, Vec<u8>>, geometry: Geometry) -> Result<Saved, Unreadable> {
        let (_, entries, octets) = geometry.locate(&map[&HEADER.to_vec()])?;
        let pieces: Vec<Vec<u8>> = entries.map(|entry| map[&entry.to_ne_bytes().to_vec()].clone()).collect();
        join(&pieces, octets)
    }

    #[test]
    fn a_rewrite_that_stops_anywhere_leaves_the_old_or_the_new_text() {
        let (old, mut new) = (sample(10_000), sample(20_000));
        new.phase = Phase::Live;
        let geometry = Geometry::for_text(old.to_text().len()).unwrap();
        let updates = |slot, saved: &Saved| {
            let rewrite = geometry.rewrite(slot, &saved.to_text()).unwrap();
            rewrite.pieces.into_iter().chain([(HEADER.to_vec(), rewrite.header)]).collect::<Vec<_>>()
        };
        let map = BTreeMap::from_iter(updates(0, &old));
        let updates = updates(1, &new);
        for stop in 0..=updates.len() {
            let mut killed = map.clone();
            killed.extend(updates[..stop].iter().cloned());
            let expected = if stop == updates.len() { &new } else { &old };
            assert_eq!(&read(&killed, geometry).unwrap(), expected, "stopped before update {stop}");
        }
    }

    #[test]
    fn foreign_headers_are_refused() {
        let geometry = Geometry::for_text(1).unwrap();
        assert_eq!(geometry.locate(&[0; CHUNK]), Err(Unreadable::Header));
        let mut header = geometry.rewrite(0, b"{}").unwrap().header;
        header[9..17].fill(0xff);
        assert_eq!(geometry.locate(&header), Err(Unreadable::Header));
        header[8] = 2;
        assert_eq!(geometry.locate(&header), Err(Unreadable::Header));
    }

    #[test]
    fn a_text_beyond_the_slot_is_refused() {
        let geometry = Geometry { slot_entries: 1 };
        assert!(geometry.rewrite(0, &[0; CHUNK]).is_some());
        assert!(geometry.rewrite(0, &[0; CHUNK + 1]).is_none());
        let most = Geometry::for_text(TEXT_MAX - HEADROOM).unwrap();
        assert!(most.rewrite(1, &vec![0; TEXT_MAX]).is_some(), "what is written can be read back");
        assert_eq!(Geometry::for_text(TEXT_MAX - HEADROOM + 1), None);
    }
}
