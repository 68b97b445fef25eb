//! What the capture reader makes of every shape of file, held against other readers where they can.
#![allow(clippy::cast_possible_truncation, clippy::unwrap_used)]

mod build;
mod random;

use build::Build;
use wire::capture::{Broken, Fault, Packet, PcapWriter, PcapngWriter, Reader, Timestamp, Unwritable, read};
use wire::{Frame, LinkType};

/// A packet that outlives the capture: time, interface, link type, octets on the wire, data.
type Owned = (Option<i128>, u32, u16, u32, Vec<u8>);

fn own(packet: &Packet<'_>) -> Owned {
    let Frame { data, wire_len, link_type } = packet.frame;
    (packet.timestamp.map(|t| t.0), packet.interface, link_type.0, wire_len, data.to_vec())
}

fn packets(capture: &[u8]) -> (Vec<Owned>, Result<Reader, Broken>) {
    let mut all = Vec::new();
    let end = read(capture, |_, packet| all.push(own(&packet)));
    (all, end)
}

fn whole(capture: &[u8]) -> Vec<Owned> {
    let (all, end) = packets(capture);
    end.unwrap();
    all
}

#[test]
fn pcap_in_both_units_and_both_endiannesses() {
    for big in [false, true] {
        for (magic, unit) in [(0xa1b2_c3d4, 1_000), (0xa1b2_3c4d, 1)] {
            let mut file = Build::pcap(big, magic, 1);
            file.record((10, 7), b"abc", 3).record((11, 999_999), b"", 60);
            let expected: Vec<Owned> = vec![
                (Some(10_000_000_000 + 7 * unit), 0, 1, 3, b"abc".to_vec()),
                (Some(11_000_000_000 + 999_999 * unit), 0, 1, 60, vec![]),
            ];
            assert_eq!(whole(&file.out), expected, "big {big}, unit {unit}");
        }
    }
}

#[test]
fn the_link_type_field_of_pcap_also_tells_of_a_check_sequence() {
    // Two words of 16 bits: the last four octets are no part of the frame.
    let mut file = Build::pcap(false, 0xa1b2_c3d4, 0x2400_0001);
    file.record((0, 0), b"frameFCS!", 9).record((0, 0), b"fram", 9).record((0, 0), b"frameFC", 9);
    let got: Vec<_> = whole(&file.out).into_iter().map(|p| (p.3, p.4)).collect();
    let expected = [(5, b"frame".to_vec()), (5, b"fram".to_vec()), (5, b"frame".to_vec())];
    assert_eq!(got, expected);
    // Without the bit that says so, the four bits mean nothing.
    let mut file = Build::pcap(false, 0xa1b2_c3d4, 0x2000_0071);
    file.record((0, 0), b"frameFCS!", 9);
    assert_eq!(whole(&file.out), [(Some(0), 0, 113, 9, b"frameFCS!".to_vec())]);
}

#[test]
fn pcapng_with_sections_of_either_endianness_and_several_interfaces() {
    let mut file = Build::new(false);
    file.section(false)
        .interface(1, 0, &[])
        .interface(101, 0, &[(2, b"tun0"), (9, &[9])])
        .enhanced(1, 5, b"raw", 3)
        .block(0x0bad_cafe, |b| b.padded(b"nobody knows"))
        .enhanced(0, 5, b"ether", 70)
        .section(true)
        .interface(127, 0, &[(9, &[0x80 | 30]), (14, &(-1i64).to_be_bytes())])
        .enhanced(0, 3 << 29, b"radio", 5);
    let expected: Vec<Owned> = vec![
        (Some(5), 1, 101, 3, b"raw".to_vec()),
        (Some(5_000), 0, 1, 70, b"ether".to_vec()),
        (Some(500_000_000), 0, 127, 5, b"radio".to_vec()),
    ];
    assert_eq!(whole(&file.out), expected);
}

