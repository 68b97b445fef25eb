//! What a sender left to a card: checksums that are half done, and super-frames that stand for several frames.
//!
//! Virtual cables carry both, a wire carries neither. Here they become what a card would have put on the wire
//! (RFC 1071, RFC 9293, for SCTP RFC 9260; the headers of each frame as the kernel's own segmentation writes them). Pure.
//!
//! A super-frame within a tunnel is not cut: the lengths and sums of its outer headers would have to be, too.

use sys::ring::{Checksum, SegmentKind, Segments};
use wire::checksum::{Sum, internet, pseudo_header};

/// Octets of the header in front of TCP's options, and of UDP.
const TCP_HEADER: usize = 20;
const UDP_HEADER: usize = 8;
/// Flags of TCP that belong to the last frame only, and the one that belongs to the first.
const FIN_PSH: u8 = 0x09;
const CWR: u8 = 0x80;

/// Protocol numbers, as IP has them.
const TCP: u8 = 6;
const UDP: u8 = 17;
const SCTP: u8 = 132;
/// Where SCTP's checksum stands, and no other's.
const SCTP_CHECKSUM_AT: usize = 8;
/// Extension headers of IPv6 between it and a transport header, at most.
const EXTENSIONS_MAX: usize = 16;

/// Writes a checksum where the sum of the pseudo-header stands. What points behind the frame's end changes nothing.
pub fn finish(frame: &mut [u8], checksum: Checksum) {
    // Within a tunnel the protocol is not looked for; the place of the checksum says it as well.
    if checksum.offset == SCTP_CHECKSUM_AT
        && network(frame, checksum.start).is_none_or(|network| network.protocol == SCTP)
    {
        return finish_sctp(frame, checksum.start);
    }
    let Some(covered) = frame.get(checksum.start..) else { return };
    let sum = Sum::default().with(covered).checksum();
    // UDP says "none" with 0 (RFC 768), and a sum of 0 with its other form, as the kernel does for all.
    let sum = if sum == 0 { 0xffff } else { sum };
    let at = checksum.start + checksum.offset;
    if let Some(field) = frame.get_mut(at..at + 2) {
        field.copy_from_slice(&sum.to_be_bytes());
    }
}

/// SCTP has a CRC over its packet, itself taken for 0, least octet first.
fn finish_sctp(frame: &mut [u8], start: usize) {
    let Some(packet) = frame.get_mut(start..) else { return };
    if let Some(field) = packet.get_mut(SCTP_CHECKSUM_AT..SCTP_CHECKSUM_AT + 4) {
        field.fill(0);
        let crc = crc32c(packet).to_le_bytes();
        packet[SCTP_CHECKSUM_AT..SCTP_CHECKSUM_AT + 4].copy_from_slice(&crc);
    }
}

/// The CRC of Castagnoli (RFC 9260, appendix A), bits reflected.
fn crc32c(octets: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut octet = 0;
        let mut index = 0;
        while index < table.len() {
            let mut rest: u32 = octet;
            let mut bit = 0;
            while bit < 8 {
                rest = (rest >> 1) ^ if rest & 1 == 1 { 0x82f6_3b78 } else { 0 };
                bit += 1;
            }
            table[index] = rest;
            (octet, index) = (octet + 1, index + 1);
        }
        table
    };
    let step = |crc: u32, octet: &u8| {
        let [low, ..] = crc.to_le_bytes();
        (crc >> 8) ^ TABLE[usize::from(low ^ octet)]
    };
    !octets.iter().fold(u32::MAX, step)
}

/// Frames cut from a super-frame, one behind the other in one piece of memory.
#[derive(Debug, Default)]
pub struct Cut {
    octets: Vec<u8>,
    ends: Vec<usize>,
}

