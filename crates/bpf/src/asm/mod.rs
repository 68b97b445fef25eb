//! A typed assembler for eBPF (RFC 9669), after the `asm` package of cilium/ebpf.
//!
//! Constructors read as assembly, labels are handles, jumps go forward only. Each instruction carries
//! the config line that it came from. Interfaces and maps stay [`Symbol`]s until a program is linked,
//! so that a listing shows names. Never does I/O and never panics on a program that can be spelled,
//! however wrong: errors are values of [`AsmError`] and [`LinkError`].

mod bounds;
mod build;
mod link;

use std::borrow::Cow;
use std::fmt;

use plan::plan::{HookId, PortId};
use rules::form::{Operator, RuleId};

use crate::tables::TableId;

pub use build::{AsmError, Assembler, constant};
pub use link::LinkError;

/// A register. `R0` is what calls and programs return, `R1` to `R5` are arguments and lost over a call,
/// `R6` to `R9` outlive calls, `R10` is the frame pointer: read-only, just above 512 octets of stack.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
#[expect(missing_docs, reason = "the registers are described above")]
pub enum Reg {
    R0,
    R1,
    R2,
    R3,
    R4,
    R5,
    R6,
    R7,
    R8,
    R9,
    R10,
}

impl Reg {
    /// Every register in order.
    pub const ALL: [Self; 11] = [
        Self::R0,
        Self::R1,
        Self::R2,
        Self::R3,
        Self::R4,
        Self::R5,
        Self::R6,
        Self::R7,
        Self::R8,
        Self::R9,
        Self::R10,
    ];

    /// The number of the register, 0 to 10.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The number as an index.
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Reg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "r{}", self.number())
    }
}

/// How many octets a memory instruction moves.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Size {
    /// 1 octet.
    Byte,
    /// 2 octets.
    Half,
    /// 4 octets.
    Word,
    /// 8 octets.
    Double,
}

impl Size {
    /// Octets.
    pub const fn octets(self) -> u8 {
        match self {
            Self::Byte => 1,
            Self::Half => 2,
            Self::Word => 4,
            Self::Double => 8,
        }
    }

    /// The size bits of the opcode.
    pub(crate) const fn bits(self) -> u8 {
        match self {
            Self::Byte => 0x10,
            Self::Half => 0x08,
            Self::Word => 0x00,
            Self::Double => 0x18,
        }
    }
}

/// Whether an instruction works on 32 bits (and clears the upper half of its result) or on 64.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Width {
    /// The lower half.
    W32,
    /// The whole register.
    W64,
}

/// Arithmetic.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[expect(missing_docs, reason = "named as in RFC 9669, section 4.1")]
pub enum Alu {
    Add,
    Sub,
    Mul,
    Div,
    Or,
    And,
    Lsh,
    Rsh,
    Mod,
    Xor,
    Mov,
    Arsh,
}

impl Alu {
    /// The instruction that does what an operator of the form says. Division by 0 and shifts by 32 or more are the
    /// caller's.
    pub(crate) const fn of(operator: Operator) -> Self {
        match operator {
            Operator::Add => Self::Add,
            Operator::Subtract => Self::Sub,
            Operator::Multiply => Self::Mul,
            Operator::Divide => Self::Div,
            Operator::Remainder => Self::Mod,
            Operator::And => Self::And,
            Operator::Or => Self::Or,
            Operator::ExclusiveOr => Self::Xor,
            Operator::ShiftLeft => Self::Lsh,
            Operator::ShiftRight => Self::Rsh,
        }
    }

    pub(crate) const fn bits(self) -> u8 {
        match self {
            Self::Add => 0x00,
            Self::Sub => 0x10,
            Self::Mul => 0x20,
            Self::Div => 0x30,
            Self::Or => 0x40,
            Self::And => 0x50,
            Self::Lsh => 0x60,
            Self::Rsh => 0x70,
            Self::Mod => 0x90,
            Self::Xor => 0xa0,
            Self::Mov => 0xb0,
            Self::Arsh => 0xc0,
        }
    }

