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

#[cfg(test)]
mod tests {
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
        let program = Program { steps };
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
