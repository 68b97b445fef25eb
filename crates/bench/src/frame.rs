//! The one frame that all jobs are measured with.

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

#[cfg(test)]
mod tests {
    use super::*;

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
