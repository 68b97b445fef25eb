//! Where the bond goes: stretches of pieces, written from where they lie.
//!
//! Nothing is copied to be written. A reader that hangs up is no error: what comes after is counted and not written.

use std::io::{self, IoSlice, Write};

use wire::LinkType;
use wire::capture::{PcapWriter, PcapngWriter};

use super::BondError;
use super::piece::Piece;
use super::records::{Shape, count};

/// Stretches in one system call: what Linux takes at most (`IOV_MAX`).
const STRETCHES: usize = 1024;
/// Octets from which on what is gathered is written.
const GATHER: usize = 1 << 20;

/// Octets of a piece.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Stretch {
    pub(super) slot: usize,
    pub(super) at: u32,
    pub(super) end: u32,
}

/// The output.
pub(super) struct Sink {
    name: String,
    /// `None` where nothing is to be written, or nobody reads it any more.
    write: Option<Box<dyn Write + Send>>,
    writer: Option<PcapngWriter>,
    /// Headers, which go in front of the stretches.
    front: Vec<u8>,
    stretches: Vec<Stretch>,
    /// Octets of the stretches.
    gathered: usize,
    /// Octets written.
    written: u64,
    closed: bool,
}

impl Sink {
    /// An output in a shape; without `write` there is none.
    pub(super) fn new(name: String, write: Option<Box<dyn Write + Send>>, shape: Shape) -> Self {
        let mut front = Vec::new();
        let writer = match shape {
            Shape::Pcap(link_type, unit_ns) => {
                PcapWriter::new(link_type, unit_ns == 1, &mut front);
                None
            }
            Shape::Pcapng => Some(PcapngWriter::new(&mut front)),
        };
        let stretches = Vec::with_capacity(STRETCHES);
        Self { name, write, writer, front, stretches, gathered: 0, written: 0, closed: false }
    }

    /// What messages call it.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Octets written.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Whether its reader hung up.
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Takes a stretch. Where this is `false`, it must be flushed before the next one.
    #[inline]
    pub(super) fn take(&mut self, stretch: Stretch) -> bool {
        self.gathered += usize::try_from(stretch.end - stretch.at).unwrap_or_default();
        match self.stretches.last_mut() {
            Some(last) if last.end == stretch.at && last.slot == stretch.slot => last.end = stretch.end,
            _ => self.stretches.push(stretch),
        }
        self.gathered < GATHER && self.stretches.len() < STRETCHES - 1
    }

    /// Describes an interface, and gives its number. Everything must have been flushed.
    pub(super) fn interface(&mut self, link_type: LinkType, name: &str) -> u32 {
        let front = &mut self.front;
        self.writer.as_mut().map_or(0, |writer| writer.interface(link_type, name, front))
    }

    /// Writes what is gathered.
    pub(super) fn flush(&mut self, pieces: &[Piece]) -> Result<(), BondError> {
        let result = match &mut self.write {
            Some(write) => {
                let front = std::iter::once(IoSlice::new(&self.front)).filter(|front| !front.is_empty());
                let stretches = self.stretches.iter().filter_map(|stretch| {
                    Some(IoSlice::new(pieces.get(stretch.slot)?.stretch(stretch.at, stretch.end)))
                });
                let mut slices: Vec<IoSlice<'_>> = Vec::with_capacity(STRETCHES);
                slices.extend(front.chain(stretches));
                write_all(write.as_mut(), &mut slices, &mut self.written)
            }
            None => Ok(()),
        };
        self.front.clear();
        self.stretches.clear();
        self.gathered = 0;
        self.settle(result)
    }

    /// Says that nothing follows.
    pub(super) fn finish(&mut self) -> Result<(), BondError> {
        let result = self.write.as_mut().map_or(Ok(()), |write| write.flush());
        self.settle(result)
    }

    fn settle(&mut self, result: io::Result<()>) -> Result<(), BondError> {
        match result {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                (self.write, self.closed) = (None, true);
                Ok(())
            }
            Err(error) => Err(BondError::Output(self.name.clone(), error)),
        }
    }
}

/// Writes all of it, and counts what of it was taken.
fn write_all(write: &mut dyn Write, mut slices: &mut [IoSlice<'_>], written: &mut u64) -> io::Result<()> {
    while !slices.is_empty() {
        match write.write_vectored(slices) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(len) => {
                *written += count(len);
                IoSlice::advance_slices(&mut slices, len);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
