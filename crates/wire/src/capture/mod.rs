//! Capture files, pcap and pcapng: octets in, packets out; packets in, octets out.
//!
//! A [`Reader`] is handed octets and lends packets out of them: nothing is copied, nothing is
//! allocated for a packet. The caller reads the file, in pieces of any size. What a reader needs in
//! one piece is one record or block, and never more than its limit ([`BLOCK_MAX`] unless told
//! otherwise): a longer one is an error that names its offset. Never does I/O, never panics on input.
//!
//! Formats: pcap 2.x with microseconds or nanoseconds, either endianness (draft-ietf-opsawg-pcap);
//! pcapng 1.x with any number of sections, each with its own endianness and interfaces, Enhanced,
//! Simple and obsolete Packet Blocks; other blocks are skipped (draft-ietf-opsawg-pcapng).
//!
//! What is made of odd input:
//! - a frame check sequence that a capture says it holds is taken off data and wire length, since a
//!   [`Frame`] has none. `if_fcslen` is octets below 16 and bits from there on, as both are in use;
//! - a Simple Packet Block has no time;
//! - a packet that was captured longer than it says it was, was as long as captured.

mod fault;
mod pcap;
mod pcapng;
mod time;
mod write;

pub use fault::{Broken, Fault};
pub use pcap::RECORD_HEADER;
pub use time::{Resolution, Timestamp};
pub use write::{PcapWriter, PcapngWriter, SNAPLEN, Unwritable};

use crate::frame::{Frame, LinkType};

/// The longest record or block that a reader accepts unless told otherwise, in octets.
pub const BLOCK_MAX: u32 = 16 << 20;

/// Interfaces that a reader keeps of one section; more are an error.
pub const INTERFACES_MAX: usize = 1 << 16;

/// One packet of a capture, borrowed from the octets that the reader was handed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packet<'a> {
    /// When it was captured; a Simple Packet Block does not say.
    pub timestamp: Option<Timestamp>,
    /// The interface, as an index into [`Reader::interfaces`]; 0 in pcap.
    pub interface: u32,
    /// The frame, without frame check sequence.
    pub frame: Frame<'a>,
    /// Where `frame.data` begins in the slice that was handed in, in octets.
    pub data_at: usize,
}

/// What a capture says about an interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Interface {
    /// How its frames begin.
    pub link_type: LinkType,
    /// The most octets that were kept of a packet; 0 where there was no limit.
    pub snaplen: u32,
    /// The unit of its timestamps.
    pub resolution: Resolution,
    /// Octets of frame check sequence at the end of each packet, unless a packet says otherwise.
    fcs_len: u8,
    clock: time::Clock,
}

impl Interface {
    fn new(link_type: LinkType, snaplen: u32, resolution: Resolution, offset_s: i64, fcs_len: u8) -> Self {
        let clock = time::Clock::new(resolution, offset_s);
        Self { link_type, snaplen, resolution, fcs_len, clock }
    }
}

/// Which format a capture has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// The format of libpcap: one interface, all in the file header.
    Pcap,
    /// Sections of blocks.
    Pcapng,
}

/// Reads a capture out of octets that the caller brings.
#[derive(Debug)]
pub struct Reader {
    state: State,
    limit: u32,
    /// Octets consumed so far: where the next record begins.
    offset: u64,
    packets: u64,
    bytes: u64,
    interfaces: Vec<Interface>,
    finer: bool,
}

#[derive(Debug)]
enum State {
    Start,
    Pcap(pcap::Pcap),
    Pcapng(pcapng::Section),
}

/// What one look at the front of the input gave.
enum Step<'a> {
    /// A whole record, `consumed` octets long.
    Packet { packet: Packet<'a>, consumed: usize },
    /// Something else, `consumed` octets long.
    Skip { consumed: usize },
    /// The record is not whole.
    More,
}

impl Default for Reader {
    fn default() -> Self {
        Self::new()
    }
}

impl Reader {
    /// A reader that has seen nothing yet and accepts blocks of up to [`BLOCK_MAX`] octets.
    pub fn new() -> Self {
        Self::with_limit(BLOCK_MAX)
    }

