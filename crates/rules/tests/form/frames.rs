//! Frames made by hand.

use std::net::IpAddr;

/// One direction of a conversation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Flow {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub protocol: u8,
    pub source_port: u16,
    pub destination_port: u16,
}

impl Flow {
    pub fn new(source: &str, destination: &str, protocol: u8, ports: (u16, u16)) -> Self {
        let address = |text: &str| text.parse().unwrap();
        let (source, destination) = (address(source), address(destination));
        Self { source, destination, protocol, source_port: ports.0, destination_port: ports.1 }
    }

    pub fn reversed(self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port,
            destination_port: self.source_port,
            ..self
        }
    }

    /// An Ethernet frame of TCP or UDP, 4 octets of data.
    pub fn frame(self) -> Vec<u8> {
        ethernet(&self.packet())
    }

    /// The IP packet.
    pub fn packet(self) -> Vec<u8> {
        ip(self.source, self.destination, self.protocol, &self.segment())
    }

    /// The TCP or UDP header, and 4 octets of data.
    pub fn segment(self) -> Vec<u8> {
        let mut data = [self.source_port.to_be_bytes(), self.destination_port.to_be_bytes()].concat();
        match self.protocol {
            6 => data.extend([0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x18, 1, 0, 0, 0, 0, 0]),
            _ => data.extend([0, 12, 0, 0]),
        }
        data.extend(b"data");
        data
    }
}

/// An IP packet in an Ethernet frame.
pub fn ethernet(packet: &[u8]) -> Vec<u8> {
    let ether_type = if packet[0] >> 4 == 4 { [0x08, 0x00] } else { [0x86, 0xdd] };
    [&[2; 12], &ether_type[..], packet].concat()
}

/// A packet without options, the id of which is 0.
pub fn ip(source: IpAddr, destination: IpAddr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let length = |header: usize| u16::try_from(header + payload.len()).unwrap().to_be_bytes();
    let mut data = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let [high, low] = length(20);
            let mut header = vec![0x45, 0, high, low, 0, 0, 0, 0, 64, protocol, 0, 0];
            header.extend(source.octets().into_iter().chain(destination.octets()));
            header
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let [high, low] = length(0);
            let mut header = vec![0x60, 0, 0, 0, high, low, protocol, 64];
            header.extend(source.octets().into_iter().chain(destination.octets()));
            header
        }
        _ => panic!("two ends of one family"),
    };
    data.extend(payload);
    data
}

/// Marks the IPv4 packet of an untagged Ethernet frame as a fragment.
pub fn fragment(mut frame: Vec<u8>, id: u16, offset: u16, more: bool) -> Vec<u8> {
    frame[18..20].copy_from_slice(&id.to_be_bytes());
    let field = (offset / 8) | if more { 0x2000 } else { 0 };
    frame[20..22].copy_from_slice(&field.to_be_bytes());
    frame
}
