//! Runs classic BPF as Linux does (net/core/filter.c): the instructions in use, loads of what the kernel keeps
//! beside the frame, and what the kernel refuses to load.

use wire::Tag;

use super::asm::{Insn, op};

/// What the kernel keeps beside the data of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Beside {
    /// The outer VLAN tag, where it is not in the data.
    pub tag: Option<Tag>,
}

/// What the kernel would not have loaded (`bpf_check_classic`), or what is not understood here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    /// Index of the instruction.
    pub at: usize,
    /// What is wrong with it.
    pub what: &'static str,
}

/// Checks a program as the kernel does before it takes it.
fn check(program: &[Insn]) -> Result<(), Fault> {
    let fault = |at, what| Err(Fault { at, what });
    if program.is_empty() || program.len() > 4096 {
        return fault(0, "not 1 to 4096 instructions");
    }
    for (at, insn) in program.iter().enumerate() {
        let left = program.len() - at - 1;
        let inside = |distance: u32| usize::try_from(distance).is_ok_and(|distance| distance < left);
        match insn.code & 0x07 {
            op::JMP => {
                let stays = match insn.code & 0xf0 {
                    op::JA => inside(insn.k),
                    _ => inside(insn.jt.into()) && inside(insn.jf.into()),
                };
                if !stays {
                    return fault(at, "jumps out of the program");
                }
            }
            op::ST | op::STX if insn.k >= 16 => return fault(at, "no such scratch word"),
            op::LD | op::LDX if insn.code & 0xe0 == op::MEM && insn.k >= 16 => {
                return fault(at, "no such scratch word");
            }
            op::ALU if insn.code & op::X == 0 => match insn.code & 0xf0 {
                op::DIV | op::MOD if insn.k == 0 => return fault(at, "divides by 0"),
                op::LSH | op::RSH if insn.k >= 32 => return fault(at, "shifts by 32 or more"),
                _ => {}
            },
            _ => {}
        }
    }
    match program.last() {
        Some(last) if last.code & 0x07 == op::RET => Ok(()),
        _ => fault(program.len() - 1, "does not end"),
    }
}

/// Runs a program over the data of a frame, and gives what it returns. A load behind the end of the data and a
/// division by 0 give 0.
///
/// # Errors
/// A program that the kernel would not take, or one with an instruction that is not known here.
pub fn run(program: &[Insn], data: &[u8], beside: Beside) -> Result<u32, Fault> {
    check(program)?;
    let len = u32::try_from(data.len()).unwrap_or(u32::MAX);
    let (mut a, mut x, mut words) = (0_u32, 0_u32, [0_u32; 16]);
    let mut at = 0;
    while let Some(insn) = program.get(at) {
        let unknown = Err(Fault { at, what: "an instruction that is not known" });
        let source = if insn.code & op::X == 0 { insn.k } else { x };
        let word = usize::try_from(insn.k).unwrap_or(usize::MAX) % 16;
        at += 1;
        match insn.code & 0x07 {
            op::LD => {
                let loaded = match insn.code & 0xe0 {
                    op::IMM => Some(insn.k),
                    op::MEM => Some(words[word]),
                    op::LEN => Some(len),
                    op::ABS if insn.k >= op::BESIDE => ancillary(insn.k, beside),
                    op::ABS => octets(data, insn.code & 0x18, insn.k),
                    op::IND => octets(data, insn.code & 0x18, x.wrapping_add(insn.k)),
                    _ => return unknown,
                };
                match loaded {
                    Some(value) => a = value,
                    None => return Ok(0),
                }
            }
            op::LDX => match insn.code & 0xe0 {
                op::IMM => x = insn.k,
                op::MEM => x = words[word],
                op::LEN => x = len,
                op::MSH => match octets(data, op::B, insn.k) {
                    Some(octet) => x = (octet & 0x0f) << 2,
                    None => return Ok(0),
                },
                _ => return unknown,
            },
            op::ST => words[word] = a,
            op::STX => words[word] = x,
            op::ALU => match compute(insn.code & 0xf0, a, source) {
                Some(Some(value)) => a = value,
                Some(None) => return Ok(0),
                None => return unknown,
            },
            op::JMP => {
                let holds = match insn.code & 0xf0 {
                    op::JA => {
                        at += usize::try_from(insn.k).unwrap_or(usize::MAX);
                        continue;
                    }
                    op::JEQ => a == source,
                    op::JGT => a > source,
                    op::JGE => a >= source,
                    op::JSET => a & source != 0,
                    _ => return unknown,
                };
                at += usize::from(if holds { insn.jt } else { insn.jf });
            }
            op::RET => return Ok(if insn.code & op::A == 0 { insn.k } else { a }),
            _ => match insn.code & 0xf8 {
                op::TAX => x = a,
                op::TXA => a = x,
                _ => return unknown,
            },
        }
    }
    Err(Fault { at, what: "does not end" })
}

/// The result; `None` inside for a division by 0, outside for an operation that is not known.
fn compute(operation: u16, a: u32, source: u32) -> Option<Option<u32>> {
    Some(match operation {
        op::ADD => Some(a.wrapping_add(source)),
        op::SUB => Some(a.wrapping_sub(source)),
        op::MUL => Some(a.wrapping_mul(source)),
        op::DIV => a.checked_div(source),
        op::MOD => a.checked_rem(source),
        op::OR => Some(a | source),
        op::AND => Some(a & source),
        op::XOR => Some(a ^ source),
        // By 32 and more the kernel's answer is the processor's.
        op::LSH => Some(a.wrapping_shl(source)),
        op::RSH => Some(a.wrapping_shr(source)),
        op::NEG => Some(a.wrapping_neg()),
        _ => return None,
    })
}

fn octets(data: &[u8], size: u16, at: u32) -> Option<u32> {
    let rest = data.get(usize::try_from(at).ok()?..)?;
    Some(match size {
        op::W => u32::from_be_bytes(*rest.first_chunk()?),
        op::H => u32::from(u16::from_be_bytes(*rest.first_chunk()?)),
        _ => u32::from(*rest.first()?),
    })
}

fn ancillary(k: u32, beside: Beside) -> Option<u32> {
    match k {
        op::VLAN_PRESENT => Some(u32::from(beside.tag.is_some())),
        op::VLAN_TAG => Some(beside.tag.map_or(0, |tag| tag.tci.into())),
        op::VLAN_PROTOCOL => Some(beside.tag.map_or(0, |tag| tag.protocol.into())),
        _ => None,
    }
}
