//! Frames that a sensor sees twice: copies of one source to one monitor whose tests may hold for the same frames.

use std::collections::BTreeMap;

use ::rules::form::{Action, Handed, RuleId, Ruled, Spread, Test};

use super::Advice;
use super::meet::Search;
use crate::plan::{Hook, Plan, SinkId};
use crate::problem::shown;

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
pub(super) fn overlaps(plan: &Plan, hook: &Hook, advice: &mut Vec<Advice>) {
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

#[cfg(test)]
mod tests {
    use super::super::tests::{TAP, advice};

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
}
