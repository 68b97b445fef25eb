//! Advice: what is allowed, and probably not what was meant. Each with its reason and a cure.
//!
//! Never refuses anything, and never guesses: a link's speed is not known here, so nothing is said of
//! monitors that might be too slow for what feeds them.

mod meet;
mod rules;

use std::collections::BTreeMap;
use std::fmt;

use ::rules::form::{Action, Handed, RuleId, Ruled, Spread, Test};

use self::meet::Search;
use crate::model::Model;
use crate::plan::{Attach, Hook, Origin, Plan, PortId, Role, SIDES_MAX, Sink, SinkId};
use crate::problem::{nearest, shown};
use crate::units::ShownSize;

/// The longest Ethernet frame without tags and FCS that every card passes, octets.
const FULL_FRAME: u64 = 1514;

/// A piece of advice.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Advice {
    /// Where, as far as that is known.
    pub at: Option<Origin>,
    /// What was found.
    pub what: String,
    /// Why it matters; empty where `what` says it.
    pub why: String,
    /// What to do about it.
    pub cure: String,
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(at) = &self.at {
            write!(f, "{at}: ")?;
        }
        write!(f, "advice: {}", self.what)?;
        match self.why.is_empty() {
            true => writeln!(f)?,
            false => writeln!(f, ": {}", self.why)?,
        }
        writeln!(f, "help: {}", self.cure)
    }
}

/// Everything worth saying about a plan. `places` tells where each port stands in the user's text.
pub fn advise(plan: &Plan, places: &BTreeMap<String, Origin>) -> Vec<Advice> {
    let mut advice = Vec::new();
    small_buffers(plan, places, &mut advice);
    folded_sides(plan, places, &mut advice);
    xdp_into_queues(plan, places, &mut advice);
    for (_, hook) in plan.hooks() {
        overlaps(plan, hook, &mut advice);
    }
    advice
}

fn small_buffers(plan: &Plan, places: &BTreeMap<String, Origin>, advice: &mut Vec<Advice>) {
    for port in &plan.ports {
        let Some(queue) = port.queue.filter(|queue| queue.buffer_bytes < FULL_FRAME) else { continue };
        advice.push(Advice {
            at: places.get(&port.name).cloned(),
            what: format!("the buffer of {} is {}", shown(&port.name), ShownSize(queue.buffer_bytes)),
            why: format!(
                "a full frame has {FULL_FRAME} octets, so that none can wait, and all that should are lost"
            ),
            cure: "leave `buffer` out for 1MiB a side".to_owned(),
        });
    }
}

fn folded_sides(plan: &Plan, places: &BTreeMap<String, Origin>, advice: &mut Vec<Advice>) {
    for (id, _) in plan.sinks() {
        let name = plan.sink_name(id);
        let count = plan.hooks().filter(|(_, hook)| hook.copies.iter().any(|copy| copy.sink == id)).count();
        if count > SIDES_MAX {
            advice.push(Advice {
                at: places.get(name).cloned(),
                what: format!("{} is fed from {count} sides", shown(name)),
                why: format!("above {SIDES_MAX} they fold into two, `even` and `odd`, with one buffer and one count each"),
                cure: "divide the sources between more monitors to keep their losses apart".to_owned(),
            });
        }
    }
}

fn xdp_into_queues(plan: &Plan, places: &BTreeMap<String, Origin>, advice: &mut Vec<Advice>) {
    let queued = |hook: &Hook| {
        let mut sinks = hook.copies.iter().map(|copy| plan.sink(copy.sink));
        sinks.find_map(|Sink::Port(port)| Some(plan.port(*port)).filter(|port| port.queue.is_some()))
    };
    for hook in &plan.hooks {
        let port = plan.port(hook.at.port);
        if port.attach != Attach::Xdp {
            continue;
        }
        let Some(monitor) = queued(hook) else { continue };
        let at = places.get(&port.name).cloned();
        if advice.last().is_some_and(|last| last.at.is_some() && last.at == at) {
            continue;
        }
        advice.push(Advice {
            at,
            what: format!("{} asks for XDP, and {} has a rate", shown(&port.name), shown(&monitor.name)),
            why: "XDP sends past queues, so that these copies take a slower way through tc; frames that pass do not"
                .to_owned(),
            cure: "remove the rate if the monitor need not be modelled, or leave it so".to_owned(),
        });
    }
}

