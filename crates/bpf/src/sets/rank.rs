//! Which of the rules that match decides, as one order that is known before any frame comes.
//!
//! A quick rule stops everything behind it and overrides everything before it; without a quick one the last
//! decides. So quick rules stand above all others, the earlier the higher, and the others stand the higher
//! the later they come. This holds where no rule looks at tags and no quick rule leaves the verdict open.

/// The rank of the rule at an index, from 1 on: the higher, the more it decides.
pub(super) fn of(rules: usize, at: usize, quick: bool) -> u32 {
    let winner = winner_of(at);
    if quick { top(rules).saturating_sub(winner) } else { winner }
}

/// What [`of`] quick ranks are counted from: `winner = top - rank`.
pub(super) fn top(rules: usize) -> u32 {
    // A set has at most 65,535 rules, or else far fewer than 2^31.
    u32::try_from(rules).unwrap_or(u32::MAX / 4).saturating_mul(2).saturating_add(1)
}

/// What a program leaves for the rule at an index: 1 more, since 0 is for none.
pub(super) fn winner_of(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quick_rules_stand_above_the_others() {
        let quick = [false, true, false, true, false];
        let ranks: Vec<u32> = quick.iter().enumerate().map(|(at, quick)| of(5, at, *quick)).collect();
        assert_eq!(ranks, [1, 9, 3, 7, 5]);
        assert_eq!(top(5) - 9, winner_of(1));
    }
}
