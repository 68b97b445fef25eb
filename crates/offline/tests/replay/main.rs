//! Replays of whole captures: what comes out where, what is counted, and what is said of bad input.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)]

mod cases;
mod model;
mod scratch;

use std::io::{self, Read, Write};

use offline::{Input, Outputs, ReplayError, Source, Target, replay};
use plan::plan::Plan;
use scratch::{Dir, Shared, compile, file, packets, pcap, point, port, replay_all, stream};
use wire::capture::{PcapngWriter, Timestamp};
use wire::{Frame, LinkType};

const AGGREGATOR: &str = r#"
[ports]
a = "eth1"
b = "eth2"
m = "eth3"

[[device]]
name = "perimeter"
kind = "port-aggregator"
link = ["a", "b"]
monitors = ["m"]
"#;

const WATCH: &str = r#"
[ports]
w = "eth1"
m = "eth3"

[[device]]
name = "host"
kind = "watch"
interfaces = ["w"]
direction = "both"
monitors = ["m"]
"#;

const SPANS: &str = r#"
[ports]
s = "eth1"
t = "eth2"
m = "eth3"
n = "eth4"

[[device]]
name = "spans"
kind = "span-regeneration"
spans = ["s", "t"]
monitors = [["m", "n"]]
"#;

fn frame(tag: u8) -> Vec<u8> {
    vec![tag; 60]
}

fn into(dir: &Dir, under: &str) -> Outputs {
    Outputs { dir: Some(dir.0.join(under)), ..Outputs::default() }
}

#[test]
fn an_aggregator_merges_by_time_and_the_first_named_wins_a_tie() {
    let plan = compile(AGGREGATOR);
    let (f1, f2, f3, f4) = (frame(1), frame(2), frame(3), frame(4));
    let a = pcap(&[(10, &f1), (20, &f2)]);
    let b = pcap(&[(10, &f3), (15, &f4)]);
    let inputs = vec![stream(point(&plan, "a"), a), stream(point(&plan, "b"), b)];
    let (report, written) = replay_all(&plan, inputs);
    let tags = |name: &str| written[name].iter().map(|p| (p.0, p.3[0])).collect::<Vec<_>>();
    assert_eq!(tags("m"), [(10_000, 1), (10_000, 3), (15_000, 4), (20_000, 2)]);
    assert_eq!(tags("b"), [(10_000, 1), (20_000, 2)]);
    assert_eq!(tags("a"), [(10_000, 3), (15_000, 4)]);
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["backend"], "offline");
    assert_eq!(json["ports"]["a"]["in"], serde_json::json!({ "frames": 2, "bytes": 120 }));
    assert_eq!(json["ports"]["b"]["passed"], 2);
    assert_eq!(json["copies"][1]["source"], "b");
    assert_eq!((&json["copies"][1]["matched"], &json["copies"][1]["copied"]), (&2.into(), &2.into()));
    assert_eq!(json["monitors"]["m"]["sent"], 4);
    assert_eq!(json["monitors"]["m"]["dropped"]["buffer"], serde_json::json!({ "a": 0, "b": 0 }));
    assert_eq!(json["unaccounted"], 0);
}

#[test]
fn each_port_that_was_sent_a_frame_leaves_one_file_and_older_ones_go() {
    let plan = compile(AGGREGATOR);
    let dir = Dir::new();
    std::fs::create_dir(dir.0.join("out")).unwrap();
    for old in ["out/a.pcap", "out/m.pcapng", "out/b.pcapng", "out/other.pcap"] {
        dir.file(old, b"old");
    }
    let a = dir.file("in.pcap", &pcap(&[(1, &frame(1))]));
    let report = replay(&plan, vec![file(&plan, "a", &a)], into(&dir, "out"), |_| {}).unwrap();
    assert_eq!(dir.names("out"), ["b.pcap", "m.pcap", "other.pcap"]);
    let written: Vec<_> =
        report.outputs.iter().map(|out| (out.port.as_str(), out.packets, out.bytes)).collect();
    assert_eq!(written, [("b", 1, 60), ("m", 1, 60)]);
}

