//! Plan text -> plan. Refuses whatever no plan may be, so that what was read can be made true.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use rules::form::{Action, CopyIndex, RuleId, Step, Test};
use wire::LinkType;

use super::{DIRECTIONS, MODES, ROLES, VERSION, role_name};
use crate::model::{COPIES_MAX, PORTS_MAX, RULES_MAX};
use crate::names;
use crate::plan::{
    Attach, Copy, Direction, Hook, Origin, Pass, Plan, Point, Port, PortId, Queue, Role, Rule, Sink, SinkId,
};
use crate::problem::{Problems, Report, listed, nearest, shown};
use crate::units;

/// The longest plan text, octets: more than any plan within the other limits takes.
pub const TEXT_MAX: usize = 1 << 27;
/// The most steps of one plan.
pub const STEPS_MAX: usize = 16_384;

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
    let (plan, begun) = (parser.plan, parser.begun);
    if !begun && text.len() <= TEXT_MAX {
        report.add(0..0, "no plan", "a plan begins with a line `plan 1`");
    }
    report.finish(file)?;
    Ok(plan)
}

/// A word of a line.
#[derive(Clone, Debug)]
struct Word {
    /// What it says, without quotes and escapes.
    text: String,
    /// It stood in quotes.
    quoted: bool,
    /// What followed the closing quote without a blank (`"a file":1:1`).
    tail: String,
    span: Range<usize>,
}

/// What was wrong, and what to do. The parser goes on with the next line.
struct Flaw {
    span: Range<usize>,
    what: String,
    help: String,
}

type Parsed<T> = Result<T, Flaw>;

fn flaw<T>(span: &Range<usize>, what: impl Into<String>, help: impl Into<String>) -> Parsed<T> {
    Err(Flaw { span: span.clone(), what: what.into(), help: help.into() })
}

struct Parser<'r, 't> {
    report: &'r mut Report<'t>,
    plan: Plan,
    /// The first line was read.
    begun: bool,
    names: BTreeMap<String, PortId>,
    interfaces: BTreeSet<String>,
    /// By label; `None` where two rules share it.
    labels: BTreeMap<String, Option<RuleId>>,
    sinks: BTreeMap<PortId, SinkId>,
    points: BTreeSet<Point>,
    copies: usize,
    steps: usize,
    /// The hook that steps belong to was read; steps of a broken one are passed over.
    in_hook: bool,
    broken_hook: bool,
}

const VERBS: [&str; 7] = ["port", "sink", "rule", "hook", "copy", "entry", "block"];

