//! What a sensor should have seen against what it saw.
//!
//! The expectation is a list of sides: the wire frames that entered by one way, in order. A sensor must
//! have seen every one of them once and nothing else, each side in its order, none above the MTU and no
//! checksum broken. Never does I/O.

use std::collections::BTreeMap;

use wire::Frame;
use wire::headers::{ether_type, protocol, walk};

/// The frames that entered by one way, as they should have been on the wire.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Side {
    /// Where they were seen: `perimeter.lan tx`.
    pub name: String,
    /// In the order in which they were sent.
    pub frames: Vec<Vec<u8>>,
}

/// A property that was looked at, and how it stood.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub struct Check {
    /// Whether it holds.
    pub ok: bool,
    /// What was looked at, with the numbers.
    pub what: String,
    /// What is wrong, where it does not hold.
    pub problem: Option<String>,
}

impl Check {
    /// A property that holds where `problem` is `None`.
    pub fn new(what: impl Into<String>, problem: Option<String>) -> Self {
        Self { ok: problem.is_none(), what: what.into(), problem }
    }

    /// Two numbers that must be equal.
    pub fn equal(
        what: impl Into<String>,
        (left, left_count): (&str, u64),
        (right, right_count): (&str, u64),
    ) -> Self {
        let problem = (left_count != right_count)
            .then(|| format!("{left} says {left_count}, {right} says {right_count}"));
        Self::new(what, problem)
    }
}

/// How many differences are described before the rest is only counted.
const DESCRIBED: usize = 3;

/// Looks at what one observer saw. `describe` puts a frame in a line.
pub fn seen(
    observer: &str,
    seen: &[&[u8]],
    sides: &[Side],
    mtu: u32,
    describe: &dyn Fn(&[u8]) -> String,
) -> Vec<Check> {
    let expected: Vec<String> =
        sides.iter().map(|side| format!("{} from {}", side.frames.len(), side.name)).collect();
    vec![
        Check::new(
            format!("{observer}: {} frames, byte for byte: {}", seen.len(), expected.join(", ")),
            differences(seen, sides, describe),
        ),
        Check::new(format!("{observer}: in order within each side"), disorder(seen, sides)),
        Check::new(
            format!("{observer}: no frame above {mtu} octets of payload"),
            oversize(seen, mtu, describe),
        ),
        Check::new(format!("{observer}: every checksum right"), broken(seen, describe)),
    ]
}

/// Looks at what reached the far end of a link: the same frames, in order, and nothing else.
pub fn arrived(what: String, came: &[&[u8]], sides: &[Side], describe: &dyn Fn(&[u8]) -> String) -> Check {
    Check::new(what, differences(came, sides, describe).or_else(|| disorder(came, sides)))
}

/// Frames that are missing, and frames that nobody sent or that came twice.
fn differences(seen: &[&[u8]], sides: &[Side], describe: &dyn Fn(&[u8]) -> String) -> Option<String> {
    let mut balance: BTreeMap<&[u8], i64> = BTreeMap::new();
    for frame in sides.iter().flat_map(|side| &side.frames) {
        *balance.entry(frame).or_default() += 1;
    }
    for frame in seen {
        *balance.entry(frame).or_default() -= 1;
    }
    let missing: Vec<(&[u8], i64)> = balance.iter().filter(|(_, n)| **n > 0).map(|(f, n)| (*f, *n)).collect();
    let extra: Vec<(&[u8], i64)> = balance.iter().filter(|(_, n)| **n < 0).map(|(f, n)| (*f, -*n)).collect();
    let tell = |what: &str, frames: &[(&[u8], i64)]| {
        let total: i64 = frames.iter().map(|(_, count)| count).sum();
        let lines: Vec<String> = frames.iter().take(DESCRIBED).map(|(frame, _)| describe(frame)).collect();
        format!("{total} {what} ({})", lines.join("; "))
    };
    match (missing.as_slice(), extra.as_slice()) {
        ([], []) => None,
        (missing, []) => Some(tell("missing", missing)),
        ([], extra) => Some(tell("too many", extra)),
        (missing, extra) => {
            let near =
                missing.iter().zip(extra).find_map(|((sent, _), (came, _))| first_difference(sent, came));
            let near = near.map_or(String::new(), |near| format!("; {near}"));
            Some(format!("{}, {}{near}", tell("missing", missing), tell("too many", extra)))
        }
    }
}

/// Where two frames of one length differ first: they may well be one frame that was changed.
fn first_difference(sent: &[u8], came: &[u8]) -> Option<String> {
    let at = sent.iter().zip(came).position(|(a, b)| a != b).filter(|_| sent.len() == came.len())?;
    Some(format!("octet {at} was {:#04x} and is {:#04x}", sent[at], came[at]))
}

/// The first side whose frames do not stand in its order.
///
/// A side is in order where its frames, in order, are found from left to right among those seen. Frames that
/// several sides have alike (a broadcast on several links) may be taken for each other, which hides no
/// reordering of frames that differ. What stacks say to find each other is left out: kernel workers send it on
/// any processor at any moment, and two processors may overtake each other between a capture and the wire.
fn disorder(seen: &[&[u8]], sides: &[Side]) -> Option<String> {
    sides.iter().find_map(|side| {
        let mut rest = seen.iter();
        let mut frames = side.frames.iter().enumerate().filter(|(_, frame)| !is_housekeeping(frame));
        let (at, _) = frames.find(|(_, frame)| !rest.any(|other| *other == frame.as_slice()))?;
        Some(format!(
            "{}: frame {} of {} is not after the one before it",
            side.name,
            at + 1,
            side.frames.len()
        ))
    })
}

