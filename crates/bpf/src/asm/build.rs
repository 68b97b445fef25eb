//! The assembler: instructions in, a finished [`Program`] out.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use super::{
    Alu, Cond, Helper, Insn, Kind, Label, Line, MapRef, Origin, Program, Reg, Size, Src, Symbol, Width,
    bounds,
};

/// Why instructions make no program. Every case is a defect of the code that assembled them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AsmError {
    /// A label is jumped to but stands nowhere.
    Unplaced {
        /// The program.
        program: String,
        /// The line that jumps.
        line: usize,
    },
    /// A label stands before the jump to it (or at it).
    Backward {
        /// The program.
        program: String,
        /// The line that jumps.
        line: usize,
    },
    /// The name is not one that the kernel takes.
    Name {
        /// The program.
        program: String,
    },
    /// A counter lies beyond what an offset reaches.
    Slot {
        /// The program.
        program: String,
        /// The line that counts.
        line: usize,
    },
}

impl fmt::Display for AsmError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unplaced { program, line } => {
                write!(f, "{program}: line {line} jumps to a label that was never placed")
            }
            Self::Backward { program, line } => write!(f, "{program}: line {line} jumps backward"),
            Self::Name { program } => {
                write!(f, "program name `{program}`: 1 to 15 of letters, digits, `_` and `.`")
            }
            Self::Slot { program, line } => {
                write!(f, "{program}: line {line} counts in a slot that no offset reaches")
            }
        }
    }
}

impl std::error::Error for AsmError {}

/// Collects instructions. Methods are named as the instructions read.
#[derive(Debug)]
pub struct Assembler {
    name: String,
    kind: Kind,
    lines: Vec<Line>,
    origins: Vec<Origin>,
    targets: Vec<usize>,
    /// For each label whether something jumps to it.
    used: Vec<bool>,
    note: Option<Cow<'static, str>>,
}

/// A program that does nothing but end with this verdict.
///
/// # Errors
///
/// [`AsmError::Name`].
pub fn constant(name: &str, kind: Kind, verdict: i32) -> Result<Program, AsmError> {
    let mut asm = Assembler::new(name, kind);
    asm.mov(Reg::R0, verdict);
    asm.exit();
    asm.finish()
}

impl Assembler {
    /// An empty program.
    pub fn new(name: impl Into<String>, kind: Kind) -> Self {
        Self {
            name: name.into(),
            kind,
            lines: Vec::new(),
            origins: vec![Origin::Text("every frame".into())],
            targets: Vec::new(),
            used: Vec::new(),
            note: None,
        }
    }

    /// From here on instructions come from this place.
    pub fn origin(&mut self, origin: Origin) {
        if self.origins.last() != Some(&origin) {
            self.origins.push(origin);
        }
    }

    /// From here on instructions are ours, in words.
    pub fn origin_text(&mut self, text: impl Into<Cow<'static, str>>) {
        self.origin(Origin::Text(text.into()));
    }

    /// A remark on the next instruction.
    pub fn note(&mut self, note: impl Into<Cow<'static, str>>) {
        self.note = Some(note.into());
    }

    /// A new label, to be placed later.
    pub fn label(&mut self) -> Label {
        self.targets.push(usize::MAX);
        self.used.push(false);
        // A program of 2^32 labels does not fit in memory.
        Label(u32::try_from(self.targets.len() - 1).unwrap_or(u32::MAX))
    }

    /// The label stands before the next instruction.
    pub fn place(&mut self, label: Label) {
        if let Some(target) = self.targets.get_mut(label.index()) {
            *target = self.lines.len();
        }
    }

    /// Whether anything jumps to a label so far. Code that nothing leads to is refused by the verifier, so
    /// whoever may have made none asks before placing it.
    pub fn is_used(&self, label: Label) -> bool {
        self.used.get(label.index()).copied().unwrap_or(false)
    }

    /// Places the label if anything jumps to it, and says whether.
    pub fn place_used(&mut self, label: Label) -> bool {
        let used = self.is_used(label);
        if used {
            self.place(label);
        }
        used
    }

