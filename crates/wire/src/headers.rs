//! Where the headers of a frame begin: Ethernet, VLAN tags, ARP, IPv4, IPv6 with its extension
//! headers, TCP, UDP, ICMP.
//!
//! [`walk`] gives offsets into the frame and copies nothing. A header that is not whole, or that
//! contradicts itself, ends the walk: what came before stands, what would come after is `None`.
//! Never panics, never looks at more than [`TAGS_MAX`] tags and [`EXTENSIONS_MAX`] extension headers.

use crate::frame::{Frame, LinkType, Tag};

/// VLAN tags that a walk looks through.
pub const TAGS_MAX: usize = 8;

/// IPv6 extension headers that a walk looks through (RFC 8200, section 4).
pub const EXTENSIONS_MAX: usize = 16;

/// EtherTypes (IEEE 802 numbers).
pub mod ether_type {
    /// Internet Protocol version 4.
    pub const IPV4: u16 = 0x0800;
    /// Address Resolution Protocol.
    pub const ARP: u16 = 0x0806;
    /// Internet Protocol version 6.
    pub const IPV6: u16 = 0x86dd;
    /// Flow control (IEEE 802.3, annex 31).
    pub const MAC_CONTROL: u16 = 0x8808;
    /// LACP and its like.
    pub const SLOW: u16 = 0x8809;
    /// Port-based access control.
    pub const EAPOL: u16 = 0x888e;
    /// Link Layer Discovery Protocol.
    pub const LLDP: u16 = 0x88cc;
    /// Up to here the field is the length of an IEEE 802.3 frame, in octets.
    pub const LENGTH_MAX: u16 = 1500;
}

/// IP protocol numbers.
pub mod protocol {
    /// Hop-by-hop options of IPv6.
    pub const HOP_BY_HOP: u8 = 0;
    /// Internet Control Message Protocol.
    pub const ICMP: u8 = 1;
    /// Internet Group Management Protocol.
    pub const IGMP: u8 = 2;
    /// Transmission Control Protocol.
    pub const TCP: u8 = 6;
    /// User Datagram Protocol.
    pub const UDP: u8 = 17;
    /// Routing header of IPv6.
    pub const ROUTING: u8 = 43;
    /// Fragment header of IPv6.
    pub const FRAGMENT: u8 = 44;
    /// Authentication header.
    pub const AUTHENTICATION: u8 = 51;
    /// ICMP for IPv6.
    pub const ICMPV6: u8 = 58;
    /// Destination options of IPv6.
    pub const DESTINATION: u8 = 60;
}

/// What a walk found. Offsets are octets from the start of the frame's data.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Headers {
    /// VLAN tags in front of the payload.
    pub tags: usize,
    /// The type of the payload behind all tags; `None` where the frame is cut before it.
    pub ether_type: Option<u16>,
    /// Where the payload of the link layer begins: behind EtherType and tags.
    pub payload_at: usize,
    /// The IP header, if there is a whole one.
    pub ip: Option<Ip>,
    /// The header behind IP, if there is a whole one and this is no later fragment.
    pub transport: Option<Transport>,
}

/// An IPv4 or IPv6 header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ip {
    /// 4 or 6.
    pub version: u8,
    /// Where it begins.
    pub at: usize,
    /// Its octets, with the options of IPv4 and the extension headers of IPv6.
    pub header_len: usize,
    /// Where the packet ends by its own account; may lie behind the end of cut data. What follows
    /// is padding of the link layer.
    pub end: usize,
    /// What the header is followed by, behind all extension headers that were looked through.
    pub protocol: u8,
    /// Set where the packet is a fragment.
    pub fragment: Option<Fragment>,
}

/// The place of a fragment in its packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fragment {
    /// Identification.
    pub id: u32,
    /// Octets of the packet's payload that come before it.
    pub offset: u16,
    /// Whether more follow.
    pub more: bool,
}

/// A TCP, UDP or ICMP header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Transport {
    /// TCP, UDP, ICMP or ICMPv6.
    pub protocol: u8,
    /// Where it begins.
    pub at: usize,
    /// Its octets: TCP with options, 8 for the others.
    pub header_len: usize,
}

impl Headers {
    /// Octets of all headers in front of the payload of TCP or UDP: what each wire frame repeats when
    /// a super-frame is cut. `None` where the frame carries neither.
    pub fn segment_header_len(&self) -> Option<usize> {
        let transport = self.transport?;
        matches!(transport.protocol, protocol::TCP | protocol::UDP)
            .then_some(transport.at + transport.header_len)
    }
}

/// Finds the headers of a frame.
pub fn walk(frame: &Frame<'_>) -> Headers {
    let data = frame.data;
    let mut headers = match frame.link_type {
        LinkType::ETHERNET => ethernet(data),
        LinkType::LINUX_SLL => Headers { ether_type: u16_at(data, 14), payload_at: 16, ..Headers::default() },
        LinkType::LINUX_SLL2 => Headers { ether_type: u16_at(data, 0), payload_at: 20, ..Headers::default() },
        LinkType::RAW => {
            let ether_type = data.first().and_then(|octet| match octet >> 4 {
                4 => Some(ether_type::IPV4),
                6 => Some(ether_type::IPV6),
                _ => None,
            });
            Headers { ether_type, ..Headers::default() }
        }
        _ => Headers::default(),
    };
    headers.ip = match headers.ether_type {
        Some(ether_type::IPV4) => ipv4(data, headers.payload_at),
        Some(ether_type::IPV6) => ipv6(data, headers.payload_at),
        _ => None,
    };
    headers.transport = headers.ip.and_then(|ip| transport(data, &ip));
    headers
}

