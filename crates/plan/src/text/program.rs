//! Programs as lines: entries and steps, spreads, sets of rules.
//!
//! Lines are made in the order in which they are read, with the table of entries that reading will have made
//! by then at hand: where a name would lead to another entry than the program's, its number stands instead.

use std::collections::{HashMap, HashSet};

use rules::form::{
    Action, CopyIndex, Handed, Method, RuleId, RuleSet, Ruled, Ruling, Spread, SpreadIndex, TagIndex, Test,
    sink_key,
};

use super::{METHODS, Printer, chance, name_of, word};
use crate::plan::{Hook, Plan, Sink, SinkId};

/// A run of rules that stood at an earlier hook is one line from this many on.
const ALIKE_MIN: usize = 3;

/// Where rules stood first: the hook, and the number of the rule there.
pub(super) type Known = HashMap<String, (usize, usize)>;

/// The lines of a hook's program.
pub(super) struct Lines {
    /// Entries and steps, in columns.
    pub(super) steps: Vec<Vec<String>>,
    /// For each set the lines of its rules; behind the last set's, what no rule asks for.
    pub(super) sets: Vec<Vec<RuleLine>>,
    /// What neither steps nor rules ask for.
    pub(super) rest: Vec<String>,
}

/// A rule, and the lines that have to stand before it.
pub(super) struct RuleLine {
    before: Vec<String>,
    line: String,
}

/// One hook's program on its way to lines.
pub(super) struct ProgramPrinter<'a> {
    printer: &'a Printer,
    plan: &'a Plan,
    hook: &'a Hook,
    /// Entries that stand already, and the first of each rule and sink.
    entries: usize,
    first: HashMap<(RuleId, SinkId), usize>,
    /// Spreads that stand already.
    spreads: usize,
}

impl<'a> ProgramPrinter<'a> {
    pub(super) fn new(printer: &'a Printer, plan: &'a Plan, hook: &'a Hook) -> Self {
        Self { printer, plan, hook, entries: 0, first: HashMap::new(), spreads: 0 }
    }

    pub(super) fn lines(mut self) -> Lines {
        let steps = self.steps();
        let sets = self.hook.program.rule_sets.iter().map(|set| self.set(set)).collect();
        let mut rest = Vec::new();
        self.spreads_to(self.hook.program.spreads.len(), &mut rest);
        self.entries_to(self.hook.copies.len(), &mut rest);
        Lines { steps, sets, rest }
    }

    fn steps(&mut self) -> Vec<Vec<String>> {
        let mut lines: Vec<Vec<String>> = Vec::new();
        let columns = |line: &String| vec![line.clone()];
        for step in &self.hook.program.steps {
            let mut before = Vec::new();
            let (verb, what) = match step.then {
                Action::Block => ("block", String::new()),
                Action::Spread(spread) => ("spread", self.spread_reference(spread, &mut before)),
                Action::Copy(copy) => ("copy", self.step_copy(step.rule, copy, &mut lines)),
            };
            lines.extend(before.iter().map(columns));
            let by = format!("by {}", self.printer.rule(step.rule));
            let line = [verb.to_owned(), what, by, self.when(&step.when)];
            lines.push(line.into_iter().filter(|word| !word.is_empty()).collect());
        }
        if self.hook.program.rule_sets.is_empty() {
            let mut rest = Vec::new();
            self.spreads_to(self.hook.program.spreads.len(), &mut rest);
            lines.extend(rest.iter().map(columns));
            let entries = (self.entries..self.hook.copies.len()).map(|index| self.entry(index));
            lines.extend(entries.collect::<Vec<_>>());
            self.entries = self.hook.copies.len();
        }
        lines
    }

    /// A step's copy makes an entry; one that asks for an entry that stands already has its number.
    fn step_copy(
        &mut self,
        rule: RuleId,
        CopyIndex(index): CopyIndex,
        lines: &mut Vec<Vec<String>>,
    ) -> String {
        let index = usize::from(index);
        // Entries that no step has asked for yet stand before the first step that needs them.
        let own = self.hook.copies.get(index).is_some_and(|copy| copy.rule == rule);
        let until = if own { index } else { index.saturating_add(1) };
        for entry in self.entries..until.min(self.hook.copies.len()) {
            lines.push(self.entry(entry));
            self.made(entry);
        }
        match self.hook.copies.get(index) {
            Some(copy) if own && index == self.entries => {
                self.made(index);
                self.printer.sink(self.plan, copy.sink)
            }
            _ => format!("#{index}"),
        }
    }

    fn entry(&self, index: usize) -> Vec<String> {
        let copy = self.hook.copies[index];
        let sink = self.printer.sink(self.plan, copy.sink);
        vec!["entry".to_owned(), sink, format!("by {}", self.printer.rule(copy.rule))]
    }

