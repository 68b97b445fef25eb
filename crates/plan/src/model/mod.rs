//! What the user asked for in terms that know no devices: ports with one role each, links, and copies
//! from sources to sinks. Whatever makes no sense is refused where it is added, and says why.
//!
//! Never parses and never prints; [`Model::plan`] is the only way out.

mod hook;
mod nonsense;

use std::collections::{BTreeMap, BTreeSet};

use rules::form::{CHOICES_MAX, Method, RuleId, Test, WEIGHT_MAX};
use wire::{LinkType, Vlan};

use crate::names;
use crate::plan::{Attach, Direction, Plan, Point, Port, PortId, Queue, Role, Rule, Sink, SinkId};
use crate::problem::{listed, shown};
use crate::text::{RULES_MAX as RULINGS_MAX, STEPS_MAX, WEIGHTS_MAX};

use hook::Judging;
pub use hook::{NewRuling, NewSet, Ruling, To};
pub use nonsense::Nonsense;
pub(crate) use nonsense::a as a_role;

/// The most ports of one plan: ids have 16 bits, and each port may have two hooks.
pub const PORTS_MAX: usize = 4096;
/// The most rules of one plan.
pub const RULES_MAX: usize = 65_536;
/// The most copies of one plan, counted by hook.
pub const COPIES_MAX: usize = 131_072;
/// The most copies of one hook: they are numbered by 16 bits.
pub const HOOK_COPIES_MAX: usize = 65_536;
/// The most different ways of balancing in one plan, counted by hook: each holds a table of 64 KiB.
pub const SPREADS_MAX: usize = 512;

/// A port before its role is known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewPort {
    /// The user's name.
    pub name: String,
    /// The Linux interface.
    pub interface: String,
    /// How programs are attached.
    pub attach: Attach,
    /// Capacity; only a monitor port has one.
    pub queue: Option<Queue>,
}

/// Two network ports: what enters one leaves by the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Link {
    a: PortId,
    b: PortId,
}

impl Link {
    /// A link of two ports.
    ///
    /// # Errors
    /// Of a port to itself.
    pub fn new(a: PortId, b: PortId) -> Result<Self, Nonsense> {
        if a == b { Err(Nonsense::LinkToItself) } else { Ok(Self { a, b }) }
    }
}

/// Which of a source's frames are copied.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Selector {
    /// All.
    All,
    /// Those whose outer tag names one of these VLANs.
    Vlans(BTreeSet<Vlan>),
}

impl Selector {
    /// Those of some VLANs.
    ///
    /// # Errors
    /// Of none.
    pub fn vlans(ids: BTreeSet<Vlan>) -> Result<Self, Nonsense> {
        if ids.is_empty() { Err(Nonsense::SelectsNothing) } else { Ok(Self::Vlans(ids)) }
    }

    pub(crate) fn test(&self) -> Test {
        match self {
            Self::All => Test::Always,
            Self::Vlans(ids) => Test::Vlan(ids.clone()),
        }
    }
}

/// Where copies are taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// Both directions of a link.
    Link(Link),
    /// What enters this port of a link.
    Direction(PortId),
    /// What a SPAN port receives.
    Span(PortId),
    /// What crosses a watched interface this way.
    Watched(PortId, Direction),
}

impl Place {
    /// The points at which its frames are judged, in order.
    fn points(self) -> Vec<Point> {
        let enters = |port| Point { port, direction: Direction::In };
        match self {
            Self::Link(Link { a, b }) => vec![enters(a), enters(b)],
            Self::Direction(port) | Self::Span(port) => vec![enters(port)],
            Self::Watched(port, direction) => vec![Point { port, direction }],
        }
    }

    fn role(self) -> Role {
        match self {
            Self::Link(_) | Self::Direction(_) => Role::Network,
            Self::Span(_) => Role::Span,
            Self::Watched(..) => Role::Watched,
        }
    }
}

/// Anything that can be copied from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Source {
    /// Where.
    pub place: Place,
    /// Which frames.
    pub selector: Selector,
}

/// Several monitors of which each frame goes to one.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Balance {
    method: Method,
    choices: Vec<(PortId, u8)>,
    inner: bool,
}

