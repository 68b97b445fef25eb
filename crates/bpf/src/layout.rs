//! Where each counter lives: the one table that programs count by and the ledger reads by.
//!
//! Counters are slots of 64 bits in host byte order. The slots of one program form a block, a block is
//! one entry of the `PERCPU_ARRAY` map `counters`, and all blocks are of one size (that of the largest,
//! a multiple of 8 octets):
//!
//! ```text
//! key 0: | slot 0 | slot 1 | ... |      block of the first program, one such row for each CPU
//! key 1: | slot 0 | slot 1 | ... |      block of the second
//! ```
//!
//! Blocks in order: for each hook its entry, then its hop, then one for each target in the devmap; then
//! for each port its guard, then its monitor-in. The same plan and wiring always give the same layout.
//!
//! A hook with more than [`ROWS_IN_BLOCK`] copies and rules that block would make every block large. Its
//! copies and rules count in rows of [`TALLY_SLOTS`] slots in a second map, `tallies`: first a row for each
//! copy that its program asks for, in index order, then one for each rule that blocks, in id order.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use plan::plan::{Direction, Hook, HookId, Pass, Plan, PortId, Role, Sink};
use rules::form::{CopyIndex, RuleId};

use crate::asm::MapRef;

/// The most copies and blocking rules of one hook whose counters lie in the hook's own block.
pub const ROWS_IN_BLOCK: usize = 128;
/// Slots of 64 bits of a row of the map `tallies`.
pub const TALLY_SLOTS: u16 = 6;
/// Octets of such a row.
pub const TALLY_BYTES: u32 = 48;

/// The most octets of a block: `PCPU_MIN_UNIT_SIZE`, the most that the kernel gives a per-CPU value.
pub const BLOCK_MAX_BYTES: u32 = 32 << 10;

/// How a frame looks to a program.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum View {
    /// `__sk_buff`: the outer tag beside the data, a super-frame may stand for many frames.
    Tc,
    /// `xdp_md`: the frame as it was on the wire.
    Xdp,
}

/// What the engine decided about the machine. Pure data.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Wiring {
    /// For each port of the plan how its frames are judged. Ports beyond the end are [`View::Tc`].
    pub views: Vec<View>,
    /// For each hook of the plan the copies that go by its hop, an internal veth. Only hooks in the XDP
    /// view have any; hooks beyond the end have none.
    pub hops: Vec<BTreeSet<CopyIndex>>,
    /// What decisions by chance begin with.
    pub seed: u64,
}

impl Wiring {
    /// Every port in one view, every copy direct.
    pub fn all(plan: &Plan, view: View) -> Self {
        Self { views: vec![view; plan.ports.len()], hops: vec![BTreeSet::new(); plan.hooks.len()], seed: 0 }
    }

    /// How frames are judged at a hook. Frames on their way out are only ever seen by tc.
    pub fn view(&self, hook: &Hook) -> View {
        match hook.at.direction {
            Direction::Out => View::Tc,
            Direction::In => self.views.get(usize::from(hook.at.port.0)).copied().unwrap_or(View::Tc),
        }
    }

    /// Whether a copy of a hook goes by the hop.
    pub fn by_hop(&self, hook: HookId, copy: CopyIndex) -> bool {
        self.hops.get(usize::from(hook.0)).is_some_and(|set| set.contains(&copy))
    }
}

/// What a program in the XDP view sends to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Target {
    /// A port: passed to or copied to.
    Port(PortId),
    /// The hook's own hop.
    Hop(HookId),
}

/// Why the kernel did not take a copy, in the tc view.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum CopyError {
    /// `NET_XMIT_CN`: the link or its carrier is down.
    Down,
    /// Anything else: the interface is gone.
    Gone,
}

