//! Why a frame goes where it goes: which rules were tried, which decided, and what became of the frame.
//!
//! Nothing is judged here: the verdict is that of [`eval`](crate::eval()), and the words for it are found by
//! asking the same rules again. Never prints; [`Explanation`] is data, and its `Display` one frame's page.

use std::collections::BTreeMap;
use std::fmt;

use rules::form::{
    Action, CopyIndex, GOLDEN, Handed, Method, RuleId, RuleSet, Ruled, Ruling, Spread, SpreadIndex, Step,
    Subject, Test, mixed,
};
use serde::Serialize;
use wire::Frame;

use crate::eval::{Fate, State, Time, Verdict, eval_into};
use crate::plan::{Hook, HookId, Plan};
use crate::{Compiled, Worded};

/// Of a hook with more rules, those that do not match are only counted, unless all are asked for.
pub const LISTED_MAX: usize = 32;

/// What became of one frame, and why.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Explanation {
    /// Where it was judged: `a`, or `eth0:rx`.
    pub source: String,
    /// The rules that were tried, in order; those that did not match only where they are listed.
    pub tried: Vec<Tried>,
    /// Rules that did not match and are not listed.
    pub unlisted: u64,
    /// Why pf rules were not tried on it, where there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub untried: Option<&'static str>,
    /// `passed`, `blocked`, `consumed` or `left`.
    pub fate: &'static str,
    /// The ports that it passed to.
    pub passed_to: Vec<String>,
    /// The rule that blocked it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blocked_by: Option<String>,
    /// Where copies of it went.
    pub copies: Vec<Copied>,
}

/// One rule that was tried.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Tried {
    /// What its counters are kept under: `file:line`, or the name of a device.
    pub rule: String,
    /// What it says.
    pub text: String,
    /// Whether it matched.
    pub matched: bool,
    /// Whether it decided: of a set of pf rules one does, of other rules each that matched.
    pub decided: bool,
    /// What of it did not hold, where it did not match.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

/// One copy.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Copied {
    /// The monitor.
    pub to: String,
    /// The rule that asked for it.
    pub rule: String,
    /// Between whom and how it was chosen, where it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chosen: Option<String>,
}

/// Judges a frame at a hook, and says why. With `all`, every rule that was tried is listed, however many.
pub fn explain(
    compiled: &Compiled,
    state: &mut State,
    (now, seed): (Time, u64),
    hook: HookId,
    frame: &Frame<'_>,
    all: bool,
) -> Explanation {
    // Of what is remembered, the fragments are many, and nothing is said of them.
    let before = state.of(hook);
    let (draws, turns) = (before.draws, before.turns.clone());
    let mut verdict = Verdict { hook, fate: Fate::Left, copies: Vec::new() };
    eval_into(&compiled.plan, state, now, seed, frame, &mut verdict);
    let judging = compiled.plan.hook(hook);
    let rules = judging.program.rule_sets.iter().map(|set| set.rulings().len()).sum::<usize>();
    let teller = Teller {
        compiled,
        hook: judging,
        all: all || judging.program.steps.len() + rules <= LISTED_MAX,
        worded: compiled.worded.get(&hook).map_or(&[], Vec::as_slice),
        subject: Subject::new(*frame),
        // As `Memory` draws it; where no rule asks for chance it decides nothing.
        draw: mixed(seed.wrapping_add(draws.wrapping_mul(GOLDEN))),
        turns,
    };
    teller.tell(&verdict)
}

/// Rules that were tried, as they are listed.
struct Listed {
    all: bool,
    tried: Vec<Tried>,
    unlisted: u64,
}

impl Listed {
    fn add(&mut self, matched: bool, tried: impl FnOnce() -> Tried) {
        match matched || self.all {
            true => self.tried.push(tried()),
            false => self.unlisted += 1,
        }
    }
}

struct Teller<'c, 'f> {
    compiled: &'c Compiled,
    hook: &'c Hook,
    /// Whether rules that do not match are listed.
    all: bool,
    worded: &'c [Worded],
    subject: Subject<'f>,
    draw: u64,
    turns: Vec<u64>,
}

impl Teller<'_, '_> {
    fn plan(&self) -> &Plan {
        &self.compiled.plan
    }

    fn label(&self, rule: RuleId) -> String {
        self.plan().rule(rule).label.clone()
    }

