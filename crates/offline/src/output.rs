//! Captures that a replay writes: one for each port that was sent a frame.
//!
//! Frames are gathered in a big buffer and written in one go. A file is only made when its first frame
//! comes, so that a port that was sent nothing leaves no file; a target that was named itself is
//! always a whole capture, if an empty one.
//!
//! Where a record stands in the input just as it is to be written, it is not copied for itself: such
//! records that follow each other are written in one go, and many of them straight from where they
//! were read.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use plan::plan::{HookId, Plan, PortId};
use wire::LinkType;
use wire::capture::{PcapWriter, PcapngWriter, RECORD_HEADER, Timestamp, Unwritable};

use crate::input::{Found, is_standard};
use crate::ledger::OutputReport;

/// Octets that are gathered before they are written.
const GATHER: usize = 256 << 10;

/// Octets from which on a run of records is written by a system call of its own, rather than copied.
const STRAIGHT: usize = 16 << 10;

/// Where captures go.
#[derive(Default)]
pub struct Outputs {
    /// Every port that is sent a frame and has no target of its own gets `PORT.pcap` here, or
    /// `PORT.pcapng` where its link types mix; older files of these names are removed.
    pub dir: Option<PathBuf>,
    /// Files that must be left alone, such as the config: where an output would overwrite one, all is refused.
    pub kept: Vec<PathBuf>,
    /// Where the caller is going to write `PORT.svg` for monitor ports. Nothing is written there, but names are held
    /// against what is read, kept and written.
    pub plots: Option<PathBuf>,
    /// Ports with a target of their own.
    pub ports: BTreeMap<PortId, Target>,
}

/// Where the capture of one port goes.
pub enum Target {
    /// A file, whatever its name ends in; it is pcapng where link types mix or its name ends in
    /// `.pcapng`. `-` is standard output.
    File(PathBuf),
    /// A stream, under the name that messages give it.
    Stream(String, Box<dyn Write + Send>),
}

/// Where one port's frames go, and what has been written so far.
pub(crate) struct Output {
    port: String,
    /// What a capture without any frame says.
    link_type: LinkType,
    target: Place,
    /// Of the hooks, for the interfaces of pcapng.
    sources: Vec<String>,
    mixed: bool,
    nanoseconds: bool,
    file: String,
    state: State,
    buffer: Vec<u8>,
    /// Records behind those in `buffer`: octets of the input that the last frame came from, as long as
    /// nothing moves there.
    run: Range<usize>,
    packets: u64,
    bytes: u64,
    times_clamped: u64,
    closed: bool,
}

enum Place {
    Dir(PathBuf),
    Target(Target),
    /// The target has been opened.
    Taken,
}

enum State {
    Unopened,
    Open(Format, Box<dyn Write + Send>),
    /// The reader hung up.
    Closed,
}

enum Format {
    Pcap(PcapWriter),
    /// One interface for each source and link type.
    Pcapng(PcapngWriter, Vec<(HookId, LinkType, u32)>),
}

