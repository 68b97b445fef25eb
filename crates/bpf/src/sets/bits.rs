//! Bitmaps of rules, and the lowest bit of a word without counting.
//!
//! BPF has no instruction that finds a bit. A lowest bit multiplied by a de Bruijn sequence leaves a number of
//! its own in the highest bits (Leiserson, Prokop, Randall, "Using de Bruijn Sequences to Index a 1 in a
//! Computer Word", 1998). Tables stand in the order of these numbers, so that none is looked up for it.

/// How many lowest bits are told apart: a power of 2 up to 64.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Order(u32);

impl Order {
    /// For words of 64 bits.
    pub(super) const WORD: Self = Self(6);

    /// The least that tells so many bits apart; `None` beyond 64.
    pub(super) fn of(bits: usize) -> Option<Self> {
        match bits {
            0..=4 => Some(Self(2)),
            5..=64 => Some(Self(bits.next_power_of_two().trailing_zeros())),
            _ => None,
        }
    }

    /// How many bits.
    pub(super) const fn bits(self) -> usize {
        1 << self.0
    }

    /// What a bit is multiplied by; its upper bits are the sequence.
    pub(super) const fn factor(self) -> u64 {
        match self.0 {
            2 => 0b0011 << 60,
            3 => 0b0001_1101 << 56,
            4 => 0x09af << 48,
            5 => 0x077c_b531 << 32,
            _ => 0x03f7_9d71_b4cb_0a89,
        }
    }

    /// How far the product is then shifted to the right.
    pub(super) const fn shift(self) -> u32 {
        64 - self.0
    }

    /// The number of a bit, below [`Self::bits`].
    pub(super) fn number(self, bit: usize) -> usize {
        let product = (1u64 << (bit % 64)).wrapping_mul(self.factor()) >> self.shift();
        usize::try_from(product).unwrap_or(0)
    }
}

/// A bitmap of the rules at so many places.
pub(super) type Bits = Vec<u64>;

pub(super) fn none(places: usize) -> Bits {
    vec![0; places.div_ceil(64)]
}

pub(super) fn set(bits: &mut Bits, place: usize, on: bool) {
    let bit = 1 << (place % 64);
    match on {
        true => bits[place / 64] |= bit,
        false => bits[place / 64] &= !bit,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_has_a_number_of_its_own() {
        for bits in 1..=64 {
            let order = Order::of(bits).unwrap();
            assert!(order.bits() >= bits && order.bits() <= (2 * bits).max(4));
            let mut numbers: Vec<usize> = (0..order.bits()).map(|bit| order.number(bit)).collect();
            numbers.sort_unstable();
            assert_eq!(numbers, (0..order.bits()).collect::<Vec<_>>(), "{order:?}");
        }
        assert_eq!(Order::of(65), None);
        assert_eq!(Order::WORD, Order::of(64).unwrap());
    }
}
