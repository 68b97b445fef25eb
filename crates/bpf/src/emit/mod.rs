//! Plan and wiring to programs.
//!
//! | program | attached to | does |
//! |---|---|---|
//! | `tw_in_P`, `tw_out_P` | the hook's port, tcx/clsact or XDP | judges frames, copies, passes |
//! | `tw_dH_N` | devmap entries of hook H | counts what leaves for the N-th target |
//! | `tw_hop_H` | tc ingress of the far end of the hop of hook H | copies that need a queue |
//! | `tw_guard_P` | tc egress of every port but watched ones | lets only our frames out |
//! | `tw_sent_P` | tc ingress of monitor ports | stops and counts what a sensor sends |
//! | `tw_pass` | XDP of the far ends of virtual pairs | lets everything pass |
//!
//! Registers, the same in all of them:
//!
//! ```text
//! r6  the context (tc, and XDP where rules look at more than the VLAN); else the VLAN, or 4096 for none
//! r7  the block of counters; before that, while tests run, the copy of the frame's first octets
//! r8  frames that the skb stands for (tc); octets of the frame (XDP)
//! r9  bytes of those frames (tc); which VLAN tests held, one bit each (XDP)
//! ```
//!
//! An entry whose program looks at more than the VLAN first finds out everything that it asks for, the same way
//! in both views: the copy of the frame, the fields of its headers, the tests of steps, the winners of sets of
//! rules. Only then it counts, copies and passes.
//!
//! Frames that we send are told from the host's by their mark: [`OUR_MARK`] in the upper half, the hook
//! in the lower. The guard counts them by hook and clears the mark. Never does I/O.

mod chance;
mod copies;
mod fields;
mod frame;
mod hand;
mod inner;
mod judge;
mod measure;
mod number;
mod outcome;
mod ports;
mod ranges;
mod steered;
mod stock;
mod tc;
mod truth;
mod vlan;
mod xdp;

use std::fmt;

use plan::plan::{HookId, Plan, PortId};
use rules::form::CopyIndex;

use crate::asm::{AsmError, Assembler, Cond, Helper, Kind, MapRef, Program, Reg, Size, Symbol};
use crate::check::INSTRUCTIONS_MAX;
use crate::layout::{Counter, Layout, LayoutError, Part, View, Wiring};
use crate::sets::SetError;
use crate::tables::Table;
use stock::Stock;

pub use outcome::{OUTCOMES_MAX, Outcome};
pub use stock::Remembers;

/// The upper half of the mark of frames that we send; the lower half is the hook.
pub const OUR_MARK: u32 = 0x7477_0000;

/// The upper half of the handle of a monitor port's queueing discipline (`7477:`). Class `7477:n` is the
/// n-th side of the sink, from 1, in the order of [`Plan::sides`].
pub const QDISC_HANDLE: u16 = 0x7477;

/// `TCX_NEXT`, `TC_ACT_UNSPEC`: the next program or the stack goes on with the frame.
pub const TC_NEXT: i32 = -1;
/// `TC_ACT_SHOT`: dropped.
pub const TC_SHOT: i32 = 2;
/// `TC_ACT_STOLEN`: dropped, as a matter of course.
pub const TC_STOLEN: i32 = 4;
/// `TC_ACT_REDIRECT`: what `bpf_redirect` returns.
pub const TC_REDIRECT: i32 = 7;
/// `XDP_ABORTED`: dropped, and the tracepoint `xdp_exception` fires.
pub const XDP_ABORTED: i32 = 0;
/// `XDP_DROP`.
pub const XDP_DROP: i32 = 1;
/// `XDP_PASS`.
pub const XDP_PASS: i32 = 2;
/// `XDP_REDIRECT`: what `bpf_redirect_map` returns.
pub const XDP_REDIRECT: i32 = 4;

/// What [`Mode::Record`] adds to the number of the outcome that an XDP entry would send by.
pub const RECORDED_OUTCOME: i32 = 0x100;

/// The most maps that one program may name (`MAX_USED_MAPS`).
pub const MAPS_MAX: usize = 64;

