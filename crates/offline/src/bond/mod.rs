//! Captures into one, in the order of time: halves of conversations become conversations.
//!
//! [`bond`] takes captures of any form, from files and from streams, and writes one. Frames are ordered by time;
//! of equal times the first-named input goes first, and within an input the frame that comes first in the file.
//! A frame that is out of order in its own file is put where its time belongs, as far as the window and memory reach
//! ([`Options::window_ns`]). No frame is ever lost, changed or removed.
//!
//! How it is fast: threads read ahead and find the records (`intake`); records that can be written as they are
//! stay where they were read, and their headers are put right in place where they need it (`records`); the merge
//! (`merge`) moves numbers only, and stretches of records are written from where they lie (`sink`).
//!
//! Memory does not grow with the length of an input; it is shared between the inputs, so that it does not grow with
//! their number either. Never looks at a clock, never makes a system call other than on files.

pub mod causal;
mod crew;
mod intake;
mod look;
mod merge;
mod order;
mod piece;
mod records;
mod refuse;
mod report;
mod sink;
mod unpack;

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use plan::Refusal;
use plan::units::ShownTime;
use wire::LinkType;
use wire::capture::Timestamp;

pub use refuse::refusals;
pub use report::{InputReport, Merged, OutputReport, Report};
pub(crate) use unpack::unpack;

use crate::input::{Source, is_standard};
use crate::output::Target;
use causal::Findings;
use crew::{Crew, Lane};
use intake::{Failure, Intake, Opened, Plan};
use look::Seen;
use merge::{Came, Merge, Ties};
use piece::Entry;
use records::{Correction, Nature, Shape, nanoseconds};
use sink::Sink;

/// The most captures that are bonded at once: each of them is an open file.
pub const INPUTS_MAX: usize = 1024;

/// How far back a frame is put unless told otherwise, in nanoseconds.
pub const WINDOW_NS: u64 = 1_000_000_000;

/// Octets that all inputs together keep in memory, roughly.
const MEMORY: usize = 16 << 20;
/// Octets of an input that are read at once, at most and at least.
const PIECE_MAX: usize = 256 << 10;
const PIECE_MIN: usize = 4 << 10;
/// Pieces of an input that are kept back, at most and at least.
const LOOKAHEAD_MAX: usize = 16;
const LOOKAHEAD_MIN: usize = 1;
/// Pieces of an input that are in use besides: being read, read ahead, being merged, being written.
const IN_USE: usize = 4;

/// Whether clocks are compared by what the conversations say.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Causal {
    /// They are not.
    #[default]
    Off,
    /// They are, and are put right where they must be wrong.
    On,
    /// They are, and are put right wherever they can be.
    Force,
}

/// How captures are bonded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// How far back a frame of an input that is out of order is put, in nanoseconds; 0 leaves the frames of each
    /// input in the order that they have.
    pub window_ns: u64,
    /// What is added to the times of an input (counted from 0), in nanoseconds.
    pub offsets: Vec<(usize, i64)>,
    /// Whether offsets are found from the conversations.
    pub causal: Causal,
    /// Whether frames are looked at, to count duplicates and inversions.
    pub stats: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { window_ns: WINDOW_NS, offsets: Vec::new(), causal: Causal::Off, stats: false }
    }
}

/// How far a bond is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Progress {
    /// Frames merged.
    pub frames: u64,
    /// Octets of their records.
    pub bytes: u64,
    /// The last frame's time, in nanoseconds since 1970.
    pub time: i64,
}

/// Why captures were not bonded, or not to the end.
#[derive(Debug)]
pub enum BondError {
    /// Every reason why this is not done. Nothing was written.
    Refused(Vec<Refusal>),
    /// An input could not be opened. Nothing was written.
    Input(String, io::Error),
    /// The output could not be written.
    Output(String, io::Error),
    /// A stream brought a second link type after pcap had been chosen for the output.
    Mixed(String),
}

