//! Instructions of classic BPF and an assembler for them: labels as handles, jumps forward only, long jumps where
//! the eight bits of a condition do not reach.

use std::fmt;

use super::Why;

/// One instruction, as the kernel has it (`struct sock_filter`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Insn {
    /// What it does (`BPF_*`).
    pub code: u16,
    /// Instructions to skip where a condition holds.
    pub jt: u8,
    /// Instructions to skip where it does not.
    pub jf: u8,
    /// The number in it.
    pub k: u32,
}

impl Insn {
    pub(super) const fn new(code: u16, k: u32) -> Self {
        Self { code, jt: 0, jf: 0, k }
    }
}

/// As `tc` and `tcpdump -ddd` write it.
impl fmt::Display for Insn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} {}", self.code, self.jt, self.jf, self.k)
    }
}

/// The most instructions of one program. The kernel takes 4096 (`BPF_MAXINSNS`), but it lists filters in
/// messages of at most 32 KiB, and one that it cannot list could not be read back.
pub const INSNS_MAX: usize = 3840;

/// `BPF_*` of linux/bpf_common.h and linux/filter.h.
pub(super) mod op {
    pub const LD: u16 = 0x00;
    pub const LDX: u16 = 0x01;
    pub const ST: u16 = 0x02;
    pub const STX: u16 = 0x03;
    pub const ALU: u16 = 0x04;
    pub const JMP: u16 = 0x05;
    pub const RET: u16 = 0x06;
    pub const MISC: u16 = 0x07;

    pub const W: u16 = 0x00;
    pub const H: u16 = 0x08;
    pub const B: u16 = 0x10;

    pub const IMM: u16 = 0x00;
    pub const ABS: u16 = 0x20;
    pub const IND: u16 = 0x40;
    pub const MEM: u16 = 0x60;
    pub const LEN: u16 = 0x80;
    pub const MSH: u16 = 0xa0;

    pub const ADD: u16 = 0x00;
    pub const SUB: u16 = 0x10;
    pub const MUL: u16 = 0x20;
    pub const DIV: u16 = 0x30;
    pub const OR: u16 = 0x40;
    pub const AND: u16 = 0x50;
    pub const LSH: u16 = 0x60;
    pub const RSH: u16 = 0x70;
    pub const NEG: u16 = 0x80;
    pub const MOD: u16 = 0x90;
    pub const XOR: u16 = 0xa0;

    pub const JA: u16 = 0x00;
    pub const JEQ: u16 = 0x10;
    pub const JGT: u16 = 0x20;
    pub const JGE: u16 = 0x30;
    pub const JSET: u16 = 0x40;

    pub const K: u16 = 0x00;
    pub const X: u16 = 0x08;
    pub const A: u16 = 0x10;

    pub const TAX: u16 = 0x00;
    pub const TXA: u16 = 0x80;

    /// Loads from here on are of what the kernel keeps beside the frame (`SKF_AD_OFF`).
    pub const BESIDE: u32 = 0xffff_f000;
    /// `SKF_AD_VLAN_TAG`.
    pub const VLAN_TAG: u32 = BESIDE + 44;
    /// `SKF_AD_VLAN_TAG_PRESENT`.
    pub const VLAN_PRESENT: u32 = BESIDE + 48;
    /// `SKF_AD_VLAN_TPID`.
    pub const VLAN_PROTOCOL: u32 = BESIDE + 60;
}

/// A place in a program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Label(usize);

/// Where a condition leads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum To {
    Next,
    Label(Label),
}

impl From<Label> for To {
    fn from(label: Label) -> Self {
        Self::Label(label)
    }
}

#[derive(Clone, Copy, Debug)]
enum Item {
    Plain(Insn),
    Jump(Label),
    Condition { code: u16, k: u32, yes: To, no: To },
    Place(Label),
}

/// Instructions in the making.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    items: Vec<Item>,
    labels: usize,
}

impl Assembler {
    pub(super) fn label(&mut self) -> Label {
        self.labels += 1;
        Label(self.labels - 1)
    }

    /// The next instruction is where this label stands. Jumps to it are behind us: there are none back.
    pub(super) fn place(&mut self, label: Label) {
        self.items.push(Item::Place(label));
    }

