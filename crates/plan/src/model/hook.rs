//! What is done at one point: steps, and sets of rules of which one decides; and the hook of the plan that
//! comes of it.

use std::collections::{BTreeMap, BTreeSet};

use rules::form::{
    Action, Choice, CopyIndex, Handed, Program, RuleId, RuleSet, Ruled, Spread, SpreadIndex, Step, TagIndex,
    Test, sink_key,
};

use super::{Balance, Model, Size, narrow};
use crate::plan::{Copy, Hook, Pass, Point, PortId, Role, SinkId};

/// To whom a copy goes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum To {
    /// To nobody.
    Nobody,
    /// To one monitor.
    One(PortId),
    /// To one of several.
    OneOf(Balance),
}

impl To {
    /// All that it may go to.
    pub(super) fn ports(&self) -> Vec<PortId> {
        match self {
            Self::Nobody => Vec::new(),
            Self::One(port) => vec![*port],
            Self::OneOf(balance) => balance.ports().collect(),
        }
    }
}

/// What a rule of a set decides.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ruling {
    /// Nothing: it only sets its tag.
    Match,
    /// The frame passes, and goes to somebody.
    Pass(To),
    /// The frame does not pass.
    Block,
}

/// One rule of a set. What its fields mean is said at [`rules::form::Ruling`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewRuling {
    /// The rule that it came from.
    pub rule: RuleId,
    /// What a frame must look like.
    pub when: Test,
    /// The tag that a frame must bear, or must not.
    pub tagged: Option<(TagIndex, bool)>,
    /// The share of frames for which it matches.
    pub chance: Option<u32>,
    /// Whether no later rule is tried.
    pub quick: bool,
    /// What it decides.
    pub verdict: Ruling,
    /// The tag that a frame bears from here on.
    pub tag: Option<TagIndex>,
}

/// Rules of which one decides.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NewSet {
    /// In the order in which they are tried.
    pub rulings: Vec<NewRuling>,
    /// The names of tags.
    pub tags: Vec<String>,
}

/// What is done at one point.
#[derive(Default)]
pub(super) struct Judging {
    steps: Vec<(RuleId, Test, To)>,
    sets: Vec<NewSet>,
    /// Where each copy stands in the hook's table.
    copies: BTreeMap<(RuleId, PortId), usize>,
    /// Where each balance of a rule stands in the program's table.
    spreads: BTreeMap<(RuleId, Balance), usize>,
    /// Rules of all sets.
    rulings: usize,
    /// Weights of all balances.
    weights: usize,
}

impl Judging {
    pub(super) fn add_step(&mut self, rule: RuleId, when: Test, to: To) {
        self.note(rule, &to);
        self.steps.push((rule, when, to));
    }

    pub(super) fn add_set(&mut self, set: NewSet) {
        self.rulings += set.rulings.len();
        for ruling in &set.rulings {
            if let Ruling::Pass(to) = &ruling.verdict {
                self.note(ruling.rule, to);
            }
        }
        self.sets.push(set);
    }

    /// The rule of a step that sends the same frames to the same monitors.
    pub(super) fn same(&self, when: &Test, to: &To) -> Option<RuleId> {
        let same = |(_, test, target): &&(RuleId, Test, To)| target == to && test == when;
        self.steps.iter().find(same).map(|(rule, ..)| *rule)
    }

    pub(super) fn size(&self) -> Size {
        Size {
            copies: self.copies.len(),
            steps: self.steps.len(),
            rulings: self.rulings,
            spreads: self.spreads.len(),
            weights: self.weights,
        }
    }

    /// Every rule that has a part in it, some more than once.
    pub(super) fn rules(&self) -> impl Iterator<Item = RuleId> + '_ {
        let steps = self.steps.iter().map(|(rule, ..)| *rule);
        steps.chain(self.sets.iter().flat_map(|set| &set.rulings).map(|ruling| ruling.rule))
    }

    fn note(&mut self, rule: RuleId, to: &To) {
        for port in to.ports() {
            let next = self.copies.len();
            self.copies.entry((rule, port)).or_insert(next);
        }
        if let To::OneOf(balance) = to {
            let next = self.spreads.len();
            self.spreads.entry((rule, balance.clone())).or_insert_with(|| {
                self.weights += balance.weights();
                next
            });
        }
    }
}

