//! The classic format: one header, then records to the end.
//!
//! ```text
//! file   magic u32 | major u16 | minor u16 | reserved u64 | snaplen u32 | FCS 4 bits, f 1, 11 bits, link type u16
//! record seconds u32 | fraction u32 | captured u32 | on the wire u32 | octets
//! ```

use super::{Endian, Fault, Interface, Packet, Resolution, Step, Timestamp, frame};
use crate::frame::LinkType;

/// Octets of the file header.
pub(super) const FILE_HEADER: usize = 24;
/// Octets in front of each packet of a pcap file.
pub const RECORD_HEADER: usize = 16;
/// The first number of a file that counts in microseconds.
pub(super) const MAGIC_MICROSECONDS: u32 = 0xa1b2_c3d4;
/// The first number of a file that counts in nanoseconds.
pub(super) const MAGIC_NANOSECONDS: u32 = 0xa1b2_3c4d;
/// Says that the top four bits of the link type field are meant.
const FCS_PRESENT: u32 = 1 << 26;

/// What the first four octets say, if they are those of a pcap file.
pub(super) fn magic(octets: [u8; 4]) -> Option<(Endian, Resolution)> {
    [Endian::Little, Endian::Big].into_iter().find_map(|endian| match endian.u32(octets) {
        MAGIC_MICROSECONDS => Some((endian, Resolution::MICROSECONDS)),
        MAGIC_NANOSECONDS => Some((endian, Resolution::NANOSECONDS)),
        _ => None,
    })
}

/// What the file header says.
#[derive(Debug)]
pub(super) struct Pcap {
    endian: Endian,
    /// Nanoseconds in a unit of the fraction.
    unit_ns: u64,
    link_type: LinkType,
    fcs_len: u8,
}

impl Pcap {
    pub(super) fn new(
        header: &[u8; FILE_HEADER],
        endian: Endian,
        resolution: Resolution,
    ) -> Result<(Self, Interface), Fault> {
        let [_, _, _, _, ma, mb, na, nb, rest @ ..] = *header;
        let (major, minor) = (endian.u16([ma, mb]), endian.u16([na, nb]));
        if major != 2 {
            return Err(Fault::Version { major, minor });
        }
        let [_, _, _, _, _, _, _, _, sa, sb, sc, sd, la, lb, lc, ld] = rest;
        let snaplen = endian.u32([sa, sb, sc, sd]);
        let network = endian.u32([la, lb, lc, ld]);
        let link_type = LinkType(u16::try_from(network & 0xffff).unwrap_or_default());
        // In units of 16 bits, so at most 30 octets.
        let words = if network & FCS_PRESENT == 0 { 0 } else { network >> 28 };
        let fcs_len = u8::try_from(words * 2).unwrap_or_default();
        let unit_ns = if resolution == Resolution::NANOSECONDS { 1 } else { 1_000 };
        let interface = Interface::new(link_type, snaplen, resolution, 0, fcs_len);
        Ok((Self { endian, unit_ns, link_type, fcs_len }, interface))
    }

    #[inline]
    pub(super) fn step<'a>(&self, input: &'a [u8], limit: u32) -> Result<Step<'a>, Fault> {
        let Some((header, rest)) = input.split_first_chunk::<RECORD_HEADER>() else {
            return Ok(Step::More);
        };
        let [seconds, fraction, captured, wire_len] = self.fields(header);
        if captured > limit {
            return Err(Fault::TooLong { length: u64::from(captured), limit: u64::from(limit) });
        }
        let captured = usize::try_from(captured).unwrap_or(usize::MAX);
        let Some(data) = rest.get(..captured) else {
            return Ok(Step::More);
        };
        let timestamp = Timestamp::new(i64::from(seconds), u64::from(fraction) * self.unit_ns);
        let packet = Packet {
            timestamp: Some(timestamp),
            interface: 0,
            frame: frame(data, wire_len, self.link_type, self.fcs_len),
            data_at: RECORD_HEADER,
        };
        Ok(Step::Packet { packet, consumed: RECORD_HEADER + captured })
    }

    pub(super) fn needed(&self, rest: &[u8]) -> usize {
        let captured = rest.first_chunk::<RECORD_HEADER>().map_or(0, |header| self.fields(header)[2]);
        RECORD_HEADER.saturating_add(usize::try_from(captured).unwrap_or(usize::MAX))
    }

    #[inline]
    fn fields(&self, header: &[u8; RECORD_HEADER]) -> [u32; 4] {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = *header;
        [[a, b, c, d], [e, f, g, h], [i, j, k, l], [m, n, o, p]].map(|octets| self.endian.u32(octets))
    }
}
