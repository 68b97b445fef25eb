//! What happens next, until nothing does: sources send, stages let through, the plan judges, ports queue and send.
//!
//! Deterministic: equal arguments, equal outcomes. Never holds more than what waits.

use plan::eval::{Fate, Judge, State, Time, Verdict};
use plan::plan::{HookId, Plan, Sink, SinkId};
use plan::simulation::{Framing, Simulation};
use plan::tally::{Given, Outlet, Tally};
use rules::form::{Method, Program};
use wire::Frame;
use wire::capture::Timestamp;

use super::merge::{Merge, NEVER};
use super::port::{Departure, Port};
use super::store::{FrameRef, Store};
use super::traffic::Source;
use super::{Arrival, Before, Emerged, Stage, capacity};
use crate::input::Found;
use crate::meter::PortMeter;
use crate::output::Output;
use crate::replay::{PROGRESS, Progress, ReplayError, refusal};

/// Verdicts on frames that are made are kept for so many of a source, at most.
const VERDICTS_MAX: u32 = 1 << 16;
/// And for so many of all sources together: 4 MiB.
const VERDICTS_ALL: u32 = 1 << 20;

/// All that takes part.
pub(crate) struct Timed<'a> {
    /// The plan.
    pub(crate) plan: &'a Plan,
    /// What virtual time knows of the world.
    pub(crate) simulation: &'a Simulation,
    /// What is sent, in the order of its precedence.
    pub(crate) sources: Vec<Source>,
    /// What stands before hooks.
    pub(crate) stages: Vec<Before>,
    /// By hook: which of the stages.
    pub(crate) stage_of: Vec<Option<usize>>,
    /// By sink: who looks on.
    pub(crate) meters: Vec<Option<PortMeter>>,
    /// The moment that captures call 0.
    pub(crate) zero: Timestamp,
}

/// What is left of it in the end.
pub(crate) struct Ended {
    /// The sources.
    pub(crate) sources: Vec<Source>,
    /// The stages.
    pub(crate) stages: Vec<Before>,
    /// The meters, by sink.
    pub(crate) meters: Vec<Option<PortMeter>>,
    /// When the last thing happened, nanoseconds.
    pub(crate) end_ns: u64,
}

/// Runs until nothing more can happen: all traffic has come, all stages and buffers are empty.
///
/// # Errors
/// Where an output cannot be written.
pub(crate) fn run(
    timed: Timed<'_>,
    tally: &mut Tally,
    outputs: &mut [Option<Output>],
    progress: impl FnMut(&Progress),
) -> Result<Ended, ReplayError> {
    let Timed { plan, simulation, sources, mut stages, stage_of, meters, zero } = timed;
    let ports = ports(plan, simulation);
    let mut room = VERDICTS_ALL;
    let known = sources.iter().map(|source| Known::of(plan, source, &mut room)).collect();
    let mut merge = Merge::new(stages.len() + sources.len());
    for (source, at) in sources.iter().zip(stages.len()..) {
        merge.set(at, source.time_ns());
    }
    let verdict = |(hook, _)| Verdict { hook, fate: Fate::Left, copies: Vec::new() };
    let mut engine = Engine {
        judging: Judging {
            judge: Judge::new(plan),
            state: State::default(),
            seed: simulation.seed,
            verdicts: plan.hooks().map(verdict).collect(),
            known,
        },
        world: World {
            plan,
            ports,
            meters,
            outputs,
            sources,
            store: Store::default(),
            zero,
            framing: simulation.framing,
            lent: None,
            failed: None,
        },
        tally,
        progress,
        done: Progress::default(),
        end_ns: 0,
    };
    engine.all(&mut stages, &stage_of, merge)?;
    engine.drain()?;
    (engine.progress)(&engine.done);
    let World { meters, sources, .. } = engine.world;
    Ok(Ended { sources, stages, meters, end_ns: engine.end_ns })
}

/// The ports that have a rate, by sink.
fn ports(plan: &Plan, simulation: &Simulation) -> Vec<Option<Port<Item>>> {
    let port = |(id, sink): (SinkId, &Sink)| {
        let Sink::Port(port) = sink;
        let queue = capacity(plan, simulation, *port)?;
        Some(Port::new(queue, simulation.framing, plan.sides(id).len(), simulation.stored_bytes))
    };
    plan.sinks().map(port).collect()
}