/// One counter. Frames are wire frames; bytes are frame bytes with tags, without FCS.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Counter {
    /// Frames that came to the hook.
    In(HookId),
    /// Their bytes.
    InBytes(HookId),
    /// Frames that the hook handed to the kernel to pass to the port.
    Handed(HookId, PortId),
    /// Their bytes.
    HandedBytes(HookId, PortId),
    /// Frames that the rule stopped.
    Blocked(HookId, RuleId),
    /// Frames that end here (a SPAN port).
    Consumed(HookId),
    /// Frames that the host went on with.
    Left(HookId),
    /// Frames for which the copy was asked.
    Matched(HookId, CopyIndex),
    /// Their bytes.
    MatchedBytes(HookId, CopyIndex),
    /// Copies that the kernel took, or that the monitor's queue or device refused and counted itself. In
    /// the tc view and by the hop only; a direct copy in the XDP view shows as [`Counter::Seen`].
    Copied(HookId, CopyIndex),
    /// Their bytes.
    CopiedBytes(HookId, CopyIndex),
    /// Copies that the kernel did not take.
    Failed(HookId, CopyIndex, CopyError),
    /// Super-frames at the hook whose headers could not be measured: their bytes are short by the
    /// repeated headers.
    Unmeasured(HookId),
    /// Frames that came to the hop.
    HopIn(HookId),
    /// Frames that the devmap entry of the hop saw leave for it.
    HopSeen(HookId),
    /// Frames of the hook that were seen leaving by the port: by the devmap entry for direct targets of
    /// the XDP view, by the port's guard else.
    Seen(PortId, HookId),
    /// Of the frames that the guard saw leaving by the port, how many more they were than buffers: a
    /// super-frame of n frames adds n - 1. A device that does not cut counts buffers.
    Merged(PortId),
    /// Frames not ours that the guard stopped.
    Guarded(PortId),
    /// Frames that a sensor sent, stopped.
    SensorSent(PortId),
    /// Their bytes.
    SensorSentBytes(PortId),
}

/// What a program is there for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Part {
    /// Judges the frames of a hook.
    Entry(HookId),
    /// Makes the copies of a hook that take the hop; at tc ingress of the hop's far end.
    Hop(HookId),
    /// Sits in the devmap entries of a hook for this target.
    Devmap(HookId, Target),
    /// Stops what is not ours; at tc egress of a port.
    Guard(PortId),
    /// Stops what sensors send; at tc ingress of a monitor port.
    MonitorIn(PortId),
    /// Lets everything pass, in XDP: for the far ends of virtual pairs.
    Pass,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entry(hook) => write!(f, "the entry of hook {}", hook.0),
            Self::Hop(hook) => write!(f, "the hop of hook {}", hook.0),
            Self::Devmap(hook, Target::Port(port)) => {
                write!(f, "the devmap entry of hook {} for port {}", hook.0, port.0)
            }
            Self::Devmap(hook, Target::Hop(_)) => {
                write!(f, "the devmap entry of hook {} for its hop", hook.0)
            }
            Self::Guard(port) => write!(f, "the guard of port {}", port.0),
            Self::MonitorIn(port) => write!(f, "what stops the sensor at port {}", port.0),
            Self::Pass => f.write_str("the program that lets everything pass"),
        }
    }
}

/// Where a counter lives.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Place {
    /// [`MapRef::Counters`] or [`MapRef::Tallies`].
    pub map: MapRef,
    /// Key into the map.
    pub block: u32,
    /// Index of the 64-bit slot within the value.
    pub slot: u16,
}

/// Why there is no layout.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LayoutError {
    /// The counters of one program do not fit in a per-CPU value.
    TooLarge {
        /// Whose.
        part: Part,
        /// Octets wanted.
        bytes: u64,
    },
}

impl fmt::Display for LayoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { part, bytes } => write!(
                f,
                "the counters of {part} take {bytes} octets; the kernel gives a per-CPU value {BLOCK_MAX_BYTES}"
            ),
        }
    }
}

impl std::error::Error for LayoutError {}