/// The most jumps that the verifier keeps in mind while it follows a program
/// (`BPF_COMPLEXITY_LIMIT_JMP_SEQ`).
pub const JUMPS_MAX: usize = 8192;

/// For what the programs are made.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Mode {
    /// For attaching.
    #[default]
    Attach,
    /// For `BPF_PROG_TEST_RUN`, which really sends clones and refuses a given VLAN tag. Entries and hops in the
    /// tc view send nothing (every send succeeds), and first push the tag whose protocol (network order) is
    /// in `cb[0]` and whose tci is in `cb[1]`, unless `cb[0]` is 0. Entries in the XDP view return
    /// [`RECORDED_OUTCOME`] and the outcome's number in place of a redirect. The rest of the verdict is
    /// read off the counters.
    Record,
}

/// One program and what it is for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unit {
    /// What it is for.
    pub part: Part,
    /// The program.
    pub program: Program,
}

/// All programs of a plan.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Emitted {
    /// The programs, in the order of the layout's blocks, [`Part::Pass`] last.
    pub units: Vec<Unit>,
    /// Where they count.
    pub layout: Layout,
    /// Every devmap to be made and what it holds, in order of hook and outcome.
    pub outcomes: Vec<Outcome>,
    /// Every table to be made and what stands in it, in no order.
    pub tables: Vec<Table>,
    /// What was chosen, in words: a line for each table and for each set of rules.
    pub chosen: Vec<String>,
    /// Where hooks remember what chance, turns and fragments need.
    pub memories: Vec<Remembers>,
}

impl Emitted {
    /// The program of a part.
    pub fn program(&self, part: Part) -> Option<&Program> {
        self.units.iter().find(|unit| unit.part == part).map(|unit| &unit.program)
    }
}

/// Why a plan cannot be emitted under a wiring.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum EmitError {
    /// The counters do not fit.
    Layout(LayoutError),
    /// XDP cannot copy a frame and leave it to the host as well.
    LeaveInXdp {
        /// The hook.
        hook: HookId,
    },
    /// More than [`OUTCOMES_MAX`] different things may become of a frame.
    TooManyOutcomes {
        /// The hook.
        hook: HookId,
        /// How many.
        outcomes: usize,
    },
    /// More different tests than are kept apart.
    TooManyTests {
        /// The hook.
        hook: HookId,
        /// How many.
        tests: usize,
        /// How many are taken: by a register in the XDP view where only VLANs are looked at, else by a table.
        most: usize,
    },
    /// The VLAN sets of a hook cut the identifiers into more intervals than the verifier would follow.
    TooManyIntervals {
        /// The hook.
        hook: HookId,
        /// How many.
        intervals: usize,
    },
    /// A hook reaches one port both directly and by the hop, so frames seen there could not be told apart.
    TwoWays {
        /// The hook.
        hook: HookId,
        /// The port.
        port: PortId,
    },
    /// A copy index or rule that the plan does not hold.
    Dangling {
        /// The hook.
        hook: HookId,
    },
    /// Numbers that are computed from more other numbers than places are kept for.
    TooDeep {
        /// The hook.
        hook: HookId,
    },
    /// More spreads than a hook can remember turns for.
    TooManySpreads {
        /// The hook.
        hook: HookId,
        /// How many.
        spreads: usize,
    },
    /// A set of rules that cannot be lowered.
    Set {
        /// The hook.
        hook: HookId,
        /// Why.
        error: SetError,
    },
    /// A program that names more maps than the kernel lets one program have.
    TooManyMaps {
        /// The hook.
        hook: HookId,
        /// How many.
        maps: usize,
    },
    /// More instructions than the verifier looks at.
    TooLong {
        /// The hook.
        hook: HookId,
        /// How many.
        instructions: usize,
    },
    /// More jumps than the verifier keeps in mind while it follows a way through the program.
    TooManyJumps {
        /// The hook.
        hook: HookId,
        /// How many.
        jumps: usize,
    },
    /// Copies that take the hop, at a hook whose program looks at more than the outer VLAN tag.
    HopByRules {
        /// The hook.
        hook: HookId,
    },
    /// Our own defect: the instructions make no program.
    Assembler(AsmError),
}