#[test]
fn nanoseconds_are_kept_and_only_then_written() {
    let plan = compile(AGGREGATOR);
    let dir = Dir::new();
    let mut fine = Vec::new();
    let writer = wire::capture::PcapWriter::new(LinkType::ETHERNET, true, &mut fine);
    writer.packet(Timestamp(1_001), &Frame::ethernet(&frame(1)).unwrap(), &mut fine).unwrap();
    let fine = dir.file("fine.pcap", &fine);
    let coarse = dir.file("coarse.pcap", &pcap(&[(2, &frame(2))]));
    let magic = |name: &str| std::fs::read(dir.0.join(name)).unwrap()[..4].to_vec();
    replay(&plan, vec![file(&plan, "a", &coarse)], into(&dir, "us"), |_| {}).unwrap();
    assert_eq!(magic("us/m.pcap"), [0xd4, 0xc3, 0xb2, 0xa1]);
    let inputs = vec![file(&plan, "a", &coarse), file(&plan, "b", &fine)];
    replay(&plan, inputs, into(&dir, "ns"), |_| {}).unwrap();
    assert_eq!(magic("ns/m.pcap"), [0x4d, 0x3c, 0xb2, 0xa1]);
    let times: Vec<_> =
        packets(&std::fs::read(dir.0.join("ns/m.pcap")).unwrap()).iter().map(|p| p.0).collect();
    assert_eq!(times, [1_001, 2_000]);
}

fn mixed() -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = PcapngWriter::new(&mut out);
    let ids = [LinkType::ETHERNET, LinkType::RAW]
        .map(|link_type| (link_type, writer.interface(link_type, "x", &mut out)));
    for (ns, (link_type, id)) in (5..).zip(ids) {
        let frame = Frame { data: &[0x45; 40], wire_len: 40, link_type };
        writer.packet(id, Timestamp(ns), &frame, &mut out).unwrap();
    }
    out
}

#[test]
fn only_ports_whose_link_types_mix_get_pcapng() {
    let plan = compile(SPANS);
    let dir = Dir::new();
    let both = dir.file("both.pcapng", &mixed());
    let plain = dir.file("plain.pcap", &pcap(&[(1, &frame(1))]));
    std::fs::create_dir(dir.0.join("out")).unwrap();
    dir.file("out/m.pcap", b"old");
    let inputs = vec![file(&plan, "s", &both), file(&plan, "t", &plain)];
    let report = replay(&plan, inputs, into(&dir, "out"), |_| {}).unwrap();
    assert_eq!(dir.names("out"), ["m.pcapng", "n.pcap"]);
    assert_eq!((report.ledger.ports["s"].consumed, report.ledger.unaccounted), (2, 0));
    let written = packets(&std::fs::read(dir.0.join("out/m.pcapng")).unwrap());
    assert_eq!(written.iter().map(|p| (p.0, p.1)).collect::<Vec<_>>(), [(5, 1), (6, 101)]);
}

#[test]
fn a_stream_whose_link_types_mix_needs_a_target_that_can_hold_them() {
    let plan = compile(SPANS);
    let dir = Dir::new();
    let input = || vec![stream(point(&plan, "s"), mixed())];
    let error = replay(&plan, input(), into(&dir, "out"), |_| {}).unwrap_err();
    assert!(error.to_string().contains("write to a file whose name ends in .pcapng"), "{error}");
    let mut outputs = Outputs::default();
    outputs.ports.insert(port(&plan, "m"), Target::File(dir.0.join("x.pcapng")));
    replay(&plan, input(), outputs, |_| {}).unwrap();
    assert_eq!(packets(&std::fs::read(dir.0.join("x.pcapng")).unwrap()).len(), 2);
}

