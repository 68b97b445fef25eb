//! Carries out `up`, step by step. Every step leaves a state that `remove` can take away.

use std::collections::BTreeMap;
use std::time::Duration;

use bpf::asm::{MapRef, Symbol};
use bpf::emit::{EmitError, Emitted, Mode, emit};
use bpf::layout::{Part, TALLY_BYTES, Target, View, Wiring};
use plan::plan::{Attach, Direction, HookId, Plan, PortId, Role};
use sys::{FilterSpec, Hook, Link, MapFd, MapKind, MapSpec, Place, ProgFd, Sys, XdpMode};

use super::anchor::{self, StateMap};
use super::choose::{self, Chosen, Engine};
use super::found::{COUNTERS_MAP, TALLIES_MAP};
use super::hurry;
use super::tables;
use crate::machine::pairs::{self, egress_name, near_of_hop, near_of_virtual};
use crate::machine::report::{self, Error, UpReport};
use crate::machine::saved::{Pair, Phase, Saved, SavedInterface};
use crate::machine::survey::{Machine, Refusal};
use crate::machine::{card, counts, prepare, queue};

/// How long an interface with a carrier may take until its queues run; longer is said, and is no failure.
const READY_TIMEOUT: Duration = Duration::from_secs(5);
/// Preference and handle of our filters in clsact: the first to run.
const FILTER_FIRST: u16 = 1;

/// The oldest kernel that lets an XDP program see frames in several pieces (`BPF_F_XDP_HAS_FRAGS`).
const FRAGS_OLDEST: (u32, u32) = (5, 18);

/// Everything that is decided before the first change.
pub struct Prepared {
    chosen: Vec<Chosen>,
    wiring: Wiring,
    emitted: Emitted,
    has_tcx: bool,
    has_frags: bool,
    saved: Saved,
    notes: Vec<String>,
}

/// Decides everything, and changes nothing.
///
/// # Errors
/// [`Error::Refused`] with every reason.
pub fn prepare(
    sys: &mut impl Sys,
    plan: &Plan,
    machine: &Machine,
    mut chosen: Vec<Chosen>,
    file: &str,
) -> Result<Prepared, Error> {
    // Which frames chance takes is nobody's to foresee.
    let seed = sys.random()?;
    let (emitted, wiring) = emit_or_fall_back(plan, &mut chosen, seed)?;
    let (mut interfaces, mut refusals, mut notes) = (Vec::new(), Vec::new(), Vec::new());
    for ((_, port), choice) in plan.ports().zip(&chosen) {
        let Some(link) = machine.link(&port.interface).filter(|_| port.role != Role::Virtual) else {
            continue;
        };
        let clsact = skb_engine(choice, machine.has_tcx()) == Engine::Clsact;
        let found = prepare::survey(sys, machine, port, link, place(port.role, choice), clsact)?;
        interfaces.push(found.saved);
        refusals.extend(found.refusals.into_iter().chain(found.of_root));
        notes.extend(found.notes);
    }
    if !refusals.is_empty() {
        return Err(Error::Refused(refusals));
    }
    notes.extend(plan.ports.iter().zip(&chosen).filter_map(|(port, choice)| unseen_offloads(port, choice)));
    // Every program is attached once, but those of devmap entries.
    let hurried = machine.has_tcx() && hurry::is_worth_it(sys, emitted.units.len())?;
    let saved = Saved {
        phase: Phase::Applying,
        plan: crate::plan_text(plan),
        file: file.to_owned(),
        choices: chosen.iter().map(Chosen::to_saved).collect(),
        interfaces,
        pairs: pairs_of(plan, &wiring),
        hurried,
    };
    let (major, minor) = FRAGS_OLDEST;
    let has_frags = machine.kernel.at_least(major, minor);
    Ok(Prepared { chosen, wiring, emitted, has_tcx: machine.has_tcx(), has_frags, saved, notes })
}

