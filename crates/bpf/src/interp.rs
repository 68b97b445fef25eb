//! An interpreter of the same instructions, for plain tests.
//!
//! Stricter than the kernel: whatever the verifier should have refused is a [`Trap`]. Registers hold
//! typed values, so that a stray pointer is found when it is used. Sends are recorded, not done. Never
//! panics, and never takes more than [`Machine::step_limit`] steps.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use plan::plan::{HookId, PortId};
use wire::Tag;

use crate::asm::{Alu, Cond, Helper, Insn, MapRef, Program, Reg, Size, Src, Symbol, Width};
use crate::tables::{Table, TableId};

mod held;

pub use held::Held;

/// What a tc program sees: the fields of `__sk_buff` that are used here.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Skb {
    /// The frame, without a tag that stands beside it.
    pub data: Vec<u8>,
    /// How many octets can be read directly; the rest by `bpf_skb_load_bytes` only.
    pub linear: usize,
    /// The tag beside the data.
    pub tag: Option<Tag>,
    /// `skb->mark`.
    pub mark: u32,
    /// `skb->priority`.
    pub priority: u32,
    /// Scratch space of the caller.
    pub cb: [u32; 5],
    /// Wire frames that it stands for; 0 where the driver left it.
    pub gso_segs: u32,
    /// Payload octets of each of them; 0 for no super-frame.
    pub gso_size: u32,
    /// The interface.
    pub ifindex: u32,
}

/// What a program runs on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Input {
    /// An `xdp_md`.
    Xdp(Vec<u8>),
    /// A `__sk_buff`.
    Tc(Skb),
}

/// What a program asked of the kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// `bpf_clone_redirect`.
    Clone {
        /// Where to.
        to: Symbol,
        /// `skb->mark` at that moment.
        mark: u32,
        /// `skb->priority` at that moment.
        priority: u32,
    },
    /// `bpf_redirect`.
    Redirect {
        /// Where to.
        to: Symbol,
    },
    /// `bpf_redirect_map`.
    RedirectMap {
        /// Which map.
        map: MapRef,
        /// Which entry.
        key: u64,
        /// `BPF_F_BROADCAST` is 8.
        flags: u64,
    },
}

/// What came of a run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Run {
    /// `r0` at exit.
    pub returned: u64,
    /// In order.
    pub effects: Vec<Effect>,
    /// The input as the program left it.
    pub input: Input,
    /// Instructions run.
    pub steps: usize,
}

/// Why a run ended early. In a program that passed [`crate::check::check`] and the verifier, none happens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trap {
    /// A register that was not written, or lost over a call.
    Unwritten(Reg),
    /// `r10` was written.
    FramePointer,
    /// A memory access that no region covers.
    Outside,
    /// A table that programs only read was written.
    ReadOnly(TableId),
    /// Stack that was not written.
    UnwrittenStack,
    /// A field of the context that is not there, or not so.
    Field(i16),
    /// A pointer where a number is wanted, or the other way round.
    Mixed,
    /// A helper that this kind of program has not.
    NoHelper(Helper),
    /// An argument of a helper that it cannot take.
    Argument(Reg),
    /// No map of that name was given.
    NoMap(MapRef),
    /// The program ran off its end, or a pseudo-instruction was met.
    NoInstruction,
    /// Too many steps.
    StepLimit,
}

impl fmt::Display for Trap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unwritten(reg) => write!(f, "{reg} is read before it is written"),
            Self::FramePointer => f.write_str("r10 is read-only"),
            Self::Outside => f.write_str("memory access outside of every region"),
            Self::ReadOnly(table) => write!(f, "table {} is read-only", table.0),
            Self::UnwrittenStack => f.write_str("stack is read before it is written"),
            Self::Field(off) => write!(f, "no such field of the context at {off}"),
            Self::Mixed => f.write_str("a pointer and a number are mixed up"),
            Self::NoHelper(helper) => write!(f, "this kind of program has no {}", helper.name()),
            Self::Argument(reg) => write!(f, "{reg} is no argument for the helper"),
            Self::NoMap(map) => write!(f, "there is no map {map}"),
            Self::NoInstruction => f.write_str("no instruction there"),
            Self::StepLimit => f.write_str("too many steps"),
        }
    }
}

