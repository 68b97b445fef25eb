//! The distributor expanded: rules of a pf file, or `[[device.copy]]`, for each place where frames are judged.
//!
//! A rule that names an interface speaks of some places only, so that each place has the rules that can match
//! there, in their order. `in` is where frames enter, `out` where they leave; frames are judged once.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use rules::form::{Method, RuleId, TagIndex, Test};
use rules::pf;

use super::devices::{Expander, Where, ways};
use super::{Direction, Origin, Point, PortId, Rule};
use crate::config::{Called, CopyEntry, Drafts, Kind, Name, Steering, Tapped};
use crate::model::{Balance, NewRuling, NewSet, Nonsense, Place, Ruling, Selector, To};
use crate::problem::{listed, shown};
use crate::rule_files::RuleFile;

/// The most tags of one rule file: they are numbered by 16 bits.
const TAGS_MAX: usize = 65_536;

/// What is known of rules that were expanded.
#[derive(Default)]
pub(crate) struct Steered {
    /// The rule of each line of each file.
    by_line: BTreeMap<(String, u32), RuleId>,
}

/// Where the rules of a set of the plan were written.
pub(crate) struct Worded {
    /// The name of the port at which the set stands.
    pub(crate) port: String,
    pub(crate) direction: Direction,
    /// The rule file, as the config names it.
    pub(crate) file: String,
    /// For each rule of the set its index in the file's rules.
    pub(crate) rules: Vec<u32>,
}

/// What the interface of a rule can be at a place.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Spot {
    Port(PortId),
    /// An interface elsewhere, of which SPAN ports carry the frames.
    Called(String),
    /// The other end of such an interface, which nobody named.
    Elsewhere,
}

type Spots = BTreeSet<Spot>;

/// A place, and where its frames enter and leave.
struct Crossing {
    at: (Place, Point),
    entering: Spots,
    leaving: Spots,
}

impl Crossing {
    /// Whether a rule speaks of frames here. `on` is what its interface means.
    fn concerns(&self, rule: &pf::Rule, on: Option<&Spot>) -> bool {
        let is_on = |spots: &Spots| match (&rule.on, on) {
            _ if spots.is_empty() => false,
            (None, _) => true,
            // A name that is not of this device is at none of its places.
            (Some(named), None) => named.negated,
            (Some(named), Some(spot)) => spots.contains(spot) != named.negated,
        };
        match rule.direction {
            Some(pf::Direction::In) => is_on(&self.entering),
            Some(pf::Direction::Out) => is_on(&self.leaving),
            None => is_on(&self.entering) || is_on(&self.leaving),
        }
    }
}