impl fmt::Display for BondError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusals) => {
                for (index, refusal) in refusals.iter().enumerate() {
                    write!(f, "{}{refusal}", if index == 0 { "" } else { "\n" })?;
                }
                Ok(())
            }
            Self::Input(file, error) => write!(f, "{file}: cannot be opened: {error}"),
            Self::Output(file, error) => write!(f, "{file}: cannot be written: {error}"),
            Self::Mixed(file) => write!(
                f,
                "{file}: link types mix, which a capture that can only be read once did not tell in time\n\
                 help: write to a file whose name ends in .pcapng"
            ),
        }
    }
}

impl std::error::Error for BondError {}

/// Bonds captures, in the order in which they are named, and says what came of each. Without an output it only looks.
///
/// An input that is cut or corrupt ends there; the rest is bonded, and the report says what broke
/// ([`Report::is_whole`]). `progress` is called now and then.
///
/// # Errors
/// Where something is refused or an input cannot be opened (nothing has been written then), and where the output
/// cannot be written. An output whose reader has hung up is no error: nothing more is read then.
pub fn bond(
    inputs: Vec<Source>,
    options: &Options,
    output: Option<Target>,
    mut progress: impl FnMut(&Progress),
) -> Result<Report, BondError> {
    let refused = refusals(&inputs, options, output.as_ref());
    if !refused.is_empty() {
        return Err(BondError::Refused(refused));
    }
    let halves = open(inputs)?;
    let clocks = Clocks::new(&halves, options)?;
    let pcapng =
        matches!(&output, Some(Target::File(path)) if path.extension().is_some_and(|end| end == "pcapng"));
    let shape = shape(&halves, pcapng || output.is_none())?;
    // Causal order never puts frames of one half in another order.
    let window_ns = if options.causal == Causal::Off { options.window_ns } else { 0 };
    let bonding = Bonding { plan: plan(halves.len(), window_ns), shape };
    let before = clocks.before(&halves, &bonding, options, &mut progress)?;
    let (name, write) = match output {
        Some(target) => create(target).map(|(name, write)| (name, Some(write)))?,
        None => (String::new(), None),
    };
    let written = write.is_some();
    let mut sink = Sink::new(name, write, shape);
    let mut seen = (options.stats || options.causal != Causal::Off).then(|| Seen::new(shape, options.stats));
    let correction = |half: usize| clocks.correction(half);
    let done = bonding.run(halves, &correction, &mut sink, seen.as_mut(), &mut progress)?;
    sink.finish()?;
    let mut report = report(done, &clocks, written.then_some((&sink, shape)));
    report.detailed = options.stats;
    let no_room = seen.as_ref().map(Seen::no_room).filter(|no_room| *no_room > 0).map(|no_room| {
        let answers = report::counted(no_room, "answer", "answers");
        format!(
            "there was no room for {answers} to wait for what came later: so many inversions may not have been counted"
        )
    });
    if let Some(seen) = seen {
        report.merged.duplicates = seen.duplicates();
        report.merged.inversions_after = Some(seen.inversions());
        let unchanged = options.causal != Causal::Off && clocks.are_as_they_were();
        report.merged.inversions_before = before.or(unchanged.then(|| seen.inversions()));
    }
    report.notes = notes(&report, window_ns, bonding);
    report.notes.extend(no_room);
    report.causal = clocks.findings;
    Ok(report)
}

/// What to know of a bond.
fn notes(report: &Report, window_ns: u64, bonding: Bonding) -> Vec<String> {
    let sum = |of: fn(&InputReport) -> u64| report.inputs.iter().map(of).sum::<u64>();
    let (late, clamped) = (sum(|input| input.late), sum(|input| input.times_clamped));
    let mut notes = Vec::new();
    if late > 0 && window_ns == 0 {
        let (lie, keep) = if late == 1 {
            ("frame lies before others of its", "keeps its")
        } else {
            ("frames lie before others of their", "keep their")
        };
        notes.push(format!("{late} {lie} own capture in time, and {keep} place"));
    } else if late > 0 {
        let reach = bonding.plan.lookahead.saturating_mul(records::count(bonding.plan.piece));
        let end = if report.merged.ordered { "" } else { ", and the bond is not in order there" };
        notes.push(format!(
            "{} came later than the window ({}, and {} KiB of a capture) reaches: {} went out at once{end}",
            report::frames(late),
            ShownTime(window_ns),
            reach >> 10,
            if late == 1 { "it" } else { "they" },
        ));
    }
    if clamped > 0 {
        let (what, until) = match bonding.shape {
            Shape::Pcap(..) => ("pcap", 2106),
            Shape::Pcapng => ("what is written", 2262),
        };
        let (bear, written) = match (&report.output, clamped) {
            (Some(_), 1) => ("bears a time", "it was written with the nearest that is"),
            (Some(_), _) => ("bear times", "they were written with the nearest that are"),
            (None, 1) => ("bears a time", "it would be written with the nearest that is"),
            (None, _) => ("bear times", "they would be written with the nearest that are"),
        };
        notes.push(format!(
            "{} {bear} that {what} cannot hold, which is from 1970 to {until}: {written}",
            report::frames(clamped)
        ));
    }
    notes
}

