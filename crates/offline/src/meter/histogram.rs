//! How long frames took: counts in buckets whose width is a fixed part of their value, so that memory is bounded and
//! every percentile has the same relative error.
//!
//! ```text
//! value   0..64   64..128   128..256   256..512   ...
//! width     1        1          2          4            64 buckets an octave
//! ```

use super::report::Delay;

/// Buckets an octave, as a power of two.
const OCTAVE: u32 = 6;

/// Half a bucket against its least value.
const RELATIVE_ERROR: f64 = 0.5 / 64.0;

/// Counts of nanoseconds.
#[derive(Clone, Debug, Default)]
pub(super) struct Histogram {
    /// As long as the largest value needs: 3,776 at most.
    buckets: Vec<u64>,
    count: u64,
    max: u64,
}

/// The bucket of a value.
fn bucket(value: u64) -> usize {
    let octave = (u64::BITS - value.leading_zeros()).saturating_sub(OCTAVE + 1);
    let index = (u64::from(octave) << OCTAVE) + (value >> octave);
    usize::try_from(index).expect("a bucket is below 59 << 6 + 128")
}

/// The middle of a bucket.
fn middle(bucket: usize) -> u64 {
    let bucket = super::count(bucket);
    let octave = (bucket >> OCTAVE).saturating_sub(1);
    let least = (bucket - (octave << OCTAVE)) << octave;
    least + ((1 << octave) >> 1)
}

impl Histogram {
    #[inline]
    pub(super) fn add(&mut self, value: u64) {
        let bucket = bucket(value);
        if bucket >= self.buckets.len() {
            self.buckets.resize(bucket + 1, 0);
        }
        self.buckets[bucket] += 1;
        self.count += 1;
        self.max = self.max.max(value);
    }

    pub(super) fn merge(&mut self, other: &Self) {
        if other.buckets.len() > self.buckets.len() {
            self.buckets.resize(other.buckets.len(), 0);
        }
        self.buckets.iter_mut().zip(&other.buckets).for_each(|(to, from)| *to += from);
        self.count += other.count;
        self.max = self.max.max(other.max);
    }

    /// The least value that `per_mille` of a thousand do not exceed, within the relative error.
    fn quantile(&self, per_mille: u64) -> u64 {
        let rank = u128::from(self.count) * u128::from(per_mille);
        let mut below = 0u128;
        for (index, count) in self.buckets.iter().enumerate() {
            below += u128::from(*count);
            if below * 1000 >= rank && below > 0 {
                return middle(index).min(self.max);
            }
        }
        self.max
    }

    pub(super) fn delay(&self) -> Option<Delay> {
        (self.count > 0).then(|| Delay {
            p50_ns: self.quantile(500),
            p90_ns: self.quantile(900),
            p99_ns: self.quantile(990),
            p999_ns: self.quantile(999),
            max_ns: self.max,
            relative_error: RELATIVE_ERROR,
        })
    }

    /// Points of the distribution: a value, and the part of all frames that took no longer; in order of value.
    #[allow(clippy::cast_precision_loss, reason = "a part of a whole, for a picture")]
    pub(super) fn curve(&self) -> Vec<(u64, f64)> {
        let mut below = 0;
        let mut points = Vec::new();
        for (index, count) in self.buckets.iter().enumerate().filter(|(_, count)| **count > 0) {
            below += count;
            points.push((middle(index).min(self.max), below as f64 / self.count as f64));
        }
        points
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_its_value_within_the_stated_error() {
        let values =
            (0..2000u64).chain((0..64).flat_map(|bit| [(1u64 << bit) - 1, 1 << bit, (1 << bit) + 1]));
        for value in values.chain([u64::MAX]) {
            #[allow(clippy::cast_precision_loss, reason = "a relative error")]
            let error = middle(bucket(value)).abs_diff(value) as f64 / value.max(1) as f64;
            assert!(error <= RELATIVE_ERROR, "{value} is told as {}", middle(bucket(value)));
        }
        assert_eq!(bucket(u64::MAX), 3775);
    }

    #[test]
    fn buckets_follow_each_other() {
        let mut last = 0;
        for value in 0..100_000u64 {
            let next = bucket(value);
            assert!(next == last || next == last + 1, "{value}: {last}, then {next}");
            last = next;
        }
    }

    #[test]
    fn percentiles_are_those_of_the_sorted_values() {
        let mut histogram = Histogram::default();
        let mut values: Vec<u64> = (0..5000u64).map(|i| (i * 7919 % 5003) * (i * 31 % 97) + i % 3).collect();
        values.iter().for_each(|value| histogram.add(*value));
        values.sort_unstable();
        let delay = histogram.delay().unwrap();
        let told = [(500, delay.p50_ns), (900, delay.p90_ns), (990, delay.p99_ns), (999, delay.p999_ns)];
        for (per_mille, told) in told {
            let exact = values[values.len() * per_mille / 1000 - 1];
            let allowed = exact / 128 + 1;
            assert!(told.abs_diff(exact) <= allowed, "{per_mille}: {told} for {exact}");
        }
        assert_eq!(delay.max_ns, *values.last().unwrap());
    }

    #[test]
    fn nothing_has_no_percentiles() {
        assert_eq!(Histogram::default().delay(), None);
    }
}