impl<'a> Expander<'a, '_> {
    /// Reports names in rule files that no device which uses the file has.
    pub(super) fn check_names(&mut self, drafts: &Drafts) {
        let mut files: BTreeMap<&str, Vec<&Tapped>> = BTreeMap::new();
        for draft in &drafts.devices {
            let Some(name) = &draft.rules else { continue };
            match draft.device.as_ref().map(|device| &device.kind) {
                Some(Kind::Distributor { from, .. }) => files.entry(&name.value).or_default().push(from),
                // Of a device that could not be read, the names are not known.
                _ => return,
            }
        }
        for (written, tapped) in files {
            let Some(file) = self.rule_files.named(written) else { continue };
            let mut known = BTreeSet::new();
            for rule in &file.parsed.rules {
                let Some(on) = &rule.on else { continue };
                if known.insert(on.interface.as_str()) {
                    self.check_name(&on.interface, &Where::Rules(file, rule.origin.clone()), &tapped);
                }
            }
        }
    }

    fn check_name(&mut self, name: &str, at: &Where<'a>, tapped: &[&Tapped]) {
        let id = self.named(name);
        let mut names = BTreeSet::new();
        for from in tapped {
            if from.directions().iter().any(|called| called.name.value == name) {
                return;
            }
            for port in from.names() {
                let carried = carried(&port.value, from.directions());
                let same = port.value == name || id.is_some() && self.id(port) == id;
                if !same {
                    match carried.is_empty() {
                        true => names.insert(port.value.clone()),
                        false => {
                            names.extend(carried.iter().map(|(_, called)| called.name.value.clone()));
                            continue;
                        }
                    };
                    continue;
                }
                if let Some((way, called)) = carried.first() {
                    let what = format!("{} is not what these rules call its frames", shown(name));
                    let help = format!("`directions` calls them `{way} on {}`", called.name.value);
                    self.wrong_at(at, what, help);
                }
                return;
            }
        }
        let what = format!("no frames enter or leave by {} here", shown(name));
        let help = match self.report.nearest(name, names.iter().map(String::as_str)) {
            Some(near) => format!("did you mean {}?", shown(near)),
            None => {
                let names: Vec<&String> = names.iter().collect();
                format!("these rules are for frames of {}", listed(&names))
            }
        };
        self.wrong_at(at, what, help);
    }

    /// Expands a distributor.
    pub(super) fn distributor(&mut self, rule: RuleId, selector: &Selector, from: &Tapped, by: &Steering) {
        let Some(crossings) = self.crossings(from) else { return };
        match by {
            Steering::Copies(entries) => {
                for entry in entries {
                    self.entry(selector, &crossings, entry);
                }
            }
            Steering::Rules(name) => {
                if let Some(file) = self.rule_files.named(&name.value) {
                    self.rule_set(rule, selector, (file, from), &crossings);
                }
            }
        }
    }

    fn crossings(&mut self, from: &Tapped) -> Option<Vec<Crossing>> {
        let port = |id| Spots::from([Spot::Port(id)]);
        let enters = |port| Point { port, direction: Direction::In };
        Some(match from {
            Tapped::Link(link) => {
                let (place, a, b) = (self.link(link)?, self.id(&link.first)?, self.id(&link.second)?);
                let half = |enter, leave| Crossing {
                    at: (place, enters(enter)),
                    entering: port(enter),
                    leaving: port(leave),
                };
                vec![half(a, b), half(b, a)]
            }
            Tapped::Spans { spans, directions } => {
                let crossing = |name: &Name| {
                    let id = self.id(name)?;
                    let (entering, leaving) = match &carried(&name.value, directions)[..] {
                        [] => (port(id), Spots::new()),
                        carried => elsewhere(carried),
                    };
                    Some(Crossing { at: (Place::Span(id), enters(id)), entering, leaving })
                };
                spans.iter().filter_map(crossing).collect()
            }
            Tapped::Watched { interfaces, direction } => {
                let crossing = |(id, way): (PortId, Direction)| {
                    let (entering, leaving) = match way {
                        Direction::In => (port(id), Spots::new()),
                        Direction::Out => (Spots::new(), port(id)),
                    };
                    let at = (Place::Watched(id, way), Point { port: id, direction: way });
                    Crossing { at, entering, leaving }
                };
                let ids = interfaces.iter().filter_map(|name| self.id(name));
                let halves = ids.flat_map(|id| ways(*direction).iter().map(move |way| (id, *way)));
                halves.map(crossing).collect()
            }
        })
    }

    /// A `[[device.copy]]`.
    fn entry(&mut self, selector: &Selector, crossings: &[Crossing], entry: &CopyEntry) {
        if self.full {
            return;
        }
        let at = Where::Config(entry.header.clone());
        let origin = self.report.origin(self.file, entry.header.start);
        let file = self.file.rsplit('/').next().unwrap_or(self.file);
        let rule = Rule { label: format!("{file}:{}", origin.line), origin: Some(origin) };
        if let Some(expression) = &entry.expression {
            self.expanded.expressions.insert(rule.label.clone(), expression.value.clone());
        }
        let Some(rule) = self.add_rule(rule, &at) else { return };
        let ids: Vec<(PortId, Range<usize>)> =
            entry.to.iter().filter_map(|name| Some((self.id(name)?, name.span.clone()))).collect();
        let targets: Vec<(To, Range<usize>)> = match &entry.balance {
            None => ids.into_iter().map(|(id, span)| (To::One(id), span)).collect(),
            Some(balanced) => {
                let weights = ids.iter().zip(&balanced.weights).map(|((id, _), weight)| (*id, *weight));
                match Balance::new(balanced.method, &weights.collect::<Vec<_>>(), balanced.inner) {
                    Ok(balance) => vec![(To::OneOf(balance), entry.header.clone())],
                    Err(nonsense) => return self.refuse_at(&at, &nonsense),
                }
            }
        };
        let when = selected(selector, entry.test.clone());
        for (to, span) in targets {
            for crossing in crossings {
                let added = self.expanded.model.add_step(rule, crossing.at, when.clone(), &to);
                if let Err(nonsense) = added {
                    self.refuse_at(&Where::Config(span), &nonsense);
                    break;
                }
            }
        }
    }

    fn add_rule(&mut self, rule: Rule, at: &Where<'a>) -> Option<RuleId> {
        match self.expanded.model.add_rule(rule) {
            Ok(rule) => Some(rule),
            Err(nonsense) => {
                self.refuse_at(at, &nonsense);
                None
            }
        }
    }

    /// The rules of a file, at each place those that speak of it.
    fn rule_set(
        &mut self,
        by: RuleId,
        selector: &Selector,
        (file, from): (&'a RuleFile, &Tapped),
        crossings: &[Crossing],
    ) {
        let parsed = &file.parsed;
        let first = Where::Rules(file, parsed.rules.first().map_or(0..0, |rule| rule.origin.clone()));
        if parsed.tags.len() > TAGS_MAX {
            return self.refuse_at(&first, &Nonsense::TooMany { what: "tags", most: TAGS_MAX });
        }
        let on = self.meanings(&parsed.rules, from);
        let Some(targets) = self.targets(by, file) else { return };
        let tags: BTreeMap<&str, TagIndex> =
            parsed.tags.iter().map(String::as_str).zip((0..=u16::MAX).map(TagIndex)).collect();
        let concerned = |crossing: &Crossing, rule: &pf::Rule| {
            let meant = rule.on.as_ref().and_then(|named| on.get(named.interface.as_str()));
            crossing.concerns(rule, meant)
        };
        // Lines are numbered in the order of the file, whichever place they are for.
        let mut lines = Vec::with_capacity(parsed.rules.len());
        for rule in &parsed.rules {
            let has_frames = crossings.iter().any(|crossing| concerned(crossing, rule));
            let line = if has_frames { self.line_rule(file, rule) } else { None };
            if has_frames && line.is_none() {
                return;
            }
            lines.push(line);
        }
        for crossing in crossings {
            let mut set = NewSet { rulings: Vec::new(), tags: parsed.tags.clone() };
            let mut worded = Vec::new();
            for ((rule, line), index) in parsed.rules.iter().zip(&lines).zip(0u32..) {
                let Some(line) = line.filter(|_| concerned(crossing, rule)) else { continue };
                let to = rule.dup_to.as_ref().map_or(&To::Nobody, |pool| &targets[&Arc::as_ptr(pool)]);
                set.rulings.push(ruling(&tags, (line, rule), selected(selector, rule.test()), to));
                worded.push(index);
            }
            let (_, Point { port, direction }) = crossing.at;
            let port = self.expanded.model.port(port).name.clone();
            let written = file.written.clone();
            self.expanded.worded.push(Worded { port, direction, file: written, rules: worded });
            if let Err(nonsense) = self.expanded.model.add_set(by, crossing.at, set) {
                return self.refuse_at(&first, &nonsense);
            }
        }
    }

    /// What each name behind `on` means to a device.
    fn meanings<'r>(&self, rules: &'r [pf::Rule], from: &Tapped) -> BTreeMap<&'r str, Spot> {
        let mut meanings = BTreeMap::new();
        for name in rules.iter().filter_map(|rule| rule.on.as_ref()).map(|on| on.interface.as_str()) {
            if meanings.contains_key(name) {
                continue;
            }
            let spot = match from.directions().iter().any(|called| called.name.value == name) {
                true => Some(Spot::Called(name.to_owned())),
                false => self.named(name).map(Spot::Port),
            };
            if let Some(spot) = spot {
                meanings.insert(name, spot);
            }
        }
        meanings
    }

    /// To whom the copies of each pool of a file go; `None` where that cannot be, which was reported.
    fn targets(&mut self, by: RuleId, file: &'a RuleFile) -> Option<BTreeMap<*const pf::Pool, To>> {
        let mut targets = BTreeMap::new();
        let mut sound = true;
        for (rule, pool) in file.parsed.rules.iter().filter_map(|rule| Some((rule, rule.dup_to.as_ref()?))) {
            if targets.contains_key(&Arc::as_ptr(pool)) {
                continue;
            }
            let mut weights = Vec::new();
            for target in &pool.targets {
                // A name that was refused before is not looked at again.
                let Some(id) = self.named(&target.interface) else {
                    sound = false;
                    continue;
                };
                if let Err(nonsense) = self.expanded.model.claim_sink(by, id) {
                    self.refuse_at(&Where::Rules(file, target.span.clone()), &nonsense);
                    sound = false;
                }
                weights.push((id, 1));
            }
            let to = match (&weights[..], method(pool)) {
                ([], _) => To::Nobody,
                ([(only, _), ..], None) | ([(only, _)], _) => To::One(*only),
                (weights, Some(method)) => match Balance::new(method, weights, false) {
                    Ok(balance) => To::OneOf(balance),
                    Err(nonsense) => {
                        self.refuse_at(&Where::Rules(file, rule.origin.clone()), &nonsense);
                        return None;
                    }
                },
            };
            targets.insert(Arc::as_ptr(pool), to);
        }
        sound.then_some(targets)
    }

    /// What counters of a line are kept under. The rules that one statement expands to share it.
    fn line_rule(&mut self, file: &'a RuleFile, rule: &pf::Rule) -> Option<RuleId> {
        let key = (file.written.clone(), rule.line);
        if let Some(known) = self.steered.by_line.get(&key) {
            return Some(*known);
        }
        let origin = Origin { file: file.shown.clone(), line: rule.line, column: rule.column };
        let label = format!("{}:{}", file.written, rule.line);
        let new = Rule { label, origin: Some(origin) };
        let id = self.add_rule(new, &Where::Rules(file, rule.origin.clone()))?;
        self.steered.by_line.insert(key, id);
        Some(id)
    }
}

