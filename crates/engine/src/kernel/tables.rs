//! Makes the maps that programs look things up in, and fills them before a program is loaded.
//!
//! Nothing holds these maps but the programs that use them and, until `up` ends, this process: they need no pin
//! and no taking away.

use bpf::tables::{Table, TableKind};
use sys::{MAP_READ_ONLY_PROG, MapFd, MapKind, MapSpec, Result, Sys};

/// Makes the map of a table with what stands in it.
///
/// # Errors
/// A system call that failed.
pub fn make(sys: &mut impl Sys, table: &Table) -> Result<MapFd> {
    let map = sys.map_create(&MapSpec {
        kind: MapKind(table.kind.map_type(table.per_cpu)),
        key_bytes: table.key_size,
        value_bytes: table.value_size,
        max_entries: table.max_entries(),
        // The verifier holds programs to it: a stray store cannot change the rules.
        flags: table.kind.flags() | if table.writable { 0 } else { MAP_READ_ONLY_PROG },
        name: format!("tw_table{}", table.id.0),
    })?;
    let copies = if table.per_cpu { sys.possible_cpus()? } else { 1 };
    let entries = entries(table, copies);
    if !entries.is_empty() {
        sys.map_fill(map, &entries)?;
    }
    Ok(map)
}

/// What is to be written: a value for each CPU where each has its own. Arrays are zero from the start.
fn entries(table: &Table, copies: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
    let blank = |value: &[u8]| table.kind == TableKind::Array && value.iter().all(|octet| *octet == 0);
    let written = table.entries.iter().filter(|(_, value)| !blank(value));
    let value = |value: &Vec<u8>| {
        if !table.per_cpu {
            return value.clone();
        }
        let mut padded = value.clone();
        padded.resize(value.len().next_multiple_of(8), 0);
        padded.repeat(copies)
    };
    written.map(|(key, each)| (key.clone(), value(each))).collect()
}

#[cfg(test)]
mod tests {
    use bpf::tables::TableId;
    use sys::Fake;

    use super::*;

    fn table(kind: TableKind, per_cpu: bool, entries: Vec<(Vec<u8>, Vec<u8>)>) -> Table {
        let (key, value) = &entries[0];
        let bytes = |octets: &[u8]| u32::try_from(octets.len()).unwrap();
        let (key_size, value_size) = (bytes(key), bytes(value));
        Table { id: TableId(7), kind, key_size, value_size, entries, writable: false, per_cpu }
    }

    #[test]
    fn maps_hold_what_stands_in_the_tables() {
        let mut fake = Fake::new();
        let hash = table(TableKind::Hash, false, vec![(vec![1; 6], vec![0; 3]), (vec![2; 6], vec![5; 3])]);
        let map = make(&mut fake, &hash).unwrap();
        assert_eq!(fake.map_lookup(map, &[1; 6]).unwrap(), Some(vec![0; 3]), "no key of a hash is blank");
        assert_eq!(fake.map_lookup(map, &[2; 6]).unwrap(), Some(vec![5; 3]));
        let info = fake.map_info(map).unwrap();
        assert_eq!((info.name.as_str(), info.max_entries, info.flags), ("tw_table7", 2, MAP_READ_ONLY_PROG));

        let prefix = |bits: u32, octet| ([bits.to_ne_bytes(), [octet, 0, 0, 0]].concat(), vec![octet; 4]);
        let lpm = table(TableKind::Lpm, false, vec![prefix(8, 10), prefix(0, 0)]);
        let map = make(&mut fake, &lpm).unwrap();
        let found = fake.map_lookup(map, &[32u32.to_ne_bytes(), [10, 9, 8, 7]].concat()).unwrap();
        assert_eq!(found, Some(vec![10; 4]));
        assert_eq!(fake.map_info(map).unwrap().flags, MAP_READ_ONLY_PROG | sys::MAP_NO_PREALLOC);
    }

    #[test]
    fn every_processor_has_the_value_and_blank_ones_are_not_written() {
        let mut fake = Fake::new();
        let key = |at: u32| at.to_ne_bytes().to_vec();
        let mut memory = table(TableKind::Array, true, vec![(key(0), vec![0; 12]), (key(1), vec![9; 12])]);
        memory.writable = true;
        assert_eq!(entries(&memory, 2).len(), 1);
        let map = make(&mut fake, &memory).unwrap();
        assert_eq!(fake.map_lookup_percpu(map, &key(0)).unwrap(), Some(vec![vec![0; 12]; 2]));
        assert_eq!(fake.map_lookup_percpu(map, &key(1)).unwrap(), Some(vec![vec![9; 12]; 2]));
        assert_eq!(fake.map_info(map).unwrap().flags, 0);
        memory.entries.truncate(1);
        let before = fake.calls();
        make(&mut fake, &memory).unwrap();
        assert_eq!(fake.calls() - before, 2, "created, and processors counted");
    }
}
