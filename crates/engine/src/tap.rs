//! Which of the two backends of the kernel makes a plan true, and which one is up.
//!
//! A plan is of eBPF or of classic filters as a whole. One is up in a network namespace, whatever its backend.

use plan::Refusal;
use plan::ledger::Status;
use plan::plan::{Attach, Plan};
use sys::Sys;

use crate::machine::report::{self, DownReport, Error, UpReport};
use crate::machine::survey::Machine;
use crate::{classic, kernel, userspace};

/// What makes a plan true.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Backend {
    /// Programs of eBPF.
    Ebpf,
    /// Filters of classic BPF, for this reason.
    Classic(String),
}

/// Makes a plan true. A second call with the same plan changes nothing.
///
/// # Errors
/// [`Error::Refused`] with every reason, and nothing changed; [`Error::Failed`] where a system call failed,
/// after everything that was changed has been put back; [`Error::TakenAway`] around either where a damaged tap
/// had to go first.
pub fn up(sys: &mut impl Sys, plan: &Plan, file: &str) -> Result<UpReport, Error> {
    let machine = Machine::read(sys)?;
    let left = userspace::guards(sys, &machine.links)?;
    if left.is_empty() {
        return make(sys, plan, &machine, file);
    }
    // What a killed run left is not taken away for a plan that would be refused then.
    let refusals = refusals(sys, plan)?;
    if !refusals.is_empty() {
        return Err(Error::Refused(refusals));
    }
    let note = userspace::take_away(sys, &machine.links, &left)?;
    let machine = Machine::read(sys)?;
    let mut report = make(sys, plan, &machine, file)?;
    report.notes.splice(0..0, note);
    Ok(report)
}

/// Makes a plan true by the backend that it asks for, or can have.
fn make(sys: &mut impl Sys, plan: &Plan, machine: &Machine, file: &str) -> Result<UpReport, Error> {
    match backend(plan, machine).map_err(Error::Refused)? {
        Backend::Ebpf => {
            if let Some(file) = classic_file(sys)? {
                return Err(Error::Refused(vec![report::another(&file)]));
            }
            kernel::up(sys, plan, machine, file)
        }
        Backend::Classic(why) => {
            if machine.of_ebpf().is_empty()
                && let Some(file) = kernel::file_of(sys)?
            {
                return Err(Error::Refused(vec![report::another(&file)]));
            }
            classic::up(sys, plan, machine, &why, file)
        }
    }
}

/// Reads the ledger of what is up.
///
/// # Errors
/// [`Error::NothingUp`], or a system call that failed.
pub fn status(sys: &mut impl Sys) -> Result<Status, Error> {
    let found = classic::find(sys)?;
    if found.anything() {
        return classic::status(sys, &found);
    }
    ebpf_or_nothing(sys)?;
    kernel::status(sys)
}

/// Takes everything away and restores every interface. Needs no file.
///
/// # Errors
/// [`Error::NothingUp`], or a system call that failed; `down` may then be called again.
pub fn down(sys: &mut impl Sys) -> Result<DownReport, Error> {
    let links = sys.links()?;
    let left = userspace::guards(sys, &links)?;
    let note = userspace::take_away(sys, &links, &left)?;
    let mut report = match attached(sys) {
        Err(Error::NothingUp) if note.is_some() => DownReport::default(),
        other => other?,
    };
    report.notes.extend(note);
    Ok(report)
}

/// Takes away what a backend of the kernel attached, or virtual interfaces that were left alone.
fn attached(sys: &mut impl Sys) -> Result<DownReport, Error> {
    let found = classic::find(sys)?;
    // Where eBPF cannot be looked at, a pair without filters is of a `run` that was killed.
    if found.anything() || !sys.capabilities()?.machine_owner && !found.leftover_pairs().is_empty() {
        return classic::down(sys, found);
    }
    ebpf_or_nothing(sys)?;
    kernel::down(sys)
}

/// Every reason why `up` would refuse this plan here. Changes nothing.
///
/// # Errors
/// A system call that failed.
pub fn refusals(sys: &mut impl Sys, plan: &Plan) -> Result<Vec<Refusal>, Error> {
    let machine = Machine::read(sys)?;
    match backend(plan, &machine) {
        Ok(Backend::Ebpf) => kernel::refusals(sys, plan, &machine),
        Ok(Backend::Classic(_)) => classic::refusals(sys, plan, &machine),
        Err(mut refusals) => {
            refusals.extend(machine.refusals(plan, &[]));
            Ok(refusals)
        }
    }
}

/// The config of the tap that is up in this network namespace, whatever its backend, as far as this process may look.
///
/// # Errors
/// A system call that failed.
pub fn file_of(sys: &mut impl Sys) -> Result<Option<String>, Error> {
    if let Some(file) = classic_file(sys)? {
        return Ok(Some(file));
    }
    let may = sys.capabilities()?;
    if may.machine_owner && may.net_admin && (may.bpf || may.sys_admin) {
        kernel::file_of(sys)
    } else {
        Ok(None)
    }
}

/// Nothing of eBPF can be up in a user namespace that may not look at it.
fn ebpf_or_nothing(sys: &mut impl Sys) -> Result<(), Error> {
    if sys.capabilities()?.machine_owner { Ok(()) } else { Err(Error::NothingUp) }
}

/// The config of classic filters that are here.
fn classic_file(sys: &mut impl Sys) -> Result<Option<String>, Error> {
    let found = classic::find(sys)?;
    let file =
        || found.state.as_ref().map_or_else(|| "another version's tap".into(), |it| it.saved.file.clone());
    Ok(found.anything().then(file))
}

/// Which backend a plan asks for, or can have on this machine.
fn backend(plan: &Plan, machine: &Machine) -> Result<Backend, Vec<Refusal>> {
    let asked = plan.ports.iter().find(|port| port.attach == Attach::Classic);
    let other = plan.ports.iter().find(|port| !matches!(port.attach, Attach::Classic | Attach::Auto));
    if let (Some(classic), Some(other)) = (asked, other) {
        return Err(vec![Refusal {
            what: format!(
                "port {} asks for attach = \"classic\", and port {} for another one",
                classic.name, other.name
            ),
            help: "a plan is attached by classic filters as a whole, or not at all".into(),
        }]);
    }
    let of_classic = machine.of_classic();
    if asked.is_some() {
        return if of_classic.is_empty() {
            Ok(Backend::Classic("asked for".into()))
        } else {
            Err(of_classic)
        };
    }
    let of_ebpf = machine.of_ebpf();
    if of_ebpf.is_empty() {
        return Ok(Backend::Ebpf);
    }
    if other.is_none() && of_classic.is_empty() {
        let lacks =
            if machine.capabilities.machine_owner { "without CAP_BPF" } else { "in a user namespace" };
        return Ok(Backend::Classic(format!("eBPF may not be loaded {lacks}")));
    }
    Err(of_ebpf)
}