impl Cut {
    /// The frames, in order.
    pub fn frames(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.octets[start..*end])
    }

    /// Cuts a super-frame whose transport header begins at `checksum.start`. Whether it could be: otherwise there are no
    /// frames.
    pub fn cut(&mut self, frame: &[u8], checksum: Option<Checksum>, segments: Segments) -> bool {
        self.octets.clear();
        self.ends.clear();
        let cut = checksum.and_then(|checksum| self.carve(frame, checksum.start, segments));
        if cut.is_none() {
            self.ends.clear();
        }
        !self.ends.is_empty()
    }

    fn carve(&mut self, frame: &[u8], transport: usize, segments: Segments) -> Option<()> {
        let protocol = match segments.kind {
            SegmentKind::Tcp4 | SegmentKind::Tcp6 => TCP,
            SegmentKind::Udp => UDP,
            SegmentKind::Other(_) => return None,
        };
        let header_bytes = match segments.kind {
            SegmentKind::Udp => UDP_HEADER,
            _ => usize::from(*frame.get(transport + 12)? >> 4) * 4,
        };
        if header_bytes < UDP_HEADER || (protocol == TCP && header_bytes < TCP_HEADER) {
            return None;
        }
        let data_at = transport + header_bytes;
        let (headers, payload) = (frame.get(..data_at)?, frame.get(data_at..)?);
        let Network { at: ip, v6, protocol: said } = network(headers, transport)?;
        if said != protocol
            || matches!((segments.kind, v6), (SegmentKind::Tcp4, true) | (SegmentKind::Tcp6, false))
        {
            return None;
        }
        let count = payload.len().div_ceil(segments.payload_bytes);
        for (number, piece) in payload.chunks(segments.payload_bytes).enumerate() {
            let start = self.octets.len();
            self.octets.extend_from_slice(headers);
            self.octets.extend_from_slice(piece);
            let made = &mut self.octets[start..];
            let packet_bytes = u16::try_from(made.len() - ip).ok()?;
            match made[ip] >> 4 {
                4 => {
                    made[ip + 2..ip + 4].copy_from_slice(&packet_bytes.to_be_bytes());
                    let id = u16::from_be_bytes([made[ip + 4], made[ip + 5]]);
                    let id = id.wrapping_add(u16::try_from(number).ok()?);
                    made[ip + 4..ip + 6].copy_from_slice(&id.to_be_bytes());
                    made[ip + 10..ip + 12].fill(0);
                    let sum = internet(&made[ip..ip + usize::from(made[ip] & 0xf) * 4]);
                    made[ip + 10..ip + 12].copy_from_slice(&sum.to_be_bytes());
                }
                _ => made[ip + 4..ip + 6].copy_from_slice(&(packet_bytes - 40).to_be_bytes()),
            }
            let field = if protocol == TCP {
                let sequence = made[transport + 4..transport + 8].try_into().map(u32::from_be_bytes).ok()?;
                let before = u32::try_from(number * segments.payload_bytes).ok()?;
                made[transport + 4..transport + 8]
                    .copy_from_slice(&sequence.wrapping_add(before).to_be_bytes());
                if number + 1 < count {
                    made[transport + 13] &= !FIN_PSH;
                }
                if number > 0 {
                    made[transport + 13] &= !CWR;
                }
                16
            } else {
                let datagram = u16::try_from(made.len() - transport).ok()?;
                made[transport + 4..transport + 6].copy_from_slice(&datagram.to_be_bytes());
                6
            };
            made[transport + field..transport + field + 2].fill(0);
            let covered = u32::try_from(made.len() - transport).ok()?;
            let sum = pseudo_header(&made[ip..], protocol, covered)?.with(&made[transport..]).checksum();
            let sum = if sum == 0 { 0xffff } else { sum };
            made[transport + field..transport + field + 2].copy_from_slice(&sum.to_be_bytes());
            self.ends.push(self.octets.len());
        }
        Some(())
    }
}

/// The header of IP that is directly in front of a transport header.
struct Network {
    at: usize,
    v6: bool,
    /// Of what follows.
    protocol: u8,
}

/// Looks behind the addresses, the EtherType and any tags. `None` where the transport header is not the one of that
/// packet, but of one within it.
fn network(frame: &[u8], transport: usize) -> Option<Network> {
    let mut at = 12;
    loop {
        let kind = u16::from_be_bytes([*frame.get(at)?, *frame.get(at + 1)?]);
        at += 2;
        match kind {
            0x8100 | 0x88a8 | 0x9100 => at += 2,
            0x0800 => {
                let header_bytes = usize::from(*frame.get(at)? & 0xf) * 4;
                let protocol = *frame.get(at + 9)?;
                let is_in_front = header_bytes >= 20 && at + header_bytes == transport;
                return is_in_front.then_some(Network { at, v6: false, protocol });
            }
            0x86dd => {
                let protocol = behind_extensions(frame, at, transport)?;
                return Some(Network { at, v6: true, protocol });
            }
            _ => return None,
        }
    }
}

