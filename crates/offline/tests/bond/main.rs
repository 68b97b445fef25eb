//! Captures bonded: order, ties, windows, formats, packing, cut inputs, and readers that hang up. What a bond must be is
//! worked out here by sorting, and compared octet by octet.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

mod formats;
mod made;

use offline::bond::{Options, bond};
use offline::{Source, Target};
use proptest::collection::vec;
use proptest::prelude::*;

use made::{Chunks, Form, Packet, Shared, bonded, expected, read_all, stream};

/// The most frames of an input.
const FRAMES: usize = 80;

/// Frames of one input: mostly in order, with ties, and with some that come late.
fn packets() -> impl Strategy<Value = Vec<Packet>> {
    let step = prop_oneof![6 => 0..3i64, 2 => 0..2_000i64, 1 => -5_000..0i64];
    let packet = (step, 0..90usize, any::<u8>());
    vec(packet, 0..FRAMES).prop_map(|steps| {
        let mut us = 1_000_000i64;
        let mut next = |(step, len, fill): (i64, usize, u8)| {
            us = (us + step).max(0);
            Packet { ns: us * 1000, data: vec![fill; len] }
        };
        steps.into_iter().map(&mut next).collect()
    })
}

fn form() -> impl Strategy<Value = Form> {
    prop_oneof![Just(Form::Micro), Just(Form::Nano), Just(Form::BigEndian), Just(Form::Pcapng)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn a_bond_is_the_stable_sort_of_its_inputs_however_they_arrive(
        inputs in vec((packets(), form()), 1..5),
        window_us in prop_oneof![Just(0u64), 1..100u64, Just(3_000u64), Just(1_000_000u64)],
        sizes in vec(1..300usize, 1..8),
        packed in 0..3u8,
    ) {
        let options = Options { window_ns: window_us * 1000, ..Options::default() };
        let expected = expected(&inputs, window_us);
        let captures: Vec<Vec<u8>> = inputs.iter().map(|(packets, form)| form.write(packets)).collect();
        let pack = |capture: &Vec<u8>| made::packed(capture, packed);
        let sources: Vec<Source> = captures
            .iter()
            .map(|capture| stream("stream", Chunks::new(pack(capture), sizes.clone())))
            .collect();
        let (report, octets) = bonded(sources, &options);
        prop_assert_eq!(&read_all(&octets), &expected.packets);
        prop_assert_eq!(report.merged.frames, u64::try_from(expected.packets.len()).unwrap());
        let late: u64 = report.inputs.iter().map(|input| input.late).sum();
        prop_assert_eq!(late, expected.late);
        prop_assert_eq!(report.merged.ordered, expected.packets.is_sorted_by_key(|packet| packet.ns));
        let octets_of = |packet: &Packet| u64::try_from(packet.data.len()).unwrap();
        prop_assert_eq!(report.merged.bytes, expected.packets.iter().map(octets_of).sum::<u64>());
        prop_assert_eq!((report.merged.tie_groups, report.merged.tie_frames), expected.ties);
        prop_assert!(report.is_whole());
        // The same from files, which are read ahead by other threads.
        let dir = made::directory();
        let files: Vec<Source> = captures
            .iter()
            .enumerate()
            .map(|(index, capture)| {
                let path = dir.path().join(format!("{index}.cap"));
                std::fs::write(&path, pack(capture)).unwrap();
                Source::File(path)
            })
            .collect();
        let (_, from_files) = bonded(files, &options);
        prop_assert_eq!(read_all(&from_files), expected.packets);
    }

}

proptest! {
    #![proptest_config(ProptestConfig { cases: 30, ..ProptestConfig::default() })]

    #[test]
    fn frames_of_one_input_that_lie_far_apart_are_put_in_order_within_the_window(
        moved in vec((0..3_000usize, 1..600usize), 0..40),
        window_ms in 1..100u64,
    ) {
        // A megabyte and more: several pieces. Each frame is a millisecond after the one before.
        let mut packets: Vec<Packet> =
            (0..3_000i64).map(|at| Packet { ns: at * 1_000_000, data: at.to_le_bytes().repeat(60) }).collect();
        for (from, by) in moved {
            let packet = packets.remove(from);
            packets.insert((from + by).min(packets.len()), packet);
        }
        let inputs = vec![(packets, Form::Micro)];
        let options = Options { window_ns: window_ms * 1_000_000, ..Options::default() };
        let expected = expected(&inputs, window_ms * 1000);
        let dir = made::directory();
        let path = dir.path().join("one.pcap");
        std::fs::write(&path, inputs[0].1.write(&inputs[0].0)).unwrap();
        let (report, octets) = bonded(vec![Source::File(path)], &options);
        prop_assert_eq!(read_all(&octets), expected.packets);
        prop_assert_eq!(report.inputs[0].late, expected.late);
    }
}

#[test]
fn what_lies_further_back_than_memory_reaches_is_late_and_not_lost() {
    // One frame belongs in front of 8 MiB of others, all within the window of a second.
    let mut packets: Vec<Packet> =
        (0..8_192i64).map(|at| Packet { ns: (at + 10) * 1000, data: vec![7; 1024] }).collect();
    packets.push(Packet { ns: 5_000, data: vec![9; 60] });
    packets.push(Packet { ns: 8_000_000_000, data: vec![1; 60] });
    let capture = Form::Micro.write(&packets);
    let dir = made::directory();
    let path = dir.path().join("far.pcap");
    std::fs::write(&path, &capture).unwrap();
    let (report, from_file) = bonded(vec![Source::File(path)], &Options::default());
    assert_eq!((report.inputs[0].late, report.inputs[0].out_of_order), (1, 1));
    assert!(!report.merged.ordered);
    assert_eq!(report.notes.len(), 1, "{:?}", report.notes);
    let got = read_all(&from_file);
    assert_eq!(got.len(), packets.len());
    let at = got.iter().position(|packet| packet.data.len() == 60).unwrap();
    // It goes out as soon as it can: in front of what is still in memory, and not at the end.
    assert!((1..8_192).contains(&at), "{at}");
    // However it arrives, it goes to the same place.
    let (_, from_stream) =
        bonded(vec![stream("far", Chunks::new(capture, vec![70_001, 13]))], &Options::default());
    assert!(from_stream == from_file);
}

#[test]
fn a_record_longer_than_a_piece_is_read_whole() {
    let long = Packet { ns: 2_000, data: (0..3_000_000u32).map(|at| at.to_le_bytes()[1]).collect() };
    let short = |ns| Packet { ns, data: vec![3; 60] };
    let inputs = vec![
        (vec![short(1_000), long, short(3_000)], Form::Micro),
        (vec![short(2_000), short(4_000)], Form::Pcapng),
    ];
    let expected = expected(&inputs, 1_000_000);
    let sources =
        inputs.iter().map(|(packets, form)| stream("s", Chunks::new(form.write(packets), vec![1 << 20])));
    let (_, octets) = bonded(sources.collect(), &Options::default());
    assert!(read_all(&octets) == expected.packets);
}

#[test]
fn nine_hundred_inputs_come_in_order() {
    let dir = made::directory();
    let inputs: Vec<(Vec<Packet>, Form)> = (0..900i64)
        .map(|input| {
            let packet =
                |at: i64| Packet { ns: (at * 1024 + input / 2) * 1000, data: input.to_le_bytes().to_vec() };
            ((0..20).map(packet).collect(), Form::Micro)
        })
        .collect();
    let files = inputs.iter().enumerate().map(|(index, (packets, form))| {
        let path = dir.path().join(format!("{index}.pcap"));
        std::fs::write(&path, form.write(packets)).unwrap();
        Source::File(path)
    });
    let (report, octets) = bonded(files.collect(), &Options::default());
    assert_eq!(read_all(&octets), expected(&inputs, 1_000_000).packets);
    assert_eq!((report.merged.tie_groups, report.merged.tie_frames), (9_000, 18_000));
}

#[test]
fn a_reader_that_hangs_up_ends_the_reading() {
    let packets: Vec<Packet> =
        (0..20_000i64).map(|at| Packet { ns: at * 1000, data: vec![7; 1000] }).collect();
    let capture = Form::Micro.write(&packets);
    let output = Shared::that_hangs_up_after(3_000_000);
    let target = Target::Stream("pipe".to_owned(), Box::new(output.clone()));
    let source = stream("s", Chunks::new(capture, vec![65_536]));
    let report = bond(vec![source], &Options::default(), Some(target), |_| {}).unwrap();
    assert!(report.output.unwrap().closed);
    let merged = report.merged;
    assert!(merged.frames < 20_000 && merged.frames < report.inputs[0].frames, "{merged:?}");
    // All that is said of the bond is of the same frames.
    assert_eq!(merged.bytes, merged.frames * 1000);
    let last = i64::try_from(merged.frames - 1).unwrap() * 1000;
    assert_eq!(merged.last, Some(format!("0.{last:09}")));
    assert!(output.octets().len() <= 3_000_000);
}

#[test]
fn what_is_written_waits_for_no_stream_that_is_silent() {
    // Frames up to the window before the last that came are handed out before the stream is asked for more.
    let packets: Vec<Packet> =
        (0..10i64).map(|at| Packet { ns: at * 1_000_000_000, data: vec![7; 60] }).collect();
    let output = Shared::default();
    let seen = output.clone();
    let asked = move || {
        // When all ten have come and more is asked for, nine of them have been written: the window is a second.
        assert_eq!(read_all(&seen.octets()).len(), 9);
    };
    let source = stream("s", Chunks::new(Form::Micro.write(&packets), vec![10_000]).then(asked));
    let target = Target::Stream("pipe".to_owned(), Box::new(output.clone()));
    let report = bond(vec![source], &Options::default(), Some(target), |_| {}).unwrap();
    assert_eq!((report.merged.frames, read_all(&output.octets()).len()), (10, 10));
}
