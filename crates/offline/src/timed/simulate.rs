//! A plan in virtual time: traffic and captures in, captures, the ledger and measures out.
//!
//! Opens and closes what the engine works with; everything that takes time happens there.

use std::collections::BTreeSet;
use std::path::PathBuf;

use plan::eval::Time;
use plan::plan::{HookId, Plan, PortId, Role, Sink, SinkId};
use plan::simulation::{Pattern, Simulation, Size, Traffic};
use plan::tally::Tally;
use plan::units::{ShownRate, ShownTime};
use wire::LinkType;
use wire::capture::Timestamp;

use super::engine::{self, Ended, Timed};
use super::line::{self, Line};
use super::traffic::{Captured, Made, Source};
use super::{Before, capacity, spread};
use crate::hub::{HubCounts, HubStage};
use crate::input::{Feed, Input, Source as Capture};
use crate::ledger::{InputReport, Report};
use crate::meter::{PortMeter, Series, Spec};
use crate::output::Outputs;
use crate::refuse;
use crate::replay::{self, Expected, Progress, ReplayError};

/// Which monitor ports are looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Look {
    /// None: the ledger is all that is asked for.
    Nowhere,
    /// Those that have a rate.
    Rated,
    /// All of them.
    All,
    /// All of them, and what a plot is made of is kept.
    Plots,
}

/// What a simulation gives.
#[derive(Clone, PartialEq, Debug)]
pub struct Simulated {
    /// The ledger and what was measured.
    pub report: Report,
    /// What plots are made of, by the order of the report's measures.
    pub series: Vec<Option<Series>>,
    /// When the last thing happened: a frame entered, or began to leave.
    pub end: Time,
}

/// Runs traffic and captures through a plan, and says what became of every frame.
///
/// Captures in `inputs` entered the plan as they are, at their times: the earliest of them is moment 0. The traffic of
/// the simulation is sent towards the plan: through the line of its port, a SPAN port's switch or a hub, where there is
/// one.
///
/// # Errors
/// As [`crate::replay()`]; and where traffic would never end.
pub fn simulate(
    plan: &Plan,
    simulation: &Simulation,
    inputs: Vec<Input>,
    outputs: Outputs,
    look: Look,
    progress: impl FnMut(&Progress),
) -> Result<Simulated, ReplayError> {
    let mut refusals = refuse::refusals_with(plan, &inputs, &simulation.traffic, &outputs);
    refusals.extend(refuse::endless(plan, simulation));
    if !refusals.is_empty() {
        return Err(ReplayError::Refused(refusals));
    }
    let opened = open(plan, simulation, inputs)?;
    let mut outputs = replay::begin(plan, outputs, &opened.expected)?;
    let mut tally = Tally::new(plan);
    let names: Vec<Option<String>> = opened.names;
    let (stages, stage_of) = stages(plan, simulation);
    let timed = Timed {
        plan,
        simulation,
        sources: opened.sources,
        stages,
        stage_of,
        meters: meters(plan, simulation, look),
        zero: opened.zero,
    };
    let ended = engine::run(timed, &mut tally, &mut outputs, progress)?;
    let Ended { sources, stages, meters, end_ns } = ended;
    let hubs = stages.iter().filter_map(|stage| match stage {
        Before::Hub(hub) => Some(hub.counts()),
        Before::Line(_) => None,
    });
    let hubs: Vec<HubCounts> = hubs.collect();
    let inputs = sources.iter().zip(names).map(|(source, name)| report(plan, source, name)).collect();
    let end_ns = end_ns.max(simulation.duration_ns.unwrap_or(0));
    let (mut measured, mut series) = (Vec::new(), Vec::new());
    for meter in meters.into_iter().flatten() {
        // Mean rates are over the time in which traffic was to come, not over that in which buffers emptied.
        let it = meter.finish(simulation.duration_ns.unwrap_or(0));
        measured.push(it.report);
        series.push(it.series);
    }
    let ledger = tally.ledger(plan, "offline");
    let report = Report { ledger, inputs, outputs: replay::finish(outputs)?, measured, hubs };
    Ok(Simulated { report, series, end: Time(end_ns) })
}

