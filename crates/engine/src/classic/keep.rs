//! Where the saved text is kept: in programs that never run, in a chain that nothing leads to, on every interface
//! of the plan. It lives as long as any of them, and needs no file.
//!
//! ```text
//! chain 7477, preference 1 or 2, handle n: "tapwright-classic GENERATION NUMBER TOTAL CLSACT\n" piece of the text
//! ```
//! A rewrite fills the preference that is not in force, on every interface, and takes the other one away then. Of
//! all texts that are whole the one of the highest generation is in force, so that a process killed anywhere
//! leaves the older or the newer text.

use std::collections::BTreeMap;

use bpf::classic::{program_as_text, text_as_program};
use sys::{ClassicFilter, ClassicInsn, ClassicSpec, H_INGRESS, Matcher, Result, Sys, SysError};

use super::design;
use crate::machine::gone_is_fine;
use crate::machine::saved::Saved;

/// The chain.
const CHAIN: u32 = 0x7477;
/// Begins every piece; the number is the version of the layout.
const MAGIC: &str = "tapwright-classic-1";
/// Octets of text in one program: `text_as_program` makes one of it, with its head.
const PIECE: usize = 12 * 1024;
/// The longest text that is kept.
const TEXT_MAX: usize = 1024 * 1024;

/// One piece of a text, as it was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Piece {
    /// The interface that keeps it.
    pub ifindex: u32,
    /// Preference in the chain.
    priority: u16,
    handle: u32,
    generation: u64,
    number: usize,
    total: usize,
    /// Whether `up` made the clsact that it is in.
    pub clsact: bool,
    text: Vec<u8>,
}

impl Piece {
    /// Reads a filter of ours back; `None` for any other.
    pub fn read(ifindex: u32, found: &ClassicFilter) -> Option<Self> {
        let Matcher::Program { insns, .. } = &found.matcher else { return None };
        if found.chain != CHAIN {
            return None;
        }
        let insn = |it: &ClassicInsn| bpf::classic::Insn { code: it.code, jt: it.jt, jf: it.jf, k: it.k };
        let text = program_as_text(&[insns.iter().map(insn).collect()]).ok()?;
        let end = text.iter().position(|octet| *octet == b'\n')?;
        let (head, rest) = (std::str::from_utf8(&text[..end]).ok()?, &text[end + 1..]);
        let mut words = head.split(' ');
        if words.next() != Some(MAGIC) {
            return None;
        }
        let mut number = || words.next()?.parse::<u64>().ok();
        let (generation, at, total, clsact) = (number()?, number()?, number()?, number()?);
        Some(Self {
            ifindex,
            priority: found.priority,
            handle: found.handle,
            generation,
            number: usize::try_from(at).ok()?,
            total: usize::try_from(total).ok().filter(|total| *total <= TEXT_MAX / PIECE + 1)?,
            clsact: clsact == 1,
            text: rest.to_vec(),
        })
    }

    /// Takes it away.
    ///
    /// # Errors
    /// A system call that failed.
    pub fn delete(&self, sys: &mut impl Sys) -> Result<()> {
        gone_is_fine(sys.delete_classic(self.ifindex, H_INGRESS, CHAIN, self.priority, self.handle))
    }
}

/// The text in force, and every interface that keeps it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Keep {
    /// Every piece that is there, of whatever generation.
    pub pieces: Vec<Piece>,
    generation: u64,
    priority: u16,
}

/// The text in force among pieces: of the highest generation that is whole on some interface.
pub fn in_force(pieces: Vec<Piece>) -> Option<(Vec<u8>, Keep)> {
    let mut texts: BTreeMap<(u64, u32), Vec<&Piece>> = BTreeMap::new();
    for piece in &pieces {
        texts.entry((piece.generation, piece.ifindex)).or_default().push(piece);
    }
    let whole = |found: &Vec<&Piece>| {
        let total = found.first().map_or(0, |piece| piece.total);
        total > 0 && (0..total).all(|number| found.iter().any(|piece| piece.number == number))
    };
    let ((generation, _), mut found) = texts.into_iter().rev().find(|(_, found)| whole(found))?;
    found.sort_by_key(|piece| piece.number);
    let text = found.iter().flat_map(|piece| piece.text.iter().copied()).collect();
    let priority = found.first().map_or(1, |piece| piece.priority);
    Some((text, Keep { pieces, generation, priority }))
}

