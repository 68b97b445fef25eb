//! What a frame costs the process that carries it: `tapwright run` beside its peers, each for its own job, and beside a
//! loop that does no more than it must.
//!
//! A flood of frames enters at `a`. Each process has the last CPU to itself, the generator the first. A sample is the CPU
//! time that the process used over the frames that it delivered; what it lost of the flood costs it nothing, and counts
//! for nothing. A frame that is passed and copied is delivered once. Frames per second of one core is the inverse.

use std::io::Write as _;
use std::time::{Duration, Instant};

use sys::ring::{BLOCK_BYTES_MIN, Ring, RingOptions, SendOptions, Sender};
use sys::{ProgFd, cpu};

use crate::error::{Failure, Outcome};
use crate::files::Files;
use crate::frame;
use crate::report::{Target, quartiles};
use crate::run::to_f64;
use crate::stand::{Peer, Shared, Side, Sink, Stand};

/// Octets of the frames, without FCS.
const OCTETS: [usize; 2] = [60, 1514];
/// Frames that are taken and sent together by the loop that is the limit, as by `tapwright run`.
const BATCH: usize = 64;
/// How long a process may take until it delivers its first frame, or the last ones.
const PATIENCE: Duration = Duration::from_secs(10);
/// The generator's priority: before all builds, behind the kernel's own threads.
const PRIORITY: i32 = 50;
/// That of the processes, all alike: before all builds too.
const PROCESS_PRIORITY: i32 = 40;

/// What a process does with a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Job {
    name: &'static str,
    /// The words that start it; `FILE` stands for a config of ours.
    command: &'static str,
    /// That config.
    config: &'static str,
    passes: bool,
    copies: bool,
}

const SPAN: &str = "[ports]\na = \"a\"\nm1 = \"m1\"\n\n[[device]]\nname = \"bench\"\nkind = \"link-aggregator\"\n\
                    spans = [\"a\"]\nmonitors = [\"m1\"]\n";
const FORWARD: &str = "plan 1\n\nport  a  a  network  attach auto\nport  b  b  network  attach auto\n\n\
                       hook  a  in  pass b\nhook  b  in  pass a\n";
const TAP: &str = "[ports]\na = \"a\"\nb = \"b\"\nm1 = \"m1\"\n\n[[device]]\nname = \"bench\"\n\
                   kind = \"port-aggregator\"\nlink = [\"a\", \"b\"]\nmonitors = [\"m1\"]\n";

/// The names that targets speak of.
const COPIES: &str = "tapwright run, copies";
const FORWARDS: &str = "tapwright run, forwards";
const BOTH: &str = "tapwright run, forwards and copies";
const DAEMONLOGGER: &str = "daemonlogger -i A -o M, copies";
const TCPBRIDGE: &str = "tcpbridge, forwards";
const LIMIT: &str = "minimal TPACKET_V3 loop, forwards and copies";

const JOBS: [Job; 7] = [
    Job { name: COPIES, command: "tapwright run FILE --quiet", config: SPAN, passes: false, copies: true },
    Job { name: DAEMONLOGGER, command: "daemonlogger -i a -o m1", config: "", passes: false, copies: true },
    Job {
        name: "minimal TPACKET_V3 loop, copies",
        command: "bench --minimal-loop a,m1",
        config: "",
        passes: false,
        copies: true,
    },
    Job {
        name: FORWARDS,
        command: "tapwright run FILE --quiet",
        config: FORWARD,
        passes: true,
        copies: false,
    },
    Job {
        name: TCPBRIDGE,
        command: "tcpbridge --unidir --intf1=a --intf2=b",
        config: "",
        passes: true,
        copies: false,
    },
    Job { name: BOTH, command: "tapwright run FILE --quiet", config: TAP, passes: true, copies: true },
    Job { name: LIMIT, command: "bench --minimal-loop a,m1,b", config: "", passes: true, copies: true },
];

/// One job with frames of one length.
#[derive(Debug, serde::Serialize)]
pub struct Row {
    /// The job.
    pub name: &'static str,
    /// Octets of a frame, without FCS.
    pub octets: usize,
    /// CPU nanoseconds of the process for a frame that it delivered: 25 % below, median, 75 % below.
    pub quartiles_ns: [f64; 3],
    /// Every sample.
    pub samples: Vec<Sample>,
}

