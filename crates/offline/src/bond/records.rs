//! Octets of a capture to records of the output, in their place wherever that can be.
//!
//! Whatever a capture of any form says of a frame in front of it is at least as long as a record header of pcap,
//! or follows something that has been read. So where pcap is written, the header is put right in front of
//! the frame, over what was there, and nothing is moved. A pcap file of the right form needs not even that.

use wire::capture::{Broken, Fault, Format, PcapngWriter, RECORD_HEADER, Reader, Timestamp};
use wire::{Frame, LinkType};

use super::order::Order;
use super::piece::Piece;

/// Octets in front of the first packet of a pcap file.
const FILE_HEADER: usize = 24;
/// Says in the link type field of a file header that frames end in a check sequence.
const FCS_PRESENT: u32 = 1 << 26;
/// The last second that pcap can tell.
const LAST_SECOND: i64 = 0xffff_ffff;
const NS: i64 = 1_000_000_000;

/// What the output is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Shape {
    /// pcap of one link type; nanoseconds in a unit of time: 1 or 1000.
    Pcap(LinkType, u32),
    /// pcapng with nanoseconds, and an interface for each input and link type.
    Pcapng,
}

/// How the clock of an input is put right: a time in nanoseconds to a time. Never turns two times round.
pub(super) type Correction = Box<dyn Fn(i64) -> i64 + Send + Sync>;

/// Why an input cannot be read on.
#[derive(Debug)]
pub(super) enum Stop {
    Broken(Broken),
    /// A second link type, where the output has but one.
    Mixed,
}

/// Reads one capture.
pub(super) struct Records {
    shape: Shape,
    correction: Option<Correction>,
    state: State,
    /// Link types of this input, in the order in which they came: the interfaces of pcapng as far as is known
    /// here.
    writer: PcapngWriter,
    link_types: Vec<LinkType>,
}

enum State {
    /// What all captures are read with.
    Any(Box<Reader>),
    Lean(Lean),
}

/// A pcap file in the byte order of nearly all machines, whose frames have no check sequence.
struct Lean {
    unit_ns: u32,
    limit: u32,
    link_type: LinkType,
    offset: u64,
}

impl Lean {
    /// If that is what a capture begins like.
    fn new(first: &[u8]) -> Option<Self> {
        let header = first.first_chunk::<FILE_HEADER>()?;
        let unit_ns = match header[..4] {
            [0xd4, 0xc3, 0xb2, 0xa1] => 1_000,
            [0x4d, 0x3c, 0xb2, 0xa1] => 1,
            _ => return None,
        };
        let network = u32::from_le_bytes(*header[20..].first_chunk()?);
        let plain = header[4..6] == [2, 0] && network & FCS_PRESENT == 0;
        let link_type = LinkType(u16::try_from(network & 0xffff).ok()?);
        plain.then_some(Self { unit_ns, limit: wire::capture::BLOCK_MAX, link_type, offset: 0 })
    }
}

impl Records {
    /// For a capture that begins like this; at least 24 octets, or all of them.
    pub(super) fn new(first: &[u8], shape: Shape, correction: Option<Correction>) -> Self {
        let lean = matches!(shape, Shape::Pcap(..)).then(|| Lean::new(first)).flatten();
        let state = lean.map_or_else(|| State::Any(Box::default()), State::Lean);
        let writer = PcapngWriter::new(&mut Vec::new());
        Self { shape, correction, state, writer, link_types: Vec::new() }
    }

    /// Whether records are where they were read, rather than in another place.
    pub(super) fn in_place(&self) -> bool {
        matches!(self.shape, Shape::Pcap(..))
    }

    /// The link type of an interface number that this input's packets bear.
    pub(super) fn link_types(&self) -> &[LinkType] {
        &self.link_types
    }

    /// Octets of whole records so far.
    pub(super) fn offset(&self) -> u64 {
        match &self.state {
            State::Any(reader) => reader.offset(),
            State::Lean(lean) => lean.offset,
        }
    }

    /// Reads records that lie within `octets[at..end]`, and says where the first that does not begins.
    pub(super) fn read(
        &mut self,
        octets: &mut [u8],
        at: usize,
        end: usize,
        order: &mut Order,
        piece: &mut Piece,
    ) -> (usize, Option<Stop>) {
        let octets = octets.get_mut(..end).unwrap_or_default();
        match (&mut self.state, self.shape) {
            (State::Lean(lean), Shape::Pcap(link_type, unit_ns)) => {
                if lean.link_type != link_type {
                    return (at, Some(Stop::Mixed));
                }
                lean.read(octets, at, unit_ns, self.correction.as_ref(), order, piece)
            }
            _ => self.read_any(octets, at, order, piece),
        }
    }

    /// Says that nothing follows `rest`, which [`Records::read`] left.
    pub(super) fn finish(&self, rest: &[u8], order: &Order) -> Result<(), Broken> {
        match &self.state {
            State::Any(reader) => reader.finish(rest),
            State::Lean(lean) => lean.finish(rest, order),
        }
    }

