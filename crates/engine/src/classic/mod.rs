//! The classic backend: filters of classic BPF and the action `mirred`, which stay on the interfaces when no process
//! is alive, and need no right to load eBPF. `CAP_NET_ADMIN` over the network namespace is enough, which any user
//! has in a user namespace of their own.
//!
//! It keeps every promise of the other backend of the kernel: all or nothing, nothing but the interfaces remembers
//! it, no process is ever on the path of a frame. What it cannot do is refused with the reason.

mod design;
mod found;
mod install;
mod keep;
mod read;
mod remove;

use plan::ledger::Status;
use plan::plan::{Plan, PortId, Sink};
use sys::Sys;

use crate::machine::report::{self, DownReport, Error, UpReport};
use crate::machine::saved::Phase;
use crate::machine::survey::{self, Machine, Refusal};
use crate::machine::{pairs, prepare};
pub use found::{Found, find};

/// What `status` says that a port of this backend is attached by.
pub const NAME: &str = "classic";

/// Makes a plan true. A second call with the same plan changes nothing. `why` says why this backend is taken.
///
/// # Errors
/// As [`crate::up`].
pub fn up(
    sys: &mut impl Sys,
    plan: &Plan,
    machine: &Machine,
    why: &str,
    file: &str,
) -> Result<UpReport, Error> {
    let found = find(sys)?;
    if let Some(report) = already(sys, plan, &found)? {
        return Ok(report);
    }
    let saved = found.state.as_ref().map(|state| &state.saved);
    // What still works of a damaged tap is not taken away for a plan that would be refused then.
    let ours = pairs::far_ends(&found.links, saved.map_or(&[], |saved| &saved.pairs));
    let mut refusals = machine.refusals(plan, &ours);
    refusals.extend(cannot(plan));
    if let Some(saved) = saved {
        refusals.extend(prepare::of_new_interfaces(sys, plan, machine, saved, |_| true)?);
    }
    if let Err(refused) = bpf::classic::lower(plan) {
        refusals.extend(refused.iter().map(|refused| refusal(plan, refused)));
    }
    if !refusals.is_empty() {
        return Err(Error::Refused(refusals));
    }
    if !found.anything() && found.leftover_pairs().is_empty() {
        return make(sys, plan, why, file);
    }
    let removed = remove::remove(sys, found)?;
    let mut report = make(sys, plan, why, file).map_err(|error| Error::TakenAway(Box::new(error)))?;
    let first = "an unfinished or damaged tap was here: taken away first".to_owned();
    report.notes.splice(0..0, std::iter::once(first).chain(removed.notes));
    Ok(report)
}

/// Makes a plan true where nothing of ours is.
fn make(sys: &mut impl Sys, plan: &Plan, why: &str, file: &str) -> Result<UpReport, Error> {
    let machine = Machine::read(sys)?;
    let refusals = machine.refusals(plan, &[]);
    if !refusals.is_empty() {
        return Err(Error::Refused(refusals));
    }
    let prepared = install::prepare(sys, plan, &machine, why, file)?;
    match install::install(sys, plan, prepared) {
        Ok(mut report) => {
            report.notes.extend(survey::notes(plan, &machine));
            Ok(report)
        }
        Err(error) => {
            let undone = find(sys).and_then(|found| remove::remove(sys, found));
            Err(Error::Failed { error: Box::new(error), undone: undone.err().map(Box::new) })
        }
    }
}

/// What to say where the plan is up already; an error where another one is.
fn already(sys: &mut impl Sys, plan: &Plan, found: &Found) -> Result<Option<UpReport>, Error> {
    let Some(state) = &found.state else { return Ok(None) };
    if state.saved.phase != Phase::Live {
        return Ok(None);
    }
    if state.saved.plan != crate::plan_text(plan) {
        return Err(Error::Refused(vec![report::another(&state.saved.file)]));
    }
    let Ok(lowered) = bpf::classic::lower(plan) else { return Ok(None) };
    if !read::missing(sys, plan, &design::design(plan, &lowered), found, state)?.is_empty() {
        return Ok(None);
    }
    let ports = report::ports(plan, &state.saved.choices);
    Ok(Some(UpReport { ports, notes: Vec::new(), unchanged: true }))
}

/// Every reason why `up` would refuse this plan here. Changes nothing.
///
/// # Errors
/// A system call that failed.
pub fn refusals(sys: &mut impl Sys, plan: &Plan, machine: &Machine) -> Result<Vec<Refusal>, Error> {
    let found = find(sys)?;
    let saved = found.state.as_ref().map(|state| &state.saved);
    let ours = pairs::far_ends(&found.links, saved.map_or(&[], |saved| &saved.pairs));
    let refusals = machine.refusals(plan, &ours);
    // What is up has changed the interfaces to its needs: nothing can be said of them as they were.
    if !refusals.is_empty() || found.anything() {
        return Ok(refusals);
    }
    match install::prepare(sys, plan, machine, "", "") {
        Ok(_) => Ok(Vec::new()),
        Err(Error::Refused(refusals)) => Ok(refusals),
        Err(error) => Err(error),
    }
}

/// Reads the ledger of what was found.
///
/// # Errors
/// [`Error::Foreign`], or a system call that failed.
pub fn status(sys: &mut impl Sys, found: &Found) -> Result<Status, Error> {
    read::status(sys, found)
}

/// Takes away what was found and restores every interface.
///
/// # Errors
/// A system call that failed; `down` may then be called again.
pub fn down(sys: &mut impl Sys, found: Found) -> Result<DownReport, Error> {
    Ok(remove::remove(sys, found)?)
}

/// What filters cannot do, and the lowering of rules does not know of.
fn cannot(plan: &Plan) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    for (sink, Sink::Port(id)) in plan.sinks() {
        let port = plan.port(*id);
        if port.queue.is_none() {
            continue;
        }
        let mut seen: Vec<(PortId, usize)> = Vec::new();
        for (number, side) in plan.sides(sink).iter().enumerate() {
            for hook in &side.hooks {
                let from = plan.hook(*hook).at.port;
                if seen.iter().any(|(port, other)| *port == from && *other != number) {
                    refusals.push(Refusal {
                        what: format!(
                            "monitor {}: classic filters cannot tell the two directions of {} apart, and each has \
                             a buffer of its own",
                            port.name,
                            plan.port(from).name
                        ),
                        help: "watch one direction, or leave out `rate`, or use attach = \"auto\"".into(),
                    });
                }
                seen.push((from, number));
            }
        }
    }
    refusals
}

/// What a rule asks for and classic BPF cannot do.
fn refusal(plan: &Plan, refused: &bpf::classic::Refused) -> Refusal {
    let source = plan.source_name(plan.hook(refused.hook));
    let rule = refused.rule.map(|rule| format!(" {}:", plan.rule(rule).label)).unwrap_or_default();
    Refusal {
        what: format!("{source}:{rule} {}", refused.why),
        help: "use attach = \"auto\" where eBPF may be loaded".into(),
    }
}
