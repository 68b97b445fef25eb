//! The path of a frame: ring, verdict, outputs.
//!
//! One thread serves all sources. A round takes up to [`BATCH`] frames in the order in which the kernel got them, of all
//! sources together; notes each where it is to go; and sends, all copies first. So a copy is on its way before the frame
//! itself, whose answer can only come after both: no monitor sees an answer before what it answers. Then the memory of
//! the frames goes back to the kernel. Copies wait for no output, frames themselves a moment: what an output does not
//! take is counted.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use plan::eval::{Fate, Judge, State, Time, Verdict};
use plan::ledger::Status;
use plan::plan::{Direction, HookId, Pass, Plan, Point, PortId, Role, Sink};
use plan::tally::{Given, Outlet, Tally};
use rules::form::CopyIndex;
use sys::ring::{BLOCK_BYTES_MIN, Lent, Ring, RingOptions, SendOptions, Sender};
use sys::{Result, Sys};
use wire::Frame;

use super::counts::{Ground, Outputs};
use super::fit::{Fitted, MARK, find};
use super::segments::{self, Cut};
use super::stop::Stop;
use super::{Event, Options, RunReport};
use crate::machine::{pairs, queue};

/// Frames of one round, of all sources together.
const BATCH: usize = 64;
/// The longest wait without a look at whether to stop (signals wake a wait, but for one that comes just before it).
const LOOK: Duration = Duration::from_millis(100);
/// Rounds between two looks at the clock while frames keep coming.
const ROUNDS: u32 = 64;
/// How long what has come may take to be carried once the run is to end.
const DRAIN: Duration = Duration::from_secs(2);
/// How long all outputs of a round together may be waited for, before frames that were to be passed count as lost.
const PATIENCE: Duration = Duration::from_millis(2);
/// Kernel memory for frames that were passed to a card and have not left it.
const PASS_MEMORY: usize = 8 << 20;
/// Kernel memory that a small frame takes for each of its octets while it waits in a buffer, at most.
const MEMORY_TIMES: u64 = 16;

/// Why frames of a source were lost before they could be judged.
const OVERRUN: &str = "overrun";
const CUT: &str = "too-long";
const SUPER: &str = "super-frame";
/// It had come when the run ended, and nobody took it out any more.
const LEFT: &str = "left";

/// One place that frames come from.
struct Source {
    ring: Ring,
    entering: Option<HookId>,
    leaving: Option<HookId>,
}

/// What was counted of a source.
#[derive(Clone, Copy, Default)]
struct Progress {
    /// Frames that the kernel put into the ring, as far as it was asked.
    put: u64,
    /// Frames taken out of it.
    taken: u64,
}

/// One socket that frames leave by: of a port, or of one side of a monitor with a rate.
struct Out {
    port: PortId,
    sender: Sender,
    /// A buffer of the kernel's is behind it, which says no when it is full.
    buffered: bool,
    /// Feeds a sensor.
    is_sink: bool,
    /// Is waited for: it took something when it was last asked to.
    hopeful: bool,
    /// Frames that the kernel took, and how often it did not take one.
    handed: u64,
    refused: u64,
}

/// Frames that are to leave by one output, each with where it came from.
#[derive(Default)]
struct Waiting<'f> {
    frames: Vec<&'f [u8]>,
    from: Vec<Origin>,
}

/// Why a frame is where it is to leave.
#[derive(Clone, Copy)]
struct Origin {
    hook: HookId,
    /// The copy it is; `None` for the frame itself.
    copy: Option<CopyIndex>,
    /// Number of the frame within the round.
    frame: u32,
}

/// What is needed to judge a frame and to note where it goes.
struct Desk<'p> {
    plan: &'p Plan,
    judge: Judge<'p>,
    state: State,
    seed: u64,
    start_ns: Option<u64>,
    /// One a hook, so that its lists keep the size they need.
    verdicts: Vec<Verdict>,
    tally: Tally,
    /// By port.
    ways: Vec<Way>,
}

/// The outputs of a port.
#[derive(Clone, Copy, Default)]
struct Way {
    /// The first of them.
    first: usize,
    /// Whether each side has one of its own, the others behind it.
    by_side: bool,
}

