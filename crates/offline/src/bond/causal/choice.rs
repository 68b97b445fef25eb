//! From pairs of cause and effect to an offset and a drift for one half.
//!
//! The bounds are certain; the choice inside them is not, and says what it assumes.

use wire::capture::Timestamp;

use super::findings::{Correction, Evidence, Interval, Near, Placement};
use super::line::{Bounds, Point, SCALE, saturate};
use super::table::{Kind, Moment, Pair};

/// The smallest plausible turnaround, in nanoseconds: an interrupt, a protocol stack and a driver take longer.
const TURNAROUND_NS: i64 = 10_000;

/// An end is near the tap if its answers lie this much closer to their edge of the interval than the other's.
const CLOSER: i128 = 4;

/// Pairs of one side below which nothing is concluded from how they pile up.
const PAIRS_MIN: usize = 8;

/// Rounds in which the two pairs that contradict each other most are set aside, where not all can be satisfied.
const ROUNDS_MAX: usize = 64;

/// What the other placements share.
pub(super) struct Frame {
    /// Where times are counted from.
    pub origin: Timestamp,
    /// The first frame of the half, from there.
    pub first: i64,
    /// All times are multiples of it.
    pub unit: i64,
}

/// Pairs of one half with halves before it.
#[derive(Default, Debug)]
pub(super) struct Gathered {
    /// The reply is here: when the request was there, and the reply here.
    low: Vec<(Moment, i64)>,
    /// The request is here: when the reply was there, and the request here.
    high: Vec<(Moment, i64)>,
    evidence: Evidence,
}

impl Gathered {
    pub fn add(&mut self, Pair { cause, effect, kind }: Pair) {
        if effect.half > cause.half {
            self.low.push((cause, effect.time));
            self.evidence.replies_here += 1;
        } else {
            self.high.push((effect, cause.time));
            self.evidence.requests_here += 1;
        }
        let evidence = &mut self.evidence;
        *match kind {
            Kind::Handshake => &mut evidence.tcp_handshakes,
            Kind::Stamped => &mut evidence.tcp_stamped,
            Kind::Acknowledgement => &mut evidence.tcp_plain,
            Kind::Dns => &mut evidence.dns,
            Kind::Echo => &mut evidence.echo,
            Kind::Ntp => &mut evidence.ntp,
        } += 1;
    }
}

/// Bounds as points, with the times of this half counted from its first frame.
struct Points {
    low: Vec<Point>,
    high: Vec<Point>,
}

/// An offset at time 0 of the half and a drift.
struct Choice {
    offset: i64,
    drift: i64,
    near: Near,
}

/// Places one half, in view of those before it.
pub(super) fn place(half: usize, gathered: &Gathered, before: &[Placement], frame: &Frame) -> Placement {
    let point = |&(there, here): &(Moment, i64)| {
        let placed = before.iter().find(|placement| placement.half == there.half);
        let absolute = Timestamp(frame.origin.0 + i128::from(there.time));
        let there = placed.map_or(absolute, |placement| placement.settled().apply(absolute));
        let bound = saturate(there.0 - frame.origin.0 - i128::from(here));
        Point { at: here - frame.first, bound }
    };
    let points = Points {
        low: gathered.low.iter().map(point).collect(),
        high: gathered.high.iter().map(point).collect(),
    };
    let bounds = Bounds::new(&points.low, &points.high);
    let (least, most) = bounds.interval(0);
    let is_some =
        |least: Option<i64>, most: Option<i64>| !matches!((least, most), (Some(a), Some(b)) if a > b);
    let drifts = bounds.drifts();
    let choice = choose(&points, &bounds, frame.unit);
    let may_be_right = bounds.admits(0, 0);
    let (offset, drift) = if may_be_right { (0, 0) } else { (choice.offset, choice.drift) };
    let ppb = SCALE / 1_000_000_000;
    Placement {
        half,
        file: String::new(),
        evidence: gathered.evidence,
        offset_ns: is_some(least, most).then_some(Interval { least, most }),
        offset_at_first_frame_ns: drifts.map(|drifts| {
            let (least, most) = bounds.offsets(drifts);
            Interval { least, most }
        }),
        drift_ppb: drifts.map(|(least, most)| Interval {
            least: Some(-(-least).div_euclid(ppb)),
            most: Some(most.div_euclid(ppb)),
        }),
        may_be_right,
        tied: tied(&points, offset, drift),
        near: choice.near,
        chosen_offset_ns: choice.offset,
        chosen_drift_ppb: choice.drift.div_euclid(ppb),
        contradicted: contradicted(&points, choice.offset, choice.drift),
        correction: Correction::new(
            choice.offset,
            choice.drift,
            Timestamp(frame.origin.0 + i128::from(frame.first)),
            frame.unit,
        ),
        bounds,
    }
}