/// Every counter of a plan under a wiring, and where it lives.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Layout {
    places: BTreeMap<Counter, Place>,
    blocks: BTreeMap<Part, u32>,
    slots: u16,
    /// Of each hook that counts in rows of its own: the first of its copies, the first of its rules.
    rows: BTreeMap<HookId, (u32, u32)>,
    tallies: u32,
}

/// Where counters of one kind lie, so that a program can find them by number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Rows {
    /// In the hook's block, one behind the other.
    Block {
        /// The first slot.
        first: u16,
        /// Slots of each.
        slots: u16,
        /// How many.
        count: u16,
    },
    /// In the map `tallies`.
    Tallies {
        /// Key of the first.
        first: u32,
    },
}

impl Layout {
    /// Lays out the counters.
    ///
    /// # Errors
    ///
    /// [`LayoutError::TooLarge`] where one program would need more than [`BLOCK_MAX_BYTES`].
    pub fn of(plan: &Plan, wiring: &Wiring) -> Result<Self, LayoutError> {
        let mut layout = Self {
            places: BTreeMap::new(),
            blocks: BTreeMap::new(),
            slots: 1,
            rows: BTreeMap::new(),
            tallies: 0,
        };
        for (id, hook) in plan.hooks() {
            let mut counters = entry_counters(wiring, id, hook);
            let (copies, blocking) = (asked(hook), block_rules(hook));
            if copies.len() + blocking.len() > ROWS_IN_BLOCK {
                layout.add_rows(id, wiring.view(hook), &copies, &blocking);
                counters.retain(|counter| !layout.places.contains_key(counter));
            }
            layout.add(Part::Entry(id), counters)?;
            if let Some(counters) = hop_counters(wiring, id, hook) {
                layout.add(Part::Hop(id), counters)?;
            }
            for target in targets(plan, wiring, id, hook) {
                let counter = match target {
                    Target::Port(port) => Counter::Seen(port, id),
                    Target::Hop(_) => Counter::HopSeen(id),
                };
                layout.add(Part::Devmap(id, target), vec![counter])?;
            }
        }
        for (id, port) in plan.ports() {
            if is_guarded(port.role) {
                let mut counters = vec![Counter::Guarded(id)];
                let senders = guard_senders(plan, wiring, id);
                counters.extend((0..senders).map(|hook| Counter::Seen(id, HookId(hook))));
                if senders > 0 {
                    counters.push(Counter::Merged(id));
                }
                layout.add(Part::Guard(id), counters)?;
            }
            if only_sends(port.role) {
                layout
                    .add(Part::MonitorIn(id), vec![Counter::SensorSent(id), Counter::SensorSentBytes(id)])?;
            }
        }
        Ok(layout)
    }

    fn add(&mut self, part: Part, counters: Vec<Counter>) -> Result<(), LayoutError> {
        let bytes = u64::try_from(counters.len()).unwrap_or(u64::MAX).saturating_mul(8);
        let slots = u16::try_from(counters.len()).ok().filter(|_| bytes <= u64::from(BLOCK_MAX_BYTES));
        let Some(slots) = slots else { return Err(LayoutError::TooLarge { part, bytes }) };
        let block = self.blocks();
        self.blocks.insert(part, block);
        self.slots = self.slots.max(slots);
        for (counter, slot) in counters.into_iter().zip(0u16..) {
            // A frame of one hook is seen at one place only: by the devmap entry where there is one.
            self.places.entry(counter).or_insert(Place { map: MapRef::Counters, block, slot });
        }
        Ok(())
    }

    fn add_rows(
        &mut self,
        id: HookId,
        view: View,
        copies: &BTreeSet<CopyIndex>,
        blocking: &BTreeSet<RuleId>,
    ) {
        let first = self.tallies;
        for copy in copies {
            let matched = [Counter::Matched(id, *copy), Counter::MatchedBytes(id, *copy)];
            let copied = copied_counters(id, *copy).into_iter().filter(|_| view == View::Tc);
            self.add_row(matched.into_iter().chain(copied));
        }
        self.rows.insert(id, (first, self.tallies));
        for rule in blocking {
            self.add_row([Counter::Blocked(id, *rule)].into_iter());
        }
    }