/// Carries frames until it is to end, and gives the ledger.
///
/// # Errors
/// A system call that failed: no ring, no socket, no memory.
pub fn carry(
    sys: &mut impl Sys,
    plan: &Plan,
    options: &Options,
    fitted: &Fitted,
    stop: &Stop,
    tell: &mut dyn FnMut(Event<'_>),
) -> Result<Status> {
    let links = sys.links()?;
    let ground = Ground::of(sys, plan, &links, fitted)?;
    let (outs, ways) = outputs(plan, &links)?;
    let sources = sources(plan, &links, options)?;
    let verdict = |(hook, _)| Verdict { hook, fate: Fate::Left, copies: Vec::new() };
    let desk = Desk {
        plan,
        judge: Judge::new(plan),
        state: State::default(),
        seed: sys.random()?,
        start_ns: None,
        verdicts: plan.hooks().map(verdict).collect(),
        tally: Tally::new(plan),
        ways,
    };
    // Copies leave before the frames themselves.
    let (mut order, passes): (Vec<usize>, Vec<usize>) = (0..outs.len()).partition(|out| outs[*out].is_sink);
    order.extend(passes);
    let progress = vec![Progress::default(); sources.len()];
    let most = options.frames_max;
    let mut run = Run { desk, sources, progress, outs, order, cut: Cut::default(), judged: 0, most };
    tell(Event::Ready(&report(plan, options, fitted)));
    run.carry(sys, options, stop, &ground, tell)?;
    // What is in a buffer when it is taken away is lost: it may leave first.
    run.await_queues(sys, &ground, stop, tell)?;
    run.count_left()?;
    run.ledger(sys, &ground)
}

fn report(plan: &Plan, options: &Options, fitted: &Fitted) -> RunReport {
    let does = |port: &plan::plan::Port| match port.role {
        Role::Network => "passes frames",
        Role::Span => "takes frames in",
        Role::Watched => "is watched",
        Role::Monitor => "feeds a sensor",
        Role::Virtual => "is there for sniffers",
    };
    let row = |port: &plan::plan::Port| [port.name.clone(), port.interface.clone(), does(port).into()];
    let mut notes = fitted.notes().to_vec();
    notes.push(format!(
        "each source has {} KiB for frames that wait, and hands them over after {} ms at the latest",
        options.ring_bytes >> 10,
        options.retire_ms
    ));
    RunReport { ports: plan.ports.iter().map(row).collect(), notes }
}

/// A socket for every port that frames leave by, and by port which of them are its own.
fn outputs(plan: &Plan, links: &[sys::Link]) -> Result<(Vec<Out>, Vec<Way>)> {
    let mut outs = Vec::new();
    let mut ways = vec![Way::default(); plan.ports.len()];
    for (id, port) in plan.ports() {
        let sink = plan.sinks().find(|(_, sink)| **sink == Sink::Port(id)).map(|(sink, _)| sink);
        let passed_to =
            |hook: &plan::plan::Hook| matches!(&hook.pass, Pass::To(ports) if ports.contains(&id));
        if sink.is_none() && !plan.hooks.iter().any(passed_to) {
            continue;
        }
        ways[usize::from(id.0)] = Way { first: outs.len(), by_side: port.queue.is_some() };
        let link = find(links, &pairs::egress_name(plan, id))?;
        let mut open = |options: SendOptions| -> Result<()> {
            let sender = Sender::open(link.index, BATCH, options)?;
            let (is_sink, buffered) = (sink.is_some(), !options.bypass_queue);
            outs.push(Out { port: id, sender, buffered, is_sink, hopeful: true, handed: 0, refused: 0 });
            Ok(())
        };
        let Some(capacity) = port.queue else {
            let buffer_bytes = if sink.is_some() { 0 } else { PASS_MEMORY };
            open(SendOptions { bypass_queue: true, buffer_bytes, ..SendOptions::default() })?;
            continue;
        };
        let sides = sink.map_or(0, |sink| plan.sides(sink).len());
        // What waits in the buffer counts against the socket, with all the memory that it takes.
        let memory = capacity.buffer_bytes.saturating_mul(MEMORY_TIMES).clamp(1 << 20, 1 << 30);
        for side in (0u16..).take(sides.max(1)) {
            let buffer_bytes = usize::try_from(memory).unwrap_or(1 << 30);
            open(SendOptions {
                bypass_queue: false,
                priority: queue::class_handle(side),
                mark: MARK,
                buffer_bytes,
            })?;
        }
    }
    Ok((outs, ways))
}

/// A ring for every port that has a hook.
fn sources(plan: &Plan, links: &[sys::Link], options: &Options) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    for (port, known) in plan.ports() {
        let hook = |direction| plan.hook_at(Point { port, direction }).map(|(hook, _)| hook);
        let (entering, leaving) = (hook(Direction::In), hook(Direction::Out));
        if entering.is_none() && leaving.is_none() {
            continue;
        }
        let ring = Ring::open(
            find(links, &known.interface)?.index,
            RingOptions {
                ring_bytes: options.ring_bytes,
                block_bytes: BLOCK_BYTES_MIN,
                retire_ms: options.retire_ms,
                promiscuous: known.role != Role::Watched,
                incoming: entering.is_some(),
                outgoing: leaving.is_some(),
            },
        )?;
        sources.push(Source { ring, entering, leaving });
    }
    Ok(sources)
}