/// Something that hands copies of a hook's frames to one sink.
#[derive(Clone, Copy)]
struct Giver<'p> {
    /// Of one set of rules one decides; all else copies on its own.
    set: Option<usize>,
    when: &'p Test,
    /// Whether it copies there whatever it matches.
    always: bool,
    rule: RuleId,
}

impl Giver<'_> {
    /// Whether every frame is taken, or those of a list of VLANs.
    fn is_by_list(&self) -> bool {
        matches!(self.when, Test::Always | Test::Vlan(_))
    }

    /// Expressions ask for octets and pf rules for fields, and neither is held against the other: what `arp`
    /// and a rule for TCP have in common would have to be known.
    fn is_comparable(&self, other: &Self) -> bool {
        self.set.is_some() == other.set.is_some() || self.is_by_list() || other.is_by_list()
    }
}

/// All of a hook, by sink, in the order in which they are tried.
fn givers(hook: &Hook) -> BTreeMap<SinkId, Vec<Giver<'_>>> {
    let program = &hook.program;
    let mut by_sink: BTreeMap<_, Vec<Giver<'_>>> = BTreeMap::new();
    let mut add = |handed, set, when, rule| match handed {
        Handed::Nobody => {}
        Handed::Copy(copy) => {
            let giver = Giver { set, when, always: set.is_none(), rule };
            by_sink.entry(Plan::copy(hook, copy).sink).or_default().push(giver);
        }
        Handed::Spread(index) => {
            let choices = program.spreads.get(usize::from(index.0)).map_or(&[][..], Spread::choices);
            for choice in choices {
                let giver = Giver { set, when, always: false, rule };
                by_sink.entry(Plan::copy(hook, choice.copy).sink).or_default().push(giver);
            }
        }
    };
    for step in &program.steps {
        let handed = match step.then {
            Action::Copy(copy) => Handed::Copy(copy),
            Action::Spread(index) => Handed::Spread(index),
            Action::Block => Handed::Nobody,
        };
        add(handed, None, &step.when, step.rule);
    }
    for (at, set) in program.rule_sets.iter().enumerate() {
        for ruling in set.rulings() {
            if let Ruled::Pass(handed) = ruling.verdict {
                add(handed, Some(at), &ruling.when, ruling.rule);
            }
        }
    }
    by_sink
}

/// Copies of one hook to one sink whose tests hold for the same frames: the sensor sees those twice.
fn overlaps(plan: &Plan, hook: &Hook, advice: &mut Vec<Advice>) {
    let mut search = Search::new();
    for (sink, givers) in givers(hook) {
        // Rules of one set need not be held against each other, and there may be many.
        let mut earlier: BTreeMap<Option<usize>, Vec<Giver<'_>>> = BTreeMap::new();
        for giver in givers {
            let others = earlier.iter().filter(|(set, _)| set.is_none() || **set != giver.set);
            let mut others = others.flat_map(|(_, givers)| givers);
            let meets =
                |other: &&Giver<'_>| other.is_comparable(&giver) && search.may_meet(other.when, giver.when);
            if let Some(first) = others.find(meets) {
                advice.push(twice(plan, hook, sink, [*first, giver]));
                break;
            }
            earlier.entry(giver.set).or_default().push(giver);
        }
    }
}

