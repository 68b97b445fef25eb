//! From an address to a number: what the longest network that holds it says.
//!
//! IPv4 networks are spread out in the value of an array of one entry, so that three loads at most find the
//! number (Gupta, Lin, McKeown, "Routing Lookups in Hardware at Memory Access Speeds", INFOCOM 1998); a trie
//! of the kernel follows a dozen pointers. IPv6 networks, and IPv4 networks that would take too much room,
//! stand in a trie.
//!
//! ```text
//! | one entry for each upper half of an address | 256 entries of a block | ... |
//! ```
//!
//! An entry is a number, or with the highest bit set that of a block, in which the next octet is the place.

use std::net::IpAddr;

use rules::form::{End, Network};

use super::code::{Code, scratch};
use super::plain::{address_at, record};
use super::prefixes::trie;
use crate::asm::{Alu, Cond, Label, Reg, Size};
use crate::tables::{Table, TableId};

/// Entries for the upper halves.
const UPPER: usize = 1 << 16;
/// Entries of a block.
const BLOCK: usize = 256;
/// The most entries together: 16 MiB.
const ENTRIES_MAX: usize = 4 << 20;
/// Set in an entry that leads to a block.
const LEADS: u32 = 1 << 31;

/// How a number is found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Finder {
    /// The spread networks of IPv4, and how many blocks there are.
    spread: Option<(TableId, usize)>,
    /// The networks of IPv6, or of both versions.
    trie: Option<TableId>,
    /// The number of addresses that no network holds.
    otherwise: u32,
}

/// Makes the tables for networks in order, each once and before those that it holds, and their numbers below
/// 2^31.
pub(super) fn make(
    networks: Vec<(Network, u32)>,
    otherwise: u32,
    next_table: &mut u32,
) -> (Finder, Vec<Table>) {
    let mut tables = Vec::new();
    let entries = spread(&networks, otherwise);
    let mut finder = Finder { spread: None, trie: None, otherwise };
    if let Some(entries) = &entries {
        let id = TableId::next(next_table);
        let octets = entries.iter().flat_map(|entry| entry.to_ne_bytes()).collect();
        if let Some(table) = Table::block(id, octets) {
            tables.push(table);
            finder.spread = Some((id, (entries.len() - UPPER) / BLOCK));
        }
    }
    let for_trie: Vec<_> = networks
        .into_iter()
        .filter(|(network, _)| finder.spread.is_none() || network.address().is_ipv6())
        .map(|(network, number)| (network, number.to_ne_bytes().to_vec()))
        .collect();
    if !for_trie.is_empty() {
        let id = TableId::next(next_table);
        tables.push(trie(id, 4, otherwise.to_ne_bytes().to_vec(), for_trie));
        finder.trie = Some(id);
    }
    (finder, tables)
}

/// The entries; `None` where there are no IPv4 networks or too many blocks.
fn spread(networks: &[(Network, u32)], otherwise: u32) -> Option<Vec<u32>> {
    let mut entries = Vec::new();
    for (network, number) in networks {
        let IpAddr::V4(address) = network.address() else { continue };
        if entries.is_empty() {
            entries.resize(UPPER, otherwise);
        }
        let [a, b, c, d] = address.octets().map(usize::from);
        // What holds this network has been written before, what it holds has not.
        let (mut at, mut bits) = (a << 8 | b, 16);
        for octet in [c, d] {
            if network.prefix_len() <= bits {
                break;
            }
            at = block_of(&mut entries, at)? + octet;
            bits += 8;
        }
        let len = 1 << (bits - network.prefix_len());
        entries[at..at + len].fill(*number);
    }
    (!entries.is_empty()).then_some(entries)
}

/// Where the block begins that an entry leads to, made of the entry where it does not lead to one.
fn block_of(entries: &mut Vec<u32>, at: usize) -> Option<usize> {
    let entry = entries[at];
    if entry & LEADS != 0 {
        return Some(UPPER + usize::try_from(entry & !LEADS).ok()? * BLOCK);
    }
    let begins = entries.len();
    if begins + BLOCK > ENTRIES_MAX {
        return None;
    }
    entries[at] = LEADS | u32::try_from((begins - UPPER) / BLOCK).ok()?;
    entries.resize(begins + BLOCK, entry);
    Some(begins)
}

impl Finder {
    /// The tables, as they are called in listings.
    pub(super) fn names(&self) -> String {
        let spread = self.spread.map(|(id, _)| id);
        let names: Vec<String> =
            spread.into_iter().chain(self.trie).map(|id| format!("table_{}", id.0)).collect();
        names.join(" and ")
    }