#[test]
fn options_set_units_offsets_and_check_sequences() {
    for big in [false, true] {
        let offset = |s: i64| if big { s.to_be_bytes() } else { s.to_le_bytes() };
        let flags = |f: u32| if big { f.to_be_bytes() } else { f.to_le_bytes() };
        let mut file = Build::new(big);
        file.section(big)
            .interface(1, 0, &[(9, &[12]), (14, &offset(-2))])
            .interface(1, 0, &[(13, &[4])])
            .interface(1, 0, &[(13, &[32]), (0, &[]), (9, &[3])])
            .enhanced(0, 1_000_000_001_999, b"a", 1)
            .enhanced(1, 0, b"frameFCS!", 9)
            .enhanced(2, 1, b"frameFCS!", 9)
            .block(6, |b| {
                b.u32(1).u32(0).u32(0).u32(9).u32(9).padded(b"frameFCS!").option(2, &flags(2 << 5))
            });
        let expected: Vec<Owned> = vec![
            (Some(-1_000_000_000 + 1), 0, 1, 1, b"a".to_vec()),
            (Some(0), 1, 1, 5, b"frame".to_vec()),
            // What stands behind the end of the options is not read.
            (Some(1_000), 2, 1, 5, b"frame".to_vec()),
            (Some(0), 1, 1, 7, b"frameFC".to_vec()),
        ];
        assert_eq!(whole(&file.out), expected, "big {big}");
    }
}

#[test]
fn simple_and_obsolete_packet_blocks() {
    let mut file = Build::new(true);
    file.section(true)
        .interface(1, 4, &[])
        .interface(1, 0, &[])
        .simple(b"abcd", 90)
        .simple(b"xy", 2)
        .block(2, |b| b.u16(1).u16(77).u32(0).u32(6).u32(3).u32(3).padded(b"old"));
    let expected: Vec<Owned> = vec![
        (None, 0, 1, 90, b"abcd".to_vec()),
        (None, 0, 1, 2, b"xy".to_vec()),
        (Some(6_000), 1, 1, 3, b"old".to_vec()),
    ];
    assert_eq!(whole(&file.out), expected);
}

#[test]
fn a_cut_capture_gives_what_is_whole_and_then_where_it_broke() {
    let mut file = Build::pcap(false, 0xa1b2_c3d4, 1);
    file.record((1, 0), b"first", 5).record((2, 0), b"second", 6);
    let (all, end) = packets(&file.out[..file.out.len() - 2]);
    assert_eq!(all.len(), 1);
    let broken = end.unwrap_err();
    assert_eq!(
        broken.to_string(),
        "1 packet (5 bytes) read, then at offset 45: truncated inside a packet record: 22 bytes needed, 20 present"
    );
    let (_, end) = packets(&file.out[..20]);
    assert_eq!(
        end.unwrap_err().to_string(),
        "0 packets (0 bytes) read, then at offset 0: truncated inside the file header: 24 bytes needed, 20 present"
    );
    let (_, end) = packets(&[]);
    assert_eq!(end.unwrap_err().fault, Fault::Empty);
}

#[test]
fn corrupt_captures_say_what_is_wrong_and_where() {
    let fault = |file: &[u8]| packets(file).1.unwrap_err().to_string();
    let mut file = Build::pcap(true, 0xa1b2_c3d4, 1);
    file.record((1, 0), b"first", 5).u32(2).u32(0).u32(0xffff_ffff).u32(6);
    assert_eq!(
        fault(&file.out),
        "1 packet (5 bytes) read, then at offset 45: corrupt: a record of 4294967295 bytes, \
         above the limit of 16777216"
    );
    let start = |b: &mut Build| {
        b.section(false).interface(1, 0, &[]).enhanced(0, 0, b"ok", 2);
    };
    let broken = |what: &dyn Fn(&mut Build) -> &mut Build| {
        let mut file = Build::new(false);
        start(&mut file);
        what(&mut file);
        let text = fault(&file.out);
        text.strip_prefix("1 packet (2 bytes) read, then at offset 84: ").map(str::to_owned).unwrap_or(text)
    };
    type Case<'a> = (&'a dyn Fn(&mut Build) -> &mut Build, &'a str);
    let cases: [Case<'_>; 8] = [
        (&|b| b.enhanced(3, 0, b"x", 1), "corrupt: a packet of interface 3, where 1 are described"),
        (&|b| b.u32(9).u32(16).u32(0).u32(20), "corrupt: a block of length 16 ends with length 20"),
        (&|b| b.u32(9).u32(13).u32(0).u32(13), "corrupt: a block of type 0x9 cannot have length 13"),
        (&|b| b.u32(9).u32(8).u32(8), "corrupt: a block of type 0x9 cannot have length 8"),
        (&|b| b.block(6, |b| b.u32(0)), "corrupt: a block of type 0x6 cannot have length 16"),
        (
            &|b| b.block(6, |b| b.u32(0).u32(0).u32(0).u32(50).u32(50).u32(0)),
            "corrupt: a packet of 50 bytes in a block with room for 4",
        ),
        (&|b| b.simple(b"abcd", 9), "corrupt: a packet of 9 bytes in a block with room for 4"),
        (&|b| b.block(0x0a0d_0d0a, |b| b.u32(7)), "corrupt: byte-order magic 0x00000007"),
    ];
    for (what, expected) in cases {
        assert_eq!(broken(what), expected);
    }
    assert!(fault(&[0x1f, 0x8b, 8, 0, 0]).contains("a gzip file is not read"));
    assert!(fault(b"GET / HTTP").contains("begins with 47 45 54 20"));
    let mut file = Build::new(false);
    file.block(0x0a0d_0d0a, |b| b.u32(0x1a2b_3c4d).u16(3).u16(1).i64(-1));
    assert!(fault(&file.out).ends_with("unknown format version 3.1"));
}

