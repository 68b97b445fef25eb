//! Carries out `up`, step by step. Every step leaves a state that `remove` can take away.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use plan::plan::{Plan, PortId, Role};
use sys::{Link, Sys};

use super::design::{self, Part, Planned};
use super::keep::{Home, Keep};
use crate::machine::pairs::{self, egress_name, near_of_virtual};
use crate::machine::report::{self, Error, UpReport};
use crate::machine::saved::{Choice, Pair, Phase, Saved, SavedInterface};
use crate::machine::survey::Machine;
use crate::machine::{card, counts, prepare, queue};

/// How long an interface with a carrier may take until its queues run; longer is said, and is no failure.
const READY_TIMEOUT: Duration = Duration::from_secs(5);

/// Everything that is decided before the first change.
pub struct Prepared {
    filters: Vec<Planned>,
    virtuals: Vec<bool>,
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
    why: &str,
    file: &str,
) -> Result<Prepared, Error> {
    let mut refusals = super::cannot(plan);
    let lowered = match bpf::classic::lower(plan) {
        Ok(lowered) => lowered,
        Err(refused) => {
            refusals.extend(refused.iter().map(|refused| super::refusal(plan, refused)));
            bpf::classic::Lowered::default()
        }
    };
    let (mut interfaces, mut notes, mut virtuals) = (Vec::new(), Vec::new(), Vec::new());
    for port in &plan.ports {
        let link = machine.link(&port.interface).filter(|_| port.role != Role::Virtual);
        let is_virtual = link.is_none_or(|link| {
            let driver = sys.driver(&link.name).map_or_else(|_| String::new(), |driver| driver.name);
            card::is_virtual(&driver, link.kind.as_deref())
        });
        virtuals.push(is_virtual);
        let Some(link) = link else { continue };
        let place = card::Place { role: port.role, is_virtual, xdp: false };
        let found = prepare::survey(sys, machine, port, link, place, true)?;
        interfaces.push(found.saved);
        refusals.extend(found.refusals.into_iter().chain(found.of_root));
        notes.extend(found.notes);
    }
    if !refusals.is_empty() {
        return Err(Error::Refused(refusals));
    }
    let choice = Choice { attach: super::NAME.into(), why: why.to_owned() };
    let saved = Saved {
        phase: Phase::Applying,
        plan: crate::plan_text(plan),
        file: file.to_owned(),
        choices: vec![choice; plan.ports.len()],
        interfaces,
        pairs: pairs::of_virtuals(plan).collect(),
        hurried: false,
    };
    Ok(Prepared { filters: design::design(plan, &lowered), virtuals, saved, notes })
}

/// Makes the plan true.
///
/// # Errors
/// The first step that failed; what was done until then is still there.
pub fn install(sys: &mut impl Sys, plan: &Plan, it: Prepared) -> Result<UpReport, Error> {
    let homes = it.saved.interfaces.iter();
    let homes =
        homes.map(|it| Home { ifindex: it.index, clsact: it.clsact, make_clsact: it.clsact }).collect();
    let mut work = Work {
        sys,
        plan,
        it,
        homes,
        keep: Keep::new(),
        with_clsact: BTreeSet::new(),
        links: BTreeMap::new(),
    };
    work.save()?;
    work.make_counter()?;
    work.attach(Part::Guard, false)?;
    work.make_pairs()?;
    work.change_interfaces()?;
    work.build_queues()?;
    work.attach(Part::Side, true)?;
    work.settle()?;
    work.start_counting()?;
    work.attach(Part::Judge, true)?;
    work.delete_counter()?;
    work.finish()
}

struct Work<'a, S: Sys> {
    sys: &'a mut S,
    plan: &'a Plan,
    it: Prepared,
    /// The interfaces that keep the text.
    homes: Vec<Home>,
    keep: Keep,
    /// Interfaces that have a clsact by now, by index.
    with_clsact: BTreeSet<u32>,
    /// Every interface by name, as of the last look.
    links: BTreeMap<String, Link>,
}

