//! Chooses how each port is attached, and says why. Whatever the user asked for is done or refused, never
//! replaced by something else in silence.

use std::collections::BTreeSet;

use plan::plan::{Attach, Hook, HookId, Pass, Plan, Port, PortId, Role, Sink};
use rules::form::{Action, CopyIndex, Handed, Ruled, SpreadIndex};
use sys::{Link, Result, Sys};

use bpf::layout::{View, Wiring};

use crate::machine::card::{self, XDP_DRIVERS};
use crate::machine::saved::Choice;
use crate::machine::survey::{Machine, Refusal};

/// The largest MTU at which a driver runs an XDP program on whole frames: a page less head room, tail room
/// and Ethernet header (Linux on x86-64 with 4 KiB pages).
pub const XDP_MTU_MAX: u32 = 3498;

/// The oldest kernel that lets an XDP program load octets of a frame at a place that it computes
/// (`bpf_xdp_load_bytes`).
const XDP_RULES_OLDEST: (u32, u32) = (5, 18);

/// How programs are attached to a port.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Engine {
    /// `BPF_TCX_INGRESS` and `BPF_TCX_EGRESS`.
    Tcx,
    /// Filters of clsact.
    Clsact,
    /// Native XDP for what enters; what leaves is guarded by tcx, or by clsact on kernels without.
    Xdp,
}

impl Engine {
    /// The name in config, status and saved state.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcx => "tcx",
            Self::Clsact => "clsact",
            Self::Xdp => "xdp",
        }
    }

    /// The engine of a name that [`Engine::name`] gave.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Tcx, Self::Clsact, Self::Xdp].into_iter().find(|engine| engine.name() == name)
    }
}

/// What was chosen for one port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Chosen {
    /// How.
    pub engine: Engine,
    /// Why, in a few words.
    pub why: String,
    /// Whether the interface has no card behind it.
    pub is_virtual: bool,
}

impl Chosen {
    /// What is saved of it.
    pub fn to_saved(&self) -> Choice {
        Choice { attach: self.engine.name().into(), why: self.why.clone() }
    }
}

/// Chooses for every port. The interfaces of a plan that passed [`Machine::refusals`] exist.
///
/// # Errors
/// A system call that failed; the inner error is every reason to refuse.
pub fn choose(sys: &mut impl Sys, plan: &Plan, machine: &Machine) -> Result<Result_> {
    let mut chosen = Vec::new();
    let mut refusals = Vec::new();
    for (id, port) in plan.ports() {
        let Some(link) = machine.link(&port.interface) else {
            chosen.push(Chosen { is_virtual: true, ..skb(port, machine) });
            continue;
        };
        let driver = sys.driver(&link.name).map_or_else(|_| String::new(), |driver| driver.name);
        let is_virtual = card::is_virtual(&driver, link.kind.as_deref());
        let may_xdp = matches!(port.role, Role::Network | Role::Span);
        let choice = match port.attach {
            Attach::Xdp if !may_xdp => Err("only a network port or a SPAN port can take XDP".into()),
            Attach::Xdp => xdp_obstacle(sys, plan, machine, id, link, false)?
                .map_or(Ok(Chosen { engine: Engine::Xdp, why: "asked for".into(), is_virtual }), Err),
            Attach::Auto if may_xdp && XDP_DRIVERS.contains(&driver.as_str()) => {
                Ok(match xdp_obstacle(sys, plan, machine, id, link, true)? {
                    None => {
                        Chosen { engine: Engine::Xdp, why: format!("{driver} runs it natively"), is_virtual }
                    }
                    Some(why) => Chosen { why: format!("not xdp: {why}"), is_virtual, ..skb(port, machine) },
                })
            }
            _ => Ok(Chosen { is_virtual, ..skb(port, machine) }),
        };
        match choice {
            Ok(choice) => chosen.push(choice),
            Err(why) => refusals.push(Refusal {
                what: format!("port {}: {} cannot be attached with xdp: {why}", port.name, link.name),
                help: "mend that, or use attach = \"auto\"".into(),
            }),
        }
    }
    Ok(if refusals.is_empty() { Ok(chosen) } else { Err(refusals) })
}

/// What was chosen, or why nothing could be.
pub type Result_ = std::result::Result<Vec<Chosen>, Vec<Refusal>>;

/// tcx or clsact: what the user asked for, else the newer one that the kernel has.
fn skb(port: &Port, machine: &Machine) -> Chosen {
    let (engine, why) = match port.attach {
        Attach::Clsact => (Engine::Clsact, "asked for".to_owned()),
        Attach::Tcx => (Engine::Tcx, "asked for".to_owned()),
        _ if machine.has_tcx() => (Engine::Tcx, "works on every interface".to_owned()),
        _ => (Engine::Clsact, format!("kernel {} has no tcx", machine.kernel.release)),
    };
    Chosen { engine, why, is_virtual: false }
}

