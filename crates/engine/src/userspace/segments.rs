//! What a sender left to a card: checksums that are half done, and super-frames that stand for several frames.
//!
//! Virtual cables carry both, a wire carries neither. Here they become what a card would have put on the wire
//! (RFC 1071, RFC 9293; the headers of each frame as the kernel's own segmentation writes them). Pure.

use sys::ring::{Checksum, SegmentKind, Segments};
use wire::checksum::{Sum, internet, pseudo_header};

/// Octets of the header in front of TCP's options, and of UDP.
const TCP_HEADER: usize = 20;
const UDP_HEADER: usize = 8;
/// Flags of TCP that belong to the last frame only, and the one that belongs to the first.
const FIN_PSH: u8 = 0x09;
const CWR: u8 = 0x80;

/// Writes a checksum where the sum of the pseudo-header stands. What points behind the frame's end changes nothing.
pub fn finish(frame: &mut [u8], checksum: Checksum) {
    let Some(covered) = frame.get(checksum.start..) else { return };
    let sum = Sum::default().with(covered).checksum();
    // UDP says "none" with 0 (RFC 768), and a sum of 0 with its other form, as the kernel does for all.
    let sum = if sum == 0 { 0xffff } else { sum };
    let at = checksum.start + checksum.offset;
    if let Some(field) = frame.get_mut(at..at + 2) {
        field.copy_from_slice(&sum.to_be_bytes());
    }
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
            SegmentKind::Tcp4 | SegmentKind::Tcp6 => 6,
            SegmentKind::Udp => 17,
            SegmentKind::Other(_) => return None,
        };
        let header_bytes = match segments.kind {
            SegmentKind::Udp => UDP_HEADER,
            _ => usize::from(*frame.get(transport + 12)? >> 4) * 4,
        };
        if header_bytes < UDP_HEADER || (protocol == 6 && header_bytes < TCP_HEADER) {
            return None;
        }
        let data_at = transport + header_bytes;
        let (headers, payload) = (frame.get(..data_at)?, frame.get(data_at..)?);
        let ip = ip_header(headers, transport)?;
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
            let field = if protocol == 6 {
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

/// Where the IP header begins whose packet has its transport header at `transport`: behind the addresses, the
/// EtherType and any tags.
fn ip_header(headers: &[u8], transport: usize) -> Option<usize> {
    let mut at = 12;
    loop {
        let kind = u16::from_be_bytes([*headers.get(at)?, *headers.get(at + 1)?]);
        at += 2;
        match kind {
            0x8100 | 0x88a8 | 0x9100 => at += 2,
            0x0800 => return (at + 20 <= transport).then_some(at),
            0x86dd => return (at + 40 <= transport).then_some(at),
            _ => return None,
        }
    }
}