#[test]
fn a_watched_interface_is_copied_by_direction_and_left_alone() {
    let plan = compile(WATCH);
    let rx = stream(point(&plan, "w:rx"), pcap(&[(1, &frame(1)), (3, &frame(3))]));
    let tx = stream(point(&plan, "w:tx"), pcap(&[(2, &frame(2))]));
    let (report, written) = replay_all(&plan, vec![rx, tx]);
    assert_eq!(written["m"].iter().map(|p| p.3[0]).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!((report.ledger.ports["w"].entered.frames, report.ledger.ports["w"].left), (3, 3));
    assert_eq!(report.ledger.copies.iter().map(|c| c.source.as_str()).collect::<Vec<_>>(), ["w:rx", "w:tx"]);
    assert_eq!(report.inputs[1].source, "w:tx");
}

#[test]
fn a_cut_capture_is_replayed_as_far_as_it_goes_and_reported() {
    let plan = compile(AGGREGATOR);
    let dir = Dir::new();
    let whole = pcap(&[(1, &frame(1)), (3, &frame(3))]);
    let cut = dir.file("cut.pcap", &whole[..whole.len() - 1]);
    let noise = dir.file("noise.pcap", b"no capture at all");
    let good = dir.file("good.pcap", &pcap(&[(2, &frame(2)), (4, &frame(4))]));
    let inputs = vec![file(&plan, "a", &cut), file(&plan, "b", &good), file(&plan, "a", &noise)];
    let report = replay(&plan, inputs, into(&dir, "out"), |_| {}).unwrap();
    assert!(!report.is_whole());
    let broken: Vec<_> = report.inputs.iter().map(|input| input.broken.as_deref()).collect();
    let expected = [
        Some(
            "1 packet (60 bytes) read, then at offset 100: truncated inside a packet record: \
             76 bytes needed, 75 present",
        ),
        None,
        Some("0 packets (0 bytes) read, then at offset 0: neither pcap nor pcapng: begins with 6e 6f 20 63"),
    ];
    assert_eq!(broken, expected);
    let written = packets(&std::fs::read(dir.0.join("out/m.pcap")).unwrap());
    assert_eq!(written.iter().map(|p| p.3[0]).collect::<Vec<_>>(), [1, 2, 4]);
    assert_eq!(report.ledger.unaccounted, 0);
}

/// Gives some octets, then fails as a disk does.
struct Failing(Vec<u8>);

impl Read for Failing {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.0.is_empty() {
            return Err(io::Error::other("the disk is gone"));
        }
        let len = out.len().min(self.0.len());
        out[..len].copy_from_slice(&self.0[..len]);
        self.0.drain(..len);
        Ok(len)
    }
}

#[test]
fn a_disk_that_fails_is_reported_like_a_cut_capture() {
    let plan = compile(AGGREGATOR);
    let read = Failing(pcap(&[(1, &frame(1))]));
    let source = Source::Stream("bad disk".to_owned(), Box::new(read));
    let (report, written) = replay_all(&plan, vec![Input { at: point(&plan, "a"), source }]);
    assert_eq!(written["m"].len(), 1);
    let broken = report.inputs[0].broken.as_deref();
    assert_eq!(broken, Some("1 packet (60 bytes) read, then at offset 100: the disk is gone"));
}

/// Gives one octet at a time.
struct Trickle(io::Cursor<Vec<u8>>);

impl Read for Trickle {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.0.read(&mut out[..1])
    }
}

#[test]
fn records_longer_than_a_piece_and_readers_slower_than_a_record_are_no_matter() {
    let plan = compile(AGGREGATOR);
    let (small, big) = (frame(7), vec![9; 3 << 20]);
    let long = pcap(&[(1, &small), (2, &big), (3, &small), (4, &big), (5, &small)]);
    let (report, written) = replay_all(&plan, vec![stream(point(&plan, "a"), long)]);
    assert_eq!(written["m"].iter().map(|p| p.3.len()).collect::<Vec<_>>(), [60, 3 << 20, 60, 3 << 20, 60]);
    assert!(report.is_whole());
    let slow = Trickle(io::Cursor::new(pcap(&[(1, &small), (2, &frame(8))])));
    let source = Source::Stream("slow".to_owned(), Box::new(slow));
    let (_, written) = replay_all(&plan, vec![Input { at: point(&plan, "a"), source }]);
    assert_eq!(written["m"].iter().map(|p| p.3[0]).collect::<Vec<_>>(), [7, 8]);
}

/// Long stretches of one input, turns of both, and records that are not in the file as they are written:
/// everything comes out once and in order, whether it was copied or written straight from the input.
#[test]
fn runs_of_records_end_where_another_input_or_another_piece_begins() {
    runs_of_records(&compile(AGGREGATOR));
    // In virtual time, by a monitor port where nothing ever waits.
    let fast = AGGREGATOR.replace("\"eth3\"", "{ interface = \"eth3\", rate = \"1Tbit\" }");
    runs_of_records(&compile(&fast));
}

