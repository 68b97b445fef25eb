//! Fits the interfaces of a plan for frames that are carried in user space, and puts them back.
//!
//! The same table of wishes as for every backend (`machine::card`), and a guard that needs no eBPF. Packet sockets
//! see a frame before the filters of clsact do, and what they send past the queueing disciplines never meets them. So a
//! filter that drops all, on both sides of a port, takes nothing from the tap, and keeps the host's own stack away
//! from the port: it hears nothing, and nothing of what it says gets out.
//!
//! Where `CAP_NET_ADMIN` is missing nothing is changed: what would have to be is refused, one reason each.

use std::time::Duration;

use plan::Refusal;
use plan::plan::{Plan, Port, PortId, Role, Sink};
use sys::{H_EGRESS, H_INGRESS, IFF_PROMISC, IFF_UP, Link, Result, Sys, SysError};

use super::guard::{self, Guard, Lets};
use crate::machine::card::{self, Place};
use crate::machine::report::Error;
use crate::machine::saved::{Pair, SavedInterface};
use crate::machine::survey::Machine;
use crate::machine::{gone_is_fine, pairs, prepare, queue};

/// How long an interface with a carrier may take until its queues run; longer is said, and is no failure.
const READY_TIMEOUT: Duration = Duration::from_secs(5);
/// `ENODEV`.
const NO_DEVICE: i32 = 19;
pub use super::guard::MARK;

/// What was decided before the first change.
pub struct Decided {
    interfaces: Vec<(PortId, Place, SavedInterface)>,
    pairs: Vec<Pair>,
    /// Whether interfaces can be changed.
    may_change: bool,
    /// What the user should know.
    pub notes: Vec<String>,
}

/// Interfaces that have been fitted, and guards.
pub struct Fitted {
    decided: Decided,
    /// In the order in which they were put on.
    guards: Vec<Guard>,
}

/// Decides everything, and changes nothing; every reason to refuse.
///
/// # Errors
/// A system call that failed.
pub fn decide(
    sys: &mut impl Sys,
    plan: &Plan,
    machine: &Machine,
) -> Result<std::result::Result<Decided, Vec<Refusal>>> {
    let may_change = machine.capabilities.net_admin;
    let mut decided = Decided {
        interfaces: Vec::new(),
        pairs: pairs::of_virtuals(plan).collect(),
        may_change,
        notes: Vec::new(),
    };
    let mut refusals = Vec::new();
    for (id, port) in plan.ports().filter(|(_, port)| port.role != Role::Virtual) {
        let Some(link) = machine.link(&port.interface) else { continue };
        let driver = sys.driver(&link.name).map_or_else(|_| String::new(), |driver| driver.name);
        let is_virtual = card::is_virtual(&driver, link.kind.as_deref());
        let place = Place { role: port.role, is_virtual, xdp: false };
        let guarded = may_change && port.role != Role::Watched;
        let mut found = prepare::survey(sys, machine, port, link, place, guarded)?;
        if port.queue.is_none() {
            // Frames are sent past the root discipline: whatever it is, it can stay.
            found.saved.root_qdisc = false;
            found.of_root.clear();
        }
        if port.role == Role::Monitor {
            // What is sent is finished, and as long as on a wire: no card has anything left to do.
            found.saved.features.clear();
            found.notes.clear();
        }
        refusals.extend(found.refusals.into_iter().chain(found.of_root));
        decided.notes.extend(found.notes);
        if !may_change {
            refusals.extend(unfit(port, link, &found.saved, &mut decided.notes));
        }
        decided.interfaces.push((id, place, found.saved));
    }
    if !may_change {
        refusals.extend(decided.pairs.iter().map(|pair| Refusal {
            what: format!("{} is a virtual interface, which has to be made", pair.far),
            help: PRIVILEGE.into(),
        }));
    }
    Ok(if refusals.is_empty() { Ok(decided) } else { Err(refusals) })
}

const PRIVILEGE: &str = "run with CAP_NET_ADMIN (root has it, and everybody in a user namespace of his own)";

