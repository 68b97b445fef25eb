//! Plan text -> plan. Refuses whatever no plan may be, so that what was read can be made true.

mod program;
mod words;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use rules::form::{AddressTable, Entry, RuleId};
use wire::LinkType;

use super::{DIRECTIONS, MODES, ROLES, VERSION, role_name};
use crate::model::PORTS_MAX;
use crate::names;
use crate::plan::{
    Attach, Direction, Hook, Origin, Pass, Plan, Point, Port, PortId, Queue, Role, Rule, Sink, SinkId,
};
use crate::problem::{Problems, Report, listed, nearest, shown};
use crate::units;

use program::{HookReader, Reading};
pub use program::{SPREADS_MAX, WEIGHTS_MAX};
use words::{Flaw, Parsed, Word, Words, flaw};

/// The longest plan text, octets: more than any plan within the other limits takes.
pub const TEXT_MAX: usize = 1 << 27;
/// The most steps of one plan.
pub const STEPS_MAX: usize = 65_535;
/// The most labels that copies and rules of one plan are counted under.
pub const RULE_LABELS_MAX: usize = 1 << 17;
/// The most copies of one plan.
pub const COPIES_MAX: usize = 1 << 18;
/// The most rules of one set.
pub const SET_RULES_MAX: usize = 65_535;
/// The most rules in the sets of one plan.
pub const RULES_MAX: usize = 1 << 20;
/// The most tables of addresses in one plan.
pub const TABLES_MAX: usize = 4096;
/// The most entries in the tables of one plan.
pub const ENTRIES_MAX: usize = 1 << 20;
/// The most that the tests of one plan may come to: octets of their text and VLANs they name, again for each
/// rule that is taken over from another hook.
pub const EXPANDED_MAX: usize = 1 << 27;

/// Reads a plan.
///
/// # Errors
/// Everything that is wrong with the text.
pub fn parse(text: &str) -> Result<Plan, Problems> {
    parse_named("plan", text)
}

/// Reads a plan from a text that messages call `file`.
///
/// # Errors
/// Everything that is wrong with the text.
pub fn parse_named(file: &str, text: &str) -> Result<Plan, Problems> {
    let mut report = Report::new(text);
    if text.len() > TEXT_MAX {
        let what = format!("a plan of {} octets, more than {TEXT_MAX}", text.len());
        report.add(0..0, what, "divide it between machines or network namespaces");
    }
    let mut parser = Parser::new(&mut report);
    let mut start = 0;
    for line in text.split_inclusive('\n').take_while(|_| text.len() <= TEXT_MAX) {
        parser.line(line, start);
        start += line.len();
    }
    parser.end_table();
    parser.end_hook();
    let (plan, begun) = (parser.plan, parser.begun);
    if !begun && text.len() <= TEXT_MAX {
        report.add(0..0, "no plan", "a plan begins with a line `plan 1`");
    }
    report.finish(file)?;
    Ok(plan)
}

struct Parser<'r, 't> {
    report: &'r mut Report<'t>,
    plan: Plan,
    /// The first line was read.
    begun: bool,
    names: BTreeMap<String, PortId>,
    interfaces: BTreeSet<String>,
    /// By label; `None` where two rules share it.
    labels: HashMap<String, Option<RuleId>>,
    sinks: BTreeMap<PortId, SinkId>,
    points: BTreeSet<Point>,
    /// Tables of addresses, and how many entries they have in all.
    tables: program::Tables,
    entries: usize,
    /// The table that `holds` lines belong to.
    table: Option<(String, Vec<Entry>)>,
    /// The hook that steps belong to.
    hook: Option<HookReader>,
    reading: Reading,
    /// A hook was read; the steps of a broken one are passed over.
    in_hook: bool,
}

const VERBS: [&str; 16] = [
    "port", "sink", "rule", "table", "holds", "hook", "copy", "entry", "block", "balance", "spread", "rules",
    "tags", "pass", "match", "like",
];