impl fmt::Display for EmitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Layout(error) => error.fmt(f),
            Self::LeaveInXdp { hook } => {
                write!(f, "hook {}: XDP cannot copy a frame and leave it to the host", hook.0)
            }
            Self::TooManyOutcomes { hook, outcomes } => {
                write!(f, "hook {}: {outcomes} outcomes, XDP takes {OUTCOMES_MAX}", hook.0)
            }
            Self::TooManyTests { hook, tests, most } => {
                write!(f, "hook {}: {tests} different tests, {most} are taken", hook.0)
            }
            Self::TooManyIntervals { hook, intervals } => write!(
                f,
                "hook {}: {intervals} intervals of VLANs, XDP takes {}",
                hook.0,
                outcome::INTERVALS_MAX
            ),
            Self::TwoWays { hook, port } => {
                write!(f, "hook {}: port {} is reached both directly and by the hop", hook.0, port.0)
            }
            Self::TooDeep { hook } => {
                write!(
                    f,
                    "hook {}: a number is computed in more than {} steps at once",
                    hook.0,
                    frame::WAITING_MAX
                )
            }
            Self::TooManySpreads { hook, spreads } => {
                write!(f, "hook {}: {spreads} spreads are more than a hook keeps turns for", hook.0)
            }
            Self::Set { hook, error } => write!(f, "hook {}: {error}", hook.0),
            Self::TooManyMaps { hook, maps } => {
                write!(f, "hook {}: {maps} maps and tables, a program may have {MAPS_MAX}", hook.0)
            }
            Self::TooLong { hook, instructions } => {
                write!(f, "hook {}: {instructions} instructions, the kernel takes {INSTRUCTIONS_MAX}", hook.0)
            }
            Self::TooManyJumps { hook, jumps } => {
                write!(
                    f,
                    "hook {}: {jumps} decisions one after the other, the kernel takes {JUMPS_MAX}",
                    hook.0
                )
            }
            Self::HopByRules { hook } => write!(
                f,
                "hook {}: in XDP, rules that look beyond the VLAN cannot copy to a port with a rate",
                hook.0
            ),
            Self::Dangling { hook } => {
                write!(f, "hook {}: the program names a copy that the hook does not hold", hook.0)
            }
            Self::Assembler(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for EmitError {}

impl From<AsmError> for EmitError {
    fn from(error: AsmError) -> Self {
        Self::Assembler(error)
    }
}

impl From<LayoutError> for EmitError {
    fn from(error: LayoutError) -> Self {
        Self::Layout(error)
    }
}

/// Emits every program of a plan.
///
/// # Errors
///
/// See [`EmitError`]. What is said of XDP is no error under a wiring that gives the port to tc.
pub fn emit(plan: &Plan, wiring: &Wiring, mode: Mode) -> Result<Emitted, EmitError> {
    refuse_dangling(plan)?;
    refuse_two_ways(plan, wiring)?;
    let layout = Layout::of(plan, wiring)?;
    let context = Context { plan, wiring, layout: &layout, mode };
    let mut units = Vec::new();
    let mut outcomes = Vec::new();
    let mut stock = Stock::default();
    for (id, hook) in plan.hooks() {
        let program = match wiring.view(hook) {
            View::Tc => tc::entry(&context, id, hook, &mut stock)?,
            View::Xdp => {
                let (program, found) = xdp::entry(&context, id, hook, &mut stock)?;
                outcomes.extend(found);
                program
            }
        };
        refuse_too_large(id, &program)?;
        units.push(Unit { part: Part::Entry(id), program });
        if layout.block(Part::Hop(id)).is_some() {
            units.push(Unit { part: Part::Hop(id), program: tc::hop(&context, id, hook)? });
        }
        for (target, number) in crate::layout::targets(plan, wiring, id, hook).into_iter().zip(0u16..) {
            let part = Part::Devmap(id, target);
            units.push(Unit { part, program: ports::devmap(&context, id, target, number)? });
        }
    }
    for (id, port) in plan.ports() {
        if crate::layout::is_guarded(port.role) {
            units.push(Unit { part: Part::Guard(id), program: ports::guard(&context, id)? });
        }
        if crate::layout::only_sends(port.role) {
            units.push(Unit { part: Part::MonitorIn(id), program: ports::monitor_in(&context, id)? });
        }
    }
    units.push(Unit { part: Part::Pass, program: ports::pass()? });
    Ok(Emitted {
        units,
        layout,
        outcomes,
        tables: stock.tables,
        chosen: stock.notes,
        memories: stock.memories,
    })
}

fn refuse_dangling(plan: &Plan) -> Result<(), EmitError> {
    for (id, hook) in plan.hooks() {
        let held = |copy: &CopyIndex| {
            let copy = hook.copies.get(usize::from(copy.0));
            copy.is_some_and(|copy| usize::from(copy.sink.0) < plan.sinks.len())
        };
        if !hook.program.asked().iter().all(held) {
            return Err(EmitError::Dangling { hook: id });
        }
    }
    Ok(())
}

fn refuse_too_large(hook: HookId, program: &Program) -> Result<(), EmitError> {
    let maps = program.symbols().iter().filter(|symbol| matches!(symbol, Symbol::Map(_))).count();
    if maps > MAPS_MAX {
        return Err(EmitError::TooManyMaps { hook, maps });
    }
    if program.slots_at_least() > INSTRUCTIONS_MAX {
        return Err(EmitError::TooLong { hook, instructions: program.slots_at_least() });
    }
    match program.jumps_in_mind() {
        jumps if jumps > JUMPS_MAX => Err(EmitError::TooManyJumps { hook, jumps }),
        _ => Ok(()),
    }
}

fn refuse_two_ways(plan: &Plan, wiring: &Wiring) -> Result<(), EmitError> {
    for (id, hook) in plan.hooks().filter(|(_, hook)| wiring.view(hook) == View::Xdp) {
        let direct = crate::layout::targets(plan, wiring, id, hook);
        let hopping = crate::layout::asked(hook).into_iter().filter(|copy| wiring.by_hop(id, *copy));
        for port in hopping.map(|copy| crate::layout::copy_port(plan, hook, copy)) {
            if direct.contains(&crate::layout::Target::Port(port)) {
                return Err(EmitError::TwoWays { hook: id, port });
            }
        }
    }
    Ok(())
}

/// What every emitting function needs.
struct Context<'a> {
    plan: &'a Plan,
    wiring: &'a Wiring,
    layout: &'a Layout,
    mode: Mode,
}

