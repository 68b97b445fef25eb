//! Entries in the XDP view: count, decide, and one redirect that sends to everybody.

use plan::plan::{Hook, HookId, Pass};
use rules::form::Action;

use super::outcome::{Decisions, Ending, Outcome, decisions};
use super::stock::Stock;
use super::{
    Context, EmitError, Mode, RECORDED_OUTCOME, XDP_ABORTED, XDP_DROP, assembler, steered, vlan, xdp_md,
};
use crate::asm::{Alu, Assembler, Cond, Helper, Kind, Origin, Program, Reg, Size};
use crate::layout::{Counter, Part, passes_to};

const VLAN: Reg = Reg::R6;
pub(super) const OCTETS: Reg = Reg::R8;
const HELD: Reg = Reg::R9;

/// `BPF_F_BROADCAST`: to every entry of the map.
const BROADCAST: i32 = 8;

/// The program that judges the frames of a hook, and the devmaps that it sends by.
pub(super) fn entry(
    context: &Context<'_>,
    id: HookId,
    hook: &Hook,
    stock: &mut Stock,
) -> Result<(Program, Vec<Outcome>), EmitError> {
    if hook.pass == Pass::Leave {
        return Err(EmitError::LeaveInXdp { hook: id });
    }
    if !hook.program.is_by_vlan() || context.layout.tallies_of(id) {
        return steered::entry(context, id, hook, stock);
    }
    let found = decisions(context, id, hook)?;
    let mut asm = assembler(format!("tw_in_{}", hook.at.port.0), Kind::Xdp);
    asm.origin_text(format!("frames of {}", context.plan.source_name(hook)));
    asm.load(Size::Word, Reg::R2, Reg::R1, xdp_md::DATA);
    asm.load(Size::Word, Reg::R3, Reg::R1, xdp_md::DATA_END);
    if !found.tests.is_empty() {
        let link_type = context.plan.port(hook.at.port).link_type;
        vlan::from_data(&mut asm, link_type, [Reg::R2, Reg::R3, Reg::R4], VLAN);
    }
    asm.note("octets of the frame");
    asm.mov(OCTETS, Reg::R3);
    asm.alu(Alu::Sub, OCTETS, Reg::R2);
    context.load_block(&mut asm, Part::Entry(id), XDP_ABORTED);
    context.count(&mut asm, Counter::In(id), 1);
    context.count(&mut asm, Counter::InBytes(id), OCTETS);
    matched(context, &mut asm, id, hook, &found.always);
    tests(context, &mut asm, id, hook, &found);
    dispatch(context, &mut asm, id, hook, &found);
    Ok((asm.finish()?, found.outcomes))
}

/// Counts what steps match whose test held.
fn matched(context: &Context<'_>, asm: &mut Assembler, id: HookId, hook: &Hook, steps: &[usize]) {
    for step in steps.iter().map(|at| &hook.program.steps[*at]) {
        if let Action::Copy(copy) = step.then {
            asm.origin(Origin::Rule(step.rule));
            context.count(asm, Counter::Matched(id, copy), 1);
            context.count(asm, Counter::MatchedBytes(id, copy), OCTETS);
        }
    }
}

/// Runs each test once and keeps its result as a bit.
fn tests(context: &Context<'_>, asm: &mut Assembler, id: HookId, hook: &Hook, found: &Decisions) {
    if found.tests.is_empty() {
        return;
    }
    asm.mov(HELD, 0);
    for ((ranges, steps), bit) in found.tests.iter().zip(0u32..) {
        if ranges.is_empty() {
            continue;
        }
        if let Some(first) = steps.first() {
            asm.origin(Origin::Rule(hook.program.steps[*first].rule));
        }
        let (hit, miss) = (asm.label(), asm.label());
        vlan::search(asm, VLAN, ranges, hit, miss);
        asm.place(hit);
        asm.note(format!("test {bit} holds"));
        asm.alu(Alu::Or, HELD, 1i32 << bit);
        matched(context, asm, id, hook, steps);
        asm.place(miss);
    }
}

/// From the tests that held to what becomes of the frame.
fn dispatch(context: &Context<'_>, asm: &mut Assembler, id: HookId, hook: &Hook, found: &Decisions) {
    asm.origin_text(format!("what becomes of frames of {}", context.plan.source_name(hook)));
    let mut endings: Vec<&Ending> = found.endings.values().collect();
    endings.sort();
    endings.dedup();
    let labels: Vec<_> = endings.iter().map(|_| asm.label()).collect();
    let label = |ending: &Ending| endings.iter().position(|known| *known == ending).map(|at| labels[at]);
    // The last ending takes whatever is left; every reachable set but its own is named.
    let rest = labels.last().copied();
    if endings.len() > 1 {
        for (mask, ending) in &found.endings {
            if let Some(to) = label(ending).filter(|to| Some(*to) != rest) {
                asm.jump_if(HELD, Cond::Eq, mask.cast_signed(), to);
            }
        }
        if let Some(rest) = rest {
            asm.jump(rest);
        }
    }
    for (ending, at) in endings.iter().zip(&labels).rev() {
        asm.place(*at);
        end(context, asm, id, hook, ending);
    }
}

fn end(context: &Context<'_>, asm: &mut Assembler, id: HookId, hook: &Hook, ending: &Ending) {
    let ports = passes_to(hook);
    if let Some(rule) = ending.blocked_by {
        asm.origin(Origin::Rule(rule));
        context.count(asm, Counter::Blocked(id, rule), 1);
    } else if ports.is_empty() {
        context.count(asm, Counter::Consumed(id), 1);
    }
    if ending.blocked_by.is_none() {
        for port in ports {
            context.count(asm, Counter::Handed(id, port), 1);
            context.count(asm, Counter::HandedBytes(id, port), OCTETS);
        }
    }
    send(context, asm, id, ending.outcome.map(|number| (number, ending.targets)));
}

/// Sends the frame by an outcome, given with how many targets it has, and ends the program.
pub(super) fn send(context: &Context<'_>, asm: &mut Assembler, id: HookId, outcome: Option<(u16, usize)>) {
    match outcome {
        None => asm.mov(Reg::R0, XDP_DROP),
        Some((number, _)) if context.mode == Mode::Record => {
            asm.mov(Reg::R0, RECORDED_OUTCOME + i32::from(number));
        }
        Some((number, targets)) => {
            asm.load_map(Reg::R1, crate::asm::MapRef::Devmap(id, number));
            asm.mov(Reg::R2, 0);
            // One target is cheaper without broadcast; the low bits are what a missing entry returns.
            let one = targets == 1;
            asm.mov(Reg::R3, if one { XDP_ABORTED } else { BROADCAST });
            asm.call(Helper::RedirectMap);
        }
    }
    asm.exit();
}