impl<'r, 't> Parser<'r, 't> {
    fn new(report: &'r mut Report<'t>) -> Self {
        Self {
            report,
            plan: Plan::default(),
            begun: false,
            names: BTreeMap::new(),
            interfaces: BTreeSet::new(),
            labels: HashMap::new(),
            sinks: BTreeMap::new(),
            points: BTreeSet::new(),
            tables: program::Tables::default(),
            entries: 0,
            table: None,
            hook: None,
            reading: Reading::default(),
            in_hook: false,
        }
    }

    fn line(&mut self, line: &str, start: usize) {
        let (line, start) = match line.strip_prefix('\u{feff}').filter(|_| start == 0) {
            Some(rest) => (rest, 3),
            None => (line, start),
        };
        if line.trim_start().starts_with('#') {
            return;
        }
        let mut words = Words::new(line, start);
        let parsed = match words.maybe() {
            Ok(None) => Ok(()),
            Ok(Some(verb)) => self.statement(&verb, words),
            Err(flaw) => Err(flaw),
        };
        if let Err(Flaw { span, what, help }) = parsed {
            self.report.add(span, what, help);
        }
    }

    fn statement(&mut self, verb: &Word<'_>, mut words: Words<'_>) -> Parsed<()> {
        if !self.begun {
            self.begun = true;
            return version(verb, &mut words);
        }
        if &*verb.text != "holds" {
            self.end_table();
        }
        match &*verb.text {
            "port" => self.port(verb, words),
            "sink" => self.sink(verb, words),
            "rule" => self.rule(verb, words),
            "table" => self.table(verb, words),
            "holds" => self.holds(verb, words),
            "hook" => {
                self.end_hook();
                self.in_hook = true;
                let hook = self.hook(words)?;
                self.points.insert(hook.at);
                self.hook = Some(HookReader::new(hook));
                Ok(())
            }
            step if VERBS.contains(&step) => {
                let Some(mut hook) = self.hook.take() else {
                    // The steps of a broken hook are passed over.
                    return if self.in_hook {
                        Ok(())
                    } else {
                        let help = "write it under the hook it belongs to";
                        flaw(&verb.span, "a step outside of any hook", help)
                    };
                };
                let parsed = self.step(&mut hook, verb, words);
                self.hook = Some(hook);
                parsed
            }
            other => {
                let help = match nearest(other, VERBS) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("lines begin with {}", listed(&VERBS)),
                };
                flaw(&verb.span, format!("{} begins no line of a plan", shown(other)), help)
            }
        }
    }

    fn end_hook(&mut self) {
        if let Some(hook) = self.hook.take() {
            let hook = hook.finish(&mut self.reading, self.plan.hooks.len());
            self.plan.hooks.push(hook);
        }
    }

    fn table(&mut self, verb: &Word<'_>, mut words: Words<'_>) -> Parsed<()> {
        // Entries of a table whose name is flawed are looked at all the same.
        self.table = Some((String::new(), Vec::new()));
        let word = words.next("the name of a table")?;
        words.done()?;
        if self.tables.len() == TABLES_MAX {
            return flaw(&verb.span, format!("more than {TABLES_MAX} tables"), "divide the plan");
        }
        let name = word.text.strip_prefix('<').and_then(|text| text.strip_suffix('>'));
        let Some(name) = name.and_then(words::table_name).filter(|_| !word.quoted) else {
            let what = format!("{} is no name of a table", shown(&word.text));
            return flaw(&word.span, what, "write it as <name>, other characters than letters as \\u{20}");
        };
        self.table = Some((name, Vec::new()));
        Ok(())
    }

    fn holds(&mut self, verb: &Word<'_>, mut words: Words<'_>) -> Parsed<()> {
        let Some((_, entries)) = &mut self.table else {
            return flaw(
                &verb.span,
                "entries outside of any table",
                "write them under the table they belong to",
            );
        };
        while let Some(word) = words.maybe()? {
            let (negated, network) = match word.text.strip_prefix('!') {
                Some(rest) => (true, rest),
                None => (false, &*word.text),
            };
            let Ok(network) = network.parse() else {
                let what = format!("{} is no network", shown(&word.text));
                return flaw(
                    &word.span,
                    what,
                    "write an address or a network, with `!` where it is not in it",
                );
            };
            if self.entries == ENTRIES_MAX {
                let what = format!("more than {ENTRIES_MAX} entries in tables");
                return flaw(&word.span, what, "divide the plan");
            }
            self.entries += 1;
            entries.push(Entry { network, negated });
        }
        Ok(())
    }

    fn end_table(&mut self) {
        if let Some((name, entries)) = self.table.take() {
            self.tables.add(AddressTable::new(name, entries));
        }
    }

    fn port(&mut self, verb: &Word<'_>, mut words: Words<'_>) -> Parsed<()> {
        let (name, interface) = (words.next("a name")?, words.next("an interface")?);
        let role = choice(&words.next("a role")?, &ROLES, "a role")?;
        let mut port = Port {
            name: name.text.to_string(),
            interface: interface.text.to_string(),
            role,
            link_type: LinkType::ETHERNET,
            attach: Attach::Auto,
            queue: None,
        };
        let (mut rate, mut buffer) = (None, None);
        while let Some(option) = words.maybe()? {
            match &*option.text {
                "attach" => port.attach = choice(&words.next("a way to attach")?, &MODES, "a way to attach")?,
                "type" => port.link_type = LinkType(number(&words.next("a link type")?, "a link type")?),
                "rate" => {
                    rate = Some(quantity(&words.next("a rate")?, units::rate, "a rate such as 100Mbit")?)
                }
                "buffer" => {
                    buffer = Some(quantity(&words.next("a size")?, units::size, "a size such as 1MiB")?)
                }
                _ => return unknown(&option, &["attach", "type", "rate", "buffer"], "an option of a port"),
            }
        }
        port.queue = match (rate, buffer) {
            (None, None) => None,
            (Some(rate_bits), Some(buffer_bytes)) => Some(Queue { rate_bits, buffer_bytes }),
            _ => return flaw(&verb.span, "a rate without a buffer, or the reverse", "give both or none"),
        };
        if port.queue.is_some() && role != Role::Monitor {
            return flaw(&verb.span, "a rate on a port that is no monitor", "only monitor ports have one");
        }
        if let Some(what) = names::port_flaw(&name.text) {
            return flaw(&name.span, format!("{}: {what}", shown(&name.text)), "choose another name");
        }
        if let Some(what) = names::interface_flaw(&interface.text) {
            return flaw(
                &interface.span,
                format!("{}: {what}", shown(&interface.text)),
                "choose another name",
            );
        }
        let id = u16::try_from(self.plan.ports.len()).ok().filter(|id| usize::from(*id) < PORTS_MAX);
        let Some(id) = id.map(PortId) else {
            return flaw(&verb.span, format!("more than {PORTS_MAX} ports"), "divide the plan");
        };
        if self.names.contains_key(&*name.text) {
            return flaw(&name.span, format!("two ports are called {}", shown(&name.text)), "rename one");
        }
        if !self.interfaces.insert(interface.text.to_string()) {
            let what = format!("two ports are interface {}", shown(&interface.text));
            return flaw(&interface.span, what, "use one port for both");
        }
        self.names.insert(name.text.into_owned(), id);
        self.plan.ports.push(port);
        Ok(())
    }

    fn sink(&mut self, verb: &Word<'_>, mut words: Words<'_>) -> Parsed<()> {
        choice(&words.next("the kind of sink")?, &[("port", ())], "a kind of sink")?;
        let name = words.next("a port")?;
        words.done()?;
        let port = self.port_reference(&name)?;
        if !matches!(self.plan.port(port).role, Role::Monitor | Role::Virtual) {
            let what = format!("{} takes no copies", shown(&name.text));
            return flaw(&name.span, what, "a sink is a port of role monitor or virtual");
        }
        if self.sinks.contains_key(&port) {
            return flaw(&verb.span, "a sink that was named before", "remove one of the two");
        }
        let id = u16::try_from(self.plan.sinks.len());
        let id = id.expect("sinks are different ports, and those are fewer than PORTS_MAX");
        self.sinks.insert(port, SinkId(id));
        self.plan.sinks.push(Sink::Port(port));
        Ok(())
    }

    fn rule(&mut self, verb: &Word<'_>, mut words: Words<'_>) -> Parsed<()> {
        let (label, place) = (words.next("a label")?, words.next("its place, or `-`")?);
        words.done()?;
        let origin = origin(&place)?;
        let id =
            u32::try_from(self.plan.rules.len()).ok().filter(|_| self.plan.rules.len() < RULE_LABELS_MAX);
        let Some(id) = id.map(RuleId) else {
            return flaw(&verb.span, format!("more than {RULE_LABELS_MAX} rules"), "divide the plan");
        };
        let known = self.labels.entry(label.text.to_string());
        known.and_modify(|id| *id = None).or_insert(Some(id));
        self.plan.rules.push(Rule { label: label.text.into_owned(), origin });
        Ok(())
    }

    fn hook(&mut self, mut words: Words<'_>) -> Parsed<Hook> {
        let name = words.next("a port")?;
        let port = self.port_reference(&name)?;
        let direction = choice(&words.next("`in` or `out`")?, &DIRECTIONS, "a direction")?;
        let pass = words.next("`pass`, `consume` or `leave`")?;
        let (at, role) = (Point { port, direction }, self.plan.port(port).role);
        let pass = match (&*pass.text, role) {
            ("leave", Role::Watched) => Pass::Leave,
            ("consume", Role::Span) => Pass::To(BTreeSet::new()),
            ("pass", Role::Network) => self.passes(port, &mut words)?,
            ("leave" | "consume" | "pass", _) => {
                let what =
                    format!("{} is {}, where frames are not judged so", shown(&name.text), role_name(role));
                return flaw(
                    &pass.span,
                    what,
                    "network ports `pass`, SPAN ports `consume`, watched ones `leave`",
                );
            }
            _ => return unknown(&pass, &["pass", "consume", "leave"], "something to do with a frame"),
        };
        words.done()?;
        if direction == Direction::Out && role != Role::Watched {
            return flaw(&name.span, "`out` on a port that is not watched", "write `in`");
        }
        if self.points.contains(&at) {
            return flaw(&name.span, "a second hook for the same port and direction", "make one of the two");
        }
        Ok(Hook { at, pass, copies: Vec::new(), program: rules::form::Program::default() })
    }

    fn passes(&self, from: PortId, words: &mut Words<'_>) -> Parsed<Pass> {
        let mut ports = BTreeSet::new();
        let mut name = words.next("a port to pass to")?;
        loop {
            let port = self.port_reference(&name)?;
            if port == from || self.plan.port(port).role != Role::Network {
                let what = format!("frames cannot pass to {} from here", shown(&name.text));
                return flaw(&name.span, what, "they pass to other network ports");
            }
            if !ports.insert(port) {
                return flaw(&name.span, format!("{} stands here twice", shown(&name.text)), "name it once");
            }
            match words.maybe()? {
                Some(next) => name = next,
                None => return Ok(Pass::To(ports)),
            }
        }
    }

    /// `by` and a rule.
    fn by(&self, words: &mut Words<'_>) -> Parsed<RuleId> {
        choice(&words.next("`by` and a rule")?, &[("by", ())], "`by`")?;
        self.rule_reference(&words.next("a rule")?)
    }

    fn rule_reference(&self, word: &Word<'_>) -> Parsed<RuleId> {
        if let Some(index) = indexed(word) {
            let in_table = |index: &u32| usize::try_from(*index).is_ok_and(|at| at < self.plan.rules.len());
            return match index.filter(in_table) {
                Some(rule) => Ok(RuleId(rule)),
                None => {
                    flaw(&word.span, format!("no rule {}", shown(&word.text)), "rules are counted from #0")
                }
            };
        }
        match self.labels.get(&*word.text) {
            Some(Some(rule)) => Ok(*rule),
            Some(None) => {
                let what = format!("two rules are called {}", shown(&word.text));
                flaw(&word.span, what, "name it by its number: rules are counted from #0")
            }
            None => {
                // In order, so that of equally near labels the same one is named each time.
                let labels: BTreeSet<&String> = match self.report.is_full() {
                    true => BTreeSet::new(),
                    false => self.labels.keys().collect(),
                };
                self.missing(word, "rule", labels.into_iter())
            }
        }
    }

    fn missing<'k, T>(
        &self,
        word: &Word<'_>,
        what: &str,
        known: impl Iterator<Item = &'k String>,
    ) -> Parsed<T> {
        let help = match self.report.nearest(&word.text, known.map(String::as_str)) {
            Some(near) => format!("did you mean {}?", shown(near)),
            None => format!("add a line for it before: `{what}  NAME ...`"),
        };
        flaw(&word.span, format!("{} is no {what}", shown(&word.text)), help)
    }

    fn port_reference(&self, word: &Word<'_>) -> Parsed<PortId> {
        self.names
            .get(&*word.text)
            .map_or_else(|| self.missing(word, "port", self.names.keys()), |id| Ok(*id))
    }

    fn sink_reference(&self, word: &Word<'_>) -> Parsed<SinkId> {
        let port = self.port_reference(word)?;
        match self.sinks.get(&port) {
            Some(sink) => Ok(*sink),
            None => {
                flaw(&word.span, format!("{} is no sink", shown(&word.text)), "add a line `sink  port NAME`")
            }
        }
    }
}

