//! Linking: symbols become numbers, labels become offsets in slots, instructions become 64-bit words.

use std::fmt;

use super::{Alu, Cond, Insn, Label, Program, Reg, Size, Src, Symbol, Width};

/// Why a program cannot be linked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LinkError {
    /// Nobody knows the number of a symbol.
    Unknown {
        /// The program.
        program: String,
        /// The symbol.
        symbol: Symbol,
    },
    /// A pseudo-instruction was left, or a jump leads nowhere: a defect of the assembler.
    Malformed {
        /// The program.
        program: String,
        /// The line.
        line: usize,
    },
    /// The program is so long that no 32-bit offset reaches.
    TooLong {
        /// The program.
        program: String,
    },
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { program, symbol } => write!(f, "{program}: nothing is known of {symbol}"),
            Self::Malformed { program, line } => write!(f, "{program}: line {line} is no instruction"),
            Self::TooLong { program } => write!(f, "{program}: too long for 32-bit jumps"),
        }
    }
}

impl std::error::Error for LinkError {}

// Opcode classes and modes, RFC 9669, section 3.
const LD: u8 = 0x00;
const LDX: u8 = 0x01;
const ST: u8 = 0x02;
const STX: u8 = 0x03;
const ALU32: u8 = 0x04;
const JMP: u8 = 0x05;
const JMP32: u8 = 0x06;
const ALU64: u8 = 0x07;
const FROM_REG: u8 = 0x08;
const MEM: u8 = 0x60;
const ATOMIC: u8 = 0xc0;
const IMM: u8 = 0x00;
const TO_BE: u8 = 0xd8;
const CALL: u8 = 0x80;
const EXIT: u8 = 0x90;
/// `BPF_PSEUDO_MAP_FD`: the immediate of an `ld_imm64` is a map's file descriptor.
const MAP_FD: u8 = 1;

/// One slot: opcode, registers, offset, immediate, as the kernel of a machine of this byte order reads it.
fn word(code: u8, dst: u8, src: u8, off: i16, imm: i32) -> u64 {
    let registers = if cfg!(target_endian = "little") { dst | src << 4 } else { dst << 4 | src };
    let [o0, o1] = off.to_ne_bytes();
    let [i0, i1, i2, i3] = imm.to_ne_bytes();
    u64::from_ne_bytes([code, registers, o0, o1, i0, i1, i2, i3])
}

impl Program {
    /// Gives the instructions as the kernel takes them, 8 octets each in the byte order of this machine.
    ///
    /// An unconditional jump beyond 16 bits becomes `gotol` (Linux 6.6); a conditional one goes to a
    /// `gotol` beside it.
    ///
    /// # Errors
    ///
    /// A symbol that `resolve` does not know, or a program longer than 32-bit offsets.
    pub fn link(&self, resolve: impl Fn(Symbol) -> Option<i32>) -> Result<Vec<u64>, LinkError> {
        let slots = self.slots()?;
        let mut out = Vec::with_capacity(slots.starts.last().copied().unwrap_or(0));
        for (at, line) in self.lines.iter().enumerate() {
            self.encode(at, &line.insn, &slots, &resolve, &mut out)?;
        }
        Ok(out)
    }

    /// Where each line begins, in slots, with far conditional jumps made longer until all reach.
    fn slots(&self) -> Result<Slots, LinkError> {
        let mut far = vec![false; self.lines.len()];
        loop {
            let mut starts = Vec::with_capacity(self.lines.len() + 1);
            let mut slot = 0usize;
            for (line, far) in self.lines.iter().zip(&far) {
                starts.push(slot);
                slot += width(&line.insn, *far);
            }
            starts.push(slot);
            let mut grown = false;
            for (at, line) in self.lines.iter().enumerate() {
                let Insn::JumpIf { to, .. } = line.insn else { continue };
                if far[at] {
                    continue;
                }
                let distance = self.distance(at, starts[at] + 1, to, &starts)?;
                if i16::try_from(distance).is_err() {
                    far[at] = true;
                    grown = true;
                }
            }
            // Lines only ever grow, so this ends after at most one round for each line.
            if !grown {
                return Ok(Slots { starts, far });
            }
        }
    }

