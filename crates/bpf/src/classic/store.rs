//! Text kept on a device itself, as programs that never run.
//!
//! Where eBPF may not be loaded there is no map to keep a plan in. But the kernel gives back every instruction of a
//! classic filter, and filters in a chain that nothing goes to are only kept. Four octets go into each `ld`, the
//! last word of a program is `ret #0`.
//!
//! ```text
//! ld #octets of the whole text     first program only
//! ld #0x64636261                   octets a b c d; zeros behind the last
//! ...
//! ret #0
//! ```

use std::fmt;

use super::asm::{INSNS_MAX, Insn, op};

/// Why programs hold no text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotText {
    /// An instruction that no text is kept in, or none at all.
    Program,
    /// Programs are missing, or there are too many.
    Length,
}

impl fmt::Display for NotText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Program => "a program that holds no text",
            Self::Length => "the programs hold more or less text than they say",
        })
    }
}

impl std::error::Error for NotText {}

/// Octets as programs, at least one, to be kept in this order. Text of 4 GiB and more is cut.
#[must_use]
pub fn text_as_program(text: &[u8]) -> Vec<Vec<Insn>> {
    let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
    let word = |octets: &[u8]| {
        let mut word = [0; 4];
        word[..octets.len()].copy_from_slice(octets);
        u32::from_le_bytes(word)
    };
    let words: Vec<u32> = std::iter::once(length).chain(text.chunks(4).map(word)).collect();
    let load = |word: &u32| Insn::new(op::LD | op::IMM, *word);
    let end = [Insn::new(op::RET | op::K, 0)];
    words.chunks(INSNS_MAX - 1).map(|words| words.iter().map(load).chain(end).collect()).collect()
}

/// The octets that programs hold.
///
/// # Errors
/// Programs that [`text_as_program`] did not make, or not all of those of one text.
pub fn program_as_text(programs: &[Vec<Insn>]) -> Result<Vec<u8>, NotText> {
    let mut words = Vec::new();
    for program in programs {
        let (end, loads) = program.split_last().ok_or(NotText::Program)?;
        if *end != Insn::new(op::RET | op::K, 0) || loads.iter().any(|insn| insn.code != op::LD | op::IMM) {
            return Err(NotText::Program);
        }
        words.extend(loads.iter().map(|insn| insn.k));
    }
    let (length, words) = words.split_first().ok_or(NotText::Program)?;
    let length = usize::try_from(*length).map_err(|_| NotText::Length)?;
    if words.len() != length.div_ceil(4) {
        return Err(NotText::Length);
    }
    let mut text: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    text.truncate(length);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_any_length_reads_back() {
        for length in [0, 1, 3, 4, 5, 4 * (INSNS_MAX - 2), 4 * (INSNS_MAX - 2) + 1, 100_000] {
            let text: Vec<u8> = (0_u32..).map(|at| u8::try_from(at % 251).unwrap()).take(length).collect();
            let programs = text_as_program(&text);
            assert!(programs.iter().all(|program| (1..=INSNS_MAX).contains(&program.len())), "{length}");
            assert_eq!(program_as_text(&programs).as_deref(), Ok(&text[..]), "{length}");
        }
    }

    #[test]
    fn what_is_no_text_is_refused() {
        assert_eq!(program_as_text(&[]), Err(NotText::Program));
        assert_eq!(program_as_text(&[vec![]]), Err(NotText::Program));
        assert_eq!(program_as_text(&[crate::classic::code::always()]), Err(NotText::Program));
        let mut programs = text_as_program(&[7; 40_000]);
        assert!(programs.len() > 1);
        programs.pop();
        assert_eq!(program_as_text(&programs), Err(NotText::Length));
    }
}