impl Balance {
    /// A balance between monitors by weight. One that is named twice weighs what both say.
    ///
    /// # Errors
    /// More monitors than [`CHOICES_MAX`], or none; a weight of 0 or above [`WEIGHT_MAX`].
    pub fn new(method: Method, weights: &[(PortId, u8)], inner: bool) -> Result<Self, Nonsense> {
        let mut choices: Vec<(PortId, u8)> = Vec::new();
        for (port, weight) in weights {
            match choices.iter_mut().find(|(known, _)| known == port) {
                Some((_, sum)) => *sum = sum.saturating_add(*weight),
                None => choices.push((*port, *weight)),
            }
        }
        if choices.len() > CHOICES_MAX || choices.is_empty() {
            return Err(Nonsense::TooMany { what: "monitors to balance between", most: CHOICES_MAX });
        }
        if choices.iter().any(|(_, weight)| !(1..=WEIGHT_MAX).contains(weight)) {
            return Err(Nonsense::Weight);
        }
        Ok(Self { method, choices, inner })
    }

    fn ports(&self) -> impl Iterator<Item = PortId> + '_ {
        self.choices.iter().map(|(port, _)| *port)
    }

    fn weights(&self) -> usize {
        self.choices.iter().map(|(_, weight)| usize::from(*weight)).sum()
    }
}

/// A port with the role it was given, and the rule that gave it.
struct Claimed {
    port: NewPort,
    role: Option<(Role, RuleId)>,
}

/// What is wanted, so far.
#[derive(Default)]
pub struct Model {
    ports: Vec<Claimed>,
    names: BTreeMap<String, PortId>,
    interfaces: BTreeMap<String, PortId>,
    rules: Vec<Rule>,
    /// Where what enters at a network port goes: to the other end of its link, or to all other ports of its hub.
    peers: BTreeMap<PortId, BTreeSet<PortId>>,
    /// What is done at each point.
    judged: BTreeMap<Point, Judging>,
    /// How much that is, at all points together.
    size: Size,
}

/// What of a plan is bounded, so that its text reads back.
#[derive(Clone, Copy, Default)]
struct Size {
    copies: usize,
    steps: usize,
    rulings: usize,
    spreads: usize,
    /// Weights of all spreads together.
    weights: usize,
}

impl Model {
    /// A port of that name.
    pub fn named(&self, name: &str) -> Option<PortId> {
        self.names.get(name).copied()
    }

    /// The port that is this interface.
    pub fn on_interface(&self, interface: &str) -> Option<PortId> {
        self.interfaces.get(interface).copied()
    }

    /// What a port was added as.
    pub fn port(&self, id: PortId) -> &NewPort {
        &self.ports[usize::from(id.0)].port
    }

    /// The role that a port was given, and by which rule.
    pub fn role(&self, id: PortId) -> Option<(Role, RuleId)> {
        self.ports[usize::from(id.0)].role
    }

    /// A rule of this model.
    pub fn rule(&self, id: RuleId) -> &Rule {
        &self.rules[id.0 as usize]
    }

    /// Whether something is done with frames at a point.
    pub(crate) fn is_judged(&self, point: Point) -> bool {
        let end = point.direction == Direction::In && self.peers.contains_key(&point.port);
        end || self.judged.contains_key(&point)
    }

    /// The name of a point, as [`Plan::source_name`] has it.
    pub(crate) fn source_name(&self, point: Point) -> String {
        let name = &self.port(point.port).name;
        match (self.role(point.port), point.direction) {
            (Some((Role::Watched, _)), Direction::In) => format!("{name}:rx"),
            (Some((Role::Watched, _)), Direction::Out) => format!("{name}:tx"),
            _ => name.clone(),
        }
    }

