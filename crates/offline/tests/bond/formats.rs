//! What is read and written: link types, resolutions, packing, and captures that are cut or corrupt.

use offline::bond::{BondError, Options, bond};
use offline::{Source, Target};
use proptest::collection::vec;
use proptest::prelude::*;
use wire::LinkType;
use wire::capture;

use crate::made::{Chunks, Form, Packet, Shared, bonded, directory, packed, read_all, stream};

fn packets(times: &[i64]) -> Vec<Packet> {
    times.iter().map(|ns| Packet { ns: *ns, data: vec![7; 60] }).collect()
}

#[test]
fn a_bond_of_pcap_alone_is_what_its_parts_are() {
    let (a, b) = (packets(&[1_000, 3_000]), packets(&[2_000]));
    for form in [Form::Micro, Form::Nano] {
        let sources = [&a, &b].map(|half| stream("s", Chunks::new(form.write(half), vec![100])));
        let (_, octets) = bonded(sources.into(), &Options::default());
        assert!(octets == form.write(&packets(&[1_000, 2_000, 3_000])), "{form:?}");
    }
}

#[test]
fn nanoseconds_of_one_input_are_kept() {
    let sources = vec![
        stream("a", Chunks::new(Form::Micro.write(&packets(&[1_000, 3_000])), vec![100])),
        stream("b", Chunks::new(Form::Nano.write(&packets(&[2_001])), vec![100])),
    ];
    let (report, octets) = bonded(sources, &Options::default());
    assert_eq!(read_all(&octets), packets(&[1_000, 2_001, 3_000]));
    assert!(report.output.unwrap().nanoseconds);
}

#[test]
fn link_types_that_mix_become_interfaces_of_pcapng() {
    let dir = directory();
    let (ethernet, raw) = (dir.path().join("e.pcap"), dir.path().join("r.pcapng"));
    std::fs::write(&ethernet, Form::Micro.write(&packets(&[1_000, 4_000]))).unwrap();
    std::fs::write(&raw, Form::Pcapng.write_as(LinkType::RAW, &packets(&[2_000, 3_000]))).unwrap();
    let sources = vec![Source::File(ethernet.clone()), Source::File(raw.clone())];
    let (report, octets) = bonded(sources, &Options { stats: true, ..Options::default() });
    assert_eq!(report.output.unwrap().format, "pcapng");
    let mut seen = Vec::new();
    capture::read(&octets, |_, packet| seen.push((packet.interface, packet.frame.link_type))).unwrap();
    let (e, r) = ((0, LinkType::ETHERNET), (1, LinkType::RAW));
    assert_eq!(seen, [e, r, r, e]);
    // A stream tells its second link type too late.
    let mut both = Form::Pcapng.write(&packets(&[1_000]));
    both.extend(Form::Pcapng.write_as(LinkType::RAW, &packets(&[2_000])));
    let target = |output: &Shared| Some(Target::Stream("out".to_owned(), Box::new(output.clone())));
    let source = stream("s", Chunks::new(both.clone(), vec![50]));
    let refused = bond(vec![source], &Options::default(), target(&Shared::default()), |_| {});
    assert!(matches!(refused, Err(BondError::Mixed(_))), "{refused:?}");
    // Of a file it is known, and a name can ask for it.
    let file = dir.path().join("both.pcapng");
    std::fs::write(&file, &both).unwrap();
    let (report, _) = bonded(vec![Source::File(file)], &Options::default());
    assert_eq!((report.output.unwrap().format, report.merged.frames), ("pcapng", 2));
    let named = dir.path().join("out.pcapng");
    let source = stream("s", Chunks::new(both, vec![50]));
    let report = bond(vec![source], &Options::default(), Some(Target::File(named.clone())), |_| {}).unwrap();
    assert_eq!(report.merged.frames, 2);
    assert_eq!(read_all(&std::fs::read(named).unwrap()).len(), 2);
}

