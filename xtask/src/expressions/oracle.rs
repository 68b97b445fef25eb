//! What libpcap makes of an expression: tcpdump compiles it, and its program is run here.
//!
//! Only ever a measure for ours. The optimizer is off, because it leaves out loads whose failure ends a program;
//! the programs of protocol chains, Geneve and 802.11 are never optimized at all.

use std::path::PathBuf;
use std::process::Command;

use wire::{Frame, LinkType};

use crate::steps;

/// One instruction of bpf(4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Instruction {
    code: u16,
    if_true: u8,
    if_false: u8,
    k: u32,
}

/// A program as tcpdump prints it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Program {
    instructions: Vec<Instruction>,
    /// Registers that hold where headers are, which `geneve` and 802.11 compute once for all that follows.
    offsets: [bool; REGISTERS],
}

/// Registers of a program, `BPF_MEMWORDS`.
const REGISTERS: usize = 16;

/// What a register was written by.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Writer {
    #[default]
    Nobody,
    /// Code that computes where a header is.
    Offset,
    /// Arithmetic of the expression itself.
    Arithmetic,
}

/// How a program ended, and what it did that nothing defines.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Run {
    /// Whether the frame passes.
    pub passes: bool,
    /// A register was read that should say where a header is, and holds something else: nobody wrote it,
    /// because a `geneve` did not hold, or arithmetic in front did, because libpcap gave it away twice.
    pub undefined: bool,
    /// Jumps back, one for each header of a protocol chain.
    pub headers: usize,
    /// In a protocol chain, the authentication header was passed: libpcap forgets where it was.
    pub lost: bool,
}

/// Compiles expressions for one link type.
pub struct Compiler {
    empty: PathBuf,
}

impl Compiler {
    /// Writes the capture file without packets that says the link type.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn new(link_type: LinkType) -> Result<Self, String> {
        let empty = steps::target().join(format!("expressions-{}.pcap", link_type.0));
        let mut header = Vec::new();
        header.extend(0xa1b2_c3d4u32.to_ne_bytes());
        header.extend([2u16, 4].into_iter().flat_map(u16::to_ne_bytes));
        header.extend([0u32, 0, 262_144, u32::from(link_type.0)].into_iter().flat_map(u32::to_ne_bytes));
        std::fs::write(&empty, header).map_err(|error| format!("{}: {error}", empty.display()))?;
        Ok(Self { empty })
    }

    /// The program of an expression; an inner error is libpcap's reason to refuse it.
    ///
    /// # Errors
    /// Where tcpdump cannot be started, or prints something else.
    pub fn compile(&self, expression: &str, optimized: bool) -> Result<Result<Program, String>, String> {
        let mut tcpdump = Command::new("tcpdump");
        tcpdump.arg("-r").arg(&self.empty).arg("-ddd");
        if !optimized {
            tcpdump.arg("-O");
        }
        let output = tcpdump.arg("--").arg(expression).output();
        let output = output.map_err(|error| format!("cannot start tcpdump: {error}"))?;
        if !output.status.success() {
            let why = String::from_utf8_lossy(&output.stderr);
            let why = why.lines().last().unwrap_or_default();
            return Ok(Err(why.trim_start_matches("tcpdump: ").to_owned()));
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let program = read(&text).ok_or_else(|| format!("tcpdump -ddd {expression:?} printed {text:?}"))?;
        Ok(Ok(program))
    }
}

/// The count of instructions, then four numbers each.
fn read(text: &str) -> Option<Program> {
    let mut lines = text.lines();
    let count: usize = lines.next()?.parse().ok()?;
    let instructions: Option<Vec<Instruction>> = lines
        .map(|line| {
            let mut numbers = line.split_whitespace();
            Some(Instruction {
                code: numbers.next()?.parse().ok()?,
                if_true: numbers.next()?.parse().ok()?,
                if_false: numbers.next()?.parse().ok()?,
                k: numbers.next()?.parse().ok()?,
            })
        })
        .collect();
    instructions.filter(|all| all.len() == count).map(Program::new)
}

/// Steps of the longest run: chains of headers go round in circles only as long as the frame lasts.
const STEPS_MAX: usize = 1 << 20;

#[derive(Default)]
struct Machine {
    a: u32,
    x: u32,
    memory: [(u32, Writer); REGISTERS],
    run: Run,
}

impl Program {
    fn new(instructions: Vec<Instruction>) -> Self {
        let mut program = Self { instructions, offsets: [false; REGISTERS] };
        for at in 0..program.instructions.len() {
            if program.writer(at) == Writer::Offset
                && let Some(offset) =
                    register(program.instructions[at].k).and_then(|at| program.offsets.get_mut(at))
            {
                *offset = true;
            }
        }
        program
    }

    /// What an instruction that writes a register writes it for. Expressions compute with registers alone, so
    /// that arithmetic with constants is libpcap's own.
    fn writer(&self, at: usize) -> Writer {
        let code =
            |back: usize| at.checked_sub(back).and_then(|at| self.instructions.get(at)).map_or(0, |i| i.code);
        let with_constant = |code: u16| code & 0x0f == 0x04 && code != 0x84;
        let with_register = |code: u16| code & 0x0f == 0x0c;
        match code(0) {
            0x03 => Writer::Offset,
            0x02 if with_constant(code(1)) => Writer::Offset,
            // The Geneve header's end, and the radiotap header's length.
            0x02 if with_register(code(1)) && (with_constant(code(2)) || code(2) == 0x30) => Writer::Offset,
            0x02 => Writer::Arithmetic,
            _ => Writer::Nobody,
        }
    }

