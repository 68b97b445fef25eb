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

/// Takes groups of rules, given by their places, out of the pool. No place stands in two groups.
pub(super) fn split(pool: &mut Vec<Pooled>, groups: &[Vec<usize>]) -> Vec<Vec<Pooled>> {
    let mut group_of = vec![None; pool.len()];
    for (group, places) in groups.iter().enumerate() {
        places.iter().for_each(|place| group_of[*place] = Some(group));
    }
    let mut found: Vec<Vec<Pooled>> = groups.iter().map(|places| Vec::with_capacity(places.len())).collect();
    let rules = std::mem::take(pool);
    for (pooled, group) in rules.into_iter().zip(group_of) {
        match group {
            Some(group) => found[group].push(pooled),
            None => pool.push(pooled),
        }
    }
    found
}