/// An input that has been opened.
struct Half {
    name: String,
    /// Where it can be read again.
    again: Option<PathBuf>,
    opened: Opened,
}

impl Half {
    fn open(source: Source) -> Result<Self, BondError> {
        let (name, again) = (source.name(), source.rereadable().cloned());
        let read = source.open().map_err(|error| BondError::Input(name.clone(), error))?;
        Ok(Self { name, again, opened: Opened::new(read) })
    }

    /// Opens it once more, where it can be.
    fn again(&self) -> Option<Result<Self, BondError>> {
        self.again.clone().map(|path| Self::open(Source::File(path)))
    }
}

fn open(inputs: Vec<Source>) -> Result<Vec<Half>, BondError> {
    inputs.into_iter().map(Half::open).collect()
}

/// How much is kept in memory of each of so many inputs.
fn plan(inputs: usize, window_ns: u64) -> Plan {
    let each = MEMORY / inputs.max(1);
    let piece = (each / (LOOKAHEAD_MIN + IN_USE)).clamp(PIECE_MIN, PIECE_MAX);
    // A power of two, so that reads begin where pages do.
    let piece = 1 << piece.ilog2();
    let lookahead = (each / piece).saturating_sub(IN_USE).clamp(LOOKAHEAD_MIN, LOOKAHEAD_MAX);
    // Where nothing is moved, nothing need be kept back.
    let lookahead = if window_ns == 0 { 0 } else { lookahead };
    Plan {
        window: i64::try_from(window_ns).unwrap_or(i64::MAX),
        piece,
        lookahead: u64::try_from(lookahead).unwrap_or_default(),
    }
}

/// What the output will be: pcap, unless link types mix or pcapng is asked for. Reads pcapng files through, since they
/// can describe an interface anywhere.
fn shape(halves: &[Half], pcapng: bool) -> Result<Shape, BondError> {
    if pcapng {
        return Ok(Shape::Pcapng);
    }
    let mut all = Nature::default();
    for half in halves {
        let mut nature = half.opened.nature.clone();
        match &half.again {
            Some(path) if nature.pcapng => {
                nature = look::scan(path).map_err(|error| BondError::Input(half.name.clone(), error))?;
            }
            // What such a stream will say later is not known: nanoseconds lose nothing.
            None if nature.pcapng => nature.nanoseconds = true,
            _ => {}
        }
        all.nanoseconds |= nature.nanoseconds;
        all.link_types.extend(nature.link_types);
    }
    let unit_ns = if all.nanoseconds { 1 } else { 1_000 };
    match all.link_types.split_first() {
        None => Ok(Shape::Pcap(LinkType::ETHERNET, unit_ns)),
        Some((first, rest)) if rest.iter().all(|other| other == first) => Ok(Shape::Pcap(*first, unit_ns)),
        Some(_) => Ok(Shape::Pcapng),
    }
}

/// Opens the output, and gives its name.
fn create(target: Target) -> Result<(String, Box<dyn Write + Send>), BondError> {
    match target {
        Target::File(path) if is_standard(&path) => {
            Ok(("standard output".to_owned(), Box::new(io::stdout())))
        }
        Target::File(path) => {
            let name = path.display().to_string();
            match File::create(&path) {
                Ok(file) => Ok((name, Box::new(file))),
                Err(error) => Err(BondError::Output(name, error)),
            }
        }
        Target::Stream(name, write) => Ok((name, write)),
    }
}

