//! What a plan means: one frame in, one verdict out. Every backend is tested against this.

use rules::form::{CopyIndex, Memory, Prepared, RuleId};
use wire::Frame;

use crate::plan::{Hook, HookId, Pass, Plan, Point, PortId};

/// Nanoseconds since a start that the caller chose. Passed in, never read.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Time(pub u64);

/// What a plan remembers between frames: a memory for each hook, made when it is first asked for. Passed
/// in so that equal state gives equal verdicts.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct State {
    hooks: Vec<Memory>,
}

impl State {
    /// The memory of a hook.
    pub fn of(&mut self, hook: HookId) -> &mut Memory {
        let at = usize::from(hook.0);
        if self.hooks.len() <= at {
            self.hooks.resize_with(at + 1, Memory::default);
        }
        &mut self.hooks[at]
    }
}

/// What becomes of one frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// The hook that judged it.
    pub hook: HookId,
    /// What became of the frame itself.
    pub fate: Fate,
    /// The copies that are made, as indexes into the hook's table, in program order.
    pub copies: Vec<CopyIndex>,
}

/// What became of the frame itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fate {
    /// The host goes on with it.
    Left,
    /// Passed to these ports, in id order.
    Passed(Vec<PortId>),
    /// It ends here (a SPAN port).
    Consumed,
    /// A rule stopped it.
    Blocked(RuleId),
}

/// Judges a frame at a point. `None` where the plan has no hook there: the frame is none of ours.
pub fn eval(
    plan: &Plan,
    state: &mut State,
    now: Time,
    seed: u64,
    point: Point,
    frame: &Frame<'_>,
) -> Option<Verdict> {
    let (hook, _) = plan.hook_at(point)?;
    let mut verdict = Verdict { hook, fate: Fate::Left, copies: Vec::new() };
    eval_into(plan, state, now, seed, frame, &mut verdict);
    Some(verdict)
}

/// Judges a frame at the hook that `verdict` names, into that verdict, whose storage is used again:
/// what [`eval()`] means, for those who judge millions of frames at hooks they have looked up before.
pub fn eval_into(
    plan: &Plan,
    state: &mut State,
    _now: Time,
    seed: u64,
    frame: &Frame<'_>,
    verdict: &mut Verdict,
) {
    let hook = plan.hook(verdict.hook);
    verdict.copies.clear();
    let blocked_by = hook.program.run_into(frame, state.of(verdict.hook), seed, &mut verdict.copies);
    decide(hook, blocked_by, verdict);
}

/// A plan that is about to judge millions of frames: the same verdicts, sooner.
#[derive(Clone, Debug)]
pub struct Judge<'p> {
    plan: &'p Plan,
    /// One for each hook.
    programs: Vec<Prepared<'p>>,
}

impl<'p> Judge<'p> {
    /// Prepares the programs of all hooks.
    pub fn new(plan: &'p Plan) -> Self {
        Self { plan, programs: plan.hooks.iter().map(|hook| Prepared::new(&hook.program)).collect() }
    }

    /// The same as [`eval_into`].
    #[inline]
    pub fn judge_into(
        &mut self,
        state: &mut State,
        _now: Time,
        seed: u64,
        frame: &Frame<'_>,
        verdict: &mut Verdict,
    ) {
        verdict.copies.clear();
        let program = &mut self.programs[usize::from(verdict.hook.0)];
        let blocked_by = program.run_into(frame, state.of(verdict.hook), seed, &mut verdict.copies);
        decide(self.plan.hook(verdict.hook), blocked_by, verdict);
    }
}

/// What becomes of the frame itself.
#[inline]
fn decide(hook: &Hook, blocked_by: Option<RuleId>, verdict: &mut Verdict) {
    match (&hook.pass, blocked_by, &mut verdict.fate) {
        (Pass::Leave, _, fate) => *fate = Fate::Left,
        (Pass::To(_), Some(rule), fate) => *fate = Fate::Blocked(rule),
        (Pass::To(ports), None, fate) if ports.is_empty() => *fate = Fate::Consumed,
        (Pass::To(ports), None, Fate::Passed(to)) => {
            to.clear();
            to.extend(ports);
        }
        (Pass::To(ports), None, fate) => *fate = Fate::Passed(ports.iter().copied().collect()),
    }
}
