//! Copies that go to one of several sinks: by flow, by source, in turn or by chance.

use std::net::IpAddr;
use std::sync::Arc;

use wire::headers::Fragment;

use super::CopyIndex;
use super::fields::Fields;
use super::memory::{GOLDEN, Kept, Memory, mixed};
use super::subject::Subject;

/// Index of a spread in its program's table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SpreadIndex(pub u16);

/// How one of several copies is chosen.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Method {
    /// By the two ends of the conversation, whichever way the frame goes.
    Flow,
    /// By the source address.
    Source,
    /// Each in its turn.
    RoundRobin,
    /// By chance.
    Random,
}

/// A copy that may be chosen.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Choice {
    /// The copy.
    pub copy: CopyIndex,
    /// Its share, 1 to [`WEIGHT_MAX`].
    pub weight: u8,
    /// What its sink is known by from one config to the next (see [`sink_key`]), so that it keeps its flows.
    pub key: u64,
}

/// The most that a weight may be.
pub const WEIGHT_MAX: u8 = 100;
/// The most copies that one spread chooses between.
pub const CHOICES_MAX: usize = 64;

/// A copy that goes to one of several sinks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Spread {
    method: Method,
    choices: Vec<Choice>,
    inner: bool,
    table: Arc<[u8]>,
}

/// Slots of the table by which hashes choose.
pub const SLOTS: usize = 1 << 16;

