//! Where the IP packet of a frame begins, and what it carries: just enough to judge and cut frames.
//!
//! Extension headers of IPv6 are not looked through, and fragments have no transport: the lab's own
//! traffic has neither. Never does I/O.

/// What an IP packet carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    /// RFC 9293.
    Tcp,
    /// RFC 768.
    Udp,
    /// RFC 792.
    Icmp4,
    /// RFC 4443.
    Icmp6,
    /// Anything else, fragments included.
    Other,
}

/// The IP packet in an Ethernet frame, behind up to two tags.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// From the first octet of the IP header to the end that the header names.
    bytes: &'a [u8],
    /// Octets of the IP header.
    header_len: usize,
    /// Octets of the frame before it.
    offset: usize,
}

impl<'a> Packet<'a> {
    /// The packet, where there is one and the frame holds all of it.
    pub fn parse(frame: &'a [u8]) -> Option<Self> {
        let (offset, ether_type) = network_layer(frame)?;
        let rest = frame.get(offset..)?;
        let field = |at: usize| Some(usize::from(u16::from_be_bytes([*rest.get(at)?, *rest.get(at + 1)?])));
        let (header_len, total) = match (ether_type, rest.first()? >> 4) {
            (0x0800, 4) => (usize::from(rest[0] & 15) * 4, field(2)?),
            (0x86dd, 6) => (40, 40 + field(4)?),
            _ => return None,
        };
        let bytes = rest.get(..total)?;
        (20..=total).contains(&header_len).then_some(Self { bytes, header_len, offset })
    }

    /// Octets of the frame before the IP header.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// Whether it is IPv4 (else IPv6).
    pub fn is_v4(&self) -> bool {
        self.bytes[0] >> 4 == 4
    }

    /// The IP header with its options.
    pub fn header(&self) -> &'a [u8] {
        &self.bytes[..self.header_len]
    }

    /// What follows the IP header.
    pub fn body(&self) -> &'a [u8] {
        &self.bytes[self.header_len..]
    }

    /// Source and destination, as they stand in the header.
    pub fn address_pair(&self) -> &'a [u8] {
        if self.is_v4() { &self.bytes[12..20] } else { &self.bytes[8..40] }
    }

    /// The protocol number, or the next header.
    pub fn protocol(&self) -> u8 {
        if self.is_v4() { self.bytes[9] } else { self.bytes[6] }
    }

    /// What it carries.
    pub fn transport(&self) -> Transport {
        let fragment = self.is_v4() && (self.bytes[6] & 0x3f, self.bytes[7]) != (0, 0);
        match (self.protocol(), self.is_v4()) {
            _ if fragment => Transport::Other,
            (6, _) => Transport::Tcp,
            (17, _) => Transport::Udp,
            (1, true) => Transport::Icmp4,
            (58, false) => Transport::Icmp6,
            _ => Transport::Other,
        }
    }

    /// The end of the pseudo-header: the length and the protocol, for a body of `len` octets.
    pub fn pseudo_tail(&self, len: usize) -> [u8; 8] {
        let [a, b, c, d] = u32::try_from(len).expect("a packet is shorter than 4 GiB").to_be_bytes();
        [a, b, c, d, 0, 0, 0, self.protocol()]
    }
}

/// What stacks say to find each other: ARP, IGMP (RFC 3376), and ICMPv6 but for echo and errors, which is MLD
/// (RFC 3810) and neighbour discovery (RFC 4861).
pub fn is_housekeeping(frame: &[u8]) -> bool {
    let arp = wire::Frame::ethernet(frame).and_then(|frame| frame.ether_type()) == Some(0x0806);
    let Some(packet) = Packet::parse(frame) else { return arp };
    match (packet.protocol(), packet.is_v4()) {
        // MLD comes behind a hop-by-hop header.
        (2, true) | (0, false) => true,
        (58, false) => matches!(packet.body().first(), Some(130..=143)),
        _ => arp,
    }
}

/// Offset of the network layer and the EtherType that announces it, behind up to two tags.
fn network_layer(frame: &[u8]) -> Option<(usize, u16)> {
    let ether_type = |at: usize| Some(u16::from_be_bytes([*frame.get(at)?, *frame.get(at + 1)?]));
    let mut at = 12;
    for _ in 0..2 {
        if wire::Tag::announces(ether_type(at)?) {
            at += wire::Tag::LEN;
        }
    }
    Some((at + 2, ether_type(at)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_or_not_ip_is_no_packet() {
        for len in 0..34 {
            let mut frame = vec![0; 12];
            frame.extend([8, 0, 0x45, 0, 0, 20]);
            frame.resize(len.max(18), 0);
            frame.truncate(len);
            assert!(Packet::parse(&frame).is_none(), "{len} octets");
        }
        assert!(Packet::parse(&[0xff; 100]).is_none());
    }
}
