//! The kernel backend: eBPF programs that stay attached when no process is alive.
//!
//! `up` is all or nothing. It reads the machine, refuses what must be refused, makes maps and programs (none
//! of which touches an interface), and writes down what it is about to change into a map. From the first
//! attachment on that map is reachable from the machine itself, so that `down`, or the next `up`, can put
//! right whatever a killed `up` left.

mod anchor;
mod choose;
mod found;
mod hurry;
mod install;
mod read;
mod remove;
mod slots;
mod tables;

use plan::ledger::Status;
use plan::plan::{Attach, Plan, Port};
use sys::Sys;

use crate::machine::report::{self, DownReport, Error, UpReport};
use crate::machine::saved::Phase;
use crate::machine::survey::{self, Machine, Refusal};
use crate::machine::{pairs, prepare};
use choose::{Chosen, choose};
use found::{Found, find};

/// Makes a plan true. A second call with the same plan changes nothing.
///
/// # Errors
/// [`Error::Refused`] with every reason, and nothing changed; [`Error::Failed`] where a system call failed,
/// after everything that was changed has been put back; [`Error::TakenAway`] around either where a damaged tap
/// had to go first.
pub fn up(sys: &mut impl Sys, plan: &Plan, machine: &Machine, file: &str) -> Result<UpReport, Error> {
    let found = find(sys)?;
    if let Some(report) = already(plan, &found)? {
        return Ok(report);
    }
    // What still works of a damaged tap is not taken away for a plan that would be refused then.
    let mut refusals = machine.refusals(plan, &ours(&found));
    if let Some(state) = &found.state {
        let clsact = |port: &Port| port.attach == Attach::Clsact || !machine.has_tcx();
        refusals.extend(prepare::of_new_interfaces(sys, plan, machine, &state.saved, clsact)?);
    }
    if !refusals.is_empty() {
        return Err(Error::Refused(refusals));
    }
    if !found.anything() {
        return make(sys, plan, file);
    }
    let removed = remove::remove(sys, found)?;
    let mut report = make(sys, plan, file).map_err(|error| Error::TakenAway(Box::new(error)))?;
    let first = "an unfinished or damaged tap was here: taken away first".to_owned();
    report.notes.splice(0..0, std::iter::once(first).chain(removed.notes));
    Ok(report)
}

/// Makes a plan true where nothing of ours is.
fn make(sys: &mut impl Sys, plan: &Plan, file: &str) -> Result<UpReport, Error> {
    let machine = Machine::read(sys)?;
    let refusals = machine.refusals(plan, &[]);
    if !refusals.is_empty() {
        return Err(Error::Refused(refusals));
    }
    let chosen = choose(sys, plan, &machine)?.map_err(Error::Refused)?;
    let prepared = install::prepare(sys, plan, &machine, chosen, file)?;
    match install::install(sys, plan, prepared) {
        Ok(mut report) => {
            report.notes.extend(survey::notes(plan, &machine));
            Ok(report)
        }
        Err(error) => {
            let undone = find(sys).and_then(|found| remove::remove(sys, found));
            if let (Error::Refused(_), Ok(_)) = (&error, &undone) {
                return Err(error);
            }
            Err(Error::Failed { error: Box::new(error), undone: undone.err().map(Box::new) })
        }
    }
}

/// What to say where the plan is up already; an error where another one is.
fn already(plan: &Plan, found: &Found) -> Result<Option<UpReport>, Error> {
    let Some(state) = &found.state else { return Ok(None) };
    if state.saved.phase != Phase::Live {
        return Ok(None);
    }
    if state.saved.plan != crate::plan_text(plan) {
        return Err(Error::Refused(vec![report::another(&state.saved.file)]));
    }
    if !read::missing(plan, found, state).is_empty() {
        return Ok(None);
    }
    let ports = report::ports(plan, &state.saved.choices);
    Ok(Some(UpReport { ports, notes: Vec::new(), unchanged: true }))
}

/// Reads the ledger of what is up.
///
/// # Errors
/// [`Error::NothingUp`], or a system call that failed.
pub fn status(sys: &mut impl Sys) -> Result<Status, Error> {
    let found = find(sys)?;
    read::status(sys, &found)
}

/// The config of what is up here, whatever state it is in.
///
/// # Errors
/// A system call that failed.
pub fn file_of(sys: &mut impl Sys) -> Result<Option<String>, Error> {
    let found = find(sys)?;
    let file =
        || found.state.as_ref().map_or_else(|| "another version's tap".into(), |it| it.saved.file.clone());
    Ok((!found.attachments.is_empty()).then(file))
}

/// Takes everything away and restores every interface. Needs no file.
///
/// # Errors
/// [`Error::NothingUp`], or a system call that failed; `down` may then be called again.
pub fn down(sys: &mut impl Sys) -> Result<DownReport, Error> {
    let found = find(sys)?;
    if !found.anything() {
        return Err(Error::NothingUp);
    }
    Ok(remove::remove(sys, found)?)
}

/// Every reason why `up` would refuse this plan here. Changes nothing.
///
/// # Errors
/// A system call that failed.
pub fn refusals(sys: &mut impl Sys, plan: &Plan, machine: &Machine) -> Result<Vec<Refusal>, Error> {
    let found = find(sys)?;
    let refusals = machine.refusals(plan, &ours(&found));
    // What is up has changed the interfaces to its needs: nothing can be said of them as they were.
    if !refusals.is_empty() || found.anything() {
        return Ok(refusals);
    }
    let outcome = match choose(sys, plan, machine)? {
        Ok(chosen) => install::prepare(sys, plan, machine, chosen, "").map(|_| ()),
        Err(refusals) => Err(Error::Refused(refusals)),
    };
    match outcome {
        Ok(()) => Ok(Vec::new()),
        Err(Error::Refused(refusals)) => Ok(refusals),
        Err(error) => Err(error),
    }
}

/// The wiring of a plan on a machine that is not looked at: XDP where it is asked for, tc elsewhere.
pub fn wiring_as_asked(plan: &Plan) -> bpf::layout::Wiring {
    let engine = |port: &plan::plan::Port| match port.attach {
        plan::plan::Attach::Xdp => choose::Engine::Xdp,
        _ => choose::Engine::Tcx,
    };
    choose::wiring(plan, &plan.ports.iter().map(engine).collect::<Vec<_>>())
}

/// The programs of a plan under a wiring, as `up` would load them: nothing is loaded here.
///
/// # Errors
/// Why `up` would refuse, in the same words.
pub fn emitted(
    plan: &Plan,
    wiring: &bpf::layout::Wiring,
) -> std::result::Result<bpf::emit::Emitted, Refusal> {
    bpf::emit::emit(plan, wiring, bpf::emit::Mode::Attach)
        .map_err(|error| install::refusal(plan, wiring, &error))
}

/// Virtual interfaces that are there because of us.
fn ours(found: &Found) -> Vec<String> {
    let saved = found.state.as_ref().map_or(&[][..], |state| &state.saved.pairs);
    pairs::far_ends(&found.links, saved)
}

/// The engines of what was chosen.
fn engines(chosen: &[Chosen]) -> Vec<choose::Engine> {
    chosen.iter().map(|choice| choice.engine).collect()
}
