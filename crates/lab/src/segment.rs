//! What a super-frame stands for: the wire frames that hardware would have made of it.
//!
//! The ends of the lab keep their offloads, so a capture taken there shows what the stack handed to the
//! device: many segments in one, checksums half done. This module cuts and mends them the way hardware does,
//! to say what *should* have been on the wire. It is the lab's own expectation of what the tap did in the
//! kernel, and shares no code with it. Never does I/O.

use crate::checksum;
use crate::packet::{Packet, Transport};

/// The frame as it stands on the wire, and its checksum completed where the kernel left that to hardware.
///
/// A TCP frame that holds more than `mtu` octets of IP becomes several, each with as much data as the MTU
/// allows: `None` where it is too long and not TCP, which no hardware of ours would cut.
pub fn wire_frames(frame: &[u8], checksum_partial: bool, mtu: usize) -> Option<Vec<Vec<u8>>> {
    let Some(packet) = Packet::parse(frame) else {
        return (frame.len() <= mtu + 14 + wire::Tag::LEN).then(|| vec![frame.to_vec()]);
    };
    if packet.header().len() + packet.body().len() <= mtu {
        let mut whole = frame.to_vec();
        if checksum_partial {
            complete(&mut whole);
        }
        return Some(vec![whole]);
    }
    if packet.transport() != Transport::Tcp {
        return None;
    }
    let tcp_len = usize::from(packet.body().get(12)? >> 4) * 4;
    let data = packet.body().get(tcp_len..)?;
    let room = mtu.checked_sub(packet.header().len() + tcp_len).filter(|room| *room > 0)?;
    let head_len = packet.offset() + packet.header().len() + tcp_len;
    let head = frame.get(..head_len)?;
    let last = data.chunks(room).count() - 1;
    let segments = data.chunks(room).enumerate();
    segments.map(|(number, chunk)| segment(head, &packet, chunk, number, room, number == last)).collect()
}

/// TCP flags that only the last segment keeps (FIN, PSH), and that only the first one does (CWR).
const LAST_ONLY: u8 = 0x09;
const FIRST_ONLY: u8 = 0x80;

/// One segment: the head with its lengths, identification, sequence number, flags and checksums set.
fn segment(
    head: &[u8],
    packet: &Packet<'_>,
    data: &[u8],
    number: usize,
    room: usize,
    last: bool,
) -> Option<Vec<u8>> {
    let mut bytes = [head, data].concat();
    let ip = packet.offset();
    let tcp = ip + packet.header().len();
    let total = u16::try_from(bytes.len() - ip).ok()?;
    if packet.is_v4() {
        bytes[ip + 2..ip + 4].copy_from_slice(&total.to_be_bytes());
        let id = u16::from_be_bytes([head[ip + 4], head[ip + 5]]);
        let id = id.wrapping_add(u16::try_from(number).ok()?);
        bytes[ip + 4..ip + 6].copy_from_slice(&id.to_be_bytes());
        bytes[ip + 10..ip + 12].copy_from_slice(&[0, 0]);
        let sum = checksum::internet(&[&bytes[ip..tcp]]);
        bytes[ip + 10..ip + 12].copy_from_slice(&sum.to_be_bytes());
    } else {
        bytes[ip + 4..ip + 6].copy_from_slice(&(total - 40).to_be_bytes());
    }
    let first_sequence = u32::from_be_bytes([head[tcp + 4], head[tcp + 5], head[tcp + 6], head[tcp + 7]]);
    let sequence = first_sequence.wrapping_add(u32::try_from(number * room).ok()?);
    bytes[tcp + 4..tcp + 8].copy_from_slice(&sequence.to_be_bytes());
    if !last {
        bytes[tcp + 13] &= !LAST_ONLY;
    }
    if number > 0 {
        bytes[tcp + 13] &= !FIRST_ONLY;
    }
    complete(&mut bytes);
    Some(bytes)
}

/// Sets the transport checksum, whatever stood there.
fn complete(frame: &mut [u8]) {
    let Some(packet) = Packet::parse(frame) else { return };
    let field = match packet.transport() {
        Transport::Tcp => 16,
        Transport::Udp => 6,
        Transport::Icmp6 => 2,
        Transport::Icmp4 | Transport::Other => return,
    };
    let at = packet.offset() + packet.header().len() + field;
    let body = packet.body();
    let Some((before, after)) = body.get(..field).zip(body.get(field + 2..)) else { return };
    let tail = packet.pseudo_tail(body.len());
    let sum = match checksum::internet(&[packet.address_pair(), &tail, before, after]) {
        // RFC 768: no checksum is written as zero, so a sum of zero is written as its complement.
        0 if packet.transport() == Transport::Udp => 0xffff,
        sum => sum,
    };
    frame[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A TCP frame of `len` octets of data, flags PSH, FIN, CWR and ACK, with 12 octets of options.
    fn tcp_frame(v6: bool, len: usize) -> Vec<u8> {
        let mut tcp =
            vec![0x12, 0x34, 0, 80, 0xff, 0xff, 0xff, 0x00, 0, 0, 0, 1, 0x80, 0x99, 1, 0, 0, 0, 0, 0];
        tcp.extend([1; 12]);
        tcp.extend((0..len).map(|i| u8::try_from(i % 251).unwrap()));
        let mut frame = vec![2; 12];
        if v6 {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend(u16::try_from(tcp.len()).unwrap().to_be_bytes());
            frame.extend([6, 64]);
            frame.extend([0x20; 32]);
        } else {
            frame.extend([8, 0, 0x45, 0]);
            frame.extend(u16::try_from(tcp.len() + 20).unwrap().to_be_bytes());
            frame.extend([0xff, 0xff, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        }
        frame.extend(tcp);
        frame
    }

    #[test]
    fn a_super_frame_becomes_frames_of_the_mtu_with_right_checksums() {
        for (v6, room) in [(false, 1448), (true, 1428)] {
            let frames = wire_frames(&tcp_frame(v6, 3 * room + 5), true, 1500).unwrap();
            assert_eq!(frames.len(), 4);
            let mut data: Vec<u8> = Vec::new();
            for (number, frame) in frames.iter().enumerate() {
                assert_eq!(checksum::verify(frame), checksum::Verdict::Right, "segment {number}");
                let packet = Packet::parse(frame).unwrap();
                let body = packet.body();
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
    fn what_cannot_be_cut_is_refused() {
        let mut frame = tcp_frame(false, 3000);
        frame[23] = 17;
        assert_eq!(wire_frames(&frame, true, 1500), None);
        assert_eq!(wire_frames(&[0x55; 1600], false, 1500), None);
        assert!(wire_frames(&[0x55; 1518], false, 1500).is_some());
    }
}