/// Why XDP would lose frames here, if it would: the silent cases are found before the first frame.
fn xdp_obstacle(
    sys: &mut impl Sys,
    plan: &Plan,
    machine: &Machine,
    id: PortId,
    link: &Link,
    must_know: bool,
) -> Result<Option<String>> {
    if link.mtu > XDP_MTU_MAX {
        return Ok(Some(format!("MTU {} is above {XDP_MTU_MAX}", link.mtu)));
    }
    // An interface that is down may not know yet; `up` looks again before it attaches.
    if let Some(features) = sys.xdp_features(link.index)?.filter(|_| link.has(sys::IFF_UP))
        && !(features.native() && features.redirect())
    {
        return Ok(Some("its driver does not run native programs that redirect".into()));
    }
    if link.xdp.is_some() {
        return Ok(Some("it has an XDP program already".into()));
    }
    let looks_into = |hook: &&Hook| hook.at.port == id && !hook.program.is_by_vlan();
    let (major, minor) = XDP_RULES_OLDEST;
    if plan.hooks.iter().any(|hook| looks_into(&hook)) && !machine.kernel.at_least(major, minor) {
        return Ok(Some(format!("rules that look into frames need Linux {major}.{minor} under xdp")));
    }
    for hook in plan.hooks.iter().filter(|hook| hook.at.port == id) {
        if repeats_a_sink(hook) {
            return Ok(Some("two rules copy to one monitor, which a devmap cannot do".into()));
        }
        for target in direct_targets(plan, hook) {
            let port = plan.port(target);
            let Some(there) = machine.link(&port.interface) else { continue };
            if enables_itself(port, there) {
                continue;
            }
            if must_know && !there.has(sys::IFF_UP) && port.role != Role::Virtual {
                return Ok(Some(format!(
                    "{} is down, and shows only when it is up what it takes",
                    there.name
                )));
            }
            if let Some(why) = takes_no_frames(sys, there)? {
                return Ok(Some(why));
            }
            if there.mtu < link.mtu {
                return Ok(Some(format!("{} has the smaller MTU {}", there.name, there.mtu)));
            }
        }
    }
    Ok(None)
}

/// Whether an interface takes redirected frames as soon as it has an XDP program of its own: the far port of a
/// link on a card gets one, and most drivers say so only then (`xdp_features_set_redirect_target`).
fn enables_itself(port: &Port, link: &Link) -> bool {
    port.role == Role::Network && link.kind.is_none()
}

/// Why an interface that is up takes no redirected frames, if it takes none: a broadcast would pass it by in
/// silence.
fn takes_no_frames(sys: &mut impl Sys, link: &Link) -> Result<Option<String>> {
    let Some(features) = sys.xdp_features(link.index)?.filter(|_| link.has(sys::IFF_UP)) else {
        return Ok(None);
    };
    if features.redirect_target() {
        return Ok(None);
    }
    let peer = "its far end needs an XDP program or GRO (`ethtool -K FAR gro on`)";
    let why = if link.kind.as_deref() == Some("veth") { peer } else { "its driver cannot" };
    Ok(Some(format!("{} takes no redirected frames: {why}", link.name)))
}

/// The check of [`choose`] once more, when every interface is up; `attached` says that every program is there too.
///
/// # Errors
/// A system call that failed.
pub fn late_obstacles(
    sys: &mut impl Sys,
    plan: &Plan,
    engines: &[Engine],
    attached: bool,
    link: impl Fn(PortId) -> Option<Link>,
) -> Result<Vec<Refusal>> {
    let mut refusals = Vec::new();
    let xdp = |hook: &&Hook| engines[usize::from(hook.at.port.0)] == Engine::Xdp;
    for hook in plan.hooks.iter().filter(xdp) {
        for target in direct_targets(plan, hook) {
            let Some(there) = link(target) else { continue };
            if !attached && enables_itself(plan.port(target), &there) {
                continue;
            }
            if let Some(why) = takes_no_frames(sys, &there)? {
                refusals.push(Refusal {
                    what: format!("port {} cannot be attached with xdp: {why}", plan.port(hook.at.port).name),
                    help: "mend that, or use attach = \"tcx\"".into(),
                });
            }
        }
    }
    Ok(refusals)
}

/// Whether one frame may be copied twice to one monitor. Of the rules of a set one decides, and of the choices of a
/// spread one is taken: only steps and sets add up.
fn repeats_a_sink(hook: &Hook) -> bool {
    let program = &hook.program;
    let of_spread = |index: SpreadIndex| {
        let spread = program.spreads.get(usize::from(index.0));
        spread.iter().flat_map(|spread| spread.choices()).map(|choice| choice.copy).collect::<Vec<_>>()
    };
    let of_handed = |handed: Handed| match handed {
        Handed::Nobody => Vec::new(),
        Handed::Copy(copy) => vec![copy],
        Handed::Spread(index) => of_spread(index),
    };
    let steps = program.steps.iter().map(|step| match step.then {
        Action::Copy(copy) => vec![copy],
        Action::Spread(index) => of_spread(index),
        Action::Block => Vec::new(),
    });
    let sets = program.rule_sets.iter().map(|set| {
        let handed = set.rulings().iter().filter_map(|ruling| match ruling.verdict {
            Ruled::Pass(handed) => Some(handed),
            Ruled::Block | Ruled::Match => None,
        });
        handed.flat_map(of_handed).collect()
    });
    let mut known = BTreeSet::new();
    steps.chain(sets).any(|copies| {
        let sinks = copies.iter().filter_map(|copy| hook.copies.get(usize::from(copy.0)));
        let sinks: BTreeSet<_> = sinks.map(|copy| copy.sink).collect();
        !sinks.into_iter().all(|sink| known.insert(sink))
    })
}

