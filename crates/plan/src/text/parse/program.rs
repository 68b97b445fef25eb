//! The lines of a hook's program: entries and steps, spreads, sets of rules.

use std::collections::HashMap;
use std::sync::Arc;

use rules::form::{
    Action, AddressTable, CHOICES_MAX, Choice, CopyIndex, Handed, Method, Number, RuleId, RuleSet, Ruled,
    Ruling, Spread, SpreadIndex, Step, TagIndex, Test, TestFlaw, WEIGHT_MAX, sink_key, table_name,
};

use super::words::{Parsed, Word, Words, flaw};
use super::{COPIES_MAX, EXPANDED_MAX, Parser, RULES_MAX, SET_RULES_MAX, STEPS_MAX};
use super::{choice, indexed, number, unknown};
use crate::plan::{Copy, Hook, Point, SinkId};
use crate::problem::shown;
use crate::text::{DIRECTIONS, METHODS, chance};

/// The most spreads of one plan that differ.
pub const SPREADS_MAX: usize = 1024;
/// The most that the weights of all spreads which differ may come to.
pub const WEIGHTS_MAX: usize = 1 << 14;

/// Tables of addresses, by what stands between `<` and `>`.
#[derive(Default)]
pub(super) struct Tables {
    list: Vec<Arc<AddressTable>>,
    /// `None` where two share a name.
    by_name: HashMap<String, Option<usize>>,
}

impl Tables {
    pub(super) fn add(&mut self, table: AddressTable) {
        let at = self.list.len();
        let known = self.by_name.entry(table_name(table.name()));
        known.and_modify(|at| *at = None).or_insert(Some(at));
        self.list.push(Arc::new(table));
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    fn find(&self, name: &str) -> Option<Arc<AddressTable>> {
        let at = match name.strip_prefix('#') {
            Some(digits) => {
                digits.parse().ok().filter(|_| digits.bytes().all(|octet| octet.is_ascii_digit()))
            }
            None => *self.by_name.get(name)?,
        };
        self.list.get(at?).cloned()
    }
}

/// How a line names a copy.
#[derive(Clone, std::marker::Copy)]
enum Reference {
    /// The first entry of the line's rule and this sink.
    Sink(SinkId),
    /// The entry of this number.
    Entry(u32),
}

/// A rule as it was written, so that other hooks can take it over.
struct Written {
    /// The set, and the rule in it.
    place: (usize, usize),
    copy: Option<Reference>,
    /// What it counts towards [`EXPANDED_MAX`].
    cost: usize,
}

/// What hooks have in common.
#[derive(Default)]
pub(super) struct Reading {
    copies: usize,
    steps: usize,
    rules: usize,
    expanded: usize,
    weights: usize,
    spreads: HashMap<(Method, Vec<Choice>, bool), Spread>,
    /// Hooks that were read: their index in the plan, and their rules.
    hooks: HashMap<Point, (usize, Vec<Written>)>,
}

/// A hook that is being read.
pub(super) struct HookReader {
    hook: Hook,
    first: HashMap<(RuleId, SinkId), CopyIndex>,
    set: Option<SetReader>,
    written: Vec<Written>,
}

#[derive(Default)]
struct SetReader {
    rulings: Vec<Ruling>,
    tags: Vec<String>,
    by_name: HashMap<String, TagIndex>,
}

impl SetReader {
    fn tag(&mut self, name: &str) -> Option<TagIndex> {
        if let Some(tag) = self.by_name.get(name) {
            return Some(*tag);
        }
        let tag = TagIndex(u16::try_from(self.tags.len()).ok()?);
        self.tags.push(name.to_owned());
        self.by_name.insert(name.to_owned(), tag);
        Some(tag)
    }
}

impl HookReader {
    pub(super) fn new(hook: Hook) -> Self {
        Self { hook, first: HashMap::new(), set: None, written: Vec::new() }
    }