/// Emits the programs, and gives the wiring that they are for; where XDP was our own choice and cannot be emitted, by
/// tcx instead.
fn emit_or_fall_back(plan: &Plan, chosen: &mut [Chosen], seed: u64) -> Result<(Emitted, Wiring), Error> {
    let try_emit = |chosen: &[Chosen]| {
        let wiring = Wiring { seed, ..choose::wiring(plan, &super::engines(chosen)) };
        emit(plan, &wiring, Mode::Attach).map(|emitted| (emitted, wiring))
    };
    let error = match try_emit(chosen) {
        Ok(emitted) => return Ok(emitted),
        Err(error) => error,
    };
    let ours = |(port, choice): &(&plan::plan::Port, &mut Chosen)| {
        port.attach == Attach::Auto && choice.engine == Engine::Xdp
    };
    let mut changed = false;
    for (_, choice) in plan.ports.iter().zip(chosen.iter_mut()).filter(ours) {
        let why = format!("not xdp: {}", told(plan, &error).1);
        *choice = Chosen { engine: Engine::Tcx, why, ..choice.clone() };
        changed = true;
    }
    let refused = |error: EmitError| {
        let wiring = choose::wiring(plan, &super::engines(chosen));
        Error::Refused(vec![refusal(plan, &wiring, &error)])
    };
    if changed { try_emit(chosen).map_err(refused) } else { Err(refused(error)) }
}

/// The hook that an error is about, and the error in words that name its port in the place of its number.
fn told<'p>(plan: &'p Plan, error: &EmitError) -> (Option<&'p plan::plan::Hook>, String) {
    let text = error.to_string();
    let of = |(id, hook): (HookId, &'p plan::plan::Hook)| {
        let rest = text.strip_prefix(&format!("hook {}: ", id.0))?;
        Some((Some(hook), format!("{}: {rest}", plan.source_name(hook))))
    };
    plan.hooks().find_map(of).unwrap_or((None, text.clone()))
}

/// Why programs cannot be emitted, and what to do.
pub(super) fn refusal(plan: &Plan, wiring: &Wiring, error: &EmitError) -> Refusal {
    let (hook, what) = told(plan, error);
    let xdp = |hook: &plan::plan::Hook| wiring.view(hook) == View::Xdp;
    match hook.filter(|hook| xdp(hook)).map(|hook| plan.port(hook.at.port)) {
        Some(port) => Refusal {
            what: format!("port {}: {} cannot be attached with xdp: {what}", port.name, port.interface),
            help: "use attach = \"auto\" or \"tcx\", or fewer and simpler rules".into(),
        },
        None => Refusal { what, help: "use fewer or simpler rules".into() },
    }
}

/// What cannot be put right under XDP, nor seen from here: the far end of a virtual interface may leave
/// checksums to a card that never comes.
fn unseen_offloads(port: &plan::plan::Port, choice: &Chosen) -> Option<String> {
    (choice.engine == Engine::Xdp && choice.is_virtual).then(|| {
        format!(
            "port {}: {} is virtual: under xdp, frames whose checksum its far end leaves to a card are passed and \
             copied without one (`ethtool -K FAR tx off` there, or attach = \"tcx\")",
            port.name, port.interface
        )
    })
}

fn place(role: Role, choice: &Chosen) -> card::Place {
    card::Place { role, is_virtual: choice.is_virtual, xdp: choice.engine == Engine::Xdp }
}

/// How the programs are attached that see socket buffers: all but the XDP entry.
fn skb_engine(choice: &Chosen, has_tcx: bool) -> Engine {
    match choice.engine {
        Engine::Xdp if has_tcx => Engine::Tcx,
        Engine::Xdp | Engine::Clsact => Engine::Clsact,
        Engine::Tcx => Engine::Tcx,
    }
}