    /// Runs it over a frame.
    pub fn run(&self, frame: &Frame<'_>) -> Run {
        let mut machine = Machine::default();
        machine.run.passes = self.steps(&mut machine, frame).unwrap_or(false);
        machine.run
    }

    /// Whether the frame passes; `None` where an octet that is asked for is not there.
    fn steps(&self, machine: &mut Machine, frame: &Frame<'_>) -> Option<bool> {
        let mut at = 0usize;
        for _ in 0..STEPS_MAX {
            let instruction = *self.instructions.get(at)?;
            let writer = self.writer(at);
            at += 1;
            let Instruction { code, if_true, if_false, k } = instruction;
            match code & 0x07 {
                0x00 | 0x01 => self.load(machine, frame, code, k)?,
                0x02 | 0x03 => {
                    let value = if code == 0x02 { machine.a } else { machine.x };
                    *machine.memory.get_mut(register(k)?)? = (value, writer);
                }
                0x04 => {
                    let right = if code & 0x08 == 0 { k } else { machine.x };
                    if code == 0x24
                        && k == 4
                        && self.instructions.get(at).is_some_and(|next| next.code == 0x07)
                    {
                        // Length times 4 to X, without what X was: `gen_protochain`, ahcheck.
                        machine.run.lost = true;
                    }
                    machine.a = arithmetic(code & 0xf0, machine.a, right)?;
                }
                0x05 if code == 0x05 => {
                    let back = k >= 1 << 31;
                    machine.run.headers += usize::from(back);
                    let low = u32::try_from(at).ok()?.wrapping_add(k);
                    at = usize::try_from(low).ok()?;
                }
                0x05 => {
                    let right = if code & 0x08 == 0 { k } else { machine.x };
                    let holds = match code & 0xf0 {
                        0x10 => machine.a == right,
                        0x20 => machine.a > right,
                        0x30 => machine.a >= right,
                        _ => machine.a & right != 0,
                    };
                    at += usize::from(if holds { if_true } else { if_false });
                }
                0x06 => return Some(if code == 0x06 { k } else { machine.a } != 0),
                _ if code == 0x07 => machine.x = machine.a,
                _ => machine.a = machine.x,
            }
        }
        None
    }

    fn load(&self, machine: &mut Machine, frame: &Frame<'_>, code: u16, k: u32) -> Option<()> {
        let count = match code & 0x18 {
            0x00 => 4,
            0x08 => 2,
            _ => 1,
        };
        let octets = |at: u32| -> Option<u32> {
            let at = usize::try_from(at).ok()?;
            let octets = frame.data.get(at..at.checked_add(count)?)?;
            Some(octets.iter().fold(0, |value, octet| value << 8 | u32::from(*octet)))
        };
        let value = match code & 0xe0 {
            0x00 => k,
            0x20 => octets(k)?,
            // No sum that is too large for 32 bits is an offset.
            0x40 => octets(machine.x.checked_add(k)?)?,
            0x60 => {
                let at = register(k)?;
                let (value, writer) = *machine.memory.get(at)?;
                let is_offset = self.offsets.get(at) == Some(&true);
                machine.run.undefined |= writer == Writer::Nobody || is_offset && writer != Writer::Offset;
                value
            }
            0x80 => frame.wire_len,
            _ => (octets(k)? & 0x0f) << 2,
        };
        if code & 0x07 == 0 {
            machine.a = value
        } else {
            machine.x = value
        }
        Some(())
    }
}

fn register(k: u32) -> Option<usize> {
    usize::try_from(k).ok()
}

fn arithmetic(operation: u16, left: u32, right: u32) -> Option<u32> {
    Some(match operation {
        0x00 => left.wrapping_add(right),
        0x10 => left.wrapping_sub(right),
        0x20 => left.wrapping_mul(right),
        0x30 => left.checked_div(right)?,
        0x40 => left | right,
        0x50 => left & right,
        0x60 => left.checked_shl(right).unwrap_or(0),
        0x70 => left.checked_shr(right).unwrap_or(0),
        0x80 => left.wrapping_neg(),
        0x90 => left.checked_rem(right)?,
        _ => left ^ right,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_as_tcpdump_prints_it_runs() {
        // `tcpdump -O -ddd 'ip[9] = 6'` and less of it.
        let program = read("4\n48 0 0 23\n21 0 1 6\n6 0 0 262144\n6 0 0 0\n").unwrap();
        let mut data = vec![0; 24];
        data[23] = 6;
        let run = |data: &[u8]| program.run(&Frame::ethernet(data).unwrap());
        assert_eq!(run(&data), Run { passes: true, ..Run::default() });
        assert_eq!(run(&data[..23]), Run::default());
        assert_eq!(read("2\n48 0 0 23\n"), None);
    }
}