/// What a port knows of a frame that waits.
#[derive(Clone, Copy, Debug)]
struct Item {
    hook: HookId,
    frame: FrameRef,
}

struct Engine<'a, P> {
    judging: Judging<'a>,
    world: World<'a>,
    tally: &'a mut Tally,
    progress: P,
    done: Progress,
    end_ns: u64,
}

/// Says what is to become of frames.
struct Judging<'a> {
    judge: Judge<'a>,
    state: State,
    seed: u64,
    /// One a hook, so that its lists keep the size they need.
    verdicts: Vec<Verdict>,
    /// By source.
    known: Vec<Option<Known>>,
}

/// Verdicts on the frames of a source, all of which are alike where flow and length are, at a hook that remembers
/// nothing of them: each is judged once.
struct Known {
    lengths: u32,
    /// By flow and length: index into `verdicts`.
    by_frame: Vec<Option<u16>>,
    verdicts: Vec<Verdict>,
}

impl Known {
    /// Takes what it needs of `room`, where that is enough.
    fn of(plan: &Plan, source: &Source, room: &mut u32) -> Option<Self> {
        let Source::Made(made) = source else { return None };
        let (flows, lengths) = made.variants();
        let frames = flows.saturating_mul(u32::from(lengths));
        let fits = frames <= VERDICTS_MAX && remembers_nothing(&plan.hook(made.hook()).program);
        *room = room.checked_sub(frames).filter(|_| fits)?;
        Some(Self {
            lengths: u32::from(lengths),
            by_frame: vec![None; usize::try_from(frames).expect("32 bits fit")],
            verdicts: Vec::new(),
        })
    }

    #[inline]
    fn place(&self, flow: u32, length: u8) -> usize {
        usize::try_from(flow * self.lengths + u32::from(length)).expect("32 bits fit")
    }

    #[inline]
    fn verdict(&self, flow: u32, length: u8) -> Option<&Verdict> {
        let at = (*self.by_frame.get(self.place(flow, length))?)?;
        self.verdicts.get(usize::from(at))
    }

    /// Keeps a verdict, where there is room for one more kind.
    fn learn(&mut self, flow: u32, length: u8, verdict: &Verdict) {
        let at = self.verdicts.iter().position(|known| known == verdict).unwrap_or_else(|| {
            self.verdicts.push(verdict.clone());
            self.verdicts.len() - 1
        });
        let place = self.place(flow, length);
        if let (Some(slot), Ok(at)) = (self.by_frame.get_mut(place), u16::try_from(at)) {
            *slot = Some(at);
        }
    }
}

/// Whether a program says the same of equal frames, whatever came before. What is made is never a fragment, so that
/// only chance and turns have a memory.
fn remembers_nothing(program: &Program) -> bool {
    !program.rule_sets.iter().any(rules::form::RuleSet::asks_chance)
        && !program.spreads.iter().any(|it| matches!(it.method(), Method::RoundRobin | Method::Random))
}

/// Ports, and the octets of frames.
struct World<'a> {
    plan: &'a Plan,
    /// By sink.
    ports: Vec<Option<Port<Item>>>,
    /// By sink.
    meters: Vec<Option<PortMeter>>,
    /// By port.
    outputs: &'a mut [Option<Output>],
    sources: Vec<Source>,
    store: Store,
    zero: Timestamp,
    framing: Framing,
    /// The capture in whose octets there are frames that outputs have taken and not yet written.
    lent: Option<usize>,
    /// Why an output could not be written, where that was found while frames left.
    failed: Option<ReplayError>,
}

