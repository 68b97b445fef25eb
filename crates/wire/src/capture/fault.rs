//! How reading a capture can fail: what broke, where, and how much was read before.

use std::fmt;

/// A capture that could not be read to its end. Everything before `offset` was delivered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Broken {
    /// Packets delivered before it broke.
    pub packets: u64,
    /// Octets of frames in those packets, as captured.
    pub bytes: u64,
    /// Where the record or block that broke begins, in octets from the start of the capture.
    pub offset: u64,
    /// What is wrong there.
    pub fault: Fault,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { packets, bytes, offset, fault } = self;
        let noun = if *packets == 1 { "packet" } else { "packets" };
        write!(f, "{packets} {noun} ({bytes} bytes) read, then at offset {offset}: {fault}")
    }
}

impl std::error::Error for Broken {}

/// What is wrong with a capture. Lengths are in octets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The capture ends inside a record, a block or the file header.
    Truncated {
        /// What it ends inside of.
        inside: &'static str,
        /// How long that is, as far as could be read.
        needed: u64,
        /// How much of it is there.
        present: u64,
    },
    /// Nothing at all: not even a file header.
    Empty,
    /// Begins neither as pcap nor as pcapng; the first four octets.
    UnknownMagic([u8; 4]),
    /// A format that this reader knows of and does not read; its name.
    Unsupported(&'static str),
    /// A version of pcap (2.x is read) or pcapng (1.x is read) that is unknown.
    Version {
        /// The number before the point.
        major: u16,
        /// The number behind it.
        minor: u16,
    },
    /// A record or block says that it is longer than the reader's limit.
    TooLong {
        /// What it says.
        length: u64,
        /// The limit.
        limit: u64,
    },
    /// The length of a block is not a multiple of four, or too small for its type.
    BlockLength {
        /// The type of the block.
        block: u32,
        /// What it says.
        length: u32,
    },
    /// A block ends with another length than it begins with.
    TrailerLength {
        /// The length in front.
        front: u32,
        /// The length behind.
        behind: u32,
    },
    /// The byte-order magic of a section is neither way round.
    ByteOrder(u32),
    /// A packet belongs to an interface that no block has described.
    UnknownInterface {
        /// The interface it names.
        interface: u32,
        /// How many the section has described so far.
        described: usize,
    },
    /// A packet is longer than the block that holds it.
    PacketLength {
        /// What it says.
        length: u32,
        /// How much room the block has.
        room: usize,
    },
    /// A section describes more interfaces than the reader keeps.
    TooManyInterfaces,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated { inside, needed, present } => {
                write!(f, "truncated inside {inside}: {needed} bytes needed, {present} present")
            }
            Self::Empty => f.write_str("the capture is empty"),
            Self::UnknownMagic([a, b, c, d]) => {
                write!(f, "neither pcap nor pcapng: begins with {a:02x} {b:02x} {c:02x} {d:02x}")
            }
            Self::Unsupported(name) => write!(f, "{name} is not read: convert it to pcap or pcapng first"),
            Self::Version { major, minor } => write!(f, "unknown format version {major}.{minor}"),
            Self::TooLong { length, limit } => {
                write!(f, "corrupt: a record of {length} bytes, above the limit of {limit}")
            }
            Self::BlockLength { block, length } => {
                write!(f, "corrupt: a block of type {block:#x} cannot have length {length}")
            }
            Self::TrailerLength { front, behind } => {
                write!(f, "corrupt: a block of length {front} ends with length {behind}")
            }
            Self::ByteOrder(magic) => write!(f, "corrupt: byte-order magic {magic:#010x}"),
            Self::UnknownInterface { interface, described } => {
                write!(f, "corrupt: a packet of interface {interface}, where {described} are described")
            }
            Self::PacketLength { length, room } => {
                write!(f, "corrupt: a packet of {length} bytes in a block with room for {room}")
            }
            Self::TooManyInterfaces => f.write_str("more interfaces in a section than the reader keeps"),
        }
    }
}
