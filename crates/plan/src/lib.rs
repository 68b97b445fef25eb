//! The pure heart: config -> model -> plan, and what a plan means.
//!
//! Data runs one way. [`config`] turns text into typed values with spans and reports every problem at
//! once; [`model`] holds what the user asked for in devices-free terms and refuses nonsense; [`plan`]
//! is what must be true on the machine; [`eval()`] is what a plan means, frame by frame, and what every
//! backend is tested against. Never does I/O, never reads a clock.

pub mod advice;
pub mod arbitrary;
pub mod config;
pub mod diff;
pub mod eval;
pub mod explain;
pub mod ledger;
pub mod model;
pub mod names;
pub mod plan;
mod problem;
pub mod rule_files;
pub mod simulation;
pub mod tally;
pub mod text;
pub mod units;

pub use advice::Advice;
pub use diff::{Diff, diff};
pub use eval::eval;
pub use problem::{PROBLEMS_MAX, Problem, Problems, Refusal, listed, shown, utf8};

pub use rule_files::{Files, RuleFile, no_files};

use std::collections::BTreeMap;

use plan::{Direction, HookId, Plan};
use simulation::Simulation;

/// What a text asks for, and how it was written.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// The plan.
    pub plan: Plan,
    /// What is worth knowing about it.
    pub advice: Vec<Advice>,
    /// The rule files that it names, by name.
    pub rule_files: Vec<RuleFile>,
    /// The expression of each `[[device.copy]]` that has one, by the label of its rule.
    pub expressions: BTreeMap<String, String>,
    /// Where the rules of each set were written, by hook and in the order of its sets. Empty for a plan.
    pub worded: BTreeMap<HookId, Vec<Worded>>,
    /// What virtual time is told. The default for a plan.
    pub simulation: Simulation,
}

/// Where the rules of a set were written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Worded {
    /// Index into [`Compiled::rule_files`].
    pub file: usize,
    /// For each rule of the set its index in the file's rules.
    pub rules: Vec<u32>,
}

/// The plan that a text asks for, and what is worth knowing about it. The text is a config that names no rule
/// file, or the canonical text of a plan, which begins with a line `plan 1`.
///
/// # Errors
/// Everything that is wrong with the text, with positions. `file` only names it.
pub fn compile(file: &str, text: &str) -> Result<(Plan, Vec<Advice>), Problems> {
    compile_with(file, text, &no_files).map(|compiled| (compiled.plan, compiled.advice))
}

/// The same of a text that may name rule files, which `files` hands over.
///
/// # Errors
/// Everything that is wrong with the text and with the files that it names, with positions.
pub fn compile_with(file: &str, text: &str, files: &Files<'_>) -> Result<Compiled, Problems> {
    if text::is_plan(text) {
        let plan = text::parse_named(file, text)?;
        let advice = advice::advise(&plan, &BTreeMap::new());
        return Ok(Compiled {
            plan,
            advice,
            rule_files: Vec::new(),
            expressions: BTreeMap::new(),
            worded: BTreeMap::new(),
            simulation: Simulation::default(),
        });
    }
    let mut report = problem::Report::new(text);
    let drafts = config::drafts(text, &mut report);
    let rule_files = rule_files::load(file, &drafts, files, &mut report);
    let expanded = plan::devices::expand(file, &drafts, &rule_files, &mut report);
    let places = drafts.ports.iter().map(|port| {
        let name = &port.name;
        (name.value.clone(), report.origin(file, name.span.start))
    });
    let mut places: BTreeMap<_, _> = places.collect();
    let mut advice = advice::unused_ports(&expanded.model, &places);
    for (id, origin) in &expanded.implied {
        let name = &expanded.model.port(*id).name;
        advice.extend(advice::near_port(&expanded.model, *id, &places, origin));
        places.insert(name.clone(), origin.clone());
    }
    config::simulate::check(&drafts, &expanded.model, report.is_empty(), &mut report);
    let headers: Vec<_> =
        drafts.devices.iter().map(|draft| report.origin(file, draft.header.start)).collect();
    report.finish(file)?;
    // Capacities on other ports were refused above, where their place is known.
    let plan = expanded.model.plan().expect("expand() reports each capacity that stands on no monitor port");
    let rule_files: Vec<RuleFile> = rule_files.into_read().collect();
    let worded = worded(&plan, &rule_files, expanded.worded);
    advice.extend(advice::advise(&plan, &places));
    advice.extend(advice::advise_rules(&plan, &rule_files, &worded));
    let simulation = config::simulate::resolve(&drafts, &plan);
    advice.extend(advice::advise_told(&told(&drafts, &plan, &places, &simulation, headers)));
    advice.sort_by(|x, y| x.at.cmp(&y.at));
    Ok(Compiled { plan, advice, rule_files, expressions: expanded.expressions, worded, simulation })
}

/// What a config says that its plan does not.
fn told<'a>(
    drafts: &'a config::Drafts,
    plan: &'a Plan,
    places: &'a BTreeMap<String, plan::Origin>,
    simulation: &'a Simulation,
    headers: Vec<plan::Origin>,
) -> advice::Told<'a> {
    let devices = drafts.devices.iter().zip(headers);
    advice::Told {
        plan,
        places,
        simulation,
        ports: drafts.ports.iter().filter_map(|draft| draft.port.as_ref()).collect(),
        devices: devices.filter_map(|(draft, at)| Some((draft.device.as_ref()?, at))).collect(),
    }
}

/// Puts what is known by the names of ports under the ids of hooks.
fn worded(
    plan: &Plan,
    rule_files: &[RuleFile],
    written: Vec<plan::steering::Worded>,
) -> BTreeMap<HookId, Vec<Worded>> {
    let key = |hook: &plan::Hook| (plan.port(hook.at.port).name.as_str(), hook.at.direction);
    let hooks: BTreeMap<(&str, Direction), HookId> = plan.hooks().map(|(id, hook)| (key(hook), id)).collect();
    let mut worded: BTreeMap<HookId, Vec<Worded>> = BTreeMap::new();
    for set in written {
        let hook = hooks[&(set.port.as_str(), set.direction)];
        let file = rule_files.iter().position(|file| file.written == set.file);
        let file = file.expect("a set is made of a file that was read");
        worded.entry(hook).or_default().push(Worded { file, rules: set.rules });
    }
    worded
}
