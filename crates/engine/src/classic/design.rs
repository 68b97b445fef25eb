//! Which filters make a plan true, and what each of their actions counts. Pure: interfaces are names here.
//!
//! ```text
//! port a, ingress   1  tagged? count, go on             port b, egress   1  came by a? count, let go
//!                   2  copy?   mirror to ids, go on                      2  count, drop
//!                   3  block?  count, drop
//!                   4  redirect to b                    ids, ingress     1  count, drop
//! ```
//! Nothing here writes to a frame or to what the kernel keeps beside it: the guard at an egress knows our frames by
//! the interface that they came in by, which `mirred` leaves with them and the host's own frames do not have.

use bpf::classic::{Duty, Filter, Lowered};
use plan::plan::{Direction, Hook, HookId, Plan, PortId, Role, Sink};
use rules::form::{CopyIndex, RuleId};
use sys::{Act, ClassicFilter, ClassicInsn, ClassicSpec, H_EGRESS, H_INGRESS, Matcher, SysError, Then};

use crate::machine::pairs::egress_name;
use crate::machine::queue;

/// Marks the handles of our programs.
const OURS: u32 = 0x7477_0000;
/// The preference of what judges, and of what lets our frames leave: the first to run.
const FIRST: u16 = 1;
/// The preference of what stops frames that are not ours.
const STOP: u16 = 2;
/// The preference of what comes behind everybody else's filters.
const LAST: u16 = u16::MAX;

/// What an action counts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Meaning {
    /// Frames with a tag beside their data, which is in no count of bytes.
    Tagged(HookId),
    /// A copy that was asked for.
    Copied(HookId, CopyIndex),
    /// Frames that a rule stopped.
    Blocked(HookId, RuleId),
    /// Frames that end at a SPAN port.
    Consumed(HookId),
    /// Frames handed on to a port.
    Handed(HookId, PortId),
    /// Frames of a watched interface that the host went on with.
    Left(HookId),
    /// Frames from the port of a hook, seen leaving by a port.
    Seen(PortId, HookId),
    /// Frames of the host's own, kept from leaving by a port.
    Guarded(PortId),
    /// Frames that a sensor sent, stopped.
    SensorSent(PortId),
}

/// What is done to a frame.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Deed {
    /// A copy leaves by this interface.
    Mirror(String, Then),
    /// The frame leaves by this interface.
    Redirect(String),
    /// It is counted: by a mirror to an interface that is gone.
    Count(Then),
}

/// When a filter is put in place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// Keeps a port silent.
    Guard,
    /// Tells the sides of a queue apart.
    Side,
    /// Judges frames.
    Judge,
}

/// One filter of a plan.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Planned {
    /// The interface.
    pub interface: String,
    /// What it hangs on: a side of clsact, or a queueing discipline.
    pub parent: u32,
    /// What it is for.
    pub part: Part,
    priority: u16,
    handle: u32,
    matcher: Matcher,
    class: u32,
    deeds: Vec<(Deed, Meaning)>,
}

impl Planned {
    /// What the kernel is to be told, with `index` for the interfaces and `counter` for the one that counts.
    ///
    /// # Errors
    /// `ENODEV` where an interface is not there.
    pub fn spec(
        &self,
        index: &dyn Fn(&str) -> Option<u32>,
        counter: u32,
        with_clsact: bool,
    ) -> Result<ClassicSpec, SysError> {
        let of = |name: &str| {
            let gone = || SysError::new("RTM_GETLINK", name, 19).with_detail("it went away in the meantime");
            index(name).ok_or_else(gone)
        };
        let act = |(deed, _): &(Deed, Meaning)| {
            Ok(match deed {
                Deed::Mirror(to, then) => Act::Mirror { to: of(to)?, then: *then },
                Deed::Redirect(to) => Act::Redirect { to: of(to)? },
                Deed::Count(then) => Act::Mirror { to: counter, then: *then },
            })
        };
        Ok(ClassicSpec {
            chain: 0,
            priority: self.priority,
            handle: self.handle,
            replace: false,
            with_clsact,
            matcher: self.matcher.clone(),
            class: self.class,
            acts: self.deeds.iter().map(act).collect::<Result<_, SysError>>()?,
        })
    }

    /// Whether this is the filter that was planned, whatever it does.
    pub fn is_at(&self, found: &ClassicFilter) -> bool {
        found.chain == 0 && (found.priority, found.handle) == (self.priority, self.handle)
    }