fn ethernet(data: &[u8]) -> Headers {
    let mut tags = 0;
    let mut at = 12;
    while tags < TAGS_MAX && u16_at(data, at).is_some_and(announces_tag) {
        tags += 1;
        at += Tag::LEN;
    }
    Headers { tags, ether_type: u16_at(data, at), payload_at: at + 2, ip: None, transport: None }
}

/// 802.1Q, 802.1ad, and the number that was used for the outer tag before 802.1ad.
fn announces_tag(ether_type: u16) -> bool {
    Tag::announces(ether_type) || ether_type == 0x9100
}

/// RFC 791, section 3.1.
fn ipv4(data: &[u8], at: usize) -> Option<Ip> {
    let header: &[u8; 20] = data.get(at..)?.first_chunk()?;
    let header_len = usize::from(header[0] & 0x0f) * 4;
    let total_len = usize::from(u16::from_be_bytes([header[2], header[3]]));
    if header[0] >> 4 != 4 || header_len < 20 || data.len() < at + header_len {
        return None;
    }
    let end = match total_len {
        // A super-frame too long for the field.
        0 => data.len(),
        _ if total_len < header_len => return None,
        _ => at + total_len,
    };
    let flags = u16::from_be_bytes([header[6], header[7]]);
    let (offset, more) = ((flags & 0x1fff) << 3, flags & 0x2000 != 0);
    let id = u32::from(u16::from_be_bytes([header[4], header[5]]));
    let fragment = (offset != 0 || more).then_some(Fragment { id, offset, more });
    Some(Ip { version: 4, at, header_len, end, protocol: header[9], fragment })
}

/// RFC 8200, sections 3 and 4.
fn ipv6(data: &[u8], at: usize) -> Option<Ip> {
    let header: &[u8; 40] = data.get(at..)?.first_chunk()?;
    if header[0] >> 4 != 6 {
        return None;
    }
    let payload_len = usize::from(u16::from_be_bytes([header[4], header[5]]));
    // 0 stands for a jumbogram or a super-frame: as long as the frame.
    let end = if payload_len == 0 { data.len() } else { at + 40 + payload_len };
    let mut ip = Ip { version: 6, at, header_len: 40, end, protocol: header[6], fragment: None };
    let packet = data.get(..end.min(data.len()))?;
    for _ in 0..EXTENSIONS_MAX {
        let Some((next, len)) = extension(packet, &mut ip) else { break };
        ip.protocol = next;
        ip.header_len += len;
        if ip.fragment.is_some_and(|fragment| fragment.offset != 0) {
            break;
        }
    }
    Some(ip)
}

/// The protocol behind the extension header that `ip.protocol` names, and the header's octets.
fn extension(packet: &[u8], ip: &mut Ip) -> Option<(u8, usize)> {
    let rest = packet.get(ip.at + ip.header_len..)?;
    let [next, len, ..] = *rest else { return None };
    let len = match ip.protocol {
        protocol::HOP_BY_HOP | protocol::ROUTING | protocol::DESTINATION => (usize::from(len) + 1) * 8,
        protocol::AUTHENTICATION => (usize::from(len) + 2) * 4,
        protocol::FRAGMENT => {
            let [_, _, a, b, c, d, e, f] = *rest.first_chunk()?;
            let field = u16::from_be_bytes([a, b]);
            let (offset, more) = (field & 0xfff8, field & 1 != 0);
            // Offset 0 and no more to come is a whole packet with a fragment header (RFC 6946).
            if offset != 0 || more {
                ip.fragment = Some(Fragment { id: u32::from_be_bytes([c, d, e, f]), offset, more });
            }
            8
        }
        _ => return None,
    };
    (rest.len() >= len).then_some((next, len))
}

fn transport(data: &[u8], ip: &Ip) -> Option<Transport> {
    if ip.fragment.is_some_and(|fragment| fragment.offset != 0) {
        return None;
    }
    let at = ip.at + ip.header_len;
    let rest = data.get(at..ip.end.min(data.len()))?;
    let header_len = match (ip.protocol, ip.version) {
        (protocol::TCP, _) => usize::from(rest.get(12)? >> 4) * 4,
        (protocol::UDP, _) | (protocol::ICMP, 4) | (protocol::ICMPV6, 6) => 8,
        _ => return None,
    };
    let least = if ip.protocol == protocol::TCP { 20 } else { 8 };
    (header_len >= least && rest.len() >= header_len).then_some(Transport {
        protocol: ip.protocol,
        at,
        header_len,
    })
}

/// A big-endian number at an offset.
pub(crate) fn u16_at(data: &[u8], at: usize) -> Option<u16> {
    data.get(at..)?.first_chunk().map(|field| u16::from_be_bytes(*field))
}

/// A big-endian number at an offset.
pub(crate) fn u32_at(data: &[u8], at: usize) -> Option<u32> {
    data.get(at..)?.first_chunk().map(|field| u32::from_be_bytes(*field))
}