impl Placement {
    /// What is done unless more is asked for.
    fn settled(&self) -> Correction {
        if self.may_be_right { Correction::NONE } else { self.correction }
    }
}

/// How many points are on the wrong side of the line.
fn contradicted(points: &Points, offset: i64, drift: i64) -> u64 {
    let scaled = i128::from(offset) * i128::from(SCALE);
    let low = points.low.iter().filter(|point| point.intercept(drift) > scaled).count();
    let high = points.high.iter().filter(|point| point.intercept(drift) < scaled).count();
    u64::try_from(low + high).unwrap_or(u64::MAX)
}

/// How many requests of this half bear the very time of their reply, with this line.
fn tied(points: &Points, offset: i64, drift: i64) -> u64 {
    let scaled = i128::from(offset) * i128::from(SCALE);
    let tied = points.high.iter().filter(|point| point.intercept(drift) == scaled).count();
    u64::try_from(tied).unwrap_or(u64::MAX)
}

fn choose(points: &Points, bounds: &Bounds, unit: i64) -> Choice {
    if points.low.is_empty() || points.high.is_empty() {
        let (least, most) = bounds.interval(0);
        let offset = match (least, most) {
            (Some(least), _) => least.saturating_add(TURNAROUND_NS),
            (_, Some(most)) => most.saturating_sub(TURNAROUND_NS + unit),
            (None, None) => 0,
        };
        return Choice {
            offset: offset.saturating_sub(offset.rem_euclid(unit)),
            drift: 0,
            near: Near::Unknown,
        };
    }
    if bounds.drifts().is_some() {
        within(points, bounds, unit)
    } else {
        best_of_a_contradiction(points, unit)
    }
}

/// Chooses where no pair contradicts.
fn within(points: &Points, bounds: &Bounds, unit: i64) -> Choice {
    let views = views(points, bounds);
    let Some(best) = views.iter().min_by_key(|view| view.closest()) else {
        return settle(bounds, &View::of(points, bounds, bounds.widest()), unit);
    };
    // One rate unless that is impossible, or another explains the answers much better.
    let steady = views.iter().find(|view| view.drift == 0);
    let view = match steady {
        Some(steady) if best.closest().saturating_mul(2) >= steady.closest() => steady,
        _ => best,
    };
    settle(bounds, view, unit)
}

/// How the pairs lie between the edges for a drift.
struct View {
    drift: i64,
    /// How far the closer quarter of the replies here lies below the lower edge, scaled.
    low: i128,
    /// How far the closer quarter of the replies there lies above the upper edge, scaled.
    high: i128,
}

impl View {
    fn of(points: &Points, bounds: &Bounds, drift: i64) -> Self {
        let low = bounds.floor(drift).unwrap_or(0);
        let high = bounds.ceiling(drift).unwrap_or(0);
        Self {
            drift,
            low: quarter(points.low.iter().map(|point| low - point.intercept(drift)).collect()),
            high: quarter(points.high.iter().map(|point| point.intercept(drift) - high).collect()),
        }
    }

    fn closest(&self) -> i128 {
        self.low.min(self.high)
    }
}

/// The value below which a quarter of them lies; without bound where they are too few to say.
fn quarter(mut values: Vec<i128>) -> i128 {
    if values.len() < PAIRS_MIN {
        return i128::MAX;
    }
    let index = values.len() / 4;
    *values.select_nth_unstable(index).1
}

/// The drifts that come into question: none at all, and those of the edges where most pairs are.
fn views(points: &Points, bounds: &Bounds) -> Vec<View> {
    let Some((least, most)) = bounds.drifts() else { return Vec::new() };
    let edges = [(true, &points.low), (false, &points.high)];
    let edges =
        edges.map(|(lower, points)| bounds.edge(lower, mean(points)).map(|drift| drift.clamp(least, most)));
    let drifts = std::iter::once(0).chain(edges.into_iter().flatten()).chain([bounds.widest()]);
    drifts
        .filter(|drift| (least..=most).contains(drift))
        .map(|drift| View::of(points, bounds, drift))
        .collect()
}

fn mean(points: &[Point]) -> i64 {
    let sum: i128 = points.iter().map(|point| i128::from(point.at)).sum();
    saturate(sum / i128::try_from(points.len().max(1)).unwrap_or(i128::MAX))
}

