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
pub mod ledger;
pub mod model;
pub mod names;
pub mod plan;
mod problem;
pub mod text;
pub mod units;

pub use advice::Advice;
pub use diff::{Diff, diff};
pub use eval::eval;
pub use problem::{PROBLEMS_MAX, Problem, Problems, Refusal, listed, shown, utf8};

use std::collections::BTreeMap;

use plan::Plan;

/// The plan that a text asks for, and what is worth knowing about it. The text is a config, or the
/// canonical text of a plan, which begins with a line `plan 1`.
///
/// # Errors
/// Everything that is wrong with the text, with positions. `file` only names it.
pub fn compile(file: &str, text: &str) -> Result<(Plan, Vec<Advice>), Problems> {
    if text::is_plan(text) {
        let plan = text::parse_named(file, text)?;
        let advice = advice::advise(&plan, &BTreeMap::new());
        return Ok((plan, advice));
    }
    let mut report = problem::Report::new(text);
    let drafts = config::drafts(text, &mut report);
    let expanded = plan::devices::expand(file, &drafts, &mut report);
    let places = drafts.ports.iter().map(|port| {
        let name = &port.name;
        (name.value.clone(), report.origin(file, name.span.start))
    });
    let mut places: BTreeMap<_, _> = places.collect();
    let mut advice = advice::unused_ports(&expanded.model, &places);
    for (id, span) in &expanded.implied {
        let name = &expanded.model.port(*id).name;
        let origin = report.origin(file, span.start);
        advice.extend(advice::near_port(&expanded.model, *id, &places, &origin));
        places.insert(name.clone(), origin);
    }
    report.finish(file)?;
    // Capacities on other ports were refused above, where their place is known.
    let plan = expanded.model.plan().expect("expand() reports each capacity that stands on no monitor port");
    advice.extend(advice::advise(&plan, &places));
    advice.sort_by(|x, y| x.at.cmp(&y.at));
    Ok((plan, advice))
}
