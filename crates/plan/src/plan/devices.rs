//! Devices expanded: the presets of the chapter become links, SPAN ports, watched interfaces and copies.
//!
//! After this nothing knows devices any more: a device's name lives on as the rule that its copies are
//! counted under.

use std::collections::BTreeMap;
use std::ops::Range;

use rules::form::RuleId;

use super::steering::{Steered, Worded};
use super::{Attach, Direction, Origin, PortId, Role, Rule};
use crate::config::{Device, Draft, Drafts, Inputs, Kind, Name, Pair, Ways};
use crate::model::{Model, NewPort, Nonsense, Place, Selector, Source};
use crate::names;
use crate::problem::{Lines, Report, shown};
use crate::rule_files::{RuleFile, RuleFiles};

/// What a name of the config stands for.
#[derive(Clone, Copy)]
enum Known {
    Port(PortId),
    /// An entry that was refused: it was reported, and its uses are not.
    Broken,
}

/// What devices make, and the names that were found.
pub(crate) struct Expanded {
    pub(crate) model: Model,
    /// Where each port of `[ports]` with a capacity says so.
    pub(crate) rates: BTreeMap<PortId, Range<usize>>,
    /// Interfaces that `[ports]` does not name, with where they stand.
    pub(crate) implied: Vec<(PortId, Origin)>,
    /// Where the rules of each set of the plan were written.
    pub(crate) worded: Vec<Worded>,
    /// The expressions of copies, by the label of their rule.
    pub(crate) expressions: BTreeMap<String, String>,
}

/// Expands what could be read; reports what makes no sense.
pub(crate) fn expand(
    file: &str,
    drafts: &Drafts,
    rule_files: &RuleFiles,
    report: &mut Report<'_>,
) -> Expanded {
    let expanded = Expanded {
        model: Model::default(),
        rates: BTreeMap::new(),
        implied: Vec::new(),
        worded: Vec::new(),
        expressions: BTreeMap::new(),
    };
    let mut expander = Expander {
        file,
        report,
        expanded,
        known: BTreeMap::new(),
        full: false,
        rule_files,
        lines: BTreeMap::new(),
        steered: Steered::default(),
    };
    expander.ports(drafts);
    if expander.full {
        return expander.expanded;
    }
    let rules = expander.rules(drafts);
    expander.implied_ports(drafts, &rules);
    expander.check_names(drafts);
    for (draft, rule) in drafts.devices.iter().zip(rules) {
        if let Some(rule) = rule.filter(|_| !expander.full) {
            expander.device(draft, rule);
        }
    }
    expander.rates();
    expander.expanded
}

/// Where something stands: in the config, or in a rule file.
#[derive(Clone)]
pub(super) enum Where<'a> {
    Config(Range<usize>),
    Rules(&'a RuleFile, Range<usize>),
}

pub(super) struct Expander<'a, 't> {
    pub(super) file: &'a str,
    pub(super) report: &'a mut Report<'t>,
    pub(super) expanded: Expanded,
    known: BTreeMap<String, Known>,
    /// A bound was met, and reported: what follows would only breed echoes.
    pub(super) full: bool,
    pub(super) rule_files: &'a RuleFiles,
    /// The lines of rule files that something was said of, by what the config calls the file.
    lines: BTreeMap<&'a str, Lines<'a>>,
    pub(super) steered: Steered,
}