/// One flood.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Sample {
    /// CPU nanoseconds of the process for a frame that it delivered.
    pub ns: f64,
    /// Frames sent at it.
    pub sent: u64,
    /// Frames that it delivered everywhere where it should.
    pub delivered: u64,
    /// Time on the clock, from the first frame to the last, milliseconds.
    pub wall_ms: f64,
}

struct Standing {
    job: Job,
    stand: Stand,
    sinks: Vec<Sink>,
    process: Peer,
    generator: ProgFd,
}

/// Measures all jobs in turn, each round beginning with another one.
///
/// # Errors
/// A job could not be set up, or its process ended or delivers nothing.
pub fn measure(shared: &Shared, files: &Files, rounds: usize, frames: u32, only: &str) -> Outcome<Vec<Row>> {
    let mut standing = Vec::new();
    for job in JOBS.into_iter().filter(|job| job.name.contains(only)) {
        standing.push(set_up(job, shared, files).map_err(|error| Failure::new(job.name, error))?);
    }
    let frame_of = |octets: &usize| frame::udp(*octets);
    let floods: Vec<Vec<u8>> = OCTETS.iter().map(frame_of).collect::<Outcome<_>>()?;
    let all: Vec<(usize, usize)> =
        (0..standing.len()).flat_map(|job| (0..floods.len()).map(move |octets| (job, octets))).collect();
    let generating = || -> Outcome<Vec<Vec<Sample>>> {
        cpu::pin_to_one()?;
        cpu::run_first(PRIORITY)?;
        for standing in &mut standing {
            awake(standing, &floods[0])?;
        }
        let mut samples = vec![Vec::with_capacity(rounds); all.len()];
        for round in 0..rounds {
            for number in 0..all.len() {
                let number = (number + round) % all.len();
                let (job, octets) = all[number];
                samples[number].push(sample(&mut standing[job], &floods[octets], frames)?);
                if sys::process::stop_requested() {
                    return Err(Failure::new("stopped", "by a signal"));
                }
            }
            let _ = writeln!(std::io::stderr(), "userspace: round {} of {rounds}", round + 1);
        }
        Ok(samples)
    };
    // A thread of its own, so that only the generator is pinned.
    let samples = std::thread::scope(|scope| scope.spawn(generating).join())
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    let row = |((job, octets), samples): (&(usize, usize), Vec<Sample>)| Row {
        name: standing[*job].job.name,
        octets: OCTETS[*octets],
        quartiles_ns: quartiles(samples.iter().map(|sample| sample.ns)),
        samples,
    };
    Ok(all.iter().zip(samples).map(row).collect())
}

fn set_up(job: Job, shared: &Shared, files: &Files) -> Outcome<Standing> {
    let mut stand = Stand::new(1)?;
    let mut sinks = Vec::new();
    // Frames enter the stack at `a`, are seen by packet sockets there, and go no further.
    stand.pass_xdp(shared, Side::Tap, "a")?;
    stand.sink_tcx(Side::Tap, "a")?;
    for (wanted, end) in [(job.passes, "fb"), (job.copies, "f1")] {
        if wanted {
            sinks.push(stand.sink_tcx(Side::Far, end)?);
        }
    }
    let own = std::env::current_exe().map_err(|error| Failure::new("this program", error))?;
    let config = files.write(&format!("{}.toml", job.name.replace([' ', ','], "-")), job.config)?;
    let shown = |path: &std::path::Path| path.display().to_string();
    let command = job.command.replace("FILE", &shown(&config));
    let command = match command.split_once(' ') {
        Some(("tapwright", rest)) => format!("{} {rest}", shown(&own.with_file_name("tapwright"))),
        Some(("bench", rest)) => format!("{} {rest}", shown(&own)),
        _ => command,
    };
    let last = std::thread::available_parallelism().map_or(1, usize::from) - 1;
    let process = stand.start(&format!("chrt -f {PROCESS_PRIORITY} taskset -c {last} {command}"))?;
    let generator = stand.forward_xdp(Side::Far, &["fa"])?;
    Ok(Standing { job, stand, sinks, process, generator })
}

/// Frames that arrived wherever they should.
fn delivered(standing: &mut Standing) -> Outcome<u64> {
    let Standing { stand, sinks, .. } = standing;
    let counts = sinks.iter().map(|sink| stand.count(sink)).collect::<Outcome<Vec<u64>>>()?;
    Ok(counts.into_iter().min().unwrap_or(0))
}

