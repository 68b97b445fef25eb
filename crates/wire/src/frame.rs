//! A frame as it was on the wire, and the few fields that decisions are made on.

use std::fmt;

/// A link type, as numbered by the registry of the tcpdump project (`LINKTYPE_*`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LinkType(pub u16);

impl LinkType {
    /// IEEE 802.3 Ethernet: destination, source, EtherType, without FCS.
    pub const ETHERNET: Self = Self(1);
    /// Raw IP: the frame begins with an IPv4 or IPv6 header.
    pub const RAW: Self = Self(101);
    /// IEEE 802.11 without a radio header.
    pub const IEEE802_11: Self = Self(105);
    /// Linux "cooked" capture, version 1.
    pub const LINUX_SLL: Self = Self(113);
    /// IEEE 802.11 behind a radiotap header.
    pub const IEEE802_11_RADIOTAP: Self = Self(127);
    /// Linux "cooked" capture, version 2.
    pub const LINUX_SLL2: Self = Self(276);
}

/// A VLAN identifier: 12 bits (IEEE 802.1Q-2022, 9.6). 0 is the priority tag, 4095 is reserved.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Vlan(u16);

impl Vlan {
    /// The identifier, or `None` above 4095.
    pub const fn new(id: u16) -> Option<Self> {
        if id < 4096 { Some(Self(id)) } else { None }
    }

    /// The number, 0 to 4095.
    pub const fn id(self) -> u16 {
        self.0
    }
}

impl fmt::Display for Vlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A VLAN tag: the EtherType that announces it and the 16 bits of priority, DEI and identifier.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tag {
    /// 0x8100 (802.1Q) or 0x88a8 (802.1ad).
    pub protocol: u16,
    /// PCP (3 bits), DEI (1), VLAN identifier (12).
    pub tci: u16,
}

impl Tag {
    /// Octets that a tag adds to a frame.
    pub const LEN: usize = 4;

    /// The VLAN identifier of the tag.
    pub const fn vlan(self) -> Vlan {
        Vlan(self.tci & 0x0fff)
    }

    /// Whether an EtherType announces a tag that Linux takes off the data (`eth_type_vlan`).
    pub const fn announces(ether_type: u16) -> bool {
        matches!(ether_type, 0x8100 | 0x88a8)
    }
}

/// An EUI-48 address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct MacAddress(pub [u8; 6]);

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// One frame as it was on the wire: tags in the data, no FCS.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame<'a> {
    /// The octets that are known; shorter than `wire_len` where a capture was cut.
    pub data: &'a [u8],
    /// Octets the frame had on the wire, without FCS.
    pub wire_len: u32,
    /// How `data` begins.
    pub link_type: LinkType,
}

impl<'a> Frame<'a> {
    /// A whole Ethernet frame. `None` where the length does not fit in 32 bits.
    pub fn ethernet(data: &'a [u8]) -> Option<Self> {
        let wire_len = u32::try_from(data.len()).ok()?;
        Some(Self { data, wire_len, link_type: LinkType::ETHERNET })
    }

    /// The EtherType field that stands behind the addresses, before any tag is looked through.
    pub fn ether_type(&self) -> Option<u16> {
        if self.link_type != LinkType::ETHERNET {
            return None;
        }
        let field = self.data.get(12..14)?;
        Some(u16::from_be_bytes([field[0], field[1]]))
    }

    /// The outer VLAN tag, where the frame bears one that is whole.
    pub fn outer_tag(&self) -> Option<Tag> {
        let protocol = self.ether_type().filter(|t| Tag::announces(*t))?;
        let field = self.data.get(14..16)?;
        Some(Tag { protocol, tci: u16::from_be_bytes([field[0], field[1]]) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outer_tag_is_the_first_of_a_qinq_frame() {
        let mut data = vec![0xff; 12];
        data.extend([0x88, 0xa8, 0x20, 0x64, 0x81, 0x00, 0x00, 0x0a, 0x08, 0x00]);
        let frame = Frame::ethernet(&data).unwrap();
        let tag = frame.outer_tag().unwrap();
        assert_eq!((tag.protocol, tag.vlan().id()), (0x88a8, 100));
    }

    #[test]
    fn a_cut_tag_is_no_tag() {
        let mut data = vec![0; 12];
        data.extend([0x81, 0x00, 0x00]);
        assert_eq!(Frame::ethernet(&data).unwrap().outer_tag(), None);
    }
}