    /// The hook, which is the one of this index in the plan.
    pub(super) fn finish(mut self, reading: &mut Reading, index: usize) -> Hook {
        self.end_set();
        reading.hooks.insert(self.hook.at, (index, self.written));
        self.hook
    }

    fn end_set(&mut self) {
        if let Some(set) = self.set.take() {
            self.hook.program.rule_sets.push(RuleSet::new(set.rulings, set.tags));
        }
    }

    fn entry(&mut self, reading: &mut Reading, verb: &Word<'_>, copy: Copy) -> Parsed<CopyIndex> {
        let index = u16::try_from(self.hook.copies.len()).ok().filter(|_| reading.copies < COPIES_MAX);
        let Some(index) = index.map(CopyIndex) else {
            let most = COPIES_MAX.min(usize::from(u16::MAX) + 1);
            let what = format!("more than {most} copies of one hook, or {COPIES_MAX} in all");
            return flaw(&verb.span, what, "divide the plan");
        };
        self.hook.copies.push(copy);
        self.first.entry((copy.rule, copy.sink)).or_insert(index);
        reading.copies += 1;
        Ok(index)
    }

    /// The copy that a line of this rule means.
    fn copy(
        &mut self,
        reading: &mut Reading,
        verb: &Word<'_>,
        rule: RuleId,
        reference: Reference,
    ) -> Parsed<CopyIndex> {
        match reference {
            Reference::Sink(sink) => match self.first.get(&(rule, sink)) {
                Some(copy) => Ok(*copy),
                None => self.entry(reading, verb, Copy { rule, sink }),
            },
            Reference::Entry(index) => {
                let known = |index: &u16| usize::from(*index) < self.hook.copies.len();
                match u16::try_from(index).ok().filter(known) {
                    Some(index) => Ok(CopyIndex(index)),
                    None => {
                        let what = format!("this hook has no entry `#{index}`");
                        flaw(&verb.span, what, "entries are counted from #0, and stand before")
                    }
                }
            }
        }
    }

    fn spread(&self, words: &mut Words<'_>) -> Parsed<SpreadIndex> {
        let word = words.next("the number of a spread")?;
        let index = indexed(&word).flatten().and_then(|index| u16::try_from(index).ok());
        match index.filter(|index| usize::from(*index) < self.hook.program.spreads.len()) {
            Some(index) => Ok(SpreadIndex(index)),
            None => {
                let what = format!("this hook has no spread {}", shown(&word.text));
                flaw(&word.span, what, "`balance` lines are counted from #0, and stand before")
            }
        }
    }

    fn push(
        &mut self,
        reading: &mut Reading,
        verb: &Word<'_>,
        rule: Ruling,
        copy: Option<Reference>,
        cost: usize,
    ) -> Parsed<()> {
        let at = self.hook.program.rule_sets.len();
        let Some(set) = &mut self.set else { return Ok(()) };
        if set.rulings.len() == SET_RULES_MAX || reading.rules == RULES_MAX {
            let what = format!("more than {SET_RULES_MAX} rules in a set, or {RULES_MAX} in all");
            return flaw(&verb.span, what, "divide the plan");
        }
        reading.cost(verb, cost)?;
        reading.rules += 1;
        self.written.push(Written { place: (at, set.rulings.len()), copy, cost });
        set.rulings.push(rule);
        Ok(())
    }
}

impl Reading {
    fn cost(&mut self, verb: &Word<'_>, cost: usize) -> Parsed<()> {
        self.expanded = self.expanded.saturating_add(cost);
        if self.expanded > EXPANDED_MAX {
            return flaw(&verb.span, "the tests of this plan are too large", "divide the plan");
        }
        Ok(())
    }
}

impl Parser<'_, '_> {
    /// A line that belongs to a hook.
    pub(super) fn step(
        &mut self,
        hook: &mut HookReader,
        verb: &Word<'_>,
        mut words: Words<'_>,
    ) -> Parsed<()> {
        match (&*verb.text, hook.set.is_some()) {
            ("entry", _) => {
                let sink = words.next("a sink")?;
                let sink = self.sink_reference(&sink)?;
                let rule = self.by(&mut words)?;
                words.done()?;
                hook.entry(&mut self.reading, verb, Copy { rule, sink }).map(|_| ())
            }
            ("balance", _) => self.balance(hook, verb, &mut words),
            ("rules", _) => {
                words.done()?;
                hook.end_set();
                hook.set = Some(SetReader::default());
                Ok(())
            }
            ("pass" | "block" | "match", true) => self.ruling(hook, verb, &mut words),
            ("tags", true) => tags(hook, verb, &mut words),
            ("like", true) => self.like(hook, verb, &mut words),
            ("copy", false) => self.copy(hook, verb, &mut words),
            ("spread", false) => {
                let spread = hook.spread(&mut words)?;
                let rule = self.by(&mut words)?;
                self.act(hook, verb, rule, Action::Spread(spread), &mut words)
            }
            ("block", false) => {
                let rule = self.by(&mut words)?;
                self.act(hook, verb, rule, Action::Block, &mut words)
            }
            (_, true) => flaw(&verb.span, "a step behind rules", "steps stand before the first line `rules`"),
            (_, false) => flaw(&verb.span, "a rule outside of any set", "begin the set with a line `rules`"),
        }
    }