    pub(crate) const fn sign(self) -> &'static str {
        match self {
            Self::Add => "+=",
            Self::Sub => "-=",
            Self::Mul => "*=",
            Self::Div => "/=",
            Self::Or => "|=",
            Self::And => "&=",
            Self::Lsh => "<<=",
            Self::Rsh => ">>=",
            Self::Mod => "%=",
            Self::Xor => "^=",
            Self::Mov => "=",
            Self::Arsh => "s>>=",
        }
    }
}

/// The condition of a jump.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[expect(missing_docs, reason = "named as in RFC 9669, section 4.3")]
pub enum Cond {
    Eq,
    Ne,
    Gt,
    Ge,
    Lt,
    Le,
    Set,
    Sgt,
    Sge,
    Slt,
    Sle,
}

impl Cond {
    pub(crate) const fn bits(self) -> u8 {
        match self {
            Self::Eq => 0x10,
            Self::Gt => 0x20,
            Self::Ge => 0x30,
            Self::Set => 0x40,
            Self::Ne => 0x50,
            Self::Sgt => 0x60,
            Self::Sge => 0x70,
            Self::Lt => 0xa0,
            Self::Le => 0xb0,
            Self::Slt => 0xc0,
            Self::Sle => 0xd0,
        }
    }

    pub(crate) const fn sign(self) -> &'static str {
        match self {
            Self::Eq => "==",
            Self::Ne => "!=",
            Self::Gt => ">",
            Self::Ge => ">=",
            Self::Lt => "<",
            Self::Le => "<=",
            Self::Set => "&",
            Self::Sgt => "s>",
            Self::Sge => "s>=",
            Self::Slt => "s<",
            Self::Sle => "s<=",
        }
    }

    /// The opposite condition; `Set` has none.
    pub(crate) const fn inverse(self) -> Option<Self> {
        Some(match self {
            Self::Eq => Self::Ne,
            Self::Ne => Self::Eq,
            Self::Gt => Self::Le,
            Self::Le => Self::Gt,
            Self::Ge => Self::Lt,
            Self::Lt => Self::Ge,
            Self::Sgt => Self::Sle,
            Self::Sle => Self::Sgt,
            Self::Sge => Self::Slt,
            Self::Slt => Self::Sge,
            Self::Set => return None,
        })
    }
}

/// The second operand: a register or a number that is sign-extended to 64 bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Src {
    /// A register.
    Reg(Reg),
    /// A number.
    Imm(i32),
}

impl From<Reg> for Src {
    fn from(reg: Reg) -> Self {
        Self::Reg(reg)
    }
}

impl From<i32> for Src {
    fn from(imm: i32) -> Self {
        Self::Imm(imm)
    }
}

impl fmt::Display for Src {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reg(reg) => reg.fmt(f),
            Self::Imm(imm) if !(-4096..4096).contains(imm) => write!(f, "{imm:#x}"),
            Self::Imm(imm) => imm.fmt(f),
        }
    }
}

/// A helper function of the kernel (`bpf-helpers(7)`), of those that are called here.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Helper {
    /// `bpf_map_lookup_elem(map, key) -> value or NULL`.
    MapLookup,
    /// `bpf_ktime_get_ns() -> ns since boot`.
    KtimeNs,
    /// `bpf_clone_redirect(skb, ifindex, flags) -> 0, a NET_XMIT_* code or -errno`.
    CloneRedirect,
    /// `bpf_skb_vlan_push(skb, protocol in network order, tci) -> 0 or -errno`.
    SkbVlanPush,
    /// `bpf_redirect(ifindex, flags) -> TC_ACT_REDIRECT or TC_ACT_SHOT`.
    Redirect,
    /// `bpf_skb_load_bytes(skb, offset, to, len) -> 0 or -errno`.
    SkbLoadBytes,
    /// `bpf_redirect_map(map, key, flags) -> XDP_REDIRECT, or the low bits of flags`.
    RedirectMap,
    /// `bpf_xdp_load_bytes(xdp, offset, to, len) -> 0 or -errno` (Linux 5.18).
    XdpLoadBytes,
}

