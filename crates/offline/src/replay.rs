//! Captures through a plan, in time order.
//!
//! The inputs are merged by time; of equal times the first-named input goes first, and within an
//! input frames keep their order, even where their times do not. Each frame is judged by
//! [`plan::eval::Judge`], and handed to the outputs of the ports that it passes to and is copied to.
//!
//! Time is virtual: nanoseconds since the first frame. This is the way of plans whose monitor ports send at once;
//! where one has a rate, [`crate::simulate()`] carries the replay out.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io;
use std::path::PathBuf;

use plan::Refusal;
use plan::eval::{Fate, Judge, State, Time, Verdict};
use plan::plan::{HookId, Plan, PortId, Sink};
use plan::simulation::Simulation;
use plan::tally::{Given, Tally};
use wire::LinkType;
use wire::capture::{Format, Timestamp};

use crate::input::{Feed, Found, Input, Source};
use crate::ledger::{InputReport, OutputReport, Report};
use crate::output::{self, Output, Outputs};
use crate::refuse::refusals;
use crate::timed::{Look, simulate};

/// Frames between two calls of the caller's `progress`.
pub(crate) const PROGRESS: u64 = 1 << 16;

/// What chance would be drawn from, were there rules that draw: one replay, one outcome.
const SEED: u64 = 0;

/// How far a replay is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Progress {
    /// Frames judged.
    pub frames: u64,
    /// Their octets, as captured.
    pub bytes: u64,
    /// The last frame's time.
    pub time: Timestamp,
}

/// Why a replay did not take place, or was given up.
#[derive(Debug)]
pub enum ReplayError {
    /// Inputs and outputs do not fit the plan or each other: every reason. Nothing was written.
    Refused(Vec<Refusal>),
    /// An input could not be opened. Nothing was written.
    Input(String, io::Error),
    /// An output could not be written.
    Output(String, io::Error),
    /// A stream brought a second link type after the output's format was chosen.
    Mixed(String),
}

impl fmt::Display for ReplayError {
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
                "{file}: link types mix, which an input that can only be read once did not tell in time\n\
                 help: write to a file whose name ends in .pcapng"
            ),
        }
    }
}

impl std::error::Error for ReplayError {}

/// Replays captures through a plan, and says what became of every frame.
///
/// An input that is cut or corrupt ends there; the rest is replayed and written, and the report says
/// what broke ([`Report::is_whole`]). `progress` is called now and then.
///
/// # Errors
/// Where inputs and outputs do not fit the plan or each other (nothing has been written then), where
/// an input cannot be opened, or an output cannot be written. An output whose reader has hung up is
/// no error.
pub fn replay(
    plan: &Plan,
    inputs: Vec<Input>,
    outputs: Outputs,
    progress: impl FnMut(&Progress),
) -> Result<Report, ReplayError> {
    if plan.ports.iter().any(|port| port.queue.is_some()) {
        let simulated = simulate(plan, &Simulation::default(), inputs, outputs, Look::Rated, progress);
        return simulated.map(|simulated| simulated.report);
    }
    let refusals = refusals(plan, &inputs, &outputs);
    if !refusals.is_empty() {
        return Err(ReplayError::Refused(refusals));
    }
    let files: Vec<Option<PathBuf>> = inputs.iter().map(|input| input.source.rereadable().cloned()).collect();
    let feeds = inputs.into_iter().filter_map(|input| Some((plan.hook_at(input.at)?.0, input.source)));
    let mut feeds = feeds.map(|(hook, source)| open(source, hook)).collect::<Result<Vec<_>, _>>()?;
    let expected = expect(plan, &feeds, &files)?;
    let mut outputs = begin(plan, outputs, &expected)?;
    let mut tally = Tally::new(plan);
    run(plan, &mut feeds, &mut tally, &mut outputs, progress)?;
    let inputs = feeds.iter().map(|feed| input_report(plan, feed)).collect();
    let ledger = tally.ledger(plan, "offline");
    Ok(Report { ledger, inputs, outputs: finish(outputs)?, measured: Vec::new(), hubs: Vec::new() })
}

/// The outputs, ready for frames.
pub(crate) fn begin(
    plan: &Plan,
    outputs: Outputs,
    expected: &Expected,
) -> Result<Vec<Option<Output>>, ReplayError> {
    if let Some(dir) = &outputs.dir {
        fs::create_dir_all(dir).map_err(|error| ReplayError::Output(dir.display().to_string(), error))?;
    }
    let mut outputs = output::open(plan, outputs);
    for (index, output) in outputs.iter_mut().enumerate() {
        if let Some(output) = output {
            let nanoseconds = expected.nanoseconds || expected.fine.contains(&index);
            output.expect(expected.mixed.contains(&index), nanoseconds);
        }
    }
    Ok(outputs)
}

/// Writes what is gathered, and says what was written.
pub(crate) fn finish(outputs: Vec<Option<Output>>) -> Result<Vec<OutputReport>, ReplayError> {
    let mut reports = Vec::new();
    for output in outputs.into_iter().flatten() {
        reports.extend(output.finish().map_err(|(file, failure)| refusal(file, failure))?);
    }
    Ok(reports)
}

