//! Sections of blocks. Each section has its own endianness and its own interfaces.
//!
//! ```text
//! block     type u32 | length u32 | body, padded to 32 bits | length u32 again
//! section   byte-order magic u32 | major u16 | minor u16 | section length i64 | options
//! interface link type u16 | reserved u16 | snaplen u32 | options
//! enhanced  interface u32 | time high u32 | time low u32 | captured u32 | on the wire u32 | octets, padded | options
//! simple    on the wire u32 | octets, padded
//! obsolete  interface u16 | drops u16 | time high u32 | time low u32 | captured u32 | on the wire u32 | octets ...
//! option    code u16 | length u16 | value, padded to 32 bits
//! ```

use super::{Endian, Fault, INTERFACES_MAX, Interface, Packet, Resolution, Step, frame};
use crate::frame::LinkType;

/// The type of a section header block: the same in either endianness.
pub(super) const SECTION_MAGIC: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];
/// The type of a section header block, as a number.
pub(super) const BLOCK_SECTION: u32 = 0x0a0d_0d0a;
/// The type of an interface description block.
pub(super) const BLOCK_INTERFACE: u32 = 1;
/// The type of the packet block of the format's first years.
const BLOCK_OBSOLETE: u32 = 2;
/// The type of a simple packet block.
const BLOCK_SIMPLE: u32 = 3;
/// The type of an enhanced packet block.
pub(super) const BLOCK_ENHANCED: u32 = 6;
/// What a section begins with, in its own endianness.
pub(super) const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;

/// Type and length in front of a block.
const FRONT: usize = 8;
/// The length behind it.
const BEHIND: usize = 4;
/// Where the data of an enhanced or obsolete packet block begins.
const PACKET_DATA: usize = 28;
/// Where the data of a simple packet block begins.
const SIMPLE_DATA: usize = 12;

const OPTION_END: u16 = 0;
const OPTION_PACKET_FLAGS: u16 = 2;
/// `if_tsresol`.
pub(super) const OPTION_RESOLUTION: u16 = 9;
const OPTION_FCS_LEN: u16 = 13;
const OPTION_OFFSET: u16 = 14;

/// The section that the reader is in.
#[derive(Debug)]
pub(super) struct Section {
    endian: Endian,
}

impl Section {
    pub(super) fn new() -> Self {
        // The first block is a section header, which sets it.
        Self { endian: Endian::Little }
    }