/// Waits until a process delivers frames; the first ones are nobody's cost.
fn awake(standing: &mut Standing, flood: &[u8]) -> Outcome<()> {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        standing.stand.generate(standing.generator, flood, BATCH.try_into().unwrap_or(1))?;
        std::thread::sleep(Duration::from_millis(50));
        if delivered(standing)? > 0 {
            return Ok(());
        }
        standing.process.cpu_ns()?;
    }
    Err(Failure::new(standing.job.name, "it delivers nothing"))
}

fn sample(standing: &mut Standing, flood: &[u8], frames: u32) -> Outcome<Sample> {
    let (before, worked) = (delivered(standing)?, standing.process.cpu_ns()?);
    let begun = Instant::now();
    standing.stand.generate(standing.generator, flood, frames)?;
    let wall = begun.elapsed();
    let mut last = before;
    let begun = Instant::now();
    loop {
        // Until no frame comes for a tenth of a second.
        std::thread::sleep(Duration::from_millis(100));
        let now = delivered(standing)?;
        if now == last && now > before {
            break;
        }
        if begun.elapsed() > PATIENCE {
            return Err(Failure::new(standing.job.name, "it delivers nothing, or does not come to an end"));
        }
        last = now;
    }
    let delivered = last - before;
    let spent = standing.process.cpu_ns()?.saturating_sub(worked);
    Ok(Sample {
        ns: to_f64(spent) / to_f64(delivered),
        sent: u64::from(frames),
        delivered,
        wall_ms: wall.as_secs_f64() * 1e3,
    })
}

/// What was to be reached, for each length of frame: all in rates, which are the inverse of what a frame costs.
pub fn targets(rows: &[Row]) -> Vec<Target> {
    let ns = |name: &str, octets: usize| {
        rows.iter().find(|row| row.name == name && row.octets == octets).map(|row| row.quartiles_ns[1])
    };
    let mut targets = Vec::new();
    for octets in OCTETS {
        let mut target = |over: &str, under: &str, make: &dyn Fn(String, f64) -> Target| {
            if let (Some(over_ns), Some(under_ns)) = (ns(over, octets), ns(under, octets)) {
                targets.push(make(format!("{octets} B: {over} / {under}"), over_ns / under_ns));
            }
        };
        target(DAEMONLOGGER, COPIES, &|what, value| Target::at_least(what, value, 1.2));
        target(TCPBRIDGE, FORWARDS, &|what, value| Target::at_least(what, value, 5.0));
        target(BOTH, LIMIT, &|what, value| Target::at_most(what, value, 1.3));
    }
    targets
}

/// The loop that is the limit: takes frames from the first interface, sends each to all the others, and does nothing
/// else. Ends with the process.
///
/// # Errors
/// A system call failed.
pub fn minimal_loop(interfaces: &[String]) -> Outcome<()> {
    let mut sys = sys::Linux::new();
    let indexes = interfaces
        .iter()
        .map(|name| crate::stand::find(&mut sys, name).map(|link| link.index))
        .collect::<sys::Result<Vec<u32>>>()?;
    let [from, to @ ..] = indexes.as_slice() else { return Err(Failure::new("loop", "no interface")) };
    let options = RingOptions {
        ring_bytes: engine::userspace::RING_BYTES,
        block_bytes: BLOCK_BYTES_MIN,
        retire_ms: 1,
        promiscuous: true,
        incoming: true,
        outgoing: false,
    };
    let mut ring = Ring::open(*from, options)?;
    let bypass = SendOptions { bypass_queue: true, ..SendOptions::default() };
    let mut senders =
        to.iter().map(|index| Sender::open(*index, BATCH, bypass)).collect::<sys::Result<Vec<_>>>()?;
    loop {
        let mut frames: Vec<&[u8]> = Vec::with_capacity(BATCH);
        while frames.len() < BATCH
            && let Some(lent) = ring.take()
        {
            frames.push(lent.data);
        }
        let idle = frames.is_empty();
        senders.iter_mut().for_each(|sender| sender.send(&frames, |_, _| {}));
        ring.release();
        if idle {
            sys::ring::wait(&[std::os::fd::AsFd::as_fd(&ring)], Duration::from_millis(100))?;
        }
    }
}