/// The protocol of what follows an IPv6 header and its extension headers, if that is at `transport`.
fn behind_extensions(frame: &[u8], ip: usize, transport: usize) -> Option<u8> {
    let (mut next, mut at) = (*frame.get(ip + 6)?, ip + 40);
    for _ in 0..=EXTENSIONS_MAX {
        match next {
            _ if at >= transport => break,
            // Hop-by-hop options, routing, destination options.
            0 | 43 | 60 => {
                let length = usize::from(*frame.get(at + 1)?) * 8 + 8;
                (next, at) = (*frame.get(at)?, at + length);
            }
            _ => return None,
        }
    }
    (at == transport).then_some(next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::Frame;
    use wire::checksum::{Check, verify};

    /// Ethernet, a tag where asked for, IP, and where the transport header is to begin.
    fn network(v6: bool, tagged: bool, protocol: u8) -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        if tagged {
            frame.extend([0x81, 0, 0, 5]);
        }
        if v6 {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 0, protocol, 64]);
            frame.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
            frame.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
        } else {
            frame.extend([8, 0, 0x45, 0, 0, 0, 0xff, 0xff, 0x40, 0, 64, protocol, 0, 0]);
            frame.extend([192, 0, 2, 1, 192, 0, 2, 2]);
        }
        frame
    }

    fn tcp(v6: bool, tagged: bool, payload: usize) -> (Vec<u8>, Checksum) {
        let mut frame = network(v6, tagged, 6);
        let start = frame.len();
        // Sequence number 2^32 - 500; FIN, PSH, ACK and CWR.
        frame.extend([0, 80, 0, 81, 0xff, 0xff, 0xfe, 0x0c, 0, 0, 0, 1, 0x50, 0x99, 1, 0, 0, 0, 0, 0]);
        frame.extend((0..payload).map(|at| u8::try_from(at % 251).unwrap()));
        (frame, Checksum { start, offset: 16 })
    }

    fn right(frame: &[u8]) {
        let checks = verify(&Frame::ethernet(frame).unwrap());
        assert_eq!(checks.transport, Check::Right, "{frame:02x?}");
        assert_ne!(checks.ip, Check::Wrong, "{frame:02x?}");
    }

    #[test]
    fn tcp_is_cut_into_what_a_card_would_send() {
        for (v6, tagged) in [(false, false), (false, true), (true, false), (true, true)] {
            let (frame, checksum) = tcp(v6, tagged, 2500);
            let kind = if v6 { SegmentKind::Tcp6 } else { SegmentKind::Tcp4 };
            let mut cut = Cut::default();
            assert!(cut.cut(&frame, Some(checksum), Segments { kind, payload_bytes: 1000 }));
            let frames: Vec<&[u8]> = cut.frames().collect();
            let at = checksum.start;
            assert_eq!(frames.iter().map(|it| it.len() - at - 20).collect::<Vec<_>>(), [1000, 1000, 500]);
            frames.iter().for_each(|frame| right(frame));
            let sequences =
                frames.iter().map(|it| u32::from_be_bytes(it[at + 4..at + 8].try_into().unwrap()));
            assert_eq!(sequences.collect::<Vec<_>>(), [u32::MAX - 499, 500, 1500]);
            assert_eq!(frames.iter().map(|it| it[at + 13]).collect::<Vec<_>>(), [0x90, 0x10, 0x19]);
            let payload: Vec<u8> = frames.iter().flat_map(|it| it[at + 20..].to_vec()).collect();
            assert_eq!(payload, &frame[at + 20..]);
            if !v6 {
                let ids: Vec<[u8; 2]> = frames.iter().map(|it| [it[at - 16], it[at - 15]]).collect();
                assert_eq!(ids, [[0xff, 0xff], [0, 0], [0, 1]]);
            }
        }
    }

    #[test]
    fn udp_is_cut_into_datagrams() {
        let mut frame = network(false, false, 17);
        let start = frame.len();
        frame.extend([0, 9, 0, 10, 0, 0, 0, 0]);
        frame.extend([7; 250]);
        let mut cut = Cut::default();
        let segments = Segments { kind: SegmentKind::Udp, payload_bytes: 100 };
        assert!(cut.cut(&frame, Some(Checksum { start, offset: 6 }), segments));
        let lengths: Vec<u8> = cut.frames().map(|it| it[start + 5]).collect();
        assert_eq!(lengths, [108, 108, 58]);
        cut.frames().for_each(right);
    }

    #[test]
    fn a_crc_is_that_of_others() {
        // RFC 3720, B.4.
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn sctp_is_finished_with_a_crc() {
        for (v6, protocol, is_crc) in [(false, 132, true), (true, 132, true), (false, 17, false)] {
            let mut frame = network(v6, true, protocol);
            let start = frame.len();
            frame.extend([0, 9, 0, 10, 1, 2, 3, 4, 0xaa, 0xbb, 0xcc, 0xdd]);
            frame.extend([5; 21]);
            let mut zeroed = frame[start..].to_vec();
            zeroed[8..12].fill(0);
            finish(&mut frame, Checksum { start, offset: 8 });
            let crc: [u8; 4] = frame[start + 8..start + 12].try_into().unwrap();
            assert_eq!(crc == crc32c(&zeroed).to_le_bytes(), is_crc, "{protocol}");
            // An internet sum is of two octets.
            assert_eq!(crc[2..] == [0xcc, 0xdd], !is_crc, "{protocol}");
        }
        let mut short = network(false, false, 132);
        let start = short.len();
        short.extend([0; 11]);
        let before = short.clone();
        for start in [start, 9000] {
            finish(&mut short, Checksum { start, offset: 8 });
            assert_eq!(short, before);
        }
    }

    #[test]
    fn what_is_within_a_tunnel_is_not_cut() {
        for (v6, kind) in [(false, SegmentKind::Tcp4), (true, SegmentKind::Tcp6)] {
            let segments = Segments { kind, payload_bytes: 1000 };
            let (inner, _) = tcp(v6, false, 2500);
            // IP in IP, and Ethernet in VXLAN: UDP, its header, the whole inner frame.
            let next = if v6 { 41 } else { 4 };
            for (protocol, between, skipped) in [(next, 0, 14), (17, 16, 0), (47, 4, 14), (6, 0, 14)] {
                let mut frame = network(v6, false, protocol);
                frame.resize(frame.len() + between, 0);
                let start = frame.len() + if v6 { 54 } else { 34 } - skipped;
                frame.extend(&inner[skipped..]);
                let mut cut = Cut::default();
                let checksum = Checksum { start, offset: 16 };
                assert!(!cut.cut(&frame, Some(checksum), segments), "{v6} {protocol}");
                assert_eq!(cut.frames().count(), 0);
            }
            // And what is not what it is said to be.
            let (mut other, checksum) = tcp(v6, false, 2500);
            other[if v6 { 20 } else { 23 }] = 17;
            assert!(!Cut::default().cut(&other, Some(checksum), segments));
            let (other, checksum) = tcp(!v6, false, 2500);
            assert!(!Cut::default().cut(&other, Some(checksum), segments));
        }
    }

    #[test]
    fn extension_headers_stay_in_front_of_each_frame() {
        let (frame, Checksum { start, .. }) = tcp(true, false, 2500);
        let mut with = frame[..start].to_vec();
        with[20] = 0;
        with.extend([60, 0, 1, 4, 0, 0, 0, 0]);
        with.extend([6, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        with.extend(&frame[start..]);
        let segments = Segments { kind: SegmentKind::Tcp6, payload_bytes: 1000 };
        let mut cut = Cut::default();
        assert!(cut.cut(&with, Some(Checksum { start: start + 24, offset: 16 }), segments));
        assert_eq!(cut.frames().map(<[u8]>::len).collect::<Vec<_>>(), [1098, 1098, 598]);
        cut.frames().for_each(right);
        // A header too far, one too few, and into the middle of one.
        for wrong in [start, start + 8, start + 16, start + 32] {
            assert!(!cut.cut(&with, Some(Checksum { start: wrong, offset: 16 }), segments), "{wrong}");
        }
    }

    #[test]
    fn what_cannot_be_cut_gives_no_frames() {
        let (frame, checksum) = tcp(false, false, 2500);
        let segments = Segments { kind: SegmentKind::Tcp4, payload_bytes: 1000 };
        let mut cut = Cut::default();
        assert!(!cut.cut(&frame, None, segments));
        assert!(!cut.cut(&frame, Some(checksum), Segments { kind: SegmentKind::Other(9), ..segments }));
        for end in 0..checksum.start + 21 {
            assert!(!cut.cut(&frame[..end.min(checksum.start + 20)], Some(checksum), segments), "{end}");
            assert_eq!(cut.frames().count(), 0);
        }
        let beyond = Checksum { start: 60_000, offset: 16 };
        assert!(!cut.cut(&frame, Some(beyond), segments));
    }

    #[test]
    fn a_half_done_checksum_is_finished() {
        for v6 in [false, true] {
            let (mut frame, checksum) = tcp(v6, true, 33);
            let length = u16::try_from(frame.len() - 18).unwrap();
            if v6 {
                frame[22..24].copy_from_slice(&(length - 40).to_be_bytes());
            } else {
                frame[20..22].copy_from_slice(&length.to_be_bytes());
                let sum = internet(&frame[18..38]);
                frame[28..30].copy_from_slice(&sum.to_be_bytes());
            }
            let covered = u32::try_from(frame.len() - checksum.start).unwrap();
            let pseudo = !pseudo_header(&frame[18..], 6, covered).unwrap().checksum();
            let at = checksum.start + checksum.offset;
            frame[at..at + 2].copy_from_slice(&pseudo.to_be_bytes());
            finish(&mut frame, checksum);
            right(&frame);
            let before = frame.clone();
            finish(&mut frame, Checksum { start: 9000, offset: 2 });
            assert_eq!(frame, before);
        }
    }
}