fn version(verb: &Word<'_>, words: &mut Words<'_>) -> Parsed<()> {
    if verb.text != "plan" {
        return flaw(&verb.span, "not a plan", "a plan begins with a line `plan 1`");
    }
    let version = words.next("the version")?;
    if version.text != VERSION {
        let what = format!("a plan of version {}", shown(&version.text));
        return flaw(&version.span, what, format!("this reads version {VERSION}"));
    }
    words.done()
}

/// `#7`, where the word is one; `None` within where the number is too large.
fn indexed(word: &Word<'_>) -> Option<Option<u32>> {
    let digits = word.text.strip_prefix('#').filter(|_| !word.quoted)?;
    Some(digits.parse().ok().filter(|_| digits.bytes().all(|octet| octet.is_ascii_digit())))
}

fn choice<T: std::marker::Copy>(word: &Word<'_>, known: &[(&'static str, T)], what: &str) -> Parsed<T> {
    match known.iter().find(|(name, _)| *name == word.text) {
        Some((_, value)) => Ok(*value),
        None => unknown(word, &known.iter().map(|(name, _)| *name).collect::<Vec<_>>(), what),
    }
}

fn unknown<T>(word: &Word<'_>, known: &[&str], what: &str) -> Parsed<T> {
    flaw(&word.span, format!("{} is not {what}", shown(&word.text)), format!("write {}", known.join(" or ")))
}