struct Run<'p> {
    desk: Desk<'p>,
    sources: Vec<Source>,
    /// By source.
    progress: Vec<Progress>,
    outs: Vec<Out>,
    /// In which order outputs send.
    order: Vec<usize>,
    cut: Cut,
    judged: u64,
    most: Option<u64>,
}

impl Run<'_> {
    fn carry(
        &mut self,
        sys: &mut impl Sys,
        options: &Options,
        stop: &Stop,
        ground: &Ground,
        tell: &mut dyn FnMut(Event<'_>),
    ) -> Result<()> {
        let begun = Instant::now();
        let end = options.duration.and_then(|duration| begun.checked_add(duration));
        let mut next = options.every.and_then(|every| begun.checked_add(every));
        let mut rounds = 0;
        loop {
            let judged = self.round();
            rounds += 1;
            if judged > 0 && rounds < ROUNDS {
                continue;
            }
            rounds = 0;
            let now = Instant::now();
            if self.most.is_some_and(|most| self.judged >= most) {
                // What has come beyond that is counted as left.
                return self.shut();
            }
            if stop.asked() || end.is_some_and(|end| now >= end) {
                self.shut()?;
                return self.drain();
            }
            if let (Some(due), Some(every)) = (next, options.every)
                && now >= due
            {
                tell(Event::Ledger(&self.ledger(sys, ground)?));
                next = now.checked_add(every);
            }
            if judged == 0 {
                let until = [next, end].into_iter().flatten().min();
                let left = until.map_or(LOOK, |until| until.saturating_duration_since(now));
                self.wait(left.min(LOOK), Some(stop))?;
            }
        }
    }

    /// Waits for frames; an interface that went down says so once, and its frames just do not come.
    fn wait(&self, timeout: Duration, stop: Option<&Stop>) -> Result<()> {
        let mut all: Vec<_> = self.sources.iter().map(|source| source.ring.as_fd()).collect();
        all.extend(stop.map(Stop::woken));
        sys::ring::wait(&all, timeout)?;
        stop.into_iter().for_each(Stop::taken);
        self.sources.iter().try_for_each(|source| source.ring.trouble().map(drop))
    }

    /// Nothing more comes in.
    fn shut(&mut self) -> Result<()> {
        self.sources.iter().try_for_each(|source| source.ring.close_entry())?;
        self.count_overruns()
    }

    /// Carries what had come when the doors were shut. The last block of a ring is handed over by its timer.
    fn drain(&mut self) -> Result<()> {
        let begun = Instant::now();
        while self.progress.iter().any(|it| it.taken < it.put) && begun.elapsed() < DRAIN {
            if self.round() == 0 {
                self.wait(Duration::from_millis(5), None)?;
            }
        }
        Ok(())
    }

    /// Takes over what the kernel says of its rings.
    fn count_overruns(&mut self) -> Result<()> {
        for (source, progress) in self.sources.iter().zip(&mut self.progress) {
            let said = source.ring.statistics()?;
            progress.put += said.received.saturating_sub(said.dropped);
            if let Some(hook) = source.entering.or(source.leaving) {
                self.desk.tally.lost_before(hook, OVERRUN, said.dropped);
            }
        }
        Ok(())
    }

    /// Counts what has come and will not be carried any more.
    fn count_left(&mut self) -> Result<()> {
        self.count_overruns()?;
        for (source, progress) in self.sources.iter().zip(&self.progress) {
            if let Some(hook) = source.entering.or(source.leaving) {
                self.desk.tally.lost_before(hook, LEFT, progress.put.saturating_sub(progress.taken));
            }
        }
        Ok(())
    }

    /// Takes what there is, up to a batch, and sends it. Gives how many frames were taken.
    fn round(&mut self) -> usize {
        let Self { desk, sources, progress, outs, order, cut, judged, most } = self;
        let left = most.map_or(u64::MAX, |most| most.saturating_sub(*judged));
        let limit = usize::try_from(left).unwrap_or(BATCH).min(BATCH);
        let mut taken = 0;
        {
            let mut waiting: Vec<Waiting<'_>> = outs.iter().map(|_| Waiting::default()).collect();
            let mut patience = PATIENCE;
            let met = collect(desk, sources, progress, limit, &mut taken, &mut waiting);
            send(desk, outs, order, &mut waiting, &mut patience);
            if let Some((hook, lent)) = met {
                super_frame(desk, cut, hook, &lent, (outs, order), &mut patience);
            }
        }
        *judged += u64::try_from(taken).unwrap_or(0);
        sources.iter_mut().for_each(|source| source.ring.release());
        taken
    }

    /// Waits until the buffers of monitors are empty, as long as that can take.
    fn await_queues(
        &self,
        sys: &mut impl Sys,
        ground: &Ground,
        stop: &Stop,
        tell: &mut dyn FnMut(Event<'_>),
    ) -> Result<()> {
        let begun = Instant::now();
        let bound = ground.drain_time(self.desk.plan);
        let mut told = false;
        while !stop.hurried() && begun.elapsed() < bound && ground.queued(sys, self.desk.plan)? > 0 {
            if !std::mem::replace(&mut told, true) {
                tell(Event::Waiting(bound));
            }
            // Nobody tells when a buffer is empty.
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// The ledger, now.
    fn ledger(&mut self, sys: &mut impl Sys, ground: &Ground) -> Result<Status> {
        self.count_overruns()?;
        let Desk { plan, tally, .. } = &self.desk;
        let mut outputs = vec![Outputs::default(); plan.ports.len()];
        for out in &self.outs {
            let sum = &mut outputs[usize::from(out.port.0)];
            sum.handed += out.handed;
            sum.refused += out.refused;
        }
        ground.complete(sys, plan, tally.ledger(plan, "userspace"), &outputs)
    }
}

/// Takes frames in the order in which the kernel got them, judges each, and notes where it goes. Ends early at a
/// super-frame, which is given.
fn collect<'f>(
    desk: &mut Desk<'_>,
    sources: &'f [Source],
    progress: &mut [Progress],
    limit: usize,
    taken: &mut usize,
    waiting: &mut [Waiting<'f>],
) -> Option<(HookId, Lent<'f>)> {
    while *taken < limit {
        let (index, bound) = earliest(sources)?;
        let Source { ring, entering, leaving } = &sources[index];
        // As long as this source is the earliest, the others need not be looked at.
        while *taken < limit {
            match ring.head_ns() {
                Some(time) if bound.is_none_or(|bound| (time, index) <= bound) => {}
                _ => break,
            }
            let lent = ring.take()?;
            *taken += 1;
            progress[index].taken += 1;
            let hook = if lent.outgoing { *leaving } else { *entering };
            let Some(hook) = hook else { continue };
            if lent.data.len() < usize::try_from(lent.wire_len).unwrap_or(usize::MAX) {
                desk.tally.lost_before(hook, CUT, 1);
                continue;
            }
            if lent.offload.segments.is_some() {
                return Some((hook, lent));
            }
            let Lent { data, time_ns, offload, .. } = lent;
            if let Some(checksum) = offload.checksum {
                segments::finish(data, checksum);
            }
            desk.judge(hook, data, time_ns, *taken, waiting);
        }
    }
    None
}

/// The source whose frame came first, and the time and place of the best of the others.
#[inline]
fn earliest(sources: &[Source]) -> Option<(usize, Option<(u64, usize)>)> {
    let mut best: Option<(u64, usize)> = None;
    let mut second = None;
    let heads =
        sources.iter().enumerate().filter_map(|(index, source)| Some((source.ring.head_ns()?, index)));
    for head in heads {
        match best {
            Some(known) if known < head => second = Some(second.map_or(head, |second| head.min(second))),
            known => (best, second) = (Some(head), known),
        }
    }
    best.map(|(_, index)| (index, second))
}

/// Cuts a super-frame into the frames that it stands for, and carries these.
fn super_frame(
    desk: &mut Desk<'_>,
    cut: &mut Cut,
    hook: HookId,
    lent: &Lent<'_>,
    (outs, order): (&mut [Out], &[usize]),
    patience: &mut Duration,
) {
    let known = lent.offload.segments.is_some_and(|it| cut.cut(lent.data, lent.offload.checksum, it));
    if !known {
        desk.tally.lost_before(hook, SUPER, 1);
        return;
    }
    let mut waiting: Vec<Waiting<'_>> = outs.iter().map(|_| Waiting::default()).collect();
    for (number, frame) in cut.frames().enumerate() {
        desk.judge(hook, frame, lent.time_ns, number, &mut waiting);
    }
    send(desk, outs, order, &mut waiting, patience);
}

impl Desk<'_> {
    /// Judges a frame, and notes where it goes: as sent, which it is but for a few that `send` puts right.
    #[inline]
    fn judge<'f>(
        &mut self,
        hook: HookId,
        data: &'f [u8],
        time_ns: u64,
        number: usize,
        waiting: &mut [Waiting<'f>],
    ) {
        let Some(frame) = Frame::ethernet(data) else { return };
        let now = Time(time_ns.saturating_sub(*self.start_ns.get_or_insert(time_ns)));
        let verdict = &mut self.verdicts[usize::from(hook.0)];
        self.judge.judge_into(&mut self.state, now, self.seed, &frame, verdict);
        let ways = &self.ways;
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        let mut copies = verdict.copies.iter();
        let give = |outlet: Outlet| {
            let way = ways[usize::from(outlet.port().0)];
            let (out, copy) = match outlet {
                Outlet::Copy { side, .. } if way.by_side => (way.first + usize::from(side), copies.next()),
                Outlet::Copy { .. } => (way.first, copies.next()),
                Outlet::Pass(_) => (way.first, None),
            };
            waiting[out].frames.push(data);
            waiting[out].from.push(Origin { hook, copy: copy.copied(), frame: number });
            Ok::<_, std::convert::Infallible>(Given::Sent)
        };
        match self.tally.deliver(self.plan, verdict, frame.wire_len, give) {
            Ok(()) => {}
            Err(never) => match never {},
        }
    }
}

/// Sends what waits, copies first, and puts right what was not sent. An output that feeds no sensor is waited for, unless
/// it took nothing at all when it was last asked to: what is down must not slow down the others.
fn send(
    desk: &mut Desk<'_>,
    outs: &mut [Out],
    order: &[usize],
    waiting: &mut [Waiting<'_>],
    patience: &mut Duration,
) {
    // Frames that could not be passed to one of several ports count once.
    let mut failed: Vec<(HookId, u32)> = Vec::new();
    for index in order {
        let (out, waiting) = (&mut outs[*index], &waiting[*index]);
        if waiting.frames.is_empty() {
            continue;
        }
        let (buffered, mut refused) = (out.buffered, 0);
        let mut none = Duration::ZERO;
        let patience = if out.is_sink || !out.hopeful { &mut none } else { &mut *patience };
        let in_vain = out.sender.send_within(patience, &waiting.frames, |number, errno| {
            refused += 1;
            let Origin { hook, copy, frame } = waiting.from[number];
            match copy {
                Some(copy) => desk.tally.copy_became(desk.plan, hook, copy, became(errno, buffered)),
                None if failed.contains(&(hook, frame)) => {}
                None => {
                    failed.push((hook, frame));
                    desk.tally.pass_failed(hook, reason(errno));
                }
            }
        });
        let handed = u64::try_from(waiting.frames.len()).unwrap_or(0) - refused;
        out.hopeful = handed > 0;
        out.refused += refused + in_vain;
        out.handed += handed;
    }
}

/// What became of a copy that the kernel did not take.
fn became(errno: i32, buffered: bool) -> Given {
    match errno {
        // The queueing discipline, or the memory of the socket, is full.
        NO_BUFFERS | TRY_AGAIN if buffered => Given::Dropped,
        NO_BUFFERS | TRY_AGAIN => Given::Lost,
        _ => Given::Failed(reason(errno)),
    }
}

/// `EAGAIN`, `ENXIO`, `ENODEV`, `EMSGSIZE`, `ENETDOWN`, `ENOBUFS`.
const TRY_AGAIN: i32 = 11;
const UNBOUND: i32 = 6;
const NO_DEVICE: i32 = 19;
const TOO_LONG: i32 = 90;
const DOWN: i32 = 100;
const NO_BUFFERS: i32 = 105;

/// Why a frame could not be handed over, in the words of the ledger.
fn reason(errno: i32) -> &'static str {
    match errno {
        DOWN => "down",
        UNBOUND | NO_DEVICE => "gone",
        TOO_LONG => CUT,
        TRY_AGAIN | NO_BUFFERS => "full",
        _ => "refused",
    }
}