/// The veth pairs that the plan needs: one for each virtual interface, one for each hop.
fn pairs_of(plan: &Plan, wiring: &Wiring) -> Vec<Pair> {
    let hops = choose::hops(plan, wiring)
        .map(|id| Pair { near: near_of_hop(id), far: format!("{}x", near_of_hop(id)) });
    pairs::of_virtuals(plan).chain(hops).collect()
}

/// Makes the plan true.
///
/// # Errors
/// The first step that failed; what was done until then is still there.
pub fn install(sys: &mut impl Sys, plan: &Plan, prepared: Prepared) -> Result<UpReport, Error> {
    let mut work = Work::begin(sys, plan, prepared)?;
    work.attach_guards()?;
    work.make_pairs()?;
    work.attach_pair_guards()?;
    work.change_interfaces()?;
    work.build_queues()?;
    work.look_again()?;
    work.start_counting()?;
    work.fill_devmaps()?;
    work.attach_hops()?;
    work.attach_entries()?;
    work.refuse_obstacles(true)?;
    work.finish()
}

struct Work<'a, S: Sys> {
    sys: &'a mut S,
    plan: &'a Plan,
    it: Prepared,
    state: StateMap,
    /// The anchor and the interface it is on, where the kernel has tcx.
    anchor: Option<(u32, ProgFd)>,
    maps: BTreeMap<MapRef, MapFd>,
    /// Every interface by name, as of the last look.
    links: BTreeMap<String, Link>,
}

impl<'a, S: Sys> Work<'a, S> {
    /// Makes the maps and takes hold of the first interface.
    fn begin(sys: &'a mut S, plan: &'a Plan, it: Prepared) -> Result<Self, Error> {
        let counters = sys.map_create(&MapSpec {
            kind: MapKind::PERCPU_ARRAY,
            key_bytes: 4,
            value_bytes: it.emitted.layout.block_bytes(),
            max_entries: it.emitted.layout.blocks().max(1),
            flags: 0,
            name: COUNTERS_MAP.into(),
        })?;
        let state = StateMap::create(sys, &it.saved)?;
        let mut maps = BTreeMap::from([(MapRef::Counters, counters)]);
        if it.emitted.layout.tallies() > 0 {
            let tallies = sys.map_create(&MapSpec {
                kind: MapKind::PERCPU_ARRAY,
                key_bytes: 4,
                value_bytes: TALLY_BYTES,
                max_entries: it.emitted.layout.tallies(),
                flags: 0,
                name: TALLIES_MAP.into(),
            })?;
            maps.insert(MapRef::Tallies, tallies);
        }
        for table in &it.emitted.tables {
            maps.insert(MapRef::Table(table.id), tables::make(sys, table)?);
        }
        let mut work = Self { sys, plan, it, state, anchor: None, maps, links: BTreeMap::new() };
        work.look()?;
        // A plan without an existing interface copies from nothing, and `check` refuses it.
        if let Some(first) = work.it.saved.interfaces.first().filter(|_| work.it.has_tcx) {
            let ifindex = first.index;
            work.anchor = Some((ifindex, anchor::attach(work.sys, ifindex, work.state.map)?));
        }
        if work.it.saved.hurried {
            hurry::begin(work.sys);
        }
        Ok(work)
    }

    fn look(&mut self) -> Result<(), Error> {
        self.links = self.sys.links()?.into_iter().map(|link| (link.name.clone(), link)).collect();
        Ok(())
    }

    /// The interface that frames for a port leave by.
    fn egress(&self, id: PortId) -> Result<Link, Error> {
        self.link(&egress_name(self.plan, id))
    }

    fn link(&self, name: &str) -> Result<Link, Error> {
        let gone = || sys::SysError::new("RTM_GETLINK", name, 19).with_detail("it went away in the meantime");
        self.links.get(name).cloned().ok_or_else(|| gone().into())
    }

    fn engine(&self, id: PortId) -> Engine {
        skb_engine(&self.it.chosen[usize::from(id.0)], self.it.has_tcx)
    }