const CTX: Reg = Reg::R6;
const BLOCK: Reg = Reg::R7;
const FRAMES: Reg = Reg::R8;
const BYTES: Reg = Reg::R9;

/// Where things lie on the stack, below `r10`.
///
/// The verifier follows what it knows of a number that was stored: two ways to one line that stored
/// different numbers are two lines to it. It knows nothing of halves and words that do not begin a slot of 8
/// octets, so what tests leave behind lies there.
pub(crate) mod stack {
    /// Key for maps of one number, 4 octets.
    pub(crate) const KEY: i16 = -4;
    /// VLAN of the frame, or 4096, 2 octets.
    pub(crate) const VLAN: i16 = -6;
    /// The host's mark, 4 octets.
    pub(crate) const MARK: i16 = -12;
    /// The host's priority, 4 octets.
    pub(crate) const PRIORITY: i16 = -16;
    /// Where the transport header begins, 8 octets.
    pub(crate) const TRANSPORT: i16 = -24;
    /// Octets of the packet, 24.
    pub(crate) const PACKET: i16 = -48;
    /// Which rule has stopped the frame (its row among those that block, from 1), or 0; 2 octets.
    pub(crate) const BLOCKED: i16 = -50;
    /// How many octets of the frame were copied to where tests look, 2 octets.
    pub(crate) const LIMIT: i16 = -52;
    /// Where a header begins, 2 octets.
    pub(crate) const AT: i16 = -54;
    /// XDP: what has been decided so far, 4 octets.
    pub(crate) const CODE: i16 = -60;
    /// The copy of the frame's first octets, 8 octets: an address.
    pub(crate) const FRAME: i16 = -72;
    /// The counters of one copy, 8 octets: an address.
    pub(crate) const ROW: i16 = -80;
    /// The frame's number of chance, 8 octets.
    pub(crate) const DRAW: i16 = -88;
    /// Where a packet ends, 2 octets.
    pub(crate) const END: i16 = -94;
    /// The row of counters that goes with a decision, 4 octets.
    pub(crate) const RANK: i16 = -100;
    /// The fields of the headers, 48 octets (see [`super::fields`]).
    pub(crate) const FIELDS: i16 = -152;
    /// What rule sets need while they decide, 160 octets.
    pub(crate) const SETS: i16 = -312;
    /// A hash, 8 octets.
    pub(crate) const HASH: i16 = -320;
    /// The key of a packet's fragments, 8 octets.
    pub(crate) const FRAGMENT: i16 = -328;
    /// The key of an address in a table: prefix and address, 20 octets.
    pub(crate) const ADDRESS: i16 = -352;
    /// The fields of the innermost packet, 48 octets.
    pub(crate) const INNER: i16 = -400;
}