/// An interface that keeps the text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Home {
    /// Its index.
    pub ifindex: u32,
    /// Whether its clsact is of our making, and so goes when we go.
    pub clsact: bool,
    /// Whether its clsact is not there yet.
    pub make_clsact: bool,
}

impl Keep {
    /// Nothing yet.
    pub const fn new() -> Self {
        Self { pieces: Vec::new(), generation: 0, priority: 2 }
    }

    /// Writes a text in the place of the one in force, in a way that can be interrupted anywhere.
    ///
    /// # Errors
    /// A system call that failed; `E2BIG` for a text that is too long to keep.
    pub fn write(&mut self, sys: &mut impl Sys, homes: &[Home], saved: &Saved) -> Result<()> {
        let text = saved.to_text();
        if text.len() > TEXT_MAX {
            let most =
                format!("the plan's text takes {} octets, and at most {TEXT_MAX} are kept", text.len());
            return Err(SysError::new("RTM_NEWTFILTER", "saved state", 7).with_detail(most));
        }
        let (generation, priority) = (self.generation + 1, if self.priority == 1 { 2 } else { 1 });
        // What a killed process left half written.
        self.delete(sys, |piece| piece.priority == priority)?;
        for home in homes {
            let pieces: Vec<&[u8]> = text.chunks(PIECE).collect();
            for (number, piece) in pieces.iter().enumerate() {
                let clsact = u8::from(home.clsact);
                let mut kept =
                    format!("{MAGIC} {generation} {number} {} {clsact}\n", pieces.len()).into_bytes();
                kept.extend_from_slice(piece);
                let insns = text_as_program(&kept).concat();
                let handle = design::handle(number);
                let spec = ClassicSpec {
                    chain: CHAIN,
                    priority,
                    handle,
                    replace: false,
                    with_clsact: home.make_clsact && number == 0,
                    matcher: Matcher::Program {
                        insns: insns.iter().map(design::insn).collect(),
                        direct: false,
                    },
                    class: 0,
                    acts: Vec::new(),
                };
                sys.add_classic(home.ifindex, H_INGRESS, &spec)?;
                self.pieces.push(Piece {
                    ifindex: home.ifindex,
                    priority,
                    handle,
                    generation,
                    number,
                    total: pieces.len(),
                    clsact: home.clsact,
                    text: Vec::new(),
                });
            }
        }
        self.delete(sys, |piece| piece.priority != priority)?;
        (self.generation, self.priority) = (generation, priority);
        Ok(())
    }

    /// Takes away the pieces that are chosen.
    fn delete(&mut self, sys: &mut impl Sys, chosen: impl Fn(&Piece) -> bool) -> Result<()> {
        for piece in self.pieces.iter().filter(|piece| chosen(piece)) {
            piece.delete(sys)?;
        }
        self.pieces.retain(|piece| !chosen(piece));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(ifindex: u32, generation: u64, number: usize, total: usize, text: &str) -> Piece {
        let priority = if generation % 2 == 1 { 1 } else { 2 };
        let (handle, clsact, text) = (design::handle(number), true, text.as_bytes().to_vec());
        Piece { ifindex, priority, handle, generation, number, total, clsact, text }
    }

    #[test]
    fn the_newest_whole_text_is_in_force() {
        let old = [piece(1, 3, 0, 2, "old "), piece(1, 3, 1, 2, "text"), piece(2, 3, 0, 2, "old ")];
        let mut pieces = old.to_vec();
        pieces.push(piece(1, 4, 0, 2, "new "));
        let (text, keep) = in_force(pieces.clone()).unwrap();
        assert_eq!((text.as_slice(), keep.generation, keep.priority), (&b"old text"[..], 3, 1));
        pieces.push(piece(1, 4, 1, 2, "words"));
        let (text, keep) = in_force(pieces).unwrap();
        assert_eq!((text.as_slice(), keep.generation, keep.priority), (&b"new words"[..], 4, 2));
        assert!(in_force(vec![piece(2, 3, 0, 2, "old ")]).is_none());
    }
}