/// What `directions` says of the frames of a SPAN port: which way they went, and where.
fn carried<'c>(span: &str, directions: &'c [Called]) -> Vec<(&'static str, &'c Called)> {
    let is = |name: &Option<Name>| name.as_ref().is_some_and(|name| name.value == span);
    let entered = directions.iter().filter(|called| is(&called.entering)).map(|called| ("in", called));
    let left = directions.iter().filter(|called| is(&called.leaving)).map(|called| ("out", called));
    entered.chain(left).collect()
}

/// Where the frames of a SPAN port entered and left, of which `directions` speaks.
fn elsewhere(carried: &[(&'static str, &Called)]) -> (Spots, Spots) {
    let spots = |wanted: &str| -> Spots {
        let named = carried.iter().filter(|(way, _)| *way == wanted);
        let spots: Spots = named.map(|(_, called)| Spot::Called(called.name.value.clone())).collect();
        // What leaves by one interface entered by another, and the other way round.
        if spots.is_empty() { Spots::from([Spot::Elsewhere]) } else { spots }
    };
    (spots("in"), spots("out"))
}

/// How a pool chooses; `None` where it has one target.
fn method(pool: &pf::Pool) -> Option<Method> {
    Some(match pool.method {
        pf::PoolMethod::Single => return None,
        // A source that always goes to the same target is what a table by source gives.
        _ if pool.sticky => Method::Source,
        pf::PoolMethod::RoundRobin => Method::RoundRobin,
        pf::PoolMethod::Random => Method::Random,
        pf::PoolMethod::SourceHash(_) => Method::Source,
    })
}

/// A test for the frames of a selector only.
fn selected(selector: &Selector, test: Test) -> Test {
    match (selector, test) {
        (Selector::All, test) => test,
        (Selector::Vlans(_), Test::Always) => selector.test(),
        (Selector::Vlans(_), test) => Test::All(vec![selector.test(), test]),
    }
}

fn ruling(
    tags: &BTreeMap<&str, TagIndex>,
    (line, rule): (RuleId, &pf::Rule),
    when: Test,
    to: &To,
) -> NewRuling {
    let tag = |name: &String| tags.get(name.as_str()).copied();
    NewRuling {
        rule: line,
        when,
        tagged: rule.tagged.as_ref().and_then(|(name, not)| Some((tag(name)?, *not))),
        chance: rule.chance,
        quick: rule.quick,
        verdict: match rule.action {
            pf::Action::Pass => Ruling::Pass(to.clone()),
            pf::Action::Block => Ruling::Block,
            pf::Action::Match => Ruling::Match,
        },
        tag: rule.tag.as_ref().and_then(tag),
    }
}