/// Takes the edge at which answers pile up, plus the smallest plausible turnaround; or the middle.
fn settle(bounds: &Bounds, view: &View, unit: i64) -> Choice {
    let drift = view.drift;
    let (Some(low), Some(high)) = bounds.interval(drift) else {
        return Choice { offset: 0, drift, near: Near::Unknown };
    };
    let half = high.saturating_sub(low).max(0) / 2;
    let (near, offset) = if view.low.saturating_mul(CLOSER) <= view.high && view.low < i128::MAX {
        (Near::ThisHalf, low + half.min(TURNAROUND_NS))
    } else if view.high.saturating_mul(CLOSER) <= view.low && view.high < i128::MAX {
        (Near::EarlierHalf, high - half.min(TURNAROUND_NS))
    } else {
        (Near::Neither, low + half)
    };
    // Of equal times the earlier half comes first, and there that is the reply: one unit between them, where
    // there is room for it.
    let offset = offset.min(high.saturating_sub(unit)).max(low);
    let whole = offset.saturating_sub(offset.rem_euclid(unit));
    Choice { offset: if drift == 0 && whole >= low { whole } else { offset }, drift, near }
}

/// Chooses where every line contradicts some pair: those that contradict most are set aside, and if that does not
/// help, the offset that contradicts fewest is taken.
fn best_of_a_contradiction(points: &Points, unit: i64) -> Choice {
    let mut kept = Points { low: points.low.clone(), high: points.high.clone() };
    let fewest = fewest(points);
    for _ in 0..ROUNDS_MAX {
        let bounds = Bounds::new(&kept.low, &kept.high);
        if kept.low.is_empty() || kept.high.is_empty() {
            break;
        }
        if bounds.drifts().is_some() {
            let choice = within(&kept, &bounds, unit);
            let wrong = contradicted(points, choice.offset, choice.drift);
            let is_better = wrong < contradicted(points, fewest, 0);
            return if is_better { choice } else { Choice { offset: fewest, drift: 0, near: Near::Neither } };
        }
        let (low, high) = bounds.supports(bounds.widest());
        kept.low.retain(|point| Some(*point) != low);
        kept.high.retain(|point| Some(*point) != high);
    }
    Choice { offset: fewest, drift: 0, near: Near::Neither }
}

/// The offset without drift that the fewest pairs contradict.
fn fewest(points: &Points) -> i64 {
    let mut low: Vec<i64> = points.low.iter().map(|point| point.bound).collect();
    let mut high: Vec<i64> = points.high.iter().map(|point| point.bound).collect();
    low.sort_unstable();
    high.sort_unstable();
    let wrong = |offset: i64| {
        let above = low.len() - low.partition_point(|bound| *bound <= offset);
        above + high.partition_point(|bound| *bound < offset)
    };
    // The count falls only at a lower bound and rises only behind an upper one.
    low.iter().chain(&high).copied().min_by_key(|offset| wrong(*offset)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(pairs: &[(i64, i64)]) -> Vec<Point> {
        pairs.iter().map(|&(at, bound)| Point { at, bound }).collect()
    }

    #[test]
    fn one_bad_pair_does_not_spoil_the_rest() {
        let mut low: Vec<_> = (0..50).map(|at| Point { at: at * 1_000_000, bound: 100 - at % 7 }).collect();
        low.push(Point { at: 25_000_000, bound: 5_000_000 });
        let high = (0..50).map(|at| Point { at: at * 1_000_000, bound: 900 + at % 7 }).collect();
        let points = Points { low, high };
        let bounds = Bounds::new(&points.low, &points.high);
        assert_eq!(bounds.drifts(), None);
        let choice = choose(&points, &bounds, 1);
        assert_eq!(contradicted(&points, choice.offset, choice.drift), 1);
    }

    #[test]
    fn where_neither_end_is_near_the_middle_is_taken() {
        let low: Vec<_> = (0..50).map(|at| Point { at, bound: -(at * 1000) }).collect();
        let high: Vec<_> = (0..50).map(|at| Point { at, bound: 100_000 + at * 1000 }).collect();
        let bounds = Bounds::new(&low, &high);
        let choice = choose(&Points { low, high }, &bounds, 1);
        assert_eq!((choice.offset, choice.drift, choice.near), (50_000, 0, Near::Neither));
    }

    #[test]
    fn the_fewest_are_contradicted() {
        let points =
            Points { low: points(&[(0, 5), (1, 6), (2, 50)]), high: points(&[(0, 10), (1, 11), (2, 2)]) };
        let offset = fewest(&points);
        assert_eq!(contradicted(&points, offset, 0), 2);
        assert!((6..=10).contains(&offset));
    }

    #[test]
    fn an_exact_fit_is_taken_though_it_leaves_ties() {
        let bounds = Bounds::new(&points(&[(0, 7)]), &points(&[(0, 7)]));
        let of = Points { low: points(&[(0, 7)]), high: points(&[(0, 7)]) };
        assert_eq!(choose(&of, &bounds, 1000).offset, 7);
    }
}
