//! Rounds: every job once a round, each round beginning with another one.
//!
//! A sample is the CPU time of the generating thread over the frames that it sent. Generator, tap and sinks
//! all run on that thread: virtual cables hand frames over in the softirq of the sender. What the kernel puts
//! off to its own thread (`ksoftirqd`) is kept beside it, so that nobody is fast by letting others work.

use std::time::{Duration, Instant};

use sys::{clock, cpu};

use crate::error::{Failure, Outcome};
use crate::jobs::{Standing, Tap};
use crate::stand::cpu_ns_of;

/// The generator's priority: before all builds, behind the kernel's own threads.
const PRIORITY: i32 = 50;
/// A process is flooded for so much longer, because it only gets a part of the frames.
const PROCESS_TIMES: u32 = 4;
/// How long a process may take for what is left in its buffers.
const DRAIN: Duration = Duration::from_secs(5);

/// What one job did in one round.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Sample {
    /// CPU nanoseconds a frame.
    pub ns: f64,
    /// Time on the clock, nanoseconds a frame.
    pub wall_ns: f64,
    /// CPU nanoseconds a frame that `ksoftirqd` worked in the meantime; not in `ns`.
    pub deferred_ns: f64,
    /// Frames sent.
    pub sent: u64,
    /// Frames that arrived, by the interface where they ended.
    pub arrived: Vec<(String, u64)>,
}

impl Sample {
    /// Frames that did not arrive somewhere, or arrived twice, worst place first.
    pub fn lost(&self) -> u64 {
        self.arrived.iter().map(|(_, count)| self.sent.abs_diff(*count)).max().unwrap_or(self.sent)
    }
}

/// All samples: for each job, in order, one a round.
///
/// # Errors
/// The generator could not run; a process of a peer has ended.
pub fn rounds(
    standing: &mut [Standing],
    frame: &[u8],
    frames: u32,
    rounds: usize,
    say: &(dyn Fn(usize) + Sync),
) -> Outcome<Vec<Vec<Sample>>> {
    let generating = || -> Outcome<Vec<Vec<Sample>>> {
        cpu::pin_to_one()?;
        cpu::run_first(PRIORITY)?;
        let deferred = Deferred::find();
        // The first touch of pages, of page pools and of neighbours is nobody's cost.
        for job in standing.iter_mut() {
            measure(job, frame, frames, &deferred)?;
        }
        let mut samples = vec![Vec::with_capacity(rounds); standing.len()];
        for round in 0..rounds {
            for at in 0..standing.len() {
                let at = (at + round) % standing.len();
                samples[at].push(measure(&mut standing[at], frame, frames, &deferred)?);
                if sys::process::stop_requested() {
                    return Err(Failure::new("stopped", "by a signal"));
                }
            }
            say(round + 1);
        }
        Ok(samples)
    };
    // A thread of its own, so that only the generator is pinned.
    std::thread::scope(|scope| scope.spawn(generating).join())
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn measure(job: &mut Standing, frame: &[u8], frames: u32, deferred: &Deferred) -> Outcome<Sample> {
    let process = matches!(job.job.tap, Tap::Process(_));
    let repeat = if process { frames.saturating_mul(PROCESS_TIMES) } else { frames };
    let before = counts(job)?;
    let worked = job.process.as_ref().map(super::stand::Peer::cpu_ns).transpose()?;
    let (wall, put_off, cpu) = (Instant::now(), deferred.ns(), clock::thread_cpu_ns());
    job.stand.generate(job.generator, frame, repeat)?;
    let cpu = clock::thread_cpu_ns() - cpu;
    let (wall, put_off) = (wall.elapsed(), deferred.ns().saturating_sub(put_off));
    if process {
        drain(job)?;
    }
    let after = counts(job)?;
    let names = job.sinks.iter().map(|sink| sink.interface.clone());
    let arrived: Vec<(String, u64)> =
        names.zip(after.iter().zip(&before).map(|(after, before)| after - before)).collect();
    let mut ns = per(cpu, u64::from(repeat));
    if let (Some(peer), Some(before)) = (&job.process, worked) {
        let delivered = arrived.iter().map(|(_, count)| *count).min().unwrap_or(0);
        ns += per(peer.cpu_ns()?.saturating_sub(before), delivered);
    }
    Ok(Sample {
        ns,
        wall_ns: per(u64::try_from(wall.as_nanos()).unwrap_or(u64::MAX), u64::from(repeat)),
        deferred_ns: per(put_off, u64::from(repeat)),
        sent: u64::from(repeat),
        arrived,
    })
}

fn counts(job: &mut Standing) -> Outcome<Vec<u64>> {
    let Standing { stand, sinks, .. } = job;
    sinks.iter().map(|sink| stand.count(sink)).collect()
}

/// Waits until a process has sent what was in its buffers: no frame for a tenth of a second.
fn drain(job: &mut Standing) -> Outcome<()> {
    let begun = Instant::now();
    let mut last = counts(job)?;
    while begun.elapsed() < DRAIN {
        std::thread::sleep(Duration::from_millis(100));
        let now = counts(job)?;
        if now == last {
            return Ok(());
        }
        last = now;
    }
    Err(Failure::new(job.job.name, format!("still sending {} s after the last frame", DRAIN.as_secs())))
}

/// A quotient for tables; `f64` keeps 15 digits of either.
fn per(total: u64, count: u64) -> f64 {
    to_f64(total) / to_f64(count)
}

/// The nearest `f64`, exact below 2^53.
pub fn to_f64(number: u64) -> f64 {
    let (high, low) = (number >> 32, number & 0xffff_ffff);
    let half = |part: u64| f64::from(u32::try_from(part).expect("32 bits were cut out"));
    half(high) * 4_294_967_296.0 + half(low)
}

/// The kernel's threads that do what softirqs put off.
struct Deferred {
    pids: Vec<u32>,
}

impl Deferred {
    fn find() -> Self {
        let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let named = |pid: &u32| {
            std::fs::read_to_string(format!("/proc/{pid}/comm"))
                .is_ok_and(|name| name.starts_with("ksoftirqd/"))
        };
        Self { pids: pids.filter(named).collect() }
    }

    fn ns(&self) -> u64 {
        self.pids.iter().filter_map(|pid| cpu_ns_of(*pid)).sum()
    }
}