    pub(super) fn put(&mut self, code: u16, k: u32) {
        self.items.push(Item::Plain(Insn::new(code, k)));
    }

    pub(super) fn jump(&mut self, to: Label) {
        self.items.push(Item::Jump(to));
    }

    /// Compares A with `k`.
    pub(super) fn when(&mut self, condition: u16, k: u32, yes: impl Into<To>, no: impl Into<To>) {
        let code = op::JMP | condition | op::K;
        self.items.push(Item::Condition { code, k, yes: yes.into(), no: no.into() });
    }

    /// Compares A with X.
    pub(super) fn when_x(&mut self, condition: u16, yes: impl Into<To>, no: impl Into<To>) {
        let code = op::JMP | condition | op::X;
        self.items.push(Item::Condition { code, k: 0, yes: yes.into(), no: no.into() });
    }

    /// A = this.
    pub(super) fn load_constant(&mut self, value: u32) {
        self.put(op::LD | op::IMM, value);
    }

    /// A = scratch word.
    pub(super) fn load_word(&mut self, word: u32) {
        self.put(op::LD | op::MEM, word);
    }

    /// X = scratch word.
    pub(super) fn load_x(&mut self, word: u32) {
        self.put(op::LDX | op::MEM, word);
    }

    /// Scratch word = A.
    pub(super) fn store(&mut self, word: u32) {
        self.put(op::ST, word);
    }

    /// A = A op constant.
    pub(super) fn alu(&mut self, operation: u16, k: u32) {
        self.put(op::ALU | operation | op::K, k);
    }

    /// A = A op X.
    pub(super) fn alu_x(&mut self, operation: u16) {
        self.put(op::ALU | operation | op::X, 0);
    }

    /// Ends with this verdict.
    pub(super) fn end(&mut self, verdict: u32) {
        self.put(op::RET | op::K, verdict);
    }

    /// The instructions. Unreachable ones go, because the listing would show them; words that are not stored on
    /// every way to where they are loaded begin as 0, because the kernel refuses them otherwise.
    ///
    /// # Errors
    /// More than [`INSNS_MAX`] of them.
    pub(super) fn finish(mut self) -> Result<Vec<Insn>, Why> {
        let insns = self.assemble()?;
        let unset = unset(&insns);
        if unset == 0 {
            return Ok(insns);
        }
        let words = (0..16).filter(|word| unset >> word & 1 == 1);
        let stores = words.map(|word| Item::Plain(Insn::new(op::ST, word)));
        let clear: Vec<Item> =
            std::iter::once(Item::Plain(Insn::new(op::LD | op::IMM, 0))).chain(stores).collect();
        self.items.splice(0..0, clear);
        self.assemble()
    }

    fn assemble(&self) -> Result<Vec<Insn>, Why> {
        let items = reached(&self.items, self.labels);
        let mut long = vec![(false, false); items.len()];
        loop {
            let (starts, labels, length) = layout(&items, &long, self.labels);
            if length > INSNS_MAX {
                return Err(Why::TooLong { instructions: length });
            }
            let mut grown = false;
            for (at, item) in items.iter().enumerate() {
                let Item::Condition { yes, no, .. } = item else { continue };
                let behind = starts[at] + 1;
                let far = |to: &To| match to {
                    To::Next => false,
                    To::Label(label) => labels[label.0] - behind > 255,
                };
                let needed = (long[at].0 || far(yes), long[at].1 || far(no));
                grown |= needed != long[at];
                long[at] = needed;
            }
            if !grown {
                return Ok(encode(&items, &long, &starts, &labels));
            }
        }
    }
}