    /// Loads the program of a part, with the state map in its hold.
    fn load(&mut self, part: Part) -> Result<ProgFd, Error> {
        let program = self
            .it
            .emitted
            .program(part)
            .ok_or_else(|| Error::Defect(format!("no program was emitted for {part:?}")))?;
        let mut interfaces = BTreeMap::new();
        for symbol in program.symbols() {
            let link = match symbol {
                Symbol::Interface(port) => self.egress(port)?,
                Symbol::Hop(hook) => self.link(&near_of_hop(hook))?,
                Symbol::Map(_) => continue,
            };
            let index = i32::try_from(link.index).map_err(|_| Error::Defect("an interface index".into()))?;
            interfaces.insert(symbol, index);
        }
        anchor::load(self.sys, program, Some(self.state.map), |symbol| match symbol {
            Symbol::Map(map) => self.maps.get(&map).map(|fd| fd.0),
            other => interfaces.get(&other).copied(),
        })
    }

    /// Attaches a program that sees socket buffers.
    fn attach(
        &mut self,
        engine: Engine,
        link: &Link,
        hook: Hook,
        prog: ProgFd,
        place: Place,
    ) -> Result<(), Error> {
        if engine == Engine::Tcx {
            return Ok(self.sys.tcx_attach(link.index, hook, prog, place)?);
        }
        let kinds = self.sys.qdiscs(link.index)?;
        let with_clsact = !kinds.iter().any(|qdisc| qdisc.kind == "clsact");
        let priority = if place == Place::Last { u16::MAX } else { FILTER_FIRST };
        let filter = FilterSpec { prog, name: "tapwright", priority, handle: 1, replace: false, with_clsact };
        Ok(self.sys.add_filter(link.index, hook, &filter)?)
    }

    fn guarded(&self, is_virtual: bool) -> Vec<PortId> {
        let ports = self.plan.ports().filter(|(_, port)| port.role != Role::Watched);
        ports.filter(|(_, port)| (port.role == Role::Virtual) == is_virtual).map(|(id, _)| id).collect()
    }

    /// From here on nothing of the host's own leaves by a port, and nothing that a sensor sends comes in.
    fn attach_guards(&mut self) -> Result<(), Error> {
        for id in self.guarded(false) {
            self.attach_guard(id)?;
        }
        Ok(())
    }

    fn attach_guard(&mut self, id: PortId) -> Result<(), Error> {
        let (link, engine) = (self.egress(id)?, self.engine(id));
        let guard = self.load(Part::Guard(id))?;
        self.attach(engine, &link, Hook::Egress, guard, Place::First)?;
        if matches!(self.plan.port(id).role, Role::Monitor | Role::Virtual) {
            let stop = self.load(Part::MonitorIn(id))?;
            self.attach(engine, &link, Hook::Ingress, stop, Place::First)?;
        }
        Ok(())
    }

    fn make_pairs(&mut self) -> Result<(), Error> {
        let ports = self.plan.ports.iter().filter_map(|port| self.links.get(&port.interface));
        let mtu = ports.map(|link| link.mtu).max().unwrap_or(0);
        pairs::make(self.sys, &self.it.saved.pairs, mtu)?;
        self.look()
    }

    /// Guards and sinkholes of the virtual interfaces, then both ends up.
    fn attach_pair_guards(&mut self) -> Result<(), Error> {
        for id in self.guarded(true) {
            self.attach_guard(id)?;
            let far = self.link(&self.plan.port(id).interface.clone())?;
            let sinkhole = anchor::load(self.sys, &anchor::sinkhole()?, Some(self.state.map), |_| None)?;
            self.attach(self.engine(id), &far, Hook::Ingress, sinkhole, Place::Last)?;
        }
        self.order_pairs()?;
        for pair in self.it.saved.pairs.clone() {
            for name in [&pair.far, &pair.near] {
                let link = self.link(name)?;
                self.sys.set_link_flags(link.index, sys::IFF_UP, 0)?;
            }
        }
        Ok(())
    }