    fn copy(&mut self, hook: &mut HookReader, verb: &Word<'_>, words: &mut Words<'_>) -> Parsed<()> {
        let sink = words.next("a sink")?;
        let reference = self.copy_reference(&sink)?;
        let rule = self.by(words)?;
        let copy = match reference {
            Reference::Sink(sink) => hook.entry(&mut self.reading, verb, Copy { rule, sink })?,
            entry => hook.copy(&mut self.reading, &sink, rule, entry)?,
        };
        self.act(hook, verb, rule, Action::Copy(copy), words)
    }

    fn act(
        &mut self,
        hook: &mut HookReader,
        verb: &Word<'_>,
        rule: RuleId,
        then: Action,
        words: &mut Words<'_>,
    ) -> Parsed<()> {
        let (when, cost) = match words.maybe()? {
            None => (Test::Always, 0),
            Some(when) => {
                choice(&when, &[("when", ())], "`when`")?;
                self.condition(words)?
            }
        };
        if self.reading.steps == STEPS_MAX {
            return flaw(&verb.span, format!("more than {STEPS_MAX} steps"), "divide the plan");
        }
        self.reading.cost(verb, cost)?;
        self.reading.steps += 1;
        hook.hook.program.steps.push(Step { rule, when, then });
        Ok(())
    }

    /// The test behind `when`, to the end of the line, and what it counts towards [`EXPANDED_MAX`].
    fn condition(&self, words: &mut Words<'_>) -> Parsed<(Test, usize)> {
        let (text, start) = words.rest();
        match Test::read(text, &|name| self.tables.find(name)) {
            Ok(test) => {
                let cost = text.len() + vlans(&test);
                Ok((test, cost))
            }
            Err(error) => {
                let help = match error.what {
                    TestFlaw::Table(_) => {
                        "add its lines before: `table  <name>`, and `holds` with its entries"
                    }
                    TestFlaw::Mixed => "put one of them and its operands in parentheses",
                    TestFlaw::Deep | TestFlaw::Long => "say it with less",
                    _ => "write such as `when vlan 10,20-29` or `when destination-port in 80,443`",
                };
                flaw(&(start + error.at.start..start + error.at.end), error.what.to_string(), help)
            }
        }
    }

    fn copy_reference(&self, word: &Word<'_>) -> Parsed<Reference> {
        match indexed(word) {
            Some(Some(index)) => Ok(Reference::Entry(index)),
            Some(None) => {
                let what = format!("this hook has no entry {}", shown(&word.text));
                flaw(&word.span, what, "entries are counted from #0, and stand before")
            }
            None => self.sink_reference(word).map(Reference::Sink),
        }
    }

