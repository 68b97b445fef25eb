//! Own checks before the kernel's: what its verifier would refuse, said in our words, on any machine.
//!
//! One walk in order is enough, since jumps go forward only: at each line the states of all ways that
//! lead there have been joined. Never runs the program and never panics on one, however wrong.

use std::collections::BTreeMap;
use std::fmt;

use crate::asm::{Alu, Cond, Helper, Insn, Kind, Program, Reg, Size, Src, Width};

/// The most instructions that the verifier takes.
pub const INSTRUCTIONS_MAX: usize = 1_000_000;

const STACK_OCTETS: usize = 512;

/// What is wrong at a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Problem {
    /// A register is read that some way here has not written, or that a call has lost.
    Unwritten(Reg),
    /// `r10` is written.
    FramePointer,
    /// Outside of the 512 octets of stack.
    OutsideStack,
    /// Octets of the stack are read that some way here has not written.
    UnwrittenStack,
    /// The register is not an address that may be used so (a number, or a lookup that may have failed).
    NoAddress(Reg),
    /// An argument of a helper is not what it must be.
    Argument(Helper, Reg),
    /// The jump does not lead forward.
    Backward,
    /// The jump leads outside of the program.
    Outside,
    /// No way leads here.
    Unreachable,
    /// The program ends without `exit`.
    FallsOff,
    /// More instructions than the verifier takes.
    TooLong,
    /// A pseudo-instruction that the assembler should have expanded.
    Pseudo,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unwritten(reg) => write!(f, "{reg} is read before it is written"),
            Self::FramePointer => f.write_str("r10 is read-only"),
            Self::OutsideStack => f.write_str("outside of the 512 octets of stack"),
            Self::UnwrittenStack => f.write_str("stack is read before it is written"),
            Self::NoAddress(reg) => write!(f, "{reg} is not known to be an address"),
            Self::Argument(helper, reg) => write!(f, "{reg} is no argument for {}", helper.name()),
            Self::Backward => f.write_str("jumps backward"),
            Self::Outside => f.write_str("jumps outside of the program"),
            Self::Unreachable => f.write_str("no way leads here"),
            Self::FallsOff => f.write_str("the program ends without exit"),
            Self::TooLong => write!(f, "more than {INSTRUCTIONS_MAX} instructions"),
            Self::Pseudo => f.write_str("a pseudo-instruction was left"),
        }
    }
}

/// Why a program is refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CheckError {
    /// Its name.
    pub program: String,
    /// Index of the line.
    pub line: usize,
    /// What is wrong there.
    pub problem: Problem,
}

impl fmt::Display for CheckError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: line {}: {}", self.program, self.line, self.problem)
    }
}

impl std::error::Error for CheckError {}

/// Checks a program.
///
/// # Errors
///
/// The first line at which something is wrong.
pub fn check(program: &Program) -> Result<(), CheckError> {
    let fail = |line: usize, problem: Problem| CheckError { program: program.name.clone(), line, problem };
    let count = program.lines.len();
    if count > INSTRUCTIONS_MAX {
        return Err(fail(INSTRUCTIONS_MAX, Problem::TooLong));
    }
    let mut states: Vec<Option<Box<State>>> = vec![None; count + 1];
    states[0] = Some(Box::new(State::start()));
    for (at, line) in program.lines.iter().enumerate() {
        let Some(mut state) = states[at].take() else { return Err(fail(at, Problem::Unreachable)) };
        let target = match line.insn.jumps_to().map(|label| program.target(label)) {
            Some(target) if target >= count => return Err(fail(at, Problem::Outside)),
            Some(target) if target <= at => return Err(fail(at, Problem::Backward)),
            target => target,
        };
        state.step(program.kind, &line.insn).map_err(|problem| fail(at, problem))?;
        if let Some(target) = target {
            let mut taken = state.clone();
            taken.refine(&line.insn, true);
            join(&mut states[target], taken);
        }
        if !matches!(line.insn, Insn::Jump { .. } | Insn::Exit) {
            state.refine(&line.insn, false);
            join(&mut states[at + 1], state);
        }
    }
    match states[count] {
        Some(_) => Err(fail(count.saturating_sub(1), Problem::FallsOff)),
        None => Ok(()),
    }
}

fn join(into: &mut Option<Box<State>>, state: Box<State>) {
    match into {
        None => *into = Some(state),
        Some(known) => known.meet(&state),
    }
}

/// What is known of a register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Known {
    Unwritten,
    /// Written, and may be anything.
    Any,
    Number,
    Constant(i64),
    Context,
    /// This far above the stack's top, so below 0.
    Stack(i64),
    Map,
    /// A map's value, or NULL.
    MaybeValue,
    Value,
    Packet,
}

#[derive(Clone, Debug)]
struct State {
    registers: [Known; 11],
    /// One bit for each octet of stack, the lowest first.
    written: [u64; STACK_OCTETS / 64],
    /// Addresses that were stored there, by the offset of their first octet from the top.
    spilled: BTreeMap<i64, Known>,
}

