//! Frames that sources make up: Ethernet, IPv4 and UDP with right checksums, by port and flow.
//!
//! ```text
//! 02:00:00:01:P:P <- 02:00:00:00:P:P   10.P.P.H:S -> 198.18.P.P:9   payload of zeros
//! ```
//! P is the number of the port in the plan, H and S the flow: 254 hosts, and a UDP port for each round of them. Frames of
//! one flow and length are the same, octet for octet. Too short for headers, a frame is an Ethernet header and zeros.

use plan::plan::PortId;
use wire::checksum::{internet, pseudo_header};

/// Octets of Ethernet, IPv4 and UDP headers.
const HEADERS: usize = 42;
/// Octets of an Ethernet header.
const ETHERNET: usize = 14;
/// The EtherType for local experiments (IEEE 802, clause 9.2.3), of frames without room for IP.
const EXPERIMENT: [u8; 2] = [0x88, 0xb5];
/// Hosts of a port.
const HOSTS: u32 = 254;
/// The first UDP port that flows come from.
const FIRST_PORT: u32 = 1024;
/// UDP ports that flows come from.
const PORTS: u32 = 0xffff - FIRST_PORT;
/// Where every flow goes: the discard service (RFC 863).
const DISCARD: [u8; 2] = [0, 9];
const UDP: u8 = 17;

/// The first frame of a length, which those of other flows are made of.
pub(super) fn template(port: PortId, len: usize) -> Vec<u8> {
    let [high, low] = port.0.to_be_bytes();
    let mut frame = vec![2, 0, 0, 1, high, low, 2, 0, 0, 0, high, low];
    if len < HEADERS {
        frame.extend(EXPERIMENT);
        frame.resize(len.max(ETHERNET), 0);
        return frame;
    }
    let octets = |len: usize| u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes();
    frame.extend([8, 0]);
    let [total_high, total_low] = octets(len - ETHERNET);
    // Do not fragment, 64 hops.
    frame.extend([0x45, 0, total_high, total_low, 0, 0, 0x40, 0, 64, UDP, 0, 0]);
    frame.extend([10, high, low, 1, 198, 18, high, low]);
    frame.extend([0; 2]);
    frame.extend(DISCARD);
    frame.extend(octets(len - ETHERNET - 20));
    frame.resize(len, 0);
    address(&mut frame, 0);
    frame
}

/// Makes a frame of the same port and length one of this flow.
pub(super) fn address(frame: &mut [u8], flow: u32) {
    let Some(headers) = frame.get_mut(ETHERNET..HEADERS) else { return };
    let [.., host] = (1 + flow % HOSTS).to_be_bytes();
    let [.., port_high, port_low] = (FIRST_PORT + flow / HOSTS % PORTS).to_be_bytes();
    headers[15] = host;
    headers[20..22].copy_from_slice(&[port_high, port_low]);
    headers[10..12].fill(0);
    let checksum = internet(&headers[..20]);
    headers[10..12].copy_from_slice(&checksum.to_be_bytes());
    headers[26..28].fill(0);
    let len = u32::from(u16::from_be_bytes([headers[24], headers[25]]));
    let pseudo = pseudo_header(headers, UDP, len).unwrap_or_default();
    // The payload is of zeros, which add nothing.
    let checksum = match pseudo.with(&headers[20..28]).checksum() {
        // 0 would say that there is none (RFC 768).
        0 => 0xffff,
        sum => sum,
    };
    headers[26..28].copy_from_slice(&checksum.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use wire::Frame;

    #[test]
    fn frames_are_right_and_tell_flows_apart() {
        for len in [14, 20, 41, 42, 43, 60, 61, 1514, 9014, 65535] {
            let mut seen = BTreeSet::new();
            for port in [0, 1, 258] {
                let mut frame = template(PortId(port), len);
                assert_eq!(frame.len(), len);
                for flow in (0..600).chain([999_999]) {
                    address(&mut frame, flow);
                    seen.insert(frame.clone());
                    if len >= HEADERS {
                        let checks = wire::checksum::verify(&Frame::ethernet(&frame).unwrap());
                        let right = wire::checksum::Check::Right;
                        assert_eq!((checks.ip, checks.transport), (right, right), "{len}, {flow}");
                    }
                }
            }
            let flows = if len < HEADERS { 1 } else { 601 };
            assert_eq!(seen.len(), 3 * flows, "{len}");
        }
    }
}
