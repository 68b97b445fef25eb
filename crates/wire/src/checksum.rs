//! The Internet checksum (RFC 1071): computing it, and telling whether a frame's are right.
//!
//! Never changes a frame: a tap copies bad checksums as they are.

use crate::frame::Frame;
use crate::headers::{Ip, protocol, walk};

/// A sum in the making. Feed it pieces of even length; only the last may be odd.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sum(u64);

impl Sum {
    /// Adds the octets as 16-bit words; an odd last one is padded with zero.
    #[must_use]
    pub fn with(mut self, octets: &[u8]) -> Self {
        let mut words = octets.chunks_exact(4);
        for word in &mut words {
            // 2^32 words of 32 bits fit; no frame has as many.
            self.0 += u64::from(u32::from_be_bytes([word[0], word[1], word[2], word[3]]));
        }
        let mut last = [0; 4];
        for (to, from) in last.iter_mut().zip(words.remainder()) {
            *to = *from;
        }
        self.0 += u64::from(u32::from_be_bytes(last));
        self
    }

    /// The checksum to be written into a header whose field was zero: the complement of the sum.
    pub fn checksum(self) -> u16 {
        let mut sum = self.0;
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !u16::try_from(sum).unwrap_or_default()
    }

    /// Whether octets that contain their own checksum sum up as they should.
    pub fn is_right(self) -> bool {
        self.checksum() == 0
    }
}

/// The checksum of some octets.
pub fn internet(octets: &[u8]) -> u16 {
    Sum::default().with(octets).checksum()
}

/// The sum of the pseudo-header that TCP, UDP and ICMPv6 are protected with (RFC 9293, section
/// 3.1; RFC 8200, section 8.1). `packet` begins with the IP header, `len` counts the octets behind it.
pub fn pseudo_header(packet: &[u8], protocol: u8, len: u32) -> Option<Sum> {
    let addresses = match packet.first()? >> 4 {
        4 => packet.get(12..20)?,
        6 => packet.get(8..40)?,
        _ => return None,
    };
    Some(Sum::default().with(addresses).with(&[0, protocol]).with(&len.to_be_bytes()))
}

/// Whether a checksum is right.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Check {
    /// It is.
    Right,
    /// It is not.
    Wrong,
    /// Cannot be told, or there is none: cut frame, fragment, UDP without checksum, unknown protocol.
    Unknown,
}

/// The checksums of one frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Checks {
    /// Of the IPv4 header.
    pub ip: Check,
    /// Of TCP, UDP, ICMP or ICMPv6.
    pub transport: Check,
}

impl Checks {
    /// Whether either is known to be wrong.
    pub fn any_wrong(self) -> bool {
        [self.ip, self.transport].contains(&Check::Wrong)
    }
}

/// Checks the checksums of a frame's outermost IP packet.
pub fn verify(frame: &Frame<'_>) -> Checks {
    let headers = walk(frame);
    let mut checks = Checks { ip: Check::Unknown, transport: Check::Unknown };
    let Some(ip) = headers.ip else { return checks };
    let Some(packet) = frame.data.get(ip.at..) else { return checks };
    if ip.version == 4 {
        checks.ip = judge(packet.get(..ip.header_len).map(|header| Sum::default().with(header)));
    }
    if headers.transport.is_some() && ip.fragment.is_none() {
        checks.transport = transport(frame.data, packet, &ip);
    }
    checks
}

fn transport(data: &[u8], packet: &[u8], ip: &Ip) -> Check {
    let Some(mut segment) = data.get(ip.at + ip.header_len..ip.end) else { return Check::Unknown };
    if ip.protocol == protocol::UDP {
        // UDP has a length and, over IPv4, may have no checksum (RFC 768).
        let [_, _, _, _, a, b, c, d, ..] = *segment else { return Check::Unknown };
        if [c, d] == [0, 0] {
            return if ip.version == 4 { Check::Unknown } else { Check::Wrong };
        }
        let len = usize::from(u16::from_be_bytes([a, b]));
        if len >= 8 {
            let Some(datagram) = segment.get(..len) else { return Check::Unknown };
            segment = datagram;
        }
    }
    let Ok(len) = u32::try_from(segment.len()) else { return Check::Unknown };
    let start = match ip.protocol {
        protocol::ICMP => Some(Sum::default()),
        other => pseudo_header(packet, other, len),
    };
    judge(start.map(|sum| sum.with(segment)))
}

fn judge(sum: Option<Sum>) -> Check {
    match sum.map(Sum::is_right) {
        Some(true) => Check::Right,
        Some(false) => Check::Wrong,
        None => Check::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_1071() {
        assert_eq!(internet(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
    }

    #[test]
    fn an_odd_last_octet_is_the_high_half_of_a_word() {
        assert_eq!(internet(&[0x12, 0x34, 0x56]), !(0x1234u16 + 0x5600));
        assert_eq!(internet(&[]), 0xffff);
    }

    #[test]
    fn what_cannot_be_told_is_not_wrong() {
        let checks = |ip, transport| Checks { ip, transport };
        assert!(!checks(Check::Right, Check::Unknown).any_wrong());
        assert!(checks(Check::Right, Check::Wrong).any_wrong());
        assert!(checks(Check::Wrong, Check::Unknown).any_wrong());
    }

    #[test]
    fn pieces_add_up() {
        let whole = [1, 2, 3, 4, 5, 6, 7, 8, 9];
        let pieces = Sum::default().with(&whole[..2]).with(&whole[2..8]).with(&whole[8..]);
        assert_eq!(pieces.checksum(), internet(&whole));
    }
}