impl State {
    fn start() -> Self {
        let mut registers = [Known::Unwritten; 11];
        registers[Reg::R1.index()] = Known::Context;
        registers[Reg::R10.index()] = Known::Stack(0);
        Self { registers, written: [0; STACK_OCTETS / 64], spilled: BTreeMap::new() }
    }

    fn meet(&mut self, other: &Self) {
        for (mine, theirs) in self.registers.iter_mut().zip(other.registers) {
            *mine = match (*mine, theirs) {
                (a, b) if a == b => a,
                (Known::Unwritten, _) | (_, Known::Unwritten) => Known::Unwritten,
                (Known::Number | Known::Constant(_), Known::Number | Known::Constant(_)) => Known::Number,
                _ => Known::Any,
            };
        }
        for (mine, theirs) in self.written.iter_mut().zip(other.written) {
            *mine &= theirs;
        }
        self.spilled.retain(|at, known| other.spilled.get(at) == Some(known));
    }

    fn read(&self, reg: Reg) -> Result<Known, Problem> {
        match self.registers[reg.index()] {
            Known::Unwritten => Err(Problem::Unwritten(reg)),
            known => Ok(known),
        }
    }

    fn operand(&self, src: Src) -> Result<Known, Problem> {
        match src {
            Src::Reg(reg) => self.read(reg),
            Src::Imm(imm) => Ok(Known::Constant(i64::from(imm))),
        }
    }

    fn write(&mut self, reg: Reg, known: Known) -> Result<(), Problem> {
        if reg == Reg::R10 {
            return Err(Problem::FramePointer);
        }
        self.registers[reg.index()] = known;
        Ok(())
    }

    fn step(&mut self, kind: Kind, insn: &Insn) -> Result<(), Problem> {
        match *insn {
            Insn::Alu { width, op, dst, src } => self.alu(width, op, dst, src),
            Insn::ToBigEndian { dst, .. } => {
                self.read(dst)?;
                self.write(dst, Known::Number)
            }
            Insn::Load { size, dst, src, off } => {
                let base = self.address(src)?;
                let mut loaded = Known::Number;
                if let Known::Stack(at) = base {
                    let at = at.saturating_add(off.into());
                    self.read_stack(at, size.octets().into())?;
                    let spilled = self.spilled.get(&at).filter(|_| size == Size::Double);
                    loaded = spilled.copied().unwrap_or(loaded);
                }
                if base == Known::Context && is_packet_pointer(kind, size, off) {
                    loaded = Known::Packet;
                }
                self.write(dst, loaded)
            }
            Insn::Store { size, dst, off, src } => {
                let stored = self.operand(src)?;
                if let Known::Stack(at) = self.address(dst)? {
                    let at = at.saturating_add(off.into());
                    self.write_stack(at, size.octets().into())?;
                    if size == Size::Double && at % 8 == 0 && stored == Known::Value {
                        self.spilled.insert(at, stored);
                    }
                }
                Ok(())
            }
            Insn::AtomicAdd { size, dst, off, src } => {
                self.read(src)?;
                if let Known::Stack(at) = self.address(dst)? {
                    self.read_stack(at.saturating_add(off.into()), size.octets().into())?;
                }
                Ok(())
            }
            Insn::LoadImm64 { dst, value } => self.write(dst, Known::Constant(value.cast_signed())),
            Insn::LoadMap { dst, .. } => self.write(dst, Known::Map),
            Insn::LoadInterface { dst, .. } => self.write(dst, Known::Number),
            Insn::Jump { .. } => Ok(()),
            Insn::JumpIf { dst, src, .. } => {
                self.read(dst)?;
                self.operand(src).map(|_| ())
            }
            Insn::Call(helper) => self.call(helper),
            Insn::Exit => self.read(Reg::R0).map(|_| ()),
            Insn::Bounds { .. } | Insn::Count { .. } => Err(Problem::Pseudo),
        }
    }

    fn alu(&mut self, width: Width, op: Alu, dst: Reg, src: Src) -> Result<(), Problem> {
        let right = self.operand(src)?;
        let left = if op == Alu::Mov { right } else { self.read(dst)? };
        let known = match (width, op, left, right) {
            (Width::W64, Alu::Mov, _, right) => right,
            (Width::W64, Alu::Add, Known::Stack(at), Known::Constant(by)) => {
                Known::Stack(at.saturating_add(by))
            }
            (Width::W64, Alu::Sub, Known::Stack(at), Known::Constant(by)) => {
                Known::Stack(at.saturating_sub(by))
            }
            (Width::W64, Alu::Add | Alu::Sub, Known::Packet, Known::Number | Known::Constant(_)) => {
                Known::Packet
            }
            (Width::W64, Alu::Add | Alu::Sub, Known::Value, Known::Number | Known::Constant(_)) => {
                Known::Value
            }
            (Width::W64, Alu::Add, Known::Number | Known::Constant(_), Known::Value) => Known::Value,
            (Width::W64, Alu::Sub, Known::Packet, Known::Packet) => Known::Number,
            (_, _, Known::Number | Known::Constant(_), Known::Number | Known::Constant(_)) => Known::Number,
            _ => Known::Any,
        };
        self.write(dst, known)
    }