/// How the clocks of the inputs are put right.
struct Clocks {
    /// By input: what is added to its times, in nanoseconds, because the user says so.
    offsets: Vec<i64>,
    /// By input: what is done to its times because the conversations say so.
    corrections: Vec<causal::Correction>,
    findings: Option<Findings>,
}

impl Clocks {
    fn new(halves: &[Half], options: &Options) -> Result<Self, BondError> {
        let mut offsets = vec![0i64; halves.len()];
        for (half, offset) in &options.offsets {
            if let Some(sum) = offsets.get_mut(*half) {
                *sum = sum.saturating_add(*offset);
            }
        }
        let corrections = vec![causal::Correction::NONE; halves.len()];
        let mut clocks = Self { offsets, corrections, findings: None };
        // Only files are asked for causal order: the rest has been refused.
        let files: Vec<&Path> = halves.iter().filter_map(|half| half.again.as_deref()).collect();
        if options.causal == Causal::Off || files.len() != halves.len() {
            return Ok(clocks);
        }
        let mut findings =
            look::observe(&files, &|half| clocks.correction(half)).map_err(|(half, error)| {
                BondError::Input(halves.get(half).map(|half| half.name.clone()).unwrap_or_default(), error)
            })?;
        for (half, correction) in clocks.corrections.iter_mut().enumerate() {
            // What the user says of a clock goes before what the conversations say.
            if options.offsets.iter().all(|(of, _)| *of != half) {
                *correction = match options.causal {
                    Causal::Force => findings.forced(half),
                    Causal::On | Causal::Off => findings.correction(half),
                };
            }
        }
        findings.name(|half| halves.get(half).map(|half| half.name.as_str()));
        clocks.findings = Some(findings);
        Ok(clocks)
    }

    fn are_as_they_were(&self) -> bool {
        self.offsets.iter().all(|offset| *offset == 0)
            && self.corrections.iter().all(causal::Correction::is_none)
    }

    fn correction(&self, half: usize) -> Option<Correction> {
        let offset = self.offsets.get(half).copied().unwrap_or_default();
        let causal = self.corrections.get(half).copied().unwrap_or(causal::Correction::NONE);
        match (offset, causal.is_none()) {
            (0, true) => None,
            (_, true) => Some(Box::new(move |time| time.saturating_add(offset))),
            _ => Some(Box::new(move |time| {
                nanoseconds(causal.apply(Timestamp(i128::from(time.saturating_add(offset)))))
            })),
        }
    }

    /// Inversions with the times as they were read, where these are changed, frames are looked at, and all inputs can
    /// be read twice.
    fn before(
        &self,
        halves: &[Half],
        bonding: &Bonding,
        options: &Options,
        progress: &mut dyn FnMut(&Progress),
    ) -> Result<Option<u64>, BondError> {
        if self.are_as_they_were() || !(options.stats || options.causal != Causal::Off) {
            return Ok(None);
        }
        let again: Option<Result<Vec<Half>, BondError>> = halves.iter().map(Half::again).collect();
        let Some(again) = again else { return Ok(None) };
        let mut seen = Seen::new(bonding.shape, false);
        let mut nowhere = Sink::new(String::new(), None, bonding.shape);
        bonding.run(again?, &|_| None, &mut nowhere, Some(&mut seen), progress)?;
        Ok(Some(seen.inversions()))
    }
}

/// What a merge leaves behind.
struct Done {
    names: Vec<String>,
    intakes: Vec<Option<Box<Intake>>>,
    ties: Ties,
    came: Came,
}

/// How inputs are read and written.
#[derive(Clone, Copy)]
struct Bonding {
    plan: Plan,
    shape: Shape,
}

