//! Entries and hops in the tc view.

use plan::plan::{Direction, Hook, HookId, Pass};
use rules::form::{Action, CopyIndex, Program as Decision, Step, Test};

use super::hand::{self, Hand};
use super::judge::Judge;
use super::stock::Stock;
use super::{BYTES, CTX, Context, EmitError, FRAMES, Mode, OUR_MARK, TC_NEXT, TC_SHOT, TC_STOLEN};
use super::{assembler, copies, measure, skb, stack, vlan};
use crate::asm::{Assembler, Cond, Helper, Kind, Origin, Program, Reg, Size};
use crate::layout::{Counter, Part, Rows, asked, block_rules, copy_port, passes_to};

/// The program that judges the frames of a hook.
pub(super) fn entry(
    context: &Context<'_>,
    id: HookId,
    hook: &Hook,
    stock: &mut Stock,
) -> Result<Program, EmitError> {
    let way = match hook.at.direction {
        Direction::In => "in",
        Direction::Out => "out",
    };
    let mut asm = assembler(format!("tw_{way}_{}", hook.at.port.0), Kind::Tc);
    asm.origin_text(format!("frames of {}", context.plan.source_name(hook)));
    asm.mov(CTX, Reg::R1);
    if context.mode == Mode::Record {
        push_tag(&mut asm);
    }
    let judge = Judge::of(context, id, hook, stock)?;
    let sending = Sending::of(context, id, hook, judge.asks_vlan(), |_| true);
    prologue(context, &mut asm, hook, &sending);
    judge.prepare(&mut asm, TC_SHOT);
    context.load_block(&mut asm, Part::Entry(id), TC_SHOT);
    measure::frames(&mut asm, true, |asm| context.count(asm, Counter::Unmeasured(id), FRAMES_UNMEASURED));
    context.count(&mut asm, Counter::In(id), FRAMES);
    context.count(&mut asm, Counter::InBytes(id), BYTES);
    mark(&mut asm, id, &sending);
    let blocks = !block_rules(hook).is_empty();
    if blocks {
        asm.store(Size::Half, Reg::R10, stack::BLOCKED, 0);
    }
    let hand = Hand { context, id, hook, judge: &judge };
    for (at, step) in hook.program.steps.iter().enumerate() {
        asm.origin(Origin::Rule(step.rule));
        when(&mut asm, &judge, at, &step.when, |asm| act(&hand, asm, step));
    }
    for set in &judge.sets {
        asm.origin_text("what the rule of a set decides");
        let done = asm.label();
        Judge::verdict(&mut asm, set, done);
        hand.take(&mut asm, &set.ways, true, done, |asm, _, port| copies::make_by_row(&hand, asm, port));
        asm.place(done);
    }
    asm.origin_text(format!("what becomes of frames of {}", context.plan.source_name(hook)));
    sending.restore(&mut asm);
    if blocks {
        blocked(&hand, &mut asm);
    }
    fate(context, &mut asm, id, hook);
    Ok(asm.finish()?)
}

/// Does what a step is for, on the way on which it acts.
fn act(hand: &Hand<'_, '_>, asm: &mut Assembler, step: &Step) {
    let (context, id, hook) = (hand.context, hand.id, hand.hook);
    match step.then {
        Action::Copy(copy) => match context.layout.copy_rows(id, hook) {
            Rows::Block { .. } => {
                context.count(asm, Counter::Matched(id, copy), FRAMES);
                context.count(asm, Counter::MatchedBytes(id, copy), BYTES);
                copies::make(context, asm, id, hook, copy);
            }
            Rows::Tallies { .. } => {
                asm.store(Size::Word, Reg::R10, stack::RANK, hand.judge.copy_row(copy).cast_signed());
                copies::make_by_row(hand, asm, copy_port(context.plan, hook, copy));
            }
        },
        Action::Spread(spread) => {
            let done = asm.label();
            let ways = hand.judge.spread_ways(context, spread);
            hand.take(asm, &ways, false, done, |asm, _, port| copies::make_by_row(hand, asm, port));
            asm.place(done);
        }
        Action::Block if hook.pass == Pass::Leave => {}
        Action::Block => hand::block(asm, hand.judge.block_row(step.rule)),
    }
}