pub(crate) fn open(source: Source, hook: HookId) -> Result<Feed, ReplayError> {
    let name = source.name();
    Feed::open(source, hook).map_err(|error| ReplayError::Input(name, error))
}

pub(crate) fn refusal(file: String, failure: output::Failure) -> ReplayError {
    match failure {
        output::Failure::Io(error) => ReplayError::Output(file, error),
        output::Failure::Mixed => ReplayError::Mixed(file),
    }
}

pub(crate) fn input_report(plan: &Plan, feed: &Feed) -> InputReport {
    let reader = feed.reader();
    // The next frame has been read, but did not come.
    let ahead = feed.head().map_or(0, |(_, frame)| u64::try_from(frame.data.len()).unwrap_or(u64::MAX));
    let frames_ahead = u64::from(feed.head().is_some());
    InputReport {
        file: feed.name.clone(),
        source: plan.source_name(plan.hook(feed.hook)),
        packets: reader.packets().saturating_sub(frames_ahead),
        bytes: reader.bytes().saturating_sub(ahead),
        offset: reader.offset(),
        out_of_order: feed.out_of_order,
        broken: feed.failure.as_ref().map(|failure| failure.said(reader)),
    }
}

/// Who is told of each frame's verdict.
trait Visitor {
    /// A frame has been judged.
    fn judged(&mut self, verdict: &Verdict, found: &Found<'_>) -> Result<(), ReplayError>;

    /// The octets of the input that the last frames came from are about to move, or the next frame comes
    /// from another one.
    fn lets_go(&mut self, buffer: &[u8]) -> Result<(), ReplayError>;
}

/// The heart: every frame of every input, in order, through the plan.
fn run(
    plan: &Plan,
    feeds: &mut [Feed],
    tally: &mut Tally,
    outputs: &mut [Option<Output>],
    progress: impl FnMut(&Progress),
) -> Result<(), ReplayError> {
    let mut run = Run { plan, tally, outputs, progress, done: Progress::default() };
    judge_all(plan, feeds, &mut run)?;
    (run.progress)(&run.done);
    Ok(())
}

/// Counts, and writes to the outputs.
struct Run<'a, P> {
    plan: &'a Plan,
    tally: &'a mut Tally,
    outputs: &'a mut [Option<Output>],
    progress: P,
    done: Progress,
}

impl<P: FnMut(&Progress)> Visitor for Run<'_, P> {
    #[inline]
    fn judged(&mut self, verdict: &Verdict, found: &Found<'_>) -> Result<(), ReplayError> {
        let Self { plan, tally, outputs, progress, done } = self;
        let frame = &found.frame;
        tally.deliver(plan, verdict, frame.wire_len, |outlet| {
            if let Some(output) = &mut outputs[usize::from(outlet.port().0)] {
                output
                    .frame(verdict.hook, found)
                    .map_err(|failure| refusal(output.file().to_owned(), failure))?;
            }
            Ok(Given::Sent)
        })?;
        done.frames += 1;
        done.bytes += u64::try_from(frame.data.len()).unwrap_or(u64::MAX);
        done.time = found.time;
        if done.frames.is_multiple_of(PROGRESS) {
            progress(done);
        }
        Ok(())
    }

    #[inline]
    fn lets_go(&mut self, buffer: &[u8]) -> Result<(), ReplayError> {
        self.outputs.iter_mut().flatten().try_for_each(|output| {
            output.settle(buffer).map_err(|failure| refusal(output.file().to_owned(), failure))
        })
    }
}

/// Hands each frame's verdict to a visitor, in time order.
fn judge_all(plan: &Plan, feeds: &mut [Feed], visitor: &mut impl Visitor) -> Result<(), ReplayError> {
    let (mut judge, mut state) = (Judge::new(plan), State::default());
    // One verdict a hook, so that its lists keep the size they need.
    let verdict = |(hook, _)| Verdict { hook, fate: Fate::Left, copies: Vec::new() };
    let mut verdicts: Vec<Verdict> = plan.hooks().map(verdict).collect();
    let mut start = None;
    let mut now = Time(0);
    while let Some((index, bound)) = earliest(feeds) {
        let feed = &mut feeds[index];
        let verdict = &mut verdicts[usize::from(feed.hook.0)];
        // As long as this input is the earliest, the others need not be looked at.
        while let Some(found) = feed.found() {
            if bound.is_some_and(|bound| (found.time, index) > bound) {
                break;
            }
            let start = *start.get_or_insert(found.time);
            // Virtual time never runs backwards, whatever a capture says.
            now = now.max(Time(u64::try_from(found.time.0 - start.0).unwrap_or_default()));
            judge.judge_into(&mut state, now, SEED, &found.frame, verdict);
            visitor.judged(verdict, &found)?;
            while !feed.step() {
                visitor.lets_go(feed.buffer())?;
                feed.refill();
            }
        }
        visitor.lets_go(feed.buffer())?;
    }
    Ok(())
}