    /// Adds a port.
    ///
    /// # Errors
    /// A name or an interface that cannot be or is taken, or one port too many.
    pub fn add_port(&mut self, port: NewPort) -> Result<PortId, Nonsense> {
        if let Some(flaw) = names::port_flaw(&port.name).or_else(|| names::interface_flaw(&port.interface)) {
            return Err(Nonsense::Name(flaw));
        }
        if self.names.contains_key(&port.name) {
            return Err(Nonsense::NameTaken(port.name));
        }
        if let Some(other) = self.on_interface(&port.interface) {
            let taken_by = self.port(other).name.clone();
            return Err(Nonsense::InterfaceTaken { interface: port.interface, by: taken_by });
        }
        let full = Nonsense::TooMany { what: "ports", most: PORTS_MAX };
        let id = u16::try_from(self.ports.len()).map_err(|_| full.clone())?;
        if self.ports.len() == PORTS_MAX {
            return Err(full);
        }
        self.names.insert(port.name.clone(), PortId(id));
        self.interfaces.insert(port.interface.clone(), PortId(id));
        self.ports.push(Claimed { port, role: None });
        Ok(PortId(id))
    }

    /// Adds a rule: what copies are counted under.
    ///
    /// # Errors
    /// A label that is taken, or one rule too many.
    pub fn add_rule(&mut self, rule: Rule) -> Result<RuleId, Nonsense> {
        let full = Nonsense::TooMany { what: "rules", most: RULES_MAX };
        let id = u32::try_from(self.rules.len()).map_err(|_| full.clone())?;
        if self.rules.len() == RULES_MAX {
            return Err(full);
        }
        self.rules.push(rule);
        Ok(RuleId(id))
    }

    /// Gives a port its role. A port has one, however many rules use it.
    ///
    /// # Errors
    /// Where it has another.
    pub fn claim(&mut self, port: PortId, role: Role, rule: RuleId) -> Result<(), Nonsense> {
        let claimed = &mut self.ports[usize::from(port.0)];
        match claimed.role {
            Some((has, by)) if has != role => {
                let port = claimed.port.name.clone();
                Err(Nonsense::Role { port, has, by: self.rule(by).clone(), wants: role })
            }
            Some(_) => Ok(()),
            None => {
                claimed.role = Some((role, rule));
                Ok(())
            }
        }
    }

    /// Joins two network ports.
    ///
    /// # Errors
    /// A link of a port to itself, or of a port that another link has.
    pub fn add_link(&mut self, a: PortId, b: PortId) -> Result<Link, Nonsense> {
        let link = Link::new(a, b)?;
        for (port, peer) in [(a, b), (b, a)] {
            if let Some(has) = self.peers.get(&port).filter(|has| **has != BTreeSet::from([peer])) {
                return Err(self.two_links(port, has));
            }
        }
        self.peers.extend([(a, BTreeSet::from([b])), (b, BTreeSet::from([a]))]);
        Ok(link)
    }

    /// Joins the ports of a hub: what enters at one leaves by all others.
    ///
    /// # Errors
    /// The index of a port that is in a link or another hub already.
    pub fn add_hub(&mut self, ports: &[PortId]) -> Result<(), (usize, Nonsense)> {
        for (index, port) in ports.iter().enumerate() {
            if let Some(has) = self.peers.get(port) {
                return Err((index, self.two_links(*port, has)));
            }
        }
        for port in ports {
            let others = ports.iter().copied().filter(|other| other != port);
            self.peers.insert(*port, others.collect());
        }
        Ok(())
    }

    fn two_links(&self, port: PortId, has: &BTreeSet<PortId>) -> Nonsense {
        let has: Vec<String> = has.iter().map(|port| shown(&self.port(*port).name)).collect();
        Nonsense::TwoLinks { port: self.port(port).name.clone(), has: listed(&has) }
    }

    /// Adds a copy from a source to a monitor port.
    ///
    /// # Errors
    /// A source or a sink of another role, the same copy twice, or one copy too many.
    pub fn add_copy(&mut self, rule: RuleId, source: &Source, to: PortId) -> Result<(), Nonsense> {
        for point in source.place.points() {
            self.add_step(rule, (source.place, point), source.selector.test(), &To::One(to))?;
        }
        Ok(())
    }