/// Ports that an XDP program of this hook redirects to itself, each once: those passed to, and monitors without a
/// rate.
fn direct_targets(plan: &Plan, hook: &Hook) -> Vec<PortId> {
    let passed = match &hook.pass {
        Pass::Leave => Vec::new(),
        Pass::To(ports) => ports.iter().copied().collect(),
    };
    let copied = hook.copies.iter().filter_map(|copy| {
        let Sink::Port(port) = plan.sink(copy.sink);
        plan.port(*port).queue.is_none().then_some(*port)
    });
    // Ten thousand rules may copy to one monitor, which need be asked only once what it takes.
    let mut known = BTreeSet::new();
    passed.into_iter().chain(copied).filter(|port| known.insert(*port)).collect()
}

/// What the choices mean for the programs: a copy from an XDP port to a monitor with a rate takes the hop,
/// because native redirection passes queueing disciplines by.
pub fn wiring(plan: &Plan, engines: &[Engine]) -> Wiring {
    let views =
        engines.iter().map(|engine| if *engine == Engine::Xdp { View::Xdp } else { View::Tc }).collect();
    let mut wiring = Wiring { views, ..Wiring::default() };
    wiring.hops = plan
        .hooks
        .iter()
        .map(|hook| {
            let xdp = wiring.view(hook) == View::Xdp;
            let queued = |sink| {
                let Sink::Port(port) = plan.sink(sink);
                plan.port(*port).queue.is_some()
            };
            let copies = (0u16..).zip(&hook.copies).filter(|(_, copy)| xdp && queued(copy.sink));
            copies.map(|(index, _)| CopyIndex(index)).collect()
        })
        .collect();
    wiring
}

/// The hooks that have a hop.
pub fn hops<'a>(plan: &'a Plan, wiring: &'a Wiring) -> impl Iterator<Item = HookId> + 'a {
    plan.hooks().map(|(id, _)| id).filter(|id| !wiring.hops[usize::from(id.0)].is_empty())
}

#[cfg(test)]
mod tests {
    use plan::plan::{Copy, SinkId};
    use rules::form::{Choice, Method, RuleId, RuleSet, Ruling, Spread, Step, Test};

    use super::*;

    fn hook(sinks: &[u16]) -> Hook {
        let text = "[ports]\na = \"a0\"\nb = \"b0\"\nids = \"m0\"\n[[device]]\nname = \"t\"\n\
                    kind = \"port-aggregator\"\nlink = [\"a\", \"b\"]\nmonitors = [\"ids\"]\n";
        let (mut plan, _) = plan::compile("t.toml", text).unwrap();
        let mut hook = plan.hooks.swap_remove(0);
        hook.program = rules::form::Program::default();
        hook.copies = sinks.iter().map(|sink| Copy { rule: RuleId(0), sink: SinkId(*sink) }).collect();
        hook
    }

    fn step(then: Action) -> Step {
        Step { rule: RuleId(0), when: Test::Always, then }
    }

    fn set(copies: &[u16]) -> RuleSet {
        let ruling = |copy: &u16| Ruling {
            rule: RuleId(0),
            when: Test::Always,
            tagged: None,
            chance: None,
            quick: false,
            verdict: Ruled::Pass(Handed::Copy(CopyIndex(*copy))),
            tag: None,
        };
        RuleSet::new(copies.iter().map(ruling).collect(), Vec::new())
    }

    #[test]
    fn rules_of_one_set_may_share_a_monitor_and_two_sets_may_not() {
        let mut hook = hook(&[0, 0, 1, 1]);
        hook.program.rule_sets = vec![set(&[0, 1, 2])];
        assert!(!repeats_a_sink(&hook));
        hook.program.rule_sets.push(set(&[3]));
        assert!(repeats_a_sink(&hook));
    }

    #[test]
    fn choices_of_one_spread_may_share_a_monitor_and_a_step_beside_it_may_not() {
        let mut hook = hook(&[0, 0, 1]);
        let choice = |copy| Choice { copy: CopyIndex(copy), weight: 1, key: 7 };
        hook.program.spreads = vec![Spread::new(Method::Flow, vec![choice(0), choice(1)], false).unwrap()];
        hook.program.steps = vec![step(Action::Spread(SpreadIndex(0))), step(Action::Copy(CopyIndex(2)))];
        assert!(!repeats_a_sink(&hook));
        hook.program.steps.push(step(Action::Copy(CopyIndex(0))));
        assert!(repeats_a_sink(&hook));
    }
}