fn number<T: std::str::FromStr>(word: &Word<'_>, what: &str) -> Parsed<T> {
    match word.text.parse() {
        Ok(number) if word.text.bytes().all(|octet| octet.is_ascii_digit()) => Ok(number),
        _ => flaw(&word.span, format!("{} is not {what}", shown(&word.text)), "write a number"),
    }
}

fn quantity(word: &Word<'_>, read: fn(&str) -> Result<u64, units::UnitError>, what: &str) -> Parsed<u64> {
    read(&word.text).or_else(|_| {
        let what = format!("{} is not {what}, or out of range", shown(&word.text));
        flaw(&word.span, what, "rates are 1kbit to 1Tbit, buffers 1B to below 4GiB")
    })
}

/// `FILE:LINE:COLUMN`, or `-`.
fn origin(word: &Word<'_>) -> Parsed<Option<Origin>> {
    if word.text == "-" && !word.quoted {
        return Ok(None);
    }
    let help = "write FILE:LINE:COLUMN, or `-`";
    let whole: &str = if word.quoted { word.tail } else { &word.text };
    let parts = whole.rsplit_once(':').and_then(|(front, column)| {
        let (file, line) = front.rsplit_once(':')?;
        let count =
            |digits: &str| digits.parse::<u32>().ok().filter(|count| *count > 0 && !digits.starts_with('+'));
        Some((file, count(line)?, count(column)?))
    });
    match parts {
        Some(("", line, column)) if word.quoted => {
            Ok(Some(Origin { file: word.text.to_string(), line, column }))
        }
        Some((file, line, column)) if !word.quoted && !file.is_empty() => {
            Ok(Some(Origin { file: file.to_owned(), line, column }))
        }
        _ => flaw(&word.span, format!("{} is no place in a file", shown(&word.text)), help),
    }
}