/// Why a frame could not be written.
#[derive(Debug)]
pub(crate) enum Failure {
    Io(io::Error),
    /// A second link type, where only one was known of.
    Mixed,
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Output {
    fn new(plan: &Plan, port: PortId, target: Place) -> Self {
        Self {
            port: plan.port(port).name.clone(),
            link_type: plan.port(port).link_type,
            target,
            sources: plan.hooks.iter().map(|hook| plan.source_name(hook)).collect(),
            mixed: false,
            nanoseconds: false,
            file: String::new(),
            state: State::Unopened,
            buffer: Vec::new(),
            run: 0..0,
            packets: 0,
            bytes: 0,
            times_clamped: 0,
            closed: false,
        }
    }

    /// Says what will come: before the first frame.
    pub(crate) fn expect(&mut self, mixed: bool, nanoseconds: bool) {
        (self.mixed, self.nanoseconds) = (mixed, nanoseconds);
    }

    /// The file's name, as far as it is known.
    pub(crate) fn file(&self) -> &str {
        if self.file.is_empty() { &self.port } else { &self.file }
    }

    /// Takes one frame. All frames between two calls of [`Output::settle`] come from one input.
    #[inline]
    pub(crate) fn frame(&mut self, hook: HookId, found: &Found<'_>) -> Result<(), Failure> {
        let Found { time, frame, buffer, at } = found;
        if matches!(self.state, State::Unopened) {
            self.open(frame.link_type)?;
        }
        let clamped = match &mut self.state {
            State::Open(Format::Pcap(writer), _) => {
                let writer = *writer;
                let (header, clamped) = written(|time| writer.record_header(time, frame), *time)?;
                let start = at.saturating_sub(RECORD_HEADER);
                let as_it_is = buffer.get(start..*at).is_some_and(|read| *read == header);
                if !as_it_is || self.run.end != start {
                    self.settle(buffer)?;
                    self.run = start..start;
                }
                if as_it_is {
                    self.run.end = at + frame.data.len();
                } else {
                    self.buffer.extend_from_slice(&header);
                    self.buffer.extend_from_slice(frame.data);
                }
                clamped
            }
            State::Open(Format::Pcapng(writer, interfaces), _) => {
                let (sources, out) = (&self.sources, &mut self.buffer);
                let id = interface(writer, interfaces, sources, hook, frame.link_type, out);
                written(|time| writer.packet(id, time, frame, out), *time)?.1
            }
            State::Unopened | State::Closed => return Ok(()),
        };
        self.times_clamped += u64::from(clamped);
        self.packets += 1;
        self.bytes += u64::try_from(frame.data.len()).unwrap_or(u64::MAX);
        if self.buffer.len() >= GATHER { self.empty() } else { Ok(()) }
    }

    /// Lets go of an input: its octets are about to move, or the next frame comes from another one.
    #[inline]
    pub(crate) fn settle(&mut self, buffer: &[u8]) -> Result<(), Failure> {
        if self.run.is_empty() {
            return Ok(());
        }
        let run = buffer.get(std::mem::take(&mut self.run)).unwrap_or_default();
        if run.len() < STRAIGHT {
            self.buffer.extend_from_slice(run);
            return if self.buffer.len() >= GATHER { self.empty() } else { Ok(()) };
        }
        self.empty()?;
        if let State::Open(_, write) = &mut self.state
            && !still_open(write.write_all(run))?
        {
            self.close();
        }
        Ok(())
    }

    /// Writes what is gathered.
    fn empty(&mut self) -> Result<(), Failure> {
        if let State::Open(_, write) = &mut self.state
            && !emit(write, &mut self.buffer)?
        {
            self.close();
        }
        Ok(())
    }

    /// Writes what is gathered, and clears away what an older replay left under the port's name.
    pub(crate) fn finish(mut self) -> Result<Option<OutputReport>, (String, Failure)> {
        self.finish_file().map_err(|failure| (self.file().to_owned(), failure))?;
        let written = !matches!(self.state, State::Unopened);
        Ok(written.then_some(OutputReport {
            port: self.port,
            file: self.file,
            packets: self.packets,
            bytes: self.bytes,
            times_clamped: self.times_clamped,
            closed: self.closed,
        }))
    }

    fn finish_file(&mut self) -> Result<(), Failure> {
        if matches!(self.state, State::Unopened) {
            if let Place::Dir(dir) = &self.target {
                for path in names(dir, &self.port) {
                    remove(&path)?;
                }
                return Ok(());
            }
            self.open(self.link_type)?;
        }
        if let State::Open(_, write) = &mut self.state {
            let open = emit(write, &mut self.buffer)? && still_open(write.flush())?;
            if !open {
                self.close();
            }
        }
        Ok(())
    }

    fn close(&mut self) {
        self.state = State::Closed;
        self.closed = true;
    }

    #[cold]
    fn open(&mut self, link_type: LinkType) -> Result<(), Failure> {
        let mut pcapng = self.mixed;
        let write: Box<dyn Write + Send> = match std::mem::replace(&mut self.target, Place::Taken) {
            Place::Dir(dir) => {
                let [pcap, ng] = names(&dir, &self.port);
                let (path, other) = if pcapng { (ng, pcap) } else { (pcap, ng) };
                self.file = path.display().to_string();
                remove(&other)?;
                Box::new(File::create(&path)?)
            }
            Place::Target(Target::File(path)) if is_standard(&path) => {
                self.file = "standard output".to_owned();
                Box::new(io::stdout())
            }
            Place::Target(Target::File(path)) => {
                self.file = path.display().to_string();
                pcapng |= path.extension().is_some_and(|end| end == "pcapng");
                Box::new(File::create(&path)?)
            }
            Place::Target(Target::Stream(name, write)) => {
                self.file = name;
                write
            }
            // An output is opened once: its state says so from then on.
            Place::Taken => return Ok(()),
        };
        self.buffer.reserve(2 * GATHER);
        let format = if pcapng {
            Format::Pcapng(PcapngWriter::new(&mut self.buffer), Vec::new())
        } else {
            Format::Pcap(PcapWriter::new(link_type, self.nanoseconds, &mut self.buffer))
        };
        self.state = State::Open(format, write);
        Ok(())
    }
}

/// What a frame becomes, with the nearest time that the format holds; and whether that is another time.
#[inline]
fn written<T>(
    mut write: impl FnMut(Timestamp) -> Result<T, Unwritable>,
    time: Timestamp,
) -> Result<(T, bool), Failure> {
    match write(time) {
        Ok(done) => Ok((done, false)),
        Err(Unwritable::Time(_)) => {
            // The last moment of pcap fits pcapng too.
            let last = Timestamp::new(i64::from(u32::MAX), 999_999_999);
            write(time.clamp(Timestamp(0), last)).map(|done| (done, true)).map_err(|_| Failure::Mixed)
        }
        Err(_) => Err(Failure::Mixed),
    }
}

/// The interface of a source's frames of a link type; described where this is the first.
fn interface(
    writer: &mut PcapngWriter,
    interfaces: &mut Vec<(HookId, LinkType, u32)>,
    sources: &[String],
    hook: HookId,
    link_type: LinkType,
    out: &mut Vec<u8>,
) -> u32 {
    let known = interfaces.iter().find(|(at, of, _)| (*at, *of) == (hook, link_type));
    if let Some((_, _, id)) = known {
        return *id;
    }
    let name = sources.get(usize::from(hook.0)).map_or("", String::as_str);
    let id = writer.interface(link_type, name, out);
    interfaces.push((hook, link_type, id));
    id
}

/// Writes what is gathered. Whether the reader still listens.
fn emit(write: &mut Box<dyn Write + Send>, buffer: &mut Vec<u8>) -> io::Result<bool> {
    let open = still_open(write.write_all(buffer));
    buffer.clear();
    open
}

fn still_open(result: io::Result<()>) -> io::Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error),
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Both names that a port's capture can have in a directory.
pub(crate) fn names(dir: &Path, port: &str) -> [PathBuf; 2] {
    ["pcap", "pcapng"].map(|end| dir.join(format!("{port}.{end}")))
}

/// An output for each port that sends, by port; `None` where nobody asked for one.
pub(crate) fn open(plan: &Plan, outputs: Outputs) -> Vec<Option<Output>> {
    let Outputs { dir, mut ports, .. } = outputs;
    let place = |id| match (ports.remove(&id), &dir) {
        (Some(target), _) => Some(Place::Target(target)),
        (None, Some(dir)) if crate::ledger::sends(plan, id) => Some(Place::Dir(dir.clone())),
        (None, _) => None,
    };
    let ids: Vec<PortId> = plan.ports().map(|(id, _)| id).collect();
    let places: Vec<Option<Place>> = ids.iter().copied().map(place).collect();
    ids.into_iter().zip(places).map(|(id, place)| place.map(|place| Output::new(plan, id, place))).collect()
}