impl Helper {
    /// Every helper.
    pub const ALL: [Self; 8] = [
        Self::MapLookup,
        Self::KtimeNs,
        Self::CloneRedirect,
        Self::SkbVlanPush,
        Self::Redirect,
        Self::SkbLoadBytes,
        Self::RedirectMap,
        Self::XdpLoadBytes,
    ];

    /// The number in `enum bpf_func_id`.
    pub const fn number(self) -> i32 {
        match self {
            Self::MapLookup => 1,
            Self::KtimeNs => 5,
            Self::CloneRedirect => 13,
            Self::SkbVlanPush => 18,
            Self::Redirect => 23,
            Self::SkbLoadBytes => 26,
            Self::RedirectMap => 51,
            Self::XdpLoadBytes => 189,
        }
    }

    /// The name without `bpf_`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::MapLookup => "map_lookup_elem",
            Self::KtimeNs => "ktime_get_ns",
            Self::CloneRedirect => "clone_redirect",
            Self::SkbVlanPush => "skb_vlan_push",
            Self::Redirect => "redirect",
            Self::SkbLoadBytes => "skb_load_bytes",
            Self::RedirectMap => "redirect_map",
            Self::XdpLoadBytes => "xdp_load_bytes",
        }
    }

    /// How many of `R1` to `R5` it reads.
    pub const fn arguments(self) -> usize {
        match self {
            Self::KtimeNs => 0,
            Self::MapLookup | Self::Redirect => 2,
            Self::CloneRedirect | Self::SkbVlanPush | Self::RedirectMap => 3,
            Self::SkbLoadBytes | Self::XdpLoadBytes => 4,
        }
    }

    /// Whether packet pointers must be loaded anew after a call (`bpf_helper_changes_pkt_data`).
    pub const fn moves_packet(self) -> bool {
        matches!(self, Self::CloneRedirect | Self::SkbVlanPush)
    }
}

/// A map that programs refer to by name until they are linked.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum MapRef {
    /// The `PERCPU_ARRAY` of counters, as laid out by [`crate::layout::Layout`].
    Counters,
    /// The `DEVMAP` of one outcome of a hook in the XDP view; the number is the outcome's.
    Devmap(HookId, u16),
    /// A map of a measuring program, as numbered by [`crate::bench`].
    Bench(u8),
    /// A table that is filled before the program is loaded.
    Table(TableId),
    /// The `PERCPU_ARRAY` of rows of counters, as laid out by [`crate::layout::Layout`].
    Tallies,
}

impl fmt::Display for MapRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Counters => f.write_str("counters"),
            Self::Devmap(hook, outcome) => write!(f, "devmap_{}_{outcome}", hook.0),
            Self::Bench(number) => write!(f, "bench_{number}"),
            Self::Table(id) => write!(f, "table_{}", id.0),
            Self::Tallies => f.write_str("tallies"),
        }
    }
}

/// What is known by name only until a program is linked.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Symbol {
    /// The interface number that frames for a port are sent to.
    Interface(PortId),
    /// The interface number of the near end of a hook's internal veth.
    Hop(HookId),
    /// The file descriptor of a map.
    Map(MapRef),
}

impl fmt::Display for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interface(port) => write!(f, "interface({})", port.0),
            Self::Hop(hook) => write!(f, "hop({})", hook.0),
            Self::Map(map) => write!(f, "map({map})"),
        }
    }
}

/// Where an instruction came from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    /// A rule of the plan.
    Rule(RuleId),
    /// What we do for every frame, in words.
    Text(Cow<'static, str>),
}

/// A place to jump to: a handle of the [`Assembler`] that made it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Label(u32);

impl Label {
    pub(crate) fn index(self) -> usize {
        // A u32 fits a usize on every machine that Linux runs eBPF on.
        self.0 as usize
    }
}

