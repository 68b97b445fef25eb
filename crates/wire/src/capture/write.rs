//! Writing captures: packets in, octets out, appended to a buffer that the caller empties.
//!
//! Numbers are written little-endian, as nearly every machine of today does, so that equal input
//! gives equal files everywhere.

use std::fmt;

use super::pcap::{FILE_HEADER, MAGIC_MICROSECONDS, MAGIC_NANOSECONDS, RECORD_HEADER};
use super::pcapng::{BLOCK_ENHANCED, BLOCK_INTERFACE, BLOCK_SECTION, BYTE_ORDER_MAGIC, OPTION_RESOLUTION};
use super::time::{Resolution, Timestamp};
use crate::frame::{Frame, LinkType};

/// The snapshot length that is written into headers, in octets: what libpcap takes as "whole frames".
pub const SNAPLEN: u32 = 262_144;

const OPTION_NAME: u16 = 2;

/// Why a packet cannot be written. Nothing has been appended then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unwritable {
    /// The format holds moments from 1970 on, until 2106 (pcap) or 2554 (pcapng in nanoseconds).
    Time(Timestamp),
    /// The file, or the interface in it, is of another link type.
    LinkType(LinkType),
    /// No such interface has been described.
    Interface(u32),
    /// Longer than a record can be (2^32 octets).
    Length(usize),
}

impl fmt::Display for Unwritable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Time(time) => write!(f, "the time {time} does not fit the format"),
            Self::LinkType(link_type) => write!(f, "link type {} does not belong here", link_type.0),
            Self::Interface(interface) => write!(f, "interface {interface} has not been described"),
            Self::Length(len) => write!(f, "a frame of {len} bytes is too long for a capture"),
        }
    }
}

impl std::error::Error for Unwritable {}

/// Writes pcap 2.4: one link type, microseconds or nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PcapWriter {
    link_type: LinkType,
    /// Nanoseconds in a unit of the fraction: 1 or 1000.
    unit_ns: u32,
}

impl PcapWriter {
    /// Appends a file header. Whatever is finer than `nanoseconds` allows is rounded down.
    pub fn new(link_type: LinkType, nanoseconds: bool, out: &mut Vec<u8>) -> Self {
        let (magic, unit_ns) = if nanoseconds { (MAGIC_NANOSECONDS, 1) } else { (MAGIC_MICROSECONDS, 1_000) };
        out.reserve(FILE_HEADER);
        out.extend(magic.to_le_bytes());
        out.extend(2u16.to_le_bytes());
        out.extend(4u16.to_le_bytes());
        out.extend(0u64.to_le_bytes());
        out.extend(SNAPLEN.to_le_bytes());
        out.extend(u32::from(link_type.0).to_le_bytes());
        Self { link_type, unit_ns }
    }

    /// Appends a packet.
    ///
    /// # Errors
    /// Where the packet does not fit the format or the file; `out` is as it was.
    #[inline]
    pub fn packet(
        &self,
        timestamp: Timestamp,
        frame: &Frame<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Unwritable> {
        let header = self.record_header(timestamp, frame)?;
        out.reserve(RECORD_HEADER + frame.data.len());
        out.extend_from_slice(&header);
        out.extend_from_slice(frame.data);
        Ok(())
    }

    /// What stands in front of a packet's octets.
    ///
    /// # Errors
    /// Where the packet does not fit the format or the file.
    #[inline]
    pub fn record_header(
        &self,
        timestamp: Timestamp,
        frame: &Frame<'_>,
    ) -> Result<[u8; RECORD_HEADER], Unwritable> {
        if frame.link_type != self.link_type {
            return Err(Unwritable::LinkType(frame.link_type));
        }
        let captured = captured_len(frame)?;
        let (seconds, nanoseconds) = timestamp.split();
        let seconds = u32::try_from(seconds).map_err(|_| Unwritable::Time(timestamp))?;
        // A division by a constant is a multiplication; there are but two.
        let fraction = if self.unit_ns == 1 { nanoseconds } else { nanoseconds / 1_000 };
        let mut header = [0; RECORD_HEADER];
        header[..4].copy_from_slice(&seconds.to_le_bytes());
        header[4..8].copy_from_slice(&fraction.to_le_bytes());
        header[8..12].copy_from_slice(&captured.to_le_bytes());
        header[12..].copy_from_slice(&frame.wire_len.to_le_bytes());
        Ok(header)
    }
}

/// Writes pcapng 1.0: one section, any number of interfaces, nanoseconds.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PcapngWriter {
    interfaces: Vec<LinkType>,
}

