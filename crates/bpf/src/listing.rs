//! Programs as text: each block under the config line that it came from, names instead of numbers.

use std::borrow::Cow;
use std::fmt::{self, Write};

use plan::plan::{Hook, HookId, Plan};
use rules::form::{CopyIndex, RuleId};

use crate::asm::{Insn, Kind, Origin, Program, Reg, Size, Src, Symbol, Width};
use crate::emit::Emitted;
use crate::layout::{CopyError, Counter};

/// Writes one program.
///
/// # Errors
///
/// Those of the writer.
pub fn program(out: &mut impl Write, plan: &Plan, program: &Program) -> fmt::Result {
    let kind = match program.kind {
        Kind::Tc => "tc",
        Kind::Xdp => "xdp",
        Kind::XdpDevmap => "xdp in a devmap entry",
    };
    writeln!(out, "{}: {kind}, {} instructions", program.name, program.lines.len())?;
    let mut under = usize::MAX;
    for (at, line) in program.lines.iter().enumerate() {
        if line.origin != under {
            under = line.origin;
            if let Some(origin) = program.origins.get(under) {
                writeln!(out, "  {}", origin_text(plan, origin))?;
            }
        }
        let text = insn(plan, program, &line.insn);
        match &line.note {
            Some(note) => writeln!(out, "    {at:>4}: {text:<42} ; {note}")?,
            None => writeln!(out, "    {at:>4}: {text}")?,
        }
    }
    Ok(())
}

/// Writes all programs of a plan, and before them what was chosen and what its devmaps hold.
///
/// # Errors
///
/// Those of the writer.
pub fn all(out: &mut impl Write, plan: &Plan, emitted: &Emitted) -> fmt::Result {
    for line in &emitted.chosen {
        writeln!(out, "{line}")?;
    }
    if !emitted.chosen.is_empty() {
        writeln!(out)?;
    }
    for outcome in &emitted.outcomes {
        write!(out, "{}:", outcome.map())?;
        for target in &outcome.targets {
            match target {
                crate::layout::Target::Port(port) => write!(out, " {}", plan.port(*port).name)?,
                crate::layout::Target::Hop(hook) => {
                    write!(out, " hop of {}", plan.source_name(plan.hook(*hook)))?;
                }
            }
        }
        writeln!(out)?;
    }
    if !emitted.outcomes.is_empty() {
        writeln!(out)?;
    }
    for (at, unit) in emitted.units.iter().enumerate() {
        if at > 0 {
            writeln!(out)?;
        }
        program(out, plan, &unit.program)?;
    }
    Ok(())
}

/// A counter in words: `matched of a by perimeter to ids`.
pub fn counter(plan: &Plan, counter: Counter) -> String {
    let source = |hook: HookId| plan.source_name(plan.hook(hook));
    let copy = |hook: HookId, index: CopyIndex| copy_name(plan, plan.hook(hook), index);
    let rule = |rule: RuleId| plan.rule(rule).label.clone();
    match counter {
        Counter::In(hook) => format!("in of {}", source(hook)),
        Counter::InBytes(hook) => format!("in of {}, bytes", source(hook)),
        Counter::Handed(hook, port) => format!("handed from {} to {}", source(hook), plan.port(port).name),
        Counter::HandedBytes(hook, port) => {
            format!("handed from {} to {}, bytes", source(hook), plan.port(port).name)
        }
        Counter::Blocked(hook, id) => format!("blocked at {} by {}", source(hook), rule(id)),
        Counter::Consumed(hook) => format!("consumed at {}", source(hook)),
        Counter::Left(hook) => format!("left at {}", source(hook)),
        Counter::Matched(hook, index) => format!("matched of {}{}", source(hook), copy(hook, index)),
        Counter::MatchedBytes(hook, index) => {
            format!("matched of {}{}, bytes", source(hook), copy(hook, index))
        }
        Counter::Copied(hook, index) => format!("copied of {}{}", source(hook), copy(hook, index)),
        Counter::CopiedBytes(hook, index) => {
            format!("copied of {}{}, bytes", source(hook), copy(hook, index))
        }
        Counter::Failed(hook, index, CopyError::Down) => {
            format!("link down for {}{}", source(hook), copy(hook, index))
        }
        Counter::Failed(hook, index, CopyError::Gone) => {
            format!("interface gone for {}{}", source(hook), copy(hook, index))
        }
        Counter::Unmeasured(hook) => format!("unmeasured super-frames at {}", source(hook)),
        Counter::HopIn(hook) => format!("in of the hop of {}", source(hook)),
        Counter::HopSeen(hook) => format!("seen leaving for the hop of {}", source(hook)),
        Counter::Seen(port, hook) => {
            format!("seen leaving by {} from {}", plan.port(port).name, source(hook))
        }
        Counter::Merged(port) => format!("merged in super-frames leaving by {}", plan.port(port).name),
        Counter::Guarded(port) => format!("guarded at {}", plan.port(port).name),
        Counter::SensorSent(port) => format!("sent by the sensor at {}", plan.port(port).name),
        Counter::SensorSentBytes(port) => format!("sent by the sensor at {}, bytes", plan.port(port).name),
    }
}

