//! IP networks and tables of them.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// An IPv4 or IPv6 network: an address whose bits behind the prefix are 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Network {
    address: IpAddr,
    len: u8,
}

impl Network {
    /// The network of a prefix of `len` bits that `address` lies in; `None` where the family has fewer bits.
    pub fn new(address: IpAddr, len: u8) -> Option<Self> {
        let address = match address {
            IpAddr::V4(v4) if len <= 32 => IpAddr::V4((u32::from(v4) & high_bits_32(len)).into()),
            IpAddr::V6(v6) if len <= 128 => IpAddr::V6((u128::from(v6) & high_bits_128(len)).into()),
            _ => return None,
        };
        Some(Self { address, len })
    }

    /// A network of one address.
    pub fn host(address: IpAddr) -> Self {
        let len = if address.is_ipv4() { 32 } else { 128 };
        Self { address, len }
    }

    /// Its first address.
    pub fn address(self) -> IpAddr {
        self.address
    }

    /// Bits of the prefix.
    pub fn prefix_len(self) -> u8 {
        self.len
    }

    /// Whether an address lies in it; one of the other family does not.
    pub fn contains(self, address: IpAddr) -> bool {
        Self::new(address, self.len).is_some_and(|network| network == self)
    }
}

fn high_bits_32(len: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0)
}

fn high_bits_128(len: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0)
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = if self.address.is_ipv4() { 32 } else { 128 };
        match self.len == whole {
            true => self.address.fmt(f),
            false => write!(f, "{}/{}", self.address, self.len),
        }
    }
}

/// A text is no network: an address, or an address, `/` and the bits of a prefix.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoNetwork;

impl fmt::Display for NoNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a network: an IP address, or one with `/` and the bits of its prefix")
    }
}

impl std::error::Error for NoNetwork {}

impl FromStr for Network {
    type Err = NoNetwork;

    fn from_str(text: &str) -> Result<Self, NoNetwork> {
        let Some((address, len)) = text.split_once('/') else {
            return text.parse().map(Self::host).map_err(|_| NoNetwork);
        };
        let address = address.parse().map_err(|_| NoNetwork)?;
        let digits = (1..=3).contains(&len.len()) && len.bytes().all(|octet| octet.is_ascii_digit());
        let len = len.parse().ok().filter(|_| digits).ok_or(NoNetwork)?;
        Self::new(address, len).ok_or(NoNetwork)
    }
}

/// One network of a table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Entry {
    /// The network.
    pub network: Network,
    /// Set for `!` in front of it: its addresses are not in the table, though a shorter prefix may hold them.
    pub negated: bool,
}

/// A named set of networks: of all that hold an address, the one with the longest prefix decides
/// (pf.conf(5), TABLES).
#[derive(Clone, Debug)]
pub struct AddressTable {
    name: String,
    entries: BTreeSet<Entry>,
    by_network: HashMap<Network, bool>,
    /// Lengths of prefixes that occur, the longest first.
    lengths: Vec<u8>,
}

impl AddressTable {
    /// A table. Where a network stands both with and without `!`, the one without decides.
    pub fn new(name: impl Into<String>, entries: impl IntoIterator<Item = Entry>) -> Self {
        let entries: BTreeSet<Entry> = entries.into_iter().collect();
        let mut by_network = HashMap::new();
        for entry in entries.iter().rev() {
            by_network.insert(entry.network, entry.negated);
        }
        let lengths: BTreeSet<u8> = entries.iter().map(|entry| entry.network.len).collect();
        Self { name: name.into(), entries, by_network, lengths: lengths.into_iter().rev().collect() }
    }

    /// The name, as in `<name>`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The entries in order.
    pub fn entries(&self) -> impl Iterator<Item = Entry> {
        self.entries.iter().copied()
    }

    /// Whether an address is in the table.
    pub fn contains(&self, address: IpAddr) -> bool {
        let found = self
            .lengths
            .iter()
            .find_map(|len| Network::new(address, *len).and_then(|network| self.by_network.get(&network)));
        found == Some(&false)
    }
}

impl PartialEq for AddressTable {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.entries == other.entries
    }
}

impl Eq for AddressTable {}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(text: &str) -> Entry {
        let (negated, text) = text.strip_prefix('!').map_or((false, text), |rest| (true, rest));
        Entry { network: text.parse().unwrap(), negated }
    }

    #[test]
    fn the_longest_prefix_decides() {
        let entries = ["10.0.0.0/8", "!10.1.0.0/16", "10.1.2.3", "::/0", "!2001:db8::/32"].map(entry);
        let table = AddressTable::new("t", entries);
        let contains = |text: &str| table.contains(text.parse().unwrap());
        assert!(contains("10.0.0.1") && !contains("10.1.9.9") && contains("10.1.2.3"));
        assert!(!contains("11.0.0.0") && contains("::1") && !contains("2001:db8::1"));
    }

    #[test]
    fn a_network_is_what_its_prefix_keeps() {
        let network: Network = "10.1.2.3/8".parse().unwrap();
        assert_eq!(network.to_string(), "10.0.0.0/8");
        assert_eq!("0.0.0.0/0".parse::<Network>().unwrap().to_string(), "0.0.0.0/0");
        assert!("::/0".parse::<Network>().unwrap().contains("fe80::1".parse().unwrap()));
        assert!(!"::/0".parse::<Network>().unwrap().contains("1.2.3.4".parse().unwrap()));
        for text in ["", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/+8", "x/8", "1.2.3"] {
            assert_eq!(text.parse::<Network>(), Err(NoNetwork), "{text:?}");
        }
    }
}