    fn read_any(
        &mut self,
        octets: &mut [u8],
        mut at: usize,
        order: &mut Order,
        piece: &mut Piece,
    ) -> (usize, Option<Stop>) {
        let State::Any(reader) = &mut self.state else { return (at, None) };
        loop {
            let whole = octets.len();
            let mut input = octets.get(at..).unwrap_or_default();
            let packet = match reader.next(&mut input) {
                Ok(Some(packet)) => packet,
                Ok(None) => return (whole - input.len(), None),
                Err(broken) => return (whole - input.len(), Some(Stop::Broken(broken))),
            };
            let time = packet.timestamp.map_or_else(|| order.previous(), nanoseconds);
            let far = packet.timestamp.is_some_and(|told| told.0 != i128::from(time));
            let time = self.correction.as_ref().map_or(time, |correct| correct(time));
            let far = far || is_far(time);
            let Frame { data, wire_len, link_type } = packet.frame;
            let captured = u64::try_from(data.len()).unwrap_or(u64::MAX);
            let data_at = at + packet.data_at;
            match self.shape {
                Shape::Pcap(only, _) if only != link_type => return (at, Some(Stop::Mixed)),
                Shape::Pcap(_, unit_ns) => {
                    let len = data.len();
                    let next = whole - input.len();
                    let (header, clamped) = header(time, unit_ns, len, wire_len);
                    let begin = data_at.saturating_sub(RECORD_HEADER);
                    if let Some(place) = octets.get_mut(begin..data_at) {
                        place.copy_from_slice(&header);
                    }
                    order.account.clamped += u64::from(clamped || far);
                    order.place(time, captured, begin, RECORD_HEADER + len, piece);
                    at = next;
                }
                Shape::Pcapng => {
                    let id = interface(&mut self.link_types, &mut self.writer, link_type);
                    let begin = piece.octets.len();
                    let clamped = time.max(0);
                    let frame = Frame { data, wire_len, link_type };
                    let stamp = Timestamp(i128::from(clamped));
                    if self.writer.packet(id, stamp, &frame, &mut piece.octets).is_err() {
                        // The interface has been described, the time fits, and no record is longer than 16 MiB.
                        return (at, Some(Stop::Mixed));
                    }
                    order.account.clamped += u64::from(clamped != time || far);
                    piece.used = piece.octets.len();
                    order.place(time, captured, begin, piece.octets.len() - begin, piece);
                    at = whole - input.len();
                }
            }
        }
    }
}

impl Lean {
    #[inline]
    fn read(
        &mut self,
        octets: &mut [u8],
        mut at: usize,
        unit_ns: u32,
        correction: Option<&Correction>,
        order: &mut Order,
        piece: &mut Piece,
    ) -> (usize, Option<Stop>) {
        let begin = at;
        let mut stop = None;
        if self.offset == 0 {
            at += FILE_HEADER;
        }
        let as_it_is = unit_ns == self.unit_ns && correction.is_none();
        let (unit, units) = (i64::from(self.unit_ns), 1_000_000_000 / self.unit_ns);
        while let Some(place) = octets.get_mut(at..).and_then(<[u8]>::first_chunk_mut::<RECORD_HEADER>) {
            let [seconds, fraction, captured, wire_len] = fields(place);
            let len = usize::try_from(captured).unwrap_or(usize::MAX);
            if captured > self.limit {
                let length = u64::from(captured);
                let fault = Fault::TooLong { length, limit: u64::from(self.limit) };
                self.offset += count(at - begin);
                return (at, Some(Stop::Broken(self.broken(fault, order))));
            }
            let end = at + RECORD_HEADER + len;
            if end > octets.len() {
                break;
            }
            let mut time = i64::from(seconds) * NS + i64::from(fraction) * unit;
            if !as_it_is || fraction >= units || wire_len < captured {
                time = correction.map_or(time, |correct| correct(time));
                let (header, clamped) = header(time, unit_ns, len, wire_len.max(captured));
                if let Some(place) = octets.get_mut(at..at + RECORD_HEADER) {
                    place.copy_from_slice(&header);
                }
                order.account.clamped += u64::from(clamped);
            }
            order.place(time, u64::from(captured), at, RECORD_HEADER + len, piece);
            at = end;
        }
        self.offset += count(at - begin);
        (at, stop.take())
    }

    fn finish(&self, rest: &[u8], order: &Order) -> Result<(), Broken> {
        if rest.is_empty() {
            return Ok(());
        }
        let captured = rest.first_chunk::<RECORD_HEADER>().map_or(0, |header| fields(header)[2]);
        let needed = u64::from(captured) + count(RECORD_HEADER);
        let fault = Fault::Truncated { inside: "a packet record", needed, present: count(rest.len()) };
        Err(self.broken(fault, order))
    }

    fn broken(&self, fault: Fault, order: &Order) -> Broken {
        let (packets, bytes) = (order.account.frames, order.account.bytes);
        Broken { packets, bytes, offset: self.offset, fault }
    }
}