fn twice(plan: &Plan, hook: &Hook, sink: SinkId, givers: [Giver<'_>; 2]) -> Advice {
    let (sink, source) = (plan.sink_name(sink), plan.source_name(hook));
    let [one, two] = givers.map(|giver| shown(&plan.rule(giver.rule).label));
    let at = plan.rule(givers[1].rule).origin.clone();
    if givers.iter().all(|giver| giver.always && giver.is_by_list()) {
        return Advice {
            at,
            what: format!("{} gets some frames of {} twice", shown(sink), shown(&source)),
            why: format!("{one} and {two} both copy them there ({}; {})", givers[0].when, givers[1].when),
            cure: "make their `vlans` disjoint, or give them different monitors".to_owned(),
        };
    }
    Advice {
        at,
        what: format!("{} may get some frames of {} twice", shown(sink), shown(&source)),
        why: format!("{one} and {two} may both copy a frame there, each on its own"),
        cure: "exclude from one what the other matches, or give them different monitors".to_owned(),
    }
}

/// Ports that no device uses.
pub(crate) fn unused_ports(model: &Model, places: &BTreeMap<String, Origin>) -> Vec<Advice> {
    let unused = |name: &&String| model.named(name).is_some_and(|id| model.role(id).is_none());
    let say = |name: &String| Advice {
        at: places.get(name).cloned(),
        what: format!("no device uses port {}", shown(name)),
        why: "it is left out of the plan, and its interface alone".to_owned(),
        cure: "name it in a device, or remove it".to_owned(),
    };
    places.keys().filter(unused).map(say).collect()
}

/// An interface that `[ports]` does not name, but almost.
pub(crate) fn near_port(
    model: &Model,
    id: PortId,
    places: &BTreeMap<String, Origin>,
    at: &Origin,
) -> Option<Advice> {
    if !matches!(model.role(id), Some((Role::Watched | Role::Monitor, _))) {
        return None;
    }
    let name = &model.port(id).name;
    // Interfaces are named by series: eth0 beside eth1 is no slip, and neither is a digit more.
    let letters = |name: &str| name.trim_end_matches(|c: char| c.is_ascii_digit()).to_owned();
    let near =
        nearest(name, places.keys().map(String::as_str)).filter(|near| letters(near) != letters(name))?;
    Some(Advice {
        at: Some(at.clone()),
        what: format!("{} is no port, and is taken for a Linux interface", shown(name)),
        why: format!("[ports] has {}, which is nearly the same", shown(near)),
        cure: format!("write \"{near}\" if that is meant"),
    })
}

pub(crate) use rules::advise as advise_rules;

#[cfg(test)]
mod tests {
    use crate::compile;

    fn advice(config: &str) -> String {
        let (_, advice) = compile("f", config).unwrap_or_else(|problems| panic!("{problems}"));
        advice.iter().map(ToString::to_string).collect()
    }

    const TAP: &str =
        "[[device]]\nname = 't'\nkind = 'port-aggregator'\nlink = ['a', 'b']\nmonitors = ['m']\n";

    #[test]
    fn nothing_is_said_of_a_sound_config() {
        assert_eq!(advice(&format!("[ports]\na = 'e1'\nb = 'e2'\nm = 'e3'\n{TAP}")), "");
    }

    #[test]
    fn unused_ports_small_buffers_and_xdp_into_queues() {
        let ports = "[ports]\na = { interface = 'e1', attach = 'xdp' }\nb = 'e2'\nc = 'e4'\n\
                     m = { interface = 'e3', rate = '1Gbit', buffer = '1kB' }\n";
        assert_eq!(
            advice(&format!("{ports}{TAP}")),
            "f:2:1: advice: `a` asks for XDP, and `m` has a rate: XDP sends past queues, so that these copies \
             take a slower way through tc; frames that pass do not\n\
             help: remove the rate if the monitor need not be modelled, or leave it so\n\
             f:4:1: advice: no device uses port `c`: it is left out of the plan, and its interface alone\n\
             help: name it in a device, or remove it\n\
             f:5:1: advice: the buffer of `m` is 1kB: a full frame has 1514 octets, so that none can wait, \
             and all that should are lost\n\
             help: leave `buffer` out for 1MiB a side\n"
        );
    }

    #[test]
    fn a_sensor_that_sees_frames_twice() {
        let more = TAP.replace("'t'", "'u'").replace("link", "vlans = ['5-7']\nlink");
        assert_eq!(
            advice(&format!("[ports]\na = 'e1'\nb = 'e2'\nm = 'e3'\n{TAP}{more}")),
            "f:10:1: advice: `m` gets some frames of `a` twice: `t` and `u` both copy them there (all; vlan 5-7)\n\
             help: make their `vlans` disjoint, or give them different monitors\n\
             f:10:1: advice: `m` gets some frames of `b` twice: `t` and `u` both copy them there (all; vlan 5-7)\n\
             help: make their `vlans` disjoint, or give them different monitors\n"
        );
    }

    const SPLIT: &str = "[[device]]\nname = 'd'\nkind = 'distributor'\nlink = ['a', 'b']\n";

    /// Copies of one link, each of an expression to its monitors.
    fn of_copies(copies: &[(&str, &str)]) -> String {
        let copy =
            |(expression, to): &(&str, &str)| format!("[[device.copy]]\nmatch = '{expression}'\nto = {to}\n");
        let copies: String = copies.iter().map(copy).collect();
        advice(&format!("[ports]\na = 'e1'\nb = 'e2'\nm = 'e3'\nn = 'e4'\n{SPLIT}{copies}"))
    }

    #[test]
    fn expressions_that_may_both_copy_to_one_monitor() {
        let said = |source: &str| {
            format!(
                "f:13:1: advice: `m` may get some frames of `{source}` twice: `f:10` and `f:13` may both copy a frame \
                 there, each on its own\n\
                 help: exclude from one what the other matches, or give them different monitors\n"
            )
        };
        let twice = said("a") + &said("b");
        assert_eq!(of_copies(&[("tcp", "['m', 'n']"), ("port 80", "['m']")]), twice);
        let balanced = "['m', 'n']\nbalance = 'flow'";
        assert!(
            of_copies(&[("tcp", balanced), ("port 80", "['m']")]).contains("`m` may get some frames of `a`")
        );
        assert_eq!(of_copies(&[("tcp", "['m']"), ("port 80", "['n']")]), "");
        assert_eq!(of_copies(&[("tcp", "['m', 'n']"), ("udp", "['m']"), ("arp", "['m']")]), "");
        assert_eq!(of_copies(&[("tcp port 80", "['m', 'n']"), ("not tcp port 80", "['m']")]), "");
    }

    #[test]
    fn rules_of_one_set_copy_once_and_those_of_two_may_copy_twice() {
        let ports = "[ports]\na = 'e1'\nb = 'e2'\nm = 'e3'\n";
        let rules = "pass in on a proto tcp dup-to m\npass in on a proto tcp to port 80 dup-to m\n";
        let files = |_: &str| Ok(rules.to_owned());
        let advice = |more: &str| {
            let config = format!("{ports}{SPLIT}rules = 'pf'\n{}{more}", SPLIT.replace("'d'", "'e'"));
            let compiled =
                crate::compile_with("f", &config, &files).unwrap_or_else(|wrong| panic!("{wrong}"));
            let said = compiled.advice.iter().map(ToString::to_string);
            said.filter(|said| said.contains("twice")).collect::<String>()
        };
        assert_eq!(advice("[[device.copy]]\nmatch = 'arp'\nto = ['m']\n"), "");
        assert_eq!(
            advice("[[device.copy]]\nto = ['m']\n"),
            "pf:1:1: advice: `m` may get some frames of `a` twice: `f:14` and `pf:1` may both copy a frame there, \
             each on its own\n\
             help: exclude from one what the other matches, or give them different monitors\n"
        );
        assert_eq!(advice("rules = 'pf2'\n").matches("`pf:1` and `pf2:1` may both").count(), 1);
    }

    #[test]
    fn seventeen_sides_fold() {
        let spans: Vec<String> = (0..17).map(|n| format!("s{n}")).collect();
        let ports: String = spans.iter().map(|name| format!("{name} = 'e-{name}'\n")).collect();
        let config = |count: usize| {
            let list = spans[..count].join("','");
            format!("[ports]\n{ports}[[device]]\nname='b'\nkind='bond'\nspans=['{list}']\ninterface='ng0'\n")
        };
        assert!(advice(&config(17)).contains("`ng0` is fed from 17 sides"));
        assert!(!advice(&config(16)).contains("sides"));
    }

    #[test]
    fn a_watched_interface_that_is_almost_a_port() {
        let watch = |name: &str| {
            let device = "[[device]]\nname='w'\nkind='watch'\nmonitors=['m']\n";
            advice(&format!("[ports]\nm='e0'\nuplink='e1'\n{device}interfaces=['{name}', 'uplink']\n"))
        };
        assert!(watch("uplnk").contains("help: write \"uplink\" if that is meant"));
        assert_eq!(watch("uplink2"), "");
        assert_eq!(watch("br-lan"), "");
    }
}
