//! Maps for the longest prefix (`BPF_MAP_TYPE_LPM_TRIE`): keys are the bits of a prefix in host order, 4 octets,
//! and as many octets of data, of which bits behind the prefix count for nothing.

use std::collections::BTreeMap;

/// Octets of data that a key may have beside the bits of its prefix.
pub(super) const DATA_BYTES: std::ops::RangeInclusive<u32> = 1..=256;

/// A key with the bits behind its prefix cleared; `None` where it names more bits than there are.
pub(super) fn canonical(key: &[u8]) -> Option<Vec<u8>> {
    let (bits, data) = split(key)?;
    if bits > data.len() * 8 {
        return None;
    }
    let mut cleared = key.to_vec();
    for (at, octet) in cleared.iter_mut().skip(4).enumerate() {
        let kept = bits.saturating_sub(at * 8).min(8);
        *octet &= u8::try_from(0xff00_u32 >> kept & 0xff).unwrap_or(0);
    }
    Some(cleared)
}

/// The value of the longest prefix that holds a key and is no longer than that.
pub(super) fn longest<'a>(entries: &'a BTreeMap<Vec<u8>, Vec<u8>>, key: &[u8]) -> Option<&'a Vec<u8>> {
    let (most, data) = split(key)?;
    if most > data.len() * 8 {
        return None;
    }
    (0..=most).rev().find_map(|bits| {
        let mut shorter = u32::try_from(bits).ok()?.to_ne_bytes().to_vec();
        shorter.extend(data);
        entries.get(&canonical(&shorter)?)
    })
}

fn split(key: &[u8]) -> Option<(usize, &[u8])> {
    let (bits, data) = key.split_first_chunk::<4>()?;
    Some((usize::try_from(u32::from_ne_bytes(*bits)).ok()?, data))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(bits: u32, data: [u8; 4]) -> Vec<u8> {
        [bits.to_ne_bytes(), data].concat()
    }

    #[test]
    fn bits_behind_the_prefix_count_for_nothing() {
        assert_eq!(canonical(&key(12, [10, 0xff, 9, 9])), Some(key(12, [10, 0xf0, 0, 0])));
        assert_eq!(canonical(&key(0, [1, 2, 3, 4])), Some(key(0, [0; 4])));
        assert_eq!(canonical(&key(32, [1, 2, 3, 4])), Some(key(32, [1, 2, 3, 4])));
        assert_eq!(canonical(&key(33, [0; 4])), None);
    }

    #[test]
    fn the_longest_prefix_is_found() {
        let entries = BTreeMap::from([(key(8, [10, 0, 0, 0]), vec![8]), (key(16, [10, 1, 0, 0]), vec![16])]);
        let found = |bits, data| longest(&entries, &key(bits, data)).cloned();
        assert_eq!(found(32, [10, 1, 2, 3]), Some(vec![16]));
        assert_eq!(found(15, [10, 1, 2, 3]), Some(vec![8]), "no longer than the key itself");
        assert_eq!(found(32, [10, 2, 2, 3]), Some(vec![8]));
        assert_eq!(found(32, [11, 1, 2, 3]), None);
    }
}