fn runs_of_records(plan: &Plan) {
    let data = |number: u32, octets: usize| {
        let mut data = vec![0x55; octets];
        data[20..24].copy_from_slice(&number.to_be_bytes());
        data
    };
    let all: Vec<(i128, bool, Vec<u8>)> = (0..4_000u32)
        .map(|number| {
            let from_b = if number / 500 % 2 == 0 { number % 3 == 0 } else { number < 2_000 };
            (i128::from(number) + 1, from_b, data(number, 60 + usize::try_from(number % 1_400).unwrap()))
        })
        .collect();
    let of = |side: bool| all.iter().filter(move |(_, from_b, _)| *from_b == side);
    let little = |side| pcap(&of(side).map(|(us, _, data)| (*us, &data[..])).collect::<Vec<_>>());
    let pcapng = |side| {
        let mut out = Vec::new();
        let mut writer = PcapngWriter::new(&mut out);
        let id = writer.interface(LinkType::ETHERNET, "x", &mut out);
        for (us, _, data) in of(side) {
            writer.packet(id, Timestamp(us * 1000), &Frame::ethernet(data).unwrap(), &mut out).unwrap();
        }
        out
    };
    for second in [little(true), pcapng(true)] {
        let inputs = vec![stream(point(plan, "a"), little(false)), stream(point(plan, "b"), second)];
        let (report, written) = replay_all(plan, inputs);
        let said = |name: &str| written[name].iter().map(|p| (p.0 / 1000, p.3.clone())).collect::<Vec<_>>();
        let expected = |which: &dyn Fn(bool) -> bool| {
            let which = all.iter().filter(|(_, from_b, _)| which(*from_b));
            which.map(|(us, _, data)| (*us, data.clone())).collect::<Vec<_>>()
        };
        assert!(said("m") == expected(&|_| true));
        assert!(said("a") == expected(&|from_b| from_b));
        assert!(said("b") == expected(&|from_b| !from_b));
        assert_eq!(report.ledger.unaccounted, 0);
    }
}

/// Frames that waited and frames that left at once, which are written out of what was read, in one capture.
#[test]
fn frames_that_waited_stand_between_runs_of_records() {
    // 1000 octets take 1024 us at 8 Mbit/s: of each burst all but the first wait, and then three leave at once.
    let plan = compile(
        &AGGREGATOR.replace("\"eth3\"", "{ interface = \"eth3\", rate = \"8Mbit\", buffer = \"1MB\" }"),
    );
    let data = |number: u32| {
        let mut data = vec![0x55; 1000];
        data[20..24].copy_from_slice(&number.to_be_bytes());
        data
    };
    let mut sent: [Vec<(i128, Vec<u8>)>; 2] = [Vec::new(), Vec::new()];
    for number in 0..2000_u32 {
        let (burst, of_burst) = (number / 8, number % 8);
        let us = i128::from(burst) * 20_000 + if of_burst < 5 { 0 } else { i128::from(of_burst) * 2_000 };
        // Whole bursts from either side, and some from both.
        let side = if burst % 3 == 2 { number % 2 } else { burst % 2 };
        sent[side as usize].push((us * 1000, data(number)));
    }
    let capture = |frames: &[(i128, Vec<u8>)]| {
        let mut out = Vec::new();
        let writer = wire::capture::PcapWriter::new(LinkType::ETHERNET, true, &mut out);
        for (ns, data) in frames {
            writer.packet(Timestamp(*ns), &Frame::ethernet(data).unwrap(), &mut out).unwrap();
        }
        out
    };
    let inputs = ["a", "b"].into_iter().zip(&sent);
    let inputs = inputs.map(|(port, frames)| stream(point(&plan, port), capture(frames))).collect();
    let (report, written) = replay_all(&plan, inputs);
    assert_eq!((report.ledger.monitors["m"].sent, report.ledger.unaccounted), (2000, 0));
    let got = &written["m"];
    assert!(got.windows(2).all(|pair| pair[0].0 < pair[1].0));
    for (of_side, other) in sent.iter().zip(["b", "a"]) {
        let mine: Vec<&Vec<u8>> =
            got.iter().map(|it| &it.3).filter(|it| of_side.iter().any(|(_, data)| data == *it)).collect();
        assert!(
            mine.iter().copied().eq(of_side.iter().map(|(_, data)| data)),
            "in order, once, as they were"
        );
        let passed = written[other].iter().map(|it| (it.0, &it.3));
        assert!(passed.eq(of_side.iter().map(|(ns, data)| (*ns, data))));
    }
}