    /// Appends an instruction.
    pub fn push(&mut self, insn: Insn) {
        if let Some(used) = insn.jumps_to().and_then(|label| self.used.get_mut(label.index())) {
            *used = true;
        }
        let origin = self.origins.len() - 1;
        self.lines.push(Line { insn, origin, note: self.note.take() });
    }

    /// How many instructions there are, pseudo-instructions counted as one.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// `dst op= src`, 64 bits.
    pub fn alu(&mut self, op: Alu, dst: Reg, src: impl Into<Src>) {
        self.push(Insn::Alu { width: Width::W64, op, dst, src: src.into() });
    }

    /// `dst op= src`, 32 bits.
    pub fn alu32(&mut self, op: Alu, dst: Reg, src: impl Into<Src>) {
        self.push(Insn::Alu { width: Width::W32, op, dst, src: src.into() });
    }

    /// `dst = src`, 64 bits.
    pub fn mov(&mut self, dst: Reg, src: impl Into<Src>) {
        self.alu(Alu::Mov, dst, src);
    }

    /// `dst = be16(dst)`, and so on by size.
    pub fn to_big_endian(&mut self, dst: Reg, size: Size) {
        self.push(Insn::ToBigEndian { dst, size });
    }

    /// `dst = *(size *)(src + off)`.
    pub fn load(&mut self, size: Size, dst: Reg, src: Reg, off: i16) {
        self.push(Insn::Load { size, dst, src, off });
    }

    /// `*(size *)(dst + off) = src`.
    pub fn store(&mut self, size: Size, dst: Reg, off: i16, src: impl Into<Src>) {
        self.push(Insn::Store { size, dst, off, src: src.into() });
    }

    /// `lock *(size *)(dst + off) += src`.
    pub fn atomic_add(&mut self, size: Size, dst: Reg, off: i16, src: Reg) {
        self.push(Insn::AtomicAdd { size, dst, off, src });
    }

    /// `dst = value`, 64 bits.
    pub fn load_imm64(&mut self, dst: Reg, value: u64) {
        self.push(Insn::LoadImm64 { dst, value });
    }

    /// `dst = map`.
    pub fn load_map(&mut self, dst: Reg, map: MapRef) {
        self.push(Insn::LoadMap { dst, map });
    }

    /// `dst = number of the interface`; a map's symbol loads the map.
    pub fn load_symbol(&mut self, dst: Reg, symbol: Symbol) {
        match symbol {
            Symbol::Map(map) => self.load_map(dst, map),
            Symbol::Interface(_) | Symbol::Hop(_) => self.push(Insn::LoadInterface { dst, symbol }),
        }
    }

    /// `goto to`.
    pub fn jump(&mut self, to: Label) {
        self.push(Insn::Jump { to });
    }

    /// `if dst cond src goto to`, 64 bits.
    pub fn jump_if(&mut self, dst: Reg, cond: Cond, src: impl Into<Src>, to: Label) {
        self.push(Insn::JumpIf { width: Width::W64, cond, dst, src: src.into(), to });
    }

    /// `if dst cond src goto to`, 32 bits.
    pub fn jump_if32(&mut self, dst: Reg, cond: Cond, src: impl Into<Src>, to: Label) {
        self.push(Insn::JumpIf { width: Width::W32, cond, dst, src: src.into(), to });
    }

    /// `call helper`.
    pub fn call(&mut self, helper: Helper) {
        self.push(Insn::Call(helper));
    }

    /// `exit`.
    pub fn exit(&mut self) {
        self.push(Insn::Exit);
    }

    /// Pseudo: goes to `fail` unless `need` octets lie between `data` and `end`.
    pub fn bounds(&mut self, data: Reg, end: Reg, scratch: Reg, need: u16, fail: Label) {
        self.push(Insn::Bounds { data, end, scratch, need, fail });
    }