/// Super-frames that cannot be measured are counted one by one, not by the frames in them.
const FRAMES_UNMEASURED: i32 = 1;

/// The program that makes the copies of a hook that take the hop.
pub(super) fn hop(context: &Context<'_>, id: HookId, hook: &Hook) -> Result<Program, EmitError> {
    let mut asm = assembler(format!("tw_hop_{}", id.0), Kind::Tc);
    asm.origin_text(format!("frames of {} that came by the hop", context.plan.source_name(hook)));
    asm.mov(CTX, Reg::R1);
    if context.mode == Mode::Record {
        push_tag(&mut asm);
    }
    let by_hop = |copy: CopyIndex| context.wiring.by_hop(id, copy);
    if !hook.program.is_by_vlan() {
        return Err(EmitError::HopByRules { hook: id });
    }
    let sending = Sending::of(context, id, hook, looks_at_vlan(&hook.program), by_hop);
    prologue(context, &mut asm, hook, &sending);
    context.load_block(&mut asm, Part::Hop(id), TC_SHOT);
    measure::frames(&mut asm, true, |_| {});
    context.count(&mut asm, Counter::HopIn(id), FRAMES);
    mark(&mut asm, id, &sending);
    for step in &hook.program.steps {
        let Action::Copy(copy) = step.then else { continue };
        if by_hop(copy) {
            asm.origin(Origin::Rule(step.rule));
            by_vlan(&mut asm, &step.when, |asm| copies::make(context, asm, id, hook, copy));
        }
    }
    asm.origin_text("the frame itself ends here");
    asm.mov(Reg::R0, TC_STOLEN);
    asm.exit();
    Ok(asm.finish()?)
}

/// What a program sends, and so what it must put back before a frame goes on.
struct Sending {
    /// Whether anything of ours leaves, and must bear our mark.
    marks: bool,
    /// Whether the host goes on with the frame, under its own mark.
    restores_mark: bool,
    /// Whether a copy is given a class by way of the priority.
    restores_priority: bool,
    /// Whether the VLAN is looked at.
    tests: bool,
}

impl Sending {
    fn of(
        context: &Context<'_>,
        id: HookId,
        hook: &Hook,
        tests: bool,
        chosen: impl Fn(CopyIndex) -> bool,
    ) -> Self {
        let copies: Vec<CopyIndex> = asked(hook).into_iter().filter(|copy| chosen(*copy)).collect();
        let marks = !copies.is_empty() || !passes_to(hook).is_empty();
        Self {
            marks,
            restores_mark: marks && hook.pass == Pass::Leave,
            restores_priority: copies
                .iter()
                .any(|copy| copies::class(context.plan, id, hook, *copy).is_some()),
            tests,
        }
    }

    fn save(&self, asm: &mut Assembler) {
        if self.restores_mark {
            asm.load(Size::Word, Reg::R1, CTX, skb::MARK);
            asm.store(Size::Word, Reg::R10, stack::MARK, Reg::R1);
        }
        if self.restores_priority {
            asm.load(Size::Word, Reg::R1, CTX, skb::PRIORITY);
            asm.store(Size::Word, Reg::R10, stack::PRIORITY, Reg::R1);
        }
    }

    fn restore(&self, asm: &mut Assembler) {
        if self.restores_mark {
            asm.note("the host's mark");
            asm.load(Size::Word, Reg::R1, Reg::R10, stack::MARK);
            asm.store(Size::Word, CTX, skb::MARK, Reg::R1);
        }
        if self.restores_priority {
            asm.note("the host's priority");
            asm.load(Size::Word, Reg::R1, Reg::R10, stack::PRIORITY);
            asm.store(Size::Word, CTX, skb::PRIORITY, Reg::R1);
        }
    }
}

fn looks_at_vlan(program: &Decision) -> bool {
    program.steps.iter().any(|step| step.when != Test::Always)
}