impl PcapngWriter {
    /// Appends a section header.
    pub fn new(out: &mut Vec<u8>) -> Self {
        out.extend(BLOCK_SECTION.to_le_bytes());
        out.extend(28u32.to_le_bytes());
        out.extend(BYTE_ORDER_MAGIC.to_le_bytes());
        out.extend(1u16.to_le_bytes());
        out.extend(0u16.to_le_bytes());
        // The length of the section: unknown.
        out.extend((-1i64).to_le_bytes());
        out.extend(28u32.to_le_bytes());
        Self::default()
    }

    /// Appends the description of an interface and gives the number that its packets bear.
    /// A name is cut at 255 octets.
    pub fn interface(&mut self, link_type: LinkType, name: &str, out: &mut Vec<u8>) -> u32 {
        let name_len = u8::try_from(name.len()).unwrap_or(u8::MAX);
        let name = name.as_bytes().get(..usize::from(name_len)).unwrap_or_default();
        // Front and behind 12, fields 8, name 4 and padded, resolution 8, end 4.
        let length = 36 + u32::from(name_len).next_multiple_of(4);
        out.extend(BLOCK_INTERFACE.to_le_bytes());
        out.extend(length.to_le_bytes());
        out.extend(link_type.0.to_le_bytes());
        out.extend(0u16.to_le_bytes());
        out.extend(SNAPLEN.to_le_bytes());
        out.extend(OPTION_NAME.to_le_bytes());
        out.extend(u16::from(name_len).to_le_bytes());
        out.extend(name);
        pad(name.len(), out);
        out.extend(OPTION_RESOLUTION.to_le_bytes());
        out.extend(1u16.to_le_bytes());
        out.extend([Resolution::NANOSECONDS.octet(), 0, 0, 0]);
        out.extend([0; 4]);
        out.extend(length.to_le_bytes());
        let id = u32::try_from(self.interfaces.len()).unwrap_or(u32::MAX);
        self.interfaces.push(link_type);
        id
    }

    /// Appends a packet of an interface that has been described.
    ///
    /// # Errors
    /// Where the packet does not fit the format or the interface; `out` is as it was.
    pub fn packet(
        &self,
        interface: u32,
        timestamp: Timestamp,
        frame: &Frame<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Unwritable> {
        let described = usize::try_from(interface).ok().and_then(|index| self.interfaces.get(index));
        if *described.ok_or(Unwritable::Interface(interface))? != frame.link_type {
            return Err(Unwritable::LinkType(frame.link_type));
        }
        let captured = captured_len(frame)?;
        let ticks = u64::try_from(timestamp.0).map_err(|_| Unwritable::Time(timestamp))?;
        let padded = captured.checked_next_multiple_of(4).ok_or(Unwritable::Length(frame.data.len()))?;
        let length = padded.checked_add(32).ok_or(Unwritable::Length(frame.data.len()))?;
        out.extend(BLOCK_ENHANCED.to_le_bytes());
        out.extend(length.to_le_bytes());
        out.extend(interface.to_le_bytes());
        // High half first, each half little-endian.
        out.extend(u32::try_from(ticks >> 32).unwrap_or_default().to_le_bytes());
        out.extend(u32::try_from(ticks & 0xffff_ffff).unwrap_or_default().to_le_bytes());
        out.extend(captured.to_le_bytes());
        out.extend(frame.wire_len.to_le_bytes());
        out.extend_from_slice(frame.data);
        pad(frame.data.len(), out);
        out.extend(length.to_le_bytes());
        Ok(())
    }
}

fn captured_len(frame: &Frame<'_>) -> Result<u32, Unwritable> {
    u32::try_from(frame.data.len()).map_err(|_| Unwritable::Length(frame.data.len()))
}

/// Fills up to 32 bits behind a value of `len` octets.
fn pad(len: usize, out: &mut Vec<u8>) {
    out.extend(std::iter::repeat_n(0, len.wrapping_neg() % 4));
}
