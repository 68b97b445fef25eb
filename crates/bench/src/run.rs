//! Rounds: every load once a round, each round beginning with another one.
//!
//! A sample is the CPU time of the generating thread over the frames that it sent. Generator, tap and sinks
//! all run on that thread: virtual cables hand frames over in the softirq of the sender. What the kernel puts
//! off to its own thread (`ksoftirqd`) is kept beside it, so that nobody is fast by letting others work.

use std::time::{Duration, Instant};

use sys::{clock, cpu};

use crate::error::{Failure, Outcome};
use crate::stand::cpu_ns_of;
use crate::standing::Standing;

/// The generator's priority: before all builds, behind the kernel's own threads.
const PRIORITY: i32 = 50;
/// A process is flooded for so much longer, because it only gets a part of the frames.
const PROCESS_TIMES: u32 = 4;
/// How long a process may take for what is left in its buffers.
const DRAIN: Duration = Duration::from_secs(5);

/// What one load did in one round.
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
    /// Frames that arrived, by the interfaces where they ended, and how many should have.
    pub arrived: Vec<(String, u64, u64)>,
}

impl Sample {
    /// Frames that did not arrive somewhere, or should not have, worst place first.
    pub fn lost(&self) -> u64 {
        let off = |(_, count, expected): &(String, u64, u64)| count.abs_diff(*expected);
        self.arrived.iter().map(off).max().unwrap_or(self.sent)
    }
}

/// All samples: for each load of each standing, in order, one a round.
///
/// # Errors
/// The generator could not run; a process of a peer has ended.
pub fn rounds(
    standing: &mut [Standing],
    frames: u32,
    rounds: usize,
    say: &(dyn Fn(usize) + Sync),
) -> Outcome<Vec<Vec<Sample>>> {
    let loads = |(at, standing): (usize, &Standing)| (0..standing.loads.len()).map(move |load| (at, load));
    let all: Vec<(usize, usize)> = standing.iter().enumerate().flat_map(loads).collect();
    let generating = || -> Outcome<Vec<Vec<Sample>>> {
        cpu::pin_to_one()?;
        cpu::run_first(PRIORITY)?;
        let deferred = Deferred::find();
        // The first touch of pages, of page pools and of neighbours is nobody's cost.
        for (at, load) in &all {
            measure(&mut standing[*at], *load, frames, &deferred)?;
        }
        let mut samples = vec![Vec::with_capacity(rounds); all.len()];
        for round in 0..rounds {
            for number in 0..all.len() {
                let number = (number + round) % all.len();
                let (at, load) = all[number];
                samples[number].push(measure(&mut standing[at], load, frames, &deferred)?);
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

fn measure(standing: &mut Standing, load: usize, frames: u32, deferred: &Deferred) -> Outcome<Sample> {
    // Even, so that what alternates comes out even.
    let repeat = (frames / standing.loads[load].part).max(2) & !1;
    let repeat = if standing.process.is_some() { repeat.saturating_mul(PROCESS_TIMES) } else { repeat };
    let before = counts(standing)?;
    let worked = standing.process.as_ref().map(crate::stand::Peer::cpu_ns).transpose()?;
    let Standing { stand, loads, .. } = &mut *standing;
    let (wall, put_off, cpu) = (Instant::now(), deferred.ns(), clock::thread_cpu_ns());
    stand.generate(loads[load].generator, &loads[load].frame, repeat)?;
    let cpu = clock::thread_cpu_ns() - cpu;
    let (wall, put_off) = (wall.elapsed(), deferred.ns().saturating_sub(put_off));
    if standing.process.is_some() {
        drain(standing, load)?;
    }
    let after = counts(standing)?;
    let sent = u64::from(repeat);
    let arrived: Vec<(String, u64, u64)> = standing.loads[load]
        .arrivals
        .iter()
        .map(|arrival| {
            let names: Vec<&str> =
                arrival.sinks.iter().map(|sink| standing.sinks[*sink].interface.as_str()).collect();
            let count = arrival.sinks.iter().map(|sink| after[*sink] - before[*sink]).sum();
            (names.join("+"), count, arrival.expected(sent))
        })
        .collect();
    let mut ns = per(cpu, sent);
    if let (Some(peer), Some(before)) = (&standing.process, worked) {
        let delivered = arrived.iter().map(|(_, count, _)| *count).min().unwrap_or(0);
        ns += per(peer.cpu_ns()?.saturating_sub(before), delivered);
    }
    Ok(Sample {
        ns,
        wall_ns: per(u64::try_from(wall.as_nanos()).unwrap_or(u64::MAX), sent),
        deferred_ns: per(put_off, sent),
        sent,
        arrived,
    })
}

fn counts(standing: &mut Standing) -> Outcome<Vec<u64>> {
    let Standing { stand, sinks, .. } = standing;
    sinks.iter().map(|sink| stand.count(sink)).collect()
}

/// Waits until a process has sent what was in its buffers: no frame for a tenth of a second.
fn drain(standing: &mut Standing, load: usize) -> Outcome<()> {
    let begun = Instant::now();
    let mut last = counts(standing)?;
    while begun.elapsed() < DRAIN {
        std::thread::sleep(Duration::from_millis(100));
        let now = counts(standing)?;
        if now == last {
            return Ok(());
        }
        last = now;
    }
    let name = &standing.loads[load].name;
    Err(Failure::new(name, format!("still sending {} s after the last frame", DRAIN.as_secs())))
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