/// Scratch words that are loaded where not every way has stored them, as the kernel finds them
/// (`check_load_and_stores`, net/core/filter.c): a bit each.
fn unset(insns: &[Insn]) -> u16 {
    let mut stored = vec![u16::MAX; insns.len()];
    let (mut now, mut unset) = (0_u16, 0_u16);
    for (at, insn) in insns.iter().enumerate() {
        stored[at] &= now;
        now = stored[at];
        let mut lead = |behind: u32| {
            let to = usize::try_from(behind).ok().and_then(|behind| stored.get_mut(at + 1 + behind));
            if let Some(to) = to {
                *to &= now;
            }
        };
        match insn.code & 0x07 {
            op::ST | op::STX => now |= 1 << (insn.k & 15),
            op::LD | op::LDX if insn.code & 0xe0 == op::MEM => unset |= !now & (1 << (insn.k & 15)),
            op::JMP if insn.code == op::JMP | op::JA => {
                lead(insn.k);
                now = u16::MAX;
            }
            op::JMP => {
                lead(insn.jt.into());
                lead(insn.jf.into());
                now = u16::MAX;
            }
            _ => {}
        }
    }
    unset
}

/// What control can come to.
fn reached(items: &[Item], labels: usize) -> Vec<Item> {
    let mut wanted = vec![false; labels];
    let mut live = true;
    let mut kept = Vec::with_capacity(items.len());
    for item in items {
        if let Item::Place(label) = item {
            live |= wanted[label.0];
        }
        if !live {
            continue;
        }
        kept.push(*item);
        match item {
            Item::Plain(insn) => live = insn.code & 0x07 != op::RET,
            Item::Jump(to) => {
                wanted[to.0] = true;
                live = false;
            }
            Item::Condition { yes, no, .. } => {
                for to in [yes, no] {
                    if let To::Label(label) = to {
                        wanted[label.0] = true;
                    }
                }
                live = matches!(yes, To::Next) || matches!(no, To::Next);
            }
            Item::Place(_) => {}
        }
    }
    // A jump to what is next anyway does nothing.
    let to_next = |at: usize, to: &Label| {
        let places = kept[at + 1..].iter().map_while(|item| match item {
            Item::Place(label) => Some(label),
            _ => None,
        });
        places.into_iter().any(|label| label == to)
    };
    let useful = |(at, item): &(usize, &Item)| !matches!(item, Item::Jump(to) if to_next(*at, to));
    kept.iter().enumerate().filter(useful).map(|(_, item)| *item).collect()
}

/// Where each item begins, where each label stands, and how long all is.
fn layout(items: &[Item], long: &[(bool, bool)], labels: usize) -> (Vec<usize>, Vec<usize>, usize) {
    let mut starts = Vec::with_capacity(items.len());
    let mut places = vec![0; labels];
    let mut at = 0;
    for (item, (yes, no)) in items.iter().zip(long) {
        starts.push(at);
        at += match item {
            Item::Plain(_) | Item::Jump(_) => 1,
            Item::Condition { .. } => 1 + usize::from(*yes) + usize::from(*no),
            Item::Place(label) => {
                places[label.0] = at;
                0
            }
        };
    }
    (starts, places, at)
}

fn encode(items: &[Item], long: &[(bool, bool)], starts: &[usize], labels: &[usize]) -> Vec<Insn> {
    let distance = |to: usize, behind: usize| u32::try_from(to - behind).expect("programs are short");
    let mut insns = Vec::new();
    for ((item, (long_yes, long_no)), start) in items.iter().zip(long).zip(starts) {
        match item {
            Item::Plain(insn) => insns.push(*insn),
            Item::Jump(to) => insns.push(Insn::new(op::JMP | op::JA, distance(labels[to.0], start + 1))),
            Item::Condition { code, k, yes, no } => {
                // Long jumps stand behind the condition, that of `yes` first; `next` is behind both.
                let hops = u8::from(*long_yes) + u8::from(*long_no);
                let near = |to: &To| match to {
                    To::Next => hops,
                    To::Label(label) => {
                        u8::try_from(labels[label.0] - start - 1).expect("a longer way has a long jump")
                    }
                };
                let jt = if *long_yes { 0 } else { near(yes) };
                let jf = if *long_no { u8::from(*long_yes) } else { near(no) };
                insns.push(Insn { code: *code, jt, jf, k: *k });
                for (far, to) in [(*long_yes, yes), (*long_no, no)] {
                    if let (true, To::Label(label)) = (far, to) {
                        let behind = insns.len() + 1;
                        insns.push(Insn::new(op::JMP | op::JA, distance(labels[label.0], behind)));
                    }
                }
            }
            Item::Place(_) => {}
        }
    }
    insns
}