    /// Notes that an entry stands.
    fn made(&mut self, index: usize) {
        let copy = self.hook.copies[index];
        self.first.entry((copy.rule, copy.sink)).or_insert(index);
        self.entries = index + 1;
    }

    fn entries_to(&mut self, end: usize, before: &mut Vec<String>) {
        for index in self.entries..end.min(self.hook.copies.len()) {
            before.push(self.entry(index).join("  "));
            self.made(index);
        }
    }

    /// How a rule or a spread of this rule names a copy: by its sink where that leads to its entry.
    fn copy_reference(
        &mut self,
        rule: RuleId,
        CopyIndex(index): CopyIndex,
        before: &mut Vec<String>,
    ) -> String {
        let index = usize::from(index);
        if let Some(copy) = self.hook.copies.get(index).filter(|copy| copy.rule == rule) {
            let found = self.first.get(&(rule, copy.sink)).copied();
            if found.unwrap_or(self.entries) == index {
                if found.is_none() {
                    self.made(index);
                }
                return self.printer.sink(self.plan, copy.sink);
            }
        }
        self.entries_to(index.saturating_add(1), before);
        format!("#{index}")
    }

    fn spread_reference(&mut self, SpreadIndex(index): SpreadIndex, before: &mut Vec<String>) -> String {
        self.spreads_to(usize::from(index) + 1, before);
        format!("#{index}")
    }

    fn spreads_to(&mut self, end: usize, before: &mut Vec<String>) {
        for at in self.spreads..end.min(self.hook.program.spreads.len()) {
            let line = self.spread(&self.hook.program.spreads[at], before);
            before.push(line);
            self.spreads = at + 1;
        }
    }

    fn spread(&mut self, spread: &Spread, before: &mut Vec<String>) -> String {
        let method: Method = spread.method();
        let inner = if spread.is_inner() { " inner" } else { "" };
        let first =
            spread.choices().first().and_then(|choice| self.hook.copies.get(usize::from(choice.copy.0)));
        let rule = first.map_or(RuleId(0), |copy| copy.rule);
        let by = self.printer.rule(rule);
        let mut line = format!("balance  {}{inner}  by {by}", name_of(&METHODS, method));
        if !self.leads_to_its_entries(rule, spread) {
            // No entry can be made between two words of a line.
            let last = spread.choices().iter().map(|choice| usize::from(choice.copy.0)).max();
            self.entries_to(last.map_or(0, |last| last + 1), before);
        }
        for choice in spread.choices() {
            line.push_str(&format!("  to {}", self.copy_reference(rule, choice.copy, before)));
            if choice.weight != 1 {
                line.push_str(&format!(" weight {}", choice.weight));
            }
            let copy = self.hook.copies.get(usize::from(choice.copy.0));
            let name = copy.and_then(|copy| sink_name(self.plan, copy.sink));
            let known = name.map(sink_key);
            if known != Some(choice.key) {
                line.push_str(&format!(" key {}", choice.key));
            }
        }
        line
    }

    /// Whether the sinks of a spread, one after the other, lead to the entries of its choices.
    fn leads_to_its_entries(&self, rule: RuleId, spread: &Spread) -> bool {
        let mut made: Vec<SinkId> = Vec::new();
        spread.choices().iter().all(|choice| {
            let index = usize::from(choice.copy.0);
            let Some(copy) = self.hook.copies.get(index).filter(|copy| copy.rule == rule) else {
                return false;
            };
            let known = self.first.get(&(rule, copy.sink)).copied();
            let new = made.iter().position(|sink| *sink == copy.sink).map(|at| self.entries + at);
            let found = known.or(new).unwrap_or_else(|| {
                made.push(copy.sink);
                self.entries + made.len() - 1
            });
            found == index
        })
    }

    fn set(&mut self, set: &RuleSet) -> Vec<RuleLine> {
        let mut lines: Vec<RuleLine> = set.rulings().iter().map(|ruling| self.ruling(set, ruling)).collect();
        // Reading numbers tags as rules mention them.
        let tags = |ruling: &Ruling| ruling.tagged.map(|(tag, _)| tag).into_iter().chain(ruling.tag);
        let mut known = HashSet::new();
        let mentioned = set.rulings().iter().flat_map(tags).filter(|tag| known.insert(*tag));
        let mentioned: Vec<TagIndex> = mentioned.collect();
        let in_order = mentioned.iter().zip(0u16..).all(|(tag, at)| tag.0 == at);
        if !in_order || mentioned.len() != set.tags().len() {
            let names: Vec<String> = set.tags().iter().map(|tag| word(tag)).collect();
            let line = format!("tags  {}", names.join("  "));
            match lines.first_mut() {
                Some(first) => first.before.insert(0, line),
                None => lines.push(RuleLine { before: vec![line], line: String::new() }),
            }
        }
        lines
    }

