//! Tests as text that people read and that reads back: `all`, `vlan 10,20-29`.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use wire::Vlan;

use super::Test;

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Always => f.write_str("all"),
            Self::Vlan(ids) => write!(f, "vlan {}", ShownVlans(ids)),
            other => write!(f, "{other:?}"),
        }
    }
}

/// VLANs as a list of numbers and of ranges where three or more follow each other; `none` for no VLAN.
pub struct ShownVlans<'a>(pub &'a BTreeSet<Vlan>);

impl fmt::Display for ShownVlans<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        let mut ids = self.0.iter().map(|vlan| vlan.id()).peekable();
        let mut separator = "";
        while let Some(first) = ids.next() {
            let mut last = first;
            while let Some(next) = ids.next_if(|id| *id == last + 1) {
                last = next;
            }
            match last - first {
                0 => write!(f, "{separator}{first}")?,
                1 => write!(f, "{separator}{first},{last}")?,
                _ => write!(f, "{separator}{first}-{last}")?,
            }
            separator = ",";
        }
        Ok(())
    }
}

/// Why a text is no test.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TestError {
    /// Neither `all` nor `vlan` and a list.
    Unknown,
    /// This part of a list is no VLAN and no range of VLANs, 0 to 4095.
    Vlan(String),
}

impl fmt::Display for TestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("not a test: `all`, or `vlan` and a list"),
            Self::Vlan(part) => write!(f, "not a VLAN (0 to 4095) or a range of them: {part:?}"),
        }
    }
}

impl std::error::Error for TestError {}

impl FromStr for Test {
    type Err = TestError;

    fn from_str(text: &str) -> Result<Self, TestError> {
        let mut words = text.split_whitespace();
        match (words.next(), words.next(), words.next()) {
            (Some("all"), None, _) => Ok(Self::Always),
            (Some("vlan"), Some("none"), None) => Ok(Self::Vlan(BTreeSet::new())),
            (Some("vlan"), Some(list), None) => {
                let mut ids = BTreeSet::new();
                for part in list.split(',') {
                    ids.extend(vlan_range(part).ok_or_else(|| TestError::Vlan(part.to_owned()))?);
                }
                Ok(Self::Vlan(ids))
            }
            _ => Err(TestError::Unknown),
        }
    }
}

/// The VLANs of `10` or `20-29`; `None` where it is neither, or runs backwards.
pub fn vlan_range(text: &str) -> Option<impl Iterator<Item = Vlan> + use<>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (vlan_number(first)?, vlan_number(last)?);
    (first <= last).then(|| (first..=last).filter_map(Vlan::new))
}

fn vlan_number(text: &str) -> Option<u16> {
    let digits = (1..=4).contains(&text.len()) && text.bytes().all(|octet| octet.is_ascii_digit());
    text.parse().ok().filter(|id| digits && *id < 4096)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vlans(ids: &[u16]) -> Test {
        Test::Vlan(ids.iter().filter_map(|id| Vlan::new(*id)).collect())
    }

    #[test]
    fn runs_of_three_are_ranges() {
        assert_eq!(Test::Always.to_string(), "all");
        assert_eq!(vlans(&[10]).to_string(), "vlan 10");
        assert_eq!(vlans(&[1, 2, 4, 5, 6, 4095]).to_string(), "vlan 1,2,4-6,4095");
        assert_eq!(vlans(&[]).to_string(), "vlan none");
    }

    #[test]
    fn every_pattern_of_twelve_neighbours_reads_back() {
        for base in [0u16, 9, 4084] {
            for bits in 0u16..4096 {
                let ids: Vec<u16> =
                    (0..12).filter(|bit| bits & (1 << bit) != 0).map(|bit| base + bit).collect();
                let test = vlans(&ids);
                assert_eq!(test.to_string().parse(), Ok(test));
            }
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "any", "all all", "vlan", "vlan 1 2"] {
            assert_eq!(text.parse::<Test>(), Err(TestError::Unknown), "{text:?}");
        }
        for part in ["", "4096", "5-4", "-", "1-", "-1", "+1", "1-2-3", "00001", "x"] {
            let text = format!("vlan 7,{part}");
            assert_eq!(text.parse::<Test>(), Err(TestError::Vlan(part.to_owned())), "{text:?}");
        }
    }
}