    /// Whether a filter that was found does what was planned. A counter's interface is gone, and bears no number.
    pub fn is_as_planned(&self, found: &ClassicFilter, index: &dyn Fn(&str) -> Option<u32>) -> bool {
        let Ok(spec) = self.spec(index, 0, false) else { return false };
        let acts = found.acts.iter().map(|found| &found.act);
        found.matcher == spec.matcher && found.class == spec.class && acts.eq(spec.acts.iter())
    }

    /// What its actions count, in order.
    pub fn meanings(&self) -> impl Iterator<Item = Meaning> + '_ {
        self.deeds.iter().map(|(_, meaning)| *meaning)
    }

    /// What it is, for users.
    pub fn describe(&self, plan: &Plan) -> String {
        let what = match (self.part, self.meanings().next()) {
            (Part::Guard, Some(Meaning::Seen(_, hook))) => {
                format!("what lets frames of {} leave", plan.source_name(plan.hook(hook)))
            }
            (Part::Guard, _) => "what stops frames that are not ours".to_owned(),
            (Part::Side, _) => "what tells sides apart".to_owned(),
            (Part::Judge, _) => "a filter that judges".to_owned(),
        };
        format!("{what} on {}", self.interface)
    }
}

/// Whether a filter on a side of clsact is one of ours.
pub fn is_ours(parent: u32, found: &ClassicFilter) -> bool {
    let program = found.kind == "bpf" && found.handle & 0xffff_0000 == OURS;
    let leaves = found.kind == "u32"
        && (parent, found.chain, found.priority) == (H_EGRESS, 0, FIRST)
        && matches!(found.matcher, Matcher::CameBy(_));
    program || leaves
}

/// Whether a filter of ours stays until the interface is what it was.
pub fn is_guard(parent: u32, found: &ClassicFilter) -> bool {
    found.kind == "u32" || (parent, found.priority) == (H_EGRESS, STOP)
}

/// The handle of the n-th of our programs, from 0, at one place.
pub fn handle(n: usize) -> u32 {
    OURS | u32::try_from(n + 1).unwrap_or(0xffff).min(0xffff)
}

/// Every filter of a plan, in the order in which each part is put in place.
pub fn design(plan: &Plan, lowered: &Lowered) -> Vec<Planned> {
    let mut filters = Vec::new();
    for (id, port) in plan.ports().filter(|(_, port)| port.role != Role::Watched) {
        guard(plan, id, port.role, &mut filters);
    }
    for (sink, Sink::Port(id)) in plan.sinks() {
        if plan.port(*id).queue.is_some() {
            for (number, side) in (0u16..).zip(plan.sides(sink)) {
                sides(plan, *id, number, &side.hooks, &mut filters);
            }
        }
    }
    for hook in &lowered.hooks {
        judge(plan, hook.hook, &hook.filters, &mut filters);
    }
    filters
}

/// Stops everything first, then lets go what came by a port that sends here.
fn guard(plan: &Plan, id: PortId, role: Role, filters: &mut Vec<Planned>) {
    let interface = egress_name(plan, id);
    let stop = |parent, priority, meaning| Planned {
        interface: interface.clone(),
        parent,
        part: Part::Guard,
        priority,
        handle: handle(0),
        matcher: program(&[ALWAYS]),
        class: 0,
        deeds: vec![(Deed::Count(Then::Drop), meaning)],
    };
    filters.push(stop(H_EGRESS, STOP, Meaning::Guarded(id)));
    let mut known: Vec<PortId> = Vec::new();
    for (hook_id, hook) in plan.hooks().filter(|(_, hook)| sends_to(plan, hook, id)) {
        // Frames of both directions of a watched interface bear one number, and are counted as one.
        if known.contains(&hook.at.port) {
            continue;
        }
        known.push(hook.at.port);
        filters.push(Planned {
            interface: interface.clone(),
            parent: H_EGRESS,
            part: Part::Guard,
            priority: FIRST,
            handle: u32::try_from(known.len()).expect("a plan has fewer than 2^16 ports"),
            matcher: Matcher::CameBy(plan.port(hook.at.port).interface.clone()),
            class: 0,
            deeds: vec![(Deed::Count(Then::Ok), Meaning::Seen(id, hook_id))],
        });
    }
    if matches!(role, Role::Monitor | Role::Virtual) {
        filters.push(stop(H_INGRESS, FIRST, Meaning::SensorSent(id)));
    }
}

fn sends_to(plan: &Plan, hook: &Hook, id: PortId) -> bool {
    let copies = hook.copies.iter().any(|copy| *plan.sink(copy.sink) == Sink::Port(id));
    copies || matches!(&hook.pass, plan::plan::Pass::To(ports) if ports.contains(&id))
}