/// The number of a link type among those of an input; described where it is new.
fn interface(known: &mut Vec<LinkType>, writer: &mut PcapngWriter, link_type: LinkType) -> u32 {
    let found = known.iter().position(|known| *known == link_type).and_then(|at| u32::try_from(at).ok());
    found.unwrap_or_else(|| {
        known.push(link_type);
        // What describes it in the output is written where the inputs come together.
        writer.interface(link_type, "", &mut Vec::new())
    })
}

#[inline]
fn fields(header: &[u8; RECORD_HEADER]) -> [u32; 4] {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = *header;
    [[a, b, c, d], [e, f, g, h], [i, j, k, l], [m, n, o, p]].map(u32::from_le_bytes)
}

/// A record header of pcap with the nearest time that it can hold, and whether that is another one.
fn header(time: i64, unit_ns: u32, len: usize, wire_len: u32) -> ([u8; RECORD_HEADER], bool) {
    let held = time.clamp(0, LAST_SECOND * NS + (NS - 1));
    let seconds = u32::try_from(held / NS).unwrap_or(u32::MAX);
    let fraction = u32::try_from(held % NS).unwrap_or_default() / unit_ns;
    let captured = u32::try_from(len).unwrap_or(u32::MAX);
    let mut header = [0; RECORD_HEADER];
    let fields = [seconds, fraction, captured, wire_len];
    for (place, field) in header.chunks_exact_mut(4).zip(fields) {
        place.copy_from_slice(&field.to_le_bytes());
    }
    (header, held != time)
}

/// A time in 64 bits, which reach from 1677 to 2262; what lies outside is taken for the nearest.
pub(super) fn nanoseconds(time: Timestamp) -> i64 {
    let far = if time.0 < 0 { i64::MIN + 1 } else { i64::MAX };
    i64::try_from(time.0).unwrap_or(far)
}

/// Whether a time lies at the end of what 64 bits reach: what lay beyond has been taken for it.
fn is_far(time: i64) -> bool {
    time == i64::MAX || time <= i64::MIN + 1
}

/// The time that a record of the output bears, in its unit.
pub(super) fn borne(record: &[u8], shape: Shape) -> Option<u64> {
    let field = |at: usize| record.get(at..)?.first_chunk().map(|octets| u32::from_le_bytes(*octets));
    match shape {
        Shape::Pcap(_, unit_ns) => {
            Some(u64::from(field(0)?) * u64::from(1_000_000_000 / unit_ns) + u64::from(field(4)?))
        }
        Shape::Pcapng => Some(u64::from(field(12)?) << 32 | u64::from(field(16)?)),
    }
}

/// The same of a record that is written with this time.
pub(super) fn held(time: i64, shape: Shape) -> u64 {
    let (most, unit_ns) = match shape {
        Shape::Pcap(_, unit_ns) => (LAST_SECOND * NS + (NS - 1), u64::from(unit_ns)),
        Shape::Pcapng => (i64::MAX, 1),
    };
    u64::try_from(time.clamp(0, most)).unwrap_or_default() / unit_ns
}

/// Octets of the frame in a record of pcapng.
pub(super) fn captured(record: &[u8]) -> u64 {
    let octets = record.get(20..).and_then(<[u8]>::first_chunk);
    octets.map_or(0, |octets| u64::from(u32::from_le_bytes(*octets)))
}

/// A frame out of a record of the output.
pub(super) fn frame(record: &[u8], shape: Shape, link_type: impl Fn(u32) -> LinkType) -> Option<Frame<'_>> {
    let field = |at: usize| record.get(at..)?.first_chunk().map(|octets| u32::from_le_bytes(*octets));
    match shape {
        Shape::Pcap(link_type, _) => {
            Some(Frame { data: record.get(RECORD_HEADER..)?, wire_len: field(12)?, link_type })
        }
        Shape::Pcapng => {
            let captured = usize::try_from(field(20)?).ok()?;
            let data = record.get(28..)?.get(..captured)?;
            Some(Frame { data, wire_len: field(24)?, link_type: link_type(field(8)?) })
        }
    }
}

/// What a capture says of itself: its format, the link types of its frames, and how fine its times are.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Nature {
    pub(super) pcapng: bool,
    pub(super) link_types: Vec<LinkType>,
    pub(super) nanoseconds: bool,
}

impl Nature {
    pub(super) fn see(&mut self, reader: &Reader, link_type: Option<LinkType>) {
        self.pcapng |= reader.format() == Some(Format::Pcapng);
        self.nanoseconds |= reader.is_finer_than_microseconds();
        // A pcap file has the link type of its header, be there frames or not.
        let header = reader.interfaces().first().filter(|_| !self.pcapng).map(|only| only.link_type);
        if let Some(link_type) = link_type.or(header).filter(|new| !self.link_types.contains(new)) {
            self.link_types.push(link_type);
        }
    }
}

/// A length in memory as a count. No machine has more than 2^64 octets.
pub(super) fn count(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
