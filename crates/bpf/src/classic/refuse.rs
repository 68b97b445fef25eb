//! What classic BPF cannot do exactly, and why.

use std::fmt;

use ::rules::form::{Action, Handed, Method, Number, Operator, RuleId, Ruled, Spread, SpreadIndex};
use plan::plan::{Hook, HookId, Plan, Rule};
use wire::LinkType;

use super::asm::INSNS_MAX;

/// One thing that cannot be lowered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refused {
    /// The hook.
    pub hook: HookId,
    /// The rule that asks for it, if one does.
    pub rule: Option<RuleId>,
    /// Why.
    pub why: Why,
}

impl Refused {
    /// Said to a user: the frames, the rule, and why.
    #[must_use]
    pub fn told(&self, plan: &Plan) -> String {
        let source = plan.source_name(plan.hook(self.hook));
        match self.rule.map(|rule| plan.rule(rule)) {
            Some(Rule { label, origin: Some(origin) }) => {
                format!("{origin}: {label}, frames of {source}: {}", self.why)
            }
            Some(rule) => format!("{}, frames of {source}: {}", rule.label, self.why),
            None => format!("frames of {source}: {}", self.why),
        }
    }
}

/// Why something cannot be lowered.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Why {
    /// The port's frames do not begin with an Ethernet header.
    LinkType,
    /// A copy is balanced between monitors, this way (by source: that of an inner packet).
    Balanced(Method),
    /// A rule matches by chance.
    Chance,
    /// A program would be too long.
    TooLong {
        /// How many instructions it would have.
        instructions: usize,
    },
    /// A number is computed from more other numbers than there are places to keep them.
    TooDeep,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LinkType => f.write_str("classic filters look at Ethernet frames only"),
            Self::Balanced(Method::Flow) => f.write_str(
                "classic BPF remembers nothing between frames, so later fragments could not follow the first to \
                 its monitor",
            ),
            Self::Balanced(Method::Source) => {
                f.write_str("classic filters look for no packets within packets: say inner = false")
            }
            Self::Balanced(Method::RoundRobin) => {
                f.write_str("classic BPF remembers nothing between frames, so monitors could not take turns")
            }
            Self::Balanced(Method::Random) | Self::Chance => {
                f.write_str("classic BPF has no chance that the other backends could repeat")
            }
            Self::TooLong { instructions } => {
                write!(f, "{instructions} instructions of classic BPF, {INSNS_MAX} are taken")
            }
            Self::TooDeep => {
                f.write_str("a number is computed in more steps than classic BPF has places for")
            }
        }
    }
}

/// What of a hook is refused before anything is lowered; each rule's each reason once.
pub(super) fn of(plan: &Plan, id: HookId, hook: &Hook) -> Vec<Refused> {
    let mut refused: Vec<Refused> = Vec::new();
    let mut add = |rule: Option<RuleId>, why: Why| {
        let new = Refused { hook: id, rule, why };
        if !refused.contains(&new) {
            refused.push(new);
        }
    };
    if plan.port(hook.at.port).link_type != LinkType::ETHERNET {
        add(None, Why::LinkType);
    }
    // By the source of the frame itself nothing need be remembered.
    let simple = |spread: &&Spread| spread.method() == Method::Source && !spread.is_inner();
    let spread = |index: SpreadIndex| hook.program.spreads.get(usize::from(index.0));
    let method = |index: SpreadIndex| spread(index).filter(|it| !simple(it)).map(Spread::method);
    for step in &hook.program.steps {
        if let Action::Spread(index) = step.then
            && let Some(method) = method(index)
        {
            add(Some(step.rule), Why::Balanced(method));
        }
    }
    for ruling in hook.program.rule_sets.iter().flat_map(|set| set.rulings()) {
        if let Ruled::Pass(Handed::Spread(index)) = ruling.verdict
            && let Some(method) = method(index)
        {
            add(Some(ruling.rule), Why::Balanced(method));
        }
        if ruling.chance.is_some() {
            add(Some(ruling.rule), Why::Chance);
        }
    }
    refused
}

/// Whether computing a number can end the whole test.
pub(super) fn may_end(number: &Number) -> bool {
    match number {
        Number::Constant(_) | Number::Length | Number::Field(_) => false,
        Number::Load { .. } => true,
        Number::Operation(operator, left, right) => {
            let divides = matches!(operator, Operator::Divide | Operator::Remainder);
            divides || may_end(left) || may_end(right)
        }
    }
}
