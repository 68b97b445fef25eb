//! Lines between two clouds of points: above every lower bound, below every upper one.
//!
//! A clock that is wrong by an offset and runs at a wrong rate is a line, offset over time. Each lower bound is
//! a point that the line must pass above, each upper bound one that it must pass below. Which lines do is decided
//! by the convex hulls alone, in integers. Never rounds before the end.

/// Lines rise by so many units over one nanosecond: a drift of 1 is 10^-15.
pub(super) const SCALE: i64 = 1_000_000_000_000_000;

/// The steepest line that is looked at: 1000 parts in a million. A quartz is within 200, and an operating system
/// slews by 500 at most.
pub(super) const DRIFT_MAX: i64 = SCALE / 1000;

/// Times and bounds stay below this, about 73 years of nanoseconds, so that no product overflows 128 bits.
pub(super) const TIME_MAX: i64 = 1 << 61;

/// A bound of the offset at a moment, both in nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Point {
    pub at: i64,
    pub bound: i64,
}

impl Point {
    /// Where a line of this drift through the point stands at time 0, times [`SCALE`].
    pub fn intercept(self, drift: i64) -> i128 {
        i128::from(self.bound) * i128::from(SCALE) - i128::from(drift) * i128::from(self.at)
    }
}

/// Both hulls.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Bounds {
    low: Vec<Point>,
    high: Vec<Point>,
}

impl Bounds {
    pub fn new(low: &[Point], high: &[Point]) -> Self {
        let mirrored: Vec<Point> = high.iter().map(|point| Point { bound: -point.bound, ..*point }).collect();
        let mut high = upper_hull(&mirrored);
        high.iter_mut().for_each(|point| point.bound = -point.bound);
        Self { low: upper_hull(low), high }
    }

    /// The lowest intercept that passes above all lower bounds, times [`SCALE`].
    pub fn floor(&self, drift: i64) -> Option<i128> {
        self.low.iter().map(|point| point.intercept(drift)).max()
    }

    /// The highest intercept that passes below all upper bounds, times [`SCALE`].
    pub fn ceiling(&self, drift: i64) -> Option<i128> {
        self.high.iter().map(|point| point.intercept(drift)).min()
    }

    /// What lies between for a drift; negative where no line of this drift passes, `None` where a side is open.
    pub fn gap(&self, drift: i64) -> Option<i128> {
        Some(self.ceiling(drift)? - self.floor(drift)?)
    }

    /// Offsets at time 0 that satisfy every bound, in whole nanoseconds; empty where the first is above the other.
    pub fn interval(&self, drift: i64) -> (Option<i64>, Option<i64>) {
        (self.floor(drift).map(ceil), self.ceiling(drift).map(floor))
    }

    /// Whether the line satisfies every bound.
    pub fn admits(&self, offset: i64, drift: i64) -> bool {
        let scaled = i128::from(offset) * i128::from(SCALE);
        self.floor(drift).is_none_or(|low| low <= scaled)
            && self.ceiling(drift).is_none_or(|high| scaled <= high)
    }

    /// The drift that leaves the widest gap; 0 where a side is open.
    pub fn widest(&self) -> i64 {
        peak(-DRIFT_MAX, DRIFT_MAX, |drift| self.gap(drift).unwrap_or(0))
    }

    /// The drifts for which a line passes, where there is any. Both ends at [`DRIFT_MAX`]: nothing is told.
    pub fn drifts(&self) -> Option<(i64, i64)> {
        if self.low.is_empty() || self.high.is_empty() {
            return Some((-DRIFT_MAX, DRIFT_MAX));
        }
        let passes = |drift| self.gap(drift).is_some_and(|gap| gap >= 0);
        let best = self.widest();
        passes(best).then(|| {
            let least = -first(-best, DRIFT_MAX, |drift| !passes(-drift)) + 1;
            let most = first(best, DRIFT_MAX, |drift| !passes(drift)) - 1;
            (least.max(-DRIFT_MAX), most)
        })
    }

    /// The lowest and the highest offset at time 0 of any line whose drift is within `drifts`.
    pub fn offsets(&self, (least, most): (i64, i64)) -> (Option<i64>, Option<i64>) {
        let low = (!self.low.is_empty())
            .then(|| self.floor(peak(least, most, |drift| self.floor(drift).map_or(0, |low| -low))));
        let high = (!self.high.is_empty())
            .then(|| self.ceiling(peak(least, most, |drift| self.ceiling(drift).unwrap_or(0))));
        (low.flatten().map(ceil), high.flatten().map(floor))
    }

    /// The drift of the hull's edge at a moment: of all lines above the lower bounds (`lower`), or below the
    /// upper ones, the one that is nearest to them on the average, where `at` is the mean of their times.
    pub fn edge(&self, lower: bool, at: i64) -> Option<i64> {
        let hull = if lower { &self.low } else { &self.high };
        let right = hull.partition_point(|point| point.at <= at);
        let (from, to) = (hull.get(right.checked_sub(1)?)?, hull.get(right)?);
        let rise = (i128::from(to.bound) - i128::from(from.bound)) * i128::from(SCALE);
        let drift = rise / (i128::from(to.at) - i128::from(from.at));
        i64::try_from(drift).ok().filter(|drift| (-DRIFT_MAX..=DRIFT_MAX).contains(drift))
    }