impl Bonding {
    /// Merges all inputs into the sink.
    fn run(
        self,
        halves: Vec<Half>,
        correction: &dyn Fn(usize) -> Option<Correction>,
        sink: &mut Sink,
        seen: Option<&mut Seen>,
        progress: &mut dyn FnMut(&Progress),
    ) -> Result<Done, BondError> {
        let Self { plan, shape } = self;
        let files = halves.iter().filter(|half| half.again.is_some()).count();
        std::thread::scope(|scope| {
            let crew = Crew::new(scope, files);
            let mut names = Vec::new();
            let mut lanes = Vec::new();
            for (index, half) in halves.into_iter().enumerate() {
                let stream = half.again.is_none();
                let intake = Intake::new(half.opened, plan, stream, shape, correction(index));
                let lane = if stream { Lane::Here(Box::new(intake)) } else { Lane::ahead(intake, &crew) };
                names.push(half.name.clone());
                lanes.push((lane, half.name));
            }
            let mut look = seen.map(|seen| {
                move |lane: usize, entry: Entry, record: &[u8], interfaces: &[LinkType]| {
                    seen.record(lane, entry, record, interfaces);
                }
            });
            let watch: Option<merge::Watch<'_>> = look.as_mut().map(|look| -> merge::Watch<'_> { look });
            let mut merge = Merge::new(&crew, shape, lanes, sink, watch);
            merge.run(progress)?;
            let (lanes, ties, came) = merge.into_lanes();
            let intakes: Vec<Option<Box<Intake>>> = lanes.into_iter().map(Lane::into_intake).collect();
            match names
                .iter()
                .zip(&intakes)
                .find(|(_, intake)| intake.as_ref().is_some_and(|it| it.is_mixed()))
            {
                Some(_) => Err(BondError::Mixed(sink.name().to_owned())),
                None => Ok(Done { names, intakes, ties, came }),
            }
        })
    }
}

fn report(done: Done, clocks: &Clocks, output: Option<(&Sink, Shape)>) -> Report {
    let time = |ns: i64| Timestamp(i128::from(ns)).to_string();
    let mut inputs = Vec::new();
    let (mut first, mut last) = (i64::MAX, i64::MIN);
    for (index, (file, intake)) in done.names.into_iter().zip(&done.intakes).enumerate() {
        let account = intake.as_ref().map(|intake| *intake.account()).unwrap_or_default();
        (first, last) = (first.min(account.first), last.max(account.last));
        inputs.push(InputReport {
            file,
            frames: account.frames,
            bytes: account.bytes,
            first: (account.frames > 0).then(|| time(account.first)),
            last: (account.frames > 0).then(|| time(account.last)),
            offset_ns: clocks.offsets.get(index).copied().unwrap_or_default(),
            out_of_order: account.out_of_order,
            late: account.late,
            ties: done.ties.by_input.get(index).copied().unwrap_or_default(),
            times_clamped: account.clamped,
            offset: intake.as_ref().map_or(0, |intake| intake.offset()),
            broken: match intake {
                Some(intake) => intake.failure().map(|failure| said(failure, intake)),
                None => Some("the thread that read it was lost".to_owned()),
            },
        });
    }
    let Came { frames, bytes, ordered, .. } = done.came;
    if output.is_some_and(|(sink, _)| sink.is_closed()) {
        // More was read than came together.
        (first, last) = (first.max(done.came.first), last.min(done.came.last));
    }
    let merged = Merged {
        frames,
        bytes,
        first: (frames > 0).then(|| time(first)),
        last: (frames > 0).then(|| time(last)),
        ordered,
        tie_groups: done.ties.groups,
        tie_frames: done.ties.frames,
        duplicates: None,
        inversions_before: None,
        inversions_after: None,
    };
    let output = output.map(|(sink, shape)| OutputReport {
        file: sink.name().to_owned(),
        format: if shape == Shape::Pcapng { "pcapng" } else { "pcap" },
        nanoseconds: !matches!(shape, Shape::Pcap(_, 1_000)),
        bytes: sink.written(),
        closed: sink.is_closed(),
    });
    Report { inputs, merged, output, causal: None, notes: Vec::new(), detailed: false }
}

/// How far an input was read, and what broke there.
fn said(failure: &Failure, intake: &Intake) -> String {
    match failure {
        Failure::Broken(broken) => broken.to_string(),
        Failure::Io(offset, error) => {
            let account = intake.account();
            let noun = if account.frames == 1 { "packet" } else { "packets" };
            format!(
                "{} {noun} ({} bytes) read, then at offset {offset}: {error}",
                account.frames, account.bytes
            )
        }
    }
}