impl<'r, 't> Parser<'r, 't> {
    fn new(report: &'r mut Report<'t>) -> Self {
        Self {
            report,
            plan: Plan::default(),
            begun: false,
            names: BTreeMap::new(),
            interfaces: BTreeSet::new(),
            labels: BTreeMap::new(),
            sinks: BTreeMap::new(),
            points: BTreeSet::new(),
            copies: 0,
            steps: 0,
            in_hook: false,
            broken_hook: false,
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
        let parsed = words(line, start).and_then(|words| match words.split_first() {
            None => Ok(()),
            Some((verb, rest)) => self.statement(verb, rest),
        });
        if let Err(Flaw { span, what, help }) = parsed {
            self.report.add(span, what, help);
        }
    }

    fn statement(&mut self, verb: &Word, rest: &[Word]) -> Parsed<()> {
        let mut words = Words { rest: rest.iter(), end: verb.span.end };
        if !self.begun {
            self.begun = true;
            return version(verb, &mut words);
        }
        match verb.text.as_str() {
            "port" => self.port(verb, words),
            "sink" => self.sink(verb, words),
            "rule" => self.rule(verb, words),
            "hook" => {
                self.in_hook = true;
                self.broken_hook = true;
                let hook = self.hook(words)?;
                self.points.insert(hook.at);
                self.plan.hooks.push(hook);
                self.broken_hook = false;
                Ok(())
            }
            "copy" | "entry" | "block" if !self.in_hook => {
                flaw(&verb.span, "a step outside of any hook", "write it under the hook it belongs to")
            }
            "copy" | "entry" | "block" if self.broken_hook => Ok(()),
            "copy" => self.copy(verb, words),
            "entry" => {
                let sink = self.sink_reference(words.next("a sink")?)?;
                let rule = self.by(&mut words)?;
                words.done()?;
                self.entry(verb, Copy { rule, sink }).map(|_| ())
            }
            "block" => {
                let rule = self.by(&mut words)?;
                self.step(verb, rule, Action::Block, &mut words)
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

    fn port(&mut self, verb: &Word, mut words: Words<'_>) -> Parsed<()> {
        let (name, interface) = (words.next("a name")?, words.next("an interface")?);
        let role = choice(words.next("a role")?, &ROLES, "a role")?;
        let mut port = Port {
            name: name.text.clone(),
            interface: interface.text.clone(),
            role,
            link_type: LinkType::ETHERNET,
            attach: Attach::Auto,
            queue: None,
        };
        let (mut rate, mut buffer) = (None, None);
        while let Some(option) = words.rest.next() {
            words.end = option.span.end;
            match option.text.as_str() {
                "attach" => port.attach = choice(words.next("a way to attach")?, &MODES, "a way to attach")?,
                "type" => port.link_type = LinkType(number(words.next("a link type")?, "a link type")?),
                "rate" => {
                    rate = Some(quantity(words.next("a rate")?, units::rate, "a rate such as 100Mbit")?)
                }
                "buffer" => {
                    buffer = Some(quantity(words.next("a size")?, units::size, "a size such as 1MiB")?)
                }
                _ => return unknown(option, &["attach", "type", "rate", "buffer"], "an option of a port"),
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
        if self.names.contains_key(&name.text) {
            return flaw(&name.span, format!("two ports are called {}", shown(&name.text)), "rename one");
        }
        if !self.interfaces.insert(interface.text.clone()) {
            let what = format!("two ports are interface {}", shown(&interface.text));
            return flaw(&interface.span, what, "use one port for both");
        }
        self.names.insert(name.text.clone(), id);
        self.plan.ports.push(port);
        Ok(())
    }

    fn sink(&mut self, verb: &Word, mut words: Words<'_>) -> Parsed<()> {
        choice(words.next("the kind of sink")?, &[("port", ())], "a kind of sink")?;
        let name = words.next("a port")?;
        words.done()?;
        let port = self.port_reference(name)?;
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

    fn rule(&mut self, verb: &Word, mut words: Words<'_>) -> Parsed<()> {
        let (label, place) = (words.next("a label")?, words.next("its place, or `-`")?);
        words.done()?;
        let origin = origin(place)?;
        let id = u32::try_from(self.plan.rules.len()).ok().filter(|_| self.plan.rules.len() < RULES_MAX);
        let Some(id) = id.map(RuleId) else {
            return flaw(&verb.span, format!("more than {RULES_MAX} rules"), "divide the plan");
        };
        let known = self.labels.entry(label.text.clone());
        known.and_modify(|id| *id = None).or_insert(Some(id));
        self.plan.rules.push(Rule { label: label.text.clone(), origin });
        Ok(())
    }

    fn hook(&mut self, mut words: Words<'_>) -> Parsed<Hook> {
        let name = words.next("a port")?;
        let port = self.port_reference(name)?;
        let direction = choice(words.next("`in` or `out`")?, &DIRECTIONS, "a direction")?;
        let pass = words.next("`pass`, `consume` or `leave`")?;
        let (at, role) = (Point { port, direction }, self.plan.port(port).role);
        let pass = match (pass.text.as_str(), role) {
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
            _ => return unknown(pass, &["pass", "consume", "leave"], "something to do with a frame"),
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
            let port = self.port_reference(name)?;
            if port == from || self.plan.port(port).role != Role::Network {
                let what = format!("frames cannot pass to {} from here", shown(&name.text));
                return flaw(&name.span, what, "they pass to other network ports");
            }
            if !ports.insert(port) {
                return flaw(&name.span, format!("{} stands here twice", shown(&name.text)), "name it once");
            }
            match words.rest.next() {
                Some(next) => name = next,
                None => return Ok(Pass::To(ports)),
            }
        }
    }

    fn copy(&mut self, verb: &Word, mut words: Words<'_>) -> Parsed<()> {
        let sink = words.next("a sink")?;
        if let Some(index) = indexed(sink) {
            let rule = self.by(&mut words)?;
            let entries = self.plan.hooks.last().map_or(0, |hook| hook.copies.len());
            let Some(index) = index.filter(|index| usize::from(*index) < entries) else {
                let what = format!("this hook has no entry {}", shown(&sink.text));
                return flaw(&sink.span, what, "entries are counted from #0, and stand before");
            };
            return self.step(verb, rule, Action::Copy(CopyIndex(index)), &mut words);
        }
        let sink = self.sink_reference(sink)?;
        let rule = self.by(&mut words)?;
        let index = self.entry(verb, Copy { rule, sink })?;
        self.step(verb, rule, Action::Copy(index), &mut words)
    }

    fn entry(&mut self, verb: &Word, copy: Copy) -> Parsed<CopyIndex> {
        let hook = self.plan.hooks.last_mut().expect("in_hook: a hook was read, and it was not broken");
        let index = u16::try_from(hook.copies.len()).ok().filter(|_| self.copies < COPIES_MAX);
        let Some(index) = index else {
            return flaw(&verb.span, format!("more than {COPIES_MAX} copies"), "divide the plan");
        };
        hook.copies.push(copy);
        self.copies += 1;
        Ok(CopyIndex(index))
    }

    fn step(&mut self, verb: &Word, rule: RuleId, then: Action, words: &mut Words<'_>) -> Parsed<()> {
        let when = condition(words)?;
        if self.steps == STEPS_MAX {
            return flaw(&verb.span, format!("more than {STEPS_MAX} steps"), "divide the plan");
        }
        self.steps += 1;
        let hook = self.plan.hooks.last_mut().expect("in_hook: a hook was read, and it was not broken");
        hook.program.steps.push(Step { rule, when, then });
        Ok(())
    }

    fn by(&self, words: &mut Words<'_>) -> Parsed<RuleId> {
        choice(words.next("`by` and a rule")?, &[("by", ())], "`by`")?;
        let word = words.next("a rule")?;
        if let Some(index) = indexed(word) {
            let index = index.map(|index| RuleId(u32::from(index)));
            return match index
                .filter(|index| usize::try_from(index.0).is_ok_and(|at| at < self.plan.rules.len()))
            {
                Some(rule) => Ok(rule),
                None => {
                    flaw(&word.span, format!("no rule {}", shown(&word.text)), "rules are counted from #0")
                }
            };
        }
        match self.labels.get(&word.text) {
            Some(Some(rule)) => Ok(*rule),
            Some(None) => {
                let what = format!("two rules are called {}", shown(&word.text));
                flaw(&word.span, what, "name it by its number: rules are counted from #0")
            }
            None => self.missing(word, "rule", self.labels.keys()),
        }
    }

    fn missing<'k, T>(&self, word: &Word, what: &str, known: impl Iterator<Item = &'k String>) -> Parsed<T> {
        let help = match self.report.nearest(&word.text, known.map(String::as_str)) {
            Some(near) => format!("did you mean {}?", shown(near)),
            None => format!("add a line for it before: `{what}  NAME ...`"),
        };
        flaw(&word.span, format!("{} is no {what}", shown(&word.text)), help)
    }

    fn port_reference(&self, word: &Word) -> Parsed<PortId> {
        self.names.get(&word.text).map_or_else(|| self.missing(word, "port", self.names.keys()), |id| Ok(*id))
    }

    fn sink_reference(&self, word: &Word) -> Parsed<SinkId> {
        let port = self.port_reference(word)?;
        match self.sinks.get(&port) {
            Some(sink) => Ok(*sink),
            None => {
                flaw(&word.span, format!("{} is no sink", shown(&word.text)), "add a line `sink  port NAME`")
            }
        }
    }
}

/// The words of a line that are not read yet.
struct Words<'w> {
    rest: std::slice::Iter<'w, Word>,
    /// Where the last one that was read ends.
    end: usize,
}

impl<'w> Words<'w> {
    fn next(&mut self, what: &str) -> Parsed<&'w Word> {
        let Some(word) = self.rest.next() else {
            return flaw(&(self.end..self.end), format!("the line ends where {what} should stand"), "add it");
        };
        self.end = word.span.end;
        Ok(word)
    }

    fn done(&mut self) -> Parsed<()> {
        match self.rest.next() {
            None => Ok(()),
            Some(word) => {
                flaw(&word.span, format!("{} is too much", shown(&word.text)), "end the line before it")
            }
        }
    }
}

fn version(verb: &Word, words: &mut Words<'_>) -> Parsed<()> {
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

/// The test behind `when`, to the end of the line; every frame where there is none.
fn condition(words: &mut Words<'_>) -> Parsed<Test> {
    let Some(when) = words.rest.next() else { return Ok(Test::Always) };
    choice(when, &[("when", ())], "`when`")?;
    let rest: Vec<&Word> = words.rest.by_ref().collect();
    let text: Vec<&str> = rest.iter().map(|word| word.text.as_str()).collect();
    let end = rest.last().map_or(when.span.end, |word| word.span.end);
    match text.join(" ").parse() {
        Ok(test) => Ok(test),
        Err(error) => flaw(&(when.span.end..end), error.to_string(), "write such as `when vlan 10,20-29`"),
    }
}

/// `#7`, where the word is one; `None` within where the number is too large.
fn indexed(word: &Word) -> Option<Option<u16>> {
    let digits = word.text.strip_prefix('#').filter(|_| !word.quoted)?;
    Some(digits.parse().ok().filter(|_| digits.bytes().all(|octet| octet.is_ascii_digit())))
}

fn choice<T: std::marker::Copy>(word: &Word, known: &[(&'static str, T)], what: &str) -> Parsed<T> {
    match known.iter().find(|(name, _)| *name == word.text) {
        Some((_, value)) => Ok(*value),
        None => unknown(word, &known.iter().map(|(name, _)| *name).collect::<Vec<_>>(), what),
    }
}

fn unknown<T>(word: &Word, known: &[&str], what: &str) -> Parsed<T> {
    flaw(&word.span, format!("{} is not {what}", shown(&word.text)), format!("write {}", known.join(" or ")))
}

fn number<T: std::str::FromStr>(word: &Word, what: &str) -> Parsed<T> {
    match word.text.parse() {
        Ok(number) if word.text.bytes().all(|octet| octet.is_ascii_digit()) => Ok(number),
        _ => flaw(&word.span, format!("{} is not {what}", shown(&word.text)), "write a number"),
    }
}

fn quantity(word: &Word, read: fn(&str) -> Result<u64, units::UnitError>, what: &str) -> Parsed<u64> {
    read(&word.text).or_else(|_| {
        let what = format!("{} is not {what}, or out of range", shown(&word.text));
        flaw(&word.span, what, "rates are 1kbit to 1Tbit, buffers 1B to below 4GiB")
    })
}

/// `FILE:LINE:COLUMN`, or `-`.
fn origin(word: &Word) -> Parsed<Option<Origin>> {
    if word.text == "-" && !word.quoted {
        return Ok(None);
    }
    let help = "write FILE:LINE:COLUMN, or `-`";
    let whole = if word.quoted { &word.tail } else { &word.text };
    let parts = whole.rsplit_once(':').and_then(|(front, column)| {
        let (file, line) = front.rsplit_once(':')?;
        let count =
            |digits: &str| digits.parse::<u32>().ok().filter(|count| *count > 0 && !digits.starts_with('+'));
        Some((file, count(line)?, count(column)?))
    });
    match parts {
        Some(("", line, column)) if word.quoted => Ok(Some(Origin { file: word.text.clone(), line, column })),
        Some((file, line, column)) if !word.quoted && !file.is_empty() => {
            Ok(Some(Origin { file: file.to_owned(), line, column }))
        }
        _ => flaw(&word.span, format!("{} is no place in a file", shown(&word.text)), help),
    }
}

/// The words of a line that begins at octet `start` of the text.
fn words(line: &str, start: usize) -> Parsed<Vec<Word>> {
    let mut words = Vec::new();
    let mut at = 0;
    while let Some(skip) = line[at..].find(|c: char| !c.is_whitespace()) {
        at += skip;
        let rest = &line[at..];
        let (text, quoted, length) = match rest.strip_prefix('"') {
            Some(inner) => {
                let (text, length) = unquote(inner, start + at)?;
                (text, true, length + 1)
            }
            None => (String::new(), false, 0),
        };
        let tail = &rest[length..];
        let tail = &tail[..tail.find(char::is_whitespace).unwrap_or(tail.len())];
        let span = start + at..start + at + length + tail.len();
        at += length + tail.len();
        if quoted && !tail.is_empty() && !tail.starts_with(':') {
            return flaw(&span, "a blank is missing after the quotes", "add it");
        }
        words.push(match quoted {
            true => Word { text, quoted, tail: tail.to_owned(), span },
            false => Word { text: tail.to_owned(), quoted, tail: String::new(), span },
        });
    }
    Ok(words)
}

/// What stands before the closing quote, and how many octets it takes with that quote.
fn unquote(inner: &str, at: usize) -> Parsed<(String, usize)> {
    let span = at..at + 1;
    let mut out = String::new();
    let mut characters = inner.char_indices();
    while let Some((index, character)) = characters.next() {
        match character {
            '"' => return Ok((out, index + 1)),
            '\\' => match characters.next() {
                Some((_, escaped @ ('"' | '\\'))) => out.push(escaped),
                Some((index, 'u')) => {
                    let digits = inner[index + 1..].strip_prefix('{').and_then(|rest| rest.split_once('}'));
                    let digits =
                        digits.map(|(digits, _)| digits).filter(|digits| (1..=6).contains(&digits.len()));
                    let code = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
                    let Some((digits, code)) = digits.zip(code.and_then(char::from_u32)) else { break };
                    out.push(code);
                    // The digits and the brace behind them.
                    characters.by_ref().take_while(|(i, _)| *i < index + 2 + digits.len()).for_each(drop);
                }
                _ => break,
            },
            c => out.push(c),
        }
    }
    flaw(&span, "quotes that do not close, or an escape that is none", "escapes are \\\", \\\\ and \\u{7}")
}
