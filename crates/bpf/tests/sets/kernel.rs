//! A program around a set: reads the record from the packet and returns the rule that decides.

use std::collections::BTreeMap;

use bpf::asm::{Assembler, Kind, MapRef, Program, Reg, Size, Symbol};
use bpf::sets::{Lowered, Place};
use bpf::tables::{Table, TableId};
use rules::form::Fields;
use std::net::IpAddr;
use sys::{Linux, MapFd, MapKind, MapSpec, ProgFd, ProgKind, ProgSpec, Sys, TestRun};
use wire::Frame;

const PLACE: Place = Place { fields: -48, vlan: -64, draw: -56, scratch: -224 };

/// What stands in the packet: the record, the number of chance, the VLAN.
pub fn packet(frame: &Frame<'_>, draw: u64) -> Vec<u8> {
    let mut octets = record(&Fields::of(frame)).to_vec();
    octets.extend(draw.to_ne_bytes());
    octets.extend(frame.outer_tag().map_or(4096, |tag| tag.vlan().id()).to_ne_bytes());
    octets.resize(64, 0);
    octets
}

/// The record of fields, as an entry program stores it.
fn record(fields: &Fields) -> [u8; 48] {
    let mut octets = [0; 48];
    let Some(ip) = fields.ip else { return octets };
    octets[0] = if ip.source.is_ipv4() { 4 } else { 6 };
    octets[1] = ip.protocol;
    octets[2] = ip.tos;
    let later = ip.fragment.is_some_and(|fragment| fragment.offset != 0);
    let present = [
        fields.ports.is_some(),
        fields.tcp_flags.is_some(),
        fields.icmp.is_some(),
        ip.fragment.is_some(),
        later,
    ];
    octets[3] = present.iter().rev().fold(0, |bits, bit| bits << 1 | u8::from(*bit));
    let (source, destination) = fields.ports.unwrap_or((0, 0));
    octets[4..6].copy_from_slice(&source.to_ne_bytes());
    octets[6..8].copy_from_slice(&destination.to_ne_bytes());
    octets[8] = fields.tcp_flags.unwrap_or(0);
    (octets[9], octets[10]) = fields.icmp.unwrap_or((0, 0));
    for (at, address) in [(16, ip.source), (32, ip.destination)] {
        match address {
            IpAddr::V4(v4) => octets[at..at + 4].copy_from_slice(&v4.octets()),
            IpAddr::V6(v6) => octets[at..at + 16].copy_from_slice(&v6.octets()),
        }
    }
    octets
}

/// An XDP program that returns what the set leaves in `r0`, and aborts where its caller's registers are lost.
pub fn harness(lowered: &Lowered) -> Program {
    let mut asm = Assembler::new("set", Kind::Xdp);
    let short = asm.label();
    asm.load(Size::Word, Reg::R2, Reg::R1, 0);
    asm.load(Size::Word, Reg::R3, Reg::R1, 4);
    asm.bounds(Reg::R2, Reg::R3, Reg::R4, 64, short);
    for at in [0, 8, 16, 24, 32, 40] {
        asm.load(Size::Double, Reg::R4, Reg::R2, at);
        asm.store(Size::Double, Reg::R10, PLACE.fields + at, Reg::R4);
    }
    asm.load(Size::Double, Reg::R4, Reg::R2, 48);
    asm.store(Size::Double, Reg::R10, PLACE.draw, Reg::R4);
    asm.load(Size::Half, Reg::R4, Reg::R2, 56);
    asm.store(Size::Half, Reg::R10, PLACE.vlan, Reg::R4);
    lowered.emit(&mut asm, &PLACE);
    asm.exit();
    asm.place(short);
    asm.mov(Reg::R0, -1);
    asm.exit();
    asm.finish().unwrap()
}

/// A harness in the kernel.
pub struct Loaded {
    sys: Linux,
    program: ProgFd,
}

fn make(sys: &mut Linux, table: &Table) -> MapFd {
    let spec = MapSpec {
        kind: MapKind(table.kind.map_type(table.per_cpu)),
        key_bytes: table.key_size,
        value_bytes: table.value_size,
        max_entries: table.max_entries(),
        flags: table.kind.flags(),
        name: "table".to_owned(),
    };
    let map = sys.map_create(&spec).unwrap_or_else(|error| {
        panic!("this test needs root (CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON): {error}")
    });
    sys.map_fill(map, &table.entries).unwrap();
    map
}

impl Loaded {
    pub fn new(lowered: &Lowered, program: &Program) -> Self {
        let mut sys = Linux::new();
        let maps: BTreeMap<TableId, MapFd> =
            lowered.tables().iter().map(|table| (table.id, make(&mut sys, table))).collect();
        let insns = program
            .link(|symbol| match symbol {
                Symbol::Map(MapRef::Table(id)) => maps.get(&id).map(|fd| fd.0),
                _ => None,
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
        let program = sys.prog_load(&spec).unwrap_or_else(|error| {
            let log = error.log.as_deref().unwrap_or("");
            panic!("{} slots: {error}\n{}", insns.len(), &log[log.len().saturating_sub(3000)..])
        });
        Self { sys, program }
    }

    pub fn run(&mut self, data: &[u8]) -> u32 {
        self.sys.prog_test_run(self.program, &TestRun { data, ..TestRun::default() }).unwrap().verdict
    }

    /// Mean nanoseconds of one run.
    pub fn time_ns(&mut self, data: &[u8], repeat: u32) -> u32 {
        let run = TestRun { data, repeat, ..TestRun::default() };
        self.sys.prog_test_run(self.program, &run).unwrap().duration_ns
    }
}