impl<P: FnMut(&Progress)> Engine<'_, P> {
    /// Everything that comes, in order.
    fn all(
        &mut self,
        stages: &mut [Before],
        stage_of: &[Option<usize>],
        mut merge: Merge,
    ) -> Result<(), ReplayError> {
        let mut out = Vec::new();
        loop {
            let (now_ns, first) = merge.first();
            if now_ns == NEVER {
                return self.world.settle();
            }
            let Some(source) = first.checked_sub(stages.len()) else {
                stages[first].advance(now_ns, &mut out);
                merge.set(first, stages[first].next_ns().unwrap_or(NEVER));
                self.emerge(&mut out)?;
                continue;
            };
            let index = u32::try_from(source).expect("sources are counted by 32 bits");
            let mut arrival = self.world.sources[source].arrival(index);
            match stage_of[usize::from(arrival.hook.0)].filter(|_| !self.world.sources[source].has_entered())
            {
                None => self.enter(&arrival)?,
                Some(at) => {
                    arrival.frame = self.world.keep(arrival.frame);
                    stages[at].advance(now_ns, &mut out);
                    stages[at].offer(arrival, &mut out);
                    merge.set(at, stages[at].next_ns().unwrap_or(NEVER));
                    self.emerge(&mut out)?;
                }
            }
            self.world.step(source)?;
            merge.set(first, self.world.sources[source].time_ns());
        }
    }

    /// What a stage gave.
    fn emerge(&mut self, out: &mut Vec<Emerged>) -> Result<(), ReplayError> {
        for emerged in out.drain(..) {
            let arrival = match emerged {
                Emerged::Through(arrival) => {
                    self.enter(&arrival)?;
                    arrival
                }
                Emerged::Lost(arrival, reason) => {
                    self.tally.lost_before(arrival.hook, reason, 1);
                    arrival
                }
            };
            self.world.store.let_go(arrival.frame);
        }
        Ok(())
    }

    /// A frame enters the plan.
    #[inline]
    fn enter(&mut self, arrival: &Arrival) -> Result<(), ReplayError> {
        let Self { judging, world, tally, progress, done, end_ns } = self;
        let now_ns = arrival.time_ns;
        *end_ns = now_ns.max(*end_ns);
        let verdict = judging.verdict(arrival, world);
        let hook = world.plan.hook(verdict.hook);
        for index in &verdict.copies {
            *end_ns = world.advance(Plan::copy(hook, *index).sink, now_ns, tally).max(*end_ns);
        }
        if let Some(failed) = world.failed.take() {
            return Err(failed);
        }
        let (plan, mut kept) = (world.plan, None);
        tally.deliver(plan, verdict, arrival.frame_bytes, |outlet| world.give(arrival, outlet, &mut kept))?;
        if let Some(kept) = kept {
            world.store.let_go(kept);
        }
        done.frames += 1;
        done.bytes += u64::from(arrival.frame_bytes);
        if done.frames.is_multiple_of(PROGRESS) {
            done.time = world.at(now_ns);
            progress(done);
        }
        Ok(())
    }

    /// Everything that waits leaves.
    fn drain(&mut self) -> Result<(), ReplayError> {
        for (sink, _) in self.world.plan.sinks() {
            self.end_ns = self.world.advance(sink, u64::MAX, self.tally).max(self.end_ns);
        }
        self.done.time = self.world.at(self.end_ns);
        self.world.failed.take().map_or(Ok(()), Err)
    }
}

impl Judging<'_> {
    #[inline]
    fn verdict(&mut self, arrival: &Arrival, world: &mut World<'_>) -> &Verdict {
        let Self { judge, state, seed, verdicts, known } = self;
        let verdict = &mut verdicts[usize::from(arrival.hook.0)];
        let FrameRef::Made { source, flow, length } = arrival.frame else {
            let frame = octets(arrival.frame, &mut world.sources, &world.store);
            judge.judge_into(state, Time(arrival.time_ns), *seed, &frame, verdict);
            return verdict;
        };
        let at = place(source);
        let Some(known) = &mut known[at] else {
            let frame = octets(arrival.frame, &mut world.sources, &world.store);
            judge.judge_into(state, Time(arrival.time_ns), *seed, &frame, verdict);
            return verdict;
        };
        if known.verdict(flow, length).is_none() {
            let frame = octets(arrival.frame, &mut world.sources, &world.store);
            judge.judge_into(state, Time(arrival.time_ns), *seed, &frame, verdict);
            known.learn(flow, length, verdict);
        }
        known.verdict(flow, length).unwrap_or(verdict)
    }
}

