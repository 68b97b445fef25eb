//! The one intermediate form: what a frame must look like, and what is done with it then.
//!
//! A [`Program`] is a list of steps in order, each of which acts where its test holds, and behind them sets
//! of rules of which one decides. A frame that any of them blocks is not passed, and its copies are still
//! made (a sensor should see what was stopped). Backends lower programs as they like; what
//! [`Program::run_into`] says is what they mean.

mod address;
mod chain;
mod fields;
mod index;
mod memory;
mod number;
mod prepared;
mod ruleset;
mod simplify;
mod spread;
mod subject;
mod test;
mod text;

use std::collections::BTreeSet;

use wire::Frame;

pub use address::{AddressTable, Entry, Network, NoNetwork};
pub use chain::{CHAIN_MAX, Chain};
pub use fields::{EXTENSIONS_MAX, Fields, INNER_MAX, IpFields, LABELS_MAX, REACH};
pub use memory::{FRAGMENTS, GOLDEN, Memory, mixed};
pub use number::{Field, LoadSize, Number, Operator};
pub use prepared::Prepared;
pub use ruleset::{Handed, RuleSet, Ruled, Ruling, TagIndex};
pub use simplify::simplify;
pub use spread::{CHOICES_MAX, Choice, Method, SLOTS, Spread, SpreadIndex, WEIGHT_MAX, sink_key};
pub use subject::Subject;
pub use test::{Addresses, End, Ranges, Relation, Test};
pub use text::{
    DEPTH_MAX, ShownTest, ShownVlans, TEST_TEXT_MAX, TableName, TestError, TestFlaw, table_name, vlan_range,
};

/// Index of a rule in the plan's table of rules.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RuleId(pub u32);

/// Index of a copy in the table of the hook that the program belongs to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CopyIndex(pub u16);

/// What a step does with a frame for which its test holds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Action {
    /// Hand a copy to the sink of this copy.
    Copy(CopyIndex),
    /// Hand a copy to one of the sinks of this spread.
    Spread(SpreadIndex),
    /// Do not pass the frame on.
    Block,
}

/// One step of a decision program.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Step {
    /// The rule that this step came from; its identity names the counters.
    pub rule: RuleId,
    /// When it acts.
    pub when: Test,
    /// What it does.
    pub then: Action,
}

/// A decision program: what one hook does with each frame.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Program {
    /// In the order in which they are tried.
    pub steps: Vec<Step>,
    /// Sets of rules, behind the steps. Of each set one rule decides.
    pub rule_sets: Vec<RuleSet>,
    /// What spreads refer to.
    pub spreads: Vec<Spread>,
}

/// What a program says of one frame.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Decision {
    /// Copies to make, in step order.
    pub copies: Vec<CopyIndex>,
    /// The first rule that blocks the frame, if one does.
    pub blocked_by: Option<RuleId>,
}

impl Program {
    /// Runs the program over a frame, with a memory of nothing and a seed of 0.
    pub fn run(&self, frame: &Frame<'_>) -> Decision {
        let mut copies = Vec::new();
        let blocked_by = self.run_into(frame, &mut Memory::default(), 0, &mut copies);
        Decision { copies, blocked_by }
    }

    /// Runs the program over a frame: appends the copies to make, in the order of steps and then sets, and
    /// gives the first rule that blocks, if one does.
    pub fn run_into(
        &self,
        frame: &Frame<'_>,
        memory: &mut Memory,
        seed: u64,
        copies: &mut Vec<CopyIndex>,
    ) -> Option<RuleId> {
        let subject = Subject::new(*frame);
        let holds = |at: usize| self.steps[at].when.holds_for(&subject);
        let deciding = |at: usize, draw| self.rule_sets[at].deciding(&subject, draw);
        self.run_with(&subject, memory, seed, copies, holds, deciding)
    }

    /// What both ways to run a program have in common: `holds` says whether the test of a step does, and
    /// `deciding` which rule of a set decides.
    #[inline]
    fn run_with(
        &self,
        subject: &Subject<'_>,
        memory: &mut Memory,
        seed: u64,
        copies: &mut Vec<CopyIndex>,
        holds: impl Fn(usize) -> bool,
        mut deciding: impl FnMut(usize, u64) -> Option<usize>,
    ) -> Option<RuleId> {
        let draw = if self.asks_chance() { memory.draw(seed) } else { 0 };
        let mut blocked_by = None;
        let mut spread = |index: SpreadIndex, copies: &mut Vec<CopyIndex>| {
            copies.extend(self.choose(index, subject, memory, draw));
        };
        for (_, step) in self.steps.iter().enumerate().filter(|(at, _)| holds(*at)) {
            match step.then {
                Action::Copy(copy) => copies.push(copy),
                Action::Spread(index) => spread(index, copies),
                Action::Block => {
                    blocked_by.get_or_insert(step.rule);
                }
            }
        }
        for (at, set) in self.rule_sets.iter().enumerate() {
            let Some(ruling) = deciding(at, draw).map(|at| &set.rulings()[at]) else { continue };
            match ruling.verdict {
                Ruled::Pass(Handed::Copy(copy)) => copies.push(copy),
                Ruled::Pass(Handed::Spread(index)) => spread(index, copies),
                Ruled::Pass(Handed::Nobody) | Ruled::Match => {}
                Ruled::Block => {
                    blocked_by.get_or_insert(ruling.rule);
                }
            }
        }
        blocked_by
    }

