//! Tables of addresses against a search through all of their entries.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use plan::arbitrary::Random;
use rules::form::{AddressTable, Entry, Network};

/// The longest prefix that holds the address decides; of two alike the one without `!`.
fn contains(entries: &[Entry], address: IpAddr) -> bool {
    let bits = |address: IpAddr| match address {
        IpAddr::V4(v4) => (u128::from(u32::from(v4)) << 96, 4),
        IpAddr::V6(v6) => (u128::from(v6), 6),
    };
    let (address, family) = bits(address);
    let holds = |entry: &&Entry| {
        let (first, of) = bits(entry.network.address());
        let len = u32::from(entry.network.prefix_len());
        of == family && (len == 0 || first >> (128 - len) == address >> (128 - len))
    };
    let best = entries.iter().filter(holds).max_by_key(|entry| (entry.network.prefix_len(), !entry.negated));
    best.is_some_and(|entry| !entry.negated)
}

/// Few addresses, so that networks lie in each other.
fn address(random: &mut Random) -> IpAddr {
    let bits = u32::try_from(random.bits() & 0x0303_0303).unwrap();
    match random.below(2) {
        0 => Ipv4Addr::from(bits | 0x0a00_0000).into(),
        _ => {
            Ipv6Addr::from((0x2001_0db8_u128 << 96) | u128::from(bits) << 64 | u128::from(random.bits() & 3))
                .into()
        }
    }
}

#[test]
fn a_table_holds_what_a_search_through_all_finds() {
    let mut held = 0u32;
    for seed in 0..400 {
        let mut random = Random::new(seed);
        let entries: Vec<Entry> = (0..random.below(40))
            .map(|_| {
                let address = address(&mut random);
                let most = if address.is_ipv4() { 33 } else { 129 };
                let len = u8::try_from(random.below(most)).unwrap();
                Entry { network: Network::new(address, len).unwrap(), negated: random.one_in(3) }
            })
            .collect();
        let table = AddressTable::new("t", entries.iter().copied());
        assert!(table.entries().all(|entry| entries.contains(&entry)));
        for _ in 0..200 {
            let address = address(&mut random);
            assert_eq!(table.contains(address), contains(&entries, address), "seed {seed}: {address}");
            held += u32::from(table.contains(address));
        }
    }
    assert!((8_000..72_000).contains(&held), "{held} of 80,000");
}
