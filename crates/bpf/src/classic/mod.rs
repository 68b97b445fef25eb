//! Plan to classic BPF, for where eBPF may not be loaded.
//!
//! A hook becomes filters of clsact (ingress for frames that enter, egress for those that leave a watched
//! interface), tried in order. Each has one program, which says by not returning 0 that the filter's
//! [`Duty`] is to be done to the frame:
//!
//! | order | duty | action |
//! |---|---|---|
//! | first | one for each copy that a step or a rule can ask for | `mirred egress mirror`, `continue` |
//! | then | one for each rule that can block, not for watched interfaces | counted, dropped |
//! | last | the frame itself | `mirred egress redirect`; or counted and dropped; or nothing |
//!
//! What is lowered decides as [`plan::eval()`] does, frame by frame, whether the outer VLAN tag is in the data
//! or beside it. What cannot be exact is refused, all of it at once. Never does I/O, never looks at interface
//! numbers.

mod asm;
mod chain;
mod code;
mod fields;
mod interp;
mod listing;
mod refuse;
mod rules;
mod source;
mod store;
mod test;

pub use asm::{INSNS_MAX, Insn};
pub use interp::{Beside, Fault, run};
pub use listing::{disassemble, listing};
pub use refuse::{Refused, Why};
pub use store::{NotText, program_as_text, text_as_program};

use ::rules::form::{CopyIndex, RuleId};
use plan::plan::{Hook, HookId, Pass, Plan, PortId};

/// What a filter does to the frames that its program chooses.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Duty {
    /// Sends a copy to the port of this copy's sink; later filters are tried.
    Copy(CopyIndex),
    /// Counts the frame as blocked by this rule, and drops it.
    Block(RuleId),
    /// Counts the frame as consumed, and drops it: nobody is passed to.
    Consume,
    /// Passes the frame to these ports, in id order, never none: copies to all but the last, which takes the frame.
    Pass(Vec<PortId>),
    /// Leaves the frame to the host.
    Leave,
}

/// One filter of a hook.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Filter {
    /// What it does.
    pub duty: Duty,
    /// The rule that it came from; `None` for what becomes of the frame itself.
    pub rule: Option<RuleId>,
    /// Chooses frames: returns 0 for those that it leaves alone, and `u32::MAX` for others.
    pub program: Vec<Insn>,
}

/// The filters of one hook, in the order in which they are tried.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Filters {
    /// The hook. Its point says on which side of which port.
    pub hook: HookId,
    /// Never none: the last is what becomes of the frame.
    pub filters: Vec<Filter>,
}

/// A plan as filters: one list for each hook, in hook order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Lowered {
    /// By hook.
    pub hooks: Vec<Filters>,
}

/// Lowers every hook of a plan.
///
/// # Errors
/// Everything that classic BPF cannot do exactly, in plan order.
pub fn lower(plan: &Plan) -> Result<Lowered, Vec<Refused>> {
    let mut lowered = Lowered::default();
    let mut refused = Vec::new();
    for (id, hook) in plan.hooks() {
        match filters(plan, id, hook) {
            Ok(filters) => lowered.hooks.push(filters),
            Err(why) => refused.extend(why),
        }
    }
    if refused.is_empty() { Ok(lowered) } else { Err(refused) }
}

fn filters(plan: &Plan, id: HookId, hook: &Hook) -> Result<Filters, Vec<Refused>> {
    let refused = refuse::of(plan, id, hook);
    if !refused.is_empty() {
        return Err(refused);
    }
    let mut chosen = Vec::new();
    let mut refused = Vec::new();
    let mut add = |duty: Duty, rule: RuleId, program: Result<Vec<Insn>, Why>| match program {
        Ok(program) => chosen.push(Filter { duty, rule: Some(rule), program }),
        Err(why) => refused.push(Refused { hook: id, rule: Some(rule), why }),
    };
    rules::copies(&hook.program, &mut add);
    if hook.pass != Pass::Leave {
        rules::blocks(&hook.program, &mut add);
    }
    if !refused.is_empty() {
        return Err(refused);
    }
    let duty = match &hook.pass {
        Pass::Leave => Duty::Leave,
        Pass::To(ports) if ports.is_empty() => Duty::Consume,
        Pass::To(ports) => Duty::Pass(ports.iter().copied().collect()),
    };
    chosen.push(Filter { duty, rule: None, program: code::always() });
    Ok(Filters { hook: id, filters: chosen })
}