/// Puts what came by the ports of a side into its class.
fn sides(plan: &Plan, id: PortId, number: u16, hooks: &[HookId], filters: &mut Vec<Planned>) {
    let interface = egress_name(plan, id);
    let parent = sys::handle(queue::HANDLE, 0);
    for hook in hooks {
        let came_by = &plan.port(plan.hook(*hook).at.port).interface;
        let here = filters.iter().filter(|it| it.interface == interface && it.parent == parent).count();
        filters.push(Planned {
            interface: interface.clone(),
            parent,
            part: Part::Side,
            priority: FIRST,
            handle: u32::try_from(here + 1).expect("a plan has fewer than 2^16 hooks"),
            matcher: Matcher::CameBy(came_by.clone()),
            class: queue::class_handle(number),
            deeds: Vec::new(),
        });
    }
}

/// What judges the frames of a hook. Each filter has a preference of its own: among programs of one preference
/// the kernel tries the newest first.
fn judge(plan: &Plan, id: HookId, judging: &[Filter], filters: &mut Vec<Planned>) {
    let hook = plan.hook(id);
    let mut chosen = vec![(TAGGED.to_vec(), vec![(Deed::Count(Then::Continue), Meaning::Tagged(id))])];
    for filter in judging {
        add(&mut chosen, bare(&filter.program), deeds(plan, id, &filter.duty));
    }
    let (parent, first) = match hook.at.direction {
        Direction::In => (H_INGRESS, FIRST),
        // Last: what others drop or change has not left as it came.
        Direction::Out => (H_EGRESS, LAST.saturating_sub(narrow(chosen.len() - 1))),
    };
    for (n, (insns, deeds)) in chosen.into_iter().enumerate() {
        filters.push(Planned {
            interface: plan.port(hook.at.port).interface.clone(),
            parent,
            part: Part::Judge,
            priority: first.saturating_add(narrow(n)),
            handle: handle(0),
            matcher: program(&insns),
            class: 0,
            deeds,
        });
    }
}

/// A program, and what is done to the frames that it chooses.
type Chosen = (Vec<ClassicInsn>, Vec<(Deed, Meaning)>);

/// The most actions of one filter (`TCA_ACT_MAX_PRIO`).
const ACTS_MAX: usize = 32;

/// Adds a filter, to the actions of the one before where the same program chooses the same frames: it runs once then.
fn add(chosen: &mut Vec<Chosen>, insns: Vec<ClassicInsn>, deeds: Vec<(Deed, Meaning)>) {
    if let Some((same, before)) = chosen.last_mut()
        && *same == insns
        && before.len() + deeds.len() <= ACTS_MAX
        && let Some((Deed::Mirror(_, then @ Then::Continue), _)) = before.last_mut()
    {
        *then = Then::Pipe;
        before.extend(deeds);
        return;
    }
    chosen.push((insns, deeds));
}

/// The instructions without jumps to the next one at the beginning.
fn bare(program: &[bpf::classic::Insn]) -> Vec<ClassicInsn> {
    const JUMP: u16 = 0x05;
    program.iter().skip_while(|it| (it.code, it.k) == (JUMP, 0)).map(insn).collect()
}

/// A number of filters of one hook, which are at most as many as its rules.
fn narrow(count: usize) -> u16 {
    u16::try_from(count).unwrap_or(u16::MAX)
}

fn deeds(plan: &Plan, id: HookId, duty: &Duty) -> Vec<(Deed, Meaning)> {
    match duty {
        Duty::Copy(copy) => {
            let Sink::Port(port) = plan.sink(Plan::copy(plan.hook(id), *copy).sink);
            vec![(Deed::Mirror(egress_name(plan, *port), Then::Continue), Meaning::Copied(id, *copy))]
        }
        Duty::Block(rule) => vec![(Deed::Count(Then::Drop), Meaning::Blocked(id, *rule))],
        Duty::Consume => vec![(Deed::Count(Then::Stolen), Meaning::Consumed(id))],
        Duty::Leave => vec![(Deed::Count(Then::Continue), Meaning::Left(id))],
        Duty::Pass(ports) => {
            let last = ports.len() - 1;
            let deed = |(n, port): (usize, &PortId)| {
                let to = egress_name(plan, *port);
                let deed = if n == last { Deed::Redirect(to) } else { Deed::Mirror(to, Then::Pipe) };
                (deed, Meaning::Handed(id, *port))
            };
            ports.iter().enumerate().map(deed).collect()
        }
    }
}

/// A program for filters.
fn program(insns: &[ClassicInsn]) -> Matcher {
    Matcher::Program { insns: insns.to_vec(), direct: false }
}