    /// A reader that accepts records and blocks of up to `limit` octets.
    pub fn with_limit(limit: u32) -> Self {
        Self {
            state: State::Start,
            limit,
            offset: 0,
            packets: 0,
            bytes: 0,
            interfaces: Vec::new(),
            finer: false,
        }
    }

    /// Takes the next packet off the front of `input`.
    ///
    /// `Ok(None)` means that what is left in `input` is not a whole record: call again with at least
    /// one octet more behind it ([`Reader::needed`] says how many make a whole one), or
    /// [`Reader::finish`] where there are no more. After an error the reader is of no further use.
    #[inline]
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Packet<'a>>, Broken> {
        let mut skipped = 0;
        loop {
            let step = match &mut self.state {
                State::Pcap(pcap) => pcap.step(input, self.limit),
                State::Pcapng(section) => section.step(input, self.limit, &mut self.interfaces),
                State::Start => self.start(input),
            };
            match step {
                Ok(Step::Packet { mut packet, consumed }) => {
                    self.consume(input, consumed);
                    self.packets += 1;
                    self.bytes += octets(packet.frame.data.len());
                    packet.data_at += skipped;
                    return Ok(Some(packet));
                }
                Ok(Step::Skip { consumed }) => {
                    self.consume(input, consumed);
                    skipped += consumed;
                    let last = self.interfaces.last();
                    self.finer |= last.is_some_and(|last| last.resolution.is_finer_than_microseconds());
                }
                Ok(Step::More) => return Ok(None),
                Err(fault) => return Err(self.broken(fault)),
            }
        }
    }

    /// How many octets the record at the front of `rest` needs to be whole, as far as `rest` tells.
    /// `rest` is what [`Reader::next`] left when it asked for more.
    pub fn needed(&self, rest: &[u8]) -> usize {
        match &self.state {
            State::Pcap(pcap) => pcap.needed(rest),
            State::Pcapng(section) => section.needed(rest),
            State::Start => start_needed(rest).1,
        }
    }

    /// Says that no more octets will come after `rest`, which [`Reader::next`] left.
    ///
    /// # Errors
    /// Where `rest` is the beginning of something, or where there was never a file header.
    pub fn finish(&self, rest: &[u8]) -> Result<(), Broken> {
        let (inside, needed) = match &self.state {
            State::Start if rest.is_empty() => return Err(self.broken(Fault::Empty)),
            State::Start => start_needed(rest),
            _ if rest.is_empty() => return Ok(()),
            State::Pcap(pcap) => ("a packet record", pcap.needed(rest)),
            State::Pcapng(section) => ("a block", section.needed(rest)),
        };
        let (needed, present) = (octets(needed), octets(rest.len()));
        Err(self.broken(Fault::Truncated { inside, needed, present }))
    }

    /// The format, once the first octets have been read.
    pub fn format(&self) -> Option<Format> {
        match self.state {
            State::Start => None,
            State::Pcap(_) => Some(Format::Pcap),
            State::Pcapng(_) => Some(Format::Pcapng),
        }
    }

    /// The interfaces of the present section, in the order in which they were described.
    pub fn interfaces(&self) -> &[Interface] {
        &self.interfaces
    }

    /// Whether any interface described so far, in this section or an earlier one, has timestamps that
    /// microseconds cannot hold.
    pub fn is_finer_than_microseconds(&self) -> bool {
        self.finer
    }

    /// Packets delivered so far.
    pub fn packets(&self) -> u64 {
        self.packets
    }

    /// Octets of frames delivered so far, as captured.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Octets of the capture consumed so far.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    fn consume(&mut self, input: &mut &[u8], consumed: usize) {
        *input = input.get(consumed..).unwrap_or_default();
        self.offset += octets(consumed);
    }

    fn broken(&self, fault: Fault) -> Broken {
        Broken { packets: self.packets, bytes: self.bytes, offset: self.offset, fault }
    }

    /// Finds out the format. A section header of pcapng is left for its own reader.
    #[cold]
    fn start<'a>(&mut self, input: &[u8]) -> Result<Step<'a>, Fault> {
        let Some(magic) = input.first_chunk::<4>() else {
            return Ok(Step::More);
        };
        if *magic == pcapng::SECTION_MAGIC {
            self.state = State::Pcapng(pcapng::Section::new());
            return Ok(Step::Skip { consumed: 0 });
        }
        let Some((endian, resolution)) = pcap::magic(*magic) else {
            return Err(foreign(*magic));
        };
        let Some(header) = input.first_chunk::<{ pcap::FILE_HEADER }>() else {
            return Ok(Step::More);
        };
        let (pcap, interface) = pcap::Pcap::new(header, endian, resolution)?;
        self.interfaces.push(interface);
        self.state = State::Pcap(pcap);
        Ok(Step::Skip { consumed: pcap::FILE_HEADER })
    }
}

