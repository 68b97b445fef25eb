//! The small programs that stand at ports: guards, what stops sensors, devmap entries.

use plan::plan::{HookId, PortId};

use super::{BLOCK, BYTES, CTX, Context, EmitError, FRAMES, OUR_MARK, TC_NEXT, TC_SHOT, XDP_ABORTED};
use super::{XDP_PASS, assembler, measure, skb};
use crate::asm::{Alu, Cond, Kind, Program, Reg, Size, constant};
use crate::layout::{Counter, Part, Target, guard_senders};

/// At tc egress: our frames pass and are counted by hook, all others end here.
pub(super) fn guard(context: &Context<'_>, port: PortId) -> Result<Program, EmitError> {
    let mut asm = assembler(format!("tw_guard_{}", port.0), Kind::Tc);
    asm.origin_text(format!("guard of {}", context.plan.port(port).name));
    asm.mov(CTX, Reg::R1);
    context.load_block(&mut asm, Part::Guard(port), TC_SHOT);
    measure::frames(&mut asm, false, |_| {});
    let senders = guard_senders(context.plan, context.wiring, port);
    let foreign = asm.label();
    if senders > 0 {
        asm.note("ours?");
        asm.load(Size::Word, Reg::R2, CTX, skb::MARK);
        asm.alu32(Alu::Xor, Reg::R2, OUR_MARK.cast_signed());
        asm.jump_if(Reg::R2, Cond::Ge, i32::from(senders), foreign);
        // Seen of hook h is slot 1 + h.
        asm.note("Seen(port, hook)");
        asm.alu(Alu::Lsh, Reg::R2, 3);
        asm.alu(Alu::Add, Reg::R2, BLOCK);
        asm.load(Size::Double, Reg::R1, Reg::R2, 8);
        asm.alu(Alu::Add, Reg::R1, FRAMES);
        asm.store(Size::Double, Reg::R2, 8, Reg::R1);
        let single = asm.label();
        asm.jump_if(FRAMES, Cond::Eq, 1, single);
        asm.mov(Reg::R2, FRAMES);
        asm.alu(Alu::Sub, Reg::R2, 1);
        context.count(&mut asm, Counter::Merged(port), Reg::R2);
        asm.place(single);
        asm.mov(Reg::R1, 0);
        asm.store(Size::Word, CTX, skb::MARK, Reg::R1);
        asm.mov(Reg::R0, TC_NEXT);
        asm.exit();
    }
    asm.place(foreign);
    context.count(&mut asm, Counter::Guarded(port), FRAMES);
    asm.mov(Reg::R0, TC_SHOT);
    asm.exit();
    Ok(asm.finish()?)
}

/// At tc ingress of a monitor port: nothing that a sensor sends goes any further.
pub(super) fn monitor_in(context: &Context<'_>, port: PortId) -> Result<Program, EmitError> {
    let mut asm = assembler(format!("tw_sent_{}", port.0), Kind::Tc);
    asm.origin_text(format!("what {} sends", context.plan.port(port).name));
    asm.mov(CTX, Reg::R1);
    context.load_block(&mut asm, Part::MonitorIn(port), TC_SHOT);
    measure::frames(&mut asm, true, |_| {});
    context.count(&mut asm, Counter::SensorSent(port), FRAMES);
    context.count(&mut asm, Counter::SensorSentBytes(port), BYTES);
    asm.mov(Reg::R0, TC_SHOT);
    asm.exit();
    Ok(asm.finish()?)
}

/// In a devmap entry: counts what leaves. It costs every frame, so it does nothing else.
pub(super) fn devmap(
    context: &Context<'_>,
    hook: HookId,
    target: Target,
    number: u16,
) -> Result<Program, EmitError> {
    let mut asm = assembler(format!("tw_d{}_{number}", hook.0), Kind::XdpDevmap);
    let counter = match target {
        Target::Port(port) => {
            asm.origin_text(format!("leaving by {}", context.plan.port(port).name));
            Counter::Seen(port, hook)
        }
        Target::Hop(_) => {
            asm.origin_text("leaving for the hop");
            Counter::HopSeen(hook)
        }
    };
    context.load_block(&mut asm, Part::Devmap(hook, target), XDP_ABORTED);
    context.count(&mut asm, counter, 1);
    asm.mov(Reg::R0, XDP_PASS);
    asm.exit();
    Ok(asm.finish()?)
}

/// Lets everything pass. A virtual pair takes redirected frames only where its far end bears such a program.
pub(super) fn pass() -> Result<Program, EmitError> {
    Ok(constant("tw_pass", Kind::Xdp, XDP_PASS)?)
}
