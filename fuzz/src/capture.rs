//! Captures: a reader gives the same packets however the octets arrive, and what it read can be written.

use wire::capture::{Broken, Packet, PcapWriter, PcapngWriter, Reader, Timestamp, read};
use wire::{Frame, LinkType};

/// The most that a record may be long here, so that a length that lies costs no memory.
const LIMIT: u32 = 1 << 16;

/// A packet on its own feet.
#[derive(PartialEq, Eq, Debug)]
struct Owned {
    timestamp: Option<Timestamp>,
    link_type: LinkType,
    wire_len: u32,
    data: Vec<u8>,
}

impl Owned {
    fn new(packet: &Packet<'_>) -> Self {
        let Frame { data, wire_len, link_type } = packet.frame;
        Self { timestamp: packet.timestamp, link_type, wire_len, data: data.to_vec() }
    }

    fn frame(&self) -> Frame<'_> {
        Frame { data: &self.data, wire_len: self.wire_len, link_type: self.link_type }
    }
}

/// Reads `capture`, handed over in pieces of `piece` octets and more where one record needs more.
fn read_in_pieces(capture: &[u8], piece: usize) -> (Vec<Owned>, Result<(), Broken>) {
    let mut reader = Reader::with_limit(LIMIT);
    let mut packets = Vec::new();
    let (mut start, mut end) = (0, piece.min(capture.len()));
    loop {
        let mut window = &capture[start..end];
        let before = window.len();
        match reader.next(&mut window) {
            Ok(Some(packet)) => {
                let from = start + packet.data_at;
                assert_eq!(packet.frame.data, &capture[from..from + packet.frame.data.len()]);
                packets.push(Owned::new(&packet));
            }
            Ok(None) if end == capture.len() => return (packets, reader.finish(window)),
            Ok(None) => {
                let needed = reader.needed(window);
                assert!(needed > window.len(), "asks for {needed} octets and has {}", window.len());
                end = (end + piece).min(capture.len());
            }
            Err(broken) => return (packets, Err(broken)),
        }
        start += before - window.len();
    }
}

/// One capture, read whole and in pieces, with its offsets checked.
fn read_both_ways(capture: &[u8]) -> Vec<Owned> {
    let (whole, end) = read_in_pieces(capture, capture.len().max(1));
    let piece = usize::from(capture.last().copied().unwrap_or(0)) + 1;
    let (pieces, end_of_pieces) = read_in_pieces(capture, piece);
    assert_eq!(whole, pieces);
    assert_eq!(end, end_of_pieces);
    if let Err(broken) = end {
        assert_eq!(broken.packets, u64::try_from(whole.len()).expect("fewer packets than octets"));
        assert!(broken.offset <= u64::try_from(capture.len()).expect("a capture in memory"));
        assert!(!broken.to_string().is_empty());
    }
    whole
}

/// What came out, as far as the format holds it: a nanosecond clock that begins in 1970.
fn expected(packets: Vec<Owned>, mut fits: impl FnMut(&Owned) -> bool) -> Vec<Owned> {
    packets.into_iter().filter(|packet| packet.timestamp.is_some() && fits(packet)).collect()
}

/// Reads it, writes a pcap of what is of the first link type, and reads that back.
pub fn pcap(capture: &[u8]) {
    let mut packets = read_both_ways(capture);
    let Some(link_type) = packets.first().map(|packet| packet.link_type) else { return };
    let mut out = Vec::new();
    let writer = PcapWriter::new(link_type, true, &mut out);
    packets = expected(packets, |packet| {
        let timestamp = packet.timestamp.expect("filtered: the packet has a time");
        writer.packet(timestamp, &packet.frame(), &mut out).is_ok()
    });
    assert_eq!(read_all(&out), packets);
}

/// Reads it, writes a pcapng of it with an interface for each link type, and reads that back.
pub fn pcapng(capture: &[u8]) {
    let mut packets = read_both_ways(capture);
    let mut out = Vec::new();
    let mut writer = PcapngWriter::new(&mut out);
    let mut interfaces: Vec<(LinkType, u32)> = Vec::new();
    packets = expected(packets, |packet| {
        let known = interfaces.iter().find(|(link_type, _)| *link_type == packet.link_type);
        let interface = known.map(|(_, interface)| *interface).unwrap_or_else(|| {
            let interface = writer.interface(packet.link_type, "fuzz", &mut out);
            interfaces.push((packet.link_type, interface));
            interface
        });
        let timestamp = packet.timestamp.expect("filtered: the packet has a time");
        writer.packet(interface, timestamp, &packet.frame(), &mut out).is_ok()
    });
    assert_eq!(read_all(&out), packets);
}

/// Reads what our own writer wrote.
fn read_all(capture: &[u8]) -> Vec<Owned> {
    let mut packets = Vec::new();
    read(capture, |_, packet| packets.push(Owned::new(&packet))).expect("what we write, we read");
    packets
}