    /// `R2` = the number of the address of one end. Goes to `never` where the kernel finds nothing, which
    /// never happens. Loses `R0` and the scratch key.
    pub(super) fn emit(&self, code: &mut Code<'_>, end: End, never: Label) {
        let (other, got) = (code.asm.label(), code.asm.label());
        if let Some((id, blocks)) = self.spread {
            code.field(Size::Byte, Reg::R1, record::VERSION);
            code.asm.jump_if(Reg::R1, Cond::Ne, 4, other);
            code.keep(Size::Word, scratch::KEY, 0);
            code.find(id, scratch::KEY);
            code.asm.jump_if(Reg::R0, Cond::Eq, 0, never);
            let at = address_at(end);
            code.field(Size::Half, Reg::R1, at);
            code.asm.to_big_endian(Reg::R1, Size::Half);
            entry(code, 0);
            if blocks > 0 {
                for octet in [at + 2, at + 3] {
                    code.asm.jump_if32(Reg::R2, Cond::Sge, 0, got);
                    code.asm.alu32(Alu::And, Reg::R2, i32::MAX);
                    let blocks = i32::try_from(blocks).unwrap_or(i32::MAX);
                    code.asm.jump_if(Reg::R2, Cond::Ge, blocks, never);
                    code.asm.alu(Alu::Lsh, Reg::R2, 8);
                    code.field(Size::Byte, Reg::R1, octet);
                    code.asm.alu(Alu::Add, Reg::R1, Reg::R2);
                    entry(code, 4 << 16);
                }
            }
            code.asm.jump(got);
            code.asm.place(other);
        }
        match self.trie {
            Some(id) => {
                code.find_address(end, id);
                code.asm.jump_if(Reg::R0, Cond::Eq, 0, never);
                code.asm.load(Size::Word, Reg::R2, Reg::R0, 0);
            }
            None => code.asm.mov(Reg::R2, self.otherwise.cast_signed()),
        }
        code.asm.place(got);
    }
}

/// `R2` = the entry at this number, behind these octets of the array's value at `R0`. Loses `R1`.
fn entry(code: &mut Code<'_>, behind: i32) {
    code.asm.alu(Alu::Lsh, Reg::R1, 2);
    code.asm.alu(Alu::Add, Reg::R1, Reg::R0);
    if behind != 0 {
        code.asm.alu(Alu::Add, Reg::R1, behind);
    }
    code.asm.load(Size::Word, Reg::R2, Reg::R1, 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the entries say of an address.
    fn found(entries: &[u32], address: [u8; 4]) -> u32 {
        let [a, b, c, d] = address.map(usize::from);
        let mut entry = entries[a << 8 | b];
        for octet in [c, d] {
            if entry & LEADS != 0 {
                entry = entries[UPPER + usize::try_from(entry & !LEADS).unwrap() * BLOCK + octet];
            }
        }
        entry
    }

    #[test]
    fn the_longest_network_is_found() {
        let networks =
            ["0.0.0.0/1", "10.0.0.0/8", "10.1.0.0/17", "10.1.2.0/24", "10.1.2.128/25", "10.1.2.129", "::/0"];
        let networks = networks.iter().zip(1u32..).map(|(text, number)| (text.parse().unwrap(), number));
        let entries = spread(&networks.collect::<Vec<_>>(), 0).unwrap();
        let cases = [
            ([9, 0, 0, 1], 1),
            ([128, 0, 0, 1], 0),
            ([10, 2, 0, 0], 2),
            ([10, 1, 128, 0], 2),
            ([10, 1, 3, 0], 3),
            ([10, 1, 2, 127], 4),
            ([10, 1, 2, 128], 5),
            ([10, 1, 2, 129], 6),
            ([10, 1, 2, 130], 5),
        ];
        for (address, want) in cases {
            assert_eq!(found(&entries, address), want, "{address:?}");
        }
        assert_eq!(entries.len(), UPPER + 2 * BLOCK);
    }

    #[test]
    fn too_many_blocks_are_refused_and_networks_of_the_other_version_need_none() {
        let hosts =
            (0..20_000u32).map(|host| (Network::host(IpAddr::from((host * 65_536 + 1).to_be_bytes())), host));
        assert_eq!(spread(&hosts.collect::<Vec<_>>(), 0), None);
        assert_eq!(spread(&[("::/0".parse().unwrap(), 1)], 0), None);
    }
}
