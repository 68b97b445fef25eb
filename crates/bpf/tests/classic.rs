//! `eval` and the interpreted classic filters give one verdict, with the outer tag in the data and beside it, on
//! every corpus case that is lowered and on random plans and frames; what is refused is refused with its reason.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod common;

use std::collections::BTreeMap;

use bpf::classic::{self, Beside, Duty, Filters, Refused, Why};
use common::classic::{one, tamed};
use common::{steering, untagged};
use plan::arbitrary::{self, Random};
use plan::eval::{Fate, State, Time, Verdict, eval};
use plan::plan::{Plan, Point};
use rules::form::{Action, CopyIndex, Handed, RuleSet, Ruled, Test};
use wire::Frame;

const PAIRS: usize = 100_000;

/// What tc does with a frame: filters in order, up to the one that ends it.
fn carried_out(filters: &Filters, data: &[u8], beside: Beside) -> (Vec<CopyIndex>, Fate) {
    let mut copies = Vec::new();
    for filter in &filters.filters {
        match classic::run(&filter.program, data, beside).unwrap() {
            0 => continue,
            chosen => assert_eq!(chosen, u32::MAX, "the class of a filter that has none"),
        }
        let fate = match &filter.duty {
            Duty::Copy(copy) => {
                copies.push(*copy);
                continue;
            }
            Duty::Block(rule) => Fate::Blocked(*rule),
            Duty::Consume => Fate::Consumed,
            Duty::Pass(ports) => Fate::Passed(ports.clone()),
            Duty::Leave => Fate::Left,
        };
        return (copies, fate);
    }
    panic!("the last filter ends every frame");
}

/// What of copies can be told apart: those of one set of rules have no order, only one is made.
fn agrees(plan: &Plan, filters: &Filters, at: Point, data: &[u8]) -> Verdict {
    let frame = Frame::ethernet(data).unwrap();
    let verdict = eval(plan, &mut State::default(), Time(0), 0, at, &frame).unwrap();
    let (stripped, tag) = untagged(data);
    let mut views = vec![(data, Beside::default())];
    if tag.is_some() {
        views.push((&stripped, Beside { tag }));
    }
    for (data, beside) in views {
        let (copies, fate) = carried_out(filters, data, beside);
        let program = &plan.hook(verdict.hook).program;
        let sizes: Vec<usize> = program.rule_sets.iter().map(|set| set.rulings().len()).collect();
        assert_eq!(
            (&copies, &fate),
            (&verdict.copies, &verdict.fate),
            "{beside:?} {data:02x?}\n{:?}\nsets of {sizes:?} rules",
            (sizes.iter().sum::<usize>() < 20).then_some(program)
        );
    }
    verdict
}

#[test]
fn every_corpus_case_that_is_lowered_agrees() {
    let (mut lowered_cases, mut frames) = (0, 0);
    for case in corpus::cases().unwrap() {
        let Ok(lowered) = classic::lower(&case.plan) else { continue };
        lowered_cases += 1;
        for input in &case.frames {
            let Some((hook, _)) = case.plan.hook_at(input.at) else { continue };
            agrees(&case.plan, &lowered.hooks[usize::from(hook.0)], input.at, &input.data);
            frames += 1;
        }
    }
    assert!(lowered_cases > 40 && frames > 300, "{lowered_cases} cases, {frames} frames");
}

#[test]
fn random_plans_and_frames_agree() {
    let mut random = Random::new(corpus::seed());
    let mut pairs = 0;
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    let (mut hooks, mut spreads, mut chains) = ((0, 0), 0, 0);
    while pairs < PAIRS {
        let plan = tamed(match pairs % 3 {
            0 => arbitrary::plan(&mut random),
            _ => steering::plan(&mut random),
        });
        for (id, hook) in plan.hooks() {
            let filters = match one(&plan, id) {
                Ok(filters) => filters,
                Err(refused) => {
                    // Sets of thousands of rules are drawn once in 40 hooks.
                    let too_long = |it: &Refused| matches!(it.why, Why::TooLong { .. } | Why::TooDeep);
                    assert!(refused.iter().all(too_long), "{refused:?}");
                    hooks.1 += 1;
                    continue;
                }
            };
            hooks.0 += 1;
            let by_step = hook.program.steps.iter().any(|step| matches!(step.then, Action::Spread(_)));
            let rulings = hook.program.rule_sets.iter().flat_map(RuleSet::rulings);
            let mut handed = rulings.map(|ruling| ruling.verdict);
            let by_rule = handed.any(|verdict| matches!(verdict, Ruled::Pass(Handed::Spread(_))));
            spreads += usize::from(by_step || by_rule);
            let steps = hook.program.steps.iter().map(|step| &step.when);
            let rulings = hook.program.rule_sets.iter().flat_map(RuleSet::rulings);
            chains += usize::from(steps.chain(rulings.map(|ruling| &ruling.when)).any(follows_chain));
            for _ in 0..100 {
                let data = steering::frame(&mut random, &plan);
                let verdict = agrees(&plan, &filters, hook.at, &data);
                pairs += 1;
                *kinds.entry(if verdict.copies.is_empty() { "not copied" } else { "copied" }).or_default() +=
                    1;
                let fate = match verdict.fate {
                    Fate::Left => "left",
                    Fate::Passed(_) => "passed",
                    Fate::Consumed => "consumed",
                    Fate::Blocked(_) => "blocked",
                };
                *kinds.entry(fate).or_default() += 1;
            }
        }
    }
    println!("{kinds:?}, hooks lowered and refused {hooks:?}, {spreads} by source, {chains} with chains");
    assert_eq!(kinds.len(), 6, "{kinds:?}");
    assert!(kinds.values().all(|count| *count > PAIRS / 50), "{kinds:?}");
    assert!(hooks.1 * 10 < hooks.0 && spreads > 20 && chains > 20, "{hooks:?} {spreads} {chains}");
}

fn follows_chain(test: &Test) -> bool {
    match test {
        Test::Chain(_) => true,
        Test::Not(test) => follows_chain(test),
        Test::All(tests) | Test::Any(tests) => tests.iter().any(follows_chain),
        _ => false,
    }
}