    /// Slots from `after` to a label.
    fn distance(&self, at: usize, after: usize, to: Label, starts: &[usize]) -> Result<i32, LinkError> {
        let malformed = || LinkError::Malformed { program: self.name.clone(), line: at };
        let target = self.target(to);
        if target >= self.lines.len() {
            return Err(malformed());
        }
        let slots = starts[target].checked_sub(after).ok_or_else(malformed)?;
        i32::try_from(slots).map_err(|_| LinkError::TooLong { program: self.name.clone() })
    }

    fn encode(
        &self,
        at: usize,
        insn: &Insn,
        slots: &Slots,
        resolve: &impl Fn(Symbol) -> Option<i32>,
        out: &mut Vec<u64>,
    ) -> Result<(), LinkError> {
        let known = |symbol: Symbol| {
            resolve(symbol).ok_or_else(|| LinkError::Unknown { program: self.name.clone(), symbol })
        };
        let malformed = || LinkError::Malformed { program: self.name.clone(), line: at };
        match *insn {
            Insn::Jump { to } => {
                out.push(goto(self.distance(at, slots.starts[at] + 1, to, &slots.starts)?))
            }
            Insn::JumpIf { width, cond, dst, src, to } if slots.far[at] => {
                if let Some(inverse) = cond.inverse() {
                    out.push(jump_if(width, inverse, dst, src, 1));
                } else {
                    out.push(jump_if(width, cond, dst, src, 1));
                    out.push(goto(1));
                }
                out.push(gotol(self.distance(at, slots.starts[at + 1], to, &slots.starts)?));
            }
            Insn::JumpIf { width, cond, dst, src, to } => {
                let distance = self.distance(at, slots.starts[at] + 1, to, &slots.starts)?;
                let near = i16::try_from(distance).map_err(|_| malformed())?;
                out.push(jump_if(width, cond, dst, src, near));
            }
            Insn::LoadImm64 { dst, value } => out.extend(wide(dst, 0, value)),
            Insn::LoadMap { dst, map } => {
                let descriptor = known(Symbol::Map(map))?;
                out.extend(wide(dst, MAP_FD, u64::from(descriptor.cast_unsigned())));
            }
            Insn::LoadInterface { dst, symbol } => {
                out.push(word(ALU32 | Alu::Mov.bits(), dst.number(), 0, 0, known(symbol)?));
            }
            ref plain => out.push(plain_word(plain).ok_or_else(malformed)?),
        }
        Ok(())
    }
}

struct Slots {
    /// For each line, and for the end.
    starts: Vec<usize>,
    /// For each line whether it is a conditional jump that needs a `gotol`.
    far: Vec<bool>,
}

fn width(insn: &Insn, far: bool) -> usize {
    match insn {
        Insn::LoadImm64 { .. } | Insn::LoadMap { .. } => 2,
        Insn::JumpIf { cond: Cond::Set, .. } if far => 3,
        Insn::JumpIf { .. } if far => 2,
        _ => 1,
    }
}

fn operand(src: Src) -> (u8, u8, i32) {
    match src {
        Src::Reg(reg) => (FROM_REG, reg.number(), 0),
        Src::Imm(imm) => (0, 0, imm),
    }
}

/// `goto` where 16 bits reach, else `gotol`.
fn goto(distance: i32) -> u64 {
    i16::try_from(distance).map_or_else(|_| gotol(distance), |near| word(JMP, 0, 0, near, 0))
}

fn gotol(distance: i32) -> u64 {
    word(JMP32, 0, 0, 0, distance)
}

fn jump_if(width: Width, cond: Cond, dst: Reg, src: Src, off: i16) -> u64 {
    let class = if width == Width::W64 { JMP } else { JMP32 };
    let (mode, src, imm) = operand(src);
    word(class | cond.bits() | mode, dst.number(), src, off, imm)
}

