//! The kernel with the maps of one plan, for tests that run programs there.

use std::collections::BTreeMap;

use bpf::asm::{MapRef, Program, Symbol};
use bpf::emit::Emitted;
use bpf::layout::{Counter, Layout, Part, TALLY_BYTES};
use sys::{Linux, MapFd, MapKind, MapSpec, ProgFd, ProgKind, ProgSpec, Sys, TestRun};
use wire::Tag;

use super::{named, untagged};

/// The kernel with the maps of one plan.
pub struct Kernel {
    pub sys: Linux,
    pub maps: BTreeMap<MapRef, MapFd>,
}

impl Kernel {
    /// Its counters and tables.
    pub fn new(emitted: &Emitted) -> Self {
        let mut sys = Linux::new();
        let spec = MapSpec {
            kind: MapKind::PERCPU_ARRAY,
            key_bytes: 4,
            value_bytes: emitted.layout.block_bytes(),
            max_entries: emitted.layout.blocks(),
            flags: 0,
            name: "counters".to_owned(),
        };
        let counters = sys.map_create(&spec).unwrap_or_else(|error| {
            panic!("this test needs root (CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON): {error}")
        });
        let mut kernel = Self { sys, maps: BTreeMap::from([(MapRef::Counters, counters)]) };
        kernel.make_tables(emitted);
        kernel
    }

    fn make_tables(&mut self, emitted: &Emitted) {
        if emitted.layout.tallies() > 0 {
            let spec = MapSpec {
                kind: MapKind::PERCPU_ARRAY,
                key_bytes: 4,
                value_bytes: TALLY_BYTES,
                max_entries: emitted.layout.tallies(),
                flags: 0,
                name: "tallies".to_owned(),
            };
            let tallies = self.sys.map_create(&spec).unwrap();
            self.maps.insert(MapRef::Tallies, tallies);
        }
        for table in &emitted.tables {
            let spec = MapSpec {
                kind: MapKind(table.kind.map_type(table.per_cpu)),
                key_bytes: table.key_size,
                value_bytes: table.value_size,
                max_entries: table.max_entries(),
                flags: table.kind.flags() | if table.writable { 0 } else { sys::MAP_READ_ONLY_PROG },
                name: format!("table_{}", table.id.0),
            };
            let map = self.sys.map_create(&spec).unwrap();
            // What programs remember begins with zeros, as the map does.
            if !table.per_cpu && !table.entries.is_empty() {
                self.sys.map_fill(map, &table.entries).unwrap();
            }
            self.maps.insert(MapRef::Table(table.id), map);
        }
    }

    /// Makes the devmaps; every entry is the loopback interface, which a test run never reaches.
    pub fn make_devmaps(&mut self, emitted: &Emitted) {
        for outcome in &emitted.outcomes {
            let spec = MapSpec {
                kind: MapKind::DEVMAP,
                key_bytes: 4,
                value_bytes: 4,
                max_entries: u32::try_from(outcome.targets.len()).unwrap(),
                flags: 0,
                name: "devmap".to_owned(),
            };
            let map = self.sys.map_create(&spec).unwrap();
            for key in 0..spec.max_entries {
                self.sys.map_update(map, &key.to_ne_bytes(), &1u32.to_ne_bytes()).unwrap();
            }
            self.maps.insert(outcome.map(), map);
        }
    }

    /// Loads a program.
    pub fn load(&mut self, program: &Program) -> ProgFd {
        let insns = program
            .link(|symbol| match symbol {
                Symbol::Map(map) => self.maps.get(&map).map(|fd| fd.0),
                // The loopback interface; recorded programs name none.
                Symbol::Interface(_) | Symbol::Hop(_) => Some(1),
            })
            .unwrap();
        let spec = ProgSpec {
            kind: ProgKind(program.kind.program_type()),
            attach_type: program.kind.expected_attach_type(),
            insns: &insns,
            license: "Dual MIT/GPL",
            name: &program.name,
            flags: 0,
        };
        self.sys.prog_load(&spec).unwrap_or_else(|error| {
            panic!("{}: {error}\n{}", program.name, error.log.as_deref().unwrap_or(""))
        })
    }

    /// The counters of a part, summed over CPUs, without those that are 0.
    pub fn read(&mut self, layout: &Layout, part: Part) -> BTreeMap<Counter, u64> {
        // A block or a row is read once, however many counters it holds.
        let mut read: BTreeMap<(MapRef, u32), Vec<u64>> = BTreeMap::new();
        let read = std::cell::RefCell::new(&mut read);
        let this = std::cell::RefCell::new(self);
        named(layout, part, |place| {
            let mut read = read.borrow_mut();
            let words = read
                .entry((place.map, place.block))
                .or_insert_with(|| this.borrow_mut().words(place.map, place.block));
            words[usize::from(place.slot)]
        })
    }

    /// The 64-bit numbers of an entry of a per-CPU map, summed over CPUs.
    pub fn words(&mut self, map: MapRef, key: u32) -> Vec<u64> {
        let map = self.maps[&map];
        let values = self.sys.map_lookup_percpu(map, &key.to_ne_bytes()).unwrap().unwrap();
        let word = |value: &Vec<u8>, at: usize| u64::from_ne_bytes(value[at..at + 8].try_into().unwrap());
        (0..values[0].len()).step_by(8).map(|at| values.iter().map(|value| word(value, at)).sum()).collect()
    }

    /// Runs a program over one frame.
    pub fn run(&mut self, program: ProgFd, data: &[u8], context: &[u8]) -> u32 {
        let run = TestRun { data, context, ..TestRun::default() };
        self.sys.prog_test_run(program, &run).unwrap().verdict
    }
}

/// A `__sk_buff` for a test run: the tag in `cb`, and what a super-frame says of itself.
pub fn sk_buff(tag: Option<Tag>, gso_segs: u32, gso_size: u32) -> Vec<u8> {
    let mut context = vec![0; 192];
    let mut set = |at: usize, value: u32| context[at..at + 4].copy_from_slice(&value.to_ne_bytes());
    if let Some(tag) = tag {
        set(48, tag.protocol.to_be().into());
        set(52, tag.tci.into());
    }
    set(164, gso_segs);
    set(176, gso_size);
    context
}

/// A test run in the tc view refuses (EINVAL) what says IP behind its outer tag and is shorter than an IP
/// header, and any frame below 14 octets. The interpreter runs such frames as they are.
pub fn lengthen(data: &mut Vec<u8>) {
    data.resize(data.len().max(14), 0);
    let (stripped, _) = untagged(data);
    let header = match stripped[12..14] {
        [0x08, 0x00] => 20,
        [0x86, 0xdd] => 40,
        _ => return,
    };
    data.resize(data.len().max(14 + header + data.len() - stripped.len()), 0);
}