#[test]
fn what_is_cut_or_corrupt_is_bonded_as_far_as_it_can_be_read() {
    let whole = Form::Micro.write(&packets(&[1_000, 3_000]));
    let other = Form::Micro.write(&packets(&[2_000]));
    let cut = whole[..whole.len() - 5].to_vec();
    let mut lying = whole.clone();
    lying[24 + 76 + 8..24 + 76 + 12].copy_from_slice(&u32::MAX.to_le_bytes());
    let gzip = packed(&whole, 1);
    let cut_gzip = gzip[..gzip.len() - 12].to_vec();
    let mut wrong_sum = packed(&whole, 2);
    let last = wrong_sum.len() - 1;
    wrong_sum[last] ^= 1;
    let said = [
        (
            cut,
            "1 packet (60 bytes) read, then at offset 100: truncated inside a packet record: 76 bytes needed, 71 present",
            1,
        ),
        (
            lying,
            "1 packet (60 bytes) read, then at offset 100: corrupt: a record of 4294967295 bytes, above the limit of 16777216",
            1,
        ),
        (
            b"\xfd7zXZ\0 and so on and so on and so on".to_vec(),
            "0 packets (0 bytes) read, then at offset 0: an xz file is not read: convert it to pcap or pcapng first",
            0,
        ),
        (
            b"no capture".to_vec(),
            "0 packets (0 bytes) read, then at offset 0: neither pcap nor pcapng: begins with 6e 6f 20 63",
            0,
        ),
        (Vec::new(), "0 packets (0 bytes) read, then at offset 0: the capture is empty", 0),
        (cut_gzip, "incomplete deflate stream", 1),
        (wrong_sum, "zstd: the checksum does not fit", 1),
    ];
    for (octets, words, least) in said {
        for sizes in [vec![1_000_000], vec![1]] {
            let sources = vec![
                stream("bad", Chunks::new(octets.clone(), sizes)),
                stream("good", Chunks::new(other.clone(), vec![9])),
            ];
            let (report, bond) = bonded(sources, &Options::default());
            let broken = report.inputs[0].broken.clone().unwrap_or_default();
            assert!(broken.ends_with(words), "{broken:?} does not end with {words:?}");
            assert!(!report.is_whole());
            assert!(report.inputs[0].frames >= least, "{words}");
            assert_eq!(read_all(&bond).len(), 1 + usize::try_from(report.inputs[0].frames).unwrap());
        }
    }
}

#[test]
fn a_window_of_zstd_that_is_too_wide_is_refused_before_it_takes_memory() {
    // A frame header with a window of 2^31 octets (RFC 8878, section 3.1.1.1.2), and nothing behind.
    let bomb = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 21 << 3, 0, 0, 0, 0];
    let (report, _) = bonded(vec![stream("bomb", Chunks::new(bomb, vec![3]))], &Options::default());
    let broken = report.inputs[0].broken.clone().unwrap();
    assert!(
        broken.contains("zstd with a window of 2147483648 bytes, above the limit of 8388608"),
        "{broken}"
    );
}

#[test]
fn times_that_pcap_cannot_hold_are_clamped_and_counted() {
    let early = Options { offsets: vec![(0, -2_000_000_000)], ..Options::default() };
    let source = stream("s", Chunks::new(Form::Micro.write(&packets(&[1_000, 3_000_000_000])), vec![99]));
    let (report, octets) = bonded(vec![source], &early);
    assert_eq!(report.inputs[0].times_clamped, 1);
    assert_eq!(read_all(&octets), packets(&[0, 1_000_000_000]));
    assert_eq!(report.inputs[0].first.as_deref(), Some("-1.999999000"));
    let note = "1 frame bears a time that pcap cannot hold, which is from 1970 to 2106: it was written with the nearest \
                that is";
    assert_eq!(report.notes, [note]);
}

#[test]
fn times_beyond_sixty_four_bits_are_clamped_and_counted() {
    let mut capture = Vec::new();
    let mut writer = wire::capture::PcapngWriter::new(&mut capture);
    let id = writer.interface(LinkType::ETHERNET, "", &mut capture);
    let frame = wire::Frame { data: &[7; 60], wire_len: 60, link_type: LinkType::ETHERNET };
    for ns in [5, i128::from(i64::MAX), i128::from(i64::MAX) + 1, i128::from(u64::MAX)] {
        writer.packet(id, wire::capture::Timestamp(ns), &frame, &mut capture).unwrap();
    }
    // What is put right comes after what is capped: it must not hide it.
    for offset in [0, -1_000_000_000] {
        let options = Options { offsets: vec![(0, offset)], ..Options::default() };
        let source = stream("s", Chunks::new(capture.clone(), vec![99]));
        let report = offline::bond::bond(vec![source], &options, None, |_| {}).unwrap();
        // Without the offset the second is the last that 64 bits tell: it may stand for anything. With it, the first
        // lies before 1970.
        assert_eq!(report.inputs[0].times_clamped, 3, "{offset}");
        let note = "3 frames bear times that what is written cannot hold, which is from 1970 to 2262: they would be \
                    written with the nearest that are";
        assert_eq!(report.notes, [note]);
    }
}