    fn balance(&mut self, hook: &mut HookReader, verb: &Word<'_>, words: &mut Words<'_>) -> Parsed<()> {
        let method = choice(&words.next("a way to balance")?, &METHODS, "a way to balance")?;
        let mut word = words.next("`by` and a rule")?;
        let inner = &*word.text == "inner";
        if inner {
            word = words.next("`by` and a rule")?;
        }
        choice(&word, &[("by", ())], "`by`")?;
        let rule = self.rule_reference(&words.next("a rule")?)?;
        let mut choices: Vec<Choice> = Vec::new();
        while let Some(word) = words.maybe()? {
            match (&*word.text, choices.last_mut()) {
                ("to", _) => {
                    let sink = words.next("a sink")?;
                    let reference = self.copy_reference(&sink)?;
                    let copy = hook.copy(&mut self.reading, &sink, rule, reference)?;
                    let sink = hook.hook.copies[usize::from(copy.0)].sink;
                    choices.push(Choice { copy, weight: 1, key: sink_key(self.plan.sink_name(sink)) });
                }
                ("weight", Some(last)) => last.weight = number(&words.next("a weight")?, "a weight")?,
                ("key", Some(last)) => last.key = number(&words.next("a key")?, "a key")?,
                _ => return unknown(&word, &["to", "weight", "key"], "a part of a spread"),
            }
        }
        let spread = self.reading.spread(verb, method, choices, inner)?;
        if hook.hook.program.spreads.len() > usize::from(u16::MAX) {
            return flaw(&verb.span, "more than 65536 spreads of one hook", "divide the plan");
        }
        hook.hook.program.spreads.push(spread);
        Ok(())
    }

    fn ruling(&mut self, hook: &mut HookReader, verb: &Word<'_>, words: &mut Words<'_>) -> Parsed<()> {
        let Some(mut set) = hook.set.take() else { return Ok(()) };
        let ruling = self.ruling_of(hook, &mut set, verb, words);
        hook.set = Some(set);
        let (ruling, copy, cost) = ruling?;
        hook.push(&mut self.reading, verb, ruling, copy, cost)
    }

    fn ruling_of(
        &mut self,
        hook: &mut HookReader,
        set: &mut SetReader,
        verb: &Word<'_>,
        words: &mut Words<'_>,
    ) -> Parsed<(Ruling, Option<Reference>, usize)> {
        let passes = &*verb.text == "pass";
        let (mut rule, mut copy, mut spread, mut cost) = (None, None, None, 0);
        let mut ruling = Ruling {
            rule: RuleId(0),
            when: Test::Always,
            tagged: None,
            chance: None,
            quick: false,
            verdict: if &*verb.text == "block" { Ruled::Block } else { Ruled::Match },
            tag: None,
        };
        while let Some(word) = words.maybe()? {
            match &*word.text {
                "quick" if !ruling.quick => ruling.quick = true,
                "copy" if passes && copy.is_none() => {
                    copy = Some(self.copy_reference(&words.next("a sink")?)?)
                }
                "spread" if passes && spread.is_none() => spread = Some(hook.spread(words)?),
                "by" if rule.is_none() => rule = Some(self.rule_reference(&words.next("a rule")?)?),
                "not" if ruling.tagged.is_none() => {
                    choice(&words.next("`tagged`")?, &[("tagged", ())], "`tagged`")?;
                    ruling.tagged = Some((tag(set, words)?, true));
                }
                "tagged" if ruling.tagged.is_none() => ruling.tagged = Some((tag(set, words)?, false)),
                "chance" if ruling.chance.is_none() => ruling.chance = Some(share(words)?),
                "tag" if ruling.tag.is_none() => ruling.tag = Some(tag(set, words)?),
                "when" => {
                    (ruling.when, cost) = self.condition(words)?;
                    if !is_by_fields(&ruling.when) {
                        let what = "a rule of a set that asks for more than fields, addresses and VLANs";
                        return flaw(&word.span, what, "write it as a step: `copy`, `spread` or `block`");
                    }
                }
                _ => {
                    let known = ["quick", "copy", "spread", "by", "tagged", "chance", "tag", "when"];
                    return unknown(&word, &known, "the next word of this rule");
                }
            }
        }
        let Some(rule) = rule else {
            return flaw(&verb.span, "a rule that is by nobody", "add `by` and what it is counted under");
        };
        ruling.rule = rule;
        let handed = match (copy, spread) {
            (None, None) => Handed::Nobody,
            (Some(reference), None) => Handed::Copy(hook.copy(&mut self.reading, verb, rule, reference)?),
            (None, Some(spread)) => Handed::Spread(spread),
            (Some(_), Some(_)) => {
                return flaw(&verb.span, "both a copy and a spread", "write one of the two");
            }
        };
        if passes {
            ruling.verdict = Ruled::Pass(handed);
        }
        Ok((ruling, copy, cost))
    }