/// Sources, ready to send.
struct Opened {
    sources: Vec<Source>,
    /// What sources are called that are no captures.
    names: Vec<Option<String>>,
    expected: Expected,
    zero: Timestamp,
}

fn open(plan: &Plan, simulation: &Simulation, inputs: Vec<Input>) -> Result<Opened, ReplayError> {
    let files: Vec<Option<PathBuf>> = inputs.iter().map(|input| input.source.rereadable().cloned()).collect();
    let feeds = inputs.into_iter().filter_map(|input| Some((plan.hook_at(input.at)?.0, input.source)));
    let feeds = feeds.map(|(hook, source)| replay::open(source, hook)).collect::<Result<Vec<_>, _>>()?;
    let (sent_feeds, sent_files) = sent(plan, simulation)?;
    let read = feeds.len();
    let mut feeds = feeds;
    feeds.extend(sent_feeds);
    let files: Vec<Option<PathBuf>> = files.into_iter().chain(sent_files).collect();
    let mut expected = replay::expect(plan, &feeds, &files)?;
    // Departures and times of what is made are as fine as time is.
    let fine = plan
        .ports()
        .filter(|(port, _)| !simulation.traffic.is_empty() || capacity(plan, simulation, *port).is_some());
    expected.fine.extend(fine.map(|(port, _)| usize::from(port.0)));
    expected.mixed.extend(mixed(plan, simulation, &feeds));
    let end_ns = simulation.duration_ns.unwrap_or(u64::MAX);
    let zero = feeds.iter().take(read).filter_map(Feed::time).min().unwrap_or_default();
    let mut feeds = feeds.into_iter();
    let mut sources: Vec<Source> = Vec::new();
    let mut names = Vec::new();
    for feed in feeds.by_ref().take(read) {
        sources.push(Source::Captured(Box::new(Captured::entered(feed, zero, end_ns))));
        names.push(None);
    }
    for (traffic, index) in simulation.traffic.iter().zip(1u64..) {
        let Some((hook, _)) = plan.hook_at(traffic.at) else { continue };
        let seed = spread(simulation.seed, index);
        if let Pattern::Capture { speed_milli, .. } = traffic.pattern {
            let Some(feed) = feeds.next() else { continue };
            sources.push(Source::Captured(Box::new(Captured::sent(feed, traffic, speed_milli, end_ns))));
            names.push(None);
        } else if let Some(made) = Made::new(traffic, hook, simulation.framing, seed, end_ns) {
            sources.push(Source::Made(Box::new(made)));
            names.push(Some(called(traffic)));
        }
    }
    Ok(Opened { sources, names, expected, zero })
}

/// The captures that traffic is made of, and which of them can be read again.
fn sent(plan: &Plan, simulation: &Simulation) -> Result<(Vec<Feed>, Vec<Option<PathBuf>>), ReplayError> {
    let (mut feeds, mut files) = (Vec::new(), Vec::new());
    for traffic in &simulation.traffic {
        if let (Pattern::Capture { file, .. }, Some((hook, _))) = (&traffic.pattern, plan.hook_at(traffic.at))
        {
            let source = Capture::File(file.clone());
            files.push(source.rereadable().cloned());
            feeds.push(replay::open(source, hook)?);
        }
    }
    Ok((feeds, files))
}

/// Ports that frames of captures may go to that are not Ethernet, beside frames that are made, which are.
fn mixed(plan: &Plan, simulation: &Simulation, feeds: &[Feed]) -> BTreeSet<usize> {
    let reached = |hooks: Vec<HookId>| -> BTreeSet<PortId> {
        hooks.into_iter().flat_map(|hook| replay::reachable(plan, hook)).collect()
    };
    let made = simulation.traffic.iter().filter(|it| !matches!(it.pattern, Pattern::Capture { .. }));
    let made = reached(made.filter_map(|it| Some(plan.hook_at(it.at)?.0)).collect());
    let other = |feed: &&Feed| feed.head().is_some_and(|(_, frame)| frame.link_type != LinkType::ETHERNET);
    let other = reached(feeds.iter().filter(other).map(|feed| feed.hook).collect());
    made.intersection(&other).map(|port| usize::from(port.0)).collect()
}

