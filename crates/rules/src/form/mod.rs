//! The one intermediate form: what a frame must look like, and what is done with it then.
//!
//! A [`Program`] is a list of steps in order. Every step whose test holds acts; a frame that any step
//! blocks is not passed, and its copies are still made (a sensor should see what was stopped).

mod text;

use std::collections::BTreeSet;

use wire::{Frame, Vlan};

pub use text::{ShownVlans, TestError, vlan_range};

/// Index of a rule in the plan's table of rules.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RuleId(pub u32);

/// Index of a copy in the table of the hook that the program belongs to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CopyIndex(pub u16);

/// What a frame must look like.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Test {
    /// Holds for every frame.
    Always,
    /// The outer tag (802.1Q or 802.1ad) names one of these VLANs. An untagged frame is in none.
    Vlan(BTreeSet<Vlan>),
}

impl Test {
    /// Whether the frame passes the test.
    pub fn holds(&self, frame: &Frame<'_>) -> bool {
        match self {
            Self::Always => true,
            Self::Vlan(ids) => frame.outer_tag().is_some_and(|tag| ids.contains(&tag.vlan())),
        }
    }
}

/// What a step does with a frame for which its test holds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Action {
    /// Hand a copy to the sink of this copy.
    Copy(CopyIndex),
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
    /// Runs the program over a frame.
    pub fn run(&self, frame: &Frame<'_>) -> Decision {
        let mut copies = Vec::new();
        let blocked_by = self.run_into(frame, &mut copies);
        Decision { copies, blocked_by }
    }

    /// Runs the program over a frame: appends the copies to make, in step order, and gives the first
    /// rule that blocks, if one does. For those who judge many frames and use one list again.
    pub fn run_into(&self, frame: &Frame<'_>, copies: &mut Vec<CopyIndex>) -> Option<RuleId> {
        let mut blocked_by = None;
        for step in self.steps.iter().filter(|step| step.when.holds(frame)) {
            match step.then {
                Action::Copy(copy) => copies.push(copy),
                Action::Block => {
                    blocked_by.get_or_insert(step.rule);
                }
            }
        }
        blocked_by
    }
}
