//! IP frames for tests of rules: every field that a rule can ask for is set by hand.

use std::net::IpAddr;

/// What an IP packet carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Carried {
    /// TCP with these flags.
    Tcp(u8),
    /// UDP.
    Udp,
    /// ICMP or ICMPv6, as the addresses are: type and code.
    Icmp(u8, u8),
    /// A protocol without ports.
    Other(u8),
}

/// A frame to be made. Checksums are 0: a tap looks at none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Talk {
    /// From.
    pub source: IpAddr,
    /// To; of the same family.
    pub destination: IpAddr,
    /// Ports of TCP or UDP.
    pub ports: (u16, u16),
    /// What it carries.
    pub carried: Carried,
    /// Tags from the outermost: EtherType and VLAN.
    pub tags: Vec<(u16, u16)>,
    /// IPv4 only: identification, and flags with offset in units of 8 octets.
    pub fragment: (u16, u16),
}

impl Talk {
    /// TCP with an ACK.
    ///
    /// # Panics
    /// At what is no address.
    pub fn tcp(source: &str, from: u16, destination: &str, to: u16) -> Self {
        let address = |text: &str| text.parse().unwrap_or_else(|_| panic!("no address: {text}"));
        Self {
            source: address(source),
            destination: address(destination),
            ports: (from, to),
            carried: Carried::Tcp(0x10),
            tags: Vec::new(),
            fragment: (0, 0),
        }
    }

    /// The same, carrying something else.
    #[must_use]
    pub fn carrying(self, carried: Carried) -> Self {
        Self { carried, ..self }
    }

    /// The same in a VLAN, by 802.1Q.
    #[must_use]
    pub fn in_vlan(mut self, vlan: u16) -> Self {
        self.tags.insert(0, (0x8100, vlan));
        self
    }

    /// The way back.
    #[must_use]
    pub fn answer(self) -> Self {
        let (from, to) = self.ports;
        Self { source: self.destination, destination: self.source, ports: (to, from), ..self }
    }

    /// The frame, told from its like by a number in its payload.
    ///
    /// # Panics
    /// Where the addresses are of two families.
    pub fn frame(&self, number: u64) -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, 0xfe, 2, 0, 0, 0, 0, 0xfd];
        for (ether_type, vlan) in &self.tags {
            frame.extend(ether_type.to_be_bytes().into_iter().chain(vlan.to_be_bytes()));
        }
        let later = self.fragment.1 & 0x1fff != 0;
        let mut packet = if later { Vec::new() } else { self.transport() };
        packet.extend(number.to_be_bytes());
        packet.resize(packet.len().max(40), 0x2a);
        let len = u16::try_from(packet.len()).expect("it is short");
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                frame.extend([0x08, 0x00, 0x45, 0]);
                frame.extend((20 + len).to_be_bytes());
                frame.extend(self.fragment.0.to_be_bytes());
                frame.extend(self.fragment.1.to_be_bytes());
                frame.extend([64, self.protocol(), 0, 0]);
                frame.extend(source.octets().into_iter().chain(destination.octets()));
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
                frame.extend(len.to_be_bytes());
                frame.extend([self.protocol(), 64]);
                frame.extend(source.octets().into_iter().chain(destination.octets()));
            }
            other => panic!("two families: {other:?}"),
        }
        frame.extend(packet);
        frame
    }

    fn protocol(&self) -> u8 {
        match self.carried {
            Carried::Tcp(_) => 6,
            Carried::Udp => 17,
            Carried::Icmp(..) if self.source.is_ipv4() => 1,
            Carried::Icmp(..) => 58,
            Carried::Other(protocol) => protocol,
        }
    }

    fn transport(&self) -> Vec<u8> {
        let (from, to) = self.ports;
        let ports = || from.to_be_bytes().into_iter().chain(to.to_be_bytes());
        match self.carried {
            Carried::Tcp(flags) => {
                ports().chain([0; 8]).chain([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]).collect()
            }
            Carried::Udp => ports().chain([0, 40, 0, 0]).collect(),
            Carried::Icmp(kind, code) => vec![kind, code, 0, 0, 0, 0, 0, 0],
            Carried::Other(_) => Vec::new(),
        }
    }
}

/// A conversation of a number: TCP between hosts and ports of its own, IPv6 for every third.
///
/// # Panics
/// Never: all of its addresses are addresses.
pub fn conversation(number: u16) -> Talk {
    let [high, low] = number.to_be_bytes();
    let (client, server) = match number % 3 {
        0 => (format!("2001:db8::{high:x}:{low:x}"), "2001:db8:1::80".to_owned()),
        _ => (format!("10.{high}.{low}.9"), format!("192.0.2.{}", low % 200)),
    };
    Talk::tcp(&client, 1024 + number % 50_000, &server, if number.is_multiple_of(2) { 80 } else { 443 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::headers::walk;

    #[test]
    fn frames_are_what_they_say() {
        let tcp = Talk::tcp("10.0.0.1", 1025, "192.0.2.1", 80);
        let udp = Talk::tcp("2001:db8::1", 53, "2001:db8::2", 1053).carrying(Carried::Udp).in_vlan(7);
        let icmp = udp.clone().carrying(Carried::Icmp(128, 0)).answer();
        for (talk, version, protocol) in [(&tcp, 4, 6), (&udp, 6, 17), (&icmp, 6, 58)] {
            let bytes = talk.frame(5);
            let frame = wire::Frame::ethernet(&bytes).unwrap();
            let headers = walk(&frame);
            let ip = headers.ip.unwrap();
            assert_eq!((ip.version, ip.protocol), (version, protocol), "{talk:?}");
            assert!(headers.transport.is_some(), "{talk:?}");
            assert_eq!(frame.outer_tag().map(|tag| tag.vlan().id()), talk.tags.first().map(|tag| tag.1));
            assert_ne!(bytes, talk.frame(6));
        }
    }
}
