//! Networks that hold each other: what is known of each prefix, from all that hold it.
//!
//! Pure.

use rules::form::Network;

use super::code::TRIE_KEY;
use super::plain::{octets_of, version_of};
use crate::tables::{Table, TableId, TableKind};

/// For each network, in order and each once, what has been made of `start` by every network that holds it,
/// the longest last, and by itself. Networks that stand more than once are applied in the given order.
pub(super) fn pushed_down<T: Clone, U>(
    mut networks: Vec<(Network, T)>,
    start: &U,
    mut apply: impl FnMut(&mut U, &T),
) -> Vec<(Network, U)>
where
    U: Clone,
{
    // A prefix stands before what it holds; the order of those that are equal stays.
    networks.sort_by_key(|(network, _)| *network);
    let mut found: Vec<(Network, U)> = Vec::with_capacity(networks.len());
    let mut holding: Vec<usize> = Vec::new();
    for (network, said) in networks {
        if let Some((last, value)) = found.last_mut()
            && *last == network
        {
            apply(value, &said);
            continue;
        }
        let holds = |at: &usize| {
            let outer = found[*at].0;
            outer.prefix_len() <= network.prefix_len() && outer.contains(network.address())
        };
        while holding.last().is_some_and(|at| !holds(at)) {
            holding.pop();
        }
        let mut value = holding.last().map_or_else(|| start.clone(), |at| found[*at].1.clone());
        apply(&mut value, &said);
        holding.push(found.len());
        found.push((network, value));
    }
    found
}

/// A trie of networks of both families. A key is the bits of the prefix, the version in four octets (of
/// which the first is it, as in the record) and the address, so that one lookup serves both.
pub(super) fn trie(
    id: TableId,
    value_size: u32,
    otherwise: Vec<u8>,
    entries: impl IntoIterator<Item = (Network, Vec<u8>)>,
) -> Table {
    let none = (key(0, 0, [0; 16]), otherwise);
    let entries = entries.into_iter().map(|(network, value)| {
        let bits = 32 + u32::from(network.prefix_len());
        (key(bits, version_of(network.address()), octets_of(network.address())), value)
    });
    Table {
        id,
        kind: TableKind::Lpm,
        key_size: TRIE_KEY,
        value_size,
        entries: std::iter::once(none).chain(entries).collect(),
        writable: false,
        per_cpu: false,
    }
}

fn key(bits: u32, version: u8, address: [u8; 16]) -> Vec<u8> {
    // The program stores the version as a number of the host.
    let version = u32::from(version).to_ne_bytes();
    [bits.to_ne_bytes().as_slice(), version.as_slice(), address.as_slice()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_a_network_is_applied_before_it() {
        let networks =
            ["10.1.0.0/16", "10.0.0.0/8", "10.1.2.3", "10.0.0.0/8", "11.0.0.0/8", "::/0", "fe80::/10"];
        let networks = networks.iter().zip(1u8..).map(|(text, number)| (text.parse().unwrap(), number));
        let found =
            pushed_down(networks.collect(), &Vec::new(), |value: &mut Vec<u8>, said| value.push(*said));
        let shown: Vec<String> =
            found.iter().map(|(network, value)| format!("{network} {value:?}")).collect();
        let want = [
            "10.0.0.0/8 [2, 4]",
            "10.1.0.0/16 [2, 4, 1]",
            "10.1.2.3 [2, 4, 1, 3]",
            "11.0.0.0/8 [5]",
            "::/0 [6]",
            "fe80::/10 [6, 7]",
        ];
        assert_eq!(shown, want);
    }
}
