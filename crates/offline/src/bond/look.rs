//! Frames looked at one by one: what captures are, what conversations say of their clocks, what a bond amounts to.
//!
//! Nothing of this is on the way of a plain bond, which looks at no frame.

use std::collections::HashMap;
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read};
use std::path::Path;

use wire::LinkType;
use wire::capture::{Packet, Reader, Timestamp};

use super::causal::{Findings, Inversions, Observer};
use super::piece::Entry;
use super::records::{Correction, Nature, Shape, frame};
use super::unpack;

/// Octets that are read at once.
const READ: usize = 256 << 10;
/// Frames of one moment that are compared with each other; the count of duplicates leaves out what is more.
const MOMENT_MAX: usize = 1 << 16;

/// Reads a capture to its end, or to where it breaks: whoever bonds it comes to the same place and says so. `visit` is
/// called after each step, with a packet where that brought one.
fn each(path: &Path, mut visit: impl FnMut(&Reader, Option<&Packet<'_>>)) -> io::Result<()> {
    let mut read = unpack(Box::new(File::open(path)?))?;
    let mut reader = Reader::new();
    let (mut octets, mut rest) = (vec![0; READ], 0..0);
    loop {
        let mut input = octets.get(rest.clone()).unwrap_or_default();
        let next = reader.next(&mut input);
        rest.start = rest.end - input.len();
        match next {
            Ok(Some(packet)) => visit(&reader, Some(&packet)),
            Err(_) => return Ok(()),
            Ok(None) => {
                visit(&reader, None);
                octets.copy_within(rest.clone(), 0);
                rest = 0..rest.len();
                if rest.end == octets.len() {
                    octets.resize(rest.end * 2, 0);
                }
                match read.read(octets.get_mut(rest.end..).unwrap_or_default()) {
                    Ok(0) => return Ok(()),
                    Ok(len) => rest.end += len,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(_) => return Ok(()),
                }
            }
        }
    }
}

/// What a capture says of itself anywhere.
///
/// # Errors
/// Where it cannot be opened.
pub(super) fn scan(path: &Path) -> io::Result<Nature> {
    let mut nature = Nature::default();
    each(path, |reader, packet| nature.see(reader, packet.map(|packet| packet.frame.link_type)))?;
    Ok(nature)
}

/// What the conversations in these captures say of their clocks, once these corrections have been made.
///
/// # Errors
/// Where a capture cannot be opened; which.
pub(super) fn observe(
    files: &[&Path],
    correction: &dyn Fn(usize) -> Option<Correction>,
) -> Result<Findings, (usize, io::Error)> {
    let mut observer = Observer::new(files.len());
    for (half, file) in files.iter().enumerate() {
        let correct = correction(half);
        let mut previous = Timestamp::default();
        each(file, |_, packet| {
            let Some(packet) = packet else { return };
            let time = packet.timestamp.map_or(previous, |time| match &correct {
                Some(correct) => Timestamp(i128::from(correct(super::records::nanoseconds(time)))),
                None => time,
            });
            previous = time;
            observer.frame(half, time, &packet.frame);
        })
        .map_err(|error| (half, error))?;
    }
    Ok(observer.finish())
}

/// What is found by looking at each frame of a merged stream.
pub(super) struct Seen {
    shape: Shape,
    inversions: Inversions,
    duplicates: Option<Duplicates>,
}

impl Seen {
    pub(super) fn new(shape: Shape, duplicates: bool) -> Self {
        let duplicates = duplicates.then(Duplicates::default);
        Self { shape, inversions: Inversions::new(), duplicates }
    }

    /// The next record of the output.
    pub(super) fn record(&mut self, lane: usize, entry: Entry, record: &[u8], interfaces: &[LinkType]) {
        let link_type = |id: u32| {
            let known = usize::try_from(id).ok().and_then(|id| interfaces.get(id));
            known.copied().unwrap_or(LinkType::ETHERNET)
        };
        let Some(frame) = frame(record, self.shape, link_type) else { return };
        self.inversions.frame(lane, Timestamp(i128::from(entry.key)), &frame);
        if let Some(duplicates) = &mut self.duplicates
            && !entry.is_late()
        {
            duplicates.frame(lane, entry.key, frame.data);
        }
    }

    /// Replies that came before their requests.
    pub(super) fn inversions(&self) -> u64 {
        self.inversions.count()
    }

    /// Answers for which there was no room: as many inversions may not have been counted.
    pub(super) fn no_room(&self) -> u64 {
        self.inversions.no_room()
    }

    /// Frames that another input brought too, where they are counted.
    pub(super) fn duplicates(&self) -> Option<u64> {
        self.duplicates.as_ref().map(|duplicates| duplicates.count)
    }
}

/// Frames that are the same as one of another input at the same moment, told by a hash of 64 bits: of frames that differ
/// one in 10^19 is taken for another.
#[derive(Default)]
struct Duplicates {
    count: u64,
    key: i64,
    /// The first frame of the moment; it is only compared where another one follows.
    first: (usize, Vec<u8>),
    /// Which input had a frame of this hash first. Empty until a second frame comes.
    known: HashMap<u64, usize>,
}

impl Duplicates {
    fn frame(&mut self, lane: usize, key: i64, data: &[u8]) {
        if key != self.key || self.first.1.is_empty() {
            self.key = key;
            self.known.clear();
            self.first.0 = lane;
            self.first.1.clear();
            self.first.1.extend_from_slice(data);
            return;
        }
        if self.known.is_empty() {
            self.known.insert(hash(&self.first.1), self.first.0);
        }
        let hash = hash(data);
        match self.known.get(&hash) {
            Some(known) => self.count += u64::from(*known != lane),
            None if self.known.len() < MOMENT_MAX => {
                self.known.insert(hash, lane);
            }
            None => {}
        }
    }
}

fn hash(data: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    data.hash(&mut hasher);
    hasher.finish()
}
