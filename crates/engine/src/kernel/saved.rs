//! What `down` needs to put the machine back, and `status` to read the ledger: kept in an ARRAY map that
//! every attached program holds, so that it lives exactly as long as what is attached.
//!
//! ```text
//! entry 0          header: magic, slot in force (0 or 1), octets of its text
//! entry 1 ..= n    slot 0, JSON in pieces of CHUNK octets
//! entry n+1 ..=2n  slot 1
//! ```
//! A rewrite fills the slot that is not in force and then turns the header over in one update, so that a
//! process killed half-way leaves the older text whole.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};

use plan::ledger::Count;

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

/// How far `up` or `down` had come when the text was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// `up` is at work, or was killed.
    Applying,
    /// All of the plan is true.
    Live,
    /// `down` is at work, or was killed.
    Removing,
}

/// Everything that is kept.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Saved {
    /// How far the change had come.
    pub phase: Phase,
    /// The plan in its canonical text.
    pub plan: String,
    /// The config's name as the user gave it.
    pub file: String,
    /// How each port is attached, in plan order.
    pub choices: Vec<Choice>,
    /// Interfaces that existed before, as they were; in plan order, each once.
    pub interfaces: Vec<SavedInterface>,
    /// Pairs that `up` makes, and `down` deletes.
    pub pairs: Vec<Pair>,
    /// Whether `up` or `down` turned expedited grace periods on, and off again when it is done.
    #[serde(default)]
    pub hurried: bool,
}

/// How a port is attached, and why.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Choice {
    /// `tcx`, `xdp` or `clsact`.
    pub attach: String,
    /// The reason in a few words.
    pub why: String,
}

/// A veth pair of ours.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Pair {
    /// The end that frames are sent into.
    pub near: String,
    /// The end that they arrive at.
    pub far: String,
}

/// An interface as it was, as far as `up` changes it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct SavedInterface {
    /// Its name.
    pub name: String,
    /// Its index; a new device of the same name has another.
    pub index: u32,
    /// Whether it was up.
    pub up: bool,
    /// Whether it was promiscuous by flag.
    pub promiscuous: bool,
    /// Features as requested before, of those that `up` changes.
    pub features: Vec<(String, bool)>,
    /// Settings below /proc/sys/net, of those that `up` changes.
    pub sysctls: Vec<(String, String)>,
    /// Its link-local addresses.
    pub addresses: Vec<SavedAddress>,
    /// Pause parameters where `up` changes them: autonegotiation, receive, transmit.
    pub pause: Option<(bool, bool, bool)>,
    /// Whether `up` puts a root queueing discipline of its own in place of the default one.
    pub root_qdisc: bool,
    /// Whether `up` adds the clsact discipline.
    pub clsact: bool,
    /// The device's counters when counting began.
    pub baseline: Baseline,
}

/// A link-local address.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SavedAddress {
    /// The address.
    pub ip: IpAddr,
    /// Length of its prefix in bits.
    pub prefix: u8,
    /// `RT_SCOPE_*`.
    pub scope: u8,
    /// Its broadcast address, where it has one.
    pub broadcast: Option<Ipv4Addr>,
}

/// The device counters that the ledger takes differences of.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Baseline {
    /// Frames sent.
    pub tx: Count,
    /// Frames that the device could not send.
    pub tx_lost: u64,
    /// Frames that its root queueing discipline dropped.
    pub root_drops: u64,
    /// Frames missed on receipt, by the device's own reason.
    pub rx_lost: BTreeMap<String, u64>,
}

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

impl Saved {
    /// The text that is kept.
    pub fn to_text(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("the state has string keys only, which JSON always takes")
    }

    /// Reads the text back from the pieces of a slot.
    pub fn from_pieces(pieces: &[Vec<u8>], octets: usize) -> Result<Self, Unreadable> {
        let text: Vec<u8> = pieces.concat();
        let text = text.get(..octets).ok_or(Unreadable::Short)?;
        serde_json::from_slice(text).map_err(|error| Unreadable::Text(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        Saved::from_pieces(&pieces, octets)
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
