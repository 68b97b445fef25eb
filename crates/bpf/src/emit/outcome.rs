//! What can become of a frame in the XDP view: every decision that a program can reach, interned.

use std::collections::{BTreeMap, BTreeSet};

use plan::plan::{Hook, HookId, Pass};
use rules::form::{Action, CopyIndex, RuleId, Test};
use wire::{LinkType, Vlan};

use super::vlan::{Range, UNTAGGED, ranges};
use super::{Context, EmitError};
use crate::asm::MapRef;
use crate::layout::{Target, copy_port, passes_to};

/// The most decisions of one hook in the XDP view.
pub const OUTCOMES_MAX: usize = 64;
/// The most different tests of one hook in the XDP view: the bits of a register that an immediate reaches.
pub(super) const TESTS_MAX: usize = 31;
/// The most intervals of VLANs between which a hook tells: the verifier follows each by itself.
pub(super) const INTERVALS_MAX: usize = 1024;

/// A devmap to be made: one redirect sends to all that it holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// Whose.
    pub hook: HookId,
    /// Its number, as in [`MapRef::Devmap`].
    pub number: u16,
    /// What entry 0, 1, ... sends to. A target may stand there twice: then it is sent to twice.
    pub targets: Vec<Target>,
}

impl Outcome {
    /// The map.
    pub fn map(&self) -> MapRef {
        MapRef::Devmap(self.hook, self.number)
    }
}

/// How frames end that the same tests hold for.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Ending {
    /// The first rule that blocks.
    pub(super) blocked_by: Option<RuleId>,
    /// Whom it goes to, in order; index into the outcomes, or `None` where to nobody.
    pub(super) outcome: Option<u16>,
    /// How many targets the outcome has.
    pub(super) targets: usize,
}

/// All decisions of a hook.
#[derive(Debug)]
pub(super) struct Decisions {
    /// The tests other than `Always`, each once, in program order. Test n sets bit n.
    pub(super) tests: Vec<(Vec<Range>, Vec<usize>)>,
    /// The steps that always act.
    pub(super) always: Vec<usize>,
    /// For each reachable set of bits how it ends.
    pub(super) endings: BTreeMap<u32, Ending>,
    /// The devmaps.
    pub(super) outcomes: Vec<Outcome>,
}

/// Finds every decision that a frame can lead to.
pub(super) fn decisions(context: &Context<'_>, id: HookId, hook: &Hook) -> Result<Decisions, EmitError> {
    let mut always = Vec::new();
    let mut sets: Vec<(&BTreeSet<Vlan>, Vec<usize>)> = Vec::new();
    for (at, step) in hook.program.steps.iter().enumerate() {
        match &step.when {
            Test::Always => always.push(at),
            Test::Vlan(set) => match sets.iter_mut().find(|(known, _)| *known == set) {
                Some((_, steps)) => steps.push(at),
                None => sets.push((set, vec![at])),
            },
            // Only programs by VLAN come here.
            _ => {}
        }
    }
    if sets.len() > TESTS_MAX {
        return Err(EmitError::TooManyTests { hook: id, tests: sets.len(), most: TESTS_MAX });
    }
    let tests: Vec<(Vec<Range>, Vec<usize>)> =
        sets.into_iter().map(|(set, steps)| (ranges(set), steps)).collect();
    let masks = masks(context.plan.port(hook.at.port).link_type, &tests, id)?;
    if masks.len() > OUTCOMES_MAX {
        return Err(EmitError::TooManyOutcomes { hook: id, outcomes: masks.len() });
    }
    let mut found = Decisions { tests, always, endings: BTreeMap::new(), outcomes: Vec::new() };
    for mask in masks {
        let holds = |at: usize| {
            found.always.contains(&at)
                || found
                    .tests
                    .iter()
                    .zip(0u32..)
                    .any(|((_, steps), bit)| mask >> bit & 1 == 1 && steps.contains(&at))
        };
        let (blocked_by, targets) = judge(context, id, hook, holds);
        let count = targets.len();
        let outcome = if targets.is_empty() { None } else { Some(intern(&mut found.outcomes, id, targets)) };
        found.endings.insert(mask, Ending { blocked_by, outcome, targets: count });
    }
    Ok(found)
}

/// The sets of tests that can hold together: between two neighbouring bounds nothing changes.
pub(super) fn masks(
    link_type: LinkType,
    tests: &[(Vec<Range>, Vec<usize>)],
    id: HookId,
) -> Result<BTreeSet<u32>, EmitError> {
    let mut points = BTreeSet::from([UNTAGGED]);
    if link_type == LinkType::ETHERNET && !tests.is_empty() {
        points.insert(0);
        points
            .extend(tests.iter().flat_map(|(ranges, _)| ranges).flat_map(|(first, last)| [*first, last + 1]));
    }
    if points.len() > INTERVALS_MAX {
        return Err(EmitError::TooManyIntervals { hook: id, intervals: points.len() });
    }
    let holds = |ranges: &[Range], point: u16| ranges.iter().any(|(a, b)| (*a..=*b).contains(&point));
    let mask = |point: u16| {
        let bits = tests.iter().zip(0u32..).filter(|((ranges, _), _)| holds(ranges, point));
        bits.fold(0, |mask, (_, bit)| mask | 1 << bit)
    };
    Ok(points.into_iter().map(mask).collect())
}

fn judge(
    context: &Context<'_>,
    id: HookId,
    hook: &Hook,
    holds: impl Fn(usize) -> bool,
) -> (Option<RuleId>, Vec<Target>) {
    let steps = hook.program.steps.iter().enumerate().filter(|(at, _)| holds(*at)).map(|(_, step)| step);
    let mut copies: Vec<CopyIndex> = Vec::new();
    let mut blocked_by = None;
    for step in steps {
        match step.then {
            Action::Copy(copy) => copies.push(copy),
            Action::Spread(_) => {}
            Action::Block => {
                blocked_by.get_or_insert(step.rule);
            }
        }
    }
    if hook.pass == Pass::Leave {
        blocked_by = None;
    }
    let mut targets = Vec::new();
    if blocked_by.is_none() {
        targets.extend(passes_to(hook).into_iter().map(Target::Port));
    }
    for copy in copies {
        if !context.wiring.by_hop(id, copy) {
            targets.push(Target::Port(copy_port(context.plan, hook, copy)));
        } else if !targets.contains(&Target::Hop(id)) {
            targets.push(Target::Hop(id));
        }
    }
    (blocked_by, targets)
}

pub(super) fn intern(outcomes: &mut Vec<Outcome>, id: HookId, targets: Vec<Target>) -> u16 {
    if let Some(known) = outcomes.iter().find(|outcome| outcome.targets == targets) {
        return known.number;
    }
    // At most OUTCOMES_MAX, far below 2^16.
    let number = u16::try_from(outcomes.len()).unwrap_or(u16::MAX);
    outcomes.push(Outcome { hook: id, number, targets });
    number
}