/// What would have to be changed on an interface, where it cannot be.
fn unfit(port: &Port, link: &Link, saved: &SavedInterface, notes: &mut Vec<String>) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    let mut refuse = |what: String, help: String| {
        refusals.push(Refusal { what: format!("port {}: {} {what}", port.name, link.name), help });
    };
    if !saved.features.is_empty() {
        // What is saved is how they are; the opposite is wanted.
        let words = |flip: bool| {
            let word =
                |(name, on): &(String, bool)| format!("{name} {}", if *on != flip { "on" } else { "off" });
            saved.features.iter().map(word).collect::<Vec<_>>()
        };
        let help = format!("`ethtool -K {} {}`, or {PRIVILEGE}", link.name, words(true).join(" "));
        refuse(format!("has {}", words(false).join(", ")), help);
    }
    if !link.has(IFF_UP) {
        refuse("is down".into(), format!("`ip link set {} up`, or {PRIVILEGE}", link.name));
    }
    if port.queue.is_some() {
        refuse("has a rate, which a queueing discipline keeps".into(), PRIVILEGE.into());
    }
    if saved.pause.is_some() {
        refuse(
            "eats or sends PAUSE frames".into(),
            format!("`ethtool -A {} autoneg off rx off tx off`, or {PRIVILEGE}", link.name),
        );
    }
    if port.role != Role::Watched {
        notes.push(format!(
            "port {}: without CAP_NET_ADMIN the host's own stack hears {} and may speak on it",
            port.name, link.name
        ));
    }
    refusals
}

/// Makes interfaces fit.
///
/// # Errors
/// What failed, after what was changed until then has been put back.
pub fn apply(sys: &mut impl Sys, plan: &Plan, decided: Decided) -> std::result::Result<Fitted, Error> {
    let mut fitted = Fitted { decided, guards: Vec::new() };
    match fitted.change(sys, plan) {
        Ok(()) => Ok(fitted),
        Err(error) => Err(failed(error, fitted.restore(sys).err())),
    }
}

/// A step that failed, and why it could not be put back, if so.
pub fn failed(error: SysError, undone: Option<SysError>) -> Error {
    Error::Failed { error: Box::new(error.into()), undone: undone.map(Box::new) }
}

impl Fitted {
    fn change(&mut self, sys: &mut impl Sys, plan: &Plan) -> Result<()> {
        if !self.decided.may_change {
            return Ok(());
        }
        let interfaces = self.decided.interfaces.clone();
        for (id, _, saved) in interfaces.iter().filter(|(id, ..)| plan.port(*id).role != Role::Watched) {
            let marked = plan.port(*id).queue.is_some();
            let sides = [(H_EGRESS, lets(marked)), (H_INGRESS, Lets::Nothing)];
            self.guard(sys, &saved.name, saved.index, &sides, saved.clsact)?;
        }
        self.make_pairs(sys, plan)?;
        for (id, place, saved) in &interfaces {
            self.decided.notes.extend(prepare::apply(sys, plan.port(*id), *place, saved)?);
            // The ring holds it promiscuous, for as long as there is one.
            if !saved.promiscuous && matches!(place.role, Role::Network | Role::Span) {
                sys.set_link_flags(saved.index, 0, IFF_PROMISC)?;
            }
        }
        let links = sys.links()?;
        build_queues(sys, plan, &links)?;
        let names =
            plan.ports().flat_map(|(id, port)| [pairs::egress_name(plan, id), port.interface.clone()]);
        let named = names.filter_map(|name| links.iter().find(|link| link.name == name));
        let indexes: Vec<u32> = named.map(|link| link.index).collect();
        let unready = sys.settle(&indexes, READY_TIMEOUT)?;
        for link in links.iter().filter(|link| unready.contains(&link.index)) {
            let note = format!("{} has no carrier: nothing leaves by it until it has", link.name);
            self.decided.notes.push(note);
        }
        Ok(())
    }