    fn add_row(&mut self, counters: impl Iterator<Item = Counter>) {
        let block = self.tallies;
        for (counter, slot) in counters.zip(0u16..) {
            self.places.insert(counter, Place { map: MapRef::Tallies, block, slot });
        }
        // At most 2^16 copies and 2^16 rules for each of at most 2^16 hooks are far more than memory holds.
        self.tallies = self.tallies.saturating_add(1);
    }

    /// Where the copies of a hook count, in the order of what its program asks for.
    pub(crate) fn copy_rows(&self, id: HookId, hook: &Hook) -> Rows {
        if let Some((first, _)) = self.rows.get(&id) {
            return Rows::Tallies { first: *first };
        }
        let copies = asked(hook);
        let slot = |copy: &CopyIndex| self.place(Counter::Matched(id, *copy)).map_or(0, |place| place.slot);
        let mut slots = copies.iter().map(slot);
        let first = slots.next().unwrap_or(0);
        // No counter stands between two copies, so all of them are as far from each other.
        let stride = slots.next().map_or(TALLY_SLOTS, |second| second.saturating_sub(first));
        Rows::Block { first, slots: stride, count: u16::try_from(copies.len()).unwrap_or(u16::MAX) }
    }

    /// Where the rules of a hook that block count, in id order.
    pub(crate) fn block_rows(&self, id: HookId, hook: &Hook) -> Rows {
        if let Some((_, first)) = self.rows.get(&id) {
            return Rows::Tallies { first: *first };
        }
        let rules = block_rules(hook);
        let place = rules.first().and_then(|rule| self.place(Counter::Blocked(id, *rule)));
        let count = u16::try_from(rules.len()).unwrap_or(u16::MAX);
        Rows::Block { first: place.map_or(0, |place| place.slot), slots: 1, count }
    }

    /// Whether the copies of a hook count in rows of their own.
    pub(crate) fn tallies_of(&self, id: HookId) -> bool {
        self.rows.contains_key(&id)
    }

    /// How many rows the map `tallies` has; 0 where there is no such map.
    pub fn tallies(&self) -> u32 {
        self.tallies
    }

    /// Where a counter lives; `None` where nothing counts it.
    pub fn place(&self, counter: Counter) -> Option<Place> {
        self.places.get(&counter).copied()
    }

    /// Every counter and its place, in order.
    pub fn counters(&self) -> impl Iterator<Item = (Counter, Place)> {
        self.places.iter().map(|(counter, place)| (*counter, *place))
    }

    /// The key of a program's block.
    pub fn block(&self, part: Part) -> Option<u32> {
        self.blocks.get(&part).copied()
    }

    /// How many blocks there are: `max_entries` of the map.
    pub fn blocks(&self) -> u32 {
        // Fewer than 2^16 hooks and ports, so far fewer than 2^32 programs could be loaded.
        u32::try_from(self.blocks.len()).unwrap_or(u32::MAX)
    }

    /// Octets of a block: `value_size` of the map. At least 8.
    pub fn block_bytes(&self) -> u32 {
        u32::from(self.slots) * 8
    }
}

/// Whether a port of this role bears a guard.
pub(crate) fn is_guarded(role: Role) -> bool {
    role != Role::Watched
}

/// Whether a port of this role only sends.
pub(crate) fn only_sends(role: Role) -> bool {
    matches!(role, Role::Monitor | Role::Virtual)
}

/// The ports that a hook passes to.
pub(crate) fn passes_to(hook: &Hook) -> Vec<PortId> {
    match &hook.pass {
        Pass::Leave => Vec::new(),
        Pass::To(ports) => ports.iter().copied().collect(),
    }
}