    /// The points that hold a line of this drift from below and from above.
    pub fn supports(&self, drift: i64) -> (Option<Point>, Option<Point>) {
        let low = self.low.iter().max_by_key(|point| point.intercept(drift));
        (low.copied(), self.high.iter().min_by_key(|point| point.intercept(drift)).copied())
    }
}

/// The corners of the upper hull from left to right.
fn upper_hull(points: &[Point]) -> Vec<Point> {
    let mut sorted = points.to_vec();
    sorted.sort_unstable();
    let mut hull: Vec<Point> = Vec::new();
    for point in sorted {
        // Of one moment only the highest counts, and it comes last.
        while hull.last().is_some_and(|last| last.at == point.at) {
            hull.pop();
        }
        while let [.., first, second] = hull.as_slice() {
            if is_below(*first, *second, point) {
                hull.pop();
            } else {
                break;
            }
        }
        hull.push(point);
    }
    hull
}

/// Whether `middle` lies on or below the line from `first` to `last`.
fn is_below(first: Point, middle: Point, last: Point) -> bool {
    let across = |from: Point, to: Point| i128::from(to.at) - i128::from(from.at);
    let up = |from: Point, to: Point| i128::from(to.bound) - i128::from(from.bound);
    up(first, middle) * across(first, last) <= up(first, last) * across(first, middle)
}

/// Where a concave function is highest.
fn peak(mut from: i64, mut to: i64, value: impl Fn(i64) -> i128) -> i64 {
    while from < to {
        let middle = from + (to - from) / 2;
        if value(middle) < value(middle + 1) { from = middle + 1 } else { to = middle }
    }
    from
}

/// The first number from `from` on of which `is` holds, once and then always; one above `to` where of none.
fn first(from: i64, to: i64, is: impl Fn(i64) -> bool) -> i64 {
    let (mut from, mut to) = (from, to + 1);
    while from < to {
        let middle = from + (to - from) / 2;
        if is(middle) { to = middle } else { from = middle + 1 }
    }
    from
}

/// Rounds a scaled offset down to nanoseconds.
pub(super) fn floor(scaled: i128) -> i64 {
    saturate(scaled.div_euclid(i128::from(SCALE)))
}

fn ceil(scaled: i128) -> i64 {
    saturate(-(-scaled).div_euclid(i128::from(SCALE)))
}

/// To 64 bits; what does not fit becomes the nearest that does, and whose negative does.
pub(super) fn saturate(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX }).max(-i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(pairs: &[(i64, i64)]) -> Vec<Point> {
        pairs.iter().map(|&(at, bound)| Point { at, bound }).collect()
    }

    #[test]
    fn without_drift_the_tightest_bounds_count() {
        let bounds = Bounds::new(&points(&[(0, -5), (10, 3), (20, 1)]), &points(&[(5, 9), (15, 7)]));
        assert_eq!(bounds.interval(0), (Some(3), Some(7)));
        assert!(bounds.admits(3, 0) && bounds.admits(7, 0) && !bounds.admits(2, 0) && !bounds.admits(8, 0));
    }

    #[test]
    fn a_drift_that_must_be_is_found_between_the_hulls() {
        // The truth is 100 + 50 ppm: bounds 10 ns to either side, over 10 ms.
        let truth = |at: i64| 100 + at / 20_000;
        let low: Vec<_> =
            (0..100).map(|i| Point { at: i * 100_000, bound: truth(i * 100_000) - 10 }).collect();
        let high: Vec<_> =
            (0..100).map(|i| Point { at: i * 100_000, bound: truth(i * 100_000) + 10 }).collect();
        let bounds = Bounds::new(&low, &high);
        assert!(bounds.gap(0).unwrap() < 0);
        let (least, most) = bounds.drifts().unwrap();
        let ppm = SCALE / 1_000_000;
        assert!(least <= 50 * ppm && 50 * ppm <= most, "{least} to {most}");
        assert!(least > 45 * ppm && most < 55 * ppm, "{least} to {most}");
        assert!(bounds.admits(100, 50 * ppm));
        for drift in [least, most] {
            assert!(bounds.gap(drift).unwrap() >= 0);
        }
        assert!(bounds.gap(least - 1).unwrap() < 0 && bounds.gap(most + 1).unwrap() < 0);
        let (low, high) = bounds.offsets((least, most));
        assert!(low.unwrap() >= 80 && high.unwrap() <= 120, "{low:?} to {high:?}");
    }

    #[test]
    fn one_side_alone_tells_nothing_of_drift() {
        let bounds = Bounds::new(&points(&[(0, 5)]), &[]);
        assert_eq!(bounds.drifts(), Some((-DRIFT_MAX, DRIFT_MAX)));
        assert_eq!(bounds.interval(0), (Some(5), None));
    }

    #[test]
    fn bounds_that_no_line_satisfies_say_so() {
        let bounds = Bounds::new(&points(&[(0, 5), (10, 5), (20, 5)]), &points(&[(10, 4)]));
        assert_eq!(bounds.drifts(), None);
    }

    #[test]
    fn the_widest_times_do_not_overflow() {
        let most = TIME_MAX - 1;
        let bounds =
            Bounds::new(&points(&[(-most, -most), (most, -most)]), &points(&[(-most, most), (most, most)]));
        assert_eq!(bounds.drifts(), Some((-DRIFT_MAX, DRIFT_MAX)));
        assert_eq!(bounds.edge(true, 0), Some(0));
    }
}