    fn make_pairs(&mut self, sys: &mut impl Sys, plan: &Plan) -> Result<()> {
        if self.decided.pairs.is_empty() {
            return Ok(());
        }
        let links = sys.links()?;
        let mtu = plan.ports.iter().filter_map(|port| links.iter().find(|link| link.name == port.interface));
        let mtu = mtu.map(|link| link.mtu).max().unwrap_or(0);
        pairs::make(sys, &self.decided.pairs, mtu)?;
        let links = sys.links()?;
        for (id, port) in plan.ports().filter(|(_, port)| port.role == Role::Virtual) {
            let (near, far) = (pairs::near_of_virtual(id), &port.interface);
            let [near_index, far_index] = [find(&links, &near)?.index, find(&links, far)?.index];
            let sides = [(H_EGRESS, lets(port.queue.is_some())), (H_INGRESS, Lets::Nothing)];
            self.guard(sys, &near, near_index, &sides, true)?;
            // Sniffers see what arrives; the host's own stack does not.
            self.guard(sys, far, far_index, &[(H_INGRESS, Lets::Nothing)], true)?;
            pairs::fit(sys, &near)?;
            sys.set_link_flags(near_index, IFF_UP, 0)?;
            sys.set_link_flags(far_index, IFF_UP, 0)?;
        }
        Ok(())
    }

    /// Puts guards on an interface. Where the kernel has no such classifier that is said, and is no failure.
    fn guard(
        &mut self,
        sys: &mut impl Sys,
        name: &str,
        ifindex: u32,
        sides: &[(u32, Lets)],
        make_clsact: bool,
    ) -> Result<()> {
        if let Some(why) = guard::put_on(sys, ifindex, sides, make_clsact, &mut self.guards)? {
            self.decided.notes.push(format!("the host's own stack is not kept away from {name}: {why}"));
        }
        Ok(())
    }

    /// What the user should know.
    pub fn notes(&self) -> &[String] {
        &self.decided.notes
    }

    /// Puts everything back: interfaces while the guards are on, so that what the host says meanwhile goes nowhere. All of
    /// it is tried; gives what could not be put back.
    ///
    /// # Errors
    /// The first system call that failed.
    pub fn restore(&mut self, sys: &mut impl Sys) -> Result<Vec<String>> {
        let (mut notes, mut first) = (Vec::new(), Ok(()));
        let mut keep = |outcome: Result<()>| {
            if first.is_ok() {
                first = outcome;
            }
        };
        if !self.decided.may_change {
            return Ok(notes);
        }
        let links = sys.links()?;
        for (_, _, saved) in &self.decided.interfaces {
            match links.iter().find(|link| link.index == saved.index) {
                Some(link) => match prepare::restore(sys, saved, link) {
                    Ok(said) => notes.extend(said),
                    Err(error) => keep(gone_is_fine(Err(error))),
                },
                None => notes.push(format!("{} is gone: not restored", saved.name)),
            }
        }
        let near = |pair: &Pair| links.iter().find(|link| link.name == pair.near).map(|link| link.index);
        let of_pairs: Vec<u32> = self.decided.pairs.iter().filter_map(near).collect();
        keep(pairs::delete(sys, &links, &of_pairs));
        for guard in self.guards.drain(..).rev() {
            keep(gone_is_fine(guard::take_off(sys, &guard)));
        }
        first.map(|()| notes)
    }
}

/// What the guard of an egress lets through: frames for a queueing discipline have to pass it.
fn lets(marked: bool) -> Lets {
    if marked { Lets::Marked } else { Lets::Nothing }
}

/// The buffers of monitors with a rate.
fn build_queues(sys: &mut impl Sys, plan: &Plan, links: &[Link]) -> Result<()> {
    for (sink, Sink::Port(id)) in plan.sinks() {
        let Some(capacity) = plan.port(*id).queue else { continue };
        let link = find(links, &pairs::egress_name(plan, *id))?;
        let sides = u16::try_from(plan.sides(sink).len()).unwrap_or(u16::MAX);
        let mtu_of = |name: &str| links.iter().find(|link| link.name == name).map(|link| link.mtu);
        let mtu = queue::largest(plan, sink, link.mtu, mtu_of);
        queue::build(sys, link.index, mtu, capacity, sides)?;
    }
    Ok(())
}

/// An interface that must be there.
pub fn find<'l>(links: &'l [Link], name: &str) -> Result<&'l Link> {
    let gone = || SysError::new("RTM_GETLINK", name, NO_DEVICE).with_detail("it went away in the meantime");
    links.iter().find(|link| link.name == name).ok_or_else(gone)
}
