//! Lines for frames of every kind that the printer knows.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use wire::capture::Timestamp;
use wire::print::{Printer, time_of_day};
use wire::{Frame, LinkType};

/// Frames, in order, and the lines that tcpdump 4.99.3 prints too (`-n`, without time): octets in
/// hexadecimal, a space, the line.
const SAME: &str = include_str!("same.txt");

/// Frames for which tcpdump prints another line, as the module says.
const OURS: &str = include_str!("ours.txt");

fn cases(text: &'static str) -> Vec<(&'static str, &'static str)> {
    text.lines().map(|line| line.split_once(' ').unwrap()).collect()
}

fn octets(hex: &str) -> Vec<u8> {
    if hex == "-" {
        return Vec::new();
    }
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn line(printer: &mut Printer, frame: &Frame<'_>) -> String {
    let mut line = String::new();
    printer.frame(frame, &mut line).unwrap();
    line
}

fn check(text: &'static str) {
    let mut printer = Printer::new();
    for (hex, expected) in cases(text) {
        let data = octets(hex);
        assert_eq!(line(&mut printer, &Frame::ethernet(&data).unwrap()), expected, "{hex}");
    }
}

#[test]
fn lines_are_those_of_tcpdump() {
    check(SAME);
}

#[test]
fn lines_that_differ_from_tcpdump_do_so_on_purpose() {
    check(OURS);
}

#[test]
fn frames_without_ethernet_are_printed_too() {
    let (hex, expected) = cases(SAME).into_iter().find(|(_, line)| line.contains("echo reply")).unwrap();
    let data = octets(&hex[28..]);
    let raw = Frame { link_type: LinkType::RAW, ..Frame::ethernet(&data).unwrap() };
    assert_eq!(line(&mut Printer::new(), &raw), expected);
    let radio = Frame { link_type: LinkType::IEEE802_11_RADIOTAP, ..raw };
    assert_eq!(line(&mut Printer::new(), &radio), "link type 127, length 84");
}

#[test]
fn a_time_of_day_is_utc_with_six_or_nine_digits() {
    let print = |ns, nanoseconds| {
        let mut out = String::new();
        time_of_day(Timestamp(ns), nanoseconds, &mut out).unwrap();
        out
    };
    assert_eq!(print(86_400_000_000_000 + 3_661_000_001_999, false), "01:01:01.000001");
    assert_eq!(print(3_661_000_001_999, true), "01:01:01.000001999");
    assert_eq!(print(-1, true), "23:59:59.999999999");
}

#[test]
fn sequence_numbers_count_from_what_was_first_seen_until_the_table_is_full() {
    let (hex, _) = cases(SAME)
        .into_iter()
        .find(|(_, line)| line.contains("> 10.0.0.2.3000: Flags [P.], seq 500"))
        .unwrap();
    let mut data = octets(hex);
    let mut printer = Printer::new();
    let absolute = line(&mut printer, &Frame::ethernet(&data).unwrap());
    let relative = line(&mut printer, &Frame::ethernet(&data).unwrap());
    assert!(absolute.contains("seq 500:504, ack 600") && relative.contains("seq 0:4, ack 1"), "{relative}");
    for port in 4000..4000 + u16::try_from(wire::print::FLOWS_MAX).unwrap() {
        data[34..36].copy_from_slice(&port.to_be_bytes());
        line(&mut printer, &Frame::ethernet(&data).unwrap());
    }
    data[34..36].copy_from_slice(&1000u16.to_be_bytes());
    assert!(line(&mut printer, &Frame::ethernet(&data).unwrap()).contains("seq 500:504"));
}

proptest! {
    #[test]
    fn whatever_the_frame_a_line_is_printable(
        case in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<prop::sample::Index>(),
        more in 0..100u32,
        link_type in prop::sample::select(vec![1u16, 101, 113, 276, 127]),
    ) {
        let cases = cases(SAME);
        let mut data = octets(cases[case.index(cases.len())].0);
        for (at, value) in changes {
            let at = at.index(data.len());
            data[at] = value;
        }
        data.truncate(cut.index(data.len() + 1));
        let wire_len = u32::try_from(data.len()).unwrap() + more;
        let frame = Frame { data: &data, wire_len, link_type: LinkType(link_type) };
        let line = line(&mut Printer::new(), &frame);
        prop_assert!(line.bytes().all(|octet| matches!(octet, b' '..=b'~')), "{:?}", line);
    }
}