impl World<'_> {
    /// A moment as captures write it.
    #[inline]
    fn at(&self, now_ns: u64) -> Timestamp {
        Timestamp(self.zero.0 + i128::from(now_ns))
    }

    /// Keeps the octets of a frame that is in a capture's hands; whoever asked must let go of it.
    fn keep(&mut self, frame: FrameRef) -> FrameRef {
        let Self { sources, store, .. } = self;
        let FrameRef::Next(source) = frame else { return frame };
        let Source::Captured(captured) = &sources[place(source)] else { return FrameRef::None };
        captured.feed.head().map_or(FrameRef::None, |(_, frame)| store.keep(&frame))
    }

    /// What a port sends up to a moment. Gives when the last of it began.
    #[inline]
    fn advance(&mut self, sink: SinkId, now_ns: u64, tally: &mut Tally) -> u64 {
        let Self { plan, ports, meters, outputs, sources, store, zero, failed, lent, .. } = self;
        let at = usize::from(sink.0);
        let Some(port) = &mut ports[at] else { return 0 };
        let Some(next_ns) = port.next_ns().filter(|next_ns| *next_ns <= now_ns) else { return 0 };
        let Sink::Port(id) = *plan.sink(sink);
        let (meter, output) = (&mut meters[at], &mut outputs[usize::from(id.0)]);
        let mut last_ns = next_ns;
        port.advance(now_ns, |departure: Departure<Item>| {
            tally.left(sink);
            last_ns = departure.at_ns;
            if let Some(meter) = meter {
                meter.departed(departure.arrived_ns, departure.end_ns, departure.side, departure.frame_bytes);
                meter.depth(departure.at_ns, departure.side, departure.waiting_bytes);
            }
            if let Some(output) = output.as_mut().filter(|_| failed.is_none()) {
                let time = Timestamp(zero.0 + i128::from(departure.at_ns));
                let let_go = let_go(output, *lent, sources);
                let frame = octets(departure.item.frame, sources, store);
                *failed = let_go.and_then(|()| write(output, departure.item.hook, time, frame)).err();
            }
            store.let_go(departure.item.frame);
        });
        last_ns
    }

    /// Hands a frame to an outlet.
    #[inline]
    fn give(
        &mut self,
        arrival: &Arrival,
        outlet: Outlet,
        kept: &mut Option<FrameRef>,
    ) -> Result<Given, ReplayError> {
        let now_ns = arrival.time_ns;
        let mut given = Given::Sent;
        let port = usize::from(outlet.port().0);
        if let Outlet::Copy { sink, side, .. } = outlet {
            given = self.offer(arrival, usize::from(sink.0), side, port, kept);
        }
        if given == Given::Sent && self.outputs[port].is_some() {
            match arrival.frame {
                FrameRef::Next(source) => self.lend(port, arrival, place(source))?,
                frame => {
                    let time = self.at(now_ns);
                    let Self { outputs, sources, store, lent, .. } = self;
                    let Some(output) = &mut outputs[port] else { return Ok(given) };
                    let_go(output, *lent, sources)?;
                    write(output, arrival.hook, time, octets(frame, sources, store))?;
                }
            }
        }
        Ok(given)
    }

    /// Writes the next frame of a capture, out of the capture's own octets where they are as they are to be written.
    #[inline]
    fn lend(&mut self, port: usize, arrival: &Arrival, source: usize) -> Result<(), ReplayError> {
        if self.lent != Some(source) {
            self.settle()?;
            self.lent = Some(source);
        }
        let time = self.sources[source].own_time().unwrap_or(self.at(arrival.time_ns));
        let (Some(output), Source::Captured(captured)) = (&mut self.outputs[port], &self.sources[source])
        else {
            return Ok(());
        };
        let Some(found) = captured.feed.found() else { return Ok(()) };
        let written = output.frame(arrival.hook, &Found { time, ..found });
        written.map_err(|failure| refusal(output.file().to_owned(), failure))
    }

    /// Lets go of the capture that outputs have octets of.
    fn settle(&mut self) -> Result<(), ReplayError> {
        let Self { outputs, sources, lent, .. } = self;
        if lent.is_some() {
            outputs.iter_mut().flatten().try_for_each(|output| let_go(output, *lent, sources))?;
            *lent = None;
        }
        Ok(())
    }

    /// Goes on to the next frame of a source.
    #[inline]
    fn step(&mut self, source: usize) -> Result<(), ReplayError> {
        while !self.sources[source].step() {
            self.settle()?;
            self.sources[source].refill();
        }
        Ok(())
    }

    /// Offers a copy to a monitor port.
    #[inline]
    fn offer(
        &mut self,
        arrival: &Arrival,
        sink: usize,
        side: u16,
        port: usize,
        kept: &mut Option<FrameRef>,
    ) -> Given {
        let Arrival { time_ns: now_ns, hook, frame_bytes, frame, .. } = *arrival;
        let wanted = self.outputs[port].is_some();
        let Self { ports, meters, sources, store, framing, .. } = self;
        let meter = &mut meters[sink];
        let Some(model) = &mut ports[sink] else {
            if let Some(meter) = meter {
                meter.offered(now_ns, side, frame_bytes, framing.wire_bytes(frame_bytes));
                meter.departed(now_ns, now_ns, side, frame_bytes);
            }
            return Given::Sent;
        };
        let item =
            || Item { hook, frame: if wanted { hold(frame, sources, store, kept) } else { FrameRef::None } };
        let given = model.offer(now_ns, side, frame_bytes, item);
        if let Some(meter) = meter {
            meter.offered(now_ns, side, frame_bytes, model.wire_bytes(frame_bytes));
            match given {
                Given::Sent => {
                    let end_ns = now_ns.saturating_add(model.takes_ns(frame_bytes));
                    meter.departed(now_ns, end_ns, side, frame_bytes);
                }
                Given::Queued => meter.depth(now_ns, side, model.depth_bytes(side)),
                Given::Dropped | Given::Lost | Given::Failed(_) => meter.dropped(now_ns, side, frame_bytes),
            }
        }
        given
    }
}

