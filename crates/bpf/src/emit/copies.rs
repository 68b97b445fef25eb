//! Sending, in the tc view: clones and what their results are counted as.

use plan::plan::{Hook, HookId, Plan, PortId, Sink, SinkId};
use rules::form::CopyIndex;

use super::hand::{self, Hand};
use super::{BYTES, CTX, Context, FRAMES, Mode, QDISC_HANDLE, TC_REDIRECT, skb, stack};
use crate::asm::{Assembler, Cond, Helper, Reg, Size, Symbol};
use crate::layout::{CopyError, Counter, copy_port};

/// Makes one copy and counts what became of it. Loses `r0` to `r5`.
pub(super) fn make(context: &Context<'_>, asm: &mut Assembler, id: HookId, hook: &Hook, copy: CopyIndex) {
    classify(context, asm, id, hook, copy_port(context.plan, hook, copy));
    clone_to(context, asm, copy_port(context.plan, hook, copy));
    let (error, gone, done) = (asm.label(), asm.label(), asm.label());
    // 0 taken; 1 refused by the port's queue or device, which counts it itself.
    asm.jump_if32(Reg::R0, Cond::Gt, 1, error);
    context.count(asm, Counter::Copied(id, copy), FRAMES);
    context.count(asm, Counter::CopiedBytes(id, copy), BYTES);
    asm.jump(done);
    asm.place(error);
    asm.jump_if32(Reg::R0, Cond::Ne, 2, gone);
    context.count(asm, Counter::Failed(id, copy, CopyError::Down), FRAMES);
    asm.jump(done);
    asm.place(gone);
    context.count(asm, Counter::Failed(id, copy, CopyError::Gone), FRAMES);
    asm.place(done);
}

/// Makes the copy whose row of counters [`stack::RANK`] names: counts it as matched, sends a clone to the port
/// and counts what became of it. Loses `r0` to `r5`.
pub(super) fn make_by_row(hand: &Hand<'_, '_>, asm: &mut Assembler, port: PortId) {
    let (context, id, hook) = (hand.context, hand.id, hand.hook);
    asm.note(format!("a copy to {}", context.plan.port(port).name));
    let done = asm.label();
    let first = hand.row(asm, done);
    asm.store(Size::Double, Reg::R10, stack::ROW, Reg::R1);
    hand::count(asm, first, 0, FRAMES);
    hand::count(asm, first, 1, BYTES);
    classify(context, asm, id, hook, port);
    clone_to(context, asm, port);
    asm.load(Size::Double, Reg::R1, Reg::R10, stack::ROW);
    let (error, gone) = (asm.label(), asm.label());
    asm.jump_if32(Reg::R0, Cond::Gt, 1, error);
    hand::count(asm, first, 2, FRAMES);
    hand::count(asm, first, 3, BYTES);
    asm.jump(done);
    asm.place(error);
    asm.jump_if32(Reg::R0, Cond::Ne, 2, gone);
    hand::count(asm, first, 4, FRAMES);
    asm.jump(done);
    asm.place(gone);
    hand::count(asm, first, 5, FRAMES);
    asm.place(done);
}

/// Gives the frame the class of its side, where the port has a queue. Loses `r1`.
fn classify(context: &Context<'_>, asm: &mut Assembler, id: HookId, hook: &Hook, port: PortId) {
    if let Some(class) = class_at(context.plan, id, hook, port) {
        asm.note("the side's buffer");
        asm.mov(Reg::R1, class.cast_signed());
        asm.store(Size::Word, CTX, skb::PRIORITY, Reg::R1);
    }
}

/// Sends a clone to a port; `r0` is what became of it. Loses `r1` to `r5`.
pub(super) fn clone_to(context: &Context<'_>, asm: &mut Assembler, port: PortId) {
    if context.mode == Mode::Record {
        asm.mov(Reg::R0, 0);
        return;
    }
    asm.mov(Reg::R1, CTX);
    asm.load_symbol(Reg::R2, Symbol::Interface(port));
    asm.mov(Reg::R3, 0);
    asm.call(Helper::CloneRedirect);
}

/// Sends the frame itself to a port and ends the program.
pub(super) fn redirect_to(context: &Context<'_>, asm: &mut Assembler, port: PortId) {
    if context.mode == Mode::Record {
        asm.mov(Reg::R0, TC_REDIRECT);
    } else {
        asm.load_symbol(Reg::R1, Symbol::Interface(port));
        asm.mov(Reg::R2, 0);
        asm.call(Helper::Redirect);
    }
    asm.exit();
}

/// The class of the side that a copy belongs to, where its sink has a queue.
pub(super) fn class(plan: &Plan, id: HookId, hook: &Hook, copy: CopyIndex) -> Option<u32> {
    class_of(plan, id, Plan::copy(hook, copy).sink)
}

/// The same by the port that copies of the hook go to.
fn class_at(plan: &Plan, id: HookId, hook: &Hook, port: PortId) -> Option<u32> {
    let copy = hook.copies.iter().find(|copy| *plan.sink(copy.sink) == Sink::Port(port))?;
    class_of(plan, id, copy.sink)
}

fn class_of(plan: &Plan, id: HookId, sink: SinkId) -> Option<u32> {
    let Sink::Port(port) = plan.sink(sink);
    plan.port(*port).queue?;
    let side = side_index(plan, id, sink)?;
    Some(u32::from(QDISC_HANDLE) << 16 | u32::from(side.saturating_add(1)))
}

/// Which side of a sink the copies of a hook belong to, from 0.
fn side_index(plan: &Plan, id: HookId, sink: SinkId) -> Option<u16> {
    let at = plan.sides(sink).iter().position(|side| side.hooks.contains(&id))?;
    u16::try_from(at).ok()
}
