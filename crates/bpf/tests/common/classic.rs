//! Random plans without what classic BPF is known to refuse.

use bpf::classic::{self, Filters, Refused};
use plan::plan::{HookId, Plan};
use rules::form::{Action, Handed, Method, RuleSet, Ruled, SpreadIndex};

/// The plan without what classic BPF is known to refuse, so that the rest of it is compared.
pub fn tamed(mut plan: Plan) -> Plan {
    for hook in &mut plan.hooks {
        let spreads = hook.program.spreads.clone();
        let refused = |index: SpreadIndex| {
            let spread = &spreads[usize::from(index.0)];
            spread.method() != Method::Source || spread.is_inner()
        };
        let first = |index: SpreadIndex| spreads[usize::from(index.0)].choices()[0].copy;
        for step in &mut hook.program.steps {
            if let Action::Spread(index) = step.then
                && refused(index)
            {
                step.then = Action::Copy(first(index));
            }
        }
        for set in &mut hook.program.rule_sets {
            let mut rulings = set.rulings().to_vec();
            for ruling in &mut rulings {
                if let Ruled::Pass(Handed::Spread(index)) = ruling.verdict
                    && refused(index)
                {
                    ruling.verdict = Ruled::Pass(Handed::Copy(first(index)));
                }
                ruling.chance = None;
            }
            *set = RuleSet::new(rulings, set.tags().to_vec());
        }
    }
    plan
}

/// One hook of a plan, lowered alone.
pub fn one(plan: &Plan, id: HookId) -> Result<Filters, Vec<Refused>> {
    let mut plan = plan.clone();
    plan.hooks = vec![plan.hooks[usize::from(id.0)].clone()];
    let mut filters = classic::lower(&plan)?.hooks.remove(0);
    filters.hook = id;
    Ok(filters)
}
