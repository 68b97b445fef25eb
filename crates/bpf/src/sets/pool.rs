//! Rules that are boxes, before it is decided how each is found.

use super::boxes::Limits;

/// One box of a rule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Pooled {
    pub(super) rank: u32,
    /// The index of the rule in the set.
    pub(super) at: usize,
    pub(super) limits: Limits,
}