    /// Gives every pair one order for all CPUs. A far end with an XDP program polls one ring, in which frames lie as
    /// they were sent; without, each CPU has a backlog of its own and two overtake each other, so that a sniffer saw
    /// one reply in a thousand before its request. XDP also redirects to a pair only where its far end has a program.
    fn order_pairs(&mut self) -> Result<(), Error> {
        if self.it.saved.pairs.is_empty() {
            return Ok(());
        }
        let program = self.it.emitted.program(Part::Pass);
        let program = program.ok_or_else(|| Error::Defect("no program lets everything pass".into()))?.clone();
        let far = self.it.saved.pairs.iter().map(|pair| self.link(&pair.far));
        let far: Vec<Link> = far.collect::<Result<_, _>>()?;
        // All pairs are as wide as the widest port; only then frames lie in several pieces.
        let is_wide = far.iter().any(|link| link.mtu > choose::XDP_MTU_MAX);
        if is_wide && !self.it.has_frags {
            self.it.notes.push(format!(
                "MTU above {} on a kernel before {}.{}: on virtual interfaces frames that different CPUs carry may \
                 arrive out of order",
                choose::XDP_MTU_MAX,
                FRAGS_OLDEST.0,
                FRAGS_OLDEST.1
            ));
            return Ok(());
        }
        let flags = if is_wide { anchor::HAS_FRAGS } else { 0 };
        let pass = anchor::load_with(self.sys, &program, Some(self.state.map), flags, |_| None)?;
        for link in far {
            self.sys.xdp_attach(link.index, XdpMode::Native, pass, None)?;
        }
        Ok(())
    }

    fn change_interfaces(&mut self) -> Result<(), Error> {
        let saved: Vec<SavedInterface> = self.it.saved.interfaces.clone();
        for interface in &saved {
            let (id, port) = self
                .plan
                .ports()
                .find(|(_, port)| port.interface == interface.name)
                .ok_or_else(|| Error::Defect("a saved interface of no port".into()))?;
            let place = place(port.role, &self.it.chosen[usize::from(id.0)]);
            let notes = prepare::apply(self.sys, port, place, interface)?;
            self.it.notes.extend(notes);
        }
        for id in self.guarded(true) {
            pairs::fit(self.sys, &near_of_virtual(id))?;
        }
        Ok(())
    }

    fn build_queues(&mut self) -> Result<(), Error> {
        for (sink, plan::plan::Sink::Port(id)) in self.plan.sinks() {
            let Some(queue) = self.plan.port(*id).queue else { continue };
            let sides = u16::try_from(self.plan.sides(sink).len()).expect("at most SIDES_MAX sides");
            let link = self.egress(*id)?;
            let mtu = queue::largest(self.plan, sink, link.mtu, |name| Some(self.links.get(name)?.mtu));
            queue::build(self.sys, link.index, mtu, queue, sides)?;
        }
        Ok(())
    }

    /// What could not be seen while interfaces were down.
    fn look_again(&mut self) -> Result<(), Error> {
        let mut ours: Vec<u32> = self.it.saved.interfaces.iter().map(|saved| saved.index).collect();
        for pair in &self.it.saved.pairs {
            ours.extend([self.link(&pair.near)?.index, self.link(&pair.far)?.index]);
        }
        let unready = self.sys.settle(&ours, READY_TIMEOUT)?;
        self.look()?;
        for link in self.links.values().filter(|link| unready.contains(&link.index)) {
            self.it.notes.push(format!("{} has no carrier: nothing leaves by it until it has", link.name));
        }
        self.refuse_obstacles(false)
    }