    fn tell(&self, verdict: &Verdict) -> Explanation {
        let program = &self.hook.program;
        let mut tried = Listed { all: self.all, tried: Vec::new(), unlisted: 0 };
        // The verdict's copies come in the order of those that ask for them.
        let mut asked: Vec<(RuleId, Option<&Spread>)> = Vec::new();
        let spread = |index: SpreadIndex| program.spreads.get(usize::from(index.0));
        for step in &program.steps {
            let matched = step.when.holds_for(&self.subject);
            tried.add(matched, || self.step(step, matched));
            match step.then {
                Action::Copy(_) if matched => asked.push((step.rule, None)),
                Action::Spread(index) if matched => asked.push((step.rule, spread(index))),
                _ => {}
            }
        }
        for at in 0..program.rule_sets.len() {
            if let Some((rule, handed)) = self.set(at, &mut tried) {
                match handed {
                    Handed::Nobody => {}
                    Handed::Copy(_) => asked.push((rule, None)),
                    Handed::Spread(index) => asked.push((rule, spread(index))),
                }
            }
        }
        let copies = verdict.copies.iter().zip(asked);
        let copies = copies.map(|(copy, (rule, spread))| self.copied(*copy, rule, spread)).collect();
        let (fate, passed_to, blocked_by) = self.fate(&verdict.fate);
        let no_ip = !program.rule_sets.is_empty() && self.subject.fields().ip.is_none();
        Explanation {
            source: self.plan().source_name(self.hook),
            tried: tried.tried,
            unlisted: tried.unlisted,
            untried: no_ip.then_some("it carries no IP: pf rules are tried on nothing else"),
            fate,
            passed_to,
            blocked_by,
            copies,
        }
    }

    fn step(&self, step: &Step, matched: bool) -> Tried {
        let rule = self.label(step.rule);
        let text = match self.compiled.expressions.get(&rule) {
            Some(expression) => expression.clone(),
            None => step.when.to_string(),
        };
        let failed = (!matched).then(|| self.failed(&step.when));
        Tried { rule, text, matched, decided: matched, failed }
    }

    /// Adds the rules of a set that were tried; gives the one that decided, and to whom it hands a copy.
    fn set(&self, at: usize, tried: &mut Listed) -> Option<(RuleId, Handed)> {
        let set = &self.hook.program.rule_sets[at];
        let deciding = set.deciding(&self.subject, self.draw);
        set.try_each(&self.subject, self.draw, |index, ruling, matched| {
            tried.add(matched, || Tried {
                rule: self.label(ruling.rule),
                text: self.text(at, index).unwrap_or_else(|| ruling.when.to_string()),
                matched,
                decided: deciding == Some(index),
                failed: (!matched).then(|| self.unmet(set, ruling)),
            });
        });
        let ruling = &set.rulings()[deciding?];
        let handed = match ruling.verdict {
            Ruled::Pass(handed) => handed,
            Ruled::Match | Ruled::Block => Handed::Nobody,
        };
        Some((ruling.rule, handed))
    }

    /// What of a rule that does not match is to blame.
    fn unmet(&self, set: &RuleSet, ruling: &Ruling) -> String {
        match ruling.tagged {
            _ if !ruling.when.holds_for(&self.subject) => self.failed(&ruling.when),
            Some((tag, not)) => {
                let name = set.tags().get(usize::from(tag.0)).map_or("", String::as_str);
                format!("{}tagged {name}", if not { "! " } else { "" })
            }
            None => "probability".to_owned(),
        }
    }

    /// The canonical text of a rule.
    fn text(&self, set: usize, index: usize) -> Option<String> {
        let worded = self.worded.get(set)?;
        let rule = usize::try_from(*worded.rules.get(index)?).ok()?;
        let rules = &self.compiled.rule_files.get(worded.file)?.parsed.rules;
        rules.get(rule).map(ToString::to_string)
    }

    /// The part of a test that is to blame for its not holding.
    fn failed(&self, test: &Test) -> String {
        match test {
            Test::All(tests) => {
                let first = tests.iter().find(|test| !test.holds_for(&self.subject));
                first.map_or_else(|| test.to_string(), |first| self.failed(first))
            }
            Test::Any(tests) if tests.len() == 1 => self.failed(&tests[0]),
            Test::Any(tests) => format!("any of {} alternatives", tests.len()),
            test => test.to_string(),
        }
    }

    fn copied(&self, copy: CopyIndex, rule: RuleId, spread: Option<&Spread>) -> Copied {
        let to = self.plan().sink_name(Plan::copy(self.hook, copy).sink).to_owned();
        Copied { to, rule: self.label(rule), chosen: spread.map(|spread| self.chosen(spread)) }
    }