#[test]
fn a_limit_bounds_what_must_be_held_in_one_piece() {
    let mut file = Build::pcap(false, 0xa1b2_c3d4, 1);
    file.record((1, 0), &[0; 100], 100);
    let mut reader = Reader::with_limit(99);
    let broken = reader.next(&mut &file.out[..]).unwrap_err();
    assert_eq!((broken.offset, broken.fault), (24, Fault::TooLong { length: 100, limit: 99 }));
}

#[test]
fn what_is_written_reads_back() {
    let frames: [(i128, &[u8], u32); 3] =
        [(1_234_567_891, b"one", 3), (4_294_967_295_999_999_999, b"twotwo", 1500), (0, b"", 60)];
    let mut pcap = Vec::new();
    let mut pcapng = Vec::new();
    let writer = PcapWriter::new(LinkType::ETHERNET, true, &mut pcap);
    let mut ng = PcapngWriter::new(&mut pcapng);
    let first = ng.interface(LinkType::RAW, "tun0", &mut pcapng);
    let second = ng.interface(LinkType::ETHERNET, "", &mut pcapng);
    assert_eq!((first, second), (0, 1));
    let mut expected = Vec::new();
    for (ns, data, wire_len) in frames {
        let frame = Frame { data, wire_len, link_type: LinkType::ETHERNET };
        writer.packet(Timestamp(ns), &frame, &mut pcap).unwrap();
        ng.packet(second, Timestamp(ns), &frame, &mut pcapng).unwrap();
        expected.push((Some(ns), 0, 1, wire_len, data.to_vec()));
    }
    assert_eq!(whole(&pcap), expected);
    expected.iter_mut().for_each(|packet| packet.1 = second);
    assert_eq!(whole(&pcapng), expected);
}

#[test]
fn microseconds_round_down() {
    let mut out = Vec::new();
    let writer = PcapWriter::new(LinkType::ETHERNET, false, &mut out);
    let frame = Frame::ethernet(b"x").unwrap();
    writer.packet(Timestamp(1_000_001_999), &frame, &mut out).unwrap();
    assert_eq!(whole(&out)[0].0, Some(1_000_001_000));
}

#[test]
fn what_does_not_fit_is_refused_and_leaves_no_trace() {
    let mut out = Vec::new();
    let pcap = PcapWriter::new(LinkType::ETHERNET, false, &mut out);
    let mut ng = PcapngWriter::new(&mut out);
    let id = ng.interface(LinkType::ETHERNET, "a", &mut out);
    let before = out.len();
    let frame = Frame::ethernet(b"x").unwrap();
    let raw = Frame { link_type: LinkType::RAW, ..frame };
    let (early, late) = (Timestamp(-1), Timestamp::new(1 << 32, 0));
    assert_eq!(pcap.packet(early, &frame, &mut out), Err(Unwritable::Time(early)));
    assert_eq!(pcap.packet(late, &frame, &mut out), Err(Unwritable::Time(late)));
    assert_eq!(pcap.packet(Timestamp(0), &raw, &mut out), Err(Unwritable::LinkType(LinkType::RAW)));
    assert_eq!(ng.packet(id, early, &frame, &mut out), Err(Unwritable::Time(early)));
    assert_eq!(ng.packet(id, Timestamp(0), &raw, &mut out), Err(Unwritable::LinkType(LinkType::RAW)));
    assert_eq!(ng.packet(7, Timestamp(0), &frame, &mut out), Err(Unwritable::Interface(7)));
    assert_eq!(out.len(), before);
}