impl std::error::Error for Trap {}

/// Maps and clock of the interpreted kernel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Machine {
    /// Arrays by name: for each key the 64-bit words of the value. One CPU.
    pub arrays: BTreeMap<MapRef, Vec<Vec<u64>>>,
    /// Tables by number. One CPU.
    pub tables: BTreeMap<TableId, Held>,
    /// What the next clones return; 0 once it is empty.
    pub clone_results: VecDeque<i32>,
    /// What `bpf_ktime_get_ns` returns.
    pub now_ns: u64,
    /// The most instructions of one run.
    pub step_limit: usize,
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            arrays: BTreeMap::new(),
            tables: BTreeMap::new(),
            clone_results: VecDeque::new(),
            now_ns: 0,
            step_limit: 1_000_000,
        }
    }
}

impl Machine {
    /// A machine with a map of counters laid out so.
    pub fn for_layout(layout: &crate::layout::Layout) -> Self {
        let mut machine = Self::default();
        // Both are bounded by 2^32 and so fit a usize on Linux.
        let blocks = usize::try_from(layout.blocks()).unwrap_or(0);
        let words = usize::try_from(layout.block_bytes() / 8).unwrap_or(0);
        machine.arrays.insert(MapRef::Counters, vec![vec![0; words]; blocks]);
        let rows = usize::try_from(layout.tallies()).unwrap_or(0);
        let slots = usize::from(crate::layout::TALLY_SLOTS);
        machine.arrays.insert(MapRef::Tallies, vec![vec![0; slots]; rows]);
        machine
    }

    /// Gives the machine these tables, filled; one that it has under the same number is replaced.
    pub fn hold(&mut self, tables: &[Table]) {
        self.tables.extend(tables.iter().map(|table| (table.id, Held::new(table))));
    }

    /// A counter's value; 0 where nothing counts it.
    pub fn counter(&self, layout: &crate::layout::Layout, counter: crate::layout::Counter) -> u64 {
        let read = |place: crate::layout::Place| {
            let block = self.arrays.get(&place.map)?.get(usize::try_from(place.block).ok()?)?;
            block.get(usize::from(place.slot)).copied()
        };
        layout.place(counter).and_then(read).unwrap_or(0)
    }

    /// Runs a program.
    ///
    /// # Errors
    ///
    /// A [`Trap`]; counters that were bumped before it stay bumped.
    pub fn run(&mut self, program: &Program, input: Input) -> Result<Run, Trap> {
        let mut run = Running::new(self, input);
        let mut at = 0;
        loop {
            if run.steps >= run.machine.step_limit {
                return Err(Trap::StepLimit);
            }
            run.steps += 1;
            let line = program.lines.get(at).ok_or(Trap::NoInstruction)?;
            match line.insn {
                Insn::Exit => {
                    let returned = run.number(Reg::R0)?;
                    return Ok(Run { returned, effects: run.effects, input: run.input, steps: run.steps });
                }
                Insn::Jump { to } => at = program.target(to),
                Insn::JumpIf { width, cond, dst, src, to } => {
                    at = if run.holds(width, cond, dst, src)? { program.target(to) } else { at + 1 };
                }
                ref plain => {
                    run.step(plain)?;
                    at += 1;
                }
            }
        }
    }
}

/// The number that stands for an interface while a program is interpreted.
fn interface_number(symbol: Symbol) -> u64 {
    match symbol {
        Symbol::Interface(port) => 0x1_0000 + u64::from(port.0),
        Symbol::Hop(hook) => 0x2_0000 + u64::from(hook.0),
        Symbol::Map(_) => 0,
    }
}