    /// Rules of an earlier hook.
    fn like(&mut self, hook: &mut HookReader, verb: &Word<'_>, words: &mut Words<'_>) -> Parsed<()> {
        let name = words.next("a port")?;
        let port = self.port_reference(&name)?;
        let direction = choice(&words.next("`in` or `out`")?, &DIRECTIONS, "a direction")?;
        let range = words.next("the numbers of rules")?;
        words.done()?;
        let Some((index, written)) = self.reading.hooks.remove(&Point { port, direction }) else {
            return flaw(
                &name.span,
                "no hook before this one is judged there",
                "name one that stands before",
            );
        };
        let taken = self.take_over(hook, verb, &range, (index, &written));
        self.reading.hooks.insert(Point { port, direction }, (index, written));
        taken
    }

    fn take_over(
        &mut self,
        hook: &mut HookReader,
        verb: &Word<'_>,
        range: &Word<'_>,
        (index, written): (usize, &[Written]),
    ) -> Parsed<()> {
        let numbers = range.text.split_once('-').and_then(|(first, last)| {
            let digits = |text: &str| text.bytes().all(|octet| octet.is_ascii_digit());
            let both = digits(first) && digits(last);
            Some((first.parse::<usize>().ok()?, last.parse::<usize>().ok()?)).filter(|_| both)
        });
        let rules = numbers.filter(|(first, last)| first <= last && *last < written.len());
        let Some((first, last)) = rules else {
            let what = format!("{} is no range of that hook's rules", shown(&range.text));
            return flaw(&range.span, what, format!("it has {} rules, counted from 0", written.len()));
        };
        for rule in &written[first..=last] {
            let base = &self.plan.hooks[index].program.rule_sets[rule.place.0];
            let mut ruling = base.rulings()[rule.place.1].clone();
            if let (Some(reference), Ruled::Pass(handed)) = (rule.copy, &mut ruling.verdict) {
                *handed = Handed::Copy(hook.copy(&mut self.reading, verb, ruling.rule, reference)?);
            }
            if let Ruled::Pass(Handed::Spread(spread)) = ruling.verdict
                && usize::from(spread.0) >= hook.hook.program.spreads.len()
            {
                let what = format!("this hook has no spread `#{}`", spread.0);
                return flaw(&verb.span, what, "`balance` lines are counted from #0, and stand before");
            }
            let Some(set) = &mut hook.set else { return Ok(()) };
            let mut full = false;
            let mut renumber = |tag: TagIndex| {
                set.tag(&base.tags()[usize::from(tag.0)]).unwrap_or_else(|| {
                    full = true;
                    tag
                })
            };
            ruling.tagged = ruling.tagged.map(|(tag, not)| (renumber(tag), not));
            ruling.tag = ruling.tag.map(&mut renumber);
            if full {
                return too_many_tags(verb);
            }
            hook.push(&mut self.reading, verb, ruling, rule.copy, rule.cost)?;
        }
        Ok(())
    }
}

impl Reading {
    /// A spread, whose table is made once for all that are alike.
    fn spread(
        &mut self,
        verb: &Word<'_>,
        method: Method,
        choices: Vec<Choice>,
        inner: bool,
    ) -> Parsed<Spread> {
        let known = (method, choices, inner);
        if let Some(spread) = self.spreads.get(&known) {
            return Ok(spread.clone());
        }
        self.weights += known.1.iter().map(|choice| usize::from(choice.weight)).sum::<usize>();
        if self.spreads.len() == SPREADS_MAX || self.weights > WEIGHTS_MAX {
            let what =
                format!("more than {SPREADS_MAX} spreads, or weights of more than {WEIGHTS_MAX} in all");
            return flaw(&verb.span, what, "divide the plan");
        }
        let Some(spread) = Spread::new(method, known.1.clone(), inner) else {
            let what = "a spread that cannot be";
            let help = format!("it has 1 to {CHOICES_MAX} sinks, each of a weight of 1 to {WEIGHT_MAX}");
            return flaw(&verb.span, what, help);
        };
        self.spreads.insert(known, spread.clone());
        Ok(spread)
    }
}

/// The names of a set's tags, where rules do not mention them in their order.
fn tags(hook: &mut HookReader, verb: &Word<'_>, words: &mut Words<'_>) -> Parsed<()> {
    let Some(set) = &mut hook.set else { return Ok(()) };
    if !set.tags.is_empty() || !set.rulings.is_empty() {
        return flaw(&verb.span, "tags behind rules", "`tags` is the first line of a set");
    }
    while let Some(word) = words.maybe()? {
        if set.by_name.contains_key(&*word.text) {
            return flaw(&word.span, format!("{} stands here twice", shown(&word.text)), "name it once");
        }
        tag_named(set, &word)?;
    }
    Ok(())
}

fn tag(set: &mut SetReader, words: &mut Words<'_>) -> Parsed<TagIndex> {
    tag_named(set, &words.next("a tag")?)
}

fn tag_named(set: &mut SetReader, word: &Word<'_>) -> Parsed<TagIndex> {
    if indexed(word).is_some() {
        return flaw(&word.span, format!("{} is no tag", shown(&word.text)), "write its name");
    }
    match set.tag(&word.text) {
        Some(tag) => Ok(tag),
        None => too_many_tags(word),
    }
}

fn too_many_tags<T>(word: &Word<'_>) -> Parsed<T> {
    flaw(&word.span, "more than 65536 tags in a set", "divide the plan")
}

fn share(words: &mut Words<'_>) -> Parsed<u32> {
    let word = words.next("a chance")?;
    match chance::read(&word.text) {
        Some(share) => Ok(share),
        None => {
            let what = format!("{} is no chance", shown(&word.text));
            flaw(&word.span, what, "write percent from 0% to below 100%, with at most ten decimals")
        }
    }
}

/// VLANs that a test names.
fn vlans(test: &Test) -> usize {
    match test {
        Test::Vlan(ids) => ids.len(),
        Test::Not(test) => vlans(test),
        Test::All(tests) | Test::Any(tests) => tests.iter().map(vlans).sum(),
        _ => 0,
    }
}

/// Whether a test asks for nothing but fields, addresses and VLANs.
fn is_by_fields(test: &Test) -> bool {
    match test {
        Test::Always | Test::Vlan(_) | Test::Address(..) => true,
        Test::Not(test) => is_by_fields(test),
        Test::All(tests) | Test::Any(tests) => tests.iter().all(is_by_fields),
        Test::Within(value, _) => is_of_fields(value),
        Test::Compare(left, _, right) => is_of_fields(left) && is_of_fields(right),
        Test::Chain(_) => false,
    }
}

fn is_of_fields(number: &Number) -> bool {
    match number {
        Number::Constant(_) | Number::Field(_) => true,
        Number::Length | Number::Load { .. } => false,
        Number::Operation(_, left, right) => is_of_fields(left) && is_of_fields(right),
    }
}