/// One instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Insn {
    /// `dst op= src`.
    Alu {
        /// 32 or 64 bits.
        width: Width,
        /// What is done.
        op: Alu,
        /// Left operand and result.
        dst: Reg,
        /// Right operand.
        src: Src,
    },
    /// `dst = be(dst)`: the lower 16, 32 or 64 bits between host and network order, the rest cleared.
    ToBigEndian {
        /// The register.
        dst: Reg,
        /// [`Size::Half`], [`Size::Word`] or [`Size::Double`].
        size: Size,
    },
    /// `dst = *(size *)(src + off)`.
    Load {
        /// Octets.
        size: Size,
        /// Where to.
        dst: Reg,
        /// Address.
        src: Reg,
        /// Added to the address.
        off: i16,
    },
    /// `*(size *)(dst + off) = src`.
    Store {
        /// Octets.
        size: Size,
        /// Address.
        dst: Reg,
        /// Added to the address.
        off: i16,
        /// What is stored.
        src: Src,
    },
    /// `lock *(size *)(dst + off) += src`, of 4 or 8 octets.
    AtomicAdd {
        /// Octets.
        size: Size,
        /// Address.
        dst: Reg,
        /// Added to the address.
        off: i16,
        /// What is added.
        src: Reg,
    },
    /// `dst = value`, all 64 bits. Takes two slots.
    LoadImm64 {
        /// Where to.
        dst: Reg,
        /// The number.
        value: u64,
    },
    /// `dst = map`. Takes two slots.
    LoadMap {
        /// Where to.
        dst: Reg,
        /// Which map.
        map: MapRef,
    },
    /// `dst = number of the interface`.
    LoadInterface {
        /// Where to.
        dst: Reg,
        /// [`Symbol::Interface`] or [`Symbol::Hop`].
        symbol: Symbol,
    },
    /// `goto to`.
    Jump {
        /// Forward.
        to: Label,
    },
    /// `if dst cond src goto to`.
    JumpIf {
        /// 32 or 64 bits.
        width: Width,
        /// The condition.
        cond: Cond,
        /// Left operand.
        dst: Reg,
        /// Right operand.
        src: Src,
        /// Forward.
        to: Label,
    },
    /// `call helper`.
    Call(Helper),
    /// `exit`.
    Exit,
    /// Pseudo: `if fewer than need octets lie between data and end goto fail`. Made into three
    /// instructions by [`Assembler::finish`], after a pass has merged what one compare can serve.
    Bounds {
        /// Holds the start of the packet.
        data: Reg,
        /// Holds the end of the packet.
        end: Reg,
        /// Is overwritten.
        scratch: Reg,
        /// Octets wanted, from the start.
        need: u16,
        /// Where short frames go, forward.
        fail: Label,
    },
    /// Pseudo: `block[slot] += by`, 64 bits, not atomic. Made into three instructions.
    Count {
        /// Holds the start of the counter block.
        block: Reg,
        /// Which counter of the block.
        slot: u16,
        /// How much.
        by: Src,
        /// Is overwritten.
        scratch: Reg,
    },
}

/// One instruction and where it came from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    /// The instruction; no pseudo-instruction is left in a finished program.
    pub insn: Insn,
    /// Index into [`Program::origins`].
    pub origin: usize,
    /// What it does, where that is not plain; first instruction of a group only.
    pub note: Option<Cow<'static, str>>,
}

/// The type of a program and where it may be attached.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Kind {
    /// Sees a `__sk_buff`; for tcx or a direct-action filter of clsact.
    Tc,
    /// Sees an `xdp_md`, attached to an interface.
    Xdp,
    /// Sees an `xdp_md`, held by an entry of a devmap.
    XdpDevmap,
}

impl Kind {
    /// `enum bpf_prog_type`: `SCHED_CLS` 3, `XDP` 6.
    pub const fn program_type(self) -> u32 {
        match self {
            Self::Tc => 3,
            Self::Xdp | Self::XdpDevmap => 6,
        }
    }