/// What stands before hooks.
fn stages(plan: &Plan, simulation: &Simulation) -> (Vec<Before>, Vec<Option<usize>>) {
    let mut stages: Vec<Before> = Vec::new();
    let mut stage_of = vec![None; plan.hooks.len()];
    let on_a_hub = |port: PortId| simulation.hubs.iter().any(|hub| hub.ports.contains(&port));
    for (id, hook) in plan.hooks().filter(|(_, hook)| !on_a_hub(hook.at.port)) {
        let speed_bits =
            simulation.lines.iter().find(|line| line.port == hook.at.port).map(|line| line.speed_bits);
        let kind = match plan.port(hook.at.port).role {
            Role::Span => line::Kind::Span,
            _ if speed_bits.is_some() => line::Kind::Sender,
            _ => continue,
        };
        stage_of[usize::from(id.0)] = Some(stages.len());
        stages.push(Before::Line(Line::new(kind, speed_bits, simulation.framing)));
    }
    for (hub, index) in simulation.hubs.iter().zip(1u64..) {
        let stage = HubStage::new(plan, hub, spread(!simulation.seed, index));
        stage.hooks().iter().for_each(|hook| stage_of[usize::from(hook.0)] = Some(stages.len()));
        stages.push(Before::Hub(stage));
    }
    (stages, stage_of)
}

/// Who looks on, by sink.
fn meters(plan: &Plan, simulation: &Simulation, look: Look) -> Vec<Option<PortMeter>> {
    let meter = |(id, sink): (SinkId, &Sink)| {
        let Sink::Port(port) = *sink;
        let queue = capacity(plan, simulation, port);
        let wanted = match look {
            Look::Nowhere => false,
            Look::Rated => queue.is_some(),
            Look::All | Look::Plots => true,
        };
        let spec = || Spec {
            name: plan.sink_name(id).to_owned(),
            sides: plan.sides(id).into_iter().map(|side| side.name).collect(),
            rate_bits: queue.map(|queue| queue.rate_bits),
            line_bits: simulation.lines.iter().find(|line| line.port == port).map(|line| line.speed_bits),
            buffer_bytes: queue.map(|queue| queue.buffer_bytes),
            framing: simulation.framing,
            cure: true,
            plots: look == Look::Plots,
        };
        wanted.then(|| PortMeter::new(spec()))
    };
    plan.sinks().map(meter).collect()
}

fn report(plan: &Plan, source: &Source, name: Option<String>) -> InputReport {
    match source {
        Source::Captured(captured) => replay::input_report(plan, &captured.feed),
        Source::Made(made) => InputReport {
            file: name.unwrap_or_default(),
            source: plan.source_name(plan.hook(made.hook())),
            packets: made.made.frames,
            bytes: made.made.bytes,
            offset: 0,
            out_of_order: 0,
            broken: None,
        },
    }
}

/// What traffic that is no capture is called: as it may be written.
fn called(traffic: &Traffic) -> String {
    let paced = |word: &str, rate_bits: u64, size: Size| {
        let size = match size {
            Size::Fixed(bytes) => bytes.to_string(),
            Size::Mix => "mix".to_owned(),
        };
        format!("{word}:{}:{size}", ShownRate(rate_bits))
    };
    let mut text = match traffic.pattern {
        Pattern::Constant { rate_bits, size } => paced("cbr", rate_bits, size),
        Pattern::Poisson { rate_bits, size } => paced("poisson", rate_bits, size),
        Pattern::OnOff { rate_bits, size, on_ns, off_ns } => {
            format!("{}:{}:{}", paced("onoff", rate_bits, size), ShownTime(on_ns), ShownTime(off_ns))
        }
        Pattern::Capture { ref file, .. } => file.display().to_string(),
    };
    match (traffic.from_ns, traffic.until_ns) {
        (from_ns, Some(until_ns)) => text += &format!("@{}-{}", ShownTime(from_ns), ShownTime(until_ns)),
        (0, None) => {}
        (from_ns, None) => text += &format!("@{}", ShownTime(from_ns)),
    }
    text
}