    /// Adds a step at one point of a place: frames that meet a test go to somebody.
    ///
    /// # Errors
    /// As [`Self::add_copy`]; and too many ways of balancing.
    pub fn add_step(
        &mut self,
        rule: RuleId,
        (place, point): (Place, Point),
        when: Test,
        to: &To,
    ) -> Result<(), Nonsense> {
        to.ports().into_iter().try_for_each(|port| self.claim_sink(rule, port))?;
        self.claim(point.port, place.role(), rule)?;
        if let Some(same) = self.judged.get(&point).and_then(|there| there.same(&when, to)) {
            let sink = to.ports().first().map(|port| self.port(*port).name.clone()).unwrap_or_default();
            let (from, by) = (self.port(point.port).name.clone(), self.rule(same).clone());
            return Err(Nonsense::SameCopy { from, to: sink, by });
        }
        self.count(point, |judging| judging.add_step(rule, when, to.clone()))
    }

    /// Adds a set of rules of which one decides, at one point of a place.
    ///
    /// # Errors
    /// A source or a sink of another role, or too many copies or ways of balancing.
    pub fn add_set(
        &mut self,
        by: RuleId,
        (place, point): (Place, Point),
        set: NewSet,
    ) -> Result<(), Nonsense> {
        self.claim(point.port, place.role(), by)?;
        for ruling in &set.rulings {
            if let Ruling::Pass(to) = &ruling.verdict {
                to.ports().into_iter().try_for_each(|port| self.claim_sink(by, port))?;
            }
        }
        self.count(point, |judging| judging.add_set(set))
    }

    /// Gives a port the role of a monitor, where it is not the virtual interface of a bond.
    ///
    /// # Errors
    /// Where it has another.
    pub fn claim_sink(&mut self, rule: RuleId, port: PortId) -> Result<(), Nonsense> {
        match self.role(port) {
            Some((Role::Virtual, _)) => Ok(()),
            _ => self.claim(port, Role::Monitor, rule),
        }
    }

    /// Changes what is done at a point, and counts what that adds.
    fn count(&mut self, point: Point, change: impl FnOnce(&mut Judging)) -> Result<(), Nonsense> {
        let there = self.judged.entry(point).or_default();
        let before = there.size();
        change(there);
        let after = there.size();
        let too_many = |what, most| Err(Nonsense::TooMany { what, most });
        if after.copies > HOOK_COPIES_MAX {
            return too_many("copies of one source", HOOK_COPIES_MAX);
        }
        let size = &mut self.size;
        for (sum, before, after, what, most) in [
            (&mut size.copies, before.copies, after.copies, "copies", COPIES_MAX),
            (
                &mut size.steps,
                before.steps,
                after.steps,
                "copies of devices and of [[device.copy]]",
                STEPS_MAX,
            ),
            (&mut size.rulings, before.rulings, after.rulings, "rules, counted by source", RULINGS_MAX),
            (&mut size.spreads, before.spreads, after.spreads, "ways of balancing", SPREADS_MAX),
            (
                &mut size.weights,
                before.weights,
                after.weights,
                "weights in all ways of balancing",
                WEIGHTS_MAX,
            ),
        ] {
            *sum += after - before;
            if *sum > most {
                return too_many(what, most);
            }
        }
        Ok(())
    }

