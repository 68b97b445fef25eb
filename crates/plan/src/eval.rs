//! What a plan means: one frame in, one verdict out. Every backend is tested against this.

use rules::form::{CopyIndex, RuleId};
use wire::Frame;

use crate::plan::{HookId, Pass, Plan, Point, PortId};

/// Nanoseconds since a start that the caller chose. Passed in, never read.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Time(pub u64);

/// What a plan remembers between frames. Empty while no rule needs memory (round-robin, sticky
/// addresses and fragments will live here); passed in so that equal state gives equal verdicts.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct State {}

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
    _state: &mut State,
    _now: Time,
    _seed: u64,
    point: Point,
    frame: &Frame<'_>,
) -> Option<Verdict> {
    let (id, hook) = plan.hook_at(point)?;
    let decision = hook.program.run(frame);
    let fate = match (&hook.pass, decision.blocked_by) {
        (Pass::Leave, _) => Fate::Left,
        (Pass::To(_), Some(rule)) => Fate::Blocked(rule),
        (Pass::To(ports), None) if ports.is_empty() => Fate::Consumed,
        (Pass::To(ports), None) => Fate::Passed(ports.iter().copied().collect()),
    };
    Some(Verdict { hook: id, fate, copies: decision.copies })
}