    fn ruling(&mut self, set: &RuleSet, ruling: &Ruling) -> RuleLine {
        let mut before = Vec::new();
        let tag = |index: TagIndex| {
            let name = set.tags().get(usize::from(index.0));
            name.map_or_else(|| format!("#{}", index.0), |name| word(name))
        };
        let (verb, handed) = match ruling.verdict {
            Ruled::Match => ("match", Handed::Nobody),
            Ruled::Block => ("block", Handed::Nobody),
            Ruled::Pass(handed) => ("pass ", handed),
        };
        let mut line = verb.to_owned();
        if ruling.quick {
            line.push_str("  quick");
        }
        match handed {
            Handed::Nobody => {}
            Handed::Copy(copy) => {
                line.push_str(&format!("  copy {}", self.copy_reference(ruling.rule, copy, &mut before)));
            }
            Handed::Spread(spread) => {
                line.push_str(&format!("  spread {}", self.spread_reference(spread, &mut before)));
            }
        }
        line.push_str(&format!("  by {}", self.printer.rule(ruling.rule)));
        if let Some((wanted, not)) = ruling.tagged {
            line.push_str(&format!("  {}tagged {}", if not { "not " } else { "" }, tag(wanted)));
        }
        if let Some(share) = ruling.chance {
            line.push_str(&format!("  chance {}", chance::shown(share)));
        }
        if let Some(set) = ruling.tag {
            line.push_str(&format!("  tag {}", tag(set)));
        }
        let when = self.when(&ruling.when);
        if !when.is_empty() {
            line.push_str("  ");
            line.push_str(&when);
        }
        RuleLine { before, line }
    }

    fn when(&self, test: &Test) -> String {
        match test {
            Test::Always => String::new(),
            test => format!("when {}", test.shown(&|table| self.printer.tables.name(table))),
        }
    }
}

/// The name of a sink, where the plan has it.
fn sink_name(plan: &Plan, sink: SinkId) -> Option<&str> {
    let Sink::Port(port) = plan.sinks.get(usize::from(sink.0))?;
    plan.ports.get(usize::from(port.0)).map(|port| port.name.as_str())
}

impl Lines {
    /// The lines of the sets, indented. Runs of rules that stood at an earlier hook are one line each, which
    /// names that hook by `hooks`.
    pub(super) fn short_sets(self, at: usize, hooks: &[String], known: &mut Known) -> Vec<String> {
        let mut out = Vec::new();
        let mut number = 0;
        for set in self.sets {
            out.push("  rules".to_owned());
            let mut run = Run::default();
            for rule in set {
                let found = known.get(&rule.line).copied().filter(|(hook, _)| *hook != at);
                let place = found.filter(|_| rule.before.is_empty());
                if place.is_none_or(|place| !run.goes_on(place)) {
                    run.end(hooks, &mut out);
                }
                out.extend(rule.before.iter().map(|line| format!("    {line}")));
                if !rule.line.is_empty() {
                    run.add(place, format!("    {}", rule.line));
                    if found.is_none() {
                        known.entry(rule.line).or_insert((at, number));
                    }
                    number += 1;
                }
                if place.is_none() {
                    run.end(hooks, &mut out);
                }
            }
            run.end(hooks, &mut out);
        }
        out.extend(self.rest.iter().map(|line| format!("  {line}")));
        out
    }

    /// The lines of the sets, indented and in full.
    pub(super) fn full_sets(self) -> Vec<String> {
        let mut out = Vec::new();
        for set in self.sets {
            out.push("  rules".to_owned());
            for rule in set {
                out.extend(rule.before.iter().map(|line| format!("    {line}")));
                out.extend((!rule.line.is_empty()).then(|| format!("    {}", rule.line)));
            }
        }
        out.extend(self.rest.iter().map(|line| format!("  {line}")));
        out
    }
}

/// Rules that follow each other as they did at an earlier hook.
#[derive(Default)]
struct Run {
    /// The hook, the first rule there.
    from: Option<(usize, usize)>,
    lines: Vec<String>,
}

impl Run {
    fn goes_on(&self, (hook, number): (usize, usize)) -> bool {
        self.from.is_some_and(|(known, first)| known == hook && first + self.lines.len() == number)
    }

    fn add(&mut self, place: Option<(usize, usize)>, line: String) {
        if self.lines.is_empty() {
            self.from = place;
        }
        self.lines.push(line);
    }

    fn end(&mut self, hooks: &[String], out: &mut Vec<String>) {
        let lines = std::mem::take(&mut self.lines);
        match self.from.take() {
            Some((hook, first)) if lines.len() >= ALIKE_MIN => {
                let last = first + lines.len() - 1;
                out.push(format!("    like  {}  {first}-{last}", hooks[hook]));
            }
            _ => out.extend(lines),
        }
    }
}