    /// The plan that makes it so. Ports without a role and rules without a part in it are left out.
    ///
    /// # Errors
    /// Each port whose capacity makes no sense.
    pub fn plan(mut self) -> Result<Plan, Vec<(PortId, Nonsense)>> {
        let mut flaws = Vec::new();
        let mut plan = Plan::default();
        let mut ids = BTreeMap::new();
        let mut sinks = BTreeMap::new();
        for (claimed, old) in self.ports.iter().zip(0u16..) {
            let Some((role, by)) = claimed.role else { continue };
            let port = &claimed.port;
            if port.queue.is_some() && role != Role::Monitor {
                let (port, by) = (port.name.clone(), self.rule(by).clone());
                flaws.push((PortId(old), Nonsense::RateOnOther { port, has: role, by }));
            }
            let id = PortId(narrow(plan.ports.len()));
            ids.insert(PortId(old), id);
            if matches!(role, Role::Monitor | Role::Virtual) {
                sinks.insert(PortId(old), SinkId(narrow(plan.sinks.len())));
                plan.sinks.push(Sink::Port(id));
            }
            plan.ports.push(Port {
                name: port.name.clone(),
                interface: port.interface.clone(),
                role,
                link_type: LinkType::ETHERNET,
                attach: port.attach,
                queue: port.queue,
            });
        }
        if !flaws.is_empty() {
            return Err(flaws);
        }
        // Every end of a link has a hook, with copies or without.
        for port in self.peers.keys() {
            self.judged.entry(Point { port: *port, direction: Direction::In }).or_default();
        }
        let used: BTreeSet<RuleId> = self.judged.values().flat_map(Judging::rules).collect();
        let rules: BTreeMap<RuleId, RuleId> = used.iter().copied().zip((0..).map(RuleId)).collect();
        plan.rules = used.iter().map(|rule| self.rule(*rule).clone()).collect();
        let names = hook::Names { model: &self, ports: &ids, sinks: &sinks, rules: &rules };
        plan.hooks = self.judged.iter().map(|(point, judging)| names.hook(*point, judging)).collect();
        Ok(plan)
    }
}

/// Ports, and the copies and balances of a hook, are numbered by 16 bits.
fn narrow(index: usize) -> u16 {
    u16::try_from(index).expect("add_port and count keep their tables within 2^16")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Pass;

    fn model(names: &[&str]) -> (Model, Vec<PortId>, RuleId) {
        let mut model = Model::default();
        let add = |name: &&str| {
            let port = NewPort {
                name: (*name).to_owned(),
                interface: format!("if-{name}"),
                attach: Attach::Auto,
                queue: None,
            };
            model.add_port(port).unwrap()
        };
        let ports = names.iter().map(add).collect();
        let rule = model.add_rule(Rule { label: "r".to_owned(), origin: None }).unwrap();
        (model, ports, rule)
    }

    #[test]
    fn a_link_without_copies_still_passes() {
        let (mut model, ports, rule) = model(&["a", "b", "unused"]);
        for port in &ports[..2] {
            model.claim(*port, Role::Network, rule).unwrap();
        }
        model.add_link(ports[1], ports[0]).unwrap();
        let plan = model.plan().unwrap();
        assert_eq!(plan.ports.len(), 2);
        let passes: Vec<&Pass> = plan.hooks.iter().map(|hook| &hook.pass).collect();
        assert_eq!(passes, [&Pass::To([PortId(1)].into()), &Pass::To([PortId(0)].into())]);
    }

    #[test]
    fn nonsense_is_refused_where_it_is_added() {
        let (mut model, ports, rule) = model(&["a", "b", "c", "m"]);
        let [a, b, c, m] = ports[..] else { panic!("four ports were added") };
        assert_eq!(model.add_link(a, a), Err(Nonsense::LinkToItself));
        let link = model.add_link(a, b).unwrap();
        assert!(matches!(model.add_link(a, c), Err(Nonsense::TwoLinks { .. })));
        assert!(model.add_link(b, a).is_ok(), "the same link the other way round");
        let source = Source { place: Place::Link(link), selector: Selector::All };
        model.add_copy(rule, &source, m).unwrap();
        assert!(matches!(model.add_copy(rule, &source, m), Err(Nonsense::SameCopy { .. })));
        assert!(matches!(model.add_copy(rule, &source, a), Err(Nonsense::Role { .. })));
        let span = Source { place: Place::Span(m), selector: Selector::All };
        assert!(matches!(model.add_copy(rule, &span, c), Err(Nonsense::Role { .. })));
        assert_eq!(Selector::vlans(BTreeSet::new()), Err(Nonsense::SelectsNothing));
    }

    #[test]
    fn ports_have_a_bound() {
        let mut model = Model::default();
        let port = |n: usize| NewPort {
            name: format!("p{n}"),
            interface: format!("e{n}"),
            attach: Attach::Auto,
            queue: None,
        };
        for n in 0..PORTS_MAX {
            model.add_port(port(n)).unwrap();
        }
        assert_eq!(
            model.add_port(port(PORTS_MAX)),
            Err(Nonsense::TooMany { what: "ports", most: PORTS_MAX })
        );
    }
}