fn interface_symbol(number: u64) -> Option<Symbol> {
    let id = u16::try_from(number & 0xffff).ok()?;
    match number >> 16 {
        1 => Some(Symbol::Interface(PortId(id))),
        2 => Some(Symbol::Hop(HookId(id))),
        _ => None,
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Value {
    Number(u64),
    Context,
    /// Octets from the top, so below 0.
    Stack(i64),
    /// Octets from the start.
    Packet(i64),
    /// Octets into the value of a key.
    Entry(MapRef, u32, i64),
    Map(MapRef),
}

const STACK_OCTETS: usize = 512;
/// The most octets that one call takes out of a frame: more than any place to put them has, and so few that asking
/// costs nothing.
const LOAD_MAX: usize = 1 << 16;

struct Running<'a> {
    machine: &'a mut Machine,
    input: Input,
    registers: [Option<Value>; 11],
    stack: [Option<u8>; STACK_OCTETS],
    /// Addresses that were stored there, by the index of their first octet.
    spilled: BTreeMap<usize, Value>,
    effects: Vec<Effect>,
    steps: usize,
}

impl<'a> Running<'a> {
    fn new(machine: &'a mut Machine, input: Input) -> Self {
        let mut registers = [None; 11];
        registers[Reg::R1.index()] = Some(Value::Context);
        registers[Reg::R10.index()] = Some(Value::Stack(0));
        let stack = [None; STACK_OCTETS];
        Self { machine, input, registers, stack, spilled: BTreeMap::new(), effects: Vec::new(), steps: 0 }
    }

    fn read(&self, reg: Reg) -> Result<Value, Trap> {
        self.registers[reg.index()].ok_or(Trap::Unwritten(reg))
    }

    fn number(&self, reg: Reg) -> Result<u64, Trap> {
        match self.read(reg)? {
            Value::Number(number) => Ok(number),
            _ => Err(Trap::Mixed),
        }
    }

    fn operand(&self, src: Src) -> Result<Value, Trap> {
        match src {
            Src::Reg(reg) => self.read(reg),
            Src::Imm(imm) => Ok(Value::Number(i64::from(imm).cast_unsigned())),
        }
    }

    fn write(&mut self, reg: Reg, value: Value) -> Result<(), Trap> {
        if reg == Reg::R10 {
            return Err(Trap::FramePointer);
        }
        self.registers[reg.index()] = Some(value);
        Ok(())
    }

    fn step(&mut self, insn: &Insn) -> Result<(), Trap> {
        match *insn {
            Insn::Alu { width, op, dst, src } => self.alu(width, op, dst, src),
            Insn::ToBigEndian { dst, size } => {
                let number = self.number(dst)?;
                self.write(dst, Value::Number(big_endian(number, size)))
            }
            Insn::Load { size, dst, src, off } => {
                let base = self.read(src)?;
                let value = self.load(base, i64::from(off), size)?;
                self.write(dst, value)
            }
            Insn::Store { size, dst, off, src } => {
                let base = self.read(dst)?;
                match (self.operand(src)?, base, size) {
                    (Value::Number(number), ..) => self.store(base, i64::from(off), size, number),
                    (address @ Value::Entry(..), Value::Stack(at), Size::Double) => {
                        let range = stack_range(at, i64::from(off), 8)?;
                        self.store(base, i64::from(off), size, 0)?;
                        self.spilled.insert(range.start, address);
                        Ok(())
                    }
                    _ => Err(Trap::Mixed),
                }
            }
            Insn::AtomicAdd { size, dst, off, src } => {
                let (base, by) = (self.read(dst)?, self.number(src)?);
                let Value::Number(old) = self.load(base, i64::from(off), size)? else {
                    return Err(Trap::Mixed);
                };
                self.store(base, i64::from(off), size, old.wrapping_add(by))
            }
            Insn::LoadImm64 { dst, value } => self.write(dst, Value::Number(value)),
            Insn::LoadMap { dst, map } => self.write(dst, Value::Map(map)),
            Insn::LoadInterface { dst, symbol } => self.write(dst, Value::Number(interface_number(symbol))),
            Insn::Call(helper) => self.call(helper),
            _ => Err(Trap::NoInstruction),
        }
    }

    fn alu(&mut self, width: Width, op: Alu, dst: Reg, src: Src) -> Result<(), Trap> {
        let right = self.operand(src)?;
        if op == Alu::Mov {
            let value = match (width, right) {
                (Width::W32, Value::Number(number)) => Value::Number(number & u64::from(u32::MAX)),
                (Width::W32, _) => return Err(Trap::Mixed),
                (Width::W64, value) => value,
            };
            return self.write(dst, value);
        }
        let left = self.read(dst)?;
        let value = match (left, right) {
            (Value::Number(a), Value::Number(b)) => Value::Number(calculate(width, op, a, b)),
            (pointer, Value::Number(by)) if width == Width::W64 => moved(pointer, op, by)?,
            (Value::Number(by), pointer) if width == Width::W64 && op == Alu::Add => moved(pointer, op, by)?,
            (Value::Packet(a), Value::Packet(b)) if width == Width::W64 && op == Alu::Sub => {
                Value::Number(a.wrapping_sub(b).cast_unsigned())
            }
            _ => return Err(Trap::Mixed),
        };
        self.write(dst, value)
    }

    fn holds(&self, width: Width, cond: Cond, dst: Reg, src: Src) -> Result<bool, Trap> {
        match (self.read(dst)?, self.operand(src)?) {
            (Value::Number(a), Value::Number(b)) => Ok(compare(width, cond, a, b)),
            (Value::Packet(a), Value::Packet(b)) if width == Width::W64 => {
                Ok(compare(width, cond, a.cast_unsigned(), b.cast_unsigned()))
            }
            // No pointer is NULL.
            (_, Value::Number(0)) if width == Width::W64 && cond == Cond::Eq => Ok(false),
            (_, Value::Number(0)) if width == Width::W64 && cond == Cond::Ne => Ok(true),
            _ => Err(Trap::Mixed),
        }
    }

    fn load(&mut self, base: Value, off: i64, size: Size) -> Result<Value, Trap> {
        let octets = usize::from(size.octets());
        let mut raw = [0; 8];
        match base {
            Value::Context => return self.field(off, size),
            Value::Stack(at) => {
                let range = stack_range(at, off, octets)?;
                if let Some(address) = self.spilled.get(&range.start).filter(|_| octets == 8) {
                    return Ok(*address);
                }
                for (to, from) in raw.iter_mut().zip(&self.stack[range]) {
                    *to = from.ok_or(Trap::UnwrittenStack)?;
                }
            }
            Value::Packet(at) => {
                let first = position(at, off)?;
                let end = first.checked_add(octets).ok_or(Trap::Outside)?;
                let data = self.direct().get(first..end).ok_or(Trap::Outside)?;
                raw[..octets].copy_from_slice(data);
            }
            Value::Entry(MapRef::Table(id), entry, at) => {
                let held = self.machine.tables.get(&id).ok_or(Trap::NoMap(MapRef::Table(id)))?;
                let data = held.value(entry).ok_or(Trap::Outside)?;
                raw[..octets].copy_from_slice(data.get(range(at, off, octets)?).ok_or(Trap::Outside)?);
            }
            Value::Entry(map, key, at) => {
                return Ok(Value::Number(*self.word(map, key, at, off, size)?));
            }
            Value::Number(_) | Value::Map(_) => return Err(Trap::Mixed),
        }
        Ok(Value::Number(host_number(&raw[..octets])))
    }

    fn store(&mut self, base: Value, off: i64, size: Size, number: u64) -> Result<(), Trap> {
        let octets = usize::from(size.octets());
        match base {
            Value::Context => self.set_field(off, size, number),
            Value::Stack(at) => {
                let range = stack_range(at, off, octets)?;
                self.forget(&range);
                for (to, from) in self.stack[range].iter_mut().zip(host_octets(number, octets)) {
                    *to = Some(from);
                }
                Ok(())
            }
            Value::Entry(MapRef::Table(id), entry, at) => {
                let held = self.machine.tables.get_mut(&id).ok_or(Trap::NoMap(MapRef::Table(id)))?;
                let data = held.value_mut(entry).ok_or(Trap::ReadOnly(id))?;
                let place = data.get_mut(range(at, off, octets)?).ok_or(Trap::Outside)?;
                for (to, from) in place.iter_mut().zip(host_octets(number, octets)) {
                    *to = from;
                }
                Ok(())
            }
            Value::Entry(map, key, at) => {
                *self.word(map, key, at, off, size)? = number;
                Ok(())
            }
            // Nothing here writes to frames: what is passed and copied is passed and copied unchanged.
            Value::Packet(_) => Err(Trap::Outside),
            Value::Number(_) | Value::Map(_) => Err(Trap::Mixed),
        }
    }

    /// Addresses that these octets of the stack hold a part of are addresses no more.
    fn forget(&mut self, range: &std::ops::Range<usize>) {
        self.spilled.retain(|first, _| first + 8 <= range.start || *first >= range.end);
    }

    /// A word of a map's value. Only whole, aligned words are used.
    fn word(&mut self, map: MapRef, key: u32, at: i64, off: i64, size: Size) -> Result<&mut u64, Trap> {
        let first = position(at, off)?;
        if size != Size::Double || first % 8 != 0 {
            return Err(Trap::Outside);
        }
        let entries = self.machine.arrays.get_mut(&map).ok_or(Trap::NoMap(map))?;
        let entry = usize::try_from(key).ok().and_then(|key| entries.get_mut(key)).ok_or(Trap::Outside)?;
        entry.get_mut(first / 8).ok_or(Trap::Outside)
    }

    /// The octets that can be read directly.
    fn direct(&self) -> &[u8] {
        match &self.input {
            Input::Xdp(data) => data,
            Input::Tc(skb) => &skb.data[..skb.linear.min(skb.data.len())],
        }
    }

    fn field(&self, off: i64, size: Size) -> Result<Value, Trap> {
        let off = i16::try_from(off).map_err(|_| Trap::Outside)?;
        if size != Size::Word {
            return Err(Trap::Field(off));
        }
        let end = || Value::Packet(i64::try_from(self.direct().len()).unwrap_or(i64::MAX));
        let Input::Tc(skb) = &self.input else {
            return match off {
                0 => Ok(Value::Packet(0)),
                4 => Ok(end()),
                _ => Err(Trap::Field(off)),
            };
        };
        let tag = skb.tag;
        Ok(match off {
            0 => Value::Number(u64::try_from(skb.data.len()).unwrap_or(u64::MAX)),
            8 => Value::Number(skb.mark.into()),
            20 => Value::Number(tag.is_some().into()),
            24 => Value::Number(tag.map_or(0, |tag| tag.tci).into()),
            28 => Value::Number(tag.map_or(0, |tag| tag.protocol.to_be()).into()),
            32 => Value::Number(skb.priority.into()),
            36 | 40 => Value::Number(skb.ifindex.into()),
            48 | 52 | 56 | 60 | 64 => {
                let at = usize::try_from((off - 48) / 4).map_err(|_| Trap::Field(off))?;
                Value::Number(skb.cb[at].into())
            }
            76 => Value::Packet(0),
            80 => end(),
            164 => Value::Number(skb.gso_segs.into()),
            176 => Value::Number(skb.gso_size.into()),
            _ => return Err(Trap::Field(off)),
        })
    }

    fn set_field(&mut self, off: i64, size: Size, number: u64) -> Result<(), Trap> {
        let off = i16::try_from(off).map_err(|_| Trap::Outside)?;
        let value = u32::try_from(number & u64::from(u32::MAX)).map_err(|_| Trap::Field(off))?;
        match (&mut self.input, off) {
            _ if size != Size::Word => return Err(Trap::Field(off)),
            (Input::Tc(skb), 8) => skb.mark = value,
            (Input::Tc(skb), 32) => skb.priority = value,
            _ => return Err(Trap::Field(off)),
        }
        Ok(())
    }

    fn call(&mut self, helper: Helper) -> Result<(), Trap> {
        for reg in &Reg::ALL[1..=helper.arguments()] {
            self.read(*reg)?;
        }
        let returned = match helper {
            Helper::MapLookup => self.map_lookup()?,
            Helper::KtimeNs => Value::Number(self.machine.now_ns),
            Helper::CloneRedirect => {
                let to = self.interface(Reg::R2)?;
                let Input::Tc(skb) = &self.input else { return Err(Trap::NoHelper(helper)) };
                self.effects.push(Effect::Clone { to, mark: skb.mark, priority: skb.priority });
                let result = self.machine.clone_results.pop_front().unwrap_or(0);
                Value::Number(i64::from(result).cast_unsigned())
            }
            Helper::Redirect => {
                let to = self.interface(Reg::R1)?;
                self.effects.push(Effect::Redirect { to });
                Value::Number(7)
            }
            Helper::RedirectMap => {
                let Value::Map(map) = self.read(Reg::R1)? else { return Err(Trap::Argument(Reg::R1)) };
                let (key, flags) = (self.number(Reg::R2)?, self.number(Reg::R3)?);
                self.effects.push(Effect::RedirectMap { map, key, flags });
                Value::Number(4)
            }
            Helper::SkbLoadBytes | Helper::XdpLoadBytes => self.load_bytes(helper)?,
            Helper::SkbVlanPush => self.vlan_push()?,
        };
        for reg in &Reg::ALL[1..=5] {
            self.registers[reg.index()] = None;
        }
        if helper.moves_packet() {
            for value in &mut self.registers {
                if matches!(value, Some(Value::Packet(_))) {
                    *value = None;
                }
            }
        }
        self.registers[0] = Some(returned);
        Ok(())
    }

    fn interface(&self, reg: Reg) -> Result<Symbol, Trap> {
        interface_symbol(self.number(reg)?).ok_or(Trap::Argument(reg))
    }

    fn map_lookup(&mut self) -> Result<Value, Trap> {
        let Value::Map(map) = self.read(Reg::R1)? else { return Err(Trap::Argument(Reg::R1)) };
        let key_at @ Value::Stack(from_top) = self.read(Reg::R2)? else {
            return Err(Trap::Argument(Reg::R2));
        };
        if let MapRef::Table(id) = map {
            let held = self.machine.tables.get(&id).ok_or(Trap::NoMap(map))?;
            let range = stack_range(from_top, 0, held.key_size())?;
            let key: Option<Vec<u8>> = self.stack[range].iter().copied().collect();
            let found = held.find(&key.ok_or(Trap::UnwrittenStack)?);
            return Ok(found.map_or(Value::Number(0), |entry| Value::Entry(map, entry, 0)));
        }
        let Value::Number(key) = self.load(key_at, 0, Size::Word)? else { return Err(Trap::Mixed) };
        let entries = self.machine.arrays.get(&map).ok_or(Trap::NoMap(map))?;
        match u32::try_from(key) {
            Ok(id) if usize::try_from(id).is_ok_and(|id| id < entries.len()) => Ok(Value::Entry(map, id, 0)),
            _ => Ok(Value::Number(0)),
        }
    }

    fn load_bytes(&mut self, helper: Helper) -> Result<Value, Trap> {
        const FAULT: i64 = -14;
        let (at, octets) = (self.number(Reg::R2)?, self.number(Reg::R4)?);
        let octets = usize::try_from(octets).ok().filter(|n| (1..=LOAD_MAX).contains(n));
        let octets = octets.ok_or(Trap::Argument(Reg::R4))?;
        let data = match (&self.input, helper) {
            (Input::Tc(skb), Helper::SkbLoadBytes) => &skb.data,
            (Input::Xdp(data), Helper::XdpLoadBytes) => data,
            _ => return Err(Trap::NoHelper(helper)),
        };
        let first = usize::try_from(at).unwrap_or(usize::MAX);
        let found = data.get(first..first.saturating_add(octets)).map(<[u8]>::to_vec);
        // The kernel clears what it could not fill.
        let filled = found.clone().unwrap_or_else(|| vec![0; octets]);
        match self.read(Reg::R3)? {
            Value::Stack(to) => {
                let range = stack_range(to, 0, octets)?;
                self.forget(&range);
                for (to, from) in self.stack[range].iter_mut().zip(filled) {
                    *to = Some(from);
                }
            }
            Value::Entry(MapRef::Table(id), entry, to) => {
                let held = self.machine.tables.get_mut(&id).ok_or(Trap::NoMap(MapRef::Table(id)))?;
                let value = held.value_mut(entry).ok_or(Trap::ReadOnly(id))?;
                let place = value.get_mut(range(to, 0, octets)?).ok_or(Trap::Outside)?;
                place.copy_from_slice(&filled);
            }
            _ => return Err(Trap::Argument(Reg::R3)),
        }
        Ok(Value::Number(if found.is_some() { 0 } else { FAULT.cast_unsigned() }))
    }

    fn vlan_push(&mut self) -> Result<Value, Trap> {
        let (protocol, tci) = (self.number(Reg::R2)?, self.number(Reg::R3)?);
        let (Ok(protocol), Ok(tci)) = (u16::try_from(protocol), u16::try_from(tci)) else {
            return Err(Trap::Argument(Reg::R2));
        };
        let Input::Tc(skb) = &mut self.input else { return Err(Trap::NoHelper(Helper::SkbVlanPush)) };
        if let Some(inner) = skb.tag.replace(Tag { protocol: u16::from_be(protocol), tci }) {
            let [a, b] = inner.protocol.to_be_bytes();
            let [c, d] = inner.tci.to_be_bytes();
            let at = skb.data.len().min(12);
            skb.data.splice(at..at, [a, b, c, d]);
            skb.linear = skb.linear.saturating_add(4);
        }
        Ok(Value::Number(0))
    }
}

fn position(at: i64, off: i64) -> Result<usize, Trap> {
    at.checked_add(off).and_then(|sum| usize::try_from(sum).ok()).ok_or(Trap::Outside)
}

/// Octets of a map's value. Frames are copied there as they are, so numbers in them need not be aligned.
fn range(at: i64, off: i64, octets: usize) -> Result<std::ops::Range<usize>, Trap> {
    let first = position(at, off)?;
    Ok(first..first.checked_add(octets).ok_or(Trap::Outside)?)
}

fn stack_range(at: i64, off: i64, octets: usize) -> Result<std::ops::Range<usize>, Trap> {
    let from_top = at.checked_add(off).ok_or(Trap::Outside)?;
    let first =
        from_top.checked_add(512).and_then(|first| usize::try_from(first).ok()).ok_or(Trap::Outside)?;
    let end = first.checked_add(octets).filter(|end| *end <= STACK_OCTETS).ok_or(Trap::Outside)?;
    Ok(first..end)
}

fn moved(pointer: Value, op: Alu, by: u64) -> Result<Value, Trap> {
    let by = match op {
        Alu::Add => by.cast_signed(),
        Alu::Sub => by.cast_signed().wrapping_neg(),
        _ => return Err(Trap::Mixed),
    };
    match pointer {
        Value::Stack(at) => Ok(Value::Stack(at.wrapping_add(by))),
        Value::Packet(at) => Ok(Value::Packet(at.wrapping_add(by))),
        Value::Entry(map, key, at) => Ok(Value::Entry(map, key, at.wrapping_add(by))),
        Value::Number(_) | Value::Context | Value::Map(_) => Err(Trap::Mixed),
    }
}

/// The octets of a number as a store of that size leaves them in memory.
fn host_octets(number: u64, octets: usize) -> impl Iterator<Item = u8> {
    let raw = number.to_ne_bytes();
    let skip = if cfg!(target_endian = "big") { 8 - octets } else { 0 };
    raw.into_iter().skip(skip).take(octets)
}

fn host_number(octets: &[u8]) -> u64 {
    let add = |number: u64, octet: &u8| number << 8 | u64::from(*octet);
    if cfg!(target_endian = "big") { octets.iter().fold(0, add) } else { octets.iter().rev().fold(0, add) }
}

fn big_endian(number: u64, size: Size) -> u64 {
    let octets = usize::from(size.octets());
    let raw: Vec<u8> = host_octets(number, octets).collect();
    raw.iter().fold(0, |number, octet| number << 8 | u64::from(*octet))
}

fn calculate(width: Width, op: Alu, a: u64, b: u64) -> u64 {
    match width {
        Width::W64 => {
            let shift = u32::try_from(b & 63).unwrap_or(0);
            match op {
                Alu::Add => a.wrapping_add(b),
                Alu::Sub => a.wrapping_sub(b),
                Alu::Mul => a.wrapping_mul(b),
                Alu::Div => a.checked_div(b).unwrap_or(0),
                Alu::Mod => a.checked_rem(b).unwrap_or(a),
                Alu::Or => a | b,
                Alu::And => a & b,
                Alu::Xor => a ^ b,
                Alu::Lsh => a << shift,
                Alu::Rsh => a >> shift,
                Alu::Arsh => (a.cast_signed() >> shift).cast_unsigned(),
                Alu::Mov => b,
            }
        }
        Width::W32 => {
            let (a, b) = (low(a), low(b));
            let shift = b & 31;
            u64::from(match op {
                Alu::Add => a.wrapping_add(b),
                Alu::Sub => a.wrapping_sub(b),
                Alu::Mul => a.wrapping_mul(b),
                Alu::Div => a.checked_div(b).unwrap_or(0),
                Alu::Mod => a.checked_rem(b).unwrap_or(a),
                Alu::Or => a | b,
                Alu::And => a & b,
                Alu::Xor => a ^ b,
                Alu::Lsh => a << shift,
                Alu::Rsh => a >> shift,
                Alu::Arsh => (a.cast_signed() >> shift).cast_unsigned(),
                Alu::Mov => b,
            })
        }
    }
}

/// The lower half.
fn low(number: u64) -> u32 {
    u32::try_from(number & u64::from(u32::MAX)).unwrap_or(0)
}

fn compare(width: Width, cond: Cond, a: u64, b: u64) -> bool {
    let (a, b, sa, sb) = match width {
        Width::W64 => (a, b, a.cast_signed(), b.cast_signed()),
        Width::W32 => {
            let (a, b) = (low(a), low(b));
            (u64::from(a), u64::from(b), i64::from(a.cast_signed()), i64::from(b.cast_signed()))
        }
    };
    match cond {
        Cond::Eq => a == b,
        Cond::Ne => a != b,
        Cond::Gt => a > b,
        Cond::Ge => a >= b,
        Cond::Lt => a < b,
        Cond::Le => a <= b,
        Cond::Set => a & b != 0,
        Cond::Sgt => sa > sb,
        Cond::Sge => sa >= sb,
        Cond::Slt => sa < sb,
        Cond::Sle => sa <= sb,
    }
}