/// Offsets into `struct __sk_buff`.
mod skb {
    pub(crate) const LEN: i16 = 0;
    pub(crate) const MARK: i16 = 8;
    pub(crate) const VLAN_PRESENT: i16 = 20;
    pub(crate) const VLAN_TCI: i16 = 24;
    pub(crate) const VLAN_PROTO: i16 = 28;
    pub(crate) const PRIORITY: i16 = 32;
    pub(crate) const CB: i16 = 48;
    pub(crate) const DATA: i16 = 76;
    pub(crate) const DATA_END: i16 = 80;
    pub(crate) const GSO_SEGS: i16 = 164;
    pub(crate) const GSO_SIZE: i16 = 176;
}

/// Offsets into `struct xdp_md`.
mod xdp_md {
    pub(crate) const DATA: i16 = 0;
    pub(crate) const DATA_END: i16 = 4;
}

/// A 16-bit number of the packet as a load on this machine sees it.
fn network_order(value: u16) -> i32 {
    i32::from(value.to_be())
}

impl Context<'_> {
    /// `r7` = the block of a part; ends the program with `otherwise` where there is none. Loses `r0` to `r5`.
    fn load_block(&self, asm: &mut Assembler, part: Part, otherwise: i32) {
        // A part without a block counts nothing; key 0 is there in any map that was made.
        let key = self.layout.block(part).unwrap_or(0);
        let found = asm.label();
        asm.note("the counters of this program");
        asm.store(Size::Word, Reg::R10, stack::KEY, i32::try_from(key).unwrap_or(i32::MAX));
        asm.mov(Reg::R2, Reg::R10);
        asm.alu(crate::asm::Alu::Add, Reg::R2, i32::from(stack::KEY));
        asm.load_map(Reg::R1, MapRef::Counters);
        asm.call(Helper::MapLookup);
        asm.jump_if(Reg::R0, Cond::Ne, 0, found);
        asm.mov(Reg::R0, otherwise);
        asm.exit();
        asm.place(found);
        asm.mov(BLOCK, Reg::R0);
    }

    /// `counter += by`. The counter must be of the block in `r7`. Loses `r1`.
    fn count(&self, asm: &mut Assembler, counter: Counter, by: impl Into<crate::asm::Src>) {
        if let Some(place) = self.layout.place(counter) {
            asm.note(crate::listing::counter(self.plan, counter));
            asm.count(BLOCK, place.slot, by, Reg::R1);
        }
    }
}

/// A program's assembler.
fn assembler(name: String, kind: Kind) -> Assembler {
    Assembler::new(name, kind)
}
