//! A capture as a queue of frames, read in pieces and lent out of them.
//!
//! Never holds more of a file than a piece and one record, however long the file. There is no thread
//! that reads ahead: the kernel does that for files, and a piece is cheapest where it was just read,
//! in the cache of the processor that parses it.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::PathBuf;

use plan::plan::{HookId, Point};
use wire::capture::{Broken, Packet, Reader, Timestamp};
use wire::{Frame, LinkType};

/// Octets that are read at once. Small enough that a piece stays in the cache while it is parsed and
/// copied, large enough that system calls do not count.
const PIECE: usize = 128 << 10;

/// Where the octets of a capture come from.
pub enum Source {
    /// A file; where it is a regular one, it may be read twice. `-` is standard input.
    File(PathBuf),
    /// A stream, read once. What it is called in messages, and where it comes from.
    Stream(String, Box<dyn Read + Send>),
}

/// One capture to be replayed, and where its frames cross the plan.
pub struct Input {
    /// The port, and the direction for a watched interface.
    pub at: Point,
    /// The capture.
    pub source: Source,
}

impl Source {
    /// What messages call it.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::File(path) if is_standard(path) => "standard input".to_owned(),
            Self::File(path) => path.display().to_string(),
            Self::Stream(name, _) => name.clone(),
        }
    }

    /// Whether it can be read twice.
    pub(crate) fn rereadable(&self) -> Option<&PathBuf> {
        match self {
            Self::File(path) if !is_standard(path) => path.is_file().then_some(path),
            _ => None,
        }
    }

    /// Opens it. What was packed with gzip or zstd is unpacked.
    pub(crate) fn open(self) -> io::Result<Box<dyn Read + Send>> {
        crate::bond::unpack(match self {
            Self::File(path) if is_standard(&path) => Box::new(io::stdin()),
            Self::File(path) => Box::new(File::open(path)?),
            Self::Stream(_, read) => read,
        })
    }
}

/// Whether a path means standard input or output.
pub(crate) fn is_standard(path: &std::path::Path) -> bool {
    path.as_os_str() == "-"
}

/// Why an input ended before its end.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The file could not be read on: at this offset, for this reason.
    Io(u64, io::Error),
    /// The capture is cut or corrupt.
    Broken(Broken),
}

/// The next frame of an input: what the merge orders by, and where the octets are.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) time: Timestamp,
    link_type: LinkType,
    wire_len: u32,
    data: Range<usize>,
}

/// A frame where it was read.
#[derive(Clone, Copy)]
pub(crate) struct Found<'a> {
    pub(crate) time: Timestamp,
    pub(crate) frame: Frame<'a>,
    /// What of its file is in memory.
    pub(crate) buffer: &'a [u8],
    /// Where in `buffer` the frame's octets begin.
    pub(crate) at: usize,
}

/// The frames of one input, in file order.
pub(crate) struct Feed {
    pub(crate) name: String,
    pub(crate) hook: HookId,
    pub(crate) failure: Option<Failure>,
    /// Frames whose time lies before that of their predecessor in the file.
    pub(crate) out_of_order: u64,
    reader: Reader,
    read: Box<dyn Read + Send>,
    buffer: Vec<u8>,
    /// What of `buffer` has been read from the file and not yet been taken.
    rest: Range<usize>,
    head: Option<Head>,
    last: Timestamp,
    ended: bool,
}

impl Feed {
    /// Opens the source and reads up to the first frame.
    ///
    /// # Errors
    /// Where the source cannot be opened.
    pub(crate) fn open(source: Source, hook: HookId) -> io::Result<Self> {
        let name = source.name();
        let read = source.open()?;
        let mut feed = Self {
            name,
            hook,
            failure: None,
            out_of_order: 0,
            reader: Reader::new(),
            read,
            buffer: vec![0; PIECE],
            rest: 0..0,
            head: None,
            last: Timestamp::default(),
            ended: false,
        };
        feed.advance();
        feed.last = feed.head.as_ref().map_or(feed.last, |head| head.time);
        Ok(feed)
    }