    fn chosen(&self, spread: &Spread) -> String {
        let choices = spread.choices().iter();
        let names: Vec<&str> =
            choices.map(|choice| self.plan().sink_name(Plan::copy(self.hook, choice.copy).sink)).collect();
        let among = crate::listed(&names);
        let fields = if spread.is_inner() { self.subject.inner() } else { self.subject.fields() };
        let end = |address: std::net::IpAddr, port: Option<u16>| match port {
            Some(port) => format!("{address} port {port}"),
            None => address.to_string(),
        };
        match (spread.method(), fields.ip) {
            (Method::Flow | Method::Source, None) => format!("of {among}: all frames without IP go there"),
            (Method::Flow, Some(ip)) => {
                let (from, to) = fields.ports.unzip();
                let (source, destination) = (end(ip.source, from), end(ip.destination, to));
                format!("of {among} by flow: {source}, {destination}")
            }
            (Method::Source, Some(ip)) => format!("of {among} by source: {}", ip.source),
            (Method::RoundRobin, _) => {
                let index = self.hook.program.spreads.iter().position(|known| std::ptr::eq(known, spread));
                let turn = index.and_then(|index| self.turns.get(index)).copied().unwrap_or(0);
                format!("of {among} in turn: {}", turn.wrapping_add(1))
            }
            (Method::Random, _) => format!("of {among} by chance"),
        }
    }

    fn fate(&self, fate: &Fate) -> (&'static str, Vec<String>, Option<String>) {
        match fate {
            Fate::Left => ("left", Vec::new(), None),
            Fate::Consumed => ("consumed", Vec::new(), None),
            Fate::Passed(ports) => {
                let names = ports.iter().map(|port| self.plan().port(*port).name.clone());
                ("passed", names.collect(), None)
            }
            Fate::Blocked(rule) => ("blocked", Vec::new(), Some(self.label(*rule))),
        }
    }
}

/// The page of a frame.
impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let out = f;
        let width = self.tried.iter().map(|tried| tried.rule.chars().count()).max().unwrap_or(0);
        if let Some(why) = self.untried {
            writeln!(out, "  {why}")?;
        }
        for tried in &self.tried {
            let word = match (tried.matched, tried.decided) {
                (_, true) => "decides",
                (true, false) => "matches",
                (false, false) => "no",
            };
            write!(out, "  {:width$}  {word:7}  {}", tried.rule, tried.text)?;
            match &tried.failed {
                Some(failed) if *failed != tried.text => writeln!(out, "  (not: {failed})")?,
                _ => writeln!(out)?,
            }
        }
        if self.unlisted > 0 {
            writeln!(out, "  {} rules do not match", self.unlisted)?;
        }
        match (&self.blocked_by, self.fate) {
            (Some(rule), _) => writeln!(out, "  = blocked by {rule}")?,
            (None, "passed") => writeln!(out, "  = passed to {}", self.passed_to.join(", "))?,
            (None, "consumed") => writeln!(out, "  = ends here: {} is a SPAN port", self.source)?,
            (None, _) => writeln!(out, "  = left to the host")?,
        }
        for copy in &self.copies {
            match &copy.chosen {
                Some(chosen) => writeln!(out, "  = copy to {} by {}, {chosen}", copy.to, copy.rule)?,
                None => writeln!(out, "  = copy to {} by {}", copy.to, copy.rule)?,
            }
        }
        if self.copies.is_empty() {
            writeln!(out, "  = no copy")?;
        }
        Ok(())
    }
}

/// How many frames each rule decided about.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    frames: u64,
    /// By place in the order of the first frame that was seen to try it.
    rules: Vec<Decided>,
    known: BTreeMap<(String, String), usize>,
    undecided: u64,
}

/// What one rule decided.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Decided {
    /// What its counters are kept under.
    pub rule: String,
    /// What it says.
    pub text: String,
    /// Frames that it matched.
    pub matched: u64,
    /// Frames that it decided about.
    pub decided: u64,
}

impl Summary {
    /// Counts a frame.
    pub fn add(&mut self, explanation: &Explanation) {
        self.frames += 1;
        self.undecided += u64::from(explanation.tried.iter().all(|tried| !tried.decided));
        for tried in &explanation.tried {
            let key = (tried.rule.clone(), tried.text.clone());
            let next = self.rules.len();
            let at = *self.known.entry(key).or_insert(next);
            if at == next {
                let (rule, text) = (tried.rule.clone(), tried.text.clone());
                self.rules.push(Decided { rule, text, matched: 0, decided: 0 });
            }
            self.rules[at].matched += u64::from(tried.matched);
            self.rules[at].decided += u64::from(tried.decided);
        }
    }

    /// Each rule that was tried.
    pub fn rules(&self) -> &[Decided] {
        &self.rules
    }

    /// Frames counted.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// Frames about which no rule decided.
    pub fn undecided(&self) -> u64 {
        self.undecided
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = crate::ledger::Table::new(["RULE", "", "MATCHED", "DECIDED"], 2);
        for rule in &self.rules {
            let counts = [rule.matched, rule.decided].map(|count| count.to_string());
            table.row([rule.rule.clone(), rule.text.clone()].into_iter().chain(counts));
        }
        if !self.rules.is_empty() {
            table.print(f)?;
        }
        writeln!(f, "{} frames, {} of them decided by no rule", self.frames, self.undecided)
    }
}
