//! Random and mutated captures: never a panic, the same packets however the octets arrive, and the
//! same packets that other readers find.

use proptest::prelude::*;

use super::{Owned, own, packets, whole};
use crate::build::Build;
use wire::capture::{Broken, PcapWriter, PcapngWriter, Reader, Timestamp};
use wire::{Frame, LinkType};

/// Hands a capture over in pieces, keeping only what the reader left, as a file reader would.
fn in_pieces(capture: &[u8], sizes: &[usize]) -> (Vec<Owned>, Result<(), Broken>) {
    let mut reader = Reader::new();
    let mut held: Vec<u8> = Vec::new();
    let mut all = Vec::new();
    let mut rest = capture;
    let mut sizes = sizes.iter().copied().cycle();
    loop {
        let mut input = &held[..];
        loop {
            let before = input;
            match reader.next(&mut input) {
                Ok(Some(packet)) => {
                    let at = packet.data_at;
                    assert_eq!(&before[at..at + packet.frame.data.len()], packet.frame.data);
                    all.push(own(&packet));
                }
                Ok(None) => break,
                Err(broken) => return (all, Err(broken)),
            }
        }
        assert!(reader.needed(input) > input.len(), "asks for what it has");
        held = input.to_vec();
        if rest.is_empty() {
            return (all, reader.finish(&held));
        }
        let (piece, behind) = rest.split_at(sizes.next().unwrap().min(rest.len()));
        held.extend(piece);
        rest = behind;
    }
}

#[derive(Clone, Debug)]
struct Any {
    ns: i128,
    data: Vec<u8>,
    more: u32,
}

prop_compose! {
    fn packet()(ns in 0..4_294_967_295_000_000_000i128, data in prop::collection::vec(any::<u8>(), 0..90),
                more in 0..2000u32) -> Any {
        Any { ns, data, more }
    }
}

fn frame(any: &Any) -> Frame<'_> {
    let wire_len = u32::try_from(any.data.len()).unwrap() + any.more;
    Frame { data: &any.data, wire_len, link_type: LinkType::ETHERNET }
}

fn pcap(all: &[Any], nanoseconds: bool) -> Vec<u8> {
    let mut out = Vec::new();
    let writer = PcapWriter::new(LinkType::ETHERNET, nanoseconds, &mut out);
    for any in all {
        writer.packet(Timestamp(any.ns), &frame(any), &mut out).unwrap();
    }
    out
}

fn pcapng(all: &[Any]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = PcapngWriter::new(&mut out);
    let ids = ["a", "b", "long-name"].map(|name| writer.interface(LinkType::ETHERNET, name, &mut out));
    for (any, id) in all.iter().zip(ids.iter().cycle()) {
        writer.packet(*id, Timestamp(any.ns), &frame(any), &mut out).unwrap();
    }
    out
}

fn mutate(capture: &mut Vec<u8>, changes: &[(prop::sample::Index, u8)], cut: prop::sample::Index) {
    for (at, value) in changes {
        let at = at.index(capture.len());
        capture[at] = *value;
    }
    capture.truncate(cut.index(capture.len() + 1));
}