    fn address(&self, reg: Reg) -> Result<Known, Problem> {
        match self.read(reg)? {
            known @ (Known::Context | Known::Stack(_) | Known::Value | Known::Packet) => Ok(known),
            _ => Err(Problem::NoAddress(reg)),
        }
    }

    /// Marks octets of the stack as written.
    fn write_stack(&mut self, at: i64, octets: usize) -> Result<(), Problem> {
        let end = at.saturating_add(i64::try_from(octets).unwrap_or(i64::MAX));
        self.spilled.retain(|known, _| known.saturating_add(8) <= at || *known >= end);
        for octet in Self::stack(at, octets)? {
            self.written[octet / 64] |= 1 << (octet % 64);
        }
        Ok(())
    }

    /// Refuses octets of the stack that may not have been written.
    fn read_stack(&self, at: i64, octets: usize) -> Result<(), Problem> {
        let written = |octet: usize| self.written[octet / 64] >> (octet % 64) & 1 == 1;
        if Self::stack(at, octets)?.all(written) { Ok(()) } else { Err(Problem::UnwrittenStack) }
    }

    /// The octets of stack from an address, counted from the lowest.
    fn stack(at: i64, octets: usize) -> Result<std::ops::Range<usize>, Problem> {
        let first = at.checked_add(512).and_then(|first| usize::try_from(first).ok());
        let first = first.ok_or(Problem::OutsideStack)?;
        let end = first.checked_add(octets).filter(|end| *end <= STACK_OCTETS);
        Ok(first..end.ok_or(Problem::OutsideStack)?)
    }

    fn call(&mut self, helper: Helper) -> Result<(), Problem> {
        let arguments = &Reg::ALL[1..=helper.arguments()];
        for reg in arguments {
            self.read(*reg)?;
        }
        let argument = |reg: Reg| Problem::Argument(helper, reg);
        let must = |held: bool, reg: Reg| if held { Ok(()) } else { Err(argument(reg)) };
        let of = |state: &Self, reg: Reg| state.registers[reg.index()];
        match helper {
            Helper::MapLookup => {
                must(of(self, Reg::R1) == Known::Map, Reg::R1)?;
                let Known::Stack(at) = of(self, Reg::R2) else { return Err(argument(Reg::R2)) };
                self.read_stack(at, 4)?;
            }
            Helper::RedirectMap => must(of(self, Reg::R1) == Known::Map, Reg::R1)?,
            Helper::CloneRedirect | Helper::SkbVlanPush => {
                must(of(self, Reg::R1) == Known::Context, Reg::R1)?;
            }
            Helper::SkbLoadBytes | Helper::XdpLoadBytes => {
                must(of(self, Reg::R1) == Known::Context, Reg::R1)?;
                match (of(self, Reg::R3), of(self, Reg::R4)) {
                    (Known::Stack(at), Known::Constant(octets @ 1..)) => {
                        let octets = usize::try_from(octets).map_err(|_| argument(Reg::R4))?;
                        self.write_stack(at, octets)?;
                    }
                    // How much a map's value holds, the verifier knows.
                    (Known::Value, Known::Constant(1..) | Known::Number) => {}
                    (Known::Stack(_) | Known::Value, _) => return Err(argument(Reg::R4)),
                    _ => return Err(argument(Reg::R3)),
                }
            }
            Helper::KtimeNs | Helper::Redirect => {}
        }
        for reg in &Reg::ALL[1..=5] {
            self.registers[reg.index()] = Known::Unwritten;
        }
        if helper.moves_packet() {
            for known in self.registers.iter_mut().filter(|known| **known == Known::Packet) {
                *known = Known::Unwritten;
            }
        }
        self.registers[0] = if helper == Helper::MapLookup { Known::MaybeValue } else { Known::Number };
        Ok(())
    }

    /// What a compare with NULL says of a map's value.
    fn refine(&mut self, insn: &Insn, taken: bool) {
        let Insn::JumpIf { width: Width::W64, cond, dst, src: Src::Imm(0), .. } = *insn else { return };
        if self.registers[dst.index()] != Known::MaybeValue {
            return;
        }
        let null = match cond {
            Cond::Eq => taken,
            Cond::Ne => !taken,
            _ => return,
        };
        self.registers[dst.index()] = if null { Known::Constant(0) } else { Known::Value };
    }
}

fn is_packet_pointer(kind: Kind, size: Size, off: i16) -> bool {
    let pointers = match kind {
        Kind::Tc => [76, 80],
        Kind::Xdp | Kind::XdpDevmap => [0, 4],
    };
    size == Size::Word && pointers.contains(&off)
}