/// What a sink is known by in tables: FNV-1a (Fowler, Noll, Vo) of its name, 64 bits.
pub fn sink_key(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, octet| {
        (hash ^ u64::from(octet)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

impl Spread {
    /// A spread over these choices; `None` where there are none or more than [`CHOICES_MAX`], or where a
    /// weight is 0 or above [`WEIGHT_MAX`]. With `inner`, the innermost addresses decide where packets are
    /// carried in packets (see [`Fields::inner`]).
    pub fn new(method: Method, choices: Vec<Choice>, inner: bool) -> Option<Self> {
        let sound = |choice: &Choice| (1..=WEIGHT_MAX).contains(&choice.weight);
        if !(1..=CHOICES_MAX).contains(&choices.len()) || !choices.iter().all(sound) {
            return None;
        }
        let table = match method {
            Method::Flow | Method::Source => slots(&choices),
            Method::RoundRobin | Method::Random => turns(&choices),
        };
        Some(Self { method, choices, inner, table: table.into() })
    }

    /// How one is chosen.
    pub fn method(&self) -> Method {
        self.method
    }

    /// What it chooses from.
    pub fn choices(&self) -> &[Choice] {
        &self.choices
    }

    /// Whether the innermost addresses decide.
    pub fn is_inner(&self) -> bool {
        self.inner
    }

    /// The table of choices: what is chosen (an index into `choices`) for each slot. For hashes it has
    /// [`SLOTS`] slots and every slot goes to the choice that scores highest for it (rendezvous hashing, Thaler
    /// and Ravishankar 1998; a weight is so many tries), so that without one choice only its slots go
    /// elsewhere. For turns and chance it has as many slots as the weights sum to.
    pub fn table(&self) -> &[u8] {
        &self.table
    }

    /// The copy for a frame. `index` is the spread's own in its program, `draw` the frame's number of chance.
    pub(super) fn choose(
        &self,
        index: SpreadIndex,
        subject: &Subject<'_>,
        memory: &mut Memory,
        draw: u64,
    ) -> Option<CopyIndex> {
        let len = u64::try_from(self.table.len()).unwrap_or(1);
        let fields = || if self.inner { subject.inner() } else { subject.fields() };
        let slot = match self.method {
            Method::Flow => u64::from(flow_slot(fields(), memory)),
            Method::Source => u64::from(source_slot(fields())),
            Method::RoundRobin => memory.turn(usize::from(index.0)) % len,
            Method::Random => {
                let own = u64::from(index.0).wrapping_add(1).wrapping_mul(GOLDEN);
                (mixed(draw ^ own) >> 32) % len
            }
        };
        let choice = self.table.get(usize::try_from(slot).unwrap_or(0))?;
        self.choices.get(usize::from(*choice)).map(|choice| choice.copy)
    }
}

/// For each slot the choice that scores highest for it; of equal scores the last.
fn slots(choices: &[Choice]) -> Vec<u8> {
    // What depends on no slot is mixed once.
    let tries: Vec<(u8, u64)> = (0..)
        .zip(choices)
        .flat_map(|(at, choice)| {
            (0..u64::from(choice.weight)).map(move |n| (at, mixed(choice.key.wrapping_add(n))))
        })
        .collect();
    let best = |slot: u64| {
        let scores = tries.iter().map(|(at, key)| (mixed(key ^ slot), *at));
        scores.max().map_or(0, |(_, at)| at)
    };
    (0u64..).take(SLOTS).map(|slot| best(mixed(slot))).collect()
}

/// Choices in turn, each as often as it weighs and spaced as evenly as may be.
fn turns(choices: &[Choice]) -> Vec<u8> {
    let total: i64 = choices.iter().map(|choice| i64::from(choice.weight)).sum();
    let mut credit = vec![0i64; choices.len()];
    let mut turns = Vec::new();
    for _ in 0..total {
        for (credit, choice) in credit.iter_mut().zip(choices) {
            *credit += i64::from(choice.weight);
        }
        let richest = (0..credit.len()).rev().max_by_key(|at| credit[*at]).unwrap_or(0);
        credit[richest] -= total;
        turns.push(u8::try_from(richest).unwrap_or(u8::MAX));
    }
    turns
}

/// What chooses the slot of a frame in the table of a spread by flow: the same for both directions of a
/// conversation. A later fragment goes where its first one went, where that was seen not long ago.
pub(super) fn flow_slot(fields: &Fields, memory: &mut Memory) -> u16 {
    let hash = flow_hash(fields);
    let slot = slot_of(hash);
    let Some(Fragment { offset, .. }) = fields.ip.and_then(|ip| ip.fragment) else { return slot };
    let key = fragment_key(fields);
    if offset == 0 {
        memory.keep(key, slot);
        return slot;
    }
    match memory.kept(key) {
        Kept::Known(slot) => slot,
        Kept::Unknown => slot,
    }
}

/// The slot of a spread by source.
pub(super) fn source_slot(fields: &Fields) -> u16 {
    let folded = fields.ip.map_or(0, |ip| folded(ip.source));
    slot_of(mixed(u64::from(folded)))
}

fn slot_of(hash: u64) -> u16 {
    u16::try_from(hash >> 48).unwrap_or(0)
}

/// An address as 32 bits: the four words of an IPv6 address mixed one after the other; an IPv4 address is the
/// first word of four, the rest 0.
fn folded(address: IpAddr) -> u32 {
    let words = match address {
        IpAddr::V4(v4) => [u32::from(v4), 0, 0, 0],
        IpAddr::V6(v6) => {
            let octets = v6.octets();
            let word =
                |at: usize| u32::from_be_bytes([octets[at], octets[at + 1], octets[at + 2], octets[at + 3]]);
            [word(0), word(4), word(8), word(12)]
        }
    };
    words.into_iter().fold(0, |hash: u32, word| (hash ^ word).wrapping_mul(0x9e37_79b1))
}

/// The hash of a conversation: symmetric in its two ends. Frames without IP all give one number.
fn flow_hash(fields: &Fields) -> u64 {
    let Some(ip) = fields.ip else { return mixed(0) };
    let (source, destination) = (folded(ip.source), folded(ip.destination));
    let (from, to) = fields.ports.unwrap_or((0, 0));
    let ends = u64::from(source ^ destination) << 32 | u64::from(source.wrapping_add(destination));
    let ports = (u64::from(from ^ to) << 24) | (u64::from(from) + u64::from(to));
    mixed(mixed(ends) ^ ports ^ u64::from(ip.protocol) << 56)
}

/// What the fragments of one packet have in common. Those of IPv4 also have the protocol (RFC 791), those of
/// IPv6 need not: extension headers may stand behind the first one's fragment header (RFC 8200, section 4.5).
fn fragment_key(fields: &Fields) -> u64 {
    let Some(ip) = fields.ip else { return 0 };
    let id = ip.fragment.map_or(0, |fragment| fragment.id);
    let protocol = if ip.source.is_ipv4() { ip.protocol } else { 0 };
    let ends = u64::from(folded(ip.source)) << 32 | u64::from(folded(ip.destination));
    mixed(mixed(ends) ^ (u64::from(id) << 8 | u64::from(protocol)))
}
