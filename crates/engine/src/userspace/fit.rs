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
use sys::{
    ClassicFilter, ClassicInsn, ClassicSpec, H_CLSACT, H_EGRESS, H_INGRESS, IFF_PROMISC, IFF_UP, Link,
    Matcher, Result, Sys, SysError,
};

use crate::machine::card::{self, Place};
use crate::machine::report::Error;
use crate::machine::saved::{Pair, SavedInterface};
use crate::machine::survey::Machine;
use crate::machine::{gone_is_fine, pairs, prepare, queue};

/// How long an interface with a carrier may take until its queues run; longer is said, and is no failure.
const READY_TIMEOUT: Duration = Duration::from_secs(5);
/// Preference and handle of the guards: the first to run.
const FIRST: u16 = 1;
/// The handle of clsact.
const CLSACT: u32 = 0xffff_0000;
/// `ENODEV`.
const NO_DEVICE: i32 = 19;
/// What a kernel says that has no such classifier or action: `ENOENT`, `EOPNOTSUPP`.
const UNKNOWN_KINDS: [i32; 2] = [2, 95];
/// `BPF_LD | BPF_W | BPF_ABS` of `SKF_AD_OFF + SKF_AD_MARK`, `BPF_JMP | BPF_JEQ | BPF_K`, `BPF_RET | BPF_K`.
const LOAD_MARK: ClassicInsn = ClassicInsn { code: 0x20, jt: 0, jf: 0, k: 0xffff_f014 };
const JUMP_IF: u16 = 0x15;
const RETURN: u16 = 0x06;
/// `TC_ACT_OK`, `TC_ACT_SHOT`.
const OK: u32 = 0;
const DROP: u32 = 2;

/// What our frames bear where they pass a guard.
pub const MARK: u32 = bpf::emit::OUR_MARK;

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
    /// Interfaces with a guard on this parent, in the order in which they were put on.
    guards: Vec<Guard>,
}

/// One filter that drops what it sees.
#[derive(Clone, Copy, Debug)]
struct Guard {
    /// The side of clsact.
    parent: u32,
    ifindex: u32,
    /// Whether clsact came with it, and goes with it.
    made_clsact: bool,
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
            found.refusals.retain(|refusal| refusal.what.contains("ingress queueing discipline"));
        }
        if port.role == Role::Monitor {
            // What is sent is finished, and as long as on a wire: no card has anything left to do.
            found.saved.features.clear();
            found.notes.clear();
        }
        refusals.extend(found.refusals);
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
            let left = !saved.clsact && only_guards(sys, saved.index)?;
            if left {
                // Of a run that was killed.
                gone_is_fine(sys.delete_qdisc(saved.index, H_CLSACT, CLSACT))?;
            }
            self.guard(sys, saved.index, H_EGRESS, marked, saved.clsact || left)?;
            self.guard(sys, saved.index, H_INGRESS, false, false)?;
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
            self.guard(sys, near_index, H_EGRESS, port.queue.is_some(), true)?;
            self.guard(sys, near_index, H_INGRESS, false, false)?;
            // Sniffers see what arrives; the host's own stack does not.
            self.guard(sys, far_index, H_INGRESS, false, true)?;
            pairs::fit(sys, &near)?;
            sys.set_link_flags(near_index, IFF_UP, 0)?;
            sys.set_link_flags(far_index, IFF_UP, 0)?;
        }
        Ok(())
    }

    /// Puts a guard on. Where the kernel has no such classifier that is said, and is no failure.
    fn guard(
        &mut self,
        sys: &mut impl Sys,
        ifindex: u32,
        parent: u32,
        but_marked: bool,
        made_clsact: bool,
    ) -> Result<()> {
        let drop = ClassicInsn { code: RETURN, jt: 0, jf: 0, k: DROP };
        let insns = if but_marked {
            let ours = ClassicInsn { code: JUMP_IF, jt: 0, jf: 1, k: MARK };
            vec![LOAD_MARK, ours, ClassicInsn { k: OK, ..drop }, drop]
        } else {
            vec![drop]
        };
        let spec = ClassicSpec {
            chain: 0,
            priority: FIRST,
            handle: u32::from(FIRST),
            replace: false,
            with_clsact: made_clsact,
            matcher: Matcher::Program { insns, direct: true },
            class: 0,
            // What counts drops (`act_gact`) is not in every kernel.
            acts: Vec::new(),
        };
        match sys.add_classic(ifindex, parent, &spec) {
            Ok(()) => self.guards.push(Guard { parent, ifindex, made_clsact }),
            Err(error) if UNKNOWN_KINDS.contains(&error.errno) => self
                .decided
                .notes
                .push(format!("the host's own stack is not kept away from interface {ifindex}: {error}")),
            Err(error) => return Err(error),
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
            keep(gone_is_fine(take_off(sys, &guard)));
        }
        first.map(|()| notes)
    }
}

/// Takes a guard off, and clsact with it where both came together and nobody else's filter is there by now: in one
/// step, so that no empty clsact is left if we end here.
fn take_off(sys: &mut impl Sys, guard: &Guard) -> Result<()> {
    if guard.made_clsact && only_guards(sys, guard.ifindex)? {
        return sys.delete_qdisc(guard.ifindex, H_CLSACT, CLSACT);
    }
    sys.delete_classic(guard.ifindex, guard.parent, 0, FIRST, u32::from(FIRST))
}

/// Whether clsact of an interface holds filters, and none but guards.
fn only_guards(sys: &mut impl Sys, ifindex: u32) -> Result<bool> {
    let mut found = Vec::new();
    for parent in [H_EGRESS, H_INGRESS] {
        found.extend(sys.classic_filters(ifindex, parent)?);
    }
    let ends_with_drop =
        |insns: &[ClassicInsn]| insns.last().is_some_and(|it| (it.code, it.k) == (RETURN, DROP));
    let ours = |it: &ClassicFilter| {
        let place = (it.chain, it.priority, it.handle) == (0, FIRST, u32::from(FIRST));
        place && matches!(&it.matcher, Matcher::Program { insns, direct: true } if ends_with_drop(insns))
    };
    Ok(!found.is_empty() && found.iter().all(ours))
}

/// The buffers of monitors with a rate.
fn build_queues(sys: &mut impl Sys, plan: &Plan, links: &[Link]) -> Result<()> {
    for (sink, Sink::Port(id)) in plan.sinks() {
        let Some(capacity) = plan.port(*id).queue else { continue };
        let link = find(links, &pairs::egress_name(plan, *id))?;
        let sides = u16::try_from(plan.sides(sink).len()).unwrap_or(u16::MAX);
        let fed_by = plan.hooks.iter().filter(|hook| hook.copies.iter().any(|copy| copy.sink == sink));
        let from = fed_by.filter_map(|hook| find(links, &plan.port(hook.at.port).interface).ok());
        let mtu = from.map(|link| link.mtu).chain([link.mtu]).max().unwrap_or(link.mtu);
        queue::build(sys, link.index, mtu, capacity, sides)?;
    }
    Ok(())
}

/// An interface that must be there.
pub fn find<'l>(links: &'l [Link], name: &str) -> Result<&'l Link> {
    let gone = || SysError::new("RTM_GETLINK", name, NO_DEVICE).with_detail("it went away in the meantime");
    links.iter().find(|link| link.name == name).ok_or_else(gone)
}