/// Hands every packet of a whole capture to `visit`, in file order.
///
/// # Errors
/// Where the capture breaks off or is corrupt; what comes before has been visited then.
pub fn read(capture: &[u8], mut visit: impl FnMut(&Reader, Packet<'_>)) -> Result<Reader, Broken> {
    let mut reader = Reader::new();
    let mut rest = capture;
    while let Some(packet) = reader.next(&mut rest)? {
        visit(&reader, packet);
    }
    reader.finish(rest)?;
    Ok(reader)
}

fn start_needed(rest: &[u8]) -> (&'static str, usize) {
    let known = rest.first_chunk::<4>().is_some();
    ("the file header", if known { pcap::FILE_HEADER } else { 4 })
}

/// Names what is no capture of ours.
fn foreign(magic: [u8; 4]) -> Fault {
    match magic {
        [0x1f, 0x8b, ..] => Fault::Unsupported("a gzip file"),
        [0x28, 0xb5, 0x2f, 0xfd] => Fault::Unsupported("a zstd file"),
        [0xfd, b'7', b'z', b'X'] => Fault::Unsupported("an xz file"),
        [0xa1, 0xb2, 0xcd, 0x34] | [0x34, 0xcd, 0xb2, 0xa1] => {
            Fault::Unsupported("Kuznetzov's modified pcap")
        }
        [b's', b'n', b'o', b'o'] => Fault::Unsupported("a snoop file"),
        _ => Fault::UnknownMagic(magic),
    }
}

/// A length in memory as a count. No machine has more than 2^64 octets.
fn octets(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// A frame of `captured` octets out of which `fcs_len` belong to the frame check sequence.
#[inline]
fn frame(captured: &[u8], wire_len: u32, link_type: LinkType, fcs_len: u8) -> Frame<'_> {
    // A record is never longer than the limit, which is a u32.
    let captured_len = u32::try_from(captured.len()).unwrap_or(u32::MAX);
    let mut wire_len = wire_len.max(captured_len);
    let mut data = captured;
    if fcs_len > 0 {
        wire_len = wire_len.saturating_sub(u32::from(fcs_len));
        let keep = usize::try_from(wire_len.min(captured_len)).unwrap_or(usize::MAX);
        data = captured.get(..keep).unwrap_or(captured);
    }
    Frame { data, wire_len, link_type }
}

/// In which order the octets of a number stand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Endian {
    Little,
    Big,
}

impl Endian {
    #[inline]
    fn u16(self, octets: [u8; 2]) -> u16 {
        match self {
            Self::Little => u16::from_le_bytes(octets),
            Self::Big => u16::from_be_bytes(octets),
        }
    }

    #[inline]
    fn u32(self, octets: [u8; 4]) -> u32 {
        match self {
            Self::Little => u32::from_le_bytes(octets),
            Self::Big => u32::from_be_bytes(octets),
        }
    }

    fn i64(self, octets: [u8; 8]) -> i64 {
        match self {
            Self::Little => i64::from_le_bytes(octets),
            Self::Big => i64::from_be_bytes(octets),
        }
    }
}
