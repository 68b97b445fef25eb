//! Advice about pf rules: those that never decide, those that speak of no frame, and what the parser remarked.

use std::collections::BTreeMap;

use rules::form::Test;
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
    let tests: Vec<Vec<Test>> = match rules.len() <= SEARCHED_MAX {
        true => rules.iter().map(conjuncts).collect(),
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
    tests: &[Vec<Test>],
    set: &[usize],
    fates: &mut BTreeMap<u32, (usize, Fate)>,
) {
    let plain = |rule: &Rule| rule.tagged.is_none() && rule.chance.is_none();
    // By test: the first rule that takes all such frames, and the last that decides about them.
    let mut takers: BTreeMap<Vec<&Test>, (Option<usize>, Option<usize>)> = BTreeMap::new();
    for (place, index) in set.iter().enumerate() {
        let Some(tests) = tests.get(*index) else { continue };
        let rule = &rules[*index];
        if plain(rule) {
            let (first, last) = takers.entry(tests.iter().collect()).or_default();
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

/// The tests of a rule, all of which must hold, in order.
fn conjuncts(rule: &Rule) -> Vec<Test> {
    let mut tests = match rule.test() {
        Test::All(tests) => tests,
        Test::Always => Vec::new(),
        other => vec![other],
    };
    tests.sort_unstable();
    tests.dedup();
    tests
}

/// The tests themselves, and some with less in them: what holds for at least the same frames.
fn wider(tests: &[Test]) -> Vec<Vec<&Test>> {
    let whole: Vec<&Test> = tests.iter().collect();
    let without = |left_out: usize| {
        let rest = whole.iter().enumerate().filter(move |(index, _)| *index != left_out);
        rest.map(|(_, test)| *test).collect::<Vec<_>>()
    };
    let mut wider: Vec<Vec<&Test>> = (0..whole.len()).map(without).collect();
    wider.extend(whole.iter().map(|test| vec![*test]));
    wider.push(Vec::new());
    wider.push(whole);
    wider
}