fn copy_name(plan: &Plan, hook: &Hook, index: CopyIndex) -> String {
    let copy = Plan::copy(hook, index);
    format!(" by {} to {}", plan.rule(copy.rule).label, plan.sink_name(copy.sink))
}

fn origin_text<'a>(plan: &Plan, origin: &'a Origin) -> Cow<'a, str> {
    match origin {
        Origin::Text(text) => Cow::Borrowed(text),
        Origin::Rule(id) => {
            let rule = usize::try_from(id.0).ok().and_then(|at| plan.rules.get(at));
            Cow::Owned(match rule {
                Some(rule) => match &rule.origin {
                    Some(place) => format!("{}: {place}", rule.label),
                    None => rule.label.clone(),
                },
                None => format!("rule {}", id.0),
            })
        }
    }
}

fn symbol(plan: &Plan, symbol: Symbol) -> String {
    match symbol {
        Symbol::Map(map) => map.to_string(),
        Symbol::Interface(port) => match plan.ports.get(usize::from(port.0)) {
            Some(port) => format!("interface({})", port.name),
            None => symbol_number(symbol),
        },
        Symbol::Hop(hook) => match plan.hooks.get(usize::from(hook.0)) {
            Some(hook) => format!("hop({})", plan.source_name(hook)),
            None => symbol_number(symbol),
        },
    }
}

fn symbol_number(symbol: Symbol) -> String {
    symbol.to_string()
}

fn size(size: Size) -> &'static str {
    match size {
        Size::Byte => "u8",
        Size::Half => "u16",
        Size::Word => "u32",
        Size::Double => "u64",
    }
}

fn register(width: Width, reg: Reg) -> String {
    match width {
        Width::W64 => reg.to_string(),
        Width::W32 => format!("w{}", reg.number()),
    }
}

fn operand(width: Width, src: Src) -> String {
    match src {
        Src::Reg(reg) => register(width, reg),
        Src::Imm(_) => src.to_string(),
    }
}

fn place(size_: Size, reg: Reg, off: i16) -> String {
    let sign = if off < 0 { '-' } else { '+' };
    format!("*({} *)({reg} {sign} {})", size(size_), off.unsigned_abs())
}

fn insn(plan: &Plan, program: &Program, insn: &Insn) -> String {
    match *insn {
        Insn::Alu { width, op, dst, src } => {
            format!("{} {} {}", register(width, dst), op.sign(), operand(width, src))
        }
        Insn::ToBigEndian { dst, size } => format!("{dst} = be{}({dst})", size.octets() * 8),
        Insn::Load { size, dst, src, off } => format!("{dst} = {}", place(size, src, off)),
        Insn::Store { size, dst, off, src } => format!("{} = {src}", place(size, dst, off)),
        Insn::AtomicAdd { size, dst, off, src } => format!("lock {} += {src}", place(size, dst, off)),
        Insn::LoadImm64 { dst, value } => format!("{dst} = {value:#x} ll"),
        Insn::LoadMap { dst, map } => format!("{dst} = {map}"),
        Insn::LoadInterface { dst, symbol: name } => format!("{dst} = {}", symbol(plan, name)),
        Insn::Jump { to } => format!("goto {}", program.target(to)),
        Insn::JumpIf { width, cond, dst, src, to } => {
            let (left, right) = (register(width, dst), operand(width, src));
            format!("if {left} {} {right} goto {}", cond.sign(), program.target(to))
        }
        Insn::Call(helper) => format!("call {}", helper.name()),
        Insn::Exit => "exit".to_owned(),
        Insn::Bounds { data, end, need, fail, .. } => {
            format!("if {data} + {need} > {end} goto {}", program.target(fail))
        }
        Insn::Count { block, slot, by, .. } => format!("{block}[{slot}] += {by}"),
    }
}
