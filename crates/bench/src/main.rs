//! Measures what a tapped frame costs, Tapwright and its peers in one interleaved run, what rules cost, and
//! what `up` takes with many links or many rules. See docs/benchmarks.md for the method.
//!
//! Everything happens in network namespaces of its own. Needs root, and the peers' Debian packages.

mod balance;
mod error;
mod files;
mod frame;
mod generator;
mod jobs;
mod links;
mod order;
mod report;
mod run;
mod size;
mod stand;
mod standing;
mod steering;
mod userspace;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};

use error::{Failure, Outcome};
use files::Files;
use jobs::JOBS;
use report::{Machine, Report};
use stand::Shared;
use standing::Standing;

/// Measures what a tapped frame costs beside the peers, and how long `up` takes.
#[derive(Parser)]
struct Args {
    /// What to measure; may be given several times. All of it, unless said
    #[arg(long)]
    suite: Vec<Suite>,
    /// Rounds: each job is measured once in each
    #[arg(long, default_value_t = 15)]
    rounds: usize,
    /// Frames of one sample
    #[arg(long, default_value_t = 300_000)]
    frames: u32,
    /// Octets of a frame without FCS, 60 to 1514
    #[arg(long, default_value_t = 60)]
    octets: usize,
    /// Only jobs, and sets of rules, whose name contains this
    #[arg(long, default_value = "")]
    only: String,
    /// Runs of `up` and `down`, with many links and with many rules
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Be the loop that user-space taps are held against: from the first interface to all others
    #[arg(long, hide = true, value_delimiter = ',')]
    minimal_loop: Vec<String>,
    /// Seconds of conversation for each round of the order
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Where to write the raw results, as JSON
    #[arg(long)]
    json: Option<PathBuf>,
}

/// What can be measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Suite {
    /// Taps beside their peers, without rules
    Taps,
    /// Rules: the distributor beside a tap without a rule, and beside nft
    Steering,
    /// `up` and `down` with many links
    Links,
    /// `up` and `down` with many rules: seconds and memory
    Size,
    /// How evenly flows are spread
    Balance,
    /// How often a reply reaches a sensor before its request
    Order,
    /// `tapwright run` beside other programs that carry frames in user space
    Userspace,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if !args.minimal_loop.is_empty() {
        return match userspace::minimal_loop(&args.minimal_loop) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("error: {error}");
                ExitCode::from(2)
            }
        };
    }
    let report = sys::process::catch_stop_signals().map_err(Failure::from).and_then(|()| measure(&args));
    let report = match report {
        Ok(report) => report,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(2);
        }
    };
    print!("{report}");
    let doubts = report.doubts();
    for doubt in &doubts {
        println!("doubtful: {doubt}");
    }
    let missed = report.targets.iter().any(|target| !target.met);
    if missed || !doubts.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn measure(args: &Args) -> Outcome<Report> {
    let wants = |suite| args.suite.is_empty() || args.suite.contains(&suite);
    let (octets, frames, rounds) = (args.octets, args.frames, args.rounds);
    let (shared, files) = (Shared::load()?, Files::new()?);
    let mut report = Report::new(machine(), octets, frames, rounds);
    // First, because what a process starts with counts as its memory for a moment.
    if wants(Suite::Size) {
        report.sizes = size::measure(args.runs, &args.only, &shared, &files, &mut report.refused)?;
    }
    if wants(Suite::Balance) {
        (report.balances, report.removals) = (balance::spreads()?, balance::removals()?);
    }
    if wants(Suite::Order) {
        report.orders = order::measure(&files, args.runs, &args.only, args.seconds)?;
    }
    if wants(Suite::Taps) {
        let frame = frame::udp(octets)?;
        let jobs = JOBS.iter().copied().filter(|job| job.name.contains(&args.only));
        let set_up = |job: jobs::Job| {
            jobs::set_up(job, &frame, &shared).map_err(|error| Failure::new(job.name, error))
        };
        report.jobs = interleaved(args, "taps", jobs.map(set_up).collect::<Outcome<_>>()?)?;
    }
    if wants(Suite::Steering) {
        let mut taps = steering::taps();
        taps.retain_mut(|tap| tap.keep(&args.only));
        let mut standing = Vec::new();
        for tap in taps {
            match tap.set_up(octets, &shared, &files) {
                Ok(stands) => standing.push(stands),
                Err(error) => report.refused.push(error.to_string()),
            }
        }
        report.steering = interleaved(args, "steering", standing)?;
    }
    if wants(Suite::Links) {
        eprintln!("laying {} cables", links::LINKS * (2 + links::MONITORS));
        let stand = links::Links::new(&shared, &files)?;
        for attach in ["tcx", "xdp", "classic"] {
            report.links.push(stand.measure(attach, args.runs)?);
        }
    }
    if wants(Suite::Userspace) {
        report.userspace = userspace::measure(&shared, &files, rounds, frames, &args.only)?;
    }
    report.targets = report.judged();
    if let Some(path) = &args.json {
        let text = serde_json::to_string_pretty(&report).map_err(|error| Failure::new("results", error))?;
        std::fs::write(path, text + "\n").map_err(|error| Failure::new(path.display(), error))?;
    }
    Ok(report)
}

/// One interleaved run over all that stands.
fn interleaved(args: &Args, what: &str, mut standing: Vec<Standing>) -> Outcome<Vec<report::Row>> {
    let say = |round: usize| eprintln!("{what}: round {round} of {}", args.rounds);
    let samples = run::rounds(&mut standing, args.frames, args.rounds, &say)?;
    balanced(&standing)?;
    Ok(report::rows(&standing, samples))
}

/// The taps' own ledgers after the last round: a tap that lost count has no place in the table.
fn balanced(standing: &[Standing]) -> Outcome<()> {
    for standing in standing.iter().filter(|standing| standing.has_ledger) {
        let status = standing.stand.status()?;
        if status.unaccounted != 0 {
            let name = standing.loads.first().map_or("", |load| load.name.as_str());
            let what = format!("{} frames unaccounted\n{status:?}", status.unaccounted);
            return Err(Failure::new(name, what));
        }
    }
    Ok(())
}

fn machine() -> Machine {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let models: Vec<&str> = cpuinfo
        .lines()
        .filter_map(|line| line.strip_prefix("model name").and_then(|rest| rest.split_once(':')))
        .map(|(_, model)| model.trim())
        .collect();
    Machine {
        date: date(sys::clock::realtime_ns()),
        cpu: models.first().copied().unwrap_or("unknown").to_owned(),
        cpus: std::thread::available_parallelism().map_or(models.len(), usize::from),
        kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        load: read("/proc/loadavg").split_whitespace().take(3).collect::<Vec<_>>().join(" "),
    }
}

/// `2026-11-22T10:00:00Z` of nanoseconds since 1970. Days to dates as Howard Hinnant's `civil_from_days`.
fn date(ns: u64) -> String {
    let seconds = ns / 1_000_000_000;
    let (days, second) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    #[test]
    fn dates() {
        assert_eq!(super::date(0), "1970-01-01T00:00:00Z");
        assert_eq!(super::date(951_782_400_000_000_000), "2000-02-29T00:00:00Z");
        assert_eq!(super::date(1_795_345_054_999_999_999), "2026-11-22T10:57:34Z");
    }
}
