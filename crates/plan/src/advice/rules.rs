//! Advice about pf rules: those that never decide, those that speak of no frame, and what the parser remarked.

use std::collections::{BTreeMap, HashMap};

use rules::form::{Field, Number, Test};
use rules::pf::{Action, Remark, Rule};

use super::Advice;
use crate::Worded;
use crate::plan::{HookId, Origin, Pass, Plan, Role};
use crate::problem::shown;
use crate::rule_files::RuleFile;

/// The most pieces of advice about rules that never decide, for each file.
const USELESS_MAX: usize = 20;
/// Sets of more rules are not looked through for rules that never decide.
const SEARCHED_MAX: usize = 20_000;

/// What became of the rules of one statement, at all places together.
#[derive(Clone, Default)]
struct Fate {
    /// One of them can decide somewhere.
    alive: bool,
    /// Why one of them cannot, and what to do.
    why: Option<(String, &'static str)>,
}

/// Everything worth saying about the rule files of a plan.
pub(crate) fn advise(plan: &Plan, files: &[RuleFile], worded: &BTreeMap<HookId, Vec<Worded>>) -> Vec<Advice> {
    let mut advice = Vec::new();
    for (index, file) in files.iter().enumerate() {
        advice.extend(file.parsed.advice.iter().map(remarked));
        let sets = worded.iter().flat_map(|(hook, sets)| sets.iter().map(move |set| (*hook, set)));
        let sets: Vec<(HookId, &Worded)> = sets.filter(|(_, set)| set.file == index).collect();
        advice.extend(blocks_nothing(plan, file, &sets));
        advice.extend(useless(file, &sets));
    }
    advice
}

fn remarked(remark: &Remark) -> Advice {
    let Remark { file, line, column, flaw } = remark;
    Advice {
        at: Some(Origin { file: file.clone(), line: *line, column: *column }),
        what: flaw.what.clone(),
        why: String::new(),
        cure: flaw.help.clone().unwrap_or_else(|| "docs/pf.md has the whole language".to_owned()),
    }
}

fn origin(file: &RuleFile, rule: &Rule) -> Origin {
    Origin { file: file.shown.clone(), line: rule.line, column: rule.column }
}

/// A block where nothing is passed anyway.
fn blocks_nothing(plan: &Plan, file: &RuleFile, sets: &[(HookId, &Worded)]) -> Option<Advice> {
    let passes = |hook: &HookId| matches!(&plan.hook(*hook).pass, Pass::To(ports) if !ports.is_empty());
    let here = |(hook, set): &(HookId, &Worded)| {
        let rules = set.rules.iter().filter_map(|index| file.parsed.rules.get(*index as usize));
        let rule = rules.filter(|rule| rule.action == Action::Block).min_by_key(|rule| rule.line)?;
        Some((*hook, rule))
    };
    let (hook, rule) = sets.iter().filter(|(hook, _)| !passes(hook)).find_map(here)?;
    let port = plan.port(plan.hook(hook).at.port);
    let why = match port.role {
        Role::Watched => "is a watched interface, whose frames are left alone",
        _ => "is a SPAN port, which passes nothing on",
    };
    Some(Advice {
        at: Some(origin(file, rule)),
        what: "this `block` stops no frame, and only keeps copies from being made".to_owned(),
        why: format!("{} {why}", shown(&port.name)),
        cure: "write `pass` without `dup-to`, or use rules with `block` on a link".to_owned(),
    })
}

/// Statements of which no rule ever decides.
fn useless(file: &RuleFile, sets: &[(HookId, &Worded)]) -> Vec<Advice> {
    let rules = &file.parsed.rules;
    let mut fates: BTreeMap<u32, (usize, Fate)> = BTreeMap::new();
    for (index, rule) in rules.iter().enumerate() {
        fates.entry(rule.line).or_insert((index, Fate::default()));
    }
    let mut numbers = BTreeMap::new();
    let tests: Vec<Vec<usize>> = match rules.len() <= SEARCHED_MAX {
        true => rules.iter().map(|rule| conjuncts(rule, &mut numbers)).collect(),
        false => Vec::new(),
    };
    for (_, set) in sets {
        let set: Vec<usize> = set.rules.iter().map(|index| *index as usize).collect();
        look_through(rules, &tests, &set, &mut fates);
    }
    let dead = fates.into_values().filter(|(_, fate)| !fate.alive).map(|(index, fate)| {
        let (why, cure) = fate.why.unwrap_or_else(|| {
            let way = rules[index].direction.map_or("", |_| " that way");
            let why = format!("no frame of the devices that use this file goes{way} there");
            (why, "frames of a SPAN port are `in`, unless `directions` of the device says more")
        });
        Advice {
            at: Some(origin(file, &rules[index])),
            what: "this rule never decides".to_owned(),
            why,
            cure: cure.to_owned(),
        }
    });
    let mut advice: Vec<Advice> = dead.collect();
    if advice.len() > USELESS_MAX {
        let more = advice.len() - USELESS_MAX;
        advice.truncate(USELESS_MAX);
        if let Some(last) = advice.last_mut() {
            last.what.push_str(&format!(", and neither do {more} more"));
        }
    }
    advice
}

/// Finds, among the rules of one set, those for which others leave no frame.
fn look_through(
    rules: &[Rule],
    tests: &[Vec<usize>],
    set: &[usize],
    fates: &mut BTreeMap<u32, (usize, Fate)>,
) {
    let plain = |rule: &Rule| rule.tagged.is_none() && rule.chance.is_none();
    // By test: the first rule that takes all such frames, and the last that decides about them.
    let mut takers: HashMap<Vec<usize>, (Option<usize>, Option<usize>)> = HashMap::new();
    for (place, index) in set.iter().enumerate() {
        let Some(tests) = tests.get(*index) else { continue };
        let rule = &rules[*index];
        if plain(rule) {
            let (first, last) = takers.entry(tests.clone()).or_default();
            if rule.quick {
                first.get_or_insert(place);
            }
            if rule.action != Action::Match {
                *last = Some(place);
            }
        }
    }
    for (place, index) in set.iter().enumerate() {
        let rule = &rules[*index];
        let Some((_, fate)) = fates.get_mut(&rule.line) else { continue };
        let wider = tests.get(*index).map_or(Vec::new(), |tests| wider(tests));
        let found = wider.iter().filter_map(|tests| takers.get(tests));
        let (mut quick, mut later) = (None, None);
        for (first, last) in found {
            quick = quick.or(first.filter(|first| *first < place));
            later = later.or(last.filter(|last| *last > place));
        }
        let line = |place: usize| rules[set[place]].line;
        if let Some(taker) = quick {
            let why = format!("the rule of line {} is quick, and leaves no frame for it", line(taker));
            fate.why.get_or_insert((why, "move it up, or remove it"));
        } else if let Some(taker) = later.filter(|_| !rule.quick && rule.tag.is_none()) {
            let why = format!(
                "the rule of line {} matches the same frames, and the last one that matches decides",
                line(taker)
            );
            fate.why.get_or_insert((why, "write `quick` here, or move it behind that one"));
        } else {
            fate.alive = true;
        }
    }
}

/// The tests of a rule, all of which must hold, as numbers in order: equal tests have equal numbers.
fn conjuncts(rule: &Rule, numbers: &mut BTreeMap<Test, usize>) -> Vec<usize> {
    let tests = match rule.test() {
        Test::All(tests) => tests,
        Test::Always => Vec::new(),
        other => vec![other],
    };
    let number = |test| {
        let next = numbers.len();
        *numbers.entry(test).or_insert(next)
    };
    let mut tests: Vec<usize> = tests.into_iter().filter(|test| !any_version(test)).map(number).collect();
    tests.sort_unstable();
    tests.dedup();
    tests
}

/// Rules are tried on nothing but IP.
fn any_version(test: &Test) -> bool {
    match test {
        Test::Within(Number::Field(Field::Version), versions) => versions.contains(4) && versions.contains(6),
        _ => false,
    }
}

/// The tests themselves, and some with less in them: what holds for at least the same frames.
fn wider(tests: &[usize]) -> Vec<Vec<usize>> {
    let without = |left_out: usize| {
        let rest = tests.iter().enumerate().filter(move |(index, _)| *index != left_out);
        rest.map(|(_, test)| *test).collect::<Vec<_>>()
    };
    let mut wider: Vec<Vec<usize>> = (0..tests.len()).map(without).collect();
    wider.extend(tests.iter().map(|test| vec![*test]));
    wider.push(Vec::new());
    wider.push(tests.to_vec());
    wider
}

#[cfg(test)]
mod tests {
    use crate::compile_with;