/// The port that a copy of a hook goes to.
pub(crate) fn copy_port(plan: &Plan, hook: &Hook, copy: CopyIndex) -> PortId {
    let Sink::Port(port) = plan.sink(Plan::copy(hook, copy).sink);
    *port
}

/// The copies that a hook's program can ask for, each once, in index order.
pub(crate) fn asked(hook: &Hook) -> BTreeSet<CopyIndex> {
    hook.program.asked()
}

/// The rules whose blocks a hook counts.
pub(crate) fn block_rules(hook: &Hook) -> BTreeSet<RuleId> {
    if hook.pass == Pass::Leave { BTreeSet::new() } else { hook.program.blocking().into_iter().collect() }
}

/// The targets of a hook in the XDP view, each once: ports passed to, direct copies, the hop.
pub(crate) fn targets(plan: &Plan, wiring: &Wiring, id: HookId, hook: &Hook) -> Vec<Target> {
    let mut targets = Vec::new();
    if wiring.view(hook) != View::Xdp {
        return targets;
    }
    targets.extend(passes_to(hook).into_iter().map(Target::Port));
    for copy in asked(hook) {
        let target = match wiring.by_hop(id, copy) {
            true => Target::Hop(id),
            false => Target::Port(copy_port(plan, hook, copy)),
        };
        if !targets.contains(&target) {
            targets.push(target);
        }
    }
    targets
}

fn entry_counters(wiring: &Wiring, id: HookId, hook: &Hook) -> Vec<Counter> {
    let mut counters = vec![Counter::In(id), Counter::InBytes(id)];
    match &hook.pass {
        Pass::Leave => counters.push(Counter::Left(id)),
        Pass::To(ports) if ports.is_empty() => counters.push(Counter::Consumed(id)),
        Pass::To(ports) => {
            for port in ports {
                counters.extend([Counter::Handed(id, *port), Counter::HandedBytes(id, *port)]);
            }
        }
    }
    for copy in asked(hook) {
        counters.extend([Counter::Matched(id, copy), Counter::MatchedBytes(id, copy)]);
        if wiring.view(hook) == View::Tc {
            counters.extend(copied_counters(id, copy));
        }
    }
    counters.extend(block_rules(hook).into_iter().map(|rule| Counter::Blocked(id, rule)));
    if wiring.view(hook) == View::Tc {
        counters.push(Counter::Unmeasured(id));
    }
    counters
}

fn copied_counters(id: HookId, copy: CopyIndex) -> [Counter; 4] {
    [
        Counter::Copied(id, copy),
        Counter::CopiedBytes(id, copy),
        Counter::Failed(id, copy, CopyError::Down),
        Counter::Failed(id, copy, CopyError::Gone),
    ]
}

/// The counters of the hop, where the hook has one.
fn hop_counters(wiring: &Wiring, id: HookId, hook: &Hook) -> Option<Vec<Counter>> {
    let copies: Vec<CopyIndex> = asked(hook).into_iter().filter(|copy| wiring.by_hop(id, *copy)).collect();
    if wiring.view(hook) != View::Xdp || copies.is_empty() {
        return None;
    }
    let mut counters = vec![Counter::HopIn(id)];
    counters.extend(copies.into_iter().flat_map(|copy| copied_counters(id, copy)));
    Some(counters)
}

/// One more than the highest hook whose frames reach a port by way of its guard; 0 where none do.
pub(crate) fn guard_senders(plan: &Plan, wiring: &Wiring, port: PortId) -> u16 {
    let sends = |id: HookId, hook: &Hook| {
        let tc = wiring.view(hook) == View::Tc;
        let passes = tc && passes_to(hook).contains(&port);
        passes
            || asked(hook)
                .into_iter()
                .any(|copy| (tc || wiring.by_hop(id, copy)) && copy_port(plan, hook, copy) == port)
    };
    let last = plan.hooks().filter(|(id, hook)| sends(*id, hook)).last();
    last.map_or(0, |(id, _)| id.0.saturating_add(1))
}