    /// The next frame's time, if there is a next frame.
    #[inline]
    pub(crate) fn time(&self) -> Option<Timestamp> {
        self.head.as_ref().map(|head| head.time)
    }

    /// The next frame.
    #[inline]
    pub(crate) fn head(&self) -> Option<(Timestamp, Frame<'_>)> {
        let Head { time, link_type, wire_len, data } = self.head.as_ref()?;
        let data = self.buffer.get(data.clone()).unwrap_or_default();
        Some((*time, Frame { data, wire_len: *wire_len, link_type: *link_type }))
    }

    /// The next frame, where it was read.
    #[inline]
    pub(crate) fn found(&self) -> Option<Found<'_>> {
        let (time, frame) = self.head()?;
        let at = self.head.as_ref()?.data.start;
        Some(Found { time, frame, buffer: &self.buffer, at })
    }

    /// What of the file is in memory.
    pub(crate) fn buffer(&self) -> &[u8] {
        &self.buffer
    }

    /// What was read so far.
    pub(crate) fn reader(&self) -> &Reader {
        &self.reader
    }

    /// Takes the next frame off, and finds the one behind it.
    #[inline]
    pub(crate) fn advance(&mut self) {
        while !self.step() {
            self.refill();
        }
    }

    /// Takes the next frame off, and finds the one behind it where that is in memory, or the end. Otherwise
    /// it must be tried again after [`Feed::refill`].
    #[inline]
    pub(crate) fn step(&mut self) -> bool {
        self.head = None;
        if self.ended {
            return true;
        }
        let start = self.rest.start;
        let mut input = self.buffer.get(self.rest.clone()).unwrap_or_default();
        let next = self.reader.next(&mut input);
        match next {
            Ok(Some(packet)) => {
                self.rest.start = self.rest.end - input.len();
                // A packet without a time was captured no earlier than the one before it.
                let time = packet.timestamp.unwrap_or(self.last);
                self.out_of_order += u64::from(time < self.last);
                self.last = time;
                self.head = Some(head(&packet, time, start));
                true
            }
            Ok(None) => {
                self.rest.start = self.rest.end - input.len();
                false
            }
            Err(broken) => {
                self.end(Some(Failure::Broken(broken)));
                true
            }
        }
    }

    /// Reads on behind what is left, which moves to the front. A record longer than a piece makes the
    /// buffer grow to hold it; the reader's limit bounds that.
    #[cold]
    pub(crate) fn refill(&mut self) {
        self.buffer.copy_within(self.rest.clone(), 0);
        self.rest = 0..self.rest.len();
        let left = self.buffer.get(self.rest.clone()).unwrap_or_default();
        let needed = self.reader.needed(left);
        if needed > self.buffer.len() {
            // Twice as much at a time, so that a lying length costs no more than what is really there.
            self.buffer.resize(needed.min(self.buffer.len() * 2), 0);
        }
        let read = self.read.read(self.buffer.get_mut(self.rest.end..).unwrap_or_default());
        match read {
            Ok(0) => {
                let rest = self.buffer.get(self.rest.clone()).unwrap_or_default();
                let end = self.reader.finish(rest).err().map(Failure::Broken);
                self.end(end);
            }
            Ok(len) => self.rest.end += len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                let offset = self.reader.offset() + u64::try_from(self.rest.len()).unwrap_or(u64::MAX);
                self.end(Some(Failure::Io(offset, error)));
            }
        }
    }

    fn end(&mut self, failure: Option<Failure>) {
        self.ended = true;
        self.failure = failure;
    }
}

fn head(packet: &Packet<'_>, time: Timestamp, start: usize) -> Head {
    let at = start + packet.data_at;
    Head {
        time,
        link_type: packet.frame.link_type,
        wire_len: packet.frame.wire_len,
        data: at..at + packet.frame.data.len(),
    }
}