    #[inline]
    pub(super) fn step<'a>(
        &mut self,
        input: &'a [u8],
        limit: u32,
        interfaces: &mut Vec<Interface>,
    ) -> Result<Step<'a>, Fault> {
        let Some(front) = input.first_chunk::<FRONT>() else { return Ok(Step::More) };
        if front.first_chunk() == Some(&SECTION_MAGIC) {
            let Some(magic) = input.get(FRONT..).and_then(<[u8]>::first_chunk::<4>) else {
                return Ok(Step::More);
            };
            self.endian = byte_order(*magic)?;
        }
        let [a, b, c, d, e, f, g, h] = *front;
        let kind = self.endian.u32([a, b, c, d]);
        let length = self.endian.u32([e, f, g, h]);
        if length > limit {
            return Err(Fault::TooLong { length: u64::from(length), limit: u64::from(limit) });
        }
        let bad_length = Fault::BlockLength { block: kind, length };
        let whole = usize::try_from(length).unwrap_or(usize::MAX);
        if !length.is_multiple_of(4) || whole < FRONT + BEHIND {
            return Err(bad_length);
        }
        let Some(block) = input.get(..whole) else { return Ok(Step::More) };
        let Some((body, behind)) = block.split_last_chunk::<BEHIND>() else { return Err(bad_length) };
        let behind = self.endian.u32(*behind);
        if behind != length {
            return Err(Fault::TrailerLength { front: length, behind });
        }
        let packet = match kind {
            BLOCK_ENHANCED | BLOCK_OBSOLETE => self.packet(kind, body, interfaces, bad_length)?,
            BLOCK_SIMPLE => self.simple(body, interfaces, bad_length)?,
            BLOCK_SECTION => {
                self.section(body, bad_length)?;
                interfaces.clear();
                return Ok(Step::Skip { consumed: whole });
            }
            BLOCK_INTERFACE => {
                if interfaces.len() >= INTERFACES_MAX {
                    return Err(Fault::TooManyInterfaces);
                }
                interfaces.push(self.interface(body).ok_or(bad_length)?);
                return Ok(Step::Skip { consumed: whole });
            }
            _ => return Ok(Step::Skip { consumed: whole }),
        };
        Ok(Step::Packet { packet, consumed: whole })
    }

    pub(super) fn needed(&self, rest: &[u8]) -> usize {
        let Some([a, b, c, d, e, f, g, h]) = rest.first_chunk::<FRONT>() else { return FRONT };
        let mut endian = self.endian;
        if [*a, *b, *c, *d] == SECTION_MAGIC {
            let Some(magic) = rest.get(FRONT..).and_then(<[u8]>::first_chunk::<4>) else {
                return FRONT + 4;
            };
            endian = byte_order(*magic).unwrap_or(endian);
        }
        usize::try_from(endian.u32([*e, *f, *g, *h])).unwrap_or(usize::MAX)
    }

    fn section(&self, body: &[u8], bad_length: Fault) -> Result<(), Fault> {
        let (Some(major), Some(minor), Some(_section_length)) =
            (self.u16_at(body, 12), self.u16_at(body, 14), body.get(16..24))
        else {
            return Err(bad_length);
        };
        if major == 1 { Ok(()) } else { Err(Fault::Version { major, minor }) }
    }

    /// `None` where the block is too short.
    fn interface(&self, body: &[u8]) -> Option<Interface> {
        let link_type = LinkType(self.u16_at(body, 8)?);
        let snaplen = self.u32_at(body, 12)?;
        let mut resolution = Resolution::MICROSECONDS;
        let mut offset_s = 0;
        let mut fcs_len = 0;
        for (code, value) in self.options(body.get(16..)?) {
            match (code, value) {
                (OPTION_RESOLUTION, [octet, ..]) => resolution = Resolution::from_octet(*octet),
                (OPTION_FCS_LEN, [len, ..]) => fcs_len = if *len < 16 { *len } else { *len / 8 },
                (OPTION_OFFSET, value) => {
                    offset_s = value.first_chunk().map_or(offset_s, |octets| self.endian.i64(*octets));
                }
                _ => {}
            }
        }
        Some(Interface::new(link_type, snaplen, resolution, offset_s, fcs_len))
    }

    #[inline]
    fn packet<'a>(
        &self,
        kind: u32,
        body: &'a [u8],
        interfaces: &[Interface],
        bad_length: Fault,
    ) -> Result<Packet<'a>, Fault> {
        let Some((header, rest)) = body.split_first_chunk::<PACKET_DATA>() else {
            return Err(bad_length);
        };
        let [_, _, _, _, _, _, _, _, i, j, k, l, fields @ ..] = *header;
        let interface = match kind {
            BLOCK_OBSOLETE => u32::from(self.endian.u16([i, j])),
            _ => self.endian.u32([i, j, k, l]),
        };
        let [a, b, c, d, e, f, g, h, m, n, o, p, q, r, s, t] = fields;
        let ticks =
            (u64::from(self.endian.u32([a, b, c, d])) << 32) | u64::from(self.endian.u32([e, f, g, h]));
        let captured = self.endian.u32([m, n, o, p]);
        let wire_len = self.endian.u32([q, r, s, t]);
        let described = lookup(interfaces, interface)?;
        let len = usize::try_from(captured).unwrap_or(usize::MAX);
        let Some((data, behind)) = rest.split_at_checked(len) else {
            return Err(Fault::PacketLength { length: captured, room: rest.len() });
        };
        let mut fcs_len = described.fcs_len;
        // Four octets of padding at most, or else there are options.
        if behind.len() >= 4 {
            fcs_len = self.packet_fcs_len(padding_off(behind, len)).unwrap_or(fcs_len);
        }
        Ok(Packet {
            timestamp: Some(described.clock.timestamp(ticks)),
            interface,
            frame: frame(data, wire_len, described.link_type, fcs_len),
            data_at: PACKET_DATA,
        })
    }

    fn simple<'a>(
        &self,
        body: &'a [u8],
        interfaces: &[Interface],
        bad_length: Fault,
    ) -> Result<Packet<'a>, Fault> {
        let (Some(wire_len), Some(room)) = (self.u32_at(body, FRONT), body.get(SIMPLE_DATA..)) else {
            return Err(bad_length);
        };
        let described = lookup(interfaces, 0)?;
        let captured = match described.snaplen {
            0 => wire_len,
            snaplen => wire_len.min(snaplen),
        };
        let Some(data) = usize::try_from(captured).ok().and_then(|len| room.get(..len)) else {
            return Err(Fault::PacketLength { length: captured, room: room.len() });
        };
        let frame = frame(data, wire_len, described.link_type, described.fcs_len);
        Ok(Packet { timestamp: None, interface: 0, frame, data_at: SIMPLE_DATA })
    }

    /// The length of the frame check sequence that a packet's flags name, if they name one.
    fn packet_fcs_len(&self, options: &[u8]) -> Option<u8> {
        let (_, value) = self.options(options).find(|(code, _)| *code == OPTION_PACKET_FLAGS)?;
        let flags = self.endian.u32(*value.first_chunk()?);
        // Bits 5 to 8, in octets; 0 says nothing.
        u8::try_from((flags >> 5) & 0xf).ok().filter(|len| *len > 0)
    }

    /// Code and value of each option, up to the end mark or to where the options stop making sense.
    fn options<'a>(&self, mut rest: &'a [u8]) -> impl Iterator<Item = (u16, &'a [u8])> {
        let endian = self.endian;
        std::iter::from_fn(move || {
            let ([a, b, c, d], values) = rest.split_first_chunk::<4>()?;
            let code = endian.u16([*a, *b]);
            let len = usize::from(endian.u16([*c, *d]));
            if code == OPTION_END {
                return None;
            }
            let (value, behind) = values.split_at_checked(len)?;
            rest = padding_off(behind, len);
            Some((code, value))
        })
    }

    fn u16_at(&self, octets: &[u8], at: usize) -> Option<u16> {
        octets.get(at..)?.first_chunk().map(|field| self.endian.u16(*field))
    }

    fn u32_at(&self, octets: &[u8], at: usize) -> Option<u32> {
        octets.get(at..)?.first_chunk().map(|field| self.endian.u32(*field))
    }
}

#[inline]
fn lookup(interfaces: &[Interface], interface: u32) -> Result<&Interface, Fault> {
    usize::try_from(interface)
        .ok()
        .and_then(|index| interfaces.get(index))
        .ok_or(Fault::UnknownInterface { interface, described: interfaces.len() })
}

fn byte_order(magic: [u8; 4]) -> Result<Endian, Fault> {
    match (u32::from_le_bytes(magic), u32::from_be_bytes(magic)) {
        (BYTE_ORDER_MAGIC, _) => Ok(Endian::Little),
        (_, BYTE_ORDER_MAGIC) => Ok(Endian::Big),
        (little, _) => Err(Fault::ByteOrder(little)),
    }
}

/// What follows a value of `len` octets once its padding to 32 bits is taken off.
fn padding_off(behind: &[u8], len: usize) -> &[u8] {
    behind.get(len.wrapping_neg() % 4..).unwrap_or_default()
}
