//! What a super-frame stands for: the wire frames that hardware would have made of it.
//!
//! The ends of the lab keep their offloads, so a capture taken there shows what the stack handed to the
//! device: many segments in one, checksums half done. This module cuts and mends them the way the kernel does,
//! to say what *should* have been on the wire. It is the lab's own expectation of what the tap did in the
//! kernel, and shares no code with it. Never does I/O.

use wire::Frame;
use wire::checksum::{internet, pseudo_header};
use wire::headers::{Headers, Ip, protocol, walk};

/// The frame as it stands on the wire, and its checksum completed where the kernel left that to hardware.
///
/// A TCP frame that holds more than `mtu` octets of IP becomes several, each with as much data as the MTU
/// allows: `None` where it is too long and not TCP, which no hardware of ours would cut.
pub fn wire_frames(frame: &[u8], checksum_partial: bool, mtu: usize) -> Option<Vec<Vec<u8>>> {
    let (headers, whole) = packet(frame);
    let Some(ip) = whole else {
        return (frame.len() <= mtu + 14 + wire::Tag::LEN).then(|| vec![frame.to_vec()]);
    };
    if ip.end - ip.at <= mtu {
        let mut whole = frame.to_vec();
        if checksum_partial {
            complete(&mut whole, Zero::Complement);
        }
        return Some(vec![whole]);
    }
    let tcp = headers.transport.filter(|tcp| tcp.protocol == protocol::TCP && ip.fragment.is_none())?;
    let head_len = headers.segment_header_len()?;
    let (head, data) = (frame.get(..head_len)?, frame.get(head_len..ip.end)?);
    let room = mtu.checked_sub(head_len - ip.at).filter(|room| *room > 0)?;
    let last = data.chunks(room).count() - 1;
    let segments = data.chunks(room).enumerate();
    let place = |number: usize| Segment { number, room, last: number == last };
    segments.map(|(number, chunk)| segment(head, (&ip, tcp.at), chunk, place(number))).collect()
}

/// The headers of a frame, and the IP packet in it, where there is one and the frame holds all of it.
fn packet(frame: &[u8]) -> (Headers, Option<Ip>) {
    let headers = Frame::ethernet(frame).map(|frame| walk(&frame)).unwrap_or_default();
    (headers, headers.ip.filter(|ip| ip.end <= frame.len()))
}

/// TCP flags that only the last segment keeps (FIN, PSH), and that only the first one does (CWR).
const LAST_ONLY: u8 = 0x09;
const FIRST_ONLY: u8 = 0x80;

/// Which segment of a super-frame.
#[derive(Clone, Copy)]
struct Segment {
    /// Counted from 0.
    number: usize,
    /// Octets of data in each but the last.
    room: usize,
    last: bool,
}

/// One segment: the head with its lengths, identification, sequence number, flags and checksums set.
fn segment(head: &[u8], (ip, tcp): (&Ip, usize), data: &[u8], place: Segment) -> Option<Vec<u8>> {
    let mut bytes = [head, data].concat();
    let at = ip.at;
    let total = u16::try_from(bytes.len() - at).ok()?;
    if ip.version == 4 {
        bytes[at + 2..at + 4].copy_from_slice(&total.to_be_bytes());
        let id = u16::from_be_bytes([head[at + 4], head[at + 5]]);
        let id = id.wrapping_add(u16::try_from(place.number).ok()?);
        bytes[at + 4..at + 6].copy_from_slice(&id.to_be_bytes());
        bytes[at + 10..at + 12].copy_from_slice(&[0, 0]);
        let sum = internet(&bytes[at..tcp]);
        bytes[at + 10..at + 12].copy_from_slice(&sum.to_be_bytes());
    } else {
        bytes[at + 4..at + 6].copy_from_slice(&(total - 40).to_be_bytes());
    }
    let first_sequence = u32::from_be_bytes([head[tcp + 4], head[tcp + 5], head[tcp + 6], head[tcp + 7]]);
    let sequence = first_sequence.wrapping_add(u32::try_from(place.number * place.room).ok()?);
    bytes[tcp + 4..tcp + 8].copy_from_slice(&sequence.to_be_bytes());
    if !place.last {
        bytes[tcp + 13] &= !LAST_ONLY;
    }
    if place.number > 0 {
        bytes[tcp + 13] &= !FIRST_ONLY;
    }
    complete(&mut bytes, Zero::AsItIs);
    Some(bytes)
}

/// How a checksum that comes out as 0 is written. Both are right: a receiver's sum is the same.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Zero {
    /// As 0xffff: a frame that is finished whole (`skb_checksum_help`, `net/core/dev.c`, whatever the protocol).
    Complement,
    /// As 0: the segments of a super-frame of TCP (`tcp_gso_segment`, `net/ipv4/tcp_offload.c`).
    AsItIs,
}