    const LINK: &str = "link = ['a', 'b']";

    fn advice(source: &str, rules: &str) -> String {
        let config = format!(
            "[ports]\na = 'e1'\nb = 'e2'\nm = 'e3'\n[[device]]\nname = 'd'\nkind = 'distributor'\n\
             rules = 'pf'\n{source}\n"
        );
        let files = |_: &str| Ok(rules.to_owned());
        let compiled = compile_with("f", &config, &files).unwrap_or_else(|problems| panic!("{problems}"));
        compiled.advice.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn nothing_is_said_of_rules_that_all_decide() {
        let rules = "pass in dup-to m\npass in proto tcp dup-to m\npass in quick proto tcp to port 80\n\
                     pass in on a proto udp dup-to m\nblock in on b from 10.0.0.1\n";
        assert_eq!(advice(LINK, rules), "");
    }

    #[test]
    fn a_rule_behind_a_wider_quick_one() {
        let rules =
            "pass in quick proto tcp dup-to m\nblock in proto tcp to port 80\npass in proto udp dup-to m\n";
        assert_eq!(
            advice(LINK, rules),
            "pf:2:1: advice: this rule never decides: the rule of line 1 is quick, and leaves no frame for it\n\
             help: move it up, or remove it\n"
        );
    }

    #[test]
    fn a_rule_in_front_of_a_wider_one() {
        let rules = "block in on a proto tcp to port 80\npass in dup-to m\n";
        assert_eq!(
            advice(LINK, rules),
            "pf:1:1: advice: this rule never decides: the rule of line 2 matches the same frames, and the last \
             one that matches decides\n\
             help: write `quick` here, or move it behind that one\n"
        );
        // Tags outlive what a later rule decides, chance may spare a frame, and another port is another place.
        for rules in [
            "pass in proto tcp tag T\npass in dup-to m\npass in tagged T\n",
            "block in proto tcp to port 80\npass in dup-to m probability 10%\n",
            "block in on a proto tcp\npass in on b dup-to m\n",
            "block in quick proto tcp to port 80\npass in dup-to m\n",
        ] {
            assert_eq!(advice(LINK, rules), "", "{rules}");
        }
    }

    #[test]
    fn one_rule_of_a_list_that_decides_is_enough() {
        let rules = "pass in proto { tcp udp } dup-to m\nblock in proto udp\n";
        assert_eq!(advice(LINK, rules), "");
        let rules = "pass in proto { tcp udp } dup-to m\nblock in\n";
        assert!(advice(LINK, rules).starts_with("pf:1:1: advice: this rule never decides"));
    }

    #[test]
    fn rules_for_frames_that_never_come_and_blocks_that_stop_none() {
        let rules = "pass in on a dup-to m\npass out on a\nblock in on b\n";
        assert_eq!(
            advice("spans = ['a', 'b']", rules),
            "pf:2:1: advice: this rule never decides: no frame of the devices that use this file goes that way \
             there\n\
             help: frames of a SPAN port are `in`, unless `directions` of the device says more\n\
             pf:3:1: advice: this `block` stops no frame, and only keeps copies from being made: `b` is a SPAN \
             port, which passes nothing on\n\
             help: write `pass` without `dup-to`, or use rules with `block` on a link\n"
        );
    }

    #[test]
    fn of_many_rules_that_never_decide_some_are_shown() {
        let lines: String = (1..=40).map(|port| format!("pass in proto tcp to port {port}\n")).collect();
        let said = advice(LINK, &format!("{lines}pass in dup-to m\n"));
        assert_eq!(said.matches("advice:").count(), super::USELESS_MAX);
        assert!(said.contains("never decides, and neither do 20 more"), "{said}");
    }
}
