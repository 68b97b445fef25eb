//! The user-space backend: frames are received into memory shared with the kernel, judged by `plan::eval`, and sent
//! from where they lie.
//!
//! For machines where eBPF may not be loaded. Unlike the other backends it is a process on the path of every frame:
//! **the wire stops with it.** What it changes on interfaces it puts back when it ends; if it is killed it cannot.
//!
//! Frame to outputs is `plan::tally::Tally::deliver`, as offline: what judges, copies and counts here is the same code.

mod carry;
mod counts;
mod fit;
mod guard;
mod segments;
mod stop;

use std::fmt;
use std::time::Duration;

use plan::Refusal;
use plan::ledger::{Status, Table};
use plan::plan::{Attach, Plan, Port};
use sys::Sys;

use crate::machine::pairs;
use crate::machine::report::{self, Error};
use crate::machine::survey::{self, Machine};
use crate::tap;

pub(crate) use guard::{find as guards, take_away};
pub use stop::Stop;

/// The oldest kernel whose packet sockets can leave out what the host sends (`PACKET_IGNORE_OUTGOING`).
const KERNEL_OLDEST: (u32, u32) = (4, 20);

/// How frames are to be carried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Octets of memory for frames that wait to be judged, for each source.
    pub ring_bytes: usize,
    /// A frame waits at most so many milliseconds for others before it is handed over; 1 at least.
    pub retire_ms: u32,
    /// Ends after so many frames have been judged.
    pub frames_max: Option<u64>,
    /// Ends after so long.
    pub duration: Option<Duration>,
    /// Tells the ledger so often.
    pub every: Option<Duration>,
}

/// Octets of a ring, unless said otherwise: what 10 Gbit/s bring in 3 ms, and what stays in a processor's cache.
pub const RING_BYTES: usize = 4 << 20;
/// The most that may be asked for, for each source.
pub const RING_BYTES_MAX: usize = 1 << 30;

impl Default for Options {
    fn default() -> Self {
        Self { ring_bytes: RING_BYTES, retire_ms: 1, frames_max: None, duration: None, every: None }
    }
}

/// What is told while frames are carried.
#[derive(Debug)]
pub enum Event<'a> {
    /// All sockets are open: frames that come from now on are carried.
    Ready(&'a RunReport),
    /// The ledger, now.
    Ledger(&'a Status),
    /// Nothing comes in any more; what is in the buffers of monitors is given so long to leave.
    Waiting(Duration),
}

/// What was set up.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RunReport {
    /// Each port: the user's name, the interface, what it does.
    pub ports: Vec<[String; 3]>,
    /// What the user should know.
    pub notes: Vec<String>,
}

impl fmt::Display for RunReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(["PORT", "INTERFACE", "DOES"], 3);
        self.ports.iter().for_each(|row| table.row(row.clone()));
        table.print(f)?;
        self.notes.iter().try_for_each(|note| writeln!(f, "note: {note}"))
    }
}