/// What stacks say to find each other: ARP, IGMP (RFC 3376), and ICMPv6 but for echo and errors, which is MLD
/// (RFC 3810) and neighbour discovery (RFC 4861).
pub fn is_housekeeping(bytes: &[u8]) -> bool {
    let Some(frame) = Frame::ethernet(bytes) else { return false };
    let headers = walk(&frame);
    let Some(ip) = headers.ip else { return headers.ether_type == Some(ether_type::ARP) };
    match (ip.protocol, ip.version) {
        (protocol::IGMP, 4) => true,
        (protocol::ICMPV6, 6) => matches!(bytes.get(ip.at + ip.header_len), Some(130..=143)),
        _ => false,
    }
}

fn oversize(seen: &[&[u8]], mtu: u32, describe: &dyn Fn(&[u8]) -> String) -> Option<String> {
    let limit = usize::try_from(mtu).ok()? + 14;
    let above = |frame: &[u8]| {
        let tag = Frame::ethernet(frame).is_some_and(|frame| frame.outer_tag().is_some());
        frame.len() > limit + if tag { wire::Tag::LEN } else { 0 }
    };
    first(seen, above, describe)
}

fn broken(seen: &[&[u8]], describe: &dyn Fn(&[u8]) -> String) -> Option<String> {
    first(
        seen,
        |frame| Frame::ethernet(frame).is_some_and(|frame| wire::checksum::verify(&frame).any_wrong()),
        describe,
    )
}

fn first(seen: &[&[u8]], bad: impl Fn(&[u8]) -> bool, describe: &dyn Fn(&[u8]) -> String) -> Option<String> {
    let frames: Vec<&&[u8]> = seen.iter().filter(|frame| bad(frame)).collect();
    let one = frames.first()?;
    Some(format!("{} frames, the first of {} octets: {}", frames.len(), one.len(), describe(one)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(name: &str, frames: &[&[u8]]) -> Side {
        Side { name: name.to_owned(), frames: frames.iter().map(|frame| frame.to_vec()).collect() }
    }

    fn problems(seen_frames: &[&[u8]], sides: &[Side]) -> Vec<String> {
        let describe = |frame: &[u8]| format!("{frame:?}");
        seen("ids", seen_frames, sides, 1500, &describe)
            .into_iter()
            .filter_map(|check| check.problem)
            .collect()
    }

    #[test]
    fn what_stacks_say_to_find_each_other_is_housekeeping() {
        let frame =
            |ether_type: u16, packet: &[u8]| [[2; 12].as_slice(), &ether_type.to_be_bytes(), packet].concat();
        let v6 = |next: u8, body: &[u8]| {
            let len = u8::try_from(body.len()).unwrap();
            frame(0x86dd, &[&[0x60, 0, 0, 0, 0, len, next, 1][..], &[0x20; 32], body].concat())
        };
        let v4 = |number: u8| {
            let header = [0x45, 0, 0, 28, 0, 0, 0, 0, 1, number, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
            frame(0x0800, &[&header[..], &[0x22; 8]].concat())
        };
        let router_alert = [58, 0, 5, 2, 0, 0, 1, 0];
        let report = [&router_alert[..], &[143, 0, 0, 0, 0, 0, 0, 0]].concat();
        for frame in [frame(0x0806, &[0; 28]), v4(2), v6(0, &report), v6(58, &[135, 0, 0, 0, 0, 0, 0, 0])] {
            assert!(is_housekeeping(&frame), "{frame:02x?}");
        }
        for frame in [frame(0x88b5, &[0; 28]), v4(1), v6(58, &[128, 0, 0, 0, 0, 0, 0, 0]), v6(17, &[0; 8])] {
            assert!(!is_housekeeping(&frame), "{frame:02x?}");
        }
        assert!(!is_housekeeping(&[]));
    }

    #[test]
    fn two_sides_may_interleave_in_any_way() {
        let sides = [side("a", &[&[1], &[2]]), side("b", &[&[3], &[4]])];
        assert!(problems(&[&[3], &[1], &[4], &[2]], &sides).is_empty());
        assert!(problems(&[&[1], &[2], &[3], &[4]], &sides).is_empty());
    }

    #[test]
    fn a_swap_within_a_side_is_told() {
        let sides = [side("a", &[&[1], &[2]])];
        assert_eq!(problems(&[&[2], &[1]], &sides), ["a: frame 2 of 2 is not after the one before it"]);
    }

    #[test]
    fn what_is_missing_and_what_is_too_many_is_told() {
        let sides = [side("a", &[&[1], &[2]])];
        assert_eq!(problems(&[&[1]], &sides)[0], "1 missing ([2])");
        assert_eq!(problems(&[&[1], &[2], &[2]], &sides), ["1 too many ([2])"]);
        assert_eq!(
            problems(&[&[1], &[9]], &sides)[0],
            "1 missing ([2]), 1 too many ([9]); octet 0 was 0x02 and is 0x09"
        );
    }

    #[test]
    fn the_same_frame_on_two_links_is_two_frames() {
        let sides = [side("a", &[&[7]]), side("b", &[&[7]])];
        assert!(problems(&[&[7], &[7]], &sides).is_empty());
        assert_eq!(problems(&[&[7]], &sides), ["1 missing ([7])"]);
    }

    #[test]
    fn a_frame_above_the_mtu_is_told_and_a_tag_does_not_count() {
        let long = [0u8; 1515];
        assert!(problems(&[&long], &[side("a", &[&long])])[0].starts_with("1 frames, the first of 1515"));
        let mut tagged = [0u8; 1518];
        tagged[12] = 0x81;
        assert!(problems(&[&tagged], &[side("a", &[&tagged])]).is_empty());
    }
}