/// A frame that begins to wait: its octets must be there when it leaves. Those of a capture are kept once, however many
/// ports they wait at.
fn hold(frame: FrameRef, sources: &[Source], store: &mut Store, kept: &mut Option<FrameRef>) -> FrameRef {
    let held = match (frame, *kept) {
        (FrameRef::Next(_), Some(kept)) => kept,
        (FrameRef::Next(source), None) => {
            let Source::Captured(captured) = &sources[place(source)] else { return FrameRef::None };
            let Some((_, frame)) = captured.feed.head() else { return FrameRef::None };
            *kept.insert(store.keep(&frame))
        }
        (frame, _) => frame,
    };
    store.share(held);
    held
}

/// The octets of a frame; none where nobody was to ask for them.
fn octets<'a>(frame: FrameRef, sources: &'a mut [Source], store: &'a Store) -> Frame<'a> {
    let none = Frame { data: &[], wire_len: 0, link_type: wire::LinkType::ETHERNET };
    match frame {
        FrameRef::None => none,
        FrameRef::Kept(at) => store.frame(at),
        FrameRef::Made { source, flow, length } => match &mut sources[place(source)] {
            Source::Made(made) => made.frame(flow, length),
            Source::Captured(_) => none,
        },
        FrameRef::Next(source) => match &sources[place(source)] {
            Source::Captured(captured) => captured.feed.head().map_or(none, |(_, frame)| frame),
            Source::Made(_) => none,
        },
    }
}

/// Makes an output let go of the octets that it has of a capture.
#[inline]
fn let_go(output: &mut Output, lent: Option<usize>, sources: &[Source]) -> Result<(), ReplayError> {
    let Some(Source::Captured(captured)) = lent.map(|source| &sources[source]) else { return Ok(()) };
    let settled = output.settle(captured.feed.buffer());
    settled.map_err(|failure| refusal(output.file().to_owned(), failure))
}

/// Writes a frame to a capture.
fn write(output: &mut Output, hook: HookId, time: Timestamp, frame: Frame<'_>) -> Result<(), ReplayError> {
    let found = Found { time, frame, buffer: frame.data, at: 0 };
    output.frame(hook, &found).map_err(|failure| refusal(output.file().to_owned(), failure))
}

#[inline]
fn place(index: u32) -> usize {
    usize::try_from(index).expect("32 bits fit")
}