fn wide(dst: Reg, src: u8, value: u64) -> [u64; 2] {
    let half = |shift: u32| {
        let [a, b, c, d, ..] = (value >> shift).to_le_bytes();
        i32::from_le_bytes([a, b, c, d])
    };
    [word(LD | IMM | Size::Double.bits(), dst.number(), src, 0, half(0)), word(0, 0, 0, 0, half(32))]
}

/// Instructions of one slot that neither jump nor name symbols.
fn plain_word(insn: &Insn) -> Option<u64> {
    Some(match *insn {
        Insn::Alu { width, op, dst, src } => {
            let class = if width == Width::W64 { ALU64 } else { ALU32 };
            let (mode, src, imm) = operand(src);
            word(class | op.bits() | mode, dst.number(), src, 0, imm)
        }
        // One octet has no order.
        Insn::ToBigEndian { size: Size::Byte, .. } => return None,
        Insn::ToBigEndian { dst, size } => {
            word(ALU32 | TO_BE, dst.number(), 0, 0, i32::from(size.octets()) * 8)
        }
        Insn::Load { size, dst, src, off } => {
            word(LDX | MEM | size.bits(), dst.number(), src.number(), off, 0)
        }
        Insn::Store { size, dst, off, src: Src::Reg(src) } => {
            word(STX | MEM | size.bits(), dst.number(), src.number(), off, 0)
        }
        Insn::Store { size, dst, off, src: Src::Imm(imm) } => {
            word(ST | MEM | size.bits(), dst.number(), 0, off, imm)
        }
        Insn::AtomicAdd { size, dst, off, src } => {
            word(STX | ATOMIC | size.bits(), dst.number(), src.number(), off, 0)
        }
        Insn::Call(helper) => word(JMP | CALL, 0, 0, 0, helper.number()),
        Insn::Exit => word(JMP | EXIT, 0, 0, 0, 0),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::{Assembler, Helper, Kind, MapRef};
    use super::*;
    use plan::plan::PortId;

    /// Opcode, dst, src, offset, immediate.
    fn fields(word: u64) -> (u8, u8, u8, i16, i32) {
        let [code, regs, o0, o1, i0, i1, i2, i3] = word.to_le_bytes();
        (code, regs & 15, regs >> 4, i16::from_le_bytes([o0, o1]), i32::from_le_bytes([i0, i1, i2, i3]))
    }

    fn padded(count: usize, cond: Cond) -> Vec<u64> {
        let mut asm = Assembler::new("far", Kind::Tc);
        let end = asm.label();
        asm.jump_if(Reg::R1, cond, 1, end);
        for _ in 0..count {
            asm.mov(Reg::R0, 7);
        }
        asm.place(end);
        asm.mov(Reg::R0, 0);
        asm.exit();
        asm.finish().unwrap().link(|_| None).unwrap()
    }

    #[test]
    fn words_are_those_of_the_kernel() {
        let mut asm = Assembler::new("words", Kind::Tc);
        let out = asm.label();
        asm.mov(Reg::R6, Reg::R1);
        asm.alu32(Alu::Add, Reg::R2, -1);
        asm.load(Size::Word, Reg::R0, Reg::R6, 16);
        asm.store(Size::Half, Reg::R10, -4, 258);
        asm.store(Size::Double, Reg::R10, -16, Reg::R2);
        asm.atomic_add(Size::Double, Reg::R7, 8, Reg::R8);
        asm.to_big_endian(Reg::R3, Size::Half);
        asm.jump_if32(Reg::R0, Cond::Slt, 0, out);
        asm.load_map(Reg::R1, MapRef::Counters);
        asm.load_symbol(Reg::R2, Symbol::Interface(PortId(3)));
        asm.call(Helper::CloneRedirect);
        asm.place(out);
        asm.exit();
        let words = asm.finish().unwrap().link(|symbol| match symbol {
            Symbol::Map(_) => Some(9),
            Symbol::Interface(port) => Some(100 + i32::from(port.0)),
            Symbol::Hop(_) => None,
        });
        let got: Vec<_> = words.unwrap().into_iter().map(fields).collect();
        let want = [
            (0xbf, 6, 1, 0, 0),
            (0x04, 2, 0, 0, -1),
            (0x61, 0, 6, 16, 0),
            (0x6a, 10, 0, -4, 258),
            (0x7b, 10, 2, -16, 0),
            (0xdb, 7, 8, 8, 0),
            (0xdc, 3, 0, 0, 16),
            (0xc6, 0, 0, 4, 0),
            (0x18, 1, 1, 0, 9),
            (0, 0, 0, 0, 0),
            (0xb4, 2, 0, 0, 103),
            (0x85, 0, 0, 0, 13),
            (0x95, 0, 0, 0, 0),
        ];
        assert_eq!(got, want);
    }

    #[test]
    fn a_conditional_jump_reaches_32767_slots_and_then_takes_a_gotol() {
        assert_eq!(fields(padded(32767, Cond::Eq)[0]), (0x15, 1, 0, 32767, 1));
        let far = padded(32768, Cond::Eq);
        assert_eq!(fields(far[0]), (0x55, 1, 0, 1, 1), "the opposite condition hops over the gotol");
        assert_eq!(fields(far[1]), (0x06, 0, 0, 0, 32768));
        assert_eq!(fields(far[2 + 32768]), (0xb7, 0, 0, 0, 0), "and it lands where it should");
    }

    #[test]
    fn a_far_bit_test_has_no_opposite_and_takes_three_slots() {
        let far = padded(40_000, Cond::Set);
        assert_eq!(fields(far[0]), (0x45, 1, 0, 1, 1));
        assert_eq!(fields(far[1]), (0x05, 0, 0, 1, 0));
        assert_eq!(fields(far[2]), (0x06, 0, 0, 0, 40_000));
    }

    #[test]
    fn a_jump_that_a_longer_jump_pushes_out_of_reach_grows_too() {
        let mut asm = Assembler::new("push", Kind::Tc);
        let end = asm.label();
        // The second is one slot too far; made longer, it pushes the first out of reach.
        asm.jump_if(Reg::R1, Cond::Eq, 1, end);
        let beyond = asm.label();
        asm.jump_if(Reg::R1, Cond::Eq, 2, beyond);
        for _ in 0..32_766 {
            asm.mov(Reg::R0, 7);
        }
        asm.place(end);
        asm.mov(Reg::R0, 0);
        asm.mov(Reg::R0, 0);
        asm.place(beyond);
        asm.exit();
        let words = asm.finish().unwrap().link(|_| None).unwrap();
        assert_eq!(fields(words[1]), (0x06, 0, 0, 0, 32_768));
        assert_eq!(fields(words[3]), (0x06, 0, 0, 0, 32_768));
    }

    #[test]
    fn an_unconditional_jump_beyond_16_bits_is_a_gotol_of_one_slot() {
        let mut asm = Assembler::new("far", Kind::Tc);
        let (skip, end) = (asm.label(), asm.label());
        asm.jump_if(Reg::R1, Cond::Ne, 0, skip);
        asm.jump(end);
        asm.place(skip);
        for _ in 0..40_000 {
            asm.load_imm64(Reg::R0, u64::MAX);
        }
        asm.place(end);
        asm.exit();
        let words = asm.finish().unwrap().link(|_| None).unwrap();
        assert_eq!(fields(words[1]), (0x06, 0, 0, 0, 80_000), "wide instructions count as two slots");
    }

    #[test]
    fn an_unknown_symbol_is_named() {
        let mut asm = Assembler::new("who", Kind::Tc);
        asm.load_symbol(Reg::R2, Symbol::Interface(PortId(7)));
        asm.exit();
        let error = asm.finish().unwrap().link(|_| None).unwrap_err();
        assert_eq!(error.to_string(), "who: nothing is known of interface(7)");
    }
}