#[test]
fn frames_out_of_order_keep_their_place_and_are_counted() {
    let plan = compile(AGGREGATOR);
    let a = pcap(&[(10, &frame(1)), (5, &frame(2)), (30, &frame(3))]);
    let b = pcap(&[(7, &frame(4)), (20, &frame(5))]);
    let inputs = vec![stream(point(&plan, "a"), a), stream(point(&plan, "b"), b)];
    let (report, written) = replay_all(&plan, inputs);
    assert_eq!(written["m"].iter().map(|p| p.3[0]).collect::<Vec<_>>(), [4, 1, 2, 5, 3]);
    assert_eq!(report.inputs.iter().map(|i| i.out_of_order).collect::<Vec<_>>(), [1, 0]);
}

#[test]
fn a_time_that_the_format_cannot_hold_becomes_the_nearest_and_is_counted() {
    let plan = compile(AGGREGATOR);
    let dir = Dir::new();
    // One interface whose clock starts 2 s before 1970.
    let mut capture = Vec::new();
    for block in [
        &[0x0a0d_0d0a, 28, 0x1a2b_3c4d, 1, u32::MAX, u32::MAX, 28][..],
        &[1, 36, 1, 0, 14 | 8 << 16, (-2i32).cast_unsigned(), u32::MAX, 0, 36],
        &[6, 36, 0, 0, 0, 4, 4, 0x0101_0101, 36],
    ] {
        capture.extend(block.iter().flat_map(|word| word.to_le_bytes()));
    }
    let early = dir.file("early.pcapng", &capture);
    let report = replay(&plan, vec![file(&plan, "a", &early)], into(&dir, "out"), |_| {}).unwrap();
    assert_eq!(report.outputs.iter().map(|out| out.times_clamped).collect::<Vec<_>>(), [1, 1]);
    let written = packets(&std::fs::read(dir.0.join("out/m.pcap")).unwrap());
    assert_eq!(written, [(0, 1, 4, vec![1; 4])]);
}

/// A reader that has hung up.
struct Closed;

impl Write for Closed {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Err(io::ErrorKind::BrokenPipe.into())
    }
}

#[test]
fn an_output_that_is_hung_up_stops_and_nothing_else_does() {
    let plan = compile(AGGREGATOR);
    let big = vec![1; 1 << 20];
    let input = stream(point(&plan, "a"), pcap(&[(1, &big), (2, &big), (3, &big)]));
    let shared = Shared::default();
    let mut outputs = Outputs::default();
    outputs.ports.insert(port(&plan, "m"), Target::Stream("closed".to_owned(), Box::new(Closed)));
    outputs.ports.insert(port(&plan, "b"), Target::Stream("open".to_owned(), Box::new(shared.clone())));
    let report = replay(&plan, vec![input], outputs, |_| {}).unwrap();
    let closed: Vec<_> = report.outputs.iter().map(|out| (out.port.as_str(), out.closed)).collect();
    assert_eq!(closed, [("b", false), ("m", true)]);
    assert_eq!(packets(&shared.0.lock().unwrap()).len(), 3);
    assert_eq!((report.ledger.monitors["m"].sent, report.ledger.unaccounted), (3, 0));
}

#[test]
fn a_target_that_was_named_is_a_whole_capture_even_without_frames() {
    let plan = compile(AGGREGATOR);
    let (_, written) = replay_all(&plan, vec![stream(point(&plan, "a"), pcap(&[]))]);
    // `packets` has read them to their end.
    assert_eq!(written.into_values().collect::<Vec<_>>(), [vec![], vec![], vec![]]);
}

