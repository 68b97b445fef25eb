//! Packets that are carried in packets.
//!
//! From a header on, this is looked through, at most [`INNER_MAX`] times one after the other:
//!
//! | found | where | what is carried, and where it begins |
//! |---|---|---|
//! | MPLS | EtherType 0x8847 or 0x8848, where the payload begins | IP behind the label with the bottom bit (RFC 3032), one of the first [`LABELS_MAX`] |
//! | IP in IP | protocol 4 or 41 | IP behind the header |
//! | GRE | protocol 47; the first two octets & 0x4007 are 0 (no routing, version 0) | behind 4 octets, and 4 more for each of the bits 0x8000, 0x2000 and 0x1000 of the first two octets: protocol 0x0800 or 0x86dd IP, 0x6558 Ethernet, 0x8847 or 0x8848 MPLS (the same step) |
//! | VXLAN | a whole UDP header to port 4789, bit 0x08 in the first octet behind it | Ethernet behind 8 octets (RFC 7348) |
//! | GTP-U | a whole UDP header to port 2152; the first octet behind it & 0xf0 is 0x30, the second 255 | IP behind 8 octets; where the first octet has any of the bits 0x07, behind 12; where it has 0x04, behind the extension headers that follow those 12 (TS 29.281): at most [`EXTENSIONS_MAX`], each of 4 octets times its first octet, which is not 0; the next one's type is the octet before where it would begin, and 0 ends the chain |
//!
//! "IP" is version 4 or 6 as its first four bits say. Ethernet is looked through as in the frame itself, with
//! its tags. "Behind the header" is behind options and IPv6 extension headers. An octet that is missed within
//! the first [`REACH`](super::REACH) of the frame ends the search, and so does a packet that is a fragment: it
//! is not looked into, so that all of its fragments have one hash. An outer packet's length does not
//! bound the inner one. The last IP header that was whole decides, with what [`Fields::of`] says of it.

use wire::headers::{Headers, Ip, ether_type, protocol, walk};
use wire::{Frame, LinkType};

use super::{Fields, REACH};

/// How often one frame is looked through.
pub const INNER_MAX: usize = 4;
/// MPLS labels that a step looks through.
pub const LABELS_MAX: usize = 4;
/// Extension headers of GTP-U that a step looks through.
pub const EXTENSIONS_MAX: usize = 2;

const IP_IN_IP: u8 = 4;
const IPV6_IN_IP: u8 = 41;
const GRE: u8 = 47;
const BRIDGED: u16 = 0x6558;
const VXLAN_PORT: u16 = 4789;
const GTP_PORT: u16 = 2152;
/// The message that carries a packet.
const GTP_PACKET: u8 = 255;

impl Fields {
    /// The fields of the innermost packet of a frame: those of [`Fields::of`] where it carries no other.
    pub fn inner(frame: &Frame<'_>) -> Self {
        let mut data = &frame.data[..frame.data.len().min(REACH)];
        let mut headers = walk(&Frame { data, ..*frame });
        let mut found = Self::found(data, &headers);
        for _ in 0..INNER_MAX {
            let Some((at, link_type)) = carried(data, &headers) else { break };
            data = data.get(at..).unwrap_or_default();
            headers = walk(&Frame { data, link_type, ..*frame });
            if headers.ip.is_some() {
                found = Self::found(data, &headers);
            }
        }
        found
    }
}

/// Where the packet begins that one with these headers carries, and how.
fn carried(data: &[u8], headers: &Headers) -> Option<(usize, LinkType)> {
    let Some(ip) = headers.ip else { return labelled(data, headers.ether_type?, headers.payload_at) };
    if ip.fragment.is_some() {
        return None;
    }
    let at = ip.at + ip.header_len;
    match ip.protocol {
        IP_IN_IP | IPV6_IN_IP => Some((at, LinkType::RAW)),
        GRE => gre(data, at),
        protocol::UDP => headers.transport.and_then(|_| udp(data, &ip)),
        _ => None,
    }
}

/// IP behind labels.
fn labelled(data: &[u8], ether_type: u16, at: usize) -> Option<(usize, LinkType)> {
    if !matches!(ether_type, 0x8847 | 0x8848) {
        return None;
    }
    let is_bottom = |label: &usize| data.get(at + label * 4 + 2).is_some_and(|octet| octet & 1 != 0);
    let bottom = (0..LABELS_MAX).find(is_bottom)?;
    Some((at + (bottom + 1) * 4, LinkType::RAW))
}

/// RFC 2784 and RFC 2890.
fn gre(data: &[u8], at: usize) -> Option<(usize, LinkType)> {
    let [flags, version, high, low] = *data.get(at..)?.first_chunk()?;
    if flags & 0x40 != 0 || version & 0x07 != 0 {
        return None;
    }
    let optional = [0x80, 0x20, 0x10].into_iter().filter(|bit| flags & bit != 0).count();
    let at = at + 4 + 4 * optional;
    match u16::from_be_bytes([high, low]) {
        ether_type::IPV4 | ether_type::IPV6 => Some((at, LinkType::RAW)),
        BRIDGED => Some((at, LinkType::ETHERNET)),
        other => labelled(data, other, at),
    }
}

/// VXLAN and GTP-U behind a UDP header that is whole.
fn udp(data: &[u8], ip: &Ip) -> Option<(usize, LinkType)> {
    let at = ip.at + ip.header_len;
    let octet = |at: usize| data.get(at).copied();
    let behind = at + 8;
    match u16::from_be_bytes([octet(at + 2)?, octet(at + 3)?]) {
        VXLAN_PORT if octet(behind)? & 0x08 != 0 => Some((behind + 8, LinkType::ETHERNET)),
        GTP_PORT if octet(behind)? & 0xf0 == 0x30 && octet(behind + 1)? == GTP_PACKET => {
            let flags = octet(behind)? & 0x07;
            if flags == 0 {
                return Some((behind + 8, LinkType::RAW));
            }
            let mut at = behind + 12;
            if flags & 0x04 == 0 {
                return Some((at, LinkType::RAW));
            }
            for _ in 0..EXTENSIONS_MAX {
                if octet(at - 1)? == 0 {
                    break;
                }
                let units = usize::from(octet(at)?);
                if units == 0 {
                    return None;
                }
                at += units * 4;
            }
            (octet(at - 1)? == 0).then_some((at, LinkType::RAW))
        }
        _ => None,
    }
}
