//! Captures that a replay writes: one for each port that was sent a frame.
//!
//! Frames are gathered in a big buffer and written in one go. A file is only made when its first frame
//! comes, so that a port that was sent nothing leaves no file; a target that was named itself is
//! always a whole capture, if an empty one.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use plan::plan::{HookId, Plan, PortId};
use wire::capture::{PcapWriter, PcapngWriter, Timestamp, Unwritable};
use wire::{Frame, LinkType};

use crate::input::is_standard;
use crate::ledger::OutputReport;

/// Octets that are gathered before they are written.
const GATHER: usize = 256 << 10;

/// Where captures go.
#[derive(Default)]
pub struct Outputs {
    /// Every port that is sent a frame and has no target of its own gets `PORT.pcap` here, or
    /// `PORT.pcapng` where its link types mix; older files of these names are removed.
    pub dir: Option<PathBuf>,
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

    /// Takes one frame.
    #[inline]
    pub(crate) fn frame(&mut self, hook: HookId, time: Timestamp, frame: &Frame<'_>) -> Result<(), Failure> {
        if matches!(self.state, State::Unopened) {
            self.open(frame.link_type)?;
        }
        let State::Open(format, write) = &mut self.state else { return Ok(()) };
        let appended = match format {
            Format::Pcap(writer) => {
                append(|time, out| writer.packet(time, frame, out), time, &mut self.buffer)
            }
            Format::Pcapng(writer, interfaces) => {
                let id =
                    interface(writer, interfaces, &self.sources, hook, frame.link_type, &mut self.buffer);
                append(|time, out| writer.packet(id, time, frame, out), time, &mut self.buffer)
            }
        };
        self.times_clamped += u64::from(appended.map_err(|_| Failure::Mixed)?);
        self.packets += 1;
        self.bytes += u64::try_from(frame.data.len()).unwrap_or(u64::MAX);
        if self.buffer.len() >= GATHER && !emit(write, &mut self.buffer)? {
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

/// Appends a frame, with the nearest time that the format holds. Whether that is another time.
#[inline]
fn append(
    packet: impl Fn(Timestamp, &mut Vec<u8>) -> Result<(), Unwritable>,
    time: Timestamp,
    out: &mut Vec<u8>,
) -> Result<bool, Unwritable> {
    match packet(time, out) {
        Ok(()) => Ok(false),
        Err(Unwritable::Time(_)) => {
            // The last moment of pcap fits pcapng too.
            let last = Timestamp::new(i64::from(u32::MAX), 999_999_999);
            packet(time.clamp(Timestamp(0), last), out).map(|()| true)
        }
        Err(other) => Err(other),
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
    let Outputs { dir, mut ports } = outputs;
    let place = |id| match (ports.remove(&id), &dir) {
        (Some(target), _) => Some(Place::Target(target)),
        (None, Some(dir)) if crate::ledger::sends(plan, id) => Some(Place::Dir(dir.clone())),
        (None, _) => None,
    };
    let ids: Vec<PortId> = plan.ports().map(|(id, _)| id).collect();
    let places: Vec<Option<Place>> = ids.iter().copied().map(place).collect();
    ids.into_iter().zip(places).map(|(id, place)| place.map(|place| Output::new(plan, id, place))).collect()
}