#[test]
fn a_port_with_a_rate_delays_queues_and_drops() {
    // 60 octets take 84 on the wire, and so 672 us at 1 Mbit/s.
    let slow =
        AGGREGATOR.replace("\"eth3\"", "{ interface = \"eth3\", rate = \"1Mbit\", buffer = \"120B\" }");
    let plan = compile(&slow);
    let tagged: Vec<Vec<u8>> = (0..5).map(frame).collect();
    let a: Vec<(i128, &[u8])> = tagged.iter().map(|it| (1000, &it[..])).collect();
    let late = frame(9);
    let inputs = vec![
        stream(point(&plan, "a"), pcap(&a)),
        stream(point(&plan, "b"), pcap(&[(1_100, &frame(7)), (10_000, &late)])),
    ];
    let (report, written) = replay_all(&plan, inputs);
    let at = |name: &str| written[name].iter().map(|p| (p.0, p.3[0])).collect::<Vec<_>>();
    // One leaves at once, two fit the buffer of a, one that of b, and the sides take turns.
    let expected = [(1_000_000, 0), (1_672_000, 7), (2_344_000, 1), (3_016_000, 2), (10_000_000, 9)];
    assert_eq!(at("m"), expected);
    assert_eq!(at("b"), (0..5).map(|tag| (1_000_000, tag)).collect::<Vec<_>>(), "the link never waits");
    let monitor = &report.ledger.monitors["m"];
    assert_eq!((monitor.copied, monitor.sent, monitor.queued), (7, 5, 0));
    assert_eq!(monitor.dropped.buffer.values().copied().collect::<Vec<_>>(), [2, 0]);
    assert_eq!((report.ledger.unaccounted, report.ledger.notes.len()), (0, 0));
    let measured = &report.measured[0];
    assert_eq!((measured.total.offered.frames, measured.total.dropped.first_ns), (7, Some(0)));
    assert_eq!(measured.sides[0].measures.queue.deepest_bytes, 120);
}

#[test]
fn progress_ends_with_everything() {
    let plan = compile(AGGREGATOR);
    let mut last = None;
    let input = stream(point(&plan, "a"), pcap(&[(1, &frame(1)), (2, &frame(2))]));
    replay(&plan, vec![input], Outputs::default(), |progress| last = Some(*progress)).unwrap();
    assert_eq!(last.map(|p| (p.frames, p.bytes, p.time)), Some((2, 120, Timestamp(2_000))));
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_is_written() {
    let plan = compile(AGGREGATOR);
    let watch = compile(&WATCH.replace("\"both\"", "\"rx\""));
    let dir = Dir::new();
    let a = dir.file("a.pcap", &pcap(&[(1, &frame(1))]));
    let said = |result: Result<_, ReplayError>| {
        let text = result.map(|_: offline::Report| ()).unwrap_err().to_string();
        text.replace(&format!("{}/", dir.0.display()), "")
    };
    let to = |name: &str| {
        let mut outputs = Outputs::default();
        outputs.ports.insert(port(&plan, name), Target::File(dir.0.join("x.pcap")));
        outputs
    };
    assert_eq!(
        said(replay(&watch, vec![file(&watch, "w:tx", &a)], Outputs::default(), |_| {})),
        "no frames enter at w:tx: it is watched the other way only\nhelp: frames enter at w:rx"
    );
    // a.pcap is both what is read and what port a would be written to. All reasons come at once.
    let inputs = vec![file(&plan, "m", &a), file(&plan, "b", &dir.0.join("none")), file(&plan, "b", &dir.0)];
    assert_eq!(
        said(replay(&plan, inputs, into(&dir, ""), |_| {})).replace(&dir.0.display().to_string(), "DIR"),
        "no frames enter at m: it is a monitor and only sends\n\
         help: frames enter at a and b\n\
         none: cannot be opened: No such file or directory (os error 2)\n\
         help: name a pcap or pcapng file that can be read, or `-` for standard input\n\
         DIR: cannot be opened: is a directory\n\
         help: name a pcap or pcapng file that can be read, or `-` for standard input\n\
         a.pcap: would be overwritten with the frames of port a, and is read\n\
         help: write to another file or directory"
    );
    let mut twice = to("m");
    twice.ports.insert(port(&plan, "b"), Target::File(dir.0.join("x.pcap")));
    assert_eq!(
        said(replay(&plan, vec![file(&plan, "a", &a)], twice, |_| {})),
        "x.pcap: is written for port b and for port m\nhelp: name a file for each"
    );
    let spans = compile(SPANS);
    let mut to_span = Outputs { dir: Some(a.clone()), ..Outputs::default() };
    to_span.ports.insert(port(&spans, "s"), Target::File(dir.0.join("x.pcap")));
    assert_eq!(
        said(replay(&spans, vec![file(&spans, "s", &a)], to_span, |_| {})),
        "a.pcap: is no directory\nhelp: name a directory; it is made where it is missing\n\
         port s never sends a frame, so there is nothing to write\nhelp: leave it out"
    );
    assert_eq!(dir.names(""), ["a.pcap"]);
}