#[test]
fn an_offset_moves_one_half_and_statistics_say_what_that_changes() {
    // A ping and its answer; the answer's clock is 5 ms behind.
    let echo = |kind: u8| {
        let mut frame = vec![0u8; 60];
        frame[12..14].copy_from_slice(&[8, 0]);
        frame[14] = 0x45;
        frame[16..18].copy_from_slice(&46u16.to_be_bytes());
        frame[22] = 64;
        frame[23] = 1;
        let (source, destination) = if kind == 8 { (1, 2) } else { (2, 1) };
        frame[26..30].copy_from_slice(&[10, 0, 0, source]);
        frame[30..34].copy_from_slice(&[10, 0, 0, destination]);
        frame[34] = kind;
        frame[38..42].copy_from_slice(&[0, 7, 0, 1]);
        frame
    };
    let dir = directory();
    let (ask, answer) = (dir.path().join("ask.pcap"), dir.path().join("answer.pcap"));
    std::fs::write(&ask, Form::Micro.write(&[Packet { ns: 10_000_000, data: echo(8) }])).unwrap();
    std::fs::write(&answer, Form::Micro.write(&[Packet { ns: 6_000_000, data: echo(0) }])).unwrap();
    let sources = || vec![Source::File(ask.clone()), Source::File(answer.clone())];
    let as_it_is = Options { stats: true, ..Options::default() };
    let merged = bonded(sources(), &as_it_is).0.merged;
    assert_eq!((merged.inversions_before, merged.inversions_after), (None, Some(1)));
    let shifted = Options { offsets: vec![(1, 5_000_000)], ..as_it_is };
    let (report, octets) = bonded(sources(), &shifted);
    assert_eq!((report.merged.inversions_before, report.merged.inversions_after), (Some(1), Some(0)));
    assert_eq!(
        read_all(&octets).iter().map(|packet| packet.ns).collect::<Vec<_>>(),
        [10_000_000, 11_000_000]
    );
}

#[test]
fn answers_without_room_to_wait_are_told_of() {
    // Acknowledgements of what was not captured, each of more.
    let packet = |number: i64| {
        let mut data = vec![0u8; 60];
        data[12..16].copy_from_slice(&[8, 0, 0x45, 0]);
        data[16..18].copy_from_slice(&40u16.to_be_bytes());
        data[22..24].copy_from_slice(&[64, 6]);
        data[26..34].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
        data[34..38].copy_from_slice(&[0, 80, 0x10, 0]);
        let acknowledged = u32::try_from(number).unwrap() + 1;
        data[42..46].copy_from_slice(&acknowledged.to_be_bytes());
        data[46..48].copy_from_slice(&[0x50, 0x10]);
        Packet { ns: number * 1000, data }
    };
    let capture = Form::Micro.write(&(0..4_100).map(packet).collect::<Vec<_>>());
    let stats = Options { stats: true, ..Options::default() };
    let (report, _) = bonded(vec![stream("s", Chunks::new(capture, vec![9_999]))], &stats);
    let note = "there was no room for 4 answers to wait for what came later: so many inversions may not have been \
                counted";
    assert_eq!(report.notes, [note]);
}

#[test]
fn frames_that_both_inputs_have_are_counted_and_kept() {
    let one = packets(&[1_000, 2_000, 2_000, 3_000]);
    let mut other = packets(&[1_000, 2_000, 4_000]);
    other[0].data[5] = 1;
    let sources = [one, other].map(|half| stream("s", Chunks::new(Form::Micro.write(&half), vec![64])));
    let (report, octets) = bonded(sources.into(), &Options { stats: true, ..Options::default() });
    assert_eq!(report.merged.duplicates, Some(1), "one at 2 us; that at 1 us differs");
    assert_eq!((report.merged.tie_groups, report.merged.tie_frames), (2, 5));
    assert_eq!(read_all(&octets).len(), 7);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_octets_say_all_that_is_read_comes_out_and_the_same_however_it_arrives(
        times in vec(0..3_000_000_000i64, 1..40),
        form in prop_oneof![Just(Form::Micro), Just(Form::Nano), Just(Form::BigEndian), Just(Form::Pcapng)],
        how in 0..3u8,
        flips in vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        keep in any::<prop::sample::Index>(),
        piece in 1..200usize,
    ) {
        let mut octets = packed(&form.write(&packets(&times)), how);
        for (at, with) in flips {
            let at = at.index(octets.len());
            octets[at] ^= with;
        }
        octets.truncate(keep.index(octets.len() * 2).max(1));
        let good = Form::Micro.write(&packets(&[1_000]));
        let options = Options { stats: true, ..Options::default() };
        let mut bonds = Vec::new();
        for sizes in [vec![usize::MAX], vec![piece]] {
            let output = Shared::default();
            let target = Target::Stream("out".to_owned(), Box::new(output.clone()));
            let sources = vec![
                stream("odd", Chunks::new(octets.clone(), sizes)),
                stream("good", Chunks::new(good.clone(), vec![9])),
            ];
            match bond(sources, &options, Some(target), |_| {}) {
                Ok(report) => {
                    let written = output.octets();
                    let count = u64::try_from(read_all(&written).len()).unwrap();
                    prop_assert_eq!(count, report.merged.frames);
                    prop_assert_eq!(count, report.inputs.iter().map(|input| input.frames).sum::<u64>());
                    bonds.push(Some(written));
                }
                Err(BondError::Mixed(_)) => bonds.push(None),
                Err(other) => prop_assert!(false, "{}", other),
            }
        }
        prop_assert_eq!(&bonds[0], &bonds[1]);
    }
}