impl<S: Sys> Work<'_, S> {
    fn look(&mut self) -> Result<(), Error> {
        self.links = self.sys.links()?.into_iter().map(|link| (link.name.clone(), link)).collect();
        Ok(())
    }

    fn link(&self, name: &str) -> Result<Link, Error> {
        let gone = || sys::SysError::new("RTM_GETLINK", name, 19).with_detail("it went away in the meantime");
        self.links.get(name).cloned().ok_or_else(|| gone().into())
    }

    /// Writes down what is about to be changed.
    fn save(&mut self) -> Result<(), Error> {
        self.keep.write(self.sys, &self.homes, &self.it.saved)?;
        for home in &mut self.homes {
            home.make_clsact = false;
            self.with_clsact.insert(home.ifindex);
        }
        Ok(())
    }

    /// Not every kernel has an action that counts and does no more; all have `mirred`, and where its interface is gone
    /// it does nothing but count. So the counters of the plan mirror to an interface that is down, and is deleted
    /// when all of them are in place.
    fn make_counter(&mut self) -> Result<(), Error> {
        pairs::make(self.sys, &[counter()], 0)?;
        self.look()
    }

    fn delete_counter(&mut self) -> Result<(), Error> {
        let link = self.link(&counter().near)?;
        Ok(self.sys.delete_link(link.index)?)
    }

    /// Attaches the filters of a part, on real interfaces or on all.
    fn attach(&mut self, part: Part, all: bool) -> Result<(), Error> {
        for number in 0..self.it.filters.len() {
            let planned = &self.it.filters[number];
            if planned.part == part && (all || !pairs::is_pair(&planned.interface)) {
                self.add(number)?;
            }
        }
        Ok(())
    }

    fn add(&mut self, number: usize) -> Result<(), Error> {
        let planned = &self.it.filters[number];
        let (link, counter) = (self.link(&planned.interface)?, self.link(&counter().near)?);
        let on_clsact = planned.parent == sys::H_INGRESS || planned.parent == sys::H_EGRESS;
        let with_clsact = on_clsact && self.with_clsact.insert(link.index);
        let index = |name: &str| self.links.get(name).map(|link| link.index);
        let spec = planned.spec(&index, counter.index, with_clsact)?;
        Ok(self.sys.add_classic(link.index, planned.parent, &spec)?)
    }

    /// The virtual interfaces, with guards and sinkholes before they come up.
    fn make_pairs(&mut self) -> Result<(), Error> {
        let ports = self.plan.ports.iter().filter_map(|port| self.links.get(&port.interface));
        let mtu = ports.map(|link| link.mtu).max().unwrap_or(0);
        let made = self.it.saved.pairs.clone();
        pairs::make(self.sys, &made, mtu)?;
        self.look()?;
        for number in 0..self.it.filters.len() {
            let planned = &self.it.filters[number];
            if planned.part == Part::Guard && pairs::is_pair(&planned.interface) {
                self.add(number)?;
            }
        }
        for pair in &made {
            let far = self.link(&pair.far)?;
            self.sys.add_classic(far.index, sys::H_INGRESS, &design::sinkhole())?;
            for name in [&pair.far, &pair.near] {
                let link = self.link(name)?;
                self.sys.set_link_flags(link.index, sys::IFF_UP, 0)?;
            }
        }
        Ok(())
    }

    fn change_interfaces(&mut self) -> Result<(), Error> {
        let saved: Vec<SavedInterface> = self.it.saved.interfaces.clone();
        for interface in &saved {
            let ports = self.plan.ports.iter().zip(&self.it.virtuals);
            let (port, is_virtual) = ports
                .into_iter()
                .find(|(port, _)| port.interface == interface.name)
                .ok_or_else(|| Error::Defect("a saved interface of no port".into()))?;
            let place = card::Place { role: port.role, is_virtual: *is_virtual, xdp: false };
            let notes = prepare::apply(self.sys, port, place, interface)?;
            self.it.notes.extend(notes);
        }
        for (id, _) in self.plan.ports().filter(|(_, port)| port.role == Role::Virtual) {
            pairs::fit(self.sys, &near_of_virtual(id))?;
        }
        Ok(())
    }

    fn build_queues(&mut self) -> Result<(), Error> {
        for (sink, plan::plan::Sink::Port(id)) in self.plan.sinks() {
            let Some(queue) = self.plan.port(*id).queue else { continue };
            let link = self.egress(*id)?;
            let mtu = queue::largest(self.plan, sink, link.mtu, |name| Some(self.links.get(name)?.mtu));
            let sides = u16::try_from(self.plan.sides(sink).len()).expect("at most SIDES_MAX sides");
            queue::build(self.sys, link.index, mtu, queue, sides)?;
        }
        Ok(())
    }

    fn egress(&self, id: PortId) -> Result<Link, Error> {
        self.link(&egress_name(self.plan, id))
    }

    /// Waits until frames can leave.
    fn settle(&mut self) -> Result<(), Error> {
        let mut ours: Vec<u32> = self.it.saved.interfaces.iter().map(|saved| saved.index).collect();
        for pair in &self.it.saved.pairs {
            ours.extend([self.link(&pair.near)?.index, self.link(&pair.far)?.index]);
        }
        let unready = self.sys.settle(&ours, READY_TIMEOUT)?;
        self.look()?;
        for link in self.links.values().filter(|link| unready.contains(&link.index)) {
            self.it.notes.push(format!("{} has no carrier: nothing leaves by it until it has", link.name));
        }
        Ok(())
    }

    /// Writes down where the device counters stand: nothing leaves by a port until frames are judged.
    fn start_counting(&mut self) -> Result<(), Error> {
        self.look()?;
        for interface in &mut self.it.saved.interfaces {
            if let Some(link) = self.links.get(&interface.name) {
                interface.baseline = counts::baseline(&link.stats);
                interface.baseline.root_drops = counts::root(self.sys, link.index)?.0;
            }
        }
        self.save()
    }

    fn finish(mut self) -> Result<UpReport, Error> {
        self.it.saved.phase = Phase::Live;
        self.save()?;
        let ports = report::ports(self.plan, &self.it.saved.choices);
        Ok(UpReport { ports, notes: self.it.notes, unchanged: false })
    }
}

/// The pair that counters mirror to while they are being made.
fn counter() -> Pair {
    Pair { near: pairs::COUNTER.into(), far: format!("{}x", pairs::COUNTER) }
}