/// Sets the transport checksum, whatever stood there.
fn complete(frame: &mut [u8], zero: Zero) {
    let (headers, Some(ip)) = packet(frame) else { return };
    let Some(transport) = headers.transport.filter(|_| ip.fragment.is_none()) else { return };
    let field = match transport.protocol {
        protocol::TCP => 16,
        protocol::UDP => 6,
        protocol::ICMPV6 => 2,
        _ => return,
    };
    let (body, at) = (transport.at..ip.end, transport.at + field);
    let Ok(len) = u32::try_from(body.len()) else { return };
    let Some(pseudo) = pseudo_header(&frame[ip.at..], transport.protocol, len) else { return };
    frame[at..at + 2].copy_from_slice(&[0, 0]);
    let sum = match pseudo.with(&frame[body]).checksum() {
        0 if zero == Zero::Complement => 0xffff,
        sum => sum,
    };
    frame[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use wire::checksum::{Check, Checks, verify};

    use super::*;
    use crate::frames::unfinished_tcp;

    /// [`unfinished_tcp`] with `len` octets of data.
    fn tcp_frame(v6: bool, len: usize) -> Vec<u8> {
        let data: Vec<u8> = (0..len).map(|i| u8::try_from(i % 251).unwrap()).collect();
        unfinished_tcp(v6, 0x99, &data)
    }

    #[test]
    fn a_super_frame_becomes_frames_of_the_mtu_with_right_checksums() {
        for (v6, room) in [(false, 1448), (true, 1428)] {
            let frames = wire_frames(&tcp_frame(v6, 3 * room + 5), true, 1500).unwrap();
            assert_eq!(frames.len(), 4);
            let mut data: Vec<u8> = Vec::new();
            for (number, frame) in frames.iter().enumerate() {
                let parsed = Frame::ethernet(frame).unwrap();
                let ip = if v6 { Check::Unknown } else { Check::Right };
                assert_eq!(verify(&parsed), Checks { ip, transport: Check::Right }, "segment {number}");
                let body = &frame[walk(&parsed).transport.unwrap().at..];
                let sequence = u32::from_be_bytes(body[4..8].try_into().unwrap());
                let expected = 0xffff_ff00_u32.wrapping_add(u32::try_from(number * room).unwrap());
                assert_eq!(sequence, expected);
                assert_eq!(body[13], [0x90, 0x10, 0x10, 0x19][number], "flags of segment {number}");
                data.extend(&body[32..]);
            }
            assert_eq!(data, tcp_frame(v6, 3 * room + 5)[frames[0].len() - room..]);
        }
    }

    #[test]
    fn identifications_count_up_and_wrap() {
        let frames = wire_frames(&tcp_frame(false, 3000), true, 1500).unwrap();
        let ids: Vec<[u8; 2]> = frames.iter().map(|frame| [frame[18], frame[19]]).collect();
        assert_eq!(ids, [[0xff, 0xff], [0, 0], [0, 1]]);
    }

    #[test]
    fn a_frame_that_fits_is_left_alone_but_for_a_checksum_left_to_hardware() {
        let frame = tcp_frame(false, 10);
        assert_eq!(wire_frames(&frame, false, 1500).unwrap(), std::slice::from_ref(&frame));
        let mended = wire_frames(&frame, true, 1500).unwrap();
        assert_ne!(mended[0], frame);
        assert_eq!(mended[0][..50], frame[..50]);
    }

    #[test]
    fn a_sum_of_zero_is_written_as_the_kernel_does() {
        for (v6, tcp) in [(false, 34), (true, 54)] {
            let (sum, data) = (tcp + 16, tcp + 32);
            for (len, written) in [(2, [0xff, 0xff]), (3000, [0, 0])] {
                let mut frame = tcp_frame(v6, len);
                frame[data..data + 2].fill(0);
                let first = wire_frames(&frame, true, 1500).unwrap().swap_remove(0);
                // Added to the data, a checksum makes the sum of the whole come out as zero.
                frame[data..data + 2].copy_from_slice(&first[sum..sum + 2]);
                let first = wire_frames(&frame, true, 1500).unwrap().swap_remove(0);
                assert_eq!(first[sum..sum + 2], written, "{len} octets");
                assert!(!verify(&Frame::ethernet(&first).unwrap()).any_wrong());
            }
        }
    }

    #[test]
    fn what_cannot_be_cut_is_refused() {
        let mut frame = tcp_frame(false, 3000);
        frame[23] = 17;
        assert_eq!(wire_frames(&frame, true, 1500), None);
        assert_eq!(wire_frames(&[0x55; 1600], false, 1500), None);
        assert!(wire_frames(&[0x55; 1518], false, 1500).is_some());
    }
}