/// The input whose frame is next, and the time and place of the best of the others.
fn earliest(feeds: &[Feed]) -> Option<(usize, Option<(Timestamp, usize)>)> {
    let mut best: Option<(Timestamp, usize)> = None;
    let mut second = None;
    let heads = feeds.iter().enumerate().filter_map(|(index, feed)| Some((feed.time()?, index)));
    for head in heads {
        match best {
            Some(known) if known < head => second = Some(second.map_or(head, |second| head.min(second))),
            known => (best, second) = (Some(head), known),
        }
    }
    best.map(|(_, index)| (index, second))
}

/// What must be known of the inputs before the first frame is written.
pub(crate) struct Expected {
    /// Whether any time of the inputs is finer than microseconds.
    pub(crate) nanoseconds: bool,
    /// Ports whose frames may leave at times of their own.
    pub(crate) fine: BTreeSet<usize>,
    /// Ports that will be sent frames of several link types.
    pub(crate) mixed: BTreeSet<usize>,
}

/// Looks at the inputs: a pcap file says everything in its header; a pcapng file is read through.
pub(crate) fn expect(
    plan: &Plan,
    feeds: &[Feed],
    files: &[Option<PathBuf>],
) -> Result<Expected, ReplayError> {
    let mut nanoseconds = false;
    let mut link_types = BTreeSet::new();
    for (feed, file) in feeds.iter().zip(files) {
        let pcapng = feed.reader().format() == Some(Format::Pcapng);
        nanoseconds |= feed.reader().is_finer_than_microseconds();
        link_types.extend(feed.head().map(|(_, frame)| frame.link_type));
        match file {
            Some(file) if pcapng => {
                let mut again = open(Source::File(file.clone()), feed.hook)?;
                while let Some((_, frame)) = again.head() {
                    link_types.insert(frame.link_type);
                    again.advance();
                }
                nanoseconds |= again.reader().is_finer_than_microseconds();
            }
            // What such a stream will say later is not known: nanoseconds lose nothing.
            None if pcapng => nanoseconds = true,
            _ => {}
        }
    }
    let mut mixed = BTreeSet::new();
    if link_types.len() > 1 {
        mixed = mixed_ports(plan, feeds, files)?;
    }
    Ok(Expected { nanoseconds, fine: BTreeSet::new(), mixed })
}

/// The ports that will be sent frames of several link types: found by a replay that writes nothing.
fn mixed_ports(
    plan: &Plan,
    feeds: &[Feed],
    files: &[Option<PathBuf>],
) -> Result<BTreeSet<usize>, ReplayError> {
    let again = feeds.iter().zip(files).map(|(feed, file)| match file {
        Some(file) => open(Source::File(file.clone()), feed.hook).map(Some),
        None => Ok(None),
    });
    let mut again: Vec<Feed> = again.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect();
    let mut sent = Sent { plan, types: vec![BTreeSet::new(); plan.ports.len()] };
    judge_all(plan, &mut again, &mut sent)?;
    let mut sent = sent.types;
    // Streams are read once; all that they have shown is their first frame.
    for (feed, _) in feeds.iter().zip(files).filter(|(_, file)| file.is_none()) {
        let link_type = feed.head().map(|(_, frame)| frame.link_type);
        for port in reachable(plan, feed.hook) {
            sent[usize::from(port.0)].extend(link_type);
        }
    }
    Ok(sent.iter().enumerate().filter(|(_, types)| types.len() > 1).map(|(index, _)| index).collect())
}

/// Notes which link types each port is sent.
struct Sent<'a> {
    plan: &'a Plan,
    types: Vec<BTreeSet<LinkType>>,
}

impl Visitor for Sent<'_> {
    fn judged(&mut self, verdict: &Verdict, found: &Found<'_>) -> Result<(), ReplayError> {
        for port in reached(self.plan, verdict) {
            self.types[usize::from(port.0)].insert(found.frame.link_type);
        }
        Ok(())
    }

    fn lets_go(&mut self, _buffer: &[u8]) -> Result<(), ReplayError> {
        Ok(())
    }
}

/// The ports that a verdict sends a frame to.
fn reached<'a>(plan: &'a Plan, verdict: &'a Verdict) -> impl Iterator<Item = PortId> + 'a {
    let passed = match &verdict.fate {
        Fate::Passed(ports) => ports.as_slice(),
        Fate::Left | Fate::Consumed | Fate::Blocked(_) => &[],
    };
    let hook = plan.hook(verdict.hook);
    let copied = verdict.copies.iter().map(|index| match plan.sink(Plan::copy(hook, *index).sink) {
        Sink::Port(port) => *port,
    });
    passed.iter().copied().chain(copied)
}

/// The ports that a hook can send a frame to.
pub(crate) fn reachable(plan: &Plan, hook: HookId) -> Vec<PortId> {
    let hook = plan.hook(hook);
    let mut ports = match &hook.pass {
        plan::plan::Pass::To(ports) => ports.iter().copied().collect(),
        plan::plan::Pass::Leave => Vec::new(),
    };
    ports.extend(hook.copies.iter().map(|copy| match plan.sink(copy.sink) {
        Sink::Port(port) => *port,
    }));
    ports
}