/// From ids of the model to ids of the plan.
pub(super) struct Names<'m> {
    pub(super) model: &'m Model,
    pub(super) ports: &'m BTreeMap<PortId, PortId>,
    pub(super) sinks: &'m BTreeMap<PortId, SinkId>,
    pub(super) rules: &'m BTreeMap<RuleId, RuleId>,
}

impl Names<'_> {
    pub(super) fn hook(&self, point: Point, judging: &Judging) -> Hook {
        let pass = match (self.model.role(point.port), self.model.peers.get(&point.port)) {
            (Some((Role::Watched, _)), _) => Pass::Leave,
            (_, Some(peers)) => Pass::To(peers.iter().map(|peer| self.ports[peer]).collect()),
            (_, None) => Pass::To(BTreeSet::new()),
        };
        let mut copies: Vec<(&(RuleId, PortId), &usize)> = judging.copies.iter().collect();
        copies.sort_by_key(|(_, index)| **index);
        let copy = |(rule, to): &(RuleId, PortId)| Copy { rule: self.rules[rule], sink: self.sinks[to] };
        let rule_set = |set: &NewSet| {
            let rulings = set.rulings.iter().map(|ruling| self.ruling(judging, ruling));
            RuleSet::new(rulings.collect(), set.tags.clone())
        };
        Hook {
            at: Point { port: self.ports[&point.port], direction: point.direction },
            pass,
            copies: copies.into_iter().map(|(of, _)| copy(of)).collect(),
            program: Program {
                steps: judging.steps.iter().filter_map(|step| self.step(judging, step)).collect(),
                rule_sets: judging.sets.iter().map(rule_set).collect(),
                spreads: self.spreads(judging),
            },
        }
    }

    fn step(&self, judging: &Judging, (rule, when, to): &(RuleId, Test, To)) -> Option<Step> {
        let then = match handed(judging, *rule, to) {
            Handed::Nobody => return None,
            Handed::Copy(copy) => Action::Copy(copy),
            Handed::Spread(spread) => Action::Spread(spread),
        };
        Some(Step { rule: self.rules[rule], when: when.clone(), then })
    }

    fn ruling(&self, judging: &Judging, ruling: &NewRuling) -> rules::form::Ruling {
        rules::form::Ruling {
            rule: self.rules[&ruling.rule],
            when: ruling.when.clone(),
            tagged: ruling.tagged,
            chance: ruling.chance,
            quick: ruling.quick,
            verdict: match &ruling.verdict {
                Ruling::Match => Ruled::Match,
                Ruling::Pass(to) => Ruled::Pass(handed(judging, ruling.rule, to)),
                Ruling::Block => Ruled::Block,
            },
            tag: ruling.tag,
        }
    }

    fn spreads(&self, judging: &Judging) -> Vec<Spread> {
        let mut spreads: Vec<_> = judging.spreads.iter().collect();
        spreads.sort_by_key(|(_, index)| **index);
        let spread = |((rule, balance), _): (&(RuleId, Balance), &usize)| {
            let choice = |(port, weight): &(PortId, u8)| Choice {
                copy: copy_of(judging, *rule, *port),
                weight: *weight,
                key: sink_key(&self.model.port(*port).name),
            };
            let choices = balance.choices.iter().map(choice).collect();
            Spread::new(balance.method, choices, balance.inner).expect("Balance::new keeps these limits")
        };
        spreads.into_iter().map(spread).collect()
    }
}

fn handed(judging: &Judging, rule: RuleId, to: &To) -> Handed {
    match to {
        To::Nobody => Handed::Nobody,
        To::One(port) => Handed::Copy(copy_of(judging, rule, *port)),
        To::OneOf(balance) => {
            let index = judging.spreads[&(rule, balance.clone())];
            Handed::Spread(SpreadIndex(narrow(index)))
        }
    }
}

fn copy_of(judging: &Judging, rule: RuleId, to: PortId) -> CopyIndex {
    CopyIndex(narrow(judging.copies[&(rule, to)]))
}