impl<'a> Expander<'a, '_> {
    fn refuse(&mut self, span: &Range<usize>, nonsense: &Nonsense) {
        self.report.add(span.clone(), nonsense.to_string(), nonsense.help());
    }

    /// Refuses something wherever it stands; a bound that was met ends it all.
    pub(super) fn refuse_at(&mut self, at: &Where<'a>, nonsense: &Nonsense) {
        self.wrong_at(at, nonsense.to_string(), nonsense.help());
        self.full |= matches!(nonsense, Nonsense::TooMany { .. });
    }

    pub(super) fn wrong_at(&mut self, at: &Where<'a>, what: impl Into<String>, help: impl Into<String>) {
        match at {
            Where::Config(span) => self.report.add(span.clone(), what, help),
            Where::Rules(..) if self.report.is_full() => self.report.add_more(1),
            Where::Rules(file, span) => {
                let lines = self.lines.entry(&file.written).or_insert_with(|| Lines::new(&file.text));
                self.report.add_in((&file.shown, lines), span.clone(), what, help);
            }
        }
    }

    fn origin_of(&mut self, at: &Where<'a>) -> Origin {
        match at {
            Where::Config(span) => self.report.origin(self.file, span.start),
            Where::Rules(file, span) => {
                let lines = self.lines.entry(&file.written).or_insert_with(|| Lines::new(&file.text));
                let (line, column) = lines.position(span.start);
                Origin { file: file.shown.clone(), line, column }
            }
        }
    }

    fn ports(&mut self, drafts: &Drafts) {
        for draft in &drafts.ports {
            let known = match &draft.port {
                Some(port) if names::port_flaw(&draft.name.value).is_none() => {
                    let queue = port.queue.as_ref();
                    let new = NewPort {
                        name: port.name.value.clone(),
                        interface: port.interface.value.clone(),
                        attach: port.attach,
                        queue: queue.map(|queue| queue.value),
                    };
                    let added = self.add(new, &port.interface.span);
                    if self.full {
                        return;
                    }
                    if let (Known::Port(id), Some(queue)) = (added, queue) {
                        self.expanded.rates.insert(id, queue.span.clone());
                    }
                    added
                }
                _ => Known::Broken,
            };
            self.known.insert(draft.name.value.clone(), known);
        }
    }

    fn add(&mut self, port: NewPort, span: &Range<usize>) -> Known {
        match self.expanded.model.add_port(port) {
            Ok(id) => Known::Port(id),
            Err(nonsense) => {
                self.refuse(span, &nonsense);
                self.full = matches!(nonsense, Nonsense::TooMany { .. });
                Known::Broken
            }
        }
    }

    /// One rule a device; `None` for one too many, which is reported once.
    fn rules(&mut self, drafts: &Drafts) -> Vec<Option<RuleId>> {
        let mut rules = Vec::new();
        for draft in &drafts.devices {
            let origin = self.report.origin(self.file, draft.header.start);
            let rule = Rule { label: draft.name.value.clone(), origin: Some(origin) };
            match self.expanded.model.add_rule(rule) {
                Ok(rule) => rules.push(Some(rule)),
                Err(nonsense) => {
                    self.refuse(&draft.header, &nonsense);
                    break;
                }
            }
        }
        rules
    }

    /// Interfaces that devices name and `[ports]` does not: those that a bond makes, those that are watched,
    /// those that pf rules send copies to.
    /// Bonds first, so that a device may name the interface that a later one makes.
    fn implied_ports(&mut self, drafts: &Drafts, rules: &[Option<RuleId>]) {
        for (draft, rule) in drafts.devices.iter().zip(rules) {
            for (name, role) in &draft.uses {
                if self.full {
                    return;
                }
                match (role, rule) {
                    (Role::Virtual, Some(rule)) => self.virtual_port(name, *rule),
                    (Role::Watched, Some(_)) => {
                        self.interface_port(&name.value, &Where::Config(name.span.clone()));
                    }
                    _ => {}
                }
            }
        }
        for name in drafts.devices.iter().filter_map(|draft| draft.rules.as_ref()) {
            let Some(file) = self.rule_files.named(&name.value) else { continue };
            let pools = file.parsed.rules.iter().filter_map(|rule| rule.dup_to.as_ref());
            for target in pools.flat_map(|pool| &pool.targets) {
                if self.full {
                    return;
                }
                self.interface_port(&target.interface, &Where::Rules(file, target.span.clone()));
            }
        }
    }

    fn virtual_port(&mut self, name: &Name, rule: RuleId) {
        let listed = match self.known.get(&name.value) {
            // Another bond's, or a watched interface: the claim of the role will tell.
            Some(Known::Port(id)) => self.expanded.implied.iter().all(|(implied, _)| implied != id),
            Some(Known::Broken) => return,
            None => self.expanded.model.on_interface(&name.value).is_some(),
        };
        if listed {
            let what = format!("a bond makes its interface, and [ports] already has {}", shown(&name.value));
            self.report.add(name.span.clone(), what, "choose a name that [ports] does not use");
            self.known.insert(name.value.clone(), Known::Broken);
        } else if !self.known.contains_key(&name.value) {
            self.imply(&name.value, &Where::Config(name.span.clone()));
            if let Some(id) = self.id(name) {
                let claimed = self.expanded.model.claim(id, Role::Virtual, rule);
                debug_assert_eq!(claimed, Ok(()), "a port that was just added has no role");
            }
        }
    }

    /// A name of `[ports]`, or of an interface that has a port, or that becomes a port by itself.
    fn interface_port(&mut self, name: &str, at: &Where<'a>) {
        if self.known.contains_key(name) {
            return;
        }
        if let Some(id) = self.expanded.model.on_interface(name) {
            self.known.insert(name.to_owned(), Known::Port(id));
            return;
        }
        let known = self.known.keys().map(String::as_str);
        let near = self.report.nearest(name, known).map(|near| format!(", or did you mean {}?", shown(near)));
        let near = near.unwrap_or_default();
        if let Some(flaw) = names::interface_flaw(name) {
            let what = format!("{} is no port, and cannot be an interface: {flaw}", shown(name));
            self.wrong_at(at, what, format!("name a port of [ports] or a Linux interface{near}"));
        } else if let Some(flaw) = names::port_flaw(name) {
            let what = format!("{} needs a port of its own: {flaw}", shown(name));
            self.wrong_at(at, what, format!("give this interface a name in [ports]{near}"));
        } else {
            self.imply(name, at);
            return;
        }
        self.known.insert(name.to_owned(), Known::Broken);
    }

    fn imply(&mut self, name: &str, at: &Where<'a>) {
        let (name, interface) = (name.to_owned(), name.to_owned());
        let port = NewPort { name: name.clone(), interface, attach: Attach::Auto, queue: None };
        let known = match self.expanded.model.add_port(port) {
            Ok(id) => {
                let origin = self.origin_of(at);
                self.expanded.implied.push((id, origin));
                Known::Port(id)
            }
            Err(nonsense) => {
                self.refuse_at(at, &nonsense);
                Known::Broken
            }
        };
        self.known.insert(name, known);
    }

    fn device(&mut self, draft: &Draft, rule: RuleId) {
        let mut sound = true;
        for (name, role) in &draft.uses {
            sound &= self.claim(rule, name, *role);
        }
        if let Some(device) = draft.device.as_ref().filter(|_| sound) {
            let selector = match &device.vlans {
                None => Ok(Selector::All),
                Some(ids) => Selector::vlans(ids.clone()),
            };
            match selector {
                Ok(selector) => self.copies(rule, &selector, device),
                Err(nonsense) => self.refuse(&device.header, &nonsense),
            }
        }
    }

    /// Gives a port its role; says whether all is well.
    fn claim(&mut self, rule: RuleId, name: &Name, role: Role) -> bool {
        let id = match self.known.get(&name.value) {
            Some(Known::Port(id)) => *id,
            Some(Known::Broken) => return false,
            None => {
                self.unknown_port(name, role);
                return false;
            }
        };
        // A bond's interface is a monitor of that name.
        if role == Role::Monitor && matches!(self.expanded.model.role(id), Some((Role::Virtual, _))) {
            return true;
        }
        match self.expanded.model.claim(id, role, rule) {
            Ok(()) => true,
            Err(nonsense) => {
                self.refuse(&name.span, &nonsense);
                false
            }
        }
    }

    fn unknown_port(&mut self, name: &Name, role: Role) {
        let what = format!("{} is no port", shown(&name.value));
        let on_interface = self.expanded.model.on_interface(&name.value);
        let help = match on_interface.map(|id| self.expanded.model.port(id).name.clone()) {
            Some(port) => format!("that is an interface; its port is {}", shown(&port)),
            None => match self.report.nearest(&name.value, self.known.keys().map(String::as_str)) {
                Some(near) => format!("did you mean {}?", shown(near)),
                None if role == Role::Monitor => {
                    "add it to [ports], with the interface that the sensor is on".to_owned()
                }
                None => "add it to [ports], with its interface".to_owned(),
            },
        };
        self.report.add(name.span.clone(), what, help);
    }

    /// The id of a name that [`Self::claim`] found.
    pub(super) fn id(&self, name: &Name) -> Option<PortId> {
        self.named(&name.value)
    }

    /// The port of a name, or of an interface.
    pub(super) fn named(&self, name: &str) -> Option<PortId> {
        match self.known.get(name) {
            Some(Known::Port(id)) => Some(*id),
            Some(Known::Broken) => None,
            None => self.expanded.model.on_interface(name),
        }
    }

    fn copies(&mut self, rule: RuleId, selector: &Selector, device: &Device) {
        match &device.kind {
            Kind::Tap { link, monitors } | Kind::Regeneration { link, monitors } => {
                self.link(link);
                self.halves(rule, selector, link, monitors, Place::Direction);
            }
            Kind::SpanRegeneration { spans, monitors } => {
                self.halves(rule, selector, spans, monitors, Place::Span);
            }
            Kind::PortAggregator { link, monitors } | Kind::DualPortAggregator { link, monitors } => {
                self.whole(rule, selector, link, monitors);
            }
            Kind::LinkAggregator { from: Inputs::Links(links), monitors } => {
                for link in links {
                    self.whole(rule, selector, link, monitors);
                }
            }
            Kind::LinkAggregator { from: Inputs::Spans(spans), monitors } => {
                self.spans(rule, selector, spans, monitors);
            }
            Kind::Bond { spans, interface } => {
                self.spans(rule, selector, spans, std::slice::from_ref(interface));
            }
            Kind::Watch { interfaces, direction, monitors } => {
                for (interface, way) in
                    interfaces.iter().flat_map(|name| ways(*direction).iter().map(move |way| (name, way)))
                {
                    let place = self.id(interface).map(|id| Place::Watched(id, *way));
                    self.copy_to(rule, selector, place, monitors);
                }
            }
            Kind::Hub { ports, .. } => self.hub(ports),
            Kind::Distributor { from, by } => self.distributor(rule, selector, from, by),
        }
    }

    fn hub(&mut self, ports: &[Name]) {
        let ids: Option<Vec<PortId>> = ports.iter().map(|name| self.id(name)).collect();
        let Some(ids) = ids else { return };
        if let Err((index, nonsense)) = self.expanded.model.add_hub(&ids) {
            self.refuse(&ports[index].span, &nonsense);
        }
    }

    pub(super) fn link(&mut self, link: &Pair) -> Option<Place> {
        let (a, b) = (self.id(&link.first)?, self.id(&link.second)?);
        match self.expanded.model.add_link(a, b) {
            Ok(link) => Some(Place::Link(link)),
            Err(nonsense) => {
                self.refuse(&link.first.span, &nonsense);
                None
            }
        }
    }

    /// The first source to the first of each pair, the second to the second.
    fn halves(
        &mut self,
        rule: RuleId,
        selector: &Selector,
        sources: &Pair,
        monitors: &[Pair],
        place: fn(PortId) -> Place,
    ) {
        for Pair { first, second } in monitors {
            for (source, monitor) in [(&sources.first, first), (&sources.second, second)] {
                let place = self.id(source).map(place);
                self.copy_to(rule, selector, place, std::slice::from_ref(monitor));
            }
        }
    }

    /// Both directions of a link to each monitor.
    fn whole(&mut self, rule: RuleId, selector: &Selector, link: &Pair, monitors: &[Name]) {
        let place = self.link(link);
        self.copy_to(rule, selector, place, monitors);
    }

    fn spans(&mut self, rule: RuleId, selector: &Selector, spans: &[Name], monitors: &[Name]) {
        for span in spans {
            let place = self.id(span).map(Place::Span);
            self.copy_to(rule, selector, place, monitors);
        }
    }

    fn copy_to(&mut self, rule: RuleId, selector: &Selector, place: Option<Place>, monitors: &[Name]) {
        let Some(place) = place.filter(|_| !self.full) else { return };
        let source = Source { place, selector: selector.clone() };
        for monitor in monitors {
            let Some(to) = self.id(monitor) else { continue };
            if let Err(nonsense) = self.expanded.model.add_copy(rule, &source, to) {
                self.refuse(&monitor.span, &nonsense);
                self.full = matches!(nonsense, Nonsense::TooMany { .. });
                if self.full {
                    return;
                }
            }
        }
    }

    /// Capacities stand only on monitor ports.
    fn rates(&mut self) {
        let model = &self.expanded.model;
        let mut wrong = Vec::new();
        for (id, span) in &self.expanded.rates {
            if let Some((has, by)) = model.role(*id).filter(|(role, _)| *role != Role::Monitor) {
                let (port, by) = (model.port(*id).name.clone(), model.rule(by).clone());
                wrong.push((span.clone(), Nonsense::RateOnOther { port, has, by }));
            }
        }
        for (span, nonsense) in wrong {
            self.refuse(&span, &nonsense);
        }
    }
}

/// The ways in which a watched interface is watched.
pub(super) fn ways(direction: Ways) -> &'static [Direction] {
    match direction {
        Ways::Rx => &[Direction::In],
        Ways::Tx => &[Direction::Out],
        Ways::Both => &[Direction::In, Direction::Out],
    }
}