    /// The copies that the program can ask for, each once, in index order.
    pub fn asked(&self) -> BTreeSet<CopyIndex> {
        let steps = self.steps.iter().map(|step| match step.then {
            Action::Copy(copy) => Handed::Copy(copy),
            Action::Spread(spread) => Handed::Spread(spread),
            Action::Block => Handed::Nobody,
        });
        let rulings = self.rule_sets.iter().flat_map(RuleSet::rulings).map(|ruling| match ruling.verdict {
            Ruled::Pass(handed) => handed,
            Ruled::Block | Ruled::Match => Handed::Nobody,
        });
        let mut asked = BTreeSet::new();
        for handed in steps.chain(rulings) {
            match handed {
                Handed::Nobody => {}
                Handed::Copy(copy) => {
                    asked.insert(copy);
                }
                Handed::Spread(index) => {
                    let spread = self.spreads.get(usize::from(index.0));
                    asked.extend(spread.iter().flat_map(|spread| spread.choices()).map(|choice| choice.copy));
                }
            }
        }
        asked
    }

    /// The rules that can block a frame, each once, in the order in which they are tried.
    pub fn blocking(&self) -> Vec<RuleId> {
        let steps = self.steps.iter().filter(|step| step.then == Action::Block).map(|step| step.rule);
        let rulings = self.rule_sets.iter().flat_map(RuleSet::rulings);
        let ruled = rulings.filter(|ruling| ruling.verdict == Ruled::Block).map(|ruling| ruling.rule);
        let mut known = BTreeSet::new();
        steps.chain(ruled).filter(|rule| known.insert(*rule)).collect()
    }

    /// Whether nothing but the outer VLAN tag decides, and every copy has one sink.
    pub fn is_by_vlan(&self) -> bool {
        self.rule_sets.is_empty()
            && self.spreads.is_empty()
            && self.steps.iter().all(|step| step.when.is_by_vlan())
    }

    /// Whether any decision needs a number of chance. Asked for every frame: one look at each spread and set.
    fn asks_chance(&self) -> bool {
        self.rule_sets.iter().any(RuleSet::asks_chance)
            || self.spreads.iter().any(|spread| spread.method() == Method::Random)
    }

    /// The copy that a spread chooses for a frame; `None` where the program holds no such spread.
    fn choose(
        &self,
        index: SpreadIndex,
        subject: &Subject<'_>,
        memory: &mut Memory,
        draw: u64,
    ) -> Option<CopyIndex> {
        let spread = self.spreads.get(usize::from(index.0))?;
        spread.choose(index, subject, memory, draw)
    }
}

#[cfg(test)]
mod tests {
    use wire::Vlan;

    use super::*;

    fn step(rule: u32, when: Test, then: Action) -> Step {
        Step { rule: RuleId(rule), when, then }
    }

    fn vlan(id: u16) -> Test {
        Test::Vlan(Vlan::new(id).into_iter().collect())
    }

    fn tagged(ether_type: u16, id: u16) -> Vec<u8> {
        let mut data = vec![2; 12];
        data.extend(ether_type.to_be_bytes().into_iter().chain(id.to_be_bytes()));
        data.extend([0x08, 0x00]);
        data
    }

    #[test]
    fn blocked_frames_are_still_copied_and_the_first_block_is_named() {
        let steps = vec![
            step(0, Test::Always, Action::Copy(CopyIndex(1))),
            step(1, vlan(7), Action::Block),
            step(2, Test::Always, Action::Block),
            step(3, vlan(7), Action::Copy(CopyIndex(0))),
        ];
        let program = Program { steps, ..Program::default() };
        let run = |id| {
            let data = tagged(0x8100, id);
            program.run(&Frame::ethernet(&data).unwrap())
        };
        let copies = vec![CopyIndex(1), CopyIndex(0)];
        assert_eq!(run(7), Decision { copies, blocked_by: Some(RuleId(1)) });
        assert_eq!(run(8), Decision { copies: vec![CopyIndex(1)], blocked_by: Some(RuleId(2)) });
        assert_eq!(Program::default().run(&Frame::ethernet(&[]).unwrap()), Decision::default());
    }

    #[test]
    fn a_vlan_test_holds_for_exactly_its_vlans_under_either_tag() {
        let test = "vlan 0,5-9,4095".parse::<Test>().unwrap();
        for id in 0u16..4096 {
            let expected = matches!(id, 0 | 5..=9 | 4095);
            for (ether_type, tagged_here) in
                [(0x8100, true), (0x88a8, true), (0x9100, false), (0x0800, false)]
            {
                // Priority and DEI decide nothing.
                let data = tagged(ether_type, id | 0xf000);
                let frame = Frame::ethernet(&data).unwrap();
                assert_eq!(test.holds(&frame), expected && tagged_here, "{id} under {ether_type:04x}");
            }
        }
    }
}