fn prologue(context: &Context<'_>, asm: &mut Assembler, hook: &Hook, sending: &Sending) {
    if sending.tests {
        vlan::from_skb(asm, context.plan.port(hook.at.port).link_type);
    }
    sending.save(asm);
}

/// Puts our mark on all that is sent from here on.
fn mark(asm: &mut Assembler, id: HookId, sending: &Sending) {
    if sending.marks {
        asm.note("our mark, for the guards");
        asm.mov(Reg::R1, (OUR_MARK | u32::from(id.0)).cast_signed());
        asm.store(Size::Word, CTX, skb::MARK, Reg::R1);
    }
}

/// Runs `body` where the step of this index acts. Loses `r1`.
pub(super) fn when(
    asm: &mut Assembler,
    judge: &Judge<'_>,
    step: usize,
    test: &Test,
    body: impl FnOnce(&mut Assembler),
) {
    let Some(said) = judge.said(step) else { return by_vlan(asm, test, body) };
    let miss = asm.label();
    Judge::ask(asm, said, miss);
    body(asm);
    asm.place(miss);
}

/// Runs `body` where a test of nothing but the VLAN holds. Loses `r1`.
fn by_vlan(asm: &mut Assembler, test: &Test, body: impl FnOnce(&mut Assembler)) {
    let Test::Vlan(set) = test else { return body(asm) };
    let (hit, miss) = (asm.label(), asm.label());
    asm.load(Size::Half, Reg::R1, Reg::R10, stack::VLAN);
    vlan::search(asm, Reg::R1, &vlan::ranges(set), hit, miss);
    if set.is_empty() {
        // Nothing leads to the body.
        asm.place(hit);
        asm.place(miss);
        return;
    }
    asm.place(hit);
    body(asm);
    asm.place(miss);
}

/// Ends blocked frames.
fn blocked(hand: &Hand<'_, '_>, asm: &mut Assembler) {
    let (free, counted) = (asm.label(), asm.label());
    asm.load(Size::Half, Reg::R2, Reg::R10, stack::BLOCKED);
    asm.jump_if(Reg::R2, Cond::Eq, 0, free);
    asm.note("the rule that blocks");
    let first = hand.block_row(asm, counted);
    hand::count(asm, first, 0, FRAMES);
    asm.place(counted);
    asm.mov(Reg::R0, TC_SHOT);
    asm.exit();
    asm.place(free);
}

/// What becomes of a frame that no rule stopped.
fn fate(context: &Context<'_>, asm: &mut Assembler, id: HookId, hook: &Hook) {
    let ports = passes_to(hook);
    match (&hook.pass, ports.split_last()) {
        (Pass::Leave, _) => {
            context.count(asm, Counter::Left(id), FRAMES);
            asm.mov(Reg::R0, TC_NEXT);
            asm.exit();
        }
        (Pass::To(_), None) => {
            context.count(asm, Counter::Consumed(id), FRAMES);
            asm.mov(Reg::R0, TC_STOLEN);
            asm.exit();
        }
        (Pass::To(_), Some((last, others))) => {
            for port in &ports {
                context.count(asm, Counter::Handed(id, *port), FRAMES);
                context.count(asm, Counter::HandedBytes(id, *port), BYTES);
            }
            for port in others {
                copies::clone_to(context, asm, *port);
            }
            copies::redirect_to(context, asm, *last);
        }
    }
}

/// For test runs: pushes the tag that the caller left in `cb`. Ends with -2 where the kernel refuses it.
fn push_tag(asm: &mut Assembler) {
    let untagged = asm.label();
    asm.note("test runs: the tag from cb");
    asm.load(Size::Word, Reg::R2, CTX, skb::CB);
    asm.jump_if(Reg::R2, Cond::Eq, 0, untagged);
    asm.load(Size::Word, Reg::R3, CTX, skb::CB + 4);
    asm.mov(Reg::R1, CTX);
    asm.call(Helper::SkbVlanPush);
    asm.jump_if(Reg::R0, Cond::Eq, 0, untagged);
    asm.mov(Reg::R0, -2);
    asm.exit();
    asm.place(untagged);
}
