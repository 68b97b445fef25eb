//! The Internet checksum (RFC 1071), and whether the checksums of a frame are right.
//!
//! The lab's own, so that it can judge frames without trusting the code that made them. Never does I/O.

use crate::packet::{Packet, Transport};

/// The checksum over the concatenation of `parts`; every part but the last has an even length.
pub fn internet(parts: &[&[u8]]) -> u16 {
    let mut sum = 0u64;
    for part in parts {
        for pair in part.chunks(2) {
            sum += u64::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).expect("folded to 16 bits")
}

/// What the checksums of a frame say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Every checksum there is holds.
    Right,
    /// At least one does not.
    Wrong,
    /// There is none to look at: not IP, a later fragment, a datagram without one, or cut short.
    Unknown,
}

/// Looks at the IPv4 header's checksum and at that of TCP, UDP, ICMP and ICMPv6.
pub fn verify(frame: &[u8]) -> Verdict {
    let Some(packet) = Packet::parse(frame) else { return Verdict::Unknown };
    if packet.is_v4() && internet(&[packet.header()]) != 0 {
        return Verdict::Wrong;
    }
    let body = packet.body();
    let sum = match packet.transport() {
        Transport::Udp if body.get(6..8) == Some(&[0, 0]) && packet.is_v4() => return Verdict::Right,
        Transport::Tcp | Transport::Udp | Transport::Icmp6 => {
            internet(&[packet.address_pair(), &packet.pseudo_tail(body.len()), body])
        }
        Transport::Icmp4 => internet(&[body]),
        Transport::Other if packet.is_v4() => return Verdict::Right,
        Transport::Other => return Verdict::Unknown,
    };
    if sum == 0 { Verdict::Right } else { Verdict::Wrong }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_1071() {
        let data = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(internet(&[&data]), !0xddf2);
        assert_eq!(internet(&[&data[..4], &data[4..]]), !0xddf2);
    }

    #[test]
    fn an_odd_last_octet_counts_as_the_high_half() {
        assert_eq!(internet(&[&[0x01]]), !0x0100);
    }
}