proptest! {
    #[test]
    fn random_octets_never_panic(mut octets in prop::collection::vec(any::<u8>(), 0..400), start in 0..5usize) {
        let starts: [&[u8]; 5] = [&[], &[0xd4, 0xc3, 0xb2, 0xa1, 2, 0], &[0xa1, 0xb2, 0x3c, 0x4d, 0, 2],
            &[10, 13, 13, 10, 28, 0, 0, 0, 0x4d, 0x3c, 0x2b, 0x1a, 1, 0],
            &[10, 13, 13, 10, 0, 0, 0, 28, 0x1a, 0x2b, 0x3c, 0x4d, 0, 1]];
        let mut capture = starts[start].to_vec();
        capture.append(&mut octets);
        let (all, end) = packets(&capture);
        let (pieces, pieces_end) = in_pieces(&capture, &[1]);
        prop_assert_eq!(all, pieces);
        prop_assert_eq!(end.map(|_| ()), pieces_end);
    }

    #[test]
    fn mutated_captures_never_panic_and_pieces_make_no_difference(
        all in prop::collection::vec(packet(), 0..12),
        ng in any::<bool>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<prop::sample::Index>(),
        sizes in prop::collection::vec(1..200usize, 1..5),
    ) {
        let mut capture = if ng { pcapng(&all) } else { pcap(&all, true) };
        mutate(&mut capture, &changes, cut);
        let (at_once, end) = packets(&capture);
        if let Err(broken) = &end {
            prop_assert_eq!(broken.packets, at_once.len() as u64);
            prop_assert_eq!(broken.bytes, at_once.iter().map(|p| p.4.len() as u64).sum::<u64>());
            prop_assert!(broken.offset <= capture.len() as u64);
        }
        let (pieces, pieces_end) = in_pieces(&capture, &sizes);
        prop_assert_eq!(at_once, pieces);
        prop_assert_eq!(end.map(|_| ()), pieces_end);
    }

    #[test]
    fn what_is_written_reads_back(all in prop::collection::vec(packet(), 0..20)) {
        let expected = |any: &Any, interface, ns| {
            (Some(ns), interface, 1, frame(any).wire_len, any.data.clone())
        };
        let ng: Vec<Owned> = all.iter().zip([0, 1, 2].into_iter().cycle())
            .map(|(any, id)| expected(any, id, any.ns)).collect();
        prop_assert_eq!(whole(&pcapng(&all)), ng);
        let ns: Vec<Owned> = all.iter().map(|any| expected(any, 0, any.ns)).collect();
        prop_assert_eq!(whole(&pcap(&all, true)), ns);
        let us: Vec<Owned> = all.iter().map(|any| expected(any, 0, any.ns / 1000 * 1000)).collect();
        prop_assert_eq!(whole(&pcap(&all, false)), us);
    }

    #[test]
    fn another_reader_of_pcap_finds_the_same(all in prop::collection::vec(packet(), 0..20), ns in any::<bool>()) {
        let capture = pcap(&all, ns);
        let mut theirs = Vec::new();
        let mut reader = pcap_file::pcap::PcapReader::new(&capture[..]).unwrap();
        while let Some(packet) = reader.next_packet() {
            let packet = packet.unwrap();
            let time = i128::try_from(packet.timestamp.as_nanos()).unwrap();
            theirs.push((Some(time), 0, 1, packet.orig_len, packet.data.to_vec()));
        }
        prop_assert_eq!(whole(&capture), theirs);
    }

    #[test]
    fn another_reader_of_pcapng_finds_the_same(all in prop::collection::vec(packet(), 0..20)) {
        use pcap_parser::traits::{PcapNGPacketBlock, PcapReaderIterator};
        use pcap_parser::{Block, PcapBlockOwned, PcapError, PcapNGReader};
        let capture = pcapng(&all);
        let mut theirs = Vec::new();
        let mut reader = PcapNGReader::new(65_536, &capture[..]).unwrap();
        loop {
            match reader.next() {
                Ok((consumed, PcapBlockOwned::NG(block))) => {
                    if let Block::EnhancedPacket(epb) = block {
                        let ticks = (u64::from(epb.ts_high) << 32) | u64::from(epb.ts_low);
                        let data = PcapNGPacketBlock::packet_data(&epb).to_vec();
                        theirs.push((Some(i128::from(ticks)), epb.if_id, 1, epb.origlen, data));
                    }
                    reader.consume(consumed);
                }
                Ok(_) => unreachable!("a pcapng reader gives pcapng blocks"),
                Err(PcapError::Incomplete(_)) => reader.refill().unwrap(),
                Err(PcapError::Eof) => break,
                Err(error) => panic!("{error:?}"),
            }
        }
        prop_assert_eq!(whole(&capture), theirs);
    }

    #[test]
    fn either_endianness_says_the_same(all in prop::collection::vec(packet(), 0..8)) {
        let [little, big] = [false, true].map(|big| {
            let mut build = Build::new(big);
            build.section(big).interface(1, 0, &[(9, &[9])]);
            for any in &all {
                build.enhanced(0, u64::try_from(any.ns).unwrap(), &any.data, frame(any).wire_len);
            }
            whole(&build.out)
        });
        prop_assert_eq!(little, big);
    }
}
