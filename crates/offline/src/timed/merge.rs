//! Which of many comes next: a tournament of times.
//!
//! Of equal times the lower index wins. Changing one entry costs one comparison for each doubling of their number.

/// The times at which each of a fixed number of things wants to happen.
#[derive(Clone, Debug)]
pub(crate) struct Merge {
    /// By entry, and `NEVER` up to the next power of two.
    times: Vec<u64>,
    /// A binary tree over the entries, the root at 1: who wins there.
    winners: Vec<u32>,
}

/// Nothing wants to happen.
pub(crate) const NEVER: u64 = u64::MAX;

impl Merge {
    /// So many things, none of which wants to happen.
    pub(crate) fn new(count: usize) -> Self {
        let leaves = count.max(1).next_power_of_two();
        let mut winners: Vec<u32> = vec![0; 2 * leaves];
        for (leaf, entry) in winners[leaves..].iter_mut().zip(0u32..) {
            *leaf = entry;
        }
        for node in (1..leaves).rev() {
            winners[node] = winners[2 * node];
        }
        Self { times: vec![NEVER; leaves], winners }
    }

    /// When the thing of this index wants to happen now.
    #[inline]
    pub(crate) fn set(&mut self, index: usize, time_ns: u64) {
        self.times[index] = time_ns;
        let mut node = (self.times.len() + index) / 2;
        while node > 0 {
            let [left, right] = [self.winners[2 * node], self.winners[2 * node + 1]];
            self.winners[node] = if self.time(right) < self.time(left) { right } else { left };
            node /= 2;
        }
    }

    /// The earliest time, and the index of whose it is.
    #[inline]
    pub(crate) fn first(&self) -> (u64, usize) {
        let winner = self.winners[1];
        (self.time(winner), index(winner))
    }

    #[inline]
    fn time(&self, entry: u32) -> u64 {
        self.times[index(entry)]
    }
}

#[inline]
fn index(entry: u32) -> usize {
    usize::try_from(entry).expect("32 bits fit")
}

#[cfg(test)]
mod tests {
    use super::*;
    use plan::arbitrary::Random;

    #[test]
    fn the_earliest_comes_first_and_of_equals_the_lowest() {
        let mut random = Random::new(1);
        for count in [0, 1, 2, 3, 7, 8, 1000] {
            let mut merge = Merge::new(count);
            assert_eq!(merge.first(), (NEVER, 0));
            let mut times = vec![NEVER; count];
            for _ in 0..(count * 20) {
                let (index, time) = (random.below(count), u64::try_from(random.below(50)).unwrap());
                times[index] = time;
                merge.set(index, time);
                let first = times.iter().copied().zip(0..).min().unwrap();
                assert_eq!(merge.first(), first);
            }
        }
    }
}
