//! Rules of which one decides: the last that matches, or the first that matches and is quick (pf.conf(5)).

use super::memory::{GOLDEN, mixed};
use super::spread::SpreadIndex;
use super::subject::Subject;
use super::{CopyIndex, RuleId, Test};

/// Rules in order. Frames without an IP header match none of them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RuleSet {
    rulings: Vec<Ruling>,
    tags: Vec<String>,
    asks_chance: bool,
    asks_tags: bool,
}

/// Index of a tag in [`RuleSet::tags`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TagIndex(pub u16);

/// One rule of a set.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ruling {
    /// The rule that it came from; its identity names the counters.
    pub rule: RuleId,
    /// What a frame must look like; asks only for fields (see [`super::Field`]), addresses and VLANs.
    pub when: Test,
    /// The tag that a frame must bear, or (`true`) must not.
    pub tagged: Option<(TagIndex, bool)>,
    /// The share of frames for which it matches, as a part of 2^32; `None` for all.
    pub chance: Option<u32>,
    /// Whether no later rule is tried once it matches.
    pub quick: bool,
    /// What it decides.
    pub verdict: Ruled,
    /// The tag that a frame bears from here on, whichever rule decides in the end.
    pub tag: Option<TagIndex>,
}

/// What a rule decides.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Ruled {
    /// Nothing: it only sets its tag.
    Match,
    /// The frame passes, and is copied.
    Pass(Handed),
    /// The frame does not pass.
    Block,
}

/// To whom a rule hands a copy.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Handed {
    /// To nobody.
    Nobody,
    /// To the sink of this copy.
    Copy(CopyIndex),
    /// To one of the sinks of a spread.
    Spread(SpreadIndex),
}

impl RuleSet {
    /// A set of rules in the order in which they were written, and the names of the tags that
    /// [`Ruling::tag`] and [`Ruling::tagged`] refer to by index.
    pub fn new(rulings: Vec<Ruling>, tags: Vec<String>) -> Self {
        let asks_chance = rulings.iter().any(|ruling| ruling.chance.is_some());
        let asks_tags = rulings.iter().any(|ruling| ruling.tagged.is_some());
        Self { rulings, tags, asks_chance, asks_tags }
    }

    /// The rules in order.
    pub fn rulings(&self) -> &[Ruling] {
        &self.rulings
    }

    /// The names of tags.
    pub fn tags(&self) -> &[String] {
        &self.tags
    }

    /// Whether any rule matches by chance.
    pub fn asks_chance(&self) -> bool {
        self.asks_chance
    }

    /// Whether it matters in which order rules are tried, because some look at tags.
    pub fn asks_tags(&self) -> bool {
        self.asks_tags
    }

    /// The rule that decides about a frame, as an index into `rulings`. `draw` is the frame's number of chance.
    pub fn deciding(&self, subject: &Subject<'_>, draw: u64) -> Option<usize> {
        self.deciding_among(0..self.rulings.len(), subject, draw)
    }

    /// The same, where it is known that no rules match but some of these, which come in order.
    pub(super) fn deciding_among(
        &self,
        rules: impl Iterator<Item = usize>,
        subject: &Subject<'_>,
        draw: u64,
    ) -> Option<usize> {
        let mut decided = None;
        self.try_among(rules, subject, draw, |at, ruling, matched| {
            if matched && ruling.verdict != Ruled::Match {
                decided = Some(at);
            }
        });
        decided
    }

    /// Tries the rules in order and tells of each that was tried whether it matched.
    pub fn try_each(&self, subject: &Subject<'_>, draw: u64, tell: impl FnMut(usize, &Ruling, bool)) {
        self.try_among(0..self.rulings.len(), subject, draw, tell);
    }

    fn try_among(
        &self,
        rules: impl Iterator<Item = usize>,
        subject: &Subject<'_>,
        draw: u64,
        mut tell: impl FnMut(usize, &Ruling, bool),
    ) {
        if subject.fields().ip.is_none() {
            return;
        }
        let mut tag = None;
        for (at, ruling) in rules.filter_map(|at| Some((at, self.rulings.get(at)?))) {
            let by_tag = ruling.tagged.is_none_or(|(wanted, not)| (tag == Some(wanted)) != not);
            let matched = by_tag && ruling.when.holds_for(subject) && ruling.by_chance(at, draw);
            tell(at, ruling, matched);
            if matched {
                tag = ruling.tag.or(tag);
                if ruling.quick {
                    return;
                }
            }
        }
    }
}

impl Ruling {
    fn by_chance(&self, at: usize, draw: u64) -> bool {
        let Some(share) = self.chance else { return true };
        let number = u64::try_from(at).unwrap_or(u64::MAX).wrapping_add(1);
        // The upper half is below 2^32 and so compares with the share.
        mixed(draw.wrapping_add(number.wrapping_mul(GOLDEN))) >> 32 < u64::from(share)
    }
}