/// Carries frames until it is told to stop, and gives the ledger. Blocks; `tell` is called on this thread.
///
/// Works in the network namespace of the calling thread.
///
/// # Errors
/// [`Error::Refused`] with every reason, and nothing changed; [`Error::Failed`] where a system call failed, after
/// everything that was changed has been put back.
pub fn run(
    sys: &mut impl Sys,
    plan: &Plan,
    options: &Options,
    stop: &Stop,
    tell: &mut dyn FnMut(Event<'_>),
) -> Result<Status, Error> {
    let mut machine = Machine::read(sys)?;
    let mut refusals = of_the_machine(&machine);
    if refusals.is_empty() {
        refusals = of_the_plan(sys, plan, &machine)?;
    }
    if !refusals.is_empty() {
        return Err(Error::Refused(refusals));
    }
    let mut decided = fit::decide(sys, plan, &machine)?.map_err(Error::Refused)?;
    let left = if machine.capabilities.net_admin { guards(sys, &machine.links)? } else { Vec::new() };
    if !left.is_empty() {
        let note = take_away(sys, &machine.links, &left)?;
        machine = Machine::read(sys)?;
        decided = fit::decide(sys, plan, &machine)?.map_err(Error::Refused)?;
        decided.notes.extend(note);
    }
    decided.notes.extend(survey::notes(plan, &machine));
    decided.notes.extend(plan.ports.iter().filter_map(attachment));
    let mut fitted = fit::apply(sys, plan, decided)?;
    let carried = carry::carry(sys, plan, options, &fitted, stop, tell);
    let restored = fitted.restore(sys);
    match (carried, restored) {
        (Ok(mut status), Ok(notes)) => {
            status.notes.extend(notes);
            Ok(status)
        }
        (Ok(mut status), Err(error)) => {
            status.notes.push(format!("not everything was put back: {error}"));
            Ok(status)
        }
        (Err(error), restored) => Err(fit::failed(error, restored.err())),
    }
}

/// Every reason why this plan cannot be run here. Changes nothing.
///
/// # Errors
/// A system call that failed.
pub fn refusals(sys: &mut impl Sys, plan: &Plan) -> Result<Vec<Refusal>, Error> {
    let machine = Machine::read(sys)?;
    let mut refusals = of_the_machine(&machine);
    refusals.extend(of_the_plan(sys, plan, &machine)?);
    if refusals.is_empty() {
        refusals.extend(fit::decide(sys, plan, &machine)?.err().unwrap_or_default());
    }
    Ok(refusals)
}

/// Every reason why no plan can be run here.
fn of_the_machine(machine: &Machine) -> Vec<Refusal> {
    let (major, minor) = KERNEL_OLDEST;
    let mut refusals = Vec::new();
    if !machine.kernel.at_least(major, minor) {
        let what = format!("kernel {} is too old", machine.kernel.release);
        refusals.push(Refusal::new(what, format!("Linux {major}.{minor} or later is needed")));
    }
    if !machine.capabilities.net_raw {
        let help = "run as root, or with CAP_NET_RAW and CAP_NET_ADMIN, or in a user namespace of your own \
                    (`unshare --map-root-user --net`)";
        refusals.push(Refusal::new("not enough privilege to open packet sockets", help));
    }
    refusals
}

/// Every reason why what is here does not fit the plan.
fn of_the_plan(sys: &mut impl Sys, plan: &Plan, machine: &Machine) -> Result<Vec<Refusal>, Error> {
    if let Some(file) = tap::file_of(sys)? {
        return Ok(vec![report::live(&file)]);
    }
    // How programs would be attached is nothing to refuse here: none are.
    let mut unattached = plan.clone();
    unattached.ports.iter_mut().for_each(|port| port.attach = Attach::Auto);
    let mut refusals = machine.refusals(&unattached, &[]);
    for link in pairs::leftover(&machine.links) {
        let what = format!("{} is there: a tap is up here, or one was killed", link.name);
        refusals.push(Refusal::new(what, "`tapwright down` first"));
    }
    for port in &plan.ports {
        let Some(link) = machine.link(&port.interface).filter(|link| link.xdp.is_some()) else { continue };
        let what = format!(
            "port {}: {} has an XDP program, and packet sockets see no frame that it takes",
            port.name, link.name
        );
        refusals.push(Refusal::new(what, format!("`ip link set {} xdp off` if nothing needs it", link.name)));
    }
    Ok(refusals)
}

/// What is said of a port that asks for a way of attaching.
fn attachment(port: &Port) -> Option<String> {
    let asked = match port.attach {
        Attach::Auto => return None,
        Attach::Xdp => "xdp",
        Attach::Tcx => "tcx",
        Attach::Clsact => "clsact",
        Attach::Classic => "classic",
    };
    Some(format!("port {}: attach = \"{asked}\" is for `up`: here frames pass a packet socket", port.name))
}