    /// `enum bpf_attach_type` to load with: `BPF_XDP` 37, `BPF_XDP_DEVMAP` 33. For `SCHED_CLS` the
    /// kernel checks none at load, neither for clsact nor for tcx: 0 serves both.
    pub const fn expected_attach_type(self) -> u32 {
        match self {
            Self::Tc => 0,
            Self::Xdp => 37,
            Self::XdpDevmap => 33,
        }
    }
}

/// A finished program: real instructions with symbols.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Program {
    /// What the kernel shows it as: 1 to 15 octets of `[A-Za-z0-9_.]`.
    pub name: String,
    /// What it may be attached to.
    pub kind: Kind,
    /// The instructions in order.
    pub lines: Vec<Line>,
    /// What [`Line::origin`] refers to.
    pub origins: Vec<Origin>,
    /// For each label the index of the line that it stands before.
    pub(crate) targets: Vec<usize>,
}

impl Program {
    /// The index of the line that a label stands before. A label of another program may give an index
    /// outside; [`crate::check::check`] refuses those.
    pub fn target(&self, label: Label) -> usize {
        self.targets.get(label.index()).copied().unwrap_or(usize::MAX)
    }

    /// How many slots of 8 octets the program takes, far jumps not counted.
    pub fn slots_at_least(&self) -> usize {
        let wide = |line: &&Line| matches!(line.insn, Insn::LoadImm64 { .. } | Insn::LoadMap { .. });
        self.lines.len() + self.lines.iter().filter(wide).count()
    }

    /// How many jumps the verifier keeps in mind at most: it goes on behind each conditional jump first, and
    /// comes back for the other way once it has met an exit or what it has seen.
    pub fn jumps_in_mind(&self) -> usize {
        let mut seen = vec![false; self.lines.len()];
        let mut waiting = vec![0];
        let mut most = 0;
        while let Some(mut at) = waiting.pop() {
            while let Some(line) = self.lines.get(at).filter(|_| !std::mem::replace(&mut seen[at], true)) {
                let target = line.insn.jumps_to().map(|label| self.target(label));
                match line.insn {
                    Insn::Exit => break,
                    Insn::Jump { .. } => at = target.unwrap_or(usize::MAX),
                    _ => {
                        waiting.extend(target);
                        most = most.max(waiting.len());
                        at += 1;
                    }
                }
            }
        }
        most
    }

    /// The symbols that [`Program::link`] will ask for, each once, in order.
    pub fn symbols(&self) -> Vec<Symbol> {
        let set: std::collections::BTreeSet<Symbol> =
            self.lines.iter().filter_map(|line| line.insn.symbol()).collect();
        set.into_iter().collect()
    }
}

impl Insn {
    /// The symbol that the instruction refers to.
    pub fn symbol(&self) -> Option<Symbol> {
        match self {
            Self::LoadMap { map, .. } => Some(Symbol::Map(*map)),
            Self::LoadInterface { symbol, .. } => Some(*symbol),
            _ => None,
        }
    }

    /// The label that it may jump to.
    pub fn jumps_to(&self) -> Option<Label> {
        match self {
            Self::Jump { to } | Self::JumpIf { to, .. } | Self::Bounds { fail: to, .. } => Some(*to),
            _ => None,
        }
    }

    /// The register that it overwrites. A call overwrites `R0` to `R5` and says so of `R0` only.
    pub fn writes(&self) -> Option<Reg> {
        match self {
            Self::Alu { dst, .. }
            | Self::ToBigEndian { dst, .. }
            | Self::Load { dst, .. }
            | Self::LoadImm64 { dst, .. }
            | Self::LoadMap { dst, .. }
            | Self::LoadInterface { dst, .. } => Some(*dst),
            Self::Bounds { scratch, .. } | Self::Count { scratch, .. } => Some(*scratch),
            Self::Call(_) => Some(Reg::R0),
            _ => None,
        }
    }
}