/// An instruction as the kernel is told it.
pub fn insn(it: &bpf::classic::Insn) -> ClassicInsn {
    ClassicInsn { code: it.code, jt: it.jt, jf: it.jf, k: it.k }
}

/// `ret #-1`: every frame.
const ALWAYS: ClassicInsn = ClassicInsn { code: 0x06, jt: 0, jf: 0, k: u32::MAX };
/// `ld vlan_avail; ret a`: frames with a tag beside their data.
const TAGGED: [ClassicInsn; 2] = [
    ClassicInsn { code: 0x20, jt: 0, jf: 0, k: 0xffff_f000 + 48 },
    ClassicInsn { code: 0x16, jt: 0, jf: 0, k: 0 },
];

/// Ends every frame behind a virtual interface, after sniffers have seen it.
pub fn sinkhole() -> ClassicSpec {
    const DROP: ClassicInsn = ClassicInsn { code: 0x06, jt: 0, jf: 0, k: 2 };
    ClassicSpec {
        chain: 0,
        priority: LAST,
        handle: handle(0),
        replace: false,
        with_clsact: true,
        matcher: Matcher::Program { insns: vec![DROP], direct: true },
        class: 0,
        acts: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn designed(monitors: &str) -> (Plan, Vec<Planned>) {
        let text = format!(
            "[ports]\na = \"a0\"\nb = \"b0\"\nids = {{ interface = \"m0\"{monitors} }}\n[[device]]\n\
             name = \"t\"\nkind = \"port-aggregator\"\nlink = [\"a\", \"b\"]\nmonitors = [\"ids\"]\n"
        );
        let (plan, _) = plan::compile("t.toml", &text).unwrap();
        let filters = design(&plan, &bpf::classic::lower(&plan).unwrap());
        (plan, filters)
    }

    fn on<'f>(filters: &'f [Planned], interface: &str, parent: u32) -> Vec<&'f Planned> {
        filters.iter().filter(|it| (it.interface.as_str(), it.parent) == (interface, parent)).collect()
    }

    #[test]
    fn what_all_frames_get_is_one_filter() {
        let (_, filters) = designed("");
        let here = on(&filters, "a0", H_INGRESS);
        let priorities: Vec<u16> = here.iter().map(|it| it.priority).collect();
        assert_eq!(priorities, [1, 2]);
        let deeds: Vec<&Deed> = here[1].deeds.iter().map(|(deed, _)| deed).collect();
        assert_eq!(deeds, [&Deed::Mirror("m0".into(), Then::Pipe), &Deed::Redirect("b0".into())]);
    }

    #[test]
    fn a_guard_stops_all_before_it_lets_go_what_came_by_the_ports() {
        let (_, filters) = designed("");
        let here = on(&filters, "m0", H_EGRESS);
        assert_eq!((here[0].priority, &here[0].matcher), (STOP, &program(&[ALWAYS])));
        let came_by: Vec<&Matcher> = here[1..].iter().map(|it| &it.matcher).collect();
        assert_eq!(came_by, [&Matcher::CameBy("a0".into()), &Matcher::CameBy("b0".into())]);
        assert!(here[1..].iter().all(|it| it.priority < STOP));
        assert_eq!(on(&filters, "m0", H_INGRESS)[0].deeds[0].0, Deed::Count(Then::Drop));
    }

    #[test]
    fn each_side_of_a_queue_has_its_class() {
        let (_, filters) = designed(", rate = \"1Mbit\"");
        let here = on(&filters, "m0", sys::handle(queue::HANDLE, 0));
        let classes: Vec<u32> = here.iter().map(|it| it.class).collect();
        assert_eq!(classes, [queue::class_handle(0), queue::class_handle(1)]);
    }

    #[test]
    fn a_counter_whose_interface_is_gone_is_as_planned() {
        let (_, filters) = designed("");
        let stop = on(&filters, "m0", H_INGRESS)[0];
        let index = |_: &str| Some(7);
        let spec = stop.spec(&index, 9, false).unwrap();
        let found = |to| ClassicFilter {
            kind: "bpf".into(),
            chain: 0,
            priority: spec.priority,
            protocol: 3,
            handle: spec.handle,
            matcher: spec.matcher.clone(),
            class: 0,
            acts: vec![sys::ActFound {
                act: Act::Mirror { to, then: Then::Drop },
                stats: sys::ActStats::default(),
            }],
        };
        assert!(stop.is_at(&found(0)) && stop.is_as_planned(&found(0), &index));
        assert!(!stop.is_as_planned(&found(9), &index), "a counter that still sends copies somewhere");
    }
}