    /// Refuses XDP where a target would lose frames in silence.
    fn refuse_obstacles(&mut self, attached: bool) -> Result<(), Error> {
        let engines = super::engines(&self.it.chosen);
        let refusals = choose::late_obstacles(self.sys, self.plan, &engines, attached, |id| {
            self.links
                .get(&self.plan.port(id).interface)
                .filter(|_| self.plan.port(id).role != Role::Virtual)
                .cloned()
        })?;
        if refusals.is_empty() { Ok(()) } else { Err(Error::Refused(refusals)) }
    }

    /// Writes down where the device counters stand: nothing leaves by a port until an entry is attached.
    fn start_counting(&mut self) -> Result<(), Error> {
        self.look()?;
        for interface in &mut self.it.saved.interfaces {
            if let Some(link) = self.links.get(&interface.name) {
                interface.baseline = counts::baseline(&link.stats);
                interface.baseline.root_drops = counts::root(self.sys, link.index)?.0;
            }
        }
        Ok(self.state.write(self.sys, &self.it.saved)?)
    }

    fn fill_devmaps(&mut self) -> Result<(), Error> {
        for outcome in self.it.emitted.outcomes.clone() {
            let map = self.sys.map_create(&MapSpec {
                kind: MapKind::DEVMAP,
                key_bytes: 4,
                value_bytes: 8,
                max_entries: u32::try_from(outcome.targets.len()).expect("fewer than 2^16 ports").max(1),
                flags: 0,
                name: format!("tw_dev{}_{}", outcome.hook.0, outcome.number),
            })?;
            self.maps.insert(outcome.map(), map);
            for (key, target) in (0u32..).zip(&outcome.targets) {
                let link = match target {
                    Target::Port(port) => self.egress(*port)?,
                    Target::Hop(hook) => self.link(&near_of_hop(*hook))?,
                };
                let prog = self.load(Part::Devmap(outcome.hook, *target))?;
                let mut value = link.index.to_ne_bytes().to_vec();
                value.extend(prog.0.to_ne_bytes());
                self.sys.map_update(map, &key.to_ne_bytes(), &value)?;
            }
        }
        Ok(())
    }

    fn attach_hops(&mut self) -> Result<(), Error> {
        let engine = if self.it.has_tcx { Engine::Tcx } else { Engine::Clsact };
        for id in choose::hops(self.plan, &self.it.wiring).collect::<Vec<_>>() {
            let far = self.link(&format!("{}x", near_of_hop(id)))?;
            let prog = self.load(Part::Hop(id))?;
            self.attach(engine, &far, Hook::Ingress, prog, Place::First)?;
        }
        Ok(())
    }

    /// Frames begin to be judged: one hook after another, each at once.
    fn attach_entries(&mut self) -> Result<(), Error> {
        for (id, hook) in self.plan.hooks() {
            let prog = self.load(Part::Entry(id))?;
            let port = hook.at.port;
            let link = self.link(&self.plan.port(port).interface.clone())?;
            let xdp = self.it.chosen[usize::from(port.0)].engine == Engine::Xdp;
            match hook.at.direction {
                Direction::In if xdp => self.sys.xdp_attach(link.index, XdpMode::Native, prog, None)?,
                Direction::In => self.attach(self.engine(port), &link, Hook::Ingress, prog, Place::First)?,
                // Last: what other programs drop or change has not left as it came.
                Direction::Out => self.attach(self.engine(port), &link, Hook::Egress, prog, Place::Last)?,
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<UpReport, Error> {
        if std::mem::take(&mut self.it.saved.hurried) {
            hurry::end(self.sys)?;
        }
        self.it.saved.phase = Phase::Live;
        self.state.write(self.sys, &self.it.saved)?;
        if let Some((ifindex, prog)) = self.anchor {
            self.sys.tcx_detach(ifindex, Hook::Ingress, prog)?;
        }
        let ports = report::ports(self.plan, &self.it.saved.choices);
        Ok(UpReport { ports, notes: self.it.notes, unchanged: false })
    }
}