    /// Pseudo: `block[slot] += by`.
    pub fn count(&mut self, block: Reg, slot: u16, by: impl Into<Src>, scratch: Reg) {
        self.push(Insn::Count { block, slot, by: by.into(), scratch });
    }

    /// Merges bounds, expands pseudo-instructions, drops jumps to the next line and checks labels.
    ///
    /// # Errors
    ///
    /// See [`AsmError`].
    pub fn finish(mut self) -> Result<Program, AsmError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
        if self.name.is_empty() || self.name.len() > 15 || !self.name.chars().all(plain) {
            return Err(AsmError::Name { program: self.name });
        }
        for (at, line) in self.lines.iter().enumerate() {
            let Some(label) = line.insn.jumps_to() else { continue };
            let target = self.targets.get(label.index()).copied().unwrap_or(usize::MAX);
            if target == usize::MAX {
                return Err(AsmError::Unplaced { program: self.name, line: at });
            }
            if target <= at {
                return Err(AsmError::Backward { program: self.name, line: at });
            }
        }
        bounds::merge(&mut self.lines, &self.targets);
        self.turn_round();
        self.expand()
    }

    /// `if c goto near; goto far; near:` becomes `if not c goto far`.
    fn turn_round(&mut self) {
        let entered: BTreeSet<usize> = self.targets.iter().copied().collect();
        for at in 1..self.lines.len() {
            let Insn::Jump { to: far } = self.lines[at].insn else { continue };
            if entered.contains(&at) {
                continue;
            }
            if let Insn::JumpIf { cond, to, .. } = &mut self.lines[at - 1].insn
                && self.targets.get(to.index()) == Some(&(at + 1))
                && let Some(inverse) = cond.inverse()
            {
                (*cond, *to) = (inverse, far);
                // A jump to the next line, which is dropped.
                self.targets.push(at + 1);
                let next = Label(u32::try_from(self.targets.len() - 1).unwrap_or(u32::MAX));
                self.lines[at].insn = Insn::Jump { to: next };
            }
        }
    }

    fn expand(self) -> Result<Program, AsmError> {
        let mut lines = Vec::with_capacity(self.lines.len() * 2);
        let mut moved = Vec::with_capacity(self.lines.len() + 1);
        for (at, line) in self.lines.iter().enumerate() {
            moved.push(lines.len());
            let mut add = |insn| {
                let note = if moved.last() == Some(&lines.len()) { line.note.clone() } else { None };
                lines.push(Line { insn, origin: line.origin, note });
            };
            match line.insn {
                Insn::Bounds { need: 0, .. } => {}
                Insn::Bounds { data, end, scratch, need, fail } => {
                    add(Insn::Alu { width: Width::W64, op: Alu::Mov, dst: scratch, src: data.into() });
                    let src = Src::Imm(i32::from(need));
                    add(Insn::Alu { width: Width::W64, op: Alu::Add, dst: scratch, src });
                    let (width, cond) = (Width::W64, Cond::Gt);
                    add(Insn::JumpIf { width, cond, dst: scratch, src: end.into(), to: fail });
                }
                Insn::Count { block, slot, by, scratch } => {
                    let off = u32::from(slot) * 8;
                    let Ok(off) = i16::try_from(off) else {
                        return Err(AsmError::Slot { program: self.name, line: at });
                    };
                    add(Insn::Load { size: Size::Double, dst: scratch, src: block, off });
                    add(Insn::Alu { width: Width::W64, op: Alu::Add, dst: scratch, src: by });
                    add(Insn::Store { size: Size::Double, dst: block, off, src: scratch.into() });
                }
                // A jump to where the program goes anyway says nothing.
                Insn::Jump { to } if self.targets.get(to.index()) == Some(&(at + 1)) => {}
                insn => add(insn),
            }
        }
        moved.push(lines.len());
        let targets = self.targets.iter().map(|t| moved.get(*t).copied().unwrap_or(usize::MAX)).collect();
        Ok(Program { name: self.name, kind: self.kind, lines, origins: self.origins, targets })
    }
}
