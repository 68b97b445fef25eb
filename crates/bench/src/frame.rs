//! The frames that jobs are measured with.

use std::net::IpAddr;

use wire::headers::{ether_type, protocol};

use crate::error::{Failure, Outcome};

/// The shortest frame without FCS, in octets, and the longest for an MTU of 1500.
pub const OCTETS: std::ops::RangeInclusive<usize> = 60..=1514;

/// An UDP datagram from 10.9.9.1 to 10.9.9.2 in a frame of so many octets, without FCS. Neither address nor
/// hardware address is anyone's.
///
/// # Errors
/// A length that no frame of ours has.
pub fn udp(octets: usize) -> Outcome<Vec<u8>> {
    if !OCTETS.contains(&octets) {
        let (least, most) = (OCTETS.start(), OCTETS.end());
        return Err(Failure::new(format!("{octets} octets"), format!("a frame here has {least} to {most}")));
    }
    let lengths = |less: usize| u16::try_from(octets - less).expect("at most 1514").to_be_bytes();
    let mut frame = Vec::with_capacity(octets);
    frame.extend([0x02, 0, 0, 0, 0x99, 2, 0x02, 0, 0, 0, 0x99, 1, 0x08, 0]);
    frame.extend([0x45, 0]);
    frame.extend(lengths(14));
    frame.extend([0, 1, 0, 0, 64, 17, 0, 0, 10, 9, 9, 1, 10, 9, 9, 2]);
    let sum = wire::checksum::internet(&frame[14..34]);
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    // Port 9 is discard; a checksum of 0 says that there is none (RFC 768).
    frame.extend([0, 9, 0, 9]);
    frame.extend(lengths(34));
    frame.resize(octets, 0);
    Ok(frame)
}

/// Two ends of TCP or UDP, as a frame shows them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ends {
    /// TCP or UDP, as in [`protocol`].
    pub protocol: u8,
    /// Where it comes from; both addresses are of one family.
    pub source: IpAddr,
    /// Its port.
    pub source_port: u16,
    /// Where it goes.
    pub destination: IpAddr,
    /// Its port.
    pub destination_port: u16,
}

/// Where the ports of a frame of [`between`] over IPv4 are: source, destination.
pub const PORTS_AT: [i16; 2] = [34, 36];

/// A frame of so many octets without FCS, or as many more as its headers take: one segment of a TCP
/// conversation, or a datagram. Checksums of TCP are not filled in: nobody on the way looks at them.
///
/// # Errors
/// A length that no frame of ours has.
pub fn between(ends: &Ends, octets: usize) -> Outcome<Vec<u8>> {
    if !OCTETS.contains(&octets) {
        return udp(octets);
    }
    let mut transport = Vec::from(ends.source_port.to_be_bytes());
    transport.extend(ends.destination_port.to_be_bytes());
    match ends.protocol {
        protocol::TCP => transport.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 0xff, 0xff, 0, 0, 0, 0]),
        _ => transport.extend([0; 4]),
    }
    let mut frame = Vec::with_capacity(octets);
    frame.extend([0x02, 0, 0, 0, 0x99, 2, 0x02, 0, 0, 0, 0x99, 1]);
    let ip_header = if ends.source.is_ipv4() { 20 } else { 40 };
    let octets = octets.max(14 + ip_header + transport.len());
    let length = |less: usize| u16::try_from(octets - less).expect("at most 1514").to_be_bytes();
    if ends.protocol != protocol::TCP {
        transport[4..6].copy_from_slice(&length(14 + ip_header));
    }
    match (ends.source, ends.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            frame.extend(ether_type::IPV4.to_be_bytes());
            frame.extend([0x45, 0]);
            frame.extend(length(14));
            frame.extend([0, 1, 0, 0, 64, ends.protocol, 0, 0]);
            frame.extend(source.octets().into_iter().chain(destination.octets()));
            let sum = wire::checksum::internet(&frame[14..34]);
            frame[24..26].copy_from_slice(&sum.to_be_bytes());
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            frame.extend(ether_type::IPV6.to_be_bytes());
            frame.extend([0x60, 0, 0, 0]);
            frame.extend(length(54));
            frame.extend([ends.protocol, 64]);
            frame.extend(source.octets().into_iter().chain(destination.octets()));
        }
        _ => return Err(Failure::new(format!("{ends:?}"), "two families in one frame")),
    }
    frame.extend(transport);
    frame.resize(octets, 0);
    Ok(frame)
}

#[cfg(test)]
mod tests {
    use rules::form::Fields;

    use super::*;

    #[test]
    fn a_frame_between_two_ends_shows_them() {
        for (source, destination) in [("10.0.0.1", "10.0.0.2"), ("2001:db8::1", "2001:db8::2")] {
            for protocol in [protocol::TCP, protocol::UDP] {
                let ends = Ends {
                    protocol,
                    source: source.parse().unwrap(),
                    source_port: 1234,
                    destination: destination.parse().unwrap(),
                    destination_port: 80,
                };
                for octets in [60, 1514] {
                    let data = between(&ends, octets).unwrap();
                    let fields = Fields::of(&wire::Frame::ethernet(&data).unwrap());
                    let ip = fields.ip.unwrap();
                    assert_eq!(
                        (ip.source, ip.destination, ip.protocol),
                        (ends.source, ends.destination, protocol)
                    );
                    assert_eq!(fields.ports, Some((1234, 80)));
                }
            }
        }
    }

    #[test]
    fn a_frame_has_its_length_and_a_right_header() {
        for octets in [60, 1514] {
            let frame = udp(octets).unwrap();
            assert_eq!(frame.len(), octets);
            assert_eq!(wire::checksum::internet(&frame[14..34]), 0);
        }
        assert!(udp(59).is_err() && udp(1515).is_err());
    }
}
