//! What the tests replay from and into: captures in memory, files in a directory of their own.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use offline::{Input, Outputs, Report, Source, Target};
use plan::plan::{Plan, Point, PortId};
use wire::capture::{PcapWriter, Timestamp};
use wire::{Frame, LinkType};

/// A directory that goes when the test does.
pub struct Dir(pub PathBuf);

impl Dir {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("tapwright-replay-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub fn file(&self, name: &str, octets: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, octets).unwrap();
        path
    }

    /// Names of the files, sorted.
    pub fn names(&self, under: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.join(under)).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        // A directory that stays behind must not hide why a test failed.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A stream into memory.
#[derive(Clone, Default)]
pub struct Shared(pub Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(octets)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub fn compile(config: &str) -> Plan {
    plan::compile("test.toml", config).unwrap().0
}

pub fn port(plan: &Plan, name: &str) -> PortId {
    plan.port_named(name).unwrap()
}

pub fn point(plan: &Plan, name: &str) -> Point {
    plan.point(name).unwrap()
}

pub fn file(plan: &Plan, at: &str, path: &Path) -> Input {
    Input { at: point(plan, at), source: Source::File(path.to_owned()) }
}

pub fn stream(at: Point, capture: Vec<u8>) -> Input {
    Input { at, source: Source::Stream("memory".to_owned(), Box::new(io::Cursor::new(capture))) }
}

/// A pcap of Ethernet frames at these microseconds.
pub fn pcap(packets: &[(i128, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    let writer = PcapWriter::new(LinkType::ETHERNET, false, &mut out);
    for (us, data) in packets {
        writer.packet(Timestamp(us * 1000), &Frame::ethernet(data).unwrap(), &mut out).unwrap();
    }
    out
}

/// Time in nanoseconds, link type, octets on the wire, data.
pub type Packet = (i128, u16, u32, Vec<u8>);

pub fn packets(capture: &[u8]) -> Vec<Packet> {
    let mut all = Vec::new();
    wire::capture::read(capture, |_, packet| {
        let Frame { data, wire_len, link_type } = packet.frame;
        all.push((packet.timestamp.unwrap().0, link_type.0, wire_len, data.to_vec()));
    })
    .unwrap();
    all
}

/// Replays with every sending port written to memory.
pub fn replay_all(plan: &Plan, inputs: Vec<Input>) -> (Report, BTreeMap<String, Vec<Packet>>) {
    let mut outputs = Outputs::default();
    let mut streams = BTreeMap::new();
    for (id, port) in plan.ports() {
        use plan::plan::Role;
        if matches!(port.role, Role::Network | Role::Monitor | Role::Virtual) {
            let shared = Shared::default();
            outputs.ports.insert(id, Target::Stream(port.name.clone(), Box::new(shared.clone())));
            streams.insert(port.name.clone(), shared);
        }
    }
    let report = offline::replay(plan, inputs, outputs, |_| {}).unwrap();
    let written = streams.into_iter().map(|(name, shared)| (name, packets(&shared.0.lock().unwrap())));
    (report, written.collect())
}
